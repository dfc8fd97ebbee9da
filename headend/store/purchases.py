"""Purchases (充值): payments of accounts whose fee control a meter or a terminal executes, on their way into it.

A purchase is made in the transaction that books its payment. Whether it is in the wallet is said by its orders alone: one of them is
verified, or none is. One order at a time of one wallet, the oldest purchase first, each with the count (购电次数) that follows the newest
one proved; what was proved absent is asked for again by itself, what the meter refused waits for a person.

Into a terminal a purchase goes as its purchase control (购电控) does, by amount: an order of kind control whose purchase number (购电单号)
is ours. The first one sets the limits, which is a write that a second person approves.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headend.control.load_control import ControlError, ControlOrder, Purchase, document
from headend.control.order_state import State
from headend.store import orders, wallet_rules
from headend.store.db import Connection, StoreError
from headend.store.orders import Writing
from protocols.localtime import as_datetime
from tariffs.money import yuan_text
from tariffs.purchase import CUSTOMER_DIGITS, Kind, kind_of

#: who executes the fee control of accounts whose payments are purchases
EXECUTORS: Final = ("meter", "terminal")
#: how long a purchase may wait to be sent before its order is made anew
LASTS: Final = np.timedelta64(24 * 3600, "s")
#: a wallet that was not where the ledger thinks it is (its order was refused before sending) is looked at again after
LOOK_AGAIN: Final = dt.timedelta(hours=24)
#: what a terminal did not take is offered again after: it may be its line, and it may be its no
TERMINAL_AGAIN: Final = dt.timedelta(hours=1)
#: the aggregate group (总加组) by which a terminal counts its customer's purchases; utilities number them as they like
GROUP: Final = 1
#: li (厘) of a fen
LI: Final = 10
#: what stands in the result of an order that nobody repeats by himself: the word by which the meter refused it; that the wallet holds
#: something else in its place
REFUSED_BY_METER: Final = "serr"
FOREIGN: Final = "foreign"


class PaymentCarried(StoreError):
    """The money is in the meter's wallet, or may be: it comes back by a refund (退费) that a second person approves."""


class UnknownPurchase(StoreError):
    def __init__(self, purchase_id: int) -> None:
        super().__init__(f"no purchase {purchase_id}; `headend purchase list` shows the newest")


class CannotPurchase(StoreError):
    """It is not in a state in which this can be done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next purchase of a wallet. `terminal`: the code of the terminal that executes; '' where the meter does."""

    purchase_id: int
    account_id: int
    customer: str
    asset: str
    meter_id: int
    terminal_id: int
    terminal: str
    fen: int


def note(conn: Connection, account_id: int, entry_id: int, fen: int, *, now: Any) -> None:
    """A payment has been booked, in this transaction: where a meter counts the money down, it is to be carried there."""
    conn.execute(
        "INSERT INTO purchase (account_id, entry_id, amount_fen, at) "
        "SELECT account_id, %s, %s, %s FROM account WHERE account_id = %s AND prepaid AND fee_control = ANY(%s)",
        (entry_id, fen, as_datetime(now), account_id, list(EXECUTORS)),
    )


def void(conn: Connection, entry_id: int, *, who: str, now: Any) -> None:
    """The payment is being taken back, in this transaction: an order that has not been sent is withdrawn. PaymentCarried."""
    row = conn.execute("SELECT * FROM purchase WHERE entry_id = %s FOR UPDATE", (entry_id,)).fetchone()
    if row is None:
        return
    # whoever is sending it at this moment has the order locked: it is waited for, and then it has been sent
    made = conn.execute(
        "SELECT order_id, action, state, sent_at, result FROM orders WHERE purchase_id = %s ORDER BY order_id FOR UPDATE",
        (row["purchase_id"],),
    ).fetchall()
    if any(order["action"] == Kind.REFUND and order["state"] == State.VERIFIED for order in made):
        return
    sent = [
        o for o in made if o["sent_at"] is not None and (o["state"] != State.FAILED or FOREIGN in o["result"])
    ]
    if sent or row["settled_at"] is not None:
        where = (
            f"order {sent[-1]['order_id']} is {sent[-1]['state']}" if sent else "a person has seen it there"
        )
        raise PaymentCarried(
            f"purchase {row['purchase_id']} is in the meter's wallet, or may be ({where}); `headend purchase refund` takes it out again"
        )
    for order in made:
        if order["state"] in (State.WANTED, State.APPROVED):
            orders.withdraw(conn, order["order_id"], who=who, now=now, why="void: the payment was taken back")


