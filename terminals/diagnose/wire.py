"""The wire of a diagnosis: live, and written down if wanted; or played back from what was written down.

Both give the same bytes at the same instants, so a diagnosis that takes all its time from here says the same of a recording, to the last
digit, as it said at the meter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol, TextIO

from terminals.links.link import Link, LinkError, LinkLost, Volume, Wrapper
from terminals.links.recording import Direction, Moment, entry
from terminals.links.script import Departed
from terminals.links.url import Opener

#: Bytes of a file: a diagnosis is some 20 KB, a search of a dead line a few more.
FILE_LIMIT: Final = 4 * 1024 * 1024


class Wire(Protocol):
    """Opens links, and knows when something last happened on them."""

    played: bool

    @property
    def at(self) -> float:
        """Seconds from the beginning to the last thing that happened: bytes, silence, a link opened or lost."""

    async def open(self, opener: Opener, timeout: float) -> Link:
        """LinkError as the opener's."""


class LiveWire:
    """Real links. What happens goes to `path` too, as it happens: a killed process leaves a file that can be read.

    `head` is the beginning of the file. Passwords that go over the wire go into it.
    """

    played = False

    def __init__(self, path: Path | None = None, head: str = "") -> None:
        self._now = asyncio.get_running_loop().time
        self._begun = self._now()
        self._at = 0.0
        self._room = FILE_LIMIT
        self._file: TextIO | None = None
        if path is not None:
            self._file = path.open("w", encoding="utf-8", buffering=1)
            self._put(head)

    @property
    def at(self) -> float:
        return self._at

    async def open(self, opener: Opener, timeout: float) -> Link:
        try:
            link = await opener.open(timeout)
        except LinkError as error:
            self.mark("failed", reason=str(error))
            raise
        self.mark("opened", reason=link.name)
        return _LiveLink(link, self)

    def mark(self, direction: Direction, data: bytes = b"", reason: str = "") -> None:
        """Something happened now."""
        self._at = round(self._now() - self._begun, 6)  # as the file has it
        self._put(entry(Moment(direction, data, self._at, reason)))

    def close(self) -> None:
        """The file is whole."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put(self, text: str) -> None:
        self._room -= len(text)
        if self._file is not None and self._room >= 0:
            self._file.write(text)


class _LiveLink(Wrapper):
    """Tells its wire of all that passes."""

    def __init__(self, link: Link, wire: LiveWire) -> None:
        super().__init__(link)
        self._wire = wire

    def write(self, data: bytes) -> None:
        try:
            self.link.write(data)
        except LinkLost as lost:
            self._wire.mark("lost", reason=lost.reason)
            raise
        self._wire.mark("sent", data)

    async def read(self, timeout: float) -> bytes:
        try:
            data = await self.link.read(timeout)
        except TimeoutError:
            self._wire.mark("silent")
            raise
        except LinkLost as lost:
            self._wire.mark("lost", reason=lost.reason)
            raise
        self._wire.mark("received", data)
        return data

    def discard(self) -> bytes:
        data = self.link.discard()
        if data:
            self._wire.mark("late", data)
        return data


class PlayedWire:
    """What a LiveWire wrote down. Nothing waits. Recordings without openings (by the tap, or by hand) begin with an open link."""

    played = True

    def __init__(self, moments: Iterable[Moment]) -> None:
        self._moments = list(moments)
        self._next = 0
        self._at = 0.0

    @property
    def at(self) -> float:
        return self._at

    async def open(self, opener: Opener, timeout: float) -> Link:
        failed = self.take("failed")
        if failed is not None:
            raise LinkError(opener.url, failed.reason, failed.reason)
        opened = self.take("opened")
        return _PlayedLink(opened.reason if opened else opener.url, self)

    def take(self, *directions: Direction) -> Moment | None:
        """The next thing that happened, if it is one of these."""
        if self._next == len(self._moments) or self._moments[self._next].direction not in directions:
            return None
        moment = self._moments[self._next]
        self._next += 1
        self._at = moment.at
        return moment

    def close(self) -> None:
        """Nothing to do."""


class _PlayedLink:
    """Departed where something else is sent than was; TimeoutError where the recording has nothing to say."""

    def __init__(self, name: str, wire: PlayedWire) -> None:
        self.name = name
        self.closed = False
        self.volume = Volume()
        self._wire = wire

    def write(self, data: bytes) -> None:
        if self.closed:
            raise LinkLost(self.name, "it is closed")
        while self._wire.take("received", "silent", "late"):
            pass  # the recorded program listened longer than this one
        if lost := self._wire.take("lost"):
            self.closed = True
            raise LinkLost(self.name, lost.reason)
        sent = self._wire.take("sent")
        if sent is None or sent.data != data:
            self.closed = True
            raise Departed(self.name, sent.data if sent else b"", data)

    async def read(self, timeout: float) -> bytes:
        if self.closed:
            raise LinkLost(self.name, "it is closed")
        moment = self._wire.take("received", "lost", "silent")
        if moment is not None and moment.direction == "received":
            return moment.data
        if moment is not None and moment.direction == "lost":
            self.closed = True
            raise LinkLost(self.name, moment.reason)
        raise TimeoutError

    def discard(self) -> bytes:
        data = b""
        while moment := self._wire.take("late"):
            data += moment.data
        return data

    async def close(self) -> None:
        self.closed = True
