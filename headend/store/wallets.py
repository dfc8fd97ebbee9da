"""What wallets said of themselves (钱包). Readings of a meter, never a balance of ours."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headend.store import purchases, reads
from headend.store.db import Connection
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """`registers`: total and T1 to T4 [1e-4 kWh]; `settings`: limits in fen by name. None: not read."""

    remaining_fen: int
    overdrawn_fen: int
    count: int
    registers: Sequence[int] | None = None
    is_open: bool | None = None
    settings: Mapping[str, int] = field(default_factory=dict)

    @property
    def fen(self) -> int:
        """What is left; below zero it is overdrawn."""
        return self.remaining_fen - self.overdrawn_fen

    def document(self) -> dict[str, Any]:
        return {
            "remaining_fen": self.remaining_fen, "overdrawn_fen": self.overdrawn_fen, "count": self.count,
            "registers": None if self.registers is None else list(self.registers), "is_open": self.is_open, "settings": dict(self.settings),
        }  # fmt: skip


def save(conn: Connection, meter_id: int, reading: Reading, *, at: np.datetime64) -> None:
    """Keep a reading; commits. The same instant again is the same reading."""
    reads.ensure_partitions(conn, "wallet_reading", np.array([at], dtype="datetime64[us]"))
    conn.commit()
    said = reading.document()
    conn.execute(
        "INSERT INTO wallet_reading (meter_id, at, remaining_fen, overdrawn_fen, count, registers, is_open, settings) "
        "VALUES (%(meter)s, %(at)s, %(remaining_fen)s, %(overdrawn_fen)s, %(count)s, %(registers)s, %(is_open)s, %(settings)s) "
        "ON CONFLICT DO NOTHING",
        {**said, "meter": meter_id, "at": as_datetime(at), "settings": json.dumps(said["settings"])},
    )
    conn.commit()


def newest(
    conn: Connection, meter_id: int, *, limit: int, before: dt.datetime | None = None
) -> list[dict[str, Any]]:
    """Readings of one wallet, newest first."""
    return conn.execute(
        "SELECT at, remaining_fen, overdrawn_fen, count, registers, is_open, settings FROM wallet_reading "
        "WHERE meter_id = %s AND (%s::timestamptz IS NULL OR at < %s) ORDER BY at DESC LIMIT %s",
        (meter_id, before, before, limit),
    ).fetchall()


def compared(conn: Connection, *, now: Any, after: int, limit: int) -> list[dict[str, Any]]:
    """The next wallets after that meter, each with its newest reading, the one before it, and what we have proof of.

    Columns `now_*`, `then_*` (None: no such reading), `proved` (purchases when it was read last), `bought_fen` (between the two readings,
    refunds taken off), `under_way` (something was being put in when it was read: nothing can be said; no earlier reading is such a one)."""
    return conn.execute(
        """
        SELECT a.account_id, a.tariff, c.number AS customer, i.meter_id, m.asset, i.ct * i.pt AS multiplier,
               n.at AS now_at, n.remaining_fen - n.overdrawn_fen AS now_fen, n.count AS now_count, n.registers AS now_registers,
               n.is_open AS now_open, n.settings AS now_settings,
               t.at AS then_at, t.remaining_fen - t.overdrawn_fen AS then_fen, t.count AS then_count, t.registers AS then_registers,
               greatest(coalesce(s.count, 0), coalesce((
                   SELECT max((o.request ->> 'count')::int) FROM orders o WHERE o.meter_id = i.meter_id AND o.kind = 'purchase'
                   AND o.action IN ('open', 'recharge') AND o.state = 'verified' AND o.ended_at <= n.at
                   AND o.ended_at > coalesce(s.at, '-infinity')), 0)) AS proved,
               coalesce((SELECT sum(CASE o.action WHEN 'refund' THEN -1 ELSE 1 END * (o.request ->> 'fen')::bigint) FROM orders o
                         WHERE o.meter_id = i.meter_id AND o.kind = 'purchase' AND o.action <> 'read' AND o.state = 'verified'
                         AND o.ended_at > t.at AND o.ended_at <= n.at), 0)::bigint AS bought_fen,
               EXISTS (SELECT FROM orders o WHERE o.meter_id = i.meter_id AND o.kind = 'purchase' AND o.action <> 'read'
                       AND o.sent_at <= n.at AND (o.is_open OR o.ended_at > n.at)) AS under_way,
               s.at > t.at AS started
        FROM account a JOIN customer c USING (customer_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s JOIN meter m USING (meter_id)
        LEFT JOIN LATERAL (SELECT * FROM wallet_reading w WHERE w.meter_id = i.meter_id AND w.at <= %(now)s ORDER BY at DESC LIMIT 1) n ON true
        LEFT JOIN LATERAL (SELECT * FROM wallet_reading w WHERE w.meter_id = i.meter_id AND w.at < n.at AND w.at >= a.valid_from
                           AND NOT EXISTS (SELECT FROM orders o WHERE o.meter_id = i.meter_id AND o.kind = 'purchase' AND o.action <> 'read'
                                           AND o.sent_at <= w.at AND (o.is_open OR o.ended_at > w.at))
                           ORDER BY at DESC LIMIT 1) t ON true
        LEFT JOIN LATERAL (SELECT count, at FROM wallet_start w WHERE w.meter_id = i.meter_id AND w.at <= n.at
                           ORDER BY wallet_start_id DESC LIMIT 1) s ON true
        WHERE a.prepaid AND a.fee_control = 'meter' AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND i.meter_id > %(after)s ORDER BY i.meter_id LIMIT %(limit)s
        """,
        {"now": as_datetime(now), "after": after, "limit": limit},
    ).fetchall()


def unread(conn: Connection, *, now: Any, since: dt.datetime, again: dt.timedelta) -> list[str]:
    """Assets of the wallets that nobody has read since then, and whose reading is not asked for yet, nor was within `again`: what came to
    nothing comes to nothing a moment later, too."""
    rows = conn.execute(
        """
        SELECT m.asset FROM account a
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s JOIN meter m USING (meter_id)
        WHERE a.prepaid AND a.fee_control = 'meter' AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND NOT EXISTS (SELECT FROM wallet_reading w WHERE w.meter_id = i.meter_id AND w.at > %(since)s)
          AND NOT EXISTS (SELECT FROM orders o WHERE o.meter_id = i.meter_id AND o.kind = 'purchase' AND o.action = 'read'
                          AND (o.is_open OR o.requested_at > %(now)s - %(again)s))
        ORDER BY m.asset
        """,
        {"now": as_datetime(now), "since": since, "again": again},
    ).fetchall()
    return [row["asset"] for row in rows]


def stuck(conn: Connection) -> list[dict[str, Any]]:
    """Purchases that wait for a person: the meter or terminal refused them, or holds something else in their place. By whose they are:
    `meter_id` is None where a terminal executes."""
    return conn.execute(
        """
        SELECT o.meter_id, o.terminal_id, c.number AS customer, p.purchase_id, p.amount_fen, o.order_id, o.outcome
        FROM purchase p JOIN account a USING (account_id) JOIN customer c USING (customer_id)
        JOIN LATERAL (SELECT * FROM orders o WHERE o.purchase_id = p.purchase_id AND o.action <> 'refund' ORDER BY order_id DESC LIMIT 1) o ON true
        WHERE p.settled_at IS NULL AND o.order_id IS DISTINCT FROM p.retry_after
          AND (o.state = 'refused' OR o.state = 'failed' AND o.result ?| ARRAY['serr', 'foreign'])
          AND NOT EXISTS (SELECT FROM payment y JOIN payment_reversal r USING (channel, accounting_date, serial)
                          WHERE y.entry_id = p.entry_id AND r.entry_id IS NOT NULL)
        ORDER BY o.terminal_id, o.meter_id, p.purchase_id
        """
    ).fetchall()


def of_accounts(
    conn: Connection, accounts: Sequence[Mapping[str, Any]], *, limit: int
) -> list[dict[str, Any]]:
    """The wallets of a customer's accounts (`customers.accounts`): meter, purchases that we have proof of, newest readings."""
    return [
        {
            "account": account["account_id"],
            "meter": account["meter"],
            "proved": purchases.proved(conn, account["meter_id"]),
            "readings": newest(conn, account["meter_id"], limit=limit),
        }
        for account in accounts
        if account["fee_control"] == "meter" and account["meter_id"] is not None
    ]
