"""Campaigns: a plan's hours and prices into all its meters. Each meter has a state; what is written is what was read, shown and approved.

listed -> reading -> ready -> approved -> writing -> done
              └ same                         └ failed          unreached, with its cause, from anywhere before writing
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headend.control.facts import is_person
from headend.control.order_state import NoSuchStep
from headend.store import cluster, orders, price_tables, tariffs
from headend.store.db import Connection, StoreError
from headend.store.price_tables import Contract
from protocols.localtime import as_datetime

#: states out of which the campaign itself still moves a meter
OPEN: Final = ("listed", "reading", "ready", "approved", "writing")


class UnknownCampaign(StoreError):
    def __init__(self, campaign: int) -> None:
        super().__init__(f"no campaign {campaign}; `headend prices campaign list` shows them")


def begin(
    conn: Connection,
    *,
    tariff: str,
    at: dt.date,
    reason: str,
    who: str,
    now: Any,
    organisation: str = "",
    per_hour: int | None = None,
    stop_after: int | None = None,
) -> int:
    """List the meters of a plan (below an organisation); commits. Nothing is read or written yet. StoreError: there are none, or no such plan,
    organisation or day."""
    limits, local = cluster.limits(conn), as_datetime(now).astimezone(cluster.zone(conn)).replace(tzinfo=None)
    plan = tariffs.one(conn, tariff)
    price_tables.check_day(at)
    try:
        plan.on(at)
    except LookupError as error:
        raise StoreError(str(error)) from None
    if dt.datetime.combine(at, dt.time()) - local < dt.timedelta(hours=limits.prices_ahead_hours):
        raise StoreError(f"{at} is less than {limits.prices_ahead_hours} hours ahead: name a later day")
    part = _organisation(conn, organisation) if organisation else None
    found = price_tables.contracts(conn, now, tariff=tariff, organisation=part)
    if not found:
        raise StoreError(
            f"no meter of an account on {tariff}{f' below {organisation}' if organisation else ''}"
        )
    with conn.transaction():
        row = conn.execute(
            "INSERT INTO price_campaign (tariff, organisation, switch_at, reason, requested_by, requested_at, per_hour, stop_after) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING campaign_id",
            (
                tariff, part, at, reason, who, as_datetime(now), per_hour or limits.prices_per_hour, stop_after or limits.prices_stop_after,
            ),
        ).fetchone()  # fmt: skip
        assert row is not None
        campaign: int = row["campaign_id"]
        whys = [_unable(each) for each in found]
        conn.execute(
            "INSERT INTO price_campaign_meter (campaign_id, meter_id, state, why) SELECT %s, * FROM unnest(%s::int[], %s::text[], %s::text[])",
            (
                campaign, [each.meter_id for each in found], ["unreached" if why else "listed" for why in whys], whys,
            ),
        )  # fmt: skip
    conn.commit()
    return campaign


def _unable(whose: Contract) -> str:
    """Why a meter cannot be told at all; '' if it can."""
    if whose.protocol not in price_tables.PROTOCOLS:
        return f"{whose.protocol} meters have no tables that are written here"
    return ""


def _organisation(conn: Connection, code: str) -> int:
    row = conn.execute("SELECT organisation_id FROM organisation WHERE code = %s", (code,)).fetchone()
    if row is None:
        raise StoreError(f"no organisation {code!r} in the archive")
    return int(row["organisation_id"])


def one(conn: Connection, campaign: int, *, hold: bool = False) -> dict[str, Any]:
    """UnknownCampaign."""
    row = conn.execute(
        f"SELECT * FROM price_campaign WHERE campaign_id = %s {'FOR UPDATE' if hold else ''}", (campaign,)
    ).fetchone()
    if row is None:
        raise UnknownCampaign(campaign)
    return row


def listing(conn: Connection, *, running: bool = False) -> list[dict[str, Any]]:
    """Campaigns, newest first, each with the number of its meters by state."""
    return conn.execute(
        """
        SELECT c.*, (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM (SELECT state, count(*) AS n FROM price_campaign_meter m
                     WHERE m.campaign_id = c.campaign_id GROUP BY state) s) AS meters
        FROM price_campaign c WHERE NOT %s OR state = 'running' ORDER BY campaign_id DESC
        """,
        (running,),
    ).fetchall()


def causes(conn: Connection, campaign: int) -> list[dict[str, Any]]:
    """Of those that were not reached or failed: how many by cause, with one of them."""
    return conn.execute(
        "SELECT p.state, regexp_replace(p.why, '^meter [^ ]+: ', '') AS why, count(*) AS meters, min(m.asset) AS example "
        "FROM price_campaign_meter p JOIN meter m USING (meter_id) WHERE campaign_id = %s AND p.state IN ('unreached', 'failed') "
        "GROUP BY 1, 2 ORDER BY 3 DESC, 2",
        (campaign,),
    ).fetchall()


def meters(
    conn: Connection, campaign: int, states: Iterable[str], *, most: int | None = None, of: str = ""
) -> list[dict[str, Any]]:
    """Its meters in these states, with their asset numbers. Those that were written to in vain come last: their terminals are away."""
    return conn.execute(
        "SELECT p.*, m.asset FROM price_campaign_meter p JOIN meter m USING (meter_id) "
        "WHERE campaign_id = %s AND state = ANY(%s) AND (%s = '' OR m.asset = %s) ORDER BY write_order NULLS FIRST, meter_id LIMIT %s",
        (campaign, list(states), of, of, most),
    ).fetchall()


def differences(ready: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What would be written, alike ones together: 'items', how many meters, one of them."""
    found: dict[str, dict[str, Any]] = {}
    for row in ready:
        items = row["request"]["items"]
        group = found.setdefault(
            json.dumps(items, sort_keys=True), {"items": items, "meters": 0, "example": row["asset"]}
        )
        group["meters"] += 1
    return sorted(found.values(), key=lambda group: -group["meters"])


