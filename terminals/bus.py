"""Turn-taking when many meters share a line: one session at a time, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from protocols.errors import ProtocolError
from protocols.exchange import Exchange
from terminals.links.link import Link, LinkLost
from terminals.pace import Pace, Timing
from terminals.quarantine import Backoff, Quarantine
from terminals.session import Between, Garbled, Guard, NoAnswer, OnExchange, Session, SessionError
from terminals.turns import Priority, Turns


class Addressed(Protocol):
    """What a bus must know of a meter: the caller's key for it."""

    @property
    def key(self) -> Hashable:
        """Equal for the same meter."""


M_contra = TypeVar("M_contra", bound=Addressed, contravariant=True)


class Speaker(Protocol[M_contra]):
    """What a bus needs of a driver."""

    def exchange(self, meter: M_contra, /) -> Exchange:
        """Fresh protocol state."""

    def open(self, meter: M_contra, /) -> Generator[Any, Any, None]:
        """What must be said first."""

    def close(self, meter: M_contra, /) -> Generator[Any, Any, None]:
        """What must be said before leaving."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a line takes on.

    queue  jobs that may wait: 32 meters with half a dozen tasks each; more means a caller who ignores BusFull
    wait   seconds a job waits for its turn at most: a schedule longer than a quarter-hour has missed its slot
    idle   seconds until an unused session is closed: a meter takes one session only: leave it free
    """

    queue: int = 256
    wait: float = 900.0
    idle: float = 30.0


class BusError(Exception):
    """No turn on this line."""


class Quarantined(BusError):
    """The meter has failed again and again; scheduled work is refused until `until` (on the quarantine's clock)."""

    def __init__(self, name: str, key: Hashable, until: float, rest: float) -> None:
        super().__init__(
            f"meter {key} on {name} is left alone for another {rest:.0f} s: it gave no usable answer"
        )
        self.key = key
        self.until = until


class BusFull(BusError):
    """Too many jobs wait."""

    def __init__(self, name: str, waiting: int) -> None:
        super().__init__(f"{waiting} jobs already wait for {name}: no more are taken")


class NoTurn(BusError):
    """The turn did not come in time."""

    def __init__(self, name: str, wait: float) -> None:
        super().__init__(f"no turn on {name} within {wait:.0f} s: other jobs held the line")


class _Waiting:
    """Somebody in the queue."""

    __slots__ = ("granted", "key", "priority")

    def __init__(self, key: Hashable, priority: Priority, granted: asyncio.Future[None]) -> None:
        self.key = key
        self.priority = priority
        self.granted = granted


@dataclass(frozen=True, slots=True)
class _Occupant:
    """The meter whose session is open."""

    meter: Any
    driver: Speaker[Any]
    session: Session
    greeted: bool  # something was said to open it


@dataclass(slots=True)
class _Hold:
    """Whether a job has the line at this moment: not while it has lent it and waits to get it back.

    `fresh`: it has asked nothing since it was given the line, and lends it only after that: else it would never ask anything.
    """

    line: bool = True
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class _Lender:
    """What a job does between two of its requests. An object and not a function within one: that would hold itself, and only Python's search
    for circles would free it and the session behind it, tens of thousands in a round."""

    bus: Bus
    hold: _Hold
    occupant: _Occupant
    priority: Priority

    async def __call__(self) -> None:
        await self.bus.lend(self)


