"""XLSX: one workbook with a sheet of each kind, or of one; the first row names the columns. Read-only, row by row."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headend.store.archive.complaint import Complaints, Spot
from headend.store.archive.kinds import KINDS
from headend.store.archive.sheet import Sheet

#: unpacked: ten times what a million meters' rows take; beyond it somebody means to fill the memory
MOST_UNPACKED = 4 << 30
#: a double keeps 15 digits: Excel has rounded a longer number already
EXACT = 10**15


def sheets(path: Path, complaints: Complaints) -> Iterator[Sheet]:
    """The workbook's sheets; one with another name than a kind's is complained of."""
    import openpyxl  # type: ignore[import-untyped] # noqa: PLC0415 - a quarter of a second, for those who need it

    if not _opens(path, complaints):
        return
    try:
        # a link to another workbook is never followed, a formula is taken at the value that Excel stored
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # openpyxl says what is wrong with a file by whatever its parts raise
        _refuse(path, complaints, error)
        return
    try:
        if not book.worksheets:
            complaints.add(Spot(path.name, 0), "file", "is a workbook without a sheet")
        for sheet in book.worksheets:
            if sheet.title not in KINDS:
                complaints.add(
                    Spot(path.name, 0), "sheet", f"{sheet.title!r} is none of {', '.join(KINDS)}; rename it or take it out"
                )  # fmt: skip
                continue
            sheet.reset_dimensions()  # what the file says of its size is often wrong
            yield from _sheet(path, sheet, complaints)
    finally:
        book.close()


def _opens(path: Path, complaints: Complaints) -> bool:
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        _refuse(path, complaints, error)
        return False
    if size > MOST_UNPACKED:
        complaints.add(Spot(path.name, 0), "file", f"unpacks to more than {MOST_UNPACKED >> 30} GB")
    return size <= MOST_UNPACKED


def _refuse(path: Path, complaints: Complaints, error: Exception) -> None:
    complaints.add(Spot(path.name, 0), "file", f"is not an XLSX workbook: {error or type(error).__name__}")


def _sheet(path: Path, sheet: Any, complaints: Complaints) -> Iterator[Sheet]:
    file = f"{path.name}[{sheet.title}]"
    rows = _rows(file, sheet, complaints)
    first = next(rows, None)
    header = [] if first is None else [str(cell.value or "").strip() for cell in first[1]]
    while header and not header[-1]:
        header.pop()
    yield Sheet(sheet.title, Spot(file, 1), tuple(header), _records(file, header, rows, complaints))


def _rows(file: str, sheet: Any, complaints: Complaints) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The rows with their numbers, until the file turns out to be broken."""
    line = 0
    try:
        for line, row in enumerate(sheet.iter_rows(), start=1):
            yield line, row
    except Exception as error:  # as above: broken XML comes to light only here
        complaints.add(Spot(file, line + 1), "row", f"cannot be read: {error or type(error).__name__}")


def _records(
    file: str, header: list[str], rows: Iterator[tuple[int, tuple[Any, ...]]], complaints: Complaints
) -> Iterator[tuple[Spot, Mapping[str, str]]]:
    for line, row in rows:
        spot = Spot(file, line)
        record = dict.fromkeys(header, "")
        fine = True
        for k, cell in enumerate(row):
            if cell.value is None:
                continue
            try:
                value = _text(cell)
                if k >= len(header):
                    raise ValueError(f"{value!r} stands beyond the last column")
                record[header[k]] = value
            except ValueError as error:
                complaints.add(spot, header[k] if k < len(header) else "row", str(error))
                fine = False
        # what people formatted and left empty is no row
        if fine and any(record.values()):
            yield spot, record


def _text(cell: Any) -> str:
    """A cell as it would stand in a CSV file."""
    value = cell.value
    if cell.data_type == "e":
        raise ValueError(f"{value} is an error of a formula")
    match value:
        case str():
            return value.strip()
        case bool():
            return "yes" if value else "no"
        case dt.datetime() | dt.date():
            return value.isoformat()
        case int() | float():
            if abs(value) >= EXACT:
                raise ValueError(
                    f"{value:g} is a number of more than 15 digits, which Excel rounds; make the column text"
                )
            return str(int(value)) if value == int(value) else repr(value)
    raise ValueError(f"{value!r} is neither text nor a number")
