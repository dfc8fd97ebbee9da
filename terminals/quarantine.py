"""Meters that do not answer: left alone for longer and longer, so that their neighbours keep their pace."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """After `tolerated` failed turns in a row a meter rests `base` seconds, then twice that, ...

    up to `cap`.
    """

    tolerated: int = 2
    base: float = 60.0
    cap: float = 3600.0  # a repaired meter is found again within the hour

    def rest(self, failures: int) -> float:
        """Seconds to leave a meter alone after so many failures in a row; 0 while they are tolerated."""
        beyond = failures - self.tolerated
        if beyond < 0:
            return 0.0
        # 2**40 s is beyond any cap: the exponent is cut so that the number cannot outgrow a float.
        return min(self.base * 2.0 ** min(beyond, 40), self.cap)


class Quarantine:
    """Who has failed how often, and until when he rests. Outlives the link: redialling revives no meter.

    Holds one entry per failing meter, so it is bounded by the meters of the line.
    """

    def __init__(self, backoff: Backoff, now: Callable[[], float]) -> None:
        self._backoff = backoff
        self._now = now
        self._failures: dict[Hashable, tuple[int, float]] = {}

    def __len__(self) -> int:
        """How many meters rest now."""
        return sum(self.until(meter) is not None for meter in self._failures)

    def failed(self, meter: Hashable) -> None:
        """One more turn without an answer."""
        failures = self.failures(meter) + 1
        self._failures[meter] = (failures, self._now() + self._backoff.rest(failures))

    def answered(self, meter: Hashable) -> None:
        """The meter lives."""
        self._failures.pop(meter, None)

    def failures(self, meter: Hashable) -> int:
        """Failed turns in a row."""
        return self._failures.get(meter, (0, 0.0))[0]

    def until(self, meter: Hashable) -> float | None:
        """When the rest of this meter ends; None if it may be asked."""
        failures, until = self._failures.get(meter, (0, 0.0))
        return until if failures >= self._backoff.tolerated and self._now() < until else None

    def left(self, meter: Hashable) -> float:
        """Seconds until the rest of this meter ends, on the clock it is counted on; 0 if it may be asked."""
        until = self.until(meter)
        return 0.0 if until is None else until - self._now()
