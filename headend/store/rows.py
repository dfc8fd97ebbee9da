"""Rows of the read tables out, as numpy sees them: binary COPY with one layout for every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection
from headend.store.pgcopy import HEADER, PG_EPOCH
from headend.store.tables import Table
from protocols.localtime import as_datetime
from protocols.reading import MISSING

#: PostgreSQL type -> what stands for NULL in the statement, the wire's type, ours
CELLS: Final = {
    "int8": (str(MISSING), ">i8", "i8"),
    "float4": ("'NaN'::real", ">f4", "f4"),
    "float8": ("'NaN'::float8", ">f8", "f8"),
    "timestamptz": ("'-infinity'::timestamptz", ">i8", "i8"),
}


def fetch(
    conn: Connection,
    table: Table,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
    meters: NDArray[np.int64] | None = None,
    order: bool = False,
) -> NDArray[np.void]:
    """Rows with first <= ts <= last, of `meters` (ascending) or all: meter_id int64, ts datetime64[us], then the codes.

    Registers and counters int64 with MISSING; instants float32, demands float64 with NaN; moments int64 us since 1970 with MISSING.
    NULLs are turned into these by the server, so that every row has one layout. `order`: by meter and time.
    """
    layout: list[Any] = [("n", ">i2"), ("l0", ">i4"), ("meter_id", ">i4"), ("l1", ">i4"), ("ts", ">i8")]
    select, native = [], []
    for k, code in enumerate(codes):
        missing, wire, own = CELLS[table.type(code)]
        select.append(f"coalesce({code}, {missing})")
        layout += [(f"m{k}", ">i4"), (code, wire)]
        native.append((code, own))
    where = [f"ts BETWEEN '{as_datetime(first).isoformat()}' AND '{as_datetime(last).isoformat()}'"]
    if meters is not None:
        where.append(f"meter_id = ANY('{{{','.join(map(str, meters.tolist()))}}}'::int[])")
    if table.kind is not None:
        where.append(f"kind = {table.kind}")
    payload = copy_out(
        conn,
        f"SELECT {', '.join(['meter_id', 'ts', *select])} FROM {table.name} WHERE {' AND '.join(where)}"
        + (" ORDER BY meter_id, ts" if order else ""),
    )
    wire_type = np.dtype(layout)
    count = (len(payload) - len(HEADER) - 2) // wire_type.itemsize
    body = np.frombuffer(payload, dtype=wire_type, offset=len(HEADER), count=count)
    out = np.empty(count, dtype=np.dtype([("meter_id", "i8"), ("ts", "M8[us]"), *native]))
    out["meter_id"] = body["meter_id"]
    out["ts"] = PG_EPOCH + body["ts"].astype("i8").astype("m8[us]")
    for code in codes:
        if table.type(code) == "timestamptz":
            raw = body[code].astype("i8")
            out[code] = np.where(raw == MISSING, MISSING, raw + PG_EPOCH.astype("i8"))
        else:
            out[code] = body[code]
    return out


def copy_out(conn: Connection, query: str) -> bytes:
    """What COPY (query) TO STDOUT (FORMAT BINARY) sends."""
    with conn.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)") as copy:
        return b"".join(copy)


def copy_bytes(conn: Connection, query: str, row: np.dtype[Any]) -> NDArray[np.void]:
    """The rows that a query has put end to end into one value of bytes (of at most 1 GB, which is PostgreSQL's bound); NULL is none.

    What a row costs on its way, libpq's call and its lengths, is paid once for all of them.
    """
    payload = copy_out(conn, query)
    # header, number of columns, length (-1: NULL), the bytes, trailer
    return np.frombuffer(memoryview(payload)[:-2], dtype=row, offset=len(HEADER) + 6)