#: what has become of a purchase by its orders, and whether its payment still stands; `p` is the purchase
_STANDING: Final = """
    p.settled_at IS NULL
    AND NOT EXISTS (SELECT FROM orders o WHERE o.purchase_id = p.purchase_id AND o.action <> 'refund' AND o.state = 'verified')
    AND NOT EXISTS (SELECT FROM payment y JOIN payment_reversal r USING (channel, accounting_date, serial)
                    WHERE y.entry_id = p.entry_id AND r.entry_id IS NOT NULL)
"""


def waiting(
    conn: Connection, *, now: Any, accounts: Sequence[int] | None = None, again: bool = False
) -> list[Waiting]:
    """The oldest purchase of each wallet that is not in it, where it may be asked for now. `again`: whatever the meter or the look at it
    said last time."""
    rows = conn.execute(
        f"""
        WITH next AS (
            SELECT DISTINCT ON (p.account_id) p.*, a.fee_control FROM purchase p JOIN account a USING (account_id)
            WHERE {_STANDING} AND a.prepaid AND a.fee_control = ANY(%(by)s) AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
              AND (%(accounts)s::int[] IS NULL OR p.account_id = ANY(%(accounts)s))
            ORDER BY p.account_id, p.purchase_id)
        SELECT n.purchase_id, n.account_id, n.amount_fen AS fen, c.number AS customer, m.asset, i.meter_id, i.terminal_id,
               CASE n.fee_control WHEN 'terminal' THEN t.code ELSE '' END AS terminal
        FROM next n JOIN account a USING (account_id) JOIN customer c USING (customer_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s JOIN meter m USING (meter_id)
        JOIN terminal t ON t.terminal_id = i.terminal_id
        LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.purchase_id = n.purchase_id ORDER BY o.order_id DESC LIMIT 1) last ON true
        WHERE NOT EXISTS (SELECT FROM orders o WHERE o.purchase_id IS NOT NULL AND o.is_open
                          AND (o.purchase_id = n.purchase_id OR CASE n.fee_control WHEN 'terminal' THEN o.terminal_id = i.terminal_id
                               AND o.kind = 'control' ELSE o.meter_id = i.meter_id END))
          AND (%(again)s OR last.order_id IS NULL OR last.order_id = n.retry_after
               OR CASE last.state WHEN 'refused' THEN last.ended_at <= %(now)s - %(look)s
                                  ELSE NOT last.result ?| %(person)s AND (last.kind <> 'control' OR last.sent_at IS NULL
                                       OR last.ended_at <= %(now)s - %(terminal)s) END)
        ORDER BY n.purchase_id
        """,
        {
            "now": as_datetime(now), "by": list(EXECUTORS), "accounts": None if accounts is None else list(accounts),
            "look": LOOK_AGAIN, "terminal": TERMINAL_AGAIN, "person": [REFUSED_BY_METER, FOREIGN], "again": again,
        },
    ).fetchall()  # fmt: skip
    return [Waiting(**row) for row in rows]


def late(conn: Connection, *, now: Any, since: dt.datetime) -> list[dict[str, Any]]:
    """The oldest purchase of each wallet that was paid before `since` and is not in it, with its newest order, were there one. By whose they are
    as in `wallets.stuck`."""
    return conn.execute(
        f"""
        SELECT DISTINCT ON (p.account_id) p.purchase_id, p.amount_fen, p.at, c.number AS customer, i.terminal_id,
               CASE a.fee_control WHEN 'meter' THEN i.meter_id END AS meter_id, last.order_id, last.outcome
        FROM purchase p JOIN account a USING (account_id) JOIN customer c USING (customer_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.purchase_id = p.purchase_id ORDER BY o.order_id DESC LIMIT 1) last ON true
        WHERE {_STANDING} AND p.at <= %(since)s AND a.prepaid AND a.fee_control = ANY(%(by)s) AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        ORDER BY p.account_id, p.purchase_id
        """,
        {"now": as_datetime(now), "since": since, "by": list(EXECUTORS)},
    ).fetchall()


def proved(conn: Connection, meter_id: int) -> int:
    """How many purchases the wallet holds as far as we have proof of it: its count, were nothing put into it past us."""
    row = conn.execute(
        """
        SELECT greatest(coalesce(s.count, 0), coalesce((
                   SELECT max((o.request ->> 'count')::int) FROM orders o WHERE o.meter_id = %(meter)s AND o.kind = 'purchase'
                   AND o.action IN ('open', 'recharge') AND o.state = 'verified' AND o.ended_at > coalesce(s.at, '-infinity')), 0)) AS count
        FROM (SELECT 1) one LEFT JOIN LATERAL (
            SELECT count, at FROM wallet_start WHERE meter_id = %(meter)s ORDER BY wallet_start_id DESC LIMIT 1) s ON true
        """,
        {"meter": meter_id},
    ).fetchone()
    assert row is not None
    return int(row["count"])


