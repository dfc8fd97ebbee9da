"""Like days (同类日平均): the meter's own mean of each quarter-hour over its newest like days before the hole."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.curve import F64, I64, Bits, Curve, Holes, Slots

CODE: Final = "vee-like-day"
WORDS: Final = ("the mean of like days before", "同类日平均")
ANCHORED: Final = False

#: days before the hole in which like days are sought: four weeks, within which the seasons differ little
DAYS: Final = 28
#: like days that are averaged, the newest; and how many there must be: one alone is an accident
NEWEST: Final = 4
LEAST: Final = 2
#: slots worked out at once: 28 numbers each, some 20 MB
PIECE: Final = 50_000


def weights(curve: Curve, wanted: Holes, slots: Slots) -> F64:
    """float64[n] [1e-4 kWh]; NaN where too few like days are known."""
    if len(curve.kind) <= LEAST:  # too few days, however alike
        return np.full(len(slots), np.nan)
    grid = curve.by_clock()
    # days before the hole's first alone, so that a hole of several days is estimated in the same way from whichever of them it is looked at
    first = curve.day[wanted.begin]
    made = np.full(len(slots), np.nan)
    for begin in range(0, len(slots), PIECE):
        part = slice(begin, begin + PIECE)
        row, time = slots.row[part], slots.time[part]
        days = first[slots.hole[part], None] + np.arange(-DAYS, 0)
        there = days >= 0
        days = np.maximum(days, 0)
        there &= curve.kind[days] == curve.kind[curve.day[time], None]
        energy = grid[row[:, None], days, curve.quarter[time, None]]
        made[part] = _mean(energy, there & ~np.isnan(energy))
    most = curve.most[slots.row].astype(np.float64)
    return np.asarray(np.minimum(made, most), dtype=np.float64)  # NaN stays


def _mean(energy: F64, known: Bits) -> F64:
    """Of the newest known ones of each row."""
    newest: Bits = known & (known[:, ::-1].cumsum(axis=1)[:, ::-1] <= NEWEST)
    count: I64 = newest.sum(axis=1)
    total = np.where(newest, energy, 0.0).sum(axis=1)
    return np.where(count >= LEAST, total / np.maximum(count, 1), np.nan)
