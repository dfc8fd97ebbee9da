"""Reading and setting a clock: a meter's, or the terminal's own. A set is proved by reading back."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from headend.collector import clockwork
from headend.collector.clockwork import ITSELF, Offset
from headend.collector.job import Job, Looked, WireTrouble
from headend.control.clock_policy import Do, Master, decide
from headend.control.facts import Refusal
from headend.control.order_state import Event
from headend.store import archive, clocks
from headend.store.db import Connection
from headend.store.events import Subject
from protocols.errors import Misuse, Refused
from protocols.localtime import as_datetime
from terminals.drivers.driver import ClockWay, Script
from terminals.session import Guard

#: seconds by which a clock may still be off after it was set: it ticks in whole seconds, and the answer takes its time
TOLERANCE: Final = 5.0


class _TooLate(Exception):
    """The order's time ran out before it was written: not a byte of it has left."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was seen before a set, and until when it may be written."""

    before: Offset
    until: dt.datetime


class ClockAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        """Before a set: is our own clock right, how far is that one off, and does the policy still say so where it was the policy that
        asked? A person's order is asked about our clock alone."""
        if job.order["action"] != "set":
            return Looked()
        try:
            before = await clockwork.measure(job.session, job.speaker, job.whom, job.desk.clock)
        except Refused as refusal:
            return Looked((Refusal("clock", f"its clock cannot be read: {refusal}"),))
        master = await clockwork.master(job.desk.clock)

        def ask(conn: Connection) -> tuple[list[Refusal], dt.datetime]:
            clocks.note(conn, [before.reading(*_whose(job))])
            most = clocks.rules(conn).master_error
            if master.synchronised is not True or master.error > most:
                why = f"this machine's own clock: {master.why}; {master.error:.1f} s at most"
                return [Refusal("master", why)], job.order["expires_at"]
            return _still(conn, job, before, master)

        against, until = await job.desk.database.call(ask)
        return Looked(tuple(against), _Found(before, until))

    async def send(self, job: Job, looked: Looked, asked: Any, left: float) -> None:
        found: _Found | None = looked.known
        if found is not None and not await _set(job, found):
            return
        try:
            shown = await clockwork.measure(job.session, job.speaker, job.whom, job.desk.clock)
        except WireTrouble as trouble:
            await job.step(Event.REJECT, str(trouble))
            return
        kind, subject = _whose(job)
        await job.desk.database.call(lambda conn: clocks.note(conn, [shown.reading(kind, subject)]))
        result = {
            "meter_clock": as_datetime(shown.shown).isoformat(),
            "offset_seconds": round(shown.ahead, 1),
            "uncertainty_seconds": round(shown.uncertainty, 1),
        }
        if found is not None:
            result["offset_before"] = round(found.before.ahead, 1)
        await job.step(Event.ANSWER, "clock read", result)
        wrong = found is not None and abs(shown.ahead) > TOLERANCE + shown.uncertainty
        await job.step(Event.DISPROVE if wrong else Event.PROVE, f"{kind} clock off by {shown.ahead:+.1f} s")

    async def find_out(self, job: Job) -> None:
        """Nothing: a clock that was interrupted is asked for again by whoever wants it."""

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return False


def _whose(job: Job) -> tuple[Subject, int]:
    meter = job.order["meter_id"]
    return ("terminal", job.order["terminal_id"]) if meter is None else ("meter", meter)


def _still(conn: Connection, job: Job, before: Offset, master: Master) -> tuple[list[Refusal], dt.datetime]:
    """Whether the policy would ask for it now, and until when."""
    way, desk = job.order["request"].get("way"), job.desk
    if way is None:
        return [], job.order["expires_at"]
    meter = job.order["meter_id"]
    on = clockwork.line(
        conn, job.order["terminal_id"], [] if meter is None else [meter], desk.driver, as_datetime(job.now(), desk.database.zone),
        station=desk.station is not None, besides=job.order["order_id"],
    )  # fmt: skip
    verdict = decide(clockwork.facts(on, ITSELF if meter is None else meter, master, before), on.rules)
    if verdict.do != way or verdict.until is None:
        return [Refusal("clock", f"the policy now says {verdict.do}: {verdict.why}")], job.order["expires_at"]
    return [], min(verdict.until, job.order["expires_at"])


async def _set(job: Job, found: _Found) -> bool:
    """Whether it was, as far as anybody can say before the read-back. From the first byte on the interval is marked."""
    guard = job.session.guard
    job.session.guard = _in_time(job, found.until)
    try:
        await job.session.run(_script(job), attempts=1)
    except Refused as refusal:
        await job.step(Event.REJECT, f"refused: {refusal}")
        return False
    except (Misuse, _TooLate) as why:
        await job.step(Event.REJECT, f"not sent: {why}")
        return False
    except WireTrouble as trouble:
        await _mark(job, found.before)
        await job.step(Event.REJECT, f"sent, but {trouble}")
        return False
    finally:
        job.session.guard = guard
    await _mark(job, found.before)
    return True


def _in_time(job: Job, until: dt.datetime) -> Guard:
    def guard() -> None:
        if as_datetime(job.now()) >= until:
            raise _TooLate("its time ran out before it was written")
        job.desk.guard()

    return guard


def _by_write(job: Job) -> bool:
    return job.order["meter_id"] is not None and job.order["request"].get("way") == Do.WRITE


def _script(job: Job) -> Script[None]:
    if _by_write(job):
        return job.desk.driver.write_clock(job.whom, job.now())
    return job.speaker.set_clock(job.whom, job.now())


async def _mark(job: Job, before: Offset) -> None:
    """Note the set for whoever has heard it: of a broadcast all on the line that take one."""
    kind, subject = _whose(job)
    heard_by_all = kind == "meter" and not _by_write(job) and ClockWay.BROADCAST in job.desk.driver.clock_ways

    def work(conn: Connection) -> None:
        moved = {subject: before.ahead}
        if heard_by_all:
            there = [row.meter_id for row in archive.installed(conn, job.now(), [job.order["terminal_id"]])]
            known, limit = clocks.known(conn, "meter", there), clocks.rules(conn).broadcast_to
            others = {k: (known[k].ahead or 0.0) if k in known else 0.0 for k in there}
            moved = {k: ahead for k, ahead in others.items() if abs(ahead) <= limit} | moved
        how = "broadcast" if heard_by_all else "write"
        clocks.was_set(
            conn,
            kind,
            moved,
            as_datetime(job.now()),
            job.desk.database.zone,
            order=job.order["order_id"],
            how=how,
        )

    await job.desk.database.call(work)
