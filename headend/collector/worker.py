"""One terminal: its link, its bus, its meters' gaps and its orders."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.collector.commands import Commands, LeaseLost
from headend.collector.database import Database
from headend.collector.drivers import station_for
from headend.collector.gaps import Gap, Kept, ahead, look_back, lost_because, open_gaps, overwritten
from headend.collector.limits import Allowances, PutOff, Starts, spare
from headend.collector.memory import Memory
from headend.collector.recorder import Recorder
from headend.collector.rounds import Rhythm, Rounds
from headend.collector.spread import share
from headend.collector.survey import Owed, Question, Survey
from headend.collector.tasks import PAST, script, station_of
from headend.collector.throttle import NoPlace, Throttle
from headend.collector.writer import Writer
from headend.plans import COLLECTED, CURVE, Plan, points
from headend.store import coverage, orders, tables
from headend.store.archive import Terminal, TerminalState
from headend.store.coverage import Attempt, DayMatrix
from headend.store.exchanges import NO_TIMES, Exchange
from headend.store.intake import Delivery
from headend.store.orders import Fence
from protocols.errors import ProtocolError, Refused
from protocols.localtime import Times
from protocols.reading import no_reads
from terminals.bus import Bus, BusError, BusFull, NoTurn, Quarantined
from terminals.drivers.driver import Driver, Meter, Outcome, Retention
from terminals.drivers.through import NotReached
from terminals.links.link import Link, LinkError, LinkLost
from terminals.pace import Pace, Timing
from terminals.quarantine import Backoff, Quarantine
from terminals.session import Garbled, NoAnswer, SessionError
from terminals.turns import Priority

log = structlog.get_logger()

#: domain time after which gaps that stayed open are tried again, though no new point has fallen due
RETRY = np.timedelta64(3 * 60, "s")
#: the same for a meter without memory: within the minute that a point may be late, four tries
RETRY_SAMPLE = np.timedelta64(15, "s")
#: causes after which nothing new is known of what a meter owes
SILENT = ("no-answer", "garbled")
#: domain time between looks at an order whose outcome is open (the customer's key, an unreadable relay)
RECHECK = np.timedelta64(2 * 60, "s")
#: the same for an order that could not be sent: a silent meter must not have the line to itself
RESEND = np.timedelta64(30, "s")
#: real seconds until a terminal that could not be reached is dialled again, doubled up to the cap
REDIAL, REDIAL_CAP = 1.0, 30.0
#: seconds that one question with its answers takes on a line that has not been heard yet, and over how many turns the pace is learned
FIRST_TURN, LEARN = 2.0, 8
#: seconds of the loop that one terminal takes to see what it owes
WAKE = 0.003
#: seconds a connection may take
DIAL = 5.0


@dataclass(frozen=True, slots=True)
class Context:
    """What all workers of a process share."""

    database: Database
    writer: Writer
    survey: Survey
    clock: Clock
    timing: Timing
    owner: str
    starts: Starts
    allowances: Allowances
    throttle: Throttle
    rhythm: Rhythm = field(default_factory=Rhythm)
    #: terminals of this process: they do not all wake with the point that falls due for all of them
    crowd: Callable[[], int] = lambda: 0


class Worker:
    """Serves one terminal while this process holds its lease."""

    def __init__(
        self,
        context: Context,
        terminal: Terminal,
        driver: Driver,
        epoch: int,
        lease_valid: Callable[[], bool],
        memory: Memory | None = None,
    ) -> None:
        """`memory`: what an earlier worker of this process knew of the terminal."""
        self.terminal = terminal
        self.epoch = epoch
        self.online = False
        self.last_seen: np.datetime64 | None = None
        self._heard = 0
        self._booked_offline: np.datetime64 | None = None
        self._context = context
        self._driver = driver
        self._kept = Kept.of(driver)
        self._look_back = {
            plan.id: -int(-look_back(plan, self._kept) // np.timedelta64(1, "D")) for plan in COLLECTED
        }  # days
        self._lease_valid = lease_valid
        self._memory = Memory() if memory is None else memory
        self._fence = Fence(context.owner, terminal.terminal_id, epoch)
        self._pace = Pace(context.timing)
        seconds = partial(_domain_seconds, context.clock)
        self._quarantine = Quarantine(_backoff(driver.retention), seconds)
        self._unreached = Quarantine(Backoff(), seconds)  # meters, past the terminal
        self._poke = asyncio.Event()
        self._link: Link | None = None
        self._past_volume = self._told_volume = (
            0  # bytes: of links that are closed, and what was told of them all
        )
        self._owes = 0  # questions of this round that are still to be asked
        self._turn_seconds = FIRST_TURN
        self._looked_back = False  # the last look was one at the days of a standstill, too
        self._put_off = PutOff()
        self._orders: list[dict[str, Any]] = []
        self._looked: dict[int, np.datetime64] = {}
        self._retry = RETRY_SAMPLE if driver.retention.sampled else RETRY
        self._failing: dict[int, str] = {}  # meter -> why its last question came to nothing
        self._recorder = Recorder(terminal.terminal_id, terminal.protocol, driver, context.clock.now)

    # --- orders ------------------------------------------------------------------------------------------

    def give(self, open_orders: list[dict[str, Any]]) -> None:
        """The terminal's open orders as the store has them now."""
        self._orders = open_orders
        self.nudge()

    @property
    def has_orders(self) -> bool:
        """Some were given that are not done as far as it knows."""
        return bool(self._orders)

    def nudge(self) -> None:
        """To be called each second: look at orders that wait, and at a link that has been lost while nothing was said on it. Not a timer of
        each worker's own: ten thousand of them would be all that the process does."""
        if self._orders or (self._link is not None and self._link.closed):
            self._poke.set()

    @property
    def state(self) -> TerminalState:
        """How the terminal is, for the archive."""
        return TerminalState(self.online, self.last_seen, self._owes, self._through_at())

    def _through_at(self) -> np.datetime64 | None:
        """When all that is owed will have been asked, by the pace that this line has shown."""
        if not self._owes or not self.online:
            return None
        real = self._owes * self._turn_seconds
        rate = getattr(self._context.clock, "rate", 1.0)
        return self._context.clock.now() + np.timedelta64(int(real * rate * 1e6), "us")

    def take_volume(self) -> int:
        """Bytes that have passed over the air since this was asked last."""
        passed = self._past_volume + (self._link.volume.on_air if self._link is not None else 0)
        news, self._told_volume = passed - self._told_volume, passed
        return news

    # --- links -------------------------------------------------------------------------------------------

    async def dial(self, connect: Callable[[float], Awaitable[Link]]) -> None:
        """For terminals we call: connect, serve, connect again, until cancelled."""
        wait = REDIAL
        context, terminal = self._context, self.terminal.terminal_id
        while True:
            await context.starts.turn(context.allowances.cell(terminal))
            try:
                link = await connect(DIAL)
            except LinkError as error:
                await self._unreachable(str(error))
            else:
                heard = self._heard
                lost = await self.serve(link)
                if self._heard > heard:
                    wait = REDIAL
                elif lost:  # whoever takes every call and hangs up must leave no hole without a cause either
                    await self._unreachable(f"it takes the call and says nothing: {lost}")
            await asyncio.sleep(wait)
            wait = min(wait * 2, REDIAL_CAP)

    async def serve(self, link: Link) -> str:
        """Serve the meters behind an open link until it is lost or we are cancelled. How it was lost; '' where our lease ended instead."""
        context, why = self._context, ""
        bus = Bus(
            link, pace=self._pace, quarantine=self._quarantine, on_exchange=self._exchanged,
        )  # fmt: skip
        self.online, self._link = True, link
        commands = Commands(
            context.database, context.clock, self._driver, self._fence, self._guard, self._recorder,
            station_for(self._driver),
        )  # fmt: skip
        rounds = Rounds(
            context.database, context.clock, context.throttle, self.terminal, self._driver, station_for(self._driver),
            self._recorder, lambda: self._memory.meters, context.rhythm,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_for_ever(bus))
                group.create_task(rounds.run(bus))
                group.create_task(self._obey_for_ever(bus, commands))
        except* LinkLost as lost:
            why = str(lost.exceptions[0])
            log.info("link lost", terminal=self.terminal.code, why=why)
        except* LeaseLost:
            log.info("lease lost", terminal=self.terminal.code)
        finally:
            self.online, self._link = False, None
            self._past_volume += link.volume.on_air
            await bus.close()
        return why

    def _guard(self) -> None:
        if not self._lease_valid():
            raise LeaseLost

    def _exchanged(self, sent: bytes, received: bytes, seconds: float) -> None:
        self._recorder.note(sent, received, seconds)
        if received:
            self._heard += 1
            self.last_seen = self._context.clock.now()

    # --- reading -----------------------------------------------------------------------------------------

    async def _read_for_ever(self, bus: Bus) -> None:
        context = self._context
        while True:
            now = context.clock.now()
            meters, matrices = await self._owed(now)
            for lost in overwritten(matrices, self._kept, now):
                await self._book(
                    lost, Outcome(no_reads(), NO_TIMES), "expired", lost_because(lost.plan, self._kept)
                )
            self._memory.caught_up |= self._looked_back
            gaps = open_gaps(matrices, self._kept, now)
            if (
                self._driver.retention.sampled
            ):  # one minute for all: who was silent last waits until the others have been asked
                gaps.sort(key=lambda gap: bool(self._failing.get(gap.meter)))
            gaps = await self._affordable([gap for gap in gaps if gap.meter in meters], matrices, now)
            await self._close_all(bus, meters, gaps, self._next_fall(now))

    async def _close_all(
        self, bus: Bus, meters: dict[int, Meter], gaps: list[Gap], until: np.datetime64
    ) -> None:
        """Until another look at the ledger is worth while: when the next point falls due, or something was overwritten or came in part. Who was
        silent is only asked again meanwhile: a line with a dead meter need not look at all it owes each time that one has rested."""
        clock = self._context.clock
        due = clock.now()
        waiting: list[tuple[np.datetime64, Gap | None]] = [(due, gap) for gap in gaps]
        while waiting and due < until:
            now = max(due, clock.now())  # it was waited for
            asked = []
            for when, gap in waiting:
                if when <= now:
                    if gap is None or gap.deadline <= now:
                        return
                    asked.append(gap)
            waiting = [(when, gap) for when, gap in waiting if when > now]
            self._owes = len(asked)
            for gap in sorted(asked, key=self._is_silent):  # the living first, else in their order
                silent = self._is_silent(gap)
                # the living ones' next point must not wait until everybody else's silent have been asked
                patience = max(0.0, clock.seconds_until(until)) if silent else None
                try:
                    async with self._context.throttle.turn(silent=silent, patience=patience):
                        left = await self._close(bus, meters[gap.meter], gap)
                except NoPlace:
                    return
                if left is not None:
                    waiting.append(left)
                self._owes -= 1
            self._owes = 0
            due = min([until, *(when for when, _ in waiting)])
            await self._sleep(due)
        if due < until:
            await self._sleep(until)

    def _is_silent(self, gap: Gap) -> bool:
        """Its meter has failed more than once: a single time, the line or we may have been at fault."""
        return self._quarantine.failures(gap.meter) > 1

    async def _affordable(self, gaps: list[Gap], matrices: list[DayMatrix], now: np.datetime64) -> list[Gap]:
        """Those that the terminal's SIM has bytes for. Of the others the ledger is told why they wait: of all there are, not only of those
        whose turn it would be."""
        spent = self._context.allowances.spent(self.terminal.terminal_id)
        if spent is None:
            return gaps
        why = f"SIM {spent.sim} has used {spent.used} of {spent.plan} bytes this month; freezes and orders go on"
        for gap in self._put_off.news(spare(open_gaps(matrices, self._kept, now, most=None), now)[1]):
            await self._book(gap, Outcome(no_reads(), NO_TIMES), "allowance", why)
        return spare(gaps, now)[0]

    def _next_fall(self, begun: np.datetime64) -> np.datetime64:
        """When the next point falls due."""
        zone = self._context.database.zone
        falls = _falls(coverage.today(begun, zone), zone, sampled=self._driver.retention.sampled)
        place = int(np.searchsorted(falls, begun, side="right"))
        return np.datetime64(falls[place]) if place < len(falls) else begun + np.timedelta64(15, "m")

    async def _sleep(self, until: np.datetime64) -> None:
        # never a busy loop, however fast domain time runs
        await asyncio.sleep(max(0.05, self._context.clock.seconds_until(until)) + self._place())

    def _place(self) -> float:
        """Seconds after everybody was to wake until this one does. A meter without memory is asked at its instant."""
        if self._driver.retention.sampled:
            return 0.0
        return share(self.terminal.terminal_id) * WAKE * self._context.crowd()

    async def _owed(self, now: np.datetime64) -> tuple[dict[int, Meter], list[DayMatrix]]:
        """The meters behind the terminal, and the ledger of every day that they still remember, without the days known to be closed, and
        with what is still on its way into it. While the database is away: as it was when it was asked last, with what has fallen due
        since."""
        context, memory, kept = self._context, self._memory, self._kept
        days = self._wanted(now)
        first, self._looked_back = not memory.caught_up, False
        question = Question(
            self.terminal.terminal_id, tuple((plan, day, ahead(plan, kept)) for plan, day in days), first
        )
        while True:
            settled = context.writer.settled(memory.ticket)  # before it is asked: then the ledger has it
            try:
                owed = await context.survey.of(question)
                break
            except psycopg.OperationalError:
                if memory.meters is not None and memory.knows:
                    zone = context.database.zone
                    recalled = memory.recall(days, now, zone, kept)
                    return dict(memory.meters), [memory.fold(matrix) for matrix in recalled]
                await context.database.pause()
        memory.meters, self._looked_back = owed.meters, first
        self._learn(owed, now, settled=settled)
        return owed.meters, [memory.fold(matrix) for matrix in owed.days]

    def _learn(self, owed: Owed, now: np.datetime64, *, settled: bool) -> None:
        today = coverage.today(now, self._context.database.zone)
        self._memory.done_on(today).update((plan.id, day) for plan, day in owed.closed)
        self._memory.learn(owed.days, now)
        if settled:
            self._memory.forget()

    def _wanted(self, now: np.datetime64) -> list[tuple[Plan, dt.date]]:
        """The days that may have gaps, by plan."""
        zone = self._context.database.zone
        today = coverage.today(now, zone)
        done = self._memory.done_on(today)
        return [
            wanted
            for plan in COLLECTED
            for key, wanted in _days(plan, today, self._look_back[plan.id], zone)
            if key not in done
        ]

    async def _close(self, bus: Bus, meter: Meter, gap: Gap) -> tuple[np.datetime64, Gap | None] | None:
        """One attempt at one gap; its outcome, whatever it is, goes to the ledger. When it is to be asked again, not before its meter's rest is
        over; without the gap: when the ledger is to be asked what is left of it. None: nothing is."""
        clock = self._context.clock
        outcome = Outcome(no_reads(), NO_TIMES)
        reason, detail = "", ""
        said: Exchange | None = None
        try:
            async with bus.turn(meter, self._driver, Priority.SCHEDULED) as session:
                past = gap.behind and self._unreached.until(gap.meter) is None
                task, now = gap.plan.name + PAST * past, clock.now()
                if now >= gap.deadline:
                    return now, gap  # overwritten while it waited for the line
                begun = time.monotonic()
                with self._recorder.listening(meter, task, gap.times, now) as so_far:
                    try:
                        outcome = await session.run(script(self._driver, meter, task, gap.times, now))
                    finally:  # what was said is evidence, whatever came of it
                        said = so_far()
                        self._turn_seconds += (time.monotonic() - begun - self._turn_seconds) / LEARN
            if self._driver.retention.sampled and clock.now() >= gap.deadline:
                # what came is the value of a later instant, now and whenever it would be decoded again
                outcome, said = Outcome(no_reads(), NO_TIMES), None
            got = outcome.reads.time[gap.plan.met_by(outcome.reads)]
            if past:
                self._unreached.answered(gap.meter)
            whole = len(got) == len(gap.times) and bool((got == gap.times).all())
            whole = whole or not len(np.setdiff1d(np.setdiff1d(gap.times, got), outcome.absent))
            if not whole:
                collects = self._driver.behind is not None and not past
                reason = "not-in-terminal" if collects else "missing-in-answer"
        except (
            Quarantined
        ) as resting:  # nothing was asked now: the cause is what it was when it was asked last
            reason, detail = self._failing.get(gap.meter) or "no-answer", str(resting)
        except (NoAnswer, Garbled, ProtocolError) as trouble:
            reason, detail = _cause(trouble), str(trouble)
            if isinstance(trouble, NotReached):
                self._unreached.failed(gap.meter)
        except (BusFull, NoTurn) as crowded:
            log.warning("line too busy", terminal=self.terminal.code, why=str(crowded))
            return clock.now() + self._retry, gap
        except (LinkLost, SessionError, BusError) as lost:
            await self._book(gap, outcome, "link-lost", str(lost), said)
            raise
        self._failing[gap.meter] = reason
        await self._book(gap, outcome, reason, detail, said)
        if not reason:
            return None
        rest = np.timedelta64(int(self._quarantine.left(gap.meter) * 1e6), "us")
        return clock.now() + max(self._retry, rest), gap if reason in SILENT else None

    async def _book(
        self, gap: Gap, outcome: Outcome, reason: str, detail: str, said: Exchange | None = None
    ) -> None:
        now = self._context.clock.now()
        attempt = Attempt(gap.meter, gap.plan, gap.times, outcome.absent, now, reason, detail)
        source = tables.SOURCES[gap.plan.name]
        ticket = await self._context.writer.put(
            Delivery(source, now, outcome.reads, (attempt,), said), self._fence
        )
        here = [outcome.reads.time[gap.plan.met_by(outcome.reads)], outcome.absent]
        if reason == "expired":  # written down once
            here.append(gap.times)
        self._memory.brought(gap.plan, gap.meter, np.concatenate(here), ticket)

    async def _unreachable(self, why: str) -> None:
        """The terminal does not answer the call: every open gap behind it has that cause."""
        now = self._context.clock.now()
        if self._booked_offline is not None and abs(now - self._booked_offline) < self._retry:
            return  # no new reason: a day without a network must not be a day of writing that down
        self._booked_offline = now
        for gap in open_gaps((await self._owed(now))[1], self._kept, now, most=None):
            await self._book(gap, Outcome(no_reads(), NO_TIMES), "offline", why)

    # --- obeying -----------------------------------------------------------------------------------------

    async def _obey_for_ever(self, bus: Bus, commands: Commands) -> None:
        context = self._context
        while True:
            await self._poke.wait()
            self._poke.clear()
            if bus.link.closed:
                raise LinkLost(bus.link.name, "it is closed")
            now = context.clock.now()
            waiting = [order for order in self._orders if self._worth_a_look(order, now)]
            # without the lease nothing may be written: whoever has it acts; and what cannot be committed before it leaves does not leave
            if not waiting or not self._lease_valid() or context.database.away:
                continue
            try:
                meters = await context.survey.meters(self.terminal.terminal_id)
            except psycopg.OperationalError:
                continue  # what cannot be committed does not leave
            for order in waiting:
                self._looked[order["order_id"]] = now
                whom = meters.get(order["meter_id"])
                if order["meter_id"] is None:
                    whom = station_of(self.terminal, meters.values(), context.database.zone)
                if whom is not None:
                    await commands.carry_out(bus, whom, order)
            self._orders = await context.database.persist(
                lambda conn: orders.work(conn, [self.terminal.terminal_id], now=context.clock.now())
            )
            open_ids = {order["order_id"] for order in self._orders}
            self._looked = {k: at for k, at in self._looked.items() if k in open_ids}

    def _worth_a_look(self, order: dict[str, Any], now: np.datetime64) -> bool:
        looked = self._looked.get(order["order_id"])
        pause = RESEND if order["state"] == "approved" else RECHECK
        return bool(looked is None or abs(now - looked) >= pause)


