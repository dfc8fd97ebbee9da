"""`headend prices` beside a collector: what a meter counts by, two persons who change it, and a campaign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from terminals.simulator.wallet import Limits, Wallet
from tests.headend.collector.conftest import open_house as open_house  # noqa: PLC0414  the fixture
from tests.headend.collector.test_prices import PLAN, opened
from tests.support.cli import Said, Shell, environment
from tests.support.collecting import House, Open
from tests.support.house import one

Call = Callable[..., Coroutine[Any, Any, Said]]
#: Stands still: its anchor has not come yet.
NOW = "2026-03-11T10:07:00+08:00@9999999999x1"


@pytest.fixture
def server_kind() -> str:
    """One will do: what differs between servers the store's own tests have seen."""
    return "embedded"


def shell(house: House) -> Call:
    run = Shell(environment(HEADEND_DSN=house.dsn, HEADEND_CLOCK=NOW))

    async def call(*arguments: str) -> Said:
        return await asyncio.to_thread(run.process, *arguments)

    return call


async def test_two_persons_change_a_meters_hours_and_take_it_back(open_house: Open) -> None:
    house, asset = await opened(open_house, "dlt645")
    headend = shell(house)
    said = await headend("prices", "read", asset)
    assert said.code == 1, said
    words = " ".join(said.out.split())
    assert f"plan {PLAN}: its hours are others" in words
    assert "07:00-08:00 T3 valley" in words  # the simulator's meters begin an hour earlier
    shown = await headend("prices", "write", asset, "--at", "2026-03-14")
    assert "4 writes, in force from 2026-03-14 on" in shown.out
    assert "nothing is written without --yes" in shown.out
    for wrong, line in (
        (("--at", "2026-03-12"), "less than 24 hours ahead"), (("--at", "2026-03-14", "--yes"), "--yes needs --reason"),
    ):  # fmt: skip
        said = await headend("prices", "write", asset, *wrong)
        assert said.code != 0
        assert line in said.line
    asked = await headend(
        "prices",
        "write",
        asset,
        "--at",
        "2026-03-14",
        "--yes",
        "--reason",
        "notice 7",
        "--person",
        "陈晓",
        "--json",
    )
    assert asked.json()["state"] == "wanted", asked
    number = str(asked.json()["order_id"])
    said = await headend("prices", "approve", number, "--person", "陈晓")
    assert (said.code, "陈晓 asked for it" in said.line) == (1, True)
    said = await headend("prices", "approve", number, "--person", "李敏", "--wait", "60")
    assert said.code == 0, said
    assert "4 written, all read back as approved" in " ".join(said.out.split())
    assert "spare zones: 01-01 day 1 → 01-01 day 2" in said.out
    assert (
        "switch zones is programmed" in (await headend("prices", "write", asset, "--at", "2026-04-01")).line
    )
    back = await headend(
        "prices", "take-back", asset, "--yes", "--reason", "too early", "--person", "陈晓", "--json"
    )
    number = str(back.json()["order_id"])
    assert (await headend("prices", "approve", number, "--person", "李敏", "--wait", "60")).code == 0
    assert "no switch is programmed" in (await headend("prices", "take-back", asset)).line
    rows = (await headend("prices", "list", "--meter", asset, "--json")).json()
    assert {row["action"] for row in rows} == {"read", "write"}
    assert "held" not in rows[0]["result"]
    assert "take-back" not in (await headend("prices", "list")).out


