"""A loss report as a workbook: the ranking, the history of the worst, and what the columns mean."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import numpy as np

from headend.export.loss_report import KINDS_ZH, Entry, Report
from headend.export.workbook import workbook

_COLUMNS: Final = (
    ("rank", "排名", "1 is the worst; empty: not known"),
    ("code", "编号", ""),
    ("name", "名称", ""),
    ("status", "状态", "known; bounded: a part is missing, the loss lies within limits; unknown"),
    ("supplied", "供电量", "kWh, primary side; of a bounded object what was metered"),
    ("sold", "售电量", "kWh"),
    ("loss", "损失电量", "kWh; of a bus: what came in less what went out"),
    ("loss_low", "损失下限", "kWh; the true loss is not below"),
    ("loss_high", "损失上限", "kWh; the true loss is not above"),
    ("rate", "损失率", "loss / supplied; of a bus: unbalance"),
    ("uncertain", "排名不确定", "yes: its bounds reach into those of the next one"),
    ("judged", "越限", "over, under: certainly beyond its limits; perhaps: the figure is, its bounds are not"),
    ("before", "上期损失率", "of the day or month before"),
    ("week ago", "上周同日", "of the same day a week before"),
    ("moved", "变化显著", "yes: the bounds of now and before lie apart"),
    ("iron", "铁损", "kWh, of a transformer by its plate"),
    ("copper", "铜损", "kWh"),
    ("load", "负载率", "mean share of the capacity"),
    ("points", "应采点", ""),
    ("points read", "实采点", ""),
    ("why", "原因", ""),
)  # fmt: skip


def write(handle: BinaryIO, report: Report) -> int:
    """Rows written."""
    book, head = workbook(handle, report.title)
    forms = {"kwh": book.add_format({"num_format": "0.00"}), "rate": book.add_format({"num_format": "0.00%"})}
    page = book.add_worksheet(f"loss {KINDS_ZH[report.kind]}")
    page.freeze_panes(1, 3)
    page.set_column(0, len(_COLUMNS) - 1, 13)
    page.write_row(0, 0, [f"{en} {zh}" for en, zh, _ in _COLUMNS], head)
    for line, entry in enumerate(report.entries, start=1):
        for k, (value, form) in enumerate(_cells(entry)):
            _put(page, line, k, value, forms.get(form))
    _history(book.add_worksheet("history 历史"), report, head, forms)
    about = book.add_worksheet("columns 说明")
    about.set_column(0, 2, 40)
    for k, row in enumerate((("column", "列", "meaning"), *_COLUMNS)):
        about.write_row(k, 0, row, head if not k else None)
    book.close()
    return len(report.entries)


def _cells(entry: Entry) -> list[tuple[Any, str]]:
    row = entry.row
    energies = [(_kwh(row[name]), "kwh") for name in ("supplied", "sold", "loss", "loss_low", "loss_high")]
    plate = [(_kwh(row["iron"]), "kwh"), (_kwh(row["copper"]), "kwh"), (row["load"], "rate")]
    return [
        (entry.rank or None, ""), (entry.name, ""), (row["name"], ""), (row["status"], ""), *energies, (entry.rate, "rate"),
        ("yes" if entry.uncertain else None, ""), (entry.judged, ""), (entry.before, "rate"), (entry.week, "rate"),
        ("yes" if entry.moved else None, ""), *plate, (row["points_due"], ""), (row["points_have"], ""), (row["why"], ""),
    ]  # fmt: skip


def _history(page: Any, report: Report, head: Any, forms: dict[str, Any]) -> None:
    page.freeze_panes(1, 0)
    page.write_row(
        0, 0, ("code 编号", "from 起", "status 状态", "supplied 供电量", "loss 损失电量", "rate 损失率"), head
    )
    line = 0
    for entry in report.worst:
        for past in report.histories[entry.object]:
            line += 1
            cells = (entry.name, past["first_day"].isoformat(), past["status"])
            for k, cell in enumerate(cells):
                page.write_string(line, k, cell)
            _put(page, line, 3, _kwh(past["supplied"]), forms["kwh"])
            _put(page, line, 4, _kwh(past["loss"]), forms["kwh"])
            _put(page, line, 5, past["rate"], forms["rate"])


def _kwh(units: int | None) -> float | None:
    return None if units is None else units / 10_000


def _put(page: Any, line: int, column: int, value: Any, form: Any = None) -> None:
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return
    if isinstance(value, str):
        page.write_string(line, column, value)
    else:
        page.write_number(line, column, value, form)
