"""Energies by metering point: `[point, slot]` on the primary side, CT × PT and meter exchanges applied as of the instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks.block import curve, fetch, span
from headend.store.blocks.counted import Counted, chain
from headend.store.blocks.energy import Ends, Energy, Registers, by_point
from headend.store.blocks.grid import BadCode, by_key, choose, empty, ids, stamp, stamps
from headend.store.blocks.installed import Rows, rows
from headend.store.blocks.overlay import Quality, known, newest, put, quality
from headend.store.db import Connection
from headend.store.pgcopy import HEADER
from headend.store.rows import CELLS, copy_out
from headend.store.tables import CURVES, DAY_FREEZES, MONTH_FREEZES, PHASES, SLOTS, SPOTS, Table
from protocols.localtime import Times
from protocols.quantity import quantities

I64 = NDArray[np.int64]
Codes = NDArray[np.int8]

#: What a point's balance is made of.
ENERGIES: Final = ("active_import", "active_export")
#: Where the register of a removal or installation may have been read, the likeliest to be meant for it first.
_BOUNDARIES: Final = (DAY_FREEZES, SPOTS, MONTH_FREEZES, SLOTS, PHASES)


#: Midnights that are further apart are asked for by themselves.
_NEAR: Final = np.timedelta64(3 * 86_400_000_000, "us")

#: By quantity: the registers at the instant of each row's installation, or removal, [row].
Boundary = dict[str, Registers]


@dataclass(frozen=True, slots=True)
class PointBlock:
    """Local days `day` to `last` by metering point. `times` [slot+1] as in Block; `point` [point] ascending.

    `energies`: code -> Energy, each [point, slot], 1e-4 kWh on the primary side
    """

    day: dt.date
    last: dt.date
    times: Times
    point: I64
    energies: dict[str, Energy]


@dataclass(frozen=True, slots=True)
class Daily:
    """What days are made of, by quantity code.

    registers     int64[row, midnight], 1e-4 kWh secondary side, MISSING where not known
    energies      [point, day]
    since, until  [row], at the instants of installation and removal
    """

    registers: dict[str, I64]
    energies: dict[str, Energy]
    since: Boundary
    until: Boundary


def energies(
    conn: Connection,
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str] = ENERGIES,
    *,
    last: dt.date | None = None,
    points: I64 | None = None,
    until: np.datetime64 | None = None,
) -> PointBlock:
    """The energies of the points that have a meter in local days `day` to `last` (that day alone); of all, or those named.

    Registers of the curve, and at midnights of the day freeze where the curve lacks one; at a removal or installation the one read at
    that very instant. `until` leaves out what ended later. BadCode for what is no register of the curve. For many points see `stream_energies`.
    """
    chosen = choose_registers(codes)
    who = rows(conn, day, zone, last=last, points=points).by_point()
    return fill_points(conn, who, day, last or day, zone, chosen, until=until)


def choose_registers(codes: Sequence[str]) -> dict[Table, list[str]]:
    """The codes by their table of the curve. BadCode for what is no register."""
    chosen = choose(CURVES.tables, codes)
    for code in codes:
        if quantities()[code].kind != "register":
            raise BadCode(f"{code!r} is no register, so no energy; `blocks.load` gives its values")
    return chosen


def fill_points(
    conn: Connection,
    who: Rows,
    day: dt.date,
    last: dt.date,
    zone: ZoneInfo,
    chosen: Mapping[Table, Sequence[str]],
    *,
    until: np.datetime64 | None = None,
) -> PointBlock:
    """The energies of rows that are known already, as Rows.by_point gives them."""
    days, midnights = span(day, last, zone)
    times = np.concatenate(days)
    meters, spread = np.unique(who.meter, return_inverse=True)
    codes = [code for some in chosen.values() for code in some]
    at: dict[str, I64] = {}
    worth: dict[str, Codes] = {}
    with by_key(conn):
        for table, some in chosen.items():
            found, marks = curve(conn, table, some, meters, days, zone, until=until)
            at |= found
            worth |= {code: quality(found[code], marks[code]) for code in some}
        frozen, marks = fetch(conn, DAY_FREEZES, codes, meters, midnights, zone, until=until)
        ends = boundaries(conn, codes, who, times[0], times[-1] if until is None else min(times[-1], until))
    column = np.searchsorted(times, midnights)
    result = {}
    point = np.unique(who.point)
    for code in codes:
        lacks = at[code][:, column] == empty(code, DAY_FREEZES, ())
        at[code][:, column] = np.where(lacks, frozen[code], at[code][:, column])
        worth[code][:, column] = np.where(lacks, quality(frozen[code], marks[code]), worth[code][:, column])
        here = Registers(at[code][spread], worth[code][spread])
        _, result[code] = by_point(times, who, Ends(here, ends[0][code], ends[1][code]))
    return PointBlock(day, last, times, point, result)


def daily(conn: Connection, who: Rows, midnights: Times, zone: ZoneInfo, codes: Sequence[str]) -> Daily:
    """Whole days from freezes, for rows as Rows.by_point gives them: as `energies` with days for slots; tariff registers have no curve."""
    ends, boundary = _ends(conn, who, midnights, zone, codes)
    energies = {code: by_point(midnights, who, ends[code])[1] for code in codes}
    return Daily({code: ends[code].at.values for code in codes}, energies, *boundary)


def counted(
    conn: Connection, who: Rows, midnights: Times, zone: ZoneInfo, codes: Sequence[str]
) -> tuple[I64, dict[str, Counted], dict[str, I64]]:
    """(point [point], what they had counted at `midnights` by quantity, the meters' registers [row, midnight]), for rows as Rows.by_point gives
    them."""
    ends, _ = _ends(conn, who, midnights, zone, codes)
    found = {code: chain(midnights, who, ends[code])[1] for code in codes}
    return np.unique(who.point), found, {code: ends[code].at.values for code in codes}


def _ends(
    conn: Connection, who: Rows, midnights: Times, zone: ZoneInfo, codes: Sequence[str]
) -> tuple[dict[str, Ends], tuple[Boundary, Boundary]]:
    """The registers of freezes, and of installations and removals, by quantity."""
    meters, spread = np.unique(who.meter, return_inverse=True)
    at = {code: empty(code, DAY_FREEZES, (len(meters), len(midnights))) for code in codes}
    worth = {code: np.zeros((len(meters), len(midnights)), dtype=np.int8) for code in codes}
    with by_key(conn):
        # a midnight's register is the same, whichever of them was asked for
        for table in (DAY_FREEZES, SPOTS, MONTH_FREEZES):
            for near in _near(midnights):
                found, marks = fetch(conn, table, codes, meters, midnights[near], zone)
                for code in codes:
                    lacks = ~known(at[code][:, near])
                    at[code][:, near] = np.where(lacks, found[code], at[code][:, near])
                    worth[code][:, near] = np.where(
                        lacks, quality(found[code], marks[code]), worth[code][:, near]
                    )
        boundary = boundaries(conn, codes, who, midnights[0], midnights[-1])
    return {
        code: Ends(Registers(at[code][spread], worth[code][spread]), boundary[0][code], boundary[1][code])
        for code in codes
    }, boundary


def _near(midnights: Times) -> list[slice]:
    """The midnights in groups of few days: what lies between two of them is read over."""
    cuts = np.flatnonzero(np.diff(midnights) > _NEAR) + 1
    edges = [0, *cuts.tolist(), len(midnights)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def boundaries(
    conn: Connection, codes: Sequence[str], who: Rows, first: np.datetime64, last: np.datetime64
) -> tuple[Boundary, Boundary]:
    """Registers read at the very instants of installation and of removal that lie in [first, last]: by code (values, Quality), [row]."""
    return tuple(_boundary(conn, codes, who.meter, when, first, last) for when in (who.since, who.until))  # type: ignore[return-value]


def _boundary(
    conn: Connection,
    codes: Sequence[str],
    meters: I64,
    when: Times,
    first: np.datetime64,
    last: np.datetime64,
) -> Boundary:
    n = len(meters)
    ends = {code: Registers(empty(code, DAY_FREEZES, (n,)), np.zeros(n, dtype=np.int8)) for code in codes}
    there = np.flatnonzero((when >= first) & (when <= last))
    for table in _BOUNDARIES:
        some = [code for code in codes if code in table.codes]
        # what one table has of all of them need not be looked for in the next one
        open_ = [~known(ends[code].values[there]) for code in some]
        asked = there[np.any(open_, axis=0)] if some else there[:0]
        for code, found in pairs(conn, table, some, meters[asked], when[asked]).items():
            lacks = asked[~known(ends[code].values[asked])]
            mine = np.searchsorted(asked, lacks)
            ends[code].values[lacks] = found.values[mine]
            ends[code].quality[lacks] = found.quality[mine]
    return ends


def pairs(
    conn: Connection, table: Table, codes: Sequence[str], meters: I64, when: Times
) -> dict[str, Registers]:
    """One cell each: registers by code [n] of `meters` [n] at `when` [n], revisions laid over."""
    found = {code: empty(code, table, (len(meters),)) for code in codes}
    if not (len(meters) and len(codes)):
        return {code: Registers(column, np.zeros(0, dtype=np.int8)) for code, column in found.items()}
    asked = f"unnest({ids(meters)}, {stamps(when)}) WITH ORDINALITY u(meter_id, ts, n)"
    within = f"ts BETWEEN {stamp(when.min())} AND {stamp(when.max())}"
    kind = "" if table.kind is None else f" AND kind = {table.kind}"
    select = ["n::int4"]
    layout: list[Any] = [("columns", ">i2"), ("l", ">i4"), ("n", ">i4")]
    for k, code in enumerate(codes):
        missing, wire, _ = CELLS[table.type(code)]
        select.append(f"coalesce({code}, {missing})")
        layout += [(f"l{k}", ">i4"), (code, wire)]
    payload = copy_out(
        conn,
        f"SELECT {', '.join(select)} FROM {asked} JOIN {table.name} r USING (meter_id, ts) WHERE r.{within}{kind}",
    )
    row = np.dtype(layout)
    body: NDArray[Any] = np.frombuffer(
        payload, dtype=row, offset=len(HEADER), count=(len(payload) - len(HEADER) - 2) // row.itemsize
    )
    revisions = newest(
        conn, table, codes, "n::int4", f"{asked} JOIN revision v USING (meter_id, ts) WHERE v.{within}"
    )
    result = {}
    for k, code in enumerate(codes):
        found[code][body["n"] - 1] = body[code]
        mine = revisions[revisions["code"] == k + 1]
        cells = mine["key"] - 1
        laid = put(found[code], cells, mine)
        worth = np.where(known(found[code]), np.int8(Quality.MEASURED), np.int8(Quality.MISSING))
        worth[cells] = laid
        result[code] = Registers(found[code], worth)
    return result
