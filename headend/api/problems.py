"""Every error leaves as application/problem+json (RFC 9457): what happened, in a sentence that says what to
do.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import Any, Final

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from headend.control.order_state import NoSuchStep
from headend.store import (
    batches,
    customers,
    debts,
    feed,
    findings,
    forecasts,
    grace,
    idempotency,
    keys,
    ledger,
    no_trip,
    notices,
    orderly,
    orderly_candidates,
    orders,
    point_groups,
    response,
    statistics,
    trip_stop,
)
from headend.store.campaigns import UnknownCampaign
from headend.store.coverage import UnknownMeter
from headend.store.db import StoreError, Unreachable
from headend.store.price_tables import NoContract

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """An error to be answered as it is. `kind` is its stable name (the end of `type`); `more` are further
    members.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.more = more


def respond(request: Request, problem: Problem) -> JSONResponse:
    """The response for a problem. `type` is a name, not an address: there is nothing to fetch behind it."""
    return JSONResponse(
        {
            "type": f"urn:headend:problem:{problem.kind}",
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
            "instance": request.url.path,
            **problem.more,
        },
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


#: what the store complains about -> status and name; the first class that fits, from the most special one up
STORE_ERRORS: Final[dict[type[Exception], tuple[int, str]]] = {
    UnknownMeter: (404, "unknown-meter"),
    customers.UnknownCustomer: (404, "unknown-customer"),
    ledger.UnknownCustomer: (404, "unknown-customer"),
    orders.UnknownOrder: (404, "unknown-command"),
    UnknownCampaign: (404, "unknown-campaign"),
    NoContract: (404, "no-contract"),
    orders.UnknownTerminal: (404, "unknown-terminal"),
    batches.UnknownBatch: (404, "unknown-batch"),
    no_trip.UnknownDeclaration: (404, "unknown-declaration"),
    grace.UnknownGrace: (404, "unknown-grace"),
    debts.UnknownDebt: (404, "unknown-debt"),
    trip_stop.CannotResume: (409, "cannot-resume"),
    orderly.UnknownPlan: (404, "unknown-plan"),
    orderly.BadPlan: (422, "invalid-request"),
    orderly_candidates.BadWhom: (422, "invalid-request"),
    orderly.CannotApprove: (409, "cannot-approve"),
    orderly.CannotAct: (409, "plan-not-in-that-state"),
    findings.UnknownFinding: (404, "unknown-finding"),
    notices.UnknownNotice: (404, "unknown-notice"),
    findings.CannotAct: (409, "finding-not-in-that-state"),
    orders.NotInstalled: (409, "meter-not-installed"),
    orders.AlreadyOpen: (409, "command-open"),
    orders.Refused: (409, "refused"),
    NoSuchStep: (409, "command-not-in-that-state"),
    ledger.PaymentConflict: (409, "payment-conflict"),
    ledger.PaymentReversed: (409, "payment-reversed"),
    keys.UnknownKey: (404, "unknown-key"),
    point_groups.UnknownGroup: (404, "unknown-group"),
    forecasts.NoForecast: (404, "no-forecast"),
    response.NoEffect: (409, "effect-not-known"),
    statistics.BadQuestion: (422, "invalid-request"),
    feed.BadCursor: (400, "bad-cursor"),
    feed.StaleCursor: (410, "stale-cursor"),
    idempotency.KeyReused: (422, "idempotency-key-reused"),
    StoreError: (409, "conflict"),
}


def from_store(error: Exception) -> Problem:
    """The problem that a complaint of the store is for the caller."""
    status, kind = next(STORE_ERRORS[cls] for cls in type(error).__mro__ if cls in STORE_ERRORS)
    more: dict[str, Any] = {}
    if isinstance(error, orders.Refused):
        more["gates"] = [{"gate": gate, "why": why} for gate, why in error.reasons]
    if isinstance(error, orders.Refused | orders.AlreadyOpen) and error.order_id:
        more["command"] = f"/api/v1/commands/{error.order_id}"
    return Problem(status, kind, str(error), **more)


def install(app: FastAPI) -> None:
    """Answer every error of the application in this one shape."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return respond(request, error)

    async def complaint(request: Request, error: Exception) -> JSONResponse:
        return respond(request, from_store(error))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind, detail = {
            404: ("not-found", f"there is nothing at {request.url.path}"),
            405: ("method-not-allowed", f"{request.method} is not possible at {request.url.path}"),
        }.get(error.status_code, ("http-error", str(error.detail)))
        return respond(request, Problem(error.status_code, kind, detail, headers=dict(error.headers or {})))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [
            {"where": "/".join(str(part) for part in item["loc"]), "problem": str(item["msg"])}
            for item in error.errors()
        ]
        first = errors[0] if errors else {"where": "request", "problem": "invalid"}
        return respond(
            request, Problem(422, "invalid-request", f"{first['where']}: {first['problem']}", errors=errors)
        )

    async def unreachable(request: Request, error: Exception) -> JSONResponse:
        log.warning("database unreachable", path=request.url.path, error=str(error).splitlines()[0:1])
        return respond(
            request,
            Problem(
                503,
                "database-unreachable",
                "the database does not answer; nothing was changed, try again",
                headers={"Retry-After": "5"},
            ),
        )

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # The trace goes to the log, the caller learns nothing about our insides. As text: a pretty printer shows local variables,
        # and those hold API keys.
        log.error("request failed", path=request.url.path, trace="".join(traceback.format_exception(error)))
        return respond(request, Problem(500, "internal-error", "the head-end failed; its log has the cause"))

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(StoreError, complaint)
    app.add_exception_handler(NoSuchStep, complaint)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    for broken in (PoolTimeout, Unreachable, psycopg.OperationalError, psycopg.InterfaceError):
        app.add_exception_handler(broken, unreachable)
    app.add_exception_handler(Exception, unexpected)
