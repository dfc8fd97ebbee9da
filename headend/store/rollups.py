"""Days and months of a meter in one row each, kept exactly equal to the rows and the ledger they are made of.

The job follows the change feed: what it made of the changes and how far it has come are stored in one transaction, so that a kill in
between loses and repeats nothing. `check` makes every row again and compares bit for bit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, DAY, Plan, expected, points
from headend.store import feed, packed, partitions
from headend.store.db import Connection
from headend.store.pgcopy import PG_EPOCH_DAY, Field, timestamps
from headend.store.reads import copy_rows, ensure_partitions
from headend.store.revisions import WITHDRAWN
from headend.store.tables import DAY_FREEZES, PHASES, SLOTS, Table
from lineloss.registers import advance
from protocols.localtime import Times, as_datetime, instant, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING

I64 = NDArray[np.int64]

JOB: Final = "rollup"
#: meters computed at once: a day of 18 quantities of so many is 35 MB
METERS: Final = 2_500
#: rows of the feed taken into one transaction: tens of thousands of meter-days, a few seconds of work to repeat after a kill
FEED_ROWS: Final = 2_000
#: spans of one meter taken from the queue of what is stale into one transaction; a day of the whole fleet is taken alone
STALE_ROWS: Final = 200
FREEZE_CODES: Final = ("active_import", "active_export")
SLOT_INSTANTS: Final = tuple(code for code in SLOTS.codes if quantities()[code].kind == "instant")
PHASE_INSTANTS: Final = tuple(code for code in PHASES.codes if quantities()[code].kind == "instant")
#: meter-days that a check remembers as waiting for the job (80 MB); where more wait, nothing can be checked yet
MOST_WAITING: Final = 5_000_000
EPOCH: Final = dt.date(1970, 1, 1)
FOREVER: Final = np.datetime64("9999-01-01T00:00:00", "us")
#: what the month adds up over its days
COUNTS: Final = (
    "points", "present", "late", "estimated", "freeze_points", "freeze_present", "freeze_late", "freeze_estimated",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rolled:
    """One day of some meters, ascending: columns as COPY wants them, beside `meter_id` and `day`."""

    table: str
    meter: I64
    fields: dict[str, Field]

    def take(self, which: NDArray[np.bool_]) -> Rolled:
        return Rolled(
            self.table,
            self.meter[which],
            {
                name: Field(f.values[which], f.type, None if f.valid is None else f.valid[which])
                for name, f in self.fields.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """A day of one table for some meters, revisions laid over. `times` [point+1]: the opening midnight, then the day's points.

    registers: code -> int64 [meter, point+1], MISSING where not known; instants: code -> float32 [meter, point+1], NaN
    """

    times: Times
    registers: dict[str, I64]
    instants: dict[str, NDArray[np.float32]]


def load(
    conn: Connection, table: Table, codes: tuple[str, ...], day: dt.date, zone: ZoneInfo, meters: I64
) -> Grid:
    """The day's points of a plan with the point at the opening midnight, for `meters` (ascending)."""
    plan = table.plan
    assert plan is not None
    times = np.concatenate([np.array([midnight(day, zone)]), points(plan, day, zone)])
    found = packed.rows(
        conn,
        table,
        codes,
        first=times[0],
        last=times[-1],
        where="meter_id = ANY(%s)",
        values=[meters.tolist()],
    )
    row = np.searchsorted(meters, found.meter)
    column = np.searchsorted(times, found.time)
    there = (
        times[np.minimum(column, len(times) - 1)] == found.time
    )  # what lies off the plan's grid is no point of it
    row, column = row[there], column[there]
    grid = Grid(times, {}, {})
    for code in codes:
        if quantities()[code].kind == "register":
            grid.registers[code] = np.full((len(meters), len(times)), MISSING, dtype=np.int64)
            grid.registers[code][row, column] = found.columns[code][there]
        else:
            grid.instants[code] = np.full((len(meters), len(times)), np.nan, dtype=np.float32)
            grid.instants[code][row, column] = found.columns[code][there]
    _lay_revisions(conn, table, grid, meters)
    return grid


