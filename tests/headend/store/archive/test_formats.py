"""Garbage in each format: every complaint with its place, nothing imported, nothing raised that is not ours."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.store import archive
from headend.store.archive import ArchiveError, NotAnArchive, files, rows
from headend.store.archive.complaint import Complaints
from headend.store.db import Connection
from tests.support.house import SHANGHAI, one
from tests.support.papers import (
    NETWORK,
    bring,
    changed,
    everything,
    refused,
    said,
    write_csv,
    write_json,
    write_xlsx,
)

AREA = {"area": "A1", "name": "a", "capacity_kva": "400"}


def heard(path: Path) -> list[str]:
    """What reading alone complains of."""
    complaints = Complaints()
    rows.read(path, SHANGHAI, None, complaints)
    return said(complaints.kept)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "a.json:1: file: is not JSON: Expecting value (column 1)"),
        ('{"areas": [\n{"area": }]}', "a.json:2: file: is not JSON: Expecting value (column 10)"),
        ("[]", "a.json:1: file: is not an object of lists"),
        ('{"areas": {}}', "a.json: $.areas: is not a list"),
        ('{"area": []}', "a.json: $.area: is none of organisations, substations, "),
        ('{"areas": [1]}', "a.json: $.areas[0].row: is not an object"),
        ('{"areas": [{"area": "A1", "name": "x"}]}', "a.json: $.areas[0].capacity_kva: column missing; the header needs area,name,capacity_kva"),
        ('{"areas": [{"area": "A1", "name": ["x"], "capacity_kva": 1}]}', "a.json: $.areas[0].name: is neither text, number, true, false nor null"),
        ('{"areas": [{"area": "A1", "name": "x", "capacity_kva": NaN}]}', "a.json: $.areas[0].capacity_kva: 'NaN' is not between 0.1 and 100000"),
        ('{"areas": [{"area": "A1", "name": "x", "capacity_kva": 1.25}]}', "a.json: $.areas[0].capacity_kva: '1.25' has more than 1 decimal place"),
        ('{"areas": [{"area": "A1", "area": "A2"}]}', "a.json:1: file: 'area' stands twice in one object"),
        ('{"areas": [], "areas": []}', "a.json:1: file: 'areas' stands twice in one object"),
        ("[" * 100_000, "a.json:1: file: is nested too deeply"),
        ('{"areas": [{"area": "A1", "name": "x", "capacity_kva": 1, "more": 2}]}', "a.json: $.areas[0].more: no such column; there are area,"),
    ],
)  # fmt: skip
def test_json(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    (complaint,) = heard(path)
    assert complaint.startswith(says)


def test_json_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"areas": "\xc1\xf8\xc1\xd6"}')
    assert heard(path) == ["a.json:1: file: is not UTF-8 (byte 11); save it as UTF-8"]


def test_json_says_who_stands_there_already(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"areas": [AREA, AREA]})
    assert heard(path) == ["a.json: $.areas[1].area: 'A1' stands in $.areas[0] already"]


def workbook(path: Path, *cells: Any, title: str = "areas") -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in cells:
        sheet.append(row)
    book.save(path)
    return path


HEAD = list(AREA)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([HEAD, ["A1", "x", 0]], ["a.xlsx[areas]:2: capacity_kva: '0' is not between 0.1 and 100000"]),
        ([HEAD, [], ["A1", "x", 100.25]], ["a.xlsx[areas]:3: capacity_kva: '100.25' has more than 1 decimal place"]),
        ([HEAD, ["A1", "x", 100, "y"]], ["a.xlsx[areas]:2: row: 'y' stands beyond the last column"]),
        ([HEAD[:2], ["A1", "x"]], ["a.xlsx[areas]:1: capacity_kva: column missing; the header needs area,name,capacity_kva"]),
        ([HEAD, ["A1", "x", 1], ["A1", "y", 1]], ["a.xlsx[areas]:3: area: 'A1' stands in line 2 already"]),
        ([HEAD, [4100000100021234567, "x", 1]], ["a.xlsx[areas]:2: area: 4.1e+18 is a number of more than 15 digits, "
                                                "which Excel rounds; make the column text"]),
        ([HEAD, ["A1", "#REF!", 1]], ["a.xlsx[areas]:2: name: #REF! is an error of a formula"]),
        ([HEAD, ["A1", dt.time(1, 2), 1]], ["a.xlsx[areas]:2: name: datetime.time(1, 2) is neither text nor a number"]),
        ([], ["a.xlsx[areas]:1: area: column missing; the header needs area,name,capacity_kva"]),
    ],
)  # fmt: skip
def test_xlsx(tmp_path: Path, table: list[list[Any]], says: list[str]) -> None:
    assert heard(workbook(tmp_path / "a.xlsx", *table)) == says


def test_numbers_and_dates_of_a_workbook_are_taken_as_meant(store: Connection, tmp_path: Path) -> None:
    """People type numbers as numbers and dates as dates, and leave formatted rows behind."""
    bring(store, write_csv(tmp_path / "p", NETWORK))
    row = dict(NETWORK["meters"][0]) | {
        "ct": 120,
        "pt": 1.0,
        "accuracy": 0.005,
        "from": dt.datetime(2026, 4, 1),
        "pn": 1,
    }
    path = workbook(
        tmp_path / "a.xlsx", list(row), list(row.values()), [None] * 3, ["", "  "], title="meters"
    )
    assert bring(store, path).changes[0].shown() == {"ct": ("80", "120")}


def test_a_sheet_of_another_name(tmp_path: Path) -> None:
    (complaint,) = heard(workbook(tmp_path / "a.xlsx", HEAD, title="area"))
    assert complaint.startswith("a.xlsx:0: sheet: 'area' is none of organisations, ")


def broken(packed: bytes, name: str, content: bytes) -> bytes:
    """The workbook with one part replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry == name else old.read(entry))
    return out.getvalue()


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (None, b""), (None, b"PK\x03\x04nonsense"), ("xl/workbook.xml", b"<nonsense"), ("xl/workbook.xml", b"<a/>"),
        ("xl/worksheets/sheet1.xml", b"<worksheet><sheetData><row><c"), ("[Content_Types].xml", b"<Types/>"),
        ("xl/styles.xml", b"\x00\x01"),
    ],
)  # fmt: skip
def test_workbooks_that_are_none(tmp_path: Path, part: str | None, content: bytes) -> None:
    path = workbook(tmp_path / "a.xlsx", HEAD, list(AREA.values()))
    path.write_bytes(content if part is None else broken(path.read_bytes(), part, content))
    complaints = heard(path)
    assert complaints
    assert all(line.startswith("a.xlsx") for line in complaints), complaints


