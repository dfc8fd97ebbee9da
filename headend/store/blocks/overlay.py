"""Revisions laid over first readings, and what that makes of a value: its quality."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks.grid import ids, stamp
from headend.store.db import Connection
from headend.store.pgcopy import HEADER, PG_EPOCH
from headend.store.revisions import EDIT, READ, WITHDRAWN
from headend.store.rows import copy_out
from headend.store.tables import Table
from lineloss.vee.methods import PREFIX
from protocols.localtime import Times, as_datetime
from protocols.reading import MISSING, Column

I64 = NDArray[np.int64]


class Quality(IntEnum):
    """What stands behind a value, from none to the least. When it came is no quality of it: that is the ledger's."""

    MISSING = 0  # 缺失
    MEASURED = 1  # 实测: the meter's first word, or its own value where an estimate stood before
    REVISED = 2  # 修正: the meter's later word, which differs from its first
    EDITED = 3  # 人工: a person's
    ESTIMATED = 4  # 估算: `standing` names the method and the reason


#: which estimates count: all; those that others made (in files), not our own; none. What is left out is as if it had never been made.
Estimates = Literal["all", "others", "none"]
_COUNTED: Final[dict[str, str]] = {
    "all": "true",
    "others": f"NOT starts_with(method, '{PREFIX}')",
    "none": f"method IN ('{READ}', '{EDIT}', '{WITHDRAWN}')",
}
_METHODS: Final = f"CASE method WHEN '{READ}' THEN {int(Quality.REVISED)} WHEN '{EDIT}' THEN {int(Quality.EDITED)} ELSE {int(Quality.ESTIMATED)} END"


@dataclass(frozen=True, slots=True)
class Marks:
    """The cells of one quantity that are not simply measured or missing: row, column and Quality, [n] each."""

    row: I64
    column: I64
    quality: NDArray[np.int8]

    def moved(self, spread: I64, rows: int) -> Marks:
        """The same for a grid whose row k is this one's row spread[k]; `rows`: how many this one has."""
        count = np.bincount(spread, minlength=rows)[self.row]
        by_old = np.argsort(spread, kind="stable")
        start = np.searchsorted(spread[by_old], self.row)
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        return Marks(
            by_old[np.repeat(start, count) + within],
            np.repeat(self.column, count),
            np.repeat(self.quality, count),
        )

    def shifted(self, columns: int) -> Marks:
        """The same for a grid that begins (or, below 0, ended) so many columns later; what falls before it is left out."""
        there = self.column >= columns
        return Marks(self.row[there], self.column[there] - columns, self.quality[there])


def no_marks() -> Marks:
    nothing = np.empty(0, dtype=np.int64)
    return Marks(nothing, nothing, np.empty(0, dtype=np.int8))


def known(values: Column) -> NDArray[np.bool_]:
    """Which cells have a value."""
    return np.asarray(values != MISSING if values.dtype == np.int64 else ~np.isnan(values), dtype=np.bool_)


def quality(values: Column, marks: Marks) -> NDArray[np.int8]:
    """Quality of every cell, int8 in the shape of the values."""
    found = known(values).astype(np.int8)  # MISSING, MEASURED
    found[marks.row, marks.column] = marks.quality
    return found


def lay(
    conn: Connection,
    table: Table,
    meters: I64,
    times: Times,
    found: Mapping[str, Column],
    *,
    estimates: Estimates = "all",
) -> dict[str, Marks]:
    """Put the newest revision of each cell that counts over its first reading, in place. What that leaves marked, by code.

    found  code -> [meter, time] for `meters` and `times`, both ascending
    """
    codes = list(found)
    marks = {code: no_marks() for code in codes}
    if not (len(meters) and len(times) and codes):
        return marks
    within = f"revision WHERE meter_id = ANY({ids(meters)}) AND ts BETWEEN {stamp(times[0])} AND {stamp(times[-1])}"
    body = newest(conn, table, codes, "meter_id", within, estimates=estimates)
    row = np.searchsorted(meters, body["key"])
    stamps = PG_EPOCH + body["ts"].astype(np.int64).astype("m8[us]")
    column = np.minimum(np.searchsorted(times, stamps), len(times) - 1)
    on_grid = times[column] == stamps
    for k, code in enumerate(codes):
        mine = on_grid & (body["code"] == k + 1)
        if mine.any():
            r, c = row[mine], column[mine]
            marks[code] = Marks(r, c, put(found[code], (r, c), body[mine]))
    return marks


