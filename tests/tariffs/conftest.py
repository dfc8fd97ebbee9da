"""A four-period tariff with two versions and two seasons, and the shipped peak-valley one."""

from __future__ import annotations

import pytest

from tariffs.plan import Tariff, parse, shipped

FOUR = """
name = "four"
title_en = "Four periods"
title_zh = "四费率"
region = "000000"
source = "test"

[[version]]
valid_from = 2024-01-01
prices = { sharp = "1.2000", peak = "1.0000", flat = "0.6000", valley = "0.3000" }
registers = { T1 = "sharp", T2 = "peak", T3 = "flat", T4 = "valley" }
[[version.schedule]]
months = [7, 8]
[version.schedule.hours]
sharp = ["12:00-14:00"]
peak = ["08:00-12:00"]
flat = ["14:00-22:00"]
valley = ["00:00-08:00", "22:00-24:00"]
[[version.schedule]]
months = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12]
[version.schedule.hours]
sharp = ["19:00-21:00"]
peak = ["08:00-11:00"]
flat = ["06:00-08:00", "11:00-19:00", "21:00-22:00"]
valley = ["00:00-06:00", "22:00-24:00"]

[[version]]
valid_from = 2026-03-16
prices = { sharp = "1.3000", peak = "1.1000", flat = "0.7000", valley = "0.3500" }
registers = { T1 = "sharp", T2 = "peak", T3 = "flat", T4 = "valley" }
[[version.schedule]]
[version.schedule.hours]
sharp = ["19:00-21:00"]
peak = ["08:00-11:00"]
flat = ["06:00-08:00", "11:00-19:00", "21:00-22:00"]
valley = ["00:00-06:00", "22:00-24:00"]
"""


@pytest.fixture
def four() -> Tariff:
    return parse(FOUR, "four.toml")


@pytest.fixture
def zhejiang() -> Tariff:
    return shipped()["zhejiang-residential-peak-valley"]
