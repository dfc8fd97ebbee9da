"""Whom a plan of orderly use names, as everything stands now: behind which terminal, who else is there, and what he usually takes in its hours."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.control.orderly import Candidate, Minutes, Plan
from headend.plans import CURVE, points
from headend.store import key_users, members, order_facts, point_groups, response
from headend.store.db import Connection, StoreError
from headend.store.orders import STATIONS
from lineloss.statistics.response import LEAST, whole
from protocols.localtime import Times, as_datetime, instant

#: customers that one plan may name: what its preview loads is bounded by it
MOST: Final = point_groups.MOST
#: days up to yesterday by which key users are known
KEY_USER_DAYS: Final = 30
#: slots of an hour
_HOURLY: Final = 4


class BadWhom(StoreError):
    """The plan names somebody who is not there."""


@dataclass(frozen=True, slots=True)
class Known:
    """A candidate with the store's own numbers. terminal_id None: he hangs behind none. points: his behind that terminal, ascending."""

    candidate: Candidate
    customer_id: int
    terminal_id: int | None
    points: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    customer_id: int
    number: str
    terminal_id: int | None
    terminal: str
    protocol: str
    online: bool
    points: tuple[int, ...]


def candidates(
    conn: Connection,
    plan: Plan,
    now: np.datetime64,
    zone: ZoneInfo,
    *,
    number: int | None = None,
    curves: bool = True,
) -> list[Known]:
    """Everybody whom the plan's calls name, customer by terminal. `number`: the plan's own, so that it is not another one to itself. `curves`:
    with what he usually takes. BadWhom."""
    at = as_datetime(now)
    named = _named(conn, plan, at, zone)
    units = _units(conn, list(named), at)
    there = _there(conn, sorted({one.terminal_id for one in units if one.terminal_id is not None}), at)
    protected, minimum = _customers(conn, list(named), at)
    others = {id(one): _others(one, there) for one in units}
    # of whom no terminal could be told, or would be told for others as well, no curve is looked at
    able = [one for one in units if one.protocol in STATIONS and not others[id(one)]]
    usual = _usual(conn, plan, able, as_datetime(now, zone).date(), zone) if curves else {}
    asked = {id(one) for one in able}
    kept = order_facts.keeps_power(
        conn, [row["meter_id"] for one in able for row in there.get(one.terminal_id or 0, [])]
    )
    elsewhere = _elsewhere(conn, plan, number)
    found = []
    for one in units:
        rows = there.get(one.terminal_id or 0, [])
        found.append(
            Known(
                Candidate(
                    customer=one.number, terminal=one.terminal, call=named[one.customer_id], controlled=one.protocol in STATIONS,
                    online=one.online, keep_power=_keeps(conn, one.terminal_id, rows, kept, at) if id(one) in asked else False,
                    protected=protected.get(one.customer_id), behind=_behind(one, rows), others=others[id(one)],
                    minimum_w=minimum.get(one.customer_id), usual=usual.get(id(one)),
                    elsewhere=elsewhere.get(one.terminal_id or 0, ""),
                ),
                one.customer_id, one.terminal_id, one.points,
            )
        )  # fmt: skip
    return found


def slots(periods: Sequence[Minutes], day: dt.date, times: Times, zone: ZoneInfo) -> list[tuple[int, int]]:
    """(first, last) of each period among the slots of a local day that end at `times`."""
    return [response.within(times, local(day, begin, zone), local(day, end, zone)) for begin, end in periods]


def local(day: dt.date, minutes: int, zone: ZoneInfo) -> np.datetime64:
    """So many minutes of civil time after a local midnight."""
    when = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minutes)
    return instant(when.replace(tzinfo=zone))


def called_days(conn: Connection, terminals: Sequence[int]) -> set[dt.date]:
    """Local days on which plans that these terminals took part in were carried out: no like days of any other."""
    rows = conn.execute(
        "SELECT DISTINCT d::date AS day FROM orderly_plan p CROSS JOIN generate_series(p.first_day, p.last_day, interval '1 day') d "
        "CROSS JOIN (SELECT zone FROM cluster) c WHERE p.started_at IS NOT NULL "
        "AND d::date BETWEEN (p.started_at AT TIME ZONE c.zone)::date AND (coalesce(p.over_at, 'infinity') AT TIME ZONE c.zone)::date "
        "AND EXISTS (SELECT FROM orderly_participant q WHERE q.plan_id = p.plan_id AND q.terminal_id = ANY(%s))",
        (list(terminals),),
    )
    return {row["day"] for row in rows}


