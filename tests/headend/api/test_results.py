"""Losses, findings, the fleet, and the feed over HTTP."""

from __future__ import annotations

from headend.jobs import lineloss, splits
from headend.store import feed, retention
from tests.support.app import Desk, problem, settle
from tests.support.county import DAY, NIGHT, Net
from tests.support.house import at
from tests.support.household import run


def test_losses_with_bounds_and_unknown_ones_named(desk: Desk) -> None:
    document = desk.get("/losses").json()
    assert (document["day"], document["unit"]) == ("2026-03-10", "kWh")
    known = [area for area in document["areas"] if area["status"] == "known"]
    rates = [area["rate"] for area in known]
    assert rates == sorted(rates, reverse=True)
    for area in known:
        assert float(area["loss_low"]) <= float(area["loss"]) <= float(area["loss_high"])
    unknown = [area for area in document["areas"] if area["status"] == "unknown"]
    assert [area["area"] for area in unknown] == ["TQ003"]
    assert unknown[0]["loss"] is None
    assert unknown[0]["rate"] is None
    assert unknown[0]["missing"] == [desk.made.assets[2][4]]
    assert "no answer" in unknown[0]["why"]
    assert desk.get("/losses?day=2026-03-01").json()["areas"] == []


def test_losses_before_the_first_run(desk: Desk) -> None:
    desk.conn.execute("DELETE FROM loss_result")
    desk.conn.commit()
    assert desk.get("/losses").json()["day"] is None


def test_a_finding_is_acknowledged_by_name(desk: Desk) -> None:
    found = desk.get("/findings?limit=3").json()
    assert len(found["findings"]) == 3
    rest = desk.get(f"/findings?cursor={found['next']}").json()["findings"]
    ids = [f["id"] for f in found["findings"] + rest]
    assert ids == sorted(ids, reverse=True)
    first = found["findings"][0]
    assert first["evidence"]
    assert first["title_zh"]
    response = desk.post(f"/findings/{first['id']}/acknowledge", who="operator", once="f1")
    assert response.json() == {"id": first["id"], "state": "acknowledged", "who": "陈晓"}
    acknowledged = desk.get("/findings?state=acknowledged").json()["findings"]
    assert [(f["id"], f["who"]) for f in acknowledged] == [(first["id"], "陈晓")]
    assert first["id"] not in [f["id"] for f in desk.get("/findings?state=new").json()["findings"]]
    settle(desk.conn)
    changes = desk.get("/changes?topic=finding").json()["changes"]
    assert changes[-1]["key"] == str(first["id"])


def test_a_finding_from_seen_to_closed_and_what_is_refused(desk: Desk) -> None:
    number = desk.get("/findings?limit=1").json()["findings"][0]["id"]
    path = f"/findings/{number}"
    ordered = desk.post(
        f"{path}/work-order", {"number": "WO-2026-17", "why": "meter 4"}, who="operator", once="o1"
    )
    assert ordered.json() == {"id": number, "state": "work-order", "who": "陈晓"}
    again = desk.post(
        f"{path}/work-order", {"number": "WO-2026-17", "why": "meter 4"}, who="operator", once="o1"
    )
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(desk.post(f"{path}/acknowledge", who="operator", once="a1"), 409, "finding-not-in-that-state")
    problem(desk.post(f"{path}/close", {"why": ""}, who="operator", once="c0"), 422, "invalid-request")
    problem(
        desk.post(f"{path}/close", {"why": "seal replaced"}, who="reader", once="c1"), 403, "scope-missing"
    )
    assert (
        desk.post(f"{path}/close", {"why": "seal replaced"}, who="approver", once="c2").json()["state"]
        == "closed"
    )
    assert number not in [f["id"] for f in desk.get("/findings?limit=500").json()["findings"]]
    assert [f["id"] for f in desk.get("/findings?state=closed").json()["findings"]] == [number]
    assert (
        desk.post(f"{path}/reopen", {"why": "wrong meter"}, who="operator", once="r1").json()["state"]
        == "acknowledged"
    )
    told = desk.get(path).json()
    assert [(e["who"], e["act"], e["work_order"], e["why"]) for e in told["events"][1:]] == [
        ("陈晓", "order", "WO-2026-17", "meter 4"), ("李敏", "close", "", "seal replaced"), ("陈晓", "reopen", "", "wrong meter"),
    ]  # fmt: skip
    assert [(row["day"], row["withdrawn"]) for row in told["seen"]] == [("2026-03-10", False)]
    assert (told["days"], told["work_order"]) == (1, "WO-2026-17")
    problem(desk.get("/findings/999"), 404, "unknown-finding")
    assert len(desk.get("/findings?day=2026-03-10&limit=500").json()["findings"]) > 5
    assert desk.get("/findings?day=2026-03-09").json()["findings"] == []


def test_the_fleet_in_numbers(desk: Desk) -> None:
    document = desk.get("/fleet").json()
    assert (document["terminals"], document["meters"], document["areas"]) == (4, 24, 4)
    assert document["commands_open"] == sum(document["commands_by_state"].values()) == 6
    assert document["today"]["curve_due"] == 24 * 58
    assert 0.9 < document["today"]["integrity"] < 1
    assert document["yesterday"]["freeze_due"] == 24


