"""Register against the one before (示数校核), over holes and midnights, roll-overs allowed for.

A single register that does not fit between its neighbours, while they fit each other, is false itself. A fall that no single register
explains (an exchanged or reset meter) is told, and no register is blamed for it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers, RollOver, advance
from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, of_slots
from protocols.reading import MISSING

RULE: Final = "register"
VERSION: Final = 1
WORDS: Final = ("Register does not follow the one before", "示数异常")

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]


def find(facts: Facts) -> Verdict:
    false, fell = judge(
        facts.imports, facts.before, facts.roll_over, facts.most, facts.before_hours / facts.hours
    )
    bad = false | fell
    if not bad.any():
        return of_slots(RULE, VERSION, bad[:, 1:], Severity.ERROR)
    # the opening midnight belongs to the day before, which tells of it
    return of_slots(
        RULE, VERSION, bad[:, 1:], Severity.ERROR, register_kwh=facts.imports[:, 1:], value_false=false[:, 1:]
    )


def judge(
    registers: Registers, before: I64, roll_over: I64, most: I64, since: NDArray[np.float64]
) -> tuple[Bits, Bits]:
    """(bool[meter, time]: registers that are false; where a register does not follow the last good one before it).

    registers int64[meter, time]; before int64[meter]: one from `since` slots before the first; most int64[meter]: the energy of a slot
    """
    false, fell = np.zeros(registers.shape, dtype=np.bool_), np.zeros(registers.shape, dtype=np.bool_)
    rows = _odd(registers, before, most, since)
    if not len(rows):
        return false, fell
    known = registers[rows] != MISSING
    own, column = np.nonzero(known)
    row = rows[own]
    for pass_ in (0, 1):  # the second without what the first one found false
        values = registers[row, column]
        first = np.concatenate([[True], row[1:] != row[:-1]])
        last = np.append(first[1:], True)
        previous = np.where(first, before[row], np.roll(values, 1))
        next_ = np.where(last, MISSING, np.roll(values, -1))
        apart = np.where(first, column + since[row], column - np.roll(column, 1))
        onward = np.where(last, 0, np.roll(column, -1) - column)
        bad = _breaks(previous, values, roll_over[row], most[row], apart)
        if pass_:
            fell[row[bad], column[bad]] = True
            break
        ahead = _breaks(values, next_, roll_over[row], most[row], onward)
        fits = (previous != MISSING) & (next_ != MISSING)
        fits &= ~_breaks(previous, next_, roll_over[row], most[row], apart + onward)
        wrong = (values < 0) | ((bad | ahead) & fits)
        # of two neighbours that could each be the one, the later; the earlier fitted what came before it
        doubt = wrong & np.append(wrong[1:] & ~first[1:], False) & ~bad
        wrong &= ~doubt
        false[row[wrong], column[wrong]] = True
        row, column = row[~wrong], column[~wrong]
        if not len(row):
            break
    return false, fell


def _breaks(first: I64, last: I64, roll_over: RollOver, most: I64, slots: NDArray[np.float64] | I64) -> Bits:
    """Where both are there and the register went down without rolling over, or up by more than so many slots can hold."""
    energy = advance(first, last, roll_over)
    both = (first != MISSING) & (last != MISSING)
    with np.errstate(invalid="ignore"):
        return np.asarray(both & ((energy == MISSING) | (energy > most * np.ceil(slots))), dtype=np.bool_)


def _odd(registers: Registers, before: I64, most: I64, since: NDArray[np.float64]) -> I64:
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
    return odd[falls | jumps]


def _jumps(values: Registers, known: Bits, before: I64, most: I64, since: NDArray[np.float64]) -> Bits:
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