def _named(conn: Connection, plan: Plan, at: dt.datetime, zone: ZoneInfo) -> dict[int, int]:
    """customer_id -> index of the first call that names him."""
    scope = _scope(conn, plan, at)
    found: dict[int, int] = {}
    for k, call in enumerate(plan.calls):
        if call.who == "customers":
            ids = _by_number(conn, call.of, at, scope)
        elif call.who == "key-users":
            last = at.astimezone(zone).date() - dt.timedelta(days=1)
            listed = key_users.listing(conn, last - dt.timedelta(days=KEY_USER_DAYS - 1), last, zone)
            ids = _holders(conn, None, at, scope, [row["customer"] for row in listed])
        elif call.who == "group":
            ids = _holders(conn, point_groups.points(conn, call.of[0]).tolist(), at, scope)
        elif call.who == "industry":
            ids = _holders(conn, members.points_of(conn, "industry", call.of[0], at).tolist(), at, scope)
        else:
            ids = _holders(conn, None, at, scope)
        for one in ids:
            found.setdefault(one, k)
        if len(found) > MOST:
            raise BadWhom(
                f"the plan names more than {MOST} customers; make its calls narrower, or several plans"
            )
    for own in plan.own:
        row = conn.execute("SELECT customer_id FROM customer WHERE number = %s", (own,)).fetchone()
        if row is None or row["customer_id"] not in found:
            raise BadWhom(f"setpoints: no call of the plan names a customer {own}")
    return found


def _scope(conn: Connection, plan: Plan, at: dt.datetime) -> list[int] | None:
    """Points of the plan's organisation or line; None: everybody's."""
    for table, dimension, code in (
        ("organisation", "region", plan.organisation),
        ("line", "line", plan.line),
    ):
        if code:
            if conn.execute(f"SELECT FROM {table} WHERE code = %s", (code,)).fetchone() is None:
                raise BadWhom(f"no {table} {code} in the archive; `headend archive list {table}s` shows them")
            return [int(point) for point in members.points_of(conn, dimension, code, at)]
    return None


def _holders(
    conn: Connection,
    points: list[int] | None,
    at: dt.datetime,
    scope: list[int] | None,
    numbers: list[str] | None = None,
) -> list[int]:
    """Customers with an account on one of these points (None: any) within the scope."""
    rows = conn.execute(
        """
        SELECT DISTINCT a.customer_id FROM account a JOIN customer c USING (customer_id) WHERE a.valid_from <= %(at)s AND a.valid_to > %(at)s
          AND (%(points)s::int[] IS NULL OR a.point_id = ANY(%(points)s)) AND (%(scope)s::int[] IS NULL OR a.point_id = ANY(%(scope)s))
          AND (%(numbers)s::text[] IS NULL OR c.number = ANY(%(numbers)s)) ORDER BY 1 LIMIT %(most)s
        """,
        {"at": at, "points": points, "scope": scope, "numbers": numbers, "most": MOST + 1},
    )
    return [row["customer_id"] for row in rows]


def _by_number(
    conn: Connection, numbers: Sequence[str], at: dt.datetime, scope: list[int] | None
) -> list[int]:
    known = {
        row["number"]: row["customer_id"]
        for row in conn.execute(
            "SELECT number, customer_id FROM customer WHERE number = ANY(%s)", (list(numbers),)
        )
    }
    for number in numbers:
        if number not in known:
            raise BadWhom(f"the archive has no customer {number}")
    if scope is not None:
        inside = set(_holders(conn, None, at, scope, list(numbers)))
        for number in numbers:
            if known[number] not in inside:
                raise BadWhom(f"customer {number} has no account in the plan's organisation or line")
    return [known[number] for number in numbers]


def _units(conn: Connection, customers: list[int], at: dt.datetime) -> list[_Unit]:
    rows = conn.execute(
        """
        SELECT c.customer_id, c.number, t.terminal_id, coalesce(t.code, '') AS terminal, coalesce(t.protocol, '') AS protocol,
               coalesce(t.online, false) AS online, array_agg(DISTINCT a.point_id ORDER BY a.point_id) FILTER (WHERE a.point_id IS NOT NULL) AS points
        FROM customer c LEFT JOIN account a ON a.customer_id = c.customer_id AND a.valid_from <= %(at)s AND a.valid_to > %(at)s
        LEFT JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(at)s AND i.valid_to > %(at)s
        LEFT JOIN terminal t ON t.terminal_id = i.terminal_id
        WHERE c.customer_id = ANY(%(ids)s) GROUP BY c.customer_id, t.terminal_id ORDER BY c.number, 4
        """,
        {"at": at, "ids": customers},
    )
    return [_Unit(**{**row, "points": tuple(row["points"] or ())}) for row in rows]


def _there(conn: Connection, terminals: list[int], at: dt.datetime) -> Mapping[int, list[dict[str, Any]]]:
    """Every meter behind these terminals, with the accounts on its point."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in conn.execute(
        """
        SELECT i.terminal_id, m.meter_id, m.asset, a.customer_id, c.number, a.protected, coalesce(p.kind, 'customer') AS kind
        FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id)
        LEFT JOIN account a ON a.point_id = i.point_id AND a.valid_from <= %(at)s AND a.valid_to > %(at)s
        LEFT JOIN customer c ON c.customer_id = a.customer_id
        WHERE i.terminal_id = ANY(%(ids)s) AND i.valid_from <= %(at)s AND i.valid_to > %(at)s ORDER BY m.asset
        """,
        {"at": at, "ids": terminals},
    ):
        found[row["terminal_id"]].append(row)
    return found


def _others(one: _Unit, there: Mapping[int, list[dict[str, Any]]]) -> int:
    """Other customers behind the same terminal."""
    rows = there.get(one.terminal_id or 0, [])
    return len({row["customer_id"] for row in rows} - {one.customer_id, None})


def _behind(one: _Unit, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Others there who are protected, and meters of customers of whom no account says whether they are."""
    return tuple(
        f"meter {row['asset']} without an account" if row["customer_id"] is None else row["number"]
        for row in rows
        if row["customer_id"] != one.customer_id
        and (row["protected"] if row["customer_id"] is not None else row["kind"] == "customer")
    )


