"""Who has dialled in: known by what the terminal says of itself, never by the IP address."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from terminals.dialled import DialledLink
from terminals.greetings.greeting import Beat, Greeting, Said, Verdict, recognise
from terminals.links.link import LinkLost
from terminals.links.pipe import Pipe
from terminals.lobby import Lobby, Unconfirmed

#: Says whether a terminal of this identity that speaks like this kind is ours: its epoch if so (a later login gets a higher one), else
#: why it is not served.
Resolver = Callable[[str, str], Awaitable[int | str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """How terminals are kept.

    introduction  seconds in which a caller must be known; the listener's own limit is longer, by what the store may take
    heartbeat     seconds between a terminal's heartbeats, where its login does not say so
    missed        heartbeats that may fail to come; one more and the connection is taken for half-open
    gap           seconds after which the beginning of a heartbeat, nothing following, is a meter's byte
    hold          seconds until a caller who is not served is closed: closed at once, he would dial in at once
    unconfirmed   callers who are not served, listed and held; a wrong address range must not fill the memory
    """

    introduction: float = 20.0
    heartbeat: float = 60.0
    missed: int = 3
    gap: float = 0.3
    hold: float = 60.0
    unconfirmed: int = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Presence:
    """A terminal that is online: one login.

    `kind`: how it speaks, see greetings. `since` and the roster's `last_seen` are on the injected clock.
    """

    identity: str
    kind: str
    peer: str
    epoch: int
    since: float
    link: DialledLink


@dataclass(frozen=True, slots=True)
class _Login:
    presence: Presence
    greeting: Greeting


#: Told of logins and logouts, in order; must not block.
OnPresence = Callable[[Presence], None]
LAST_SEEN_LIMIT: Final = 200_000  # terminals remembered after they left: a province's worth, 20 MB
#: Seconds between heartbeats that a terminal may claim. 698.45 allows 18 hours: a connection that died in the network would be
#: believed alive for days.
HEARTBEAT_LIMIT: Final = 3600.0
#: Pieces in which a caller's first bytes may come. Each is looked at from the first byte on, so that somebody who sends a
#: byte at a time must come to an end: at worst this is a second of work. Logins have 20 to 40 bytes.
PIECES_LIMIT: Final = 256


class Roster:
    """Gives every accepted terminal a link, answers what it says for itself, and drops the half-open.

    `admit` is a Listener's `on_link`. The newest login of a terminal wins: the old link is closed and logged
    out before the new one is logged in. `now` is domain time in UTC seconds since 1970.
    """

    def __init__(
        self,
        resolve: Resolver,
        now: Callable[[], float],
        greetings: Sequence[Greeting],
        *,
        on_login: OnPresence | None = None,
        on_logout: OnPresence | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._resolve = resolve
        self._now = now
        self._greetings = greetings
        self._on_login = on_login
        self._on_logout = on_logout
        self._rules = rules or Rules()
        self._online: dict[str, _Login] = {}
        self._last_seen: OrderedDict[str, float] = OrderedDict()
        self._lobby = Lobby(self._rules.hold, self._rules.unconfirmed, self._close)
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
        """Callers who are not served, and why; the latest last."""
        return self._lobby.listed()

    async def close(self) -> None:
        """Log everybody out and close all links."""
        for login in list(self._online.values()):
            self._log_out(login, "the head-end is closing")
        self._lobby.clear()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- callers ------------------------------------------------------------------------------------------

    async def admit(self, wire: Pipe) -> bool:
        """Learn who calls. True: the roster owns the link now. LinkLost: he hung up before."""
        data, found = await self._introduce(wire)
        if found is None:
            self._turn_away(data, wire)
            return True
        greeting, said = found
        received = self._now()
        epoch = await self._resolve(said.identity, greeting.kind)
        if isinstance(epoch, str):
            self._lobby.take(said.identity, greeting.kind, epoch, wire, self._now())
            return True
        rival = self._online.get(said.identity)
        if rival is not None and rival.presence.epoch > epoch:
            return False  # while we asked, a newer login has come in
        if said.beat is not None:
            wire.write(greeting.answer(said.identity, said.beat, received, self._now()))
        self._lobby.forget(said.identity)
        self._log_in(greeting, said, epoch, wire)
        return True

    async def _introduce(self, wire: Pipe) -> tuple[bytes, tuple[Greeting, Said] | None]:
        """(the first bytes, whom they name); None: nobody, within the bounds of bytes, pieces and time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._rules.introduction
        data = b""
        with contextlib.suppress(TimeoutError):
            for _ in range(PIECES_LIMIT):
                data += await wire.read(until - loop.time())
                found = recognise(self._greetings, data)
                if found is Verdict.STRANGER:
                    break
                if not isinstance(found, Verdict):
                    return data, found
        return data, None

    def _turn_away(self, data: bytes, wire: Pipe) -> None:
        host = wire.name.rpartition(":")[0]
        identity = f"?{data[:8].hex()}" if data else f"?silent {host}"
        reason = "its first bytes name no terminal" if data else "it says nothing"
        self._lobby.take(identity, "", reason, wire, self._now())

    # --- known terminals ----------------------------------------------------------------------------------

    def _log_in(self, greeting: Greeting, said: Said, epoch: int, wire: Pipe) -> None:
        identity = said.identity
        rival = self._online.get(identity)
        if rival is not None:
            self._log_out(rival, f"the terminal has dialled in anew from {wire.name}")
        heartbeat = min(max(self._rules.heartbeat, said.heartbeat or 0.0), HEARTBEAT_LIMIT)
        link = DialledLink(
            identity,
            f"{greeting.kind}:{identity} ({wire.name})",
            wire,
            greeting.filter(said),
            self,
            gap=self._rules.gap,
            patience=heartbeat * (self._rules.missed + 1),
        )
        presence = Presence(identity, greeting.kind, wire.name, epoch, self._seen(identity), link)
        self._online[identity] = _Login(presence, greeting)
        if self._on_login is not None:
            self._on_login(presence)
        if said.rest:
            link.received(said.rest)
        wire.attach(link)

    def _log_out(self, login: _Login, reason: str) -> None:
        """Synchronous, so that nobody can see two logins of one terminal."""
        presence = login.presence
        if self._online.get(presence.identity) is not login:
            return
        del self._online[presence.identity]
        presence.link.fail(reason)
        self._close(presence.link.wire)
        if self._on_logout is not None:
            self._on_logout(presence)

    def _login_of(self, link: DialledLink) -> _Login | None:
        """The login that this link is the line of, if it still is."""
        login = self._online.get(link.identity)
        return login if login is not None and login.presence.link is link else None

    def heard(self, link: DialledLink) -> None:
        """Of DialledLink."""
        self._seen(link.identity)

    def beaten(self, link: DialledLink, beats: tuple[Beat, ...]) -> None:
        """Of DialledLink: answer, and let go who says good-bye."""
        login = self._login_of(link)
        if login is None:
            return
        now = self._now()
        try:
            for beat in beats:
                link.wire.write(login.greeting.answer(link.identity, beat, now, now))
        except LinkLost as lost:
            self._log_out(login, lost.reason)
        if any(beat.leaves for beat in beats):
            self._log_out(login, "the terminal has logged out")

    def gone(self, link: DialledLink, reason: str) -> None:
        """Of DialledLink."""
        login = self._login_of(link)
        if login is not None:
            self._log_out(login, reason)

    def _seen(self, identity: str) -> float:
        now = self._now()
        self._last_seen[identity] = now
        self._last_seen.move_to_end(identity)
        if len(self._last_seen) > LAST_SEEN_LIMIT:
            self._last_seen.popitem(last=False)
        return now

    def _close(self, wire: Pipe) -> None:
        """In the background: closing waits for what is still to be sent."""
        task = asyncio.ensure_future(wire.close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
