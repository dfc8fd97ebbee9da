"""Clocks as data: how far each meter's and terminal's is ahead of ours, how fast it gains, and which intervals a set has cut."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend import drift
from headend.control.clock_policy import Rules
from headend.store import events
from headend.store.db import Connection, StoreError
from headend.store.events import Event, Subject
from protocols.localtime import as_datetime, midnight

#: what an event of a clock that was set is called in `detail`, whoever noted it
CLOCK_SET: Final = "clock-set"
#: code of the event that we note of our own sets
CODE: Final = "headend.clock-set"
#: a clock that differs so much from where its readings led was set by somebody: what is known of its drift begins anew
JUMP: Final = 30.0
#: seconds: a clock shows whole seconds and the way there takes some, so no rule may act on less
LEAST: Final = 20.0
#: seconds: how far off clocks are, for people
BANDS: Final = (10.0, 60.0, 300.0, 900.0)
#: meters on a page: a terminal has at most 2,040
PAGE: Final = 2_100


@dataclass(frozen=True, slots=True)
class Reading:
    """`ahead`: seconds, right to within `uncertainty`."""

    kind: Subject
    subject: int
    at: dt.datetime
    ahead: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of one clock; None where it knows nothing."""

    read_at: dt.datetime | None = None
    ahead: float | None = None
    uncertainty: float | None = None
    drift: float | None = None
    set_at: dt.datetime | None = None


def rules(conn: Connection) -> Rules:
    """The utility's over the defaults."""
    row = conn.execute("SELECT clock_rules FROM cluster").fetchone()
    assert row is not None
    return parse_rules(row["clock_rules"])


def parse_rules(stored: Mapping[str, Any]) -> Rules:
    """StoreError names what is wrong."""
    known = {f.name: type(getattr(Rules(), f.name)) for f in fields(Rules)}
    values: dict[str, Any] = {}
    for name, value in stored.items():
        if name not in known:
            raise StoreError(f"unknown clock rule {name!r}; there are {', '.join(known)}")
        values[name] = _parsed(name, value, known[name])
    made = Rules(**values)
    if made.slot_minutes not in (15, 30, 60):
        raise StoreError(f"clock rule slot_minutes: {made.slot_minutes} is none of 15, 30, 60")
    least = min(made.meter_from, made.terminal_from)
    if least < LEAST:
        raise StoreError(
            f"clock rule meter_from, terminal_from: {least:.0f} s is less than the {LEAST:.0f} s that a measurement may be wrong by"
        )
    return made


def _parsed(name: str, value: Any, kind: type) -> Any:
    try:
        if kind is bool:
            return {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}[
                str(value).lower()
            ]
        number = kind(value)
        if not 0 <= number < 1e6:
            raise ValueError
    except (TypeError, ValueError, KeyError, OverflowError):
        raise StoreError(
            f"clock rule {name}: {value!r} is no {'on or off' if kind is bool else 'number of at least 0'}"
        ) from None
    return number


def set_rules(conn: Connection, changes: Mapping[str, Any]) -> Rules:
    """Change some, in the caller's transaction; returns all."""
    row = conn.execute("SELECT clock_rules FROM cluster FOR UPDATE").fetchone()
    assert row is not None
    made = parse_rules({**row["clock_rules"], **changes})
    kept = {name: value for name, value in asdict(made).items() if value != getattr(Rules(), name)}
    conn.execute("UPDATE cluster SET clock_rules = %s", (json.dumps(kept),))
    return made


def note(conn: Connection, readings: Sequence[Reading]) -> None:
    """Keep readings, in the caller's transaction: at most one of a clock at a time, the newest known being older."""
    for reading in sorted(readings, key=lambda r: (r.kind, r.subject)):
        row = conn.execute(
            "SELECT ats, aheads FROM clock WHERE subject_kind = %s AND subject_id = %s FOR UPDATE",
            (reading.kind, reading.subject),
        ).fetchone()
        ats, aheads = ([], []) if row is None else (row["ats"], row["aheads"])
        if ats and reading.at <= ats[-1]:
            continue
        rate = _drift(ats, aheads)
        if ats and abs(reading.ahead - _led_to(ats, aheads, rate, reading.at)) > JUMP + reading.uncertainty:
            ats, aheads = [], []
        ats, aheads = [*ats, reading.at][-drift.MOST :], [*aheads, reading.ahead][-drift.MOST :]
        conn.execute(
            "INSERT INTO clock (subject_kind, subject_id, read_at, ahead, uncertainty, drift, ats, aheads) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (subject_kind, subject_id) DO UPDATE SET read_at = excluded.read_at, "
            "ahead = excluded.ahead, uncertainty = excluded.uncertainty, drift = excluded.drift, ats = excluded.ats, aheads = excluded.aheads",
            (
                reading.kind, reading.subject, reading.at, reading.ahead, reading.uncertainty, _drift(ats, aheads), ats, aheads,
            ),
        )  # fmt: skip


