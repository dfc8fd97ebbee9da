"""A findings report as a workbook: by rule, all findings with their numbers, the days before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from headend.export.findings_html import numbers
from headend.export.findings_report import SEVERITIES, SEVERITIES_ZH, Report
from headend.export.workbook import workbook

_COLUMNS: Final = (
    ("id", "编号", 8), ("severity", "级别", 9), ("rule", "规则", 16), ("of", "类别", 9), ("subject", "对象", 18), ("finding", "异常", 60),
    ("异常", "中文", 50), ("since", "起", 11), ("newest", "最近", 11), ("days", "天数", 6), ("state", "状态", 13), ("work order", "工单", 14),
    ("again after", "复发自", 9), ("numbers", "证据", 60),
)  # fmt: skip
#: a cell of a workbook holds 32,767 characters
_CELL: Final = 32_000


def write(handle: BinaryIO, report: Report) -> int:
    """Rows written."""
    book, head = workbook(handle, report.title)
    page = book.add_worksheet("findings 异常")
    page.freeze_panes(1, 5)
    for k, (en, zh, width) in enumerate(_COLUMNS):
        page.set_column(k, k, width)
        page.write_string(0, k, f"{en} {zh}", head)
    for line, row in enumerate(report.rows, start=1):
        for k, value in enumerate(_cells(row)):
            if isinstance(value, int):
                page.write_number(line, k, value)
            elif value:
                page.write_string(line, k, value)
    rules = book.add_worksheet("by rule 按规则")
    rules.set_column(0, 0, 18)
    names = (
        "rule 规则",
        "findings 异常",
        *(f"{s} {SEVERITIES_ZH[s]}" for s in SEVERITIES),
        "new 新",
        "recurred 复发",
        "work order 工单",
        "oldest 最早",
    )
    rules.write_row(0, 0, names, head)
    for line, rule in enumerate(report.rules, start=1):
        counts = (
            rule.count,
            *(rule.by_severity.get(s, 0) for s in SEVERITIES),
            rule.fresh,
            rule.recurred,
            rule.ordered,
        )
        rules.write_row(line, 0, (rule.rule, *counts, rule.oldest.isoformat()))
    days = book.add_worksheet("by day 按日")
    days.set_column(0, 0, 12)
    days.write_row(0, 0, ("day 日期", *(f"{s} {SEVERITIES_ZH[s]}" for s in SEVERITIES)), head)
    for line, (day, counted) in enumerate(report.history, start=1):
        days.write_row(line, 0, (day.isoformat(), *(counted.get(s, 0) for s in SEVERITIES)))
    book.close()
    return len(report.rows)


def _cells(row: Mapping[str, Any]) -> tuple[int | str | None, ...]:
    lists = {name: value for name, value in row["evidence"].items() if isinstance(value, list)}
    told = numbers(row["evidence"]) + (f" {json.dumps(lists)}" if lists else "")
    return (
        row["finding_id"], row["severity"], row["rule"], row["subject_kind"], str(row["subject"]), row["title_en"], row["title_zh"],
        row["first_day"].isoformat(), row["day"].isoformat(), row["days"], row["state"], row["work_order"], row["again_of"], told[:_CELL],
    )  # fmt: skip
