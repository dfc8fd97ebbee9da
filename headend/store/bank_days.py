"""Accounting days compared with their banks (对账): totals first, then payment by payment, and what people decide of the differences.

A day is compared when its cut-off has passed, and from then on no message changes it. The same file may be handed in again: what nobody has
decided yet is matched anew, what somebody has decided stays.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from headend.store import banks, feed, ledger
from headend.store.banks import Bank, BankRefused, UnknownBank
from headend.store.db import Connection, StoreError
from headend.store.ledger import Name
from protocols.localtime import as_datetime, instant
from tariffs import bank_match
from tariffs.bank import Code
from tariffs.bank_files import BadFile, read_day
from tariffs.bank_match import DECISIONS, Day, Decision, Item, Outcome, Payment, Reversal


class UnknownItem(StoreError):
    def __init__(self, item_id: int) -> None:
        super().__init__(f"no item {item_id}; `headend bank items` shows what is to be decided")


@dataclass(frozen=True, slots=True)
class Compared:
    """`bank`, `ours`: payments and their sum, reversals and theirs [fen]. `items`: payments by outcome; `open`: not decided yet. `late`:
    listed past the cut-off, to be matched with the next day."""

    bank: str
    date: dt.date
    bank_totals: tuple[int, int, int, int]
    our_totals: tuple[int, int, int, int]
    items: dict[str, int]
    open: int
    late: int

    @property
    def totals_agree(self) -> bool:
        return self.bank_totals == self.our_totals


def compare(
    conn: Connection,
    body: bytes,
    *,
    who: str,
    now: Any,
    zone: ZoneInfo,
    only: tuple[str, dt.date] | None = None,
) -> Compared:
    """Compare a day-end file with what is booked; commits. BadFile refuses it as a whole, StoreError says what else is wrong.

    `only`: the bank and day that it is handed in for."""
    day = read_day(body)
    try:
        bank = banks.get(conn, day.bank)
    except UnknownBank as error:
        raise BadFile(1, "bank", str(error)) from None
    if only is not None and only[0] != bank.code:
        raise BadFile(1, "bank", f"it is of {bank.code}, not of {only[0]}, which hands it in")
    if only is not None and only[1] != day.date:
        raise BadFile(1, "date", f"it is of {day.date}, and was handed in for {only[1]}")
    if bank.date_of(now, zone) <= day.date:
        raise BankRefused(
            Code.WRONG_DATE,
            f"the accounting day {day.date} of {bank.code} ends at {bank.cutoff:%H:%M}; hand it in then",
        )
    digest = hashlib.sha256(body).digest()
    with conn.transaction():
        banks.get(conn, bank.code, lock="UPDATE")  # payments of this bank wait, and find the day compared
        ours = booked(conn, bank, day.date)
        listed, late = bank_match.split_late(day, bank.cutoff, zone)
        items = bank_match.match(bank_match.with_late(listed, _carried(conn, bank, day.date)), ours)
        _keep_late(conn, bank, day.date, late)
        _keep_items(conn, bank, day.date, items)
        conn.execute(
            """
            INSERT INTO bank_day VALUES (%(bank)s, %(date)s, %(file)s, %(b0)s, %(b1)s, %(b2)s, %(b3)s, %(o0)s, %(o1)s, %(o2)s, %(o3)s,
                                         %(now)s, %(who)s)
            ON CONFLICT (bank_id, accounting_date) DO UPDATE SET file = excluded.file, payments = excluded.payments,
                payments_fen = excluded.payments_fen, reversals = excluded.reversals, reversals_fen = excluded.reversals_fen,
                our_payments = excluded.our_payments, our_payments_fen = excluded.our_payments_fen,
                our_reversals = excluded.our_reversals, our_reversals_fen = excluded.our_reversals_fen, at = excluded.at, who = excluded.who
            """,
            {
                "bank": bank.bank_id, "date": day.date, "file": digest, "now": as_datetime(now), "who": who,
                **{f"b{k}": value for k, value in enumerate(day.totals)},
                **{f"o{k}": value for k, value in enumerate(ours.totals)},
            },
        )  # fmt: skip
        feed.publish(conn, "bank", [(bank.code, day.date)])
        counts = {outcome.value: 0 for outcome in Outcome}
        undecided = 0
        for row in _rows(conn, bank, day.date):
            counts[row["outcome"]] += 1
            undecided += row["outcome"] != Outcome.BOTH and row["decision"] is None
    conn.commit()
    return Compared(bank.code, day.date, day.totals, ours.totals, counts, undecided, len(late))


def booked(conn: Connection, bank: Bank, date: dt.date) -> Day:
    """What the ledger holds of a bank's accounting day by the bank's own names: what a decision booked beside them (with a stroke in its
    serial) is no message of the bank."""
    rows = conn.execute(
        """
        SELECT serial, number, p.amount_fen, p.paid_at, r.reversal_serial, r.reversed_at FROM payment p
        JOIN account USING (account_id) JOIN customer USING (customer_id)
        LEFT JOIN payment_reversal r USING (channel, accounting_date, serial)
        WHERE channel = %s AND accounting_date = %s AND strpos(serial, '/') = 0 ORDER BY serial
        """,
        (bank.channel, date),
    ).fetchall()
    return Day(
        bank.code,
        date,
        tuple(Payment(r["serial"], r["number"], r["amount_fen"], r["paid_at"]) for r in rows),
        tuple(
            Reversal(r["reversal_serial"], r["serial"], r["number"], r["amount_fen"], r["reversed_at"])
            for r in rows
            if r["reversal_serial"] is not None
        ),
    )


def _carried(conn: Connection, bank: Bank, date: dt.date) -> list[Payment]:
    """What the file of the day before listed too late."""
    rows = conn.execute(
        "SELECT serial, customer, amount_fen, paid_at FROM bank_late WHERE bank_id = %s AND listed = %s ORDER BY serial",
        (bank.bank_id, date - dt.timedelta(days=1)),
    )
    return [Payment(r["serial"], r["customer"], r["amount_fen"], r["paid_at"]) for r in rows]


def _keep_late(conn: Connection, bank: Bank, date: dt.date, late: Sequence[Payment]) -> None:
    conn.execute("DELETE FROM bank_late WHERE bank_id = %s AND listed = %s", (bank.bank_id, date))
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO bank_late (bank_id, listed, serial, customer, amount_fen, paid_at) VALUES (%s, %s, %s, %s, %s, %s)",
            [(bank.bank_id, date, p.serial, p.customer, p.amount_fen, p.time) for p in late],
        )


def _keep_items(conn: Connection, bank: Bank, date: dt.date, items: Sequence[Item]) -> None:
    """Replace what nobody has decided; what is decided must still be what the bank says."""
    decided = {
        row["serial"]: (row["bank_customer"], row["bank_fen"])
        for row in _rows(conn, bank, date)
        if row["decision"] is not None
    }
    said = {i.serial: (i.bank.customer, i.bank.amount_fen) if i.bank else (None, None) for i in items}
    for serial, before in decided.items():
        if said.get(serial, (None, None)) != before:
            raise BankRefused(
                Code.BAD_FILE,
                f"payment {serial} of {date} has been decided by another file of {bank.code}; clear it up with the bank",
            )
    conn.execute(
        "DELETE FROM bank_item WHERE bank_id = %s AND accounting_date = %s AND decision IS NULL",
        (bank.bank_id, date),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO bank_item (bank_id, accounting_date, serial, outcome, bank_customer, bank_fen, bank_time, our_customer, our_fen) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    bank.bank_id, date, item.serial, item.outcome.value,
                    *((item.bank.customer, item.bank.amount_fen, item.bank.time) if item.bank else (None, None, None)),
                    *((item.ours.customer, item.ours.amount_fen) if item.ours else (None, None)),
                )
                for item in items
                if item.serial not in decided
            ],
        )  # fmt: skip


def _rows(conn: Connection, bank: Bank, date: dt.date) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT * FROM bank_item WHERE bank_id = %s AND accounting_date = %s", (bank.bank_id, date)
    ).fetchall()


def items(
    conn: Connection, *, bank: str | None = None, date: dt.date | None = None, undecided: bool = True
) -> list[dict[str, Any]]:
    """Differences, the oldest day first; with `undecided` only those that wait for somebody, else those that agree as well."""
    return conn.execute(
        """
        SELECT item_id, code AS bank, accounting_date, serial, outcome, bank_customer, bank_fen, bank_time, our_customer, our_fen,
               decision, decided_by, decided_at, note, entry_id
        FROM bank_item JOIN bank USING (bank_id)
        WHERE (%(bank)s::text IS NULL OR code = %(bank)s) AND (%(date)s::date IS NULL OR accounting_date = %(date)s)
          AND (NOT %(undecided)s OR outcome <> 'both' AND decision IS NULL)
        ORDER BY accounting_date, code, serial
        """,
        {"bank": bank, "date": date, "undecided": undecided},
    ).fetchall()


def days(conn: Connection, *, bank: str | None = None) -> list[dict[str, Any]]:
    """Compared days, the newest first, with how many differences are open."""
    return conn.execute(
        """
        SELECT code AS bank, d.*, encode(file, 'hex') AS file, (SELECT count(*) FROM bank_item i WHERE i.bank_id = d.bank_id
               AND i.accounting_date = d.accounting_date AND outcome <> 'both' AND decision IS NULL)::int AS open
        FROM bank_day d JOIN bank USING (bank_id) WHERE %(bank)s::text IS NULL OR code = %(bank)s
        ORDER BY accounting_date DESC, code
        """,
        {"bank": bank},
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Decided:
    """`entry_id`: what was booked by it; `account_id`: whose money it is, where it was booked."""

    entry_id: int | None
    account_id: int | None


def decide(
    conn: Connection, item_id: int, decision: Decision, *, who: str, note: str = "", now: Any
) -> Decided:
    """Settle a difference, with the entry that the decision asks for in the same transaction; commits. StoreError."""
    with conn.transaction():
        row = conn.execute(
            "SELECT i.*, code FROM bank_item i JOIN bank USING (bank_id) WHERE item_id = %s FOR UPDATE OF i",
            (item_id,),
        ).fetchone()
        if row is None:
            raise UnknownItem(item_id)
        possible = DECISIONS[Outcome(row["outcome"])]
        if row["decision"] is not None:
            raise StoreError(f"item {item_id} was decided by {row['decided_by']}: {row['decision']}")
        if decision not in possible:
            raise StoreError(
                f"item {item_id} is {row['outcome']}: {' or '.join(possible) or 'nothing is to be decided'}"
            )
        if decision is Decision.MANUAL and not note.strip():
            raise StoreError(f"item {item_id}: say in a note what was agreed with the bank")
        done = _carry_out(conn, row, decision, now)
        conn.execute(
            "UPDATE bank_item SET decision = %s, decided_by = %s, decided_at = %s, note = %s, entry_id = %s WHERE item_id = %s",
            (decision.value, who, as_datetime(now), note, done.entry_id, item_id),
        )
        feed.publish(conn, "bank", [(row["code"], row["accounting_date"])])
    conn.commit()
    return done


def _carry_out(conn: Connection, row: dict[str, Any], decision: Decision, now: Any) -> Decided:
    name = Name(f"bank:{row['code']}", row["accounting_date"], row["serial"])
    by = f"item/{row['item_id']}"  # no bank's serial has a stroke in it
    if decision is Decision.BOOK:
        if ledger.find_reversal(conn, name) is not None:  # its own name books nothing any more
            name = Name(name.channel, name.accounting_date, f"{name.serial}/again")
        booked = ledger.book(
            conn, name, customer=row["bank_customer"], amount_fen=row["bank_fen"],
            paid_at=instant(row["bank_time"]), now=now,
            more={"prepaid": True, "decided": by},
        )  # fmt: skip
        return Decided(booked.entry_id, booked.account_id)
    if decision is Decision.REVERSE or (
        decision is Decision.REFUND and ledger.find_reversal(conn, name) is None
    ):
        # of a refund nothing is booked: it holds off the payment, should its message come yet
        fen = row["our_fen"] if decision is Decision.REVERSE else row["bank_fen"]
        taken = ledger.reverse(conn, name, reversal_serial=by, amount_fen=fen, reversed_at=now, now=now)
        return Decided(taken.entry_id, None)
    return Decided(None, None)
