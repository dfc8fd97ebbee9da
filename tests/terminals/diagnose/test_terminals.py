"""Diagnosis through terminals of 376.1 and 698.45: the simulator's, on real sockets."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from terminals.diagnose.candidates import known_candidates
from terminals.diagnose.diagnosis import Cause, State
from terminals.diagnose.engine import diagnose
from terminals.diagnose.search import Target
from terminals.pace import Timing
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE, Group, Plan, small

NOW = np.datetime64("2026-03-11T02:00:00", "us")
QUICK = Timing(first=0.5, floor=0.3, ceiling=1.0, gap=0.1, attempts=2, pause=0.0, whole=5.0)
QUIET = Plan(dead=1, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=2, lost=0.0, garbled=0.0)


class _Still:
    def now(self):
        return NOW


@pytest.fixture
async def fleet(tmp_path, request):
    scenario = small(7, groups=(Group(request.param, "dial-out", 4),), plan=QUIET)
    fleet = Fleet(scenario, tmp_path, _Still(), ("127.0.0.1", 9))
    await fleet.start()
    yield fleet
    await fleet.stop()


def _rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _place(fleet, alive):
    """(endpoint, terminal's address, meter)."""
    folder = fleet.directory / "archive"
    terminals = {row["terminal"]: row for row in _rows(folder / "terminals.csv")}
    of_meter = {row["meter"]: row["terminal"] for row in _rows(folder / "meters.csv")}
    for terminal in fleet.terminals:
        for meter in terminal.meters:
            if meter.dead != alive:
                row = terminals[of_meter[meter.asset]]
                return f"tcp://{row['endpoint']}", row["login"], meter
    raise AssertionError


async def _diagnose(url, target):
    return await diagnose(
        url,
        target,
        known_candidates(),
        lambda step: None,
        now=lambda: NOW,
        zone=ZONE,
        timing=QUICK,
        connect_timeout=1.0,
    )


def _step(diagnosis, key):
    return next(step for step in diagnosis.steps if step.key == key)


@pytest.mark.parametrize("fleet", ["gdw376", "dlt698"], indirect=True)
async def test_a_meter_behind_a_terminal_says_what_it_would_say_itself(fleet, request):
    url, terminal, meter = _place(fleet, alive=True)
    diagnosis = await _diagnose(url, Target(meter.address, terminal))
    assert (diagnosis.protocol, diagnosis.address) == (request.node.callspec.params["fleet"], meter.address)
    assert f"behind terminal {terminal}" in _step(diagnosis, "address").detail.en
    assert {trait.key: trait.value for trait in diagnosis.traits}["address"] == meter.address
    assert diagnosis.reads.valid("active_import").all()
    assert diagnosis.phasors is not None
    assert _step(diagnosis, "status").state is State.OK
    assert diagnosis.relay is not None
    assert abs(diagnosis.clock_offset) < 60


@pytest.mark.parametrize("fleet", ["gdw376", "dlt698"], indirect=True)
async def test_the_terminal_itself_is_asked_where_no_meter_is_named(fleet):
    url, terminal, _ = _place(fleet, alive=True)
    diagnosis = await _diagnose(url, Target(terminal=terminal))
    assert f"terminal {terminal}" in _step(diagnosis, "address").detail.en
    assert _step(diagnosis, "clock").state is State.OK
    assert _step(diagnosis, "signal").state is State.UNKNOWN  # this one has no radio, or does not tell
    assert [step.key for step in diagnosis.steps if step.state is State.FAILED] == []


@pytest.mark.parametrize("fleet", ["gdw376", "dlt698"], indirect=True)
async def test_a_terminal_whose_meter_is_silent_is_not_taken_for_a_dead_line(fleet):
    url, terminal, meter = _place(fleet, alive=False)
    diagnosis = await _diagnose(url, Target(meter.address, terminal))
    step = _step(diagnosis, "address")
    assert (step.state, step.cause) == (State.FAILED, Cause.UNREACHED)
    assert "not reached" in step.detail.en
    assert step.trips[-1].received
    assert "carrier" in diagnosis.verdict.en


@pytest.mark.parametrize("fleet", ["dlt698"], indirect=True)
async def test_a_terminal_of_698_tells_its_address(fleet):
    url, terminal, _ = _place(fleet, alive=True)
    diagnosis = await _diagnose(url, Target())
    assert diagnosis.protocol == "dlt698"
    assert diagnosis.address == terminal