def digest(ready: Iterable[Mapping[str, Any]]) -> str:
    """A name of exactly these differences of exactly these meters; '' for none."""
    told = [(row["meter_id"], row["request"]) for row in ready]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16] if told else ""


def approve(conn: Connection, campaign: int, shown: str, *, who: str, now: Any) -> int:
    """A second person approves what was shown to him under the name `shown`; commits. How many meters. What becomes ready later wants another
    approval."""
    with conn.transaction():
        row = one(conn, campaign, hold=True)
        if not is_person(who):
            raise StoreError(f"{who!r} is not a person")
        if who == row["requested_by"]:
            raise StoreError(f"{who} began campaign {campaign} and cannot approve it")
        ready = meters(conn, campaign, ["ready"])
        if not ready or digest(ready) != shown:
            raise StoreError(
                f"campaign {campaign}: what is ready is not {shown!r} any more; `headend prices campaign show {campaign}` shows it anew"
                if ready
                else f"campaign {campaign}: no meter is ready; `headend prices campaign show {campaign}` tells how far it is"
            )
        # those that were shown alone: the job may have worked out more since
        many = conn.execute(
            "UPDATE price_campaign_meter SET state = 'approved', approved_by = %s, approved_at = %s "
            "WHERE campaign_id = %s AND state = 'ready' AND meter_id = ANY(%s)",
            (who, as_datetime(now), campaign, [row["meter_id"] for row in ready]),
        ).rowcount
        _log(conn, campaign, f"{many} meters approved by {who}: {shown}")
    conn.commit()
    return many