def test_the_feed_is_followed_by_its_cursor(desk: Desk) -> None:
    settle(desk.conn)
    everything = desk.get("/changes").json()["changes"]
    followed, path = [], "/changes?limit=3"
    while True:
        response = desk.get(path)
        body = response.json()
        followed += body["changes"]
        assert ("Link" in response.headers) == body["more"]
        path = f"/changes?limit=3&cursor={body['next']}"
        if not body["more"]:
            break
    assert followed == everything
    assert desk.get(path).json() == {"changes": [], "next": body["next"], "more": False}
    latest = desk.get("/changes?cursor=latest").json()
    assert latest["changes"] == []
    feed.publish(desk.conn, "curve", [("m1", None), ("m1", None), ("m2", None)])
    settle(desk.conn)
    fresh = desk.get(f"/changes?cursor={latest['next']}").json()["changes"]
    assert [(change["topic"], change["key"]) for change in fresh] == [("curve", "m1"), ("curve", "m2")]
    assert desk.get(f"/changes?cursor={latest['next']}&topic=loss,bill").json()["changes"] == []


def test_cursors_that_are_none_and_cursors_from_before(desk: Desk) -> None:
    settle(desk.conn)
    cursor = desk.get("/changes").json()["next"]
    for wrong in ("x", "1.2", "1.2.x", "1.-2.3", "1.2.3.4.5", "1.2.9999999999999999999"):
        problem(desk.get(f"/changes?cursor={wrong}"), 400, "bad-cursor")
    problem(desk.get("/changes?topic=weather"), 400, "bad-cursor")
    problem(desk.get("/changes?cursor=1.999999999.1"), 410, "stale-cursor")  # from another database
    desk.conn.execute("UPDATE cluster SET epoch = epoch + 1")
    desk.conn.commit()
    body = problem(desk.get(f"/changes?cursor={cursor}"), 410, "stale-cursor")
    assert "restore" in body["detail"]
    assert desk.get("/changes").json()["next"].startswith("2.")


def test_a_cursor_from_before_what_the_feed_still_has(desk: Desk) -> None:
    settle(desk.conn)
    page = desk.get("/changes?limit=3").json()
    desk.conn.execute("UPDATE feed SET at = at - interval '40 days'")
    desk.conn.commit()
    assert (
        sum(gone.rows for gone in retention.run(desk.conn, at("2026-03-12 09:00")) if gone.kind == "feed") > 3
    )
    body = problem(desk.get(f"/changes?cursor={page['next']}"), 410, "stale-cursor")
    assert "read again from the beginning" in body["detail"]
    assert desk.get("/changes").json()["changes"] == []


def test_the_description_covers_every_path(desk: Desk) -> None:
    paths = desk.client.get("/api/v1/openapi.json").json()["paths"]
    assert {
        "/api/v1/customers", "/api/v1/customers/{number}/usage", "/api/v1/meters/{asset}/reads", "/api/v1/meters/{asset}/why/{day}",
        "/api/v1/commands/{command}/approve", "/api/v1/losses", "/api/v1/findings/{finding}/acknowledge",
        "/api/v1/findings/{finding}/close", "/api/v1/changes", "/api/v1/fleet",
        "/api/v1/trips/stop", "/api/v1/trips/batches/{batch}/approve", "/api/v1/trips/no-trip-days", "/api/v1/trips/audit",
    } <= paths.keys()  # fmt: skip
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["description"], f"{method} {path} has no description"


def test_losses_of_the_other_splits(desk: Desk) -> None:
    net = Net(desk.conn)
    net.day()
    net.curve(net.heads[0], 196)
    net.curve(net.main[0], 96)
    net.curve(net.main[1], 96)
    with desk.conn.transaction():
        lineloss.job(run(desk.conn, NIGHT), DAY)
        splits.job(run(desk.conn, NIGHT), DAY)
    desk.conn.commit()
    document = desk.get("/losses/line").json()
    assert (document["first_day"], document["unit"]) == ("2026-03-10", "kWh")
    (line,) = [row for row in document["objects"] if row["code"] == "L1"]
    assert (line["status"], line["supplied"], line["loss"], line["voltage_kv"]) == (
        "known",
        "196.0000",
        "4.0000",
        10.0,
    )
    (level, _) = sorted(desk.get("/losses/voltage").json()["objects"], key=lambda row: -row["voltage_kv"])
    assert (level["code"], level["voltage_kv"], level["loss"]) == ("GX", 10.0, "9.0000")
    assert desk.get("/losses/line?period=month").json()["objects"] == []
    slots = desk.get("/losses/line/L1/curve?day=2026-03-10").json()["slots"]
    assert (len(slots), slots[0]["loss"]) == (96, "0.0417")
    assert desk.get("/losses/line/L2/curve?day=2026-03-10").json()["slots"][0]["loss"] is None
    problem(desk.get("/losses/line/L9/curve"), 404, "not-found")
    problem(desk.get("/losses/street"), 422, "invalid-request")
    shown = desk.client.get("/console/data", headers=desk.auth("reader")).json()["loss"]["others"]
    assert {row["area"] for row in shown["line"]["areas"]} == {"L1", "L2"}
    assert {row["area"] for row in shown["voltage"]["areas"]} == {"GX@10", "GX@0.4"}
