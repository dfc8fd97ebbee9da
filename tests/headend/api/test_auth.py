"""Keys, scopes and rates."""

from __future__ import annotations

import datetime as dt

import pytest
from starlette.testclient import TestClient

from headend.api.auth import Limiter
from headend.server import ServerSettings, build
from headend.store import keys
from tests.support.app import Desk, problem
from tests.support.seed import ZONE, Clock


def test_without_a_valid_key_nothing_is_told(desk: Desk) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic aGVzOmhlcw=="},
        {"Authorization": f"Bearer {desk.keys['reader']}x"},
        {"Authorization": "Bearer hes_00000000_secret"},
        {"Authorization": "Bearer hes_é_é".encode()},
    ):
        response = desk.client.get("/api/v1/fleet", headers=headers)  # type: ignore[arg-type]
        problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert desk.get("/fleet").status_code == 200


def test_a_revoked_or_expired_key_is_no_key(desk: Desk) -> None:
    gone = keys.issue(desk.conn, person="x", scopes=["read"])
    over = keys.issue(desk.conn, person="y", scopes=["read"], lifetime=dt.timedelta(seconds=-1))
    desk.conn.commit()
    desk.keys.update(gone=gone, over=over)
    assert desk.get("/fleet", "gone").status_code == 200
    problem(desk.get("/fleet", "over"), 401, "unauthorized")
    keys.revoke(desk.conn, gone.split("_")[1])
    desk.conn.commit()
    problem(desk.get("/fleet", "gone"), 401, "unauthorized")


def test_each_write_needs_its_scope(desk: Desk) -> None:
    command = {"kind": "read", "meter": desk.made.assets[0][1], "reason": "customer asks"}
    payment = {"channel": "bank", "accounting_date": "2026-03-11", "serial": "1", "amount_fen": 100}
    wanted = desk.made.orders["wanted-trip"]
    for path, body, needs in (
        ("/commands", command, "operate"),
        (f"/commands/{wanted}/cancel", None, "operate"),
        ("/findings/1/acknowledge", None, "operate"),
        (f"/commands/{wanted}/approve", None, "approve"),
        (f"/customers/{desk.made.customers[0][0]}/payments", payment, "pay"),
        ("/notices/1/reports", {"state": "sent", "channel": "sms", "reference": "1"}, "notify"),
    ):
        body_ = problem(desk.post(path, body, who="reader", once="s"), 403, "scope-missing")
        assert body_["needs"] == needs
    assert desk.post("/commands", command, who="admin", once="admin-1").status_code == 202


def test_an_admin_sees_who_holds_keys_and_takes_one_away(desk: Desk) -> None:
    problem(desk.get("/keys", "operator"), 403, "scope-missing")
    listed = desk.get("/keys", "admin").json()["keys"]
    assert {row["person"] for row in listed} == {"crm", "陈晓", "李敏", "bank", "root"}
    assert not any(secret.split("_", 2)[2] in str(listed) for secret in desk.keys.values())
    prefix = desk.keys["cashier"].split("_")[1]
    assert desk.post(f"/keys/{prefix}/revoke", who="admin", once="k").json() == {
        "prefix": prefix,
        "revoked": True,
    }
    problem(desk.get("/fleet", "cashier"), 401, "unauthorized")
    problem(desk.post("/keys/00/revoke", who="admin", once="l"), 404, "unknown-key")


def test_a_caller_is_told_its_rate_and_stopped_at_it(desk: Desk, store_dsn: str) -> None:
    app = build(ServerSettings(dsn=store_dsn, zone=ZONE, clock=Clock(), requests_per_minute=3))
    with TestClient(app) as client:
        left = []
        for _ in range(3):
            response = client.get("/api/v1/fleet", headers=desk.auth("reader"))
            assert response.headers["RateLimit-Policy"] == '"default";q=3;w=60'
            left.append(response.headers["RateLimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        response = client.get("/api/v1/fleet", headers=desk.auth("reader"))
        problem(response, 429, "too-many-requests")
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert client.get("/api/v1/fleet", headers=desk.auth("operator")).status_code == 200


def test_guessing_keys_is_stopped(desk: Desk) -> None:
    for _ in range(30):
        problem(
            desk.client.get("/api/v1/fleet", headers={"Authorization": "Bearer hes_1_2"}), 401, "unauthorized"
        )
    problem(
        desk.client.get("/api/v1/fleet", headers={"Authorization": "Bearer hes_1_2"}),
        429,
        "too-many-requests",
    )


def test_a_window_ends() -> None:
    now = [0.0]
    limiter = Limiter(2, clock=lambda: now[0])
    assert [limiter.take("a")[0] for _ in range(3)] == [1, 0, -1]
    assert limiter.take("b")[0] == 1
    now[0] = 59.5
    assert limiter.take("a") == (-1, 1)
    now[0] = 60.0
    assert limiter.take("a")[0] == 1


def test_a_key_is_for_somebody_and_something(desk: Desk) -> None:
    with pytest.raises(ValueError, match="unknown scope root"):
        keys.issue(desk.conn, person="x", scopes=["root"])
    with pytest.raises(ValueError, match="unknown scope"):
        keys.issue(desk.conn, person="x", scopes=[])
    with pytest.raises(ValueError, match="belongs to a person"):
        keys.issue(desk.conn, person=" ", scopes=["read"])
    with pytest.raises(keys.UnknownKey):
        keys.revoke(desk.conn, "nobody")
    assert {"crm", "陈晓", "李敏", "bank", "root"} == {row["person"] for row in keys.listing(desk.conn)}
    assert all("hash" not in row for row in keys.listing(desk.conn))
