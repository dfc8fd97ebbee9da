"""Debts of real accounts: agreed by persons, taken night by night, nobody cut off by them, every fen derivable again."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from headend.jobs import instalments, recompute
from headend.store import audit, bills, debts, fee_terms, ledger, orders, owed
from headend.store.bills import Bill
from headend.store.db import Connection, StoreError
from headend.store.debts import Wish
from tests.support.arrears import NOW, broke
from tests.support.house import SHANGHAI, at, one, place, table
from tests.support.household import run

TODAY = dt.date(2026, 3, 11)


def wish(**changes: Any) -> Wish:
    given: dict[str, Any] = {
        "kind": "opening", "amount": 9_000, "way": "months", "part": 3, "due_day": 15, "first_day": TODAY, "reason": "旧系统欠费"
    }  # fmt: skip
    return Wish(**{**given, **changes})


def ask(
    conn: Connection, account: int, who: str = "陈晓", now: str = "2026-03-11 10:00", **changes: Any
) -> debts.Done:
    return debts.ask(conn, account, wish(**changes), who=who, now=at(now), zone=SHANGHAI)


def pay(conn: Connection, fen: int, date: str, serial: str, customer: str = "C1") -> None:
    ledger.pay(
        conn, customer=customer, channel="counter", accounting_date=dt.date.fromisoformat(date), serial=serial, amount_fen=fen,
        paid_at=at(f"{date} 09:00"), now=at("2026-06-30 00:00"),
    )  # fmt: skip


def charge(conn: Connection, account: int, date: str, fen: int, revision: int = 1) -> None:
    ledger.post(
        conn, [ledger.Charge(account, date, revision, -fen, bytes(32), {})], now=at("2026-06-30 00:00")
    )
    conn.commit()


def night(conn: Connection, day: str) -> str:
    date = dt.date.fromisoformat(day)
    with conn.transaction():
        told = instalments.job(run(conn, f"{date + dt.timedelta(days=1)} 00:40"), date)
    conn.commit()
    return told


def balance(conn: Connection) -> int:
    return int(one(conn, "SELECT coalesce(sum(amount_fen), 0) FROM ledger_entry"))


def takings(conn: Connection) -> dict[str, int]:
    return dict(
        table(
            conn,
            "SELECT period, -sum(amount_fen)::int FROM ledger_entry WHERE kind = 'instalment' GROUP BY 1 HAVING sum(amount_fen) <> 0 ORDER BY 1",
        )
    )


def differences(conn: Connection, last: dt.date) -> list[tuple[str, str]]:
    return [(d.kind, d.period) for d in debts.differences(conn, last)]


def test_from_the_agreement_to_the_last_fen(store: Connection) -> None:
    """90.00 yuan in three, on the 15th: 30.00 each. The balance is 200.00 and no energy is used."""
    account = place(store, "1", customer="C1").account or 0
    pay(store, 20_000, "2026-03-01", "1")
    done = ask(store, account)
    assert (done.waits, balance(store)) == (False, 20_000)  # put off: the balance is as it was
    charge(store, account, "2026-06-20", 0)
    assert night(store, "2026-03-14").startswith("0 entries")
    for day, left in (("2026-03-15", 17_000), ("2026-04-15", 14_000), ("2026-06-19", 11_000)):
        night(store, day)
        assert balance(store) == left
    assert takings(store) == {"1/2026-03-15": 3_000, "1/2026-04-15": 3_000, "1/2026-05-15": 3_000}
    assert night(store, "2026-06-20").startswith("0 entries")
    (found,) = debts.listing(store, account=account, today=dt.date(2026, 6, 21))
    assert (found["state"], found["left_fen"], found["behind_fen"]) == ("paid", 0, 0)
    assert differences(store, dt.date(2026, 6, 20)) == []
    store.commit()
    assert audit.verify(store).broken is None


def test_who_is_behind_is_told_once_and_nobody_is_below_zero_by_it(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    pay(store, 1_000, "2026-03-01", "1")
    ask(store, account)
    charge(store, account, "2026-03-20", 0)
    assert night(store, "2026-03-16").endswith("1 notices")
    assert night(store, "2026-03-17").endswith("0 notices")
    assert (balance(store), takings(store)) == (0, {"1/2026-03-15": 1_000})
    (notice,) = table(store, "SELECT level, text_zh, text_en FROM notice")
    assert notice == (
        "instalment", "尊敬的客户(户号C1),您2026-03-15应缴的欠费分期款尚有20.00元未能扣收,请及时充值。",
        "Account C1: 20.00 yuan of the instalment due on 2026-03-15 could not be taken, please top up.",
    )  # fmt: skip
    # the payment that comes two days later takes the rest of it; a payment that turns out to be of the 14th takes it on the 15th
    pay(store, 5_000, "2026-03-17", "2")
    night(store, "2026-03-18")
    assert takings(store) == {"1/2026-03-15": 1_000, "1/2026-03-17": 2_000}
    pay(store, 5_000, "2026-03-14", "3")
    night(store, "2026-03-18")
    assert takings(store) == {"1/2026-03-15": 3_000}
    assert (
        one(store, "SELECT count(*) FROM ledger_entry WHERE kind = 'instalment' AND revision = 2") == 2
    )  # visibly
    assert differences(store, dt.date(2026, 3, 18)) == []


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_when_the_end_is_the_same(store: Connection, seed: int) -> None:
    """Two accounts, the same payments and charges: of one in any order with nights between, of the other by day and with one night. The same is
    taken on the same days, and recompute agrees."""
    mixed = random.Random(seed)
    ordered = [(f"2026-03-{d:02}", "pay", 700 + 31 * k) for k, d in enumerate((10, 12, 15, 15, 21))]
    ordered += [(f"2026-03-{d:02}", "charge", 90 + 3 * d) for d in range(9, 26)]
    shuffled = mixed.sample(ordered, len(ordered))
    ended: list[dict[tuple[int, str], int]] = []
    for number, events in (("1", shuffled), ("2", sorted(ordered))):
        account = place(store, number, customer=f"C{number}").account or 0
        mine = [
            ask(store, account, kind="theft", amount=3_000, way=way, part=part).number
            for way, part in (("share", 30), ("daily", 150), ("months", 3))
        ]
        for k, (day, what, fen) in enumerate(events):
            if what == "pay":
                pay(store, fen, day, f"{number}-{k}", f"C{number}")
            else:
                charge(store, account, day, fen)
            if number == "1" and mixed.random() < 0.3:
                night(store, f"2026-03-{mixed.randint(11, 25)}")
        night(store, "2026-03-25")
        taken = {
            (mine.index(int(debt)), day): fen
            for debt, _, day, fen in ((*period.partition("/"), fen) for period, fen in takings(store).items())
            if int(debt) in mine
        }
        ended.append(taken)
    assert len(ended[0]) == 8
    assert ended[0] == ended[1]
    assert differences(store, dt.date(2026, 3, 25)) == []


def test_two_persons_above_the_sum(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    pay(store, 10, "2026-03-01", "1")
    done = ask(store, account, amount=100_001, part=10)
    assert done.waits
    assert one(store, "SELECT count(*) FROM ledger_entry WHERE kind <> 'payment'") == 0
    with pytest.raises(StoreError, match="another person must agree"):
        debts.agree(store, done.number, who="陈晓", reason="x", now=NOW, zone=SHANGHAI)
    with pytest.raises(StoreError, match="a person must answer"):
        debts.agree(store, done.number, who="job:x", reason="x", now=NOW, zone=SHANGHAI)
    assert not debts.agree(store, done.number, who="李敏", reason="x", now=NOW, zone=SHANGHAI).waits
    assert table(store, "SELECT kind, amount_fen FROM ledger_entry WHERE kind <> 'payment' ORDER BY 1") == [
        ("debt", -100_001),
        ("deferral", 100_001),
    ]
    with pytest.raises(StoreError, match="holds already"):
        debts.agree(store, done.number, who="王芳", reason="x", now=NOW, zone=SHANGHAI)
    # giving it up takes two as well
    assert debts.end(store, done.number, who="陈晓", reason="wrong", now=NOW, zone=SHANGHAI).waits
    with pytest.raises(StoreError, match="another person"):
        debts.end(store, done.number, who="陈晓", reason="wrong", now=NOW, zone=SHANGHAI)
    assert not debts.end(store, done.number, who="李敏", reason="wrong", now=NOW, zone=SHANGHAI).waits
    assert balance(store) == 10
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry WHERE kind = 'debt'") == 0
    assert differences(store, TODAY) == []


def test_a_sum_in_pieces_is_a_sum(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    assert [ask(store, account, amount=60_000).waits, ask(store, account, amount=40_001).waits] == [
        False,
        True,
    ]
    # what never held is given up by one person
    assert not debts.end(store, 2, who="陈晓", reason="typing error", now=NOW, zone=SHANGHAI).waits
    with pytest.raises(StoreError, match="was given up"):
        debts.agree(store, 2, who="李敏", reason="x", now=NOW, zone=SHANGHAI)
    assert table(store, "SELECT period, amount_fen FROM ledger_entry ORDER BY amount_fen") == [
        ("1", -60_000),
        ("1", 60_000),
    ]


def test_arrears_that_are_put_off_cut_nobody_off(store: Connection) -> None:
    """The account is 100.00 yuan short; a trip was approved. 100.00 in ten months: the trip is void, the balance is zero."""
    here = broke(store)
    account = here.account or 0
    order = orders.request(
        store, kind="relay", action="trip", asset="1", reason="arrears", who="job:prepaid", now=NOW, expires=at("2026-03-11 12:00")
    )  # fmt: skip
    assert balance(store) == -10_000
    with pytest.raises(StoreError, match=r"owes 100\.00 yuan, not 100\.01"):
        ask(store, account, kind="arrears", amount=10_001, part=10)
    assert ask(store, account, kind="arrears", amount=10_000, part=10).void == [order]
    assert balance(store) == 0
    (found,) = ledger.to_act_on(store, now=NOW)
    assert found["high_fen"] >= 0


def test_what_an_instalment_took_does_not_count_until_a_payment_has_made_it_good(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    pay(store, 5_000, "2026-03-10", "1")
    ask(store, account, way="daily", part=2_000)
    charge(store, account, "2026-03-12", 0)
    night(store, "2026-03-12")
    assert takings(store) == {"1/2026-03-11": 2_000, "1/2026-03-12": 2_000}
    terms = fee_terms.of(store, [account], now=NOW)
    assert fee_terms.stop_below(store, terms) == {account: -4_000}
    pay(store, 100, "2026-03-12", "2")
    assert fee_terms.stop_below(store, terms) == {account: -2_000}
    pay(store, 100, "2026-03-13", "3")
    assert fee_terms.stop_below(store, terms) == {account: -2_000}  # nobody knows yet what the 13th has cost
    charge(store, account, "2026-03-13", 1_201)
    assert fee_terms.stop_below(store, terms) == {
        account: -2_000
    }  # one fen short: paying less than he uses makes nobody worse off
    pay(store, 1, "2026-03-13", "4")
    assert fee_terms.stop_below(store, terms) == {account: 0}
    fee_terms.change(store, {"debt_trips": True}, reason="x", who="x", now=NOW)
    assert fee_terms.stop_below(store, fee_terms.of(store, [account], now=NOW)) == {account: 0}


def test_early_payment(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    pay(store, 5_000, "2026-03-10", "1")
    number = ask(store, account).number
    for fen, words in ((9_001, "90.00 are left"), (6_000, "the balance holds 50.00"), (0, "are left")):
        with pytest.raises(StoreError, match=words):
            debts.repay(store, number, fen, who="陈晓", reason="x", now=NOW, zone=SHANGHAI)
    debts.repay(store, number, 4_000, who="陈晓", reason="x", now=NOW, zone=SHANGHAI)
    charge(store, account, "2026-03-20", 0)
    night(store, "2026-03-20")
    assert takings(store) == {"1/2026-03-11": 4_000, "1/2026-03-15": 1_000}


def test_who_pays_by_bills_is_asked_among_his_arrears(store: Connection) -> None:
    """January 100.00, due on 20 February; on 11 March its penalty is 1.90. 60.00 of it are put off in two: on the 15th of March and of April."""
    account = place(store, "1", customer="C1", prepaid=False).account or 0
    bills.save(
        store, [Bill(account, dt.date(2026, 1, 1), dt.date(2026, 1, 31), 10_000, [], b"x" * 32)], now=at("2026-02-01 01:00")
    )  # fmt: skip

    def owing(day: str) -> list[tuple[str, int, int]]:
        found = owed.of_account(store, account, dt.date.fromisoformat(day), SHANGHAI).arrears
        return [(item.bill.name, item.principal_fen, item.penalty_fen) for item in found.open]

    assert owing("2026-03-11") == [("20260101-20260131", 10_000, 190)]
    with pytest.raises(StoreError, match="share of each payment is for prepaid"):
        ask(store, account, way="share", part=10)
    number = ask(store, account, kind="arrears", amount=6_000, part=2).number
    assert owing("2026-03-11") == [("20260101-20260131", 4_000, 190)]
    # four more days on 40.00: 0.16
    assert owing("2026-03-15") == [("20260101-20260131", 4_000, 206), ("debt1-20260315", 3_000, 0)]
    debts.end(store, number, who="陈晓", reason="never paid", now=at("2026-03-20 10:00"), zone=SHANGHAI)
    assert [name for name, *_ in owing("2026-03-20")] == [
        "20260101-20260131",
        "debt1-20260315",
        "debt1-20260320",
    ]
    assert sum(fen for _, fen, _ in owing("2026-04-30")) == 10_000
    assert one(store, "SELECT count(*) FROM ledger_entry") == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "gift"}, "no kind of debt"), ({"way": "yearly"}, "no way to pay"), ({"amount": 0}, "more than 0"),
        ({"due_day": 29}, "1 to 28"), ({"part": 121}, "between 1 and 120"), ({"way": "share", "part": 101}, "between 1 and 100"),
        ({"first_day": TODAY - dt.timedelta(days=1)}, "instalments from"), ({"reason": " "}, "say why"),
        ({"amount": 2, "part": 3}, "between 1 and 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_agreed(store: Connection, changes: dict[str, Any], words: str) -> None:
    account = place(store, "1", customer="C1").account or 0
    with pytest.raises(StoreError, match=words):
        ask(store, account, **changes)
    assert one(store, "SELECT count(*) FROM debt") == 0


def test_an_entry_that_was_changed_by_hand_is_named(store: Connection) -> None:
    account = place(store, "1", customer="C1").account or 0
    pay(store, 20_000, "2026-03-01", "1")
    ask(store, account)
    charge(store, account, "2026-03-20", 0)
    night(store, "2026-03-20")
    ledger.post(
        store, [ledger.Charge(account, "1/2026-03-16", 1, -7, bytes(32), {"debt": 1}, "instalment")], now=NOW
    )
    store.execute("ALTER TABLE ledger_entry DISABLE TRIGGER append_only")
    store.execute("UPDATE ledger_entry SET amount_fen = 8999 WHERE kind = 'deferral'")
    store.execute("ALTER TABLE ledger_entry ENABLE TRIGGER append_only")
    found = {
        (d.kind, d.period): (d.should_fen, d.stands_fen)
        for d in recompute.differences(run(store, "2026-03-21 00:40"), dt.date(2026, 3, 20))
    }
    assert found["instalment", "1/2026-03-16"] == (0, -7)
    assert found["deferral", "1"] == (9_000, 8_999)
