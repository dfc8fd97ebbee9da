"""Direct debits (代扣): what a bank is asked to draw, and what became of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg

from headend.store import banks, ledger, owed
from headend.store.banks import Bank
from headend.store.db import Connection, StoreError
from headend.store.ledger import Name, UnknownCustomer
from protocols.localtime import as_datetime
from tariffs.bank import total
from tariffs.bank_files import BadFile, Debit, Result, Results, read_results, write_debits

#: items booked in one transaction: each holds a lock, of which the server has some thousand. A file that was interrupted is handed in again.
STEP: Final = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """What a bank is asked to draw on a day."""

    batch: str
    bank: str
    day: dt.date
    items: Sequence[Debit]

    def files(self) -> dict[str, bytes]:
        """The file and, last, the manifest that seals it; the same batch gives the same bytes."""
        body = write_debits(self.batch, self.bank, self.day, self.items)
        count, fen = total(item.amount_fen for item in self.items)
        manifest = {
            "batch": self.batch, "bank": self.bank, "day": self.day.isoformat(), "items": count, "total_fen": fen,
            "file": {"name": f"{self.batch}.csv", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()},
        }  # fmt: skip
        sealed = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
        return {f"{self.batch}.csv": body, f"{self.batch}.manifest.json": sealed}


def mandate(conn: Connection, customer: str, bank: Bank, bank_account: str, *, who: str, now: Any) -> None:
    """A customer lets us draw on this account from now on; the newest one counts. In the caller's transaction. UnknownCustomer, StoreError."""
    found = conn.execute(
        "SELECT account_id FROM account JOIN customer USING (customer_id) WHERE number = %s AND valid_to > %s",
        (customer, as_datetime(now)),
    ).fetchall()
    if not found:
        raise UnknownCustomer(customer)
    try:
        with conn.transaction(), conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO debit_mandate (account_id, bank_id, bank_account, since, who) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (account_id) DO UPDATE SET bank_id = excluded.bank_id, bank_account = excluded.bank_account, "
                "since = excluded.since, who = excluded.who",
                [(row["account_id"], bank.bank_id, bank_account, as_datetime(now), who) for row in found],
            )
    except psycopg.errors.CheckViolation:
        raise StoreError(
            f"{bank_account!r} is no bank account: 1 to 80 of letters, digits and _ . : -"
        ) from None


def prepare(conn: Connection, bank: Bank, day: dt.date, *, now: Any, zone: ZoneInfo) -> Batch:
    """The batch of a bank and day: made once, told again ever after; commits. Who is asked already and has not answered is not asked twice."""
    batch = f"DD-{bank.code}-{day:%Y%m%d}"
    with conn.transaction():
        banks.get(conn, bank.code, lock="UPDATE")  # two at once make one
        if (
            conn.execute(
                "SELECT FROM debit_batch WHERE bank_id = %s AND day = %s", (bank.bank_id, day)
            ).fetchone()
            is None
        ):
            _make(conn, bank, day, batch, now, zone)
    conn.commit()
    rows = conn.execute(
        "SELECT seq, bank_account, customer, amount_fen FROM debit_item WHERE batch = %s ORDER BY seq",
        (batch,),
    )
    items = [Debit(r["seq"], r["bank_account"], r["customer"], r["amount_fen"]) for r in rows]
    return Batch(batch, bank.code, day, items)


def _make(conn: Connection, bank: Bank, day: dt.date, batch: str, now: Any, zone: ZoneInfo) -> None:
    accounts = conn.execute(
        """
        SELECT account_id, number, bank_account FROM debit_mandate m JOIN account a USING (account_id) JOIN customer USING (customer_id)
        WHERE m.bank_id = %(bank)s AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND NOT EXISTS (SELECT FROM debit_item i WHERE i.account_id = m.account_id AND state = 'sent')
        ORDER BY number, account_id
        """,
        {"bank": bank.bank_id, "now": as_datetime(now)},
    ).fetchall()
    owing = [(row, owed.of_account(conn, row["account_id"], day, zone).total_fen) for row in accounts]
    conn.execute(
        "INSERT INTO debit_batch (batch, bank_id, day, made_at) VALUES (%s, %s, %s, %s)",
        (batch, bank.bank_id, day, as_datetime(now)),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO debit_item (batch, seq, account_id, customer, bank_account, amount_fen) VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (batch, seq, row["account_id"], row["number"], row["bank_account"], fen)
                for seq, (row, fen) in enumerate(((row, fen) for row, fen in owing if fen > 0), 1)
            ],
        )


