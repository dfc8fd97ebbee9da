"""The bank's messages, one by one: what is answered, what is refused and why, and what never happens twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from headend.control.order_state import Event
from headend.server import ServerSettings, build
from headend.store import banks, keys, orders
from headend.store.bills import Bill
from headend.store.bills import save as save_bills
from headend.store.db import Connection
from protocols.localtime import as_datetime
from tariffs.bank import day_key, genuine, mac
from tests.support.app import problem
from tests.support.arrears import broke, fence
from tests.support.house import SHANGHAI, at, moment, one, place, table
from tests.support.wire import HandClock

DATE = "2026-03-11"
MASTER = b"m" * 32


@dataclass(slots=True)
class Counter:
    """A bank's side of the line, and the store behind it."""

    conn: Connection
    app: FastAPI
    client: TestClient
    clock: HandClock
    keys: dict[str, str]

    def say(self, method: str, path: str, body: Any = None, *, bank: str = "ICBC", seal: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self.keys[bank]}", **({"Bank-MAC": seal} if seal else {})}
        return self.client.request(method, f"/api/v1/bank{path}", json=body, headers=headers)

    def sign_on(self, bank: str = "ICBC", date: str = DATE) -> Any:
        return self.say("POST", "/sign-on", {"accounting_date": date, "operator": "7"}, bank=bank)

    def pay(
        self, serial: str = "S1", customer: str = "C1", fen: int = 5000, *, bank: str = "ICBC", **changes: Any
    ) -> Any:
        body = {
            "accounting_date": DATE, "serial": serial, "customer": customer, "amount_fen": fen,
            "time": as_datetime(self.clock.now(), SHANGHAI).isoformat(), "prepaid": True,
        }  # fmt: skip
        return self.say(
            "POST", "/payments", {k: v for k, v in {**body, **changes}.items() if v is not None}, bank=bank
        )

    def reverse(
        self, serial: str = "S1", fen: int = 5000, *, date: str = DATE, by: str = "R", **changes: Any
    ) -> Any:
        body = {
            "reversal_serial": f"{by}{serial}", "amount_fen": fen, "time": as_datetime(self.clock.now(), SHANGHAI).isoformat(),
        }  # fmt: skip
        return self.say("POST", f"/payments/{date}/{serial}/reversal", {**body, **changes})

    def state(self, serial: str = "S1", bank: str = "ICBC") -> Any:
        return self.say("GET", f"/payments/{DATE}/{serial}", bank=bank).json()

    def balance(self) -> int:
        return int(one(self.conn, "SELECT coalesce(sum(amount_fen), 0) FROM ledger_entry"))


@pytest.fixture
def counter(store_dsn: str, store: Connection) -> Iterator[Counter]:
    """Three banks: ICBC, ABC, and SEAL, whose messages carry a MAC."""
    issued = {}
    for code, key in (("ICBC", None), ("ABC", None), ("SEAL", MASTER)):
        banks.add(
            store,
            code,
            f"{code} bank",
            cutoff=dt.time(22),
            free_reversal=dt.timedelta(minutes=10),
            mac_key=key,
        )
        issued[code] = keys.issue(store, person=f"{code} front", scopes=["bank"], bank=code)
    issued["admin"] = keys.issue(store, person="root", scopes=["admin"])
    issued["cashier"] = keys.issue(store, person="till", scopes=["pay", "read"])
    store.commit()
    clock = HandClock("2026-03-11 10:00")
    app = build(ServerSettings(dsn=store_dsn, zone=SHANGHAI, clock=clock))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Counter(store, app, client, clock, issued)


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    body = problem(response, status, "bank-refused")
    assert body["code"] == code, body
    assert body["zh"]
    assert body["en"]
    return body


