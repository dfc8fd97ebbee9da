"""Customers, what hangs on their accounts, and their money, as the CRM asks for them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.control.readback import NO_LOAD_KW
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime


class UnknownCustomer(StoreError):
    """No customer has this number."""

    def __init__(self, number: str) -> None:
        super().__init__(f"no customer has the number {number!r}")


def search(conn: Connection, *, text: str, limit: int, after: str = "") -> list[dict[str, Any]]:
    """Customers whose number or phone begins with `text` or whose name contains it, by number, from beyond
    `after`.
    """
    literal = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return conn.execute(
        """
        SELECT number, name, phone FROM customer
        WHERE number > %(after)s
          AND (number LIKE %(start)s OR phone LIKE %(start)s OR name ILIKE %(anywhere)s)
        ORDER BY number LIMIT %(limit)s
        """,
        {"after": after, "start": f"{literal}%", "anywhere": f"%{literal}%", "limit": limit},
    ).fetchall()


def one(conn: Connection, number: str, *, now: np.datetime64) -> dict[str, Any]:
    """The customer with the accounts open at `now`, each with its point, meter, area and terminal."""
    row = conn.execute(
        "SELECT customer_id, number, name, phone FROM customer WHERE number = %s", (number,)
    ).fetchone()
    if row is None:
        raise UnknownCustomer(number)
    return {**row, "accounts": accounts(conn, row["customer_id"], now=now)}


def accounts(conn: Connection, customer_id: int, *, now: np.datetime64) -> list[dict[str, Any]]:
    """The accounts of a customer that are open at `now`."""
    return conn.execute(
        """
        SELECT a.account_id, a.tariff, a.prepaid, a.fee_control, a.protected, a.valid_from,
               nullif(a.valid_to, 'infinity') AS valid_to,
               p.point_id, p.code AS point, m.meter_id, m.asset AS meter, i.ct, i.pt, m.phases,
               t.code AS terminal, t.online, t.last_seen, r.code AS area, r.name AS area_name
        FROM account a
        JOIN point p USING (point_id)
        LEFT JOIN installation i
          ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        LEFT JOIN meter m USING (meter_id)
        LEFT JOIN terminal t USING (terminal_id)
        LEFT JOIN LATERAL (
            SELECT area.code, area.name FROM area_role o JOIN area USING (area_id)
            WHERE o.point_id = a.point_id AND o.valid_from <= %(now)s AND o.valid_to > %(now)s
            ORDER BY area.code LIMIT 1
        ) r ON true
        WHERE a.customer_id = %(customer)s AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        ORDER BY a.account_id
        """,
        {"customer": customer_id, "now": as_datetime(now)},
    ).fetchall()


def of_meter(conn: Connection, meter_id: int, *, now: np.datetime64) -> dict[str, Any] | None:
    """Whose meter it is at `now`: number and name, or None (an area total meter has no customer)."""
    return conn.execute(
        """
        SELECT c.number, c.name FROM installation i
        JOIN account a USING (point_id) JOIN customer c USING (customer_id)
        WHERE i.meter_id = %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND a.valid_from <= %(now)s AND a.valid_to > %(now)s ORDER BY a.account_id DESC LIMIT 1
        """,
        {"meter": meter_id, "now": as_datetime(now)},
    ).fetchone()


def balances(conn: Connection, account_id: int) -> dict[str, Any]:
    """The ledger's sum (the truth) and the newest running balance computed over it, None before the first
    run.
    """
    truth = conn.execute(
        "SELECT coalesce(sum(amount_fen), 0)::bigint AS ledger_fen, "
        "coalesce(max(entry_id), 0) AS newest_entry FROM ledger_entry WHERE account_id = %s",
        (account_id,),
    ).fetchone()
    assert truth is not None
    running = conn.execute("SELECT * FROM balance WHERE account_id = %s", (account_id,)).fetchone()
    return {**truth, "running": running}


def bills(
    conn: Connection, account_ids: list[int], *, limit: int, before: tuple[dt.date, int, int] | None
) -> list[dict[str, Any]]:
    """Bills of some accounts, newest period first, every revision; `before` is the (last_day, account,
    revision) to go on after.
    """
    return conn.execute(
        """
        SELECT account_id, first_day, last_day, revision, amount_fen, lines,
               encode(inputs_hash, 'hex') AS inputs_hash, at
        FROM bill WHERE account_id = ANY(%(accounts)s)
          AND (%(day)s::date IS NULL OR (last_day, account_id, revision)
               < (%(day)s::date, %(account)s::int, %(revision)s::int))
        ORDER BY last_day DESC, account_id DESC, revision DESC LIMIT %(limit)s
        """,
        {
            "accounts": account_ids, "limit": limit,
            "day": before[0] if before else None,
            "account": before[1] if before else None,
            "revision": before[2] if before else None,
        },
    ).fetchall()  # fmt: skip


def payments(
    conn: Connection, account_ids: list[int], *, limit: int, before: int | None
) -> list[dict[str, Any]]:
    """Payments into some accounts, newest first; `before` is the entry to go on after."""
    return conn.execute(
        """
        SELECT p.entry_id, account_id, channel, accounting_date, serial, p.amount_fen, paid_at, reversed_at FROM payment p
        LEFT JOIN payment_reversal USING (channel, accounting_date, serial)
        WHERE account_id = ANY(%(accounts)s) AND (%(before)s::bigint IS NULL OR p.entry_id < %(before)s)
        ORDER BY p.entry_id DESC LIMIT %(limit)s
        """,
        {"accounts": account_ids, "before": before, "limit": limit},
    ).fetchall()


def relay(conn: Connection, meter_id: int) -> dict[str, Any]:
    """What is proven about a meter's relay, from the newest command that read it back.

    state    closed, open, close-permitted (open until the customer presses the key), open-with-load (current flows although the
             relay says open), or unknown: never read back, or a later command was sent and nobody has seen what it did
    proof    the newest order that read the relay back, or None; in doubt it is the state before the command in doubt
    running  the open relay order, or None
    """
    sent = conn.execute(
        "SELECT order_id, action, state, outcome, result, sent_at, ended_at, is_open FROM orders "
        "WHERE meter_id = %s AND kind = 'relay' AND sent_at IS NOT NULL ORDER BY order_id DESC LIMIT 1",
        (meter_id,),
    ).fetchone()
    proof = conn.execute(
        "SELECT order_id, action, state, outcome, result, sent_at, ended_at, is_open FROM orders "
        "WHERE meter_id = %s AND kind = 'relay' AND result ? 'relay' ORDER BY order_id DESC LIMIT 1",
        (meter_id,),
    ).fetchone()
    running = conn.execute(
        "SELECT order_id, action, state FROM orders WHERE meter_id = %s AND kind = 'relay' AND is_open",
        (meter_id,),
    ).fetchone()
    in_doubt = sent is not None and (proof is None or sent["order_id"] > proof["order_id"])
    # the meter said no: nothing happened, and what was proven before still holds
    if in_doubt and sent is not None and sent["state"] == "failed":
        in_doubt = False
    state = "unknown" if in_doubt or proof is None else _relay_state(proof["result"]["relay"])
    return {"state": state, "proof": proof, "running": running}


def _relay_state(seen: dict[str, Any]) -> str:
    if not seen["open"]:
        return "closed"
    if seen["load_kw"] is not None and abs(seen["load_kw"]) > NO_LOAD_KW:
        return "open-with-load"
    return "close-permitted" if seen["permitted"] else "open"
