"""The web application: REST for the CRM and operators, the console, and what a supervisor asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fastapi import APIRouter, FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from headend import __version__
from headend.api import (
    auth,
    bank,
    changes,
    commands,
    customers,
    debts,
    findings,
    fleet,
    keys,
    losses,
    meters,
    notices,
    operations,
    orderly,
    prices,
    problems,
    statistics,
    trips,
    wallets,
)
from headend.api.house import House
from headend.clock import Clock
from headend.store import db
from headend.web import console


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the application needs to be told.

    pool_size             statements at once; a request waits at most 5 s for its turn, then the answer is 503
    requests_per_minute   per API key
    console_open_locally  whether a browser on this machine may see the console without a key
    """

    dsn: str
    zone: ZoneInfo
    clock: Clock
    pool_size: int = 8
    requests_per_minute: int = auth.PER_MINUTE
    console_open_locally: bool = True


def build(settings: ServerSettings) -> FastAPI:
    """The application. Connections are opened when it starts and closed when it stops, not here."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with db.pool(settings.dsn, settings.pool_size) as pool:
            app.state.house = House(pool, settings.zone, settings.clock)
            yield

    app = FastAPI(
        title="headend",
        version=__version__,
        summary="Meter data acquisition head-end",
        lifespan=lifespan,
        openapi_url=f"{operations.PREFIX}/openapi.json",
        # the usual pages load their scripts from elsewhere; a control room has no elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.limits = auth.limits(settings.requests_per_minute)
    app.state.console_open_locally = settings.console_open_locally
    app.state.snapshots = console.Snapshots()
    problems.install(app)
    operations.measure(app)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=5)
    api = APIRouter(prefix=operations.PREFIX)
    for noun in (
        customers,
        wallets,
        debts,
        meters,
        commands,
        trips,
        orderly,
        losses,
        findings,
        notices,
        statistics,
        changes,
        fleet,
        keys,
        bank,
        prices,
    ):
        api.include_router(noun.router)
    app.include_router(api)
    app.include_router(operations.router)
    app.include_router(console.router)
    return app
