"""Commands that show something: a table that fits a terminal of 80 columns, and the same as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.headend.cli.conftest import TODAY, YESTERDAY, until
from tests.support.cli import Said

FRAME = "68 01 00 00 00 00 00 68 91 08 33 33 34 33 AB 89 67 45 17 16"
#: name -> arguments; METER and CUSTOMER stand for one of the fleet's
SHOWING = {
    "terminals": ["archive", "list"],
    "meters": ["archive", "list", "meters"],
    "areas": ["archive", "list", "areas"],
    "customers": ["archive", "list", "customers"],
    "why": ["why", "METER"],
    "why-yesterday": ["why", "METER", "yesterday"],
    "losses": ["lineloss", "show", YESTERDAY],
    "findings": ["anomalies", "show", YESTERDAY],
    "all-findings": ["anomalies", "show", "--evidence"],
    "closed-findings": ["anomalies", "show", "--state", "closed"],
    "findings-report": ["anomalies", "report"],
    "balances": ["prepaid", "balances"],
    "ledger": ["prepaid", "show", "CUSTOMER"],
    "bills": ["billing", "show"],
    "job-runs": ["jobs", "list"],
    "orders": ["relay", "list"],
    "gates": ["relay", "check", "METER"],
    "limits": ["relay", "limits"],
    "clocks": ["clock", "fleet", "--by", "area"],
    "meter-clocks": ["clock", "list"],
    "terminal-clocks": ["clock", "terminals"],
    "meter-clock": ["clock", "show", "METER"],
    "clock-rules": ["clock", "rules"],
    "events": ["events", "METER"],
    "doctor": ["doctor"],
    "live": ["read", "METER"],
    "diagnosis": ["diagnose", "METER"],
    "frame": ["decode", FRAME],
}


@pytest.fixture(scope="session")
def night(fleet):
    """Yesterday's jobs have run, a payment is booked, an order is on record."""
    customer = fleet.customer(fleet.faults["prepaid"][0])
    assert fleet("prepaid", "pay", customer, "88.08", "--serial", "N-1").code == 0
    assert fleet("prepaid", "run").code == 0
    assert (
        fleet(
            "relay", "keep-power", fleet.meter, "--reason", "[bold] brackets [/nonsense]", "--wait", "20"
        ).code
        == 0
    )
    until(lambda: settled(fleet), 60)
    for job in ("settle", "lineloss"):
        assert fleet("jobs", "once", job, YESTERDAY).code == 0
    until(
        lambda: fleet("jobs", "once", "anomalies", YESTERDAY) and fleet("anomalies", "show", "--json").json(),
        60,
    )
    assert fleet("billing", "run", "--out", str(fleet.folder / "bills")).code == 0
    return fleet


def settled(fleet) -> bool:
    """Whether yesterday's freezes of the ordinary meter are in."""
    told = fleet("why", fleet.meter, YESTERDAY, "--json").json()
    return all(plan["present"] >= plan["due"] for plan in told["plans"] if plan["plan"] == "day") and bool(
        told["plans"]
    )


def asked(fleet, name: str) -> list[str]:
    words = {"METER": fleet.meter, "CUSTOMER": fleet.customer(fleet.faults["prepaid"][0])}
    return [words.get(argument, argument) for argument in SHOWING[name]]


@pytest.mark.parametrize("name", SHOWING)
def test_tables_fit_and_json_parses(night, name):
    arguments = asked(night, name)
    table = night(*arguments)
    assert (table.code, table.err) == (0, "")
    assert "\x1b" not in table.out
    sound(table)
    said = night(*arguments, "--json")
    assert said.code == 0
    assert isinstance(said.json(), list | dict)


def sound(table: Said) -> None:
    """No identifier is folded: wherever one begins, all of it stands."""
    for line in table.out.splitlines():
        for word in line.split():
            if word.startswith("41000"):
                assert len(word.rstrip(",;:")) == 12, line


def test_the_widest_tables_keep_to_the_screen(night):
    for name in ("terminals", "meters", "losses", "findings", "balances", "job-runs", "orders", "customers"):
        out = night(*asked(night, name)).out
        longest = max(len(line.rstrip()) for line in out.splitlines())
        assert longest <= 80, f"{name}\n{out}"


