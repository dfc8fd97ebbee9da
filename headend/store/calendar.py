"""The legal calendar: seeded from published data, editable, and fail-closed: a day without a row forbids trips."""

from __future__ import annotations

import datetime as dt
from typing import Any

import chinese_calendar
from chinese_calendar.constants import holidays as legal
from chinese_calendar.constants import workdays as made_up

from headend.store.db import Connection, StoreError
from tariffs.days import KINDS as DAY_KINDS
from tariffs.days import Days

KINDS = ("workday", "weekend", "holiday", "no-trip")


def seed(conn: Connection) -> dict[str, Any]:
    """Add the days the published calendar knows and the table lacks; rows already there, edited or not, stay. In the caller's
    transaction. Returns first and last day known."""
    years = sorted({day.year for day in legal})
    days: list[dt.date] = []
    kinds: list[str] = []
    notes: list[str] = []
    day, end = dt.date(max(years[0], years[-1] - 2), 1, 1), dt.date(years[-1], 12, 31)
    while day <= end:
        days.append(day)
        if day in legal:
            kinds.append("holiday")
            notes.append(legal[day])
        elif chinese_calendar.is_workday(day):
            kinds.append("workday")
            notes.append(f"调休: {made_up[day]}" if day in made_up else "")
        else:
            kinds.append("weekend")
            notes.append("")
        day += dt.timedelta(days=1)
    conn.execute(
        "INSERT INTO calendar_day (day, kind, note) SELECT * FROM unnest(%s::date[], %s::text[], %s::text[]) "
        "ON CONFLICT (day) DO NOTHING",
        (days, kinds, notes),
    )
    known = conn.execute("SELECT min(day) AS first, max(day) AS last FROM calendar_day").fetchone()
    assert known is not None
    return dict(known)


def mark(conn: Connection, day: dt.date, kind: str, note: str) -> None:
    """Set one day by hand: an exam day or a heat alert is 'no-trip'."""
    if kind not in KINDS:
        raise StoreError(f"no kind of day {kind!r}; there are {', '.join(KINDS)}")
    conn.execute(
        "INSERT INTO calendar_day (day, kind, note) VALUES (%s, %s, %s) "
        "ON CONFLICT (day) DO UPDATE SET kind = excluded.kind, note = excluded.note",
        (day, kind, note),
    )


def days(conn: Connection, first: dt.date, last: dt.date) -> Days:
    """The kinds of local days that plans tell apart; a day without a row, or one that was only marked as without trips, has none."""
    rows = conn.execute(
        "SELECT day, kind FROM calendar_day WHERE day BETWEEN %s AND %s AND kind = ANY(%s)",
        (first, last, list(DAY_KINDS)),
    )
    return Days.of({row["day"]: row["kind"] for row in rows})


def last(conn: Connection) -> dt.date | None:
    """The last day the calendar knows."""
    row = conn.execute("SELECT max(day) AS last FROM calendar_day").fetchone()
    return row["last"] if row else None
