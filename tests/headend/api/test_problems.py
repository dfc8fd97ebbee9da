"""Errors: one shape, one sentence, the right status."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from headend.api import documents
from headend.api.problems import Problem
from headend.server import ServerSettings, build
from headend.store import customers
from tests.support.app import Desk, problem
from tests.support.seed import ZONE, Clock


def test_what_is_not_there(desk: Desk) -> None:
    problem(desk.client.get("/nowhere"), 404, "not-found")
    problem(desk.get("/nowhere"), 404, "not-found")
    problem(desk.client.delete("/api/v1/fleet", headers=desk.auth("reader")), 405, "method-not-allowed")
    problem(desk.get("/customers/999"), 404, "unknown-customer")
    problem(desk.get("/customers/999/usage"), 404, "unknown-customer")
    problem(desk.get("/meters/999/reads"), 404, "unknown-meter")
    problem(desk.get("/meters/999/why/2026-03-11"), 404, "unknown-meter")
    problem(desk.get("/commands/999"), 404, "unknown-command")
    problem(desk.post("/findings/999/acknowledge", who="operator", once="f"), 404, "unknown-finding")


def test_what_is_asked_wrongly(desk: Desk) -> None:
    body = problem(desk.get("/customers"), 422, "invalid-request")
    assert body["errors"][0]["where"] == "query/q"
    asset = desk.made.assets[0][1]
    for path in (
        "/customers?q=1&limit=0",
        "/customers?q=1&limit=501",
        f"/meters/{asset}/reads?from=yesterday",
        f"/meters/{asset}/reads?from=2026-03-11T10:00:00",
        f"/meters/{asset}/reads?to=9999-12-31",
        f"/meters/{asset}/reads?from=2026-03-12&to=2026-03-10",
        f"/meters/{asset}/reads?quantity=voltage_b",
        f"/meters/{asset}/reads?quantity=;drop",
        f"/meters/{asset}/reads?source=hourly",
        f"/meters/{asset}/why/2026-02-30",
        f"/meters/{asset}/why/1200-01-01",
        f"/customers/{desk.made.customers[0][0]}/usage?from=2025-01-01&to=2026-03-10",
        "/commands/abc",
        "/losses?day=tomorrow",
    ):
        problem(desk.get(path), 422, "invalid-request")
    problem(desk.get("/customers?q=1&cursor=@@"), 400, "bad-cursor")
    problem(desk.get(f"/customers?q=1&cursor={documents.pack(7)}"), 400, "bad-cursor")
    problem(desk.get(f"/commands?cursor={documents.pack('a')}"), 400, "bad-cursor")
    problem(desk.get(f"/commands?cursor={documents.pack(2**70)}"), 400, "bad-cursor")
    problem(desk.get(f"/meters/{asset}/reads", headers={"Accept": "image/png"}), 406, "not-acceptable")
    broken = desk.client.post(
        "/api/v1/commands",
        content=b"{",
        headers=desk.auth("operator", "k") | {"Content-Type": "application/json"},
    )
    problem(broken, 422, "invalid-request")


def test_our_own_failure_tells_nothing_of_our_insides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(customers, "search", fail)
    response = desk.get("/customers?q=1")
    body = problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert body["instance"] == "/api/v1/customers"


def test_a_database_that_does_not_answer_is_503() -> None:
    app = build(ServerSettings(dsn="host=127.0.0.1 port=1 connect_timeout=1", zone=ZONE, clock=Clock()))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/livez").text == "ok\n"
        problem(client.get("/readyz"), 503, "not-ready")
        response = client.get("/api/v1/fleet", headers={"Authorization": "Bearer hes_a_b"})
        problem(response, 503, "database-unreachable")
        assert response.headers["Retry-After"] == "5"


def test_a_database_without_schema_is_not_ready(database: str) -> None:
    with TestClient(build(ServerSettings(dsn=database, zone=ZONE, clock=Clock()))) as client:
        problem(client.get("/readyz"), 503, "not-ready")


def test_metrics_have_bounded_labels(desk: Desk) -> None:
    for path in ("/customers/1", "/customers/2", "/meters/77/reads"):
        desk.get(path)
    desk.client.get("/some/where")
    text = desk.client.get("/metrics").text
    assert 'route="/api/v1/customers/{number}",status="404"} 2.0' in text
    assert 'route="unmatched",status="404"} 1.0' in text
    assert "headend_db_pool" in text
    assert "77" not in [part for line in text.splitlines() for part in line.split('"')]
    assert desk.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "a/x"),
        ("*/*", "a/x"),
        ("b/y", "b/y"),
        ("b/*", "b/y"),
        ("a/x;q=0.2, b/y;q=0.9", "b/y"),
        ("a/x;q=0, */*", "b/y"),
        ("text/html, */*;q=0.1", "a/x"),
        ("b/y;q=oops, a/x;q=0.1", "a/x"),
    ],
)
def test_the_best_media_type_is_chosen(accept: str | None, chosen: str) -> None:
    assert documents.chosen(accept, ("a/x", "b/y")) == chosen


def test_no_media_type_fits() -> None:
    with pytest.raises(Problem, match="a/x"):
        documents.chosen("c/z", ("a/x",))


@pytest.mark.parametrize(
    ("fen", "yuan"), [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (-12345, "-123.45"), (100, "1.00")]
)
def test_money_is_written_exactly(fen: int, yuan: str) -> None:
    assert documents.money(fen) == {"fen": fen, "yuan": yuan}


def test_energy_is_written_exactly() -> None:
    assert [documents.energy(n) for n in (0, 1, 123456789, None)] == ["0.0000", "0.0001", "12345.6789", None]
