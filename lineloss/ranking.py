"""The worst objects of a period: how sure their order is, and what they were before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """row  int64[rank]: the greatest first, equal ones in their order; what has neither value nor limits is not there
    uncertain  bool[rank]: its bounds reach into those of the next one, so that the two may stand the other way round
    """

    row: NDArray[np.int64]
    uncertain: NDArray[np.bool_]


def ranked(value: Floats, low: Floats, high: Floats) -> Ranking:
    """Rows by their value, any one unit. The truth of each lies within [low, high]; who has limits and no value (NaN) stands at the lower one,
    which is what it lost for certain: limits may be so wide that their middle says nothing.
    """
    place = np.where(np.isnan(value), low, value)
    there = np.flatnonzero(~np.isnan(place))
    row = there[np.argsort(-place[there], kind="stable")]
    uncertain = np.zeros(len(row), dtype=np.bool_)
    uncertain[:-1] = low[row[:-1]] <= high[row[1:]]
    return Ranking(row, uncertain)


def changed(
    now: Floats, low: Floats, high: Floats, then: Floats, then_low: Floats, then_high: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """(now - then, whether the bounds of both lie apart: it really is another one), [row]; NaN and False where one is not known."""
    step = now - then
    apart = (low > then_high) | (high < then_low)
    return step, np.asarray(apart & ~np.isnan(step), dtype=np.bool_)
