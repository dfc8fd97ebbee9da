"""What banks ask and are answered: arrears, payments, their state, reversals, receipts (银电联网; the words are `tariffs/bank.py`).

Rules of our own, since no specification of this link is public:

* A payment is named by (bank, accounting date, serial). The same again is the same; with other contents it is refused.
* Bills may be named, then the amount must not be more than they owe; else the payment goes on the account (prepaid flag). Money always pays
  the oldest bill first.
* A reversal (冲正) takes back a payment of the same accounting day by an entry of its own; a time-out about the cut-off may be cleared up
  until `free_reversal` after it. It is refused when a receipt has been printed (invoiced), and when a prepaid account has used the money
  (consumed): later than `free_reversal` after the booking, and the most careful running balance would fall below zero without it.
* Where a meter or terminal executes the fee control, money counts as used once it is, or may be, in there.
* A reversal that comes before its payment is answered as done, and the payment is refused when it comes.
* Once a day has been compared with its bank, no message changes it any more: the comparison's decisions do.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from headend.store import banks, ledger, owed
from headend.store.banks import Bank, BankRefused
from headend.store.db import Connection
from headend.store.ledger import AHEAD, PaymentConflict, PaymentReversed
from headend.store.owed import Owed
from headend.store.purchases import PaymentCarried
from protocols.localtime import as_datetime, instant
from tariffs.bank import Code, masked


@dataclass(frozen=True, slots=True)
class Wish:
    """A payment as the bank sends it. `bills`: what it is for; none: it goes on the account (prepaid flag)."""

    date: dt.date
    serial: str
    customer: str
    amount_fen: int
    time: dt.datetime
    bills: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`state`: booked, reversed, blocked or unknown. `payment`: our number of it, None where there is none."""

    code: Code
    state: str
    payment: int | None = None
    account_id: int | None = None
    amount_fen: int | None = None


@dataclass(frozen=True, slots=True)
class Arrears:
    """Whose, for whom: `name` is masked."""

    customer: str
    name: str
    owed: Owed


@dataclass(frozen=True, slots=True)
class Receipt:
    """One print; `number` counts them."""

    payment: int
    number: int
    customer: str
    name: str
    amount_fen: int
    paid_at: dt.datetime
    detail: dict[str, Any]


def arrears(conn: Connection, customer: str, *, now: Any, zone: ZoneInfo) -> Arrears:
    """What a customer owes now. BankRefused."""
    account = _account(conn, customer, now)
    day = as_datetime(now, zone).date()
    return Arrears(customer, masked(account["name"]), owed.of_account(conn, account["account_id"], day, zone))


def pay(conn: Connection, bank: Bank, wish: Wish, *, now: Any, zone: ZoneInfo) -> Answer:
    """Book a payment once, however often the message comes; commits. BankRefused."""
    _timely(wish.time, now, bank.date_of(wish.time, zone), wish.date, Code.WRONG_DATE)
    name = bank.name(wish.date, wish.serial)
    try:
        with conn.transaction():
            banks.get(conn, bank.code, lock="SHARE")
            ledger.hold(conn, name)
            if ledger.find(conn, name) is None:  # a repeat is not judged again: it was booked
                _open_for_payments(conn, bank, wish.date)
                account = _account(conn, wish.customer, now, lock=True)
                if wish.bills:
                    day = wish.time.astimezone(zone).date()
                    _owing(owed.of_account(conn, account["account_id"], day, zone), wish)
            done = ledger.book(
                conn,
                name,
                customer=wish.customer,
                amount_fen=wish.amount_fen,
                paid_at=instant(wish.time),
                now=now,
                more={"bills": list(wish.bills)} if wish.bills else {"prepaid": True},
            )
    except PaymentConflict as error:
        raise BankRefused(Code.OTHER_CONTENTS, str(error)) from None
    except PaymentReversed as error:
        raise BankRefused(Code.REVERSED_FIRST, str(error)) from None
    except ledger.UnknownCustomer as error:  # the account was closed, and the name is another customer's
        raise BankRefused(Code.UNKNOWN_CUSTOMER, str(error)) from None
    conn.commit()
    code = Code.BOOKED_BEFORE if done.duplicate else Code.DONE
    return Answer(code, "booked", done.entry_id, done.account_id, wish.amount_fen)


