"""The console's routes: the page, its two files, and the one document it polls."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import time
from importlib.resources import files
from threading import Lock
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request, Response

from headend.api import auth, findings, losses
from headend.api.documents import jsonable, single
from headend.api.house import Here, House
from headend.api.problems import Problem
from headend.control.finding_state import State
from headend.plans import REASONS
from headend.store import coverage, fleet, network, orderly, orders, results, splits
from headend.store import findings as store_findings
from headend.store.db import Connection
from protocols.localtime import as_datetime

router = APIRouter(include_in_schema=False)

#: Rows of the heat map; a fleet with more terminals shows those missing most, and says how many more there
#: are.
HEAT_ROWS: Final = 120
#: Findings and commands listed; the counts in the header are of all.
LISTED: Final = 60
#: losses shown beside those of the areas
LOSSES: Final = ("line", "bus", "transformer", "region", "voltage")
#: One snapshot serves every open console for this long, or for four times as long as it took to compute:
#: looking at the fleet must
#: not cost more than a fifth of a connection, however many look.
SHARED_S: Final = 1.0

#: findings that nobody has seen yet, and those that somebody is at
UNSEEN: Final = (State.NEW, State.RECURRED)
AT_WORK: Final = (State.ACKNOWLEDGED, State.ORDERED)
_SEVERITY: Final = {"alarm": 0, "warning": 1, "info": 2}
_FILES: Final = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    **dict.fromkeys(
        ("acts.js", "app.js", "commands.js", "dom.js", "findings.js", "heat.js", "loss.js", "words.js"),
        "text/javascript; charset=utf-8",
    ),
}
#: everything the page needs comes from here; nothing else may be loaded, and nobody may frame it
_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
#: headers that only a proxy adds: then the peer's address says nothing about who is asking
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


@router.get("/")
def page(request: Request) -> Response:
    """The page. It holds no data, so it needs no key."""
    return _static(request, "index.html")


@router.get("/console/data")
def data(request: Request, house: Here) -> Response:
    """Everything the page shows, in one document. For browsers on this machine, or with an API key that may
    read.
    """
    if not (request.app.state.console_open_locally and is_local(request)):
        key = auth.caller(request, Response(), house)
        if not key.may("read"):
            raise Problem(
                403, "scope-missing", f"this key of {key.person} lacks the scope 'read'", needs="read"
            )
    document = request.app.state.snapshots.get(house)
    # the clock is no part of the document, or no two answers would be equal and 304 never be given
    now = as_datetime(house.now, house.zone)
    return single(request, document, headers={"Headend-Clock": now.isoformat(timespec="milliseconds")})


@router.get("/console/{name}")
def part(request: Request, name: str) -> Response:
    """The page's own style and scripts."""
    if name not in _FILES:
        raise Problem(404, "not-found", f"there is nothing at {request.url.path}")
    return _static(request, name)


def is_local(request: Request) -> bool:
    """Whether a browser on this machine asks directly.

    The peer is loopback, no proxy stands between, and the page was asked for by a local name: a foreign name
    that resolves to
    127.0.0.1 (DNS rebinding) would let any web site read the console through its visitor's browser.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        peer = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return peer.is_loopback and name in _LOCAL_NAMES


class Snapshots:
    """The newest snapshot, shared by everybody who asks within a moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._until = 0.0
        self._document: dict[str, Any] = {}

    def get(self, house: House) -> dict[str, Any]:
        with self._lock:
            began = time.monotonic()
            if began >= self._until:
                with house.connection() as conn:
                    self._document = snapshot(conn, house)
                took = time.monotonic() - began
                self._until = time.monotonic() + max(SHARED_S, 4 * took)
            return self._document


