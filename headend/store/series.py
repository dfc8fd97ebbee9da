"""One meter's readings for people and the CRM: page by page, every value with its quality, every hole with
its reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, DAY, Plan, points
from headend.store import blocks, coverage
from headend.store.blocks import Daily, Quality, Rows, Why
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from headend.store.revisions import WITHDRAWN
from headend.store.tables import DAY_FREEZE, SPOT
from protocols.localtime import Times, as_datetime, instant, local_day
from protocols.quantity import quantities
from protocols.reading import MISSING, REGISTER_QUANTITIES, SLOT_QUANTITIES

#: what a single-phase meter has not got, so that its absence is no hole
THREE_PHASE_ONLY: Final = frozenset({"voltage_b", "voltage_c", "current_b", "current_c"})
#: registers are stored as integers of this many kWh
REGISTER_UNIT: Final = Decimal("0.0001")
#: revision.method -> quality; any other method is an estimate
_QUALITY: Final = {"read": "revised", "edit": "edited"}
#: what is not known of a day for these reasons needs no look into the ledger; a missing register does
_REASON: Final = {Why.NOT_COMMISSIONED: "not-commissioned", Why.FELL: "register-fell"}
#: at most one page of 15-minute slots: a month
MAX_POINTS: Final = 31 * 100
#: at most one page of day freezes: a year, each day a look into the ledger
MAX_DAYS: Final = 366


@dataclass(frozen=True, slots=True)
class Meter:
    """What a caller must know to interpret a meter's numbers."""

    meter_id: int
    asset: str
    phases: int
    multipliers: list[dict[str, Any]]
    terminals: list[int]

    def codes(self, source: str) -> tuple[str, ...]:
        """The quantities this meter can have in a source."""
        if source != "curve":
            return REGISTER_QUANTITIES
        return tuple(c for c in SLOT_QUANTITIES if self.phases == 3 or c not in THREE_PHASE_ONLY)


@dataclass(frozen=True, slots=True)
class Reading:
    """One cell: a value with its quality, or None with the reason it is missing."""

    ts: np.datetime64
    quantity: str
    value: Decimal | float | None
    quality: str
    reason: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Readings in order of time; `after` is the last instant looked at when there is more, else None."""

    readings: list[Reading]
    after: np.datetime64 | None


def meter(conn: Connection, asset: str, *, first: np.datetime64, last: np.datetime64) -> Meter:
    """The meter and its installations within (first, last]. UnknownMeter if the archive has no such asset."""
    row = conn.execute("SELECT meter_id, asset, phases FROM meter WHERE asset = %s", (asset,)).fetchone()
    if row is None:
        raise UnknownMeter(asset)
    spans = conn.execute(
        "SELECT valid_from, nullif(valid_to, 'infinity') AS valid_to, ct, pt, terminal_id FROM installation "
        "WHERE meter_id = %s AND valid_from < %s AND valid_to > %s ORDER BY valid_from",
        (row["meter_id"], as_datetime(last), as_datetime(first)),
    ).fetchall()
    return Meter(
        row["meter_id"],
        row["asset"],
        row["phases"],
        [
            {key: span[key] for key in ("valid_from", "valid_to", "ct", "pt")}
            | {"multiplier": span["ct"] * span["pt"]}
            for span in spans
        ],
        sorted({span["terminal_id"] for span in spans}),
    )  # fmt: skip


def page(
    conn: Connection,
    meter: Meter,
    source: str,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
    limit: int,
    now: np.datetime64,
    zone: ZoneInfo,
) -> Page:
    """Up to `limit` points of `source` ('curve', 'day' or 'spot') in (first, last], holes included, nothing
    beyond `now`.
    """
    limit = max(1, min(limit, MAX_DAYS if source == "day" else MAX_POINTS))
    last = min(last, now)
    if meter.multipliers:  # a hole is owed by somebody: before the first installation nobody owed anything
        first = max(first, instant(meter.multipliers[0]["valid_from"]))
    if first >= last or not meter.multipliers:
        return Page([], None)
    if source == "spot":
        return _spots(conn, meter, codes, first=first, last=last, limit=limit)
    plan = CURVE if source == "curve" else DAY
    times, reasons = _points(conn, meter, plan, first=first, last=last, limit=limit + 1, now=now, zone=zone)
    more = len(times) > limit
    times, reasons = times[:limit], reasons[:limit]
    if not times:
        return Page([], None)
    rows = _rows(conn, meter, source, codes, first=times[0], last=times[-1])
    revised = _revisions(conn, meter, "slot" if plan is CURVE else "day", times[0], times[-1])
    readings = [
        _reading(when, code, rows.get(when), revised.get((when, code)), reason)
        for when, reason in zip(times, reasons, strict=True)
        for code in codes
    ]
    return Page(readings, times[-1] if more else None)


def _points(
    conn: Connection, meter: Meter, plan: Plan, *, first: np.datetime64, last: np.datetime64, limit: int,
    now: np.datetime64, zone: ZoneInfo,
) -> tuple[list[np.datetime64], list[str]]:  # fmt: skip
    """The plan's points in (first, last], at most `limit`, each with its cause should it be missing."""
    times: list[np.datetime64] = []
    reasons: list[str] = []
    for day in _days(first, last, zone):
        ends = points(plan, day, zone)
        chosen = np.flatnonzero((ends > first) & (ends <= last))
        if not len(chosen):
            continue
        matrix = coverage.day_matrix(conn, plan, day, now=now, zone=zone, terminals=meter.terminals)
        cause, names = coverage.causes(matrix)
        k = int(np.searchsorted(matrix.meters, meter.meter_id))
        installed = k < len(matrix.meters) and matrix.meters[k] == meter.meter_id
        for j in chosen:
            times.append(ends[j])
            if not installed or not matrix.expected[k, j]:
                reasons.append("not-commissioned")
            elif cause[k, j] >= 0:
                reasons.append(names[cause[k, j]])
            else:
                reasons.append("missing-in-answer" if matrix.due[k, j] else "not-due")
            if len(times) >= limit:
                return times, reasons
    return times, reasons


