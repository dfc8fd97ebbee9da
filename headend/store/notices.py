"""Notices to customers (通知): written by the job that knows the balance, sent by the CRM, and what became of them.

A notice is no proof that anybody was told. Whoever sends it says so here, with a reference that can be asked for when it is disputed; what a
trip needs is the limit `notice_counts`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from headend.store import feed
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

STATES: Final = ("sent", "delivered", "failed")
#: channel -> what people call it
CHANNELS: Final = {
    "sms": ("text message", "短信"),
    "app": ("app message", "应用消息"),
    "voice": ("phone call", "电话"),
    "letter": ("letter", "书面通知"),
    "visit": ("visit", "上门送达"),
}
#: how far the clock of whoever sends may be ahead of ours; a default
AHEAD: Final = dt.timedelta(minutes=5)
#: a notice that nobody sent for so long is not sent any more: the balance has moved on. A default.
WAITS: Final = dt.timedelta(days=31)
#: reports of one notice at most: three tries on each channel, and what became of them
MOST: Final = 40


class UnknownNotice(StoreError):
    def __init__(self, notice: int) -> None:
        super().__init__(f"no notice {notice}; `headend prepaid notices` shows the newest")


#: of a notice n: nobody has reported it sent or delivered, and the customer has not paid since
WAITING: Final = (
    "NOT EXISTS (SELECT FROM notice_delivery d WHERE d.notice_id = n.notice_id AND d.state <> 'failed') "
    "AND NOT EXISTS (SELECT FROM payment p WHERE p.account_id = n.account_id AND p.paid_at >= n.at)"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a notice. `reference`: the gateway's message id, or the number of a receipt."""

    state: str
    channel: str
    reference: str
    at: Any


def write(
    conn: Connection,
    account_id: int,
    *,
    level: str,
    balance_fen: int,
    text_zh: str,
    text_en: str,
    now: Any,
    until: dt.datetime | None = None,
) -> bool:
    """Record a notice unless the same level was told since the last payment, or, of a stop, since the balance was last good, and announce it
    to whoever sends. One that reached nobody in WAITS is written again. `until`: before which a notice of the stop promises that nothing
    happens. True if it is new."""
    new = conn.execute(
        """
        INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en, until)
        SELECT %(account)s, %(level)s, %(now)s, %(fen)s, %(zh)s, %(en)s, %(until)s WHERE NOT EXISTS (
            SELECT FROM notice n WHERE n.account_id = %(account)s AND n.level = %(level)s AND n.at > coalesce(
                (SELECT max(paid_at) FROM payment p WHERE p.account_id = %(account)s), '-infinity')
              AND (n.level <> 'stop' OR n.at >= coalesce((SELECT stop_since FROM balance b WHERE b.account_id = %(account)s), '-infinity'))
              AND (n.at > %(since)s OR notice_reached(n) IS NOT NULL))
        """,
        {
            "account": account_id, "level": level, "now": as_datetime(now), "fen": balance_fen, "zh": text_zh, "en": text_en,
            "until": until, "since": as_datetime(now) - WAITS,
        },
    ).rowcount  # fmt: skip
    return _announce(conn, account_id) if new else False


def promised(conn: Connection, account_id: int) -> dt.datetime | None:
    """Until when the notices of this stop have promised that nothing happens."""
    row = conn.execute(
        "SELECT max(n.until) AS until FROM notice n JOIN balance b USING (account_id) "
        "WHERE account_id = %s AND n.level = 'stop' AND n.at >= b.stop_since",
        (account_id,),
    ).fetchone()
    assert row is not None
    until: dt.datetime | None = row["until"]
    return until


def write_once(
    conn: Connection, account_id: int, *, level: str, ref: str, text_zh: str, text_en: str, now: Any
) -> bool:
    """Record a notice of something that `ref` names, with the ledger's balance, unless it was told, and announce it. True if it is new."""
    new = conn.execute(
        """
        INSERT INTO notice (account_id, level, ref, at, balance_fen, text_zh, text_en)
        SELECT %(account)s, %(level)s, %(ref)s, %(now)s,
               coalesce((SELECT amount_fen FROM ledger_sum s WHERE s.account_id = %(account)s), 0), %(zh)s, %(en)s
        WHERE NOT EXISTS (SELECT FROM notice n WHERE (n.account_id, n.level, n.ref) = (%(account)s, %(level)s, %(ref)s))
        """,
        {
            "account": account_id,
            "level": level,
            "ref": ref,
            "now": as_datetime(now),
            "zh": text_zh,
            "en": text_en,
        },
    ).rowcount
    return _announce(conn, account_id) if new else False


