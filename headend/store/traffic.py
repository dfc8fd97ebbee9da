"""What passes over the air for each SIM, by local month, beside what its plan allows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headend.store.db import Connection
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Allowance:
    """The SIM in a terminal now. `plan`: bytes a month, None where it has no limit that we know; `used`: this month's so far."""

    sim: str
    cell: str
    plan: int | None
    used: int

    @property
    def spent(self) -> bool:
        return self.plan is not None and self.used >= self.plan


def add(conn: Connection, passed: Mapping[int, int], *, month: dt.date, now: Any) -> None:
    """Book bytes by terminal to the SIMs in them at `now` (datetime64 UTC); terminals without one have no plan to watch."""
    conn.execute(
        """
        INSERT INTO traffic AS t (sim_id, month, bytes)
        SELECT s.sim_id, %(month)s, sum(p.bytes) FROM unnest(%(terminals)s::int[], %(bytes)s::bigint[]) AS p(terminal_id, bytes)
        JOIN sim_span s ON s.terminal_id = p.terminal_id AND s.valid_from <= %(now)s AND s.valid_to > %(now)s
        GROUP BY s.sim_id ORDER BY s.sim_id
        ON CONFLICT (sim_id, month) DO UPDATE SET bytes = t.bytes + excluded.bytes
        """,
        {"terminals": list(passed), "bytes": list(passed.values()), "month": month, "now": as_datetime(now)},
    )


def allowances(conn: Connection, *, month: dt.date, now: Any) -> Mapping[int, Allowance]:
    """By terminal, for those with a SIM at `now` (datetime64 UTC)."""
    rows = conn.execute(
        "SELECT s.terminal_id, m.code, m.cell, m.plan_bytes, coalesce(t.bytes, 0) AS used FROM sim_span s JOIN sim m USING (sim_id) "
        "LEFT JOIN traffic t ON t.sim_id = s.sim_id AND t.month = %(month)s "
        "WHERE s.terminal_id IS NOT NULL AND s.valid_from <= %(now)s AND s.valid_to > %(now)s",
        {"month": month, "now": as_datetime(now)},
    )
    return {
        row["terminal_id"]: Allowance(row["code"], row["cell"], row["plan_bytes"], row["used"])
        for row in rows
    }
