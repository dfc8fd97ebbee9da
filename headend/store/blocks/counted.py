"""What a metering point has counted: the registers of its meters end to end, on the primary side. Pure.

The energy between two instants, whatever meters came and went: of one meter its two registers tell, of several also those at which they came and
went, and nothing else that was read between. Money is made of it: a bill of a month needs its two ends, not thirty days of which one may be
missing or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class Meters:
    """The meters that were on points, by number of the row, as Rows.by_point has them.

    opening, closing  registers at the instants they came and went
    turn, multiplier  int64[row]: what they count modulo [1e-4 kWh], CT x PT
    whole             int64[row + 1] [1e-4 kWh] primary side: what all rows before this one counted from coming to going
    unread, fell, guessed  int64[row + 1]: of how many of those an end was not read, or the register went down, or an end was estimated
    """

    opening: Registers
    closing: Registers
    turn: I64
    multiplier: I64
    whole: I64
    unread: I64
    fell: I64
    guessed: I64

    @classmethod
    def of(cls, rows: Rows, opening: Registers, closing: Registers) -> Meters:
        unread = (opening.values == MISSING) | (closing.values == MISSING)
        moved = advance(opening.values, closing.values, rows.roll_over)
        fell = ~unread & (moved == MISSING)
        counted = np.where(moved == MISSING, 0, moved) * rows.multiplier
        guessed = (opening.quality == Quality.ESTIMATED) | (closing.quality == Quality.ESTIMATED)
        sums = (np.concatenate([[0], np.cumsum(column)]) for column in (counted, unread, fell, guessed))
        return cls(opening, closing, rows.roll_over, rows.multiplier, *sums)


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one quantity, all [point, time].

    row       int64: the number of the meter that tells;  register int64 [1e-4 kWh], secondary side: its register then
    gone      bool: it had gone, and no other had come
    why, quality   KNOWN, NOT_COMMISSIONED or MISSING_REGISTER; of the register
    """

    row: I64
    register: I64
    gone: NDArray[np.bool_]
    why: Codes
    quality: Codes
    meters: Meters

    def between(self, points: I64, first: I64, last: I64) -> Energy:
        """The energy of points by their numbers, [n], each from its instant number `first` [n] to its instant number `last` [n], not before it."""
        begin, end, m = (points, first), (points, last), self.meters
        a, b, gone, left = self.row[begin], self.row[end], self.gone[begin], self.gone[end]
        why = np.maximum(self.why[begin], self.why[end])
        one = (a == b) & ~gone & ~left
        # of the first meter until it went, of the last one since it came; where one of them had gone by then, nothing
        head = advance(
            self.register[begin], np.where(one, self.register[end], m.closing.values[a]), m.turn[a]
        )
        tail = advance(m.opening.values[b], self.register[end], m.turn[b])
        heads, tails = ~gone, ~left & ~one
        rest = np.maximum(b + left, a + 1)  # those that came after the first and went before the last
        unread = (heads & ~one & (m.closing.values[a] == MISSING)) | (
            tails & (m.opening.values[b] == MISSING)
        )
        unread |= m.unread[rest] != m.unread[a + 1]
        fell = (heads & (head == MISSING)) | (tails & (tail == MISSING)) | (m.fell[rest] != m.fell[a + 1])
        for failed, reason in ((unread, Why.EXCHANGED), (fell, Why.FELL)):
            why = np.where((why == Why.KNOWN) & failed, np.int8(reason), why)
        known = why == Why.KNOWN
        guessed = (heads & ~one & (m.closing.quality[a] == Quality.ESTIMATED)) | (
            m.guessed[rest] != m.guessed[a + 1]
        )
        guessed |= tails & (m.opening.quality[b] == Quality.ESTIMATED)
        quality = np.where(
            guessed, np.int8(Quality.ESTIMATED), np.maximum(self.quality[begin], self.quality[end])
        )
        energy = m.whole[rest] - m.whole[a + 1]
        for some, moved, meter in ((heads, head, a), (tails, tail, b)):
            energy += np.where(known & some, moved, 0) * m.multiplier[meter]
        return Energy(
            np.where(known, energy, MISSING), why, np.where(known, quality, np.int8(Quality.MISSING))
        )


def chain(times: Times, rows: Rows, ends: Ends) -> tuple[I64, Counted]:
    """(point_id int64[point], ascending, what they had counted at `times` [time]); `rows` as Rows.by_point gives them."""
    at, opening, closing = _registers(times, rows, ends)
    point, start, number = np.unique(rows.point, return_index=True, return_inverse=True)
    shape = (len(point), len(times))
    row, register = np.zeros(shape, dtype=np.int64), np.full(shape, MISSING)
    gone = np.zeros(shape, dtype=np.bool_)
    why, quality = np.full(shape, Why.NOT_COMMISSIONED, dtype=np.int8), np.zeros(shape, dtype=np.int8)
    rank = np.arange(len(rows)) - start[number]
    for turn in range(int(rank.max(initial=-1)) + 1):  # exchanges are few, and two in a span are fewer
        mine = np.flatnonzero(rank == turn)
        p, since, until = number[mine], rows.since[mine, None], rows.until[mine, None]
        here = (times >= since) & (times <= until)
        there, left = here & (at.values[mine] != MISSING), times > until
        # at the instant of an exchange the meter that went will do, where the one that came was not read
        blind = here & ~there & ((times > since) | (why[p] != Why.KNOWN))
        row[p] = np.where(there | left, mine[:, None], row[p])
        register[p] = np.where(there, at.values[mine], np.where(blind | left, MISSING, register[p]))
        gone[p] = left | (gone[p] & ~there & ~blind)
        told = np.where(
            there | left, np.int8(Why.KNOWN), np.where(blind, np.int8(Why.MISSING_REGISTER), why[p])
        )
        worth = np.where(there, at.quality[mine], np.where(left, np.int8(Quality.MEASURED), quality[p]))
        why[p], quality[p] = told, np.where(blind, np.int8(Quality.MISSING), worth)
    return point, Counted(row, register, gone, why, quality, Meters.of(rows, opening, closing))


def _registers(times: Times, rows: Rows, ends: Ends) -> tuple[Registers, Registers, Registers]:
    """(at `times` [row, time] while the meter was on the point, when it came [row], when it went [row])."""
    inside = (times >= rows.since[:, None]) & (times <= rows.until[:, None])
    at = np.where(inside, ends.at.values, MISSING)
    worth = np.where(at == MISSING, np.int8(Quality.MISSING), ends.at.quality)
    came, went = rows.since >= times[0], rows.until <= times[-1]
    opening = _end(times, rows.since, came, at, ends.since, ends.at.quality)
    closing = _end(times, rows.until, went, at, ends.until, ends.at.quality)
    for when, is_in, end in ((rows.since, came, opening), (rows.until, went, closing)):
        # and an instant of the grid at which a meter came or went is where that register was read
        place = np.minimum(np.searchsorted(times, when), len(times) - 1)
        row = np.flatnonzero(is_in & (times[place] == when) & (end.values != MISSING))
        row = row[at[row, place[row]] == MISSING]
        at[row, place[row]], worth[row, place[row]] = end.values[row], end.quality[row]
    return Registers(at, worth), opening, closing


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
