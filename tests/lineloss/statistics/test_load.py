"""Load factor, peak-valley difference, simultaneity, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.groups import join
from lineloss.statistics.load import gather, of_groups, shape
from protocols.reading import MISSING

KWH = 10_000


def test_one_load() -> None:
    # 1, 2, 3, 2 kWh in quarter-hours: 4, 8, 12, 8 kW
    told = shape(np.array([[1.0, 2.0, 3.0, 2.0], [1.0, np.nan, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert told.energy[0] == 8
    assert (told.mean[0], told.high[0], told.low[0], told.high_slot[0], told.low_slot[0]) == (8, 12, 4, 2, 0)
    assert told.factor[0] == pytest.approx(8 / 12)
    assert (told.difference[0], told.share[0]) == (8, pytest.approx(8 / 12))
    # a hole: nothing is said, and no slot is named
    assert np.isnan(
        [getattr(told, name)[1] for name in ("energy", "mean", "high", "factor", "difference", "share")]
    ).all()
    assert told.high_slot[1] == -1
    # who took nothing has no load factor, but a load
    assert (told.energy[2], told.high[2]) == (0, 0)
    assert np.isnan(told.factor[2])


GROUPS = join(3, [("region", np.array([0, 1, 2]), ["R", "R", "S"])])
ENERGY = np.array([[1, 3, 2, 2], [4, 1, 1, 2], [2, MISSING, 2, 2]]) * np.where(
    np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1]]), KWH, 1
)


def test_groups_are_the_sum_of_their_whole_members() -> None:
    sums = gather(ENERGY, GROUPS)
    assert sums.members.tolist() == [3, 2, 1]
    assert sums.whole.tolist() == [2, 2, 0]
    told, simultaneity = of_groups(sums)
    # 5, 4, 3, 4 kWh together; highest of each 3 and 4
    region = GROUPS.keys.index(("region", "R"))
    assert told.energy[region] == 16
    assert (told.high[region], told.low[region]) == (20, 12)
    assert told.factor[region] == pytest.approx(16 / 20)
    assert simultaneity[region] == pytest.approx(5 / 7)
    # two of three are fewer than nine tenths: of everybody nothing is said, as of who is not known at all
    assert np.isnan(told.energy[[0, 2]]).all()
    assert np.isnan(simultaneity[[0, 2]]).all()
    # ... unless that is enough for who asks
    assert of_groups(sums, enough=0.6)[0].energy[0] == 16


def test_tiles_add_up() -> None:
    whole = gather(ENERGY, GROUPS)
    parts = gather(ENERGY[:2], GROUPS.part(np.array([0, 1]))) + gather(ENERGY[2:], GROUPS.part(np.array([2])))
    for name in ("members", "whole", "energy", "highest"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