def ask(conn: Connection, one: Waiting, *, who: str, now: Any) -> int:
    """Ask for a purchase to be carried; commits. Returns the order. StoreError."""
    # a reversal of its payment waits until this is committed, or is waited for: then what it did is looked at by a statement of its own
    conn.execute("SELECT FROM purchase WHERE purchase_id = %s FOR UPDATE", (one.purchase_id,))
    standing = conn.execute(
        f"SELECT FROM purchase p WHERE p.purchase_id = %s AND {_STANDING}", (one.purchase_id,)
    ).fetchone()
    if standing is None:
        conn.rollback()
        raise CannotPurchase(f"purchase {one.purchase_id} need not be carried any more")
    if one.terminal:
        return _ask_terminal(conn, one, who=who, now=now)
    if not (one.customer.isascii() and one.customer.isdecimal() and len(one.customer) <= CUSTOMER_DIGITS):
        conn.rollback()
        raise CannotPurchase(
            f"customer number {one.customer!r} is no number of up to {CUSTOMER_DIGITS} digits, as meters know customers"
        )
    count = proved(conn, one.meter_id) + 1
    try:
        return orders.request(
            conn, kind="purchase", action=kind_of(count), asset=one.asset, who=who, now=now, expires=now + LASTS,
            reason=f"purchase {one.purchase_id}: {yuan_text(one.fen)} yuan, the {count}. of this wallet",
            writing=Writing({"count": count, "fen": one.fen, "customer": one.customer}), purchase=one.purchase_id, priority=2,
        )  # fmt: skip
    except StoreError:
        conn.rollback()
        raise


def _ask_terminal(conn: Connection, one: Waiting, *, who: str, now: Any) -> int:
    """The same into the terminal in front of the account's meter."""
    row = conn.execute(
        """
        SELECT count(DISTINCT a.account_id) AS accounts,
               EXISTS (SELECT FROM orders o WHERE o.terminal_id = %(terminal)s AND o.kind = 'control' AND o.purchase_id IS NOT NULL
                       AND o.state = 'verified') AS begun,
               (SELECT request #> '{set,purchase}' FROM orders o WHERE o.terminal_id = %(terminal)s AND o.kind = 'control'
                AND o.state = 'verified' AND o.request #> '{set,purchase}' IS NOT NULL AND coalesce((o.request ->> 'group')::int, 1) = %(group)s
                ORDER BY o.ended_at DESC, o.order_id DESC LIMIT 1) AS stands
        FROM account a JOIN installation i USING (point_id)
        WHERE i.terminal_id = %(terminal)s AND a.fee_control = 'terminal' AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        """,
        {"terminal": one.terminal_id, "now": as_datetime(now), "group": GROUP},
    ).fetchone()
    assert row is not None
    try:
        if row["accounts"] != 1:
            raise CannotPurchase(
                f"{row['accounts']} accounts are to be executed by terminal {one.terminal}; a terminal counts for one customer"
            )
        alarm, trip = (wallet_rules.rules(conn).alarm1 or 0) * LI, 0
        if row["begun"]:
            # the limits that stand there are raised by a write alone, and what was paid does not wait for one
            alarm, trip = min(alarm, row["stands"]["alarm"]), min(trip, row["stands"]["trip"])
        bought = Purchase(one.purchase_id, one.fen * LI, alarm, trip, by="amount")
        # the first one switches it on
        control = ControlOrder((bought,), on=() if row["begun"] else ("purchase",), group=GROUP)
        return orders.request(
            conn, kind="control", action=control.action, terminal=one.terminal, who=who, now=now,
            expires=now + LASTS, reason=f"purchase {one.purchase_id}: {yuan_text(one.fen)} yuan of customer {one.customer}",
            writing=Writing(document(control)), purchase=one.purchase_id, priority=2,
        )  # fmt: skip
    except (StoreError, ControlError) as error:
        conn.rollback()
        if isinstance(error, ControlError):
            raise CannotPurchase(str(error)) from None
        raise