class Bus:
    """One line and its meters. `quarantine` and `pace` may be kept by the caller across redials of the line.

    `guard` is asked before every write on this line (the lease); a turn may add its own (an order's
    deadline).

    A job lends the line to more urgent ones between two of its requests, where the protocol has no session that would suffer: a day of load
    records is a minute of requests on a radio link, and somebody at a screen does not wait for that.

    A session stays open when its turn ends, and is closed when another meter takes the line, when nobody has
    used it for a while, and at the end.
    """

    def __init__(
        self,
        link: Link,
        *,
        pace: Pace | None = None,
        quarantine: Quarantine | None = None,
        limits: Limits | None = None,
        guard: Guard | None = None,
        on_exchange: OnExchange | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.link = link
        self.pace = pace or Pace(Timing())
        # Not `or`: an empty quarantine is false.
        self.quarantine = Quarantine(Backoff(), self._loop.time) if quarantine is None else quarantine
        self._limits = limits or Limits()
        self._guard = guard
        self._on_exchange = on_exchange
        self._turns: Turns[_Waiting] = Turns()
        self._busy = False
        self._occupant: _Occupant | None = None
        self._lost: LinkLost | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_close: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._turns)

    @property
    def busy(self) -> bool:
        """A job has the line."""
        return self._busy

    @asynccontextmanager
    async def turn(
        self,
        meter: M_contra,
        driver: Speaker[M_contra],
        priority: Priority,
        *,
        guard: Guard | None = None,
        wait: float | None = None,
    ) -> AsyncIterator[Session]:
        """The line for one job, with the meter's session open.

        Quarantined, BusFull, NoTurn or LinkLost when there is none; whatever `driver.open` raises. A NoAnswer
        or Garbled that leaves the body counts against the meter, so let them pass.
        """
        await self._acquire(meter.key, priority, self._limits.wait if wait is None else wait)
        hold = _Hold()
        answered = 0
        session: Session | None = None
        try:
            session = await self._session(meter, driver, guard)
            answered = session.counts.answered
            session.between = self._lender(hold, priority)
            yield session
        except (NoAnswer, Garbled):
            self._occupant = None  # what the meter believes of this session is unknown: never reuse it
            # A turn in which anything was answered is no sign of death: on a bad line that would lock
            # everybody out.
            if session is None or session.counts.answered == answered:
                self.quarantine.failed(meter.key)
            raise
        except LinkLost as lost:
            self.fail(lost)
            raise
        finally:
            if session is not None:
                session.between = None
                if session.counts.answered > answered:
                    self.quarantine.answered(meter.key)
            if hold.line:
                self._release()

    def _lender(self, hold: _Hold, priority: Priority) -> Between | None:
        """How this job lets more urgent ones before it between two of its requests; None where its session would not survive that: one that
        was opened with words may be closed by others'."""
        occupant = self._occupant
        if occupant is None or occupant.greeted:
            return None
        return _Lender(self, hold, occupant, priority)

    async def lend(self, lender: _Lender) -> None:
        """Others' turns, if somebody more urgent waits; then the line is the lender's again."""
        hold, occupant = lender.hold, lender.occupant
        if hold.fresh or not self._turns.above(lender.priority):
            hold.fresh = False
            return
        session = occupant.session
        guard = session.guard
        hold.line = False
        self._release()
        await self._acquire(occupant.meter.key, lender.priority, self._limits.wait, first=True)
        hold.line = True
        if self._occupant is not occupant:
            await self._leave()
            self._occupant = occupant
        # the other job may have been one with this very meter
        session.guard, session.between = guard, lender

    def fail(self, lost: LinkLost) -> None:
        """The line is gone: everybody who waits gets LinkLost, and so does everybody who comes."""
        self._lost = self._lost or lost
        self._occupant = None
        self._stop_idling()
        for waiting in self._turns.drain():
            if not waiting.granted.done():
                waiting.granted.set_exception(LinkLost(lost.name, lost.reason))

    async def close(self) -> None:
        """Say goodbye to the meter if nobody has the line, refuse all others, close the link."""
        try:
            if not self._busy and self._lost is None and not self.link.closed:
                self._busy = True
                with contextlib.suppress(
                    Exception
                ):  # a courtesy: whatever forbids it, the link is closed next
                    await self._leave()
        finally:  # also when we are cancelled in the midst of the courtesy
            self.fail(LinkLost(self.link.name, "it was closed here"))
            try:
                if self._idle_close is not None:
                    await asyncio.gather(self._idle_close, return_exceptions=True)
            finally:
                await self.link.close()

    async def _acquire(self, key: Hashable, priority: Priority, wait: float, *, first: bool = False) -> None:
        self._check(key, priority)
        if not self._busy:
            self._busy = True
            self._stop_idling()
            return
        if len(self._turns) >= self._limits.queue:
            raise BusFull(self.link.name, len(self._turns))
        waiting = _Waiting(key, priority, self._loop.create_future())
        (self._turns.put_first if first else self._turns.put)(priority, waiting)
        try:
            async with asyncio.timeout(wait):
                await waiting.granted
        except BaseException as error:
            if not waiting.granted.done() or waiting.granted.cancelled():
                with contextlib.suppress(ValueError):  # `_release` has taken it out and passed over it
                    self._turns.remove(priority, waiting)
            elif waiting.granted.exception() is None:
                self._release()  # granted in the same turn of the loop in which we were cancelled
            if isinstance(error, TimeoutError):
                raise NoTurn(self.link.name, wait) from None
            raise

    def _check(self, key: Hashable, priority: Priority) -> None:
        if self._lost is not None or self.link.closed:
            lost = self._lost or LinkLost(self.link.name, "it is closed")
            raise LinkLost(lost.name, lost.reason)
        until = self.quarantine.until(key)
        if until is not None and priority is Priority.SCHEDULED:
            raise Quarantined(self.link.name, key, until, self.quarantine.left(key))

    def _release(self) -> None:
        """Give the line to the next, or let it idle."""
        while (waiting := self._turns.next()) is not None:
            if waiting.granted.done():
                continue
            try:
                # Asked again: the meter may have gone into quarantine while this job waited.
                self._check(waiting.key, waiting.priority)
            except (LinkLost, Quarantined) as refusal:
                waiting.granted.set_exception(refusal)
                continue
            waiting.granted.set_result(None)
            return
        self._busy = False
        if self._occupant is not None:
            self._idle_timer = self._loop.call_later(self._limits.idle, self._idled)

    async def _session(self, meter: M_contra, driver: Speaker[M_contra], guard: Guard | None) -> Session:
        guard = _both(self._guard, guard)
        occupant = self._occupant
        if occupant is not None and occupant.driver is driver and occupant.meter == meter:
            occupant.session.guard = guard
            occupant.session.suspect = self.quarantine.failures(meter.key) > 0
            return occupant.session
        await self._leave()
        session = Session(
            self.link,
            driver.exchange(meter),
            self.pace,
            guard=guard,
            on_exchange=self._on_exchange,
            suspect=self.quarantine.failures(meter.key) > 0,
        )
        try:
            await session.run(driver.open(meter))
        finally:
            if session.counts.answered:
                self.quarantine.answered(meter.key)
        self._occupant = _Occupant(meter, driver, session, greeted=session.counts.attempts > 0)
        return session

    async def _leave(self) -> None:
        """Close the session of the meter that had the line. One attempt: the next meter is waiting."""
        occupant, self._occupant = self._occupant, None
        if occupant is None:
            return
        occupant.session.guard = self._guard  # the guard of a turn ends with it
        # Whether the meter takes leave or not, its session is over; that it is dead is for its next turn to
        # find out.
        with contextlib.suppress(SessionError, ProtocolError):
            await occupant.session.run(occupant.driver.close(occupant.meter), attempts=1)

    def _idled(self) -> None:
        self._idle_timer = None
        if not self._busy and self._occupant is not None:
            self._busy = True
            self._idle_close = self._loop.create_task(self._leave_idle())

    async def _leave_idle(self) -> None:
        try:
            await self._leave()
        except LinkLost as lost:
            self.fail(lost)
        except Exception as error:  # the guard's: nobody awaits this task, so everybody is told
            self.fail(LinkLost(self.link.name, f"an idle session could not be closed: {error}"))
        finally:
            self._release()

    def _stop_idling(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None


def _both(line: Guard | None, turn: Guard | None) -> Guard | None:
    if line is None or turn is None:
        return line or turn

    def guard() -> None:
        line()
        turn()

    return guard
