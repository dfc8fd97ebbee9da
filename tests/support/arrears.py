"""A prepaid customer whom nothing protects from being cut off, in the store."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.store import leases, ledger, orders
from headend.store.db import Connection
from headend.store.orders import Fence
from protocols.localtime import as_datetime
from tests.support.house import SHANGHAI, Place, at, place
from tests.support.notices import told

#: an ordinary Wednesday
NOW = at("2026-03-11 10:00")
HOUR = np.timedelta64(1, "h")
OWNER = "collector"


def without_grace(conn: Connection) -> None:
    """Nobody has days of grace, in the caller's transaction."""
    conn.execute(
        "INSERT INTO fee_terms (grace_days, reason, who, at) VALUES (0, 'a test of what comes after', 'test', %s)",
        (as_datetime(NOW),),
    )


def trusted(conn: Connection, account: int | None, now: dt.datetime) -> None:
    """Yesterday's readings have been validated, and the account's days cost 20 yuan as ever, in the caller's transaction."""
    day = now.astimezone(SHANGHAI).date()
    conn.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES ('vee', %s, %s, 1, true, '')",
        (day - dt.timedelta(days=1), now),
    )
    conn.execute(
        "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
        "SELECT %s, 'charge', d::date::text, 1, -2000, ''::bytea, '{}', %s FROM generate_series(%s::date - 9, %s::date - 5, '1 day') d "
        "ON CONFLICT DO NOTHING",
        (account, now - dt.timedelta(days=4), day, day),
    )


def book(conn: Connection, customer: str, fen: int, now: np.datetime64) -> None:
    """A payment as it stands in the middle of its transaction: booked, and what it makes needless not voided yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "void_paid", lambda *_, **__: [])
        ledger.book(
            conn,
            ledger.Name("bank", dt.date(2026, 3, 11), "1"),
            customer=customer,
            amount_fen=fen,
            paid_at=now,
            now=now,
        )


def broke(conn: Connection, asset: str = "1", **options: Any) -> Place:
    """Installed, told and certainly below zero. Commits."""
    here = place(conn, asset, customer=f"C{asset}", **options)
    now = as_datetime(NOW)
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(date '2026-03-09', date '2026-03-13', interval '1 day') d "
        "ON CONFLICT DO NOTHING"
    )
    conn.execute(
        "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, newest_reading, "
        "valid, level, stop_since) VALUES (%s, %s, -100, 0, -120, -110, %s, true, 'stop', %s)",
        (here.account, now, now, now - dt.timedelta(days=1)),
    )
    told(conn, here.account, now - dt.timedelta(hours=1))
    without_grace(conn)
    trusted(conn, here.account, now)
    conn.commit()
    return here


def fence(conn: Connection, here: Place, owner: str = OWNER) -> Fence:
    """The lease of its terminal. Commits."""
    epoch = leases.take(conn, owner, [here.terminal], seconds=600)[here.terminal]
    conn.commit()
    return Fence(owner, here.terminal, epoch)