def _lay_revisions(conn: Connection, table: Table, grid: Grid, meters: I64) -> None:
    """The newest revision of a value lies over the first reading."""
    rows = conn.execute(
        "SELECT * FROM (SELECT DISTINCT ON (meter_id, ts, quantity) meter_id, ts, quantity, value, method FROM revision WHERE source = %s "
        "AND meter_id = ANY(%s) AND ts BETWEEN %s AND %s AND quantity = ANY(%s) ORDER BY meter_id, ts, quantity, version DESC) newest "
        "WHERE method <> %s",
        (
            table.source, meters.tolist(), as_datetime(grid.times[0]), as_datetime(grid.times[-1]), [*grid.registers, *grid.instants],
            WITHDRAWN,
        ),
    ).fetchall()  # fmt: skip
    when = np.array([instant(row["ts"]) for row in rows], dtype="datetime64[us]")
    column = np.minimum(np.searchsorted(grid.times, when), len(grid.times) - 1)
    meter = np.searchsorted(meters, np.array([row["meter_id"] for row in rows], dtype=np.int64))
    on_grid = grid.times[column] == when
    for code in {row["quantity"] for row in rows}:
        mine = np.array([row["quantity"] == code for row in rows], dtype=np.bool_) & on_grid
        values = [rows[k]["value"] for k in np.flatnonzero(mine)]
        if code in grid.registers:
            grid.registers[code][meter[mine], column[mine]] = np.array(
                [int(v) for v in values], dtype=np.int64
            )
        else:
            grid.instants[code][meter[mine], column[mine]] = np.array(
                [float(v) for v in values], dtype=np.float32
            )


def roll_up(conn: Connection, day: dt.date, zone: ZoneInfo, meters: I64) -> tuple[Rolled, Rolled]:
    """(day_rollup, day_phase_rollup) of one day for `meters` (ascending), of those of which anything is known."""
    curve = load(conn, SLOTS, SLOTS.codes, day, zone, meters)
    freeze = load(conn, DAY_FREEZES, FREEZE_CODES, day, zone, meters)
    fields: dict[str, Field] = {}
    for plan, prefix in ((CURVE, ""), (DAY, "freeze_")):
        fields[f"{prefix}points"] = Field(_owed(conn, plan, day, zone, meters), "int2")
        for name, counts in _ledger(conn, plan, day, meters).items():
            fields[f"{prefix}{name}"] = Field(counts, "int2")
    roll_over = _roll_over(conn, meters)
    for code, name in (("active_import", "import"), ("active_export", "export")):
        fields.update(_energy(name, curve.registers[code][:, [0, -1]], freeze.registers[code], roll_over))
    for code in SLOT_INSTANTS:
        fields.update(_statistics(code, curve.instants[code][:, 1:], curve.times[1:]))
    known = np.logical_or.reduce(
        [
            *((grid[:, 1:] != MISSING).any(axis=1) for grid in curve.registers.values()),
            *((grid[:, -1] != MISSING) for grid in freeze.registers.values()),
            *(fields[f"{code}_n"].values > 0 for code in SLOT_INSTANTS),
        ]
    )
    return Rolled("day_rollup", meters, fields).take(known), _phases(conn, day, zone, meters)


def _phases(conn: Connection, day: dt.date, zone: ZoneInfo, meters: I64) -> Rolled:
    grid = load(conn, PHASES, PHASE_INSTANTS, day, zone, meters)
    fields: dict[str, Field] = {}
    for code in PHASE_INSTANTS:
        fields.update(_statistics(code, grid.instants[code][:, 1:], grid.times[1:]))
    known = np.logical_or.reduce([fields[f"{code}_n"].values > 0 for code in PHASE_INSTANTS])
    return Rolled("day_phase_rollup", meters, fields).take(known)


