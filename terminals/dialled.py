"""The line of a terminal that has dialled in, without the terminal's own frames. A link like any other."""

from __future__ import annotations

import asyncio
from typing import Protocol

from terminals.greetings.greeting import Beat, Filter, Sifted
from terminals.links.inbox import Inbox
from terminals.links.link import LinkLost, Volume
from terminals.links.pipe import Pipe


class Keeper(Protocol):
    """Whom a dialled link tells, by callback: ten thousand of them need no task."""

    def heard(self, link: DialledLink) -> None:
        """Bytes have come."""

    def beaten(self, link: DialledLink, beats: tuple[Beat, ...]) -> None:
        """The terminal said these for itself."""

    def gone(self, link: DialledLink, reason: str) -> None:
        """The wire is lost, or nobody lives at its other end."""


class DialledLink:
    """Implements links.link.Link over the wire, and Receiver for it.

    gap       seconds after which the beginning of a terminal's own frame, nothing following, is the session's
    patience  seconds of silence after which the connection is taken for half-open
    """

    __slots__ = ("_closed", "_filter", "_gap", "_heard", "_keeper", "_loop", "_patience", "_released", "_watch",
                 "identity", "inbox", "name", "wire")  # fmt: skip

    def __init__(
        self,
        identity: str,
        name: str,
        wire: Pipe,
        sifter: Filter,
        keeper: Keeper,
        *,
        gap: float,
        patience: float,
    ) -> None:
        self.identity = identity
        self.name = name
        self.wire = wire
        # Emptied as bytes come, so it cannot slow the peer down: what a terminal sends unasked and unread
        # beyond the inbox's limit is dropped from the old end.
        self.inbox = Inbox()
        self._filter = sifter
        self._keeper = keeper
        self._gap = gap
        self._patience = patience
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._released: asyncio.TimerHandle | None = None
        self._watch = self._loop.call_later(patience, self._look)

    # --- Link -----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed or self.wire.closed

    @property
    def volume(self) -> Volume:
        return self.wire.volume

    def write(self, data: bytes) -> None:
        """Send to the meters behind the terminal."""
        if self._closed:
            raise LinkLost(self.name, "it is closed")
        self.wire.write(data)

    async def read(self, timeout: float) -> bytes:
        """What the meters sent. TimeoutError or LinkLost."""
        return await self.inbox.read(timeout)

    def discard(self) -> bytes:
        """Throw away what has arrived."""
        return self.inbox.discard()

    async def close(self) -> None:
        """Close the terminal's connection."""
        self.fail("it was closed here")
        await self.wire.close()

    def fail(self, reason: str) -> None:
        """No byte will pass any more."""
        self._closed = True
        self._watch.cancel()
        self._forget_held()
        self.inbox.fail(LinkLost(self.name, reason))

    # --- Receiver -------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._closed:
            return
        self._heard = self._loop.time()
        self._keeper.heard(self)
        self._forget_held()
        self._pass_on(self._filter.feed(data))
        if self._filter.held and not self._closed:
            self._released = self._loop.call_later(self._gap, self._release)

    def lost(self, reason: str) -> None:
        if not self._closed:
            self._pass_on(self._filter.release())
        self._keeper.gone(self, reason)

    def _release(self) -> None:
        self._released = None
        self._pass_on(self._filter.release())

    def _pass_on(self, sifted: Sifted) -> None:
        if sifted.clean:
            self.inbox.put(sifted.clean)
        if sifted.beats:
            self._keeper.beaten(self, sifted.beats)

    def _forget_held(self) -> None:
        if self._released is not None:
            self._released.cancel()
            self._released = None

    def _look(self) -> None:
        """One timer for as long as the link lives, not a new one for every byte."""
        left = self._heard + self._patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._keeper.gone(self, f"no sign of life for {self._patience:.0f} s: half-open")
