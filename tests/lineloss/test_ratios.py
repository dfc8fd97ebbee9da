"""A multiplier in the archive that is not the transformers': found with the one that is made, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.ratios import find_ratios
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street


def readings(seed: int, faults: Faults) -> Readings:
    profiles, sun = habits(seed=seed)
    random = np.random.default_rng(seed)
    return read(happen(street(), profiles, sun, Weather(10, 7), random), random, faults)


@pytest.mark.parametrize("places", [-1, 2])
def test_too_high_and_too_low_are_found(places: int) -> None:
    for seed in range(3):
        seen = readings(seed, Faults(ratio=(5, places)))
        told = find_ratios(seen.topology, seen.imports, seen.exports)
        assert told.row.tolist() == [6]
        assert told.standard.tolist() == [seen.ratio[6]]
        assert told.archived.tolist() == [seen.topology.multiplier[6]]
        assert told.fitted[0] == pytest.approx(seen.ratio[6], rel=0.15)


@pytest.mark.parametrize("faults", [Faults(ratio=(5, 0)), Faults(ratio=(5, 0), bypass=(2, 0.6)), Faults()])
def test_right_multipliers_and_thieves_without_transformers_are_left_alone(faults: Faults) -> None:
    seen = readings(4, faults)
    assert len(find_ratios(seen.topology, seen.imports, seen.exports)) == 0