def _days(first: np.datetime64, last: np.datetime64, zone: ZoneInfo) -> Iterator[dt.date]:
    day = local_day(first + np.timedelta64(1, "us"), zone)
    while day <= local_day(last, zone):
        yield day
        day += dt.timedelta(days=1)


def _rows(
    conn: Connection,
    meter: Meter,
    source: str,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
) -> dict[np.datetime64, dict[str, Any]]:
    # the codes come from the quantity table, never from the caller's text, so they may stand in the statement
    columns = ", ".join(code for code in codes if code in quantities())
    span = (meter.meter_id, as_datetime(first), as_datetime(last))
    if source == "curve":
        rows = conn.execute(
            f"SELECT ts, {columns} FROM slot_read WHERE meter_id = %s AND ts BETWEEN %s AND %s", span
        ).fetchall()
    else:
        rows = conn.execute(
            f"SELECT ts, {columns} FROM register_read "
            "WHERE meter_id = %s AND ts BETWEEN %s AND %s AND kind = %s",
            (*span, DAY_FREEZE if source == "day" else SPOT),
        ).fetchall()
    return {instant(row["ts"]): row for row in rows}


def _revisions(
    conn: Connection, meter: Meter, source: str, first: np.datetime64, last: np.datetime64
) -> dict[tuple[np.datetime64, str], dict[str, Any]]:
    rows = conn.execute(
        "SELECT * FROM (SELECT DISTINCT ON (ts, quantity) ts, quantity, value, method, reason FROM revision "
        "WHERE meter_id = %s AND source = %s AND ts BETWEEN %s AND %s ORDER BY ts, quantity, version DESC) newest WHERE method <> %s",
        (meter.meter_id, source, as_datetime(first), as_datetime(last), WITHDRAWN),
    ).fetchall()
    return {(instant(row["ts"]), row["quantity"]): row for row in rows}


def _reading(
    when: np.datetime64, code: str, row: dict[str, Any] | None, revision: dict[str, Any] | None, reason: str
) -> Reading:
    if revision is not None:
        quality = _QUALITY.get(revision["method"], "estimated")
        value = _value(code, revision["value"])
        if (
            quality == "revised"
            and row is not None
            and row[code] is not None
            and value == _value(code, row[code])
        ):
            quality = "measured"  # its own value, after all: an estimate or an edit stood there between
        return Reading(when, code, value, quality, revision["reason"], revision["method"])
    if row is None or row[code] is None:
        return Reading(when, code, None, "missing", "missing-in-answer" if row is not None else reason)
    return Reading(when, code, _value(code, row[code]), "measured")


def _value(code: str, raw: Any) -> Decimal | float:
    if quantities()[code].kind == "register":
        return int(raw) * REGISTER_UNIT
    return float(raw)


def _spots(
    conn: Connection,
    meter: Meter,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
    limit: int,
) -> Page:
    columns = ", ".join(code for code in codes if code in quantities())
    rows = conn.execute(
        f"SELECT ts, {columns} FROM register_read "
        "WHERE meter_id = %s AND kind = %s AND ts > %s AND ts <= %s ORDER BY ts LIMIT %s",
        (meter.meter_id, SPOT, as_datetime(first), as_datetime(last), limit + 1),
    ).fetchall()
    if not rows:
        return Page([], None)
    times = [instant(row["ts"]) for row in rows[:limit]]
    revised = _revisions(conn, meter, "spot", times[0], times[-1])
    readings = [
        _reading(when, code, row, revised.get((when, code)), "missing-in-answer")
        for when, row in zip(times, rows, strict=False)
        for code in codes
    ]
    return Page(readings, times[-1] if len(rows) > limit else None)


