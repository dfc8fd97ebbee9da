"""`headend terminal` beside a collector: what it shows, what it refuses, and two persons who commission a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from headend.control.order_state import State
from headend.store import orders, stations
from terminals.simulator.scenario import Group
from tests.headend.collector.conftest import open_house as open_house  # noqa: PLC0414  the fixture
from tests.headend.collector.test_commissioning import WRITES, sent
from tests.support.cli import Said, Shell, environment
from tests.support.collecting import House, Open
from tests.support.house import one

Call = Callable[..., Coroutine[Any, Any, Said]]
#: Stands still: its anchor has not come yet.
NOW = "2026-03-11T02:07:00+08:00@9999999999x1"


@pytest.fixture
def server_kind() -> str:
    """One will do: what differs between servers the store's own tests have seen."""
    return "embedded"


def shell(house: House) -> Call:
    run = Shell(environment(HEADEND_DSN=house.dsn, HEADEND_CLOCK=NOW))

    async def call(*arguments: str) -> Said:
        return await asyncio.to_thread(run.process, *arguments)

    return call


async def opened(open_house: Open, protocol: str, **more: Any) -> tuple[House, Call, str]:
    house = await open_house(Group(protocol, "dial-out", 4), now="2026-03-11 02:07", **more)  # type: ignore[arg-type]
    house.collect()
    code = str(one(house.conn, "SELECT code FROM terminal"))
    house.conn.commit()
    return house, shell(house), code


def stage(house: House) -> str:
    (row,) = stations.listing(house.conn, house.clock.now())
    house.conn.commit()
    return str(row["stage"])


async def told(headend: Call, *what: str) -> None:
    """Asked for by one person, approved by another, proved."""
    asked = await headend(*what, "--yes", "--reason", "new terminal", "--person", "陈晓", "--json")
    assert (asked.code, asked.json()["state"]) == (0, "wanted"), asked
    done = await headend("terminal", "approve", str(asked.json()["order_id"]), "--person", "李敏", "--json")
    assert done.json()["state"] == "verified", done


async def test_a_698_terminal_from_the_box_to_data(open_house: Open) -> None:
    house, headend, code = await opened(open_house, "dlt698", bare=True)
    assert stage(house) == "unconfigured"
    compared = await headend("terminal", "archive", "compare", code)
    assert compared.code == 1
    assert "0 entries as they should be, 6 not" in compared.out
    await told(headend, "terminal", "archive", "write", code)
    assert stage(house) == "archive"
    await told(headend, "terminal", "tasks", code)
    house.clock.set("2026-03-11 02:16")
    await house.until(lambda: house.open_points() == 0)
    assert stage(house) == "commissioned"
    assert "commissioned 已投运" in (await headend("terminal", "list")).out


async def test_a_dry_run_asks_for_nothing_and_one_person_is_not_enough(open_house: Open) -> None:
    house, headend, code = await opened(open_house, "gdw376", bare=True)
    words = ("terminal", "archive", "write", code)
    dry = await headend(*words, "--json")
    assert (dry.code, len(dry.json()["missing"]), dry.json()["denied"][0]) == (0, 6, [1, 64])
    assert one(house.conn, "SELECT count(*) FROM orders WHERE action = 'write'") == 0
    house.conn.commit()
    asked = await headend(*words, "--yes", "--reason", "new terminal", "--person", "陈晓", "--json")
    number = str(asked.json()["order_id"])
    refused = await headend("terminal", "approve", number, "--person", "陈晓")
    assert (refused.code, "陈晓 asked for it" in refused.line) == (1, True)
    listed = await headend("terminal", "order", number)
    assert "1: nothing → point 1, address 410000010001, protocol dlt645-2007, port 31, baud 0" in " ".join(
        listed.out.split()
    )
    assert house.state(int(number)) is State.WANTED


