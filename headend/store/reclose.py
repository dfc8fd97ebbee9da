"""Supply again for who has paid (复电): asked for in the moment of the payment, and by each quarter-hour's run for whoever was missed then.

Where the meter executes the fee control, it closes by itself when the money is in it: then the purchase is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from headend.store import ledger, orders, purchases
from headend.store.db import Connection, StoreError
from tariffs.money import yuan_text

#: how long a permit waits for the customer's key
LASTS: Final = np.timedelta64(72 * 3600, "s")
WHO: Final = "payment"


def due(row: Mapping[str, Any]) -> bool:
    """Whether an account of `ledger.to_act_on` was cut off and has money again."""
    return bool(row["last_action"] == "trip" and row["high_fen"] >= 0)


class ByHand(StoreError):
    """What cut the customer off knows no permit: somebody must close, who knows that nobody is at the line."""

    def __init__(self, asset: str) -> None:
        super().__init__(f"a coil knows no key: a person orders `headend relay close {asset} --reason paid`")


def waiting(conn: Connection, *, now: Any) -> list[str]:
    """Meters whose customers have money again and have no supply yet, where nothing is under way: a person must close, or the last try failed."""
    rows = [row for row in ledger.to_act_on(conn, now=now) if due(row)]
    return [row["asset"] for row in rows if by_hand(row) or row["newest_order"] != row["last_order"]]


def by_hand(row: Mapping[str, Any]) -> bool:
    return any(part.startswith("coil") for part in row["switch"])


def ask(conn: Connection, row: Mapping[str, Any], *, who: str, now: Any) -> int:
    """Ask for the permit to close, which commits; the order. The same again is the same order. StoreError: ByHand, or that of the order."""
    if by_hand(row):
        raise ByHand(row["asset"])
    return orders.request(
        conn,
        kind="relay",
        action="permit",
        asset=row["asset"],
        reason=f"paid: balance {yuan_text(row['high_fen'])} yuan",
        who=who,
        now=now,
        expires=now + LASTS,
        # one permit for what is so now; where the last one failed or was never sent, there is another try
        request_key=f"reclose-after:{row['newest_order']}",
        priority=1,
    )


def after_payment(conn: Connection, accounts: Sequence[int], *, now: Any) -> tuple[list[int], list[str]]:
    """Look at accounts that have just been paid into: (permits asked for, why others were not). Commits; raises nothing that a payment,
    which is booked already, would have to suffer from: what fails here the next quarter-hour's run tries again."""
    asked: list[int] = []
    failed: list[str] = []
    for row in ledger.to_act_on(conn, now=now, accounts=accounts):
        if due(row):
            try:
                asked.append(ask(conn, row, who=WHO, now=now))
            except StoreError as error:
                failed.append(f"{row['asset']}: {error}")
    conn.commit()
    return asked, [*failed, *purchases.ask_waiting(conn, now=now, who=WHO, accounts=accounts)[1]]
