"""How fast this machine is, so that what is asked of it in real time is work and not milliseconds."""

from __future__ import annotations

import time
from typing import Final

#: seconds that a round of the loop below takes on a common machine
COMMON: Final = 60e-9


def slowness(rounds: int = 20_000) -> float:
    """How many times slower than common this machine is just now, at least 1; takes some milliseconds."""
    best = float("inf")
    for _ in range(5):
        start, total = time.thread_time(), 0
        for number in range(rounds):
            total += number * number % 7
        best = min(best, time.thread_time() - start)
    return max(1.0, best / rounds / COMMON)
