"""The main job end to end, with kill -9 on the way, checked against the truth; and a check that notices every single altered value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from headend.demo.check import proven_once
from headend.demo.world import DAY
from headend.store.embedded import Embedded
from tests.support.cli import Said, Shell, environment

#: Real seconds: the day takes some 60 at this speed, and its ending waits for a slow machine.
pytestmark = pytest.mark.timeout(420)
SEED, SPEED, KILLS = "11", "900", "2"


@dataclass(frozen=True, slots=True)
class Run:
    """A day that is over: where it is kept, and what was said of it."""

    shell: Shell
    folder: Path
    said: Said

    def check(self) -> tuple[int, list[str]]:
        """`headend demo --check`: its exit code, and the statements that do not hold."""
        said = self.shell("demo", "--check", "--folder", str(self.folder))
        assert "Traceback" not in said.err
        return said.code, self.broken()

    def broken(self) -> list[str]:
        report = json.loads((self.folder / "report.json").read_text("utf-8"))
        return [check["name"] for check in report["checks"] if not check["ok"]]

    @property
    def faults(self) -> dict[str, Any]:
        """What was planted."""
        return dict(json.loads((self.folder / "simulator" / "truth.json").read_text())["faults"])


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("day") / "demo"
    shell = Shell(environment(HEADEND_HOME=str(folder.parent / "unused")))
    arguments = ["--once", "--size", "small", "--speed", SPEED, "--kill", KILLS, "--seed", SEED]
    return Run(shell, folder, shell("demo", *arguments, "--folder", str(folder)))


@pytest.fixture(scope="module")
def database(day: Run) -> Iterator[psycopg.Connection[Any]]:
    """Its store, as somebody finds it who may do anything: triggers do not stop him."""
    with (
        Embedded(day.folder / "home") as dsn,
        psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as conn,
    ):
        conn.execute("SET session_replication_role = replica")
        yield conn


def test_one_day_with_two_kills(day):
    assert day.said.code == 0, day.said
    assert day.broken() == []
    assert f"seed {SEED}" in day.said.out
    assert day.said.out.count("kill -9 of the collector") == int(KILLS)
    assert "truth written before the first byte" in day.said.out
    report = json.loads((day.folder / "report.json").read_text("utf-8"))
    assert report["ok"]
    assert len(report["checks"]) >= 19


#: name -> table, column, its new value, which row (alphabetical order of the key decides among several), statements that must fall
ALTERED = {
    "slot register": (
        "slot_read", "active_import", "active_import + 1", "ts = %(noon)s AND active_import IS NOT NULL", "meter_id, ts",
        ["every value of every point is what the meter displayed"],
    ),
    "voltage": (
        "slot_read", "voltage_a", "voltage_a + 0.1", "ts = %(noon)s AND voltage_a IS NOT NULL", "meter_id, ts",
        ["every value of every point is what the meter displayed"],
    ),
    "freeze register": (
        "register_read", "active_import_t3", "active_import_t3 - 1", "ts = %(midnight)s AND active_import_t3 IS NOT NULL", "meter_id, ts, kind",
        ["every day freeze, by tariff, is what the meter froze"],
    ),
    "loss": (
        "loss_result", "loss", "loss + 1", "day = %(day)s AND status = 'known'", "area_id, day",
        ["supplied, sold, loss and its rate are the registers' to the last digit"],
    ),
    "loss rate": (
        "loss_result", "rate", "rate + 0.001", "day = %(day)s AND status = 'known'", "area_id, day",
        ["supplied, sold, loss and its rate are the registers' to the last digit"],
    ),
    "bill": (
        "bill", "amount_fen", "amount_fen - 1", "last_day = %(day)s", "account_id, first_day, last_day, revision",
        ["every bill is right to the fen, its lines sum to it, and its file is sealed"],
    ),
    "ledger entry": (
        "ledger_entry", "amount_fen", "amount_fen + 1", "kind = 'charge'", "entry_id",
        ["every prepaid balance is right to the fen"],
    ),
    "finding": (
        "finding_day", "withdrawn", "true", "day = %(day)s AND finding_id IN (SELECT finding_id FROM finding WHERE rule = 'voltage')",
        "finding_id, day",
        ["everything planted was found"],
    ),
    "accusation": (
        "finding", "rule", "'theft'", "rule = 'voltage' AND finding_id IN (SELECT finding_id FROM finding_day WHERE day = %(day)s)", "finding_id",
        ["everything planted was found", "nothing and nobody else is accused"],
    ),
    "order": (
        "orders", "state", "'failed'", "action = 'trip' AND state = 'verified' AND meter_id = (SELECT meter_id FROM meter WHERE asset = %(broke)s)",
        "order_id", ["the broke customer was cut off, once, and the relay is proven open"],
    ),
    "relay proof": (
        "orders", "result", "jsonb_set(result, '{relay,open}', 'false')",
        "action = 'trip' AND state = 'verified' AND meter_id = (SELECT meter_id FROM meter WHERE asset = %(broke)s)",
        "order_id", ["the broke customer was cut off, once, and the relay is proven open"],
    ),
    "second person": (
        "orders", "approved_by", "requested_by", "action = 'trip' AND state = 'verified'", "order_id",
        ["no other relay moved; every trip had a second person"],
    ),
    "coverage bit": (
        "coverage", "present", "set_bit(present, 40, 1 - get_bit(present, 40))", "day = %(day)s AND plan = 1", "meter_id, day, plan",
        ["the completeness ledger agrees with the rows, and knows what was never recorded"],
    ),
    "day freeze's bit": (
        "coverage", "present", "set_bit(present, 0, 1 - get_bit(present, 0))", "day = %(day)s AND plan = 2", "meter_id, day, plan",
        ["the completeness ledger agrees with the rows, and knows what was never recorded"],
    ),
}  # fmt: skip


@contextmanager
def altered(conn: psycopg.Connection[Any], values: dict[str, Any], case: str) -> Iterator[None]:
    """One value of one row, changed and put back."""
    table, column, change, where, key, _ = ALTERED[case]
    row = conn.execute(
        f"SELECT {key} FROM {table} WHERE {where} ORDER BY {key} LIMIT 1".encode(), values
    ).fetchone()
    assert row is not None, "there is no such row"
    this = " AND ".join(f"{name} = %({name})s" for name in row)
    conn.execute(f"CREATE TABLE kept AS SELECT {column} AS was FROM {table} WHERE {this}".encode(), row)
    try:
        done = conn.execute(f"UPDATE {table} SET {column} = {change} WHERE {this}".encode(), row)
        assert done.rowcount == 1
        changed = conn.execute(
            f"SELECT count(*) AS n FROM {table}, kept WHERE {this} AND {column} IS DISTINCT FROM was".encode(),
            row,
        ).fetchone()
        assert changed == {"n": 1}, "nothing was altered"
        yield
    finally:
        conn.execute(f"UPDATE {table} SET {column} = was FROM kept WHERE {this}".encode(), row)
        conn.execute("DROP TABLE kept")


@pytest.mark.parametrize("case", ALTERED)
def test_one_altered_value_is_noticed(day, database, case):
    values = {
        "day": DAY,
        "noon": f"{DAY}T12:00+08:00",
        "midnight": f"{DAY}T00:00+08:00",
        "broke": day.faults["broke"],
    }
    with altered(database, values, case):
        code, broken = day.check()
    assert code == 1
    assert set(ALTERED[case][-1]) <= set(broken)
    # what stands on the same value may fall with it, over REST above all, but no more than that
    assert len(broken) <= len(ALTERED[case][-1]) + 1


def test_a_lost_row_is_noticed(day, database):
    row = database.execute(
        "DELETE FROM slot_read WHERE (meter_id, ts) = (SELECT meter_id, ts FROM slot_read WHERE ts = %s ORDER BY 1 LIMIT 1) RETURNING *",
        (f"{DAY}T12:00+08:00",),
    ).fetchone()
    assert row is not None
    try:
        code, broken = day.check()
    finally:
        names = ", ".join(row)
        database.execute(
            f"INSERT INTO slot_read ({names}) VALUES ({', '.join(f'%({name})s' for name in row)})".encode(),
            row,
        )
    assert code == 1
    assert "every 15-minute point the fleet had is in the store, and no other" in broken


def billed(folder, name):
    """The file of the newest set: the set before it stays a while beside it."""
    manifest = folder / f"billing-{DAY}.manifest.json"
    if name == "manifest":
        return manifest
    (found,) = [f["name"] for f in json.loads(manifest.read_text())["files"] if f"-{name}." in f["name"]]
    return folder / found


@pytest.mark.parametrize("name", ["accounts", "lines", "manifest"])
def test_one_byte_of_a_bill_is_noticed(day, name):
    file = billed(day.folder / "home" / "export", name)
    was = file.read_bytes()
    at = max(k for k, byte in enumerate(was) if chr(byte).isdigit())
    file.write_bytes(was[:at] + (b"1" if was[at : at + 1] != b"1" else b"2") + was[at + 1 :])
    try:
        code, broken = day.check()
    finally:
        file.write_bytes(was)
    assert code == 1
    assert broken == ["every bill is right to the fen, its lines sum to it, and its file is sealed"]


def test_a_bill_that_cannot_be_read_is_noticed(day):
    file = day.folder / "home" / "export" / f"billing-{DAY}.manifest.json"
    was = file.read_bytes()
    file.write_bytes(was[:-20])
    try:
        code, broken = day.check()
    finally:
        file.write_bytes(was)
    assert (code, broken) == (1, ["billing: the data can be checked"])


def test_another_truth_is_noticed(day):
    file = day.folder / "simulator" / "truth.json"
    was = file.read_bytes()
    file.write_bytes(was.replace(b"}", b" }", 1))
    try:
        code, broken = day.check()
    finally:
        file.write_bytes(was)
    assert code == 1
    assert "the truth is the one written before the first byte" in broken


def test_put_back_all_holds_again(day, database):
    """Last: every test before has put back what it changed."""
    assert day.check() == (0, [])


def sent(state: str, is_open: bool | None) -> dict[str, Any]:
    return {
        "sent_at": "12:00",
        "state": state,
        "result": {} if is_open is None else {"relay": {"open": is_open}},
    }


@pytest.mark.parametrize(
    ("orders", "good"),
    [
        ([sent("verified", True)], True),
        ([sent("failed", False), sent("verified", True)], True),  # the first was lost on the line
        ([{"sent_at": None, "state": "refused", "result": {}}, sent("verified", True)], True),
        ([], False),
        ([sent("failed", False)], False),
        ([sent("verified", True), sent("verified", True)], False),
        ([sent("unknown", None), sent("verified", True)], False),  # nobody has read what the first one did
        ([sent("failed", True), sent("verified", True)], False),  # it was open before the second one
    ],
)
def test_a_command_that_was_lost_on_the_line_and_proven_so_is_not_a_second_one(
    orders: list[dict[str, Any]], good: bool
) -> None:
    assert proven_once(orders) is good
