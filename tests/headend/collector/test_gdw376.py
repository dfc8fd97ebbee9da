"""A collector and concentrators of Q/GDW 376.1 on real sockets: a day that ends whole, what stays owed, orders, and the same again from the tape."""

from __future__ import annotations

from typing import Any

import numpy as np

from headend.collector import redecode
from headend.collector.drivers import drivers
from headend.control.order_state import State
from headend.store import orders
from headend.store.archive.kinds import PROTOCOLS
from protocols.localtime import instant
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.scenario import ZONE, Group
from tests.headend.collector.test_daemon import acts, assets, consumer, may_be_tripped, same, stored
from tests.support.collecting import RELAY_645, STAND_IN, House, Open
from tests.support.house import at, one, table

CONCENTRATORS = Group("gdw376", "dial-out", 4)
TODAY = "2026-03-11"


def frozen(house: House, asset: str) -> dict[np.datetime64, tuple[Any, ...]]:
    sql = f"SELECT ts, {', '.join(REGISTER_QUANTITIES)} FROM register_read JOIN meter USING (meter_id) WHERE kind = 2 AND asset = %s"
    return {instant(ts): tuple(values) for ts, *values in table(house.conn, sql, asset)}


async def test_a_day_ends_whole_and_is_the_truth_and_the_same_again(open_house: Open) -> None:
    house = await open_house(CONCENTRATORS, now="2026-03-11 02:07")
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    house.clock.set("2026-03-12 00:07")
    await house.until(lambda: house.open_points() == 0)
    freezes = "SELECT count(*) FROM register_read WHERE kind = 2"
    await house.until(lambda: one(house.conn, freezes) == 2 * len(assets(house)))
    await house.leave()
    assert house.fleet is not None
    expected = truth.load(house.fleet.directory).expected()
    day = (expected.slots > at("2026-03-11 00:00")) & (expected.slots <= at("2026-03-12 00:00"))
    assert len(assets(house)) == 6
    for asset in assets(house):
        k = expected.meters.index(asset)
        rows = stored(house, asset)
        assert [t for t in sorted(rows) if t > at("2026-03-11 00:00")] == list(expected.slots[day])
        for j in np.flatnonzero(day):
            row = rows[expected.slots[j]]
            assert all(same(row[c], expected.curve[code][k][j]) for c, code in enumerate(SLOT_QUANTITIES))
        assert frozen(house, asset) == {
            expected.midnights[d]: tuple(int(expected.freezes[code][k][d]) for code in REGISTER_QUANTITIES)
            for d in (0, 1)
        }
        told = house.why(asset, TODAY)
        assert not any(plan.holes for plan in told.plans)
    assert one(house.conn, "SELECT count(*) FROM revision") == 0
    report = redecode.day(house.conn, drivers(), at("2026-03-12").item().date(), ZONE)
    assert report.exchanges > 0
    assert (report.differences, report.not_replayed, report.said_nothing) == ([], {}, 0)
    assert report.equal == report.readings > 96 * 6


async def test_what_the_terminal_has_not_got_stays_owed(open_house: Open) -> None:
    """The meter is dead, the terminal is not: it fills with EE, which is no proof, so the points stay open with their reason."""
    house = await open_house(CONCENTRATORS, dead=1)
    house.collect()
    await house.until(lambda: house.open_points() == 8)
    sql = "SELECT count(*) FROM gap_reason WHERE reason = 'not-in-terminal'"
    await house.until(lambda: one(house.conn, sql) > 0)
    told = house.why(house.dead, TODAY)
    assert [(hole.reason, hole.points) for hole in told.plans[0].holes] == [("not-in-terminal", 8)]
    house.clock.set("2026-03-12 03:07")
    await house.until(lambda: house.open_points() == 96)
    assert one(house.conn, "SELECT count(*) FROM gap_reason WHERE reason = 'not-recorded'") == 0


async def test_a_trip_whose_answer_is_lost_behind_the_terminal_is_sent_once_and_proved(
    open_house: Open,
) -> None:
    house = await open_house(CONCENTRATORS, now="2026-03-11 10:07")
    asset = consumer(house)
    may_be_tripped(house, asset)
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    order = house.ask(asset, "trip")
    house.wire.lose_answer_to = RELAY_645  # inside the forwarding request
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())
    await house.until(lambda: house.state(order) in (State.UNKNOWN, State.VERIFIED))
    house.clock.set("2026-03-11 10:10")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert [event["event"] for event in found["events"]] == ["request", "approve", "send", "lose", "prove"]
    assert found["result"]["relay"]["open"] is True
    assert house.wire.commands == 1
    assert acts(house) == [(asset, "trip")]


async def test_a_read_and_a_clock_order(open_house: Open) -> None:
    house = await open_house(CONCENTRATORS, now="2026-03-11 10:07")
    asset = consumer(house)
    house.collect()
    read = house.ask(asset, "", "read")
    await house.until(lambda: house.state(read) is State.VERIFIED)
    result = orders.get(house.conn, read)["result"]
    (register,) = table(house.conn, "SELECT active_import FROM register_read WHERE kind = 3")
    assert result["values"]["active_import"]["value"] == f"{register[0] // 10_000}.{register[0] % 10_000:04d}"
    clock = house.ask(asset, "read", "clock")
    await house.until(lambda: house.state(clock) is State.VERIFIED)
    assert abs(orders.get(house.conn, clock)["result"]["offset_seconds"]) <= 4
    house.conn.commit()


def test_the_archive_has_a_driver_for_each_protocol_it_takes() -> None:
    assert set(drivers(STAND_IN)) == set(PROTOCOLS)
