"""Profile (典型曲线): the shape of the day that the area's other meters had. A shape without an amount, so between two good registers only."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.curve import F64, I64, QUARTERS, Curve, Holes, Slots
from protocols.reading import MISSING

CODE: Final = "vee-profile"
WORDS: Final = ("the profile of the area's meters", "台区典型曲线")
ANCHORED: Final = True

#: meters with a whole day that make a profile
METERS: Final = 5


def weights(curve: Curve, wanted: Holes, slots: Slots, profile: F64) -> F64:
    """float64[n], millionths of the day; `profile` float64[meter, quarter] as `shape` makes it, NaN for meters without one."""
    return profile[slots.row, curve.quarter[slots.time]] * 1e6


def shape(energy: I64, quarter: I64) -> F64:
    """float64[quarter]: the mean of the meters' shares, all NaN where too few have a whole day with energy.

    energy int64[meter, slot] of one day, MISSING where not known; quarter int64[slot]: which quarter-hour of the clock each is"""
    whole = (energy != MISSING).all(axis=1)
    total = np.where(whole, energy.sum(axis=1), 0)
    chosen = whole & (total > 0)
    made = np.full(QUARTERS, np.nan)
    if int(chosen.sum()) < METERS:
        return made
    share = (energy[chosen] / total[chosen, None]).mean(axis=0)
    # by the clock: an hour that came twice is one, and of one that never came the slot before says most
    made[quarter] = share
    known = np.flatnonzero(~np.isnan(made))
    nearest = known[np.maximum(np.searchsorted(known, np.arange(QUARTERS), side="right") - 1, 0)]
    return np.asarray(made[nearest], dtype=np.float64)
