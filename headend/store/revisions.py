"""Later versions of values: an estimate, a person's edit, the meter's own value where an estimate stood. The first reading always stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.plans import locate
from headend.store import coverage, feed
from headend.store.coverage import Points
from headend.store.db import Connection, StoreError
from headend.store.reads import Bits, Note
from headend.store.tables import Table
from protocols.localtime import Times, as_datetime
from protocols.quantity import quantities
from protocols.reading import MISSING, Column, Reads

#: methods that are no estimates
READ: Final = "read"
EDIT: Final = "edit"
#: no version at all: what stood there was taken back, and the first reading stands again, or nothing. Its value is NaN.
WITHDRAWN: Final = "withdrawn"
NO_ESTIMATES: Final = (READ, EDIT, WITHDRAWN)


class BadRevision(StoreError):
    """A revision that says nothing; nothing was written."""


def revise(
    conn: Connection,
    table: Table,
    code: str,
    meter: NDArray[np.int64],
    times: Times,
    values: Column,
    note: Note,
    *,
    method: str,
    zone: ZoneInfo,
    evidence: int = 0,
) -> int:
    """Lay new versions of one quantity over cells, in the caller's transaction; how many differ from what was known.

    meter, times, values: [n], distinct cells in order of meter and time; registers int64 in 1e-4 of the unit, all else as in Reads.
    `method`: 'edit' for a person's, else the name of the estimation; 'read' is for the meter alone.
    `evidence`: the exchange (a file) that brought them, 0 for none."""
    if method in (READ, WITHDRAWN) or not method:
        raise BadRevision(
            f"method {method!r}: name the estimation, or 'edit'; 'read' is what the meter itself says, and `withdraw` takes back"
        )
    if table.plan is None or code not in table.codes:
        raise BadRevision(f"{code} has no column in {table.source} readings that could be revised")
    missing = values == MISSING if values.dtype == np.int64 else np.isnan(values)  # NaT too
    if missing.any():
        raise BadRevision(f"{int(missing.sum())} values of {code} are missing: only a value can be laid over")
    day, index = locate(table.plan, times, zone)
    there = Points(meter, times, day, index, np.full(len(meter), note.now))
    coverage.mark_estimates(conn, table.plan, there, zone, standing=method != EDIT)
    brought = np.full(len(meter), evidence, dtype=np.int64) if evidence else None
    made = _insert(conn, table, code, meter, times, _numbers(code, values), method, note, evidence=brought)
    news = feed.Readings()
    news.note(table.plan.name, "corrected" if method == EDIT else "estimated", meter[made], day[made])
    news.publish(conn)
    return int(made.sum())


def replace_estimates(
    conn: Connection,
    table: Table,
    rows: Reads,
    which: Bits,
    note: Note,
    *,
    evidence: NDArray[np.int64] | None = None,
) -> None:
    """The meter's own values of the chosen rows go over estimates that stand at their cells, so that the newest version is what was read."""
    chosen = rows.take(which)
    if not len(chosen):
        return
    hashes = None if evidence is None else evidence[which]
    standing = conn.execute(
        "SELECT DISTINCT ON (meter_id, ts, quantity) meter_id, ts, quantity, method FROM revision "
        "WHERE source = %s AND meter_id = ANY(%s) AND ts BETWEEN %s AND %s ORDER BY meter_id, ts, quantity, version DESC",
        (
            table.source, np.unique(chosen.meter).tolist(), as_datetime(chosen.time.min()), as_datetime(chosen.time.max()),
        ),
    ).fetchall()  # fmt: skip
    cells = {
        (row["meter_id"], row["ts"], row["quantity"]) for row in standing if row["method"] not in NO_ESTIMATES
    }
    told = Note(note.now, "the meter's own value came", note.who)
    for code in dict.fromkeys(quantity for _, _, quantity in sorted(cells)):
        if code not in chosen.columns:
            continue
        valid = chosen.valid(code)
        mine = np.array(
            [
                bool(valid[k]) and (meter, as_datetime(when), code) in cells
                for k, (meter, when) in enumerate(zip(chosen.meter.tolist(), chosen.time, strict=True))
            ],
            dtype=np.bool_,
        )
        picked = chosen.take(mine)
        _insert(
            conn, table, code, picked.meter, picked.time, _numbers(code, picked.columns[code]), READ, told,
            evidence=None if hashes is None else hashes[mine],
        )  # fmt: skip


def _numbers(code: str, values: Column) -> list[str]:
    """Exact texts: a float4's shortest one, as the column keeps it."""
    kind = quantities()[code].kind
    if kind == "instant":
        return [str(value) for value in values.astype(np.float32)]
    if kind == "moment":
        values = values.astype("datetime64[us]").astype(np.int64)
    return [str(value) for value in values.tolist()]


