"""Filled slots add up to what the registers say, and know how uncertain they are."""

from __future__ import annotations

import numpy as np

from lineloss.filling import fill
from lineloss.registers import ROLL_OVER
from protocols.reading import MISSING


def registers(days: int = 3, start: int = 5_000_000) -> np.ndarray:
    """A household that is the same each day but for a tenth, [1, slot + 1]."""
    random = np.random.default_rng(1)
    habit = np.r_[np.full(48, 200.0), np.full(24, 1500.0), np.full(24, 600.0)]
    energy = np.tile(habit, days) * random.uniform(0.9, 1.1, 96 * days)
    return start + np.r_[0, np.rint(energy).astype(np.int64).cumsum()][None]


def test_what_was_measured_stays() -> None:
    told = fill(registers())
    assert np.array_equal(told.energy, np.diff(registers()).astype(float))
    assert not told.variance.any()


def test_a_short_hole_is_filled_evenly() -> None:
    whole = registers()
    holed = whole.copy()
    holed[0, 10:12] = MISSING
    told = fill(holed)
    assert round(told.energy[0, 9:12].sum(), 6) == whole[0, 12] - whole[0, 9]
    assert np.ptp(told.energy[0, 9:12]) < 1e-6
    assert (told.variance[0] > 0).nonzero()[0].tolist() == [9, 10, 11]


def test_a_silent_day_has_the_habits_of_the_others_and_its_own_sum() -> None:
    whole = registers()
    holed = whole.copy()
    holed[0, 97:192] = MISSING
    told = fill(holed)
    assert told.energy[0, 96:192].sum() == np.float64(whole[0, 192] - whole[0, 96])
    true = np.diff(whole[0, 96:193])
    assert np.abs(told.energy[0, 96:192] - true).mean() < 0.1 * true.mean()
    assert (told.variance[0, 96:192] > 0).all()


def test_what_nothing_is_known_of_stays_unknown() -> None:
    begun = registers()
    begun[0, :5] = MISSING
    assert np.isnan(fill(begun).energy[0]).nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    alone = registers(days=1)
    alone[0, 10:80] = MISSING  # no other day to learn from
    assert np.isnan(fill(alone).energy[0]).sum() == 71
    fallen = registers()
    fallen[0, 50:] -= 4_000_000
    assert np.isnan(fill(fallen).energy).all()
    assert np.isnan(fill(np.full((1, 97), MISSING)).energy).all()


def test_a_roll_over_is_energy() -> None:
    over = registers(start=ROLL_OVER - 20_000)
    whole = np.diff(over)
    shown = over % ROLL_OVER
    shown[0, 30] = MISSING
    told = fill(shown)
    assert told.energy.sum() == whole.sum()
    assert (told.energy >= 0).all()
