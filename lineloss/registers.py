"""The energy between two register readings, and what a register may not do."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING

Registers = NDArray[np.int64]

#: A six-digit register shows 999999.99 kWh and then 0: it counts modulo 1,000,000 kWh [1e-4 kWh].
ROLL_OVER: Final = 1_000_000 * 10_000
#: One for all rows, or one for each: any shape that broadcasts to the registers'.
RollOver = int | NDArray[np.int64]
#: What the last shown digit of a register is worth: 0.01 kWh (XXXXXX.XX, DL/T 645-2007 table A.1) [1e-4 kWh].
RESOLUTION: Final = 100


def advance(first: Registers, last: Registers, roll_over: RollOver = ROLL_OVER) -> Registers:
    """Energy from `first` to `last`, any equal shapes, int64 [1e-4 kWh]; MISSING where it cannot be known.

    `roll_over` is what the register counts modulo [1e-4 kWh]; meters with other than six digits have another one.

    It cannot be known where either end is missing, and where the register went down: down is a roll-over only
    from the top tenth of the register into the bottom tenth; every other decrease is an exchanged meter, a
    reset or a lie, and no energy at all may be derived from it.
    """
    # MISSING is the lowest int64: replaced before the subtraction, which would wrap around.
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
    return np.where(present, energy, MISSING).astype(np.int64, copy=False)


def decreased(first: Registers, last: Registers, roll_over: RollOver = ROLL_OVER) -> NDArray[np.bool_]:
    """Where both ends are present and the register still gives no energy: it went down without a
    roll-over.
    """
    return np.asarray(
        (first != MISSING) & (last != MISSING) & (advance(first, last, roll_over) == MISSING), dtype=np.bool_
    )
