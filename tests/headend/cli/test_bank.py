"""`headend bank` and `headend ledger` over a real store: what people type, see, and get as JSON."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from pathlib import Path

import pytest

from headend.store import bank as link
from headend.store import banks, keys, ledger
from headend.store.bank import Wish
from headend.store.db import Connection
from tariffs.bank_files import Result, Results, write_day, write_results
from tariffs.bank_match import Day, Payment
from tests.support.cli import Shell, environment
from tests.support.house import SHANGHAI, at, moment, one, place

DATE = dt.date(2026, 3, 11)
TEN = moment("2026-03-11 10:00")


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


@pytest.fixture
def shell(store_dsn: str, store: Connection, tmp_path: Path) -> Shell:
    """The day after."""
    for number in (1, 2, 3):
        place(store, f"{number}", customer=f"C{number}")
    clock = f"2026-03-12T09:00:00+08:00@{time.time()!r}x1.0"
    return Shell(environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=clock))


def paid(conn: Connection, *payments: tuple[str, str, int]) -> None:
    bank, now = banks.get(conn, "ICBC"), at("2026-03-11 10:00")
    with conn.transaction():
        banks.sign_on(conn, bank, DATE, "7", now=now, zone=SHANGHAI)
    for serial, customer, fen in payments:
        link.pay(conn, bank, Wish(DATE, serial, customer, fen, TEN), now=now, zone=SHANGHAI)


def test_a_bank_its_key_and_its_mac(shell: Shell, store: Connection) -> None:
    said = shell("bank", "add", "ICBC", "工商银行", "--cutoff", "21:30", "--mac")
    assert said.code == 0
    assert "cut-off 21:30" in said.out
    shown = said.out.split("shown this once: ")[1].strip()
    assert bytes.fromhex(shown) == banks.get(store, "ICBC").mac_key
    assert shell("bank", "add", "ABC", "农业银行", "--json").json() == {"bank": "ABC", "mac_key": None}
    assert shell("bank", "list", "--json").json() == [
        {"bank": "ABC", "name": "农业银行", "cutoff": "22:00", "free_reversal_minutes": 10, "mac": False},
        {"bank": "ICBC", "name": "工商银行", "cutoff": "21:30", "free_reversal_minutes": 10, "mac": True},
    ]
    assert "工商银行" in shell("bank", "list").out
    assert "there is a bank ICBC already" in shell("bank", "add", "ICBC", "x").line
    assert "is no code of a bank" in shell("bank", "add", "I/C", "x").line
    made = shell("bank", "key", "ICBC", "front machine", "--json").json()
    key = keys.check(store, made["api_key"])
    assert key is not None
    assert (key.bank, key.person, key.scopes) == ("ICBC", "front machine", frozenset({"bank"}))
    assert "no bank 'CCB'" in shell("bank", "key", "CCB", "x").line


def test_a_day_is_compared_and_decided(shell: Shell, store: Connection, tmp_path: Path) -> None:
    shell("bank", "add", "ICBC", "工商银行")
    paid(store, ("a", "C1", 1000), ("b", "C2", 2000))
    rows = shell("bank", "payments", "--bank", "ICBC", "--date", "2026-03-11", "--json").json()
    assert [(r["serial"], r["customer"], r["amount_fen"], r["state"]) for r in rows] == [
        ("a", "C1", 1000, "booked"),
        ("b", "C2", 2000, "booked"),
    ]
    assert "2 booked, 30.00 yuan" in shell("bank", "payments", "--bank", "ICBC", "--date", "2026-03-11").out
    file = tmp_path / "day.txt"
    file.write_bytes(
        write_day(Day("ICBC", DATE, (Payment("a", "C1", 1000, TEN), Payment("c", "C3", 3000, TEN)), ()))
    )
    said = shell("bank", "reconcile", str(file), "--person", "王会计")
    assert said.code == 1, said  # something is open
    for words in (
        "totals differ",
        "1 both: both sides agree (双方一致)",
        "1 bank-only",
        "1 ours-only",
        "2 to be decided",
    ):
        assert words in said.out
    items = {row["serial"]: row for row in shell("bank", "items", "--json").json()}
    assert set(items) == {"b", "c"}
    shown = shell("bank", "items").out
    assert "长款" in shown
    assert "短款" in shown
    done = shell("bank", "decide", str(items["c"]["item_id"]), "book", "--person", "王会计", "--json").json()
    assert (done["decision"], done["entry"] is not None, done["reclose"]) == ("book", True, [])
    assert shell("bank", "decide", str(items["b"]["item_id"]), "claim", "--note", "letter 7").code == 0
    again = shell("bank", "reconcile", str(file), "--json")
    assert (again.code, again.json()["open"], again.json()["totals_agree"]) == (0, 0, False)
    (day,) = shell("bank", "days", "--json").json()
    assert (day["open"], day["file"]) == (0, hashlib.sha256(file.read_bytes()).hexdigest())
    assert "王会计" in shell("bank", "items", "--all").out
    file.write_bytes(file.read_bytes().replace(b"totals,2", b"totals,3"))
    assert (
        f"{file}: line 2: payments: 3 in the totals, 2 in the lines below"
        in shell("bank", "reconcile", str(file)).line
    )
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry") == 6000


def test_direct_debits_out_and_in(shell: Shell, store: Connection, tmp_path: Path) -> None:
    shell("bank", "add", "ICBC", "工商银行")
    account = one(store, "SELECT min(account_id) FROM account")
    ledger.post(
        store, [ledger.Charge(account, "2026-03-10", 1, -1234, bytes(32), {})], now=at("2026-03-11 00:40")
    )
    store.commit()
    assert shell("bank", "mandate", "C1", "6222.1", "--bank", "ICBC").code == 0
    assert "no customer 'C9'" in shell("bank", "mandate", "C9", "6222.1", "--bank", "ICBC").line
    out = tmp_path / "out"
    ask = ("bank", "debit", "--bank", "ICBC", "--date", "2026-03-12", "--out", str(out))
    assert "DD-ICBC-20260312.csv  1 items, 12.34 yuan" in shell(*ask).out
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(first) == {"DD-ICBC-20260312.csv", "DD-ICBC-20260312.manifest.json"}
    shell(*ask)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    answer = tmp_path / "answer.txt"
    answer.write_bytes(
        write_results(
            Results("DD-ICBC-20260312", "ICBC", dt.date(2026, 3, 12), (Result(1, "C1", 1234, True, ""),))
        )
    )
    assert "1 paid, 12.34 yuan; 0 failed" in shell("bank", "results", str(answer)).out
    assert shell("bank", "results", str(answer), "--json").json()["duplicate"] is True
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry") == 0


def test_the_ledger_recomputed(shell: Shell, store: Connection) -> None:
    said = shell("ledger", "recompute")
    assert (said.code, said.out) == (
        0,
        "the ledger is what readings, tariffs and payments make of it, up to 2026-03-11\n",
    )
    account = one(store, "SELECT min(account_id) FROM account")
    ledger.post(
        store, [ledger.Charge(account, "2026-03-10", 1, -1234, bytes(32), {})], now=at("2026-03-11 00:40")
    )
    store.commit()
    said = shell("ledger", "recompute")
    assert (said.code, said.out) == (
        1,
        "C1 charge 2026-03-10: should be nothing that can be derived, stands -12.34\n",
    )
    assert shell("ledger", "recompute", "--json").json() == [
        {"customer": "C1", "account": account, "kind": "charge", "period": "2026-03-10", "should_fen": None, "stands_fen": -1234}
    ]  # fmt: skip
    assert "is not over yet" in shell("ledger", "recompute", "--to", "today").line
