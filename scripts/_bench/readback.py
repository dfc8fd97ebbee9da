"""A day of one quantity out of `slot_read` as a [meter, slot] matrix of numpy: everybody's, in pieces that fit in memory.

Ours also knows who is installed, lays revisions over and checks that each value stands at its own slot; the others do what their name
says. All read over the same number of connections the same table, of which the day is one of three in its partition.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from measure import Race, quiet, turns
from numpy.typing import NDArray
from psycopg.rows import tuple_row
from servers import describe, fresh, server

from headend.store import blocks
from headend.store.db import Connection, connect
from headend.store.pgcopy import Field, pack, timestamps
from headend.store.rows import copy_out, fetch
from headend.store.tables import SLOTS
from protocols.localtime import Times, day_slots, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING, SLOT_QUANTITIES

CHINA = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 11)
CODE = "active_import"
#: meters in a question, or in a written part: pieces as ours makes them
STEP = 5_000
_READ = tuple[int, int]  # how many values came, and their sum: a contender that lost some would win


def day_times(day: dt.date) -> Times:
    """The instants of a block: the opening midnight and each slot's end."""
    return np.concatenate([np.array([midnight(day, CHINA)]), day_slots(day, CHINA)])


def fill(dsn: str, meters: int) -> int:
    """Meters 1 to `meters`, installed, with full rows of ten values for the day and its neighbours; the sum of the day's registers."""
    total = 0
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO terminal (code, name, protocol, link, endpoint) VALUES ('T', 'T', 'dlt645', 'dial-out', 'T')"
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
        for day in (DAY - dt.timedelta(days=1), DAY, DAY + dt.timedelta(days=1)):
            times = day_slots(day, CHINA) if day >= DAY else day_times(day)
            conn.execute(
                "SELECT ensure_partitions('slot_read', %s)", ([str(when) + "Z" for when in times[[0, -1]]],)
            )
            conn.execute("SELECT ensure_partitions('coverage', ARRAY[%s::date]::timestamptz[])", (day,))
            conn.execute(
                "INSERT INTO coverage (meter_id, day, plan, present, late, absent, attempts, first_at, last_at) "
                "SELECT n, %s, 1, repeat('1', 96)::varbit, repeat('0', 96)::varbit, repeat('0', 96)::varbit, 1, %s, %s FROM generate_series(1, %s) n",
                (day, f"{times[-1]}Z", f"{times[-1]}Z", meters),
            )
            for first in range(1, meters + 1, STEP):
                ids = np.arange(first, min(first + STEP, meters + 1))
                values = _values(ids, times)
                if day == DAY:
                    total += int(values.sum())
                elif day < DAY:
                    total += int(values[:, -1].sum())
                with (
                    conn.cursor() as cursor,
                    cursor.copy(
                        f"COPY slot_read (meter_id, ts, {', '.join(SLOT_QUANTITIES)}) FROM STDIN (FORMAT BINARY)"
                    ) as copy,
                ):
                    copy.write(_payload(ids, times, values))
                conn.commit()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE) slot_read, coverage")
        conn.execute("CHECKPOINT")
    return total


def _values(ids: NDArray[np.int64], times: Times) -> NDArray[np.int64]:
    """Registers int64[meter, slot]: the same wherever they are asked for, and no two alike."""
    quarter = (times - np.datetime64("2026-01-01")) // np.timedelta64(15, "m")
    return ids[:, None] * 1_000_003 + quarter.astype(np.int64) * 1_877


def _payload(ids: NDArray[np.int64], times: Times, values: NDArray[np.int64]) -> bytes:
    n = values.size
    made = [
        Field(np.repeat(ids, len(times)), "int4"),
        Field(timestamps(np.tile(times, len(ids))), "timestamptz"),
    ]
    for code in SLOT_QUANTITIES:
        if quantities()[code].kind == "register":
            made.append(Field(values.ravel() if code == CODE else np.zeros(n, dtype=np.int64), "int8"))
        else:
            made.append(Field(np.full(n, 230.1, dtype=np.float32), "float4"))
    return pack(made)


# --- contenders: each reads the day's registers of meters 1 to `meters` over the given connections ---


def _ours(conns: list[Connection], meters: int) -> _READ:
    count = total = 0
    for block in blocks.stream(conns, DAY, CHINA, (CODE,), freezes=()):
        grid = block.registers[CODE]
        known = grid != MISSING
        count += int(known.sum())
        total += int(grid.sum() if known.all() else grid[known].sum())
    return count, total


