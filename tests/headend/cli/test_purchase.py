"""`headend purchase` over a real store: what people type, see, and get as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from headend.store import wallets
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES, SPOTS
from headend.store.wallets import Reading
from tests.support.cli import Shell, environment
from tests.support.house import Place, at, place, rows, write

WHERE = "--person"


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


@pytest.fixture
def home(store: Connection) -> Place:
    here = place(store, "410000010003", customer="9001")
    place(store, "410000010004", customer="9002")
    store.execute("UPDATE account SET fee_control = 'meter' WHERE account_id = %s", (here.account,))
    store.commit()
    return here


@pytest.fixture
def shell(store_dsn: str, home: Place, tmp_path: Path) -> Shell:
    clock = f"2026-03-12T09:00:00+08:00@{time.time()!r}x1.0"
    return Shell(environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=clock))


def standing(shell: Shell) -> list[str]:
    return [row["standing"] for row in shell("purchase", "list", "--json").json()]


def verified(store: Connection, action: str = "open") -> None:
    """As the collector would have said."""
    store.execute(
        "UPDATE orders SET state = 'verified', is_open = false, sent_at = now(), ended_at = now() WHERE action = %s AND is_open",
        (action,),
    )
    store.commit()


def test_from_a_payment_to_a_refund(shell: Shell, store: Connection) -> None:
    paid = shell("prepaid", "pay", "9001", "50", "--serial", "1", "--json")
    assert paid.code == 0
    shell("prepaid", "pay", "9002", "50", "--serial", "2")
    assert standing(shell) == ["waiting"]
    said = shell("relay", "list", "--json").json()
    assert [order["action"] for order in said if order["kind"] == "purchase"] in ([], ["open"])
    again = shell("purchase", "again", "1")
    assert (again.code, again.line) == (
        1, "headend: purchase 1 is waiting, or another one of this wallet comes first; `headend purchase list` shows them",
    )  # fmt: skip
    verified(store)
    shown = shell("purchase", "list")
    assert "carried" in shown.out
    refund = shell("purchase", "refund", "1", "--reason", "moved out", WHERE, "李敏")
    assert refund.code == 0
    order = refund.out.split()[1]
    same = shell("purchase", "approve", order, WHERE, "李敏")
    assert "cannot approve it" in same.line
    assert shell("purchase", "approve", order, WHERE, "陈晓", "--wait", "0").code == 0
    verified(store, "refund")
    said_ = shell("purchase", "reconcile")
    assert (said_.code, said_.out.splitlines()[0]) == (0, "0 purchases asked for, 1 refunds booked")
    assert standing(shell) == ["refunded"]
    assert shell("ledger", "recompute").code == 0


def test_a_wallet_by_the_word_of_meter_and_person(shell: Shell, store: Connection, home: Place) -> None:
    reading = Reading(1_234, 0, 2, (1_000_000, 0, 0, 0, 0), False, {"alarm1": 2_000})
    wallets.save(store, home.meter, reading, at=at("2026-03-12 08:00"))
    shown = shell("purchase", "show", "9001")
    assert "12.34" in shown.out
    assert "closed" in shown.out
    shell("prepaid", "pay", "9001", "20", "--serial", "1")
    order = shell("purchase", "list", "--json").json()[0]["order_id"]
    settle = ("purchase", "settle", home.asset, "--count", "2", "--carried", "1", "--reason", "card seen")
    refused = shell(*settle)
    assert "is still open" in refused.line
    assert shell("purchase", "cancel", str(order)).code == 0
    assert shell(*settle).out.startswith("the wallet of 410000010003 stands at 2; 1 purchases are in it")
    assert standing(shell) == ["carried"]
    one = shell("purchase", "show", "9001", "--json").json()[0]
    assert (one["proved"], one["readings"][0]["count"]) == (2, 2)
    assert "fee control the meter executes" in shell("purchase", "show", "9002").line


def test_rules(shell: Shell) -> None:
    assert shell("purchase", "rules", "alarm1=20", "tolerance=2.50", "age_hours=24").code == 0
    told = shell("purchase", "rules", "--json").json()
    assert (told["alarm1"], told["tolerance"], told["age_hours"], told["permit"]) == (2_000, 250, 24, None)
    shell("purchase", "rules", "alarm1=-")
    assert json.loads(shell("purchase", "rules", "--json").out)["alarm1"] is None
    assert "unknown wallet rule" in shell("purchase", "rules", "alarm3=1").line
    assert "is not NAME=VALUE" in shell("purchase", "rules", "alarm1").line


def test_a_card_that_holds_energy(shell: Shell, store: Connection, home: Place) -> None:
    opening = ("purchase", "card", "open", "9001", "--register", "123.00", "--price", "0.5380")
    assert "fee_control says so" in shell(*opening).line
    store.execute("UPDATE account SET fee_control = 'card' WHERE account_id = %s", (home.account,))
    store.commit()
    assert shell(*opening, "--left", "5.5").out == "5.5000 kWh as of register 123.0000, at 0.5380 yuan\n"
    assert "is open already" in shell(*opening).line
    shell("prepaid", "pay", "9001", "100", "--serial", "1")
    dearer = shell("purchase", "card", "price", "9001", "--register", "133.00", "--price", "0.5600")
    assert dearer.out == "174.2482 kWh as of register 133.0000, at 0.5600 yuan\n"
    write(store, DAY_FREEZES, rows([home.meter], [at("2026-03-12 00:00")], active_import=[290_0000]))
    assert standing(shell) == []
    (told,) = shell("purchase", "card", "show", "--json").json()
    assert (told["remaining_kwh"], told["level"], told["read_at"]) == (
        "174.2482",
        "ok",
        None,
    )  # the register is older than the price
    write(store, SPOTS, rows([home.meter], [at("2026-03-12 09:30")], active_import=[290_0000]))
    clock = f"2026-03-12T10:00:00+08:00@{time.time()!r}x1.0"
    (told,) = shell("purchase", "card", "show", "9001", "--json", HEADEND_CLOCK=clock).json()
    assert (told["remaining_kwh"], told["level"]) == ("17.2482", "warn1")
    assert "findings" in shell("purchase", "reconcile", HEADEND_CLOCK=clock).out
    found = store.execute("SELECT rule, evidence ->> 'remaining_kwh' AS left FROM finding").fetchall()
    assert found == [{"rule": "card-low", "left": "17.2482"}]
    moved = shell(
        "purchase", "card", "settle", "9001", "--register", "300", "--next", "1", HEADEND_CLOCK=clock
    )
    assert moved.out == "7.2482 kWh as of register 1.0000, at 0.5600 yuan\n"
    assert (
        "the register fell"
        in shell("purchase", "card", "settle", "9001", "--register", "0.5", HEADEND_CLOCK=clock).line
    )
    assert store.execute("SELECT count(*) AS n FROM orders").fetchone() == {"n": 0}
