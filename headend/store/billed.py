"""Who is billed for a span of local days: accounts as columns, in the order of the files, a tile at a time.

An account begins at the first local midnight at or after its opening, with the point's first meter at the earliest, and ends at the first at or
after its closing: what is used on the day of a handover is the one's who leaves, and nothing is charged twice or to nobody.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.store import tariffs
from headend.store.db import Connection
from protocols.localtime import as_datetime, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Days = NDArray[np.datetime64]

#: accounts worked on at once: some 50 MB of registers and results
TILE: Final = 50_000
#: what the basic charge goes by: names of customer_span.basic_by, numbered as tariffs.basic has them
BY: Final = ("capacity", "contract", "demand")
_NEVER: Final = np.datetime64("NaT", "D")


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds of an account from a local day on: by int8 (-1: nothing chosen), capacity [1e-4 kVA], contract [1e-4 kW], MISSING: not told."""

    since: dt.date
    by: int
    capacity: int
    contract: int


@dataclass(frozen=True, slots=True)
class Sibling:
    """One of a customer's accounts on two-part plans: its point's code, and its local days [opened, closed); None: still open."""

    account_id: int
    point: str
    opened: dt.date
    closed: dt.date | None

    def on(self, day: dt.date) -> bool:
        return self.opened <= day and (self.closed is None or day < self.closed)


@dataclass(frozen=True, slots=True)
class Billed:
    """Columns by account.

    first, last    datetime64[D]: the local days of the span that are the account's, both included
    opened, closed datetime64[D]: its first local day, and the day after its last; NaT: still open
    used_on, used  datetime64[D], int64 [1e-4 kWh]: what it had used in the year until then, before the head-end began; NaT: not told
    terms          by account the terms that hold in the span, ascending; the first holds at `first`
    siblings       by account those of its customer's accounts that share these terms, itself included, the oldest first; () if there is no other
    """

    account_id: I64
    customer: Sequence[str]
    name: Sequence[str]
    point: Sequence[str]
    point_id: I64
    tariff: NDArray[np.str_]
    first: Days
    last: Days
    opened: Days
    closed: Days
    used_on: Days
    used: I64
    terms: Sequence[tuple[Terms, ...]]
    prepaid: NDArray[np.bool_]
    siblings: Sequence[tuple[Sibling, ...]]

    def __len__(self) -> int:
        return len(self.account_id)


def stream(
    conn: Connection,
    first: dt.date,
    last: dt.date,
    zone: ZoneInfo,
    tile: int = TILE,
    *,
    prepaid_only: bool = False,
    accounts: I64 | None = None,
) -> Iterator[Billed]:
    """Accounts that have any of local days `first` to `last`, by customer and point, in the caller's transaction."""
    begin, end = midnight(first, zone), midnight(last + dt.timedelta(days=1), zone)
    terms = _terms(conn, begin, end, zone)
    siblings = _siblings(conn, first, last)
    with conn.cursor("billed", row_factory=tuple_row) as cursor:
        cursor.itersize = tile
        cursor.execute(
            """
            SELECT a.account_id, c.customer_id, c.number, c.name, p.code, a.point_id, a.tariff,
                   greatest(a.valid_from, (SELECT min(i.valid_from) FROM installation i WHERE i.point_id = a.point_id)),
                   nullif(a.valid_to, 'infinity'), o.day, o.used, a.prepaid
            FROM account a JOIN customer c USING (customer_id) JOIN point p USING (point_id) LEFT JOIN account_opening o USING (account_id)
            WHERE a.valid_from < %(end)s AND a.valid_to > %(begin)s AND (a.prepaid OR NOT %(prepaid)s)
              AND (%(accounts)s::int[] IS NULL OR a.account_id = ANY(%(accounts)s))
            ORDER BY c.number COLLATE "C", p.code COLLATE "C", a.valid_from
            """,
            {
                "begin": as_datetime(begin),
                "end": as_datetime(end),
                "prepaid": prepaid_only,
                "accounts": None if accounts is None else accounts.tolist(),
            },
        )
        while rows := cursor.fetchmany(tile):
            found = _tile(rows, terms, siblings, first, last, zone)
            if len(found):
                yield found