def _owed(conn: Connection, plan: Plan, day: dt.date, zone: ZoneInfo, meters: I64) -> I64:
    """Points of the plan that each meter owes on the day [meter]."""
    spans = conn.execute(
        "SELECT meter_id, valid_from, nullif(valid_to, 'infinity') AS valid_to FROM installation "
        "WHERE meter_id = ANY(%s) AND valid_from < %s AND valid_to > %s AND %s = ANY(plans)",
        (
            meters.tolist(), as_datetime(midnight(day + dt.timedelta(days=1), zone)), as_datetime(midnight(day, zone)), plan.id,
        ),
    ).fetchall()  # fmt: skip
    owed = np.zeros((len(meters), len(points(plan, day, zone))), dtype=np.bool_)
    if spans:
        begin = np.array([instant(span["valid_from"]) for span in spans], dtype="datetime64[us]")
        end = np.array([FOREVER if s["valid_to"] is None else instant(s["valid_to"]) for s in spans], dtype="datetime64[us]")  # fmt: skip
        place = np.searchsorted(meters, np.array([span["meter_id"] for span in spans], dtype=np.int64))
        np.logical_or.at(owed, place, expected(plan, day, zone, begin, end))
    return np.asarray(owed.sum(axis=1), dtype=np.int64)


def _ledger(conn: Connection, plan: Plan, day: dt.date, meters: I64) -> dict[str, I64]:
    """present, late and estimated points by the ledger [meter]."""
    rows = conn.execute(
        "SELECT meter_id, bit_count(present) AS present, bit_count(late) AS late, coalesce(bit_count(estimated), 0) AS estimated "
        "FROM coverage WHERE plan = %s AND day = %s AND meter_id = ANY(%s)",
        (plan.id, day, meters.tolist()),
    ).fetchall()
    place = np.searchsorted(meters, np.array([row["meter_id"] for row in rows], dtype=np.int64))
    counts = {}
    for name in ("present", "late", "estimated"):
        counts[name] = np.zeros(len(meters), dtype=np.int64)
        counts[name][place] = [row[name] for row in rows]
    return counts


def _roll_over(conn: Connection, meters: I64) -> I64:
    """Where each meter's registers begin again at 0 [meter], 1e-4 kWh; a meter that the archive does not know shows six digits."""
    rows = conn.execute(
        "SELECT meter_id, digits FROM meter WHERE meter_id = ANY(%s)", (meters.tolist(),)
    ).fetchall()
    digits = np.full(len(meters), 6, dtype=np.int64)
    digits[np.searchsorted(meters, [row["meter_id"] for row in rows])] = [row["digits"] for row in rows]
    return np.asarray(10 ** (digits + 4), dtype=np.int64)


def _energy(name: str, curve: I64, freeze: I64, roll_over: I64) -> dict[str, Field]:
    """Closing register and energy of the day from the registers at its two midnights [meter, 2]: the freezes, else the curve."""
    closing = np.where(freeze[:, 1] != MISSING, freeze[:, 1], curve[:, 1])
    frozen = advance(freeze[:, 0], freeze[:, 1], cast(Any, roll_over))
    both = (freeze != MISSING).all(axis=1)  # a freeze that fell is not helped by the curve
    energy = np.where(both, frozen, advance(curve[:, 0], curve[:, 1], cast(Any, roll_over)))
    known = energy != MISSING
    return {
        f"{name}_register": Field(closing, "int8", closing != MISSING),
        f"{name}_energy": Field(energy, "int8", known),
        f"{name}_from": Field(np.where(both, 2, 1), "int2", known),
    }


def _statistics(code: str, values: NDArray[np.float32], times: Times) -> dict[str, Field]:
    """Count, extremes with their first slot, and mean of float32 [meter, slot]."""
    valid = ~np.isnan(values)
    n = valid.sum(axis=1)
    low = np.where(valid, values, np.float32(np.inf)).min(axis=1)
    high = np.where(valid, values, np.float32(-np.inf)).max(axis=1)
    total = np.zeros(len(values), dtype=np.float64)
    for slot in range(
        values.shape[1]
    ):  # one after the other: a sum in pairs would hang on how many meters are computed at once
        total += np.where(valid[:, slot], values[:, slot], np.float32(0))
    some = n > 0
    return {
        f"{code}_n": Field(n.astype(np.int64), "int2"),
        f"{code}_min": Field(low, "float4", some),
        f"{code}_min_at": Field(timestamps(times[(valid & (values == low[:, None])).argmax(axis=1)]), "timestamptz", some),
        f"{code}_max": Field(high, "float4", some),
        f"{code}_max_at": Field(timestamps(times[(valid & (values == high[:, None])).argmax(axis=1)]), "timestamptz", some),
        f"{code}_mean": Field(total / np.maximum(n, 1), "float8", some),
    }  # fmt: skip


