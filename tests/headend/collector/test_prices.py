"""Hours and prices through a real collector, on real sockets: straight to DL/T 645 meters, through Q/GDW 376.1 and DL/T 698.45 terminals; with
the answer lost, and with the collector killed, at each write in turn."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headend.control.facts import Limits
from headend.control.order_state import State
from headend.jobs import campaigns as job
from headend.jobs.frame import Run
from headend.store import campaigns, orders, price_tables, tariffs
from headend.store.orders import Writing
from protocols.localtime import as_datetime
from tariffs.timetable import clashes, hours
from terminals.simulator.scenario import ZONE, Group
from tests.support.collecting import House, Open
from tests.support.house import one

NOW = "2026-03-11 10:07"
AT = dt.date(2026, 3, 14)
AFTER = "2026-03-14 00:45"
PLAN = "zhejiang-residential-peak-valley"
WRITE_645 = re.compile(rb"\x68.{6}\x68\x14", re.DOTALL)


class Nth:
    """Matches the n-th write that passes, and calls back."""

    def __init__(self, n: int, then: Callable[[], None] = lambda: None) -> None:
        self.left, self.then, self.seen = n, then, 0

    def search(self, data: bytes) -> Any:
        for _ in WRITE_645.finditer(data):
            self.seen += 1
            self.left -= 1
            if self.left == -1:
                self.then()
                return True
        return None


async def opened(open_house: Open, protocol: str) -> tuple[House, str]:
    house = await open_house(Group(protocol, "dial-out", 4), now=NOW)  # type: ignore[arg-type]
    house.conn.execute("UPDATE account SET tariff = %s", (PLAN,))
    asset = one(
        house.conn,
        "SELECT min(asset) FROM meter JOIN installation USING (meter_id) JOIN account USING (point_id) WHERE NOT prepaid",
    )
    house.collect()
    return house, str(asset)


def order(house: House, asset: str, action: str, writing: Writing | None = None) -> int:
    now = house.clock.now()
    return orders.request(
        house.conn, kind="prices", action=action, asset=asset, reason="test", who="陈晓", now=now, expires=now + np.timedelta64(3, "h"),
        writing=writing,
    )  # fmt: skip


async def read(house: House, asset: str) -> dict[str, Any]:
    number = order(house, asset, "read")
    await house.until(lambda: house.state(number) not in (State.APPROVED, State.SENDING, State.ANSWERED))
    found = orders.get(house.conn, number)
    house.conn.commit()
    assert found["state"] == "verified", found["outcome"]
    held: dict[str, Any] = found["result"]["held"]
    return held


async def approved(house: House, asset: str) -> tuple[int, dict[str, Any], int]:
    """An order that a second person has approved, what the meter held, and how many writes it is."""
    held = await read(house, asset)
    whose = price_tables.contract(house.conn, asset, house.clock.now())
    local = as_datetime(house.clock.now(), ZONE).replace(tzinfo=None)
    found = price_tables.propose(house.conn, whose, held, AT, local, Limits())
    number = order(house, asset, "write", found.writing())
    house.conn.commit()
    return number, held, len(found.items)


def approve(house: House, number: int) -> None:
    orders.approve(house.conn, number, who="李敏", now=house.clock.now())


def ended(house: House, number: int) -> Callable[[], bool]:
    return lambda: house.state(number) in (State.VERIFIED, State.FAILED, State.REFUSED)


def wrong(house: House, held: dict[str, Any]) -> list[Any]:
    version = tariffs.one(house.conn, PLAN).on(AT)
    house.conn.commit()
    return clashes(PLAN, version, held, AT, AT + dt.timedelta(days=10))


@pytest.mark.parametrize("protocol", ["dlt645", "gdw376", "dlt698"])
async def test_a_plan_gets_into_a_meter_and_into_force(open_house: Open, protocol: str) -> None:
    house, asset = await opened(open_house, protocol)
    number, held, _ = await approved(house, asset)
    assert wrong(house, held)
    approve(house, number)
    await house.until(ended(house, number))
    assert house.state(number) is State.VERIFIED, orders.get(house.conn, number)["outcome"]
    house.clock.set(AFTER)
    assert wrong(house, await read(house, asset)) == []


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("killed", [False, True])
async def test_an_answer_lost_or_a_collector_killed_at_each_write(
    open_house: Open, at: int, killed: bool
) -> None:
    house, asset = await opened(open_house, "dlt645")
    number, held, writes = await approved(house, asset)
    assert writes == 4
    ((_, task),) = house._running

    def kill() -> None:
        if killed:
            task.cancel()

    nth = Nth(at, kill)
    house.wire.lose_answer_to = nth  # type: ignore[assignment]
    approve(house, number)
    if killed:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        house._running.clear()
        assert house.state(number) is State.SENDING
        house.wire.lose_answer_to = Nth(99)  # type: ignore[assignment]
        house.collect()
    else:
        await house.until(lambda: house.state(number) is State.UNKNOWN)
        house.clock.set("2026-03-11 10:12")
    await house.until(ended(house, number), seconds=40)
    found = orders.get(house.conn, number)
    house.conn.commit()
    whole = at == writes - 1
    assert found["state"] == ("verified" if whole else "failed"), found["outcome"]
    assert f"{at + 1} of {writes} as approved" in found["outcome"] or whole
    # nothing was sent again
    assert len(WRITE_645.findall(b"".join(house.wire.requests))) == at + 1
    house.clock.set(AFTER)
    after = await read(house, asset)
    if whole:
        assert wrong(house, after) == []
    else:
        span = AT, AT + dt.timedelta(days=10)
        assert (hours(after, *span) == hours(held, *span)).all()


async def test_a_campaign_through_a_collector(open_house: Open) -> None:
    house, _ = await opened(open_house, "dlt645")
    now = house.clock.now()
    campaign = campaigns.begin(
        house.conn, tariff=PLAN, at=AT, reason="notice 7", who="陈晓", now=now, stop_after=1
    )
    many = len(campaigns.meters(house.conn, campaign, ["listed"]))

    def go() -> dict[str, int]:
        job.job(Run(house.conn, ZONE, house.clock.now()), dt.date(2026, 3, 11))
        (row,) = campaigns.listing(house.conn)
        house.conn.commit()
        return dict(row["meters"])

    await house.until(lambda: go().get("ready") == many, seconds=60)
    ready = campaigns.meters(house.conn, campaign, ["ready"])
    campaigns.approve(house.conn, campaign, campaigns.digest(ready), who="李敏", now=now)
    assert go() == {"writing": 1, "approved": many - 1}
    await house.until(lambda: go() == {"done": many}, seconds=60)
    assert campaigns.one(house.conn, campaign)["state"] == "ended"
    house.conn.commit()