@pytest.mark.parametrize("name", ["active_import", "正向有功电能", "1-0:1.8.0", "00010000"])
def test_reading_one_item_by_any_of_its_names(fleet, name):
    said = fleet("read", fleet.meter, name, "--json", "--wait", "40").json()
    (item,) = said["items"]
    assert (item["code"], item["unit"], item["quantity"]) == ("00010000", "kWh", "active_import")
    assert float(item["value"]) > 0
    (frame,) = said["frames"]
    assert frame["received"].replace("FE ", "").startswith("68 ")
    assert name[:2] not in ("00",) or "33 33 34 33" in frame["sent"]  # the DI, each byte 33H more


def test_an_unknown_item_names_the_nearest_before_anything_is_ordered(fleet):
    before = len(fleet("relay", "list", "--json").json())
    said = fleet("read", fleet.meter, "voltge_a")
    assert said.code == 2
    assert "nearest: voltage_a" in said.err
    assert len(fleet("relay", "list", "--json").json()) == before


def test_a_diagnosis_of_a_meter_goes_through_its_collector_and_says_so(fleet):
    told = fleet("diagnose", fleet.meter, "--json", "--frames").json()
    assert told["order"] > 0
    assert told["known"]["owner"]
    assert {row["thing"]: row["same"] for row in told["archive"]}["address"] is True
    assert told["phasors"]["phases"][0]["voltage"] > 180
    said = fleet("diagnose", fleet.meter, "--lang", "zh")
    assert said.code == 0
    assert "不抢占" in said.out
    assert "档案" in said.out
    assert "确定接线正确" in said.out
    assert fleet("diagnose", fleet.meter, "--record", "case.toml").code == 2


def test_why_knows_the_hole_and_its_cause(fleet):
    dead = fleet.faults["dead"][0]

    def holes() -> list[str]:
        told = fleet("why", dead, "--json").json()
        return [hole["reason"] for plan in told["plans"] for hole in plan["holes"]]

    assert until(lambda: "no-answer" in holes(), 60)
    assert "the meter did not answer it" in " ".join(fleet("why", dead).out.split())


def test_a_finding_is_seen_by_somebody(night):
    findings = night("anomalies", "show", "--json").json()
    number = str(findings[0]["finding_id"])
    assert (
        f"finding {number} acknowledged by 陈晓" in night("anomalies", "ack", number, "--person", "陈晓").out
    )
    said = night("anomalies", "ack", "999999")
    assert (said.code, "999999" in said.line) == (1, True)


def test_findings_as_files(night, tmp_path):
    book, page = tmp_path / "f.xlsx", tmp_path / "f.html"
    said = night("anomalies", "report", YESTERDAY, "--xlsx", str(book), "--html", str(page))
    assert (said.code, said.out) == (0, "")
    told = night("anomalies", "report", YESTERDAY, "--json").json()
    assert told["total"] == sum(told["severities"].values()) == len(told["findings"]) > 0
    assert book.stat().st_size > 4000
    assert "<svg" in page.read_text("utf-8")
    assert "cannot be written" in night("anomalies", "report", "--html", str(tmp_path / "no" / "f.html")).line


def test_a_finding_gets_a_work_order_and_is_closed_by_name(night):
    number = str(night("anomalies", "show", "--json").json()[-1]["finding_id"])
    told = night("anomalies", "order", number, "--number", "WO-17", "--person", "陈晓").out
    assert f"finding {number} given work order WO-17 by 陈晓" in told
    said = night("anomalies", "close", number, "--person", "李敏")
    assert (said.code, "--why" in said.err) == (2, True)
    assert night("anomalies", "close", number, "--why", "fuse replaced", "--person", "李敏").code == 0
    log = night("anomalies", "log", number, "--json").json()
    assert [(e["who"], e["act"], e["state"]) for e in log["events"]][-2:] == [
        ("陈晓", "order", "work-order"), ("李敏", "close", "closed"),
    ]  # fmt: skip
    assert "fuse replaced" in night("anomalies", "log", number).out
    said = night("anomalies", "close", number, "--why", "again")
    assert (said.code, "a finding that is closed cannot be closed" in said.line) == (1, True)
    assert night("anomalies", "reopen", number, "--why", "it blew again").code == 0


