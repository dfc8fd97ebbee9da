"""The truth is a function of the seed, can be read back, and follows relay acts."""

import datetime as dt
import json

import numpy as np
import pytest

from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.area import Area
from terminals.simulator.money import charge, charged, local
from terminals.simulator.physics import NOT_SHOWN
from terminals.simulator.scenario import Group, Plan, Scenario, Tariff, large, small
from terminals.simulator.witness import Act, Witness, parse_acts, read_acts

WEDNESDAY = dt.date(2026, 3, 11)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = truth.write(tmp_path / "a", truth.build(small(3)))
    again = truth.write(tmp_path / "b", truth.build(small(3)))
    other = truth.write(tmp_path / "c", truth.build(small(4)))
    assert first == again != other
    assert truth.digest(tmp_path / "a") == first
    assert truth.load(tmp_path / "a").sha256 == first
    assert truth.digest(tmp_path / "nothing") == ""


def test_a_changed_file_is_noticed(tmp_path):
    truth.write(tmp_path, truth.build(small(3)))
    path = tmp_path / "truth.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(truth.BadTruth):
        truth.load(tmp_path)


def test_the_scenario_survives(tmp_path):
    scenario = small(3, tariff=Tariff("一口价", (3,) * 24, (5_000, 5_000, 5_000, 5_000)), key_delay=None)
    truth.write(tmp_path, truth.build(scenario))
    assert truth.load(tmp_path).world.scenario == truth.scenario_of(tmp_path) == scenario
    with pytest.raises(truth.BadTruth, match="holds no fleet"):
        truth.scenario_of(tmp_path / "elsewhere")
    document = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert document["scenario"]["seed"] == 3
    assert set(document["faults"]) >= {"dead", "missing", "thieves", "excursions", "unbalanced", "broke"}
    registers = document["registers"]
    assert len(registers) == scenario.meters
    assert list(next(iter(registers.values()))) == [f"2026-03-{d}" for d in (10, 11, 12, 13, 14)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("truth")
    truth.write(directory, truth.build(small(7)))
    return truth.load(directory)


def test_expected_without_acts(written, at):
    expected = written.expected(first=WEDNESDAY, last=WEDNESDAY)
    assert tuple(expected.curve) == SLOT_QUANTITIES
    assert tuple(expected.freezes) == REGISTER_QUANTITIES
    n = len(expected.meters)
    assert expected.slots[0] == at("2026-03-11 00:15")
    assert expected.slots[-1] == expected.midnights[0] == at("2026-03-12 00:00")
    for column in expected.curve.values():
        assert column.shape == (n, 96)
    assert (expected.curve["active_import"][:, -1] == expected.freezes["active_import"][:, 0]).all()
    np.testing.assert_allclose(expected.supplied, expected.consumed + expected.technical, rtol=1e-9)
    assert (expected.stolen.sum(axis=1) > 0).sum() == 1
    assert (~expected.answers).sum() == 1
    gap = written.world.faults.missing[0]
    row = expected.meters.index(written.world.asset(gap.spot))
    assert (~expected.recorded).sum() == (~expected.recorded[row]).sum() == gap.count
    assert not (np.stack([c for c in expected.curve.values() if c.dtype.kind == "f"]) == NOT_SHOWN).any()
    single = [meter for meter in range(n) if np.isnan(expected.curve["voltage_b"][meter]).all()]
    assert len(single) == 3 * len(written.world.plans)


def test_expected_with_a_trip_and_a_key(written, at):
    world = written.world
    meter = world.asset(world.faults.late)
    acts = [
        Act(at("2026-03-11 11:07"), meter, "trip", True),
        Act(at("2026-03-11 12:00"), meter, "refused", True, "trip: expired"),
        Act(at("2026-03-11 14:17"), meter, "permit", True),
        Act(at("2026-03-11 14:20"), meter, "key", False),
    ]
    plain = written.expected(first=WEDNESDAY, last=WEDNESDAY)
    acted = written.expected(acts, WEDNESDAY, WEDNESDAY)
    row, area = plain.meters.index(meter), world.faults.late.area
    power, current = acted.curve["active_power"][row], acted.curve["current_a"][row]
    ends = acted.slots
    off = (ends > at("2026-03-11 11:07")) & (ends <= at("2026-03-11 14:20"))
    assert (power[off] == 0).all()
    assert (current[off] == 0).all()
    assert (power[~off] > 0).all()
    cut = acted.curve["active_import"][row]
    assert cut[44] == cut[56] < cut[-1] < plain.curve["active_import"][row][-1]
    assert (cut[:44] == plain.curve["active_import"][row][:44]).all()
    partly = 44  # the slot 11:00-11:15 was closed for seven minutes
    assert plain.curve["active_import"][row][43] <= cut[partly] <= plain.curve["active_import"][row][44]
    np.testing.assert_allclose(acted.supplied, acted.consumed + acted.technical, rtol=1e-9)
    assert acted.supplied[area].sum() < plain.supplied[area].sum()
    others = [k for k in range(len(world.plans)) if k != area]
    assert (acted.supplied[others] == plain.supplied[others]).all()
    begin, end = at("2026-03-11 00:00"), at("2026-03-12 00:00")
    assert 0 < acted.charge(meter, begin, end) < plain.charge(meter, begin, end)
    assert acted.registers(meter, at("2026-03-11 12:00")) == acted.registers(meter, at("2026-03-11 14:00"))
    assert acted.registers(meter, end)[0] == acted.freezes["active_import"][row, 0]


def test_expected_knows_people_and_places(written):
    expected, faults = written.expected(), written.world.faults
    assert expected.areas == ("TQ0001", "TQ0002", "TQ0003", "TQ0004")
    assert expected.faults["thieves"][0]["area"] == expected.areas[faults.thieves[0].spot.area]
    broke = written.world.asset(faults.broke)
    assert broke in expected.prepaid
    assert (
        expected.customer(broke)
        == f"{7_000_000_001 + (faults.broke.area + 1) * 1_000 + faults.broke.customer}"
    )
    assert 0 < expected.opening_fen(broke) < 2_000


def test_expected_knows_its_span(written):
    with pytest.raises(ValueError, match="covers 4 days"):
        written.expected(last=dt.date(2026, 4, 1))
    assert len(written.expected().slots) == 4 * 96


def test_charges_are_plain_integers():
    tariff = Tariff("t", (1,) * 6 + (2,) * 6 + (3,) * 6 + (4,) * 6, (10_000, 8_000, 6_000, 3_000))
    before, after = (0, 0, 0, 0, 0), (100_000, 10_000, 20_000, 0, 30_000)
    # 1 kWh at 1.00, 2 at 0.80, 3 at 0.30, and the 4 that no other tariff has at 0.60
    assert charge(tariff, before, after) == 100 + 160 + 90 + 240
    assert charge(tariff, before, (50, 0, 0, 0, 50)) == 0  # 0.0015 yuan
    assert charge(tariff, before, (167, 0, 0, 0, 167)) == 1  # 0.00501 yuan: half up


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("make", [Scenario, small])
def test_the_broke_run_out_within_their_window_and_nobody_else_does(seed, make, at):
    world = truth.build(make(seed))
    scenario = world.scenario
    areas = {p.spot.area: Area(scenario, world.plans[p.spot.area]) for p in world.payments}
    for payment in world.payments:
        area, meter = areas[payment.spot.area], payment.spot.customer + 1

        def balance(begin, when, area=area, meter=meter, payment=payment):
            return payment.fen - charged(scenario.tariff, area, meter, begin, when)

        begins = (local(scenario.commissioned), at("2026-03-11 00:00"))
        if payment.spot in world.faults.empty_handed:
            assert all(balance(begin, at("2026-03-11 10:45")) >= 0 for begin in begins)
            assert all(balance(begin, at("2026-03-11 11:30")) < 0 for begin in begins)
        else:
            assert all(balance(begin, at("2026-03-14 00:00")) > 5_000 for begin in begins)


def test_a_witness_writes_what_is_read(tmp_path, at):
    path = tmp_path / "acts.jsonl"
    acts = [
        Act(at("2026-03-11 11:07"), "410000010002", "trip", True),
        Act(at("2026-03-11 11:08"), "410000010002", "refused", True, "trip: password"),
    ]
    assert read_acts(path) == []
    witness = Witness(path)
    for act in acts:
        witness.see(act)
        assert read_acts(path)[-1] == act  # flushed at once
    witness.close()
    assert parse_acts(path.read_text(encoding="utf-8").splitlines()) == acts


def test_a_large_fleet_is_solved_where_somebody_asks(tmp_path, monkeypatch):
    scenario = small(7)
    truth.write(tmp_path / "whole", truth.build(scenario))
    whole = truth.load(tmp_path / "whole")
    monkeypatch.setattr(truth, "MOST_WRITTEN", 10)
    sha256 = truth.write(tmp_path / "large", truth.build(scenario))
    assert not (tmp_path / "large" / "truth.npz").exists()
    assert truth.digest(tmp_path / "large") == sha256
    large = truth.load(tmp_path / "large")
    with pytest.raises(ValueError, match=r"ask of\(areas\)"):
        large.expected()
    some, all_ = large.of([2, 0]).expected(), whole.expected()
    assert some.areas == (all_.areas[2], all_.areas[0])
    rows = [all_.meters.index(meter) for meter in some.meters]
    assert (some.slots == all_.slots).all()
    for name, curve in some.curve.items():
        np.testing.assert_array_equal(curve, all_.curve[name][rows])
    asset = some.meters[-1]
    assert some.registers(asset, local(dt.datetime(2026, 3, 11, 7))) == all_.registers(
        asset, local(dt.datetime(2026, 3, 11, 7))
    )
    assert some.customer(asset) == all_.customer(asset)


def test_a_large_fleet_knows_its_dead_and_lives_from_the_day_before(tmp_path):
    plan = Plan(dead=6, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=0, lost=0.0, garbled=0.0)
    since = dt.datetime(2026, 11, 29, 23)
    scenario = large(9, [Group("dlt645", "dial-in", 5), Group("dlms", "dial-in", 2)], 7, since, plan=plan)
    truth.write(tmp_path, truth.build(scenario))
    expected = truth.load(tmp_path).of(range(7)).expected()
    assert scenario.meters == len(expected.meters) == 56
    assert (~expected.answers).sum() == len(expected.faults["dead"]) == 6
    assert expected.slots[0] == local(dt.datetime(2026, 11, 29, 0, 15))
    assert scenario.first_day <= since.date()
