"""Open accounts and their meters of this moment, as columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store.customers import UnknownCustomer
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime, instant, local_day, midnight


@dataclass(frozen=True, slots=True)
class Accounts:
    """Open accounts whose point has one meter now, one row each, by account_id.

    start  date[account]: the first local day that begins with the account open and this meter on the point with these transformers;
           a new terminal, address or password changes nothing of what the registers mean
    """

    account_id: NDArray[np.int64]
    customer: Sequence[str]
    name: Sequence[str]
    point: Sequence[str]
    asset: Sequence[str]
    meter_id: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    tariff: NDArray[np.str_]
    prepaid: NDArray[np.bool_]
    protected: Sequence[str]
    start: Sequence[dt.date]

    def __len__(self) -> int:
        return len(self.account_id)


def of_customer(conn: Connection, number: str, *, now: Any, point: str = "") -> int:
    """The customer's open account, at this point where he has several. StoreError says which there are."""
    found = conn.execute(
        "SELECT a.account_id, p.code FROM account a JOIN customer c USING (customer_id) JOIN point p USING (point_id) "
        "WHERE c.number = %s AND a.valid_from <= %s AND a.valid_to > %s ORDER BY p.code",
        (number, as_datetime(now), as_datetime(now)),
    ).fetchall()
    mine = [row["account_id"] for row in found if point in ("", row["code"])]
    if len(mine) == 1:
        return int(mine[0])
    if len(found) > 1:
        raise StoreError(
            f"customer {number} has accounts at {', '.join(row['code'] for row in found)}: say at which point"
        )
    if found:
        raise StoreError(f"customer {number} has no account at {point}")
    raise UnknownCustomer(number)


def load(
    conn: Connection, *, now: Any, zone: ZoneInfo, prepaid_only: bool = False, executed_by: str | None = None
) -> Accounts:
    """Accounts open at `now` (datetime64 UTC). `executed_by`: those whose fee control it executes."""
    rows = conn.execute(
        """
        WITH RECURSIVE span AS (
            SELECT installation_id AS last, meter_id, point_id, ct, pt, valid_from AS since FROM installation
            WHERE valid_from <= %(now)s AND valid_to > %(now)s
            UNION ALL
            SELECT s.last, s.meter_id, s.point_id, s.ct, s.pt, i.valid_from FROM span s JOIN installation i
            ON (i.meter_id, i.point_id, i.ct, i.pt, i.valid_to) = (s.meter_id, s.point_id, s.ct, s.pt, s.since))
        SELECT a.account_id, c.number, c.name, p.code AS point, m.asset, i.meter_id, i.ct * i.pt AS multiplier, a.tariff, a.prepaid,
               a.protected, greatest(a.valid_from, (SELECT min(since) FROM span WHERE span.last = i.installation_id)) AS since
        FROM account a JOIN customer c USING (customer_id) JOIN point p USING (point_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        JOIN meter m USING (meter_id)
        WHERE a.valid_from <= %(now)s AND a.valid_to > %(now)s AND (a.prepaid OR NOT %(prepaid)s)
          AND (%(by)s::text IS NULL OR a.fee_control = %(by)s)
        ORDER BY a.account_id
        """,
        {"now": as_datetime(now), "prepaid": prepaid_only, "by": executed_by},
    ).fetchall()
    return _columns(rows, zone)


def _columns(rows: Sequence[dict[str, Any]], zone: ZoneInfo) -> Accounts:
    return Accounts(
        np.array([row["account_id"] for row in rows], dtype=np.int64),
        [row["number"] for row in rows],
        [row["name"] for row in rows],
        [row["point"] for row in rows],
        [row["asset"] for row in rows],
        np.array([row["meter_id"] for row in rows], dtype=np.int64),
        np.array([row["multiplier"] for row in rows], dtype=np.int64),
        np.array([row["tariff"] for row in rows], dtype=np.str_),
        np.array([row["prepaid"] for row in rows], dtype=np.bool_),
        [row["protected"] for row in rows],
        [_first_whole_day(instant(row["since"]), zone) for row in rows],
    )


def _first_whole_day(since: np.datetime64, zone: ZoneInfo) -> dt.date:
    day = local_day(since + np.timedelta64(1, "us"), zone)
    return day if midnight(day, zone) == since else day + dt.timedelta(days=1)
