"""A bounded receive buffer. It knows no protocol: a frame finder looks at `data`, then skips and takes."""

from __future__ import annotations


class ReceiveBuffer:
    """Bytes waiting to become frames.

    `limit` bounds it: on overrun the oldest bytes go, since the newest may still become an answer.
    `skipped` counts every byte that was thrown away.
    """

    __slots__ = ("data", "limit", "skipped")

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.limit = limit
        self.skipped = 0

    def feed(self, data: bytes) -> None:
        """Append what arrived; drop the oldest bytes beyond the limit."""
        self.data += data
        if len(self.data) > self.limit:
            self.skip(len(self.data) - self.limit)

    def skip(self, count: int, filler: int = -1) -> None:
        """Throw away `count` bytes from the front; `filler` bytes (wake-up) are not counted."""
        gone = self.data[:count]
        del self.data[:count]
        self.skipped += len(gone) - (gone.count(filler) if filler >= 0 else 0)

    def take(self, count: int) -> bytes:
        """Remove and return `count` bytes from the front."""
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken
