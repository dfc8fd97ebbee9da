"""What was worked out, written: a statement for each table and hundred thousand rows, joined by codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from headend.store.archive.kinds import OBJECTS, Column, Kind
from headend.store.archive.spans import Span
from headend.store.archive.stored import THINGS, Stored, Thing
from headend.store.db import Connection

#: rows of one statement: its parameters are some 20 MB then, far below what the server takes
BATCH = 100_000


class Field(NamedTuple):
    """A column to be written: from a value, or from the code of the thing that it refers to."""

    column: str
    type: str
    refers: str = ""
    code: str = "code"


def written(
    conn: Connection,
    stored: Stored,
    begun: dict[str, list[Span]],
    ended: dict[str, list[Span]],
    terms: list[Span],
) -> None:
    """Things first, then what ends, then what begins: a row that ends makes room for another."""
    for kind in THINGS:
        _things(conn, kind, list(stored.things[kind.table].values()))
    for kind in THINGS:
        if kind.dated:
            table = f"{kind.table}_span"
            _end_hangs(conn, kind, ended.get(table, []))
            _begin_hangs(conn, kind, begun.get(table, []))
    for table in ("installation", "loss_role", "account"):
        _end(conn, table, ended.get(table, []))
    _install(conn, begun.get("installation", []))
    _roles(conn, begun.get("loss_role", []))
    _accounts(conn, begun.get("account", []), terms)


def _field(column: Column) -> Field:
    return Field(column.column, column.type, column.refers)


def _insert(conn: Connection, table: str, fields: Sequence[Field], rows: Sequence[Sequence[Any]]) -> None:
    """Rows of values in the order of the fields."""
    given = ", ".join(f"%s::{field.type}[]" for field in fields)
    names = ", ".join(f"f{k}" for k in range(len(fields)))
    joins, values = [], []
    for k, field in enumerate(fields):
        if field.refers:
            joins.append(f"LEFT JOIN {field.refers} r{k} ON r{k}.{field.code} = u.f{k}")
        values.append(f"r{k}.{field.refers}_id" if field.refers else _cast(field, k))
    sql = (
        f"INSERT INTO {table} ({', '.join(field.column for field in fields)}) SELECT {', '.join(values)} "
        f"FROM unnest({given}) u({names}) {' '.join(joins)}"
    )
    _each_batch(conn, sql, rows)


def _cast(field: Field, k: int) -> str:
    """Lists and objects travel as text: an array of arrays must be rectangular. No end is for ever."""
    return CASTS.get(field.column, "{}").format(f"u.f{k}")


CASTS = {"plans": "{}::smallint[]", "secrets": "{}::jsonb", "valid_to": "coalesce({}, 'infinity')"}


def _each_batch(conn: Connection, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    for first in range(0, len(rows), BATCH):
        columns = zip(*rows[first : first + BATCH], strict=True)
        conn.execute(sql, [list(column) for column in columns])


def _things(conn: Connection, kind: Kind, things: list[Thing]) -> None:
    fields = [Field(kind.code, "text"), *map(_field, kind.plain)]

    def rows(chosen: list[Thing]) -> list[list[Any]]:
        return [[thing.code, *(thing.values[c.name] for c in kind.plain)] for thing in chosen]

    _insert(conn, kind.table, fields, rows([thing for thing in things if thing.new]))
    touched = rows([thing for thing in things if thing.touched])
    if not kind.plain:
        return
    given = ", ".join(f"%s::{field.type}[]" for field in fields)
    sets = ", ".join(
        f"{f.column} = " + (f"(SELECT {f.refers}_id FROM {f.refers} WHERE code = u.f{k})" if f.refers else f"u.f{k}")
        for k, f in enumerate(fields) if k
    )  # fmt: skip
    names = ", ".join(f"f{k}" for k in range(len(fields)))
    sql = f"UPDATE {kind.table} t SET {sets} FROM unnest({given}) u({names}) WHERE t.{kind.code} = u.f0"
    _each_batch(conn, sql, touched)


def _end_hangs(conn: Connection, kind: Kind, spans: list[Span]) -> None:
    table = kind.table
    _each_batch(
        conn,
        f"UPDATE {table}_span s SET valid_to = u.at FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) u(code, began, at) "
        f"JOIN {table} t ON t.{kind.code} = u.code WHERE s.{table}_id = t.{table}_id AND s.valid_from = u.began",
        [(span.of, span.start, span.end) for span in spans],
    )


def _begin_hangs(conn: Connection, kind: Kind, spans: list[Span]) -> None:
    fields = [Field(f"{kind.table}_id", "text", kind.table, kind.code), *map(_field, kind.dated), *DATES]
    rows = [[s.of, *(s.values[c.name] for c in kind.dated), s.start, s.end] for s in spans]
    _insert(conn, f"{kind.table}_span", fields, rows)


DATES = (Field("valid_from", "timestamptz"), Field("valid_to", "timestamptz"))


def _end(conn: Connection, table: str, spans: list[Span]) -> None:
    _each_batch(
        conn,
        f"UPDATE {table} t SET valid_to = u.at FROM unnest(%s::int[], %s::timestamptz[]) u(id, at) WHERE t.{table}_id = u.id",
        [(span.id, span.end) for span in spans],
    )


def _install(conn: Connection, spans: list[Span]) -> None:
    fields = (
        Field("meter_id", "text", "meter", "asset"), Field("point_id", "text", "point"), Field("terminal_id", "text", "terminal"),
        Field("address", "text"), Field("pn", "smallint"), Field("ct", "integer"), Field("pt", "integer"), Field("secrets", "text"),
        Field("plans", "text"), *DATES,
    )  # fmt: skip
    rows = []
    for span in spans:
        v = span.values
        plans = "{" + ",".join(map(str, v["plans"])) + "}"
        rows.append(
            (span.of, v["point"], v["terminal"], v["address"], v["pn"], v["ct"], v["pt"], json.dumps(v["password"]), plans,
             span.start, span.end)
        )  # fmt: skip
    _insert(conn, "installation", fields, rows)


def _roles(conn: Connection, spans: list[Span]) -> None:
    tables = OBJECTS[:-1]
    fields = (
        Field("point_id", "text", "point"), *(Field(f"{table}_id", "text", table) for table in tables),
        Field("voltage_kv", "numeric"), Field("role", "text"), *DATES,
    )  # fmt: skip
    rows = []
    for span in spans:
        point, kind, code, voltage = span.of
        at = "organisation" if kind == "voltage" else kind
        objects = [code if table == at else None for table in tables]
        rows.append((point, *objects, voltage, span.values["role"], span.start, span.end))
    _insert(conn, "loss_role", fields, rows)


def _accounts(conn: Connection, spans: list[Span], terms: list[Span]) -> None:
    fields = (
        Field("customer_id", "text", "customer", "number"), Field("point_id", "text", "point"), Field("tariff", "text"),
        Field("prepaid", "boolean"), Field("protected", "text"), *DATES,
    )  # fmt: skip
    rows = [
        (s.of, *(s.values[name] for name in ("point", "tariff", "prepaid", "protected")), s.start, s.end)
        for s in spans
    ]
    _insert(conn, "account", fields, rows)
    _each_batch(
        conn,
        "UPDATE account a SET tariff = u.tariff, prepaid = u.prepaid, protected = u.protected "
        "FROM unnest(%s::int[], %s::text[], %s::boolean[], %s::text[]) u(id, tariff, prepaid, protected) WHERE a.account_id = u.id",
        [(s.id, s.values["tariff"], s.values["prepaid"], s.values["protected"]) for s in terms],
    )