def _tile(
    rows: Sequence[tuple[Any, ...]],
    terms: dict[int, list[Terms]],
    siblings: dict[int, tuple[Sibling, ...]],
    first: dt.date,
    last: dt.date,
    zone: ZoneInfo,
) -> Billed:
    columns = list(zip(*rows, strict=True))
    opened = _days(columns[7], zone)
    closed = _days(columns[8], zone)
    own_first = np.maximum(opened, np.datetime64(first))
    own_last = np.fmin(closed - np.timedelta64(1, "D"), np.datetime64(last))  # NaT: still open
    there = np.flatnonzero(own_first <= own_last)
    lists = [[column[k] for k in there] for column in columns[:7]]
    return Billed(
        np.array(lists[0], dtype=np.int64), lists[2], lists[3], lists[4], np.array(lists[5], dtype=np.int64), np.array(lists[6], dtype=np.str_),
        own_first[there], own_last[there], opened[there], closed[there],
        np.array([columns[9][k] or _NEVER for k in there], dtype="datetime64[D]"),
        np.array([MISSING if columns[10][k] is None else columns[10][k] for k in there], dtype=np.int64),
        [_in_span(terms.get(customer, []), day) for customer, day in zip(lists[1], own_first[there].tolist(), strict=True)],
        np.array([columns[11][k] for k in there], dtype=np.bool_),
        [siblings.get(account, ()) for account in lists[0]],
    )  # fmt: skip


def _days(instants: Sequence[dt.datetime | None], zone: ZoneInfo) -> Days:
    """The first local midnight at or after each, as a day; NaT for none."""
    days: list[np.datetime64] = []
    for when in instants:
        if when is None:
            days.append(_NEVER)
            continue
        local = when.astimezone(zone)
        days.append(np.datetime64(local.date() + dt.timedelta(days=local.time() != dt.time())))
    return np.array(days, dtype="datetime64[D]")


def _terms(
    conn: Connection, begin: np.datetime64, end: np.datetime64, zone: ZoneInfo
) -> dict[int, list[Terms]]:
    """Of customers who were ever told of any, by customer_id, ascending. A change holds from the local day on that it falls in."""
    found: dict[int, list[Terms]] = {}
    for row in conn.execute(
        "SELECT customer_id, valid_from, basic_by, (capacity_kva * 10000)::bigint AS capacity, (contract_kw * 10000)::bigint AS contract "
        "FROM customer_span WHERE valid_from < %s AND valid_to > %s AND customer_id IN "
        "(SELECT customer_id FROM customer_span WHERE basic_by IS NOT NULL OR capacity_kva IS NOT NULL) "
        "ORDER BY customer_id, valid_from",
        (as_datetime(end), as_datetime(begin)),
    ):
        found.setdefault(row["customer_id"], []).append(
            Terms(
                row["valid_from"].astimezone(zone).date(), -1 if row["basic_by"] is None else BY.index(row["basic_by"]),
                MISSING if row["capacity"] is None else row["capacity"], MISSING if row["contract"] is None else row["contract"],
            )
        )  # fmt: skip
    return found


def _siblings(conn: Connection, first: dt.date, last: dt.date) -> dict[int, tuple[Sibling, ...]]:
    """By account, of customers who have several on two-part plans on local days first..last; the oldest first, then by the points' codes."""
    rows = conn.execute(
        """
        SELECT * FROM (
            SELECT a.customer_id, a.account_id, a.tariff, p.code, s.opened, s.closed, count(*) OVER (PARTITION BY a.customer_id) AS many
            FROM account a JOIN account_days s USING (account_id) JOIN point p USING (point_id)
            WHERE s.opened <= %(last)s AND (s.closed IS NULL OR s.closed > %(first)s AND s.closed > s.opened) AND customer_id IN
                (SELECT customer_id FROM customer_span WHERE basic_by IS NOT NULL OR capacity_kva IS NOT NULL)) found
        WHERE many > 1 ORDER BY customer_id, opened, code COLLATE "C", account_id
        """,
        {"first": first, "last": last},
    ).fetchall()
    if not rows:
        return {}
    two_part = {name for name, plan in tariffs.load(conn).items() if "by" in plan.needs}
    families: dict[int, list[Sibling]] = {}
    for row in rows:
        if row["tariff"] in two_part:
            families.setdefault(row["customer_id"], []).append(
                Sibling(row["account_id"], row["code"], row["opened"], row["closed"])
            )
    return {
        each.account_id: tuple(family) for family in families.values() if len(family) > 1 for each in family
    }


def _in_span(terms: Sequence[Terms], first: dt.date) -> tuple[Terms, ...]:
    """Those that hold on the first day or begin later."""
    begun = [k for k, each in enumerate(terms) if each.since <= first]
    return tuple(terms[begun[-1] if begun else 0 :])
