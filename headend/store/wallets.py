"""What wallets said of themselves (钱包), and by which rules that is compared with the ledger. Readings of a meter, never a balance of ours."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from headend.store import reads
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime
from tariffs.wallet import Rules


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


def rules(conn: Connection) -> Rules:
    """The utility's over the defaults."""
    row = conn.execute("SELECT wallet_rules FROM cluster").fetchone()
    assert row is not None
    return parse_rules(row["wallet_rules"])


def parse_rules(stored: Mapping[str, Any]) -> Rules:
    """StoreError names what is wrong. Amounts are whole fen; None: not compared."""
    known = [f.name for f in fields(Rules)]
    values: dict[str, int | None] = {}
    for name, value in stored.items():
        if name not in known:
            raise StoreError(f"unknown wallet rule {name!r}; there are {', '.join(known)}")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise StoreError(f"wallet rule {name}: {value!r} is no number of at least 0")
        if value is None and getattr(Rules(), name) is not None:
            raise StoreError(f"wallet rule {name}: it needs a number")
        values[name] = value
    return Rules(**values)  # type: ignore[arg-type]


def set_rules(conn: Connection, changes: Mapping[str, int | None]) -> Rules:
    """Change some, in the caller's transaction. StoreError."""
    row = conn.execute("SELECT wallet_rules FROM cluster FOR UPDATE").fetchone()
    assert row is not None
    stored = {**row["wallet_rules"], **changes}
    made = parse_rules(stored)
    conn.execute("UPDATE cluster SET wallet_rules = %s::jsonb", (json.dumps(stored),))
    return made
