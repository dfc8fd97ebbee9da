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
    assert "no valid frame" in step["en"]
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
        asked = ("diagnose", line, "--address", "410000010001")
        for options in (("--json", "--frames"), ("--lang", "zh"), ("--frames", "--ascii")):
            said = bare(*asked, "--record", str(file), *options)
            again = bare("diagnose", str(file), *options)
            assert (again.code, again.out) == (said.code, said.out) == (0, said.out)
        nowhere = bare("diagnose", line, "--record", str(tmp_path / "none" / "case.toml"))
        said = bare(*asked, "--record", str(file), "--json")
    finally:
        simulator.terminate()
        simulator.wait(20)
    told = said.json()
    assert (told["address"], told["protocol"]) == ("410000010001", "dlt645-2007")
    assert [phase["source"] for phase in told["phasors"]["phases"]] == ["P and Q"] * 3
    assert load(file).source == line
    assert str(tmp_path / "none") in nowhere.line
    assert bare("diagnose", str(file), "--json").json() == told  # the line is gone, the answer is not
    picture = bare("diagnose", f"recording://{file}", "--lang", "zh").out
    assert "Ua" in picture
    assert "确定接线正确" in picture


def test_a_file_that_is_no_recorded_diagnosis(bare, tmp_path: Path):
    for text, why in (
        ("source = 1\n", "there is no [asked] in it"),
        ("[asked]\nurl = 1\n", "is not what `--record` writes"),
        ("=", "Invalid"),
    ):
        (tmp_path / "case.toml").write_text(text)
        said = bare("diagnose", str(tmp_path / "case.toml"))
        assert said.code == 1
        assert why in said.line
    assert "No such file" in bare("diagnose", str(tmp_path / "none.toml")).line


def test_diagnose_of_nobody(bare):
    said = bare("diagnose", "tcp://127.0.0.1:1")
    assert said.code == 1
    assert "connection refused" in " ".join(said.out.split())
    assert said.err == ""
