"""What a transparent DTU says for itself: a registration line first, heartbeat lines in between. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from terminals.greetings.greeting import Beat, Said, Sifted, Verdict

#: A DTU passes on whatever protocol its meters speak.
KIND: Final = "dtu"


@dataclass(frozen=True, slots=True)
class DtuText:
    """How a make of DTU words it. `{id}` stands for the identity; the registration's group 1 is the identity.

    A heartbeat that comes instead of the registration identifies as well: some DTUs register only after
    power-up.
    """

    registration: bytes = rb"REG,([0-9A-Za-z-]{1,32})\r\n"
    heartbeat: bytes = b"HB,{id}\r\n"
    answer: bytes = b"OK,{id}\r\n"

    def identify(self, data: bytes) -> tuple[str, int, bytes] | None:
        """A link's first bytes -> (identity, where its line stands, the line), the first one; None: not said yet."""
        patterns = (self.registration, self._heartbeat_pattern())
        found = [match for pattern in patterns if pattern and (match := re.search(pattern, data))]
        if not found:
            return None
        match = min(found, key=re.Match.start)
        return match[1].decode("ascii"), match.start(), match[0]

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


class DtuGreeting:
    """Implements greeting.Greeting."""

    kind = KIND

    def __init__(self, text: DtuText | None = None) -> None:
        self.text = text or DtuText()

    def identify(self, data: bytes) -> Said | Verdict:
        """By its registration or heartbeat line. Lines are shorter than the noise that is put up with: no MORE is needed."""
        found = self.text.identify(data)
        if found is None:
            return Verdict.NOTHING
        identity, at, line = found
        return Said(identity, at, Beat(line), data[at + len(line) :])

    def answer(self, identity: str, beat: Beat, received: float, now: float) -> bytes:
        """The same for every line."""
        return self.text.answer_to(identity)

    def filter(self, said: Said) -> LineFilter:
        """For this terminal's heartbeat, and the registration as it was worded."""
        registration = said.beat.frame if said.beat is not None else b""
        return LineFilter(self.text.heartbeat_of(said.identity), registration)


class LineFilter:
    """Implements greeting.Filter for lines. Several in one piece are one beat: they say the same."""

    __slots__ = ("_held", "_lines")

    def __init__(self, *lines: bytes) -> None:
        self._lines = tuple(dict.fromkeys(line for line in lines if line))
        self._held = b""

    @property
    def held(self) -> bytes:
        return self._held

    def feed(self, data: bytes) -> Sifted:
        """What has come."""
        data = self._held + data
        beats: tuple[Beat, ...] = ()
        for line in self._lines:
            if line in data:
                beats = (Beat(line),)
                data = data.replace(line, b"")
        keep = max((_overlap(data, line) for line in self._lines), default=0)
        self._held = data[len(data) - keep :]
        return Sifted(data[: len(data) - keep], beats)

    def release(self) -> Sifted:
        """Nothing followed: what was held is the meter's."""
        held, self._held = self._held, b""
        return Sifted(held)


def _overlap(data: bytes, line: bytes) -> int:
    """The length of the longest end of `data` that is a true beginning of `line`."""
    longest = min(len(data), len(line) - 1)
    return next((n for n in range(longest, 0, -1) if data.endswith(line[:n])), 0)
