"""What a call to save electricity (需求响应) has brought: energy that was not taken, with how wrong that may be.

    baseline  mean, slot by slot, of the newest like days before, moved by what the hours before the event differed
    reduced   baseline less what was taken, over the event

Nobody knows what would have been taken. So the same is done to each of the like days, on which nobody was asked to save, with the others as
its like days: how far these "reductions" scatter around nothing is the error of the method for this very group and these hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: newest like days that the baseline is of: two working weeks. A default, common in published programmes.
LIKE: Final = 10
#: fewer like days tell neither a mean nor its error
LEAST: Final = 4
#: hours before the event whose load moves the baseline, and the hour right before it that does not: who knows of the event may cool down
#: beforehand. Defaults.
BEFORE: Final = (4.0, 1.0)
#: how far the hours before may move the baseline: a default, common in published programmes
MOVE: Final = (0.8, 1.2)
#: two-sided 95 % quantiles of Student's t for 3, 4, … degrees of freedom; beyond, the last
_T: Final = (3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


@dataclass(frozen=True, slots=True)
class Effect:
    """reduced, low, high [kWh]: the truth lies within [low, high] 19 times in 20, if the event's day was a day like the others.

    baseline, taken  float64[slot] [kWh] of the whole day, baseline moved
    moved            factor by which the hours before moved it
    placebo          float64[day] [kWh]: "reductions" of the like days
    """

    reduced: float
    low: float
    high: float
    moved: float
    baseline: Floats
    taken: Floats
    placebo: Floats

    @property
    def certain(self) -> bool:
        """Whether anything at all was reduced."""
        return self.low > 0


def effect(
    taken: Floats,
    like: Floats,
    first: int,
    last: int,
    minutes: int = 15,
    more: Sequence[tuple[int, int]] = (),
) -> Effect | None:
    """Of a group's day taken float64[slot] [kWh] and of like days before it like float64[day, slot], the newest first, whole days alone; the
    event is in slots first … last (from 0), and in those of `more` later that day: the hours before the first of them move the baseline of all. None
    where fewer than LEAST like days are known, or the event's day has a hole."""
    like = whole(like)
    if len(like) < LEAST or np.isnan(taken).any():
        return None
    window, before = np.zeros(len(taken), dtype=np.bool_), _before(first, minutes)
    for begin, end in ((first, last), *more):
        window[begin : end + 1] = True
    baseline, moved = _moved(like, taken, before)
    days = np.arange(len(like))
    placebo = np.array(
        [(_moved(like[days != k], like[k], before)[0] - like[k])[window].sum() for k in days.tolist()]
    )
    reduced = float((baseline - taken)[window].sum())
    # the placebos are spread around 0, not around their own mean: what is wrong with the method in one direction is part of its error
    error = float(np.sqrt((placebo**2).mean()) * _T[min(len(like) - 1 - 3, len(_T) - 1)])
    return Effect(reduced, reduced - error, reduced + error, moved, baseline, taken, placebo)


def whole(like: Floats) -> Floats:
    """Those of like days float64[day, slot], the newest first, that make a baseline."""
    return like[~np.isnan(like).any(axis=1)][:LIKE]


def _before(first: int, minutes: int) -> slice:
    begin, end = (max(0, first - round(hours * 60 / minutes)) for hours in BEFORE)
    return slice(begin, end)


def _moved(like: Floats, day: Floats, before: slice) -> tuple[Floats, float]:
    mean = like.mean(axis=0)
    usual, now = mean[before].sum(), day[before].sum()
    moved = float(np.clip(now / usual, *MOVE)) if usual > 0 else 1.0
    return mean * moved, moved
