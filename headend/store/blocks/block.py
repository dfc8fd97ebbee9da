"""Blocks by meter: `[meter, slot]` arrays of a span of local days, one row of the block per installed meter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, points
from headend.store.blocks.grid import by_key, choose, empty, read
from headend.store.blocks.installed import Rows, rows
from headend.store.blocks.overlay import Estimates, Marks, known, lay, no_marks, quality
from headend.store.blocks.whole import whole
from headend.store.db import Connection
from headend.store.tables import CURVES, DAY_FREEZES, Table
from protocols.localtime import Times, midnight
from protocols.reading import REGISTER_QUANTITIES, Column

I64 = NDArray[np.int64]

#: Meters × slots of one question, and of one block of a stream: 5,000 meters' day. Ten quantities of it are 25 MB; below a fifth of it the
#: statements' own cost begins to show, above it nothing gets faster.
CELLS_AT_ONCE: Final = 500_000


@dataclass(frozen=True, slots=True)
class Block:
    """Local days `day` to `last` (that day alone). `times` [slot+1]: the opening midnight of the first, then the end of each slot.

    `registers`: code -> int64 [meter, slot+1], 1e-4 kWh secondary side, MISSING where not known
    `instants`: code -> float32 [meter, slot], NaN where not known
    `freezes`: code -> int64 [meter, midnight], the day-freeze registers at the opening midnight and at the one that closes each day
    `marks`: code -> the curve's cells that are not simply measured or missing
    """

    day: dt.date
    times: Times
    rows: Rows
    registers: dict[str, I64]
    instants: dict[str, NDArray[np.float32]]
    freezes: dict[str, I64]
    marks: dict[str, Marks] = field(default_factory=dict)
    last: dt.date | None = None

    def cells(self, code: str) -> Column:
        """The curve of a quantity: [meter, slot+1] of a register, else [meter, slot]."""
        return self.registers[code] if code in self.registers else self.instants[code]

    def known(self, code: str) -> NDArray[np.bool_]:
        """bool, where the curve of a quantity has a value."""
        return known(self.cells(code))

    def quality(self, code: str) -> NDArray[np.int8]:
        """Quality of each cell of a quantity's curve."""
        return quality(self.cells(code), self.marks.get(code, no_marks()))


@lru_cache(maxsize=64)
def span(first: dt.date, last: dt.date, zone: ZoneInfo) -> tuple[tuple[Times, ...], Times]:
    """(the instants of each day, the first with its opening midnight; all midnights) of a span."""
    days = [first + dt.timedelta(days=k) for k in range((last - first).days + 1)]
    slots = [points(CURVE, day, zone) for day in days]
    slots[0] = np.concatenate([np.array([midnight(first, zone)]), slots[0]])
    midnights = np.array([midnight(day, zone) for day in [*days, last + dt.timedelta(days=1)]])
    slots[0].flags.writeable = midnights.flags.writeable = False  # they are shared
    return tuple(slots), midnights


def load(
    conn: Connection,
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str],
    *,
    last: dt.date | None = None,
    meters: I64 | None = None,
    until: np.datetime64 | None = None,
    freezes: Sequence[str] = REGISTER_QUANTITIES,
    estimates: Estimates = "all",
) -> Block:
    """The block of local days `day` to `last` (that day alone) with the given quantities of the curve; all meters, or those named.

    Registers carry the opening midnight too. `until` leaves out what ended later (a job's view at an instant). `freezes`: quantities of
    the day freeze; none costs nothing. Revisions lie over the first readings; `estimates`: which of them count. BadCode for a quantity
    that the curve does not keep.
    For many meters see `stream`: this takes what memory it takes, about 0.8 kB a meter, day and register.
    """
    chosen = choose(CURVES.tables, codes)
    who = rows(conn, day, zone, last=last, meters=meters)
    return fill(conn, who, day, last or day, zone, chosen, until=until, freezes=freezes, estimates=estimates)


def fill(
    conn: Connection,
    who: Rows,
    day: dt.date,
    last: dt.date,
    zone: ZoneInfo,
    chosen: Mapping[Table, Sequence[str]],
    *,
    until: np.datetime64 | None = None,
    freezes: Sequence[str] = REGISTER_QUANTITIES,
    estimates: Estimates = "all",
) -> Block:
    """The block of rows that are known already."""
    days, midnights = span(day, last, zone)
    times = np.concatenate(days)
    meters, spread = np.unique(who.meter, return_inverse=True)
    cells: dict[str, Column] = {}
    marks: dict[str, Marks] = {}
    with by_key(conn):
        for table, codes in chosen.items():
            found, laid = curve(conn, table, codes, meters, days, zone, until=until, estimates=estimates)
            cells |= found
            marks |= laid
        frozen, _ = fetch(
            conn, DAY_FREEZES, freezes, meters, midnights, zone, until=until, estimates=estimates
        )
    same = len(meters) == len(who)  # the usual case: each meter on one point, nothing to copy
    if not same:
        cells = {code: values[spread] for code, values in cells.items()}
        frozen = {code: ends[spread] for code, ends in frozen.items()}
        marks = {code: mark.moved(spread, len(meters)) for code, mark in marks.items()}
    registers = {code: values for code, values in cells.items() if values.dtype == np.int64}
    # an instant value at the opening midnight belongs to the day before
    instants = {code: values[:, 1:] for code, values in cells.items() if code not in registers}
    marks = {code: mark if code in registers else mark.shifted(1) for code, mark in marks.items()}
    return Block(day, times, who, registers, instants, frozen, marks, last)


def curve(
    conn: Connection,
    table: Table,
    codes: Sequence[str],
    meters: I64,
    days: Sequence[Times],
    zone: ZoneInfo,
    *,
    until: np.datetime64 | None = None,
    estimates: Estimates = "all",
) -> tuple[dict[str, Column], dict[str, Marks]]:
    """Values by code [meter, time] over the instants of all days, and their marks: a question for a day of some thousand meters."""
    times = np.concatenate(days)
    found = {code: empty(code, table, (len(meters), len(times))) for code in codes}
    begin = 0
    for day in days:
        wanted = day if until is None else day[day <= until]
        step = max(1, CELLS_AT_ONCE // len(day))
        for first in range(0, len(meters), step):
            piece = slice(first, first + step)
            into = {code: found[code][piece, begin : begin + len(wanted)] for code in codes}
            known_whole = None
            if table.plan is not None and table.plan.every == "slot":
                known_whole = whole(conn, table.plan, meters[piece], wanted, zone)
            read(conn, table, codes, meters[piece], wanted, into, known_whole)
        begin += len(day)
    within = times if until is None else times[times <= until]
    return found, lay(conn, table, meters, within, found, estimates=estimates)


def fetch(
    conn: Connection,
    table: Table,
    codes: Sequence[str],
    meters: I64,
    times: Times,
    zone: ZoneInfo,
    *,
    until: np.datetime64 | None = None,
    estimates: Estimates = "all",
) -> tuple[dict[str, Column], dict[str, Marks]]:
    """Values by code [meter, time], revisions laid over, and their marks: of few instants, such as a span's midnights."""
    return curve(conn, table, codes, meters, [times], zone, until=until, estimates=estimates)
