"""The report of losses: rank, limits, comparison; the workbook and the page hold what the store holds."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import openpyxl
import pytest

from headend.export import loss_html, loss_report, loss_xlsx
from headend.export.loss_report import judge
from headend.store import splits
from headend.store.db import Connection
from headend.store.splits import ObjectLoss
from tests.support.house import SHANGHAI, at

DAY = dt.date(2026, 3, 10)
KWH = 10_000


def loss(object_id: int, supplied: float, lost: float | None, half: float, why: str = "") -> ObjectLoss:
    """In kWh; without `lost`: limits alone."""
    units, middle = round(supplied * KWH), round((lost or 0) * KWH)
    status = "known" if lost is not None else "bounded"
    known = None if lost is None else middle
    return ObjectLoss(
        object_id=object_id, level_v=0, status=status, supplied=units, sold=None if known is None else units - known, loss=known,
        loss_low=middle - round(half * KWH), loss_high=middle + round(half * KWH), unmetered=0 if known is not None else 1,
        rate=None if lost is None else lost / supplied, iron=None, copper=None, load=None, method="registers", points_due=3,
        points_have=3 if known is not None else 2, missing=(), why=why,
    )  # fmt: skip


UNKNOWN = ObjectLoss(
    0,
    0,
    "unknown",
    None,
    None,
    None,
    None,
    None,
    0,
    None,
    None,
    None,
    None,
    "registers",
    2,
    0,
    (),
    "registers are missing",
)


@pytest.fixture
def lines(store: Connection) -> list[int]:
    """Five lines: 8 %, 3 %, 2.8 %, limits alone, unknown; the day before and the week before 3 % each."""
    ids = []
    for k in range(1, 6):
        row = store.execute(
            "INSERT INTO line (code, name, voltage_kv) VALUES (%s, %s, 10) RETURNING line_id",
            (f"L{k}", f"<{k}号> & 线"),
        ).fetchone()
        assert row is not None
        ids.append(row["line_id"])
    now = at("2026-03-11 00:40")
    unknown = ObjectLoss(
        **{name: getattr(UNKNOWN, name) for name in ObjectLoss.__slots__} | {"object_id": ids[4]}
    )
    today = [
        loss(ids[0], 1000, 80, 8), loss(ids[1], 1000, 30, 8), loss(ids[2], 1000, 28, 8), loss(ids[3], 1000, None, 50, "a part is missing"), unknown,
    ]  # fmt: skip
    splits.save(store, "line", "day", DAY, today, now=now)
    for back in (1, 7):
        earlier = [loss(line, 1000, 30, 8) for line in ids[:3]]
        splits.save(store, "line", "day", DAY - dt.timedelta(days=back), earlier, now=now)
    store.commit()
    return ids


def test_the_worst_first_and_how_sure(store: Connection, lines: list[int]) -> None:
    told = loss_report.build(store, "line", "day", DAY, SHANGHAI)
    assert [(e.name, e.rank, e.uncertain) for e in told.entries] == [
        ("L1", 1, False),  # 7.2 % at least; 3.8 % at most
        ("L2", 2, True),
        ("L3", 3, True),  # 2 % at least, and the next one 5 % at most
        ("L4", 4, False),  # nobody after it
        ("L5", 0, False),
    ]
    worst = told.entries[0]
    assert (worst.rate, worst.low, worst.high) == pytest.approx((0.08, 0.072, 0.088))
    assert (worst.before, worst.week, worst.moved) == (pytest.approx(0.03), pytest.approx(0.03), True)
    assert not told.entries[1].moved
    assert [past["first_day"].day for past in told.histories[worst.object]] == [3, 9, 10]
    assert told.curves == {}  # these lines have no points


def test_a_bus_is_ranked_by_how_far_it_is_from_balance_and_judged_by_its_voltage(store: Connection) -> None:
    store.execute("INSERT INTO substation (code, name) VALUES ('S', 'S')")
    ids = []
    for code, kv in (("B10", 10), ("B220", 220), ("B110", 110)):
        row = store.execute(
            "INSERT INTO bus (code, name, substation_id, voltage_kv) SELECT %s, %s, substation_id, %s FROM substation RETURNING bus_id",
            (code, code, kv),
        ).fetchone()
        assert row is not None
        ids.append(row["bus_id"])
    made = [loss(ids[0], 1000, 15, 1), loss(ids[1], 1000, -15, 1), loss(ids[2], 1000, 21, 5)]
    splits.save(store, "bus", "day", DAY, made, now=at("2026-03-11 00:40"))
    told = {e.name: e for e in loss_report.build(store, "bus", "day", DAY, SHANGHAI).entries}
    # 1 % from 220 kV on, 2 % below it
    assert {name: e.judged for name, e in told.items()} == {"B10": "", "B220": "under", "B110": "perhaps"}
    assert told["B110"].rank == 1
    assert {told["B10"].rank, told["B220"].rank} == {2, 3}


@pytest.mark.parametrize(
    ("figures", "judged"),
    [
        ((0.01, 0.0, 0.02), ""),
        ((0.08, 0.06, 0.1), "perhaps"),
        ((0.09, 0.08, 0.1), "over"),
        ((-0.03, -0.04, -0.02), "under"),
        ((np.nan, 0.08, 0.1), "over"),
        ((np.nan, np.nan, np.nan), ""),
    ],
)
def test_certain_only_where_the_bounds_are_beyond(figures: tuple[float, float, float], judged: str) -> None:
    assert judge((-0.01, 0.07), *figures) == judged


def test_the_workbook(store: Connection, lines: list[int]) -> None:
    handle = BytesIO()
    assert loss_xlsx.write(handle, loss_report.build(store, "line", "day", DAY, SHANGHAI)) == 5
    book = openpyxl.load_workbook(handle)
    ranking, history, _ = (list(sheet.values) for sheet in book.worksheets)
    head = [str(cell).split()[0] for cell in ranking[0]]
    first = dict(zip(head, ranking[1], strict=False))
    assert (first["rank"], first["code"], first["name"], first["supplied"], first["loss"]) == (
        1,
        "L1",
        "<1号> & 线",
        1000,
        80,
    )
    assert first["rate"] == pytest.approx(0.08)
    assert ranking[5][head.index("status")] == "unknown"
    assert ranking[5][head.index("loss")] is None
    assert [row[1] for row in history[1:4]] == ["2026-03-03", "2026-03-09", "2026-03-10"]


class Page(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.drawn: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)
        self.drawn[tag] = self.drawn.get(tag, 0) + 1
        self.fetched += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href") and not str(value).startswith("data:")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.drawn[tag] = self.drawn.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_and_shows_everything(store: Connection, lines: list[int]) -> None:
    text = loss_html.page(loss_report.build(store, "line", "day", DAY, SHANGHAI), SHANGHAI)
    page = Page()
    page.feed(text)
    assert page.open == []  # what was opened is closed
    assert page.fetched == []
    assert not re.search(r"url\(|@import|<script", text)
    shown = " ".join(page.texts)
    assert "<1号> & 线" in shown  # escaped, not taken for a tag
    assert "8.00%" in shown
    assert "limits only" in shown
    assert "registers are missing" in shown
    # the ranking, and a history of each that has one
    assert page.drawn["svg"] == 1 + 3
    assert "nan" not in shown.lower()