def test_one_rule_alone_is_asked(night):
    assert "findings" in night("anomalies", "run", YESTERDAY, "--rule", "voltage").out
    assert night("anomalies", "run", YESTERDAY, "--rule", "weather").code == 2


def test_export_of_a_day(fleet, tmp_path: Path):
    said = fleet("export", "reads", TODAY, "--out", str(tmp_path))
    assert said.code == 0
    file = tmp_path / f"curve-{TODAY}.csv"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in said.out
    assert file.read_text("utf-8").startswith("meter,slot_end,active_import_kWh")
    said = fleet("export", "reads", TODAY, "--out", str(tmp_path / "none"))
    assert said.code == 1
    assert f"there is no folder {tmp_path / 'none'}" in said.line


def test_bills_are_sealed_and_the_day_must_be_over(night, tmp_path: Path):
    said = night("billing", "run", "--date", YESTERDAY, "--out", str(tmp_path), "--json").json()
    assert said["bills_new_or_changed"] == 0  # the same data give the same bills
    for file in said["files"]:
        assert hashlib.sha256((tmp_path / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    for day in ("today", TODAY, "2026-03-12"):
        said = night("billing", "run", "--date", day)
        assert said.code == 1
        assert "is not over yet" in said.line
    said = night("billing", "run", "--from", TODAY, "--date", YESTERDAY)
    assert (said.code, f"--from {TODAY} lies after" in said.line) == (1, True)
    assert "is not over yet" in night("prepaid", "settle", "today").line


def test_a_payment_is_booked_once(fleet):
    customer = fleet.customer(fleet.faults["prepaid"][1])
    pay = ["prepaid", "pay", customer, "12.30", "--serial", "A-1", "--json"]
    first, second = fleet(*pay).json(), fleet(*pay).json()
    assert (first["duplicate"], second) == (
        False,
        {"entry": first["entry"], "duplicate": True, "reclose": []},
    )
    assert "booked before, nothing done" in fleet(*pay[:-1]).out
    other = fleet("prepaid", "pay", customer, "99.99", "--serial", "A-1")
    assert other.code == 1  # the same number with another amount is a mistake of the channel
    assert "A-1" in other.line
    entries = fleet("prepaid", "show", customer, "--json").json()["entries"]
    assert [e["amount_fen"] for e in entries if e["kind"] == "payment"] == [1230]


UNKNOWN = [
    (["why", "123"], "no meter '123' in the archive"),
    (["read", "123"], "no meter '123' in the archive"),
    (["diagnose", "123"], "no meter '123' in the archive"),
    (["relay", "trip", "123", "--reason", "x"], "no meter '123' in the archive"),
    (["relay", "check", "123"], "no meter '123' in the archive"),
    (["relay", "show", "999999"], "no order 999999"),
    (["relay", "approve", "999999", "--person", "x"], "no order 999999"),
    (["relay", "cancel", "999999"], "no order 999999"),
    (["prepaid", "show", "123"], "no customer '123'"),
    (["prepaid", "pay", "123", "10", "--serial", "1"], "no customer '123'"),
    (["bank", "payments", "--bank", "NONE"], "no bank 'NONE'"),
    (["bank", "decide", "999999", "book"], "no item 999999"),
    (["relay", "limits", "trips=3"], "unknown limit 'trips'; there are trip_from,"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "names"), UNKNOWN, ids=[" ".join(a[:2]) for a, _ in UNKNOWN])
def test_what_is_not_there(fleet, arguments, names):
    said = fleet(*arguments)
    assert (said.code, said.out) == (1, "")
    assert names in said.line
    assert ";" in said.line, "what to do next"


def test_decode_masks_passwords(bare):
    frame = "68 06 10 24 05 19 20 68 1C 10 35 33 33 33 33 33 33 33 4D 33 33 33 33 33 33 33 C0 16"
    assert "******" in bare("decode", frame).out
    said = bare("decode", "--reveal", frame.replace(" ", ":"), "--json")
    assert said.json()["password"] == "000000"
    assert json.dumps(said.json(), ensure_ascii=False)
