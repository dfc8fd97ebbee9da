"""The CRM grants grace, records debts, and a second person agrees."""

from __future__ import annotations

from tests.support.app import BROKE, Desk, problem


def broke(desk: Desk) -> str:
    area, meter = BROKE[0]
    return desk.made.customers[area][meter - 1]  # the area's own meter is nobody's


def test_grace_is_granted_seen_and_taken_back(desk: Desk) -> None:
    number = broke(desk)
    area, meter = BROKE[0]
    asset = desk.made.assets[area][meter]
    said = desk.post(
        "/commands", {"kind": "relay", "action": "trip", "meter": asset, "reason": "arrears"}, who="operator", once="t"
    )  # fmt: skip
    assert said.status_code == 202, said.text
    body = {"until": "2026-03-20", "reason": "住院两周"}
    made = desk.post(f"/customers/{number}/grace", body, who="operator", once="g")
    assert made.status_code == 201, made.text
    assert made.json()["void_commands"] == [f"/api/v1/commands/{said.json()['id']}"]
    assert desk.post(f"/customers/{number}/grace", body, who="operator", once="g").json() == made.json()
    shown = desk.get(f"/customers/{number}/fee-control").json()
    assert (shown["terms"]["grace_days"], shown["terms"]["stop"]) == (1, {"fen": 0, "yuan": "0.00"})
    assert [(g["last_day"], g["reason"], g["who"], g["revoked_by"]) for g in shown["grace"]] == [
        ("2026-03-20", "住院两周", "陈晓", None)
    ]
    again = desk.post(
        "/commands", {"kind": "relay", "action": "trip", "meter": asset, "reason": "arrears"}, who="operator", once="t2"
    )  # fmt: skip
    assert again.status_code == 409
    assert "the customer has grace until" in again.text
    path = f"/api/v1/customers/{number}/grace/{made.json()['grace']}"
    gone = desk.client.delete(path, headers=desk.auth("operator", "r"))
    assert gone.status_code == 200, gone.text
    assert problem(desk.client.delete(path, headers=desk.auth("operator", "r2")), 404, "unknown-grace")[
        "detail"
    ].startswith("no grace")
    assert desk.post(f"/customers/{number}/grace", body, who="reader", once="x").status_code == 403


DEBT = {
    "kind": "opening",
    "amount_fen": 120_000,
    "way": "months",
    "part": 12,
    "due_day": 15,
    "reason": "旧系统欠费",
}


def test_a_debt_from_its_record_to_its_end(desk: Desk) -> None:
    number = broke(desk)
    before = desk.get(f"/customers/{number}/balance").json()["accounts"][0]["ledger"]
    made = desk.post(f"/customers/{number}/debts", DEBT, who="operator", once="d").json()
    assert made["waits_for_second_person"] is True
    debt = f"/customers/{number}/debts/{made['debt']}"
    same = desk.post(f"{debt}/agree", {"reason": "seen"}, who="operator-approver", once="a")
    assert "another person must agree" in problem(same, 409, "conflict")["detail"]
    assert (
        desk.post(f"{debt}/agree", {"reason": "seen"}, who="approver", once="a2").json()[
            "waits_for_second_person"
        ]
        is False
    )
    (shown,) = desk.get(f"/customers/{number}/debts").json()["debts"]
    assert (shown["state"], shown["amount"]["yuan"], shown["left"]["yuan"], shown["kind_zh"]) == (
        "in force",
        "1200.00",
        "1200.00",
        "旧欠",
    )
    assert [act["act"] for act in shown["acts"]] == ["agree"]
    # put off: the balance is as it was
    assert desk.get(f"/customers/{number}/balance").json()["accounts"][0]["ledger"] == before
    early = desk.post(f"{debt}/repay", {"amount_fen": 100, "reason": "paid"}, who="operator", once="r")
    assert "the balance holds" in problem(early, 409, "conflict")["detail"]
    ended = [
        desk.post(f"{debt}/end", {"reason": "was paid there"}, who=who, once=who).json()
        for who in ("operator", "approver")
    ]
    assert [one["waits_for_second_person"] for one in ended] == [True, False]
    (shown,) = desk.get(f"/customers/{number}/debts").json()["debts"]
    assert (shown["state"], shown["left"]["fen"]) == ("ended", 0)
    assert desk.get(f"/customers/{number}/balance").json()["accounts"][0]["ledger"] == before


def test_what_is_asked_wrongly(desk: Desk) -> None:
    number = broke(desk)
    problem(
        desk.post(f"/customers/{number}/debts", {**DEBT, "amount_fen": 1.5}, who="operator", once="1"),
        422,
        "invalid-request",
    )
    problem(
        desk.post(f"/customers/{number}/debts", {**DEBT, "part": 121}, who="operator", once="2"),
        409,
        "conflict",
    )
    problem(
        desk.post(f"/customers/{number}/debts/77/agree", {"reason": "seen"}, who="approver", once="3"),
        404,
        "not-found",
    )
    problem(desk.get("/customers/none/debts"), 404, "unknown-customer")
    problem(
        desk.post(
            "/customers/none/grace", {"until": "2026-03-20", "reason": "why not"}, who="operator", once="4"
        ),
        404,
        "unknown-customer",
    )
