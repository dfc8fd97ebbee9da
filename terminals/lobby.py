"""Callers who are not served: listed with the reason, told nothing, held for a while and closed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from terminals.links.pipe import Pipe


@dataclass(slots=True)
class Unconfirmed:
    """Somebody who dialled in and is not served.

    identity  what he says he is; '?' and his first bytes in hex where that is nothing known, '?silent' and the host where it is nothing
    kind      how he speaks, as greetings name it; '' where nobody knows
    reason    why he is not served
    """

    identity: str
    kind: str
    reason: str
    peer: str
    first_seen: float
    last_seen: float
    attempts: int = 1


class _Deaf:
    """Hears what a held caller sends, so that nothing of it is kept."""

    def received(self, data: bytes) -> None:
        pass

    def lost(self, reason: str) -> None:
        pass


_DEAF = _Deaf()


class Lobby:
    """`hold`: seconds until one is closed: closed at once, he would dial in at once. `limit`: how many are listed and held; a
    wrong address range must not fill the memory. `close` closes a link, in the background.
    """

    def __init__(self, hold: float, limit: int, close: Callable[[Pipe], None]) -> None:
        self._hold = hold
        self._limit = limit
        self._close = close
        self._listed: OrderedDict[str, Unconfirmed] = OrderedDict()
        self._held: dict[str, tuple[Pipe, asyncio.TimerHandle]] = {}

    def listed(self) -> list[Unconfirmed]:
        """The latest last."""
        return list(self._listed.values())

    def take(self, identity: str, kind: str, reason: str, wire: Pipe, now: float) -> None:
        """List and hold a caller; his earlier link is closed."""
        known = self._listed.pop(identity, None)
        first, attempts = (known.first_seen, known.attempts) if known else (now, 0)
        self._listed[identity] = Unconfirmed(identity, kind, reason, wire.name, first, now, attempts + 1)
        self._drop(identity)
        wire.attach(_DEAF)
        timer = asyncio.get_running_loop().call_later(self._hold, self._drop, identity)
        self._held[identity] = (wire, timer)
        if len(self._listed) > self._limit:
            oldest, _ = self._listed.popitem(last=False)
            self._drop(oldest)

    def forget(self, identity: str) -> None:
        """It is served now."""
        self._listed.pop(identity, None)

    def clear(self) -> None:
        """Close all that are held."""
        for identity in list(self._held):
            self._drop(identity)

    def _drop(self, identity: str) -> None:
        wire, timer = self._held.pop(identity, (None, None))
        if wire is not None and timer is not None:
            timer.cancel()
            self._close(wire)
