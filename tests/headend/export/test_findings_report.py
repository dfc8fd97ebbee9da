"""The report of findings: counted by rule and severity, the severest first; the workbook and the page hold what the store holds."""

from __future__ import annotations

import datetime as dt
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import openpyxl
import pytest

from headend.export import findings_html, findings_report, findings_xlsx
from headend.store import findings
from headend.store.db import Connection
from headend.store.findings import Found
from tests.support.house import at, place

DAYS = [dt.date(2026, 3, 9) + dt.timedelta(days=k) for k in range(3)]


def found(meter: int, rule: str, severity: str, **evidence: Any) -> Found:
    return Found(rule, 2, "meter", meter, severity, f"<{rule}> of {meter}", "电压越限", evidence)


def say(conn: Connection, day: dt.date, *some: Found) -> None:
    with conn.transaction():
        findings.save(
            conn, day, ("voltage", "flat", "stopped"), some, now=at(f"{day + dt.timedelta(days=1)} 00:40")
        )
    conn.commit()


@pytest.fixture
def three(store: Connection) -> list[int]:
    """Of meter 1 two rules speak, on two days; of meter 2 one, on the second; meter 3's is closed."""
    meters = [place(store, str(k)).meter for k in (1, 2, 3)]
    curve = [220.0, None, 240.5, 241.0] * 24
    once = found(meters[2], "stopped", "warning")
    say(store, DAYS[0], found(meters[0], "voltage", "warning", minutes=30, curve_v=curve), once)
    (stopped,) = findings.listing(store, rule="stopped")
    findings.close(store, stopped["finding_id"], "li", at("2026-03-10 08:00"), "exchanged")
    say(
        store, DAYS[1], found(meters[0], "voltage", "alarm", minutes=90, curve_v=curve), found(meters[0], "flat", "info"),
        found(meters[1], "flat", "warning", curves_a=[[1.0, 2.0], [None, None], [3.0, None]]),
    )  # fmt: skip
    return meters


def test_what_is_open_by_rule_and_by_day(store: Connection, three: list[int]) -> None:
    told = findings_report.build(store, None, DAYS[2])
    assert told.total == 3
    assert [(r.rule, r.count, r.by_severity, r.fresh, r.oldest) for r in told.rules] == [
        ("voltage", 1, {"alarm": 1}, 1, DAYS[0]),
        ("flat", 2, {"info": 1, "warning": 1}, 2, DAYS[1]),
    ]
    assert [(row["rule"], row["severity"], row["days"]) for row in told.rows] == [
        ("voltage", "alarm", 2), ("flat", "warning", 1), ("flat", "info", 1),
    ]  # fmt: skip
    assert [(s.kind, s.code, s.rules) for s in told.several] == [("meter", "1", ["flat", "voltage"])]
    assert len(told.history) == findings_report.BACK
    assert told.history[-3:] == [
        (DAYS[0], {"warning": 2}), (DAYS[1], {"alarm": 1, "info": 1, "warning": 1}), (DAYS[2], {}),
    ]  # fmt: skip


def test_a_day_is_told_as_it_was_said_then(store: Connection, three: list[int]) -> None:
    told = findings_report.build(store, DAYS[0], DAYS[2])
    assert told.title == "findings of 2026-03-09"
    assert [(r.rule, r.by_severity) for r in told.rules] == [
        ("stopped", {"warning": 1}),
        ("voltage", {"warning": 1}),
    ]
    assert told.history[-1] == (DAYS[0], {"warning": 2})
    assert told.total == len(told.rows) == 2


def test_nothing_is_a_report_too(store: Connection) -> None:
    told = findings_report.build(store, None, DAYS[2])
    assert (told.total, told.rules, told.rows) == (0, [], [])
    assert "0" in findings_html.page(told)
    assert findings_xlsx.write(BytesIO(), told) == 0


class Page(HTMLParser):
    """Balanced tags, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.drawn = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawn += tag == "svg"
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing to close."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data.strip())


def test_the_page_is_whole_and_draws_what_the_rules_saw(store: Connection, three: list[int]) -> None:
    text = findings_html.page(findings_report.build(store, None, DAYS[2]))
    page = Page(text)
    assert page.open == []
    assert page.drawn == 4  # by rule, by day, two findings with curves
    assert f"<voltage> of {three[0]}" in page.said  # as text
    assert "http" not in text.replace("http-equiv", "")
    assert any("minutes=90" in said for said in page.said)


def test_the_workbook_has_all_of_them(store: Connection, three: list[int]) -> None:
    kept = BytesIO()
    assert findings_xlsx.write(kept, findings_report.build(store, None, DAYS[2])) == 3
    book = openpyxl.load_workbook(kept)
    assert book.sheetnames == ["findings 异常", "by rule 按规则", "by day 按日"]
    rows = list(book["findings 异常"].iter_rows(min_row=2, values_only=True))
    assert [row[1:5] for row in rows] == [
        ("alarm", "voltage", "meter", "1"), ("warning", "flat", "meter", "2"), ("info", "flat", "meter", "1"),
    ]  # fmt: skip
    assert "minutes=90" in rows[0][13]
    assert "241.0" in rows[0][13]
    assert list(book["by rule 按规则"].iter_rows(min_row=2, max_col=5, values_only=True)) == [
        ("voltage", 1, 1, 0, 0), ("flat", 2, 0, 1, 1),
    ]  # fmt: skip
