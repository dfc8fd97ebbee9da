"""The energy of a metering point between instants, whatever meters came and went on it. Pure.

A point's energy in a slot is the sum over the meters that were on it then of (register at the slot's end, or at the removal within it
− register at its beginning, or at the installation within it) × CT × PT of that installation. Nothing is metered between a removal and
the next installation, and nothing is added for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks.installed import Rows
from headend.store.blocks.overlay import Quality
from lineloss.registers import advance, decreased
from protocols.localtime import Times
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Codes = NDArray[np.int8]


class Why(IntEnum):
    """Why a point's energy is not known. Where several hold, the greatest is told: it says most of what to do next."""

    KNOWN = 0
    NOT_COMMISSIONED = 1  # no meter on the point then
    MISSING_REGISTER = 2  # a meter's register at an end of the slot is not there
    EXCHANGED = 3  # a meter came or went within the slot, and nobody read its register at that instant
    FELL = 4  # a register went down, and not by rolling over


@dataclass(frozen=True, slots=True)
class Registers:
    """Registers of one quantity, int64 [1e-4 kWh] secondary side, MISSING where not known, and the Quality of each, int8."""

    values: I64
    quality: Codes


@dataclass(frozen=True, slots=True)
class Ends:
    """What a row's energies are differences of.

    at     [row, time]  of the row's meter, whether or not it was on the point at that time
    since  [row]        at the instant of its installation
    until  [row]        at the instant of its removal
    """

    at: Registers
    since: Registers
    until: Registers


@dataclass(frozen=True, slots=True)
class Energy:
    """int64[point, slot] [1e-4 kWh] primary side, MISSING where `why` is not KNOWN; `quality`: the least of the registers it rests on."""

    energy: I64
    why: Codes
    quality: Codes


def by_point(times: Times, rows: Rows, ends: Ends) -> tuple[I64, Energy]:
    """(point_id int64[point], ascending, their energies) of the slots between `times` [slot+1]; `rows` as Rows.by_point gives them."""
    first, last, first_quality, last_quality, why = _slots(times, rows, ends)
    inside = why != Why.NOT_COMMISSIONED
    moved = advance(first, last, rows.roll_over[:, None])
    gone = inside & (moved == MISSING)
    why[gone & (why == Why.KNOWN)] = Why.MISSING_REGISTER
    why[gone & decreased(first, last, rows.roll_over[:, None])] = Why.FELL
    # a register that is there says nothing of a slot whose other end is missing
    amount = np.where(why == Why.KNOWN, moved, 0) * rows.multiplier[:, None]
    quality = np.maximum(first_quality, last_quality)
    point, start = np.unique(rows.point, return_index=True)
    if len(point) < len(rows):
        amount = np.add.reduceat(amount, start, axis=0)
        some = np.logical_or.reduceat(inside, start, axis=0)
        worst = np.maximum.reduceat(np.where(inside, why, Why.KNOWN), start, axis=0)
        why = np.where(some, worst, np.int8(Why.NOT_COMMISSIONED))
        quality = np.maximum.reduceat(np.where(inside, quality, Quality.MISSING), start, axis=0)
    known = why == Why.KNOWN
    return point, Energy(
        np.where(known, amount, MISSING),
        why.astype(np.int8, copy=False),
        np.where(known, quality, np.int8(Quality.MISSING)).astype(np.int8, copy=False),
    )


def _slots(times: Times, rows: Rows, ends: Ends) -> tuple[I64, I64, Codes, Codes, Codes]:
    """(first register, last register, their qualities, Why) of each row's part of each slot, [row, slot].

    Why is KNOWN, NOT_COMMISSIONED or EXCHANGED so far; of a slot without the row both registers are MISSING."""
    first, last = ends.at.values[:, :-1], ends.at.values[:, 1:]
    first_quality, last_quality = ends.at.quality[:, :-1], ends.at.quality[:, 1:]
    why = np.zeros(first.shape, dtype=np.int8)
    part = np.flatnonzero((rows.since >= times[0]) | (rows.until <= times[-1]))
    if not len(part):
        return first, last, first_quality, last_quality, why
    first, last = first.copy(), last.copy()
    first_quality, last_quality = first_quality.copy(), last_quality.copy()
    since, until = rows.since[part, None], rows.until[part, None]
    comes = (since >= times[None, :-1]) & (since < times[None, 1:])
    goes = (until > times[None, :-1]) & (until <= times[None, 1:])
    out = (since >= times[None, 1:]) | (until <= times[None, :-1])
    for side, kind, when, on_grid, read in (
        (first, first_quality, comes, times[None, :-1] == since, ends.since),
        (last, last_quality, goes, times[None, 1:] == until, ends.until),
    ):
        # at an instant of the grid the curve's own register will do; within a slot only the register of that instant does
        take = when & ~(on_grid & (side[part] != MISSING))
        side[part] = np.where(take, read.values[part, None], side[part])
        kind[part] = np.where(take, read.quality[part, None], kind[part])
        why[part] = np.where(take & (side[part] == MISSING), np.int8(Why.EXCHANGED), why[part])
    for side in (first, last):
        side[part] = np.where(out, MISSING, side[part])
    why[part] = np.where(out, np.int8(Why.NOT_COMMISSIONED), why[part])
    return first, last, first_quality, last_quality, why
