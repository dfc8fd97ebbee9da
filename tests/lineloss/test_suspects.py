"""Who explains the loss, against a known truth: found when guilty, left alone when honest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lineloss.service import service_loss
from lineloss.suspects import Settings, Suspects, find_suspects
from lineloss.technical import technical_loss
from lineloss.topology import Role, Topology
from protocols.reading import MISSING
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street

Fleet = Callable[..., tuple[Topology, NDArray[np.int64], NDArray[np.int64]]]


@pytest.mark.parametrize(("multiplier", "seed"), [(10, 1), (40, 2), (1, 3)])
def test_honest_areas_accuse_nobody(fleet: Fleet, multiplier: int, seed: int) -> None:
    """200 areas of 20 customers, class 1, 0.01 kWh: fewer than 1 % of the areas may name anybody."""
    topology, registers, _ = fleet(200, 20, multiplier, seed)
    suspects = find_suspects(topology, registers)
    assert suspects.examined.all()
    assert len(np.unique(suspects.area)) < 2


def test_quantisation_alone_accuses_nobody(fleet: Fleet) -> None:
    """Tiny households behind coarse registers: the loss curve is nothing but steps."""
    topology, registers, _ = fleet(100, 6, 40, 4)
    registers = registers // 10_000 * 10_000  # whole kilowatt-hours
    assert len(find_suspects(topology, registers, resolution=10_000)) == 0


def test_a_bypass_is_found_and_only_the_thief_is_named(fleet: Fleet) -> None:
    """40 to 90 % of one customer's use passes by his meter."""
    topology, registers, thief = fleet(200, 20, 10, 5, bypass=(0.4, 0.9))
    suspects = find_suspects(topology, registers)
    right = suspects.row == thief[suspects.area]
    assert right.sum() >= 170  # it is better to name nobody than somebody else
    assert len(np.unique(suspects.area[~right])) < 2


def test_the_coefficient_is_the_unmetered_share(fleet: Fleet) -> None:
    topology, registers, thief = fleet(100, 20, 10, 6, bypass=(0.5, 0.5))
    suspects = find_suspects(topology, registers)
    right = suspects.row == thief[suspects.area]
    assert np.median(suspects.coefficient[right]) == pytest.approx(1.0, abs=0.1)
    off = np.abs(suspects.coefficient[right] - 1.0) / suspects.error[right]
    # errors are honest: within two standard errors about nineteen times in twenty
    assert (off < 2).mean() > 0.85
    assert (suspects.share[right] <= 1.3).all()


def test_more_days_find_a_thief_behind_a_coarse_supply_meter(fleet: Fleet) -> None:
    one = fleet(8, 20, 40, 7, bypass=(0.4, 0.4))
    many = fleet(8, 20, 40, 7, bypass=(0.4, 0.4), days=3)
    found = [
        int((s.row == t[s.area]).sum()) for s, t in ((find_suspects(n, r), t) for n, r, t in (one, many))
    ]
    assert found[1] >= 7 > found[0]


def test_short_holes_are_filled_and_a_silent_day_says_nothing(fleet: Fleet) -> None:
    topology, registers, thief = fleet(2, 20, 10, 8, bypass=(0.8, 0.8))
    registers[3, 40:44] = MISSING  # 5 slots of area 0: the registers on either side say their sum
    registers[25, 10:80] = MISSING  # 71 slots of area 1
    suspects = find_suspects(topology, registers)
    assert suspects.slots.tolist() == [96, 25]
    assert suspects.examined.tolist() == [True, False]
    assert suspects.row.tolist() == [thief[0]]
    assert suspects.meter.tolist() == [topology.meter[thief[0]]]


def test_the_same_profile_twice_accuses_neither(fleet: Fleet) -> None:
    topology, registers, thief = fleet(1, 20, 10, 9, bypass=(0.8, 0.8))
    twin = 1 if thief[0] != 1 else 2
    registers[0] += (registers[thief[0]] - registers[thief[0]][0]) // 10 - (
        registers[twin] - registers[twin][0]
    ) // 10
    registers[twin] = registers[thief[0]]
    assert len(find_suspects(topology, registers)) == 0


def test_two_thieves_are_both_named(fleet: Fleet) -> None:
    topology, registers, thief = fleet(1, 20, 1, 10, bypass=(0.6, 0.6))
    other = int(
        np.argmax(
            registers[:, -1]
            - registers[:, 0]
            - (np.arange(21) == 0) * 10**9
            - (np.arange(21) == thief[0]) * 10**9
        )
    )
    gone = (registers[other] - registers[other][0]) // 2
    registers[other] -= gone
    registers[other] = registers[other] // 100 * 100
    assert sorted(find_suspects(topology, registers).row.tolist()) == sorted([int(thief[0]), other])


