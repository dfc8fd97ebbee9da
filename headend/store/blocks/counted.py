"""What a metering point has counted: the registers of its meters end to end, on the primary side. Pure.

The difference of two instants is the energy between them, whatever meters came and went, and whether or not the midnights between were
read. Money is made of such differences: a bill of a month needs its two ends, not thirty days of which one may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks.energy import Ends, Energy, Registers, Why
from headend.store.blocks.installed import Rows
from headend.store.blocks.overlay import Quality
from lineloss.registers import advance
from protocols.localtime import Times
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one quantity, all [point, time].

    register, row, turn, multiplier  int64: the register itself, which meter's it is (its number among the rows), what it counts modulo, CT x PT;
            between two instants of one meter its two registers tell, whatever was read between them
    energy  int64 [1e-4 kWh] since a beginning of the point's own, which means nothing by itself; MISSING where `why` is not KNOWN
    fell    int64: how often a register went down so far;  lost  int64: how often a meter came or went and nobody read its register.
            A difference is an energy only between instants at which both are the same
    doubted int64: how many registers of meters that came or went were estimated so far
    why, quality   of the cell itself: KNOWN, NOT_COMMISSIONED or MISSING_REGISTER; of the register it rests on
    """

    register: I64
    row: I64
    turn: I64
    multiplier: I64
    energy: I64
    fell: I64
    lost: I64
    doubted: I64
    why: Codes
    quality: Codes

    def take(self, points: I64) -> Counted:
        """The same of points by their number, in any order and as often."""
        return Counted(*(getattr(self, column.name)[points] for column in fields(self)))

    def between(self, first: I64, last: I64) -> Energy:
        """The energy of each point [point] from its instant number `first` [point] to its instant number `last`."""
        point = np.arange(len(self.energy))
        begin, end = (point, first), (point, last)
        why = np.maximum(self.why[begin], self.why[end])
        one = (why == Why.KNOWN) & (self.row[begin] == self.row[end]) & (self.row[begin] >= 0)
        straight = advance(self.register[begin], self.register[end], self.turn[begin])
        why = np.where(one & (straight == MISSING), np.int8(Why.FELL), why)
        for counter, reason in ((self.lost, Why.EXCHANGED), (self.fell, Why.FELL)):
            why = np.where((why == Why.KNOWN) & ~one & (counter[begin] != counter[end]), np.int8(reason), why)
        known = why == Why.KNOWN
        quality = np.maximum(self.quality[begin], self.quality[end])
        quality = np.where(self.doubted[begin] == self.doubted[end], quality, np.int8(Quality.ESTIMATED))
        moved = np.where(known, self.energy[end], 0) - np.where(known, self.energy[begin], 0)
        moved = np.where(one, np.where(known, straight, 0) * self.multiplier[begin], moved)
        return Energy(
            np.where(known, moved, MISSING), why, np.where(known, quality, np.int8(Quality.MISSING))
        )


def chain(times: Times, rows: Rows, ends: Ends) -> tuple[I64, Counted]:
    """(point_id int64[point], ascending, what they had counted at `times` [time]); `rows` as Rows.by_point gives them."""
    counted, worth = _of_rows(times, rows, ends)
    point, start, number = np.unique(rows.point, return_index=True, return_inverse=True)
    shape = (len(point), len(times))
    counters = [np.zeros(shape, dtype=np.int64) for _ in range(3)]
    why = np.full(shape, Why.NOT_COMMISSIONED, dtype=np.int8)
    result = Counted(
        np.full(shape, MISSING), np.full(shape, -1, dtype=np.int64), np.ones(shape, dtype=np.int64), np.ones(shape, dtype=np.int64),
        np.full(shape, MISSING), counters[0], counters[1], counters[2], why, np.zeros(shape, dtype=np.int8),
    )  # fmt: skip
    # what the meters before had counted when they went
    before = [
        _before(total, start, number)
        for total in (counted.total, counted.fell, counted.lost, counted.doubted)
    ]
    before[2] = before[2] + counted.opened_blind
    rank = np.arange(len(rows)) - start[number]
    for turn in range(int(rank.max(initial=-1)) + 1):  # exchanges are few, and two in a span are fewer
        mine = np.flatnonzero(rank == turn)
        at = number[mine]
        here = (times[None, :] >= rows.since[mine, None]) & (times[None, :] <= rows.until[mine, None])
        there = here & (counted.at[mine] != MISSING)
        # at the instant of an exchange the meter that went will do, where the one that came was not read
        blind = here & ~there & (times[None, :] > rows.since[mine, None])
        blind |= here & ~there & (result.why[at] != Why.KNOWN)
        gone = times[None, :] > rows.until[mine, None]
        for name, own, so_far, final in (
            ("energy", counted.at[mine], before[0][mine], counted.total[mine]),
            ("fell", counted.fell_at[mine], before[1][mine], counted.fell[mine]),
            (
                "lost",
                np.zeros_like(counted.at[mine]),
                before[2][mine],
                counted.lost[mine] - counted.opened_blind[mine],
            ),
            ("doubted", np.zeros_like(counted.at[mine]), before[3][mine], counted.doubted[mine]),
        ):
            cells = getattr(result, name)[at]
            cells = np.where(there, so_far[:, None] + np.where(there, own, 0), cells)
            cells = np.where(gone, (so_far + final)[:, None], cells)
            getattr(result, name)[at] = np.where(blind, MISSING, cells) if name == "energy" else cells
        for name, own in (
            ("register", counted.at_raw[mine]),
            ("row", mine[:, None]),
            ("turn", rows.roll_over[mine, None]),
            ("multiplier", rows.multiplier[mine, None]),
        ):
            cells = np.where(there, own, getattr(result, name)[at])
            # nobody's register: the count of those that went, or none at all
            getattr(result, name)[at] = np.where(gone | blind, -1, cells) if name == "row" else cells
        why, quality = result.why[at], result.quality[at]
        why = np.where(there | gone, np.int8(Why.KNOWN), np.where(blind, np.int8(Why.MISSING_REGISTER), why))
        quality = np.where(there, worth[mine], np.where(gone, np.int8(Quality.MEASURED), quality))
        result.why[at], result.quality[at] = why, np.where(blind, np.int8(Quality.MISSING), quality)
    return point, result


