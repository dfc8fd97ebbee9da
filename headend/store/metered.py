"""What flowed through every metering point in a span of whole days: from the registers at its two ends, whatever meters came and went.

A register that nobody read at an end lies between the readings around it (lineloss/between.py); what that leaves open is in the limits.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, points
from headend.store import blocks
from headend.store.blocks.block import CELLS_AT_ONCE, curve, fetch
from headend.store.blocks.energy import Ends, Registers, Why, by_point
from headend.store.blocks.grid import by_key
from headend.store.blocks.installed import Rows
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES, MONTH_FREEZES, SLOTS, SPOTS
from lineloss.between import Between, between
from lineloss.registers import RESOLUTION
from lineloss.splits import Metered, flow
from protocols.localtime import Times, as_datetime, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]

ENERGIES: Final = ("active_import", "active_export")
#: Days before and after an end in which a reading still says something of it; of the curve one day, of freezes all of them. Further away
#: the limits are wider than what anybody asks about.
NEAR: Final = 3
#: How far back is looked whether a meter that is silent now has ever fed in: a register keeps what was, so that any reading will do.
WEEKS: Final = np.timedelta64(42, "D")


@dataclass(frozen=True, slots=True)
class Points:
    """The points that have a meter in the span, by id. `since`, `until` [point]: from when to when they have one."""

    id: I64
    since: Times
    until: Times
    metered: Metered
    accuracy: NDArray[np.float64]


def metered(
    conn: Connection, first: dt.date, last: dt.date, zone: ZoneInfo, chosen: I64 | None = None
) -> Points:
    """The energies from the midnight that opens `first` to the one that closes `last`, of all points or of the chosen ones (ids)."""
    who = blocks.rows(conn, first, zone, last=last, points=chosen).by_point()
    ends = np.array([midnight(first, zone), midnight(last + dt.timedelta(days=1), zone)])
    days = first, last + dt.timedelta(days=1)
    seen = _at(conn, who, ends, days, zone)
    point, start = np.unique(who.point, return_index=True)
    within = blocks.boundaries(conn, ENERGIES, who, ends[0], ends[1])
    exports, blind = _feeding(who, seen, within, start)
    blind[blind] = ~_takes_only(conn, who, point[blind], ends)
    digit = np.add.reduceat(RESOLUTION * who.multiplier, start) if len(start) else start
    accuracy = np.maximum.reduceat(who.accuracy, start) if len(start) else np.zeros(0)
    flows = []
    for code in ENERGIES:
        at = np.stack([end.value for end in seen[code]], axis=1)
        rough = Registers(at, np.zeros(at.shape, dtype=np.int8))
        _, energy = by_point(ends, who, Ends(rough, within[0][code], within[1][code]))
        value, why = energy.energy[:, 0], energy.why[:, 0]
        live = np.ones(len(point), dtype=np.bool_)
        if code == "active_export":
            still = (value == MISSING) & ~exports & (why != Why.FELL)
            value = np.where(still, 0, value)
            live = exports | (value > 0)
        under, over = _open(who, seen[code], ends, start)
        flows.append(flow(value, under, over, digit, accuracy, live))
    return Points(
        point,
        np.minimum.reduceat(who.since, start) if len(start) else who.since,
        np.maximum.reduceat(who.until, start) if len(start) else who.until,
        Metered(flows[0], flows[1], exports | blind),
        accuracy,
    )


def _at(
    conn: Connection, who: Rows, ends: Times, days: tuple[dt.date, dt.date], zone: ZoneInfo
) -> dict[str, list[Between]]:
    """code -> the rows' registers at each end."""
    meters, spread = np.unique(who.meter, return_inverse=True)
    exact = {code: np.full((len(meters), 2), MISSING) for code in ENERGIES}
    with by_key(conn):
        for table in (SLOTS, DAY_FREEZES, SPOTS, MONTH_FREEZES):
            for column in (0, 1):
                found, _ = fetch(conn, table, ENERGIES, meters, ends[column : column + 1], zone)
                for code in ENERGIES:
                    here = exact[code][:, column]
                    exact[code][:, column] = np.where(here == MISSING, found[code][:, 0], here)
    feeds = exact["active_export"].max(axis=1) > 0 if len(meters) else np.zeros(0, dtype=np.bool_)
    result: dict[str, list[Between]] = {code: [] for code in ENERGIES}
    for column, day in enumerate(days):
        there = np.zeros(len(meters), dtype=np.bool_)
        there[spread[(who.since <= ends[column]) & (who.until >= ends[column])]] = True
        gone = exact["active_import"][:, column] == MISSING
        gone |= feeds & (exact["active_export"][:, column] == MISSING)
        rows = np.flatnonzero(there & gone)
        nearby = _around(conn, meters[rows], ends[column], day, zone)
        for code in ENERGIES:
            value = exact[code][:, column]
            told = Between(value.copy(), value.copy(), value.copy())
            lacks = value[rows] == MISSING
            for name in ("value", "low", "high"):
                getattr(told, name)[rows[lacks]] = getattr(nearby[code], name)[lacks]
            result[code].append(Between(told.value[spread], told.low[spread], told.high[spread]))
    return result


