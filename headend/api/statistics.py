"""Statistics (统计): collection, load, voltage, key users, forecasts, demand response, outages, customer segments."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import PAGE, Cursor, Limit, moment, pack, page, single, unpack
from headend.api.house import Here
from headend.store import forecasts, key_users, outages, point_groups, response, segments, statistics

router = APIRouter(prefix="/statistics", tags=["statistics"])

By = Literal["all", "region", "industry", "line", "area", "maker", "group"]
What = Literal["profile", "payment", "theft", "shift"]
#: longest period of one question: a year of days
MOST_DAYS = 366

First = Annotated[dt.date | None, Query(alias="from", description="first local day; default: `to`")]
Last = Annotated[
    dt.date | None, Query(alias="to", description="last local day, included; default: yesterday")
]
Key = Annotated[
    str | None, Query(max_length=100, description="one region, industry, line, area, maker or group")
]


def _period(
    house: Here, first: dt.date | None, last: dt.date | None, most: int = MOST_DAYS
) -> tuple[dt.date, dt.date]:
    last = last or house.today - dt.timedelta(days=1)
    first = first or last
    if not 0 <= (last - first).days < most:
        raise statistics.BadQuestion(f"{first} to {last} is no period of 1 to {most} days")
    return first, last


@router.get("/success")
def success(
    request: Request,
    house: Here,
    _: Reader,
    by: By = "all",
    key: Key = None,
    first: First = None,
    last: Last = None,
) -> Response:
    """Once, cycle, integrity, operation, on-line and coverage rates of a period (采集成功率, 投运率, 在线率, 覆盖率); null where nothing was due."""
    first, last = _period(house, first, last)
    with house.connection() as conn:
        rows = statistics.success(conn, by, first, last, key)
    return single(request, {"by": by, "from": first, "to": last, "items": rows})


@router.get("/load")
def load(
    request: Request,
    house: Here,
    _: Reader,
    by: By = "all",
    key: Key = None,
    first: First = None,
    last: Last = None,
) -> Response:
    """Load factor (负荷率), peak-valley difference (峰谷差) and simultaneity (同时率) by day: of the customers of whom every slot is known."""
    first, last = _period(house, first, last)
    with house.connection() as conn:
        rows = statistics.load(conn, by, first, last, key)
    units = {"energy": "kWh", "mean": "kW", "high": "kW", "low": "kW", "difference": "kW"}
    return single(request, {"by": by, "from": first, "to": last, "units": units, "items": rows})


@router.get("/voltage")
def voltage(
    request: Request,
    house: Here,
    _: Reader,
    by: By = "region",
    key: Key = None,
    first: First = None,
    last: Last = None,
) -> Response:
    """Voltage qualification rates (电压合格率) by class A to D, and the index made of them."""
    first, last = _period(house, first, last)
    with house.connection() as conn:
        rows = statistics.voltage(conn, by, first, last, key)
    told = {"index": "0.5 A + 0.5 (B + C + D) / 3", "limits": "GB/T 12325", "unit": "minutes"}
    return single(request, {"by": by, "from": first, "to": last, **told, "items": rows})


@router.get("/key-users")
def key(request: Request, house: Here, _: Reader, first: First = None, last: Last = None) -> Response:
    """Key users (重点用户) of a period, the greatest energy first, each with why he is one; default: the 30 days up to yesterday."""
    if first is None:
        first = (last or house.today - dt.timedelta(days=1)) - dt.timedelta(days=29)
    first, last = _period(house, first, last, key_users.MOST_DAYS)
    with house.connection() as conn:
        rows = key_users.listing(conn, first, last, house.zone)
    return single(request, {"from": first, "to": last, "items": rows})


@router.get("/forecasts")
def errors(request: Request, house: Here, _: Reader, first: First = None, last: Last = None) -> Response:
    """How wrong the forecasts of a period were, by area, beside the same weekday of the week before."""
    first, last = _period(house, first, last)
    with house.connection() as conn:
        rows = forecasts.errors(conn, first, last)
    return single(
        request,
        {"from": first, "to": last, "error": "sum of absolute differences / energy taken", "items": rows},
    )


@router.get("/forecasts/{area}")
def forecast(
    request: Request,
    area: str,
    house: Here,
    _: Reader,
    day: Annotated[dt.date | None, Query(description="local day; default: tomorrow")] = None,
) -> Response:
    """What a transformer area will take by quarter-hour, or was to take on a day gone by."""
    day = day or house.today + dt.timedelta(days=1)
    with house.connection() as conn:
        row = forecasts.one(conn, area, day)
    row.pop("area_id")
    return single(request, {**row, "unit": "kWh"})


@router.get("/groups")
def groups(request: Request, house: Here, _: Reader) -> Response:
    """Groups of metering points (群组) that statistics can be asked for by."""
    with house.connection() as conn:
        return single(request, {"items": point_groups.listing(conn)})


@router.get("/groups/{group}/response")
def effect(
    request: Request,
    group: str,
    house: Here,
    _: Reader,
    begin: Annotated[str, Query(alias="from", description="an instant with offset: when the event began")],
    end: Annotated[str, Query(alias="to", description="when it ended, within the same local day")],
    without: Annotated[
        list[dt.date] | None, Query(description="days that are no like days: other events")
    ] = None,
) -> Response:
    """What a call to save electricity (需求响应) has brought of a group: energy reduced, with its limits 19 times in 20."""
    span = (moment(begin, house.zone, name="from", end=False), moment(end, house.zone, name="to", end=True))
    with house.connection() as conn:
        told = response.effect(conn, group, *span, house.zone, without or ())
    return single(request, {"group": group, **told.to_dict()})


@router.get("/outages")
def dark(
    request: Request,
    house: Here,
    _: Reader,
    area: Annotated[str | None, Query(max_length=100, description="one transformer area")] = None,
    first: First = None,
    last: Annotated[
        dt.date | None, Query(alias="to", description="last local day, included; default: today")
    ] = None,
) -> Response:
    """Outages of transformer areas (停电), inferred from what meters and terminals say: from when to when, how sure, how many customers."""
    first, last = _period(house, first, last or house.today)
    with house.connection() as conn:
        rows = outages.listing(conn, first, last, area)
    return single(request, {"from": first, "to": last, "items": rows})


@router.get("/segments")
def kinds(
    request: Request,
    house: Here,
    _: Reader,
    what: What | None = None,
    label: Annotated[
        str | None, Query(max_length=40, description="one answer, such as evening or high")
    ] = None,
    customer: Annotated[str | None, Query(max_length=60, description="one customer's number")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """What kind each customer is: load profile (profile), payment behaviour (payment), theft risk (theft), peak-shift potential (shift), each
    with the version of its definition and the numbers behind it. A page holds all answers of so many customers.
    """
    position = unpack(cursor, str)
    with house.connection() as conn:
        after = position[0] if position else ""
        rows, following = segments.page(conn, what, label, number=customer, limit=limit, after=after)
        counts = segments.counts(conn) if position is None else []
    return page(request, "segments", rows, pack(following) if following else None, counts=counts)
