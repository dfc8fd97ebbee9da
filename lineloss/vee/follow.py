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
    """The rows that are worth a closer look: any register is below one before it, or a step is too high. Few passes, for all are looked at."""
    # a hole is the lowest integer: the highest so far is the last one known, unless something fell
    highest = np.maximum.accumulate(registers, axis=1)
    fell = ((registers < highest) & (registers != MISSING)).any(axis=1)
    # over a hole a step may be higher than within a slot; few are, and only they are looked at again. From a hole it wraps around to below 0.
    high: Bits = np.asarray((highest[:, 1:] - highest[:, :-1] > most[:, None]).any(axis=1))
    lowest, opening = _first(registers)
    with np.errstate(invalid="ignore"):
        over = most * np.ceil(np.where(np.isnan(since), 0, since) + opening)
        before_it = (before != MISSING) & (lowest != MISSING) & ((lowest < before) | (lowest - before > over))
    high[high] = _jumps(registers[high], most[high])
    return np.flatnonzero(fell | high | before_it | ((lowest < 0) & (lowest != MISSING)))


def _first(registers: Registers) -> tuple[I64, I64]:
    """(the first known register of each row, MISSING where there is none; its column)."""
    opening = registers[:, 0]
    column = np.zeros(len(registers), dtype=np.int64)
    late = np.flatnonzero(opening == MISSING)
    if not len(late):
        return opening, column
    column[late] = (registers[late] != MISSING).argmax(axis=1)
    return registers[np.arange(len(registers)), column], column


def _jumps(values: Registers, most: I64) -> Bits:
    """bool[row]: a register is above the last known one by more than the slots between can hold."""
    row, column = np.nonzero(values != MISSING)
    here = values[row, column]
    same = row[1:] == row[:-1]
    high = same & (here[1:] - here[:-1] > most[row[1:]] * (column[1:] - column[:-1]))
    found = np.zeros(len(values), dtype=np.bool_)
    found[row[1:][high]] = True
    return found
