"""A day as a person would tell it."""

import datetime as dt

import pytest

from headend.cli.story import _BECAUSE, story
from headend.plans import CURVE, DAY, REASONS
from headend.store.coverage import Hole, PlanDay, Why
from tests.support.house import SHANGHAI, at, moment

SEEN = moment("2026-03-11 08:02")


def told(*plans, online=False, commissioned=True):
    return Why(
        "4100", dt.date(2026, 3, 11), moment("2026-03-11 10:07"), commissioned, "P1", "A1", "T1", "dlt645", "000000000012", online, SEEN, plans,
    )  # fmt: skip


def hole(reason, points=6, attempts=3, detail=""):
    first, last = at("2026-03-11 08:15"), at("2026-03-11 09:30")
    return Hole(
        first,
        last if points > 1 else first,
        points,
        reason,
        attempts,
        SEEN,
        moment("2026-03-11 10:05"),
        detail,
    )


def plan(*holes, kind=CURVE, due=40, present=34, late=0):
    return PlanDay(kind, 96, due, present, late, 0, 9, SEEN, SEEN, holes, 0)


def test_every_reason_has_a_sentence_and_a_next_step():
    assert set(_BECAUSE) == set(REASONS)
    for because, following in _BECAUSE.values():
        assert because.en
        assert because.zh
        assert following.en
        assert following.zh


def test_the_chain_from_the_terminal_to_the_hole():
    way, count, missing = story(told(plan(hole("offline", detail="connection refused"))), SHANGHAI)
    assert way.en == "Meter 4100 is read through terminal T1, which is OFFLINE, last heard 03-11 08:02."
    assert "离线" in way.zh
    assert count.en == "Of 40 quarter-hours due, 34 are here."
    assert missing.en.startswith(
        "08:15 to 09:30 (6 points) missing, because the terminal could not be reached, so nobody could ask the meter (connection refused)."
    )
    assert "Asked in vain 3 times, first 03-11 08:02, last 03-11 10:05." in missing.en
    assert "Next: it is fetched by itself when the terminal is back" in missing.en
    assert missing.zh.startswith("08:15–09:30（6 点） 缺失：终端连不上") or missing.zh.startswith(
        "08:15–09:30（6 点）缺失：终端连不上"
    )


def test_a_whole_day_and_one_not_yet_due():
    _, curve, day = story(
        told(plan(present=40, late=2), plan(kind=DAY, due=0, present=0), online=True), SHANGHAI
    )
    assert curve.en == "Of 40 quarter-hours due, 40 are here, 2 of them late: complete."
    assert curve.zh == "应采 40 个曲线点，已采 40（其中迟到 2），齐全。"
    assert day.en == "No day freezes are due yet."


def test_a_single_point_and_one_try():
    *_, missing = story(told(plan(hole("no-answer", points=1, attempts=1))), SHANGHAI)
    assert missing.en.startswith(
        "08:15 missing, because the terminal was there, but the meter did not answer it."
    )
    assert "in vain once" in missing.en


def test_what_is_not_due_is_no_hole():
    assert len(story(told(plan(hole("not-due"))), SHANGHAI)) == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_meter_that_hung_nowhere(language):
    (only,) = story(told(commissioned=False), SHANGHAI)
    assert "4100" in getattr(only, language)
