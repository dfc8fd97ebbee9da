"""Plan -> a meter's tables -> the hours of every day, whatever was there before and wherever the writing broke off."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tariffs.days import CalendarError, Days
from tariffs.plan import Tariff, Version, parse, shipped
from tariffs.timetable import CannotHold, NoHours, clashes, counted, difference, hours, switched, wanted
from tests.support.tables import held, written

AT = dt.date(2026, 4, 1)
TODAY = dt.date(2026, 3, 20)
END = dt.date(2026, 12, 31)
#: Saturdays and Sundays, a week of holidays, and a Saturday that is worked
YEAR = Days.of(
    {
        day: "holiday" if dt.date(2026, 10, 1) <= day <= dt.date(2026, 10, 7)
        else "weekend" if day.weekday() > 4 and day != dt.date(2026, 10, 10) else "workday"
        for day in (dt.date(2026, 1, 1) + dt.timedelta(days=n) for n in range(365))
    }
)  # fmt: skip
FULL = {"zones": 14, "days": 8, "slots": 14, "tariffs": 4, "holidays": 254, "steps": 7}


def laid(plan: Tariff, before: dict[str, Any], at: dt.date = AT, **more: Any) -> list[tuple[str, Any, Any]]:
    return difference(wanted(plan.name, plan.on(at), before, at, TODAY, YEAR, **more), before)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_plan_counts_as_it_bills(name: str) -> None:
    plan = shipped()[name]
    version = plan.on(AT)
    before = held(counts=FULL, holidays=[])
    after = switched(written(before, laid(plan, before)), AT)
    assert clashes(name, version, after, AT, END, YEAR) == []
    assert laid(plan, after, dt.date(2026, 5, 1)) == []


def test_the_hours_are_in_the_registers_that_the_plan_names(four: Tariff) -> None:
    before = held()
    after = switched(written(before, laid(four, before)), AT)
    day = hours(after, AT, AT)[0]
    assert [int(day[h * 60]) for h in (0, 6, 8, 12, 19, 21, 22)] == [4, 3, 2, 3, 1, 3, 4]
    assert after["zones"] == [[1, 1, 2]]  # table 1 is what ruled before, and stays


@st.composite
def plans(draw: st.DrawFn) -> Version:
    """A version with up to three seasons, other hours for each kind of day or not."""
    periods = draw(st.lists(st.sampled_from(["sharp", "peak", "valley", "deep"]), unique=True, max_size=3))
    registers = dict(zip(draw(st.permutations(["T1", "T2", "T3", "T4"])), periods, strict=False))
    prices = {name: f"{0.1 + 0.1 * k:.4f}" for k, name in enumerate([*periods, "flat"])}

    def day(names: list[str]) -> str:
        cuts = sorted(draw(st.sets(st.integers(1, 95), min_size=len(names), max_size=6)))
        edges = [0, *cuts, 96]
        told: dict[str, list[str]] = {}
        for k, (begin, end) in enumerate(itertools.pairwise(edges)):
            span = f"{begin // 4:02d}:{begin % 4 * 15:02d}-{end // 4:02d}:{end % 4 * 15:02d}"
            told.setdefault(names[k % len(names)], []).append(span)
        return "{ " + ", ".join(f"{name} = {spans!r}" for name, spans in told.items()) + " }"

    first = draw(st.integers(1, 12))
    seasons = [
        sorted(m for m in range(1, 13) if (m - first) % 12 < 4),
        sorted(m for m in range(1, 13) if (m - first) % 12 >= 4),
    ]
    kinds = draw(
        st.sampled_from([[["workday", "weekend", "holiday"]], [["workday", "weekend"], ["holiday"]]])
    )
    text = "".join(
        f"[[version.schedule]]\nmonths = {months}\ndays = {days}\nhours = {day([*periods, 'flat'])}\n".replace("'", '"')
        for months in seasons for days in kinds
    )  # fmt: skip
    head = "\n".join(
        [
            'name = "drawn"', 'title_en = "d"', 'title_zh = "d"', 'region = "0"', 'source = "drawn"', "[[version]]", "valid_from = 2020-01-01",
            "[version.prices]", *(f'{name} = "{price}"' for name, price in prices.items()),
            *(["[version.registers]", *(f'{register} = "{name}"' for register, name in registers.items())] if registers else
              ["[version.registers]", 'T3 = "flat"']),
        ]
    )  # fmt: skip
    return parse(f"{head}\n{text}", "drawn.toml").versions[0]


@settings(deadline=None, max_examples=60)
@given(old=plans(), new=plans(), rest=st.sampled_from([None, [0x7F, 1], [0x3E, 1]]))
def test_a_write_that_breaks_off_anywhere_leaves_the_hours_of_before(
    old: Version, new: Version, rest: Any
) -> None:
    """From whatever a plan has left there to another plan, cut after every write: until the last, the zones' time, the meter counts
    after the date as it did before. Its holidays alone are not kept twice, so a cut before the last write may leave the new ones."""
    before = held(counts=FULL | {"days": 8}, holidays=[], rest=rest)
    first = dt.date(2026, 3, 1)
    try:
        before = switched(
            written(before, difference(wanted("old", old, before, first, dt.date(2026, 2, 1), YEAR), before)),
            first,
        )
        items = difference(wanted("new", new, before, AT, TODAY, YEAR), before)
    except CannotHold:
        return  # eight tables are not enough for both
    after = switched(written(before, items), AT)
    assert clashes("new", new, after, AT, END, YEAR) == []
    ruled = hours(before, AT, END)
    special = {tuple(row[:3]) for row in (*before["holidays"], *after["holidays"])}
    usual = [n for n in range(len(ruled)) if (AT + dt.timedelta(days=n)).timetuple()[:3] not in special]
    for cut in range(len(items)):
        broken = switched(written(before, items[:cut]), AT)
        assert (hours(broken, AT, END)[usual] == ruled[usual]).all()
        # and until the date nothing at all has changed
        early = hours(written(before, items[:cut]), TODAY, AT - dt.timedelta(days=1))
        assert (early == hours(before, TODAY, AT - dt.timedelta(days=1))).all()


def test_what_is_left_of_a_broken_write_is_a_smaller_difference(four: Tariff) -> None:
    before = held()
    items = laid(four, before)
    assert [key for key, _, _ in items][-2:] == ["switch days", "switch zones"]
    rest = laid(four, written(before, items[:-1]))
    assert rest == items[-1:]


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"slots": 4}, "a day has 6 slots; the meter is set to 4"),
        ({"zones": 1}, "it has 2 seasons; the meter is set to 1 year zones"),
        ({"days": 2}, "it needs 2 day tables beside the 1 in use until the switch; the meter is set to 2"),
        ({"tariffs": 2}, "valley is tariff 4; the meter is set to 2 tariffs"),
    ],
)
def test_what_a_meter_cannot_hold_is_one_error_with_plan_version_and_limit(
    four: Tariff, counts: dict[str, int], why: str
) -> None:
    before = held(counts=FULL | counts)
    # the version of 2024 has two seasons in three parts, and six slots
    with pytest.raises(CannotHold) as said:
        wanted(four.name, four.versions[0], before, AT, TODAY, YEAR)
    assert str(said.value).startswith("tariff four, version of 2024-01-01: ")
    assert why in str(said.value)


def test_a_plan_with_a_holidays_hours_needs_the_meters_holidays_and_the_calendar() -> None:
    plan = shipped()["example-holiday-deep-valley"]
    with pytest.raises(CannotHold, match="the meter is set to 20 public holidays"):
        laid(plan, held(counts=FULL | {"holidays": 20}, holidays=[]))
    with pytest.raises(CalendarError, match="load the calendar of 2027"):
        wanted(plan.name, plan.versions[0], held(counts=FULL, holidays=[]), dt.date(2027, 3, 1), TODAY, YEAR)


def test_holidays_that_are_still_to_come_before_the_switch_stay(four: Tariff) -> None:
    before = held(counts=FULL, holidays=[[2026, 1, 1, 1], [2026, 3, 25, 1], [2026, 5, 1, 1]])
    items = {key: becomes for key, _, becomes in laid(four, before)}
    assert items["holidays"] == [[2026, 3, 25, 1]]


STEPS = """
[version.steps]
basis = "year"
limits = [2760, 4800]
adders = ["0.0000", "0.0500", "0.3000"]
"""
MONEY = {
    "prices": [5380] * 4,
    "steps": {"limits": [], "prices": [0], "dates": []},
    "spare prices": [0] * 4,
    "spare steps": None,
}


def test_a_meter_that_counts_money_gets_prices_and_steps(zhejiang: Tariff) -> None:
    name = "zhejiang-residential-peak-valley"
    version = zhejiang.on(AT)
    want = wanted(name, version, held(counts=FULL, **MONEY), AT, TODAY)
    # T1 and T3 count nothing of their own: whatever they get is the remainder's, like in the bill
    assert want["spare prices"] == [version.prices[int(counted(version)[n])] for n in (1, 2, 3, 4)]
    if version.steps is not None:
        assert want["spare steps"]["limits"] == [limit // 100 for limit in version.steps.limits[0]]
        assert want["spare steps"]["dates"] == [[1, 1, 0]]
    with pytest.raises(CannotHold, match="stands behind transformers"):
        wanted(name, version, held(counts=FULL, **MONEY), AT, TODAY, ratio=20)


def test_another_step_rule_is_an_error() -> None:
    plan = shipped()["guangdong-residential-steps"]
    with pytest.raises(CannotHold, match="its steps are others in other months"):
        laid(plan, held(counts=FULL, **MONEY))
    plan = shipped()["beijing-residential-steps"]
    with pytest.raises(CannotHold, match="it has 3 steps; the meter is set to 2"):
        laid(plan, held(counts=FULL | {"steps": 2}, **MONEY))
    with pytest.raises(CannotHold, match="has no steps"):
        laid(plan, held(counts=FULL, **(MONEY | {"steps": None})))
    # a meter that counts no money has none of this
    assert not any("steps" in key for key, _, _ in laid(plan, held(counts=FULL)))


def test_what_a_meter_cannot_count_by_itself_is_not_left_out() -> None:
    plan = shipped()["hunan-large-industry"]
    with pytest.raises(CannotHold, match="cannot count basic"):
        laid(plan, held(counts=FULL, **MONEY))


def test_where_the_meter_counts_otherwise_is_told_by_day_and_hour(four: Tariff) -> None:
    version = four.versions[1]
    before = held()
    after = switched(written(before, laid(four, before)), AT)
    late = dict(
        after, **{"day 2": [[0, 0, 4], [6, 0, 3], [8, 30, 2], [11, 0, 3], [19, 0, 1], [21, 0, 3], [22, 0, 4]]}
    )
    (clash,) = clashes("four", version, late, AT, END)
    assert (clash.day, clash.days, clash.begin, clash.end) == (AT, 275, 480, 510)
    assert (clash.tariff, clash.period) == (3, "peak")
    nothing = dict(after, **{"day 2": None})
    assert {c.tariff for c in clashes("four", version, nothing, AT, AT)} == {0}


def test_a_table_within_a_quarter_hour_is_seen(four: Tariff) -> None:
    before = held()
    after = switched(written(before, laid(four, before)), AT)
    slots = [[0, 0, 4], [6, 1, 3], *after["day 2"][2:]]
    (clash,) = clashes("four", four.versions[1], dict(after, **{"day 2": slots}), AT, AT)
    assert (clash.begin, clash.end) == (360, 361)
    assert np.count_nonzero(hours(after, AT, AT)[0] == 4) == 8 * 60


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"zones": None}, "no zone table"),
        ({"zones": []}, "no zone table"),
        ({"zones": [[1, 1, 9]], "day 9": [[0, 0, 200]]}, "tariff 200"),  # int8 holds 127
        ({"day 1": [[0, 0, 99]]}, "tariff 99"),  # registers are 63
        ({"holidays": [[2026, 2, 30, 1]]}, "2026-02-30, is no day"),
        ({"holidays": [[65535, 5, 1, 1]]}, "65535-05-01, is no day"),  # each year, as DL/T 698.45 can say
    ],
)
def test_tables_that_mean_no_hours_are_named(four: Tariff, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(NoHours, match=why):
        clashes(four.name, four.on(AT), held(**wrong), AT, END, YEAR)


@pytest.mark.parametrize("month", [0, 13, 99])
def test_holidays_that_are_none_are_named_before_anything_is_worked_out(four: Tariff, month: int) -> None:
    with pytest.raises(NoHours, match="is no day"):
        laid(four, held(holidays=[[2026, month, 1, 1]]))
