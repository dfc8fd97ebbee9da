"""Readings in: numpy-packed binary COPY, optimistic; only a row that is there already is compared, only what differs goes through a stage.

What came first stays. A row that fills a NULL completes it; a different value for a filled cell becomes a revision with its reason; an
identical repeat changes nothing. store/intake.py is the door: it keeps ledger and feed in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError
from headend.store.pgcopy import HEADER, TRAILER, Field, parts, timestamps
from headend.store.rows import fetch
from headend.store.tables import COLUMN_TYPES, Table
from protocols.localtime import Times, as_datetime
from protocols.quantity import quantities
from protocols.reading import MISSING, Column, Reads, empty_column

Bits = NDArray[np.bool_]

#: writers that complete or revise rows of one table at once are told apart by this many locks: a server's lock table has room for a few
#: thousand, so there cannot be one a meter
LOCKS: Final = 256
#: another writer may put in the same row between our look and our COPY; it cannot do so for ever, since its rows stay
TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: rows that were new, rows that were there already (identical, completed or revised), revisions made."""

    new: int = 0
    repeated: int = 0
    revised: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.new + other.new, self.repeated + other.repeated, self.revised + other.revised)


@dataclass(frozen=True, slots=True)
class Marks:
    """What became of each row given, bool[n]. `there`: it had something for the table; then it is new, or it was there and may be completed,
    corrected or both. `revised` counts values."""

    there: Bits
    new: Bits
    completed: Bits
    corrected: Bits
    revised: int = 0

    @classmethod
    def none(cls, n: int) -> Marks:
        there, new, completed, corrected = (np.zeros(n, dtype=np.bool_) for _ in range(4))
        return cls(there, new, completed, corrected)

    @property
    def written(self) -> Written:
        new = int(self.new.sum())
        return Written(new, int(self.there.sum()) - new, self.revised)


@dataclass(frozen=True, slots=True)
class Note:
    """What a revision says of itself: when it was made (domain time), why, and by whom."""

    now: np.datetime64
    reason: str
    who: str


def write(
    conn: Connection,
    table: Table,
    reads: Reads,
    note: Note,
    *,
    evidence: NDArray[np.int64] | None = None,
    known: Bits | None = None,
) -> Marks:
    """Write rows within the caller's transaction, into partitions that it has made (`ensure_all_partitions`).

    `reads` may hold the same (meter, time) more than once; the first occurrence is the first reading. Rows without any of the table's
    quantities are left out. `evidence` [n]: the exchange that brought each row. `known` [n]: which rows are there already, where the
    caller knows; it may be wrong, at the price of a detour.
    """
    there = np.zeros(len(reads), dtype=np.bool_)
    for code in table.codes:
        if code in reads.columns and not there.all():
            there |= reads.valid(code)
    chosen: NDArray[np.int64] | None = None if there.all() else np.flatnonzero(there)
    order, number = _order(reads if chosen is None else reads.take(chosen))
    if order is not None:
        chosen = order if chosen is None else chosen[order]
    whole = _Batch(table, reads, evidence, note)
    if chosen is None:  # the usual case: nothing to put in order, nothing twice
        return replace(_write_distinct(conn, whole, known), there=there)
    marks = replace(Marks.none(len(reads)), there=there)
    if number is not None:
        _lock(conn, table, reads.meter)  # of all turns at once: a lock taken later would be out of order
    turns = [chosen] if number is None else [chosen[number == k] for k in range(int(number.max()) + 1)]
    for turn, rows in enumerate(turns):
        # what stands in the batch for the second time is there by then
        found = _write_distinct(
            conn, whole.take(rows), known[rows] if known is not None and not turn else None
        )
        marks.new[rows], marks.completed[rows], marks.corrected[rows] = (
            found.new,
            found.completed,
            found.corrected,
        )
        marks = replace(marks, revised=marks.revised + found.revised)
    return marks


