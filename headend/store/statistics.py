"""Figures by day and by what they are asked for: kept as counts and sums, so that a period's are made of its days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError
from headend.store.members import DIMENSIONS
from headend.store.reads import ensure_partitions
from lineloss.statistics.groups import ALL, Key
from lineloss.statistics.success import COUNTS, RATES, Counts, rates
from lineloss.statistics.voltage import CLASSES, MINUTES, index
from protocols.localtime import as_datetime

I64 = NDArray[np.int64]

#: longest period of one question: five years of a few thousand rows a day are what one answer can add up
MOST_DAYS: Final = 1830
#: days back that the first run looks for what terminals have brought before there were statistics
BACK: Final = 31

LOAD: Final = ("energy", "mean", "high", "high_at", "low", "low_at", "factor", "simultaneity")


class BadQuestion(StoreError):
    """Statistics that cannot be asked for."""


def _dimension(by: str) -> str:
    if by not in (ALL, *DIMENSIONS):
        raise BadQuestion(f"nothing is counted by {by!r}; there are {', '.join((ALL, *DIMENSIONS))}")
    return by


def _period(first: dt.date, last: dt.date) -> None:
    if not 0 <= (last - first).days < MOST_DAYS:
        raise BadQuestion(
            f"{first} to {last} is no period of 1 to {MOST_DAYS} days; name its first and its last day"
        )


def prepare(conn: Connection, day: dt.date, *tables: str) -> None:
    """Make the partitions that a day's figures need, in a transaction of its own."""
    with conn.transaction():
        for table in tables:
            ensure_partitions(conn, table, np.array([day], dtype="datetime64[us]"))
    conn.commit()


def save(
    conn: Connection,
    table: str,
    day: dt.date,
    keys: Sequence[tuple[str, ...]],
    columns: Mapping[str, tuple[str, Sequence[Any]]],
) -> None:
    """The rows of a table's day become these, in the caller's transaction. `columns`: name -> (PostgreSQL's type, values)."""
    names = ("dimension", "key", "class")[: len(keys[0]) if keys else 2]
    said = {name: ("text", [key[k] for key in keys]) for k, name in enumerate(names)} | dict(columns)
    conn.execute(f"DELETE FROM {table} WHERE day = %s", (day,))
    conn.execute(
        f"INSERT INTO {table} (day, {', '.join(said)}) SELECT %s, * FROM unnest({', '.join(f'%s::{kind}[]' for kind, _ in said.values())})",
        (day, *(list(values) for _, values in said.values())),
    )


# --- success ---


def success(
    conn: Connection, by: str, first: dt.date, last: dt.date, key: str | None = None
) -> list[dict[str, Any]]:
    """Counts and rates of a period, one row a key, by key; a rate is None where nothing was due."""
    _period(first, last)
    found = conn.execute(
        f"SELECT key, day, {', '.join(COUNTS)} FROM success_day WHERE dimension = %s AND day BETWEEN %s AND %s "
        "AND (%s::text IS NULL OR key = %s) ORDER BY key, day",
        (_dimension(by), first, last, key, key),
    ).fetchall()
    names, group = np.unique(np.array([row["key"] for row in found], dtype=np.str_), return_inverse=True)
    counts = Counts(*(np.array([row[name] for row in found], dtype=np.int64) for name in COUNTS))
    days = np.array([row["day"] for row in found], dtype="datetime64[D]").astype(np.int64)
    told = rates(counts, group.astype(np.int64), days, len(names))
    totals = {
        name: np.bincount(group, getattr(counts, name), len(names)).astype(np.int64) for name in COUNTS[:7]
    }
    called = _names(conn, by, names.tolist())
    return [
        {
            "key": name,
            "name": called.get(name, ""),
            "days": int((group == k).sum()),
            **{rate: _number(getattr(told, rate)[k]) for rate in RATES},
            **{count: int(totals[count][k]) for count in totals},
        }
        for k, name in enumerate(names.tolist())
    ]


_CODED: Final = {"region": "organisation", "line": "line", "area": "area", "group": "point_group"}


def _names(conn: Connection, by: str, keys: list[str]) -> dict[str, str]:
    """What people call them."""
    if by not in _CODED:
        return {}
    rows = conn.execute(f"SELECT code, name FROM {_CODED[by]} WHERE code = ANY(%s)", (keys,))
    return {row["code"]: row["name"] for row in rows}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


# --- load and voltage ---


def load(
    conn: Connection, by: str, first: dt.date, last: dt.date, key: str | None = None
) -> list[dict[str, Any]]:
    """Days of loads, by key and day. Energies in kWh, loads in kW, None where too few members were known."""
    _period(first, last)
    rows = conn.execute(
        f"SELECT key, day, members, whole, {', '.join(LOAD)} FROM load_day WHERE dimension = %s AND day BETWEEN %s AND %s "
        "AND (%s::text IS NULL OR key = %s) ORDER BY key, day",
        (_dimension(by), first, last, key, key),
    ).fetchall()
    called = _names(conn, by, sorted({row["key"] for row in rows}))
    for row in rows:
        known = row["high"] is not None
        row["name"] = called.get(row["key"], "")
        row["difference"] = row["high"] - row["low"] if known else None
        row["difference_rate"] = row["difference"] / row["high"] if known and row["high"] > 0 else None
    return rows


