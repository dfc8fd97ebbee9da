"""Clocks on the wire: how far one is ahead, whether it may be set now, and the orders that follow."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from headend import timesync
from headend.clock import Clock
from headend.control.clock_policy import (
    ACTS,
    Do,
    Facts,
    Master,
    Rules,
    Subject,
    TerminalClock,
    Verdict,
    decide,
)
from headend.store import clocks, orders
from headend.store.archive import Terminal
from headend.store.clocks import Known, Reading
from headend.store.db import Connection
from headend.store.orders import Writing
from protocols.localtime import as_datetime
from terminals.drivers.driver import ClockWay, Driver, Meter, Script
from terminals.session import Session

#: what asks for the sets that the policy wants; a person's orders bear the person's name
WHO: Final = "job:clock-policy"
#: a clock shows whole seconds: what it shows is half a second old in the middle, and right to within half a second
TICK: Final = 0.5
#: orders of one clock that were asked for on one day and never sent, after which it is left alone until tomorrow
UNSENT: Final = 5
_WAYS: Final = {ClockWay.WRITE: Do.WRITE, ClockWay.BROADCAST: Do.BROADCAST}


class Speaker(Protocol):
    """A driver, or a station."""

    def clock(self, whom: Meter) -> Script[np.datetime64]:
        """What it takes for UTC."""


@dataclass(frozen=True, slots=True)
class Offset:
    """`ahead`: seconds by which a clock was ahead of ours at `at`, right to within `uncertainty`: half the round trip and half a tick."""

    at: np.datetime64
    ahead: float
    uncertainty: float

    @property
    def shown(self) -> np.datetime64:
        """What the clock showed, in the middle of its second."""
        return self.at + np.timedelta64(round(self.ahead * 1e6), "us")

    def reading(self, kind: Subject, subject: int) -> Reading:
        return Reading(kind, subject, as_datetime(self.at), self.ahead, self.uncertainty)


async def measure(session: Session, speaker: Speaker, whom: Meter, clock: Clock) -> Offset:
    """Ask for the time. Whatever `speaker.clock` raises.

    Several requests may be needed, and repeats: when the answer was true is known only to lie between the first byte and the last."""
    asked = clock.now()
    shown = await session.run(speaker.clock(whom))
    half = (clock.now() - asked) / 2
    middle = asked + half
    ahead = float((shown - middle) / np.timedelta64(1, "s")) + TICK
    return Offset(middle.astype("datetime64[us]"), ahead, abs(float(half / np.timedelta64(1, "s"))) + TICK)


async def master(clock: Clock) -> Master:
    """Our own clock's state; asking chrony may take a moment, so a thread waits for it."""
    return await asyncio.to_thread(timesync.master, clock)


# --- the policy's facts ---


@dataclass(frozen=True, slots=True)
class Line:
    """One terminal's line as far as clocks go.

    known      subject -> what the store knows of it; the terminal itself is 0
    tried      orders to set clocks here, since midnight or still open
    station    whether the terminal has a clock of its own that we can speak with
    """

    now: dt.datetime
    rules: Rules
    known: Mapping[int, Known]
    tried: tuple[dict[str, Any], ...]
    ways: frozenset[Do]
    station: bool


#: the terminal itself, among the meters' numbers
ITSELF: Final = 0


def line(
    conn: Connection,
    terminal_id: int,
    meters: Iterable[int],
    driver: Driver,
    now: dt.datetime,
    *,
    station: bool,
    besides: int = 0,
) -> Line:
    """Look it up. `now`: civil time. `besides`: an order that is not counted, for it is being asked about."""
    rules = clocks.rules(conn)
    known = clocks.known(conn, "meter", meters)
    if station:
        own = clocks.known(conn, "terminal", [terminal_id])
        known[ITSELF] = own.get(terminal_id, Known())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    tried = [t for t in clocks.tries(conn, terminal_id, midnight) if t["order_id"] != besides]
    return Line(now, rules, known, tuple(tried), frozenset(_WAYS[way] for way in driver.clock_ways), station)