@dataclass(frozen=True, slots=True)
class Booked:
    """What a result file came to. `duplicate`: it was booked before. `accounts`: paid into now."""

    batch: str
    paid: int
    paid_fen: int
    failed: int
    duplicate: bool
    accounts: list[int]


def answer(conn: Connection, body: bytes, *, now: Any) -> Booked:
    """Book a result file once; commits. BadFile refuses it as a whole, StoreError another answer to a batch that is answered."""
    results = read_results(body)
    digest = hashlib.sha256(body).digest()
    row = conn.execute(
        "SELECT answer, code FROM debit_batch JOIN bank USING (bank_id) WHERE batch = %s", (results.batch,)
    ).fetchone()
    if row is None:
        raise BadFile(1, "batch", f"there is no batch {results.batch}")
    if row["code"] != results.bank:
        raise BadFile(1, "bank", f"the batch is of {row['code']}, not {results.bank}")
    if row["answer"] is not None and bytes(row["answer"]) != digest:
        raise StoreError(f"{results.batch} has been answered by another file; clear it up with the bank")
    _complete(conn, results)
    conn.commit()
    accounts: list[int] = []
    bank = banks.get(conn, results.bank)
    for begin in range(0, len(results.items), STEP):
        with conn.transaction():
            accounts += _book(conn, bank, results, results.items[begin : begin + STEP], now)
        conn.commit()
    with conn.transaction():
        conn.execute("UPDATE debit_batch SET answer = %s WHERE batch = %s", (digest, results.batch))
    conn.commit()
    paid, fen = total(item.amount_fen for item in results.items if item.paid)
    return Booked(results.batch, paid, fen, len(results.items) - paid, row["answer"] is not None, accounts)


def _complete(conn: Connection, results: Results) -> None:
    """Every item of the batch is answered, with its customer and amount, and nothing else is."""
    rows = conn.execute(
        "SELECT seq, customer, amount_fen, state FROM debit_item WHERE batch = %s", (results.batch,)
    ).fetchall()
    asked = {row["seq"]: row for row in rows}
    for line, item in enumerate(results.items, 3):
        row = asked.pop(item.seq, None)
        if row is None:
            raise BadFile(line, "seq", f"batch {results.batch} has no item {item.seq}")
        if item.customer != row["customer"]:
            raise BadFile(line, "customer", f"item {item.seq} is of {row['customer']}, not {item.customer}")
        if item.amount_fen != row["amount_fen"]:
            raise BadFile(line, "fen", f"item {item.seq} asks for {row['amount_fen']}, not {item.amount_fen}")
        if row["state"] != "sent" and row["state"] != ("paid" if item.paid else "failed"):
            raise BadFile(line, "result", f"item {item.seq} has been booked as {row['state']}")
    if asked:
        raise BadFile(2, "paid", f"item {min(asked)} of {results.batch} is not answered")


def _book(conn: Connection, bank: Bank, results: Results, items: Sequence[Result], now: Any) -> list[int]:
    """Book some of the items, in the caller's transaction; the accounts paid into now."""
    rows = conn.execute(
        "SELECT seq, account_id, customer, state FROM debit_item WHERE batch = %s AND seq = ANY(%s) ORDER BY seq FOR UPDATE",
        (results.batch, [item.seq for item in items]),
    ).fetchall()
    asked = {row["seq"]: row for row in rows}
    accounts = []
    for item in items:
        row = asked[item.seq]
        if row["state"] != "sent":
            continue
        entry = None
        if item.paid:
            name = Name(bank.debits, results.date, f"{results.batch}:{item.seq}")
            done = ledger.book(
                conn, name, customer=row["customer"], amount_fen=item.amount_fen, paid_at=now, now=now,
                account_id=row["account_id"], more={"batch": results.batch},
            )  # fmt: skip
            entry = done.entry_id
            accounts.append(done.account_id)
        conn.execute(
            "UPDATE debit_item SET state = %s, reason = %s, entry_id = %s WHERE batch = %s AND seq = %s",
            ("paid" if item.paid else "failed", item.reason, entry, results.batch, item.seq),
        )
    return accounts
