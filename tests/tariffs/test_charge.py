"""Charges from tariff registers, and entries that always add up to the bill."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.reading import MISSING, REGISTER_QUANTITIES
from tariffs.charge import (
    FREEZE_COLUMNS,
    Problem,
    charges,
    daily_entry,
    period_energy,
)
from tariffs.money import to_fen
from tariffs.plan import Tariff, parse
from tariffs.registers import ROLL_OVER

KWH = 10_000
DAY = dt.date(2026, 3, 11)


def test_freeze_columns_are_the_stores() -> None:
    assert REGISTER_QUANTITIES[:FREEZE_COLUMNS] == (
        "active_import", "active_import_t1", "active_import_t2", "active_import_t3", "active_import_t4",
    )  # fmt: skip


def freeze(*kwh: float) -> np.ndarray:
    return np.array([[round(value * KWH) for value in kwh]])


def test_flat_is_the_total_minus_the_others(four: Tariff) -> None:
    # total 100, sharp 10, peak 30, valley 25 -> flat 35, whatever its own register says
    part = period_energy(freeze(0, 0, 0, 0, 0), freeze(100, 10, 30, 34.98, 25), np.array([1]), four.on(DAY))
    assert part.energy[0].tolist() == [10 * KWH, 30 * KWH, 35 * KWH, 25 * KWH, 0]
    assert part.total[0] == 100 * KWH
    assert part.problem[0] == 0
    money = charges(part.energy, four.on(DAY))
    # 10 x 1.2 + 30 x 1.0 + 35 x 0.6 + 25 x 0.3 = 12 + 30 + 21 + 7.5 = 70.50 yuan
    assert money.dtype == np.int64
    assert to_fen(money.sum(axis=1)).tolist() == [7050]


def test_five_periods_on_four_registers() -> None:
    """Four registers count, the fifth period is what the total has besides; T3 counts the deep valley here."""
    text = """
name = "five"
title_en = "Five"
title_zh = "五"
region = "000000"
source = "test"
[[version]]
valid_from = 2024-01-01
prices = { sharp = "1.2", peak = "1.0", flat = "0.6", valley = "0.3", deep = "0.1" }
registers = { T1 = "sharp", T2 = "peak", T3 = "deep", T4 = "valley" }
[[version.schedule]]
[version.schedule.hours]
sharp = ["18:00-20:00"]
peak = ["08:00-12:00"]
flat = ["14:00-18:00", "20:00-24:00"]
valley = ["00:00-08:00"]
deep = ["12:00-14:00"]
"""
    version = parse(text, "five.toml").on(DAY)
    part = period_energy(freeze(0, 0, 0, 0, 0), freeze(100, 10, 20, 5, 30), np.array([1]), version)
    assert part.energy[0].tolist() == [10 * KWH, 20 * KWH, 35 * KWH, 30 * KWH, 5 * KWH]
    # 12 + 20 + 21 + 9 + 0.5 = 62.50 yuan
    assert to_fen(charges(part.energy, version).sum(axis=1)).tolist() == [6250]


def test_peak_is_the_remainder_where_there_is_no_flat(zhejiang: Tariff) -> None:
    part = period_energy(freeze(5, 0, 3, 0, 2), freeze(15, 0, 9, 0, 6), np.array([20]), zhejiang.on(DAY))
    assert part.energy[0].tolist() == [0, 20 * 6 * KWH, 0, 20 * 4 * KWH, 0]


@pytest.mark.parametrize(
    ("last", "problem", "energy"),
    [
        ((100, 0, 60, 0, 40), Problem.NONE, True),
        (
            (99.98, 0, 60, 0, 100.01),
            Problem.NONE,
            True,
        ),  # three digits cut off: stays, so that the sum is the total
        ((40, 0, 0, 0, 41), Problem.NEGATIVE, False),
        ((100, 0, 60, 0.5, 40), Problem.UNPRICED_PERIOD, True),
        ((-1, 0, 60, 0, 40), Problem.NEGATIVE, False),
    ],
)
def test_problems(zhejiang: Tariff, last: tuple[float, ...], problem: Problem, energy: bool) -> None:
    begin = freeze(1000, 0, 600, 0, 400)
    part = period_energy(begin, begin + freeze(*last), np.array([1]), zhejiang.on(DAY))
    assert part.problem[0] == problem
    assert (part.energy[0, 1] != MISSING) == energy
    if energy:
        assert part.energy[0].sum() == part.total[0]


@pytest.mark.parametrize(("column", "needed"), [(0, True), (1, False), (2, False), (3, False), (4, True)])
def test_only_registers_the_tariff_reads_may_not_be_missing(
    zhejiang: Tariff, column: int, needed: bool
) -> None:
    last = freeze(100, 0, 60, 0, 40)
    last[0, column] = MISSING
    part = period_energy(freeze(0, 0, 0, 0, 0), last, np.array([1]), zhejiang.on(DAY))
    assert bool(part.problem[0] & Problem.MISSING_FREEZE) == needed
    assert (part.energy == MISSING).all() == needed


def test_roll_over(zhejiang: Tariff) -> None:
    begin, end = freeze(0, 0, 60, 0, 40), freeze(50, 0, 60, 0, 60)
    begin[0, 0] = ROLL_OVER - 50 * KWH
    part = period_energy(begin, end, np.array([1]), zhejiang.on(DAY))
    assert part.total[0] == 100 * KWH
    assert part.energy[0].tolist() == [0, 80 * KWH, 0, 20 * KWH, 0]


@given(
    daily=st.lists(st.lists(st.integers(0, 300_000), min_size=3, max_size=3), min_size=1, max_size=40),
    holes=st.sets(st.integers(0, 39)),
)
def test_entries_always_sum_to_the_rounded_period_charge(daily: list[list[int]], holes: set[int]) -> None:
    """Whatever days are missing in between, the entries up to the last one present sum to round(charge)."""
    to_date = np.array(daily).cumsum(axis=0) * 5687
    earlier = np.zeros(3, dtype=np.int64)
    for day, charge in enumerate(to_date):
        seen = np.full(3, MISSING) if day in holes and day < len(daily) - 1 else charge
        entry = daily_entry(to_fen(seen), earlier)
        assert entry.dtype == np.int64
        earlier = earlier + np.where(entry == MISSING, 0, entry)
    assert np.array_equal(earlier, to_fen(to_date[-1]))
