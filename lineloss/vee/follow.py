"""Which registers follow the ones before them: over holes and midnights, roll-overs allowed for.

A single register that does not fit between its neighbours, while they fit each other, is false itself. A fall that no single register
explains (an exchanged or reset meter) is told, and no register is blamed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers, RollOver, advance, decreased
from protocols.reading import MISSING

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]


def judge(registers: Registers, before: I64, roll_over: I64, most: I64, since: F64) -> tuple[Bits, Bits]:
    """(bool[meter, time]: registers that are false; where a register does not follow the last good one before it).

    registers int64[meter, time]; before int64[meter]: one from `since` slots before the first; most int64[meter]: the energy of a slot
    """
    false, fell = np.zeros(registers.shape, dtype=np.bool_), np.zeros(registers.shape, dtype=np.bool_)
    rows = _odd(registers, before, most, since)
    if not len(rows):
        return false, fell
    own, column = np.nonzero(registers[rows] != MISSING)
    chain = _Chain(rows[own], column, registers[rows[own], column])
    wrong = chain.wrong(before, since, roll_over, most)
    false[chain.row[wrong], chain.column[wrong]] = True
    chain = chain.take(~wrong)
    bad = _breaks(*chain.steps(before, since), roll_over[chain.row], most[chain.row])
    fell[chain.row[bad], chain.column[bad]] = True
    return false, fell


@dataclass(frozen=True, slots=True)
class _Chain:
    """Known registers of some rows, one after the other [n], in order of row and time."""

    row: I64
    column: I64
    value: I64

    def take(self, which: Bits) -> _Chain:
        return _Chain(self.row[which], self.column[which], self.value[which])

    @property
    def first(self) -> Bits:
        """bool[n]: nothing of its row comes before it."""
        begins = np.ones(len(self.row), dtype=np.bool_)
        begins[1:] = self.row[1:] != self.row[:-1]
        return begins

    def steps(self, before: I64, since: F64) -> tuple[I64, I64, F64]:
        """(the register before, the register, slots between them) of each; MISSING where there is none before it."""
        first = self.first
        previous = np.where(first, before[self.row], np.roll(self.value, 1))
        slots = np.where(first, self.column + since[self.row], self.column - np.roll(self.column, 1))
        return previous, self.value, slots

    def wrong(self, before: I64, since: F64, roll_over: I64, most: I64) -> Bits:
        """bool[n]: below zero, or down from the one before it or up from the one after it, while these two fit each other."""
        if not len(self.row):
            return np.zeros(0, dtype=np.bool_)
        roll_over, most = roll_over[self.row], most[self.row]
        previous, value, apart = self.steps(before, since)
        last = np.append(self.first[1:], True)
        following = np.where(last, MISSING, np.roll(value, -1))
        onward = np.where(last, 0, np.roll(self.column, -1) - self.column)
        down = decreased(previous, value, roll_over)
        fits = (previous != MISSING) & (following != MISSING)
        fits &= ~_breaks(previous, following, apart + onward, roll_over, most)
        found = (value < 0) | ((down | decreased(value, following, roll_over)) & fits)
        # of two neighbours that could each be the one, the later; the earlier fitted what came before it
        doubt = found & np.append(found[1:] & ~self.first[1:], False) & ~down
        return np.asarray(found & ~doubt, dtype=np.bool_)


def _breaks(first: I64, last: I64, slots: F64, roll_over: RollOver, most: I64) -> Bits:
    """Where both are there and the register went down without rolling over, or up by more than so many slots can hold."""
    energy = advance(first, last, roll_over)
    both = (first != MISSING) & (last != MISSING)
    with np.errstate(invalid="ignore"):
        return np.asarray(both & ((energy == MISSING) | (energy > most * np.ceil(slots))), dtype=np.bool_)


def _odd(registers: Registers, before: I64, most: I64, since: F64) -> I64:
    """The rows that are worth a closer look: any register is below one before it, or a step is too high. One pass, for all are looked at."""
    step = registers[:, 1:] - registers[:, :-1]
    # a hole is the lowest integer: steps from and to it wrap around to below 0, and so do falls
    smooth = ((step >= 0) & (step <= most[:, None])).all(axis=1)
    opening = registers[:, 0]
    follows = (before == MISSING) | (
        (opening >= before) & (opening - before <= most * np.ceil(np.where(np.isnan(since), 0, since)))
    )
    odd = np.flatnonzero(~(smooth & follows & (opening >= 0)))
    if not len(odd):
        return odd
    # of those with holes, most are in order: a hole is below everything, so the highest so far is the last one known
    values = registers[odd]
    known = values != MISSING
    highest = np.maximum.accumulate(np.concatenate([before[odd, None], values], axis=1), axis=1)
    falls = (known & (values < highest[:, :-1])).any(axis=1) | (known & (values < 0)).any(axis=1)
    jumps = _jumps(values, known, before[odd], most[odd], since[odd])
    return np.asarray(odd[falls | jumps], dtype=np.int64)


def _jumps(values: Registers, known: Bits, before: I64, most: I64, since: F64) -> Bits:
    """bool[row]: a register is above the last known one by more than the slots between can hold."""
    row, column = np.nonzero(known)
    if not len(row):
        return np.zeros(len(values), dtype=np.bool_)
    here = values[row, column]
    first = np.concatenate([[True], row[1:] != row[:-1]])
    then = np.where(first, before[row], np.roll(here, 1))
    slots = np.where(
        first, column + np.where(np.isnan(since[row]), 0, since[row]), column - np.roll(column, 1)
    )
    high = (then != MISSING) & (here - np.where(then == MISSING, 0, then) > most[row] * np.ceil(slots))
    found = np.zeros(len(values), dtype=np.bool_)
    found[row[high]] = True
    return found
