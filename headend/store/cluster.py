"""What every process of one installation must agree on: the civil time zone and the limits for trips."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, fields
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headend.control.facts import NOTICES, Limits
from headend.store.db import Connection, StoreError

#: limits that are one of some words
WORDS: Final = {"notice_counts": NOTICES}


def zone(conn: Connection) -> ZoneInfo:
    row = conn.execute("SELECT zone FROM cluster").fetchone()
    assert row is not None
    return ZoneInfo(row["zone"])


def set_zone(conn: Connection, name: str) -> None:
    """StoreError for an unknown zone, or a change after the first reading (every stored day would shift)."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise StoreError(f"no time zone {name!r}; names look like Asia/Shanghai or Europe/Madrid") from None
    row = conn.execute("SELECT zone, EXISTS (SELECT FROM coverage) AS used FROM cluster").fetchone()
    assert row is not None
    if row["used"] and row["zone"] != name:
        raise StoreError(f"the store holds readings in {row['zone']}; its zone cannot become {name}")
    conn.execute("UPDATE cluster SET zone = %s", (name,))


def limits(conn: Connection) -> Limits:
    """The utility's limits over the defaults."""
    row = conn.execute("SELECT limits FROM cluster").fetchone()
    assert row is not None
    return parse_limits(row["limits"])


def parse_limits(stored: dict[str, Any]) -> Limits:
    """JSON -> Limits: times as 'HH:MM', durations as seconds, counts as numbers. StoreError names what is wrong."""
    known = {f.name: f for f in fields(Limits)}
    values: dict[str, Any] = {}
    for name, value in stored.items():
        if name not in known:
            raise StoreError(f"unknown limit {name!r}; there are {', '.join(known)}")
        kind = type(getattr(Limits(), name))
        try:
            if kind is dt.time:
                values[name] = dt.time.fromisoformat(value)
                if values[name].tzinfo is not None:  # compared with civil time, which has none
                    raise ValueError
            elif kind is dt.timedelta:
                values[name] = dt.timedelta(seconds=float(value))
            elif kind is str:
                values[name] = WORDS[name][WORDS[name].index(value)]
            else:
                values[name] = int(value)
        except (TypeError, ValueError, OverflowError):
            wanted = f"one of {', '.join(WORDS[name])}" if kind is str else f"a {kind.__name__}"
            raise StoreError(f"limit {name}: {value!r} is not {wanted}") from None
    return Limits(**values)


def set_limits(conn: Connection, changes: dict[str, Any], who: str = "") -> Limits:
    """Change some limits; returns all. `who` stands in the audit; '': the database's user."""
    conn.execute("SELECT set_config('headend.who', %s, true)", (who,))
    row = conn.execute("SELECT limits FROM cluster FOR UPDATE").fetchone()
    assert row is not None
    merged = {**row["limits"], **changes}
    parsed = parse_limits(merged)
    conn.execute("UPDATE cluster SET limits = %s", (json.dumps(merged),))
    return parsed


def shown(current: Limits) -> dict[str, str]:
    """For people."""
    return {name: str(value) for name, value in asdict(current).items()}
