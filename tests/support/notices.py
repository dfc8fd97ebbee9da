"""Customers who were told that their supply will stop, with the evidence that a trip needs."""

from __future__ import annotations

import datetime as dt

import numpy as np

from headend.store import notices
from headend.store.db import Connection
from headend.store.notices import Report


def told(conn: Connection, account: int | None, when: dt.datetime, fen: int = -100) -> None:
    """Written and delivered at that moment. Does not commit."""
    conn.execute(
        """
        WITH written AS (
            INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en)
            VALUES (%(account)s, 'stop', %(at)s, %(fen)s, '停电通知', 'stop')
            RETURNING notice_id)
        INSERT INTO notice_delivery (notice_id, seq, state, channel, reference, at, who)
        SELECT notice_id, 1, 'delivered', 'sms', 'SMS-' || notice_id, %(at)s, 'crm' FROM written
        """,
        {"account": account, "at": when, "fen": fen},
    )


def deliver_all(conn: Connection, now: np.datetime64) -> int:
    """The CRM sends what waits, and all of it arrives; how many. Commits."""
    waiting = notices.listing(conn, limit=1000, waiting_at=now)
    for row in waiting:
        notices.report(
            conn,
            row["notice_id"],
            Report("delivered", "sms", f"SMS-{row['notice_id']}", now),
            who="crm",
            now=now,
        )
    conn.commit()
    return len(waiting)