def _order(reads: Reads) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """How to put rows in order of meter and time (None: they are), and each one's number among those of the same key (None: all differ)."""
    meter, time = reads.meter, reads.time
    same, later = meter[1:] == meter[:-1], time[1:] > time[:-1]
    if bool(((meter[1:] > meter[:-1]) | (same & later)).all()):
        return None, None
    order = np.lexsort((np.arange(len(reads)), time, meter))
    repeats = (meter[order][1:] == meter[order][:-1]) & (time[order][1:] == time[order][:-1])
    if not repeats.any():
        return order, None
    starts = np.concatenate([[True], ~repeats])
    begin = np.flatnonzero(starts)
    number = np.arange(len(order)) - begin[np.cumsum(starts) - 1]
    return order, number


@dataclass(frozen=True, slots=True)
class _Batch:
    """Distinct rows in order of meter and time."""

    table: Table
    reads: Reads
    evidence: NDArray[np.int64] | None
    note: Note

    def __len__(self) -> int:
        return len(self.reads)

    def take(self, rows: NDArray[np.int64]) -> _Batch:
        evidence = None if self.evidence is None else self.evidence[rows]
        return _Batch(self.table, self.reads.take(rows), evidence, self.note)

    def fields(self) -> list[Field]:
        n = len(self)
        made = [Field(self.reads.meter, "int4"), Field(timestamps(self.reads.time), "timestamptz")]
        if self.table.kind is not None:
            made.append(Field(np.full(n, self.table.kind, dtype=np.int16), "int2"))
        made += [field(self.table.type(code), self.reads, code) for code in self.table.codes]
        if self.evidence is None:
            made.append(Field(np.zeros(n, dtype=np.int64), "int8", np.zeros(n, dtype=np.bool_)))
        else:
            made.append(
                Field(self.evidence, "int8", self.evidence != 0)
            )  # 0: nobody's; one hash in 2^64 is lost
        return made


def field(kind: str, reads: Reads, code: str) -> Field:
    """A quantity's column as COPY wants it."""
    values = reads.columns.get(code)
    if values is None:
        values = empty_column(code, len(reads))
        return Field(
            values.view(np.int64) if kind == "timestamptz" else values,
            kind,
            np.zeros(len(reads), dtype=np.bool_),
        )
    valid = reads.valid(code)
    return Field(timestamps(values) if kind == "timestamptz" else values, kind, valid)


def _write_distinct(conn: Connection, batch: _Batch, known: Bits | None) -> Marks:
    """COPY what is new, compare what is there; look again when somebody else was faster."""
    n = len(batch)
    marks = Marks.none(n)
    if not n:
        return marks
    doubtful = np.zeros(n, dtype=np.bool_) if known is None else known
    for _ in range(TRIES):
        rows = np.flatnonzero(doubtful)
        # before the new rows are in, which would only be read back with the others
        there, fills, differs = _compare(conn, batch if len(rows) == n else batch.take(rows))
        new = ~doubtful
        new[rows[~there]] = True
        fresh = np.flatnonzero(new)
        if len(fresh) and not _copy(conn, batch if len(fresh) == n else batch.take(fresh)):
            doubtful = np.ones(n, dtype=np.bool_)
            continue
        marks.new[fresh] = True
        odd = rows[np.any(fills, axis=0) | np.any(differs, axis=0)]
        if not len(odd):
            return marks
        completed, corrected, revised = _write_staged(conn, batch.take(odd))
        marks.completed[odd] = completed
        marks.corrected[odd] = corrected
        return replace(marks, revised=revised)
    raise StoreError(f"{batch.table.name} is being written by others without end; is this file imported twice at once?")  # fmt: skip


def ensure_partitions(conn: Connection, table: str, times: Times) -> None:
    """One look a day of readings; none of it costs anything where the table is a hypertable."""
    days = distinct(times.astype("datetime64[D]").astype(np.int64)).astype("datetime64[D]")
    conn.execute(
        "SELECT ensure_partitions(%s, %s::timestamptz[])",
        (table, [as_datetime(day) for day in days.astype("datetime64[us]")]),
    )


