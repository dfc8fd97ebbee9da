"""Commands: asked for by one person, approved by another, never twice."""

from __future__ import annotations

from typing import Any

from tests.support.app import BROKE, PROTECTED, Desk, problem

TRIP: dict[str, Any] = {"kind": "relay", "action": "trip", "reason": "arrears, notice of 2026-03-10"}


def asset(desk: Desk, place: tuple[int, int]) -> str:
    return desk.made.assets[place[0]][place[1]]


def test_a_read_is_accepted_as_an_operation_to_follow(desk: Desk) -> None:
    body = {"kind": "read", "meter": desk.made.assets[0][1], "reason": "customer doubts the bill"}
    response = desk.post("/commands", body, who="operator", once="r1")
    assert response.status_code == 202
    document = response.json()
    assert response.headers["Location"] == document["location"] == f"/api/v1/commands/{document['id']}"
    assert (document["state"], document["open"], document["requested_by"]) == ("approved", True, "陈晓")
    assert document["expires_at"] == "2026-03-11T07:37:20Z"  # domain time: an hour after 14:37:20 local
    followed = desk.client.get(response.headers["Location"], headers=desk.auth("reader"))
    assert [event["state"] for event in followed.json()["events"]] == ["approved"]
    same = desk.get(f"/commands/{document['id']}", headers={"If-None-Match": followed.headers["ETag"]})
    assert same.status_code == 304


def test_the_same_request_again_is_the_same_command(desk: Desk) -> None:
    body = TRIP | {"meter": asset(desk, BROKE[0])}
    first = desk.post("/commands", body, who="operator", once="t")
    again = desk.post("/commands", body, who="operator", once="t")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(
        desk.post("/commands", body | {"reason": "other"}, who="operator", once="t"),
        422,
        "idempotency-key-reused",
    )
    # the key belongs to the person: another person's same key is another request
    taken = problem(desk.post("/commands", body, who="approver", once="t"), 409, "command-open")
    assert taken["command"] == first.json()["location"]


def test_a_trip_needs_a_second_person(desk: Desk) -> None:
    trip = desk.post("/commands", TRIP | {"meter": asset(desk, BROKE[0])}, who="operator", once="t").json()
    assert trip["state"] == "wanted"
    path = f"/commands/{trip['id']}/approve"
    problem(desk.post(path, who="operator", once="a"), 403, "scope-missing")
    # another key of the same person is the same person
    refused = problem(desk.post(path, who="operator-approver", once="a"), 409, "refused")
    assert [gate["gate"] for gate in refused["gates"]] == ["second_person"]
    assert desk.get(f"/commands/{trip['id']}").json()["state"] == "wanted"
    approved = desk.post(path, who="approver", once="a")
    assert approved.status_code == 202
    assert (approved.json()["state"], approved.json()["approved_by"]) == ("approved", "李敏")
    # approving again with a fresh key: it is done already, by this person
    assert desk.post(path, who="approver", once="b").json()["state"] == "approved"
    problem(desk.post(path, who="admin", once="c"), 409, "command-not-in-that-state")


def test_gates_refuse_and_say_which(desk: Desk) -> None:
    body = problem(
        desk.post("/commands", TRIP | {"meter": asset(desk, PROTECTED)}, who="operator", once="p"),
        409,
        "refused",
    )
    gates = {gate["gate"]: gate["why"] for gate in body["gates"]}
    assert "医疗设备" in gates["protected"]
    assert "balance" in gates
    recorded = desk.client.get(body["command"], headers=desk.auth("reader")).json()
    assert (recorded["state"], recorded["open"]) == ("refused", False)
    # giving supply back passes no gate
    permit = {"kind": "relay", "action": "permit", "meter": asset(desk, PROTECTED), "reason": "paid"}
    assert desk.post("/commands", permit, who="operator", once="q").json()["state"] == "approved"


def test_a_command_is_withdrawn_only_before_it_is_sent(desk: Desk) -> None:
    wanted, sending = desk.made.orders["wanted-trip"], desk.made.orders["sending-read"]
    response = desk.post(f"/commands/{wanted}/cancel", who="operator", once="c1")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert desk.post(f"/commands/{wanted}/cancel", who="operator", once="c2").json()["state"] == "cancelled"
    problem(
        desk.post(f"/commands/{sending}/cancel", who="operator", once="c3"), 409, "command-not-in-that-state"
    )
    problem(desk.post("/commands/999/cancel", who="operator", once="c4"), 404, "unknown-command")
    problem(desk.post("/commands/999/approve", who="approver", once="c5"), 404, "unknown-command")