def test_only_a_banks_own_key_speaks_for_it(counter: Counter) -> None:
    for who in ("admin", "cashier"):
        problem(counter.sign_on(bank=who), 403, "scope-missing")
    key = {"Authorization": f"Bearer {counter.keys['ICBC']}"}
    for path in ("/customers?q=3", "/keys", "/changes"):
        problem(counter.client.get(f"/api/v1{path}", headers=key), 403, "scope-missing")
    counter.sign_on()
    place(counter.conn, "1", customer="C1")
    assert counter.pay().status_code == 201
    assert counter.state(bank="ABC")["state"] == "unknown"  # another bank's payments are not there for it
    for scopes, bank in ((["bank"], None), (["bank", "read"], "ICBC"), (["read"], "ICBC")):
        with pytest.raises(ValueError, match="the scope bank stands alone"):
            keys.issue(counter.conn, person="x", scopes=scopes, bank=bank)


def test_sign_on_echo_and_off(counter: Counter) -> None:
    first = counter.sign_on()
    assert first.status_code == 200
    said = first.json()
    assert (said["code"], said["zh"], said["bank"], said["cutoff"]) == ("0000", "成功", "ICBC", "22:00")
    assert counter.sign_on().json()["seed"] == said["seed"]  # a lost answer costs nothing
    echo = counter.say("GET", f"/echo?accounting_date={DATE}").json()
    assert (echo["signed_on"], echo["present_accounting_date"]) == (True, DATE)
    assert counter.say("POST", "/sign-off", {"accounting_date": DATE, "operator": "7"}).status_code == 200
    assert counter.say("GET", f"/echo?accounting_date={DATE}").json()["signed_on"] is False
    place(counter.conn, "1", customer="C1")
    refused(counter.pay(), 409, "1001")
    assert counter.state()["state"] == "unknown"  # what resolves time-outs is still served
    assert counter.sign_on().json()["seed"] == said["seed"]
    assert counter.pay().status_code == 201
    refused(counter.sign_on(date="2026-03-20"), 409, "1003")