def ensure_all_partitions(conn: Connection, days: dict[str, Times]) -> None:
    """The same for several tables in one look, by name, so that two writers never wait for each other."""
    if days:
        names = sorted(days)
        conn.execute(
            f"SELECT {', '.join(['ensure_partitions(%s, %s::timestamptz[])'] * len(names))}",
            [
                part
                for name in names
                for part in (name, [as_datetime(day) for day in days[name].astype("datetime64[us]")])
            ],
        )


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different numbers, ascending; fast where they lie close together, as days do."""
    if not len(numbers):
        return numbers
    first, span = int(numbers.min()), int(numbers.max() - numbers.min())
    if span > 100_000:
        return np.unique(numbers)
    return np.asarray(np.flatnonzero(np.bincount(numbers - first)) + first, dtype=np.int64)


def _copy(conn: Connection, batch: _Batch) -> bool:
    """All rows into the table; False, and none, if one is there already."""
    try:
        with conn.transaction():
            copy_rows(conn, batch.table.name, batch.table.columns, batch.fields())
    except psycopg.errors.UniqueViolation:
        return False
    return True


def copy_rows(conn: Connection, table: str, columns: tuple[str, ...], fields: list[Field]) -> None:
    """COPY FROM STDIN; the server inserts one part while the next is laid out."""
    with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(HEADER)
        for part in parts(fields):
            copy.write(part)
        copy.write(TRAILER)


def _compare(conn: Connection, batch: _Batch) -> tuple[Bits, Bits, Bits]:
    """(there [n], fills [code, n], differs [code, n]): what the table has of these rows. What is equal now stays so: cells never change."""
    reads, codes = batch.reads, [code for code in batch.table.codes if code in batch.reads.columns]
    if not len(reads):
        none = np.zeros((len(codes), 0), dtype=np.bool_)
        return none[0], none, none
    meters = np.unique(reads.meter)
    found = fetch(
        conn,
        batch.table,
        codes,
        meters=meters,
        first=reads.time.min(),
        last=reads.time.max(),
        order=True,
    )
    place = _find(found, reads)
    there = place >= 0
    old = found[place[there]]
    fills = np.zeros((len(codes), len(reads)), dtype=np.bool_)
    differs = np.zeros_like(fills)
    for k, code in enumerate(codes):
        given = reads.valid(code)[there]
        values = reads.columns[code][there]
        stored = old[code]
        held = stored != MISSING if stored.dtype == np.int64 else ~np.isnan(stored)
        fills[k, there] = given & ~held
        differs[k, there] = given & held & (values.astype(stored.dtype) != stored)
    return there, fills, differs


def stored(
    conn: Connection, table: Table, asked: Reads, codes: Sequence[str]
) -> tuple[Reads, NDArray[np.int64]]:
    """(the first readings that the table has of these keys, row by row, missing where it has none; the evidence of each row, 0 for none)."""
    n = len(asked)
    columns = {code: empty_column(code, n) for code in codes}
    evidence = np.zeros(n, dtype=np.int64)
    if n:
        found = fetch(
            conn, table, [*codes, "evidence"], meters=np.unique(asked.meter), first=asked.time.min(), last=asked.time.max(), order=True,
        )  # fmt: skip
        place = _find(found, asked)
        there = place >= 0
        old = found[place[there]]
        for code in codes:
            values = old[code]
            if table.type(code) == "timestamptz":
                values = np.where(values == MISSING, np.iinfo(np.int64).min, values).astype("datetime64[us]")
            columns[code][there] = values
        evidence[there] = np.where(old["evidence"] == MISSING, 0, old["evidence"])
    return Reads(asked.meter, asked.time, columns), evidence


def _find(found: NDArray[np.void], reads: Reads) -> NDArray[np.int64]:
    """Where each row stands in `found`, which is in order of meter and time; -1 where it does not."""
    if not len(found):
        return np.full(len(reads), -1, dtype=np.int64)
    first = min(found["ts"].min(), reads.time.min())
    span = int((max(found["ts"].max(), reads.time.max()) - first).astype(np.int64)) + 1
    dense = np.unique(
        found["meter_id"]
    )  # meter and time in one integer: the meter by its number among those found
    theirs = np.searchsorted(dense, found["meter_id"]) * span + (found["ts"] - first).astype(np.int64)
    rank = np.searchsorted(dense, reads.meter)
    known = rank < len(dense)
    known[known] = dense[rank[known]] == reads.meter[known]
    ours = rank * span + (reads.time - first).astype(np.int64)
    at = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
    return np.where(known & (theirs[at] == ours), at, -1)


def _lock(conn: Connection, table: Table, meter: NDArray[np.int64]) -> None:
    """Until the transaction ends nobody else completes or revises rows of these meters, so that what is compared now is what stays.

    Not row locks: rows in compressed chunks cannot be locked. In order, so that two writers never wait for each other.
    """
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtext(%s), k) FROM unnest(%s::int[]) AS u (k)",
        (f"revise {table.name}", distinct(meter % LOCKS).tolist()),
    )


def _write_staged(conn: Connection, batch: _Batch) -> tuple[Bits, Bits, int]:
    """Rows that are there and say something else: complete, compare, revise. (completed [n], corrected [n], revisions)."""
    table, n = batch.table, len(batch)
    stage = f"stage_{table.name}"
    with conn.transaction(), conn.cursor() as cursor:
        _lock(conn, table, batch.reads.meter)
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} AS "
            f"SELECT {', '.join(table.columns)}, 0 AS row FROM {table.name} WITH NO DATA"
        )
        cursor.execute(f"TRUNCATE {stage}")
        numbers = Field(np.arange(n, dtype=np.int32), "int4")
        copy_rows(conn, stage, (*table.columns, "row"), [*batch.fields(), numbers])
        join = _Join(batch, stage)
        found = join.compare(cursor)
        filled = [row for row in found if row["codes"]]
        if filled:
            join.fill(cursor)
        revised = join.revise(cursor) if any(row["differs"] for row in found) else []
    completed = np.zeros(n, dtype=np.bool_)
    completed[[row["row"] for row in filled]] = True
    touched = {(row["meter_id"], row["ts"]) for row in revised}
    corrected = np.zeros(n, dtype=np.bool_)
    for row in found:
        k = row["row"]
        corrected[k] = (
            row["differs"] and (int(batch.reads.meter[k]), as_datetime(batch.reads.time[k])) in touched
        )
    _note_completions(conn, batch, filled)
    return completed, corrected, len(revised)


class _Join:
    """The statements that put staged rows (s) beside those of the table (r)."""

    def __init__(self, batch: _Batch, stage: str) -> None:
        self._table, self._note, times = batch.table, batch.note, batch.reads.time
        table = batch.table
        same = " AND ".join(f"r.{key} = s.{key}" for key in table.keys)
        # bounded by time, so that only the partitions concerned are touched, and by meter, so that of a compressed one only these are unpacked
        self._same = f"{same} AND r.ts BETWEEN %(lo)s AND %(hi)s AND r.meter_id = ANY(%(meters)s::int[])"
        self._bounds: dict[str, Any] = {
            "lo": as_datetime(times.min()), "hi": as_datetime(times.max()), "meters": distinct(batch.reads.meter).tolist(),
        }  # fmt: skip
        self._stage = stage
        self._holes = {code: f"(r.{code} IS NULL AND s.{code} IS NOT NULL)" for code in table.codes}
        self._differs = " OR ".join(f"r.{code} <> s.{code}" for code in table.codes)

    def compare(self, cursor: psycopg.Cursor[Any]) -> list[dict[str, Any]]:
        """For each row its number, the quantities it lacks, and whether a value differs."""
        names = ", ".join(f"CASE WHEN {hole} THEN '{code}' END" for code, hole in self._holes.items())
        return cursor.execute(
            f"SELECT s.row, array_remove(ARRAY[{names}], NULL) AS codes, coalesce({self._differs}, false) AS differs "
            f"FROM {self._stage} s JOIN {self._table.name} r ON {self._same}",
            self._bounds,
        ).fetchall()

    def fill(self, cursor: psycopg.Cursor[Any]) -> None:
        values = ", ".join(f"{code} = coalesce(r.{code}, s.{code})" for code in self._table.codes)
        cursor.execute(
            f"UPDATE {self._table.name} r SET {values} FROM {self._stage} s WHERE {self._same} AND ({' OR '.join(self._holes.values())})",
            self._bounds,
        )

    def revise(self, cursor: psycopg.Cursor[Any]) -> list[dict[str, Any]]:
        """A new version of each value that differs from the first one and from the newest; the keys of those made."""
        cells = ", ".join(
            f"('{code}', {numeric(self._table, f's.{code}', code)}, s.{code} <> r.{code})"
            for code in self._table.codes
        )
        return cursor.execute(
            f"""
            INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at, evidence)
            SELECT s.meter_id, s.ts, %(source)s, d.quantity, coalesce(v.version, 1) + 1, d.value, 'read', %(reason)s, %(who)s, %(at)s, s.evidence
            FROM {self._stage} s JOIN {self._table.name} r ON {self._same} AND ({self._differs})
            CROSS JOIN LATERAL (VALUES {cells}) d (quantity, value, differs)
            LEFT JOIN LATERAL (
                SELECT version, value, method FROM revision v
                WHERE (v.meter_id, v.ts, v.source, v.quantity) = (s.meter_id, s.ts, %(source)s, d.quantity)
                ORDER BY version DESC LIMIT 1
            ) v ON true
            -- an estimate that says the same is still no reading
            WHERE d.differs AND (v.value IS DISTINCT FROM d.value OR v.method NOT IN ('read', 'edit', 'withdrawn'))
            RETURNING meter_id, ts
            """,
            {
                **self._bounds, "source": self._table.source, "reason": self._note.reason, "who": self._note.who,
                "at": as_datetime(self._note.now),
            },
        ).fetchall()  # fmt: skip


def numeric(table: Table, cell: str, code: str) -> str:
    """A cell as revision.value keeps it. A float's shortest text is exact; its cast to numeric is cut off after some digits."""
    kind = table.type(code)
    if kind == "timestamptz":
        return f"round(extract(epoch FROM {cell}) * 1000000)"
    return f"{cell}::numeric" if kind == "int8" else f"{cell}::text::numeric"


