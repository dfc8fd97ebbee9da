"""Tariff files: what they become, and one precise error for each way of being wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from tariffs.days import KINDS
from tariffs.door import TariffError
from tariffs.periods import PERIODS
from tariffs.plan import Tariff, load, parse, shipped

GOOD = """
name = "plain"
title_en = "Plain"
title_zh = "普通"
region = "330000"
source = "test"
[[version]]
valid_from = 2024-01-01
remainder = "peak"
[version.prices]
peak = "0.5680"
valley = "0.2880"
[version.registers]
T2 = "peak"
T4 = "valley"
[[version.schedule]]
hours = { peak = ["08:00-22:00"], valley = ["00:00-08:00", "22:00-24:00"] }
"""


def test_shipped_plans_load_and_cite_their_source_and_doubt() -> None:
    plans = shipped()
    assert {plan.region for plan in plans.values()} >= {
        "110000",
        "310000",
        "320000",
        "330000",
        "430000",
        "440400",
    }
    for plan in plans.values():
        assert plan.source
        assert plan.doubt or plan.name == "zhejiang-residential-peak-valley"
        for version in plan.versions:
            assert version.schedule_array.shape == (12, 3, 96)
            assert version.used[np.unique(version.schedule_array)].all()


def test_zhejiang(zhejiang: Tariff) -> None:
    version = zhejiang.on(dt.date(2024, 6, 1))
    assert version.prices == (None, 5680, None, 2880, None)
    assert version.registers == (None, 1, None, 3)
    assert PERIODS[version.remainder] == "peak"
    for day in version.schedule_array[0]:
        assert [PERIODS[day[q]] for q in (0, 31, 32, 87, 88, 95)] == [
            *["valley"] * 2,
            *["peak"] * 2,
            *["valley"] * 2,
        ]


def test_what_had_no_part_keeps_its_hash(zhejiang: Tariff) -> None:
    """Entries in the ledger name the hash of these facts: they may not change because plans can say more."""
    facts = zhejiang.versions[0].facts()
    assert facts.keys() == {"valid_from", "prices", "registers", "remainder", "schedule"}
    assert facts["prices"] == [None, 5680, None, 2880]
    assert [len(month) for month in facts["schedule"]] == [96] * 12


def test_facts_have_all_that_money_depends_on() -> None:
    plans = shipped()
    holiday = plans["example-holiday-deep-valley"].versions[0].facts()
    assert len(holiday["prices"]) == len(PERIODS)
    assert np.array(holiday["schedule"]).shape == (12, len(KINDS), 96)
    hunan = plans["hunan-large-industry"].versions[0]
    assert hunan.facts().keys() >= {"basic", "power_factor", "surcharges", "transformer_loss"}
    assert plans["zhejiang-residential-steps"].versions[0].facts()["steps"]["adders"] == [0, 500, 3000]


def test_what_plans_need() -> None:
    needs = {name: plan.needs for name, plan in shipped().items()}
    assert needs["zhejiang-residential-peak-valley"] == needs["shanghai-commerce-seasonal"] == frozenset()
    assert needs["beijing-residential-steps"] == {"before"}
    assert needs["hunan-large-industry"] == {
        "by", "capacity", "contract", "demand", "reactive", "iron", "copper",
    }  # fmt: skip


def test_versions_by_day(four: Tariff) -> None:
    assert four.on(dt.date(2026, 3, 15)).prices[0] == 12_000
    assert four.on(dt.date(2026, 3, 16)).prices[0] == 13_000
    with pytest.raises(LookupError, match="no version valid on 2023-12-31"):
        four.on(dt.date(2023, 12, 31))
    spans = four.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    assert [(a.day, b.day) for a, b, _ in spans] == [(1, 16), (16, 1)]
    assert len(four.spans(dt.date(2026, 3, 16), dt.date(2026, 3, 17))) == 1
    assert four.spans(dt.date(2026, 3, 16), dt.date(2026, 3, 16)) == ()


def test_spans_are_cut_where_the_plan_counts_anew() -> None:
    plans = shipped()

    def begins(name: str, *cuts: dt.date) -> list[str]:
        spans = plans[name].spans(dt.date(2025, 11, 15), dt.date(2026, 1, 20), cuts)
        assert [span.end for span in spans[:-1]] == [span.begin for span in spans[1:]]
        return [span.begin.isoformat()[2:] for span in spans]

    assert begins("zhejiang-residential-peak-valley") == ["25-11-15"]
    assert begins("zhejiang-residential-steps") == ["25-11-15", "26-01-01"]
    assert begins("guangdong-residential-steps") == ["25-11-15", "25-12-01", "26-01-01"]
    assert begins("hunan-large-industry", dt.date(2025, 12, 9)) == [
        "25-11-15",
        "25-12-01",
        "25-12-09",
        "26-01-01",
    ]


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert load(path).name == "plain"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(TariffError, match=r"mine\.toml: not UTF-8"):
        load(path)
    with pytest.raises(OSError, match="none"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ('name = "plain"', "", "name", "a non-empty string is needed"),
        ('name = "plain"', "name = ", "", "not TOML"),
        ('region = "330000"', "region = 330000", "region", "a non-empty string is needed"),
        ('source = "test"', 'source = "test"\ncolour = "red"', "colour", "unknown key"),
        ("[[version]]", "[[versions]]", "versions", "unknown key"),
        ("valid_from = 2024-01-01", "", "version[0].valid_from", "a date such as"),
        ("valid_from = 2024-01-01", 'valid_from = "2024-01-01"', "version[0].valid_from", "a date such as"),
        ("valid_from = 2024-01-01", "valid_from = 2024-01-01T00:00:00", "version[0].valid_from", "a date such as"),
        ('remainder = "peak"', 'remainder = "flat"', "version[0].remainder", "period flat has no price"),
        ('remainder = "peak"', "", "version[0].remainder", "period flat has no price"),
        ('remainder = "peak"', 'remainder = "deep"', "version[0].remainder", "period deep has no price"),
        ('remainder = "peak"', 'remainder = "night"', "version[0].remainder", "unknown period 'night'"),
        ('peak = "0.5680"', "peak = 0.5680", "version[0].prices.peak", "a TOML float is not exact"),
        ('peak = "0.5680"', 'peak = "0.56801"', "version[0].prices.peak", "more than four decimal places"),
        ('peak = "0.5680"', 'peak = "dear"', "version[0].prices.peak", "not a decimal number"),
        ('peak = "0.5680"', 'peak = "-0.5680"', "version[0].prices.peak", "negative"),
        ('peak = "0.5680"', 'peak = "0.5680"\ntip = "1.0"', "version[0].prices.tip", "unknown period 'tip'"),
        ('peak = "0.5680"', 'peak = "0.5680"\nflat = "0.4"', "version[0].registers", "no register counts period flat"),
        ('T4 = "valley"', 'T5 = "valley"', "version[0].registers.T5", "unknown register"),
        ('T4 = "valley"', 'T4 = "flat"', "version[0].registers.T4", "period flat has no price"),
        ('T4 = "valley"', "", "version[0].registers", "no register counts period valley"),
        ('"22:00-24:00"', '"22:00-23:45"', "version[0].schedule[0].hours", "hole: 23:45-24:00"),
        ('"00:00-08:00"', '"00:00-08:15"', "version[0].schedule[0].hours.valley", "08:00 already belongs to peak"),
        ('"22:00-24:00"', '"22:00-24:15"', "version[0].schedule[0].hours.valley", "within 00:00-24:00"),
        ('"22:00-24:00"', '"22:00-02:00"', "version[0].schedule[0].hours.valley", "ascending order"),
        ('"22:00-24:00"', '"10 pm"', "version[0].schedule[0].hours.valley", "not a range"),
        ('"08:00-22:00"', '"08:10-22:00"', "version[0].schedule[0].hours.peak", "quarter hours"),
        ('peak = ["08:00-22:00"]', 'peak = "08:00-22:00"', "version[0].schedule[0].hours.peak", "a list such as"),
        ('peak = ["08:00-22:00"]', 'flat = ["08:00-22:00"]', "version[0].schedule[0].hours.flat", "has no price"),
        ('region = "330000"', 'region = "330000"\nrounding = "up"', "rounding", "'up' is unknown; known: bill, line"),
        ('region = "330000"', 'region = "330000"\ndoubt = ""', "doubt", "a non-empty string is needed"),
        ("hours =", "days = []\nhours =", "version[0].schedule[0].days", "a list of kinds of day"),
        ("hours =", 'days = ["feast"]\nhours =', "version[0].schedule[0].days", "'feast' is unknown; known: workday"),
        ("hours =", 'days = ["workday", "weekend"]\nhours =', "version[0].schedule", "no schedule for the kind of day holiday in month 1"),
        ("hours =", 'days = ["weekend", "weekend"]\nhours =', "version[0].schedule[0].months", "month 1, weekend, is already covered"),
        ("hours =", "months = [1]\nhours =", "version[0].schedule", "no schedule for month 2, 3"),
        ("hours =", "months = [13]\nhours =", "version[0].schedule[0].months", "13 is not a month"),
        ("hours =", "months = [1, 1]\nhours =", "version[0].schedule[0].months", "month 1 is already covered"),
        ("hours =", "months = 1\nhours =", "version[0].schedule[0].months", "a list of months"),
    ],
)  # fmt: skip
def test_each_error_names_file_key_and_problem(old: str, new: str, key: str, problem: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(TariffError) as caught:
        parse(GOOD.replace(old, new), "bad.toml")
    assert (caught.value.file, caught.value.key) == ("bad.toml", key)
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_versions_must_ascend() -> None:
    second = GOOD[GOOD.index("[[version]]") :]
    with pytest.raises(TariffError, match=r"version\[1\]\.valid_from: 2024-01-01 is not after 2024-01-01"):
        parse(GOOD + second, "bad.toml")


def test_a_priced_period_needs_hours() -> None:
    text = GOOD.replace('peak = "0.5680"', 'peak = "0.5680"\nflat = "0.4"').replace(
        'T2 = "peak"', 'T3 = "flat"'
    )
    with pytest.raises(TariffError, match="period flat has a price but no hours"):
        parse(text, "bad.toml")


#: a good one of each part, below [[version]]
PARTS = """
[version.steps]
basis = "year"
limits = [2760, 4800]
adders = ["0", "0.05", "0.30"]
proration = "none"
[version.basic]
capacity_price = "23"
demand_price = "36.8"
limit_percent = 105
above_times = 2
up_to_limit = "contract"
days = "calendar"
[version.basic.discount]
kwh_per_kva = 260
percent = 90
[version.power_factor]
standard = "0.85"
base = "without funds"
reactive = "both"
top = "-1.10"
[version.transformer_loss]
to = "peak"
[version.penalty]
class = "other"
same_year = 2
former_years = 3
minimum = "1.00"
cap = true
[[version.surcharges]]
name = "fund"
title_en = "Fund"
title_zh = "基金"
price = "0.0190"
fund = true
included = false
"""
LIMITS = "limits = [2760, 4800]"
MONTHLY = 'basis = "month"\nlimits = [{ months = [1, 2, 3, 4], kwh = [200, 400] }, { months = [5, 6, 7, 8, 9, 10, 11, 12], kwh = [260, 600] }]'


def test_all_parts_together_are_good() -> None:
    version = parse(GOOD + PARTS, "good.toml").versions[0]
    assert version.steps is not None
    assert version.steps.limits == ((27_600_000, 48_000_000),) * 12
    assert version.basic is not None
    assert version.basic.discount is not None
    assert version.penalty is not None
    assert version.penalty.minimum == 100
    assert (
        parse(GOOD + PARTS.replace("[2760, 4800]", "[1]").replace(', "0.30"', ""), "good.toml")
        .versions[0]
        .steps
    )


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ('basis = "year"', 'basis = "week"', "steps.basis", "'week' is unknown; known: year, month"),
        ('basis = "year"', "", "steps.basis", "a string is needed, not None"),
        ('basis = "year"', 'basis = "month"', "steps.proration", None),
        ('proration = "none"', 'proration = "days"', "steps.proration", "'days' is unknown"),
        ('proration = "none"', "colour = 1", "steps.colour", "unknown key; known: adders, basis, limits, proration"),
        (LIMITS, "", "steps.limits", "a list of limits in kWh such as"),
        (LIMITS, "limits = []", "steps.limits", "a list of limits in kWh such as"),
        (LIMITS, "limits = [2760.0, 4800]", "steps.limits[0]", "a whole number from 1 to 1000000000 is needed, not 2760.0"),
        (LIMITS, "limits = [2760, true]", "steps.limits[1]", "a whole number"),
        (LIMITS, "limits = [0, 4800]", "steps.limits[0]", "a whole number"),
        (LIMITS, "limits = [4800, 2760]", "steps.limits[1]", "2760 is not above 4800: steps must ascend"),
        (LIMITS, "limits = [2760, 2760]", "steps.limits[1]", "2760 is not above 2760"),
        (LIMITS, "limits = [2760]", "steps.adders", "2 adders are needed for 1 limits"),
        (LIMITS, "limits = [{ months = [1], kwh = [1, 2] }]", "steps.limits", 'limits by months need basis = "month"'),
        ('"0.05", "0.30"', '"0.30", "0.05"', "steps.adders[2]", "0.05 is not above 0.30: steps must ascend"),
        ('"0.05", "0.30"', '"0.05", 0.30', "steps.adders[2]", "a TOML float is not exact"),
        ('"0.05", "0.30"', '"0.05", "-0.30"', "steps.adders[2]", "negative"),
        ('capacity_price = "23"', "capacity_price = 23.0", "basic.capacity_price", "a TOML float is not exact"),
        ('capacity_price = "23"', 'capacity = "23"', "basic.capacity", "unknown key"),
        ('demand_price = "36.8"', "", "basic.discount", "the discount is on the demand price, which is missing"),
        ('capacity_price = "23"\ndemand_price = "36.8"', "", "basic", "capacity_price, demand_price or both are needed"),
        ("limit_percent = 105", "limit_percent = 99", "basic.limit_percent", "from 100 to 200"),
        ("limit_percent = 105", "limit_percent = 105.0", "basic.limit_percent", "not 105.0"),
        ("above_times = 2", "above_times = 0", "basic.above_times", "from 1 to 10"),
        ('up_to_limit = "contract"', 'up_to_limit = "all"', "basic.up_to_limit", "known: contract, limit"),
        ('days = "calendar"', 'days = "30"', "basic.days", "known: calendar, thirtieth"),
        ("kwh_per_kva = 260", "kwh_per_kva = 745", "basic.discount.kwh_per_kva", "from 1 to 744"),
        ("percent = 90", "percent = 0.9", "basic.discount.percent", "not 0.9"),
        ('percent = 90', 'percent = 90\nfrom = 1', "basic.discount.from", "unknown key"),
        ('standard = "0.85"', "standard = 0.85", "power_factor.standard", "a string is needed, not 0.85; known: 0.90, 0.85, 0.80"),
        ('standard = "0.85"', 'standard = "0.90"', "power_factor.top", "only the standard 0.85 has two readings"),
        ('base = "without funds"', "", "power_factor.base", "a string is needed, not None; known: without funds, with funds"),
        ('reactive = "both"', 'reactive = "reverse"', "power_factor.reactive", "known: both, forward"),
        ('top = "-1.10"', 'top = "-1.05"', "power_factor.top", "known: -1.10, -1.00"),
        ('to = "peak"', 'to = "sharp"', "transformer_loss.to", "period sharp has no price"),
        ('to = "peak"', 'to = "night"', "transformer_loss.to", "unknown period 'night'"),
        ('to = "peak"', "", "transformer_loss", "a non-empty table is needed"),
        ('class = "other"', 'class = "industry"', "penalty.class", "known: resident, other"),
        ("same_year = 2", "same_year = 0.2", "penalty.same_year", "not 0.2"),
        ('minimum = "1.00"', 'minimum = "1.001"', "penalty.minimum", "1.001 is not whole fen"),
        ('minimum = "1.00"', "minimum = 1.00", "penalty.minimum", "a TOML float is not exact"),
        ("cap = true", 'cap = "yes"', "penalty.cap", "true or false is needed, not 'yes'"),
        ('price = "0.0190"', "price = 0.0190", "surcharges[0].price", "a TOML float is not exact"),
        ('title_zh = "基金"', "", "surcharges[0].title_zh", "a non-empty string is needed"),
        ("fund = true", "fund = 1", "surcharges[0].fund", "true or false is needed, not 1"),
        ("included = false", "inside = false", "surcharges[0].inside", "unknown key"),
    ],
)  # fmt: skip
def test_each_error_of_a_part_names_its_key(old: str, new: str, key: str, problem: str | None) -> None:
    assert PARTS.count(old) == 1
    text = GOOD + PARTS.replace(old, new)
    if problem is None:  # a month's steps without proration are as good
        assert parse(text, "good.toml").versions[0].steps is not None
        return
    with pytest.raises(TariffError) as caught:
        parse(text, "bad.toml")
    assert caught.value.key == f"version[0].{key}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ("[200, 400]", "[200, 400, 500]", "steps.limits", "all months need the same number of limits"),
        ("months = [1, 2, 3, 4]", "months = [1, 2, 3, 4, 5]", "steps.limits[1].months", "month 5 is already covered"),
        ("months = [1, 2, 3, 4]", "months = [1, 2, 3]", "steps.limits", "no limits for month 4"),
        ("months = [1, 2, 3, 4]", "months = [0]", "steps.limits[0].months", "0 is not a month 1 to 12"),
        ("kwh = [260, 600]", "kwh = [600, 260]", "steps.limits[1].kwh[1]", "steps must ascend"),
        ("kwh = [260, 600]", "kWh = [260, 600]", "steps.limits[1].kWh", "unknown key"),
        ('proration = "none"', 'proration = "months"', "steps.proration", "only the limits of a year are shared by months"),
    ],
)  # fmt: skip
def test_each_error_of_monthly_limits_names_its_key(old: str, new: str, key: str, problem: str) -> None:
    parts = PARTS.replace(f'basis = "year"\n{LIMITS}', MONTHLY)
    assert parse(GOOD + parts, "good.toml").versions[0].monthly
    assert parts.count(old) == 1
    with pytest.raises(TariffError) as caught:
        parse(GOOD + parts.replace(old, new), "bad.toml")
    assert caught.value.key == f"version[0].{key}"
    assert problem in caught.value.problem


def test_a_surcharge_has_a_name_of_its_own() -> None:
    twice = PARTS + PARTS[PARTS.index("[[version.surcharges]]") :]
    with pytest.raises(TariffError, match=r"version\[0\]\.surcharges\[1\]\.name: fund is there twice"):
        parse(GOOD + twice, "bad.toml")


def test_steps_of_all_versions_count_over_the_same() -> None:
    later = GOOD[GOOD.index("[[version]]") :].replace("2024", "2025")
    parts = PARTS.replace(f'basis = "year"\n{LIMITS}', MONTHLY)
    with pytest.raises(TariffError, match=r"version\[1\]\.steps\.basis: month after year"):
        parse(GOOD + PARTS + later + parts, "bad.toml")
