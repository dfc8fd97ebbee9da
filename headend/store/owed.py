"""What an account owes, and of which bills."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from headend.store import tariffs
from headend.store.agreed import of_account as of_debts
from headend.store.db import Connection
from tariffs import arrears
from tariffs.arrears import Arrears, Bill, Rules
from tariffs.instalments import ARREARS, due_days


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

    Payments count as the view standing_payment says."""
    row = conn.execute(
        "SELECT prepaid, tariff, (SELECT coalesce(sum(amount_fen), 0)::bigint FROM ledger_entry e WHERE e.account_id = a.account_id) AS fen "
        "FROM account a WHERE account_id = %s",
        (account_id,),
    ).fetchone()
    assert row is not None
    if row["prepaid"]:
        return Owed(True, row["fen"], Arrears((), max(0, row["fen"])))
    bills = conn.execute(
        "SELECT * FROM (SELECT DISTINCT ON (last_day, first_day) first_day, last_day, amount_fen, taken_back, "
        "min(at) OVER (PARTITION BY last_day, first_day) AS made FROM bill "
        "WHERE account_id = %s ORDER BY last_day, first_day, revision DESC) newest WHERE NOT taken_back",
        (account_id,),
    ).fetchall()
    paid = conn.execute(
        "SELECT day, sum(amount_fen)::bigint AS fen FROM standing_payment WHERE account_id = %s GROUP BY 1",
        (account_id,),
    ).fetchall()
    credit = {p["day"]: p["fen"] for p in paid}
    instalments: list[Bill] = []
    for debt in of_debts(conn, account_id):
        due = due_days(debt, day)
        if (
            debt.kind == ARREARS
        ):  # the bills that are put off are as if paid, and what is left comes back with an early end
            credit[debt.agreed] = credit.get(debt.agreed, 0) + debt.amount
            if debt.ended is not None:
                due.append((debt.ended, debt.amount - sum(fen for _, fen in due)))
        instalments += [Bill(f"debt{debt.number}-{on:%Y%m%d}", on, on, fen, True) for on, fen in due if fen]
    found = arrears.arrears(
        [
            *(
                Bill(
                    bill_name(b["first_day"], b["last_day"]),
                    b["first_day"],
                    b["last_day"],
                    b["amount_fen"],
                    made=b["made"].astimezone(zone).date(),
                )
                for b in bills
            ),
            *instalments,
        ],
        credit,
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
