"""Values to the store: curve rows of ten values into `slot_read`, each contender into a fresh database.

Ours is the program's one door: rows, completeness ledger and change feed in one transaction. The others write the rows and nothing else.
They are given what they like best, made before the clock starts: tuples of Python objects, or files in PostgreSQL's binary format. All
commit after as many rows as ours does, over one connection, with fsync, synchronous_commit and full_page_writes on.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from measure import Race, quiet, turns
from servers import describe, fresh, server

from headend.plans import CURVE
from headend.store import embedded, intake
from headend.store.coverage import Attempt
from headend.store.db import connect
from headend.store.intake import Delivery
from headend.store.pgcopy import Field, pack, timestamps
from headend.store.reads import Note, write
from headend.store.tables import CURVES, SLOTS, Table
from protocols.localtime import day_slots
from protocols.quantity import quantities
from protocols.reading import SLOT_QUANTITIES, Reads, concatenate

CHINA = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
NOW = np.datetime64("2026-03-10T16:30:00", "us")
TIMES = day_slots(DAY, CHINA)
#: what the others write: the columns of values; ours has the hash of the exchange beside them, NULL here, as it is for a file's readings
COLUMNS = ("meter_id", "ts", *SLOT_QUANTITIES)
INSERT = (
    f"INSERT INTO slot_read ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))}) "
    "ON CONFLICT DO NOTHING"
)
COPY = f"COPY slot_read ({', '.join(COLUMNS)}) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Load:
    """The same rows as each contender wants them, cut into transactions."""

    deliveries: list[Delivery]  # one meter's day each
    batch: int  # deliveries in a transaction
    tuples: list[list[tuple[Any, ...]]]
    payloads: list[bytes]

    @property
    def rows(self) -> int:
        return sum(len(delivery.reads) for delivery in self.deliveries)


def meter_day(meter: int, rng: np.random.Generator) -> Reads:
    columns: dict[str, Any] = {}
    for code in SLOT_QUANTITIES:
        if quantities()[code].kind == "register":
            columns[code] = np.cumsum(rng.integers(0, 5_000, len(TIMES)))
        else:
            columns[code] = rng.integers(0, 2_500, len(TIMES)) / 10
    return Reads(np.full(len(TIMES), meter), TIMES, columns)


def make(meters: int, batch: int) -> Load:
    """A day of 96 rows for each meter; seeded, so that every run loads the same."""
    rng = np.random.default_rng(645)
    days = [meter_day(meter, rng) for meter in range(1, meters + 1)]
    deliveries = [
        Delivery(CURVES, NOW, reads, (Attempt(int(reads.meter[0]), CURVE, TIMES, TIMES[:0], NOW),))
        for reads in days
    ]
    parts = [concatenate(some) for some in _cut(days, batch)]
    return Load(deliveries, batch, [_tuples(part) for part in parts], [_payload(part) for part in parts])


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
    values = [Field(rows.columns[code], SLOTS.type(code)) for code in SLOT_QUANTITIES]
    return pack([Field(rows.meter, "int4"), Field(timestamps(rows.time), "timestamptz"), *values])


# --- contenders: each writes the whole load over one connection ---

Contender = Callable[[str, Load], None]
LIMIT = "psql, COPY of prebuilt files (the limit)"


def _ours(size: int) -> Contender:
    """headend.store.intake.save, `size` meter-days in a transaction."""

    def run(dsn: str, load: Load) -> None:
        with connect(dsn) as conn:
            for some in _cut(load.deliveries, size):
                intake.save(conn, some, CHINA, who="bench")
                conn.commit()

    return run


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


class _Psql:
    """The files lie ready, and so does a psql that has connected; it commits after each."""

    def __init__(self, folder: Path, load: Load) -> None:
        self._folder = folder
        for k, payload in enumerate(load.payloads):
            (folder / f"{k:06}.copy").write_bytes(payload)
        self._script = "".join(
            f"\\copy slot_read ({', '.join(COLUMNS)}) from '{folder}/{k:06}.copy' (format binary)\n"
            for k in range(len(load.payloads))
        )

    def __call__(self, dsn: str, load: Load) -> None:
        done = subprocess.run(
            [embedded.wheel_bindir() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn],
            input=self._script, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def run(kinds: Sequence[str], rounds: int, meters: int, batch: int) -> tuple[list[Race], list[str]]:
    """The races and what the servers are. `batch`: meter-days in a transaction."""
    load = make(meters, batch)
    half = replace(
        load, deliveries=[replace(d, reads=d.reads.take(np.arange(0, 96, 2))) for d in load.deliveries]
    )
    races, described = [], []
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder:
        repeatable: dict[str, Contender] = {
            "ours, rows with ledger and feed": _ours(batch),
            "psycopg executemany": _executemany,
        }
        contenders: dict[str, Contender] = repeatable | {
            LIMIT: _Psql(Path(folder), load),
            "psycopg COPY, write_row": _write_row,
            "ours, one meter-day a transaction": _ours(1),
        }
        for kind in kinds:
            with server(kind) as dsn:
                if dsn is None:
                    continue
                with fresh(dsn, kind) as database:
                    described.append(describe(database))
                first, again, halves = (
                    Race(f"{title}, {kind}", "rows", load.rows, len(SLOT_QUANTITIES))
                    for title in (
                        "curve rows, first load",
                        "the same rows again",
                        "half the rows are repeats",
                    )
                )
                for number in range(rounds):
                    for who in turns(list(contenders), number):
                        with fresh(dsn, kind) as database:
                            prepare(database, meters)
                            first.add(who, _timed(contenders[who], database, load))
                            _check(database, load)
                            if who in repeatable:
                                again.add(who, _timed(contenders[who], database, load))
                                _check(database, load)
                    for who in turns([*repeatable, LIMIT], number):
                        with fresh(dsn, kind) as database:
                            prepare(database, meters)
                            if (
                                who != LIMIT
                            ):  # a file cannot be copied over rows that are there: its limit is the first load
                                _ours(batch)(database, half)
                            halves.add(who, _timed(contenders[who], database, load))
                            _check(database, load)
                races += [_in_order(first, contenders), _in_order(again, repeatable), _in_order(halves, contenders)]  # fmt: skip
                races += _grouping(dsn, kind, rounds, replace(load, deliveries=load.deliveries[:GROUPED]))
    return races, described


def _in_order(race: Race, contenders: dict[str, Contender]) -> Race:
    """Ours first, whoever ran first."""
    race.seconds = {who: race.seconds[who] for who in contenders if who in race.seconds}
    return race


def prepare(dsn: str, meters: int) -> None:
    """The meters, and partitions or not: nobody waits for them while the clock runs."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(
            "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, 3, 0.01 FROM generate_series(1, %s) n",
            (meters,),
        )
        conn.execute("SELECT ensure_partitions('slot_read', '{2026-03-08, 2026-03-09, 2026-03-10}')")
        conn.execute("SELECT ensure_partitions('coverage', '{2026-03-10}')")
        conn.execute("CHECKPOINT")


