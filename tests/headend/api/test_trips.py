"""What stands before trips as a whole, by REST."""

from __future__ import annotations

from tests.headend.api.test_commands import TRIP, asset
from tests.support.app import BROKE, PROTECTED, Desk, problem


def test_one_stops_and_two_let_go_on(desk: Desk) -> None:
    assert desk.get("/trips/stop").json()["stopped"] is False
    why = {"reason": "a wrong tariff is in force"}
    problem(desk.post("/trips/stop", why, who="reader", once="s"), 403, "scope-missing")
    assert desk.post("/trips/stop", why, who="operator", once="s").json()["stopped"] is True
    refused = problem(
        desk.post("/commands", TRIP | {"meter": asset(desk, BROKE[0])}, who="operator", once="t"),
        409,
        "refused",
    )
    assert [gate["gate"] for gate in refused["gates"]] == ["stopped"]
    first = desk.post("/trips/resume", {"reason": "the tariff is mended"}, who="approver", once="r").json()
    assert (first["stopped"], first["resume_by"]) == (True, "李敏")
    problem(
        desk.post("/trips/resume", {"reason": "once more"}, who="approver", once="r2"), 409, "cannot-resume"
    )
    second = desk.post("/trips/resume", {"reason": "looked at it"}, who="operator-approver", once="r3").json()
    assert second["stopped"] is False
    problem(desk.post("/trips/stop", {"reason": ""}, who="operator", once="s2"), 422, "invalid-request")


def test_a_batch_is_a_dry_run_first(desk: Desk) -> None:
    meters = [asset(desk, BROKE[0]), asset(desk, PROTECTED), "nobody"]
    body = {"meters": meters, "reason": "arrears of March"}
    told = desk.post("/trips/batches", body, who="operator", once="b")
    assert (told.status_code, told.json()["batch"], told.json()["refused"]) == (200, None, 2)
    assert [meter["refused"] for meter in told.json()["meters"]] == [False, True, True]
    made = desk.post("/trips/batches", body | {"dry_run": False}, who="operator", once="c")
    assert made.status_code == 202
    number = made.json()["batch"]
    first = made.json()["meters"][0]
    again = desk.post("/trips/batches", body | {"dry_run": False}, who="operator", once="c")
    assert again.json() == made.json()
    refused = desk.post(f"/trips/batches/{number}/approve", {}, who="operator-approver", once="d").json()
    assert [gate["gate"] for gate in refused["meters"][0]["gates"]] == ["second_person"]
    done = desk.post(f"/trips/batches/{number}/approve", {}, who="approver", once="e").json()
    assert (done["refused"], len(done["meters"])) == (0, 1)
    command = desk.client.get(first["command"], headers=desk.auth("reader")).json()
    assert (command["state"], command["batch"], command["not_before"]) == (
        "approved",
        number,
        first["not_before"],
    )
    assert desk.get("/trips/batches").json()["batches"][0]["batch_id"] == number
    problem(desk.post("/trips/batches/99/approve", {}, who="approver", once="f"), 404, "unknown-batch")
    problem(
        desk.post(f"/trips/batches/{number}/release", {"reason": "mine"}, who="operator-approver", once="g"),
        409,
        "conflict",
    )
    released = desk.post(
        f"/trips/batches/{number}/release", {"reason": "end of quarter"}, who="approver", once="h"
    ).json()
    assert released == {"batch": number, "released_size": 1, "released_by": "李敏"}


def test_days_that_are_spared_and_the_audit_of_it(desk: Desk) -> None:
    body = {"first_day": "2026-03-11", "last_day": "2026-03-12", "kind": "exam", "reason": "期中考试"}
    made = desk.post("/trips/no-trip-days", body, who="operator", once="n")
    assert made.status_code == 201
    refused = problem(
        desk.post("/commands", TRIP | {"meter": asset(desk, BROKE[0])}, who="operator", once="t"),
        409,
        "refused",
    )
    assert refused["gates"][0]["why"] == "exam days (考试) from 2026-03-11 to 2026-03-12: 期中考试"
    number = made.json()["id"]
    desk.post(f"/trips/no-trip-days/{number}/withdraw", {}, who="approver", once="w")
    problem(
        desk.post(f"/trips/no-trip-days/{number}/withdraw", {}, who="approver", once="x"),
        404,
        "unknown-declaration",
    )
    (row,) = desk.get("/trips/no-trip-days").json()["no_trip_days"]
    assert (row["reason"], row["withdrawn_by"]) == ("期中考试", "李敏")
    records = desk.get("/trips/audit?kind=no-trip").json()["records"]
    assert [record["body"]["withdrawn_by"] for record in records] == ["李敏", None]
    page = desk.get("/trips/audit?limit=1")
    assert len(page.json()["records"]) == 1
    assert 'rel="next"' in page.headers["Link"]
    problem(
        desk.post("/trips/no-trip-days", body | {"kind": "rain"}, who="operator", once="m"),
        422,
        "invalid-request",
    )


def test_a_fall_is_accepted_with_the_approval(desk: Desk) -> None:
    desk.conn.execute("UPDATE balance SET provisional_low_fen = -50000")
    desk.conn.commit()
    trip = desk.post("/commands", TRIP | {"meter": asset(desk, BROKE[0])}, who="operator", once="t").json()
    assert (trip["state"], trip["outcome"].startswith("waits: fall")) == ("wanted", True)
    path = f"/commands/{trip['id']}/approve"
    refused = problem(desk.post(path, {}, who="approver", once="a"), 409, "refused")
    assert [gate["gate"] for gate in refused["gates"]] == ["fall"]
    problem(desk.post(path, {"accept": ["cap"]}, who="approver", once="b"), 422, "invalid-request")
    done = desk.post(path, {"accept": ["fall"]}, who="approver", once="c").json()
    assert (done["state"], done["accepted"]) == ("approved", {"fall": "李敏"})