def _write(conn: Connection, rolled: Rolled, day: dt.date, meters: I64, into: str | None = None) -> None:
    """The rows of `meters` on the day become these, in the caller's transaction."""
    table = into or rolled.table
    if into is None:
        conn.execute(f"DELETE FROM {table} WHERE day = %s AND meter_id = ANY(%s)", (day, meters.tolist()))
    n = len(rolled.meter)
    if not n:
        return
    if into is None:
        ensure_partitions(conn, table, np.array([day], dtype="datetime64[us]"))
    number = (day - EPOCH).days - PG_EPOCH_DAY
    copy_rows(
        conn, table, ("meter_id", "day", *rolled.fields),
        [Field(rolled.meter, "int4"), Field(np.full(n, number), "date"), *rolled.fields.values()],
    )  # fmt: skip


def _month_columns() -> dict[str, str]:
    """month_rollup's columns -> what makes them of the day rows. Float sums go in the order of the days, so that they repeat bit for bit."""
    made = {"days": "count(*)"}
    made |= {name: f"sum({name})" for name in COUNTS}
    for name in ("import", "export"):
        made[f"{name}_register"] = (
            f"max({name}_register) FILTER (WHERE day = (month + interval '1 month')::date - 1)"
        )
        made[f"{name}_energy"] = f"sum({name}_energy)::bigint"
        made[f"{name}_energy_days"] = f"count({name}_energy)"
    for code in SLOT_INSTANTS:
        made[f"{code}_n"] = f"sum({code}_n)"
        for end, way in (("min", ""), ("max", " DESC")):
            made[f"{code}_{end}"] = f"{end}({code}_{end})"
            made[f"{code}_{end}_at"] = (
                f"(array_agg({code}_{end}_at ORDER BY {code}_{end}{way}, day) FILTER (WHERE {code}_{end} IS NOT NULL))[1]"
            )
        made[f"{code}_mean"] = f"sum({code}_mean * {code}_n ORDER BY day) / nullif(sum({code}_n), 0)"
    return made


_MONTH: Final = _month_columns()
_MONTH_ROWS: Final = (
    f"SELECT meter_id, month, {', '.join(_MONTH.values())} FROM (SELECT *, date_trunc('month', day)::date AS month FROM day_rollup "
    "WHERE day >= %(first)s AND day < %(next)s AND meter_id = ANY(%(meters)s)) d GROUP BY meter_id, month"
)


def _write_month(conn: Connection, month: dt.date, meters: I64) -> None:
    conn.execute("DELETE FROM month_rollup WHERE month = %s AND meter_id = ANY(%s)", (month, meters.tolist()))
    ensure_partitions(conn, "month_rollup", np.array([month], dtype="datetime64[us]"))
    conn.execute(
        f"INSERT INTO month_rollup (meter_id, month, {', '.join(_MONTH)}) {_MONTH_ROWS}",
        {"first": month, "next": _next_month(month), "meters": meters.tolist()},
    )