def test_nonsense_is_not_accepted(desk: Desk) -> None:
    good = {"kind": "read", "meter": desk.made.assets[0][1], "reason": "customer asks"}
    for wrong in (
        {"kind": "explode"},
        {"action": "trip"},
        {"kind": "relay"},
        {"kind": "relay", "action": "tripp"},
        {"kind": "clock", "action": ""},
        {"reason": ""},
        {"valid_s": 1},
        {"valid_s": "3600"},
        {"extra": 1},
    ):
        problem(desk.post("/commands", good | wrong, who="operator", once="n"), 422, "invalid-request")
    problem(
        desk.post("/commands", good | {"meter": "nobody"}, who="operator", once="n"), 404, "unknown-meter"
    )


def test_commands_are_listed_newest_first(desk: Desk) -> None:
    ids, path = [], "/commands?limit=4"
    while path:
        response = desk.get(path)
        ids += [command["id"] for command in response.json()["commands"]]
        path = response.headers.get("Link", "").partition(">")[0].removeprefix("</api/v1")
    assert ids == sorted(desk.made.orders.values(), reverse=True)
    states = {command["state"] for command in desk.get("/commands?open=true").json()["commands"]}
    assert states == {"wanted", "approved", "sending", "answered", "pending", "unknown"}
    assert {c["kind"] for c in desk.get("/commands?kind=clock").json()["commands"]} == {"clock"}
    for kind in ("limits", "purchase"):
        assert desk.get(f"/commands?kind={kind}").json()["commands"] == []
    one = desk.get("/commands").json()["commands"][0]
    assert {c["meter"] for c in desk.get(f"/commands?meter={one['meter']}").json()["commands"]} == {
        one["meter"]
    }


def test_a_terminal_itself_has_a_clock_and_no_relay(desk: Desk) -> None:
    ask = {"kind": "clock", "action": "set", "reason": "10 minutes off"}
    for wrong in ({"meter": "", "terminal": ""}, {"meter": "1", "terminal": "T001"}):
        problem(desk.post("/commands", ask | wrong, who="operator", once="t"), 422, "invalid-request")
    trip = {"kind": "relay", "action": "trip", "reason": "arrears", "terminal": "T001"}
    problem(desk.post("/commands", trip, who="operator", once="t"), 422, "invalid-request")
    problem(
        desk.post("/commands", ask | {"terminal": "T999"}, who="operator", once="t"), 404, "unknown-terminal"
    )
    # a DTU passes bytes on: there is nothing behind that name
    problem(desk.post("/commands", ask | {"terminal": "T001"}, who="operator", once="t"), 409, "conflict")
    desk.conn.execute("UPDATE terminal SET protocol = 'gdw376', login = '33010001' WHERE code = 'T001'")
    desk.conn.commit()
    made = desk.post("/commands", ask | {"terminal": "T001"}, who="operator", once="u").json()
    assert (made["meter"], made["terminal"], made["state"], made["request"]) == (None, "T001", "approved", {})
    listed = desk.get("/commands?terminal=T001").json()["commands"]
    assert [row["id"] for row in listed] == [made["id"]]


def test_load_control_of_a_terminal_has_its_request_checked_at_the_door(desk: Desk) -> None:
    desk.conn.execute("UPDATE terminal SET protocol = 'gdw376', login = '33010001' WHERE code = 'T001'")
    desk.conn.commit()
    ask = {"kind": "control", "reason": "orderly use", "terminal": "T001"}
    keep = desk.post(
        "/commands", ask | {"action": "keep-power", "request": {"half_hours": 4}}, who="operator", once="k"
    )
    assert keep.status_code == 202
    made = keep.json()
    assert (made["state"], made["request"]) == ("approved", {"half_hours": 4})
    off = desk.post(
        "/commands", ask | {"action": "release", "request": {"off": ["period"]}}, who="operator", once="o"
    )
    assert off.json()["state"] == "approved"
    for action, request, why in (
        ("release", {"on": ["suspension"]}, "this is no release but a write"),
        ("write", {"on": ["perod"]}, "no control 'perod'"),
        (
            "purchase",
            {"set": {"purchase": {"order": 1, "value": 9, "alarm": 1, "trip": 0}}},
            "no payment stands behind",
        ),
        ("write", {"on": [{}]}, "on: no control {}"),
        ("keep-power", {"half_hours": 999}, "half_hours must be a whole number from 0 to 255"),
    ):
        refused = desk.post(
            "/commands", ask | {"action": action, "request": request}, who="operator", once=f"x{why}"
        )
        assert refused.status_code == 422
        assert why in refused.text
    clock = {"kind": "clock", "action": "set", "request": {"a": 1}}
    assert desk.post("/commands", ask | clock, who="operator", once="c").status_code == 422
    # who hangs behind it is looked at before anybody may approve
    write = desk.post(
        "/commands", ask | {"action": "write", "request": {"on": ["suspension"]}}, who="operator", once="w"
    )
    assert {gate["gate"] for gate in problem(write, 409, "refused")["gates"]} == {"behind"}
