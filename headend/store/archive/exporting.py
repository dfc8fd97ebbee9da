"""The archive out: what holds at an instant, in files that import again and change nothing. Passwords only when asked for."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from headend.store.archive.cells import listed
from headend.store.archive.kinds import KINDS, Kind
from headend.store.archive.stored import OBJECT_CODE, OBJECT_JOINS, refer
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: rows fetched at once: a few MB, and few enough round trips
FETCH = 10_000
#: of a sheet of XLSX, by its definition; one of them is the header
SHEET_ROWS = 1_048_576
#: meters.csv holds a meter's ratios, so that ratios.csv would say them twice
EXPORTED = tuple(kind for kind in KINDS.values() if kind.name != "ratios")

Rows = Iterator[dict[str, Any]]


class ExportError(StoreError):
    """The archive cannot be written there."""


def _of_things(kind: Kind) -> str:
    fields, joins = [f"t.{kind.code} AS {kind.key}"], []
    if kind.dated:
        joins.append(
            f"LEFT JOIN {kind.table}_span s ON s.{kind.table}_id = t.{kind.table}_id "
            "AND s.valid_from <= %(now)s AND s.valid_to > %(now)s"
        )
    for k, column in enumerate(kind.columns[1:]):
        table = "s" if column.dated else "t"
        if column.name == "from":
            fields.append('s.valid_from AS "from"')
        elif column.refers:
            joins.append(refer(column, table, f"r{k}"))
            fields.append(f"r{k}.code AS {column.name}")
        else:
            fields.append(f"{table}.{column.column} AS {column.name}")
    return f"SELECT {', '.join(fields)} FROM {kind.table} t {' '.join(joins)} ORDER BY t.{kind.code}"


#: roles that meters.csv says: the only one in an area, and as old as the meter's place
_OWN = (
    "LEFT JOIN LATERAL (SELECT min(area_id) AS area_id, min(role) AS role FROM area_role o WHERE o.point_id = i.point_id "
    "AND o.valid_from <= %(now)s AND o.valid_to > %(now)s HAVING count(*) = 1 AND min(o.valid_from) = i.valid_from "
    "AND min(o.valid_to) = 'infinity') own ON true"
)

_ROLES = (
    f"SELECT p.code AS point, r.kind, {OBJECT_CODE} AS object, r.voltage_kv, r.role, "
    """r.valid_from AS "from", nullif(r.valid_to, 'infinity') AS "to" """
    f"FROM loss_role r JOIN point p USING (point_id) {OBJECT_JOINS} "
)
#: all of them, also those that meters.csv says
EVERY_ROLE = (
    _ROLES + "WHERE r.valid_from <= %(now)s AND r.valid_to > %(now)s ORDER BY p.code, r.kind, 3, r.voltage_kv"
)

#: kind -> its rows at %(now)s, with the columns of its file
SELECTS: Mapping[str, str] = {
    **{kind.name: _of_things(kind) for kind in EXPORTED if kind.name not in ("meters", "roles", "customers")},
    "meters": (
        "SELECT m.asset AS meter, p.code AS point, a.code AS area, own.role, t.code AS terminal, t.protocol, i.address, m.phases, i.ct, "
        'i.pt, m.accuracy::text::numeric AS accuracy, i.valid_from AS "from", i.secrets AS password, i.pn, i.plans, m.digits, i.switch, '
        """nullif(i.valid_to, 'infinity') AS "to" FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) """
        f"JOIN terminal t USING (terminal_id) {_OWN} LEFT JOIN area a ON a.area_id = own.area_id "
        "WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s ORDER BY m.asset"
    ),
    "roles": _ROLES
    + f"LEFT JOIN installation i ON i.point_id = r.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s {_OWN} "
    "WHERE r.valid_from <= %(now)s AND r.valid_to > %(now)s AND (r.area_id IS NULL OR r.area_id IS DISTINCT FROM own.area_id) "
    "ORDER BY p.code, r.kind, 3, r.voltage_kv",
    "customers": (
        "SELECT c.number AS customer, c.name, c.phone, p.code AS point, a.tariff, a.prepaid, a.protected, s.industry, s.capacity_kva, "
        "s.basic_by, s.contract_kw, s.security_kw, a.fee_control, "
        """a.valid_from AS "from", nullif(a.valid_to, 'infinity') AS "to" FROM account a JOIN customer c USING (customer_id) """
        "JOIN point p USING (point_id) LEFT JOIN customer_span s ON s.customer_id = c.customer_id AND s.valid_from <= %(now)s "
        "AND s.valid_to > %(now)s WHERE a.valid_from <= %(now)s AND a.valid_to > %(now)s ORDER BY c.number, p.code"
    ),
}  # fmt: skip


def export(conn: Connection, path: Path, *, now: Any, zone: ZoneInfo, reveal: bool = False) -> dict[str, int]:
    """Write what holds at `now` (datetime64 UTC): a .xlsx, a .json, or a folder of CSV files. Rows by kind.

    Everything is written beside its place and put there at the end. `reveal`: with the meters' passwords."""
    writer = WRITERS.get(path.suffix.lower())
    if writer is None and path.suffix:
        raise ExportError(f"{path} is neither a .xlsx nor a .json nor a folder; name one of these")
    with conn.transaction():
        # no import in between: all files tell of one moment
        conn.execute("SELECT pg_advisory_xact_lock_shared(hashtext('archive'))")
        counts: dict[str, int] = {}

        def rows(kind: Kind) -> Rows:
            counts[kind.name] = 0
            with conn.cursor(name="archive_export") as cursor:
                cursor.itersize = FETCH
                for row in cursor.execute(SELECTS[kind.name], {"now": as_datetime(now)}):
                    counts[kind.name] += 1
                    yield {name: _value(row[name], zone) for name in _columns(kind, reveal)}

        (writer or _csv)(path, rows, reveal)
    return counts