def _note_completions(conn: Connection, batch: _Batch, filled: list[dict[str, Any]]) -> None:
    """Which exchange filled which cells: the row keeps the first one's hash alone."""
    if batch.evidence is None:
        return
    cells: dict[tuple[int, int], tuple[set[str], list[np.datetime64]]] = {}
    for row in filled:
        k = row["row"]
        if batch.evidence[k]:
            codes, times = cells.setdefault((int(batch.reads.meter[k]), int(batch.evidence[k])), (set(), []))
            codes.update(row["codes"])
            times.append(batch.reads.time[k])
    for (meter, evidence), (codes, times) in cells.items():
        conn.execute(
            "INSERT INTO completion AS c (meter_id, source, evidence, codes, instants, at) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (meter_id, source, evidence) DO UPDATE SET codes = excluded.codes || c.codes, instants = excluded.instants || c.instants",
            (
                meter, batch.table.source, evidence, sorted(codes),
                [as_datetime(when) for when in times], as_datetime(batch.note.now),
            ),
        )  # fmt: skip


def write_rare(
    conn: Connection, kind: int, reads: Reads, codes: tuple[str, ...], note: Note, *, evidence: NDArray[np.int64] | None = None
) -> tuple[Bits, Bits, int]:  # fmt: skip
    """Quantities without a column of their own, one value a row of other_read. (new [n], corrected [n], revisions made)."""
    new, corrected = np.zeros(len(reads), dtype=np.bool_), np.zeros(len(reads), dtype=np.bool_)
    revised = 0
    if not codes or not len(reads):
        return new, corrected, revised
    for code in codes:  # a handful of quantities, each a column
        rows = np.flatnonzero(reads.valid(code))
        if len(rows):
            mine = reads.take(rows)
            found = _write_rare(conn, kind, mine, code, note, None if evidence is None else evidence[rows])
            new[rows[found[0]]] = True
            corrected[rows[found[1]]] = True
            revised += len(found[1])
    return new, corrected, revised


