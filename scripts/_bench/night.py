"""The night's jobs over a day in the store: loss, anomalies, validation, as the schedule runs them, beside three of their answers in SQL.

The day of county.py, its areas and its holes, comes in by the program's own door. What it takes to read blocks is told apart.
"""

from __future__ import annotations

import datetime as dt
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import analytics
import county
import numpy as np
import psycopg
from county import CHINA, DAY, Tile
from servers import describe, fresh, server

from headend.jobs import anomalies, lineloss, vee
from headend.jobs.frame import Run
from headend.store import intake
from headend.store.db import connect
from headend.store.intake import Delivery
from headend.store.tables import CURVES, DAYS
from protocols.localtime import as_datetime, midnight
from protocols.reading import MISSING, Reads

#: when the jobs run: the curve has had its grace
NIGHT: Final = np.datetime64(midnight(DAY + dt.timedelta(days=1), CHINA) + np.timedelta64(5, "h"), "us")
WRITERS: Final = 2
#: meters in a transaction
BATCH: Final = 1000

#: ends of the day by the curve, else by the day freeze: as the job has it
BY_DAY: Final = """
WITH ends AS (
    SELECT i.point_id, i.ct, coalesce(b.active_import, fb.active_import) AS first, coalesce(e.active_import, fe.active_import) AS last
    FROM installation i
    LEFT JOIN slot_read b ON b.meter_id = i.meter_id AND b.ts = %(begin)s
    LEFT JOIN slot_read e ON e.meter_id = i.meter_id AND e.ts = %(end)s
    LEFT JOIN register_read fb ON fb.meter_id = i.meter_id AND fb.ts = %(begin)s AND fb.kind = 2
    LEFT JOIN register_read fe ON fe.meter_id = i.meter_id AND fe.ts = %(end)s AND fe.kind = 2
), areas AS (
    SELECT r.area_id, sum(CASE r.role WHEN 'supply' THEN 1 ELSE -1 END * (last - first) * ct) AS loss, bool_and(last - first IS NOT NULL) AS known
    FROM ends JOIN area_role r USING (point_id) GROUP BY 1
)
SELECT count(*) FILTER (WHERE known), sum(loss) FILTER (WHERE known) FROM areas
"""
BY_SLOT: Final = """
WITH slots AS (
    SELECT meter_id, ts, active_import - lag(active_import) OVER (PARTITION BY meter_id ORDER BY ts) AS energy,
           lag(ts) OVER (PARTITION BY meter_id ORDER BY ts) AS before
    FROM slot_read WHERE ts >= %(begin)s AND ts <= %(end)s
), areas AS (
    SELECT r.area_id, s.ts, sum(CASE r.role WHEN 'supply' THEN 1 ELSE -1 END * energy * i.ct) AS loss,
           count(energy) FILTER (WHERE s.before = s.ts - interval '15 minutes') AS known
    FROM slots s JOIN installation i USING (meter_id) JOIN area_role r USING (point_id) WHERE s.ts > %(begin)s GROUP BY 1, 2
)
SELECT count(*), sum(loss) FROM areas WHERE known = %(members)s
"""
VOLTAGE: Final = """
SELECT 15 * count(*) FROM slot_read WHERE ts > %(begin)s AND ts <= %(end)s AND
    (voltage_a >= 132 AND (voltage_a < 198 OR voltage_a > 235.4::real) OR voltage_b >= 132 AND (voltage_b < 198 OR voltage_b > 235.4::real)
     OR voltage_c >= 132 AND (voltage_c < 198 OR voltage_c > 235.4::real))
"""


def run(kinds: Sequence[str], meters: int, seed: int = 1, missing: float = 0.03) -> list[str]:
    """What was seen, line by line."""
    lines: list[str] = []
    day = county.tiles(meters, missing, seed)
    count = sum(len(tile.block.rows) for tile in day)
    for kind in kinds:
        with server(kind, {"max_wal_size": "8GB"}) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database:
                begin = time.perf_counter()
                _archive(database, count)
                with ThreadPoolExecutor(WRITERS) as pool:
                    list(
                        pool.map(
                            lambda part: _load(database, part), [day[k::WRITERS] for k in range(WRITERS)]
                        )
                    )
                with psycopg.connect(database, autocommit=True) as conn:
                    conn.execute("VACUUM ANALYZE slot_read, register_read")
                lines.append(
                    f"{describe(database)}: a day of {count:,} meters loaded in {time.perf_counter() - begin:.0f} s"
                )
                lines += _night(database)
                lines += _sql(database, day)
    return lines


