"""`headend terminal` beside a collector: what it shows, what it refuses, and two persons who commission a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from terminals.simulator.scenario import Group
from tests.headend.collector.conftest import open_house as open_house  # noqa: PLC0414  the fixture
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


async def stage(headend: Call, code: str) -> str:
    return str((await headend("terminal", "show", code, "--json")).json()["stage"])


async def told(headend: Call, *what: str) -> None:
    """Asked for by one person, approved by another, proved."""
    asked = await headend(*what, "--yes", "--reason", "new terminal", "--person", "陈晓", "--json")
    assert (asked.code, asked.json()["state"]) == (0, "wanted"), asked
    number = str(asked.json()["order_id"])
    refused = await headend("terminal", "approve", number, "--person", "陈晓")
    assert (refused.code, "陈晓 asked for it" in refused.line) == (1, True)
    done = await headend("terminal", "approve", number, "--person", "李敏", "--json")
    assert done.json()["state"] == "verified", done


async def test_a_698_terminal_from_the_box_to_data(open_house: Open) -> None:
    house, headend, code = await opened(open_house, "dlt698", bare=True)
    assert await stage(headend, code) == "unconfigured"
    compared = await headend("terminal", "archive", "compare", code)
    assert compared.code == 1
    assert "0 entries as they should be, 6 not" in compared.out
    dry = await headend("terminal", "archive", "write", code, "--json")
    assert (dry.code, len(dry.json()["missing"])) == (0, 6)
    assert one(house.conn, "SELECT count(*) FROM orders WHERE action = 'write'") == 0
    house.conn.commit()
    await told(headend, "terminal", "archive", "write", code)
    assert await stage(headend, code) == "archive"
    await told(headend, "terminal", "tasks", code)
    again = await headend("terminal", "tasks", code, "--yes", "--reason", "once more")
    assert again.line == f"headend: terminal {code} has it so already: there is nothing to write"
    house.clock.set("2026-03-11 02:16")
    await house.until(lambda: house.open_points() == 0)
    assert await stage(headend, code) == "commissioned"
    listed = await headend("terminal", "list")
    assert "commissioned 已投运" in listed.out


async def test_parameters_from_a_file(open_house: Open, tmp_path: Path) -> None:
    _, headend, code = await opened(open_house, "gdw376", bare=True)
    file = tmp_path / "master.toml"
    file.write_text('[F3]\n"main address" = "10.1.2.3"\n"main port" = 7040\n', encoding="utf-8")
    dry = (await headend("terminal", "parameters", code, str(file), "--json")).json()
    assert [item["key"] for item in dry["items"]] == ["F3"]
    await told(headend, "terminal", "parameters", code, str(file))
    assert await stage(headend, code) == "parameters"
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


@pytest.mark.parametrize("what", [("show",), ("archive", "compare"), ("tasks",)])
async def test_no_such_terminal(open_house: Open, what: tuple[str, ...]) -> None:
    _, headend, _ = await opened(open_house, "gdw376")
    said = await headend("terminal", *what, "nobody")
    assert said.line == "headend: no terminal nobody in the archive; `headend terminal list` shows them"