def ask_waiting(
    conn: Connection, *, now: Any, who: str, accounts: Sequence[int] | None = None
) -> tuple[list[int], list[str]]:
    """Ask for all that may be carried now: (orders, why others were not). Commits each by itself; the next run tries the others again."""
    asked: list[int] = []
    failed: list[str] = []
    for one in waiting(conn, now=now, accounts=accounts):
        try:
            asked.append(ask(conn, one, who=who, now=now))
        except StoreError as error:
            failed.append(f"{one.asset}: {error}")
    conn.commit()
    return asked, failed


# --- what people do ---


def again(conn: Connection, purchase_id: int, *, who: str, now: Any) -> int:
    """A person has looked into why the meter refused it: ask once more; commits. Returns the order. StoreError."""
    row = one(conn, purchase_id)
    for due in waiting(conn, now=now, accounts=[row["account_id"]], again=True):
        if due.purchase_id == purchase_id:
            conn.execute(
                "UPDATE purchase SET retry_after = (SELECT max(order_id) FROM orders WHERE purchase_id = %s) WHERE purchase_id = %s",
                (purchase_id, purchase_id),
            )
            return ask(conn, due, who=who, now=now)
    raise CannotPurchase(
        f"purchase {purchase_id} is {row['standing']}, or another one of this wallet comes first; `headend purchase list` shows them"
    )


def refund(conn: Connection, purchase_id: int, *, reason: str, who: str, now: Any) -> int:
    """Ask for the newest purchase of a wallet to be taken out again (退费): a second person approves; commits. Returns the order."""
    row = one(conn, purchase_id)
    if row["standing"] != "carried" or row["count"] is None:
        raise CannotPurchase(
            f"purchase {purchase_id} is {row['standing']}: only what we have put into a wallet comes out of it again"
        )
    if row["count"] != proved(conn, row["meter_id"]):
        raise CannotPurchase(
            f"purchase {purchase_id} is not the newest of its wallet; a meter gives back the newest alone"
        )
    try:
        return orders.request(
            conn, kind="purchase", action=Kind.REFUND, asset=row["meter"], who=who, now=now, expires=now + LASTS, reason=reason,
            writing=Writing({"count": row["count"], "fen": row["amount_fen"], "customer": row["customer"]}), purchase=purchase_id,
        )  # fmt: skip
    except StoreError:
        conn.rollback()
        raise


def settle(
    conn: Connection, asset: str, *, count: int, carried: Sequence[int], why: str, who: str, now: Any
) -> list[int]:
    """A person's word on a wallet: it stands at `count`, and these purchases are in it, by whatever way they came there (a card, a restored
    backup). From it on counts go on; commits. Returns the refunds of it that were unknown, and are given up by it. StoreError."""
    meter = conn.execute(
        "SELECT m.meter_id, a.account_id FROM meter m JOIN installation i USING (meter_id) JOIN account a USING (point_id) "
        "WHERE m.asset = %(asset)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s AND a.valid_from <= %(now)s AND a.valid_to > %(now)s",
        {"asset": asset, "now": as_datetime(now)},
    ).fetchone()
    if meter is None:
        raise StoreError(f"no account is open behind meter {asset}")
    with conn.transaction():
        conn.execute("SELECT FROM purchase WHERE account_id = %s FOR UPDATE", (meter["account_id"],))
        given_up = _give_up(conn, meter["meter_id"], who=who, why=why, now=now)
        # one of them that is unknown in another meter, or in a terminal, will not be sent again
        open_order = conn.execute(
            "SELECT order_id FROM orders WHERE is_open AND (meter_id = %s AND kind = 'purchase' AND action <> 'read' "
            "OR purchase_id = ANY(%s) AND state <> 'unknown')",
            (meter["meter_id"], list(carried)),
        ).fetchone()
        if open_order is not None:
            raise CannotPurchase(
                f"order {open_order['order_id']} of this wallet is still open; wait for its outcome or cancel it"
            )
        for purchase_id in carried:
            done = conn.execute(
                "UPDATE purchase p SET settled_at = %(now)s, settled_by = %(who)s, settled_why = %(why)s "
                f"WHERE purchase_id = %(id)s AND account_id = %(account)s AND {_STANDING}",
                {
                    "now": as_datetime(now),
                    "who": who,
                    "why": why,
                    "id": purchase_id,
                    "account": meter["account_id"],
                },
            )
            if done.rowcount != 1:
                raise CannotPurchase(
                    f"purchase {purchase_id} is not one of this account that waits to be carried"
                )
        conn.execute(
            "INSERT INTO wallet_start (meter_id, account_id, count, at, who, why) VALUES (%s, %s, %s, %s, %s, %s)",
            (meter["meter_id"], meter["account_id"], count, as_datetime(now), who, why),
        )
    conn.commit()
    return given_up


