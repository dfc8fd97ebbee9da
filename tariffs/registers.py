"""The energy between two register readings. The same rule as lineloss keeps for itself: the two rooms share
nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING

Ints = NDArray[np.int64]

#: A six-digit register shows 999999.99 kWh and then 0: it counts modulo 1,000,000 kWh [1e-4 kWh].
ROLL_OVER: Final = 1_000_000 * 10_000
#: What the last shown digit of a register is worth: 0.01 kWh (XXXXXX.XX, DL/T 645-2007 table A.1) [1e-4 kWh].
RESOLUTION: Final = 100


def advance(first: Ints, last: Ints, roll_over: int = ROLL_OVER) -> Ints:
    """Energy from `first` to `last`, any equal shapes, int64 [1e-4 kWh]; MISSING where it cannot be known:
    an end is missing, or the register went down and not from its top tenth into its bottom tenth."""
    present = (first != MISSING) & (last != MISSING)
    everywhere = bool(present.all())
    begin = first if everywhere else np.where(present, first, 0)
    energy = (last if everywhere else np.where(present, last, 0)) - begin
    down = energy < 0
    if down.any():
        tenth = roll_over // 10
        wrapped = down & (begin >= roll_over - tenth) & (begin < roll_over) & (begin + energy < tenth)
        energy = np.where(wrapped, energy + roll_over, energy)
        present = present & (~down | wrapped)
    elif everywhere:
        return energy
    return np.asarray(np.where(present, energy, MISSING), dtype=np.int64)