def test_arrears_of_a_prepaid_customer(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    said = counter.say("GET", f"/customers/C1/arrears?accounting_date={DATE}").json()
    assert (said["code"], said["name"], said["prepaid"], said["total"]["fen"], said["bills"]) == (
        "0000", "***1", True, 0, [],
    )  # fmt: skip
    refused(counter.say("GET", f"/customers/C9/arrears?accounting_date={DATE}"), 404, "2001")
    place(counter.conn, "2", customer="C1")
    refused(counter.say("GET", f"/customers/C1/arrears?accounting_date={DATE}"), 409, "2002")


def billed(conn: Connection, account: int, *months: tuple[int, int]) -> None:
    for m, fen in months:
        last = dt.date(2026, m, 31 if m == 1 else 28)
        made = [Bill(account, dt.date(2026, m, 1), last, fen, [], bytes([m]) * 32)]
        save_bills(conn, made, now=at(f"2026-{m + 1:02}-02 00:00"))
    conn.commit()


def test_bills_are_queried_paid_and_gone(counter: Counter) -> None:
    account = place(counter.conn, "1", customer="C1", prepaid=False).account or 0
    billed(counter.conn, account, (1, 10_000), (2, 20_000))
    counter.sign_on()
    said = counter.say("GET", f"/customers/C1/arrears?accounting_date={DATE}").json()
    # January was due on 20 February: 19 days at 1 permille are 1.90 yuan
    assert [(b["bill"], b["open"]["fen"], b["penalty"]["fen"]) for b in said["bills"]] == [
        ("20260101-20260131", 10_000, 190), ("20260201-20260228", 20_000, 0),
    ]  # fmt: skip
    assert (said["total"]["fen"], said["penalty"]["fen"], said["balance"]["fen"]) == (30_190, 190, -30_190)
    january = {"prepaid": False, "bills": ["20260101-20260131"]}
    refused(counter.pay(fen=10_191, **january), 409, "2004")
    refused(counter.pay(fen=100, prepaid=False, bills=["20250101-20250131"]), 409, "2003")
    assert counter.pay(fen=10_190, **january).status_code == 201
    said = counter.say("GET", f"/customers/C1/arrears?accounting_date={DATE}").json()
    assert [(b["bill"], b["open"]["fen"]) for b in said["bills"]] == [("20260201-20260228", 20_000)]
    refused(counter.pay("S2", fen=1, **january), 409, "2003")
    assert counter.pay(fen=10_190, **january).json()["code"] == "0001"  # a repeat is not judged again
    assert counter.reverse(fen=10_190).status_code == 200
    said = counter.say("GET", f"/customers/C1/arrears?accounting_date={DATE}").json()
    assert said["total"]["fen"] == 30_190


def test_a_payment_is_booked_once(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    place(counter.conn, "2", customer="C2")
    refused(counter.pay(), 409, "1001")
    counter.sign_on()
    first = counter.pay()
    assert first.status_code == 201
    assert (first.json()["code"], first.json()["state"], first.json()["amount"]) == (
        "0000", "booked", {"fen": 5000, "yuan": "50.00"},
    )  # fmt: skip
    again = counter.pay()
    assert (again.status_code, again.json()["code"], again.json()["payment"]) == (
        200,
        "0001",
        first.json()["payment"],
    )
    refused(counter.pay(fen=5001), 409, "3001")
    refused(counter.pay(customer="C2"), 409, "3001")
    refused(counter.pay("S2", customer="C9"), 404, "2001")
    assert counter.balance() == 5000
    counter.sign_on(bank="ABC")
    assert counter.pay(bank="ABC").status_code == 201  # another bank's serial is another payment
    state = counter.state()
    assert (state["code"], state["state"], state["payment"]) == ("0000", "booked", first.json()["payment"])
    assert counter.state("S9")["code"] == "0006"


@pytest.mark.parametrize(
    "changes",
    [
        {"prepaid": False}, {"bills": ["x"]}, {"amount_fen": 0}, {"amount_fen": 1.0}, {"amount_fen": "1"}, {"serial": "a/b"},
        {"time": "2026-03-11T10:00:00"}, {"extra": 1}, {"accounting_date": "2026-02-30"},
    ],
)  # fmt: skip
def test_a_message_that_is_none(counter: Counter, changes: dict[str, Any]) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    problem(counter.pay(**changes), 422, "invalid-request")
    assert counter.balance() == 0


def test_the_time_says_which_accounting_day_it_is(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    counter.sign_on(date="2026-03-12")
    counter.clock.time = at("2026-03-11 22:00")
    body = refused(counter.pay(), 409, "1003")
    assert "belongs to the accounting date 2026-03-12" in body["detail"]
    assert counter.pay(accounting_date="2026-03-12").status_code == 201
    # what was said before the cut-off and comes after it is still the old day's
    assert counter.pay("S2", time="2026-03-11T21:59:59+08:00").status_code == 201
    refused(counter.pay("S3", time="2026-03-12T03:00:00+08:00", accounting_date="2026-03-12"), 409, "1003")
    found = table(counter.conn, "SELECT accounting_date::text, serial FROM payment ORDER BY serial")
    assert found == [("2026-03-12", "S1"), ("2026-03-11", "S2")]


def test_a_reversal_once_and_only_of_what_was_paid(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    payment = counter.pay().json()["payment"]
    refused(counter.reverse(fen=4999), 409, "4001")
    first = counter.reverse()
    assert (first.status_code, first.json()["code"], first.json()["state"], first.json()["payment"]) == (
        200, "0000", "reversed", payment,
    )  # fmt: skip
    assert counter.reverse().json()["code"] == "0002"
    assert counter.balance() == 0
    assert counter.state()["state"] == "reversed"
    refused(counter.pay(), 409, "3002")
    counter.pay("S2")
    refused(counter.reverse("S2", reversal_serial="RS1"), 409, "3001")  # one reversal takes back one payment
    assert counter.balance() == 5000


def test_a_reversal_before_its_payment(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    assert counter.reverse().json()["code"] == "0003"
    assert counter.state()["state"] == "blocked"
    refused(counter.pay(), 409, "3002")
    assert counter.reverse().json()["code"] == "0003"
    assert counter.balance() == 0


def test_what_cannot_be_reversed_any_more(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    counter.pay()
    counter.clock.time = at("2026-03-11 22:30")
    refused(counter.reverse(), 409, "4002")  # the next accounting day
    counter.clock.time = at("2026-03-11 10:05")
    for k, code in ((1, "0000"), (2, "0004"), (3, "0004")):
        said = counter.say("POST", f"/payments/{DATE}/S1/receipt", {"operator": "7"}).json()
        assert (said["print"], said["code"], said["name"], said["amount"]["fen"]) == (k, code, "***1", 5000)
    refused(counter.reverse(), 409, "4004")  # somebody holds a receipt
    refused(counter.say("POST", f"/payments/{DATE}/S9/receipt", {"operator": "7"}), 404, "3003")
    counter.pay("S2")
    counter.reverse("S2")
    refused(counter.say("POST", f"/payments/{DATE}/S2/receipt", {"operator": "7"}), 404, "3003")


def test_a_time_out_about_the_cut_off_can_be_cleared_up(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    counter.clock.time = at("2026-03-11 21:59")
    for serial in ("S1", "S2"):
        counter.pay(serial)
    counter.clock.time = at("2026-03-11 22:09")
    assert counter.reverse().status_code == 200
    counter.clock.time = at("2026-03-11 22:10")
    body = refused(counter.reverse("S2"), 409, "4002")
    assert "belongs to the accounting date 2026-03-12" in body["detail"]
    # a day too early is no day either
    counter.clock.time = at("2026-03-10 21:00")
    refused(counter.reverse("S2"), 409, "4002")


def test_money_that_has_been_used_is_not_given_back(counter: Counter) -> None:
    account = place(counter.conn, "1", customer="C1").account
    counter.sign_on()
    counter.pay()
    counter.pay("S2", fen=1000)
    # ten minutes later 20.00 yuan have been used, by the most careful reckoning
    entry = one(counter.conn, "SELECT max(entry_id) FROM ledger_entry")
    counter.conn.execute(
        "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, valid, level) "
        "VALUES (%s, %s, 6000, %s, 4000, 4500, true, 'ok')",
        (account, moment("2026-03-11 10:11"), entry),
    )
    counter.conn.commit()
    counter.clock.pass_(minutes=10)
    assert counter.reverse("S2", fen=1000).status_code == 200  # within the free time, and left of it
    counter.clock.pass_(minutes=1)
    refused(counter.reverse(), 409, "4003")  # 30.00 are left, not 50.00
    counter.pay("S3", fen=2000)
    assert counter.reverse().status_code == 200  # with 20.00 more they are


def test_who_was_cut_off_has_a_permit_with_the_answer(counter: Counter) -> None:
    here = broke(counter.conn)
    order = orders.request(
        counter.conn, kind="relay", action="trip", asset="1", reason="arrears", who="job:prepaid", now=at("2026-03-11 10:00"),
        expires=at("2026-03-11 12:00"),
    )  # fmt: skip
    orders.approve(counter.conn, order, who="李敏", now=at("2026-03-11 10:00"))
    owner = fence(counter.conn, here)
    assert orders.begin(counter.conn, order, fence=owner, now=at("2026-03-11 10:00")) == []
    for event in (Event.ANSWER, Event.PROVE):
        orders.step(counter.conn, order, event, fence=owner, now=at("2026-03-11 10:00"))
    counter.sign_on()
    counter.pay(fen=50)  # too little
    assert one(counter.conn, "SELECT count(*) FROM orders WHERE action = 'permit'") == 0
    counter.pay("S2", fen=100)
    assert table(
        counter.conn, "SELECT state, requested_by, priority FROM orders WHERE action = 'permit'"
    ) == [("approved", "payment", 1)]
    counter.pay("S2", fen=100)  # the answer was lost: nothing is asked for twice
    assert one(counter.conn, "SELECT count(*) FROM orders WHERE action = 'permit'") == 1


def sealed(counter: Counter) -> tuple[bytes, Any]:
    """Sign on as the bank with a MAC; the day's key."""
    fields = {"accounting_date": dt.date(2026, 3, 11), "operator": "7"}
    body = {"accounting_date": DATE, "operator": "7"}
    refused(counter.say("POST", "/sign-on", body, bank="SEAL"), 401, "1002")
    answer = counter.say("POST", "/sign-on", body, bank="SEAL", seal=mac(MASTER, "sign-on", fields))
    assert answer.status_code == 200
    return day_key(MASTER, "SEAL", dt.date(2026, 3, 11), answer.json()["seed"]), answer


def test_with_a_mac_nothing_is_believed_without(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    time = moment("2026-03-11 10:00")
    fields = {
        "accounting_date": dt.date(2026, 3, 11), "serial": "S1", "customer": "C1", "amount_fen": 5000, "time": time, "prepaid": True,
        "bills": [],
    }  # fmt: skip
    body = {**fields, "accounting_date": DATE, "time": time.isoformat()}
    refused(counter.say("POST", "/payments", body, bank="SEAL", seal="0" * 32), 409, "1001")
    key, _ = sealed(counter)
    for seal in ("", "0" * 32, mac(MASTER, "pay", fields), mac(key, "pay", {**fields, "amount_fen": 5001})):
        wrong = counter.say("POST", "/payments", body, bank="SEAL", seal=seal)
        refused(wrong, 401, "1002")
        assert "Bank-MAC" not in wrong.headers
    assert counter.balance() == 0
    done = counter.say("POST", "/payments", body, bank="SEAL", seal=mac(key, "pay", fields))
    assert done.status_code == 201
    said = {
        "message": "pay", "accounting_date": dt.date(2026, 3, 11), "serial": "S1", "code": "0000", "state": "booked", "amount_fen": 5000,
    }  # fmt: skip
    assert genuine(key, "answer", said, done.headers["Bank-MAC"])
    assert not genuine(key, "answer", {**said, "state": "unknown"}, done.headers["Bank-MAC"])


def test_a_day_that_has_been_compared_takes_no_messages(counter: Counter) -> None:
    place(counter.conn, "1", customer="C1")
    counter.sign_on()
    counter.pay()
    text = b"day,ICBC,2026-03-11\ntotals,1,5000,0,0\npayment,S1,C1,5000,2026-03-11T10:00:00+08:00\n"
    path = f"/api/v1/bank/days/{DATE}"
    key = {"Authorization": f"Bearer {counter.keys['ICBC']}"}
    assert counter.client.post(path, content=text, headers=key).status_code == 409  # it is not over
    counter.clock.time = at("2026-03-11 22:00")
    other = {"Authorization": f"Bearer {counter.keys['ABC']}"}
    body = refused(counter.client.post(path, content=text, headers=other), 422, "5001")
    assert "line 1: bank: it is of ICBC, not of ABC" in body["detail"]
    body = refused(counter.client.post(path, content=text[:-9], headers=key), 422, "5001")
    assert "line 3: time" in body["detail"]
    done = counter.client.post(path, content=text, headers=key)
    assert done.status_code == 200
    assert done.json()["items"] == {"both": 1, "bank-only": 0, "ours-only": 0, "different": 0}
    late = {"time": "2026-03-11T21:59:00+08:00"}
    refused(counter.pay("S2", **late), 409, "1003")
    refused(counter.reverse(**late), 409, "4002")
    assert counter.pay(**late).json()["code"] == "0001"  # a repeat is a repeat
