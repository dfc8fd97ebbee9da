"""What meters hold of hours and prices, as it was read last, and what the plan of their account would write there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headend.control import price_policy
from headend.control.facts import Limits
from headend.store import calendar, tariffs
from headend.store.db import Connection, StoreError
from headend.store.orders import Writing
from protocols.localtime import as_datetime
from tariffs.days import NO_DAYS
from tariffs.plan import Tariff
from tariffs.timetable import CannotHold, difference, wanted

#: protocols by which meters keep tables that are read and written here: the drivers that have them
PROTOCOLS: Final = ("dlt645", "gdw376", "dlt698")


#: a meter's dates have two digits of the year
LAST: Final = dt.date(2099, 12, 31)


class NoContract(StoreError):
    """Nobody pays for what the meter counts."""


@dataclass(frozen=True, slots=True)
class Contract:
    """Whose energy a meter counts, by which plan. `ratio`: CT × PT. `since`: since when it has been so, in domain time. The archive lets no
    two accounts hold on a point at once."""

    meter_id: int
    asset: str
    customer: str
    tariff: str
    ratio: int
    protocol: str
    since: dt.datetime


_CONTRACTS: Final = """
    SELECT i.meter_id, m.asset, c.number AS customer, a.tariff, i.ct * i.pt AS ratio, t.protocol, greatest(a.valid_from, i.valid_from) AS since
    FROM installation i JOIN meter m USING (meter_id) JOIN terminal t USING (terminal_id) JOIN account a USING (point_id)
    JOIN customer c USING (customer_id)
    WHERE i.valid_from <= %(at)s AND i.valid_to > %(at)s AND a.valid_from <= %(at)s AND a.valid_to > %(at)s
"""


def contract(conn: Connection, asset: str, now: Any) -> Contract:
    """NoContract."""
    row = conn.execute(
        f"{_CONTRACTS} AND m.asset = %(asset)s", {"at": as_datetime(now), "asset": asset}
    ).fetchone()
    if row is None:
        raise NoContract(
            f"meter {asset}: no open account is behind it now; `headend archive show {asset}` tells what hangs there"
        )
    return Contract(**row)


def contracts(
    conn: Connection,
    now: Any,
    *,
    tariff: str | None = None,
    organisation: int | None = None,
    meters: Sequence[int] | None = None,
) -> list[Contract]:
    """Of the meters that are paid for now, by meter: all, those on a plan, below an organisation (供电单位), or these."""
    rows = conn.execute(
        f"""
        WITH RECURSIVE below AS (
            SELECT %(organisation)s::int AS organisation_id
            UNION SELECT s.organisation_id FROM below b JOIN organisation_span s ON s.parent_id = b.organisation_id
            WHERE s.valid_from <= %(at)s AND s.valid_to > %(at)s)
        {_CONTRACTS} AND (%(tariff)s::text IS NULL OR a.tariff = %(tariff)s) AND (%(meters)s::int[] IS NULL OR i.meter_id = ANY(%(meters)s))
        AND (%(organisation)s::int IS NULL
             OR organisation_of(i.point_id, i.terminal_id, %(at)s) IN (SELECT organisation_id FROM below)) ORDER BY meter_id
        """,
        {"at": as_datetime(now), "tariff": tariff, "organisation": organisation, "meters": None if meters is None else list(meters)},
    ).fetchall()  # fmt: skip
    return [Contract(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Held:
    """What was read of a meter by an order, and when."""

    meter_id: int
    order_id: int
    read_at: dt.datetime
    document: dict[str, Any]


def newest(conn: Connection, meters: Sequence[int]) -> dict[int, Held]:
    """The newest reading of each of these meters, where there is one."""
    rows = conn.execute(
        """
        SELECT o.* FROM unnest(%s::int[]) AS m(meter_id) CROSS JOIN LATERAL (
            SELECT meter_id, order_id, result -> 'held' AS document,
                   coalesce((result ->> 'read_back_at')::timestamptz, (result ->> 'read_at')::timestamptz, ended_at) AS read_at FROM orders o
            WHERE o.meter_id = m.meter_id AND o.kind = 'prices' AND o.result ? 'held' ORDER BY order_id DESC LIMIT 1) o
        """,
        (list(meters),),
    ).fetchall()
    return {row["meter_id"]: Held(**row) for row in rows}


def asked(conn: Connection, meters: Sequence[int]) -> dict[int, dt.datetime]:
    """When each of these meters was last asked for what it holds, whatever came of it."""
    rows = conn.execute(
        """
        SELECT o.* FROM unnest(%s::int[]) AS m(meter_id) CROSS JOIN LATERAL (
            SELECT meter_id, requested_at FROM orders o
            WHERE o.meter_id = m.meter_id AND o.kind = 'prices' AND o.action = 'read' ORDER BY order_id DESC LIMIT 1) o
        """,
        (list(meters),),
    ).fetchall()
    return {row["meter_id"]: row["requested_at"] for row in rows}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be written: items as an order's request has them, nothing if the meter holds it so already."""

    contract: Contract
    at: dt.date
    version: dt.date
    items: tuple[dict[str, Any], ...]
    held: Mapping[str, Any]

    def writing(self) -> Writing:
        return Writing(
            {
                "tariff": self.contract.tariff, "version": self.version.isoformat(), "at": self.at.isoformat(),
                "items": list(self.items), "held": dict(self.held),
            }
        )  # fmt: skip