@lru_cache(maxsize=64)
def _days(
    plan: Plan, today: dt.date, back: int, zone: ZoneInfo
) -> tuple[tuple[tuple[int, dt.date], tuple[Plan, dt.date]], ...]:
    """The days of so many before today that have points of the plan, with what Memory calls them. Once for all terminals: each asks for them
    whenever it wakes."""
    days = (today - dt.timedelta(days=k) for k in range(back + 1))
    return tuple(((plan.id, day), (plan, day)) for day in days if len(points(plan, day, zone)))


@lru_cache(maxsize=16)
def _falls(today: dt.date, zone: ZoneInfo, *, sampled: bool) -> Times:
    """When the points of a day, and the first of the next, fall due; ascending."""
    settle = np.timedelta64(0) if sampled else np.timedelta64(CURVE.settle)
    tomorrow = points(CURVE, today + dt.timedelta(days=1), zone)[:1] + settle
    own = [
        points(plan, today, zone) + (settle if plan is CURVE else np.timedelta64(plan.settle))
        for plan in COLLECTED
    ]
    return np.unique(np.concatenate([*own, tomorrow]))


def _domain_seconds(clock: Clock) -> float:
    return float(clock.now().astype("datetime64[us]").astype(np.int64)) / 1e6


def _cause(trouble: Exception) -> str:
    """Why a question came to nothing."""
    if isinstance(trouble, (NoAnswer, NotReached)):
        return "no-answer"
    return "refused" if isinstance(trouble, Refused) else "garbled"


def _backoff(retention: Retention) -> Backoff:
    """A meter without memory is asked once at each quarter-hour, however long it has been silent: what it says is gone a minute later."""
    return Backoff(base=300.0, cap=600.0) if retention.sampled else Backoff(base=300.0)
