"""What an account owes goes by accounting dates, versions of its plan, and bills that still hold."""

from __future__ import annotations

import datetime as dt

from headend.store import bills, ledger, owed
from headend.store.bills import Bill
from headend.store.db import Connection
from headend.store.ledger import Name
from tests.support.house import SHANGHAI, at, place


def paid(conn: Connection, serial: str, fen: int, when: str, date: str) -> Name:
    name = Name("bank:ICBC", dt.date.fromisoformat(date), serial)
    ledger.book(conn, name, customer="C1", amount_fen=fen, paid_at=at(when), now=at(when))
    return name


def test_by_accounting_dates_and_without_what_was_taken_back(store: Connection) -> None:
    """The shipped residents' plan: 1 permille, 1 yuan at least. January 100.00 yuan, due on 20 February.

    50.00 with the accounting date 2 March: 10 days on 100.00 = 1.00; 10 days on 50.00 until 12 March = 0.50.
    """
    account = place(store, "1", customer="C1", prepaid=False).account or 0
    bills.save(
        store, [Bill(account, dt.date(2026, 1, 1), dt.date(2026, 1, 31), 10_000, [], b"x" * 32)], now=at("2026-02-01 01:00")
    )  # fmt: skip
    # told of late: it was paid at the counter on the 2nd
    paid(store, "1", 5_000, "2026-03-05 09:00", "2026-03-02")
    wrong = paid(store, "2", 1_000, "2026-03-03 09:00", "2026-03-03")
    ledger.reverse(
        store, wrong, reversal_serial="R", amount_fen=1_000, reversed_at=at("2026-03-03 10:00"), now=at("2026-03-03 10:00")
    )  # fmt: skip

    def owing(day: str) -> tuple[int, int]:
        (open_,) = owed.of_account(store, account, dt.date.fromisoformat(day), SHANGHAI).arrears.open
        return open_.principal_fen, open_.penalty_fen

    assert owing("2026-03-01") == (10_000, 100)
    assert owing("2026-03-12") == (5_000, 150)
    # past the cut-off of the 12th: accounting date 13, paid on the 12th, and owed no longer on the 12th
    paid(store, "3", 5_000, "2026-03-12 22:30", "2026-03-13")
    assert owing("2026-03-12") == owing("2026-03-31") == (0, 150)
