"""Who has dialled in: known by the identity in the registration, never by the IP address."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from terminals.dtu import REGISTRATION_LIMIT, DtuText, LineFilter
from terminals.links.inbox import Inbox
from terminals.links.link import Link, LinkLost

#: Says whether a terminal is ours: its epoch if so (a later login gets a higher one), else None.
Resolver = Callable[[str], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Rules:
    """How terminals are kept.

    heartbeat    seconds between a terminal's heartbeats
    missed       heartbeats that may fail to come; one more and the connection is taken for half-open
    gap          seconds after which the beginning of a heartbeat line, nothing following, is a meter's byte
    hold         seconds until an unknown terminal is closed: closed at once, it would dial in at once
    unconfirmed  unknown terminals that are listed and held; a wrong address range must not fill the memory
    """

    heartbeat: float = 60.0
    missed: int = 3
    gap: float = 0.3
    hold: float = 60.0
    unconfirmed: int = 1000


@dataclass(slots=True)
class Unconfirmed:
    """Somebody who registered and is not in the archive."""

    identity: str
    peer: str
    first_seen: float
    last_seen: float
    attempts: int = 1


class DtuLink:
    """The line behind a DTU, without the DTU's own lines. A link like any other."""

    def __init__(self, link: Link, name: str) -> None:
        self.name = name
        self._link = link
        # Always read by the roster, so it cannot slow the peer down: what a terminal sends unasked and unread
        # beyond the inbox's limit is dropped from the old end.
        self.inbox = Inbox()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed or self._link.closed

    def write(self, data: bytes) -> None:
        """Send to the meters behind the DTU."""
        if self._closed:
            raise LinkLost(self.name, "it is closed")
        self._link.write(data)

    async def read(self, timeout: float) -> bytes:
        """What the meters sent. TimeoutError or LinkLost."""
        return await self.inbox.read(timeout)

    def discard(self) -> bytes:
        """Throw away what has arrived."""
        return self.inbox.discard()

    def fail(self, reason: str) -> None:
        """No byte will pass any more."""
        self._closed = True
        self.inbox.fail(LinkLost(self.name, reason))

    async def close(self) -> None:
        """Close the terminal's connection."""
        self.fail("it was closed here")
        await self._link.close()


@dataclass(frozen=True, slots=True, eq=False)
class Presence:
    """A terminal that is online: one login.

    `since` and the roster's `last_seen` are on the injected clock.
    """

    identity: str
    peer: str
    epoch: int
    since: float
    link: DtuLink


@dataclass(frozen=True, slots=True)
class _Login:
    presence: Presence
    wire: Link
    lines: LineFilter
    task: asyncio.Task[None]


#: Told of logins and logouts, in order; must not block.
OnPresence = Callable[[Presence], None]
LAST_SEEN_LIMIT: Final = 200_000  # terminals remembered after they left: a province's worth, 20 MB


