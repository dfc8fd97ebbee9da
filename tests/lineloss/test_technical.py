"""Technical loss and phases against a power flow; unknown stays unknown."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.balance import Balance, day_balance
from lineloss.technical import Technical, narrowed, technical_loss
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street


def readings(seed: int, days: int = 1, faults: Faults | None = None, solar: float = 0.0) -> Readings:
    profiles, sun = habits()
    random = np.random.default_rng(seed)
    day = happen(street(), profiles, sun, Weather(20, days, 1.5, solar=solar), random)
    return read(day, random, faults)


def told(seen: Readings, **other: np.ndarray) -> Technical:
    voltage, current = other.get("voltage", seen.voltage), other.get("current", seen.current)
    return technical_loss(seen.topology, voltage, current, seen.imports, seen.exports)


@pytest.mark.parametrize("solar", [0.0, 0.2])
def test_the_power_flows_loss_is_met(solar: float) -> None:
    """A day each: voltmeters are up to a volt off, which is more than the mean drop."""
    errors, within = [], []
    for seed in range(8):
        seen = readings(seed, solar=solar)
        estimate, true = told(seen), float(seen.loss.sum())
        errors.append(estimate.energy[0] / true - 1)
        within.append(abs(estimate.energy[0] - true) < 2 * estimate.error[0])
    assert np.median(np.abs(errors)) < 0.10
    assert np.max(np.abs(errors)) < 0.25
    assert np.mean(within) >= 0.75


def test_holes_take_little_away() -> None:
    seen = readings(1, faults=Faults(missing=0.05))
    assert told(seen).energy[0] / seen.loss.sum() == pytest.approx(1, abs=0.2)


def test_customers_without_instants_lose_as_the_others_do_and_say_so() -> None:
    seen = readings(2)
    voltage = seen.voltage.copy()
    voltage[5:8] = np.nan
    estimate, whole = told(seen, voltage=voltage), told(seen)
    assert 0.5 < estimate.measured[0] < 1
    assert np.isnan(estimate.lost[5:8]).all()
    assert estimate.error[0] > whole.error[0]


@pytest.mark.parametrize("gone", ["supply", "most"])
def test_without_voltages_it_is_unknown(gone: str) -> None:
    seen = readings(3)
    voltage = seen.voltage.copy()
    voltage[0 if gone == "supply" else slice(1, 22)] = np.nan
    assert np.isnan(told(seen, voltage=voltage).energy[0])


def test_phases_are_told_and_a_wrong_archive_is_found() -> None:
    seen = readings(4, days=7)
    phases = told(seen).phases
    there = seen.phase >= 0
    there[0] = False  # the supply is what phases are called after
    sure = there & phases.certain
    assert sure.sum() > 0.8 * there.sum()
    assert (phases.phase[sure] == seen.phase[sure]).all()
    archived = seen.phase.copy()
    assert not phases.swapped(archived)[1:].any()
    row = int(np.flatnonzero(sure[:, 0] & (seen.topology.phases == 1))[0])
    archived[row, 0] = (archived[row, 0] + 1) % 3
    assert np.argwhere(phases.swapped(archived)[1:]).tolist() == [[row - 1, 0]]


def limits(seen: Readings) -> Balance:
    return day_balance(seen.topology, seen.imports, seen.exports)


def test_the_network_narrows_the_limits_from_below_and_the_truth_stays_within() -> None:
    inside, narrower = [], []
    for seed in range(12):
        seen = readings(seed)
        wide = limits(seen)
        slim = narrowed(wide, told(seen))
        true = seen.loss.sum() * 10_000
        inside.append(bool(slim.likely_low[0] <= true) or bool(wide.likely_low[0] > true))
        narrower.append(slim.likely_low[0] > wide.likely_low[0])
        assert slim.likely_high[0] == wide.likely_high[0]
        assert slim.loss_low[0] == wide.loss_low[0]
    assert all(inside)  # what the wider limits hold the narrower ones hold
    assert 3 <= sum(narrower) < 12


def test_meters_and_voltages_that_contradict_each_other_leave_the_limits_alone() -> None:
    seen = readings(1)
    wide, network = limits(seen), told(seen)
    more = Technical(network.energy * 100, network.error, network.measured, network.lost, network.phases)
    unknown = Technical(
        network.energy * np.nan, network.error, network.measured, network.lost, network.phases
    )
    for other in (more, unknown):
        assert narrowed(wide, other).likely_low.tolist() == wide.likely_low.tolist()
