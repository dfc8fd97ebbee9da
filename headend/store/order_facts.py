"""What the gates look at, read from the store at this moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from headend.control import gates
from headend.control.facts import Facts, Limits, Refusal, WriteFacts
from headend.store import cluster
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from protocols.localtime import as_datetime


def ask_gates(
    conn: Connection, row: Mapping[str, Any], at: dt.datetime, approved_by: str | None, *, sending: bool
) -> list[Refusal]:
    """What the gates of this order, which needs a second person, say now."""
    until, who, limits = row["expires_at"], row["requested_by"], cluster.limits(conn)
    if row["meter_id"] is not None:
        return gates.ask(
            facts_of(conn, row["meter_id"], at, until, who, approved_by, sending=sending), limits
        )
    today = conn.execute(
        "SELECT coalesce(sum(adds), 0)::int AS adds, coalesce(sum(replaces), 0)::int AS replaces FROM orders "
        "WHERE terminal_id = %s AND meter_id IS NULL AND sent_at > %s - interval '24 hours' AND order_id IS DISTINCT FROM %s",
        (row["terminal_id"], at, row["order_id"]),
    ).fetchone()
    assert today is not None
    facts = WriteFacts(
        at, until, who, approved_by, sending, row["adds"], row["replaces"], today["adds"], today["replaces"]
    )
    return gates.ask_write(facts, limits)


def facts_of(
    conn: Connection,
    meter_id: int,
    now: dt.datetime,
    expires: dt.datetime,
    requested_by: str,
    approved_by: str | None,
    *,
    sending: bool,
) -> Facts:
    """Everything the gates ask, read at this moment."""
    zone = cluster.zone(conn)
    local = now.astimezone(zone)
    day = local.date()
    account = conn.execute(
        """
        SELECT a.account_id, a.prepaid, a.protected, b.as_of, b.valid, b.newest_reading, b.provisional_high_fen
                 + coalesce((SELECT sum(e.amount_fen) FROM ledger_entry e WHERE e.account_id = a.account_id
                             AND e.entry_id > b.ledger_entry_id
                             AND (e.amount_fen > 0 OR e.kind = 'reversal')), 0)::bigint AS high_fen,
               (SELECT max(n.at) FROM notice n WHERE n.account_id = a.account_id AND n.level = 'stop'
                   AND n.at > coalesce((SELECT max(p.paid_at) FROM payment p WHERE p.account_id = a.account_id), '-infinity')) AS noticed_at
        FROM installation i JOIN account a USING (point_id) LEFT JOIN balance b USING (account_id)
        WHERE i.meter_id = %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        """,
        {"meter": meter_id, "now": now},
    ).fetchall()
    # two accounts on one point: nobody can say whose balance decides, so none does
    one = account[0] if len(account) == 1 else None
    days = {
        row["day"]: row["kind"]
        for row in conn.execute(
            "SELECT day, kind FROM calendar_day WHERE day BETWEEN %s AND %s",
            (day, day + dt.timedelta(days=1)),
        )
    }
    trips = conn.execute(
        """
        SELECT count(*) FILTER (WHERE o.sent_at > %(now)s - interval '1 hour') AS hour, count(*) AS day,
               count(*) FILTER (WHERE o.sent_at > %(now)s - interval '1 hour' AND EXISTS (
                   SELECT FROM installation i JOIN area_role r USING (point_id)
                   WHERE i.meter_id = o.meter_id AND r.area_id IN (
                       SELECT r2.area_id FROM installation i2 JOIN area_role r2 USING (point_id) WHERE i2.meter_id = %(meter)s))) AS area
        FROM orders o WHERE o.kind = 'relay' AND o.action = 'trip' AND o.sent_at > %(now)s - interval '24 hours'
        """,
        {"now": now, "meter": meter_id},
    ).fetchone()
    assert trips is not None
    return Facts(
        now=now,
        local=local,
        expires=expires,
        requested_by=requested_by,
        approved_by=approved_by,
        sending=sending,
        protected=one["protected"] if one else None,
        day_kind=days.get(day),
        next_day_kind=days.get(day + dt.timedelta(days=1)),
        prepaid=one["prepaid"] if one else None,
        balance_high_fen=one["high_fen"] if one else None,
        balance_as_of=one["as_of"] if one else None,
        balance_valid=bool(one and one["valid"]),
        newest_reading=one["newest_reading"] if one else None,
        trips_hour=trips["hour"],
        trips_day=trips["day"],
        trips_area_hour=trips["area"],
        noticed_at=one["noticed_at"] if one else None,
    )


def facts(conn: Connection, asset: str, now: Any) -> tuple[Facts, Limits]:
    """What the gates would look at if a trip of this meter were asked for now; for `headend relay check`."""
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(asset)
    at = as_datetime(now)
    return facts_of(
        conn, meter["meter_id"], at, at + dt.timedelta(hours=1), "", None, sending=False
    ), cluster.limits(conn)
