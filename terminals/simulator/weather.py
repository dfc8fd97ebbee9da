"""What a bad line does to the answers of one terminal: pure, but for the luck that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

#: Seconds after which an answer that was to be glued to the next one leaves alone: a modem's own buffer waits no longer.
GLUED: Final = 0.3
#: Seconds between the pieces of a split answer: longer than a line's gap between two bytes, shorter than its time-out.
GAP: Final = 0.05
#: Bytes of noise before an answer, at most.
NOISE: Final = 8

#: Puts another's address into a frame, whole and sound otherwise; gives back what it cannot read.
Readdress = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities per answer, and `delay`, seconds.

    loss       it never leaves
    garble     one of its bytes is changed
    split      it leaves in pieces
    glue       it waits for the next one and leaves with it, or alone after GLUED seconds
    noise      garbage stands before it
    stale      the answer before comes once more, just before it
    foreign    somebody else's address stands in it
    duplicate  it leaves twice
    delay      it leaves so much later, those behind it too; `jitter`: as much again at most
    """

    loss: float = 0.0
    garble: float = 0.0
    split: float = 0.0
    glue: float = 0.0
    noise: float = 0.0
    stale: float = 0.0
    foreign: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0

    @property
    def fair(self) -> bool:
        """Nothing happens in it."""
        return self == _FAIR


_FAIR: Final = Weather()


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that leave, `after` seconds; none of them overtakes another."""

    data: bytes
    after: float = 0.0


class Passage:
    """One terminal's answers on their way. `fragile`: the bytes of an answer that may be changed, so that the change can be noticed."""

    __slots__ = ("_before", "_fragile", "_held", "_random", "_readdress", "weather")

    def __init__(
        self, weather: Weather, random: Random, readdress: Readdress, fragile: range | None = None
    ) -> None:
        self.weather = weather
        self._random = random
        self._readdress = readdress
        self._fragile = fragile
        self._before = b""
        self._held = b""

    def leave(self, answer: bytes) -> list[Piece]:
        """The pieces in which an answer leaves; none if it is lost, or held until the next one: then `flush` after GLUED seconds."""
        weather = self.weather
        before, self._before = self._before, answer
        if self._happens(weather.loss):
            return []
        if self._happens(weather.foreign):
            answer = self._readdress(answer)
        if self._happens(weather.garble):
            answer = self._garbled(answer)
        if before and self._happens(weather.stale):
            answer = before + answer
        if self._happens(weather.duplicate):
            answer += answer
        if self._happens(weather.noise):
            answer = self._random.randbytes(self._random.randint(1, NOISE)) + answer
        after = weather.delay + weather.jitter * self._random.random() if weather.delay else 0.0
        if self._happens(weather.glue):
            self._held += answer
            return []
        answer, self._held = self._held + answer, b""
        if not self._happens(weather.split) or len(answer) < 2:
            return [Piece(answer, after)]
        cut = self._random.randint(1, len(answer) - 1)
        return [Piece(answer[:cut], after), Piece(answer[cut:], after + GAP)]

    @property
    def holds(self) -> bool:
        """Whether something waits for the next answer."""
        return bool(self._held)

    def flush(self) -> bytes:
        """What waited in vain."""
        held, self._held = self._held, b""
        return held

    def reset(self) -> None:
        """A new connection: what was on its way is gone."""
        self._before = self._held = b""

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self._random.random() < probability

    def _garbled(self, answer: bytes) -> bytes:
        places = self._fragile or range(len(answer))
        at = places[self._random.randrange(len(places))]
        changed = bytearray(answer)
        changed[at] ^= self._random.randint(1, 255)
        return bytes(changed)