def voltage(
    conn: Connection, by: str, first: dt.date, last: dt.date, key: str | None = None
) -> list[dict[str, Any]]:
    """Voltage qualification of a period, one row a key: rates by class and the index, None where nothing was monitored."""
    _period(first, last)
    rows = conn.execute(
        f"SELECT key, class, max(meters) AS meters, {', '.join(f'sum({m})::bigint AS {m}' for m in MINUTES)} FROM voltage_day "
        "WHERE dimension = %s AND day BETWEEN %s AND %s AND (%s::text IS NULL OR key = %s) GROUP BY 1, 2 ORDER BY 1, 2",
        (_dimension(by), first, last, key, key),
    ).fetchall()
    names = sorted({row["key"] for row in rows})
    shape = (len(names), len(CLASSES))
    monitored, out = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row in rows:
        at = names.index(row["key"]), CLASSES.index(row["class"])
        monitored[at], out[at] = row["monitored"], row["out"]
    told = index(monitored, out)
    called = _names(conn, by, names)
    classes: dict[str, dict[str, Any]] = {name: {} for name in names}
    for row in rows:
        at = names.index(row["key"]), CLASSES.index(row["class"])
        said = {name: row[name] for name in ("meters", *MINUTES)}
        classes[row["key"]][row["class"]] = {"rate": _number(told.rate[at]), **said}
    return [
        {"key": name, "name": called.get(name, ""), "index": _number(told.index[k]), "classes": classes[name]}
        for k, name in enumerate(names)
    ]


def newest(conn: Connection, table: str) -> dt.date | None:
    """The last day of which a table has figures."""
    row = conn.execute(f"SELECT max(day) AS day FROM {table}").fetchone()
    return row["day"] if row else None


# --- terminals ---


def look(conn: Connection, day: dt.date, now: np.datetime64) -> int:
    """Note which terminals are on line now, of those with meters; how many were looked at. In the caller's transaction."""
    done = conn.execute(
        """
        INSERT INTO terminal_day AS d (day, terminal_id, looks, online)
        SELECT %(day)s, terminal_id, 1, online::int FROM terminal t
        WHERE EXISTS (SELECT FROM installation i WHERE i.terminal_id = t.terminal_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s)
        ORDER BY terminal_id
        ON CONFLICT (day, terminal_id) DO UPDATE SET looks = d.looks + 1, online = d.online + excluded.online
        """,
        {"day": day, "now": as_datetime(now)},
    )
    return done.rowcount


def exchanged(conn: Connection, day: dt.date, terminals: I64) -> None:
    """Note which terminals brought something of a day; since the first such day one counts as commissioned. In the caller's transaction."""
    never = conn.execute(
        "SELECT NOT EXISTS (SELECT FROM terminal WHERE first_data IS NOT NULL) AS yes"
    ).fetchone()
    if never and never["yes"]:
        conn.execute(
            "UPDATE terminal t SET first_data = f.day FROM (SELECT i.terminal_id, min(c.day) AS day FROM coverage c "
            "JOIN installation i ON i.meter_id = c.meter_id AND i.valid_from < c.day + 1 AND i.valid_to > c.day "
            "WHERE c.plan IN (1, 2) AND c.day >= %s AND c.day < %s AND bit_count(c.present & ~c.late) > 0 GROUP BY 1) f "
            "WHERE f.terminal_id = t.terminal_id",
            (day - dt.timedelta(days=BACK), day),
        )
    some = terminals.tolist()
    conn.execute(
        "UPDATE terminal SET first_data = %s WHERE terminal_id = ANY(%s) AND (first_data IS NULL OR first_data > %s)",
        (day, some, day),
    )
    conn.execute(
        "UPDATE terminal_day SET exchanging = false WHERE day = %s AND exchanging AND terminal_id <> ALL(%s)",
        (day, some),
    )
    conn.execute(
        "INSERT INTO terminal_day (day, terminal_id, exchanging) SELECT %s, t, true FROM unnest(%s::int[]) t ORDER BY t "
        "ON CONFLICT (day, terminal_id) DO UPDATE SET exchanging = true WHERE NOT terminal_day.exchanging",
        (day, some),
    )


def terminals(conn: Connection, day: dt.date, ids: I64) -> dict[str, I64]:
    """commissioned (0 or 1), exchanging, looks and online of terminals on a day, int64[terminal]; `ids` ascending."""
    columns = {
        name: np.zeros(len(ids), dtype=np.int64) for name in ("commissioned", "exchanging", "looks", "online")
    }
    for row in conn.execute(
        "SELECT t.terminal_id, (t.first_data <= %s)::int AS commissioned, coalesce(d.exchanging, false)::int AS exchanging, "
        "coalesce(d.looks, 0) AS looks, coalesce(d.online, 0) AS online FROM terminal t LEFT JOIN terminal_day d "
        "ON d.terminal_id = t.terminal_id AND d.day = %s WHERE t.terminal_id = ANY(%s)",
        (day, day, ids.tolist()),
    ):
        k = int(np.searchsorted(ids, row["terminal_id"]))
        for name, column in columns.items():
            column[k] = row[name] or 0
    return columns


def with_class(keys: Sequence[Key]) -> list[tuple[str, str, str]]:
    """Keys of `voltage_day`: each of them by class."""
    return [(dimension, key, name) for dimension, key in keys for name in CLASSES]
