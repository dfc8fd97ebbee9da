"""Registers against volts and amperes: each fault by its name, and what a bad power factor may look like stays silent."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.electrical import Fault, compare
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street


def readings(faults: Faults | None = None, solar: float = 0.0) -> Readings:
    profiles, sun = habits()
    random = np.random.default_rng(1)
    return read(happen(street(), profiles, sun, Weather(20, 1, solar=solar), random), random, faults)


def faults_of(seen: Readings) -> list[int]:
    return compare(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports).fault.tolist()


@pytest.mark.parametrize("solar", [0.0, 0.3])
def test_right_meters_are_left_alone(solar: float) -> None:
    assert not any(faults_of(readings(solar=solar)))


def test_a_bypass_is_no_fault_of_the_meter() -> None:
    assert not any(faults_of(readings(Faults(bypass=(3, 0.7)))))


def test_each_fault_by_its_name() -> None:
    assert faults_of(readings(Faults(stuck=(3, 0))))[4] == Fault.STUCK
    assert faults_of(readings(Faults(turned=5)))[6] == Fault.REVERSED_PHASE
    turned = readings()
    turned.imports[4], turned.exports[4] = turned.exports[4].copy(), turned.imports[4].copy()
    assert faults_of(turned)[4] == Fault.REVERSED
    slow = readings()
    slow.imports[4] = slow.imports[4, 0] + (slow.imports[4] - slow.imports[4, 0]) * 3 // 10
    assert faults_of(slow)[4] == Fault.SLOW
    for seen, row in ((turned, 4), (slow, 4)):
        assert sum(f > 0 for f in faults_of(seen)) == 1, row


def test_next_to_no_use_proves_nothing() -> None:
    seen = readings()
    seen.current[3] *= 0.01
    told = compare(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports)
    assert told.fault[3] == Fault.NONE
    assert np.isnan(told.ratio[3])
