"""What a driver tells has happened -> rows of the store: whose it is by number, and what it is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from headend.store.events import Event, Subject
from protocols.localtime import as_datetime
from terminals.drivers.driver import Meter
from terminals.drivers.happening import Happening


def rows(
    told: Iterable[Happening],
    meters: Mapping[int, Meter],
    terminal: int,
    now: np.datetime64,
    *,
    asked: int | None = None,
    evidence: int = 0,
) -> list[Event]:
    """`meters`: those behind the terminal, by number. `asked`: which of them told it; None: the terminal did.

    What belongs to a point or an address that the archive does not know is the terminal's, and says so."""
    by_point = {meter.point: key for key, meter in meters.items() if meter.point}
    by_address = {meter.address: key for key, meter in meters.items()}
    received = as_datetime(now)
    found = []
    for event in told:
        detail = dict(event.detail)
        if event.kind:
            detail["kind"] = event.kind
        owner: int | None = None
        if event.of == "meter":
            owner = asked
        elif event.of == "point":
            owner = by_point.get(int(event.at))
        elif event.of == "address":
            owner = by_address.get(event.at)
        if owner is None and event.at:
            detail[event.of] = event.at
        kind: Subject = "terminal" if owner is None else "meter"
        found.append(
            Event(
                kind, terminal if owner is None else owner, as_datetime(event.began), event.code, received, event.seq,
                None if event.ended is None else as_datetime(event.ended), detail, evidence,
            )
        )  # fmt: skip
    return found
