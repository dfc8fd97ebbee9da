"""Domain time, injected. Leases and audit alone use the server's clock."""

from __future__ import annotations

import datetime as dt
import math
import time
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from protocols.localtime import as_datetime, instant


class Clock(Protocol):
    def now(self) -> np.datetime64:
        """The present instant, datetime64[us] UTC."""

    def seconds_until(self, when: np.datetime64) -> float:
        """How many seconds of real waiting until `when`; 0 if past."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """Production: domain time is the time."""

    def now(self) -> np.datetime64:
        return np.datetime64(time.time_ns() // 1000, "us")

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.now()) / np.timedelta64(1, "s")))


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """The demo's time: `start` at the real instant `anchor` (Unix seconds), running `rate` times as fast.

    The mapping is a pure function of the machine's clock, so every process given the same text agrees.
    """

    start: np.datetime64
    anchor: float
    rate: float

    def now(self) -> np.datetime64:
        elapsed = max(0.0, time.time() - self.anchor) * self.rate
        return self.start + np.timedelta64(int(elapsed * 1e6), "us")

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.now()) / np.timedelta64(1, "s")) / self.rate)

    def text(self) -> str:
        """What `parse` reads."""
        return f"{as_datetime(self.start).isoformat()}@{self.anchor!r}x{self.rate!r}"


def parse(text: str, zone: ZoneInfo) -> Clock:
    """'' or 'system' -> SystemClock; 'ISO@unix-secondsxRATE' -> ScaledClock. ValueError names the form."""
    if text in ("", "system"):
        return SystemClock()
    try:
        start_text, _, rest = text.partition("@")
        anchor_text, _, rate_text = rest.partition("x")
        start = dt.datetime.fromisoformat(start_text)
        if start.tzinfo is None:
            start = start.replace(tzinfo=zone)
        clock = ScaledClock(instant(start), float(anchor_text), float(rate_text))
    except ValueError as error:
        raise ValueError(f"clock {text!r} is not 'system' or 'START@UNIX_SECONDSxRATE': {error}") from None
    if not (0 < clock.rate < math.inf and math.isfinite(clock.anchor)):
        raise ValueError(f"clock {text!r}: the rate must be positive, and both numbers finite")
    return clock
