"""How far the loop is behind: whoever has the line at a given moment finds out how long a byte may lie before it is seen."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

#: seconds between looks: each is one wake-up, and what stands still for longer is seen for certain
EVERY: Final = 0.05
#: upper bounds of the classes that delays are counted in [s]: a twentieth wide each, from a millisecond to a minute
BOUNDS: Final = 1e-3 * 1.05 ** np.arange(227)


@dataclass(frozen=True, slots=True)
class Beat:
    """Delays of the loop over a while [s], upper bounds of their class; `looks`: how many were counted. `collecting`: the longest that Python
    stood still to look for garbage [s]."""

    looks: int
    median: float
    p99: float
    worst: float
    collecting: float = 0.0


class Pulse:
    """Counts from the first `run` on, and tells each delay [s] to `told`. A fixed number of classes, however long it runs."""

    def __init__(self, told: Callable[[float], None] | None = None) -> None:
        self._told = told
        self._counts = np.zeros(len(BOUNDS) + 1, dtype=np.int64)
        self._worst = 0.0
        self._collecting = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        with self._watching_garbage():
            while True:
                meant = loop.time() + EVERY
                await asyncio.sleep(EVERY)
                delay = max(0.0, loop.time() - meant)
                self.note(delay)
                if self._told is not None:
                    self._told(delay)

    @contextmanager
    def _watching_garbage(self) -> Iterator[None]:
        begun = 0.0

        def watch(phase: str, info: dict[str, int]) -> None:
            nonlocal begun
            if phase == "start":
                begun = time.perf_counter()
            else:
                self._collecting = max(self._collecting, time.perf_counter() - begun)

        gc.callbacks.append(watch)
        try:
            yield
        finally:
            gc.callbacks.remove(watch)

    def note(self, delay: float) -> None:
        self._counts[int(np.searchsorted(BOUNDS, delay))] += 1
        self._worst = max(self._worst, delay)

    def take(self) -> Beat:
        """What was counted since it was taken last."""
        counts, worst, collecting = self._counts, self._worst, self._collecting
        self._counts, self._worst, self._collecting = np.zeros_like(counts), 0.0, 0.0
        looks = int(counts.sum())

        def share(part: float) -> float:
            if not looks:
                return 0.0
            place = int(np.searchsorted(np.cumsum(counts), part * looks))
            return min(worst, float(BOUNDS[place])) if place < len(BOUNDS) else worst

        return Beat(looks, share(0.5), share(0.99), worst, collecting)
