"""A register at an instant at which nobody read it: between the reading before and the one after.

A register of energy only rises. So what it showed in between is known to lie between its neighbours, whatever the meter did; in the
middle of nothing better, it is taken to have risen evenly. That is no estimate of a habit: its limits hold always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers
from protocols.localtime import Times
from protocols.reading import MISSING


@dataclass(frozen=True, slots=True)
class Between:
    """int64[row] [1e-4 kWh], secondary side; MISSING where a neighbour is missing or the register fell between them.

    value      as if the register had risen evenly
    low, high  what it showed at least, and at most
    """

    value: Registers
    low: Registers
    high: Registers


def between(registers: Registers, times: Times, at: np.datetime64) -> Between:
    """What registers showed at `at`, by the nearest reading before it and the nearest one after.

    registers  int64[row, time] [1e-4 kWh], MISSING where not read;  times  ascending

    A reading at `at` itself stands for both. A roll-over between the neighbours is a fall here: the one instant in a meter's
    life at which this gives nothing.
    """
    known = registers != MISSING
    before, earlier = _nearest(known & (times <= at), last=True)
    after, later = _nearest(known & (times >= at), last=False)
    rows = np.arange(len(registers))
    low, high = registers[rows, before], registers[rows, after]
    good = earlier & later & (low <= high)
    low, high = np.where(good, low, 0), np.where(good, high, 0)
    whole = (times[after] - times[before]) / np.timedelta64(1, "s")
    gone = (at - times[before]) / np.timedelta64(1, "s")
    share = np.where(whole > 0, gone / np.where(whole > 0, whole, 1.0), 0.0)
    value = low + np.rint((high - low) * share).astype(np.int64)
    return Between(*(np.where(good, column, MISSING) for column in (value, low, high)))


def _nearest(known: NDArray[np.bool_], *, last: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(column of the last, or first, known cell of each row, whether there is one)."""
    column = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1) if last else known.argmax(axis=1)
    return column.astype(np.int64), np.asarray(known.any(axis=1), dtype=np.bool_)