@dataclass(frozen=True, slots=True)
class DayEnergy:
    """The energy of one metering point and local day, 1e-4 kWh on the primary side; None with a reason where
    it is not known.

    `energy` and `closing` are by quantity code; `closing` is the register at the midnight that ends the day,
    secondary side.
    """

    day: dt.date
    energy: dict[str, int | None]
    reasons: dict[str, str]
    closing: dict[str, int | None]
    meters: list[str]
    qualities: dict[str, str]


def daily_energy(
    conn: Connection, point_id: int, first: dt.date, last: dt.date, *, now: np.datetime64, zone: ZoneInfo
) -> list[DayEnergy]:
    """Energy by local day and tariff register of a metering point: differences of day freezes, by meter
    installed, as blocks has it.

    A meter that comes or goes within the day counts from its first or to its last register, which must have
    been read at that instant; otherwise the day is unknown. A register that rolled over is energy, one that
    fell otherwise is unknown.
    """
    days = [first + dt.timedelta(days=k) for k in range((last - first).days + 1)]
    midnights = np.concatenate([points(DAY, day, zone) for day in [first - dt.timedelta(days=1), *days]])
    who = blocks.rows(conn, first, zone, last=last, points=np.array([point_id])).by_point()
    if not len(who):
        nobody = dict.fromkeys(REGISTER_QUANTITIES)
        why = dict.fromkeys(REGISTER_QUANTITIES, "not-commissioned")
        return [DayEnergy(day, dict(nobody), dict(why), dict(nobody), [], {}) for day in days]
    found = blocks.daily(conn, who, midnights, zone, REGISTER_QUANTITIES)
    assets = blocks.assets(conn, who.meter)
    return [
        _one_day(conn, day, k, who, assets, midnights, found, now=now, zone=zone)
        for k, day in enumerate(days)
    ]


def _one_day(
    conn: Connection,
    day: dt.date,
    k: int,
    who: Rows,
    assets: list[str],
    midnights: Times,
    found: Daily,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
) -> DayEnergy:
    opening, closing = midnights[k], midnights[k + 1]
    there = np.flatnonzero((who.since < closing) & (who.until > opening))
    energy: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    qualities: dict[str, str] = {}
    for code in REGISTER_QUANTITIES:
        of = found.energies[code]
        why = Why(int(of.why[0, k]))
        if why is Why.KNOWN:
            energy[code] = int(of.energy[0, k])
            qualities[code] = Quality(int(of.quality[0, k])).name.lower()
        else:
            energy[code] = None
            reasons[code] = _REASON.get(why) or _cause(
                conn, code, k, there, who, midnights, found, now=now, zone=zone
            )
    at_close: dict[str, int | None] = dict.fromkeys(REGISTER_QUANTITIES)
    if len(there):
        for code in REGISTER_QUANTITIES:
            value = int(found.registers[code][there[-1], k + 1])
            at_close[code] = None if value == MISSING else value
    return DayEnergy(day, energy, reasons, at_close, [assets[row] for row in there], qualities)


def _cause(
    conn: Connection,
    code: str,
    k: int,
    there: NDArray[np.int64],
    who: Rows,
    midnights: Times,
    found: Daily,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
) -> str:
    """Why a register that the day's energy rests on is missing: the first one that is."""
    for row in there:
        for column, at, ends in ((k, who.since[row], found.since), (k + 1, who.until[row], found.until)):
            within = midnights[k] < at < midnights[k + 1]
            held = {
                other
                for other in REGISTER_QUANTITIES
                if (not within and found.registers[other][row, column] != MISSING)
                or (midnights[k] <= at <= midnights[k + 1] and ends[other].values[row] != MISSING)
            }
            if code in held:
                continue
            if held:
                return "missing-in-answer"
            if within:
                return "meter-exchanged"
            meter_id, terminal = int(who.meter[row]), int(who.terminal[row])
            return _in_ledger(conn, meter_id, terminal, midnights[column], now=now, zone=zone)
    raise AssertionError(f"every register of {code} is there")


def _in_ledger(
    conn: Connection, meter_id: int, terminal: int, when: np.datetime64, *, now: np.datetime64, zone: ZoneInfo
) -> str:
    """Why a day freeze is missing."""
    matrix = coverage.day_matrix(conn, DAY, local_day(when, zone), now=now, zone=zone, terminals=[terminal])
    k = int(np.searchsorted(matrix.meters, meter_id))
    if k >= len(matrix.meters) or matrix.meters[k] != meter_id or not matrix.expected[k, 0]:
        return "not-commissioned"
    cause, names = coverage.causes(matrix)
    if cause[k, 0] >= 0:
        return str(names[cause[k, 0]])
    return "missing-in-answer" if matrix.due[k, 0] else "not-due"
