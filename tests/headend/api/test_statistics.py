"""Statistics over HTTP: what the CRM reads."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.jobs import forecasts, segments, statistics
from headend.plans import CURVE, points
from headend.store import point_groups
from headend.store.tables import CURVES
from protocols.localtime import midnight
from tests.support.app import Desk, problem
from tests.support.house import SHANGHAI, deliver, rows
from tests.support.household import run

#: the seeded utility's yesterday
DAY = dt.date(2026, 3, 10)
MORNING = "2026-03-11 04:30"


def test_a_day(desk: Desk) -> None:
    statistics.job(run(desk.conn, MORNING), DAY)
    told = desk.get("/statistics/success?by=area").json()
    assert (told["by"], told["from"], told["to"]) == ("area", "2026-03-10", "2026-03-10")
    areas = {row["key"]: row for row in told["items"]}
    assert list(areas) == ["TQ001", "TQ002", "TQ003", "TQ004"]
    assert areas["TQ003"]["freeze_due"] == 6
    assert areas["TQ003"]["cycle"] == 5 / 6  # one meter is dead
    assert areas["TQ001"]["integrity"] == 1
    (everybody,) = desk.get("/statistics/success").json()["items"]
    assert everybody["freeze_due"] == 24
    (load,) = desk.get("/statistics/load?by=area&key=TQ001").json()["items"]
    assert (load["members"], load["whole"], load["name"]) == (5, 5, "城东路一号公变")
    assert 0 < load["factor"] < load["simultaneity"] <= 1
    assert desk.get("/statistics/voltage?by=area&key=TQ001").json()["items"][0]["classes"]["D"]["meters"] == 5
    assert desk.get("/statistics/outages").json()["items"] == []
    assert desk.get("/statistics/key-users?from=2026-03-10").json()["items"] == []
    # what has not changed is not sent again
    tag = desk.get("/statistics/success").headers["ETag"]
    assert desk.get("/statistics/success", headers={"If-None-Match": tag}).status_code == 304


def test_forecasts_and_response(desk: Desk) -> None:
    meter = desk.made.meter_ids[0][0]
    home = desk.made.meter_ids[0][1]
    first = dt.date(2026, 2, 1)
    ends = [points(CURVE, first + dt.timedelta(days=k), SHANGHAI) for k in range(37)]
    times = np.concatenate([[midnight(first, SHANGHAI)], *ends])
    for who in (meter, home):
        register = (np.arange(len(times)) * 1000).tolist()
        deliver(
            desk.conn,
            CURVES,
            rows([who] * len(times), times, active_import=register, active_export=[0] * len(times)),
            times[-1],
        )
    eighth = dt.date(2026, 3, 9) - dt.timedelta(days=1)
    forecasts.job(run(desk.conn, "2026-03-09 04:30"), eighth)
    told = desk.get("/statistics/forecasts/TQ001?day=2026-03-10").json()
    assert (len(told["energy"]), told["unit"], told["error"]) == (96, "kWh", None)
    problem(desk.get("/statistics/forecasts/TQ009"), 404, "no-forecast")
    assert desk.get("/statistics/forecasts").json()["items"] == []
    point_groups.put(desk.conn, "DR", "响应", [f"JLD{desk.made.assets[0][1]}"])
    desk.conn.commit()
    span = "from=2026-03-06T18:00:00%2B08:00&to=2026-03-06T20:00:00%2B08:00"
    effect = desk.get(f"/statistics/groups/DR/response?{span}").json()
    assert (effect["points"], effect["points_known"]) == (1, 1)
    assert (effect["reduced"], effect["baseline_moved_by"]) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert sum(slot["event"] for slot in effect["slots"]) == 8
    assert effect["slots"][0]["slot_end"] == "2026-03-05T16:15:00Z"
    problem(desk.get(f"/statistics/groups/XX/response?{span}"), 404, "unknown-group")
    assert desk.get("/statistics/groups").json()["items"] == [
        {"code": "DR", "name": "响应", "key_users": False, "points": 1}
    ]


def test_segments_by_pages(desk: Desk) -> None:
    segments.job(run(desk.conn, MORNING), DAY)
    first = desk.get("/statistics/segments?limit=3").json()
    assert len({row["customer"] for row in first["segments"]}) == 3
    assert len(first["segments"]) == 12
    assert {row["what"] for row in first["counts"]} == {"profile", "payment", "theft", "shift"}
    second = desk.get(f"/statistics/segments?limit=100&cursor={first['next']}").json()
    assert len(second["segments"]) == (20 - 3) * 4
    assert (second["next"], second["counts"]) == (None, [])
    one = desk.get(f"/statistics/segments?customer={desk.made.customers[0][0]}&what=theft").json()
    assert [(row["label"], row["version"]) for row in one["segments"]] == [("none", 1)]


def test_what_cannot_be_asked(desk: Desk) -> None:
    told = problem(desk.get("/statistics/success?from=2026-03-10&to=2026-03-01"), 422, "invalid-request")
    assert told["detail"].startswith("2026-03-10 to 2026-03-01 is no period")
    assert desk.get("/statistics/success?by=weather").status_code == 422
    assert desk.client.get("/api/v1/statistics/success").status_code == 401