def _customers(conn: Connection, ids: list[int], at: dt.datetime) -> tuple[dict[int, str], dict[int, int]]:
    """By customer_id: why he is protected by any of his accounts ('': by none); his protected minimum in W. Not known: not there."""
    protected, minimum = {}, {}
    for row in conn.execute(
        """
        SELECT c.customer_id, (ceil(s.security_kw * 1000))::bigint AS minimum_w, count(a.*) AS accounts,
               coalesce(string_agg(DISTINCT a.protected, '; ') FILTER (WHERE a.protected <> ''), '') AS protected
        FROM customer c LEFT JOIN account a ON a.customer_id = c.customer_id AND a.valid_from <= %(at)s AND a.valid_to > %(at)s
        LEFT JOIN customer_span s ON s.customer_id = c.customer_id AND s.valid_from <= %(at)s AND s.valid_to > %(at)s
        WHERE c.customer_id = ANY(%(ids)s) GROUP BY c.customer_id, s.security_kw
        """,
        {"at": at, "ids": ids},
    ):
        if row["accounts"]:
            protected[row["customer_id"]] = row["protected"]
        if row["minimum_w"] is not None:
            minimum[row["customer_id"]] = row["minimum_w"]
    return protected, minimum


def _keeps(
    conn: Connection,
    terminal: int | None,
    rows: list[dict[str, Any]],
    meters: Mapping[int, bool | None],
    at: dt.datetime,
) -> bool | None:
    """Whether the terminal or a meter behind it is in keep-power; None: nobody can say."""
    found = [meters.get(row["meter_id"], False) for row in rows]
    if terminal is not None:
        found.append(order_facts.terminal_keeps_power(conn, terminal, at))
    return True if any(found) else None if None in found else False


def _elsewhere(conn: Connection, plan: Plan, number: int | None) -> dict[int, str]:
    """terminal_id -> the plan that holds it on some of these days."""
    rows = conn.execute(
        "SELECT q.terminal_id, p.plan_id, p.name FROM orderly_plan p JOIN orderly_participant q USING (plan_id) "
        "WHERE p.state IN ('approved', 'running') AND p.first_day <= %s AND p.last_day >= %s AND p.plan_id IS DISTINCT FROM %s",
        (plan.last_day, plan.first_day, number),
    )
    return {row["terminal_id"]: f"{row['plan_id']} {row['name']}" for row in rows}


def _usual(
    conn: Connection, plan: Plan, units: Sequence[_Unit], today: dt.date, zone: ZoneInfo
) -> dict[int, tuple[tuple[float, ...], ...] | None]:
    """id(unit) -> [day of the plan][slot of the periods], kW: the mean of the newest like days of that day before today. None: too few are known."""
    if not units:
        return {}
    ids = np.unique(np.array([point for one in units for point in one.points], dtype=np.int64))
    without = called_days(conn, [one.terminal_id for one in units if one.terminal_id is not None])
    by_days: dict[tuple[dt.date, ...], list[tuple[float, ...] | None]] = {}
    of_day = []
    for day in plan.days:
        like = tuple(response.like_days(conn, day, min(day, today), zone, without))
        if like not in by_days:
            by_days[like] = _means(conn, plan, units, ids, like, zone)
        of_day.append(by_days[like])
    found: dict[int, tuple[tuple[float, ...], ...] | None] = {}
    for k, one in enumerate(units):
        days = [means[k] for means in of_day]
        found[id(one)] = None if None in days else tuple(mean for mean in days if mean is not None)
    return found


def _means(
    conn: Connection, plan: Plan, units: Sequence[_Unit], ids: Any, like: Sequence[dt.date], zone: ZoneInfo
) -> list[tuple[float, ...] | None]:
    """Of each unit, kW in the slots of the periods, by these like days."""
    if len(like) < LEAST:
        return [None] * len(units)
    curves = [response.curve(conn, day, zone, ids) for day in like]
    times = points(CURVE, like[0], zone)
    wanted = np.concatenate([np.arange(a, b + 1) for a, b in slots(plan.periods, like[0], times, zone)])
    found: list[tuple[float, ...] | None] = []
    for one in units:
        rows = np.searchsorted(ids, np.array(one.points))
        days = whole(np.array([curve[rows].sum(axis=0) for curve in curves]))
        found.append(tuple((days.mean(axis=0)[wanted] * _HOURLY).tolist()) if len(days) >= LEAST else None)
    return found
