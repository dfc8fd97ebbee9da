"""The binary COPY payload, byte for byte against the one psycopg makes row by row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.copy import Copy, Writer

from headend.store.pgcopy import HEADER, PART, PG_EPOCH_DAY, TRAILER, Field, pack, timestamps

DAY_ZERO = dt.date(1970, 1, 1)
TYPES = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float4": ">f4", "float8": ">f8"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int2": st.integers(-(2**15), 2**15 - 1),
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "float4": st.floats(width=32, allow_nan=False),
    "float8": st.floats(allow_nan=False),
    "timestamptz": st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
    "date": st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1)),
}


class _Kept(Writer):
    """Keeps what psycopg's Copy would send."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent += bytes(data)


def by_psycopg(conn: psycopg.Connection[Any], types: list[str], rows: list[list[Any]]) -> bytes:
    kept = _Kept()
    with Copy(conn.cursor(), binary=True, writer=kept) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
    return kept.sent


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    rows = draw(st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in types)).map(list), max_size=12))
    return types, rows


@pytest.fixture(scope="module")
def any_conn(servers: Any) -> Any:
    with psycopg.connect(servers.dsn("embedded"), autocommit=True, options="-c timezone=UTC") as conn:
        yield conn


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_byte_for_byte_as_psycopg(
    any_conn: psycopg.Connection[Any], table: tuple[list[str], list[list[Any]]]
) -> None:
    types, rows = table
    fields = []
    for k, kind in enumerate(types):
        column = [row[k] for row in rows]
        valid = np.array([value is not None for value in column], dtype=np.bool_)
        if kind == "timestamptz":
            filled = [dt.datetime(2000, 1, 1) if value is None else value for value in column]
            values = timestamps(np.array(filled, dtype="datetime64[us]"))
        elif kind == "date":
            days = [0 if value is None else (value - DAY_ZERO).days for value in column]
            values = np.array(days, dtype=np.int64) - PG_EPOCH_DAY
        else:
            values = np.array([0 if value is None else value for value in column], dtype=TYPES[kind][1:])
        fields.append(Field(values, kind, None if valid.all() else valid))
    aware = [
        [value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value for value in row]
        for row in rows
    ]
    # rows that lack the same columns stand together
    aware.sort(key=lambda row: sum(1 << k for k, value in enumerate(row) if value is None))
    expected = by_psycopg(any_conn, types, aware)
    if not rows:  # psycopg sends nothing at all for no rows
        expected = HEADER + TRAILER
    assert pack(fields) == expected


def test_the_epoch_is_postgres_own() -> None:
    times = np.array(["2000-01-01T00:00:00.000001", "1999-12-31T23:59:59"], dtype="datetime64[us]")
    assert timestamps(times).tolist() == [1, -1_000_000]


def test_bits_and_parts(conn: psycopg.Connection[Any]) -> None:
    """Bit strings of any width, and more rows than are laid out at once."""
    n = 2 * PART + 3
    conn.execute("CREATE TEMPORARY TABLE b (n int4, day varbit, short varbit)")
    rng = np.random.default_rng(0)
    day, short = rng.integers(0, 2, (n, 92)), rng.integers(0, 2, (n, 1))
    valid = np.arange(n) % 3 != 0
    fields = [
        Field(np.arange(n), "int4"),
        Field(np.packbits(day, axis=1), "varbit", bits=92),
        Field(np.packbits(short, axis=1), "varbit", valid, bits=1),
    ]
    with conn.cursor().copy("COPY b FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(pack(fields))
    found = conn.execute("SELECT n, day::text, short::text FROM b ORDER BY n").fetchall()
    assert found == [(k, "".join(map(str, day[k])), str(short[k, 0]) if valid[k] else None) for k in range(n)]