def propose(
    conn: Connection,
    whose: Contract,
    held: Mapping[str, Any],
    at: dt.date,
    now: dt.datetime,
    limits: Limits,
    plan: Tariff | None = None,
) -> Proposal:
    """What the version of the plan that is in force on `at` would write, to be in force from its beginning on. `now`: naive local time.

    StoreError: the meter cannot hold it, or the calendar does not know the days, or a switch is programmed already."""
    plan = plan or tariffs.one(conn, whose.tariff)
    check_day(at)
    try:
        version = plan.on(at)
        days = calendar.days(conn, at, dt.date(at.year, 12, 31)) if version.by_kind else NO_DAYS
        want = wanted(plan.name, version, held, at, now.date(), days, whose.ratio)
    except (LookupError, CannotHold) as error:
        raise StoreError(f"meter {whose.asset}: {error}") from None
    items = tuple(
        {"key": key, "was": was, "becomes": becomes} for key, was, becomes in difference(want, held)
    )
    noes = price_policy.pending(now, _midnight(at), [item["key"] for item in items], held)
    if items and _midnight(at) - now < dt.timedelta(hours=limits.prices_ahead_hours):
        noes.append(f"{at} is less than {limits.prices_ahead_hours} hours ahead: name a later day")
    if noes:
        raise StoreError(f"meter {whose.asset}: {'; '.join(noes)}")
    return Proposal(whose, at, version.valid_from, items, held)


def check_day(at: dt.date) -> None:
    """StoreError: no meter can be told that day."""
    if at > LAST:
        raise StoreError(f"{at}: the dates of a meter end with {LAST.year}; name an earlier day")


def outdated(conn: Connection, meter_id: int, tariff: str, *, since: dt.datetime, now: Any) -> str:
    """Why what was worked out then for a meter, by that plan, is not what it should hold any more; '' if it is."""
    if not contracts(conn, now, tariff=tariff, meters=[meter_id]):
        return "its account is on this plan no more"
    row = conn.execute("SELECT FROM tariff WHERE name = %s AND at > %s LIMIT 1", (tariff, since)).fetchone()
    return "" if row is None else f"{tariff} was revised since the meter was read"


def taking_back(whose: Contract, held: Mapping[str, Any], now: dt.datetime) -> Proposal:
    """The switches that are programmed and have not come yet, put off for ever; the zones' first, since by it alone hours change."""
    coming = [
        name
        for name in price_policy.SWITCHES
        if held.get(name) and dt.datetime.fromisoformat(held[name]) > now
    ]
    if not coming:
        raise StoreError(f"meter {whose.asset}: no switch is programmed")
    at = dt.datetime.fromisoformat(held[coming[0]]).date()
    items = tuple({"key": name, "was": held[name], "becomes": None} for name in coming)
    return Proposal(whose, at, at, items, held)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())
