"""Registers that stand still and interchanged current transformers: planted in the physics, and seen by nobody but the meter."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from protocols.dlt645.values import quantity_values
from terminals.simulator import records645
from terminals.simulator.area import Area
from terminals.simulator.physics import NOT_SHOWN, SHOWN
from terminals.simulator.scenario import NOTHING, Group, large
from terminals.simulator.truth import build, faults_by_asset


def world_of(**planted):
    plan = replace(NOTHING, **planted)
    groups = [Group("dlt645", "dial-in", 4)]
    return build(large(31, groups, 7, dt.datetime(2026, 3, 10, 23), plan=plan))


def test_a_stuck_register_stands_still_and_everything_else_goes_on():
    world = world_of(stuck=1)
    (one,) = world.faults.stuck
    meter = one.spot.customer + 1
    plan = world.plans[one.spot.area]
    sound = replace(plan, stuck=np.full(plan.meters, np.inf))
    area, other = (Area(world.scenario, one) for one in (plan, sound))
    for day in range(3):
        ours, theirs = area.day(day), other.day(day)
        np.testing.assert_array_equal(ours.slot_shown(), theirs.slot_shown())
        np.testing.assert_array_equal(ours.slot_flows(), theirs.slot_flows())
        np.testing.assert_array_equal(
            np.delete(ours.step, meter, axis=0), np.delete(theirs.step, meter, axis=0)
        )
    moved = (np.diff(area.day(one.day).energy.sum(axis=0)[meter]) > 0).tolist()
    assert moved == [True] * one.slot + [False] * (96 - one.slot)
    assert (area.day(2).closing[:, meter] == area.day(1).closing[:, meter]).all()
    told = faults_by_asset(world)["stuck"]
    assert told == [{"meter": world.asset(one.spot), "since": told[0]["since"]}]
    begins = area.instant(one.day, one.slot * 900_000_000)
    assert np.datetime64(told[0]["since"].removesuffix("Z"), "us") == begins


@pytest.fixture(scope="module")
def swapped():
    """The area with the interchanged transformers, the sound one, and the meter."""
    world = world_of(swapped=1)
    (spot,) = world.faults.swapped
    assert world.plans[spot.area].phases(spot.customer + 1) == 3
    assert faults_by_asset(world)["swapped"] == [world.asset(spot)]
    plan = world.plans[spot.area]
    sound = replace(plan, swapped=np.zeros(plan.customers, dtype=bool))
    return (*(Area(world.scenario, one).day(1) for one in (plan, sound)), spot.customer + 1)


def test_what_flows_is_what_flowed(swapped):
    ours, sound, meter = swapped
    np.testing.assert_array_equal(ours.slot_flows(), sound.slot_flows())
    np.testing.assert_array_equal(np.delete(ours.step, meter, axis=0), np.delete(sound.step, meter, axis=0))


def test_an_interchanged_meter_counts_next_to_nothing(swapped):
    ours, sound, meter = swapped
    assert 0 <= ours.step[meter].sum() < 0.1 * sound.step[meter].sum()


def test_phases_b_and_c_show_each_others_currents_at_angles_that_cannot_be(swapped):
    ours, sound, meter = swapped
    shown, right = (
        dict(zip(SHOWN, day.meter_shown(meter).astype(float), strict=True)) for day in (ours, sound)
    )
    for name in ("va", "vb", "vc", "ia", "pa", "qa"):
        assert (shown[name] == right[name]).all()
    np.testing.assert_allclose(shown["ib"], right["ic"], atol=1)
    np.testing.assert_allclose(shown["ic"], right["ib"], atol=1)
    # V and I of one phase, 120 degrees further apart than the load makes them
    angle = np.arctan2(right["qc"], right["pc"])
    apparent = shown["vb"] * shown["ib"] / 1000  # 0.1 V, 1 mA -> 0.1 W
    np.testing.assert_allclose(shown["pb"], apparent * np.cos(angle + 2 * np.pi / 3), rtol=0.02, atol=2)
    assert (shown["pb"] < 0).all()


def test_a_negative_power_travels_with_its_sign():
    values = np.array([-12_345, 0, 12_345, NOT_SHOWN])
    packed = records645.packed(values, 3)
    assert packed[3].tolist() == [0xFF] * 3
    told = [quantity_values(0x02030000, row.tobytes())["active_power"] for row in packed[:3]]
    assert told == [-1.2345, 0.0, 1.2345]
