"""What a bank is asked to draw, the same bytes each time; and its answer, booked once, whole or not at all."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

import pytest

from headend.store import banks, debits, ledger
from headend.store.banks import Bank
from headend.store.bills import Bill, save
from headend.store.db import Connection, StoreError
from headend.store.debits import Batch
from headend.store.ledger import UnknownCustomer
from tariffs.bank_files import BadFile, Result, Results, write_results
from tests.support.house import SHANGHAI, at, moment, one, place, table

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 08:00")
LATER = at("2026-03-12 08:00")


def bank_of(conn: Connection, code: str = "ICBC") -> Bank:
    banks.add(conn, code, code, cutoff=dt.time(22), free_reversal=dt.timedelta(), mac_key=None)
    return banks.get(conn, code)


def owing(conn: Connection, bank: Bank, number: int, fen: int, *, prepaid: bool = True) -> int:
    account = place(conn, f"{number}", customer=f"C{number}", prepaid=prepaid).account or 0
    if prepaid:
        ledger.post(conn, [ledger.Charge(account, "2026-03-10", 1, -fen, bytes(32), {})], now=NOW)
    else:
        save(conn, [Bill(account, dt.date(2026, 2, 1), dt.date(2026, 2, 28), fen, [], bytes(32))], now=NOW)
    debits.mandate(conn, f"C{number}", bank, f"6222.{number}", who="x", now=NOW)
    conn.commit()
    return account


def prepare(conn: Connection, bank: Bank, day: dt.date = DAY) -> Batch:
    return debits.prepare(conn, bank, day, now=NOW, zone=SHANGHAI)


def answer(conn: Connection, batch: Batch, *failed: int, date: dt.date = DAY) -> bytes:
    return write_results(
        Results(
            batch.batch,
            batch.bank,
            date,
            tuple(
                Result(
                    i.seq,
                    i.customer,
                    i.amount_fen,
                    i.seq not in failed,
                    "余额不足" if i.seq in failed else "",
                )
                for i in batch.items
            ),
        )
    )


def test_a_batch_is_made_once_and_told_again_byte_for_byte(store: Connection) -> None:
    bank = bank_of(store)
    owing(store, bank, 2, 500)
    owing(store, bank, 1, 300, prepaid=False)
    place(store, "3", customer="C3")  # no mandate
    owing(store, bank, 4, 0)  # owes nothing
    batch = prepare(store, bank)
    files = batch.files()
    assert files["DD-ICBC-20260311.csv"] == (
        b"debit,DD-ICBC-20260311,ICBC,2026-03-11\ntotals,2,800\nitem,1,6222.1,C1,300\nitem,2,6222.2,C2,500\n"
    )
    manifest = json.loads(files["DD-ICBC-20260311.manifest.json"])
    assert manifest["file"]["sha256"] == hashlib.sha256(files["DD-ICBC-20260311.csv"]).hexdigest()
    assert (manifest["items"], manifest["total_fen"]) == (2, 800)
    assert list(files)[-1].endswith("manifest.json")
    owing(store, bank, 5, 100)  # what has changed since changes no batch that is out
    assert prepare(store, bank).files() == files


def test_who_has_not_answered_is_not_asked_twice(store: Connection) -> None:
    bank = bank_of(store)
    owing(store, bank, 1, 300)
    first = prepare(store, bank)
    following = DAY + dt.timedelta(days=1)
    assert prepare(store, bank, following).items == []
    debits.answer(store, answer(store, first, 1), now=LATER)
    again = prepare(store, bank, following + dt.timedelta(days=1))
    assert [item.amount_fen for item in again.items] == [300]


def test_an_answer_is_booked_once(store: Connection) -> None:
    bank = bank_of(store)
    paid, failed = owing(store, bank, 1, 300), owing(store, bank, 2, 500)
    batch = prepare(store, bank)
    body = answer(store, batch, 2)
    done = debits.answer(store, body, now=LATER)
    assert (done.paid, done.paid_fen, done.failed, done.duplicate, done.accounts) == (
        1,
        300,
        1,
        False,
        [paid],
    )
    again = debits.answer(store, body, now=LATER)
    assert (again.duplicate, again.accounts) == (True, [])
    assert {a: fen for a, (fen, _) in ledger.sums(store).items()} == {paid: 0, failed: -500}
    assert table(store, "SELECT seq, state, reason FROM debit_item ORDER BY seq") == [
        (1, "paid", ""),
        (2, "failed", "余额不足"),
    ]
    assert table(store, "SELECT channel, serial FROM payment") == [("debit:ICBC", "DD-ICBC-20260311:1")]
    with pytest.raises(StoreError, match="has been answered by another file"):
        debits.answer(store, answer(store, batch), now=LATER)
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry WHERE kind = 'payment'") == 300


def test_an_answer_that_was_interrupted_goes_on(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(store)
    for number in range(1, 6):
        owing(store, bank, number, 100 * number)
    batch = prepare(store, bank)
    body = answer(store, batch)
    monkeypatch.setattr(debits, "STEP", 2)
    real = debits._book

    def dies(*arguments: object) -> list[int]:
        if len(arguments[3]) == 1:  # type: ignore[arg-type]  # the last, smaller step
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(debits, "_book", dies)
    with pytest.raises(KeyboardInterrupt):
        debits.answer(store, body, now=LATER)
    store.rollback()
    assert one(store, "SELECT count(*) FROM payment") == 4
    monkeypatch.setattr(debits, "_book", real)
    assert len(debits.answer(store, body, now=LATER).accounts) == 1
    assert one(store, "SELECT sum(amount_fen) FROM ledger_entry WHERE kind = 'payment'") == 1500


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        (b"results,DD-ICBC-20260311", b"results,DD-ICBC-20260312", "line 1: batch: there is no batch"),
        (b",ICBC,2026", b",ABC,2026", "line 1: bank: the batch is of ICBC, not ABC"),
        (b"item,2,C2,500", b"item,3,C2,500", "line 4: seq: batch DD-ICBC-20260311 has no item 3"),
        (b"item,2,C2", b"item,2,C1", "line 4: customer: item 2 is of C2, not C1"),
        (b"totals,2,800,0,0\nitem,1,C1,300,paid\n", b"totals,1,500,0,0\n", "line 2: paid: item 1 of .* is not answered"),
        (b"totals,2,800,0,0\nitem,1,C1,300", b"totals,2,801,0,0\nitem,1,C1,301", "line 3: fen: item 1 asks for 300, not 301"),
    ],
)  # fmt: skip
def test_a_bad_answer_books_nothing(store: Connection, old: bytes, new: bytes, where: str) -> None:
    bank = bank_of(store)
    owing(store, bank, 1, 300)
    owing(store, bank, 2, 500)
    body = answer(store, prepare(store, bank))
    assert old in body
    with pytest.raises(BadFile, match=where):
        debits.answer(store, body.replace(old, new), now=LATER)
    assert one(store, "SELECT count(*) FROM payment") == 0
    assert one(store, "SELECT count(*) FROM debit_item WHERE state = 'sent'") == 2


def test_money_that_was_drawn_is_booked_though_the_account_was_closed(store: Connection) -> None:
    bank = bank_of(store)
    account = owing(store, bank, 1, 300)
    batch = prepare(store, bank)
    store.execute("UPDATE account SET valid_to = %s", (moment("2026-03-11 09:00"),))
    assert debits.answer(store, answer(store, batch), now=LATER).accounts == [account]
    with pytest.raises(UnknownCustomer):
        debits.mandate(store, "C1", bank, "1", who="x", now=LATER)


def test_a_mandate(store: Connection) -> None:
    bank, other = bank_of(store), bank_of(store, "ABC")
    owing(store, bank, 1, 300)
    debits.mandate(store, "C1", other, "9", who="x", now=NOW)  # the newest one counts
    assert prepare(store, bank).items == []
    assert [item.account for item in prepare(store, other).items] == ["9"]
    with pytest.raises(StoreError, match="'6222,1' is no bank account"):
        debits.mandate(store, "C1", bank, "6222,1", who="x", now=NOW)
