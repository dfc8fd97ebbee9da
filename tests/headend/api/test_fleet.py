"""Who dials in and is not served, as the CRM and the command line are told."""

from __future__ import annotations

import datetime as dt

from headend.store import callers
from headend.store.callers import Caller
from protocols.localtime import as_datetime
from tests.support.app import Desk
from tests.support.cli import Shell, environment
from tests.support.seed import NOW


def test_callers_that_are_not_served(desk: Desk) -> None:
    now = as_datetime(NOW)
    why = "no terminal of the archive has this login"
    for name, at in (("33999991", now - dt.timedelta(hours=1)), ("33999992", now)):
        callers.note(desk.conn, "here", [Caller(name, "dtu", why, "tcp://10.0.0.7:4011", at, at, 3)])
    desk.conn.commit()
    told = desk.get("/fleet/callers").json()["items"]
    assert [(item["identity"], item["why"], item["attempts"]) for item in told] == [
        ("33999992", why, 3),
        ("33999991", why, 3),
    ]
    assert [item["identity"] for item in desk.get("/fleet/callers?limit=1").json()["items"]] == ["33999992"]
    assert desk.get("/fleet/callers?limit=0").status_code == 422
    shell = Shell(environment(HEADEND_DSN=desk.conn.info.dsn))
    shown = shell("terminal", "callers")
    assert "2 callers that are not served" in shown.out
    assert "33999991" in shown.out
    assert [item["identity"] for item in shell("terminal", "callers", "--json").json()] == [
        "33999992",
        "33999991",
    ]
