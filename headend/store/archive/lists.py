"""What there is, for people: one row a thing."""

from __future__ import annotations

from typing import Any

from headend.store.archive.exporting import EVERY_ROLE, SELECTS
from headend.store.db import Connection
from protocols.localtime import as_datetime

#: what people ask for most has columns of its own; the rest are listed as they are exported
_LISTINGS = {
    **SELECTS,
    "roles": EVERY_ROLE,
    "terminals": (
        "SELECT t.code AS terminal, t.name, t.protocol, t.link, coalesce(t.endpoint, t.login) AS address, t.online, t.last_seen, "
        "count(i.meter_id) AS meters FROM terminal t LEFT JOIN installation i "
        "ON i.terminal_id = t.terminal_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s GROUP BY t.terminal_id ORDER BY t.code"
    ),
    "meters": (
        "SELECT m.asset AS meter, p.code AS point, t.code AS terminal, t.protocol, i.address, m.phases, i.ct, i.pt, "
        "m.accuracy::text AS accuracy, i.valid_from AS since FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) "
        "JOIN terminal t USING (terminal_id) WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s ORDER BY m.asset"
    ),
    "areas": (
        "SELECT a.code AS area, a.name, a.capacity_kva, count(*) FILTER (WHERE r.role = 'supply') AS supply, "
        "count(*) FILTER (WHERE r.role = 'receive') AS receive FROM area a LEFT JOIN area_role r "
        "ON r.area_id = a.area_id AND r.valid_from <= %(now)s AND r.valid_to > %(now)s GROUP BY a.area_id ORDER BY a.code"
    ),
    "customers": (
        "SELECT c.number AS customer, c.name, c.phone, p.code AS point, a.tariff, a.prepaid, a.protected FROM account a "
        "JOIN customer c USING (customer_id) JOIN point p USING (point_id) "
        "WHERE a.valid_from <= %(now)s AND a.valid_to > %(now)s ORDER BY c.number"
    ),
}


def listing(conn: Connection, what: str, now: Any) -> list[dict[str, Any]]:
    """What there is at `now` (datetime64 UTC) of a kind, for people."""
    return conn.execute(_LISTINGS[what], {"now": as_datetime(now)}).fetchall()


def capacities(conn: Connection) -> dict[int, float]:
    """area_id -> transformer capacity [kVA]."""
    return {
        row["area_id"]: float(row["capacity_kva"])
        for row in conn.execute("SELECT area_id, capacity_kva FROM area")
    }
