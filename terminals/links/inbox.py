"""Bytes that have arrived and the one reader who waits for them. Bounded."""

from __future__ import annotations

import asyncio

from terminals.links.link import RECEIVE_LIMIT, LinkLost


class Inbox:
    """The receiving half of a link.

    `put` and `fail` come from the event loop, `read` from the one session.
    """

    def __init__(self, limit: int = RECEIVE_LIMIT) -> None:
        self.limit = limit
        self.dropped = 0
        self._data = bytearray()
        self._lost: LinkLost | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._data)

    @property
    def full(self) -> bool:
        return len(self._data) >= self.limit

    @property
    def lost(self) -> LinkLost | None:
        """Why no byte will come any more."""
        return self._lost

    def put(self, data: bytes) -> None:
        """Take bytes as they arrive; what `limit` cannot hold is dropped from the old end and counted."""
        self._data += data
        excess = len(self._data) - self.limit
        if excess > 0:
            del self._data[:excess]
            self.dropped += excess
        self._wake()

    def fail(self, lost: LinkLost) -> None:
        """No byte will come any more. What has come is still read first. The first reason stays."""
        if self._lost is None:
            self._lost = lost
        self._wake()

    async def read(self, timeout: float) -> bytes:
        """All that has arrived. TimeoutError, or LinkLost with the reason that `fail` was given."""
        if not self._data and self._lost is None:
            await self._wait(timeout)
        if self._data:
            return self.discard()
        if self._lost is not None:
            # A fresh one each time: one exception raised twice chains the tracebacks of unrelated readers.
            raise LinkLost(self._lost.name, self._lost.reason)
        raise TimeoutError

    def discard(self) -> bytes:
        """Empty the box."""
        data = bytes(self._data)
        self._data.clear()
        return data

    async def _wait(self, timeout: float) -> None:
        if self._waiter is not None:
            raise RuntimeError("two readers on one link")
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        # One timer and one future instead of asyncio.timeout: this is the hottest wait of the program.
        timer = loop.call_later(timeout, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