@dataclass(frozen=True, slots=True)
class _OfRows:
    """Each meter's own count since the first register known of it; [row, time], or [row] when it went (or at the end)."""

    at_raw: I64
    at: I64
    fell_at: I64
    total: I64
    fell: I64
    lost: I64
    doubted: I64
    opened_blind: I64


def _of_rows(times: Times, rows: Rows, ends: Ends) -> tuple[_OfRows, Codes]:
    inside = (times[None, :] >= rows.since[:, None]) & (times[None, :] <= rows.until[:, None])
    at = np.where(inside, ends.at.values, MISSING)
    came, went = rows.since >= times[0], rows.until <= times[-1]
    opening = _end(times, rows.since, came, at, ends.since, ends.at.quality)
    closing = _end(times, rows.until, went, at, ends.until, ends.at.quality)
    worth = np.where(at == MISSING, np.int8(Quality.MISSING), ends.at.quality)
    for when, is_in, end in ((rows.since, came, opening), (rows.until, went, closing)):
        # and an instant of the grid at which a meter came or went is where that register was read
        place = np.minimum(np.searchsorted(times, when), len(times) - 1)
        row = np.flatnonzero(is_in & (times[place] == when) & (end.values != MISSING))
        row = row[at[row, place[row]] == MISSING]
        at[row, place[row]], worth[row, place[row]] = end.values[row], end.quality[row]
    line = np.concatenate([opening.values[:, None], at, closing.values[:, None]], axis=1)
    known = line != MISSING
    newest = np.maximum.accumulate(np.where(known, np.arange(line.shape[1]), -1), axis=1)
    previous = np.concatenate([np.full((len(line), 1), -1), newest[:, :-1]], axis=1)
    row, column = np.nonzero(known & (previous >= 0))
    gained = np.zeros_like(line)
    moved = advance(line[row, previous[row, column]], line[row, column], rows.roll_over[row])
    gained[row, column] = np.where(moved == MISSING, 0, moved)
    fell = np.zeros_like(line)
    fell[row, column] = moved == MISSING
    count = np.cumsum(gained, axis=1) * rows.multiplier[:, None]
    falls = np.cumsum(fell, axis=1)
    opened_blind = (came & (opening.values == MISSING)).astype(np.int64)
    closed_blind = (went & (closing.values == MISSING)).astype(np.int64)
    doubted = sum(
        (flag & (end.quality == Quality.ESTIMATED)).astype(np.int64)
        for flag, end in ((came, opening), (went, closing))
    )
    return (
        _OfRows(
            at,
            np.where(at == MISSING, MISSING, count[:, 1:-1]), falls[:, 1:-1], count[:, -1], falls[:, -1],
            opened_blind + closed_blind, np.asarray(doubted, dtype=np.int64), opened_blind,
        ),
        worth,
    )  # fmt: skip


def _end(
    times: Times, when: Times, is_in: NDArray[np.bool_], at: I64, read: Registers, quality: Codes
) -> Registers:
    """A row's register at the instant it came or went, [row]: the grid's own where the instant is one of `times` and it is there, else as it
    was read then."""
    place = np.minimum(np.searchsorted(times, when), len(times) - 1)
    row = np.arange(len(when))
    on_grid = is_in & (times[place] == when)
    values = np.where(is_in, read.values, MISSING)
    take = on_grid & (at[row, place] != MISSING)
    return Registers(
        np.where(take, at[row, place], values),
        np.where(take, quality[row, place], read.quality).astype(np.int8),
    )


def _before(total: I64, start: I64, number: I64) -> I64:
    """Sum over the earlier rows of the same point, [row]."""
    upto = np.cumsum(total) - total
    return upto - upto[start][number]
