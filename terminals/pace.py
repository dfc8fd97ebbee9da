"""How long to wait on a line: learned from its own round trips, shared by all sessions on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What time-outs are multiplied by, at most, while only repeats get through.
WIDEST: Final = 8.0
#: As often as this does somebody get a request who has answered in this session: not the meter is dead, the line loses. Of 30 % loss three
#: tries leave 2.7 % of the requests, and a visit asks dozens; six leave one in 1,400.
ALIVE: Final = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, and how often.

    first     until the first byte of an answer while the line is unknown
    floor     the shortest time-out, however quick the line: a meter needs this much for a long profile
    ceiling   the longest time-out, however slow the line; also the end of a round trip, whatever trickles
    gap       silence within an answer after which no more of it will come
    attempts  how often a request is sent, the first included, to who has not answered yet; to who has, ALIVE times as often
    pause     between the last byte of one exchange and the next command: some meters drop them otherwise
    whole     the end of one request with all its blocks; longer is a peer that never stops
    """

    first: float = 5.0
    floor: float = 1.0
    ceiling: float = 30.0
    gap: float = 0.5
    attempts: int = 3
    pause: float = 0.05
    whole: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.first <= self.ceiling <= self.whole:
            raise ValueError("timing needs 0 < floor <= first <= ceiling <= whole")
        if self.attempts < 1 or self.gap <= 0 or self.pause < 0:
            raise ValueError("timing needs attempts >= 1, gap > 0, pause >= 0")


class Pace:
    """Mean and deviation of the time to the first byte; time-out = mean + 4 deviations (Jacobson, RFC 6298), and a gap more than the mean at
    least: on a slow and steady line the deviation sinks to nothing, and whoever looked up a moment late would ask again for nothing.

    Repeated requests are no sample, nobody knows which one was answered (Karn); instead the time-out widens
    until a first attempt gets through again. A meter that never answers teaches nothing: it must not slow its
    neighbours.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.quiet_since = float("-inf")  # when the last byte passed, on the loop's clock
        self._mean: float | None = None
        self._deviation = 0.0
        self._wider = 1.0

    @property
    def timeout(self) -> float:
        """Seconds until the first byte of an answer."""
        learned = self.timing.first
        if self._mean is not None:
            learned = self._mean + max(4 * self._deviation, self.timing.gap)
        return self.clamp(learned * self._wider)

    def patience(self, attempt: int) -> float:
        """Seconds that the first (0), second, ... attempt of a request is given: each twice the one before, up to four times the first."""
        return self.clamp(self.timeout * 2 ** min(attempt, 2))

    def clamp(self, seconds: float) -> float:
        """`seconds` between floor and ceiling."""
        return min(max(seconds, self.timing.floor), self.timing.ceiling)

    def answered(self, seconds: float) -> None:
        """A first attempt brought its first byte after `seconds`."""
        self._wider = 1.0
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    def answered_late(self) -> None:
        """Only a repeat got through: perhaps the time-out was too short for this line."""
        self._wider = min(self._wider * 2, WIDEST)