def test_a_wrong_ratio_of_the_supply_meter_accuses_nobody(fleet: Fleet) -> None:
    """Supply archived a quarter too high: the loss looks like everybody's use, so it is nobody's."""
    topology, registers, _ = fleet(50, 20, 10, 11)
    supply = topology.role == Role.SUPPLY
    first = registers[supply, :1]
    registers[supply] = first + (registers[supply] - first) * 5 // 4
    assert len(find_suspects(topology, registers)) == 0


def services(topology: Topology, registers: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """service_loss() of an area whose supply registers are raised by what random services, some of them rotten, lose.

    Voltages wander, jitter, and are read up to half a percent wrong.
    """
    random = np.random.default_rng(seed)
    shape = (len(topology), 3, registers.shape[1] - 1)
    supply = topology.role == Role.SUPPLY
    ohm = np.where(random.random(len(topology)) < 0.1, random.uniform(2, 6, len(topology)), 0.3)
    current, voltage = np.full(shape, np.nan), np.full(shape, np.nan)
    current[:, 0] = np.diff(registers, axis=1) / 10_000 * 4000 / 225
    voltage[:, 0] = 230 - (ohm * ~supply)[:, None] * current[:, 0]
    voltage[supply] = 230 + random.normal(0.0, 0.3, (int(supply.sum()), *shape[1:]))
    voltage *= random.uniform(0.995, 1.005, (len(topology), 1, 1))
    lost = np.where(supply, 0.0, ohm)[:, None] * current[:, 0] ** 2 / 4000
    change = topology.sum_by_area(lost).cumsum(axis=1) / topology.multiplier[supply][:, None]
    registers[supply, 1:] += np.floor(change * 100).astype(np.int64) * 100
    return service_loss(topology, voltage, current)


@pytest.mark.parametrize("multiplier", [1, 10])
def test_honest_customers_behind_bad_services_are_not_accused(fleet: Fleet, multiplier: int) -> None:
    topology, registers, _ = fleet(100, 20, multiplier, 14)
    lost = services(topology, registers, 15)
    assert len(find_suspects(topology, registers, service=lost)) == 0


def test_thieves_beside_bad_services_are_found_all_the_same(fleet: Fleet) -> None:
    topology, registers, thief = fleet(100, 20, 10, 16, bypass=(0.4, 0.9))
    lost = services(topology, registers, 17)
    lost[:, 20:24] = np.nan  # an hour without voltages
    suspects = find_suspects(topology, registers, service=lost)
    right = suspects.row == thief[suspects.area]
    assert right.sum() >= 90
    assert right.all()
    assert (suspects.service >= 0).all()


def readings(seed: int, bypass: tuple[int, float] | None, *, spread: bool = True) -> Readings:
    """A week of a street with power flow; without `spread` its 24 customers have the habits of six."""
    profiles, sun = habits(seed=seed)
    if not spread:
        profiles = {name: profiles[str(int(name) % 6)] for name in profiles}
    random = np.random.default_rng(seed)
    day = happen(street(seed=seed), profiles, sun, Weather(10, 7, 1.5, spread=False), random)
    return read(day, random, Faults(bypass=bypass))


def asked(seen: Readings, *, voltages: bool = True) -> Suspects:
    lost = technical_loss(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports).lost
    instants = {"voltage": seen.voltage, "current": seen.current} if voltages else {}
    return find_suspects(seen.topology, seen.imports, seen.exports, service=lost, ranking=True, **instants)


def test_customers_of_the_same_habits_are_ranked_by_place_and_none_but_him_is_named() -> None:
    first = 0
    for seed in range(6):
        seen = readings(seed, (8, 0.6), spread=False)
        alone, told = asked(seen, voltages=False), asked(seen)
        assert len(alone) == 0  # four customers have this profile: it accuses none of them
        assert set(told.row.tolist()) <= {9}  # the phase may tell him from them
        first += int(told.ranked[0, 0] == 9)
    assert first >= 4


def test_who_is_not_metered_at_all_is_ranked_and_not_named() -> None:
    first = 0
    for seed in range(4):
        told = asked(readings(seed, (8, 1.0)))
        assert 9 not in told.row
        first += int(9 in told.ranked[0, :3])
    assert first >= 3


def test_an_honest_street_is_left_alone() -> None:
    for seed in range(4):
        for spread in (True, False):
            assert len(asked(readings(seed, None, spread=spread))) == 0


def test_nothing_to_regress_on(fleet: Fleet) -> None:
    topology, registers, _ = fleet(1, 5, 1, 12)
    registers[:] = registers[:, :1]
    suspects = find_suspects(topology, registers)
    assert suspects.examined.tolist() == [False]
    assert len(suspects) == 0


def test_only_the_chosen_areas_are_examined(fleet: Fleet) -> None:
    topology, registers, _ = fleet(3, 20, 10, 13, bypass=(0.8, 0.8))
    suspects = find_suspects(topology, registers, only=np.array([False, True, False]), settings=Settings())
    assert suspects.examined.tolist() == [False, True, False]
    assert set(suspects.area.tolist()) <= {1}
