"""The registers at a day's ends where they were not read: estimated from the same meter's own day, or from its other days.

A register missed at midnight hides the energy of a quarter of an hour, not of the day. What the slots beside it say about it is measured
on the same meter and day: the same extrapolation is made everywhere within the day where the answer is known, and its errors there are
the error here. A meter that is silent for more than half of the day is taken to have used what it used on its other days, give or take
how much they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers
from protocols.reading import MISSING

Floats = NDArray[np.float64]

#: Slots before the hole whose mean stands for the hole: an hour.
_BESIDE: Final = 4
#: Fewer other days than this say nothing about how much days differ: Student's distribution of three has no variance.
DAYS: Final = 4


@dataclass(frozen=True, slots=True)
class Ends:
    """first, last int64[row] [1e-4 kWh], MISSING where nothing could be estimated;  deviation float64[row] [1e-4 kWh]: standard deviation
    of last - first, 0 where both were read.
    """

    first: Registers
    last: Registers
    deviation: Floats


def estimate(curve: Registers, first: Registers, last: Registers, usual: Registers | None = None) -> Ends:
    """The ends of a day.

    curve        int64[row, slot + 1] [1e-4 kWh]
    first, last  int64[row]: what was read, of the curve or a freeze; MISSING where it was not
    usual        int64[row, day] [1e-4 kWh]: energies of other days, MISSING where unknown
    """
    first, last, deviation = first.copy(), last.copy(), np.zeros(len(curve))
    for row in np.flatnonzero((first == MISSING) | (last == MISSING)).tolist():
        at = np.flatnonzero(curve[row] != MISSING)
        whole = curve.shape[1] - 1
        begin = 0 if first[row] != MISSING else at[0] if len(at) else whole
        end = whole if last[row] != MISSING else at[-1] if len(at) else 0
        if end - begin >= max(whole // 2, 2 * _BESIDE):
            used = _slots(curve[row], int(begin), int(end), int(first[row]), int(last[row]))
            ahead, doubt_ahead = _beside(used, int(begin))
            behind, doubt_behind = _beside(used[::-1], whole - int(end))
            first[row] = first[row] if begin == 0 else curve[row, begin] - round(ahead)
            last[row] = last[row] if end == whole else curve[row, end] + round(behind)
            deviation[row] = np.hypot(doubt_ahead, doubt_behind)
        elif usual is not None and np.count_nonzero(usual[row] != MISSING) >= DAYS:
            days = usual[row][usual[row] != MISSING].astype(np.float64)
            base = first[row] if first[row] != MISSING else 0
            first[row], last[row] = base, base + round(days.mean())
            # few days tell their own spread badly: Student's distribution is wider than the normal one
            few = (len(days) - 1) / (len(days) - 3)
            deviation[row] = days.std(ddof=1) * np.sqrt((1 + 1 / len(days)) * few)
    return Ends(first, last, deviation)


def _slots(curve: Registers, begin: int, end: int, first: int, last: int) -> Floats:
    """The energies of the slots between two registers that were read, holes between them filled evenly, float64[end - begin]."""
    known = curve.astype(np.float64)
    known[curve == MISSING] = np.nan
    if first != MISSING:
        known[0] = first
    if last != MISSING:
        known[-1] = last
    there = np.flatnonzero(~np.isnan(known))
    return np.diff(np.interp(np.arange(begin, end + 1), there, known[there]))


def _beside(used: Floats, holes: int) -> tuple[float, float]:
    """(energy of `holes` slots before used[0], standard deviation of that), told from the first slots of `used` [slot]."""
    if not holes:
        return 0.0, 0.0
    total = np.r_[0.0, used.cumsum()]
    near = min(_BESIDE, len(used))
    guess = total[near] / near * holes
    at = np.arange(holes, len(used) - near + 1)
    if not len(at):
        return float(guess), float(used.max() * holes)
    made = (total[at + near] - total[at]) / near * holes - (total[at] - total[at - holes])
    return float(guess), float(np.sqrt(np.mean(made**2)))