def put(values: Column, cells: Any, revisions: NDArray[np.void]) -> NDArray[np.int8]:
    """Lay revisions over the cells that an index names, in place; what quality that gives each."""
    given = revisions["count" if values.dtype == np.int64 else "value"].astype(values.dtype)
    before = values[cells]
    values[cells] = given
    what = revisions["quality"].astype(np.int8)
    differs = known(before) & (before != given)  # the meter's last word may be its first one again: measured
    what[(what == Quality.REVISED) & ~differs] = Quality.MEASURED
    return what


def newest(
    conn: Connection,
    table: Table,
    codes: Sequence[str],
    key: str,
    within: str,
    *,
    estimates: Estimates = "all",
) -> NDArray[np.void]:
    """The newest revision of each cell that counts: key, ts, code (from 1), count or value, quality; of cells where it was withdrawn none.
    `within`: FROM and WHERE, `key` an integer of it."""
    names = ",".join(codes)
    counts = [code for code in codes if table.type(code) in ("int8", "timestamptz")]
    reals = [code for code in codes if table.type(code) == "float4"]
    count, real = (f"quantity = ANY('{{{','.join(some)}}}')" for some in (counts, reals))
    payload = copy_out(
        conn,
        f"SELECT key, ts, array_position('{{{names}}}'::text[], quantity), CASE WHEN {count} THEN value::int8 ELSE 0 END, "
        f"CASE WHEN {count} THEN 0 WHEN {real} THEN value::float4::float8 ELSE value::float8 END, {_METHODS} "
        f"FROM (SELECT DISTINCT ON (key, ts, quantity) {key} AS key, ts, quantity, value, method FROM {within} "
        f"AND source = '{table.source}' AND quantity = ANY('{{{names}}}') AND {_COUNTED[estimates]} "
        f"ORDER BY key, ts, quantity, version DESC) newest WHERE method <> '{WITHDRAWN}'",
    )
    row = np.dtype(
        [
            ("columns", ">i2"),
            ("l0", ">i4"), ("key", ">i4"), ("l1", ">i4"), ("ts", ">i8"), ("l2", ">i4"), ("code", ">i4"),
            ("l3", ">i4"), ("count", ">i8"), ("l4", ">i4"), ("value", ">f8"), ("l5", ">i4"), ("quality", ">i4"),
        ]
    )  # fmt: skip
    return np.frombuffer(
        payload, dtype=row, offset=len(HEADER), count=(len(payload) - len(HEADER) - 2) // row.itemsize
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest revision of a cell: how it came about, why, who made it and when (domain time)."""

    quality: Quality
    method: str
    reason: str
    who: str
    at: dt.datetime


def standing(conn: Connection, table: Table, meter: int, when: np.datetime64, code: str) -> Standing | None:
    """Why a cell holds what its first reading does not say; None where it is the first reading, or nothing."""
    row: dict[str, Any] | None = conn.execute(
        f"SELECT method, reason, who, at, {_METHODS} AS quality FROM revision "
        "WHERE meter_id = %s AND ts = %s AND source = %s AND quantity = %s ORDER BY version DESC LIMIT 1",
        (meter, as_datetime(when), table.source, code),
    ).fetchone()
    if row is None or row["method"] == WITHDRAWN:
        return None
    return Standing(Quality(row["quality"]), row["method"], row["reason"], row["who"], row["at"])
