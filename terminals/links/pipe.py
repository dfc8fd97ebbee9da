"""The asyncio Protocol under every socket and serial port; works on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from terminals.links.inbox import Inbox
from terminals.links.link import CLOSE_LIMIT, RECEIVE_LIMIT, SEND_LIMIT, LinkLost, Receiver, Volume

#: The largest piece asyncio's transports hand over in one call (256 KiB in both loops): the inbox must hold
#: one of these on top of its limit, because reading can only be paused between two pieces.
PIECE_LIMIT = 256 * 1024


class Pipe(asyncio.Protocol):
    """A link over a transport.

    When nobody reads, the transport is paused: the kernel then slows the peer down.
    """

    def __init__(self, name: str, on_open: Callable[[Pipe], None] | None = None) -> None:
        self.name = name
        self.volume = Volume()
        self._on_open = on_open
        self._inbox = Inbox(RECEIVE_LIMIT + PIECE_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._paused = False
        self._closing = False
        self._gone = asyncio.Event()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's and pyserial's are none by inheritance
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self.volume.received += len(data)
        self.volume.pieces += 1
        data = self.arrived(data)
        if not data:
            return
        if self._receiver is not None:
            self._receiver.received(data)
            return
        self._inbox.put(data)
        if len(self._inbox) >= RECEIVE_LIMIT and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._fail("the peer closed it")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) or type(exc).__name__ if exc else "the peer closed it")
        self._gone.set()

    @property
    def transport(self) -> asyncio.Transport:
        """The transport underneath. LinkLost before it is there."""
        if self._transport is None:
            raise LinkLost(self.name, "it was never open")
        return self._transport

    # --- Link -----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closing or self._transport is None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send. LinkLost if the link is closed or the peer takes nothing."""
        if self._transport is None or self.closed:
            raise LinkLost(self.name, "it is closed")
        if self._transport.get_write_buffer_size() + len(data) > SEND_LIMIT:
            self._fail("the peer takes no bytes")
            self._transport.abort()
            raise LinkLost(self.name, "the peer takes no bytes")
        self._transport.write(data)
        self.volume.sent += len(data)
        self.volume.pieces += 1

    async def read(self, timeout: float) -> bytes:
        """All that has arrived. TimeoutError or LinkLost."""
        data = await self._inbox.read(timeout)
        self._resume()
        return data

    def discard(self) -> bytes:
        """Throw away what has arrived."""
        data = self._inbox.discard()
        self._resume()
        return data

    async def close(self) -> None:
        """Close, wait for the transport to let go, cut it after CLOSE_LIMIT."""
        self._fail("it was closed here")
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()
            await asyncio.sleep(0)

    def attach(self, receiver: Receiver) -> None:
        """From now on `receiver` is told of bytes as they come, of those that are here at once, and of the end. Nobody reads any more."""
        self._receiver = receiver
        data = self.discard()
        if data:
            receiver.received(data)
        if self._inbox.lost is not None:
            self._tell_lost(self._inbox.lost.reason)

    # --- for the kinds of link ------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> bytes:
        """What of `data` is the peer's. A hook for lines that return what we sent."""
        return data

    def _fail(self, reason: str) -> None:
        self._closing = True
        self._inbox.fail(LinkLost(self.name, reason))
        self._tell_lost(reason)

    def _tell_lost(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(reason)

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
