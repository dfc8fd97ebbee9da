"""Line loss (线损) by transformer area (台区) and day."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import energy, single
from headend.api.house import Here
from headend.store import fleet, results

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
