"""What a transparent DTU says for itself: a registration line first, heartbeat lines in between. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: Bytes in which a registration must be complete: the longest identity (32) and its words, thrice over.
REGISTRATION_LIMIT: Final = 128


@dataclass(frozen=True, slots=True)
class DtuText:
    """How a make of DTU words it. `{id}` stands for the identity; the registration's group 1 is the identity.

    A heartbeat that comes instead of the registration identifies as well: some DTUs register only after
    power-up.
    """

    registration: bytes = rb"REG,([0-9A-Za-z-]{1,32})\r\n"
    heartbeat: bytes = b"HB,{id}\r\n"
    answer: bytes = b"OK,{id}\r\n"

    def identify(self, data: bytes) -> tuple[str, bytes, bytes] | None:
        """A link's first bytes -> (identity, the line that said it, what follows); None: not said yet."""
        for pattern in (self.registration, self._heartbeat_pattern()):
            match = pattern and re.match(pattern, data)
            if match:
                return match[1].decode("ascii"), match[0], data[match.end() :]
        return None

    def heartbeat_of(self, identity: str) -> bytes:
        """The heartbeat line of this terminal."""
        return self.heartbeat.replace(b"{id}", identity.encode("ascii"))

    def answer_to(self, identity: str) -> bytes:
        """What this terminal is told."""
        return self.answer.replace(b"{id}", identity.encode("ascii"))

    def _heartbeat_pattern(self) -> bytes:
        if b"{id}" not in self.heartbeat:
            return b""  # names nobody
        before, _, after = self.heartbeat.partition(b"{id}")
        return re.escape(before) + rb"([0-9A-Za-z-]{1,32})" + re.escape(after)


class LineFilter:
    """Takes the DTU's own lines out of a byte stream, wherever they stand and however they are split."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = tuple(dict.fromkeys(line for line in lines if line))
        self._held = b""

    @property
    def held(self) -> bytes:
        """The end of what came so far, if it may be the beginning of a line; shorter than a line."""
        return self._held

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """(the meter's bytes, how many lines were taken out)."""
        data = self._held + data
        taken = 0
        for line in self._lines:
            count = data.count(line)
            if count:
                taken += count
                data = data.replace(line, b"")
        keep = max((_overlap(data, line) for line in self._lines), default=0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep], taken

    def release(self) -> bytes:
        """Nothing followed: what was held is the meter's."""
        held, self._held = self._held, b""
        return held


def _overlap(data: bytes, line: bytes) -> int:
    """The length of the longest end of `data` that is a true beginning of `line`."""
    longest = min(len(data), len(line) - 1)
    return next((n for n in range(longest, 0, -1) if data.endswith(line[:n])), 0)
