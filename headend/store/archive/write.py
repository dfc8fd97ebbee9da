"""What was worked out, written: each table's rows by COPY into a stage, from there by one statement, joined by codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from headend.store.archive.kinds import OBJECTS, Column, Kind
from headend.store.archive.spans import Span
from headend.store.archive.stored import THINGS, Stored, Thing
from headend.store.db import Connection


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
    joins, values = [], []
    for k, field in enumerate(fields):
        if field.refers:
            joins.append(f"LEFT JOIN {field.refers} r{k} ON r{k}.{field.code} = u.f{k}")
        values.append(f"r{k}.{field.refers}_id" if field.refers else _cast(field, k))
    _staged(
        conn,
        [field.type for field in fields],
        rows,
        f"INSERT INTO {table} ({', '.join(field.column for field in fields)}) SELECT {', '.join(values)} FROM archive_stage u "
        + " ".join(joins),
    )


def _cast(field: Field, k: int) -> str:
    """Lists and objects travel as text: an array of arrays must be rectangular. No end is for ever."""
    return CASTS.get(field.column, "{}").format(f"u.f{k}")


CASTS = {
    "plans": "{}::smallint[]",
    "switch": "{}::text[]",
    "secrets": "{}::jsonb",
    "valid_to": "coalesce({}, 'infinity')",
}


#: so many rows are worth a walk through the whole table that they are compared with
MANY: Final = 1_000


def _staged(conn: Connection, types: Sequence[str], rows: Sequence[Sequence[Any]], sql: str) -> None:
    """Runs `sql` over the rows, which it finds in archive_stage with columns f0, f1, ...

    Many rows meet a table once, never row by row: what the server counts while an import runs leaves out the rows that are not
    committed, and a plan made for the three rows of before compares each row of now with each other, in the look for overlaps, too: of
    eight thousand that took a minute, and it grows with their square.
    """
    if not rows:
        return
    if len(rows) >= MANY:
        conn.execute("SET LOCAL enable_nestloop = off")
    columns = ", ".join(f"f{k} {type}" for k, type in enumerate(types))
    conn.execute(f"CREATE TEMP TABLE archive_stage ({columns}) ON COMMIT DROP")
    with conn.cursor() as cursor, cursor.copy("COPY archive_stage FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    conn.execute(sql)
    conn.execute("DROP TABLE archive_stage")
    if len(rows) >= MANY:
        conn.execute("SET LOCAL enable_nestloop TO DEFAULT")


def _things(conn: Connection, kind: Kind, things: list[Thing]) -> None:
    fields = [Field(kind.code, "text"), *map(_field, kind.plain)]

    def rows(chosen: list[Thing]) -> list[list[Any]]:
        return [[thing.code, *(thing.values[c.name] for c in kind.plain)] for thing in chosen]

    _insert(conn, kind.table, fields, rows([thing for thing in things if thing.new]))
    touched = rows([thing for thing in things if thing.touched])
    if not kind.plain:
        return
    sets = ", ".join(
        f"{f.column} = " + (f"(SELECT {f.refers}_id FROM {f.refers} WHERE code = u.f{k})" if f.refers else f"u.f{k}")
        for k, f in enumerate(fields) if k
    )  # fmt: skip
    sql = f"UPDATE {kind.table} t SET {sets} FROM archive_stage u WHERE t.{kind.code} = u.f0"
    _staged(conn, [field.type for field in fields], touched, sql)


def _end_hangs(conn: Connection, kind: Kind, spans: list[Span]) -> None:
    table = kind.table
    _staged(
        conn,
        ("text", "timestamptz", "timestamptz"),
        [(span.of, span.start, span.end) for span in spans],
        f"UPDATE {table}_span s SET valid_to = u.f2 FROM archive_stage u JOIN {table} t ON t.{kind.code} = u.f0 "
        f"WHERE s.{table}_id = t.{table}_id AND s.valid_from = u.f1",
    )


def _begin_hangs(conn: Connection, kind: Kind, spans: list[Span]) -> None:
    fields = [Field(f"{kind.table}_id", "text", kind.table, kind.code), *map(_field, kind.dated), *DATES]
    rows = [[s.of, *(s.values[c.name] for c in kind.dated), s.start, s.end] for s in spans]
    _insert(conn, f"{kind.table}_span", fields, rows)


DATES = (Field("valid_from", "timestamptz"), Field("valid_to", "timestamptz"))


def _end(conn: Connection, table: str, spans: list[Span]) -> None:
    _staged(
        conn,
        ("integer", "timestamptz"),
        [(span.id, span.end) for span in spans],
        f"UPDATE {table} t SET valid_to = u.f1 FROM archive_stage u WHERE t.{table}_id = u.f0",
    )


def _install(conn: Connection, spans: list[Span]) -> None:
    fields = (
        Field("meter_id", "text", "meter", "asset"), Field("point_id", "text", "point"), Field("terminal_id", "text", "terminal"),
        Field("address", "text"), Field("pn", "smallint"), Field("ct", "integer"), Field("pt", "integer"), Field("secrets", "text"),
        Field("plans", "text"), Field("switch", "text"), *DATES,
    )  # fmt: skip
    rows = []
    for span in spans:
        v = span.values
        plans, switch = (
            "{" + ",".join(f'"{each}"' for each in v[name]) + "}" for name in ("plans", "switch")
        )
        rows.append(
            (span.of, v["point"], v["terminal"], v["address"], v["pn"], v["ct"], v["pt"], json.dumps(v["password"]), plans, switch,
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
        Field("prepaid", "boolean"), Field("protected", "text"), Field("fee_control", "text"), *DATES,
    )  # fmt: skip
    rows = [
        (
            s.of,
            *(s.values[name] for name in ("point", "tariff", "prepaid", "protected", "fee_control")),
            s.start,
            s.end,
        )
        for s in spans
    ]
    _insert(conn, "account", fields, rows)
    _staged(
        conn,
        ("integer", "text", "boolean", "text", "text"),
        [
            (s.id, *(s.values[name] for name in ("tariff", "prepaid", "protected", "fee_control")))
            for s in terms
        ],
        "UPDATE account a SET tariff = u.f1, prepaid = u.f2, protected = u.f3, fee_control = u.f4 FROM archive_stage u "
        "WHERE a.account_id = u.f0",
    )
