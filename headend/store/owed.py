"""What an account owes, and of which bills."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from headend.store import tariffs
from headend.store.db import Connection
from tariffs import arrears
from tariffs.arrears import Arrears, Bill, Rules


@dataclass(frozen=True, slots=True)
class Owed:
    """`balance_fen`: below zero is owed. Of a prepaid account the ledger's sum, its days' charges included: no bill of it is open. Of
    another one what was paid and no bill has asked for, less what is owed."""

    prepaid: bool
    balance_fen: int
    arrears: Arrears

    @property
    def total_fen(self) -> int:
        return max(0, -self.balance_fen) if self.prepaid else self.arrears.total_fen


def of_account(conn: Connection, account_id: int, day: dt.date, zone: ZoneInfo) -> Owed:
    """On a local day. Payments that were taken back do not count; a bill's newest revision does, if it was not taken back.

    A payment counts on its accounting date; past a bank's cut-off (日切), when that is the next day already, on the day of paying: nobody owes a
    penalty, or is asked again, because of the hour at which his bank closes its books."""
    row = conn.execute(
        "SELECT prepaid, tariff, (SELECT coalesce(sum(amount_fen), 0)::bigint FROM ledger_entry e WHERE e.account_id = a.account_id) AS fen "
        "FROM account a WHERE account_id = %s",
        (account_id,),
    ).fetchone()
    assert row is not None
    if row["prepaid"]:
        return Owed(True, row["fen"], Arrears((), max(0, row["fen"])))
    bills = conn.execute(
        "SELECT * FROM (SELECT DISTINCT ON (last_day, first_day) first_day, last_day, amount_fen, taken_back FROM bill "
        "WHERE account_id = %s ORDER BY last_day, first_day, revision DESC) newest WHERE NOT taken_back",
        (account_id,),
    ).fetchall()
    paid = conn.execute(
        """
        SELECT least((paid_at AT TIME ZONE %s)::date, accounting_date) AS day, sum(p.amount_fen)::bigint AS fen FROM payment p
        LEFT JOIN payment_reversal r USING (channel, accounting_date, serial)
        WHERE p.account_id = %s AND r.entry_id IS NULL GROUP BY 1
        """,
        (zone.key, account_id),
    ).fetchall()
    found = arrears.arrears(
        [
            Bill(bill_name(b["first_day"], b["last_day"]), b["first_day"], b["last_day"], b["amount_fen"])
            for b in bills
        ],
        {p["day"]: p["fen"] for p in paid},
        day,
        _penalties(conn, row["tariff"]),
    )
    return Owed(False, found.credit_fen - found.total_fen, found)


def _penalties(conn: Connection, tariff: str) -> Rules:
    """Of the plan's versions, each from its first day on; a plan that nobody knows asks for none."""
    try:
        versions = tariffs.one(conn, tariff).versions
    except LookupError:
        return ()
    return [(version.valid_from, version.penalty) for version in versions]


def bill_name(first: dt.date, last: dt.date) -> str:
    """A bill's number for banks, within its customer."""
    return f"{first:%Y%m%d}-{last:%Y%m%d}"
