"""Clocks and events where meters and the fleet are shown."""

from __future__ import annotations

import datetime as dt

from headend.store import clocks, events
from headend.store.clocks import Reading
from headend.store.events import Event
from protocols.localtime import as_datetime
from tests.support.app import Desk
from tests.support.seed import NOW, ZONE


def test_a_meter_shows_its_clock_its_events_and_what_a_set_has_cut(desk: Desk) -> None:
    asset, other = desk.made.assets[0][1:3]
    ids = {row["asset"]: row["meter_id"] for row in desk.conn.execute("SELECT asset, meter_id FROM meter")}
    now = as_datetime(NOW)
    opened = Event(
        "meter", ids[asset], now - dt.timedelta(hours=3), "dlt645.03300D01", now, ended=now - dt.timedelta(hours=2),
        detail={"kind": "cover-open", "number": 2},
    )  # fmt: skip
    assert desk.get(f"/meters/{asset}").json()["clock"] is None
    clocks.note(desk.conn, [Reading("meter", ids[asset], now, 75.5, 0.6)])
    events.write(desk.conn, [opened], ZONE)
    clocks.was_set(
        desk.conn, "meter", {ids[asset]: 75.5}, now - dt.timedelta(hours=1), ZONE, order=3, how="write"
    )
    desk.conn.commit()
    shown = desk.get(f"/meters/{asset}").json()["clock"]
    assert (shown["ahead"], shown["uncertainty"], shown["drift"]) == (75.5, 0.6, None)
    told = desk.get(f"/meters/{asset}/events").json()["events"]
    assert [(e["kind"], e["severity"]) for e in told] == [("cover-open", "alarm"), ("clock-set", "info")]
    assert told[0]["zh"] == "开表盖"
    assert told[0]["detail"] == {"number": 2}
    assert desk.get(f"/meters/{other}/events").json()["events"] == []
    assert desk.get(f"/meters/{asset}/events?from=2026-03-01&to=2026-03-02").json()["events"] == []
    day = NOW.astype("datetime64[D]")
    (cut,) = desk.get(f"/meters/{asset}/why/{day}").json()["clock_sets"]
    assert cut["code"] == clocks.CODE
    span = dt.datetime.fromisoformat(cut["to"]) - dt.datetime.fromisoformat(cut["from"])
    assert span.total_seconds() == 75.5
    assert desk.get(f"/meters/{other}/why/{day}").json()["clock_sets"] == []


def test_the_fleet_tells_how_far_its_clocks_are_off(desk: Desk) -> None:
    ids = [row["meter_id"] for row in desk.conn.execute("SELECT meter_id FROM meter ORDER BY meter_id")]
    aheads = (1.0, -20.0, 70.0, -400.0, 5000.0)
    clocks.note(
        desk.conn, [Reading("meter", k, as_datetime(NOW), a, 0.6) for k, a in zip(ids, aheads, strict=False)]
    )
    desk.conn.commit()
    told = desk.get("/fleet").json()["clocks"]
    assert told["bands_seconds"] == list(clocks.BANDS)
    assert told["within"] == [1, 1, 1, 1, 1]
    assert told["never"] == told["meters"] - 5
    assert told["worst"] == 5000.0