def _next_month(month: dt.date) -> dt.date:
    return (month.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction did: meter-days and meter-months made again; `more` waits."""

    days: int
    months: int
    more: bool


def step(conn: Connection, zone: ZoneInfo, now: np.datetime64, *, feed_rows: int = FEED_ROWS) -> Step:
    """Make again what changed since the last step, in the caller's transaction, with the cursor. Another job of this name waits here."""
    conn.execute("INSERT INTO job_cursor VALUES (%s, '', %s) ON CONFLICT DO NOTHING", (JOB, as_datetime(now)))
    row = conn.execute("SELECT cursor FROM job_cursor WHERE job = %s FOR UPDATE", (JOB,)).fetchone()
    assert row is not None
    try:
        if not row["cursor"]:
            raise feed.StaleCursor("never ran")
        changed = feed.touched(conn, row["cursor"], feed_rows)
        cursor, more = changed.cursor, changed.more
        keys = _keys(changed)
    except (
        feed.StaleCursor,
        feed.BadCursor,
    ):  # after a restore, or when the feed was thrown away under it: everything anew
        cursor, more, keys = feed.latest(conn), True, _NO_KEYS
        conn.execute("DELETE FROM rollup_stale")
        conn.execute(
            "INSERT INTO rollup_stale (meter_id, first_day, last_day) SELECT 0, d, d FROM unnest(%s::date[]) d "
            "WHERE EXISTS (SELECT FROM coverage WHERE plan IN (1, 2, 4) AND day = d) OR EXISTS (SELECT FROM day_rollup WHERE day = d) "
            "OR EXISTS (SELECT FROM day_phase_rollup WHERE day = d) ORDER BY d",
            (_all_days(conn),),
        )
    stale, waiting = _take_stale(conn)
    first = _first_day(conn, zone)
    wanted = np.unique(np.concatenate([keys, stale]), axis=0)
    wanted = wanted[wanted[:, 0] >= (first - EPOCH).days] if first else wanted
    months = _roll_up_all(conn, zone, wanted)
    conn.execute("UPDATE job_cursor SET cursor = %s, at = %s WHERE job = %s", (cursor, as_datetime(now), JOB))
    return Step(len(wanted), months, more or waiting)


_NO_KEYS: Final = np.empty((0, 2), dtype=np.int64)


def _keys(changed: feed.Touched) -> I64:
    """[n, 2]: day and meter of what must be made again. A register closes one day and opens the next."""
    keys = np.stack([changed.day, changed.meter], axis=1)
    opens = changed.topic != "phase"
    return np.unique(np.concatenate([keys, keys[opens] + np.array([1, 0])]), axis=0)


def _all_days(conn: Connection) -> list[dt.date]:
    """Every day that the ledger or the roll-ups may hold."""
    days: set[dt.date] = set()
    for piece in partitions.pieces(conn, ("coverage", "day_rollup", "day_phase_rollup")):
        days.update(piece.lo.date() + dt.timedelta(days=n) for n in range((piece.hi - piece.lo).days))
    return sorted(days)


def _take_stale(conn: Connection) -> tuple[I64, bool]:
    """(keys as above, whether more wait) from the queue, which loses them in the caller's transaction."""
    row = conn.execute(
        "SELECT seq, first_day FROM rollup_stale WHERE meter_id = 0 ORDER BY seq LIMIT 1"
    ).fetchone()
    if row is not None:
        conn.execute("DELETE FROM rollup_stale WHERE seq = %s", (row["seq"],))
        there = _meters_of(conn, row["first_day"])
        return np.stack([np.full(len(there), (row["first_day"] - EPOCH).days), there], axis=1), True
    rows = conn.execute(
        """
        WITH taken AS (
            DELETE FROM rollup_stale WHERE seq IN (SELECT seq FROM rollup_stale ORDER BY seq LIMIT %s) RETURNING meter_id, first_day, last_day)
        SELECT t.meter_id, c.day - date '1970-01-01' AS day FROM taken t LEFT JOIN LATERAL (
            SELECT day FROM coverage WHERE meter_id = t.meter_id AND day BETWEEN t.first_day AND t.last_day AND plan IN (1, 2, 4)
            UNION SELECT day FROM day_rollup WHERE meter_id = t.meter_id AND day BETWEEN t.first_day AND t.last_day) c ON true
        """,
        (STALE_ROWS,),
    ).fetchall()
    keys = [(row["day"], row["meter_id"]) for row in rows if row["day"] is not None]
    waiting = conn.execute("SELECT EXISTS (SELECT FROM rollup_stale) AS yes").fetchone()
    return np.array(keys, dtype=np.int64).reshape(-1, 2), bool(waiting and waiting["yes"])


def _meters_of(conn: Connection, day: dt.date) -> I64:
    """Meters of which the ledger or the roll-ups know something on the day, ascending."""
    rows = conn.execute(
        "SELECT meter_id FROM coverage WHERE day = %(day)s AND plan IN (1, 2, 4) UNION SELECT meter_id FROM day_rollup WHERE day = %(day)s "
        "UNION SELECT meter_id FROM day_phase_rollup WHERE day = %(day)s ORDER BY 1",
        {"day": day},
    ).fetchall()
    return np.array([row["meter_id"] for row in rows], dtype=np.int64)


def _first_day(conn: Connection, zone: ZoneInfo) -> dt.date | None:
    """The first day whose rows, with those of its opening midnight, have not been thrown away; None: nothing has."""
    gone = partitions.thrown_away(conn)
    made_of = ("slot_read", "slot_phase_read", "register_read", "coverage", "day_rollup", "day_phase_rollup")
    edges = [gone[table] for table in made_of if table in gone]
    if not edges:
        return None
    day = max(edges).date()
    while as_datetime(midnight(day, zone)) < max(edges):
        day += dt.timedelta(days=1)
    return day


def _whole(conn: Connection, month: dt.date) -> bool:
    """Whether all day rows of the month are still kept: of a month that has lost some, the row stays as it was."""
    gone = partitions.thrown_away(conn)
    return all(gone[table].date() <= month for table in ("day_rollup", "month_rollup") if table in gone)


def _roll_up_all(conn: Connection, zone: ZoneInfo, keys: I64) -> int:
    """Make the day rows of keys [n, 2] (day, meter; in order), then the months they belong to; how many months."""
    months: dict[dt.date, list[I64]] = {}
    for number in np.unique(keys[:, 0]).tolist():
        day = EPOCH + dt.timedelta(days=number)
        meters = keys[keys[:, 0] == number, 1]
        months.setdefault(day.replace(day=1), []).append(meters)
        for begin in range(0, len(meters), METERS):
            some = meters[begin : begin + METERS]
            for rolled in roll_up(conn, day, zone, some):
                _write(conn, rolled, day, some)
    count = 0
    for month, parts in months.items():
        if not _whole(conn, month):
            continue
        meters = np.unique(np.concatenate(parts))
        _write_month(conn, month, meters)
        count += len(meters)
    return count


@dataclass(frozen=True, slots=True)
class Difference:
    """A roll-up that is not what its rows give: the columns that differ, stored -> made again (None: there is no row)."""

    table: str
    meter: int
    day: dt.date
    columns: dict[str, tuple[Any, Any]]


def check(
    conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date, most: int = 1000
) -> tuple[list[Difference], int]:
    """(up to `most` differences, meter-days that wait for the job and were left out) of the days first..last, and of their months.

    The caller holds one snapshot (store/check.py): a writer or a job in between would look like a difference."""
    waiting = _waiting(conn)
    skipped = 0
    found: list[Difference] = []
    gone = _first_day(conn, zone)
    for day in _days(max(first, gone) if gone else first, last):
        meters = _meters_of(conn, day)
        pending = waiting(day, meters)
        skipped += int(pending.sum())
        meters = meters[~pending]
        for begin in range(0, len(meters), METERS):
            some = meters[begin : begin + METERS]
            for rolled in roll_up(conn, day, zone, some):
                found += _compare(conn, rolled, day, some)
                if len(found) >= most:
                    return found[:most], skipped
    for month in sorted({day.replace(day=1) for day in _days(first, last)}):
        if _whole(conn, month):
            found += _compare_month(conn, month)
    return found[:most], skipped


def _days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    while first <= last:
        yield first
        first += dt.timedelta(days=1)


def _waiting(conn: Connection) -> Any:
    """A function (day, meters) -> bool[meter]: what changed since the job's cursor, and is owed to it."""
    row = conn.execute("SELECT cursor FROM job_cursor WHERE job = %s", (JOB,)).fetchone()
    keys = _NO_KEYS
    everything = row is None or not row["cursor"]
    if not everything:
        assert row is not None
        cursor, more = row["cursor"], True
        try:
            while more and len(keys) < MOST_WAITING:
                changed = feed.touched(conn, cursor, FEED_ROWS)
                cursor, more = changed.cursor, changed.more
                keys = np.unique(np.concatenate([keys, _keys(changed)]), axis=0)
            everything = more
        except (feed.StaleCursor, feed.BadCursor):
            everything = True
    # what the snapshot shows of transactions that the feed does not tell of yet, because an older one still runs
    unsettled = conn.execute(
        "SELECT day - date '1970-01-01' AS day, unnest(coalesce(meters, ARRAY(SELECT meter_id FROM meter WHERE asset = key))) AS meter "
        "FROM feed WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) AND topic = ANY(%s) AND day IS NOT NULL",
        (list(feed.READINGS),),
    ).fetchall()
    extra = np.array(
        [(r["day"] + more, r["meter"]) for r in unsettled for more in (0, 1)], dtype=np.int64
    ).reshape(-1, 2)
    keys = np.concatenate([keys, extra])

    def waits(day: dt.date, meters: I64) -> NDArray[np.bool_]:
        if everything:
            return np.ones(len(meters), dtype=np.bool_)
        mine = [
            row["meter_id"] for row in conn.execute("SELECT meter_id FROM rollup_stale WHERE %s BETWEEN first_day AND last_day", (day,))
        ]  # fmt: skip
        if 0 in mine:
            return np.ones(len(meters), dtype=np.bool_)
        changed = keys[keys[:, 0] == (day - EPOCH).days, 1]
        return np.isin(meters, np.concatenate([changed, np.array(mine, dtype=np.int64)]))

    return waits


def _compare(conn: Connection, rolled: Rolled, day: dt.date, meters: I64) -> list[Difference]:
    """Bit for bit (record image equality), both ways: rows too many and rows too few."""
    stage = f"fresh_{rolled.table}"
    columns = ", ".join(("meter_id", "day", *rolled.fields))
    conn.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} AS SELECT {columns} FROM {rolled.table} WITH NO DATA"
    )
    conn.execute(f"TRUNCATE {stage}")
    _write(conn, rolled, day, meters, into=stage)
    rows = conn.execute(
        "SELECT meter_id, to_jsonb(o) AS old, to_jsonb(f) AS new "
        f"FROM (SELECT {columns} FROM {rolled.table} WHERE day = %s AND meter_id = ANY(%s)) o "
        f"FULL JOIN {stage} f USING (meter_id, day) WHERE o IS NULL OR f IS NULL OR o *<> f ORDER BY meter_id LIMIT 1000",
        (day, meters.tolist()),
    ).fetchall()
    return [Difference(rolled.table, row["meter_id"], day, _differ(row["old"], row["new"])) for row in rows]


def _compare_month(conn: Connection, month: dt.date) -> list[Difference]:
    columns = ", ".join(("meter_id", "month", *_MONTH))
    rows = conn.execute(
        f"WITH made AS ({_MONTH_ROWS.replace('AND meter_id = ANY(%(meters)s)', '')}) "
        f"SELECT meter_id, to_jsonb(o) AS old, to_jsonb(f) AS new FROM (SELECT {columns} FROM month_rollup WHERE month = %(first)s) o "
        f"FULL JOIN (SELECT * FROM made AS m({columns})) f USING (meter_id, month) "
        "WHERE o IS NULL OR f IS NULL OR to_jsonb(o) IS DISTINCT FROM to_jsonb(f) ORDER BY meter_id LIMIT 1000",
        {"first": month, "next": _next_month(month)},
    ).fetchall()
    return [
        Difference("month_rollup", row["meter_id"], month, _differ(row["old"], row["new"])) for row in rows
    ]


def _differ(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    if old is None or new is None:
        return {"row": ("there" if old else None, "there" if new else None)}
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}