def _give_up(conn: Connection, meter_id: int, *, who: str, why: str, now: Any) -> list[int]:
    """Refunds of a wallet of which no reading tells whether they came out: as long as they are open nothing can be carried into it. They end
    as not done, for nobody has seen that they were."""
    rows = conn.execute(
        "SELECT order_id FROM orders WHERE meter_id = %s AND kind = 'purchase' AND action = 'refund' AND state = 'unknown' FOR UPDATE",
        (meter_id,),
    ).fetchall()
    for row in rows:
        said = f"nobody can tell whether it came out; given up by {who}: {why}"
        orders.give_up(conn, row["order_id"], who=who, now=now, why=said, result={FOREIGN: True})
    return [row["order_id"] for row in rows]


# --- what is shown ---

_LIST: Final = f"""
    SELECT p.purchase_id, p.account_id, c.number AS customer, p.amount_fen, p.at, p.entry_id, p.settled_by, p.settled_why,
           y.channel, y.accounting_date, y.serial, o.order_id, o.state AS order_state, o.outcome, o.ended_at, o.meter_id,
           m.asset AS meter, (o.request ->> 'count')::int AS count, g.state AS refund_state, g.order_id AS refund_order,
           CASE WHEN g.state = 'verified' THEN 'refunded'
                WHEN o.state = 'verified' OR p.settled_at IS NOT NULL THEN 'carried'
                WHEN NOT ({_STANDING}) THEN 'reversed'
                WHEN o.is_open AND o.sent_at IS NOT NULL THEN 'under way'
                WHEN o.is_open OR o.order_id IS NULL THEN 'waiting'
                WHEN o.result ? 'serr' THEN 'refused by the meter'
                WHEN o.result ? 'foreign' THEN 'not told apart'
                WHEN o.state = 'refused' THEN 'refused before sending'
                ELSE 'waiting' END AS standing
    FROM purchase p JOIN account a USING (account_id) JOIN customer c USING (customer_id) JOIN payment y USING (entry_id)
    LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.purchase_id = p.purchase_id AND o.action <> 'refund'
                       ORDER BY (o.state = 'verified') DESC, o.order_id DESC LIMIT 1) o ON true
    LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.purchase_id = p.purchase_id AND o.action = 'refund'
                       ORDER BY (o.state = 'verified') DESC, o.order_id DESC LIMIT 1) g ON true
    LEFT JOIN meter m ON m.meter_id = o.meter_id
"""


def one(conn: Connection, purchase_id: int) -> dict[str, Any]:
    """A purchase with its payment, its decisive order, and how it stands. UnknownPurchase."""
    row = conn.execute(f"{_LIST} WHERE p.purchase_id = %s", (purchase_id,)).fetchone()
    if row is None:
        raise UnknownPurchase(purchase_id)
    return row


def listing(
    conn: Connection, *, limit: int, before: int | None = None, customer: str | None = None
) -> list[dict[str, Any]]:
    """Purchases, newest first."""
    return conn.execute(
        f"{_LIST} WHERE (%(before)s::bigint IS NULL OR p.purchase_id < %(before)s) AND (%(customer)s::text IS NULL OR c.number = %(customer)s) "
        "ORDER BY p.purchase_id DESC LIMIT %(limit)s",
        {"before": before, "customer": customer, "limit": limit},
    ).fetchall()


def refunded(conn: Connection) -> list[dict[str, Any]]:
    """Purchases that have come out of their wallet again and whose payment still stands in the ledger. Of a bank's payment only once the
    day has been compared: until then the bank's books are the payment's."""
    return conn.execute(
        """
        SELECT p.purchase_id, p.amount_fen, y.channel, y.accounting_date, y.serial, o.order_id
        FROM orders o JOIN purchase p USING (purchase_id) JOIN payment y USING (entry_id)
        WHERE o.kind = 'purchase' AND o.action = 'refund' AND o.state = 'verified'
          AND NOT EXISTS (SELECT FROM payment_reversal r WHERE (r.channel, r.accounting_date, r.serial) = (y.channel, y.accounting_date, y.serial))
          AND (y.channel NOT LIKE 'bank:%' OR EXISTS (
              SELECT FROM bank_day d JOIN bank b USING (bank_id) WHERE 'bank:' || b.code = y.channel AND d.accounting_date = y.accounting_date))
        ORDER BY o.order_id
        """
    ).fetchall()