def _drift(ats: Sequence[dt.datetime], aheads: Sequence[float]) -> float | None:
    days = np.array([at.timestamp() / 86_400 for at in ats])
    return drift.per_day(days, np.array(aheads, dtype=np.float64))


def _led_to(
    ats: Sequence[dt.datetime], aheads: Sequence[float], rate: float | None, at: dt.datetime
) -> float:
    """Where the clock would be by now if nobody had touched it."""
    return aheads[-1] + (rate or 0.0) * (at - ats[-1]).total_seconds() / 86_400


def was_set(
    conn: Connection,
    kind: Subject,
    moved: Mapping[int, float],
    at: dt.datetime,
    zone: ZoneInfo,
    *,
    order: int,
    how: str,
    evidence: int = 0,
) -> None:
    """These clocks were set at `at` by an order of ours, in the caller's transaction. `moved`: by how many seconds each was ahead.

    Noted as an event, which marks the interval; what was known of their offset and drift is so no more."""
    told = [
        Event(
            kind, subject, at, CODE, at, seq=order, evidence=evidence,
            detail={
                "kind": CLOCK_SET, "order": order, "how": how, "before": (at + dt.timedelta(seconds=ahead)).isoformat(), "after": at.isoformat(),
            },
        )
        for subject, ahead in moved.items()
    ]  # fmt: skip
    events.write(conn, told, zone)
    conn.execute(
        "INSERT INTO clock (subject_kind, subject_id, set_at) SELECT %s, unnest(%s::int[]), %s ON CONFLICT (subject_kind, subject_id) "
        "DO UPDATE SET set_at = greatest(clock.set_at, excluded.set_at), drift = NULL, ats = '{}', aheads = '{}'",
        (kind, sorted(moved), at),
    )


def known(conn: Connection, kind: Subject, subjects: Iterable[int]) -> dict[int, Known]:
    """Of each subject what there is; those of which nothing is known are left out."""
    rows = conn.execute(
        "SELECT subject_id, read_at, ahead, uncertainty, drift, set_at FROM clock WHERE subject_kind = %s AND subject_id = ANY(%s)",
        (kind, sorted(subjects)),
    )
    return {row.pop("subject_id"): Known(**row) for row in rows}


def tries(conn: Connection, terminal: int, since: dt.datetime) -> list[dict[str, Any]]:
    """Orders to set a clock on this terminal's line since then: order_id, meter_id (None: the terminal's own), is_open, sent_at, request."""
    return conn.execute(
        "SELECT order_id, meter_id, is_open, sent_at, request FROM orders WHERE terminal_id = %s AND kind = 'clock' AND action = 'set' "
        "AND (is_open OR requested_at >= %s)",
        (terminal, since),
    ).fetchall()


def disturbed(
    conn: Connection, meter: int, first: dt.datetime, last: dt.datetime
) -> list[tuple[dt.datetime, dt.datetime, str]]:
    """Stretches of [first, last) that a set of this meter's clock, or of the terminal that collects it, skipped or counted twice, and who
    says so. An interval that has a part of one is not a whole one."""
    day = dt.timedelta(days=1)
    rows = conn.execute(
        "SELECT code, occurred, detail FROM event WHERE occurred >= %(first)s AND occurred < %(last)s AND detail->>'kind' = %(kind)s "
        "AND ((subject_kind = 'meter' AND subject_id = %(meter)s) OR (subject_kind = 'terminal' AND subject_id IN "
        "(SELECT terminal_id FROM installation WHERE meter_id = %(meter)s AND valid_from < %(last)s AND valid_to > %(first)s))) "
        "ORDER BY occurred, code",
        {"meter": meter, "first": first - day, "last": last + day, "kind": CLOCK_SET},
    )
    found = []
    for row in rows:
        times = [
            at for name in ("before", "after") if (at := _instant(row["detail"].get(name))) is not None
        ] or [row["occurred"]]
        low, high = min(times), max(times)
        if low < last and high >= first:
            found.append((low, high, row["code"]))
    return found


def disturbed_day(conn: Connection, asset: str, day: dt.date, zone: ZoneInfo) -> list[dict[str, Any]]:
    """The same of one local day of one meter: from, to, code."""
    row = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if row is None:
        return []
    first, last = (as_datetime(midnight(d, zone)) for d in (day, day + dt.timedelta(days=1)))
    return [
        {"from": low, "to": high, "code": code}
        for low, high, code in disturbed(conn, row["meter_id"], first, last)
    ]


def _instant(text: Any) -> dt.datetime | None:
    """'2026-03-11T10:15:00Z' or with another offset; None: it says no time."""
    try:
        when = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None


# --- for people ---

