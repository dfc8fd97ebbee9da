"""The fleet at a glance."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import single
from headend.api.house import Here
from headend.store import callers, clocks, coverage, fleet
from protocols.localtime import as_datetime

router = APIRouter(prefix="/fleet", tags=["fleet"])


@router.get("")
def overview(request: Request, house: Here, _: Reader) -> Response:
    """Terminals, meters, open commands, new findings, the collection rates of today's curve and
    yesterday's day freeze, and how far the meters' clocks are off.
    """
    now, today = house.now, house.today
    with house.connection() as conn:
        counts = fleet.overview(conn, now=now)
        curve = coverage.rates(conn, day=today, now=now, zone=house.zone)
        freeze = coverage.rates(conn, day=today - dt.timedelta(days=1), now=now, zone=house.zone)
        spread = clocks.spread(conn, as_datetime(now))
    told = {"bands_seconds": clocks.BANDS, **(spread[0] if spread else {})}
    return single(request, {**counts, "today": curve, "yesterday": freeze, "clocks": told})


@router.get("/callers")
def unserved(
    request: Request,
    house: Here,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=callers.MOST, description="callers, the latest first")] = 100,
) -> Response:
    """Who dials in and is not served, and why: not in the archive, or speaking otherwise than the archive says."""
    with house.connection() as conn:
        return single(request, {"items": callers.listing(conn, limit)})
