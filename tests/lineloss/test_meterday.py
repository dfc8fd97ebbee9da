"""What a meter is made for, told from its voltages."""

from __future__ import annotations

import numpy as np

from lineloss.meterday import nominal_of

NONE = np.nan


def test_the_median_of_the_highest_phase_says_what_a_meter_is_made_for() -> None:
    day = np.array(
        [
            [[221.0, 219.0, NONE, 230.0], [NONE] * 4, [NONE] * 4],  # one phase
            [
                [220.0, 0.0, 0.0, 0.0],
                [0.0, 218.0, 219.0, 0.0],
                [NONE, NONE, NONE, 228.0],
            ],  # another one lost at each time
            [[58.0] * 4, [57.0] * 4, [0.0] * 4],
            [[101.0] * 4, [NONE] * 4, [100.0] * 4],  # three wires
            [[0.0] * 4, [NONE] * 4, [NONE] * 4],  # dark
            [[140.0, 220.0, 140.0, 140.0], [NONE] * 4, [NONE] * 4],  # of no kind
            [[58.0, 58.0, 220.0, 220.0], [NONE] * 4, [NONE] * 4],  # half of each is neither
        ]
    )
    assert np.array_equal(nominal_of(day), [220.0, 220.0, 57.7, 100.0, NONE, NONE, NONE], equal_nan=True)


def test_the_median_is_that_of_what_is_known() -> None:
    random = np.random.default_rng(4)
    day = random.uniform(40, 240, (300, 3, 7))
    day[random.random(day.shape) < 0.5] = np.nan
    day[:20, :, 1:] = np.nan
    highest = np.fmax.reduce(day, axis=1)
    some = ~np.isnan(highest).all(axis=1)
    typical = np.nanmedian(highest[some], axis=1)
    found = nominal_of(day)
    assert np.isnan(found[~some]).all()
    assert np.array_equal(found[some] == 220.0, (typical >= 165) & (typical <= 407))
    assert np.array_equal(found[some] == 100.0, (typical >= 75) & (typical <= 130))