def stop(conn: Connection, campaign: int, *, who: str, why: str, now: Any) -> int:
    """Nothing more is read or written; its orders that have not been sent are withdrawn; commits. How many were."""
    with conn.transaction():
        if one(conn, campaign, hold=True)["state"] != "running":
            raise StoreError(f"campaign {campaign} does not run")
        conn.execute("UPDATE price_campaign SET state = 'stopped' WHERE campaign_id = %s", (campaign,))
        _log(conn, campaign, f"stopped by {who}: {why}")
    conn.commit()
    rows = conn.execute(
        "SELECT o.order_id FROM price_campaign_meter p JOIN orders o ON o.order_id IN (p.read_order, p.write_order) "
        "WHERE p.campaign_id = %s AND o.is_open AND o.state IN ('wanted', 'approved')",
        (campaign,),
    ).fetchall()
    withdrawn = 0
    for row in rows:
        try:
            orders.cancel(conn, row["order_id"], who=who, now=now)
        except NoSuchStep:
            conn.rollback()  # it has been sent in the meantime, and is found out about like any other
        else:
            withdrawn += 1
    return withdrawn


def resume(conn: Connection, campaign: int, *, who: str, reason: str, again: bool = False) -> None:
    """Go on after somebody has looked at why it stopped; commits. `again`: those that failed or were not reached are read and approved anew."""
    with conn.transaction():
        if one(conn, campaign, hold=True)["state"] == "running":
            raise StoreError(f"campaign {campaign} runs")
        # what was withdrawn when it stopped begins anew
        conn.execute(
            "UPDATE price_campaign_meter p SET state = 'listed', why = '', request = '{}' FROM orders o WHERE p.campaign_id = %s "
            "AND o.order_id = coalesce(p.write_order, p.read_order) AND p.state IN ('reading', 'writing', 'failed', 'unreached') "
            "AND (o.state = 'cancelled' OR (%s AND NOT o.is_open))",
            (campaign, again),
        )
        conn.execute(
            "UPDATE price_campaign c SET state = 'running', forgiven = (SELECT count(*) FROM price_campaign_meter m "
            "WHERE m.campaign_id = c.campaign_id AND m.state = 'failed') WHERE campaign_id = %s",
            (campaign,),
        )
        _log(conn, campaign, f"resumed by {who}: {reason}")
    conn.commit()


def after_restore(conn: Connection, *, who: str) -> None:
    """In the caller's transaction, behind that of the orders: what was approved before may have been written since. Each meter that is not
    under way is read and approved anew."""
    rows = conn.execute(
        "UPDATE price_campaign SET state = 'stopped' WHERE state = 'running' RETURNING campaign_id"
    ).fetchall()
    numbers = [row["campaign_id"] for row in rows]
    conn.execute(
        "UPDATE price_campaign_meter p SET state = 'listed', why = '', request = '{}' WHERE campaign_id = ANY(%s) "
        "AND (state IN ('ready', 'approved') OR state = 'writing' "
        "AND EXISTS (SELECT FROM orders o WHERE o.order_id = p.write_order AND o.state = 'expired'))",
        (numbers,),
    )
    for number in numbers:
        _log(conn, number, f"stopped: the store was restored by {who}")


def move(conn: Connection, row: Mapping[str, Any], state: str, why: str = "", **columns: Any) -> None:
    """One meter, in the caller's transaction."""
    names = "".join(f", {name} = %({name})s" for name in columns)
    conn.execute(
        f"UPDATE price_campaign_meter SET state = %(state)s, why = %(why)s{names} WHERE campaign_id = %(of)s AND meter_id = %(meter)s",
        {"state": state, "why": why, "of": row["campaign_id"], "meter": row["meter_id"], **columns},
    )


def end(conn: Connection, campaign: int, why: str) -> None:
    """In the caller's transaction."""
    conn.execute("UPDATE price_campaign SET state = 'ended' WHERE campaign_id = %s", (campaign,))
    _log(conn, campaign, why)


def _log(conn: Connection, campaign: int, why: str) -> None:
    conn.execute("UPDATE price_campaign SET why = %s WHERE campaign_id = %s", (why, campaign))