def _columns(kind: Kind, reveal: bool) -> list[str]:
    return [column.name for column in kind.columns if reveal or column.name != "password"]


def _value(value: Any, zone: ZoneInfo) -> Any:
    """As a cell: text, a number, yes or no, or None."""
    match value:
        case dt.datetime():
            return value.astimezone(zone).isoformat()
        case dict():
            return value.get("password", "")
        case list():
            return listed(value)
        case Decimal():
            return value.normalize() if value != value.to_integral_value() else Decimal(int(value))
    return value


def _csv(folder: Path, rows: Callable[[Kind], Rows], reveal: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    try:
        for kind in EXPORTED:
            part = parts[folder / f"{kind.name}.csv"] = folder / f".{kind.name}.csv.part"
            with part.open("w", encoding="utf-8", newline="") as file:
                out = csv.writer(file, lineterminator="\n")
                out.writerow(_columns(kind, reveal))
                out.writerows(map(_texts, rows(kind)))
        for place, part in parts.items():
            os.replace(part, place)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _texts(row: dict[str, Any]) -> list[str]:
    return [_text(value) for value in row.values()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _json(path: Path, rows: Callable[[Kind], Rows], reveal: bool) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(b"{")
        for k, kind in enumerate(EXPORTED):
            file.write(b"%s\n%s: [" % (b"," if k else b"", json.dumps(kind.name).encode()))
            for n, row in enumerate(rows(kind)):
                cells = ", ".join(f"{json.dumps(name)}: {_literal(value)}" for name, value in row.items())
                file.write(f"{',' if n else ''}\n  {{{cells}}}".encode())
            file.write(b"\n]")
        file.write(b"\n}\n")

    _whole(path, write)


def _literal(value: Any) -> str:
    """Decimals as they are, not by way of a float."""
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


#: row by row to disk; text stays text, even where it begins with = or looks like a number or a link
_BOOK = {
    "constant_memory": True, "strings_to_formulas": False, "strings_to_numbers": False, "strings_to_urls": False,
}  # fmt: skip


def _xlsx(path: Path, rows: Callable[[Kind], Rows], reveal: bool) -> None:
    from xlsxwriter import Workbook  # noqa: PLC0415 - for those who need it

    def write(file: IO[bytes]) -> None:
        book = Workbook(file, _BOOK)
        try:
            for kind in EXPORTED:
                _sheet(book.add_worksheet(kind.name), kind, rows(kind), reveal)
        finally:
            book.close()

    _whole(path, write)


def _sheet(sheet: Any, kind: Kind, rows: Rows, reveal: bool) -> None:
    sheet.write_row(0, 0, _columns(kind, reveal))
    for n, row in enumerate(rows, start=1):
        if n >= SHEET_ROWS:
            raise ExportError(
                f"{kind.name} have more rows than a sheet holds; export to a folder of CSV files"
            )
        for k, value in enumerate(row.values()):
            if isinstance(value, str | bool):
                sheet.write_string(n, k, _text(value))
            elif value is not None:
                sheet.write_number(n, k, value)


def _whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


WRITERS = {".xlsx": _xlsx, ".json": _json}
