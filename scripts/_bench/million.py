"""A day of a whole utility: 1,000,000 meters × 96 slots × ten values in by the program's own door, and a quantity out again as a matrix.

Two writers, each a process with one connection, share the meters between them. Their readings are made before the clock starts as a few
hundred different meter-days, given to one meter after the other: what is measured is the way in, not a random number generator. Rows,
ledger and feed are written in one transaction for 1,024 meters; afterwards every row and every bit of the ledger is counted.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import psycopg
from measure import Race
from servers import describe, fresh, server
from store import CHINA, DAY, NOW, TIMES, meter_day

from headend.store import blocks, intake
from headend.store.db import connect
from headend.store.intake import Delivery
from headend.store.reads import distinct
from headend.store.tables import CURVES
from protocols.reading import MISSING, SLOT_QUANTITIES, Reads, concatenate

WRITERS = 2
#: meters in a transaction, of which the readings of as many meter-days are made beforehand
BATCH = 1024
CODE = "active_import"
#: bytes on disk a row takes while it is loaded: itself, its index, and its log until the next checkpoint
ROOM = 400


def run(
    kinds: Sequence[str], meters: int, say: Callable[[str], None] = print
) -> tuple[list[Race], list[str]]:
    """The races (one contender: there is nobody else) and notes."""
    races: list[Race] = []
    notes: list[str] = []
    for kind in kinds:
        free = shutil.disk_usage(Path(__file__).parent).free
        if free < ROOM * meters * len(TIMES):
            raise SystemExit(
                f"bench: {meters} meters need {ROOM * meters * len(TIMES) >> 30} GiB of disk, {free >> 30} are free; ask for fewer"
            )
        with server(kind, {"max_wal_size": "8GB"}) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database:
                _prepare(database, meters)
                seconds = _load(database, meters)
                rows, size = _check(database, meters)
                load = Race(
                    f"{meters:,} meters' day loaded and covered, {kind}", "rows", rows, len(SLOT_QUANTITIES)
                )
                load.add(f"ours, {WRITERS} writers", seconds)
                back = Race(f"a quantity of it read back, [meter, slot], {kind}", "rows", rows, 1)
                for count in (1, 2):
                    back.add(
                        f"ours, {count} connection{'s' if count > 1 else ''}", _read(database, meters, count)
                    )
                races += [load, back]
                notes.append(
                    f"{describe(database)}: {meters:,} meters × 96 in {seconds:.0f} s, {size / rows:.0f} bytes a row with its index; "
                    f"{rows:,} rows and as many bits of the ledger counted"
                )
                say(notes[-1])
    return races, notes


def _prepare(dsn: str, meters: int) -> None:
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(
            "INSERT INTO terminal (code, name, protocol, link, endpoint) VALUES ('T', 'T', 'dlt645', 'dial-out', 'T:1')"
        )
        conn.execute(
            "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, 3, 0.01 FROM generate_series(1, %s) n",
            (meters,),
        )
        conn.execute("INSERT INTO point (code) SELECT 'P' || n FROM generate_series(1, %s) n", (meters,))
        conn.execute(
            "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) "
            "SELECT n, n, 1, 'A' || n, 1, 1, timestamptz '2026-01-01 00:00+08' FROM generate_series(1, %s) n",
            (meters,),
        )
        conn.execute("SELECT ensure_partitions('slot_read', '{2026-03-09, 2026-03-10}')")
        conn.execute("SELECT ensure_partitions('coverage', '{2026-03-10}')")
        conn.execute("VACUUM ANALYZE meter, installation, point")
        conn.execute("CHECKPOINT")


def _load(dsn: str, meters: int) -> float:
    """Seconds until the last writer has committed everything."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(WRITERS + 1)
    writers = [
        context.Process(target=_write, args=(dsn, first, last, ready))
        for first, last in pairwise(_edges(meters))
    ]
    for writer in writers:
        writer.start()
    ready.wait(120)
    begin = time.perf_counter()
    for writer in writers:
        writer.join()
    seconds = time.perf_counter() - begin
    assert all(writer.exitcode == 0 for writer in writers), [writer.exitcode for writer in writers]
    return seconds


def _edges(meters: int) -> list[int]:
    """Where each writer's meters begin, and where the last one's end."""
    return [1 + meters * k // WRITERS for k in range(WRITERS + 1)]


def _write(dsn: str, first: int, last: int, ready: Barrier) -> None:
    """Meters first to last - 1."""
    made = concatenate([meter_day(k, np.random.default_rng(k)) for k in range(BATCH)])
    with connect(dsn) as conn:
        conn.execute("SELECT 1")
        conn.rollback()
        ready.wait(120)
        for reads in _batches(made, first, last):
            intake.save(conn, [Delivery(CURVES, NOW, reads)], CHINA, who="bench")
            conn.commit()


def _batches(made: Reads, first: int, last: int) -> Iterator[Reads]:
    for start in range(first, last, BATCH):
        n = min(BATCH, last - start) * len(TIMES)
        yield Reads(made.meter[:n] + start, made.time[:n], {code: v[:n] for code, v in made.columns.items()})


def _check(dsn: str, meters: int) -> tuple[int, int]:
    """(rows, bytes of the table); everything is there, and the ledger says so."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        rows = conn.execute("SELECT count(*) FROM slot_read").fetchone()
        bits = conn.execute("SELECT count(*), sum(bit_count(present)) FROM coverage").fetchone()
        told = conn.execute("SELECT sum(cardinality(meters)) FROM feed").fetchone()
        size = conn.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = 'slot_read'::regclass"
        ).fetchone()
    assert rows == (meters * len(TIMES),), rows
    assert bits == (meters, meters * len(TIMES)), bits
    assert told == (meters,), told
    assert size is not None
    return int(rows[0]), int(size[0])


def _read(dsn: str, meters: int, connections: int) -> float:
    """Seconds for the whole matrix; every value is the one that was written."""
    per_meter = np.array([meter_day(k, np.random.default_rng(k)).columns[CODE].sum() for k in range(BATCH)])
    seen = 0
    with ExitStack() as stack:
        conns = [stack.enter_context(connect(dsn)) for _ in range(connections)]
        begin, checking = time.perf_counter(), 0.0
        for block in blocks.stream(conns, DAY, CHINA, (CODE,), freezes=()):
            at = time.perf_counter()
            grid = block.registers[CODE][:, 1:]
            assert (grid != MISSING).all()
            begins = np.array(_edges(meters)[:-1])
            number = block.rows.meter - begins[np.searchsorted(begins, block.rows.meter, side="right") - 1]
            assert (grid.sum(axis=1) == per_meter[number % BATCH]).all()
            seen += grid.size
            assert len(distinct(block.rows.meter)) == len(grid)
            checking += time.perf_counter() - at
        seconds = time.perf_counter() - begin - checking
    assert seen == meters * len(TIMES), seen
    return seconds
