"""Hours and prices by REST: what was read last of a meter against what is billed, and campaigns."""

from __future__ import annotations

import datetime as dt
import json

from headend.store import campaigns
from protocols.localtime import as_datetime
from tests.support.app import Desk
from tests.support.seed import NOW
from tests.support.tables import held


def test_a_meters_tables_against_its_plan(desk: Desk) -> None:
    row = desk.conn.execute(
        "SELECT m.asset, m.meter_id, i.terminal_id, a.tariff, c.number FROM account a JOIN installation i USING (point_id) "
        "JOIN meter m USING (meter_id) JOIN customer c USING (customer_id) ORDER BY m.asset LIMIT 1"
    ).fetchone()
    assert row is not None
    desk.conn.execute("UPDATE account SET tariff = 'zhejiang-residential-peak-valley'")
    desk.conn.commit()
    said = desk.get(f"/prices/meters/{row['asset']}")
    assert (said.status_code, said.json()["type"].rpartition("/")[2].rpartition(":")[2]) == (404, "not-read")
    assert "POST /api/v1/commands" in said.json()["detail"]
    when = as_datetime(NOW)
    desk.conn.execute(
        "INSERT INTO orders (kind, action, meter_id, terminal_id, state, is_open, reason, requested_by, requested_at, expires_at, ended_at, result) "
        "VALUES ('prices', 'read', %s, %s, 'verified', false, 'r', 'w', %s, %s, %s, %s::jsonb)",
        (row["meter_id"], row["terminal_id"], when, when, when, json.dumps({"held": held()})),
    )
    desk.conn.commit()
    document = desk.get(f"/prices/meters/{row['asset']}").json()
    assert (document["customer"], document["tables"]["zones"]) == (row["number"], [[1, 1, 1]])
    assert {d["period"] for d in document["differences"]} == {"valley"}
    assert document["not_compared"] is None
    assert desk.get("/prices/meters/nobody").status_code == 404


def test_campaigns(desk: Desk) -> None:
    desk.conn.execute("UPDATE account SET tariff = 'zhejiang-residential-peak-valley'")
    at = as_datetime(NOW).date() + dt.timedelta(days=10)
    number = campaigns.begin(
        desk.conn, tariff="zhejiang-residential-peak-valley", at=at, reason="notice 7", who="陈晓", now=NOW
    )
    (row,) = desk.get("/prices/campaigns").json()["campaigns"]
    assert (row["id"], row["state"], row["switch_at"]) == (number, "running", at.isoformat())
    document = desk.get(f"/prices/campaigns/{number}").json()
    assert (document["ready"], document["shown"]) == ([], None)
    assert sum(document["meters"].values()) > 0
    assert desk.get("/prices/campaigns/99").status_code == 404


def test_a_command_reads_tables_and_writes_none(desk: Desk) -> None:
    asset = desk.made.assets[0][1]
    body = {"kind": "prices", "action": "write", "meter": asset, "reason": "new hours"}
    assert desk.post("/commands", body, who="operator", once="a").status_code == 422
    said = desk.post("/commands", {**body, "action": "read"}, who="operator", once="b")
    assert (said.status_code, said.json()["state"]) == (202, "approved")
