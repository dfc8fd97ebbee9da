"""Notices over HTTP: what waits to be sent, what became of it, and what a report may not say."""

from __future__ import annotations

from typing import Any

from headend.store import notices
from tests.support.app import Desk, problem
from tests.support.seed import NOW


def waiting(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.get("/notices").json()["notices"])


def write(desk: Desk, level: str = "warn1") -> tuple[int, str]:
    """A notice to a customer of the seed, and his number."""
    row = desk.conn.execute(
        "SELECT account_id, number FROM account JOIN customer USING (customer_id) WHERE prepaid ORDER BY account_id LIMIT 1"
    ).fetchone()
    assert row is not None
    desk.conn.execute("DELETE FROM payment")
    with desk.conn.transaction():
        assert notices.write(
            desk.conn,
            row["account_id"],
            level=level,
            balance_fen=1_999,
            text_zh="请充值",
            text_en="top up",
            now=NOW,
        )
    desk.conn.commit()
    (mine,) = [n for n in waiting(desk) if n["level"] == level]
    return int(mine["id"]), str(row["number"])


def test_what_waits_is_sent_and_what_became_of_it_is_kept(desk: Desk) -> None:
    number, customer = write(desk)
    (mine,) = waiting(desk)
    assert (mine["customer"], mine["balance"]["fen"], mine["text"]["zh"], mine["reports"]) == (
        customer,
        1999,
        "请充值",
        [],
    )
    sent = {"state": "sent", "channel": "sms", "reference": "SMS-1"}
    path = f"/notices/{number}/reports"
    assert desk.post(path, sent, who="teller", once="a").status_code == 201
    assert waiting(desk) == []
    again = desk.post(path, sent, who="teller", once="b")
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    failed = {"state": "failed", "channel": "sms", "reference": "SMS-1"}
    assert desk.post(path, failed, who="teller", once="c").status_code == 201
    assert waiting(desk) == []  # it was sent; whether it is sent again is for who knows why it failed
    (all_of_it,) = desk.get(f"/notices?state=all&customer={customer}&limit=1").json()["notices"]
    assert [(r["state"], r["who"]) for r in all_of_it["reports"]] == [("sent", "crm"), ("failed", "crm")]


def test_one_that_failed_from_the_first_waits_again(desk: Desk) -> None:
    number, _ = write(desk)
    failed = {"state": "failed", "channel": "sms", "reference": "SMS-1"}
    assert desk.post(f"/notices/{number}/reports", failed, who="teller", once="a").status_code == 201
    assert [n["id"] for n in waiting(desk)] == [number]


def test_what_a_report_cannot_say(desk: Desk) -> None:
    number, _ = write(desk)
    path = f"/notices/{number}/reports"
    good = {"state": "delivered", "channel": "sms", "reference": "SMS-1"}
    problem(desk.post("/notices/99999/reports", good, who="teller", once="a"), 404, "unknown-notice")
    early = good | {"at": "2020-01-01T00:00:00+08:00"}
    assert (
        "cannot have been delivered"
        in problem(desk.post(path, early, who="teller", once="b"), 409, "conflict")["detail"]
    )
    late = good | {"at": "2100-01-01T00:00:00+08:00"}
    problem(desk.post(path, late, who="teller", once="c"), 409, "conflict")
    naive = good | {"at": "2026-03-11T10:00:00"}
    assert (
        "no offset"
        in problem(desk.post(path, naive, who="teller", once="d"), 422, "invalid-request")["detail"]
    )
    problem(desk.post(path, good | {"state": "read"}, who="teller", once="e"), 422, "invalid-request")
    for k in range(notices.MOST):
        assert desk.post(path, good | {"reference": f"R{k}"}, who="teller", once=f"r{k}").status_code == 201
    assert (
        "again and again" in problem(desk.post(path, good, who="teller", once="f"), 409, "conflict")["detail"]
    )
