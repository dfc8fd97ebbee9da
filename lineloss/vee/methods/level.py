"""Level (平段): the registers on both sides are equal, so nothing flowed between them. No guess, but a proof."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.registers import advance
from lineloss.vee.curve import F64, Curve, Holes, Slots

CODE: Final = "vee-level"
WORDS: Final = ("the registers on both sides are equal", "两侧示数相等")
ANCHORED: Final = True


def weights(curve: Curve, wanted: Holes, slots: Slots) -> F64:
    """float64[n]: 1 where this holds, else NaN."""
    first, last = (curve.registers[wanted.row, at] for at in (wanted.before, wanted.after))
    equal = advance(first, last, curve.roll_over[wanted.row]) == 0
    return np.where(equal[slots.hole], 1.0, np.nan)
