"""The quick answer is the answer: byte for byte what the whole device says, or none."""

import datetime as dt

import numpy as np
import pytest

from protocols.dlt645 import blocks
from protocols.dlt645.exchange import Read
from protocols.dlt645.requests import request_frame
from terminals.simulator import archive
from terminals.simulator.area import Area, Shelf, join
from terminals.simulator.meter import Meter
from terminals.simulator.quick645 import Quick645, Slots645
from terminals.simulator.scenario import Group, Plan, large
from terminals.simulator.terminal import Terminal
from terminals.simulator.truth import build

NOW = "2026-03-12 14:20"


def terminals_of(world, quick):
    """Two neighbours, with or without the short cut."""
    shelf = Shelf(1 << 26)
    areas = [Area(world.scenario, plan, shelf) for plan in world.plans]
    join(areas)
    slots = Slots645(areas)
    made = []
    for area in areas:
        keys = archive.passwords(world, area.plan.area)
        meters = [
            Meter(
                area, k, password=keys[k], see=lambda act: None, key_delay=None, drift=np.timedelta64(0, "us")
            )
            for k in range(area.plan.meters)
        ]
        short = Quick645(area, meters, slots) if quick else None
        made.append(Terminal(area.plan, meters, 0.0, 0.0, None, quick=short))
    return made


@pytest.fixture(scope="module")
def world():
    plan = Plan(dead=1, missing=0, thieves=1, excursions=0, unbalanced=0, prepaid=0, lost=0.0, garbled=0.0)
    return build(large(5, [Group("dlt645", "dial-in", 2)], 7, dt.datetime(2026, 3, 11, 23), plan=plan))


@pytest.fixture
def both(world):
    return terminals_of(world, quick=True), terminals_of(world, quick=False)


def asked(address, when, count=1):
    return request_frame(
        Read(address, 0x06000001, blocks.from_time(np.datetime64(when, "us"), count))
    ).encode(4)


def answers(terminal, data, now):
    return [*terminal.exchange(data, lambda: now)]


@pytest.mark.parametrize(
    "when",
    [
        "2026-03-12T14:15", "2026-03-12T14:00", "2026-03-12T00:00", "2026-03-11T00:15", "2026-03-11T00:00",  # recorded, and before
        "2026-03-12T14:30", "2026-03-12T14:14", "2026-03-10T12:00", "2030-01-01T00:00",  # not yet, off the grid, before history
    ],
)  # fmt: skip
def test_every_meter_at_any_time(both, at, when):
    for quick, whole in zip(*both, strict=True):
        for meter in quick.meters:
            data = asked(meter.address, when)
            assert answers(quick, data, at(NOW)) == answers(whole, data, at(NOW))


def test_whom_it_answers(both, at):
    quick = both[0][0]
    found = [bool(answers(quick, asked(m.address, "2026-03-12T14:15"), at(NOW))) for m in quick.meters]
    assert found == [not meter.dead for meter in quick.meters]


@pytest.mark.parametrize("spoil", range(4, 26))
def test_a_spoilt_frame_is_silence(both, at, spoil):
    quick = both[0][0]
    meter = next(meter for meter in quick.meters if not meter.dead)
    data = bytearray(asked(meter.address, "2026-03-12T14:15"))
    data[spoil] ^= 0x11
    assert answers(quick, bytes(data), at(NOW)) == []


def test_other_questions_are_left_to_the_device(both, at):
    quick, whole = both[0][1], both[1][1]
    address = quick.meters[0].address
    for data in (
        asked(address, "2026-03-12T13:00", 3),
        request_frame(Read(address, 0x00010000)).encode(4),
        asked("AAAAAAAAAAAA", "2026-03-12T14:15"),
        asked("410000090001", "2026-03-12T14:15"),
    ):
        assert answers(quick, data, at(NOW)) == answers(whole, data, at(NOW))


def test_a_frame_in_pieces_and_two_in_one(both, at):
    quick = both[0][1]
    living = [meter for meter in quick.meters if not meter.dead]
    one, two = (asked(meter.address, "2026-03-12T14:15") for meter in living[:2])
    single = answers(quick, one, at(NOW)) + answers(quick, two, at(NOW))
    assert len(single) == 2
    assert answers(quick, one[:9], at(NOW)) == []
    assert answers(quick, one[9:] + two, at(NOW)) == single


def test_a_relay_act_is_seen_at_once(both, at):
    data = [asked(meter.address, "2026-03-12T14:15") for meter in both[0][0].meters[:3]]
    before = [answers(both[0][0], one, at(NOW)) for one in data]
    for terminals in both:
        terminals[0].meters[1].area.switch(at("2026-03-12 14:02"), 1, closed=False)
    after = [answers(both[0][0], one, at(NOW)) for one in data]
    assert after == [answers(both[1][0], one, at(NOW)) for one in data]
    assert after[:2] != before[:2]
