"""Which clock of a line is set next: pure, from what the store knows of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headend.collector.clockwork import ITSELF, UNSENT, Line, wanted
from headend.control.clock_policy import Do, Master, Rules
from headend.store.clocks import Known
from terminals.drivers.driver import Meter

ZONE = ZoneInfo("Asia/Shanghai")
NOW = dt.datetime(2026, 3, 11, 10, 22, 30, tzinfo=ZONE)
RIGHT = Master(True, 0.0, "given")
METERS = {k: Meter(k, f"{k:012d}", ZONE) for k in (7, 8, 9)}
BOTH = frozenset((Do.BROADCAST, Do.WRITE))


def known(ahead: float, set_at: dt.datetime | None = None, read_at: dt.datetime = NOW) -> Known:
    return Known(read_at, ahead, 0.6, None, set_at)


def on_line(
    clocks: dict[int, Known], *tried: dict[str, Any], station: bool = False, ways: frozenset[Do] = BOTH
) -> Line:
    return Line(NOW, Rules(enabled=True), clocks, tried, ways, station)


def order(
    meter: int | None, *, way: Do = Do.WRITE, is_open: bool = False, sent: dt.datetime | None = None
) -> dict[str, Any]:
    return {
        "order_id": 1,
        "meter_id": meter,
        "is_open": is_open,
        "sent_at": sent,
        "request": {"way": str(way)},
    }


def said(line: Line) -> list[tuple[int, Do]]:
    return [(want.subject, want.verdict.do) for want in wanted(line, METERS, RIGHT)]


def test_one_broadcast_for_all_and_the_worst_of_them_proves_it() -> None:
    assert said(on_line({7: known(70.0), 8: known(-200.0), 9: known(1.0)})) == [(8, Do.BROADCAST)]


@pytest.mark.parametrize(
    "tried",
    [
        order(9, sent=NOW - dt.timedelta(hours=2)),
        order(9, is_open=True),
        order(9, way=Do.BROADCAST, sent=NOW - dt.timedelta(hours=2)),
    ],
)
def test_no_meter_hears_a_broadcast_on_a_day_on_which_it_was_set(tried: dict[str, Any]) -> None:
    assert said(on_line({7: known(70.0), 9: known(0.5)}, tried)) == []


def test_a_meter_set_today_by_whomever_keeps_the_line_quiet() -> None:
    before = NOW - dt.timedelta(hours=3)
    assert said(on_line({7: known(70.0), 9: known(0.5, set_at=before)})) == []
    assert said(on_line({7: known(70.0), 9: known(0.5, set_at=before - dt.timedelta(days=1))})) == [
        (7, Do.BROADCAST)
    ]


def test_what_a_broadcast_does_not_reach_is_written_one_by_one() -> None:
    line = on_line({7: known(420.0), 8: known(430.0)})
    assert said(line) == []  # at this minute it would leave the interval
    now = NOW.replace(minute=16)
    fresh = {k: known(clock.ahead or 0.0, None, now) for k, clock in line.known.items()}
    assert said(replace(line, now=now, known=fresh)) == [(7, Do.WRITE)]


def test_the_terminal_comes_first_and_meanwhile_nobody() -> None:
    off = {ITSELF: known(-120.0), 7: known(70.0)}
    assert said(on_line(off, station=True)) == [(ITSELF, Do.SET)]
    assert said(on_line(off, order(None, is_open=True), station=True)) == []
    assert said(on_line(off, order(None, sent=NOW - dt.timedelta(minutes=1)), station=True)) == []
    right = {ITSELF: known(0.5), 7: known(70.0)}
    assert said(on_line(right, order(None, sent=NOW - dt.timedelta(minutes=1)), station=True)) == [
        (7, Do.BROADCAST)
    ]


def test_behind_a_terminal_that_nobody_can_ask_the_meters_are_written_and_told_nothing() -> None:
    line = on_line({ITSELF: Known(), 7: known(70.0)}, station=True)
    assert said(line) == [(7, Do.WRITE)]


def test_an_order_that_never_gets_away_is_not_made_for_ever() -> None:
    tried = [order(7) for _ in range(UNSENT)]
    assert said(on_line({7: known(70.0)}, *tried[:-1])) == [(7, Do.BROADCAST)]
    assert said(on_line({7: known(70.0)}, *tried)) == []
