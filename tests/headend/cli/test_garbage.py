"""A meter that answers garbage, one that is dead, a line that is not there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from terminals.links.recording import load
from tests.headend.cli.conftest import GARBAGE_METER, until


@pytest.mark.timeout(180)
def test_diagnose_of_garbage_names_it(bare, garbage):
    said = bare("diagnose", f"tcp://127.0.0.1:{garbage}", "--json")
    assert said.code == 1
    told = said.json()
    step = next(s for s in told["steps"] if s["step"] == "address")
    assert (step["state"], step["cause"]) == ("failed", "garbled")
    assert "garbage" in step["en"]
    assert said.err == ""


def test_read_of_garbage_is_one_line(fleet):
    said = fleet("read", GARBAGE_METER, "--wait", "40")
    assert said.code == 1
    assert "garbage" in said.line or "garbled" in said.line, said
    assert "check baud rate, parity, wiring" in said.line


def test_read_of_a_dead_meter_is_one_line(fleet):
    dead = fleet.faults["dead"][0]
    said = fleet("read", dead, "--wait", "5")
    assert said.code == 1
    assert "no answer" in said.line
    assert f"`headend why {dead}`" in said.line


def test_why_of_garbage(fleet):
    def reasons() -> set[str]:
        told = fleet("why", GARBAGE_METER, "--json").json()
        return {hole["reason"] for plan in told["plans"] for hole in plan["holes"]}

    assert until(lambda: "garbled" in reasons(), 60)


def test_diagnose_of_a_real_line_and_its_recording(bare, tmp_path: Path):
    ready = tmp_path / "fleet" / "ready.json"
    simulator = bare.start(tmp_path / "log", "simulate", str(ready.parent), "--size", "small", "--seed", "1")
    try:
        until(ready.exists, 30)
        with (ready.parent / "archive" / "terminals.csv").open(encoding="utf-8") as handle:
            line = next(f"tcp://{r['endpoint']}" for r in csv.DictReader(handle) if r["link"] == "dial-out")
        file = tmp_path / "case.toml"
        said = bare("diagnose", line, "--address", "410000010002", "--record", str(file), "--json")
        nowhere = bare("diagnose", line, "--record", str(tmp_path / "none" / "case.toml"))
    finally:
        simulator.terminate()
        simulator.wait(20)
    told = said.json()
    assert (told["address"], told["protocol"]) == ("410000010002", "dlt645-2007")
    recording = load(file)
    assert recording.source == line
    assert {moment.direction for moment in recording.moments} == {"sent", "received"}
    assert str(tmp_path / "none") in nowhere.line

    again = bare("diagnose", f"recording://{file}", "--address", "410000010002", "--json").json()
    assert again["steps"][3]["en"] == told["steps"][3]["en"]  # the registers, played back


def test_diagnose_of_nobody(bare):
    said = bare("diagnose", "tcp://127.0.0.1:1")
    assert said.code == 1
    assert "connection refused" in " ".join(said.out.split())
    assert said.err == ""
