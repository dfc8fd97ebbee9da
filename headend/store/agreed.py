"""What persons have agreed about debts, as it is derived from."""

from __future__ import annotations

import datetime as dt
from typing import Any

from headend.store.db import Connection
from tariffs.instalments import Debt


def of_account(conn: Connection, account: int) -> list[Debt]:
    """Debts that are, or were, in force, as the derivation takes them."""
    rows = conn.execute("SELECT * FROM debt WHERE account_id = %s ORDER BY debt_id", (account,)).fetchall()
    found = []
    for row in rows:
        acts = acts_of(conn, row["debt_id"])
        if "agree" in acts:
            repaid: dict[dt.date, int] = {}
            for act in acts.get("repay", ()):
                repaid[act["day"]] = repaid.get(act["day"], 0) + act["fen"]
            found.append(
                Debt(
                    row["debt_id"], row["kind"], row["amount_fen"], row["way"], row["part"], row["due_day"], row["first_day"],
                    acts["agree"]["day"], acts["end"]["day"] if "end" in acts else None, repaid,
                )
            )  # fmt: skip
    return found


def acts_of(conn: Connection, number: int) -> dict[str, Any]:
    """By act; of `repay` all there are."""
    found: dict[str, Any] = {}
    for row in conn.execute("SELECT * FROM debt_act WHERE debt_id = %s ORDER BY seq", (number,)):
        if row["act"] == "repay":
            found.setdefault("repay", []).append(row)
        else:
            found[row["act"]] = row
    return found
