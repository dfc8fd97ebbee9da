"""Tariff files: what they become, and one precise error for each way of being wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from tariffs.plan import PERIODS, Tariff, TariffError, load, parse, shipped

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


def test_shipped_plans_load_and_cite_their_source() -> None:
    plans = shipped()
    assert plans
    for plan in plans.values():
        assert plan.source
        for version in plan.versions:
            assert version.schedule_array.shape == (12, 96)
            assert version.used[np.unique(version.schedule_array)].all()


def test_zhejiang(zhejiang: Tariff) -> None:
    version = zhejiang.on(dt.date(2024, 6, 1))
    assert version.prices == (None, 5680, None, 2880)
    assert version.registers == (None, 1, None, 3)
    assert PERIODS[version.remainder] == "peak"
    day = version.schedule_array[0]
    assert [PERIODS[day[q]] for q in (0, 31, 32, 87, 88, 95)] == [
        "valley",
        "valley",
        "peak",
        "peak",
        "valley",
        "valley",
    ]


def test_versions_by_day(four: Tariff) -> None:
    assert four.on(dt.date(2026, 3, 15)).prices[0] == 12_000
    assert four.on(dt.date(2026, 3, 16)).prices[0] == 13_000
    with pytest.raises(LookupError, match="no version valid on 2023-12-31"):
        four.on(dt.date(2023, 12, 31))
    spans = four.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    assert [(a.day, b.day) for a, b, _ in spans] == [(1, 16), (16, 1)]
    assert len(four.spans(dt.date(2026, 3, 16), dt.date(2026, 3, 17))) == 1
    assert four.spans(dt.date(2026, 3, 16), dt.date(2026, 3, 16)) == ()


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
        ('remainder = "peak"', 'remainder = "deep"', "version[0].remainder", "unknown period 'deep'"),
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
