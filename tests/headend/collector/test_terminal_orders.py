"""Orders of a terminal itself, through a collector, on real sockets."""

from __future__ import annotations

import numpy as np
import pytest

from headend.collector.drivers import drivers, station_for
from headend.control.order_state import State
from headend.store import orders
from terminals.simulator.scenario import Group
from tests.support.collecting import House, Open
from tests.support.house import one


def ask(house: House, kind: str, action: str, **options: object) -> int:
    now = house.clock.now()
    return orders.request(
        house.conn, kind=kind, action=action, terminal=terminal(house), reason="test", who="陈晓", now=now,
        expires=now + np.timedelta64(3, "h"), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def terminal(house: House) -> str:
    code = one(house.conn, "SELECT code FROM terminal")
    house.conn.commit()
    return str(code)


@pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
async def test_a_terminals_own_clock_is_read_and_set(open_house: Open, protocol: str) -> None:
    house = await open_house(Group(protocol, "dial-out", 4), now="2026-03-11 10:07")
    house.collect()
    read, meters = ask(house, "clock", "read"), one(house.conn, "SELECT min(asset) FROM meter")
    await house.until(lambda: house.state(read) is State.VERIFIED)
    assert abs(orders.get(house.conn, read)["result"]["offset_seconds"]) <= 4
    house.clock.set("2026-03-11 10:12")
    order = ask(house, "clock", "set")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert found["outcome"].startswith("terminal clock off by")
    assert [event["event"] for event in found["events"]] == ["request", "send", "answer", "prove"]
    # beside a meter's own, on the same line
    other = house.ask(str(meters), "read", "clock")
    await house.until(lambda: house.state(other) is State.VERIFIED)


async def test_what_became_a_mere_line_is_told_nothing(open_house: Open) -> None:
    """Between the request and the sending the archive was corrected: nobody there has a clock of his own."""
    house = await open_house(Group("gdw376", "dial-out", 4), now="2026-03-11 10:07")
    order = ask(house, "clock", "set")
    house.conn.execute("UPDATE terminal SET protocol = 'dlt645'")
    house.conn.commit()
    house.collect()
    await house.until(lambda: house.state(order) is State.REFUSED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert found["outcome"] == "route: the archive says now that the terminal only passes bytes on"


def test_the_store_takes_orders_for_whom_somebody_can_speak_with() -> None:
    assert {name for name, driver in drivers().items() if station_for(driver)} == set(orders.STATIONS)
