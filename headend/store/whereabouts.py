"""How one meter is reached and when it was heard last: what a diagnosis of it begins with. Read from the archive, the leases and the ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: How far back conversations are looked for; older ones say nothing about today.
RECENT = dt.timedelta(days=3)


class NotInstalled(StoreError):
    """The meter hangs nowhere now."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A meter's route at an instant, and the last contacts on it.

    owner      the collector that has the terminal's lease; '' if none
    last_talk  the last conversation about this meter that is kept, and its task
    last_slot, last_day  the newest quarter-hour and day freeze in the store
    attempts   (reason, how often, last, detail) of the recent tries that brought nothing, newest first
    """

    meter_id: int
    asset: str
    phases: int
    address: str
    pn: int
    ct: int
    pt: int
    point: str
    area: str
    terminal_id: int
    terminal: str
    terminal_name: str
    protocol: str
    link: str
    endpoint: str
    login: str
    online: bool
    last_seen: dt.datetime | None
    owner: str
    last_talk: dt.datetime | None
    last_task: str
    last_slot: dt.datetime | None
    last_day: dt.datetime | None
    attempts: tuple[tuple[str, int, dt.datetime, str], ...]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def whereabouts(conn: Connection, asset: str, now: Any) -> Whereabouts:
    """UnknownMeter, or NotInstalled at `now`."""
    if conn.execute("SELECT 1 FROM meter WHERE asset = %s", (asset,)).fetchone() is None:
        raise UnknownMeter(asset)
    at = as_datetime(now)
    row = conn.execute(
        """
        SELECT m.meter_id, m.asset, m.phases, i.address, coalesce(i.pn, 0) AS pn, i.ct, i.pt, i.secrets, p.code AS point,
               t.terminal_id, t.code AS terminal, t.name AS terminal_name, t.protocol, t.link, coalesce(t.endpoint, '') AS endpoint,
               coalesce(t.login, '') AS login, t.online, t.last_seen,
               coalesce((SELECT owner FROM lease l WHERE l.terminal_id = t.terminal_id AND l.until > clock_timestamp()), '') AS owner,
               coalesce((SELECT string_agg(a.code, ', ' ORDER BY a.code) FROM area_role r JOIN area a USING (area_id)
                         WHERE r.point_id = i.point_id AND r.valid_from <= %(now)s AND r.valid_to > %(now)s), '') AS area
        FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) JOIN terminal t USING (terminal_id)
        WHERE m.asset = %(asset)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        """,
        {"asset": asset, "now": at},
    ).fetchone()
    if row is None:
        raise NotInstalled(
            f"meter {asset} hangs nowhere now; `headend archive show {asset}` tells where it has been"
        )
    meter = row["meter_id"]
    talk = conn.execute(
        "SELECT taken_at, task FROM exchange WHERE meter_id = %s AND taken_at > %s AND taken_at <= %s ORDER BY taken_at DESC LIMIT 1",
        (meter, at - RECENT, at),
    ).fetchone()
    newest = conn.execute(
        "SELECT (SELECT max(ts) FROM slot_read WHERE meter_id = %(meter)s AND ts > %(since)s AND ts <= %(now)s) AS slot, "
        "(SELECT max(ts) FROM register_read WHERE meter_id = %(meter)s AND ts > %(since)s AND ts <= %(now)s) AS day",
        {"meter": meter, "since": at - RECENT, "now": at},
    ).fetchone()
    assert newest is not None
    tries = conn.execute(
        "SELECT reason, sum(attempts)::int AS attempts, max(last_at) AS last_at, (array_agg(detail ORDER BY last_at DESC))[1] AS detail "
        "FROM gap_reason WHERE meter_id = %s AND last_at > %s AND reason <> 'expired' GROUP BY reason ORDER BY max(last_at) DESC LIMIT 3",
        (meter, at - RECENT),
    ).fetchall()
    return Whereabouts(
        **row, last_talk=talk["taken_at"] if talk else None, last_task=talk["task"] if talk else "", last_slot=newest["slot"],
        last_day=newest["day"], attempts=tuple((t["reason"], t["attempts"], t["last_at"], t["detail"]) for t in tries),
    )  # fmt: skip