def facts(on: Line, subject: int, master: Master, fresh: Offset | None = None) -> Facts:
    """What the policy asks of one clock. `fresh`: measured just now."""
    known = on.known.get(subject, Known())
    mine = [t for t in on.tried if _of(t) == subject]
    # a broadcast sets all that hear it, whoever it was ordered for
    told = [t for t in on.tried if subject != ITSELF and t["request"].get("way") == Do.BROADCAST]
    sent = [t["sent_at"] for t in (*mine, *told) if t["sent_at"] is not None and not t["is_open"]]
    ways = frozenset((Do.SET,)) if subject == ITSELF else on.ways
    return Facts(
        on.now,
        "terminal" if subject == ITSELF else "meter",
        master,
        known.ahead if fresh is None else fresh.ahead,
        (known.uncertainty or 0.0) if fresh is None else fresh.uncertainty,
        known.read_at if fresh is None else as_datetime(fresh.at),
        ways,
        max((at for at in (known.set_at, *sent) if at is not None), default=None),
        any(t["is_open"] for t in (*mine, *told)),
        _terminal(on, subject),
    )


def _of(tried: Mapping[str, Any]) -> int:
    return ITSELF if tried["meter_id"] is None else int(tried["meter_id"])


def _terminal(on: Line, subject: int) -> TerminalClock:
    if not on.station or subject == ITSELF:
        return "none"
    known = on.known.get(ITSELF, Known())
    if (
        known.ahead is None
        or known.read_at is None
        or (on.now - known.read_at).total_seconds() > on.rules.stale
    ):
        return "unknown"
    return "right" if abs(known.ahead) < on.rules.terminal_from else "wrong"


# --- the orders ---


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set that the policy wants: subject ITSELF is the terminal."""

    subject: int
    verdict: Verdict


def wanted(on: Line, meters: Mapping[int, Meter], master: Master) -> list[Wanted]:
    """What is to be set now. The terminal first and alone; one broadcast for all on the line, and it is proved by the worst of them."""
    if on.station:
        verdict = _decided(on, ITSELF, master)
        if verdict.do in ACTS:
            return [Wanted(ITSELF, verdict)]
        read = on.known[ITSELF].read_at is not None
        # it is off and will be set, or was set and is to be read: what it makes its meters believe until then is not their error
        if verdict.do is Do.WAIT or (verdict.do is Do.MEASURE and read):
            return []
    found = [
        Wanted(k, verdict)
        for k in meters
        if k in on.known and (verdict := _decided(on, k, master)).do in ACTS
    ]
    told = [w for w in found if w.verdict.do is Do.BROADCAST]
    if told and not _touched(on):
        return [max(told, key=lambda w: abs(on.known[w.subject].ahead or 0.0))]
    # one by one: each takes the line, and the readings are due too
    return [w for w in found if w.verdict.do is not Do.BROADCAST][:1]


def _touched(on: Line) -> bool:
    """Whether any meter on the line was set today, or is to be: a broadcast would set it a second time."""
    ordered = any(t["meter_id"] is not None and (t["is_open"] or t["sent_at"] is not None) for t in on.tried)
    sets = [
        k.set_at.astimezone(on.now.tzinfo)
        for s, k in on.known.items()
        if s != ITSELF and k.set_at is not None
    ]
    return ordered or any(at.date() >= on.now.date() for at in sets)


def _decided(on: Line, subject: int, master: Master) -> Verdict:
    unsent = [t for t in on.tried if _of(t) == subject and t["sent_at"] is None and not t["is_open"]]
    if len(unsent) >= UNSENT:
        return Verdict(Do.WAIT, "it was to be set today again and again and could not be sent")
    return decide(facts(on, subject, master), on.rules)


def order(conn: Connection, terminal: Terminal, assets: Mapping[int, str], on: Line, want: Wanted) -> int:
    """Ask for it; commits. The same want of the same day is the same order."""
    again = sum(1 for t in on.tried if _of(t) == want.subject)
    of_terminal = want.subject == ITSELF
    return orders.request(
        conn,
        kind="clock",
        action="set",
        asset="" if of_terminal else assets[want.subject],
        terminal=terminal.code if of_terminal else "",
        reason=f"clock {want.verdict.why}",
        who=WHO,
        now=np.datetime64(on.now.astimezone(dt.UTC).replace(tzinfo=None), "us"),
        expires=np.datetime64((want.verdict.until or on.now).astimezone(dt.UTC).replace(tzinfo=None), "us"),
        writing=Writing({"way": str(want.verdict.do)}),
        request_key=f"clock:{terminal.code}:{want.subject}:{on.now.date()}:{again}",
        priority=7,
    )