def _insert(
    conn: Connection, table: Table, code: str, meter: NDArray[np.int64], times: Times, numbers: list[str], method: str, note: Note,
    *, evidence: NDArray[np.int64] | None = None,
) -> Bits:  # fmt: skip
    """bool[n]: which made a new version; one equal to the newest makes none."""
    hashes = [None] * len(meter) if evidence is None else [h or None for h in evidence.tolist()]
    cells = _cells(meter, times)
    made = _tuples(
        conn,
        """
        INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at, evidence)
        SELECT u.m, u.t, %(source)s, %(code)s, coalesce(v.version, 1) + 1, u.x, %(method)s, %(reason)s, %(who)s, %(at)s, u.e
        FROM (
            SELECT m, timestamptz 'epoch' + t * interval '1 microsecond' AS t, x, e
            FROM unnest(%(m)s::int[], %(t)s::bigint[], %(x)s::numeric[], %(e)s::bigint[]) AS a(m, t, x, e)
        ) u
        LEFT JOIN LATERAL (
            SELECT version, value, method FROM revision v
            WHERE (v.meter_id, v.ts, v.source, v.quantity) = (u.m, u.t, %(source)s, %(code)s) ORDER BY version DESC LIMIT 1
        ) v ON true
        WHERE (v.value, v.method) IS DISTINCT FROM (u.x, %(method)s)
        ORDER BY u.m, u.t
        RETURNING meter_id, (extract(epoch FROM ts) * 1000000)::bigint
        """,
        {
            "source": table.source, "code": code, "method": method, "reason": note.reason, "who": note.who, "at": as_datetime(note.now),
            # numbers need no quotes
            "x": f"{{{','.join(numbers)}}}", "e": hashes, **_arrays(cells),
        },
    )  # fmt: skip
    return _among(cells, made)


def _cells(meter: NDArray[np.int64], times: Times) -> list[tuple[int, int]]:
    """(meter, microseconds since 1970) of each."""
    return list(zip(meter.tolist(), times.astype("datetime64[us]").astype(np.int64).tolist(), strict=True))


def _among(cells: list[tuple[int, int]], found: set[tuple[int, int]]) -> Bits:
    return np.array([cell in found for cell in cells], dtype=np.bool_)


def _arrays(cells: list[tuple[int, int]]) -> dict[str, list[int]]:
    """The cells as SQL unfolds them again: `m` int[], `t` bigint[]."""
    return {"m": [meter for meter, _ in cells], "t": [moment for _, moment in cells]}


def _tuples(conn: Connection, query: LiteralString, arguments: Mapping[str, object]) -> set[tuple[int, int]]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return set(cursor.execute(query, arguments).fetchall())


def withdraw(
    conn: Connection,
    table: Table,
    code: str,
    meter: NDArray[np.int64],
    times: Times,
    note: Note,
    *,
    zone: ZoneInfo,
) -> int:
    """What stands over the meter's own word at these cells stands no more, in the caller's transaction; at how many something did.

    meter, times: [n], distinct cells in order of meter and time. The newest that the meter said stands again, or, where it never said
    anything, nothing: a version of method 'withdrawn' says so, and whoever reads versions passes over it."""
    if table.plan is None or code not in table.codes:
        raise BadRevision(f"{code} has no column in {table.source} readings that could be revised")
    cells = _cells(meter, times)
    made = _tuples(
        conn,
        """
        INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at, evidence)
        SELECT u.m, u.t, %(source)s, %(code)s, top.version + 1, coalesce(own.value, 'NaN'),
               CASE WHEN own.value IS NULL THEN %(withdrawn)s ELSE %(read)s END, %(reason)s, %(who)s, %(at)s, own.evidence
        FROM (
            SELECT m, timestamptz 'epoch' + t * interval '1 microsecond' AS t FROM unnest(%(m)s::int[], %(t)s::bigint[]) AS a(m, t)
        ) u
        JOIN LATERAL (
            SELECT version, method FROM revision v
            WHERE (v.meter_id, v.ts, v.source, v.quantity) = (u.m, u.t, %(source)s, %(code)s) ORDER BY version DESC LIMIT 1
        ) top ON top.method NOT IN (%(read)s, %(withdrawn)s)
        LEFT JOIN LATERAL (
            SELECT value, evidence FROM revision v
            WHERE (v.meter_id, v.ts, v.source, v.quantity, v.method) = (u.m, u.t, %(source)s, %(code)s, %(read)s) ORDER BY version DESC LIMIT 1
        ) own ON true
        ORDER BY u.m, u.t
        RETURNING meter_id, (extract(epoch FROM ts) * 1000000)::bigint
        """,
        {
            "source": table.source, "code": code, "read": READ, "withdrawn": WITHDRAWN, "reason": note.reason, "who": note.who,
            "at": as_datetime(note.now), **_arrays(cells),
        },
    )  # fmt: skip
    gone = _among(cells, made)
    if not gone.any():
        return 0
    day, index = locate(table.plan, times, zone)
    there = Points(meter, times, day, index, np.full(len(meter), note.now))
    coverage.mark_estimates(
        conn, table.plan, there.take(gone & ~_estimated(conn, table, meter, times)), zone, standing=False
    )
    news = feed.Readings()
    news.note(table.plan.name, "corrected", meter[gone], day[gone])
    news.publish(conn)
    return len(made)


def _estimated(conn: Connection, table: Table, meter: NDArray[np.int64], times: Times) -> Bits:
    """bool[n]: where an estimate of any quantity stands."""
    cells = _cells(meter, times)
    found = _tuples(
        conn,
        """
        SELECT DISTINCT meter_id, (extract(epoch FROM ts) * 1000000)::bigint FROM (
            SELECT DISTINCT ON (v.meter_id, v.ts, v.quantity) v.meter_id, v.ts, v.method FROM revision v
            JOIN unnest(%(m)s::int[], %(t)s::bigint[]) AS u(m, t) ON v.meter_id = u.m AND v.ts = timestamptz 'epoch' + u.t * interval '1 microsecond'
            WHERE v.source = %(source)s ORDER BY v.meter_id, v.ts, v.quantity, v.version DESC
        ) n WHERE method <> ALL(%(none)s)
        """,
        {"source": table.source, "none": list(NO_ESTIMATES), **_arrays(cells)},
    )
    return _among(cells, found)
