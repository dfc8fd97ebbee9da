"""So many lines at work at once as the loop can serve in time.

A line that waits for its terminal costs nothing; one whose answer has come wants a millisecond of the processor. On slow lines thousands may be
under way, on fast ones a few dozen fill the processor, and more of them only make everybody late: heartbeats, logins, orders. So who has been
at work for a while waits for his terminal, and is counted no more: a thousand dead meters take nobody's place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

#: lines at work at the beginning, at least (enough that the processor need not wait for an answer, whatever the loop's delay comes from; and
#: what they all want of it in one turn of the loop is little), and at most: all there are
FIRST, FLOOR, MOST = 32.0, 8.0, 20_000.0
#: delays of the loop [s]: above the first it has too much to do, below the second it could do more
LATE, EASY = 0.04, 0.02
#: what is done about it at each look, as TCP does (RFC 5681): less by a share; more by a share up to what was too much last time, from there on
#: one by one
LESS, GROW, MORE = 0.7, 1.1, 1.0
#: seconds after which who is still at work only waits: a meter that is there has answered in a few milliseconds of ours and some of its line's
SLOW = 0.15
#: of so many turns one is for those who were silent, however many others wait: a meter that has been mended must be found again
SHARE = 32
#: at each look at which nobody waits the number goes back towards those at work and FIRST: what was right an hour ago is a flood when the next
#: quarter-hour wakes all of them (as RFC 2861 has it)
STALE = 0.95


class NoPlace(Exception):
    """The turn did not come in time."""


class Throttle:
    """`active` lines of at most `limit`, and those of the `at_work` that only wait for their terminals. Who waits for his turn is served in the
    order of coming; who was silent when he was asked last, when no other waits, and one in SHARE turns. There are as many as lines."""

    def __init__(self) -> None:
        self.limit: Final = _Limit()
        self.active = self.at_work = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._silent: deque[asyncio.Future[None]] = deque()
        self._since = 0  # turns since one was for the silent

    @asynccontextmanager
    async def turn(self, *, silent: bool = False, patience: float | None = None) -> AsyncIterator[None]:
        """Be one of those at work. `silent`: to ask a meter that gave no answer when it was asked last, after those that did. NoPlace after
        `patience` seconds in which nobody gave one up."""
        if self.active < self.limit.value and not self._waiting and not (silent and self._silent):
            self.active += 1
        else:
            try:
                async with asyncio.timeout(patience):
                    await self._wait(self._silent if silent else self._waiting)
            except TimeoutError:
                raise NoPlace from None
        self.at_work += 1
        place = _Place(self)
        timer = asyncio.get_running_loop().call_later(SLOW, place.leave)
        try:
            yield
        finally:
            timer.cancel()
            place.leave()
            self.at_work -= 1

    def note(self, delay: float) -> None:
        """How late the loop was just now [s]."""
        self.limit.note(delay, self.active, crowded=bool(self._waiting or self._silent))
        self._admit()

    async def _wait(self, queue: deque[asyncio.Future[None]]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn  # whoever admits us counts us
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.left()
            raise

    def left(self) -> None:
        """One of those at work is no more."""
        self.active -= 1
        self._admit()

    def _admit(self) -> None:
        while (queue := self._next()) and self.active < self.limit.value:
            turn = queue.popleft()
            if not turn.done():  # else he has left
                self.active += 1
                self._since = 0 if queue is self._silent else self._since + 1
                turn.set_result(None)

    def _next(self) -> deque[asyncio.Future[None]]:
        """Whose turn it is."""
        if self._silent and self._since >= SHARE - 1:
            return self._silent
        return self._waiting or self._silent


class _Place:
    """Of one line at work, to be left once."""

    __slots__ = ("_throttle",)

    def __init__(self, throttle: Throttle) -> None:
        self._throttle: Throttle | None = throttle

    def leave(self) -> None:
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.left()


class _Limit:
    """Pure: how many."""

    def __init__(self) -> None:
        self.value = FIRST
        self._enough = MOST  # what was right after it had been too much

    def note(self, delay: float, active: int, *, crowded: bool) -> None:
        """`active` are at work. Not more where nobody waits: what was never tried is not known to work."""
        if delay > LATE:
            self.value = self._enough = max(FLOOR, self.value * LESS)
        elif not crowded:
            self.value = max(min(self.value, FIRST), active, self.value * STALE)
        elif delay < EASY:
            more = self.value * GROW if self.value < self._enough else self.value + MORE
            self.value = min(MOST, more)