async def test_two_persons_change_a_wallets_limits(open_house: Open) -> None:
    house, asset = await opened(open_house, "dlt645")
    assert house.fleet is not None
    (meter,) = [m for m in house.fleet.terminals[0].meters if m.asset == asset]
    meter.wallet = Wallet((8_283, 6_183, 5_483, 3_083), Limits(alarm1=2_000, alarm2=500, overdraft=1_000))
    meter.purchase(house.clock.now(), "open", 650, 1, "9001")
    headend = shell(house)
    shown = await headend("purchase", "limits", asset, "alarm1=30")
    assert shown.code == 0, shown
    assert "alarm1 20.00 30.00 alarm2 5.00" in " ".join(shown.out.replace("│", " ").split())
    for wrong, line in (
        (("alarm2=7",), "6.50 yuan are left: the meter would cut the customer off at 7.00"),
        (("alarm2=40",), "alarm2 would be 40.00, above alarm1 20.00"),
        (("alarm=1",), "'alarm=1' is not NAME=YUAN; names are alarm1, alarm2"),
        (("alarm1=30", "--yes"), "--yes needs --reason"),
        (("alarm1=20", "--yes", "--reason", "x"), "holds them so already"),
    ):
        said = await headend("purchase", "limits", asset, *wrong)
        assert (said.code != 0, line in said.line) == (True, True), said
    asked = await headend(
        "purchase", "limits", asset, "alarm1=30", "overdraft=0", "--yes", "--reason", "notice 8", "--person", "陈晓", "--json",
    )  # fmt: skip
    number = str(asked.json()["order_id"])
    assert asked.json()["state"] == "wanted"
    said = await headend("purchase", "approve", number, "--person", "李敏", "--wait", "60")
    assert said.code == 0, said
    assert "2 written, each read back as approved" in " ".join(said.out.split())
    assert "alarm1: 20.00 → 30.00" in said.out
    assert meter.wallet.limits == Limits(alarm1=3_000, alarm2=500, overdraft=0)
    rules = await headend("purchase", "rules", "alarm1=30", "alarm2=4", "--json")
    assert rules.code == 0, rules
    told = (await headend("purchase", "limits", asset, "--json")).json()
    assert told["items"] == [{"key": "alarm2", "was": 500, "becomes": 400}]


async def test_a_campaign_is_begun_shown_approved_stopped_and_resumed(open_house: Open) -> None:
    house, asset = await opened(open_house, "dlt645")
    headend = shell(house)
    said = await headend(
        "prices", "campaign", "start", PLAN, "--at", "2026-03-14", "--reason", "notice 7", "--person", "陈晓"
    )
    assert said.code == 0, said
    assert "campaign 1: " in said.out
    assert (await headend("jobs", "once", "campaigns")).code == 0
    said = await headend("prices", "campaign", "approve", "1", "abc", "--person", "李敏")
    assert (said.code, "no meter is ready" in said.line) == (1, True)
    await house.until(
        lambda: one(house.conn, "SELECT count(*) FROM orders WHERE kind = 'prices' AND is_open") == 0,
        seconds=60,
    )
    assert (await headend("jobs", "once", "campaigns")).code == 0
    shown = (await headend("prices", "campaign", "show", "1", "--json")).json()
    many = sum(group["meters"] for group in shown["ready"])
    assert shown["ready"][0]["items"][-1]["key"] == "switch zones"
    assert (
        f"headend prices campaign approve 1 {shown['shown']}"
        in (await headend("prices", "campaign", "show", "1")).out
    )
    assert (
        f"{many} meters approved"
        in (await headend("prices", "campaign", "approve", "1", shown["shown"], "--person", "李敏")).out
    )
    assert "approved" in (await headend("prices", "campaign", "show", "1", "--meter", asset)).out
    assert "stopped; " in (await headend("prices", "campaign", "stop", "1", "--reason", "wrong notice")).out
    assert "does not run" in (await headend("prices", "campaign", "stop", "1", "--reason", "x")).line
    assert (
        "goes on" in (await headend("prices", "campaign", "resume", "1", "--reason", "right after all")).out
    )
    assert (await headend("prices", "campaign", "list", "--json")).json()[0]["state"] == "running"
    assert "no campaign 9" in (await headend("prices", "campaign", "show", "9")).line
    kinds = {
        row["body"]["why"] for row in (await headend("audit", "list", "--kind", "campaign", "--json")).json()
    }
    assert any(why.startswith("stopped by ") for why in kinds)
