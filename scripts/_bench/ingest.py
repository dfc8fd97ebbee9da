"""Values to the store: curve rows of ten values into `slot_read`, each contender into a fresh database.

Ours keeps the completeness ledger and the change feed in the same transaction, as the collector does; the
others write the rows and nothing else. They are given what they like best, made before the clock starts:
tuples of Python objects, or the finished binary payload. All commit after as many rows as ours does.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from measure import Race, quiet, turns
from servers import describe, fresh, server

from headend.collector.writer import NOTHING, Result, save
from headend.plans import CURVE
from headend.store import reads
from headend.store.coverage import Attempt
from headend.store.db import connect
from headend.store.pgcopy import Field, pack, timestamps
from protocols.localtime import day_slots
from protocols.quantity import quantities
from protocols.reading import SLOT_QUANTITIES, Reads, concatenate

CHINA = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
NOW = np.datetime64("2026-03-10T16:30:00", "us")
COLUMNS = ("meter_id", "ts", *SLOT_QUANTITIES)
INSERT = (
    f"INSERT INTO slot_read ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))}) "
    "ON CONFLICT DO NOTHING"
)
COPY = f"COPY slot_read ({', '.join(COLUMNS)}) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Load:
    """The same rows as each contender wants them, cut into transactions."""

    results: list[Result]  # one meter's day each
    batch: int  # results in a transaction
    tuples: list[list[tuple[Any, ...]]]
    payloads: list[bytes]

    @property
    def rows(self) -> int:
        return sum(len(result.reads) for result in self.results)


def make(meters: int, batch: int) -> Load:
    """A day of 96 rows for each meter; seeded, so that every run loads the same."""
    times = day_slots(DAY, CHINA)
    rng = np.random.default_rng(645)
    results = []
    for meter in range(1, meters + 1):
        columns: dict[str, Any] = {}
        for code in SLOT_QUANTITIES:
            if quantities()[code].kind == "register":
                columns[code] = np.cumsum(rng.integers(0, 5_000, len(times)))
            else:
                columns[code] = rng.integers(0, 2_500, len(times)) / 10
        attempt = Attempt(meter, CURVE, times, times, NOTHING, NOW)
        results.append(Result(attempt, Reads(np.full(len(times), meter), times, columns)))
    parts = [concatenate([r.reads for r in some]) for some in _cut(results, batch)]
    return Load(results, batch, [_tuples(part) for part in parts], [_payload(part) for part in parts])


def _cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[k : k + size] for k in range(0, len(items), size)]


def _tuples(rows: Reads) -> list[tuple[Any, ...]]:
    when = [at.replace(tzinfo=dt.UTC) for at in rows.time.astype("datetime64[us]").tolist()]
    return list(
        zip(
            rows.meter.tolist(), when, *(rows.columns[code].tolist() for code in SLOT_QUANTITIES), strict=True
        )
    )


def _payload(rows: Reads) -> bytes:
    kinds = {code: "int8" if quantities()[code].kind == "register" else "float4" for code in SLOT_QUANTITIES}
    values = [Field(rows.columns[code], kinds[code]) for code in SLOT_QUANTITIES]
    return pack([Field(rows.meter, "int4"), Field(timestamps(rows.time), "timestamptz"), *values])


# --- contenders: each writes the whole load over one connection ---


def _product(size: int) -> Callable[[str, Load], None]:
    """headend.collector.writer.save, `size` results in a transaction."""

    def run(dsn: str, load: Load) -> None:
        with connect(dsn) as conn:
            for some in _cut(load.results, size):
                save(conn, list(some), CHINA, "bench")
                conn.commit()

    return run


def _rows_only(dsn: str, load: Load) -> None:
    """headend.store.reads.write: what the ledger and the feed cost is the distance to the line above."""
    with connect(dsn) as conn:
        for some in _cut(load.results, load.batch):
            rows = concatenate([result.reads for result in some])
            reads.write(conn, reads.SLOTS, rows, now=NOW, reason="", who="bench")
            conn.commit()


def _executemany(dsn: str, load: Load) -> None:
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        for some in load.tuples:
            cursor.executemany(INSERT, some)
            conn.commit()


def _write_row(dsn: str, load: Load) -> None:
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        for some in load.tuples:
            with cursor.copy(COPY) as copy:
                for row in some:
                    copy.write_row(row)
            conn.commit()


def _prebuilt(dsn: str, load: Load) -> None:
    with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
        for payload in load.payloads:
            with cursor.copy(f"{COPY} (FORMAT BINARY)") as copy:
                copy.write(payload)
            conn.commit()


def run(
    kinds: Sequence[str], rounds: int, meters: int, batch: int, large: int
) -> tuple[list[Race], list[str]]:
    """The races and what the servers are. `batch`, `large`: results (meter-days) in a transaction."""
    load = make(meters, batch)
    repeatable: dict[str, Callable[[str, Load], None]] = {
        f"ours, {batch} results a transaction": _product(batch),
        f"ours, {large} results a transaction": _product(large),
        "ours, without ledger and feed": _rows_only,
        "psycopg executemany": _executemany,
    }
    contenders = repeatable | {
        "ours, 1 result a transaction": _product(1),
        "psycopg COPY, write_row": _write_row,
        "COPY of a finished payload (the limit)": _prebuilt,
    }
    races, described = [], []
    for kind in kinds:
        with server(kind) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database:
                described.append(describe(database))
            first = Race(f"curve rows, {kind}", "rows", load.rows, len(SLOT_QUANTITIES))
            again = Race(f"the same rows again, {kind}", "rows", load.rows, len(SLOT_QUANTITIES))
            first.seconds = {who: [] for who in contenders}
            again.seconds = {who: [] for who in repeatable}
            for number in range(rounds):
                for who in turns(list(contenders), number):
                    with fresh(dsn, kind) as database:
                        _prepare(database, meters)
                        for race in (first, again):
                            if who in race.seconds:
                                race.add(who, _timed(contenders[who], database, load))
                                _check(database, load)
            races += [first, again]
    return races, described


def _prepare(dsn: str, meters: int) -> None:
    """The meters, and partitions or not: nobody waits for them while the clock runs."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, 3, 0.01 FROM generate_series(1, %s) n",
            (meters,),
        )
        conn.execute(
            "SELECT ensure_partitions(%s, %s)",
            (dt.datetime(2026, 3, 9, tzinfo=dt.UTC), dt.datetime(2026, 3, 11, tzinfo=dt.UTC)),
        )
        conn.execute("CHECKPOINT")


def _timed(work: Callable[[str, Load], None], dsn: str, load: Load) -> float:
    with quiet():
        begin = time.perf_counter()
        work(dsn, load)
        return time.perf_counter() - begin


def _check(dsn: str, load: Load) -> None:
    """All rows are there, and the right ones: a contender that lost some would win."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute("SELECT count(*), sum(active_import)::bigint FROM slot_read").fetchone()
    energy = sum(int(result.reads.columns["active_import"].sum()) for result in load.results)
    assert found == (load.rows, energy), f"{found} in the store, {load.rows, energy} were written"
