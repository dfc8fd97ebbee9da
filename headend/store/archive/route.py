"""How meters are reached: what the collector asks the archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

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
    `digits`: of its register before the point. `switch`: what cuts its supply off; nothing: its own relay. `multiplier`: CT × PT.
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
    switch: tuple[str, ...] = ()
    multiplier: int = 1


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
        "coalesce(t.login, '') AS terminal, coalesce(i.pn, 0) AS pn, m.digits, i.switch, i.ct * i.pt AS multiplier "
        "FROM installation i JOIN meter m USING (meter_id) JOIN terminal t USING (terminal_id) "
        "WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s AND (%(ids)s::int[] IS NULL OR i.terminal_id = ANY(%(ids)s)) "
        "ORDER BY m.meter_id",
        {"now": as_datetime(now), "ids": terminal_ids},
    )
    return [Installed(**{**row, "switch": tuple(row["switch"])}) for row in rows]


@dataclass(frozen=True, slots=True)
class TerminalState:
    """How a terminal is. `last_seen`: when it was last heard, None: not since we look; `owes`: questions still to be asked of it, and when its
    collector expects to be through with them. Instants are datetime64 UTC."""

    online: bool
    last_seen: np.datetime64 | None = None
    owes: int = 0
    through_at: np.datetime64 | None = None

    def differs(self, told: TerminalState | None, lag: np.timedelta64) -> bool:
        """Whether the archive, told so of the terminal, has to be told anew; what moves with the time is news after `lag`."""
        if told is None or told.online != self.online or (told.owes == 0) != (self.owes == 0):
            return True
        return _moved(told.last_seen, self.last_seen, lag) or _moved(told.through_at, self.through_at, lag)


def _moved(told: np.datetime64 | None, now: np.datetime64 | None, lag: np.timedelta64) -> bool:
    if told is None or now is None:
        return told is not now
    return bool(abs(now - told) >= lag)


GONE: Final = TerminalState(False)


#: logins of a terminal that are kept, the newest: more a day than that is all the same trouble
LOGINS: Final = 200


def seen(conn: Connection, states: Mapping[int, TerminalState], now: np.datetime64 | None = None) -> None:
    """Note how terminals are; when one was last heard is never taken back. `now`: when those that were away and are there have come, domain
    time; None: nobody has come."""
    ids = sorted(states)
    if now is not None:
        conn.execute(
            "INSERT INTO terminal_login AS l (terminal_id, ats) SELECT terminal_id, ARRAY[%(now)s::timestamptz] FROM terminal "
            "WHERE terminal_id = ANY(%(ids)s) AND NOT online ORDER BY terminal_id ON CONFLICT (terminal_id) DO UPDATE SET "
            "ats = (l.ats || excluded.ats)[greatest(1, cardinality(l.ats) + 2 - %(most)s):]",
            {"now": as_datetime(now), "ids": [k for k in ids if states[k].online], "most": LOGINS},
        )

    def instants(name: str) -> list[dt.datetime | None]:
        found = (getattr(states[k], name) for k in ids)
        return [None if when is None else as_datetime(when) for when in found]

    conn.execute(
        "UPDATE terminal t SET online = u.online, last_seen = greatest(t.last_seen, u.seen), owes = u.owes, through_at = u.through "
        "FROM unnest(%s::int[], %s::boolean[], %s::timestamptz[], %s::int[], %s::timestamptz[]) AS u(id, online, seen, owes, through) "
        "WHERE t.terminal_id = u.id",
        (
            ids,
            [states[k].online for k in ids],
            instants("last_seen"),
            [states[k].owes for k in ids],
            instants("through_at"),
        ),
    )
