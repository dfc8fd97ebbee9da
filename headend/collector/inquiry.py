"""A read order that asks for more than the registers: single items by name, or everything that a diagnosis asks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headend.store.orders import ITEMS, SURVEY
from protocols.errors import Misuse, ProtocolError, Refused
from protocols.localtime import as_datetime
from terminals.diagnose.candidates import probe_of
from terminals.diagnose.diagnosis import Cause, Diagnosis, State, Words
from terminals.diagnose.document import document
from terminals.diagnose.engine import with_findings
from terminals.diagnose.examination import Examination, Log, Trips
from terminals.diagnose.trouble import cause_of, told
from terminals.diagnose.verdict import verdict
from terminals.drivers.driver import Driver, Meter
from terminals.items.catalogues import ask_all, catalogue_of, find_all
from terminals.items.item import UnknownItem
from terminals.links.link import LinkError
from terminals.session import Session, SessionError

Now = Callable[[], np.datetime64]

_LINK = Words("through the collector that owns the terminal's line", "经采集进程既有链路")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What came of it. `failed`: why nothing did; '' otherwise."""

    outcome: str
    result: dict[str, Any] = field(default_factory=dict)
    failed: str = ""


async def inquire(session: Session, driver: Driver, meter: Meter, action: str, now: Now) -> Inquiry:
    """SURVEY or ITEMS with names. Whatever the wire does ends in the Inquiry; what the guard raises goes through."""
    secrets = tuple(value for key, value in meter.secrets.items() if "password" in key)
    trips = Trips(secrets, _since(asyncio.get_running_loop().time))
    with session.observed(trips.note):
        if action == SURVEY:
            return await _survey(session, driver, meter, now, trips)
        return await _items(session, driver, meter, action.removeprefix(ITEMS).split(), now, trips)


async def _items(
    session: Session, driver: Driver, meter: Meter, texts: list[str], now: Now, trips: Trips
) -> Inquiry:
    try:
        catalogue = catalogue_of(driver, meter.address)
        wanted = find_all(catalogue, texts)
        values = await session.run(ask_all(catalogue, meter, wanted))
    except (UnknownItem, Misuse) as mistake:
        return Inquiry("", failed=f"not asked: {mistake}")
    except (SessionError, LinkError, ProtocolError) as trouble:
        return Inquiry("", {"frames": _frames(trips)}, failed=str(trouble))
    result = {
        "read_at": as_datetime(now()).isoformat(),
        "items": [dataclasses.asdict(one) for one in values],
        "frames": _frames(trips),
    }
    given = sum(not one.refused for one in values)
    return Inquiry(f"{given} of {len(values)} values read", result)


async def _survey(session: Session, driver: Driver, meter: Meter, now: Now, trips: Trips) -> Inquiry:
    log = Log(lambda step: None, _since(asyncio.get_running_loop().time), trips)
    log.end("link", State.OK, _LINK, seconds=0.0)
    probe = probe_of(driver)
    cause, why = Cause.NONE, ""
    detail = Words(f"{driver.name}, address {meter.address}", f"{driver.name}，地址 {meter.address}")
    try:  # the clock, which every meter has: an answer proves that it is there
        await session.run(probe.clock(meter))
    except Refused:
        pass  # by the meter, or by its protocol: then the session was opened with an answer
    except (SessionError, LinkError, ProtocolError) as trouble:
        cause, why, detail = cause_of(trouble), str(trouble), told(trouble)
    there = not why
    log.end("address", State.OK if there else State.FAILED, detail, cause)
    examination = Examination(session, probe, meter, log, now)
    if there:
        await examination.run()
    log.rest(terminal=there and probe.terminal)
    diagnosis = Diagnosis(
        session.link.name, driver.name, meter.address if there else None, tuple(log.steps), verdict(log.steps)
    )
    result = {
        "diagnosis": document(with_findings(diagnosis, examination)),
        "read_at": as_datetime(now()).isoformat(),
    }
    failed = sum(step.state is State.FAILED for step in log.steps)
    outcome = f"diagnosed: {failed} of {len(log.steps)} steps failed"
    return Inquiry(outcome, result, failed=why)


def _frames(trips: Trips) -> list[dict[str, Any]]:
    return [dataclasses.asdict(trip) for trip in trips.take()]


def _since(clock: Callable[[], float]) -> Callable[[], float]:
    begun = clock()
    return lambda: round(clock() - begun, 6)
