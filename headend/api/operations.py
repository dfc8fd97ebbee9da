"""What a supervisor asks: alive, ready, and how busy. No key: nothing here names a customer or a meter."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import psycopg
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from psycopg_pool import PoolTimeout

from headend.api.house import Here
from headend.api.problems import Problem
from headend.store import fleet

router = APIRouter(tags=["operations"])

#: where the nouns live
PREFIX = "/api/v1"


class Meters:
    """The application's own measurements; labels are route templates, methods and statuses, so their number
    is bounded.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "headend_http_requests_total",
            "requests answered",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "headend_http_request_seconds", "time to the answer", ("route",), registry=self.registry
        )
        self.pool = Gauge(
            "headend_db_pool", "connections to the database", ("state",), registry=self.registry
        )
        self.waiting = Gauge(
            "headend_db_pool_waiting", "requests waiting for a connection", registry=self.registry
        )


@router.get("/livez", include_in_schema=False)
def livez() -> Response:
    """The process answers; it says nothing about the database, whose absence a restart would not cure."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", include_in_schema=False)
def readyz(house: Here) -> Response:
    """Ready to serve: the database answers and has the schema."""
    try:
        with house.connection() as conn:
            ready = fleet.reachable(conn)
    except (psycopg.Error, PoolTimeout):
        ready = False
    if not ready:
        raise Problem(
            503, "not-ready", "the database does not answer or has no schema", headers={"Retry-After": "5"}
        )
    return Response("ok\n", media_type="text/plain")


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, house: Here) -> Response:
    """Prometheus text."""
    meters: Meters = request.app.state.meters
    stats = house.pool.get_stats()
    size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
    meters.pool.labels("free").set(free)
    meters.pool.labels("used").set(size - free)
    meters.waiting.set(stats.get("requests_waiting", 0))
    return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)


def _template(request: Request) -> str:
    """The path with its parameters unfilled. FastAPI names a route of an included router without the router's prefix."""
    path = str(getattr(request.scope.get("route"), "path", "unmatched"))
    missing = (
        request.url.path.startswith(f"{PREFIX}/") and path != "unmatched" and not path.startswith(PREFIX)
    )
    return PREFIX + path if missing else path


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def measure(app: FastAPI) -> None:
    """Count and time every request of the application."""
    meters = Meters()
    app.state.meters = meters

    async def middleware(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        status = 500
        try:
            response = await proceed(request)
            status = response.status_code
            return response
        finally:
            template = _template(request)
            method = request.method if request.method in _METHODS else "other"
            meters.requests.labels(template, method, str(status)).inc()
            meters.seconds.labels(template).observe(time.perf_counter() - began)

    app.middleware("http")(middleware)
