"""What a meter's days before were like, in numbers that a few odd days do not move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

_HIGHEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Extent:
    """[meter]: how many days are known, the least and the greatest of them [1e-4 kWh]; 0 where none is."""

    count: I64
    least: I64
    greatest: I64


def extent(history: I64) -> Extent:
    """Of energies int64[meter, day] [1e-4 kWh], MISSING where not known."""
    if not history.shape[1]:
        nothing = np.zeros(len(history), dtype=np.int64)
        return Extent(nothing, nothing, nothing)
    known = history != MISSING
    count = known.sum(axis=1)
    least = np.where(known, history, _HIGHEST).min(axis=1)
    return Extent(count, np.where(count > 0, least, 0), np.where(count > 0, history.max(axis=1), 0))


def middle(history: I64) -> tuple[I64, F64, F64]:
    """(known days, median, median distance from it), [meter], of energies int64[meter, day]; NaN where no day is known."""
    values = history.astype(np.float64)
    values[history == MISSING] = np.inf
    count = (history != MISSING).sum(axis=1)
    median = _median(values, count)
    with np.errstate(invalid="ignore"):
        away = np.abs(values - median[:, None])
    away[history == MISSING] = np.inf
    return count, median, _median(away, count)


def _median(values: F64, count: I64) -> F64:
    """Of the `count` least values of each row: what is not known is infinite."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)
    some = np.maximum(count, 1)
    low, high = (np.take_along_axis(ordered, k[:, None], axis=1)[:, 0] for k in ((some - 1) // 2, some // 2))
    return np.where(count > 0, np.where(count > 0, low, 0) / 2 + np.where(count > 0, high, 0) / 2, np.nan)
