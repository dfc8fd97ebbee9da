"""How meters are reached: what the collector asks the archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headend.store.db import Connection
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Terminal:
    terminal_id: int
    code: str
    protocol: str
    link: str
    endpoint: str | None
    login: str | None


@dataclass(frozen=True, slots=True)
class Installed:
    """A meter as the collector needs it: its route and protocol address at an instant.

    `terminal`: its terminal's own address, where the protocol has one, else ''. `pn`: its number in the terminal, 0 if it has none.
    `digits`: of its register before the point.
    """

    meter_id: int
    asset: str
    terminal_id: int
    protocol: str
    address: str
    phases: int
    secrets: Mapping[str, str] = field(repr=False)
    terminal: str = ""
    pn: int = 0
    digits: int = 6


def terminals(conn: Connection) -> list[Terminal]:
    """Every terminal, by code."""
    rows = conn.execute(
        "SELECT terminal_id, code, protocol, link, endpoint, login FROM terminal ORDER BY code"
    )
    return [Terminal(**row) for row in rows]


def installed(conn: Connection, now: Any, terminal_ids: list[int] | None = None) -> list[Installed]:
    """Meters installed at `now` (datetime64 UTC), behind the given terminals or all, by meter_id."""
    rows = conn.execute(
        "SELECT m.meter_id, m.asset, i.terminal_id, t.protocol, i.address, m.phases, i.secrets, "
        "coalesce(t.login, '') AS terminal, coalesce(i.pn, 0) AS pn, m.digits "
        "FROM installation i JOIN meter m USING (meter_id) JOIN terminal t USING (terminal_id) "
        "WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s AND (%(ids)s::int[] IS NULL OR i.terminal_id = ANY(%(ids)s)) "
        "ORDER BY m.meter_id",
        {"now": as_datetime(now), "ids": terminal_ids},
    )
    return [Installed(**row) for row in rows]


def seen(conn: Connection, online: Mapping[int, bool], last_seen: Mapping[int, dt.datetime]) -> None:
    """Note which terminals are on line and when each was last heard."""
    ids = sorted(online)
    conn.execute(
        "UPDATE terminal t SET online = u.o, last_seen = greatest(t.last_seen, u.s) "
        "FROM unnest(%s::int[], %s::boolean[], %s::timestamptz[]) AS u(id, o, s) WHERE t.terminal_id = u.id",
        (ids, [online[k] for k in ids], [last_seen.get(k) for k in ids]),
    )
