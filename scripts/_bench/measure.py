"""Races: contenders do the same work in interleaved rounds, so that a noisy moment hits all of them.

What counts is the ratio within a round. Its median and its range over the rounds are what a table shows.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

OURS = "ours"


@dataclass(slots=True)
class Race:
    """Who took how long for `amount` items of `unit`, each with `values` values; `seconds`: who -> one per round.

    The first who is added leads: the others' ratios are the leader's rate over theirs.
    """

    title: str
    unit: str
    amount: int
    values: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, who: str, seconds: float) -> None:
        self.seconds.setdefault(who, []).append(seconds)

    def rate(self, who: str) -> float:
        """Items a second, the median round."""
        return self.amount / median(self.seconds[who])

    def ratios(self, who: str) -> list[float]:
        """How many times as fast the leader was, round by round."""
        leader = next(iter(self.seconds.values()))
        return [theirs / ours for ours, theirs in zip(leader, self.seconds[who], strict=True)]


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection while the clock runs, as in timeit."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def turns(items: Sequence[str], number: int) -> list[str]:
    """The items in the order of round `number`: everybody is first once in a while."""
    start = number % len(items)
    return [*items[start:], *items[:start]]


def cpu_race(race: Race, contenders: dict[str, Callable[[], object]], rounds: int) -> Race:
    """Run pure computations. Their own processor time is taken, so that other programs disturb less."""
    for who, work in contenders.items():
        race.seconds[who] = []
        work()  # tables are loaded, caches are warm: nobody pays that in the first round
    for number in range(rounds):
        for who in turns(list(contenders), number):
            with quiet():
                begin = time.process_time()
                contenders[who]()
                race.add(who, time.process_time() - begin)
    return race