def _announce(conn: Connection, account_id: int) -> bool:
    row = conn.execute(
        "SELECT number FROM account JOIN customer USING (customer_id) WHERE account_id = %s", (account_id,)
    ).fetchone()
    assert row is not None
    feed.publish(conn, "notice", [(row["number"], None)])
    return True


def report(conn: Connection, notice: int, said: Report, *, who: str, now: Any) -> bool:
    """Keep what became of a notice; commits. False: that was said before. StoreError: no such notice, or a report that cannot be."""
    if said.state not in STATES:
        raise StoreError(f"a notice cannot be {said.state!r}; it is {', '.join(STATES)}")
    if said.channel not in CHANNELS:
        raise StoreError(f"no channel {said.channel!r}; there are {', '.join(CHANNELS)}")
    if not said.reference.strip():
        raise StoreError(
            "name the message or the receipt: without it nothing can be shown to a customer who disputes it"
        )
    at, present = as_datetime(said.at), as_datetime(now)
    with conn.transaction():
        # the row is the lock: two reports of one notice take turns
        row = conn.execute("SELECT at FROM notice WHERE notice_id = %s FOR UPDATE", (notice,)).fetchone()
        if row is None:
            raise UnknownNotice(notice)
        if not row["at"] <= at <= present + AHEAD:
            raise StoreError(
                f"notice {notice} is of {row['at'].isoformat()}, and now it is {present.isoformat()}: "
                f"it cannot have been {said.state} at {at.isoformat()}"
            )
        before = conn.execute(
            "SELECT state, channel, reference FROM notice_delivery WHERE notice_id = %s", (notice,)
        ).fetchall()
        if any(
            (b["state"], b["channel"], b["reference"]) == (said.state, said.channel, said.reference)
            for b in before
        ):
            return False
        if len(before) >= MOST:
            raise StoreError(
                f"notice {notice} has {MOST} reports already: something sends it again and again"
            )
        conn.execute(
            "INSERT INTO notice_delivery (notice_id, seq, state, channel, reference, at, who) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (notice, len(before) + 1, said.state, said.channel, said.reference, at, who),
        )
    conn.commit()
    return True


def listing(
    conn: Connection,
    *,
    limit: int,
    before: int | None = None,
    customer: str | None = None,
    waiting_at: Any = None,
) -> list[dict[str, Any]]:
    """Notices, newest first, each with all its reports. `waiting_at` an instant: those that wait to be sent then (WAITING)."""
    since = None if waiting_at is None else as_datetime(waiting_at) - WAITS
    return conn.execute(
        f"""
        SELECT n.notice_id, c.number AS customer, c.name, c.phone, n.account_id, n.level, n.at, n.balance_fen, n.text_zh, n.text_en,
               coalesce((SELECT jsonb_agg(jsonb_build_object('state', d.state, 'channel', d.channel, 'reference', d.reference, 'at', d.at,
                                                             'who', d.who) ORDER BY d.seq)
                         FROM notice_delivery d WHERE d.notice_id = n.notice_id), '[]') AS reports
        FROM notice n JOIN account a USING (account_id) JOIN customer c USING (customer_id)
        WHERE (%(before)s::bigint IS NULL OR n.notice_id < %(before)s) AND (%(customer)s::text IS NULL OR c.number = %(customer)s)
          AND (%(since)s::timestamptz IS NULL OR n.at > %(since)s AND {WAITING})
        ORDER BY n.notice_id DESC LIMIT %(limit)s
        """,
        {"limit": limit, "before": before, "customer": customer, "since": since},
    ).fetchall()


def unsent(conn: Connection, *, now: Any) -> tuple[int, dt.datetime | None]:
    """How many notices wait to be sent, and the oldest: whether anybody sends them at all."""
    row = conn.execute(
        f"SELECT count(*) AS n, min(n.at) AS oldest FROM notice n WHERE n.at > %s AND {WAITING}",
        (as_datetime(now) - WAITS,),
    ).fetchone()
    assert row is not None
    return row["n"], row["oldest"]
