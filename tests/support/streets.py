"""A street's readings in a store, as if they had been collected."""

from __future__ import annotations

import datetime as dt

import numpy as np

from headend.plans import CURVE, points
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.tables import CURVES
from lineloss.topology import Role
from protocols.localtime import midnight
from protocols.reading import MISSING
from tests.support.house import SHANGHAI, Place, at, deliver, place, rows
from tests.support.truth.homes import SLOTS
from tests.support.truth.meters import Readings


def settle(conn: Connection, seen: Readings, first: dt.date) -> list[Place]:
    """Meters 000, 001, … in areas A0, A1, …, and what each delivered from local day `first` on."""
    topology = seen.topology
    who = [
        place(
            conn,
            f"{row:03}",
            area=f"A{topology.area[row]}",
            terminal=f"T{topology.area[row]}",
            role="supply" if topology.role[row] == Role.SUPPLY else "receive",
            ct=int(topology.multiplier[row]),
            phases=int(topology.phases[row]),
            accuracy=float(topology.accuracy[row]),
        )
        for row in range(len(topology))
    ]
    for n in range(seen.voltage.shape[2] // SLOTS):
        day = first + dt.timedelta(days=n)
        times = np.concatenate([[midnight(day, SHANGHAI)], points(CURVE, day, SHANGHAI)])
        heard = at(f"{day + dt.timedelta(days=1)} 00:20")
        for row, here in enumerate(who):
            given = {
                code: [
                    None if r == MISSING else int(r)
                    for r in table[row, n * SLOTS : (n + 1) * SLOTS + 1].tolist()
                ]
                for code, table in (("active_import", seen.imports), ("active_export", seen.exports))
            }
            for what, table in (("voltage", seen.voltage), ("current", seen.current)):
                for leg, letter in enumerate("abc"):
                    values = table[row, leg, n * SLOTS : (n + 1) * SLOTS].tolist()
                    given[f"{what}_{letter}"] = [None, *(None if np.isnan(v) else v for v in values)]
            new = 0 if n == 0 else 1  # the opening midnight is there from the day before
            reads = rows(
                [here.meter] * (SLOTS + 1 - new), times[new:], **{c: v[new:] for c, v in given.items()}
            )
            attempt = Attempt(here.meter, CURVE, times[1:], times[:0], heard)
            deliver(conn, CURVES, reads, heard, attempts=(attempt,))
    return who
