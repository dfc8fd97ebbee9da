"""A workbook for people: the wide table with a frozen header, and a sheet that explains its columns in Chinese and English.

A spreadsheet's numbers are doubles of fifteen digits; a register of nine digits before the point and four behind it is shown as it is, but
programs should take a format that keeps decimals.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

import numpy as np
import xlsxwriter

from headend.export.about import About, ExportError, column, remarks
from headend.export.text import present
from headend.store.sheets import QUALITIES, Sheet
from protocols.localtime import as_datetime
from protocols.quantity import quantities

SUFFIX: Final = ".xlsx"
#: what a worksheet holds, header included
MOST_ROWS: Final = 1_048_576
_QUALITIES: Final = {
    "measured": ("what the meter said first", "电表首次回答的值"),
    "revised": ("another value read later; the first one is kept", "再次抄读得到不同的值，原值保留"),
    "edited": ("a person's value", "人工修改"),
    "estimated": ("an estimate until the meter's own value comes; method and reason in remarks", "估算值，方法与原因见 remarks"),
}  # fmt: skip
_RULES: Final = (
    (
        "slot_end",
        "the end of the slot, local time; day D owns the slots in (D 00:00, D+1 00:00]",
        "时段结束时刻（当地时间）；D日包含 (D 00:00, D+1 00:00] 的时段",
    ),
    ("offset", "of local time from UTC at that moment", "当地时间与 UTC 的差"),
    (
        "remarks",
        "JSON: {quantity: [quality, method, reason]} of what is not the meter's first word",
        "非首次实测的量：质量、方法、原因",
    ),
)


def check(about: About) -> None:
    """ExportError before a row too many is written."""
    most = about.meters * len(about.span.times)
    if most >= MOST_ROWS:
        fit = (MOST_ROWS - 1) // len(about.span.times)
        raise ExportError(
            f"{about.meters} meters x {len(about.span.times)} slots may be {most} rows, a worksheet holds {MOST_ROWS - 1}; "
            f"choose up to {fit} meters, a shorter span, or csv-wide or parquet"
        )


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Returns the rows written. ExportError if a worksheet is too small for what was asked."""
    check(about)
    book = xlsxwriter.Workbook(
        handle, {"constant_memory": True, "strings_to_urls": False, "strings_to_formulas": False}
    )
    book.set_properties({"created": as_datetime(about.now).replace(tzinfo=None), "title": "readings 读数"})
    head = book.add_format({"bold": True, "bottom": 1})
    page = book.add_worksheet("readings 读数")
    page.freeze_panes(1, 2)
    names = ("meter", "slot_end", "offset", *(column(code) for code in about.codes), "quality", "remarks")
    page.set_column(0, len(names) - 1, 16)
    page.write_row(0, 0, names, head)
    forms = {kind: book.add_format({"num_format": form}) for kind, form in _FORMS.items()}
    line = 0
    for sheet in sheets:
        line = _fill(page, sheet, about, line, forms)
    _explain(book, about, head)
    book.close()
    return line


_FORMS: Final = {
    "register": "0.0000",
    "event": "0",
    "instant": "0.####",
    "demand": "0.####",
    "moment": "yyyy-mm-dd hh:mm",
}


def _fill(page: Any, sheet: Sheet, about: About, line: int, forms: dict[str, Any]) -> int:
    """One sheet's rows below line `line`; the last line written."""
    said, worst = remarks(sheet), sheet.worst()
    local = [as_datetime(when, about.zone) for when in about.span.times]
    kinds = [quantities()[code].kind for code in about.codes]
    grids = [
        (sheet.columns[code], present(sheet.columns[code]), kind)
        for code, kind in zip(about.codes, kinds, strict=True)
    ]
    for m, t in zip(*(axis.tolist() for axis in np.nonzero(sheet.there())), strict=True):
        line += 1
        page.write_string(line, 0, sheet.assets[m])
        page.write_datetime(line, 1, local[t].replace(tzinfo=None), forms["moment"])
        page.write_string(line, 2, local[t].isoformat()[-6:])
        for k, (values, there, kind) in enumerate(grids, start=3):
            if there[m, t]:
                _write(page, line, k, values[m, t], kind, about, forms[kind])
        page.write_string(line, 3 + len(grids), QUALITIES[worst[m, t]])
        if (m, t) in said:
            page.write_string(line, 4 + len(grids), said[m, t])
    return line


def _write(page: Any, line: int, k: int, value: Any, kind: str, about: About, form: Any) -> None:
    if kind == "moment":
        when: dt.datetime = as_datetime(np.datetime64(int(value), "us"), about.zone)
        page.write_datetime(line, k, when.replace(tzinfo=None), form)
    elif kind == "register":
        page.write_number(line, k, int(value) / 10_000, form)
    else:
        # the shortest text of a float32, not the double that lies next to it
        page.write_number(line, k, float(str(value)), form)


def _explain(book: Any, about: About, head: Any) -> None:
    page = book.add_worksheet("columns 说明")
    page.freeze_panes(1, 0)
    page.set_column(0, 2, 40)
    page.write_row(0, 0, ("column 列", "meaning", "含义", "unit 单位", "OBIS"), head)
    rows = [(*rule, "", "") for rule in _RULES]
    for code in about.codes:
        q = quantities()[code]
        rows.append((column(code), q.name_en, q.name_zh, q.unit, q.obis))
    rows += [(f"quality: {name}", en, zh, "", "") for name, (en, zh) in _QUALITIES.items()]
    rows.append(
        ("registers 表底", "secondary side: CT and PT are not applied", "二次侧，未乘 CT、PT 变比", "", "")
    )
    rows.append(("zone 时区", str(about.zone), str(about.zone), "", ""))
    for k, row in enumerate(rows, start=1):
        page.write_row(k, 0, row)
