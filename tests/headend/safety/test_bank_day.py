"""A bank's whole day with something lost at each step in turn: at night both sides have the same, but for what was planted, and that is named."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from headend.server import ServerSettings, build
from headend.store import bank as link
from headend.store import bank_days, banks, keys, ledger
from headend.store.bank import Wish
from headend.store.bills import Bill, save
from headend.store.db import Connection, StoreError
from tariffs.bank_files import BadFile, write_day
from tariffs.bank_match import Day, Decision, Payment
from tests.support.house import SHANGHAI, at, one, place, table
from tests.support.teller import CUTOFF, Crash, Paid, Teller, Trouble, altered, serving, without
from tests.support.wire import HandClock

DATE = dt.date(2026, 3, 11)
NIGHT = at("2026-03-11 22:05")
CUSTOMERS = 6
MASTER = b"shared between us two, 32 bytes."


@dataclass(slots=True)
class World:
    conn: Connection
    clock: HandClock
    tellers: dict[str, Teller]
    accounts: dict[str, int]


@pytest.fixture
def world(store_dsn: str, store: Connection) -> Iterator[World]:
    """Six prepaid customers, a bank that seals its messages and one that does not, and the head-end on a port of its own."""
    accounts = {f"C{k}": place(store, f"{k}", customer=f"C{k}").account or 0 for k in range(1, CUSTOMERS + 1)}
    clock = HandClock("2026-03-11 09:00")
    issued = {}
    for code, key in (("SEAL", MASTER), ("BARE", None)):
        banks.add(store, code, code, cutoff=CUTOFF, free_reversal=dt.timedelta(minutes=10), mac_key=key)
        issued[code] = keys.issue(store, person=code, scopes=["bank"], bank=code)
    store.commit()
    app = build(ServerSettings(dsn=store_dsn, zone=SHANGHAI, clock=clock, requests_per_minute=100_000))
    with serving(app) as url:
        tellers = {
            "SEAL": Teller(url, issued["SEAL"], "SEAL", clock, MASTER),
            "BARE": Teller(url, issued["BARE"], "BARE", clock),
        }
        for teller in tellers.values():
            teller.sign_on()
        yield World(store, clock, tellers, accounts)


def visit(teller: Teller, customer: str, fen: int) -> Paid | None:
    """What somebody at the counter does: asks, pays, takes a receipt; None where the bank died over it."""
    try:
        teller.arrears(customer)
        paid = teller.pay(customer, fen)
        if paid.standing:
            teller.receipt(paid)
        return paid
    except Crash:
        teller.trouble = None
        teller.restart()
        return None


#: a visit is three messages and those that clear up a loss: each is struck in turn, by everything that can happen to a message
STEPS = (1, 2, 3)
HOWS = ("request", "answer", "hang up", "twice", "late", "crash")


@pytest.mark.parametrize("code", ["SEAL", "BARE"])
def test_a_day_with_a_loss_at_each_step(world: World, code: str) -> None:
    teller = world.tellers[code]
    number = 0
    for trouble in (Trouble(nth, how) for nth in STEPS for how in HOWS):
        number += 1
        teller.trouble, teller.sent = trouble, 0
        visit(teller, f"C{number % CUSTOMERS + 1}", 1000 + number)
        teller.trouble = None
        world.clock.pass_(minutes=1)
    # and what clears up a loss is struck itself: first the state query, then the reversal
    for how in ("request", "answer", "late"):
        for then in (Trouble(nth, what) for nth in (1, 2) for what in HOWS[:4]):
            number += 1
            _two_losses(teller, f"C{number % CUSTOMERS + 1}", 1000 + number, how, then)
            world.clock.pass_(minutes=1)
    for answer in (
        teller.deliver_late()
    ):  # what was held back comes after everything was cleared up: it changes nothing
        assert answer.status_code in (200, 201, 404, 409), answer.text
    teller.sign_off()
    assert all(paid.standing is not None for paid in teller.books.values())
    standing = sum(p.payment.amount_fen for p in teller.books.values() if p.standing)
    assert standing > 0
    assert any(not p.standing for p in teller.books.values())

    world.clock.time = NIGHT
    done = teller.hand_in(teller.day(DATE))
    assert done.status_code == 200, done.text
    told = done.json()
    count = sum(p.standing is True for p in teller.books.values())
    assert told["items"] == {"both": count, "bank-only": 0, "ours-only": 0, "different": 0}
    assert told["open"] == 0
    assert one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry") == standing
    assert ledger.payment_differences(world.conn) == []


def _two_losses(teller: Teller, customer: str, fen: int, first: str, then: Trouble) -> None:
    """The payment is lost, and so is what should clear it up."""
    teller.sent, teller.trouble = 0, Trouble(1, first)
    real = teller.clear_up

    def clear_up(paid: Paid) -> None:
        teller.sent, teller.trouble = 0, then
        real(paid)

    teller.clear_up = clear_up  # type: ignore[method-assign]
    try:
        teller.pay(customer, fen)
    finally:
        teller.clear_up = real  # type: ignore[method-assign]
        teller.trouble = None


def compare(world: World, teller: Teller, day: Any) -> bank_days.Compared:
    return bank_days.compare(world.conn, write_day(day), who="王会计", now=world.clock.now(), zone=SHANGHAI)


def test_what_was_planted_is_named_and_settled(world: World) -> None:
    teller = world.tellers["SEAL"]
    good = [teller.pay(f"C{k}", 1000 * k) for k in range(1, 4)]
    # the bank took money and never told; it forgot a payment; it wrote another amount
    silent = Paid(Payment(teller.serial(), "C4", 4000, teller.now), (), standing=True)
    teller.books[silent.payment.serial] = silent
    refunded = Paid(Payment(teller.serial(), "C4", 4400, teller.now), (), standing=True)
    teller.books[refunded.payment.serial] = refunded
    forgotten, claimed, wrong = teller.pay("C5", 5000), teller.pay("C5", 5500), teller.pay("C6", 6000)
    world.clock.time = NIGHT
    day = teller.day(DATE)
    for paid in (forgotten, claimed):
        day = without(day, paid.payment.serial)
    day = altered(day, wrong.payment.serial, amount_fen=6600)

    said = compare(world, teller, day)
    assert not said.totals_agree
    assert said.items == {"both": 3, "bank-only": 2, "ours-only": 2, "different": 1}
    assert said.open == 5
    items = {row["serial"]: row for row in bank_days.items(world.conn)}
    expected = [
        (silent, ("bank-only", "C4", 4000, None, None)),
        (refunded, ("bank-only", "C4", 4400, None, None)),
        (forgotten, ("ours-only", None, None, "C5", 5000)),
        (claimed, ("ours-only", None, None, "C5", 5500)),
        (wrong, ("different", "C6", 6600, "C6", 6000)),
    ]
    assert set(items) == {paid.payment.serial for paid, _ in expected}
    for paid, what in expected:
        row = items[paid.payment.serial]
        assert (
            row["outcome"],
            row["bank_customer"],
            row["bank_fen"],
            row["our_customer"],
            row["our_fen"],
        ) == what
    assert not {p.payment.serial for p in good} & set(items)

    def decide(paid: Paid, decision: Decision, note: str = "") -> bank_days.Decided:
        return bank_days.decide(
            world.conn,
            items[paid.payment.serial]["item_id"],
            decision,
            who="王会计",
            note=note,
            now=world.clock.now(),
        )

    for paid, decision in ((silent, Decision.REVERSE), (forgotten, Decision.BOOK), (wrong, Decision.BOOK)):
        with pytest.raises(StoreError, match=r"is (bank-only|ours-only|different): "):
            decide(paid, decision)
    with pytest.raises(StoreError, match="say in a note"):
        decide(wrong, Decision.MANUAL)
    before = one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry")
    assert decide(silent, Decision.BOOK).account_id == world.accounts["C4"]
    assert decide(refunded, Decision.REFUND) == bank_days.Decided(None, None)
    assert decide(forgotten, Decision.REVERSE).entry_id is not None
    assert decide(claimed, Decision.CLAIM).entry_id is None
    assert decide(wrong, Decision.MANUAL, "the bank corrects its books").entry_id is None
    with pytest.raises(StoreError, match="was decided by 王会计: book"):
        decide(silent, Decision.BOOK)
    assert one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry") == before + 4000 - 5000
    # the same file again: what was decided stays decided, and nothing is booked twice
    again = compare(world, teller, day)
    assert (again.open, again.items) == (0, said.items)
    assert one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry") == before + 4000 - 5000
    # another file that says otherwise of what was decided is refused, and changes nothing
    with pytest.raises(StoreError, match=f"payment {wrong.payment.serial} of 2026-03-11 has been decided"):
        compare(world, teller, altered(day, wrong.payment.serial, amount_fen=6000))
    # the message of the refunded one comes at last
    refused = teller.tell(refunded)
    assert (refused.status_code, refused.json()["code"]) == (409, "1003")
    assert table(world.conn, "SELECT DISTINCT topic, key, day FROM feed WHERE topic = 'bank'") == [
        ("bank", "SEAL", DATE)
    ]


def test_a_bank_that_was_told_of_a_reversal_and_kept_the_money(world: World) -> None:
    """Its name books nothing any more: it is booked beside it, and a further comparison sees no second payment."""
    teller = world.tellers["BARE"]
    paid = teller.pay("C1", 1000)
    teller.reverse(paid)
    paid.standing, paid.reversed_by = True, ""
    world.clock.time = NIGHT
    day = teller.day(DATE)
    assert compare(world, teller, day).items["bank-only"] == 1
    (item,) = bank_days.items(world.conn)
    bank_days.decide(world.conn, item["item_id"], Decision.BOOK, who="x", now=world.clock.now())
    assert one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry") == 1000
    again = compare(world, teller, day)
    assert (again.open, again.items["ours-only"]) == (0, 0)


def test_what_is_listed_too_early_is_matched_with_the_next_day(world: World) -> None:
    teller = world.tellers["BARE"]
    first = teller.pay("C1", 1000)
    world.clock.time = at("2026-03-11 22:10")
    teller.sign_on()
    late = teller.pay("C2", 2000)
    day = teller.day(DATE)
    assert [p.serial for p in day.payments] == [first.payment.serial]
    said = compare(world, teller, Day("BARE", DATE, (*day.payments, late.payment), ()))
    assert (said.items["both"], said.open, said.late, said.totals_agree) == (1, 0, 1, False)
    world.clock.time = at("2026-03-12 22:05")
    following = dt.date(2026, 3, 12)
    empty = Day("BARE", following, (), ())
    said = compare(world, teller, empty)  # the bank has listed it already
    assert (said.date, said.items, said.open) == (
        following,
        {"both": 1, "bank-only": 0, "ours-only": 0, "different": 0},
        0,
    )


def test_a_bad_file_changes_nothing(world: World) -> None:
    teller = world.tellers["BARE"]
    teller.pay("C1", 1000)
    world.clock.time = NIGHT
    body = write_day(teller.day(DATE))
    for text, where in (
        (body.replace(b"day,BARE", b"day,NONE"), "line 1: bank: no bank 'NONE'"),
        (body.replace(b"totals,1,1000", b"totals,1,1001"), "line 2: fen: 1001 in the totals, 1000"),
        (body.replace(b",1000,2026", b",1e3,2026"), "line 3: fen: '1e3' is not a whole number"),
    ):
        assert text != body
        with pytest.raises(BadFile, match=where):
            bank_days.compare(world.conn, text, who="x", now=NIGHT, zone=SHANGHAI)
    assert one(world.conn, "SELECT count(*) FROM bank_day") == 0
    assert one(world.conn, "SELECT count(*) FROM bank_item") == 0


def test_a_hundred_payments_at_once_and_each_twice(world: World) -> None:
    """Two lines of one bank send the same payments at the same time; each is booked once, whoever was first."""
    teller = world.tellers["BARE"]
    bank = banks.get(world.conn, "BARE")
    body = [
        {
            "accounting_date": DATE.isoformat(), "serial": f"P{k}", "customer": f"C{k % CUSTOMERS + 1}", "amount_fen": 100,
            "time": teller.now.isoformat(), "prepaid": True,
        }
        for k in range(50)
    ]  # fmt: skip
    statuses: list[int] = []

    def line() -> None:
        with httpx2.Client(
            base_url=teller.url, trust_env=False, headers={"Authorization": f"Bearer {teller.key}"}
        ) as client:
            statuses.extend(
                client.post("/api/v1/bank/payments", json=one_, timeout=30).status_code for one_ in body
            )

    lines = [threading.Thread(target=line) for _ in range(2)]
    for thread in lines:
        thread.start()
    for thread in lines:
        thread.join(60)
    assert sorted(statuses) == [200] * 50 + [201] * 50
    assert one(world.conn, "SELECT sum(amount_fen) FROM ledger_entry") == 5000
    rows = link.payments(world.conn, bank, DATE)
    assert {row["state"] for row in rows} == {"booked"}
    assert len(rows) == 50


def test_two_payments_of_one_bill_do_not_both_pay_it(world: World, second: Connection) -> None:
    """Both at the same moment: the second waits for the first, and finds nothing owed."""
    bank, now = banks.get(world.conn, "BARE"), world.clock.now()
    for k in range(6):
        customer = f"B{k}"
        account = place(world.conn, f"7{k}", customer=customer, prepaid=False).account or 0
        february = Bill(account, dt.date(2026, 2, 1), dt.date(2026, 2, 28), 5000, [], bytes(32))
        save(world.conn, [february], now=at("2026-03-01 01:00"))
        world.conn.commit()
        gate = threading.Barrier(2)
        said: list[str] = []

        def work(
            conn: Connection,
            serial: str,
            customer: str = customer,
            gate: threading.Barrier = gate,
            said: list[str] = said,
        ) -> None:
            wish = Wish(
                DATE, f"{customer}{serial}", customer, 5000, world.tellers["BARE"].now, ("20260201-20260228",)
            )
            gate.wait()
            try:
                said.append(link.pay(conn, bank, wish, now=now, zone=SHANGHAI).state)
            except banks.BankRefused as refused:
                conn.rollback()
                said.append(refused.code.value.number)

        threads = [
            threading.Thread(target=work, args=(conn, serial))
            for conn, serial in ((world.conn, "x"), (second, "y"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(said) == ["2003", "booked"]


def test_a_payment_waits_for_the_comparison_of_its_day(world: World, second: Connection) -> None:
    """It is either in what is compared, or refused: never booked beside it."""
    bank, said = banks.get(world.conn, "BARE"), []
    world.conn.commit()
    wish = Wish(DATE, "w", "C1", 100, world.tellers["BARE"].now)

    def work() -> None:
        try:
            said.append(link.pay(second, bank, wish, now=NIGHT, zone=SHANGHAI).state)
        except banks.BankRefused as refused:
            second.rollback()
            said.append(refused.code.value.number)

    thread = threading.Thread(target=work)
    banks.get(world.conn, "BARE", lock="UPDATE")  # as `compare` begins
    thread.start()
    thread.join(0.5)
    assert said == []
    bank_days.compare(world.conn, write_day(Day("BARE", DATE, (), ())), who="x", now=NIGHT, zone=SHANGHAI)
    thread.join(30)
    assert said == ["1003"]
    assert one(world.conn, "SELECT count(*) FROM payment") == 0
