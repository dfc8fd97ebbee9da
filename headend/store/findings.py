"""Findings and their life: one row of a rule and subject from the first day it is seen to its end, the days beside it, and a log.

A day that is looked at again renews what it said, adds what is new, and withdraws what better data no longer show. A finding that is open
takes every further day in; one that was closed stays closed, and what is seen of a later day is a *recurred* one that names it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headend.control.finding_state import OPEN, Act, NoSuchAct, State, after
from headend.store import cluster, feed
from headend.store.coverage import today
from headend.store.db import Connection, StoreError
from lineloss.finding import Finding
from protocols.localtime import as_datetime

#: who acts where no person does
RULES: Final = "headend"
#: days without a sight after which what nobody has ordered work for is over: a week has every kind of day
QUIET: Final = dt.timedelta(days=7)
#: a finding that comes back within so many days of its end is the same trouble again
AGAIN: Final = dt.timedelta(days=90)
#: days of a finding that are listed with it
DAYS: Final = 62
#: acts on a finding that are listed with it, the newest: people and rules together make a handful
EVENTS: Final = 200

Key = tuple[str, str, int]


class UnknownFinding(StoreError):
    def __init__(self, finding_id: int) -> None:
        super().__init__(f"no finding {finding_id}; `headend anomalies show` lists them")


class CannotAct(StoreError):
    """The finding is in a state in which this cannot be done."""


@dataclass(frozen=True, slots=True)
class Found:
    """A finding as a rule returned it."""

    rule: str
    rule_version: int
    subject_kind: str
    subject_id: int
    severity: str
    title_en: str
    title_zh: str
    evidence: Mapping[str, Any]

    @property
    def key(self) -> Key:
        return self.rule, self.subject_kind, self.subject_id


# --- what the rules say ---

#: what evidence calls things by their numbers: name there -> (table, column of its code, name for people)
_CALLED: Final = {
    "meter": ("meter", "asset", "meter"),
    "check_meter": ("meter", "asset", "check_meter"),
    "shown_meter": ("meter", "asset", "shown_meter"),
    "meter_ids": ("meter", "asset", "meters_named"),
    "terminal_id": ("terminal", "code", "terminal"),
    "area": ("area", "code", "area"),
    "found_area": ("area", "code", "found_area"),
}


def named(conn: Connection, found: Sequence[Finding]) -> list[Found]:
    """The findings of rules, which know numbers alone, with meters, terminals and areas called as people call them."""
    wanted: dict[tuple[str, str], set[int]] = {}
    for f in found:
        for name, value in f.evidence.items():
            if name in _CALLED:
                table, code, _ = _CALLED[name]
                wanted.setdefault((table, code), set()).update(value if isinstance(value, list) else [value])
    codes = {
        table: {
            row["id"]: row["code"]
            for row in conn.execute(
                f"SELECT {table}_id AS id, {code} AS code FROM {table} WHERE {table}_id = ANY(%s)",
                (sorted(numbers),),
            )
        }
        for (table, code), numbers in wanted.items()
    }

    def called(name: str, value: Any) -> tuple[str, Any]:
        if name not in _CALLED:
            return name, value
        table, _, shown = _CALLED[name]
        if isinstance(value, list):
            return shown, [codes[table].get(one, one) for one in value]
        return shown, codes[table].get(value, value)

    return [
        Found(
            f.rule, f.rule_version, f.subject_kind, f.subject_id, f.severity, f.title_en, f.title_zh,
            dict(called(name, value) for name, value in f.evidence.items()),
        )
        for f in found
    ]  # fmt: skip


def save(
    conn: Connection,
    day: dt.date,
    rules: Sequence[str],
    found: Sequence[Found],
    *,
    now: Any,
    ends: Collection[str] = (),
    meters: Sequence[int] | None = None,
) -> tuple[int, int]:
    """Replace what `rules` say about a day, in the caller's transaction. Found things name each rule and subject once.

    ends    rules that say how things are now, not how a day was: what they see no more was so, and is over
    meters  only of these was anything looked at; None: of everybody

    Returns (new ones, recurred and returned ones included; withdrawn or over)."""
    at = as_datetime(now)
    # two runs at once would both begin what neither has seen yet
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('findings'))")
    rows = _standing(conn, day, rules, meters)
    fresh = 0
    told: list[int] = []
    for f in found:
        row = _chosen(rows.get(f.key, ()), day, open_only=f.rule in ends)
        if row is None:
            told.append(_begin(conn, day, f, at))
            fresh += 1
            continue
        _note_day(conn, row["finding_id"], day, f, at)
        if row["state"] == State.WITHDRAWN:
            _move(conn, row, Act.RETURN, RULES, at)
            fresh += 1
        if row["state"] == State.WITHDRAWN or row["severity"] != f.severity:
            told.append(row["finding_id"])
    kept = {f.key for f in found}
    unseen = [row for key, some in rows.items() if key not in kept for row in some]
    gone = [row for row in unseen if row["rule"] not in ends and row["of_day"] and not row["day_withdrawn"]]
    lost = _withdraw(conn, day, gone, at)
    lost += _over(conn, day, [row for row in unseen if row["rule"] in ends], at)
    _renew(conn, {row["finding_id"] for some in rows.values() for row in some}, at)
    _publish(conn, told + lost)
    return fresh, len(lost)


def _standing(
    conn: Connection, day: dt.date, rules: Sequence[str], meters: Sequence[int] | None
) -> dict[Key, list[dict[str, Any]]]:
    """Findings of these rules that a sight of this day may belong to, locked, so that two runs take turns."""
    rows = conn.execute(
        """
        SELECT f.*, d.finding_id IS NOT NULL AS of_day, coalesce(d.withdrawn, false) AS day_withdrawn
        FROM finding f LEFT JOIN finding_day d ON d.finding_id = f.finding_id AND d.day = %(day)s
        WHERE f.rule = ANY(%(rules)s) AND (f.state = ANY(%(open)s) OR d.finding_id IS NOT NULL OR f.closed_day >= %(day)s)
          AND (%(meters)s::int[] IS NULL OR f.subject_kind = 'meter' AND f.subject_id = ANY(%(meters)s))
        ORDER BY f.finding_id FOR UPDATE OF f
        """,
        {
            "day": day,
            "rules": list(rules),
            "open": list(OPEN),
            "meters": None if meters is None else list(meters),
        },
    )
    found: dict[Key, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["rule"], row["subject_kind"], row["subject_id"]), []).append(row)
    return found


def _chosen(rows: Iterable[dict[str, Any]], day: dt.date, *, open_only: bool) -> dict[str, Any] | None:
    """Which of a subject's findings a sight of the day belongs to: the one that was closed for this very day, which is not opened by looking
    at the day again; else the one that is open, the one that has the day, or one closed since."""
    some = [row for row in rows if row["state"] in OPEN] if open_only else list(rows)
    closed = [row for row in some if row["of_day"] and row["state"] == State.CLOSED]

    def rank(row: dict[str, Any]) -> tuple[bool, bool, int]:
        return row["state"] in OPEN, row["of_day"], row["finding_id"]

    return max(closed or some, key=rank, default=None)


def _over(conn: Connection, day: dt.date, rows: Iterable[dict[str, Any]], at: dt.datetime) -> list[int]:
    """It was so and is so no more. Should it be so again on this very day, that is news."""
    ended = []
    for row in rows:
        if row["state"] in OPEN and row["state"] != State.ORDERED:
            _move(conn, row, Act.FADE, RULES, at, why="no longer so", closed_day=day - dt.timedelta(days=1))
            ended.append(row["finding_id"])
    return ended


def _begin(conn: Connection, day: dt.date, f: Found, at: dt.datetime) -> int:
    """The finding, its day and the line of its log in one statement: a night has a hundred thousand."""
    row = conn.execute(
        """
        WITH before AS (
            SELECT finding_id FROM finding WHERE (rule, subject_kind, subject_id) = (%(rule)s, %(kind)s, %(subject)s) AND state = 'closed'
            AND closed_day < %(day)s AND closed_day >= %(since)s ORDER BY closed_day DESC, finding_id DESC LIMIT 1
        ), begun AS (
            INSERT INTO finding (rule, rule_version, subject_kind, subject_id, day, first_day, severity, title_en, title_zh, evidence, state,
                again_of, first_seen, last_seen)
            SELECT %(rule)s, %(version)s, %(kind)s, %(subject)s, %(day)s, %(day)s, %(severity)s, %(en)s, %(zh)s, %(evidence)s::jsonb,
                CASE WHEN b.finding_id IS NULL THEN %(new)s ELSE %(recurred)s END, b.finding_id, %(at)s, %(at)s
            FROM (VALUES (1)) one LEFT JOIN before b ON true
            RETURNING finding_id, state, again_of
        ), seen AS (
            INSERT INTO finding_day (finding_id, day, rule_version, severity, title_en, title_zh, evidence, seen_at)
            SELECT finding_id, %(day)s, %(version)s, %(severity)s, %(en)s, %(zh)s, %(evidence)s::jsonb, %(at)s FROM begun
        ), told AS (
            INSERT INTO finding_event (finding_id, at, who, act, state, why)
            SELECT finding_id, %(at)s, %(who)s, 'find', state, coalesce('again, after finding ' || again_of, '') FROM begun
        )
        SELECT finding_id FROM begun
        """,
        {
            "rule": f.rule, "kind": f.subject_kind, "subject": f.subject_id, "day": day, "since": day - AGAIN, "version": f.rule_version,
            "severity": f.severity, "en": f.title_en, "zh": f.title_zh, "evidence": _json(f), "new": State.NEW, "recurred": State.RECURRED,
            "at": at, "who": RULES,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    number: int = row["finding_id"]
    return number


def _note_day(conn: Connection, number: int, day: dt.date, f: Found, at: dt.datetime) -> None:
    conn.execute(
        """
        INSERT INTO finding_day (finding_id, day, rule_version, severity, title_en, title_zh, evidence, seen_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (finding_id, day) DO UPDATE SET rule_version = excluded.rule_version, severity = excluded.severity,
            title_en = excluded.title_en, title_zh = excluded.title_zh, evidence = excluded.evidence, seen_at = excluded.seen_at,
            withdrawn = false
        """,
        (number, day, f.rule_version, f.severity, f.title_en, f.title_zh, _json(f), at),
    )


def _withdraw(conn: Connection, day: dt.date, gone: Sequence[dict[str, Any]], at: dt.datetime) -> list[int]:
    """The day says it no more. A finding of which no day is left is withdrawn, unless a person is at it or it is over."""
    conn.execute(
        "UPDATE finding_day SET withdrawn = true, seen_at = %s WHERE day = %s AND finding_id = ANY(%s)",
        (at, day, [row["finding_id"] for row in gone]),
    )
    empty = {
        row["finding_id"]
        for row in conn.execute(
            "SELECT finding_id FROM finding_day WHERE finding_id = ANY(%s) GROUP BY 1 HAVING bool_and(withdrawn)",
            ([row["finding_id"] for row in gone],),
        )
    }
    withdrawn = []
    for row in gone:
        if row["finding_id"] in empty and row["state"] in OPEN and row["state"] != State.ORDERED:
            _move(conn, row, Act.WITHDRAW, RULES, at)
            withdrawn.append(row["finding_id"])
    return withdrawn


def _renew(conn: Connection, numbers: Iterable[int], at: dt.datetime) -> None:
    """What is said of a finding is what its newest day says."""
    some = sorted(numbers)
    conn.execute(
        """
        UPDATE finding f SET day = n.day, rule_version = n.rule_version, severity = n.severity, title_en = n.title_en, title_zh = n.title_zh,
            evidence = n.evidence, first_day = s.first, days = s.days, last_seen = greatest(f.last_seen, n.seen_at)
        FROM (SELECT finding_id, min(day) AS first, max(day) AS last, count(*)::int AS days FROM finding_day
              WHERE finding_id = ANY(%(some)s) AND NOT withdrawn GROUP BY 1) s JOIN finding_day n ON n.finding_id = s.finding_id AND n.day = s.last
        WHERE f.finding_id = s.finding_id
        """,
        {"some": some},
    )
    conn.execute(
        "UPDATE finding f SET days = 0, last_seen = %s WHERE finding_id = ANY(%s) AND days > 0 "
        "AND NOT EXISTS (SELECT FROM finding_day d WHERE d.finding_id = f.finding_id AND NOT d.withdrawn)",
        (at, some),
    )


def fade(conn: Connection, day: dt.date, *, now: Any, but: Sequence[str] = ()) -> int:
    """Close what no rule has seen for QUIET days up to `day` and nobody has ordered work for, in the caller's transaction. How many.

    but  rules that look so seldom that this means nothing
    """
    rows = conn.execute(
        "SELECT * FROM finding WHERE state IN ('new', 'recurred', 'acknowledged') AND day <= %s AND rule <> ALL(%s) "
        "ORDER BY finding_id FOR UPDATE",
        (day - QUIET, list(but)),
    ).fetchall()
    for row in rows:
        why = f"not seen for {(day - row['day']).days} days"
        _move(conn, row, Act.FADE, RULES, as_datetime(now), why=why, closed_day=row["day"])
    _publish(conn, [row["finding_id"] for row in rows])
    return len(rows)


# --- what people do ---


def acknowledge(conn: Connection, finding_id: int, who: str, now: Any, why: str = "") -> str:
    """A person has seen it. Returns the state after it. UnknownFinding, CannotAct; likewise below."""
    return _by_person(conn, finding_id, Act.ACKNOWLEDGE, who, now, why=why)


def order(conn: Connection, finding_id: int, number: str, who: str, now: Any, why: str = "") -> str:
    """Somebody is sent: the number of the work order (工单)."""
    if not number.strip():
        raise CannotAct(f"finding {finding_id}: a work order needs its number")
    return _by_person(conn, finding_id, Act.ORDER, who, now, why=why, work_order=number.strip())


def close(conn: Connection, finding_id: int, who: str, now: Any, why: str) -> str:
    """It is done; `why` says what was found or mended."""
    if not why.strip():
        raise CannotAct(f"finding {finding_id} is not closed without saying why")
    day = today(now, cluster.zone(conn))
    return _by_person(conn, finding_id, Act.CLOSE, who, now, why=why, closed_day=day)


def reopen(conn: Connection, finding_id: int, who: str, now: Any, why: str) -> str:
    """It was closed by mistake."""
    if not why.strip():
        raise CannotAct(f"finding {finding_id} is not reopened without saying why")
    row = _locked(conn, finding_id)
    other = conn.execute(
        "SELECT finding_id FROM finding WHERE (rule, subject_kind, subject_id) = (%s, %s, %s) AND state = ANY(%s)",
        (row["rule"], row["subject_kind"], row["subject_id"], list(OPEN)),
    ).fetchone()
    if row["state"] == State.CLOSED and other is not None:
        raise CannotAct(f"finding {finding_id} has been seen again: finding {other['finding_id']} is open")
    return _by_person(conn, finding_id, Act.REOPEN, who, now, why=why)


def _by_person(
    conn: Connection,
    finding_id: int,
    act: Act,
    who: str,
    now: Any,
    *,
    why: str = "",
    work_order: str = "",
    closed_day: dt.date | None = None,
) -> str:
    row = _locked(conn, finding_id)
    state = _move(
        conn, row, act, who, as_datetime(now), why=why.strip(), work_order=work_order, closed_day=closed_day
    )
    _publish(conn, [finding_id])
    return state


def _locked(conn: Connection, finding_id: int) -> dict[str, Any]:
    row = conn.execute("SELECT * FROM finding WHERE finding_id = %s FOR UPDATE", (finding_id,)).fetchone()
    if row is None:
        raise UnknownFinding(finding_id)
    return row


def _move(
    conn: Connection,
    row: Mapping[str, Any],
    act: Act,
    who: str,
    at: dt.datetime,
    *,
    why: str = "",
    work_order: str = "",
    closed_day: dt.date | None = None,
) -> State:
    try:
        state = after(State(row["state"]), act)
    except NoSuchAct as error:
        raise CannotAct(f"finding {row['finding_id']}: {error}") from None
    conn.execute(
        "UPDATE finding SET state = %s, closed_day = %s, work_order = CASE WHEN %s <> '' THEN %s ELSE work_order END, "
        "who = CASE WHEN %s = %s THEN who ELSE %s END WHERE finding_id = %s",
        (state, closed_day, work_order, work_order, who, RULES, who, row["finding_id"]),
    )
    _log(conn, row["finding_id"], at, who, act, state, why, work_order)
    return state


def _log(
    conn: Connection,
    number: int,
    at: dt.datetime,
    who: str,
    act: str,
    state: str,
    why: str = "",
    work_order: str = "",
) -> None:
    conn.execute(
        "INSERT INTO finding_event (finding_id, at, who, act, state, why, work_order) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (number, at, who, act, state, why, work_order),
    )


def _publish(conn: Connection, numbers: Iterable[int]) -> None:
    rows = conn.execute(
        "SELECT finding_id, day FROM finding WHERE finding_id = ANY(%s) ORDER BY finding_id",
        (sorted(set(numbers)),),
    )
    feed.publish(conn, "finding", [(str(row["finding_id"]), row["day"]) for row in rows])


def _json(f: Found) -> str:
    return json.dumps(dict(f.evidence))


# --- for people ---

_SUBJECT: Final = (
    "CASE f.subject_kind WHEN 'meter' THEN m.asset WHEN 'area' THEN a.code ELSE t.code END AS subject FROM finding f "
    "LEFT JOIN meter m ON f.subject_kind = 'meter' AND m.meter_id = f.subject_id "
    "LEFT JOIN area a ON f.subject_kind = 'area' AND a.area_id = f.subject_id "
    "LEFT JOIN terminal t ON f.subject_kind = 'terminal' AND t.terminal_id = f.subject_id"
)


def listing(
    conn: Connection,
    *,
    day: dt.date | None = None,
    states: Sequence[str] | None = None,
    rule: str | None = None,
    before: int | None = None,
    limit: int = 200,
) -> list[dict[str, Any]]:
    """Findings with the subject's code, newest first: those that are open, or in these states.

    `day`: those that were seen of it, whatever became of them since, with what was said of that day."""
    if day is not None:
        return conn.execute(
            f"""
            SELECT f.*, d.rule_version, d.severity, d.title_en, d.title_zh, d.evidence, d.day AS day, {_SUBJECT}
            JOIN finding_day d ON d.finding_id = f.finding_id AND d.day = %(day)s
            WHERE (f.state = ANY(%(states)s) OR (%(states)s::text[] IS NULL AND NOT d.withdrawn))
              AND (%(rule)s::text IS NULL OR f.rule = %(rule)s) AND (%(before)s::bigint IS NULL OR f.finding_id < %(before)s)
            ORDER BY f.finding_id DESC LIMIT %(limit)s
            """,
            {
                "day": day,
                "states": None if states is None else list(states),
                "rule": rule,
                "before": before,
                "limit": limit,
            },
        ).fetchall()
    return conn.execute(
        f"""
        SELECT f.*, {_SUBJECT} WHERE f.state = ANY(%(states)s) AND (%(rule)s::text IS NULL OR f.rule = %(rule)s)
          AND (%(before)s::bigint IS NULL OR f.finding_id < %(before)s)
        ORDER BY f.finding_id DESC LIMIT %(limit)s
        """,
        {"states": list(OPEN if states is None else states), "rule": rule, "before": before, "limit": limit},
    ).fetchall()


def by_rule(conn: Connection, day: dt.date | None = None) -> list[dict[str, Any]]:
    """Those that are open, or were seen of `day`, counted: rule, count, oldest (first day), severities (-> how many); fresh, recurred,
    ordered."""
    return conn.execute(
        """
        WITH told AS (
            SELECT f.rule, coalesce(d.severity, f.severity) AS severity, f.state, f.first_day
            FROM finding f LEFT JOIN finding_day d ON d.finding_id = f.finding_id AND d.day = %(day)s
            WHERE CASE WHEN %(day)s::date IS NULL THEN f.state = ANY(%(open)s) ELSE NOT d.withdrawn END
        ), severities AS (SELECT rule, severity, count(*) AS n FROM told GROUP BY 1, 2)
        SELECT rule, count(*)::int AS count, min(first_day) AS oldest,
               (SELECT jsonb_object_agg(severity, n) FROM severities s WHERE s.rule = told.rule) AS severities,
               count(*) FILTER (WHERE state = %(new)s)::int AS fresh, count(*) FILTER (WHERE state = %(recurred)s)::int AS recurred,
               count(*) FILTER (WHERE state = %(ordered)s)::int AS ordered
        FROM told GROUP BY rule ORDER BY rule
        """,
        {
            "day": day,
            "open": list(OPEN),
            "new": State.NEW,
            "recurred": State.RECURRED,
            "ordered": State.ORDERED,
        },
    ).fetchall()


def by_day(conn: Connection, first: dt.date, last: dt.date) -> list[tuple[dt.date, dict[str, int]]]:
    """Of each of these days, also those without any: severity -> how many findings were seen of it."""
    rows = conn.execute(
        """
        SELECT u.day::date AS day, coalesce(jsonb_object_agg(t.severity, t.n) FILTER (WHERE t.n IS NOT NULL), '{}') AS severities
        FROM generate_series(%(first)s::date, %(last)s::date, interval '1 day') AS u(day)
        LEFT JOIN (SELECT day, severity, count(*) AS n FROM finding_day WHERE day BETWEEN %(first)s AND %(last)s AND NOT withdrawn
                   GROUP BY 1, 2) t ON t.day = u.day::date
        GROUP BY 1 ORDER BY 1
        """,
        {"first": first, "last": last},
    )
    return [(row["day"], row["severities"]) for row in rows]


def subjects(conn: Connection, day: dt.date, rule: str) -> set[int]:
    """Of whom a rule has said something of that day, whatever became of it since."""
    rows = conn.execute(
        "SELECT f.subject_id FROM finding f JOIN finding_day d USING (finding_id) WHERE d.day = %s AND f.rule = %s AND NOT d.withdrawn",
        (day, rule),
    )
    return {row["subject_id"] for row in rows}


def one(conn: Connection, finding_id: int) -> dict[str, Any]:
    """A finding with `events`, oldest first, and `seen`, its days with what was said of each. UnknownFinding."""
    row = conn.execute(f"SELECT f.*, {_SUBJECT} WHERE f.finding_id = %s", (finding_id,)).fetchone()
    if row is None:
        raise UnknownFinding(finding_id)
    events = conn.execute(
        "SELECT at, who, act, state, why, work_order FROM finding_event WHERE finding_id = %s ORDER BY event_id DESC LIMIT %s",
        (finding_id, EVENTS),
    ).fetchall()
    seen = conn.execute(
        "SELECT day, severity, title_en, title_zh, withdrawn FROM finding_day WHERE finding_id = %s ORDER BY day DESC LIMIT %s",
        (finding_id, DAYS),
    ).fetchall()
    return {**row, "events": events[::-1], "seen": seen[::-1]}
