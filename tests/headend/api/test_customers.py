"""What the CRM asks about a customer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headend.store import customers
from tests.support.app import Desk, problem
from tests.support.seed import YESTERDAY


def test_search_pages_through_everybody_once(desk: Desk) -> None:
    everybody = sorted(number for row in desk.made.customers for number in row)
    found, path = [], "/customers?q=3301&limit=7"
    while path:
        response = desk.get(path)
        found += [customer["number"] for customer in response.json()["customers"]]
        link = response.headers.get("Link", "")
        assert bool(link) == (response.json()["next"] is not None)
        path = link.partition(">")[0].removeprefix("</api/v1")
    assert found == everybody
    assert [c["number"] for c in desk.get("/customers?q=139001").json()["customers"]] == desk.made.customers[
        0
    ]
    names = {c["name"] for c in desk.get("/customers?q=先生&limit=500").json()["customers"]}
    assert names
    assert all(name.endswith("先生") for name in names)
    assert desk.get("/customers?q=%25").json()["customers"] == []  # a per cent sign is a per cent sign


def test_one_customer_and_its_entity_tag(desk: Desk) -> None:
    number = desk.made.customers[0][1]
    response = desk.get(f"/customers/{number}")
    account = response.json()["accounts"][0]
    assert account["protected"] == "医疗设备"
    assert account["meter"] == desk.made.assets[0][2]
    assert account["area"] == "TQ001"
    assert account["valid_from"] == "2025-12-31T16:00:00Z"
    assert "customer_id" not in response.text
    again = desk.get(f"/customers/{number}", headers={"If-None-Match": f'"x", W/{response.headers["ETag"]}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == response.headers["ETag"]


def test_balance_is_the_ledger_beside_the_running_one(desk: Desk) -> None:
    number = desk.made.customers[1][3]
    account = desk.get(f"/customers/{number}/balance").json()["accounts"][0]
    assert account["ledger"] == {"fen": -480, "yuan": "-4.80"}
    running = account["running"]
    assert running["level"] == "stop"
    assert running["low"]["fen"] < running["high"]["fen"] < 0
    assert running["complete"] is True
    paid = {"channel": "bank", "accounting_date": "2026-03-11", "serial": "9", "amount_fen": 5000}
    assert desk.post(f"/customers/{number}/payments", paid, who="cashier", once="p").status_code == 201
    account = desk.get(f"/customers/{number}/balance").json()["accounts"][0]
    assert account["ledger"]["fen"] == 4520
    assert account["running"]["complete"] is False  # the payment is not in it yet, and it says so


def test_usage_by_tariff_period_with_reasons(desk: Desk) -> None:
    number, dead = desk.made.customers[0][0], desk.made.customers[2][3]
    document = desk.get(f"/customers/{number}/usage?from=2026-03-07&to=2026-03-11").json()
    days = document["accounts"][0]["days"]
    assert [day["day"] for day in days] == [f"2026-03-{n:02d}" for n in range(7, 12)]
    known = days[1]["energy"]
    parts = sum(float(known[f"active_import_t{k}"]) for k in (1, 2, 3, 4))
    assert float(known["active_import"]) == pytest.approx(parts, abs=0.0005)
    assert days[1]["quality"]["active_import"] == "measured"
    assert days[4]["energy"]["active_import"] is None
    assert days[4]["missing"]["active_import"] == {
        "reason": "not-due",
        "en": "not due yet",
        "zh": "未到采集时间",
    }
    total = document["accounts"][0]["total"]["active_import"]
    assert total["days_unknown"] == 1 + (days[0]["energy"]["active_import"] is None)
    missing = desk.get(f"/customers/{dead}/usage?from={YESTERDAY}&to={YESTERDAY}").json()["accounts"][0]
    assert missing["days"][0]["missing"]["active_import"]["reason"] == "no-answer"
    assert missing["total"]["active_import"] == {"energy": None, "days": 0, "days_unknown": 1}


def test_usage_across_a_meter_exchange_and_a_falling_register(desk: Desk) -> None:
    conn = desk.conn
    number, asset = desk.made.customers[0][0], desk.made.assets[0][1]
    old = desk.made.meter_ids[0][1]
    at = "2026-03-09T02:07:00+00:00"  # 10:07 local
    conn.execute("UPDATE installation SET valid_to = %s WHERE meter_id = %s", (at, old))
    conn.execute("INSERT INTO meter (asset, phases, accuracy) VALUES ('NEW1', 1, 0.01)")
    conn.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) "
        "SELECT (SELECT meter_id FROM meter WHERE asset = 'NEW1'), point_id, terminal_id, '999', 2, 1, %s "
        "FROM installation WHERE meter_id = %s",
        (at, old),
    )
    conn.commit()
    path = f"/customers/{number}/usage?from=2026-03-09&to=2026-03-10"
    day = desk.get(path).json()["accounts"][0]["days"][0]
    assert day["meters"] == [asset, "NEW1"]
    assert day["missing"]["active_import"]["reason"] == "meter-exchanged"

    row = conn.execute(
        "SELECT active_import FROM register_read WHERE meter_id = %s AND ts = '2026-03-08T16:00Z'", (old,)
    ).fetchone()
    assert row is not None
    conn.execute("SELECT ensure_partitions('register_read', '{2026-03-08, 2026-03-12}')")
    last = row["active_import"] + 30_000
    for meter, ts, kind, value in (
        ("old", at, 3, last),
        ("new", at, 3, 10_000),
        ("new", "2026-03-09T16:00Z", 2, 25_000),
        ("new", "2026-03-10T16:00Z", 2, 24_000),
    ):
        conn.execute(
            "INSERT INTO register_read (meter_id, ts, kind, active_import) VALUES "
            "((SELECT meter_id FROM meter WHERE asset = %s), %s, %s, %s)",
            (asset if meter == "old" else "NEW1", ts, kind, value),
        )
    conn.commit()
    first, second = desk.get(path).json()["accounts"][0]["days"]
    assert first["energy"]["active_import"] == "6.0000"  # 3.0 kWh old + 1.5 kWh x CT 2 new
    assert first["missing"]["active_import_t1"]["reason"] == "missing-in-answer"
    assert second["missing"]["active_import"]["reason"] == "register-fell"


def test_bills_and_payments_page(desk: Desk) -> None:
    number = desk.made.customers[0][0]
    bill = desk.get(f"/customers/{number}/bills").json()["bills"][0]
    assert bill["amount"] == {"fen": 11337, "yuan": "113.37"}
    assert len(bill["inputs_sha256"]) == 64
    desk.conn.execute(
        "INSERT INTO bill SELECT account_id, first_day, last_day, 2, 11300, lines, inputs_hash, at FROM bill"
    )
    desk.conn.commit()
    first = desk.get(f"/customers/{number}/bills?limit=1")
    rest = desk.get(f"/customers/{number}/bills?limit=1&cursor={first.json()['next']}")
    assert [first.json()["bills"][0]["revision"], rest.json()["bills"][0]["revision"]] == [2, 1]
    assert rest.json()["next"] is None
    for serial in ("a", "b"):
        body = {"channel": "app", "accounting_date": "2026-03-11", "serial": serial, "amount_fen": 1}
        assert desk.post(f"/customers/{number}/payments", body, who="cashier", once=serial).status_code == 201
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = desk.get(
            f"/customers/{number}/payments?limit=1" + (f"&cursor={cursor}" if cursor else "")
        ).json()
        seen += [payment["serial"] for payment in page["payments"]]
        cursor = page["next"]
    assert seen == ["b", "a", "000000"]


def test_a_payment_is_booked_once(desk: Desk) -> None:
    number = desk.made.customers[0][0]
    path = f"/customers/{number}/payments"
    body = {"channel": "bank", "accounting_date": "2026-03-11", "serial": "77", "amount_fen": 5000}
    problem(
        desk.client.post(f"/api/v1{path}", json=body, headers=desk.auth("cashier")),
        400,
        "idempotency-key-missing",
    )
    first = desk.post(path, body, who="cashier", once="k1")
    assert first.status_code == 201
    replay = desk.post(path, body, who="cashier", once="k1")
    assert replay.status_code == 201
    assert replay.json() == first.json()
    assert replay.headers["Idempotency-Replayed"] == "true"
    problem(
        desk.post(path, body | {"amount_fen": 1}, who="cashier", once="k1"), 422, "idempotency-key-reused"
    )
    # another key, the same payment: the channel repeats itself, nothing is booked
    again = desk.post(path, body, who="cashier", once="k2")
    assert (again.status_code, again.json()["duplicate"], again.json()["entry"]) == (
        200,
        True,
        first.json()["entry"],
    )
    problem(desk.post(path, body | {"amount_fen": 4999}, who="cashier", once="k3"), 409, "payment-conflict")
    # a refusal is not remembered: the key is free for the corrected request
    assert desk.post(path, body | {"serial": "78"}, who="cashier", once="k3").status_code == 201
    for wrong in (
        {"amount_fen": 0},
        {"amount_fen": 1.5},
        {"amount_fen": "5"},
        {"paid_at": "2026-03-11T10:00:00"},
        {"x": 1},
    ):
        problem(desk.post(path, body | wrong, who="cashier", once="k4"), 422, "invalid-request")
    problem(desk.post("/customers/0/payments", body, who="cashier", once="k5"), 404, "unknown-customer")
    total = desk.conn.execute(
        "SELECT sum(amount_fen) AS fen FROM payment WHERE channel = 'bank' AND serial IN ('77', '78')"
    )
    row = total.fetchone()
    assert row is not None
    assert row["fen"] == 10_000


def test_equal_writes_at_once_act_once(desk: Desk) -> None:
    number = desk.made.customers[0][0]
    body = {"channel": "bank", "accounting_date": "2026-03-11", "serial": "race", "amount_fen": 5000}
    answers: list[Any] = []

    def pay() -> None:
        answers.append(desk.post(f"/customers/{number}/payments", body, who="cashier", once="race"))

    threads = [threading.Thread(target=pay) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["entry"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 5


def test_relay_says_what_is_proven(desk: Desk) -> None:
    def relay(order: str) -> dict[str, Any]:
        row = desk.conn.execute(
            "SELECT c.number FROM orders o JOIN installation i USING (meter_id) JOIN account a USING (point_id) "
            "JOIN customer c USING (customer_id) WHERE order_id = %s",
            (desk.made.orders[order],),
        ).fetchone()
        assert row is not None
        return dict(desk.get(f"/customers/{row['number']}/relay").json()["accounts"][0])

    tripped = relay("verified-trip")
    assert tripped["relay"] == "open"
    assert tripped["proof"]["load_kw"] == 0.0
    assert tripped["proof"]["verified_at"]
    assert tripped["proof"]["command"] == f"/api/v1/commands/{desk.made.orders['verified-trip']}"
    assert relay("verified-close")["relay"] == "closed"
    permitted = relay("pending-permit")
    assert permitted["relay"] == "close-permitted"
    assert permitted["open_command"]["state"] == "pending"
    assert relay("unknown-trip")["relay"] == "unknown"
    assert relay("wanted-trip") | {"open_command": None} == relay("wanted-trip") | {
        "proof": None,
        "open_command": None,
    }
    problem(desk.get("/customers/0/relay"), 404, "unknown-customer")


def test_relay_after_a_later_command_in_doubt(desk: Desk) -> None:
    meter = desk.conn.execute(
        "SELECT meter_id FROM orders WHERE order_id = %s", (desk.made.orders["verified-trip"],)
    ).fetchone()
    assert meter is not None
    desk.conn.execute(
        "INSERT INTO orders (kind, action, meter_id, terminal_id, state, is_open, reason, requested_by, requested_at, expires_at, sent_at) "
        "SELECT 'relay', 'close', meter_id, terminal_id, 'unknown', true, 'r', 'x', requested_at, expires_at, requested_at "
        "FROM orders WHERE order_id = %s",
        (desk.made.orders["verified-trip"],),
    )
    found = customers.relay(desk.conn, meter["meter_id"])
    assert found["state"] == "unknown"
    assert found["proof"]["action"] == "trip"
    # refused by the meter: nothing happened, the older proof holds
    desk.conn.execute(
        "UPDATE orders SET state = 'failed', is_open = false WHERE action = 'close' AND state = 'unknown'"
    )
    assert customers.relay(desk.conn, meter["meter_id"])["state"] == "open"
    # open, and yet current flows
    desk.conn.execute(
        "UPDATE orders SET result = jsonb_set(result, '{relay,load_kw}', '0.5') WHERE order_id = %s",
        (desk.made.orders["verified-trip"],),
    )
    assert customers.relay(desk.conn, meter["meter_id"])["state"] == "open-with-load"