def _bounds() -> str:
    times = day_times(DAY)
    return f"ts BETWEEN '{times[0]}Z' AND '{times[-1]}Z'"


def _array_agg(conn: Connection, first: int, last: int) -> _READ:
    """The limit: what the server sends is received and thrown away; nobody looks whether a slot is missing. A value is not looked at."""
    conn.execute(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
    )
    payload = copy_out(
        conn,
        f"SELECT meter_id, array_agg({CODE} ORDER BY ts) FROM slot_read WHERE {_bounds()} "
        f"AND meter_id = ANY(ARRAY(SELECT generate_series({first}, {last - 1}))) GROUP BY meter_id",
    )
    return (len(payload) - 21) // (2 + 8 + 4 + 20 + 97 * 12) * 97, -1


def _copy_rows(conn: Connection, first: int, last: int) -> _READ:
    rows = fetch(
        conn, SLOTS, (CODE,), first=day_times(DAY)[0], last=day_times(DAY)[-1], meters=np.arange(first, last)
    )
    grid = np.full((last - first, 97), MISSING)
    grid[rows["meter_id"] - first, np.searchsorted(day_times(DAY), rows["ts"])] = rows[CODE]
    known = grid != MISSING
    return int(known.sum()), int(grid[known].sum())


def _psycopg(conn: Connection, first: int, last: int) -> _READ:
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        rows = cursor.execute(
            f"SELECT meter_id, ts, {CODE} FROM slot_read WHERE meter_id BETWEEN %s AND %s AND {_bounds()}",
            (first, last - 1),
        ).fetchall()
    at = {when.item().replace(tzinfo=dt.UTC): k for k, when in enumerate(day_times(DAY))}
    grid = np.full((last - first, 97), MISSING)
    for meter, when, value in rows:
        grid[meter - first, at[when]] = value
    known = grid != MISSING
    return int(known.sum()), int(grid[known].sum())


def _in_pieces(piece: Callable[[Connection, int, int], _READ]) -> Callable[[list[Connection], int], _READ]:
    """Every connection in a thread takes every second piece of so many meters."""

    def work(conns: list[Connection], meters: int) -> _READ:
        found: list[_READ] = []

        def some(turn: int) -> None:
            for first in range(1 + turn * STEP, meters + 1, len(conns) * STEP):
                with conns[turn].transaction():
                    found.append(piece(conns[turn], first, min(first + STEP, meters + 1)))

        threads = [threading.Thread(target=some, args=(k,)) for k in range(len(conns))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(count for count, _ in found), sum(total for _, total in found)

    return work


CONTENDERS: dict[str, Callable[[list[Connection], int], _READ]] = {
    "ours": _ours,
    "COPY BINARY of array_agg, thrown away (the limit)": _in_pieces(_array_agg),
    "COPY BINARY of rows, numpy": _in_pieces(_copy_rows),
    "psycopg fetch, numpy": _in_pieces(_psycopg),
}


def run(
    kinds: Sequence[str], rounds: int, meters: int = 55_000, connections: Sequence[int] = (2, 1)
) -> tuple[list[Race], list[str]]:
    """The races and what the servers are; a race for each server and number of connections."""
    races, described = [], []
    for kind in kinds:
        with server(kind) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database:
                described.append(describe(database))
                total = fill(database, meters)
                races += [_race(database, kind, rounds, meters, some, total) for some in connections]
    return races, described


def _race(dsn: str, kind: str, rounds: int, meters: int, connections: int, total: int) -> Race:
    words = "1 connection" if connections == 1 else f"{connections} connections"
    race = Race(f"one quantity's day as a matrix, {kind}, {words}", "rows", meters * 97, 1)
    race.seconds = {who: [] for who in CONTENDERS}
    for number in range(rounds):
        for who in turns(list(CONTENDERS), number):
            with _connections(dsn, connections) as conns, quiet():
                begin = time.perf_counter()
                count, sum_ = CONTENDERS[who](conns, meters)
                race.add(who, time.perf_counter() - begin)
            wanted = (meters * 97, total if sum_ >= 0 else sum_)
            assert (count, sum_) == wanted, f"{who}: {count, sum_} came, {wanted} were written"
    return race


class _connections:
    def __init__(self, dsn: str, number: int) -> None:
        self._conns = [connect(dsn) for _ in range(number)]

    def __enter__(self) -> list[Connection]:
        return self._conns

    def __exit__(self, *_: object) -> None:
        for conn in self._conns:
            conn.close()
