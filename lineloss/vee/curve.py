"""What estimation looks at: one register of some meters over whole local days, and the holes in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers, steps
from protocols.reading import MISSING

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]

#: quarter-hours of a clock's day: slots are compared by the clock on the wall, also where it is put forward or back
QUARTERS: Final = 96


@dataclass(frozen=True, slots=True)
class Curve:
    """Good registers alone, int64 [1e-4 kWh] on the meter's side: what is false, or was estimated by us before, is MISSING here.

    registers  int64[meter, time]  time 0 is the opening midnight of the first day, every other the end of a slot
    alive      bool[meter, time]   the meter was installed then
    day        int64[time]         which day the slot that ends then belongs to, from 0; of time 0: 0
    quarter    int64[time]         which quarter-hour of the clock it is, 0 to 95
    kind       int64[day]          days of one kind are like each other
    roll_over  int64[meter]        what registers count modulo
    most       int64[meter]        the energy that a slot can hold at the meter's highest current
    freezes    int64[meter, time]  day freezes of the same register where times are midnights, else MISSING
    """

    registers: Registers
    alive: Bits
    day: I64
    quarter: I64
    kind: I64
    roll_over: I64
    most: I64
    freezes: Registers

    @property
    def energy(self) -> I64:
        """int64[meter, time]: of the slot that ends at each time; MISSING where not known, and at time 0."""
        energy = np.full(self.registers.shape, MISSING, dtype=np.int64)
        energy[:, 1:] = steps(self.registers, self.roll_over)
        return energy

    def by_clock(self) -> F64:
        """float64[meter, day, quarter] [1e-4 kWh]: the energies by day and clock, NaN where not known."""
        energy = self.energy[:, 1:].astype(np.float64)
        energy[energy == MISSING] = np.nan
        grid = np.full((len(energy), len(self.kind), QUARTERS), np.nan)
        grid[:, self.day[1:], self.quarter[1:]] = energy
        return grid


@dataclass(frozen=True, slots=True)
class Holes:
    """Runs of missing registers, [hole]. `first`, `last`: times that are missing; `before`, `after`: times of the good registers beside
    them, -1 where there is none."""

    row: I64
    first: I64
    last: I64
    before: I64
    after: I64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: Any) -> Holes:
        return Holes(
            self.row[which], self.first[which], self.last[which], self.before[which], self.after[which]
        )

    @property
    def anchored(self) -> Bits:
        """bool[hole]: a good register on both sides."""
        return np.asarray((self.before >= 0) & (self.after >= 0), dtype=np.bool_)

    @property
    def begin(self) -> I64:
        """The first slot whose energy is wanted, named by its end: without a register before there is none at the first time."""
        return np.where(self.before >= 0, self.first, self.first + 1)

    @property
    def end(self) -> I64:
        """The last such slot."""
        return np.where(self.after >= 0, self.after, self.last)


def holes(curve: Curve) -> Holes:
    """Every run of missing registers while the meter was installed, in order of meter and time."""
    missing = (curve.registers == MISSING) & curve.alive
    width = missing.shape[1]
    at = np.flatnonzero(missing)
    if not len(at):
        return Holes(at, at, at, at, at)
    row, column = np.divmod(at, width)
    begins = np.ones(len(at), dtype=np.bool_)
    begins[1:] = (at[1:] != at[:-1] + 1) | (column[1:] == 0)
    ends = np.append(begins[1:], True)
    row, first, last = row[begins], column[begins], column[ends]
    before, after = first - 1, last + 1
    good = (curve.registers != MISSING) & curve.alive
    before = np.where((before >= 0) & good[row, np.maximum(before, 0)], before, -1)
    after = np.where((after < width) & good[row, np.minimum(after, width - 1)], after, -1)
    return Holes(row, first, last, before, after)


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of some holes, one after the other, [n]: the hole's number, the row, the time that ends the slot. `start` [hole]: where
    each hole's begin; every hole has at least one."""

    hole: I64
    row: I64
    time: I64
    start: I64

    @classmethod
    def of(cls, wanted: Holes) -> Slots:
        count = wanted.end - wanted.begin + 1
        start = np.cumsum(count) - count
        hole = np.repeat(np.arange(len(wanted)), count)
        time = np.arange(int(count.sum())) - start[hole] + wanted.begin[hole]
        return cls(hole, wanted.row[hole], time, start)

    def __len__(self) -> int:
        return len(self.hole)

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """[n] -> [hole]: summed up."""
        return np.asarray(np.add.reduceat(values, self.start)) if len(self) else values[:0]