_RARE: Final = {"int8": "count", "float4": "value", "float8": "value", "timestamptz": "moment"}


def _write_rare(
    conn: Connection, kind: int, reads: Reads, code: str, note: Note, evidence: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows that were new, rows that made a revision) of one quantity."""
    type_ = COLUMN_TYPES[quantities()[code].kind]
    column = _RARE[type_]
    values: Column = reads.columns[code]
    n = len(reads)
    given = {
        "count": Field(np.zeros(n, np.int64), "int8", np.zeros(n, np.bool_)),
        "value": Field(np.zeros(n), "float8", np.zeros(n, np.bool_)),
        "moment": Field(np.zeros(n, np.int64), "timestamptz", np.zeros(n, np.bool_)),
    }
    given[column] = Field(timestamps(values) if column == "moment" else values, given[column].type)
    hashes = np.zeros(n, dtype=np.int64) if evidence is None else evidence
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS stage_other AS "
            "SELECT meter_id, ts, count, value, moment, evidence, 0 AS row FROM other_read WITH NO DATA"
        )
        cursor.execute("TRUNCATE stage_other")
        copy_rows(
            conn, "stage_other", ("meter_id", "ts", "count", "value", "moment", "evidence", "row"),
            [
                Field(reads.meter, "int4"), Field(timestamps(reads.time), "timestamptz"), *given.values(),
                Field(hashes, "int8", hashes != 0), Field(np.arange(n, dtype=np.int32), "int4"),
            ],
        )  # fmt: skip
        inserted = cursor.execute(
            "INSERT INTO other_read (meter_id, ts, kind, quantity, count, value, moment, evidence) "
            "SELECT DISTINCT ON (meter_id, ts) meter_id, ts, %(kind)s::smallint, %(code)s, count, value, moment, evidence FROM stage_other "
            "ORDER BY meter_id, ts, row ON CONFLICT DO NOTHING RETURNING meter_id, ts",
            {"kind": kind, "code": code},
        ).fetchall()
        text = "round(extract(epoch FROM s.moment) * 1000000)" if column == "moment" else f"s.{column}::text::numeric"  # fmt: skip
        revised = cursor.execute(
            f"""
            INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at, evidence)
            SELECT DISTINCT ON (s.meter_id, s.ts) s.meter_id, s.ts, 'other', %(cell)s, coalesce(v.version, 1) + 1, {text}, 'read', %(reason)s,
                   %(who)s, %(at)s, s.evidence
            FROM stage_other s JOIN other_read r ON r.meter_id = s.meter_id AND r.ts = s.ts AND r.kind = %(kind)s AND r.quantity = %(code)s
                AND r.ts BETWEEN %(lo)s AND %(hi)s AND r.{column} <> s.{column}
            LEFT JOIN LATERAL (
                SELECT version, value FROM revision v
                WHERE (v.meter_id, v.ts, v.source, v.quantity) = (s.meter_id, s.ts, 'other', %(cell)s) ORDER BY version DESC LIMIT 1
            ) v ON true
            WHERE v.value IS DISTINCT FROM {text}
            ORDER BY s.meter_id, s.ts, s.row DESC
            RETURNING meter_id, ts
            """,
            {
                "kind": kind, "code": code, "cell": f"{kind}:{code}", "reason": note.reason, "who": note.who, "at": as_datetime(note.now),
                "lo": as_datetime(reads.time.min()), "hi": as_datetime(reads.time.max()),
            },
        ).fetchall()  # fmt: skip
    keys = list(zip(reads.meter.tolist(), map(as_datetime, reads.time), strict=True))
    made, told = ({(row["meter_id"], row["ts"]) for row in rows} for rows in (inserted, revised))
    return (
        np.array([k for k, key in enumerate(keys) if key in made], dtype=np.int64),
        np.array([k for k, key in enumerate(keys) if key in told], dtype=np.int64),
    )
