"""The web application on a small seeded utility, and keys of several persons to call it with."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from headend.server import ServerSettings, build
from headend.store import keys
from headend.store.db import Connection
from tests.support.seed import ZONE, Clock, Seeded, fill

#: four areas of six meters: enough for every state, and quick to make
AREAS, METERS = 4, 6
#: [area][meter] of customers whose prepaid balance is below zero, who were told, and whom nothing protects
BROKE = ((1, 4), (3, 4))
PROTECTED = (0, 2)


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a test of the API needs."""

    conn: Connection
    made: Seeded
    app: FastAPI
    client: TestClient
    keys: dict[str, str]

    def auth(self, who: str, once: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        return headers | ({"Idempotency-Key": once} if once else {})

    def get(self, path: str, who: str = "reader", **more: Any) -> Any:
        headers = self.auth(who) | more.pop("headers", {})
        return self.client.get(f"/api/v1{path}", headers=headers, **more)

    def post(self, path: str, body: Any = None, *, who: str, once: str) -> Any:
        return self.client.post(f"/api/v1{path}", json=body, headers=self.auth(who, once))


PEOPLE = {
    "reader": ("crm", ["read"]),
    "operator": ("陈晓", ["read", "operate"]),
    "approver": ("李敏", ["read", "operate", "approve"]),
    "operator-approver": ("陈晓", ["read", "operate", "approve"]),
    "cashier": ("bank", ["read", "pay"]),
    "teller": ("crm", ["read", "notify"]),
    "admin": ("root", ["admin"]),
}


@pytest.fixture
def desk(store_dsn: str, store: Connection) -> Iterator[Desk]:
    """The application, running, with one key for each of PEOPLE."""
    made = fill(store, areas=AREAS, meters=METERS)
    issued = {
        name: keys.issue(store, person=person, scopes=scopes, lifetime=dt.timedelta(hours=1))
        for name, (person, scopes) in PEOPLE.items()
    }
    store.commit()
    app = build(ServerSettings(dsn=store_dsn, zone=ZONE, clock=Clock()))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Desk(store, made, app, client, issued)


def settle(conn: Connection) -> None:
    """Wait until the feed shows all that is committed: a transaction anywhere in the server, of another test, holds it back."""
    conn.commit()
    deadline = time.monotonic() + 120
    while True:
        row = conn.execute(
            "SELECT coalesce(max(xid), '0'::xid8) < pg_snapshot_xmin(pg_current_snapshot()) AS shown FROM feed"
        ).fetchone()
        conn.commit()
        if row is not None and row["shown"]:
            return
        assert time.monotonic() < deadline, "the feed does not move"
        time.sleep(0.01)


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    """Assert that a response is this problem, in the shape of RFC 9457, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:headend:problem:{kind}"
    assert body["status"] == status
    assert {"title", "detail", "instance"} <= body.keys()
    assert "\n" not in body["detail"]
    return dict(body)