def _timed(work: Contender, dsn: str, load: Load) -> float:
    with quiet():
        begin = time.perf_counter()
        work(dsn, load)
        return time.perf_counter() - begin


def _check(dsn: str, load: Load) -> None:
    """All rows are there, and the right ones: a contender that lost some would win."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute("SELECT count(*), sum(active_import)::bigint FROM slot_read").fetchone()
    energy = sum(int(delivery.reads.columns["active_import"].sum()) for delivery in load.deliveries)
    assert found == (load.rows, energy), f"{found} in the store, {load.rows, energy} were written"


# --- the two ways of grouping quantities that arrive apart ---

#: meters are enough: one quantity at a time, every row is rewritten nine times
GROUPED = 512

_ENERGY, _LOAD = SLOT_QUANTITIES[:2], SLOT_QUANTITIES[2:]
#: what arrives with what: all at once, registers and then the rest, or each quantity by itself
_ARRIVALS = {
    "at once": (SLOT_QUANTITIES,),
    "in two parts": (_ENERGY, _LOAD),
    "one by one": tuple((code,) for code in SLOT_QUANTITIES),
}


def _grouping(dsn: str, kind: str, rounds: int, load: Load) -> list[Race]:
    """One row of ten columns against a row of registers and a row of the rest, by the program's own way in, as the quantities arrive."""
    races = []
    with fresh(dsn, kind) as database:
        for arrival, groups in _ARRIVALS.items():
            race = Race(
                f"ten quantities that arrive {arrival}, {kind}", "rows", load.rows, len(SLOT_QUANTITIES)
            )
            for number in range(rounds):
                for who in turns(["one row of ten", "two rows, of two and eight"], number):
                    split = (SLOT_QUANTITIES,) if who == "one row of ten" else (_ENERGY, _LOAD)
                    seconds, size = _arrive(database, split, groups, load)
                    race.add(f"{who}, {size / load.rows / len(SLOT_QUANTITIES):.1f} bytes a value", seconds)
            races.append(race)
    return races


def _arrive(
    dsn: str, split: Sequence[Sequence[str]], groups: Sequence[Sequence[str]], load: Load
) -> tuple[float, int]:
    """(seconds, bytes on disk afterwards) of one way of grouping."""
    tables = [replace(SLOTS, name=f"bench_group_{k}", codes=tuple(codes)) for k, codes in enumerate(split)]
    with connect(dsn) as conn:
        for table in tables:
            conn.execute(f"DROP TABLE IF EXISTS {table.name}")
            columns = ", ".join(f"{code} {table.type(code)}" for code in table.codes)
            conn.execute(
                f"CREATE TABLE {table.name} (meter_id integer, ts timestamptz, {columns}, evidence bigint, PRIMARY KEY (meter_id, ts))"
            )
        conn.commit()
        with quiet():
            begin = time.perf_counter()
            for codes in groups:
                _write_group(conn, tables, codes, load)
            seconds = time.perf_counter() - begin
        size = 0
        for table in tables:
            row = conn.execute(f"SELECT pg_total_relation_size('{table.name}') AS n").fetchone()
            size += row["n"] if row else 0
        conn.commit()
    return seconds, size


def _write_group(conn: Any, tables: Sequence[Table], codes: Sequence[str], load: Load) -> None:
    for some in _cut(load.deliveries, load.batch):
        rows = concatenate([delivery.reads for delivery in some])
        mine = Reads(rows.meter, rows.time, {code: rows.columns[code] for code in codes})
        for table in tables:
            if any(code in table.codes for code in codes):
                write(conn, table, mine, Note(NOW, "bench", "bench"))
        conn.commit()