def snapshot(conn: Connection, house: House) -> dict[str, Any]:
    """What the console shows, as JSON."""
    now, today, zone = house.now, house.today, house.zone
    yesterday = today - dt.timedelta(days=1)
    loss_day = fleet.newest_loss_day(conn)
    open_orders = orders.listing(conn, limit=LISTED, open_only=True)
    recent = orders.listing(conn, limit=LISTED)
    commands = {row["order_id"]: row for row in [*open_orders, *recent]}
    new = store_findings.listing(conn, states=UNSEEN, limit=500)
    seen = store_findings.listing(conn, states=AT_WORK, limit=LISTED)
    shown = sorted(
        [*new, *seen], key=lambda f: (f["state"] not in UNSEEN, _SEVERITY[f["severity"]], -f["finding_id"])
    )
    listed = sorted(commands.values(), key=lambda row: (not row["is_open"], -row["order_id"]))[:LISTED]
    steps = fleet.steps(conn, [row["order_id"] for row in listed])
    document = {
        "zone": zone.key,
        "today": today,
        "overview": fleet.overview(conn, now=now),
        "rates": {
            "today": coverage.rates(conn, day=today, now=now, zone=zone),
            "yesterday": coverage.rates(conn, day=yesterday, now=now, zone=zone),
        },
        "orderly": [_plan(row) for row in orderly.under_way(conn)],
        "heat": _heat(fleet.completeness(conn, day=today, now=now, zone=zone)),
        "loss": {
            "day": loss_day,
            "areas": [losses.document(row) for row in (results.losses(conn, loss_day) if loss_day else [])],
            "others": {kind: _losses(conn, kind) for kind in LOSSES},
        },
        "findings": [findings.document(row) for row in shown[:LISTED]],
        "commands": [_command(row, steps[row["order_id"]]) for row in listed],
        "reasons": {code: {"en": en, "zh": zh} for code, (en, zh) in REASONS.items()},
    }
    ready: dict[str, Any] = jsonable(document)
    return ready


def _losses(conn: Connection, kind: str) -> dict[str, Any]:
    """The last day's losses of a kind, the worst of them, in the shape of the areas'."""
    day = network.newest_day(conn, kind, "day")
    documents = [
        losses.object_document(row) for row in (splits.losses(conn, kind, "day", day) if day else [])[:LISTED]
    ]
    return {
        "day": day,
        "areas": [
            d
            | {
                "area": d["code"] if kind != "voltage" else f"{d['code']}@{d['voltage_kv']:g}",
                "name": d["name"] if kind != "voltage" else f"{d['name']} {d['voltage_kv']:g} kV",
                "meters_due": d["points_due"],
                "meters_complete": d["points_have"],
            }
            for d in documents
        ],
    }


def _heat(found: fleet.Completeness) -> dict[str, Any]:
    rows = found.worst(HEAT_ROWS)
    return {
        "day": found.day,
        "slots": [as_datetime(time).isoformat() for time in found.times[[0, -1]]],
        "width": len(found.times),
        "causes": list(found.causes),
        "terminals_total": len(found.terminals),
        "rows": [
            {
                "terminal": found.terminals[k]["code"],
                "name": found.terminals[k]["name"],
                "protocol": found.terminals[k]["protocol"],
                "link": found.terminals[k]["link"],
                "online": found.terminals[k]["online"],
                "last_seen": found.terminals[k]["last_seen"],
                "meters": found.terminals[k]["meters"],
                "due": found.due[k].tolist(),
                "missing": found.missing[k].tolist(),
                "cause": found.cause[k].tolist(),
            }
            for k in rows.astype(np.int64).tolist()
        ],
    }


def _plan(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "plan_id", "name", "state", "begins", "ends", "participants", "reduce_kw", "held", "released", "unsure",
    )  # fmt: skip
    return {name: row[name] for name in names}


def _command(row: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row["order_id"],
        "kind": row["kind"],
        "action": row["action"],
        "meter": row["asset"],
        "terminal": row["terminal"],
        "state": row["state"],
        "open": row["is_open"],
        "reason": row["reason"],
        "requested_by": row["requested_by"],
        "requested_at": row["requested_at"],
        "approved_by": row["approved_by"],
        "expires_at": row["expires_at"],
        "ended_at": row["ended_at"],
        "outcome": row["outcome"],
        "steps": steps,
    }


def _static(request: Request, name: str) -> Response:
    content = files("headend.web").joinpath(name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_SECURITY, "ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_FILES[name], headers=headers)
