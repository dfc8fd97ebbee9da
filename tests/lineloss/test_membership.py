"""A meter archived in the wrong area follows the other transformer; all others stay where they are."""

from __future__ import annotations

import numpy as np

from lineloss.membership import find_moves
from tests.support.truth.homes import SLOTS, Weather, happen, medium_voltage
from tests.support.truth.meters import Readings, read, together
from tests.support.truth.street import habits, street


def block(seed: int, strangers: list[tuple[int, int, int]], days: int = 3) -> Readings:
    """Two streets on one medium-voltage line."""
    random = np.random.default_rng(seed)
    wave = medium_voltage(days * SLOTS, random)
    areas = []
    for area in (0, 1):
        profiles, sun = habits(seed=seed * 2 + area)
        day = happen(street(seed=area), profiles, sun, Weather(10, days, 1.5), random, wave)
        areas.append(read(day, random, area=area))
    return together(areas, strangers)


def test_strangers_are_found_and_nobody_else() -> None:
    found = wrong = 0
    for seed in range(6):
        seen = block(seed, [(0, 3, 1), (1, 10, 0)])
        told = find_moves(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports)
        rows = {1 + 3, 26 + 10 - 0}
        found += len(rows & set(told.row.tolist()))
        wrong += len(set(told.row.tolist()) - rows)
        assert all(told.found[told.row == 4] == 0)
    assert wrong == 0
    assert found >= 10


def test_areas_that_are_not_near_are_not_compared() -> None:
    seen = block(1, [(0, 3, 1)])
    apart = np.eye(2, dtype=np.bool_)
    told = find_moves(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports, near=apart)
    assert len(told) == 0
    assert not told.judged.any()


def test_without_voltages_nothing_is_judged() -> None:
    seen = block(1, [(0, 3, 1)], days=1)
    told = find_moves(
        seen.topology, np.full_like(seen.voltage, np.nan), seen.current, seen.imports, seen.exports
    )
    assert len(told) == 0
    assert not told.judged.any()
