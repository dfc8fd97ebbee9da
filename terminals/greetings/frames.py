"""Takes whole frames with a known head out of a byte stream. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from terminals.greetings.greeting import Beat, Sifted

#: Bytes of a frame that a filter takes out. Logins and heartbeats are 20 to 40; vendors add a clock, a signal strength.
BEAT_LIMIT: Final = 128


class Head:
    """What the first bytes of a frame must be: for each place the bytes it may be, None for any."""

    def __init__(self, *places: bytes | None) -> None:
        self.places = places
        alternatives = (b"." if place is None else b"[" + re.escape(place) + b"]" for place in places)
        self.pattern = re.compile(b"".join(alternatives), re.DOTALL)

    def may_begin(self, data: bytes, at: int) -> bool:
        """Whether the bytes from `at` on, fewer than a head, fit it as far as they go."""
        return all(
            place is None or byte in place for byte, place in zip(data[at:], self.places, strict=False)
        )


class FrameFilter:
    """Implements greeting.Filter.

    head   what a frame of this terminal begins with, its address included: nobody else's frame is touched
    size   a head -> bytes of the whole frame; anything above BEAT_LIMIT is no beat
    whole  such a frame -> what it is; None: not valid, or not the terminal's own business, so it stays in the stream
    """

    __slots__ = ("_head", "_held", "_size", "_whole")

    def __init__(
        self, head: Head, size: Callable[[bytes], int], whole: Callable[[bytes], Beat | None]
    ) -> None:
        self._head = head
        self._size = size
        self._whole = whole
        self._held = b""

    @property
    def held(self) -> bytes:
        return self._held

    def feed(self, data: bytes) -> Sifted:
        """What has come."""
        return self._sift(self._held + data, waiting=True)

    def release(self) -> Sifted:
        """Nothing followed. A whole frame behind the one that never ended is found now."""
        return self._sift(self._held, waiting=False)

    def _sift(self, data: bytes, *, waiting: bool) -> Sifted:
        clean: list[bytes] = []
        beats: list[Beat] = []
        done = at = 0
        hold = -1
        while match := self._head.pattern.search(data, at):
            begin, size = match.start(), self._size(match[0])
            at = begin + 1
            if len(match[0]) <= size <= BEAT_LIMIT:
                if begin + size > len(data) and waiting:
                    hold = begin
                    break
                beat = self._whole(data[begin : begin + size])
                if beat is not None:
                    beats.append(beat)
                    clean.append(data[done:begin])
                    done = at = begin + size
        if hold < 0:
            hold = self._tail(data, done) if waiting else len(data)
        self._held = data[hold:]
        clean.append(data[done:hold])
        return Sifted(b"".join(clean), tuple(beats))

    def _tail(self, data: bytes, done: int) -> int:
        """Where the last bytes may be the beginning of a head; the end of the data if nowhere."""
        first = max(done, len(data) - len(self._head.places) + 1)
        return next((at for at in range(first, len(data)) if self._head.may_begin(data, at)), len(data))