def test_a_workbook_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", HEAD)
    monkeypatch.setattr("headend.store.archive.xlsxfile.MOST_UNPACKED", 1 << 10)
    assert heard(path) == ["a.xlsx:0: file: unpacks to more than 0 GB"]


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "p", {"areas": [AREA | {"area": f"A{k}"} for k in range(4)]})
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    with pytest.raises(NotAnArchive, match=r"areas\.csv goes beyond 3 rows; import it in parts"):
        heard(path)
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    with pytest.raises(NotAnArchive, match="import it in parts"):
        heard(path)


@pytest.mark.parametrize("name", ["a.txt", "area.csv", "a.xls"])
def test_files_of_no_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(NotAnArchive, match="is no file of an archive: "):
        heard(tmp_path / name)


@pytest.mark.parametrize("name", ["areas.csv", "a.json", "a.xlsx"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300))
def test_noise(tmp_path: Path, name: str, noise: bytes) -> None:
    """Any bytes at all: complaints, or no rows."""
    (tmp_path / name).write_bytes(noise)
    complaints = Complaints()
    found = rows.read(tmp_path / name, SHANGHAI, None, complaints)
    assert complaints.total or not any(found.values())


@pytest.mark.parametrize("write", [write_csv, write_json, write_xlsx], ids=["csv", "json", "xlsx"])
def test_nothing_of_a_broken_archive_is_imported(store: Connection, tmp_path: Path, write: Any) -> None:
    """The last row of the last file: what came before it is not imported either."""
    suffix = {"write_json": ".json", "write_xlsx": ".xlsx"}.get(write.__name__, "")
    path = write(tmp_path / f"a{suffix}", changed(NETWORK, "customers", 1, tariff=""))
    (complaint,) = refused(store, path)
    assert (complaint.column, complaint.reason) == ("tariff", "is empty")
    assert not any(everything(store).values())
    with pytest.raises(ArchiveError, match="1 error in the archive; nothing was imported"):
        archive.load(store, path, zone=SHANGHAI)
    assert one(store, "SELECT count(*) FROM area") == 0
