"""Records any link into a hw-fixtures file that plays back as a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from terminals.links.link import Link, LinkLost, Wrapper
from terminals.links.recording import Moment, entry, head

#: Bytes of a file; a day of one busy line. Then the tap stops writing and the link goes on.
FILE_LIMIT: Final = 16 * 1024 * 1024


class Tap(Wrapper):
    """Writes down what passes, as it passes: a killed process leaves a file that can be read.

    Passwords and keys that go over the wire go into the file too. `date` is the caller's domain time as text.
    """

    def __init__(
        self,
        link: Link,
        path: Path,
        date: str,
        *,
        limit: int = FILE_LIMIT,
        now: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(link)
        self.full = False
        self._now = now or asyncio.get_running_loop().time
        self._begun: float | None = None
        self._room = limit
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._put(head(link.name, date))

    def write(self, data: bytes) -> None:
        self._record("sent", data)
        self.link.write(data)

    async def read(self, timeout: float) -> bytes:
        try:
            data = await self.link.read(timeout)
        except LinkLost as lost:
            self._put(entry(Moment("lost", at=self._elapsed(), reason=lost.reason)))
            raise
        self._record("received", data)
        return data

    def discard(self) -> bytes:
        data = self.link.discard()
        if data:
            self._record("received", data)
        return data

    async def close(self) -> None:
        self._file.close()
        await self.link.close()

    def _record(self, direction: str, data: bytes) -> None:
        at = self._elapsed()
        self._put(entry(Moment("sent" if direction == "sent" else "received", data, at)))

    def _elapsed(self) -> float:
        now = self._now()
        if self._begun is None:
            self._begun = now
        return now - self._begun

    def _put(self, text: str) -> None:
        self._room -= len(text)
        self.full = self.full or self._room < 0
        if not self.full and not self._file.closed:
            self._file.write(text)
