"""What an area will take on the next day: a plain baseline whose error is measured, beside one that needs no thought at all.

    shape  median, slot by slot, of the newest like days (working days for a working day, days of rest for a day of rest)
    level  × how much more the last days took than the same rule would have said of them
    naive  the same weekday of the week before

Errors are the sum of the absolute differences over the day as a share of the energy that was taken (WAPE), because an area's load may be 0 in a
slot. A forecast that is not better than the naive one over weeks is no forecast; both errors stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

METHOD: Final = "like-day-median"
VERSION: Final = 1
#: days of the past that are looked at: four weeks have four of each weekday
HISTORY: Final = 28
#: newest like days that the median is of: an odd number, and fewer would let one odd day through
LIKE: Final = 5
#: newest days that tell the level, and how far it may go from 1: a heat wave does, a misread day must not
LEVEL_DAYS: Final = 3
LEVEL: Final = (0.7, 1.4)


@dataclass(frozen=True, slots=True)
class Forecast:
    """[kWh], float64[area, slot]; NaN where too little is known. days: like days that each median is of, int64[area]; level float64[area]."""

    energy: Floats
    naive: Floats
    level: Floats
    days: NDArray[np.int64]


def forecast(history: Floats, alike: Bits, kind: NDArray[np.int64], ahead: int = 1) -> Forecast:
    """The day `ahead` days (1 to 7) after the last of `history`.

    history  float64[area, day, slot] [kWh], days ascending, NaN where not known: a day with a hole is left out as a whole
    alike    bool[day]: the day is of the kind of the one that is asked about
    kind     int64[day]: the kind of each day, for the level
    """
    whole: Bits = np.asarray(~np.isnan(history).any(axis=2))
    shape, days = _median(history, whole & alike[None, :])
    level = _level(history, whole, kind)
    week = history.shape[1] - 1 - (7 - ahead)
    naive = history[:, week].copy() if week >= 0 else np.full(shape.shape, np.nan)
    naive[np.isnan(naive).any(axis=1)] = np.nan
    return Forecast(shape * level[:, None], naive, level, days)


def _median(history: Floats, chosen: Bits) -> tuple[Floats, NDArray[np.int64]]:
    """(median float64[area, slot] of the newest LIKE chosen days, NaN where there are none; how many)."""
    # the rank of a day among the chosen, the newest first
    rank = np.cumsum(chosen[:, ::-1], axis=1)[:, ::-1]
    taken = chosen & (rank <= LIKE)
    count = taken.sum(axis=1)
    order = np.argsort(~taken, axis=1, kind="stable")[:, :LIKE]
    picked = np.take_along_axis(history, order[:, :, None], axis=1)
    picked = np.where(np.take_along_axis(taken, order, axis=1)[:, :, None], picked, np.inf)
    ordered = np.sort(picked, axis=1)
    some = np.maximum(count, 1)
    low, high = (
        np.take_along_axis(ordered, at[:, None, None], axis=1)[:, 0] for at in ((some - 1) // 2, some // 2)
    )
    with np.errstate(invalid="ignore"):
        middle = (low + high) / 2
    return np.where((count > 0)[:, None], middle, np.nan), count


def _level(history: Floats, whole: Bits, kind: NDArray[np.int64]) -> Floats:
    """float64[area]: energy of the last days over what the medians before them said of them; 1 where nothing tells."""
    taken, said = np.zeros(len(history)), np.zeros(len(history))
    days = history.shape[1]
    for day in range(max(days - LEVEL_DAYS, 0), days):
        before = whole[:, :day] & (kind[None, :day] == kind[day])
        if not day:
            continue
        expected, _ = _median(history[:, :day], before)
        told = whole[:, day] & ~np.isnan(expected).any(axis=1)
        taken += np.where(told, np.nan_to_num(history[:, day]).sum(axis=1), 0)
        said += np.where(told, np.nan_to_num(expected).sum(axis=1), 0)
    some = said > 0
    return np.where(some, np.clip(taken / np.where(some, said, 1), *LEVEL), 1.0)


def error(told: Floats, taken: Floats) -> Floats:
    """float64[area]: sum of absolute differences / energy taken, of [area, slot] [kWh]; NaN where a slot of either is missing, or nothing
    was taken."""
    difference, total = np.abs(told - taken).sum(axis=1), taken.sum(axis=1)
    some = ~np.isnan(difference) & (total > 0)
    return np.where(some, difference / np.where(some, total, 1), np.nan)
