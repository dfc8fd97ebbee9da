"""Linear (线性插值): up to two hours between two good registers, taken as one steady load."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.curve import F64, Curve, Holes, Slots

CODE: Final = "vee-linear"
WORDS: Final = ("a steady load between the registers on both sides", "两侧示数间线性插值")
ANCHORED: Final = True

#: slots from one good register to the next: two hours of quarter-hours, the usual limit of utilities; a default
MOST: Final = 8


def weights(curve: Curve, wanted: Holes, slots: Slots) -> F64:
    """float64[n]: 1 where the hole is short enough, else NaN."""
    short = wanted.after - wanted.before <= MOST
    return np.where(short[slots.hole], 1.0, np.nan)
