"""Line loss (线损) by transformer area (台区), line, bus, transformer, region and voltage level, by day and month."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import energy, single
from headend.api.house import Here
from headend.api.problems import Problem
from headend.store import fleet, loss_curve, network, results, splits
from headend.store.splits import UnknownObject
from protocols.localtime import as_datetime
from protocols.reading import MISSING

Kind = Literal["area", "line", "bus", "transformer", "substation", "region", "voltage"]

ENERGIES = (
    "supplied", "sold", "loss", "loss_low", "loss_high", "likely_low", "likely_high", "technical", "technical_error",
)  # fmt: skip

router = APIRouter(prefix="/losses", tags=["losses"])


@router.get("")
def losses(
    request: Request,
    house: Here,
    _: Reader,
    day: Annotated[dt.date | None, Query(description="local day; default: the last one computed")] = None,
) -> Response:
    """Every area's loss with its bounds, highest rate first. An area without enough data is unknown, with the
    cause, never 0.
    """
    with house.connection() as conn:
        day = day or fleet.newest_loss_day(conn)
        rows = results.losses(conn, day) if day else []
    return single(
        request,
        {
            "day": day,
            "unit": "kWh",
            "bounds": "the true loss lies within [loss_low, loss_high] while every meter keeps its class, within [likely_low, likely_high]"
            " 19 times in 20; rate = loss / supplied; loss = technical + unexplained",
            "areas": [document(row) for row in rows],
        },
    )


def document(row: dict[str, Any]) -> dict[str, Any]:
    """One area's loss; every energy is None where it is unknown."""
    unexplained = None if row["technical"] is None else row["loss"] - row["technical"]
    return {
        "area": row["area"],
        "name": row["name"],
        "status": row["status"],
        **{name: energy(row[name]) for name in ENERGIES},
        "unexplained": energy(unexplained),
        "rate": row["rate"],
        "meters_due": row["meters_due"],
        "meters_complete": row["meters_complete"],
        "missing": row["missing_assets"],
        "why": row["why"] or None,
        "computed_at": row["computed_at"],
    }


@router.get("/{kind}")
def losses_by(
    request: Request,
    house: Here,
    _: Reader,
    kind: Kind,
    period: Literal["day", "month"] = "day",
    first_day: Annotated[
        dt.date | None,
        Query(description="the day, or the first of the month; default: the last one computed"),
    ] = None,
) -> Response:
    """The losses of all objects of a kind, highest rate first. A bounded one has limits and no number: a part of it is missing, and took no
    more than `unmetered`. Transformers carry their iron and copper loss by the plate.
    """
    with house.connection() as conn:
        first_day = first_day or network.newest_day(conn, kind, period)
        rows = splits.losses(conn, kind, period, first_day) if first_day else []
    return single(
        request,
        {
            "kind": kind,
            "period": period,
            "first_day": first_day,
            "unit": "kWh",
            "bounds": "the true loss lies within [loss_low, loss_high]; rate = loss / supplied",
            "objects": [object_document(row) for row in rows],
        },
    )


@router.get("/{kind}/{code}/curve")
def curve(
    request: Request,
    house: Here,
    _: Reader,
    kind: Kind,
    code: str,
    day: Annotated[dt.date | None, Query(description="local day; default: yesterday")] = None,
) -> Response:
    """One object's loss by quarter-hour (同期), named by their ends; None where a point of it is not known. CODE of a voltage level: REGION@KV."""
    day = day or house.today - dt.timedelta(days=1)
    with house.connection() as conn:
        try:
            key = splits.object_of(conn, kind, code)
        except UnknownObject as error:
            raise Problem(404, "not-found", str(error)) from None
        found = loss_curve.curves(conn, kind, [key], day, house.zone).get(key)
    slots = [] if found is None else zip(found.times, found.supplied, found.sold, found.loss, strict=True)
    return single(
        request,
        {
            "kind": kind,
            "code": code,
            "day": day,
            "unit": "kWh",
            "slots": [
                {
                    "slot_end": as_datetime(when),
                    "supplied": _kwh(supplied),
                    "sold": _kwh(sold),
                    "loss": _kwh(loss),
                }
                for when, supplied, sold, loss in slots
            ],
        },
    )


def _kwh(units: Any) -> str | None:
    return None if units == MISSING else energy(int(units))


def object_document(row: dict[str, Any]) -> dict[str, Any]:
    """One object's loss; every energy is None where it is not known."""
    energies = ("supplied", "sold", "loss", "loss_low", "loss_high", "unmetered", "iron", "copper")
    return {
        "code": row["code"],
        "voltage_kv": row["kv"],
        "name": row["name"],
        "status": row["status"],
        **{name: energy(row[name]) for name in energies},
        "rate": row["rate"],
        "load": row["load"],
        "method": row["method"],
        "points_due": row["points_due"],
        "points_have": row["points_have"],
        "missing": row["missing_points"],
        "why": row["why"] or None,
        "computed_at": row["computed_at"],
    }
