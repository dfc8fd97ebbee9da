"""Areas that are solved together are the areas that they were alone, and memory has a bound."""

import datetime as dt

import numpy as np
import pytest

from terminals.simulator.area import TOGETHER, Area, Shelf, join
from terminals.simulator.physics import SLOT_US
from terminals.simulator.scenario import Group, Plan, large
from terminals.simulator.truth import build

AREAS = TOGETHER + 3


@pytest.fixture(scope="module")
def world():
    """More areas than are solved at once, with thieves, bad services and unbalanced phases among them, of two protocols."""
    plan = Plan(dead=0, missing=0, thieves=3, excursions=2, unbalanced=2, prepaid=0, lost=0.0, garbled=0.0)
    groups = (Group("dlt645", "dial-in", AREAS - 4), Group("dlms", "dial-in", 4))
    return build(large(21, groups, 7, dt.datetime(2026, 3, 10, 23), plan=plan))


def areas_of(world, most):
    shelf = Shelf(most)
    areas = [Area(world.scenario, plan, shelf) for plan in world.plans]
    join(areas)
    return shelf, areas


def assert_same(one, other):
    for name in ("bounds", "opening", "closing", "step", "kept", "values", "flows", "closed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_together_as_alone(world):
    _, areas = areas_of(world, 1 << 30)
    for area in areas:
        alone = Area(world.scenario, area.plan)
        for day in (0, 2):
            assert_same(area.day(day), alone.day(day))


def test_a_relay_act_changes_its_own_area_alone(world):
    _, areas = areas_of(world, 1 << 30)
    before = [area.day(1) for area in areas]
    alone = Area(world.scenario, world.plans[2])
    at = areas[2].instant(0, 40 * SLOT_US + 1)
    for area in (alone, areas[2]):
        area.switch(at, 1, closed=False)
    assert (areas[2].changes, areas[3].changes) == (1, 0)
    for number, area in enumerate(areas):
        assert_same(area.day(1), alone.day(1) if number == 2 else before[number])
    assert not areas[2].day(1).closed[0]


def test_what_the_shelf_has_no_room_for_is_solved_again(world):
    shelf, areas = areas_of(world, 200_000)
    first = [area.day(0) for area in areas]
    for area, was in zip(areas, first, strict=True):
        area.day(1)
        assert shelf.nbytes <= 200_000
        again = area.day(0)
        assert again is not was
        assert_same(again, was)
    assert len(shelf) < AREAS


def test_a_shelf_too_small_for_one_day_still_gives_it(world):
    _, areas = areas_of(world, 1)
    assert areas[0].day(0).closing.shape == (4, 8)
    assert areas[TOGETHER - 1].day(1) is not None


@pytest.mark.parametrize("slot", [0, 37, 95])
def test_parts_of_a_day_agree_with_the_whole(world, slot):
    solved = Area(world.scenario, world.plans[0]).day(0)
    registers, shown = solved.slot_registers(), solved.slot_shown()
    assert solved.slot_totals(slot).tolist() == registers[0, :, slot].tolist()
    assert (solved.shown_in(int(solved.slot_end[slot]) - 1) == shown[:, :, slot]).all()
    for meter in range(8):
        assert (solved.meter_registers(meter) == registers[:, meter]).all()
        assert (solved.meter_shown(meter) == shown[:, meter]).all()
