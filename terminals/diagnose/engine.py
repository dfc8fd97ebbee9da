"""The whole diagnosis of a line: the search, then the examination of who was found, then the verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.errors import ProtocolError
from terminals.diagnose.candidates import Candidate
from terminals.diagnose.diagnosis import Cause, Diagnosis, State, Words
from terminals.diagnose.examination import Examination, Log, Report, Trips
from terminals.diagnose.lockout import Lockout
from terminals.diagnose.phasors import Judge
from terminals.diagnose.search import Failure, Found, Progress, Search, Target, openers_of
from terminals.diagnose.trouble import both
from terminals.diagnose.verdict import verdict
from terminals.diagnose.wire import LiveWire, Wire
from terminals.links.link import LinkError
from terminals.links.url import Opener
from terminals.pace import Timing
from terminals.session import SessionError

#: Somebody stands at the meter and waits: two attempts, then the next idea.
TIMING: Final = Timing(first=3.0, floor=1.5, ceiling=15.0, attempts=2)


def _quietly(words: Words) -> None:
    """Nobody watches."""


async def diagnose(
    url: str | Sequence[Opener],
    target: Target,
    candidates: Sequence[Candidate],
    report: Report,
    *,
    now: Callable[[], np.datetime64],
    zone: ZoneInfo,
    timing: Timing = TIMING,
    connect_timeout: float = 10.0,
    wire: Wire | None = None,
    lockout: Lockout | None = None,
    judge: Judge | None = None,
    progress: Progress = _quietly,
) -> Diagnosis:
    """Find out what is wrong behind `url`. BadAddress if it is none; whatever the wire does becomes a step.

    Openers in its place are tried as they are. `report` is told of every step as it ends, `progress` of what is tried next. `now` gives domain
    time (UTC), `zone` is the meter's civil time. `wire`: where links come from; a recorded one makes a diagnosis of the past. `judge`: what
    to make of the wiring; None leaves it unjudged.
    """
    openers = openers_of(url) if isinstance(url, str) else list(url)
    wire = wire or LiveWire()
    if wire.played:
        timing = replace(timing, pause=0.0)  # nobody needs the rest between two frames

    def elapsed() -> float:
        return wire.at

    trips = Trips(target.passwords, elapsed)
    log = Log(report, elapsed, trips)
    search = Search(wire, target, candidates, lockout or Lockout(), zone, timing, trips.note, progress)
    outcome = await search.run(openers, connect_timeout)
    examination: Examination | None = None
    try:
        _tell_of_search(log, search, outcome)
        if isinstance(outcome, Found):
            examination = Examination(
                outcome.session, outcome.candidate.probe, outcome.meter, log, now, judge
            )
            await examination.run()
    finally:
        if isinstance(outcome, Found):
            await _leave(outcome)
    log.rest(terminal=isinstance(outcome, Found) and outcome.candidate.probe.terminal)
    return _result(openers[0].url, search, outcome, examination, log)


def _tell_of_search(log: Log, search: Search, outcome: Found | Failure) -> None:
    if search.opened is None:
        assert isinstance(outcome, Failure)
        log.end("link", State.FAILED, outcome.detail, Cause.CANNOT_OPEN)
        return
    log.end("link", State.OK, both(search.opened.name), seconds=search.connected)
    if isinstance(outcome, Failure):
        log.end("address", State.FAILED, outcome.detail, outcome.cause)
        return
    name, meter = outcome.candidate.name, outcome.meter
    where = f"{name}, address {meter.address}", f"{name}，地址 {meter.address}"
    if meter.terminal and meter.address in ("", meter.terminal):
        where = f"{name}, terminal {meter.terminal}", f"{name}，终端 {meter.terminal}"
    elif meter.terminal:
        where = f"{where[0]} behind terminal {meter.terminal}", f"{where[1]}，经终端 {meter.terminal}"
    log.end("address", State.OK, Words(*where))


async def _leave(found: Found) -> None:
    """Say goodbye where the protocol has one; close the link."""
    # A courtesy: the diagnosis stands, whatever becomes of it.
    with contextlib.suppress(SessionError, LinkError, ProtocolError):
        await found.session.run(found.candidate.driver.close(found.meter), attempts=1)
    await found.link.close()


def _result(
    url: str, search: Search, outcome: Found | Failure, examination: Examination | None, log: Log
) -> Diagnosis:
    found = outcome if isinstance(outcome, Found) else None
    diagnosis = Diagnosis(
        url=search.opened.name if search.opened is not None else url,
        protocol=found.candidate.name if found else None,
        address=(found.meter.address or found.meter.terminal) if found else None,
        steps=tuple(log.steps),
        verdict=verdict(log.steps),
        notes=tuple(search.notes),
    )
    if examination is None:
        return diagnosis
    return with_findings(diagnosis, examination)


def with_findings(diagnosis: Diagnosis, examination: Examination) -> Diagnosis:
    """The diagnosis with what the device said."""
    return replace(
        diagnosis,
        clock_offset=examination.offset, reads=examination.reads, relay=examination.relay, phasors=examination.phasors,
        traits=examination.traits, flags=examination.flags, battery=examination.battery, signal=examination.signal,
        wiring=examination.wiring,
    )  # fmt: skip
