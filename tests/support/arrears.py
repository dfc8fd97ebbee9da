"""A prepaid customer whom nothing protects from being cut off, in the store."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.store import leases
from headend.store.db import Connection
from headend.store.orders import Fence
from protocols.localtime import as_datetime
from tests.support.house import Place, at, place

#: an ordinary Wednesday
NOW = at("2026-03-11 10:00")
HOUR = np.timedelta64(1, "h")
OWNER = "collector"


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
        "valid, level) VALUES (%s, %s, -100, 0, -120, -110, %s, true, 'stop')",
        (here.account, now, now),
    )
    conn.execute(
        "INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en) VALUES (%s, 'stop', %s, -100, '', '')",
        (here.account, now - dt.timedelta(hours=1)),
    )
    conn.commit()
    return here


def fence(conn: Connection, here: Place, owner: str = OWNER) -> Fence:
    """The lease of its terminal. Commits."""
    epoch = leases.take(conn, owner, [here.terminal], seconds=600)[here.terminal]
    conn.commit()
    return Fence(owner, here.terminal, epoch)
