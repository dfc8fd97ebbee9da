"""`headend control` beside a collector: read, keep power, and two persons who switch a control on."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.control.order_state import State
from headend.store import orders
from tests.headend.cli.test_terminal import server_kind as server_kind  # noqa: PLC0414  the fixture
from tests.headend.cli.test_terminal import shell
from tests.headend.collector.conftest import open_house as open_house  # noqa: PLC0414  the fixture
from tests.headend.collector.test_load_control import code, on, opened, told
from tests.support.collecting import Open
from tests.support.house import one

PLAN = """
on = ["suspension"]
power_rounds = [1, 2]

[set.suspension]
first = 2026-03-11
last = 2026-03-31
setpoint_w = 20000
"""


@pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
async def test_from_a_file_to_a_control_that_is_on_and_off_again(
    open_house: Open, tmp_path: Path, protocol: str
) -> None:
    house = await opened(open_house, protocol, now="2026-03-11 02:07")
    house.collect()
    headend, name = shell(house), code(house)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    dry = await headend("control", "write", name, str(plan))
    assert dry.code == 0, dry
    assert "it waits for a second person" in " ".join(dry.out.split())
    assert "营业报停控投入" in dry.out
    assert one(house.conn, "SELECT count(*) FROM orders") == 0
    house.conn.commit()
    asked = await headend(
        "control", "write", name, str(plan), "--yes", "--reason", "报停", "--person", "陈晓", "--json"
    )
    number = str(asked.json()["order_id"])
    listed = await headend("control", "show", number)
    assert "on.suspension.1: on True" in listed.out
    assert "suspension.1: first 2026-03-11, last 2026-03-31, setpoint_w 20000" in listed.out
    alone = await headend("control", "approve", number, "--person", "陈晓")
    assert (alone.code, "陈晓 asked for it" in alone.line) == (1, True)
    assert on(house) == set()
    done = await headend("control", "approve", number, "--person", "李敏", "--json")
    assert done.json()["state"] == "verified", done
    assert on(house) == {"suspension"}
    read = await headend("control", "read", name, "--json")
    assert read.json()["held"]["on.suspension.1"] == {"on": True}
    assert read.json()["held"]["suspension.1"] == {
        "first": "2026-03-11",
        "last": "2026-03-31",
        "setpoint_w": 20000,
    }
    shown = await headend("control", "read", name)
    assert "keep-power off" in shown.out
    off = await headend("control", "off", name, "suspension", "--reason", "恢复", "--json")
    assert (off.code, off.json()["state"], off.json()["action"]) == (0, "verified", "release")
    assert on(house) == set()


async def test_keep_power_is_told_at_once(open_house: Open) -> None:
    house = await opened(open_house, "gdw376", now="2026-03-11 02:07")
    house.collect()
    headend, name = shell(house), code(house)
    done = await headend("control", "keep-power", name, "--half-hours", "4", "--reason", "高考", "--json")
    assert (done.code, done.json()["state"]) == (0, "verified"), done
    assert told(house).kept(house.clock.now())
    assert (await headend("control", "end-keep-power", name, "--reason", "考毕")).code == 0
    assert not told(house).kept(house.clock.now())


async def test_what_is_wrong_is_one_line_and_nothing_is_asked_for(open_house: Open, tmp_path: Path) -> None:
    house = await opened(open_house, "dlt698", now="2026-03-11 02:07")
    headend, name = shell(house), code(house)
    plan = tmp_path / "plan.toml"

    async def line(*words: str) -> tuple[int, str]:
        said = await headend("control", *words)
        return said.code, said.line

    for text, why in (
        (PLAN.replace("setpoint_w", "setpoint"), "suspension: no field 'setpoint'"),
        ("on = [", "plan.toml: "),
        ('on = ["period"]', "period: switching it on says which periods and scheme"),
    ):
        plan.write_text(text, encoding="utf-8")
        exit_code, told_line = await line("write", name, str(plan))
        assert (exit_code, why in told_line) == (1, True), told_line
    plan.write_text(PLAN, encoding="utf-8")
    assert "no terminal 999" in (await line("write", "999", str(plan)))[1]
    assert (await line("write", name, str(plan), "--yes"))[0] == 2
    exit_code, told_line = await line("keep-power", name, "--half-hours", "2", "--reason", "x")
    assert (exit_code, "keep-power of a dlt698 terminal has no end of its own" in told_line) == (1, True), (
        told_line
    )
    assert one(house.conn, "SELECT count(*) FROM orders") == 0
    house.conn.execute("UPDATE account SET protected = '透析'")
    house.conn.commit()
    exit_code, told_line = await line("write", name, str(plan), "--yes", "--reason", "x")
    assert (exit_code, "refused: behind: a protected customer hangs behind it" in told_line) == (1, True)
    assert State(orders.listing(house.conn, limit=1)[0]["state"]) is State.REFUSED