_METERS: Final = """
    SELECT m.asset, t.code AS terminal, t.terminal_id, a.code AS area, i.meter_id, c.read_at, c.ahead, c.uncertainty, c.drift, c.set_at
    FROM installation i JOIN meter m USING (meter_id) JOIN terminal t USING (terminal_id)
    LEFT JOIN LATERAL (SELECT area_id FROM area_role r WHERE r.point_id = i.point_id LIMIT 1) r ON true LEFT JOIN area a USING (area_id)
    LEFT JOIN clock c ON c.subject_kind = 'meter' AND c.subject_id = i.meter_id
    WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s
"""


def meters(
    conn: Connection, now: dt.datetime, *, terminal: str | None = None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Installed meters with their clocks, those furthest off first, those never read last."""
    return conn.execute(
        f"SELECT * FROM ({_METERS} AND (%(terminal)s::text IS NULL OR t.code = %(terminal)s)) x "
        "ORDER BY abs(ahead) DESC NULLS LAST, asset LIMIT %(limit)s",
        {"now": now, "terminal": terminal, "limit": limit},
    ).fetchall()


def far(conn: Connection, now: dt.datetime, most: float) -> list[dict[str, Any]]:
    """Installed meters off by more than `most` seconds, the furthest first; a page of them is more than anybody goes to in a day."""
    return conn.execute(
        f"SELECT * FROM ({_METERS} AND abs(c.ahead) + c.uncertainty > %(most)s) x ORDER BY abs(ahead) DESC, asset LIMIT %(limit)s",
        {"now": now, "most": most, "limit": PAGE},
    ).fetchall()


def off(conn: Connection, meters: NDArray[np.int64], at: dt.datetime) -> NDArray[np.float64]:
    """float64[meter] [s]: by how much each one's clock was off at an instant, at most; NaN where it was never read, or was set since. Clocks that are
    off by less than a measurement may be wrong by are right: NaN as well."""
    rows = conn.execute(
        "SELECT subject_id, abs(ahead + coalesce(drift, 0) * extract(epoch FROM %(at)s - read_at)::float8 / 86400) + uncertainty AS off FROM clock "
        "WHERE subject_kind = 'meter' AND abs(ahead) + uncertainty > %(least)s AND coalesce(set_at <= %(at)s, true) AND subject_id = ANY(%(meters)s)",
        {"at": at, "least": LEAST, "meters": np.unique(meters).tolist()},
    ).fetchall()
    found = {row["subject_id"]: float(row["off"]) for row in rows}
    return np.array([found.get(meter, np.nan) for meter in meters.tolist()], dtype=np.float64)


def meter(conn: Connection, asset: str, now: dt.datetime) -> dict[str, Any] | None:
    """One meter's clock, with its readings since it was set last; None: it is not installed."""
    return conn.execute(
        f"SELECT x.*, c.ats, c.aheads FROM ({_METERS} AND m.asset = %(asset)s) x "
        "LEFT JOIN clock c ON c.subject_kind = 'meter' AND c.subject_id = x.meter_id",
        {"now": now, "asset": asset},
    ).fetchone()


def terminals(conn: Connection) -> list[dict[str, Any]]:
    """Terminals whose own clock was ever read, those furthest off first."""
    return conn.execute(
        "SELECT t.code AS terminal, t.terminal_id, c.read_at, c.ahead, c.uncertainty, c.drift, c.set_at FROM terminal t "
        "JOIN clock c ON c.subject_kind = 'terminal' AND c.subject_id = t.terminal_id ORDER BY abs(ahead) DESC NULLS LAST, t.code LIMIT %s",
        (PAGE,),
    ).fetchall()


def spread(conn: Connection, now: dt.datetime, by: str | None = None) -> list[dict[str, Any]]:
    """How many meters are how far off, by area, terminal or all together: `within` counts those of each of BANDS and beyond, then
    `never`, those never read; `median` and `worst` in seconds."""
    columns = {"area": "area", "terminal": "terminal", None: "'all'"}
    bands = ", ".join(
        f"count(*) FILTER (WHERE abs(ahead) > {low} AND abs(ahead) <= {high})::int"
        for low, high in zip((-1.0, *BANDS), (*BANDS, 1e12), strict=True)
    )
    return conn.execute(
        f"SELECT coalesce({columns[by]}, '') AS name, count(*) AS meters, ARRAY[{bands}] AS within, "
        "count(*) FILTER (WHERE ahead IS NULL) AS never, percentile_cont(0.5) WITHIN GROUP (ORDER BY ahead) AS median, "
        f"max(abs(ahead)) AS worst, percentile_cont(0.5) WITHIN GROUP (ORDER BY drift) AS drift FROM ({_METERS}) x "
        "GROUP BY 1 ORDER BY worst DESC NULLS LAST, 1",
        {"now": now},
    ).fetchall()
