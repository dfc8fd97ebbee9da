"""Archives on paper: the same rows as CSV, XLSX and JSON, for tests that import them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from headend.store import archive
from headend.store.archive import ArchiveError, Complaint, Summary
from headend.store.db import Connection
from tests.support.house import SHANGHAI

#: kind -> rows; a row's keys are its columns
Paper = Mapping[str, Sequence[Mapping[str, Any]]]

#: a small network in which everything occurs
NETWORK: Paper = {
    "organisations": [
        {"organisation": "33", "name": "浙江", "kind": "province", "parent": ""},
        {"organisation": "3301", "name": "杭州", "kind": "city", "parent": "33"},
        {"organisation": "330105", "name": "拱墅所", "kind": "station", "parent": "3301"},
    ],
    "substations": [{"substation": "S1", "name": "柳林变", "organisation": "3301"}],
    "buses": [{"bus": "B1", "name": "10kV I母", "substation": "S1", "voltage_kv": "10.5"}],
    "lines": [
        {"line": "F1", "name": "柳林一线", "voltage_kv": "10", "bus": "B1", "organisation": "3301"},
        {"line": "F2", "name": "柳林二线", "voltage_kv": "10", "bus": "B1", "organisation": "3301"},
    ],
    "transformers": [
        {"transformer": "TR1", "name": "村公变", "owner": "public", "capacity_kva": "400", "p0_kw": "0.57", "pk_kw": "4.3",
         "i0_percent": "1", "uk_percent": "4", "load_coefficient": "1.1", "line": "F1", "bus": ""},
        {"transformer": "TR2", "name": "厂专变", "owner": "customer", "capacity_kva": "630.5", "p0_kw": "", "pk_kw": "",
         "i0_percent": "", "uk_percent": "", "load_coefficient": "", "line": "F1", "bus": ""},
    ],
    "areas": [
        {"area": "A1", "name": "柳林村公变", "capacity_kva": "400", "organisation": "330105", "line": "F1", "transformer": "TR1"},
        {"area": "A2", "name": "城东", "capacity_kva": "315.5", "organisation": "", "line": "", "transformer": ""},
    ],
    "terminals": [
        {"terminal": "T1", "name": "集中器", "protocol": "dlt645", "link": "dial-out", "endpoint": "10.0.0.7:4059", "login": "",
         "organisation": "330105", "maker": "威胜"},
        {"terminal": "T2", "name": "专变终端", "protocol": "dlt645", "link": "dial-in", "endpoint": "", "login": "3301", "organisation": "",
         "maker": ""},
    ],
    "sims": [
        {"sim": "89860000000000000001", "number": "1440000001", "operator": "移动", "plan_bytes": "31457280", "cell": "460-00-1234-5678",
         "terminal": "T2"},
    ],
    "points": [
        {"point": "P1", "kind": "area", "organisation": "330105"},
        {"point": "P2", "kind": "customer", "organisation": ""},
        {"point": "P9", "kind": "gateway", "organisation": "3301"},
    ],
    "meters": [
        {"meter": "M1", "point": "P1", "area": "A1", "role": "supply", "terminal": "T1", "protocol": "dlt645", "address": "000000000001",
         "phases": "3", "ct": "80", "pt": "1", "accuracy": "0.005", "from": "2026-03-01T00:00", "password": "123456", "pn": "1",
         "plans": "curve day month phase", "digits": "8"},
        {"meter": "M2", "point": "P2", "area": "A1", "role": "receive", "terminal": "T1", "protocol": "dlt645", "address": "000000000002",
         "phases": "1", "ct": "1", "pt": "1", "accuracy": "0.01", "from": "2026-03-01T08:00", "password": "", "pn": "2", "plans": "",
         "digits": "6"},
        {"meter": "M3", "point": "P3", "area": "", "role": "", "terminal": "T2", "protocol": "dlt645", "address": "000000000003",
         "phases": "3", "ct": "40", "pt": "100", "accuracy": "0.002", "from": "2026-03-01", "password": "", "pn": "", "plans": "curve",
         "digits": "6"},
    ],
    "roles": [
        {"point": "P1", "kind": "line", "object": "F1", "voltage_kv": "", "role": "receive", "from": "2026-03-01"},
        {"point": "P3", "kind": "line", "object": "F1", "voltage_kv": "", "role": "receive", "from": "2026-03-01"},
        {"point": "P9", "kind": "line", "object": "F1", "voltage_kv": "", "role": "supply", "from": "2026-03-01"},
        {"point": "P9", "kind": "bus", "object": "B1", "voltage_kv": "", "role": "receive", "from": "2026-03-01"},
        {"point": "P9", "kind": "substation", "object": "S1", "voltage_kv": "", "role": "receive", "from": "2026-03-01"},
        {"point": "P3", "kind": "transformer", "object": "TR2", "voltage_kv": "", "role": "supply", "from": "2026-03-01"},
        {"point": "P9", "kind": "organisation", "object": "3301", "voltage_kv": "", "role": "supply", "from": "2026-03-01"},
        {"point": "P9", "kind": "voltage", "object": "3301", "voltage_kv": "10", "role": "supply", "from": "2026-03-01"},
        {"point": "P9", "kind": "voltage", "object": "3301", "voltage_kv": "35", "role": "receive", "from": "2026-03-01"},
    ],
    "customers": [
        {"customer": "C2", "name": "王芳", "phone": "13800000000", "point": "P2", "tariff": "residential", "prepaid": "yes",
         "protected": "", "industry": "", "capacity_kva": "8", "security_kw": ""},
        {"customer": "C3", "name": "=一厂", "phone": "", "point": "P3", "tariff": "industrial", "prepaid": "no", "protected": "透析",
         "industry": "C13 农副食品加工", "capacity_kva": "630", "security_kw": "0"},
    ],
}  # fmt: skip


def changed(paper: Paper, kind: str, row: int, /, **cells: Any) -> dict[str, Any]:
    """The paper with some cells of one row changed, or added."""
    rows = [dict(each) for each in paper[kind]]
    rows[row] |= cells
    return {**paper, kind: rows}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(folder: Path, paper: Paper) -> Path:
    """A folder of files; those that are there already go."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for kind, rows in paper.items():
        with (folder / f"{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, _columns(rows), restval="")
            out.writeheader()
            out.writerows(rows)
    return folder


def write_json(path: Path, paper: Paper) -> Path:
    path.write_text(json.dumps(paper, ensure_ascii=False), encoding="utf-8")
    return path


def write_xlsx(path: Path, paper: Paper) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for kind, rows in paper.items():
        sheet = book.create_sheet(kind)
        sheet.append(_columns(rows))
        for row in rows:
            sheet.append([row.get(name) or None for name in _columns(rows)])
            for cell in sheet[sheet.max_row]:
                if isinstance(cell.value, str):
                    cell.data_type = "s"  # as Excel keeps what was typed as text
    book.save(path)
    return path


def bring(conn: Connection, path: Path, **options: Any) -> Summary:
    """Import and commit."""
    found = archive.load(conn, path, zone=SHANGHAI, **options)
    conn.commit()
    return found


def refused(conn: Connection, path: Path, **options: Any) -> list[Complaint]:
    """The complaints of an import that must fail."""
    try:
        archive.load(conn, path, zone=SHANGHAI, **options)
    except ArchiveError as error:
        conn.rollback()
        return error.complaints
    raise AssertionError("it was imported")


def said(complaints: list[Complaint]) -> list[str]:
    return [str(complaint) for complaint in complaints]


TABLES = (
    "organisation", "organisation_span", "substation", "substation_span", "bus", "line", "line_span", "transformer", "transformer_span",
    "area", "area_span", "terminal", "terminal_span", "sim", "sim_span", "point", "point_span", "meter", "installation", "loss_role",
    "customer", "customer_span", "account",
)  # fmt: skip


def everything(conn: Connection) -> dict[str, list[str]]:
    """The whole archive, row by row as text."""
    found = {}
    for table in TABLES:
        # a role's number says only which came first
        row = "(to_jsonb(t) - 'loss_role_id')::text"
        rows = conn.execute(f"SELECT {row} AS row FROM {table} t").fetchall()
        found[table] = sorted(row["row"] for row in rows)
    conn.commit()
    return found
