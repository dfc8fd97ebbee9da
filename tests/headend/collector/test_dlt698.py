"""DL/T 698.45 terminals collected from: a day that ends whole in the ledger, orders through the terminal, the bytes read again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.collector import redecode
from headend.collector.drivers import drivers
from headend.collector.gaps import COLLECTING
from headend.control.order_state import State
from headend.store import coverage, orders
from protocols.dlt698 import values
from protocols.dlt698.apdu import Result
from protocols.localtime import instant
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.scenario import ZONE, Group
from tests.headend.collector.test_daemon import acts, consumer, may_be_tripped, same
from tests.support.collecting import House, Open
from tests.support.house import one, table

TERMINALS = Group("dlt698", "dial-out", 4)
DAY = dt.date(2026, 3, 11)


def expected_of(house: House) -> truth.Expected:
    assert house.fleet is not None
    return truth.load(house.fleet.directory).expected(first=DAY, last=DAY)


def stored(
    house: House, name: str, codes: tuple[str, ...], where: str = "true"
) -> dict[Any, tuple[Any, ...]]:
    rows = table(
        house.conn,
        f"SELECT asset, ts, {', '.join(codes)} FROM {name} JOIN meter USING (meter_id) WHERE {where}",
    )
    return {(asset, instant(ts)): tuple(values) for asset, ts, *values in rows}


async def test_a_day_ends_whole_and_equal_to_the_truth(open_house: Open) -> None:
    """Even and odd terminals; a dead meter, which the terminal has nothing of; a record with holes, which its meter proves when it is asked past
    the terminal. What the dead one owes stays open."""
    house = await open_house(TERMINALS, alone=False, now="2026-03-11 14:07", dead=1, missing=1)
    house.collect()
    expected = expected_of(house)
    due = 0
    for now in ("2026-03-11 14:07", "2026-03-12 00:12"):
        house.clock.set(now)
        lacking = ~expected.available & (expected.slots <= house.clock.now() - np.timedelta64(1, "m"))
        due = int(lacking.sum())
        proved = lacking & expected.answers[:, None] & (expected.slots <= house.clock.now() - COLLECTING)
        left = due - int(proved.sum())
        await house.until(lambda left=left: house.open_points() == left)
    sql = "SELECT count(*) FROM register_read WHERE kind = 2 AND ts = '2026-03-12 00:00+08'"
    await house.until(lambda: one(house.conn, sql) == expected.answers.sum())
    slots = stored(house, "slot_read", SLOT_QUANTITIES, "ts > '2026-03-11 00:00+08'")
    assert len(slots) == expected.available.sum() == expected.available.size - due
    for k, asset in enumerate(expected.meters):
        for j in np.flatnonzero(expected.available[k]):
            row = slots[asset, expected.slots[j]]
            assert all(same(row[c], expected.curve[code][k][j]) for c, code in enumerate(SLOT_QUANTITIES)), (
                asset
            )
    days = stored(house, "register_read", REGISTER_QUANTITIES, "kind = 2")
    for k in np.flatnonzero(expected.answers):
        row = days[expected.meters[k], expected.midnights[0]]
        assert row[:5] == tuple(int(expected.freezes[code][k][0]) for code in REGISTER_QUANTITIES[:5])
        assert row[5] == 0
    assert one(house.conn, "SELECT count(*) FROM revision") == 0
    # what the terminal has not got, the meter may still have: absent is what the meter itself proved
    assert proved.any()
    absent = "SELECT sum(bit_count(absent)) FROM coverage WHERE day = '2026-03-11'"
    assert int(one(house.conn, absent)) == proved.sum()
    told = house.why(house.dead, DAY.isoformat())
    assert {hole.reason for plan in told.plans for hole in plan.holes} == {"no-answer", "not-in-terminal"}
    past = "SELECT count(*) FROM exchange WHERE task = 'curve-past-terminal'"
    assert one(house.conn, past) > 0
    report = redecode.day(house.conn, drivers(), DAY, ZONE)
    assert (report.differences, report.not_replayed) == ([], {})


async def test_every_reading_comes_out_of_its_bytes_again(open_house: Open) -> None:
    """With a report in the middle of the first conversation of each terminal."""
    house = await open_house(TERMINALS, alone=False)
    assert house.fleet is not None
    null = values.Data(values.NULL)
    stations = [t.concentrator for t in house.fleet.terminals if t.concentrator is not None]
    for station in stations:
        station.reports.append((1, {"results": (Result(0x30110200, 0, null),)}))
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    await house.until(lambda: house.open_points("2026-03-10") == 0)
    assert len(stations) == 4
    assert not any(station.reports for station in stations)
    await house.leave()
    report = redecode.day(house.conn, drivers(), DAY, ZONE)
    house.conn.commit()
    rows = one(house.conn, "SELECT count(*) FROM slot_read")
    assert rows > 100
    assert (report.differences, report.not_replayed, report.said_nothing) == ([], {}, 0)
    assert report.equal == report.readings > 4 * rows
    assert one(house.conn, "SELECT count(*) FROM exchange WHERE evidence IS NOT NULL") == report.exchanges


async def test_orders_reach_the_meter_through_the_terminal(open_house: Open) -> None:
    house = await open_house(TERMINALS, now="2026-03-11 10:07")
    asset = consumer(house)
    may_be_tripped(house, asset)
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    read, clock = house.ask(asset, "", "read"), house.ask(asset, "read", "clock")
    await house.until(lambda: house.state(read) is State.VERIFIED)
    await house.until(lambda: house.state(clock) is State.VERIFIED)
    shown = orders.get(house.conn, read)["result"]["values"]
    assert {"active_import", "active_import_t4", "voltage_a", "current_a", "active_power"} <= set(shown)
    order = house.ask(asset, "trip")
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert found["result"]["relay"]["open"] is True
    assert found["result"]["relay"]["load_kw"] == 0
    assert acts(house) == [(asset, "trip")]


async def test_an_order_to_a_meter_that_the_terminal_does_not_reach_is_not_sent(open_house: Open) -> None:
    """Its clock cannot be read, so it is told nothing; that the terminal says so is no refusal of the meter."""
    house = await open_house(TERMINALS, now="2026-03-11 10:07", dead=1)
    house.collect()
    order, read = house.ask(house.dead, "keep-power"), house.ask(house.dead, "", "read")
    await house.until(lambda: house.state(read) is State.FAILED)
    assert house.state(order) in (State.APPROVED, State.SENDING, State.UNKNOWN)
    assert acts(house) == []
    matrix = coverage.day_matrix(house.conn, coverage.CURVE, DAY, now=house.clock.now(), zone=ZONE)
    house.conn.commit()
    assert matrix.open.any()
