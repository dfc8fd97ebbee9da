"""`headend statistics` over a real store: every command as a table and as JSON, and what is said when there is nothing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from headend.store.db import Connection
from headend.store.tables import CURVES
from tests.support.cli import Shell, environment
from tests.support.county import KWH, TIMES, Net
from tests.support.house import at, deliver, moment, rows


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


@pytest.fixture
def net(store: Connection) -> Net:
    """A county whose homes of A1 take 0.5 kWh in every quarter-hour of the tenth and are dark for an hour of it."""
    net = Net(store)
    net.day()
    for here in (net.main[0], *net.homes[0]):
        register = (100 * KWH + np.arange(97) * KWH // 2).tolist()
        voltages = [None] + [225.0] * 40 + [0.0] * 4 + [225.0] * 52
        given = rows(
            [here.meter] * 97, TIMES, active_import=register, active_export=[0] * 97, voltage_a=voltages
        )
        deliver(store, CURVES, given, at("2026-03-11 00:01"))
    store.execute("INSERT INTO customer (number, name) VALUES ('C1', '王先生')")
    store.execute(
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT customer_id, %s, 't', true, %s FROM customer",
        (net.homes[0][0].point, moment("2026-01-01 00:00")),
    )
    store.commit()
    return net


@pytest.fixture
def shell(store_dsn: str, net: Net, tmp_path: Path) -> Shell:
    return Shell(
        environment(
            HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=f"2026-03-11T10:00:00+08:00@{time.time()!r}x1.0"
        )
    )  # fmt: skip


def test_a_day_as_people_see_it(shell: Shell) -> None:
    assert shell("statistics", "group", "put", "G", "C1", "--name", "一户").out.startswith(
        "group G has 1 points"
    )
    said = shell("statistics", "run", "2026-03-10")
    assert (said.code, said.out.count("\n")) == (0, 1), said
    (told,) = shell("statistics", "success", "--json").json()
    assert (told["once"], told["freeze_due"], told["coverage"]) == (1.0, 13, 1.0)
    shown = shell("statistics", "success", "--by", "line").out
    assert "100.00%" in shown
    assert "L2" in shown
    (group,) = shell("statistics", "load", "--by", "group", "--json").json()
    assert (group["key"], group["name"], group["energy"], group["factor"]) == ("G", "一户", 48.0, 1.0)
    assert "A1" in shell("statistics", "load", "--by", "area").out
    (region,) = shell("statistics", "voltage", "--by", "region", "--json").json()
    assert region["classes"]["D"]["lost"] == 120
    assert "100.000% (2)" in shell("statistics", "voltage", "--by", "region").out
    assert "customer" in shell("statistics", "key-users").out


def test_outages(shell: Shell, net: Net) -> None:
    shell("statistics", "run", "2026-03-10")
    (told,) = shell("statistics", "outages", "--json").json()
    assert (told["area"], told["sure"], told["supply"]) == ("A1", "certain", True)
    assert (told["began"], told["ended"]) == ("2026-03-10T02:00:00+00:00", "2026-03-10T03:00:00+00:00")
    shown = shell("statistics", "outages").out
    assert "~03-10 10:00" in shown
    assert shell("statistics", "outages", "--area", "A2", "--json").json() == []
    # of a day that is not over its outages so far, and nothing else
    assert shell("statistics", "run", "today").out == "0 outages\n"


def test_segments(shell: Shell) -> None:
    assert shell("statistics", "segment", "run").out == "1 customers, 4 labels changed\n"
    told = {row["what"]: row["label"] for row in shell("statistics", "segment", "show", "--json").json()}
    assert told == {"profile": "unknown", "shift": "unknown", "payment": "good", "theft": "none"}
    assert "王先生" in shell("statistics", "segment", "show", "--what", "theft").out
    assert "profile" in shell("statistics", "segment", "count").out


def test_groups(shell: Shell) -> None:
    assert (
        "neither a metering point nor a customer 'P9'" in shell("statistics", "group", "put", "G", "P9").line
    )
    shell("statistics", "group", "put", "G", "P211", "P212", "--key-users")
    assert shell("statistics", "group", "show", "G").out.split() == ["P211", "P212"]
    assert shell("statistics", "group", "list", "--json").json() == [
        {"code": "G", "name": "G", "key_users": True, "points": 2}
    ]
    assert shell("statistics", "group", "remove", "G").code == 0
    assert "no group 'G'" in shell("statistics", "group", "show", "G").line


def test_nothing_to_show(shell: Shell) -> None:
    assert "nothing was counted" in shell("statistics", "success").out
    assert "no forecast of area 'A1'" in shell("statistics", "forecast", "A1").line
    assert shell("statistics", "forecast", "--json").json() == []
    shell("statistics", "group", "put", "G", "P211")
    assert (
        "4 days at least are needed"
        in shell("statistics", "response", "G", "2026-03-10T18:00", "2026-03-10T20:00").line
    )
    assert shell("statistics", "success", "--by", "weather").code == 2
    assert "no period" in shell("statistics", "success", "--from", "2026-03-11", "--to", "2026-03-10").line