class Roster:
    """Gives every accepted terminal a link, answers its registration and heartbeats, and drops the half-open.

    `admit` is a Listener's `on_link`. The newest login of a terminal wins: the old link is closed and logged
    out before the new one is logged in. `now` is domain time in seconds.
    """

    def __init__(
        self,
        resolve: Resolver,
        now: Callable[[], float],
        *,
        on_login: OnPresence | None = None,
        on_logout: OnPresence | None = None,
        text: DtuText | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._resolve = resolve
        self._now = now
        self._on_login = on_login
        self._on_logout = on_logout
        self._text = text or DtuText()
        self._rules = rules or Rules()
        self._online: dict[str, _Login] = {}
        self._last_seen: OrderedDict[str, float] = OrderedDict()
        self._unconfirmed: OrderedDict[str, Unconfirmed] = OrderedDict()
        self._held: dict[str, tuple[Link, asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._online)

    def __iter__(self) -> Iterator[Presence]:
        """Everybody online."""
        return iter([login.presence for login in self._online.values()])

    def get(self, identity: str) -> Presence | None:
        """The terminal's present login."""
        login = self._online.get(identity)
        return login.presence if login else None

    def last_seen(self, identity: str) -> float | None:
        """When the last byte of this terminal came, online or not."""
        return self._last_seen.get(identity)

    def unconfirmed(self) -> list[Unconfirmed]:
        """Terminals that dialled in and nobody knows; the latest last."""
        return list(self._unconfirmed.values())

    async def admit(self, link: Link) -> bool:
        """Learn who calls. True: the roster owns the link now. The caller limits how long this may take."""
        data = b""
        while (said := self._text.identify(data)) is None:
            if len(data) >= REGISTRATION_LIMIT:
                self._hold(f"?{data[:8].hex()}", link)
                return True
            data += await link.read(self._rules.hold)
        identity, line, rest = said
        epoch = await self._resolve(identity)
        if epoch is None:
            self._hold(identity, link)
            return True
        rival = self._online.get(identity)
        if rival is not None and rival.presence.epoch > epoch:
            return False  # while we asked, a newer login has come in
        link.write(self._text.answer_to(identity))
        self._unconfirmed.pop(identity, None)
        self._log_in(identity, epoch, link, line, rest)
        return True

    async def close(self) -> None:
        """Log everybody out and close all links."""
        for login in list(self._online.values()):
            self._log_out(login, "the head-end is closing")
        for link, timer in self._held.values():
            timer.cancel()
            self._spawn(link.close())
        self._held.clear()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- known terminals ----------------------------------------------------------------------------------

    def _log_in(self, identity: str, epoch: int, link: Link, line: bytes, rest: bytes) -> None:
        rival = self._online.get(identity)
        if rival is not None:
            self._log_out(rival, f"the terminal has dialled in anew from {link.name}")
        now = self._seen(identity)
        presence = Presence(identity, link.name, epoch, now, DtuLink(link, f"dtu:{identity} ({link.name})"))
        lines = LineFilter(self._text.heartbeat_of(identity), line)
        task = self._spawn(self._pump(presence, link, lines, rest))
        self._online[identity] = _Login(presence, link, lines, task)
        if self._on_login is not None:
            self._on_login(presence)

    def _log_out(self, login: _Login, reason: str) -> None:
        """Synchronous, so that nobody can see two logins of one terminal."""
        presence = login.presence
        if self._online.get(presence.identity) is not login:
            return
        del self._online[presence.identity]
        presence.link.fail(reason)
        login.task.cancel()
        self._spawn(login.wire.close())
        if self._on_logout is not None:
            self._on_logout(presence)

    async def _pump(self, presence: Presence, wire: Link, lines: LineFilter, data: bytes) -> None:
        """Read the wire for as long as it lives; DTU lines end here, the rest goes to the session."""
        try:
            while True:
                self._take(presence, wire, lines, data)
                data = await self._arriving(presence, wire, lines)
        except TimeoutError:
            reason = f"no sign of life for {self._patience:.0f} s: half-open"
        except LinkLost as lost:
            reason = lost.reason
        login = self._online.get(presence.identity)
        if login is not None and login.presence is presence:
            self._log_out(login, reason)

    def _take(self, presence: Presence, wire: Link, lines: LineFilter, data: bytes) -> None:
        if not data:
            return
        self._seen(presence.identity)
        clean, taken = lines.feed(data)
        if clean:
            presence.link.inbox.put(clean)
        if taken:
            # One answer for several glued lines: they say the same.
            wire.write(self._text.answer_to(presence.identity))

    async def _arriving(self, presence: Presence, wire: Link, lines: LineFilter) -> bytes:
        if lines.held:
            try:
                return await wire.read(self._rules.gap)
            except TimeoutError:
                presence.link.inbox.put(lines.release())
        return await wire.read(self._patience)

    @property
    def _patience(self) -> float:
        return self._rules.heartbeat * (self._rules.missed + 1)

    def _seen(self, identity: str) -> float:
        now = self._now()
        self._last_seen[identity] = now
        self._last_seen.move_to_end(identity)
        if len(self._last_seen) > LAST_SEEN_LIMIT:
            self._last_seen.popitem(last=False)
        return now

    # --- unknown terminals --------------------------------------------------------------------------------

    def _hold(self, identity: str, link: Link) -> None:
        """List it, tell it nothing, close it later."""
        now = self._now()
        known = self._unconfirmed.pop(identity, None)
        if known is None:
            known = Unconfirmed(identity, link.name, now, now, attempts=0)
        known.peer, known.last_seen, known.attempts = link.name, now, known.attempts + 1
        self._unconfirmed[identity] = known
        self._drop(identity)
        loop = asyncio.get_running_loop()
        self._held[identity] = (link, loop.call_later(self._rules.hold, self._drop, identity))
        if len(self._unconfirmed) > self._rules.unconfirmed:
            oldest, _ = self._unconfirmed.popitem(last=False)
            self._drop(oldest)

    def _drop(self, identity: str) -> None:
        link, timer = self._held.pop(identity, (None, None))
        if link is not None and timer is not None:
            timer.cancel()
            self._spawn(link.close())

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(_wait(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _wait(work: Awaitable[None]) -> None:
    await work
