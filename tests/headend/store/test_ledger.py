"""Payments once, entries for ever, balances as sums."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.store import ledger, notices
from headend.store.db import Connection, StoreError
from headend.store.ledger import (
    Balances,
    Charge,
    Name,
    Payment,
    PaymentConflict,
    PaymentReversed,
    UnknownCustomer,
)
from tests.support.house import at, one, place, table
from tests.support.notices import deliver_all

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 10:00")


def pay(conn: Connection, customer: str = "C1", serial: str = "1", fen: int = 500, **changes: Any) -> Payment:
    given = {"channel": "bank", "accounting_date": DAY, "paid_at": NOW, "now": NOW}
    return ledger.pay(conn, customer=customer, serial=serial, amount_fen=fen, **{**given, **changes})


def test_a_payment_is_booked_once_by_channel_date_and_serial(store: Connection) -> None:
    here = place(store, "1", customer="C1")
    first = pay(store)
    assert (first.account_id, first.duplicate) == (here.account, False)
    assert pay(store, paid_at=at("2026-03-11 11:00")) == Payment(first.entry_id, first.account_id, True)
    others = [
        pay(store, serial="2"),
        pay(store, channel="wechat"),
        pay(store, accounting_date=DAY + dt.timedelta(days=1)),
    ]
    assert not any(p.duplicate for p in others)
    assert ledger.sums(store) == {here.account: (2000, others[-1].entry_id)}
    assert table(store, "SELECT kind, period, revision, amount_fen FROM ledger_entry ORDER BY entry_id")[
        0
    ] == ("payment", "bank/2026-03-11/1", 1, 500)
    assert table(store, "SELECT topic, key, day FROM feed WHERE topic = 'payment' ORDER BY seq")[0] == (
        "payment",
        "C1",
        DAY,
    )
    assert one(store, "SELECT count(*) FROM feed WHERE topic = 'payment'") == 4


def test_the_same_serial_with_other_contents_is_refused(store: Connection) -> None:
    place(store, "1", customer="C1")
    place(store, "2", customer="C2")
    pay(store)
    for changes in ({"fen": 501}, {"customer": "C2"}):
        with pytest.raises(
            PaymentConflict, match="payment bank/2026-03-11/1 is booked with another customer or amount"
        ):
            pay(store, **changes)
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry") == 500


def test_payments_nobody_can_take(store: Connection) -> None:
    place(store, "1", customer="C1")
    with pytest.raises(UnknownCustomer, match="no customer 'C9'"):
        pay(store, "C9")
    store.execute("UPDATE account SET valid_to = '2026-03-11 10:00+08'")
    with pytest.raises(UnknownCustomer):  # the account has ended
        pay(store)
    for fen in (0, -1):
        with pytest.raises(StoreError, match="more than 0 yuan"):
            pay(store, fen=fen)
    assert one(store, "SELECT count(*) FROM ledger_entry") == 0


def test_submitted_twice_at_the_same_moment(store: Connection, second: Connection) -> None:
    place(store, "1", customer="C1")
    for k in range(8):
        gate = threading.Barrier(2)
        found: list[Payment] = []

        def work(
            conn: Connection,
            serial: str = f"s{k}",
            gate: threading.Barrier = gate,
            found: list[Payment] = found,
        ) -> None:
            gate.wait()
            found.append(pay(conn, serial=serial))

        threads = [threading.Thread(target=work, args=(conn,)) for conn in (store, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(p.duplicate for p in found) == [False, True]
        assert found[0].entry_id == found[1].entry_id
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry") == 8 * 500


def test_entries_are_never_changed(store: Connection) -> None:
    place(store, "1", customer="C1")
    pay(store)
    for sql in ("UPDATE ledger_entry SET amount_fen = 1", "DELETE FROM ledger_entry"):
        with pytest.raises(psycopg.errors.RaiseException, match="ledger_entry is append-only"):
            store.execute(sql)
        store.rollback()


def test_charges_by_revision(store: Connection) -> None:
    here = place(store, "1", customer="C1").account or 0
    ledger.post(
        store,
        [
            Charge(here, "2026-03-10", 1, -300, bytes(32), {"a": 1}),
            Charge(here, "2026-03-09", 1, -200, bytes(32), {}),
        ],
        now=NOW,
    )
    ledger.post(store, [Charge(here, "2026-03-09", 2, 50, b"x" * 32, {})], now=NOW)
    assert [(c["period"], c["revision"], c["amount_fen"]) for c in ledger.charges(store, [here], ["2026-03-09", "2026-03-10", "2026-03-11"])] == [
        ("2026-03-09", 1, -200), ("2026-03-09", 2, 50), ("2026-03-10", 1, -300),
    ]  # fmt: skip
    assert ledger.settled_until(store) == {here: dt.date(2026, 3, 11)}
    newest = ledger.entries(store, here, 2)
    assert [(e["period"], e["revision"]) for e in newest] == [("2026-03-09", 2), ("2026-03-09", 1)]
    assert [e["period"] for e in ledger.entries(store, here, 2, before=newest[-1]["entry_id"])] == [
        "2026-03-10"
    ]
    found = ledger.balance(store, here)
    assert found is not None
    assert (found["ledger_fen"], found["newest_entry_id"], found["level"]) == (
        -450,
        newest[0]["entry_id"],
        None,
    )
    with pytest.raises(
        psycopg.errors.UniqueViolation
    ):  # one revision of a period is one entry, whoever posts it
        ledger.post(store, [Charge(here, "2026-03-09", 2, 0, bytes(32), {})], now=NOW)


def test_an_older_balance_does_not_replace_a_newer_one(store: Connection) -> None:
    here = place(store, "1", customer="C1").account or 0

    def save(fen: int, when: str) -> None:
        ledger.save_balances(
            store,
            Balances([here], [fen], [0], [fen], [fen], [None], [True], [""], ["ok"], [True]),
            now=at(when),
        )
        store.commit()

    save(1, "2026-03-11 10:00")
    save(2, "2026-03-11 10:15")
    save(3, "2026-03-11 10:10")
    assert one(store, "SELECT ledger_fen FROM balance") == 2
    assert one(store, "SELECT count(*) FROM feed WHERE topic = 'balance'") == 2


def test_one_notice_a_level_until_a_payment(store: Connection) -> None:
    here = place(store, "1", customer="C1").account or 0

    def tell(level: str, when: str) -> bool:
        told = notices.write(store, here, level=level, balance_fen=-1, text_zh="x", text_en="x", now=at(when))
        store.commit()
        return told

    assert [
        tell("warn1", "2026-03-11 10:00"),
        tell("warn1", "2026-03-11 10:15"),
        tell("stop", "2026-03-11 10:15"),
    ] == [True, False, True]
    pay(store, paid_at=at("2026-03-11 10:20"))
    assert [tell("stop", "2026-03-11 10:30"), tell("stop", "2026-03-11 10:45")] == [True, False]
    assert one(store, "SELECT count(*) FROM notice") == 3
    # one that reached nobody in a month is written again; one that did is not
    assert [tell("stop", "2026-04-11 10:29"), tell("stop", "2026-04-11 10:31")] == [False, True]
    deliver_all(store, at("2026-04-11 10:32"))
    assert not tell("stop", "2026-06-11 10:32")


def take_back(conn: Connection, serial: str = "1", fen: int = 500, by: str = "R") -> ledger.Reversal:
    with conn.transaction():
        done = ledger.reverse(
            conn, Name("bank", DAY, serial), reversal_serial=f"{by}{serial}", amount_fen=fen, reversed_at=NOW, now=NOW
        )  # fmt: skip
    conn.commit()
    return done


def test_a_reversal_is_an_entry_of_its_own(store: Connection) -> None:
    here = place(store, "1", customer="C1")
    first = pay(store)
    done = take_back(store)
    assert (done.entry_id is not None, done.duplicate) == (True, False)
    assert table(store, "SELECT kind, period, amount_fen FROM ledger_entry ORDER BY entry_id") == [
        ("payment", "bank/2026-03-11/1", 500),
        ("reversal", "bank/2026-03-11/1", -500),
    ]
    assert take_back(store) == ledger.Reversal(done.entry_id, True)
    assert take_back(store, by="S") == ledger.Reversal(
        done.entry_id, True
    )  # asked again under another number
    assert ledger.sums(store)[here.account or 0] == (0, done.entry_id)
    assert table(store, "SELECT topic, key FROM feed WHERE topic = 'reversal'") == [("reversal", "C1")]
    # its name books nothing any more, and says so
    with pytest.raises(PaymentReversed, match="payment bank/2026-03-11/1 was reversed"):
        pay(store)
    found = ledger.find(store, Name("bank", DAY, "1"))
    assert found is not None
    assert (found["entry_id"], found["reversal"]) == (first.entry_id, done.entry_id)


def test_a_reversal_that_comes_first_refuses_its_payment(store: Connection) -> None:
    place(store, "1", customer="C1")
    assert take_back(store) == ledger.Reversal(None, False)
    assert take_back(store) == ledger.Reversal(None, True)
    for _ in range(2):
        with pytest.raises(PaymentReversed, match="came before it; it is not booked"):
            pay(store)
    assert one(store, "SELECT count(*) FROM ledger_entry") == 0


def test_a_reversal_of_something_else_is_refused(store: Connection) -> None:
    place(store, "1", customer="C1")
    pay(store)
    pay(store, serial="2")
    with pytest.raises(PaymentConflict, match="of another amount"):
        take_back(store, fen=499)
    take_back(store)
    with pytest.raises(PaymentConflict, match="reversed with another amount"):
        take_back(store, fen=499)
    with pytest.raises(PaymentConflict, match="took back another payment"), store.transaction():
        ledger.reverse(
            store, Name("bank", DAY, "2"), reversal_serial="R1", amount_fen=500, reversed_at=NOW, now=NOW
        )
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry") == 500


def test_what_was_taken_back_is_never_changed(store: Connection) -> None:
    take_back(store)
    for sql in ("UPDATE payment_reversal SET amount_fen = 1", "DELETE FROM payment_reversal"):
        with pytest.raises(psycopg.errors.RaiseException, match="payment_reversal is append-only"):
            store.execute(sql)
        store.rollback()


def test_payment_and_reversal_at_the_same_moment(store: Connection, second: Connection) -> None:
    """Whichever comes first, nothing of it is left."""
    place(store, "1", customer="C1")
    for k in range(8):
        gate = threading.Barrier(2)

        def work(act: Any, conn: Connection, serial: str = f"s{k}", gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                act(conn, serial=serial)
            except PaymentReversed:
                conn.rollback()

        threads = [
            threading.Thread(target=work, args=(act, conn))
            for act, conn in ((pay, store), (take_back, second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert one(store, "SELECT coalesce(sum(amount_fen), 0) FROM ledger_entry") == 0
    assert one(store, "SELECT count(*) FROM payment_reversal") == 8


#: (what, which): a payment, a reversal of it, a day's charge
EVENTS = st.lists(
    st.tuples(st.sampled_from(["pay", "reverse", "charge"]), st.integers(0, 4)), min_size=1, max_size=12
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_whatever_comes_in_whatever_order_the_balance_is_the_same(
    store: Connection, events: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Payments, their reversals and charges, shuffled and repeated: the sum is that of payments not taken back, less the charges."""
    events = list(dict.fromkeys(events))
    taken = {which for what, which in events if what == "reverse"}
    expected = sum(
        {"pay": (which not in taken) * (100 + which), "reverse": 0, "charge": -(7 + which)}[what]
        for what, which in events
    )
    run = one(store, "SELECT count(*) FROM customer")
    order = data.draw(st.permutations([*events, *data.draw(st.lists(st.sampled_from(events), max_size=6))]))
    customer, account = f"C{run}", place(store, f"{run}", customer=f"C{run}").account or 0
    charged: set[int] = set()
    for what, which in order:
        serial = f"{run}-{which}"
        if what == "pay":
            try:
                pay(store, customer, serial=serial, fen=100 + which)
            except PaymentReversed:
                store.rollback()
        elif what == "reverse":
            take_back(store, serial=serial, fen=100 + which)
        elif which not in charged:  # a settlement derives a day once more and adds nothing
            charged.add(which)
            ledger.post(
                store, [Charge(account, f"2026-03-0{which + 1}", 1, -(7 + which), bytes(32), {})], now=NOW
            )
            store.commit()
    assert ledger.sums(store).get(account, (0, 0))[0] == expected
    assert ledger.payment_differences(store) == []