def state(conn: Connection, bank: Bank, date: dt.date, serial: str) -> Answer:
    """What became of a payment. Who is told 'unknown' and gives the money back must reverse it all the same: the message may still be on
    its way."""
    name = bank.name(date, serial)
    payment = ledger.find(conn, name)
    if payment is None:
        if ledger.find_reversal(conn, name) is None:
            return Answer(Code.NOT_KNOWN, "unknown")
        return Answer(Code.BLOCKED, "blocked")
    code, word = (Code.DONE, "booked") if payment["reversal"] is None else (Code.REVERSED, "reversed")
    return Answer(code, word, payment["entry_id"], payment["account_id"], payment["amount_fen"])


def reverse(
    conn: Connection,
    bank: Bank,
    date: dt.date,
    serial: str,
    *,
    reversal_serial: str,
    amount_fen: int,
    time: dt.datetime,
    now: Any,
    zone: ZoneInfo,
) -> Answer:
    """Take a payment back once, however often the message comes; commits. BankRefused."""
    belongs = {bank.date_of(when, zone) for when in (time - bank.free_reversal, time)}
    _timely(time, now, date if date in belongs else max(belongs), date, Code.OTHER_DAY)
    name = bank.name(date, serial)
    try:
        with conn.transaction():
            banks.get(conn, bank.code, lock="SHARE")
            ledger.hold(conn, name)
            if ledger.find_reversal(conn, name) is None:
                if _compared(conn, bank, date):
                    raise BankRefused(Code.OTHER_DAY, f"{date} has been compared; the comparison decides")
                payment = ledger.find(conn, name)
                if payment is not None:
                    _reversible(conn, bank, payment, amount_fen, now)
            done = ledger.reverse(
                conn,
                name,
                reversal_serial=reversal_serial,
                amount_fen=amount_fen,
                reversed_at=instant(time),
                now=now,
            )
    except PaymentConflict as error:
        raise BankRefused(Code.OTHER_CONTENTS, str(error)) from None
    except PaymentCarried as error:
        raise BankRefused(Code.CONSUMED, str(error)) from None
    conn.commit()
    if done.entry_id is None:
        return Answer(Code.BLOCKED, "blocked", amount_fen=amount_fen)
    payment = ledger.find(conn, name)
    assert payment is not None
    code = Code.REVERSED_BEFORE if done.duplicate else Code.DONE
    return Answer(code, "reversed", payment["entry_id"], payment["account_id"], amount_fen)


def receipt(conn: Connection, bank: Bank, date: dt.date, serial: str, *, who: str, now: Any) -> Receipt:
    """Count one more print of a payment's receipt, in the caller's transaction. BankRefused."""
    name = bank.name(date, serial)
    ledger.hold(conn, name)
    payment = ledger.find(conn, name)
    if payment is None or payment["reversal"] is not None:
        raise BankRefused(
            Code.UNKNOWN_PAYMENT, f"payment {name} {'was reversed' if payment else 'is not booked'}"
        )
    number = payment["prints"] + 1
    conn.execute(
        "INSERT INTO receipt (entry_id, print, at, who) VALUES (%s, %s, %s, %s)",
        (payment["entry_id"], number, as_datetime(now), who),
    )
    return Receipt(
        payment["entry_id"], number, payment["number"], masked(payment["name"]), payment["amount_fen"],
        payment["paid_at"], payment["detail"],
    )  # fmt: skip


def payments(conn: Connection, bank: Bank, date: dt.date) -> list[dict[str, Any]]:
    """Everything that a bank has sent for an accounting date, by serial, with its state: booked, reversed or blocked."""
    return conn.execute(
        """
        SELECT serial, number AS customer, coalesce(p.amount_fen, r.amount_fen) AS amount_fen, p.paid_at, p.entry_id AS payment,
               CASE WHEN p.entry_id IS NULL THEN 'blocked' WHEN r.entry_id IS NULL THEN 'booked' ELSE 'reversed' END AS state,
               r.reversal_serial, r.reversed_at, (SELECT count(*) FROM receipt WHERE receipt.entry_id = p.entry_id)::int AS receipts
        FROM payment p FULL JOIN payment_reversal r USING (channel, accounting_date, serial)
        LEFT JOIN account a ON a.account_id = p.account_id LEFT JOIN customer c USING (customer_id)
        WHERE channel = %s AND accounting_date = %s ORDER BY serial
        """,
        (bank.channel, date),
    ).fetchall()