def _archive(dsn: str, count: int) -> None:
    members = county.CUSTOMERS + 1
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(
            "INSERT INTO area (code, name, capacity_kva) SELECT 'A' || n, 'A' || n, 315 FROM generate_series(1, %s) n",
            (count // members,),
        )
        conn.execute(
            "INSERT INTO terminal (code, name, protocol, link, endpoint) SELECT 'T' || n, 'T', 'dlt645', 'dial-out', 'T' || n || ':1' "
            "FROM generate_series(1, %s) n",
            (count // members,),
        )
        conn.execute(
            "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, CASE WHEN n %% %s = 1 THEN 3 ELSE 1 END, "
            "CASE WHEN n %% %s = 1 THEN 0.005 ELSE 0.01 END FROM generate_series(1, %s) n",
            (members, members, count),
        )
        conn.execute("INSERT INTO point (code) SELECT 'P' || n FROM generate_series(1, %s) n", (count,))
        conn.execute(
            "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) SELECT n, n, (n - 1) / %s + 1, 'A' || n, "
            "CASE WHEN n %% %s = 1 THEN 120 ELSE 1 END, 1, timestamptz '2026-01-01 00:00+08' FROM generate_series(1, %s) n",
            (members, members, count),
        )
        conn.execute(
            "INSERT INTO loss_role (point_id, area_id, role, valid_from) SELECT n, (n - 1) / %s + 1, "
            "CASE WHEN n %% %s = 1 THEN 'supply' ELSE 'receive' END, timestamptz '2026-01-01 00:00+08' FROM generate_series(1, %s) n",
            (members, members, count),
        )
        conn.execute("VACUUM ANALYZE meter, installation, point, loss_role, area, terminal")


def _load(dsn: str, day: Sequence[Tile]) -> None:
    with connect(dsn) as conn:
        for tile in day:
            for begin in range(0, len(tile.block.rows), BATCH):
                part = slice(begin, begin + BATCH)
                intake.save(
                    conn,
                    [
                        Delivery(CURVES, NIGHT, _curves(tile, part)),
                        Delivery(DAYS, NIGHT, _freezes(tile, part)),
                    ],
                    CHINA,
                    who="bench",
                )
                conn.commit()


def _curves(tile: Tile, part: slice) -> Reads:
    """The points that are not missing; the store counts meters from 1."""
    b = tile.block
    meter = b.rows.meter[part] + 1
    there = b.registers["active_import"][part] != MISSING
    row, column = np.nonzero(there)
    columns: dict[str, Any] = {code: values[part][there] for code, values in b.registers.items()}
    for code, values in b.instants.items():
        whole = np.full(there.shape, np.nan, dtype=np.float32)
        whole[:, 1:] = values[part]
        columns[code] = whole[there]
    return Reads(meter[row], b.times[column], columns)


def _freezes(tile: Tile, part: slice) -> Reads:
    b = tile.block
    meter = np.repeat(b.rows.meter[part] + 1, 2)
    times = np.tile(b.times[[0, -1]], len(meter) // 2)
    return Reads(meter, times, {code: values[part].ravel() for code, values in b.freezes.items()})


# --- the jobs ---


@contextmanager
def _reading() -> Iterator[list[float]]:
    """Seconds that blocks took to be read."""
    spent = [0.0]
    # by its name: the package has a function of the same
    block, stream = (import_module(f"headend.store.blocks.{name}") for name in ("block", "stream"))
    real = block.fill

    def timed(*args: Any, **more: Any) -> Any:
        begin = time.perf_counter()
        try:
            return real(*args, **more)
        finally:
            spent[0] += time.perf_counter() - begin

    block.fill = stream.fill = timed
    try:
        yield spent
    finally:
        block.fill = stream.fill = real


def _night(dsn: str) -> list[str]:
    lines, whole = [], 0.0
    jobs: tuple[tuple[str, Callable[[Run, dt.date], str]], ...] = (
        ("line loss", lineloss.job), ("anomalies", anomalies.job), ("validation", vee.job),
    )  # fmt: skip
    with connect(dsn) as conn, _reading() as spent:
        for name, job in jobs:
            begin, before = time.perf_counter(), spent[0]
            said = job(Run(conn, CHINA, NIGHT), DAY)
            conn.commit()
            seconds = time.perf_counter() - begin
            whole += seconds
            lines.append(f"  {name}: {seconds:.0f} s, of which {spent[0] - before:.0f} s reading; {said}")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        lines.append(
            f"  the whole night from the store: {whole:.0f} s, of which {spent[0]:.0f} s reading (goal 600 without reading); "
            f"this process took {most:.1f} GiB at most, the day in memory for the loading included"
        )
    return lines


def _sql(dsn: str, day: list[Tile]) -> list[str]:
    lines = []
    arguments = {
        "begin": as_datetime(midnight(DAY, CHINA)), "end": as_datetime(midnight(DAY + dt.timedelta(days=1), CHINA)), "members": county.CUSTOMERS + 1,
    }  # fmt: skip
    expected: tuple[tuple[str, str, Any], ...] = (
        ("loss by day", BY_DAY, analytics.by_day(day)),
        ("loss by quarter-hour", BY_SLOT, analytics.by_slot(day)),
        ("voltage minutes", VOLTAGE, (analytics.voltage_minutes(day),)),
    )
    with psycopg.connect(dsn, autocommit=True) as conn:
        for name, query, wanted in expected:
            begin = time.perf_counter()
            found = conn.execute(query.encode(), arguments).fetchone()
            seconds = time.perf_counter() - begin
            assert found is not None
            told = tuple(int(value or 0) for value in found)  # a sum of nothing is NULL
            same = "as ours" if told == tuple(wanted) else f"ours {wanted}, SQL {told}"
            lines.append(f"  {name} in SQL: {seconds:.1f} s; {same}")
    return lines
