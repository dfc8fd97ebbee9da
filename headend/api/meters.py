"""Meters: their readings as JSON, NDJSON or CSV, and why a day is as it is."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import chosen, link, moment, pack, page, rate, single, unpack, when
from headend.api.house import Here
from headend.api.problems import Problem
from headend.event_kinds import KINDS
from headend.plans import REASONS
from headend.store import clocks, coverage, customers, events, series
from headend.store.series import Meter, Reading
from protocols.localtime import as_datetime
from protocols.quantity import quantities

router = APIRouter(prefix="/meters", tags=["meters"])

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
FIELDS: Final = ("ts", "quantity", "obis", "unit", "value", "quality", "reason", "method")
TS: Final = {
    "curve": "a slot is named by its end: ts is the instant at which the 15 minutes closed",
    "day": "ts is the local midnight that closes the day (日冻结)",
    "spot": "ts is the instant of the reading",
}
#: points on a page when the caller does not say: a week of quarter hours
POINTS: Final = 7 * 96


@router.get("/{asset}/reads")
def reads(
    request: Request,
    asset: str,
    house: Here,
    _: Reader,
    *,
    first: Annotated[
        str | None, Query(alias="from", description="instant with offset, or local date; default: to - 1 day")
    ] = None,
    last: Annotated[
        str | None,
        Query(alias="to", description="instant with offset, or local date (included); default: now"),
    ] = None,
    quantity: Annotated[
        str, Query(max_length=400, description="codes, comma-separated, or 'all'")
    ] = "active_import",
    source: Annotated[
        Literal["curve", "day", "spot"], Query(description="15-minute curve, day freeze, spot reading")
    ] = "curve",
    limit: Annotated[int, Query(ge=1, le=series.MAX_POINTS, description="points in time on a page")] = POINTS,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Readings after `from` up to and including `to`. A hole is a row without value, with the reason."""
    media = chosen(request.headers.get("accept"), (JSON, NDJSON, CSV))
    now = house.now
    end = moment(last, house.zone, name="to", end=True) if last else now
    begin = moment(first, house.zone, name="from", end=False) if first else end - np.timedelta64(1, "D")
    position = unpack(cursor, int)
    if begin >= end:
        raise Problem(422, "invalid-request", "query/from, query/to: `from` must lie before `to`")
    after = begin if position is None else max(begin, np.datetime64(position[0], "us"))
    with house.connection() as conn:
        meter = series.meter(conn, asset, first=begin, last=end)
        codes = _codes(quantity, meter, source)
        found = series.page(
            conn, meter, source, codes, first=after, last=end, limit=limit, now=now, zone=house.zone
        )
    following = pack(int(found.after.astype(np.int64))) if found.after is not None else None
    if media == JSON:
        return page(
            request,
            "readings",
            [_row(reading) for reading in found.readings],
            following,
            meter=meter.asset,
            source=source,
            ts=TS[source],
            side="secondary: registers as the meter shows them; energy = difference x multiplier",
            installations=meter.multipliers,
            **{"from": begin, "to": end},
            reasons={code: {"en": en, "zh": zh} for code, (en, zh) in REASONS.items()},
        )
    headers = {**rate(request), **({"Link": link(request, following)} if following else {})}
    if media == NDJSON:
        text = "".join(
            json.dumps({"meter": asset, **_row(r)}, ensure_ascii=False) + "\n" for r in found.readings
        )
        return Response(text, media_type=NDJSON, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{_safe(asset)}-{source}.csv"'
    return Response(
        "".join(_csv(asset, found.readings)), media_type="text/csv; charset=utf-8", headers=headers
    )


@router.get("/{asset}/why/{day}")
def why(request: Request, asset: str, day: dt.date, house: Here, _: Reader) -> Response:
    """The chain of reasons for one local day: what was expected, what came when, and why the rest did not."""
    if not 2000 <= day.year <= 2200:
        raise Problem(422, "invalid-request", "path/day: a year from 2000 to 2200")
    with house.connection() as conn:
        found = coverage.why(conn, asset=asset, day=day, now=house.now, zone=house.zone)
        cut = clocks.disturbed_day(conn, asset, day, house.zone)
    document = {**found.to_dict(), "clock_sets": cut}
    document.pop(
        "now", None
    )  # it would make every answer differ from the one before, and the entity tag useless
    return single(request, document)


@router.get("/{asset}")
def one(request: Request, asset: str, house: Here, _: Reader) -> Response:
    """One meter: installation and multiplier now, its customer, what is proven about its relay."""
    now = house.now
    with house.connection() as conn:
        meter = series.meter(conn, asset, first=now - np.timedelta64(1, "us"), last=now)
        customer = customers.of_meter(conn, meter.meter_id, now=now)
        relay = customers.relay(conn, meter.meter_id)["state"]
        clock = clocks.known(conn, "meter", [meter.meter_id]).get(meter.meter_id)
    return single(
        request,
        {
            "meter": meter.asset,
            "phases": meter.phases,
            "installations": meter.multipliers,
            "customer": customer,
            "quantities": {source: meter.codes(source) for source in ("curve", "day", "spot")},
            "relay": relay,
            "clock": None if clock is None else asdict(clock),
        },
    )


@router.get("/{asset}/events")
def told(
    request: Request,
    asset: str,
    house: Here,
    _: Reader,
    *,
    first: Annotated[
        str | None,
        Query(alias="from", description="instant with offset, or local date; default: to - 31 days"),
    ] = None,
    last: Annotated[
        str | None,
        Query(alias="to", description="instant with offset, or local date (included); default: now"),
    ] = None,
) -> Response:
    """What the meter, or its terminal, noted of it: oldest first, at most 1,000. `kind` is one word for all protocols, `code` the standard's own."""
    end = moment(last, house.zone, name="to", end=True) if last else house.now + np.timedelta64(1, "D")
    begin = moment(first, house.zone, name="from", end=False) if first else end - np.timedelta64(31, "D")
    with house.connection() as conn:
        meter = series.meter(conn, asset, first=begin, last=end)
        found = events.of(conn, "meter", meter.meter_id, as_datetime(begin), as_datetime(end))
    return single(request, {"meter": meter.asset, "events": [_event(event) for event in found]})


def _event(event: events.Event) -> dict[str, Any]:
    kind = KINDS.get(str(event.detail.get("kind", "")))
    return {
        "code": event.code,
        "kind": event.detail.get("kind"),
        "en": kind.en if kind else None,
        "zh": kind.zh if kind else None,
        "severity": kind.severity if kind else "info",
        "began": event.occurred,
        "ended": event.ended,
        "received": event.received,
        "detail": {name: value for name, value in event.detail.items() if name != "kind"},
    }


def _codes(text: str, meter: Meter, source: str) -> tuple[str, ...]:
    possible = meter.codes(source)
    if text == "all":
        return possible
    wanted = tuple(dict.fromkeys(code.strip() for code in text.split(",") if code.strip()))
    wrong = [code for code in wanted if code not in possible]
    if wrong or not wanted:
        raise Problem(
            422,
            "invalid-request",
            f"query/quantity: {', '.join(wrong) or 'nothing named'} is not read from this meter by {source}; "
            f"choose from {', '.join(possible)}, or all",
        )
    return wanted


def _row(reading: Reading) -> dict[str, Any]:
    quantity = quantities()[reading.quantity]
    exact = quantity.kind == "register" and reading.value is not None
    row: dict[str, Any] = {
        "ts": when(reading.ts),
        "quantity": reading.quantity,
        "obis": quantity.obis,
        "unit": quantity.unit,
        "value": f"{reading.value:f}" if exact else reading.value,
        "quality": reading.quality,
    }
    if reading.reason:
        row["reason"] = reading.reason
    if reading.method:
        row["method"] = reading.method
    return row


def _csv(asset: str, readings: list[Reading]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("meter", *FIELDS))
    for reading in readings:
        row = _row(reading)
        writer.writerow((asset, *("" if row.get(field) is None else row[field] for field in FIELDS)))
    yield buffer.getvalue()


def _safe(asset: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in asset)