async def test_parameters_from_a_file(open_house: Open, tmp_path: Path) -> None:
    house, headend, code = await opened(open_house, "gdw376", bare=True)
    file = tmp_path / "master.toml"
    file.write_text('[F3]\n"main address" = "10.1.2.3"\n"main port" = 7040\n', encoding="utf-8")
    dry = (await headend("terminal", "parameters", code, str(file), "--json")).json()
    assert [item["key"] for item in dry["items"]] == ["F3"]
    await told(headend, "terminal", "parameters", code, str(file))
    assert stage(house) == "parameters"
    assert "main address 10.1.2.3, main port 7040" in (
        await headend("terminal", "parameters", code)
    ).out.replace("\n", " ")
    file.write_text('[F3]\n"mane address" = "10.1.2.3"\n', encoding="utf-8")
    wrong = await headend("terminal", "parameters", code, str(file))
    assert (wrong.code, "no field 'mane address'; there is main address" in wrong.line) == (1, True)
    file.write_text("[F10]\nvalues = [0]\n", encoding="utf-8")
    wrong = await headend("terminal", "parameters", code, str(file))
    assert wrong.code == 1
    assert "'F10' is no setting" in wrong.line


async def test_nothing_is_erased_but_what_is_named(open_house: Open) -> None:
    house, headend, code = await opened(open_house, "gdw376")
    house.conn.execute(
        "UPDATE installation SET valid_to = '2026-03-11 01:00+08' WHERE meter_id = (SELECT max(meter_id) FROM meter)"
    )
    house.conn.commit()
    compared = await headend("terminal", "archive", "compare", code, "--json")
    assert [entry["number"] for entry in compared.json()["superfluous"]] == [6]
    nothing = await headend("terminal", "archive", "write", code, "--yes", "--reason", "tidy")
    assert nothing.line.endswith("there is nothing to write")
    wrong = await headend("terminal", "archive", "write", code, "--erase", "5", "--yes", "--reason", "tidy")
    assert wrong.code == 2
    assert "entry 5 is not superfluous" in wrong.err.replace("\n", " ").replace("│", "")
    await told(headend, "terminal", "archive", "write", code, "--erase", "6")
    assert (await headend("terminal", "archive", "compare", code)).code == 0


async def test_schemes_of_another_system_are_not_overwritten_by_the_way(open_house: Open) -> None:
    _, headend, code = await opened(open_house, "dlt698")
    said = await headend("terminal", "tasks", code, "--yes", "--reason", "ours")
    assert said.line.startswith("headend: 6014.1, 6014.2, 6014.3 of terminal ")
    assert said.line.endswith("say something else already; --replace overwrites them")


async def test_what_is_refused_before_anybody_is_asked(open_house: Open, tmp_path: Path) -> None:
    """A file that is none, and a terminal that nobody knows."""
    _, headend, code = await opened(open_house, "gdw376")
    file = tmp_path / "master.toml"
    for text, why in (("[F3", "Expected"), ("F3 = 1", "'F3' stands in no table")):
        file.write_text(text, encoding="utf-8")
        said = await headend("terminal", "parameters", code, str(file))
        assert (said.code, why in said.line) == (1, True), said
    for what in (("show",), ("archive", "compare"), ("tasks",)):
        said = await headend("terminal", *what, "nobody")
        assert said.line == "headend: no terminal nobody in the archive; `headend terminal list` shows them"


@pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
async def test_a_collector_that_is_killed_while_it_writes(
    open_house: Open, protocol: str, tmp_path: Path
) -> None:
    """kill -9 between the write and its read-back: the heir finds out by reading, and sends nothing again."""
    house, headend, code = await opened(open_house, protocol, bare=True)
    asked = await headend(
        "terminal", "archive", "write", code, "--yes", "--reason", "new", "--person", "陈晓", "--json"
    )
    order = int(asked.json()["order_id"])
    await house.leave()
    house.wire.lose_answer_to = WRITES[protocol]
    shell = Shell(
        environment(
            HEADEND_DSN=house.dsn, HEADEND_CLOCK=NOW, HEADEND_HOME=str(tmp_path / "home"), HEADEND_LISTEN="127.0.0.1:0",
            HEADEND_LEASE_SECONDS="4", HEADEND_POLL_SECONDS="0.2", HEADEND_ANSWER_SECONDS="30",
        )
    )  # fmt: skip
    process = shell.start(tmp_path / "collector.log", "collect")
    try:
        orders.approve(house.conn, order, who="李敏", now=house.clock.now())
        await house.until(lambda: house.wire.lose_answer_to is None or sent(house, protocol) == 1, 60)
    finally:
        process.kill()
        process.wait(10)
    assert house.state(order) is State.SENDING
    house.collect()
    await house.until(lambda: house.state(order) is State.VERIFIED, 40)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert [event["event"] for event in found["events"]] == ["request", "approve", "send", "lose", "prove"]
    assert found["outcome"] == "read back: all 6 as approved"
    assert sent(house, protocol) == 1
