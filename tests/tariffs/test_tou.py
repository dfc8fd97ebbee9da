"""Time of use from a register curve: exact where it can be, bounded where it cannot."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.localtime import day_slots
from protocols.reading import MISSING
from tariffs.money import amount
from tariffs.periods import PERIODS
from tariffs.plan import Tariff
from tariffs.registers import ROLL_OVER
from tariffs.tou import charge_bounds, energy_by_period, slot_periods

SHANGHAI = ZoneInfo("Asia/Shanghai")
VALLEY, PEAK = PERIODS.index("valley"), PERIODS.index("peak")
#: valley, valley, peak, peak, peak, valley
SIX = np.array([VALLEY, VALLEY, PEAK, PEAK, PEAK, VALLEY], dtype=np.int8)
PRICES = np.array([0, 5680, 0, 2880, 0])
ONE = np.array([1])


def test_periods_of_a_day(zhejiang: Tariff) -> None:
    day = slot_periods(zhejiang, day_slots(dt.date(2026, 3, 11), SHANGHAI), SHANGHAI)
    assert day.dtype == np.int8
    # slots are named by their end: slot 31 ends at 08:00 and is the last of the valley
    assert day[:32].tolist() == [VALLEY] * 32
    assert day[32:88].tolist() == [PEAK] * 56
    assert day[88:].tolist() == [VALLEY] * 8


def test_periods_follow_month_and_version(four: Tariff) -> None:
    july = slot_periods(four, day_slots(dt.date(2025, 7, 31), SHANGHAI), SHANGHAI)
    august_to_september = np.concatenate(
        [day_slots(dt.date(2025, 8, 31) + dt.timedelta(n), SHANGHAI) for n in (0, 1)]
    )
    both = slot_periods(four, august_to_september, SHANGHAI)
    assert PERIODS[july[48]] == "sharp"  # 12:00-12:15
    assert PERIODS[both[48]] == "sharp"
    assert PERIODS[both[96 + 48]] == "flat"


@pytest.mark.parametrize(
    ("day", "slots", "peak"), [(dt.date(2026, 3, 29), 92, 56), (dt.date(2026, 10, 25), 100, 56)]
)
def test_days_on_which_the_clocks_change(zhejiang: Tariff, day: dt.date, slots: int, peak: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    periods = slot_periods(zhejiang, day_slots(day, berlin), berlin)
    assert len(periods) == slots
    assert (periods == PEAK).sum() == peak


def test_slots_longer_than_a_quarter_are_refused(zhejiang: Tariff) -> None:
    with pytest.raises(ValueError, match="straddle"):
        slot_periods(zhejiang, day_slots(dt.date(2026, 3, 11), SHANGHAI, 60), SHANGHAI, 60)
    assert len(slot_periods(zhejiang, day_slots(dt.date(2026, 3, 11), SHANGHAI)[:0], SHANGHAI)) == 0


def test_complete_curve() -> None:
    parts = energy_by_period(np.array([[0, 1, 3, 10, 20, 40, 100]]), SIX)
    assert parts.energy[0, VALLEY] == 3 + 60
    assert parts.energy[0, PEAK] == 37
    assert parts.ambiguous.sum() == 0
    assert parts.complete[0]
    assert parts.valid[0]


def test_a_hole_inside_one_period_costs_nothing() -> None:
    parts = energy_by_period(np.array([[0, 1, 3, MISSING, MISSING, 40, 100]]), SIX)
    assert parts.energy[0].tolist() == [0, 37, 0, 63, 0]
    assert parts.ambiguous.sum() == 0


def test_a_hole_across_a_boundary_is_reported_apart_with_bounds() -> None:
    # 1 -> 20 lies in one valley slot and two peak slots: 19 units nobody can split
    parts = energy_by_period(np.array([[0, 1, MISSING, MISSING, 20, 40, 100]]), SIX)
    assert parts.energy[0].tolist() == [0, 20, 0, 61, 0]
    both = (1 << VALLEY) | (1 << PEAK)
    assert parts.ambiguous[0, both] == 19
    assert parts.ambiguous[0].sum() == 19
    charge = charge_bounds(parts, PRICES, ONE)
    known = 20 * 5680 + 61 * 2880
    assert charge.low[0] == known + 19 * 2880
    assert charge.high[0] == known + 19 * 5680
    assert charge.likely[0] == known + 19 * 4280


def test_missing_ends_are_not_covered() -> None:
    parts = energy_by_period(np.array([[MISSING, 1, 3, 10, 20, 40, MISSING], [MISSING] * 7]), SIX)
    assert parts.complete.tolist() == [False, False]
    assert parts.first.tolist() == [1, -1]
    assert parts.last.tolist() == [5, -1]
    assert parts.energy[0].tolist() == [0, 37, 0, 2, 0]
    assert parts.energy[1].sum() == 0


def test_roll_over_and_decrease() -> None:
    top = ROLL_OVER - 5
    parts = energy_by_period(np.array([[top, top + 3, 2, 4, 4, 4, 4], [9, 9, 8, 9, 9, 9, 9]]), SIX)
    assert parts.valid.tolist() == [True, False]
    assert parts.energy[0].tolist() == [0, 2, 0, 7, 0]
    charge = charge_bounds(parts, PRICES, np.array([40, 1]))
    assert charge.low.tolist() == [40 * (2 * 5680 + 7 * 2880), MISSING]


def test_no_slots_no_energy() -> None:
    parts = energy_by_period(np.array([[5], [MISSING]]), SIX[:0])
    assert parts.energy.sum() == 0
    assert parts.complete.tolist() == [True, False]


def test_shapes_and_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="do not bound"):
        energy_by_period(np.zeros((1, 6), dtype=np.int64), SIX)
    with pytest.raises(TypeError, match="integers"):
        energy_by_period(np.zeros((1, 7)), SIX)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_bounds_contain_the_truth(seed: int, missing: float) -> None:
    random = np.random.default_rng(seed)
    slots = 96
    periods = np.repeat(random.integers(0, len(PERIODS), slots // 4), 4).astype(np.int8)
    used = random.integers(0, 5000, (20, slots))
    registers = np.concatenate([np.full((20, 1), 7), 7 + used.cumsum(axis=1)], axis=1)
    prices = random.integers(0, 20_000, len(PERIODS))
    truth = amount(used, prices[periods]).sum(axis=1)
    gone = random.random(registers.shape) < missing
    gone[:, [0, -1]] = False
    parts = energy_by_period(np.where(gone, MISSING, registers), periods)
    charge = charge_bounds(parts, prices, np.ones(20, dtype=np.int64))
    assert parts.complete.all()
    assert (charge.low <= truth).all()
    assert (truth <= charge.high).all()
    assert (charge.low <= charge.likely).all()
    assert (charge.likely <= charge.high).all()
    assert {side.dtype for side in (charge.low, charge.likely, charge.high)} == {np.dtype(np.int64)}
    # whatever is missing, no energy is lost and none invented
    assert np.array_equal(parts.energy.sum(axis=1) + parts.ambiguous.sum(axis=1), used.sum(axis=1))
