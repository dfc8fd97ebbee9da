"""A link that plays given bytes: the far end of a test, or a recorded conversation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from terminals.links.link import LinkError, LinkLost, Volume
from terminals.links.recording import Moment

#: What a script passes over before something is sent: its link is open from the beginning, and waits for nothing.
_UNREAD: Final = ("received", "late", "silent", "opened")


class Departed(LinkError):
    """What was sent is not what the script expects."""

    def __init__(self, name: str, expected: bytes, sent: bytes) -> None:
        reason = f"expected {expected.hex(' ').upper() or 'nothing'}, sent {sent.hex(' ').upper()}"
        super().__init__(name, reason, f"{name} left its script: {reason}; record it anew")


class ScriptLink:
    """Plays `moments` without waiting: what was received is there once what comes before it is sent.

    Where the script has nothing to say, `read` raises TimeoutError at once: silence, without the waiting.
    With `strict` off anything may be sent; only the number of writes moves the script on.
    """

    def __init__(self, moments: Iterable[Moment], name: str = "script", *, strict: bool = True) -> None:
        self.name = name
        self.sent: list[bytes] = []
        self._moments = list(moments)
        self._next = 0
        self._strict = strict
        self._owed = b""  # of the present "sent" moment, what has not been written yet
        self._closed = False
        self.volume = Volume()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def finished(self) -> bool:
        """All of the script has been played."""
        return self._next == len(self._moments) and not self._owed

    def write(self, data: bytes) -> None:
        if self._closed:
            raise LinkLost(self.name, "it is closed")
        self.sent.append(data)
        self._skip_unread()
        if not self._strict:
            self._take("sent")
            return
        rest = data
        while rest:
            expected = self._owed or self._take("sent")
            common = min(len(rest), len(expected))
            if not common or rest[:common] != expected[:common]:
                raise Departed(self.name, expected, rest)
            self._owed, rest = expected[common:], rest[common:]

    async def read(self, timeout: float) -> bytes:
        if self._closed:
            raise LinkLost(self.name, "it is closed")
        if not self._owed and self._upcoming("lost"):
            self._closed = True
            raise LinkLost(self.name, self._moments[self._next].reason)
        if self._owed or not self._upcoming("received"):
            raise TimeoutError
        return self._take("received")

    def discard(self) -> bytes:
        """Nothing: what the script received belongs to the request before it, and stays in order."""
        return b""

    async def close(self) -> None:
        self._closed = True

    def _upcoming(self, direction: str) -> bool:
        return self._next < len(self._moments) and self._moments[self._next].direction == direction

    def _take(self, direction: str) -> bytes:
        if not self._upcoming(direction):
            return b""
        self._next += 1
        return self._moments[self._next - 1].data

    def _skip_unread(self) -> None:
        """The recorded head-end read more before it wrote again (a stale answer, noise); we need not have."""
        while not self._owed and any(self._upcoming(passed) for passed in _UNREAD):
            self._next += 1
