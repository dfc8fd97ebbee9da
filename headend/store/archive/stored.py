"""What the store has of the things that the rows of an import name: a handful of queries, however many rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import tuple_row

from headend.store.archive.complaint import Spot
from headend.store.archive.kinds import KINDS, OBJECTS, WHERE, Column, Kind
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span
from headend.store.db import Connection

#: the kinds whose rows are things with a code of their own
THINGS = tuple(kind for kind in KINDS.values() if kind.name not in ("ratios", "roles"))

#: (kind of loss object, code, voltage level or None)
Object = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Thing:
    """`values`: its plain columns, references as codes. `span`: where it hung last, ended or not."""

    code: str
    values: dict[str, Any]
    span: Span | None = None
    new: bool = False
    touched: bool = False


@dataclass(slots=True)
class Stored:
    """Everything by codes, as people and files name things.

    known        table -> codes that exist, of those that the rows refer to; what the import adds joins them
    things       table -> code -> thing, of those that the rows are about
    ranks        organisation -> its kind; children: organisation -> kinds of those below it
    protocols    terminal -> what it speaks
    logins       login -> terminal; logins_said: where the import says so
    hung, on     meter, point -> latest installation
    begun        point -> when its first meter was hung
    roles        point -> loss object -> latest span
    accounts     point -> its accounts, in order
    """

    known: dict[str, set[str]] = field(default_factory=dict)
    things: dict[str, dict[str, Thing]] = field(default_factory=dict)
    ranks: dict[str, str] = field(default_factory=dict)
    children: dict[str, set[str]] = field(default_factory=dict)
    protocols: dict[str, str] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    logins_said: dict[str, Spot] = field(default_factory=dict)
    hung: dict[str, Span] = field(default_factory=dict)
    on: dict[str, Span] = field(default_factory=dict)
    begun: dict[str, dt.datetime] = field(default_factory=dict)
    roles: dict[str, dict[Object, Span]] = field(default_factory=dict)
    accounts: dict[str, list[Span]] = field(default_factory=dict)


def read(conn: Connection, rows: dict[str, list[Row]]) -> Stored:
    """As it is now; the caller holds the lock, so that it stays so until he has written."""
    stored = Stored()
    for kind in THINGS:
        stored.things[kind.table] = things(conn, kind, _codes(rows, kind.name, kind.key))
    named = _codes(rows, "meters", "point")
    stored.things["point"] |= things(conn, KINDS["points"], named - set(stored.things["point"]))
    points = named | _codes(rows, "ratios", "point") | _codes(rows, "customers", "point")
    for table, codes in _referred(rows).items():
        found = conn.execute(f"SELECT code FROM {table} WHERE code = ANY(%s)", (list(codes),))
        stored.known[table] = {row["code"] for row in found}
    _organisations(conn, stored, rows)
    _terminals(conn, stored, rows)
    _installations(conn, stored, _codes(rows, "meters", "meter"), points)
    _roles(conn, stored, _codes(rows, "meters", "point") | _codes(rows, "roles", "point"))
    _accounts(conn, stored, _codes(rows, "customers", "point"))
    return stored


def _codes(rows: dict[str, list[Row]], kind: str, column: str) -> set[str]:
    return {row.cells[column] for row in rows.get(kind, []) if row.cells.get(column) is not None}


def _referred(rows: dict[str, list[Row]]) -> dict[str, set[str]]:
    """Table -> codes that cells refer to."""
    found: dict[str, set[str]] = {table: set() for table in WHERE}
    for name in rows:
        for column in KINDS[name].columns:
            if column.refers:
                found[column.refers] |= _codes(rows, name, column.name)
    for row in rows.get("roles", []):
        kind = row.cells["kind"]
        found["organisation" if kind == "voltage" else kind].add(row.cells["object"])
    return found


def refer(column: Column, of: str, alias: str) -> str:
    """The join that turns a reference into its code."""
    return f"LEFT JOIN {column.refers} {alias} ON {alias}.{column.refers}_id = {of}.{column.column}"


def things(conn: Connection, kind: Kind, codes: Iterable[str]) -> dict[str, Thing]:
    """Each with its latest span."""
    fields, joins = [f"t.{kind.code} AS code"], []
    for k, column in enumerate((*kind.plain, *kind.dated)):
        table = "s" if column.dated else "t"
        if column.refers:
            joins.append(refer(column, table, f"r{k}"))
        fields.append((f"r{k}.code" if column.refers else f"{table}.{column.column}") + f" AS {column.name}")
    span = ""
    if kind.dated:
        fields += ["s.valid_from", "nullif(s.valid_to, 'infinity') AS valid_to"]
        span = (
            f"LEFT JOIN LATERAL (SELECT * FROM {kind.table}_span s WHERE s.{kind.table}_id = t.{kind.table}_id "
            "ORDER BY valid_from DESC LIMIT 1) s ON true"
        )
    found = _tuples(
        conn,
        f"SELECT {', '.join(fields)} FROM unnest(%s::text[]) u(code) JOIN {kind.table} t ON t.{kind.code} = u.code {span} "
        + " ".join(joins),
        list(codes),
    )
    plain, dated = [column.name for column in kind.plain], [column.name for column in kind.dated]
    begin, end = 1 + len(plain), 1 + len(plain) + len(dated)
    made = {}
    for row in found:
        thing = Thing(row[0], dict(zip(plain, row[1:begin], strict=True)))
        if dated and row[end] is not None:
            values = dict(zip(dated, row[begin:end], strict=True))
            thing.span = Span(thing.code, values, row[end], row[end + 1])
        made[thing.code] = thing
    return made


def _tuples(conn: Connection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows without the names of their columns: there may be a hundred thousand of them."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(sql, parameters).fetchall()


def _organisations(conn: Connection, stored: Stored, rows: dict[str, list[Row]]) -> None:
    codes = _codes(rows, "organisations", "organisation") | _codes(rows, "organisations", "parent")
    for row in conn.execute("SELECT code, kind FROM organisation WHERE code = ANY(%s)", (list(codes),)):
        stored.ranks[row["code"]] = row["kind"]
    for row in conn.execute(
        "SELECT p.code, o.code AS child, o.kind FROM organisation p JOIN organisation_span s ON s.parent_id = p.organisation_id AND "
        "s.valid_to = 'infinity' JOIN organisation o ON o.organisation_id = s.organisation_id WHERE p.code = ANY(%s)",
        (list(codes),),
    ):
        stored.ranks.setdefault(row["child"], row["kind"])
        stored.children.setdefault(row["code"], set()).add(row["child"])


def _terminals(conn: Connection, stored: Stored, rows: dict[str, list[Row]]) -> None:
    codes = _codes(rows, "meters", "terminal") | _codes(rows, "terminals", "terminal")
    for row in conn.execute("SELECT code, protocol FROM terminal WHERE code = ANY(%s)", (list(codes),)):
        stored.protocols[row["code"]] = row["protocol"]
    logins = list(_codes(rows, "terminals", "login"))
    for row in conn.execute("SELECT login, code FROM terminal WHERE login = ANY(%s)", (logins,)):
        stored.logins[row["login"]] = row["code"]


def _installations(conn: Connection, stored: Stored, meters: set[str], points: set[str]) -> None:
    names = ("point", "terminal", "address", "pn", "ct", "pt", "password", "plans", "switch")
    found = _tuples(
        conn,
        """
        WITH wanted AS (
            SELECT latest.installation_id FROM unnest(%s::text[]) u(code) JOIN meter m ON m.asset = u.code
            CROSS JOIN LATERAL (SELECT installation_id FROM installation i WHERE i.meter_id = m.meter_id
                                ORDER BY valid_from DESC LIMIT 1) latest
            UNION
            SELECT latest.installation_id FROM unnest(%s::text[]) u(code) JOIN point p ON p.code = u.code
            CROSS JOIN LATERAL (SELECT installation_id FROM installation i WHERE i.point_id = p.point_id
                                ORDER BY valid_from DESC LIMIT 1) latest
        )
        SELECT i.installation_id, m.asset, i.valid_from, nullif(i.valid_to, 'infinity'),
               p.code, t.code, i.address, i.pn, i.ct, i.pt, i.secrets, i.plans, i.switch
        FROM wanted JOIN installation i USING (installation_id) JOIN meter m USING (meter_id) JOIN point p USING (point_id)
        JOIN terminal t USING (terminal_id) ORDER BY i.valid_from
        """,
        list(meters),
        list(points),
    )
    for id, asset, start, end, *values in found:
        values[-2:] = map(tuple, values[-2:])
        span = Span(asset, dict(zip(names, values, strict=True)), start, end, id)
        stored.hung[asset] = stored.on[values[0]] = span
    begun = _tuples(
        conn,
        "SELECT p.code, min(i.valid_from) FROM unnest(%s::text[]) u(code) JOIN point p ON p.code = u.code "
        "JOIN installation i USING (point_id) GROUP BY 1",
        list(points),
    )
    stored.begun |= dict(begun)


#: the code of a loss_role's object, whatever it is
OBJECT_JOINS = " ".join(
    f"LEFT JOIN {table} o_{table} ON o_{table}.{table}_id = r.{table}_id" for table in OBJECTS[:-1]
)
OBJECT_CODE = f"coalesce({', '.join(f'o_{table}.code' for table in OBJECTS[:-1])})"


def _roles(conn: Connection, stored: Stored, points: set[str]) -> None:
    found = _tuples(
        conn,
        f"SELECT r.loss_role_id, r.valid_from, nullif(r.valid_to, 'infinity'), p.code, r.role, r.kind, {OBJECT_CODE}, r.voltage_kv "
        f"FROM unnest(%s::text[]) u(code) JOIN point p ON p.code = u.code JOIN loss_role r USING (point_id) {OBJECT_JOINS} "
        "ORDER BY r.valid_from",
        list(points),
    )
    for id, start, end, point, role, *key in found:
        stored.roles.setdefault(point, {})[tuple(key)] = Span((point, *key), {"role": role}, start, end, id)


def _accounts(conn: Connection, stored: Stored, points: set[str]) -> None:
    names = ("number", "point", "tariff", "prepaid", "protected", "fee_control")
    found = _tuples(
        conn,
        "SELECT a.account_id, a.valid_from, nullif(a.valid_to, 'infinity'), c.number, p.code, a.tariff, a.prepaid, a.protected, a.fee_control "
        "FROM unnest(%s::text[]) u(code) JOIN point p ON p.code = u.code "
        "JOIN account a USING (point_id) JOIN customer c USING (customer_id) ORDER BY a.valid_from",
        list(points),
    )
    for id, start, end, *values in found:
        span = Span(values[0], dict(zip(names, values, strict=True)), start, end, id)
        stored.accounts.setdefault(values[1], []).append(span)
