"""The collector process: leases on terminals, a worker for each, the listener for those that dial in, and the orders.

It may be started as often as one likes, on as many machines: the store's leases give each terminal one owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import socket
import ssl
import traceback
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.collector.database import Database
from headend.collector.drivers import drivers
from headend.collector.ending import end
from headend.collector.gaps import Kept, open_gaps
from headend.collector.gather import Gather
from headend.collector.limits import Allowances, Starts
from headend.collector.memory import Memory
from headend.collector.pulse import Pulse
from headend.collector.rounds import Rhythm
from headend.collector.spool import Spool
from headend.collector.subscriber import Subscriber, Subscription
from headend.collector.survey import Survey
from headend.collector.throttle import Throttle
from headend.collector.worker import Context, Worker
from headend.collector.writer import Writer
from headend.plans import COLLECTED
from headend.store import archive, callers, coverage, leases, orders, tables, traffic
from headend.store.archive import GONE, Terminal, TerminalState
from headend.store.callers import Caller
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery
from headend.store.traffic import Allowance
from protocols.localtime import local_day
from terminals.drivers.driver import Driver
from terminals.greetings import dtu, every_kind
from terminals.links.link import BadAddress, Link
from terminals.links.listener import Listener
from terminals.links.trust import Trust
from terminals.links.url import parse
from terminals.lobby import Unconfirmed
from terminals.pace import Timing
from terminals.roster import Presence, Roster, Rules

log = structlog.get_logger()

#: real seconds between updates of the terminals' on-line state
STATUS = 2.0
#: so many looks later each terminal's state has been compared with what was told of it
STATUS_TURNS = 8
#: domain time by which a terminal has been heard of since the archive was told, for it to be told again
HEARD = np.timedelta64(30, "s")
#: real seconds between looks at what workers wait for
NUDGE = 1.0
#: attempts of absent terminals in one delivery: some tens of thousand points, like a batch of readings
BOOKED = 500
#: real seconds between lines of the log that say how the process is
PULSE = 60.0
#: seconds between tellings of who dials in and is not served
CALLERS = 10.0
#: terminals looked at in one turn of the loop: a few milliseconds
TURN = 500
#: real seconds between looks at what has passed over the air, and at what SIMs may still take
TRAFFIC = 60.0
#: terminals that dial in whose leases are taken together
LOGINS = 500
#: domain time between looks at terminals that nobody holds
ABSENT = np.timedelta64(15 * 60, "s")


@dataclass(frozen=True, slots=True)
class Options:
    """What one collector process is told. `spool`: where readings go while the database is away, and at most how many bytes."""

    listen: tuple[str, int] | None
    spool: Path
    spool_bytes: int = 2**31
    lease_seconds: float = 20.0
    quota: int = 5000
    dial_rate: float = 50.0
    cell_dial_rate: float = 5.0
    poll_seconds: float = 1.0
    timing: Timing = field(default_factory=Timing)
    heartbeat: float = 60.0
    drivers: Mapping[str, Driver] = field(default_factory=drivers)
    tls: ssl.SSLContext | None = None
    trust: Trust = field(default_factory=Trust)
    subscription: Subscription | None = None
    rhythm: Rhythm = field(default_factory=Rhythm)


@dataclass(slots=True)
class _Held:
    """A terminal of ours: its lease and the task that serves it."""

    worker: Worker
    task: asyncio.Task[None]


def _callers(known: list[Terminal]) -> dict[str, Terminal]:
    """Those that dial in, by what they call themselves. One that we dial may have such a name too: it is its address."""
    return {t.login: t for t in known if t.login and t.link == "dial-in"}


def _opener(terminal: Terminal, trust: Trust) -> Callable[[float], Awaitable[Link]]:
    """How to call the terminal. One whose address is no address is like one that cannot be reached: its gaps say why."""
    url = terminal.endpoint or ""
    try:
        return parse(url if "://" in url else f"tcp://{url}", trust).open
    except BadAddress as error:
        why = error

        async def never(timeout: float) -> Link:
            raise why

        return never


def _caller(who: Unconfirmed) -> Caller:
    first, last = (dt.datetime.fromtimestamp(when, dt.UTC) for when in (who.first_seen, who.last_seen))
    return Caller(who.identity, who.kind, who.reason, who.peer, first, last, who.attempts)


def _mismatch(terminal: Terminal | None, kind: str) -> str:
    """Why a terminal that dialled in is not served; '' if it is. A DTU passes any protocol on."""
    if terminal is None:
        return "no terminal of the archive has this login"
    if kind not in (dtu.KIND, terminal.protocol):
        return f"it speaks {kind}, the archive has {terminal.protocol} for terminal {terminal.code}"
    return ""


class Daemon:
    """Runs until `stop` is called; then drains and gives its leases back."""

    def __init__(self, database: Database, clock: Clock, options: Options) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._clock = clock
        self._options = options
        self._drivers = options.drivers
        self._writer = Writer(database, self.owner, Spool(options.spool, self.owner, options.spool_bytes))
        self._context = Context(
            database, self._writer, Survey(database, clock), clock, options.timing, self.owner,
            Starts(options.dial_rate, options.cell_dial_rate, self._loop.time), Allowances(), Throttle(), options.rhythm,
            lambda: len(self._held),
        )  # fmt: skip
        self._passed: Counter[int] = Counter()  # bytes by terminal that the store has not been told of
        self._pulse = Pulse(self._context.throttle.note)
        self._logins: Gather[int, int] = Gather(self._take_leases, LOGINS)
        self._told_of: dict[int, TerminalState] = {}  # as the archive has it
        self._status_turn = 0
        self._told_callers: frozenset[tuple[str, int, str]] = frozenset()
        self._held: dict[int, _Held] = {}
        self._valid_until: dict[int, float] = {}
        self._epochs: dict[int, int] = {}  # of all that are ours as far as we know
        self._memories: dict[int, Memory] = {}  # of every terminal of the archive that was ever ours
        self._stopping = asyncio.Event()
        self._told = asyncio.Event()
        self._by_login: dict[str, Terminal] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._since = clock.now()
        # whoever has just lost his collector is given the time to dial in again
        self._absent_looked = self._since
        self._roster = Roster(
            self._resolve,
            lambda: float(self._clock.now().astype("datetime64[us]").astype(np.int64)) / 1e6,
            every_kind(database.zone),
            on_login=self._logged_in,
            on_logout=self._logged_out,
            rules=Rules(heartbeat=options.heartbeat),
        )

    @property
    def calm(self) -> bool:
        """No line is at work, or waits for its terminal's answer."""
        return self._context.throttle.at_work == 0

    def stop(self) -> None:
        """Drain: finish what is on the wire, write what was read, leave."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. CannotListen if the port is taken."""
        listener = None
        if self._options.listen is not None:
            listener = Listener(*self._options.listen, self._roster.admit, tls=self._options.tls)
            await listener.start()
            log.info("listening for terminals", address=listener.name)
        tasks = [
            asyncio.create_task(self._writer.run()),
            asyncio.create_task(self._pulse.run()),
            asyncio.create_task(self._every(0.0, self._orders_when_told, "orders")),
            asyncio.create_task(self._every(1.0, self._hear_of_orders, "order notices")),
            *(
                asyncio.create_task(self._every(seconds, work, name))
                for seconds, work, name in (
                    (self._options.lease_seconds / 4, self._keep_leases, "leases"),
                    (STATUS, self._tell_status, "status"),
                    (STATUS, self._absent_terminals, "absent terminals"),
                    (NUDGE, self._nudge, "nudging"),
                    (PULSE, self._tell_pulse, "pulse"),
                    (TRAFFIC, self._tell_traffic, "traffic"),
                    (CALLERS, self._tell_callers, "callers"),
                )
            ),
        ]
        subscriber = self._subscriber()
        if subscriber is not None:
            tasks.append(asyncio.create_task(self._every(1.0, subscriber.run, "subscription")))
        log.info("collecting", owner=self.owner)
        try:
            await self._stopping.wait()
        finally:
            log.info("stopping")
            if listener is not None:
                await listener.close()
            await end(held.task for held in self._held.values())
            await self._roster.close()
            with contextlib.suppress(TimeoutError):
                # a disk that is full or slow as well: the rest is read again after the next start
                async with asyncio.timeout(10):
                    await self._writer.flush()
            await end(tasks)
            if subscriber is not None:
                await subscriber.leave()
            with contextlib.suppress(psycopg.Error):
                await self._database.call(self._leave)
            tally = self._writer.tally
            log.info(
                "stopped",
                rows=tally.rows,
                repeated=tally.repeated,
                spooled=tally.spooled,
                drained=tally.drained,
            )

    def _subscriber(self) -> Subscriber | None:
        what = self._options.subscription
        if what is None:
            return None
        return Subscriber(
            self._database, self._writer, self._clock, self.owner, what,
            driver=self._drivers.get("mqtt"), seconds=self._options.lease_seconds,
        )  # fmt: skip

    def _leave(self, conn: Connection) -> None:
        leases.release(conn, self.owner)
        archive.seen(conn, dict.fromkeys(self._held, GONE))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Repeat for ever; the database being away is waited for, a mistake of ours is logged and does not end the others."""
        while True:
            try:
                await work()
            except psycopg.OperationalError as error:
                log.warning(
                    "waiting for the database",
                    task=name,
                    error=str(error).splitlines()[0] if str(error) else "",
                )
            except Exception:
                log.exception("task failed", task=name)
            await asyncio.sleep(seconds)

    # --- leases --------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        seconds = self._options.lease_seconds
        asked = self._loop.time()

        def renew(conn: Connection) -> tuple[leases.Epochs, leases.Epochs, list[Terminal]]:
            leases.at_work(conn, self.owner, since=self._since, seconds=seconds)
            ours = leases.renew(conn, self.owner, seconds=seconds)
            known = archive.terminals(conn)
            conn.commit()  # what is ours stays so, whatever comes of what is not yet
            room, new = self._options.quota - len(ours), {}
            try:
                new = dict(leases.claim(conn, self.owner, quota=room, seconds=seconds)) if room > 0 else {}
            except psycopg.errors.LockNotAvailable:
                conn.rollback()
                log.info(
                    "terminals that are free cannot be taken yet: somebody's transaction holds their leases"
                )
            return ours, new, known

        ours, new, known = await self._database.at_once(renew)
        self._by_login = _callers(known)
        for terminal_id in [*ours, *new]:
            # valid from before we asked: the server may have answered late
            self._valid_until[terminal_id] = asked + seconds
        for terminal_id in [t for t in self._held if t not in ours and t not in new]:
            log.warning("lease lost", terminal=self._held[terminal_id].worker.terminal.code)
            self._end(terminal_id)
            self._epochs.pop(terminal_id, None)
        if self._stopping.is_set():
            return
        by_id = {terminal.terminal_id: terminal for terminal in known}
        self._memories = {k: memory for k, memory in self._memories.items() if k in by_id}
        for terminal_id, epoch in {**ours, **new}.items():
            terminal = by_id.get(terminal_id)
            if terminal is None or terminal.link in ("dial-in", "mqtt"):
                continue
            held = self._held.get(terminal_id)
            # also one whose worker ended, and one that the archive says is elsewhere now: what answers at the old place is another's
            if terminal_id in new or held is None or held.worker.terminal != terminal:
                self._begin(terminal, epoch, None)

    def _begin(self, terminal: Terminal, epoch: int, link: Link | None) -> None:
        self._end(terminal.terminal_id)
        self._epochs[terminal.terminal_id] = epoch
        worker = Worker(
            self._context, terminal, self._drivers[terminal.protocol], epoch,
            lambda: self._loop.time() < self._valid_until.get(terminal.terminal_id, 0.0),
            self._memories.setdefault(terminal.terminal_id, Memory()),
        )  # fmt: skip
        self._held[terminal.terminal_id] = _Held(worker, asyncio.create_task(self._supervise(worker, link)))

    async def _supervise(self, worker: Worker, link: Link | None) -> None:
        """A worker's mistake must be seen and must not take others with it; the next lease round starts it anew."""
        terminal = worker.terminal
        try:
            if link is not None:
                await worker.serve(link)
            else:
                await worker.dial(_opener(terminal, self._options.trust))
        except Exception:
            log.exception("worker failed", terminal=terminal.code)
        finally:
            held = self._held.get(terminal.terminal_id)
            if held is not None and held.task is asyncio.current_task() and not self._stopping.is_set():
                del self._held[terminal.terminal_id]
                # one that we dial is begun anew by the next lease round, if it is still ours

    def _end(self, terminal_id: int) -> None:
        held = self._held.pop(terminal_id, None)
        if held is not None:
            self._passed[terminal_id] += held.worker.take_volume()
            held.task.cancel()
            self._retired.add(held.task)
            held.task.add_done_callback(self._retire)

    def _retire(self, task: asyncio.Task[None]) -> None:
        self._retired.discard(task)
        # a cancelled task holds its error, the error the frames that it came through, and these the task group, which holds both: a circle
        # with all of the worker in it, at each login of each terminal
        try:
            task.result()
        except asyncio.CancelledError as end:
            traceback.clear_frames(end.__traceback__)

    # --- terminals that dial in ------------------------------------------------------------------------------

    async def _resolve(self, identity: str, kind: str) -> int | str:
        terminal = self._by_login.get(identity)
        if terminal is None:
            known = await self._database.call(archive.terminals)
            self._by_login = _callers(known)
            terminal = self._by_login.get(identity)
        why = _mismatch(terminal, kind)
        if terminal is None or why:
            log.warning("terminal dialled in and is not served", identity=identity, kind=kind, why=why)
            return why
        if self._database.away and terminal.terminal_id in self._epochs:
            # no lease can be taken now: it is read on, and told nothing once the lease that we had has ended
            return self._epochs[terminal.terminal_id]
        if terminal.terminal_id not in self._held and len(self._held) >= self._options.quota:
            why = f"this collector serves {self._options.quota} terminals already (HEADEND_QUOTA)"
            log.warning("terminal dialled in and is not served", identity=identity, kind=kind, why=why)
            return why
        return await self._logins.ask(terminal.terminal_id)

    async def _take_leases(self, terminals: Sequence[int]) -> Sequence[int]:
        """An epoch for each; a terminal that dialled in twice at the same moment has two logins, and the later one is the higher."""
        asked, seconds = self._loop.time(), self._options.lease_seconds
        turns = Counter(terminals)

        def take(conn: Connection) -> dict[int, list[int]]:
            epochs: dict[int, list[int]] = {terminal: [] for terminal in turns}
            for turn in range(max(turns.values())):
                again = [terminal for terminal, count in turns.items() if count > turn]
                for terminal, epoch in leases.take(conn, self.owner, again, seconds=seconds).items():
                    epochs[terminal].insert(0, epoch)
            return epochs

        epochs = await self._database.at_once(take)
        self._valid_until.update(dict.fromkeys(turns, asked + seconds))
        return [epochs[terminal].pop() for terminal in terminals]

    def _logged_in(self, presence: Presence) -> None:
        terminal = self._by_login[presence.identity]
        self._begin(terminal, presence.epoch, presence.link)

    def _logged_out(self, presence: Presence) -> None:
        terminal = self._by_login.get(presence.identity)
        if terminal is not None:
            held = self._held.get(terminal.terminal_id)
            if held is not None and held.worker.epoch == presence.epoch:
                self._end(terminal.terminal_id)

    async def _absent_terminals(self) -> None:
        """Terminals that dial in and are not here, nor anywhere: their gaps have a cause too."""
        now = self._clock.now()
        if now - self._absent_looked < ABSENT:
            return
        self._absent_looked = now
        for attempts in await self._database.call(lambda conn: self._nowhere(conn, now)):
            await self._writer.put(Delivery(tables.SOURCES[attempts[0].plan.name], now, attempts=attempts))

    def _nowhere(self, conn: Connection, now: np.datetime64) -> list[tuple[Attempt, ...]]:
        """What is owed behind terminals that nobody holds, in lots of one plan."""
        by_protocol: defaultdict[str, list[int]] = defaultdict(list)
        for row in leases.nowhere(conn):
            by_protocol[row["protocol"]].append(row["terminal_id"])
        archive.seen(conn, {k: GONE for terminals in by_protocol.values() for k in terminals})
        zone, why = self._database.zone, "the terminal has not dialled in"
        days = [coverage.today(now - np.timedelta64(k, "D"), zone) for k in (0, 1)]
        found = []
        for protocol, terminals in by_protocol.items():
            for plan, day in itertools.product(COLLECTED, days):
                matrix = coverage.day_matrix(
                    conn, plan, day, now=now, zone=zone, terminals=terminals, reasons=("expired",)
                )
                owed = open_gaps([matrix], Kept.of(self._drivers[protocol]), now, most=None)
                attempts = [Attempt(g.meter, g.plan, g.times, NO_TIMES, now, "offline", why) for g in owed]
                found += [tuple(attempts[k : k + BOOKED]) for k in range(0, len(attempts), BOOKED)]
        return found

    # --- orders and status -----------------------------------------------------------------------------------

    async def _hear_of_orders(self) -> None:
        """Wake up when an order of a terminal of ours is made or moved. Only a help: looking regularly is what counts."""
        async for terminal in self._database.notices("headend_orders"):
            if terminal.isdigit() and int(terminal) in self._held:
                self._told.set()

    async def _orders_when_told(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.poll_seconds):
                await self._told.wait()
        self._told.clear()
        await self._look_for_orders()

    async def _look_for_orders(self) -> None:
        now = self._clock.now()

        def look(conn: Connection) -> list[dict[str, Any]]:
            orders.expire(conn, now=now, who=self.owner)
            orders.reroute(conn, now=now, who=self.owner)
            return orders.work(conn, owner=self.owner, now=now)

        waiting: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for order in await self._database.call(look):
            waiting[order["terminal_id"]].append(order)
        for terminal_id, held in self._held.items():
            if terminal_id in waiting or held.worker.has_orders:
                held.worker.give(waiting.get(terminal_id, []))

    async def _in_turns(self) -> AsyncIterator[list[tuple[int, _Held]]]:
        """Those held at the moment, some in one turn of the loop: who looks at ten thousand must not hold it up."""
        everybody = list(self._held.items())
        for begin in range(0, len(everybody), TURN):
            if begin:
                await asyncio.sleep(0)
            yield everybody[begin : begin + TURN]

    async def _nudge(self) -> None:
        async for some in self._in_turns():
            for _, held in some:
                held.worker.nudge()

    async def _tell_traffic(self) -> None:
        """What has passed over the air goes to the store, and what each SIM may still take comes from there."""
        async for some in self._in_turns():
            for terminal_id, held in some:
                self._passed[terminal_id] += held.worker.take_volume()
        passed = {terminal_id: count for terminal_id, count in self._passed.items() if count}
        now = self._clock.now()
        month = local_day(now, self._database.zone).replace(day=1)

        def tell(conn: Connection) -> Mapping[int, Allowance]:
            traffic.add(conn, passed, month=month, now=now)
            return traffic.allowances(conn, month=month, now=now)

        before = self._context.allowances
        known = await self._database.call(tell)
        self._passed.subtract(passed)
        self._passed += Counter()  # drops those at nought
        for terminal_id, allowance in known.items():
            if allowance.spent and terminal_id in self._held and before.spent(terminal_id) is None:
                log.warning(
                    "SIM has used up its plan", sim=allowance.sim, bytes=allowance.used, plan=allowance.plan
                )
        before.learn(known)

    async def _tell_callers(self) -> None:
        """Who is not served stands where people look, not only in this process."""
        known = {(who.identity, who.attempts, who.reason): who for who in self._roster.unconfirmed()}
        news = [_caller(who) for key, who in known.items() if key not in self._told_callers]
        if news:
            await self._database.call(lambda conn: callers.note(conn, self.owner, news))
        self._told_callers = frozenset(known)

    async def _tell_pulse(self) -> None:
        beat, tally = self._pulse.take(), self._writer.tally
        if beat.looks:
            log.info(
                "pulse",
                terminals=len(self._held),
                rows=tally.rows,
                lag_p99_ms=round(1e3 * beat.p99, 1),
                lag_worst_ms=round(1e3 * beat.worst, 1),
                garbage_worst_ms=round(1e3 * beat.collecting, 1),
                at_once=round(self._context.throttle.limit.value),
            )

    async def _tell_status(self) -> None:
        """Tell the archive what has changed since it was told: who is there, and who was heard of since a while."""
        self._status_turn = (self._status_turn + 1) % STATUS_TURNS
        news = {}
        async for some in self._in_turns():
            for terminal_id, held in some:
                told = self._told_of.get(terminal_id)
                # who came or went at once; of the others a share each time, so that ten thousand do not hold up the loop
                if (
                    told is not None
                    and told.online == held.worker.online
                    and terminal_id % STATUS_TURNS != self._status_turn
                ):
                    continue
                state = held.worker.state
                if state.differs(told, HEARD):
                    news[terminal_id] = state
        gone = {terminal_id: GONE for terminal_id in self._told_of if terminal_id not in self._held}
        if not news and not gone:
            return
        # the lease of one that dials in and has hung up: kept, nobody could say that it is nowhere
        callers = {terminal.terminal_id for terminal in self._by_login.values()}
        left = {t: self._epochs[t] for t in gone if t in callers and t in self._epochs}

        now = self._context.clock.now()

        def tell(conn: Connection) -> None:
            archive.seen(conn, gone | news, now)
            leases.give_up(conn, self.owner, left)

        await self._database.call(tell)
        self._told_of.update(news)
        for terminal_id in gone:
            self._told_of.pop(terminal_id, None)
        for terminal_id, epoch in left.items():
            if self._epochs.get(terminal_id) == epoch and terminal_id not in self._held:
                del self._epochs[terminal_id]