def _timely(time: dt.datetime, now: Any, belongs: dt.date, date: dt.date, otherwise: Code) -> None:
    if belongs != date:
        raise BankRefused(
            otherwise, f"{time.isoformat()} belongs to the accounting date {belongs}, not {date}"
        )
    if time > as_datetime(now) + AHEAD:
        raise BankRefused(Code.WRONG_DATE, f"{time.isoformat()} is still to come; set the bank's clock")


def _open_for_payments(conn: Connection, bank: Bank, date: dt.date) -> None:
    session = banks.session(conn, bank, date)
    if session is None or not session.on:
        raise BankRefused(Code.NOT_SIGNED_ON)
    if _compared(conn, bank, date):
        raise BankRefused(Code.WRONG_DATE, f"{date} has been compared; what came in it is settled there")


def _compared(conn: Connection, bank: Bank, date: dt.date) -> bool:
    row = conn.execute(
        "SELECT FROM bank_day WHERE bank_id = %s AND accounting_date = %s", (bank.bank_id, date)
    ).fetchone()
    return row is not None


def _account(conn: Connection, customer: str, now: Any, *, lock: bool = False) -> dict[str, Any]:
    """The customer's one open account, locked on request: two payments of the same bills take turns."""
    found = conn.execute(
        "SELECT account_id, name, prepaid FROM account JOIN customer USING (customer_id) WHERE number = %s AND valid_to > %s "
        f"ORDER BY account_id{' FOR NO KEY UPDATE OF account' if lock else ''}",
        (customer, as_datetime(now)),
    ).fetchall()
    if not found:
        raise BankRefused(Code.UNKNOWN_CUSTOMER, f"no customer {customer!r} with an open account")
    if len(found) > 1:
        raise BankRefused(Code.SEVERAL_ACCOUNTS, f"customer {customer} has {len(found)} open accounts")
    return found[0]


def _owing(found: Owed, wish: Wish) -> None:
    """The named bills are open, and owe what is paid."""
    left = {item.bill.name: item.total_fen for item in found.arrears.open}
    missing = [name for name in wish.bills if name not in left]
    if missing:
        raise BankRefused(Code.NO_SUCH_BILL, f"bill {missing[0]} of {wish.customer} is not open")
    due = sum(left[name] for name in set(wish.bills))
    if wish.amount_fen > due:
        raise BankRefused(
            Code.MORE_THAN_OWED, f"{wish.amount_fen} fen are more than the {due} that these bills owe"
        )


def _reversible(conn: Connection, bank: Bank, payment: dict[str, Any], amount_fen: int, now: Any) -> None:
    if payment["amount_fen"] != amount_fen:
        raise BankRefused(
            Code.OTHER_AMOUNT, f"the payment is of {payment['amount_fen']} fen, not {amount_fen}"
        )
    if payment["prints"]:
        raise BankRefused(Code.INVOICED)
    if as_datetime(now) - payment["at"] <= bank.free_reversal:
        return
    # so that no other reversal counts on the same money; it must be seen before the sum is taken
    conn.execute("SELECT FROM account WHERE account_id = %s FOR NO KEY UPDATE", (payment["account_id"],))
    row = conn.execute(
        """
        SELECT prepaid AND fee_control = 'master' AS prepaid,
               coalesce(b.provisional_low_fen, 0) + (SELECT coalesce(sum(amount_fen), 0) FROM ledger_entry e
               WHERE e.account_id = a.account_id AND (b.ledger_entry_id IS NULL OR e.entry_id > b.ledger_entry_id))::bigint AS low_fen
        FROM account a LEFT JOIN balance b USING (account_id) WHERE a.account_id = %s
        """,
        (payment["account_id"],),
    ).fetchone()
    assert row is not None
    if row["prepaid"] and row["low_fen"] < amount_fen:
        raise BankRefused(Code.CONSUMED, f"{row['low_fen']} fen are left of it at least, not {amount_fen}")
