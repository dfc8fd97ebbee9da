"""The rounds: each meter and terminal is asked once a day for its clock and its events, at once where a terminal says there is something,
and clocks are set where the policy says so.

They run beside the reading and wait for the line like everybody; nothing of them is worth a reading. What was visited when stands in the
store, so that a restart goes on and the visits stay spread over the day as the first ones were.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.collector import clockwork, tidings
from headend.collector.clockwork import ITSELF
from headend.collector.database import Database
from headend.collector.recorder import Recorder
from headend.collector.spread import share
from headend.collector.tasks import EVENTS, station_of
from headend.collector.throttle import Throttle
from headend.store import archive, clocks, events, exchanges, visits
from headend.store.archive import Terminal
from headend.store.db import Connection
from headend.store.events import Event
from headend.store.exchanges import NO_TIMES, Exchange
from headend.store.orders import OrderError
from headend.store.visits import Key
from protocols.errors import ProtocolError
from protocols.localtime import Times, as_datetime, instant
from terminals.bus import Bus, BusError
from terminals.drivers.driver import Driver, Meter
from terminals.drivers.happening import Happening
from terminals.drivers.station import Station
from terminals.links.link import LinkLost
from terminals.session import Session, SessionError
from terminals.turns import Priority

log = structlog.get_logger()

#: no stop is due
NEVER: Final = np.datetime64("9999-01-01", "us")
#: domain time from one visit to the next
DAILY: Final = np.timedelta64(24 * 3600, "s")
#: Rhythm.settle: ten minutes: ten thousand terminals that have come together are looked up at seventeen a second
SETTLE: Final = np.timedelta64(600, "s")
#: domain time from a visit that came to nothing to the next: a meter that is dead must not be asked all day
AGAIN: Final = np.timedelta64(3600, "s")
#: events of so long before the last visit are asked for too: the clock that stamped them may have been off
OVERLAP: Final = np.timedelta64(24 * 3600, "s")
#: how far back the first visit asks: meters keep ten of a kind, terminals 256
FIRST: Final = np.timedelta64(62, "D")
#: domain time between looks at what is due, at what terminals have said unasked, and at clocks that are off
PAUSE: Final = np.timedelta64(60, "s")
#: seconds: no rule is below this (store/clocks.py), so nobody is asked about a clock that is better
LEAST: Final = clocks.LEAST
#: domain time until it is looked at again whether setting clocks is still switched off
OFF: Final = np.timedelta64(15 * 60, "s")
#: the same between two readings of a clock that was set
REREAD: Final = np.timedelta64(5 * 60, "s")
#: events of one visit that are kept: ten of each of some dozen logs, or a terminal's 512 places
MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class Rhythm:
    """spread: domain time over which the first visits are spread, and so all later ones: a fleet must not be asked all at once.
    settle: domain time within which a terminal that has just come is looked at: after an outage all come together, and their points first."""

    spread: np.timedelta64 = DAILY
    settle: np.timedelta64 = SETTLE


@dataclass(slots=True)
class _Stops:
    """The places of the rounds, by columns: a big fleet has two for each meter, and looks at them once a day.

    due, asked, answered  datetime64[us][place]: when each is to be asked, was asked and has answered last; NaT: never yet
    """

    keys: tuple[Key, ...]
    due: Times
    asked: Times
    answered: Times

    @classmethod
    def of(cls, keys: Sequence[Key]) -> _Stops:
        never = np.full(len(keys), "NaT", dtype="datetime64[us]")
        return cls(tuple(keys), never, never.copy(), never.copy())

    def first(self) -> np.datetime64:
        """When the next is due; NEVER: there is none."""
        return np.datetime64(self.due.min()) if len(self.due) else NEVER


@dataclass(slots=True)
class Rounds:
    """Of one terminal. `meters`: those behind it as far as the worker knows; `station`: who speaks with the terminal itself, if it has an
    address."""

    database: Database
    clock: Clock
    throttle: Throttle
    terminal: Terminal
    driver: Driver
    station: Station | None
    recorder: Recorder
    meters: Callable[[], Mapping[int, Meter] | None]
    rhythm: Rhythm = field(default_factory=Rhythm)
    _stops: _Stops = field(default_factory=lambda: _Stops.of(()))
    #: none of the stops is due before: most looks find nothing, and must cost nothing
    _first: np.datetime64 = NEVER
    _planned: frozenset[int] = frozenset()
    _marks: dict[str, str] = field(default_factory=dict)
    _ahead: dict[int, float] = field(default_factory=dict)
    _policy_off_until: np.datetime64 | None = None

    async def run(self, bus: Bus) -> None:
        """Until cancelled. LinkLost when the line is gone."""
        await self._sleep(_share(self.terminal.terminal_id, self.rhythm.settle))
        while True:
            meters = self.meters()
            if meters and not self.database.away:
                with contextlib.suppress(
                    psycopg.OperationalError
                ):  # told by `ask`; what was due is due still
                    await self._once(bus, meters)
            await self._sleep(PAUSE)

    async def _sleep(self, span: np.timedelta64) -> None:
        # never a busy loop, however fast domain time runs
        await asyncio.sleep(max(0.05, self.clock.seconds_until(self.clock.now() + span)))

    async def _once(self, bus: Bus, meters: Mapping[int, Meter]) -> None:
        if meters.keys() != self._planned:
            await self._plan(meters)
        await self._hear(meters)
        while self._first <= self.clock.now():
            place = int(self._stops.due.argmin())
            if self._stops.due[place] <= self.clock.now():
                await self._visit(bus, meters, place)
                await self._hear(meters)
            self._first = self._stops.first()
        await self._mind_clocks(meters)

    # --- what is due ---

    async def _plan(self, meters: Mapping[int, Meter]) -> None:
        number = self.terminal.terminal_id
        made = await self.database.ask(lambda conn: visits.made(conn, number, meters))
        now = self.clock.now()
        wanted: list[Key] = []
        if self.station is not None:  # first: whether a meter may be set hangs on it
            wanted.append(("terminal", number, "clock"))
        if self.driver.clock_ways:
            wanted += [("meter", meter, "clock") for meter in meters]
        if self.driver.events_of == "meter":
            wanted += [("meter", meter, "events") for meter in meters]
        elif self.driver.events_of == "terminal":
            wanted.append(("terminal", number, "events"))
        stops = _Stops.of(wanted)
        for place, key in enumerate(wanted):
            visit = made.get(key)
            if visit is None:
                stops.due[place] = now + _share(key[1], self.rhythm.spread)
                continue
            stops.asked[place] = asked = instant(visit.asked)
            if visit.answered is not None:
                stops.answered[place] = instant(visit.answered)
            stops.due[place] = asked + (DAILY if stops.answered[place] >= asked else AGAIN)
        self._stops, self._first, self._planned = stops, stops.first(), frozenset(meters)

    async def _hear(self, meters: Mapping[int, Meter]) -> None:
        """What the terminal said unasked: told events are kept; where it only says that it has some, they are asked for now."""
        now, number = self.clock.now(), self.terminal.terminal_id
        by_terminal = {meter.terminal: meter for meter in meters.values()}
        for name, meter in by_terminal.items():
            news = self.driver.news(meter)
            if news.told:
                await self._keep_told(tidings.rows(news.told, meters, number, now))
            if news.mark != self._marks.get(name, ""):
                self._marks[name] = news.mark
                for place, key in enumerate(self._stops.keys):
                    if key[2] == "events":
                        self._stops.due[place] = self._first = now

    async def _keep_told(self, found: Sequence[Event]) -> None:
        # until it is in the store nothing else is done here: the terminal believes that we have it
        zone = self.database.zone
        await self.database.persist(lambda conn: events.write(conn, found, zone))

    # --- one visit ---

    async def _visit(self, bus: Bus, meters: Mapping[int, Meter], place: int) -> None:
        """Whatever comes of it is booked."""
        stops = self._stops
        kind, subject, what = key = stops.keys[place]
        began, why = self.clock.now(), ""
        stops.asked[place] = began
        whom, speaker = self._whom(meters, key)
        try:
            async with self.throttle.turn(), bus.turn(whom, speaker, Priority.SCHEDULED) as session:
                if what == "clock":
                    await self._read_clock(session, whom, speaker, key)
                else:
                    await self._read_events(session, meters, whom, key, stops.answered[place])
        except LinkLost:
            raise
        except (SessionError, BusError, ProtocolError) as trouble:
            why = str(trouble)
            await self.database.ask(lambda conn: visits.book(conn, key, as_datetime(began), why))
            log.info(
                "visit came to nothing",
                terminal=self.terminal.code,
                what=what,
                of=f"{kind}/{subject}",
                why=why,
            )
        else:
            stops.answered[place] = began
        stops.due[place] = began + (AGAIN if why else DAILY)

    def _whom(self, meters: Mapping[int, Meter], key: Key) -> tuple[Meter, Driver | Station]:
        kind, subject, what = key
        if kind == "meter":
            return meters[subject], self.driver
        if what == "clock":
            assert self.station is not None  # or it would not have been planned
            return station_of(self.terminal, meters.values(), self.database.zone), self.station
        return next(
            iter(meters.values())
        ), self.driver  # the terminal's events: any of its meters leads there

    async def _read_clock(self, session: Session, whom: Meter, speaker: Driver | Station, key: Key) -> None:
        kind, subject, _ = key
        offset = await clockwork.measure(session, speaker, whom, self.clock)

        def keep(conn: Connection) -> None:
            clocks.note(conn, [offset.reading(kind, subject)])
            visits.book(conn, key, as_datetime(offset.at))

        await self.database.ask(keep)
        self._ahead[ITSELF if kind == "terminal" else subject] = offset.ahead

    async def _read_events(
        self, session: Session, meters: Mapping[int, Meter], whom: Meter, key: Key, last: np.datetime64
    ) -> None:
        kind, subject, _ = key
        now = self.clock.now()
        since = now - FIRST if np.isnat(last) else last - OVERLAP
        said: Exchange | None = None
        with self.recorder.listening(whom, EVENTS, NO_TIMES, now) as so_far:
            told: tuple[Happening, ...] = await session.run(self.driver.events(whom, since, now))
            said = so_far()
        evidence = 0 if said is None or not told else said.evidence
        asked = subject if kind == "meter" else None
        found = tidings.rows(
            told[:MOST], meters, self.terminal.terminal_id, now, asked=asked, evidence=evidence
        )
        zone = self.database.zone

        def keep(conn: Connection) -> None:
            if said is not None and found:  # that nothing has happened needs no proof
                exchanges.write(conn, [said])
            events.write(conn, found, zone)
            visits.book(conn, key, as_datetime(now))

        await self.database.ask(keep)

    # --- clocks that are off ---

    async def _mind_clocks(self, meters: Mapping[int, Meter]) -> None:
        """Ask the policy, where a clock is off by more than any rule would leave alone, or is to be read again."""
        if not any(abs(ahead) > LEAST for ahead in self._ahead.values()):
            return
        now, number = self.clock.now(), self.terminal.terminal_id
        if self._policy_off_until is not None and now < self._policy_off_until:
            return
        civil: dt.datetime = as_datetime(now, self.database.zone)

        def look(conn: Connection) -> clockwork.Line:
            return clockwork.line(conn, number, meters, self.driver, civil, station=self.station is not None)

        on = await self.database.ask(look)
        self._policy_off_until = None if on.rules.enabled else now + OFF
        if not on.rules.enabled:
            return
        for subject, known in on.known.items():
            if known.set_at is not None and (known.read_at is None or known.set_at >= known.read_at):
                self._read_again(subject, now)  # the proof of a broadcast, which nobody answers
            elif known.ahead is not None:
                self._ahead[subject] = known.ahead
        await self._order(on, clockwork.wanted(on, meters, await clockwork.master(self.clock)))

    def _read_again(self, subject: int, now: np.datetime64) -> None:
        key: Key = (
            ("terminal", self.terminal.terminal_id, "clock")
            if subject == ITSELF
            else ("meter", subject, "clock")
        )
        if key not in self._stops.keys:
            return
        place = self._stops.keys.index(key)
        asked = self._stops.asked[place]
        if np.isnat(asked) or now - asked >= REREAD:
            self._stops.due[place] = min(self._stops.due[place], now)
            self._first = min(self._first, self._stops.due[place])

    async def _order(self, on: clockwork.Line, wanted: Sequence[clockwork.Wanted]) -> None:
        number = self.terminal.terminal_id

        def ask(conn: Connection) -> None:
            assets = {row.meter_id: row.asset for row in archive.installed(conn, self.clock.now(), [number])}
            for want in wanted:
                clockwork.order(conn, self.terminal, assets, on, want)

        for want in wanted:
            log.info(
                "clock to be set",
                terminal=self.terminal.code,
                subject=want.subject,
                way=str(want.verdict.do),
                why=want.verdict.why,
            )
        try:
            if wanted:
                await self.database.ask(ask)
        except OrderError as refused:
            log.warning("clock order not made", terminal=self.terminal.code, why=str(refused))


def _share(number: int, of: np.timedelta64) -> np.timedelta64:
    return np.timedelta64(int(share(number) * float(of / np.timedelta64(1, "us"))), "us")
