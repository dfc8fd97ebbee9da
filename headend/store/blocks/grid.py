"""Quantities of one table as [meter, time]: the server puts the values of meter after meter into one string of bytes, numpy takes it from
there. What a row costs on its way is paid once for some thousand meters' day.

Of a meter that has every instant asked for (store/blocks/whole.py) the values alone need to come: their times are known. The others' come
with their times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError
from headend.store.pgcopy import PG_EPOCH
from headend.store.rows import copy_bytes
from headend.store.tables import Table
from protocols.localtime import Times, as_datetime
from protocols.reading import MISSING, Column

I64 = NDArray[np.int64]

#: PostgreSQL type -> what sends a cell with its NULLs filled, the wire's type, ours and what is missing
_CELL: Final[dict[str, tuple[str, str, str, Any]]] = {
    "int8": ("int8send(coalesce({}, " + str(MISSING) + "))", ">i8", "i8", MISSING),
    "float4": ("float4send(coalesce({}, 'NaN'::real))", ">f4", "f4", np.nan),
    "float8": ("float8send(coalesce({}, 'NaN'::float8))", ">f8", "f8", np.nan),
    "timestamptz": ("timestamptz_send(coalesce({}, '-infinity'))", ">i8", "i8", MISSING),
}
_EPOCH: Final = int(PG_EPOCH.astype(np.int64))
#: The primary key leads to a meter's rows in order of time. The planner, which cannot know how the rows lie, would now and then read a
#: whole week of everybody and sort it; and compiling a statement takes longer than running it here.
_BY_KEY: Final = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
    "set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)"
)


class BadCode(StoreError):
    """A quantity that has no column where it is looked for."""


@contextmanager
def by_key(conn: Connection) -> Iterator[None]:
    """Reading by the primary key: the planner's settings hold within, and are as they were afterwards."""
    # nothing is written here, so nothing but the settings is undone
    with conn.transaction(force_rollback=True):
        conn.execute(_BY_KEY)
        yield


def choose(tables: Sequence[Table], codes: Sequence[str]) -> dict[Table, list[str]]:
    """The codes by the first of the tables that has a column for them. BadCode where none has."""
    chosen: dict[Table, list[str]] = {}
    for code in codes:
        table = next((table for table in tables if code in table.codes), None)
        if table is None:
            raise BadCode(
                f"{code!r} is not kept in {' or '.join(table.name for table in tables)}; `headend why` and protocols/quantities.csv name what is"
            )
        chosen.setdefault(table, []).append(code)
    return chosen


def empty(code: str, table: Table, shape: tuple[int, ...]) -> Column:
    """A quantity of which nothing is known: registers and counters int64 with MISSING, instants float32 and demands float64 with NaN,
    moments int64 us since 1970 with MISSING."""
    _, _, own, missing = _CELL[table.type(code)]
    return np.full(shape, missing, dtype=own)


def read(
    conn: Connection,
    table: Table,
    codes: Sequence[str],
    meters: I64,
    times: Times,
    into: Mapping[str, Column],
    whole: NDArray[np.bool_] | None = None,
) -> None:
    """First readings into arrays by code, [meter, time], as `empty` makes them; what is not there stays as it is.

    meters  int64[meter], ascending, each once;  times  datetime64[us][time], ascending, each once, within a few days: the cells of a
            meter travel as one value;  whole  bool[meter]: who has all of them, and perhaps others between, by an earlier statement
    """
    if not (len(meters) and len(times) and len(codes)):
        return
    rest = np.ones(len(meters), dtype=np.bool_)
    if whole is not None and whole.any():
        body = _fetch(conn, table, codes, meters[whole], times, whole=True)
        at = np.searchsorted(meters, body["meter"])
        rest[at] = False
        for code, values in _values(table, codes, body):
            into[code][at] = values
    if not rest.any():
        return
    body = _fetch(conn, table, codes, meters[rest], times, whole=False)
    when = (body["ts"].astype(np.int64) + _EPOCH).astype("datetime64[us]")
    column = np.minimum(np.searchsorted(times, when), len(times) - 1)
    # a string is filled up with zeros at its end: the year 2000, which is none of the times
    there, place = np.nonzero((times[column] == when) & (body["ts"] != 0))
    row, column = np.searchsorted(meters, body["meter"])[there], column[there, place]
    for code, values in _values(table, codes, body):
        into[code][row, column] = values[there, place]


def _fetch(
    conn: Connection, table: Table, codes: Sequence[str], meters: I64, times: Times, *, whole: bool
) -> NDArray[np.void]:
    """A row for each meter that has any, as it stands on the wire; `whole`: that has as many as there are times, else with `ts`."""
    n = len(times)
    sent = [(code, *_CELL[table.type(code)][:2]) for code in codes]
    if not whole:
        sent.append(("ts", _CELL["timestamptz"][0], ">i8"))
    select = []
    layout: list[Any] = [("meter", ">i4")]
    for code, send, wire in sent:
        cell = f"string_agg({send.format(code)}, '' ORDER BY ts)"
        size = n * np.dtype(wire).itemsize
        select.append(cell if whole else f"substr({cell} || decode(repeat('00', {size}), 'hex'), 1, {size})")
        layout.append((code, wire, (n,)))
    where = f"meter_id = ANY({ids(meters)}) AND ts BETWEEN {stamp(times[0])} AND {stamp(times[-1])}"
    if not whole:
        where += f" AND ts = ANY({stamps(times)})"
    if table.kind is not None:
        where += f" AND kind = {table.kind}"
    full = f" HAVING octet_length({select[0]}) = {n * np.dtype(sent[0][2]).itemsize}" if whole else ""
    cells = ", ".join(f"{cell} AS c{k}" for k, cell in enumerate(select))
    return copy_bytes(
        conn,
        f"SELECT string_agg({' || '.join(['int4send(meter_id)', *(f'c{k}' for k in range(len(select)))])}, '') FROM "
        f"(SELECT meter_id, {cells} FROM {table.name} WHERE {where} GROUP BY meter_id{full}) of_meters",
        np.dtype(layout),
    )


def _values(table: Table, codes: Sequence[str], body: NDArray[np.void]) -> Iterator[tuple[str, Column]]:
    for code in codes:
        values = body[code]
        if table.type(code) == "timestamptz":
            moments = values.astype(np.int64)
            values = np.where(moments == MISSING, MISSING, moments + _EPOCH)
        yield code, values


def ids(meters: I64) -> str:
    """An array of meter_ids as SQL writes it."""
    return _ids(meters.astype(np.int64, copy=False).tobytes())


# several questions are about the same meters, and to write down 5,000 takes a millisecond
@lru_cache(maxsize=8)
def _ids(raw: bytes) -> str:
    return f"'{{{','.join(map(str, np.frombuffer(raw, dtype=np.int64).tolist()))}}}'::int[]"


def stamp(when: np.datetime64) -> str:
    """An instant as SQL writes it."""
    return f"timestamptz '{as_datetime(when).isoformat()}'"


def stamps(times: Times) -> str:
    """An array of instants as SQL writes it."""
    return _stamps(times.astype("datetime64[us]", copy=False).tobytes())


# a span's days, over and over for other meters
@lru_cache(maxsize=64)
def _stamps(raw: bytes) -> str:
    texts = (f'"{as_datetime(when).isoformat()}"' for when in np.frombuffer(raw, dtype="datetime64[us]"))
    return f"'{{{','.join(texts)}}}'::timestamptz[]"