def _around(
    conn: Connection, meters: I64, end: np.datetime64, day: dt.date, zone: ZoneInfo
) -> dict[str, Between]:
    """By the readings around `end`, the midnight that opens `day`."""
    beside = [points(CURVE, day - dt.timedelta(days=1), zone), points(CURVE, day, zone)]
    midnights = np.array([midnight(day + dt.timedelta(days=k), zone) for k in range(-NEAR, NEAR + 1) if k])
    times = np.concatenate([*beside, midnights])
    order = np.argsort(times, kind="stable")
    parts: dict[str, list[Between]] = {code: [] for code in ENERGIES}
    step = max(1, CELLS_AT_ONCE // len(times))
    for begin in range(0, len(meters), step):
        some = meters[begin : begin + step]
        with by_key(conn):
            slots, _ = curve(conn, SLOTS, ENERGIES, some, beside, zone)
            freezes, _ = fetch(conn, DAY_FREEZES, ENERGIES, some, midnights, zone)
        for code in ENERGIES:
            registers = np.concatenate([slots[code], freezes[code]], axis=1)[:, order]
            parts[code].append(between(registers, times[order], end))
    none = np.zeros(0, dtype=np.int64)
    return {
        code: Between(
            *(np.concatenate([none, *(getattr(b, n) for b in found)]) for n in ("value", "low", "high"))
        )
        for code, found in parts.items()
    }


def _feeding(
    who: Rows, seen: dict[str, list[Between]], within: tuple[blocks.Boundary, blocks.Boundary], start: I64
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(bool[point]: its export register has moved at some time, bool[point]: nobody read any register of it)."""
    if not len(start):
        none = np.zeros(0, dtype=np.bool_)
        return none, none
    out, taken = (
        np.stack([*(end.value for end in seen[code]), *(side[code].values for side in within)], axis=1).max(
            axis=1
        )
        for code in ("active_export", "active_import")
    )
    feeds = np.logical_or.reduceat(out > 0, start)
    read = np.logical_or.reduceat((out != MISSING) | (taken != MISSING), start)
    return np.asarray(feeds), np.asarray(~read)


def _takes_only(conn: Connection, who: Rows, point: I64, ends: Times) -> NDArray[np.bool_]:
    """bool[point]: its meters were read in the weeks before, and none of them had ever fed in."""
    if not len(point):
        return np.zeros(0, dtype=np.bool_)
    of = np.isin(who.point, point)
    found = conn.execute(
        "SELECT meter_id, max(coalesce(active_export, 0)) AS fed FROM register_read WHERE meter_id = ANY(%s) AND ts BETWEEN %s AND %s GROUP BY 1",
        (who.meter[of].tolist(), as_datetime(ends[0] - WEEKS), as_datetime(ends[1])),
    ).fetchall()
    clean = np.array([row["meter_id"] for row in found if row["fed"] == 0], dtype=np.int64)
    doubtful = who.point[of & ~np.isin(who.meter, clean)]
    return ~np.isin(point, doubtful)


def _open(who: Rows, seen: list[Between], ends: Times, start: I64) -> tuple[I64, I64]:
    """int64[point] twice, primary side: how much less, and more, the energies may be by ends that lie between readings."""
    if not len(start):
        return start, start
    first, last = seen
    used = (
        np.where(first.value != MISSING, who.since <= ends[0], False),
        np.where(last.value != MISSING, who.until >= ends[1], False),
    )
    rise = np.where(used[0], first.high - first.value, 0), np.where(used[1], last.high - last.value, 0)
    fall = np.where(used[0], first.value - first.low, 0), np.where(used[1], last.value - last.low, 0)
    under = np.add.reduceat((rise[0] + fall[1]) * who.multiplier, start)
    over = np.add.reduceat((fall[0] + rise[1]) * who.multiplier, start)
    return under, over
