"""So many lines at work at once as the loop can serve in time.

A line that waits for its terminal costs nothing; one whose answer has come wants a millisecond of the processor. On slow lines thousands may be
under way, on fast ones a few dozen fill the processor, and more of them only make everybody late: heartbeats, logins, orders.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

#: lines at work at the beginning, at least (enough that the processor need not wait for an answer, whatever the loop's delay comes from; and
#: what they all want of it in one turn of the loop is little), and at most: all there are
FIRST, FLOOR, MOST = 32.0, 8.0, 20_000.0
#: delays of the loop [s]: above the first it has too much to do, below the second it could do more; above the third whatever is said of
#: the processor, which may be others' as well
LATE, EASY, FAR = 0.04, 0.02, 0.2
#: shares of a processor that the process takes. Below the first it is late for another reason (a search for garbage, a thread of the database that
#: holds the interpreter), and the lines at work are not too many but wait for terminals; above the second there is nothing more to give them.
IDLE, BUSY = 0.85, 0.92
#: seconds over which that share is taken
OVER = 1.0
#: what is done about it at each look: less by a share; more by a share up to what was too much last time, as TCP begins (RFC 5681); from there on by
#: a hundredth, one at least. One by one would take minutes for a thousand lines that wait for dead meters and want nothing of the processor.
LESS, GROW, MORE = 0.75, 1.1, 0.01
#: at each look at which nobody waits the number goes back towards those at work and FIRST: what was right an hour ago is a flood when the next
#: quarter-hour wakes all of them (as RFC 2861 has it)
STALE = 0.95


class Throttle:
    """`active` lines of at most `limit`. Who waits is served in the order of coming; there are as many as lines."""

    def __init__(self) -> None:
        self.limit: Final = _Limit()
        self._load = _Load()
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be one of those at work."""
        if self.active < self.limit.value and not self._waiting:
            self.active += 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self.active -= 1
            self._admit()

    def note(self, delay: float) -> None:
        """How late the loop was just now [s]."""
        self.limit.note(delay, self._load.share(), self.active, crowded=bool(self._waiting))
        self._admit()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever admits us counts us
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.active -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self.active < self.limit.value:
            turn = self._waiting.popleft()
            if not turn.done():  # else he has left
                self.active += 1
                turn.set_result(None)


class _Load:
    """The share of a processor that this process has taken of late; 1 until that is known."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._spent = clock, spent
        self._since, self._before = clock(), spent()
        self._share = 1.0

    def share(self) -> float:
        now = self._clock()
        if now - self._since >= OVER:
            spent = self._spent()
            self._share = (spent - self._before) / (now - self._since)
            self._since, self._before = now, spent
        return self._share


class _Limit:
    """Pure: how many."""

    def __init__(self) -> None:
        self.value = FIRST
        self._enough = MOST  # what was right after it had been too much

    def note(self, delay: float, load: float, active: int, *, crowded: bool) -> None:
        """`active` are at work and the process takes `load` of a processor. Not more where nobody waits: what was never tried is not known to
        work."""
        if delay > FAR or (delay > LATE and load > BUSY):
            self.value = self._enough = max(FLOOR, self.value * LESS)
        elif not crowded:
            self.value = max(min(self.value, FIRST), active, self.value * STALE)
        elif delay < EASY or load < IDLE:
            step = GROW - 1 if self.value < self._enough else MORE
            self.value = min(MOST, self.value + max(1.0, self.value * step))
