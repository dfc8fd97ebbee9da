"""The planted faults: enough of each, apart from each other, and the same for the same seed."""

import pytest

from terminals.simulator.faults import choose
from terminals.simulator.scenario import Group, Plan, Scenario, Tariff, small, stream


def fault_areas(faults):
    return [
        *(spot.area for spot in faults.dead),
        *(gap.spot.area for gap in faults.missing),
        *(theft.spot.area for theft in faults.thieves),
        *(spot.area for spot in faults.excursions),
        *faults.unbalanced,
    ]


def test_the_usual_fleet_has_480_meters_on_24_terminals():
    scenario = Scenario(1)
    assert (scenario.areas, scenario.meters) == (24, 480)
    kinds = [scenario.kind(area) for area in range(scenario.areas)]
    assert kinds.count(("dlt645", "dial-out")) == 10
    assert kinds.count(("dlt645", "dial-in")) == 8
    assert kinds.count(("dlms", "dial-out")) == 4
    assert kinds.count(("dlms", "dial-in")) == 1
    assert kinds.count(("dlt645", "serial")) == 1


@pytest.mark.parametrize("seed", range(30))
def test_each_fault_has_an_area_of_its_own_and_the_broke_are_apart_from_them(seed):
    faults = choose(Scenario(seed))
    areas = [*fault_areas(faults), *(spot.area for spot in faults.empty_handed)]
    assert len(areas) == len(set(areas)) == 9
    assert len(faults.prepaid) >= 10
    everybody = [*faults.dead, *(g.spot for g in faults.missing), *(t.spot for t in faults.thieves)]
    everybody += [*faults.excursions, *faults.empty_handed]
    assert not set(faults.prepaid) & set(everybody)


@pytest.mark.parametrize("seed", range(30))
def test_gaps_lie_within_the_day(seed):
    for gap in choose(Scenario(seed)).missing:
        assert 5 <= gap.count <= 8
        assert gap.day == 1
        assert gap.first >= 44  # after the demonstration's clock starts
        assert gap.first + gap.count <= 88  # over by 22:00


@pytest.mark.parametrize("seed", range(30))
def test_a_small_fleet_keeps_the_roles_of_different_people_apart(seed):
    faults = choose(small(seed))
    spots = [*faults.dead, *(g.spot for g in faults.missing), *(t.spot for t in faults.thieves)]
    spots += [*faults.excursions, *faults.empty_handed, *faults.prepaid]
    assert len(spots) == len(set(spots))
    dead = {spot.area for spot in faults.dead}
    assert not dead & {spot.area for spot in (*faults.empty_handed, *faults.prepaid)}


def test_the_seed_decides():
    assert choose(Scenario(5)) == choose(Scenario(5))
    assert choose(Scenario(5)) != choose(Scenario(6))
    assert stream(5, "a", 1).random() == stream(5, "a", 1).random()
    assert stream(5, "a", 1).random() != stream(5, "b", 1).random()


def test_impossible_scenarios_are_refused():
    with pytest.raises(ValueError, match="negative"):
        Scenario(-1)
    with pytest.raises(ValueError, match="5 customers"):
        Scenario(1, customers=4)
    with pytest.raises(ValueError, match="area of its own"):
        Scenario(1, groups=(Group("dlt645", "dial-out", 2),), plan=Plan(dead=3))
    with pytest.raises(ValueError, match="24 hours"):
        Tariff(hours=(1, 2))
