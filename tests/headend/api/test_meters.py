"""Readings and their reasons."""

from __future__ import annotations

import csv
import io
import json

from tests.support.app import Desk


def test_a_day_of_readings_names_slots_by_their_end(desk: Desk) -> None:
    asset = desk.made.assets[0][1]
    document = desk.get(f"/meters/{asset}/reads?from=2026-03-11&to=2026-03-11").json()
    rows = document["readings"]
    assert "named by its end" in document["ts"]
    assert rows[0]["ts"] == "2026-03-10T16:15:00Z"  # 00:15 local
    assert rows[0] == {
        "ts": "2026-03-10T16:15:00Z",
        "quantity": "active_import",
        "obis": "1-0:1.8.0",
        "unit": "kWh",
        "value": "12345.8664",
        "quality": "measured",
    }
    assert rows[-1]["ts"] == "2026-03-11T06:30:00Z"  # nothing beyond now, 14:37 local
    assert document["installations"][0]["multiplier"] == 1
    assert document["next"] is None


def test_pages_add_up_to_the_whole(desk: Desk) -> None:
    asset = desk.made.assets[0][0]
    base = f"/meters/{asset}/reads?from=2026-03-10&quantity=active_import,voltage_a"
    whole = desk.get(base).json()["readings"]
    parts, path = [], base + "&limit=50"
    while path:
        response = desk.get(path)
        parts += response.json()["readings"]
        path = response.headers.get("Link", "").partition(">")[0].removeprefix("</api/v1")
    assert parts == whole
    assert len(whole) == 2 * (96 + 58)


def test_json_ndjson_and_csv_say_the_same(desk: Desk) -> None:
    path = f"/meters/{desk.made.assets[0][0]}/reads?from=2026-03-11&quantity=all&limit=3000"
    rows = desk.get(path).json()["readings"]
    assert {row["quantity"] for row in rows} >= {"active_import", "voltage_a", "voltage_c"}
    lines = desk.get(path, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    decoded = [json.loads(line) for line in lines.text.splitlines()]
    assert [{k: v for k, v in row.items() if k != "meter"} for row in decoded] == rows
    table = desk.get(path, headers={"Accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    read = list(csv.DictReader(io.StringIO(table.text)))
    assert len(read) == len(rows)
    assert [row["value"] for row in read] == [
        "" if row["value"] is None else str(row["value"]) for row in rows
    ]
    assert read[0]["unit"] == "kWh"


def test_a_hole_has_its_reason(desk: Desk) -> None:
    dead = desk.made.assets[2][4]
    rows = desk.get(f"/meters/{dead}/reads?from=2026-03-11").json()["readings"]
    assert {(row["value"], row["quality"], row["reason"]) for row in rows} == {(None, "missing", "no-answer")}
    day = desk.get(f"/meters/{dead}/reads?source=day&from=2026-03-07&to=2026-03-11").json()
    assert "日冻结" in day["ts"]
    by_day = {row["ts"]: row for row in day["readings"]}
    assert by_day["2026-03-10T16:00:00Z"]["reason"] == "no-answer"
    assert by_day["2026-03-08T16:00:00Z"]["quality"] == "measured"
    # a single-phase meter owes no phase B; a quantity that its row lacks is missing in the answer
    rows = desk.get(f"/meters/{desk.made.assets[0][1]}/reads?from=2026-03-11&quantity=all&limit=1").json()[
        "readings"
    ]
    assert [row["quantity"] for row in rows if row["quality"] == "missing"] == ["reactive_power"]
    assert rows[-1]["reason"] == "missing-in-answer"


def test_nobody_owes_a_reading_before_the_meter_was_there(desk: Desk) -> None:
    asset = desk.made.assets[0][1]
    assert desk.get(f"/meters/{asset}/reads?from=2020-01-01&to=2020-02-01").json()["readings"] == []
    first = desk.get(f"/meters/{asset}/reads?from=2020-01-01&limit=1").json()["readings"]
    assert first[0]["ts"] == "2025-12-31T16:15:00Z"


def test_a_revision_lies_over_the_first_reading(desk: Desk) -> None:
    asset, meter = desk.made.assets[0][1], desk.made.meter_ids[0][1]
    for version, value, method, reason in ((2, 5, "read", "read again"), (3, 7, "linear", "gap of 1 h")):
        desk.conn.execute(
            "INSERT INTO revision VALUES (%s, '2026-03-11T01:00Z', 'slot', 'active_import', %s, %s, %s, %s, 'vee', '2026-03-11T02:00Z')",
            (meter, version, value, method, reason),
        )
    desk.conn.commit()
    rows = desk.get(
        f"/meters/{asset}/reads?from=2026-03-11T08:45:00%2B08:00&to=2026-03-11T09:00:00%2B08:00"
    ).json()["readings"]
    assert rows == [
        {
            "ts": "2026-03-11T01:00:00Z",
            "quantity": "active_import",
            "obis": "1-0:1.8.0",
            "unit": "kWh",
            "value": "0.0007",
            "quality": "estimated",
            "reason": "gap of 1 h",
            "method": "linear",
        }
    ]


def test_spot_readings_are_what_was_read(desk: Desk) -> None:
    meter, asset = desk.made.meter_ids[0][1], desk.made.assets[0][1]
    path = f"/meters/{asset}/reads?source=spot&from=2026-03-11"
    assert desk.get(path).json()["readings"] == []
    desk.conn.execute("SELECT ensure_partitions('register_read', '{2026-03-11, 2026-03-12}')")
    for minute in (1, 2, 3):
        desk.conn.execute(
            "INSERT INTO register_read (meter_id, ts, kind, active_import) VALUES (%s, %s, 3, %s)",
            (meter, f"2026-03-11T03:0{minute}:00Z", 10_000 * minute),
        )
    desk.conn.commit()
    first = desk.get(path + "&limit=2").json()
    assert [row["value"] for row in first["readings"]] == ["1.0000", "2.0000"]
    rest = desk.get(path + f"&limit=2&cursor={first['next']}").json()
    assert [row["value"] for row in rest["readings"]] == ["3.0000"]
    assert rest["next"] is None


def test_why_explains_a_day(desk: Desk) -> None:
    dead = desk.made.assets[2][4]
    response = desk.get(f"/meters/{dead}/why/2026-03-11")
    document = response.json()
    assert document["terminal"] == "T003"
    curve = document["plans"][0]
    assert curve["present"] == 0
    assert [hole["reason"] for hole in curve["holes"]] == ["no-answer"]
    again = desk.get(f"/meters/{dead}/why/2026-03-11", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_a_meter_and_whose_it_is(desk: Desk) -> None:
    document = desk.get(f"/meters/{desk.made.assets[0][1]}").json()
    assert document["customer"]["number"] == desk.made.customers[0][0]
    assert "voltage_b" not in document["quantities"]["curve"]
    total = desk.get(f"/meters/{desk.made.assets[0][0]}").json()
    assert total["customer"] is None
    assert total["installations"][0]["multiplier"] == 80
