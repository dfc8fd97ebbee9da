"""Readings in: numpy-packed binary COPY, optimistic, staged only when a batch meets a row that is already there.

What came first stays. A row that fills a NULL completes it; a different value for a filled cell becomes a revision with its
reason; an identical repeat changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg

from headend.store.db import Connection
from headend.store.pgcopy import Field, pack, timestamps
from protocols.localtime import as_datetime
from protocols.quantity import quantities
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES, Reads, empty_column

#: register_read.kind
DAY_FREEZE = 2
SPOT = 3


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: rows that were new, rows that were there already (identical, completed or revised), revisions made."""

    new: int
    repeated: int
    revised: int

    def __add__(self, other: Written) -> Written:
        return Written(self.new + other.new, self.repeated + other.repeated, self.revised + other.revised)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    codes: tuple[str, ...]
    kind: int | None  # register_read.kind, or None for slot rows
    source: str  # revision.source

    @property
    def keys(self) -> tuple[str, ...]:
        return ("meter_id", "ts") if self.kind is None else ("meter_id", "ts", "kind")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, *self.codes)


SLOTS = _Table("slot_read", SLOT_QUANTITIES, None, "slot")
DAY_FREEZES = _Table("register_read", REGISTER_QUANTITIES, DAY_FREEZE, "day")
SPOTS = _Table("register_read", REGISTER_QUANTITIES, SPOT, "spot")


def write(
    conn: Connection, table: _Table, reads: Reads, *, now: np.datetime64, reason: str, who: str
) -> Written:
    """Write rows within the caller's transaction. `reason` and `who` go to revisions, should a value differ.

    `reads` may hold the same (meter, time) more than once; the first occurrence is the first reading.
    """
    if not len(reads):
        return Written(0, 0, 0)
    order = np.lexsort((np.arange(len(reads)), reads.time, reads.meter))
    reads = reads.take(order)
    again = np.zeros(len(reads), dtype=np.bool_)
    again[1:] = (reads.meter[1:] == reads.meter[:-1]) & (reads.time[1:] == reads.time[:-1])
    if again.any():
        first = _write_distinct(conn, table, reads.take(~again), now, reason, who)
        return first + write(conn, table, reads.take(again), now=now, reason=reason, who=who)
    return _write_distinct(conn, table, reads, now, reason, who)


def _write_distinct(
    conn: Connection, table: _Table, reads: Reads, now: np.datetime64, reason: str, who: str
) -> Written:
    payload = _payload(table, reads)
    _ensure_partitions(conn, reads)
    columns = ", ".join(table.columns)
    try:
        with (
            conn.transaction(),
            conn.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(payload)
        return Written(len(reads), 0, 0)
    except psycopg.errors.UniqueViolation:
        return _write_staged(conn, table, payload, len(reads), now, reason, who)


def _write_staged(
    conn: Connection, table: _Table, payload: bytes, n: int, now: np.datetime64, reason: str, who: str
) -> Written:
    """The slow way, for a batch with at least one row that exists: insert, complete, compare, revise.

    The upsert comes first: it locks every row that is there, completed or not, so that what is compared afterwards is what stays,
    whoever else writes the same meter at this moment."""
    stage = f"stage_{table.name}"
    keys = ", ".join(table.keys)
    same = " AND ".join(f"r.{key} = s.{key}" for key in table.keys)
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} AS SELECT {', '.join(table.columns)} FROM {table.name} WITH NO DATA"
        )
        cursor.execute(f"TRUNCATE {stage}")
        with cursor.copy(f"COPY {stage} ({', '.join(table.columns)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(payload)
        bounds = cursor.execute(f"SELECT min(ts) AS lo, max(ts) AS hi FROM {stage}").fetchone()
        assert bounds is not None
        # bounded by time, so that only the partitions concerned are touched
        within = "r.ts BETWEEN %(lo)s AND %(hi)s"
        existing = cursor.execute(
            f"SELECT count(*) AS n FROM {stage} s JOIN {table.name} r ON {same} AND {within}", bounds
        ).fetchone()
        assert existing is not None
        fill = ", ".join(f"{code} = coalesce(r.{code}, excluded.{code})" for code in table.codes)
        holes = " OR ".join(f"(r.{code} IS NULL AND excluded.{code} IS NOT NULL)" for code in table.codes)
        cursor.execute(
            f"INSERT INTO {table.name} AS r ({', '.join(table.columns)}) "
            f"SELECT {', '.join(table.columns)} FROM {stage} ORDER BY {keys} "
            f"ON CONFLICT ({keys}) DO UPDATE SET {fill} WHERE {holes}"
        )
        # a real's shortest text is exact; its cast to numeric is cut off after six digits
        any_differs = " OR ".join(f"s.{code} <> r.{code}" for code in table.codes)
        cells = ", ".join(
            f"('{code}', s.{code}::text::numeric, s.{code} <> r.{code})" for code in table.codes
        )
        revised = cursor.execute(
            f"""
            INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at)
            SELECT s.meter_id, s.ts, %(source)s, d.quantity, coalesce(v.version, 1) + 1, d.value, 'read', %(reason)s, %(who)s, %(at)s
            FROM {stage} s JOIN {table.name} r ON {same} AND {within} AND ({any_differs})
            CROSS JOIN LATERAL (VALUES {cells}) d (quantity, value, differs)
            LEFT JOIN LATERAL (
                SELECT version, value FROM revision v
                WHERE (v.meter_id, v.ts, v.source, v.quantity) = (s.meter_id, s.ts, %(source)s, d.quantity)
                ORDER BY version DESC LIMIT 1
            ) v ON true
            WHERE d.differs AND v.value IS DISTINCT FROM d.value
            """,
            {**bounds, "source": table.source, "reason": reason, "who": who, "at": as_datetime(now)},
        ).rowcount
    return Written(n - existing["n"], existing["n"], revised)


def _payload(table: _Table, reads: Reads) -> bytes:
    n = len(reads)
    fields = [Field(reads.meter, "int4"), Field(timestamps(reads.time), "timestamptz")]
    if table.kind is not None:
        fields.append(Field(np.full(n, table.kind, dtype=np.int16), "int2"))
    for code in table.codes:
        register = quantities()[code].kind == "register"
        values = reads.columns.get(code)
        fields.append(
            Field(
                empty_column(code, n) if values is None else values,
                "int8" if register else "float4",
                reads.valid(code),
            )
        )
    return pack(fields)


def _ensure_partitions(conn: Connection, reads: Reads) -> None:
    lo, hi = reads.time.min(), reads.time.max()
    conn.execute("SELECT ensure_partitions(%s, %s)", (as_datetime(lo), as_datetime(hi)))
