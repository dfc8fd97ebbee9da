"""From text to values: the columns checked against the kind's, each cell parsed, no key twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from headend.store.archive import files
from headend.store.archive.cells import located
from headend.store.archive.complaint import Complaints, NotAnArchive, Spot
from headend.store.archive.kinds import KINDS, Kind, Leader
from headend.store.archive.sheet import Sheet

#: rows of one import: all of them, and what the store has of the same, are in memory at once (2 KB a meter)
MOST_ROWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """What a file says of one thing; what it does not say is not in `cells`. Times in it are instants."""

    spot: Spot
    cells: dict[str, Any]


def read(path: Path, zone: ZoneInfo, source: Leader | None, complaints: Complaints) -> dict[str, list[Row]]:
    """kind -> its rows. A row with a complaint is left out. `source` need not bring the columns that it does not lead."""
    found: dict[str, list[Row]] = {}
    begun: dict[str, Spot] = {}
    total = 0
    for sheet in files.sheets(path, complaints):
        if sheet.kind in begun:
            complaints.add(sheet.spot, "file", f"{sheet.kind} stand in {begun[sheet.kind].file} already")
            continue
        begun[sheet.kind] = sheet.spot
        rows = _rows(sheet, KINDS[sheet.kind], zone, source, complaints, MOST_ROWS - total)
        total += len(rows)
        found[sheet.kind] = rows
    return found


def _rows(
    sheet: Sheet, kind: Kind, zone: ZoneInfo, source: Leader | None, complaints: Complaints, most: int
) -> list[Row]:
    if sheet.header is not None and not _fits(sheet.spot, sheet.header, kind, source, complaints):
        return []
    rows: list[Row] = []
    seen: dict[Any, tuple[Spot, Row]] = {}
    parsers = {column.name: column.parse for column in kind.columns}
    dates = {column.name for column in kind.columns if column.name in ("from", "to")}
    for spot, record in sheet.records:
        if sheet.header is None and not _fits(spot, tuple(record), kind, source, complaints):
            continue
        cells: dict[str, Any] = {}
        for name, text in record.items():
            try:
                value = parsers[name](text.strip())
                if name in dates and value is not None:
                    value = located(value, zone)
                cells[name] = value
            except ValueError as error:
                complaints.add(spot, name, str(error))
        if len(cells) != len(record) or not _dates_fit(spot, cells, complaints):
            continue
        row = Row(spot, cells)
        key, of = _keys(kind, cells)
        if key in seen or (of in seen and not _agree(kind, seen[of][1], row)):
            first = seen[key if key in seen else of][0]
            complaints.add(spot, kind.key, f"{cells[kind.key]!r} stands in {first} already")
            continue
        if len(rows) >= most:
            raise NotAnArchive(
                f"{spot.file} goes beyond {MOST_ROWS} rows; import it in parts, one after the other"
            )
        seen[key] = seen[of] = (spot, row)
        rows.append(row)
    return rows


def _dates_fit(spot: Spot, cells: Mapping[str, Any], complaints: Complaints) -> bool:
    begin: dt.datetime | None = cells.get("from")
    end: dt.datetime | None = cells.get("to")
    fit = begin is None or end is None or begin < end
    if not fit:
        complaints.add(spot, "to", "is not later than `from`")
    return fit


def _keys(kind: Kind, cells: Mapping[str, Any]) -> tuple[Any, Any]:
    """What must not stand twice, and what may, if the rows agree on it."""
    key = cells[kind.key]
    if kind.name == "customers":
        return (key, cells["point"]), key
    if kind.name == "roles":
        key = (key, cells["kind"], cells["object"], cells.get("voltage_kv"))
    return key, key


def _agree(kind: Kind, one: Row, other: Row) -> bool:
    """A customer of several metering points is one customer."""
    about = [column.name for column in kind.columns if column.store != "-"]
    return all(one.cells.get(name) == other.cells.get(name) for name in about)


def _fits(
    spot: Spot, header: tuple[str, ...], kind: Kind, source: Leader | None, complaints: Complaints
) -> bool:
    names = [column.name for column in kind.columns]
    needed = [
        column.name for column in kind.columns
        if column.needed and (source is None or column.leader == source or column.name in (kind.key, "from"))
    ]  # fmt: skip
    absent = [name for name in needed if name not in header]
    unknown = [name for name in header if name not in names]
    if absent:
        complaints.add(spot, absent[0], f"column missing; the header needs {','.join(needed)}")
    elif unknown:
        complaints.add(spot, unknown[0] or "row", f"no such column; there are {','.join(names)}")
    elif len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        complaints.add(spot, twice, "column stands twice")
    else:
        return True
    return False
