"""Hours and prices in meters: what a meter holds, against what is billed, and how far campaigns are."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from headend.api.auth import Reader
from headend.api.documents import page, single
from headend.api.house import Here
from headend.api.problems import Problem
from headend.store import calendar, campaigns, price_tables, tariffs
from headend.store.db import Connection
from protocols.localtime import local_day
from tariffs.days import CalendarError
from tariffs.timetable import clashes

router = APIRouter(prefix="/prices", tags=["prices"])

#: days that a comparison looks ahead
AHEAD: Final = dt.timedelta(days=30)


@router.get("/meters/{asset}")
def of_meter(request: Request, asset: str, house: Here, _: Reader) -> Response:
    """The tables that were read last of a meter, present and spare, and where its present hours are not those of its account's plan. A command of
    kind `prices` reads them anew."""
    with house.connection() as conn:
        whose = price_tables.contract(conn, asset, house.now)
        held = price_tables.newest(conn, [whose.meter_id]).get(whose.meter_id)
        if held is None:
            raise Problem(
                404,
                "not-read",
                f"the tables of meter {asset} were never read; POST /api/v1/commands with kind prices, action read",
            )
        found, why = _compared(conn, whose, held.document, local_day(house.now, house.zone))
    return single(
        request,
        {
            "meter": asset, "customer": whose.customer, "tariff": whose.tariff, "read_at": held.read_at, "command": held.order_id,
            "tables": held.document, "differences": found, "not_compared": why,
        },
    )  # fmt: skip


def _compared(
    conn: Connection, whose: price_tables.Contract, held: dict[str, Any], today: dt.date
) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Where the meter counts otherwise, or None and why nobody can say."""
    try:
        version = tariffs.one(conn, whose.tariff).on(today)
        days = calendar.days(conn, today, today + AHEAD)
        found = clashes(whose.tariff, version, held, today, today + AHEAD, days)
    except (LookupError, CalendarError, TypeError) as why:
        return None, str(why)
    return [{**clash._asdict(), "day": clash.day.isoformat()} for clash in found], None


@router.get("/campaigns")
def listing(request: Request, house: Here, _: Reader) -> Response:
    """Campaigns, newest first, with the number of their meters by state."""
    with house.connection() as conn:
        rows = campaigns.listing(conn)
    return page(request, "campaigns", [_document(row) for row in rows], None)


@router.get("/campaigns/{number}")
def one(request: Request, number: int, house: Here, _: Reader) -> Response:
    """One campaign: what waits for approval, and who was not reached and why."""
    with house.connection() as conn:
        campaigns.one(conn, number)
        (row,) = (row for row in campaigns.listing(conn) if row["campaign_id"] == number)
        ready = campaigns.meters(conn, number, ["ready"])
        document = {
            **_document(row), "ready": campaigns.differences(ready), "shown": campaigns.digest(ready) or None,
            "causes": campaigns.causes(conn, number),
        }  # fmt: skip
    return single(request, document)


def _document(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "tariff",
        "switch_at",
        "state",
        "why",
        "reason",
        "requested_by",
        "requested_at",
        "per_hour",
        "stop_after",
        "meters",
    )
    return {"id": row["campaign_id"], **{name: row[name] for name in names}}
