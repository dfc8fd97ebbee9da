"""Energies of slots whose registers are missing, for curves that are compared with each other: never for a bill and never for a balance.

Short holes are filled evenly, long ones with the meter's own habit at that hour; both add up to what the registers on either side say.
Each filled slot carries the variance that this meter's own slots have around such a guess, so that whoever uses it can weigh it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import ROLL_OVER, Registers, RollOver, advance
from protocols.reading import MISSING

Floats = NDArray[np.float64]

#: A hole of up to two hours is filled evenly [slot]: within it a household's load is as often above as below the mean.
EVEN: Final = 8


@dataclass(frozen=True, slots=True)
class Filled:
    """energy float64[row, slot] [1e-4 kWh], NaN where nothing is known;  variance float64[row, slot] of it, 0 where it was measured."""

    energy: Floats
    variance: Floats


def fill(registers: Registers, *, roll_over: RollOver = ROLL_OVER, day: int = 96) -> Filled:
    """The slots of registers int64[row, slot + 1] [1e-4 kWh]; `day` is the number of slots after which habits repeat."""
    total = _unrolled(registers, roll_over)
    there = ~np.isnan(total)
    measured = there[:, 1:] & there[:, :-1]
    energy = np.diff(total, axis=1)
    variance = np.zeros(measured.shape)
    instants = np.arange(registers.shape[1])
    for row in np.flatnonzero(~there.all(axis=1)).tolist():
        at = np.flatnonzero(there[row])
        if len(at) < 2:
            continue
        energy[row, at[0] : at[-1]] = np.diff(np.interp(instants[at[0] : at[-1] + 1], at, total[row, at]))
        if measured[row, at[0] : at[-1]].all():
            continue
        steps = np.diff(np.where(measured[row], energy[row], np.nan))
        variance[row, ~measured[row]] = np.nanmean(steps**2) / 2 if np.isfinite(steps).any() else np.inf
        _habit(energy[row], variance[row], measured[row], at, day)
    energy[np.isinf(variance)] = np.nan
    return Filled(energy, np.where(np.isnan(energy), 0.0, variance))


def _habit(
    energy: Floats, variance: Floats, measured: NDArray[np.bool_], at: NDArray[np.int64], day: int
) -> None:
    """Replaces the even filling of the holes longer than EVEN by the mean of the same slots of other days, in place."""
    holes = np.flatnonzero(np.diff(at) > EVEN)
    if not len(holes):
        return
    slot = np.arange(len(energy)) % day
    count = np.bincount(slot[measured], minlength=day)
    mean = np.bincount(slot[measured], energy[measured], day) / np.maximum(count, 1)
    # one day alone shows a habit, but not how much days differ
    spread = np.mean((energy[measured] - mean[slot[measured]]) ** 2) if count.max(initial=0) > 1 else np.inf
    for k in holes.tolist():
        hole = slice(at[k], at[k + 1])
        habit = mean[slot[hole]]
        known = bool((count[slot[hole]] > 1).all()) and habit.sum() > 0
        energy[hole] = habit * energy[hole].sum() / habit.sum() if known else np.nan
        variance[hole] = spread if known else np.inf


def _unrolled(registers: Registers, roll_over: RollOver) -> Floats:
    """float64[row, slot + 1]: registers that only rise, NaN where missing; a row in which one fell without a roll-over is all NaN."""
    total = np.where(registers == MISSING, np.nan, registers.astype(np.float64))
    for row in np.flatnonzero((np.diff(_carried(registers), axis=1) < 0).any(axis=1)).tolist():
        at = np.flatnonzero(registers[row] != MISSING)
        modulus = roll_over if isinstance(roll_over, int) else int(np.ravel(roll_over)[row])
        steps = advance(registers[row, at[:-1]], registers[row, at[1:]], modulus)
        if (steps == MISSING).any():
            total[row] = np.nan
        else:
            total[row, at] = registers[row, at[0]] + np.r_[0, steps.cumsum()]
    return total


def _carried(registers: Registers) -> Registers:
    """Each missing register replaced by the last one before it, MISSING before the first."""
    position = np.where(registers != MISSING, np.arange(registers.shape[1]), 0)
    carried = np.take_along_axis(registers, np.maximum.accumulate(position, axis=1), axis=1)
    first = np.where(registers != MISSING, registers, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    return np.asarray(np.where(carried == MISSING, first, carried))
