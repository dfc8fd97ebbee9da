"""`headend diagnose METER` where no collector has the terminal: directly, with what the archive knows; and again from the recording."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from terminals.simulator.scenario import Group
from tests.headend.collector.test_daemon import assets, consumer
from tests.support.cli import Shell, environment
from tests.support.collecting import Open


@pytest.fixture
def server_kind() -> str:
    """One will do: what is asked of the store are four questions that its own tests have put to both."""
    return "embedded"


def shell(house, folder: Path) -> Shell:
    clock = f"2026-03-11T10:07:00+08:00@{time.time()!r}x1.0"
    return Shell(environment(HEADEND_DSN=house.dsn, HEADEND_HOME=str(folder), HEADEND_CLOCK=clock))


@pytest.mark.parametrize("protocol", ["dlt645", "dlms", "gdw376", "dlt698"])
async def test_without_a_collector_the_terminal_is_called_directly(
    open_house: Open, tmp_path: Path, protocol: str
):
    house = await open_house(Group(protocol, "dial-out", 4), now="2026-03-11 10:07")
    run, asset, file = shell(house, tmp_path), consumer(house), tmp_path / "case.toml"
    house.conn.commit()
    said = await asyncio.to_thread(run.process, "diagnose", asset, "--record", str(file), "--lang", "zh")
    assert said.code == 0, said
    assert "当前无采集进程管理该终端：直接连接" in said.out
    assert f"电表 {asset}" in said.out
    assert "档案核对" in said.out
    assert "不一致" not in said.out
    nowhere = Shell(environment(HEADEND_DSN="postgresql://127.0.0.1:1/nowhere"))
    again = await asyncio.to_thread(nowhere.process, "diagnose", str(file), "--lang", "zh")
    assert again.out == said.out


async def test_a_meter_that_is_another_one_than_the_archive_says(open_house: Open, tmp_path: Path):
    house = await open_house(now="2026-03-11 10:07")
    one, other = assets(house)[1:3]
    sql = "UPDATE installation SET address = %s FROM meter WHERE meter.meter_id = installation.meter_id AND asset = %s"
    house.conn.execute(sql, ("000000000001", other))
    house.conn.execute(sql, (other, one))
    house.conn.commit()
    told = (await asyncio.to_thread(shell(house, tmp_path).process, "diagnose", one, "--json")).json()
    differs = [row for row in told["archive"] if row["same"] is False]
    assert [(row["thing"], row["archive"], row["meter"]) for row in differs] == [("asset", one, other)]


async def test_a_terminal_that_dials_in_needs_a_collector(open_house: Open, tmp_path: Path):
    house = await open_house(now="2026-03-11 10:07")
    house.conn.execute("UPDATE terminal SET link = 'dial-in', endpoint = NULL, login = '33000001'")
    house.conn.commit()
    said = await asyncio.to_thread(shell(house, tmp_path).process, "diagnose", assets(house)[0])
    assert said.code == 1
    assert "dials in by itself and no collector runs" in said.line
