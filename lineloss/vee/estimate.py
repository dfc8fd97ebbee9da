"""Estimates: for each hole the best method that the data allow, and registers that fit those on both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import advance
from lineloss.vee.curve import F64, I64, Bits, Curve, Holes, Slots, holes
from lineloss.vee.methods import METHODS, freeze, profile, proxy
from protocols.reading import MISSING

#: times of a hole beyond which nothing is estimated: a week. Who was not heard for longer has perhaps moved, and a person should look.
MOST: Final = 7 * 96
#: Shares are whole numbers of this part of 1e-4 kWh: sums of whole floats are exact below 2^53, so that what a hole gets does not hang on the
#: other holes that are worked out with it.
PARTS: Final = 1024.0


#: row, time, register [n] of what one method (its number) made
Part = tuple[I64, I64, I64, int]


class Left(IntEnum):
    """Why a hole stays one."""

    NO_REGISTER = 1
    NO_SHAPE = 2
    TOO_LONG = 3
    FELL = 4
    IMPOSSIBLE = 5


#: (en, zh)
WHY: Final = {
    Left.NO_REGISTER: ("no good register on either side", "两侧均无可用示数"),
    Left.NO_SHAPE: ("no like days, check meter or profile to go by", "无同类日、校核表或典型曲线"),
    Left.TOO_LONG: ("longer than a week", "缺数超过一周"),
    Left.FELL: ("the registers on both sides contradict each other", "两侧示数矛盾"),
    Left.IMPOSSIBLE: ("more between the registers than the meter can carry", "两侧示数差超出电表能力"),
}


@dataclass(frozen=True, slots=True)
class Estimates:
    """What may stand where nothing was read, in order of meter and time, and what stays missing.

    row, time, value  [n] int64: registers [1e-4 kWh]
    method            [n] int8: index into METHODS
    left              the holes that stay, and `why` int8[hole], Left
    """

    row: I64
    time: I64
    value: I64
    method: NDArray[np.int8]
    left: Holes
    why: NDArray[np.int8]


def estimate(
    curve: Curve,
    look: Bits,
    write: Bits,
    *,
    proxied: F64 | None = None,
    profiles: F64 | None = None,
    longest: int = MOST,
) -> Estimates:
    """Estimates of every hole that has a time of `look` bool[time] in it, at its times of `write` bool[time]: a hole is estimated as a
    whole, or its parts would not fit.

    proxied   float64[meter, time] [1e-4 kWh]: energies by a check meter, NaN where there is none
    profiles  float64[meter, quarter]: shape of the day by the area's meters, NaN where there is none
    """
    frozen = freeze.there(curve)
    registers = np.where(frozen, curve.freezes, curve.registers)
    whole = replace(curve, registers=registers)
    wanted = holes(whole)
    # a midnight that a freeze fills may have closed a hole: it is wanted for itself
    seen = np.concatenate([[0], np.cumsum(look)])
    wanted = wanted.take(seen[wanted.last + 1] > seen[wanted.first])
    why = _hopeless(whole, wanted, longest)
    left, told = wanted.take(why > 0), why[why > 0]
    open_ = wanted.take(why == 0)
    parts: list[Part] = [_frozen(frozen & look, registers)]
    extra = {proxy: proxied, profile: profiles}
    for number, method in enumerate(METHODS):
        if method is freeze or not len(open_) or (method in extra and extra[method] is None):
            continue
        able = np.flatnonzero(open_.anchored) if method.ANCHORED else np.arange(len(open_))
        if not len(able):
            continue
        chosen = open_.take(able)
        slots = Slots.of(chosen)
        weights = _weights(method, whole, chosen, slots, extra.get(method))
        good = _usable(chosen, slots, weights)
        if good.any():
            parts.append((*_registers(whole, chosen, slots, weights, good), number))
            done = np.zeros(len(open_), dtype=np.bool_)
            done[able[good]] = True
            open_ = open_.take(~done)
    return _gathered(parts, write, left, told, open_)


def _hopeless(curve: Curve, wanted: Holes, longest: int) -> NDArray[np.int8]:
    """int8[hole]: Left, 0 where there is hope."""
    why = np.zeros(len(wanted), dtype=np.int8)
    why[(wanted.before < 0) & (wanted.after < 0)] = Left.NO_REGISTER
    both = np.flatnonzero(wanted.anchored)
    row, first, last = wanted.row[both], wanted.before[both], wanted.after[both]
    energy = advance(curve.registers[row, first], curve.registers[row, last], curve.roll_over[row])
    why[both[energy == MISSING]] = Left.FELL
    why[both[energy > curve.most[row] * (last - first)]] = Left.IMPOSSIBLE
    why[wanted.last - wanted.first + 1 > longest] = Left.TOO_LONG
    return why


def _weights(method: ModuleType, curve: Curve, wanted: Holes, slots: Slots, extra: F64 | None) -> F64:
    found: F64 = (
        method.weights(curve, wanted, slots) if extra is None else method.weights(curve, wanted, slots, extra)
    )
    # nothing flows backwards through a register; NaN stays
    return np.asarray(np.rint(np.maximum(found, 0.0) * PARTS))


def _usable(wanted: Holes, slots: Slots, weights: F64) -> Bits:
    """bool[hole]: every slot has a share, and between two registers the shares are not all nothing."""
    whole = slots.total(np.isnan(weights).astype(np.int64)) == 0
    total = slots.total(np.nan_to_num(weights))
    return np.asarray(whole & (~wanted.anchored | (total > 0)), dtype=np.bool_)


def _registers(curve: Curve, wanted: Holes, slots: Slots, weights: F64, good: Bits) -> tuple[I64, I64, I64]:
    """(row, time, register) of the missing times of the good holes."""
    wanted, keep = wanted.take(good), good[slots.hole]
    weights = weights[keep]
    slots = Slots.of(wanted)
    running = np.cumsum(weights)
    running -= (running[slots.start] - weights[slots.start])[slots.hole]
    total = running[np.append(slots.start[1:], len(slots)) - 1][slots.hole]
    hole = slots.hole
    row, roll_over = slots.row, curve.roll_over[slots.row]
    before, after = (curve.registers[row, np.maximum(at, 0)[hole]] for at in (wanted.before, wanted.after))
    two, one = wanted.anchored[hole], (wanted.before >= 0)[hole]
    energy = np.where(two, advance(before, after, roll_over), 0)
    # rounding the running sum and not the shares: what is left over is spread, and the sum is exact
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.rint(np.where(two, energy * (running / total), 0.0)).astype(np.int64)
    ahead = np.rint(running / PARTS).astype(np.int64)
    # from the register after backwards: what its own slot holds lies between the last time and it
    back = np.rint((total - running) / PARTS).astype(np.int64)
    value = np.where(
        two, (before + np.clip(between, 0, energy)) % roll_over,
        np.where(one, (before + ahead) % roll_over, np.maximum(after - back, 0)),
    )  # fmt: skip
    inside = slots.time <= wanted.last[hole]
    time, value, row = slots.time[inside], value[inside], row[inside]
    return _with_first(curve, wanted, row, time, value, total / PARTS, hole)


def _with_first(
    curve: Curve, wanted: Holes, row: I64, time: I64, value: I64, total: F64, hole: I64
) -> tuple[I64, I64, I64]:
    """Without a register before, the first time of a hole ends no slot of it: it lies the whole energy before the register after."""
    alone = np.flatnonzero(wanted.before < 0)
    if not len(alone):
        return row, time, value
    whole = total[np.searchsorted(hole, alone)]
    after = curve.registers[wanted.row[alone], wanted.after[alone]]
    return (
        np.concatenate([row, wanted.row[alone]]),
        np.concatenate([time, wanted.first[alone]]),
        np.concatenate([value, np.maximum(after - np.rint(whole).astype(np.int64), 0)]),
    )


def _frozen(mask: Bits, registers: I64) -> Part:
    row, time = np.nonzero(mask)
    return row, time, registers[row, time], METHODS.index(freeze)


def _gathered(
    parts: list[Part],
    write: Bits,
    left: Holes,
    why: NDArray[np.int8],
    open_: Holes,
) -> Estimates:
    row, time, value = (
        np.concatenate(column).astype(np.int64) for column in list(zip(*parts, strict=True))[:3]
    )
    method = np.concatenate([np.full(len(part[0]), part[3], dtype=np.int8) for part in parts])
    mine = write[time]
    row, time, value, method = row[mine], time[mine], value[mine], method[mine]
    order = np.lexsort((time, row))
    stay = Holes(*(np.concatenate([getattr(left, name), getattr(open_, name)]) for name in Holes.__slots__))
    because = np.concatenate([why, np.full(len(open_), Left.NO_SHAPE, dtype=np.int8)])
    sorted_ = np.lexsort((stay.first, stay.row))
    return Estimates(
        row[order],
        time[order],
        value[order],
        method[order],
        stay.take(sorted_),
        because[sorted_].astype(np.int8),
    )
