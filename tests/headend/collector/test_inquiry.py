"""Orders that ask for more than the registers: everything that a diagnosis asks, and single items by name."""

from __future__ import annotations

import numpy as np
import pytest

from headend.collector.inquiry import inquire
from headend.control.order_state import State
from headend.store import exchanges, orders
from headend.store.exchanges import Exchange
from headend.store.orders import ITEMS, SURVEY
from terminals.bus import Bus
from terminals.diagnose.document import phasors_in, steps_of
from terminals.pace import Pace
from terminals.simulator.scenario import Group
from terminals.turns import Priority
from tests.headend.collector.test_daemon import assets, consumer
from tests.support.collecting import Open
from tests.support.house import moment
from tests.terminals.drivers.test_modbus import FAST, line, meter

AT = "2026-03-11 10:07"


def result(house, order):
    found = orders.get(house.conn, order)
    house.conn.commit()
    return found


@pytest.mark.parametrize("protocol", ["dlt645", "dlms", "gdw376", "dlt698"])
async def test_a_diagnosis_through_the_collector_brings_its_steps_with_their_frames(
    open_house: Open, protocol
):
    house = await open_house(Group(protocol, "dial-out", 4), now=AT)
    asset = consumer(house)
    house.collect()
    order = house.ask(asset, SURVEY, "read")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    told = result(house, order)["result"]["diagnosis"]
    steps = {step.key: step for step in steps_of(told)}
    assert {key for key, step in steps.items() if step.state.value == "failed"} == set()
    assert steps["clock"].trips[0].received
    assert "active_import" in told["values"]
    phasors = phasors_in(told)
    assert phasors is not None
    assert 180 < phasors.phases[0].voltage < 260
    # it is an order's result and no reading: nothing is compared with it, billed or exported
    assert house.conn.execute("SELECT count(*) AS n FROM register_read WHERE kind = 3").fetchone()["n"] == 0


async def test_a_diagnosis_of_a_dead_meter_says_so_with_what_was_tried(open_house: Open):
    house = await open_house(now=AT, dead=1)
    house.collect()
    order = house.ask(house.dead, SURVEY, "read")
    await house.until(lambda: house.state(order) is State.FAILED)
    found = result(house, order)
    assert "no answer" in found["outcome"]
    (address,) = [step for step in steps_of(found["result"]["diagnosis"]) if step.key == "address"]
    assert address.trips
    assert not any(trip.received for trip in address.trips)
    assert "no meter answers" in found["result"]["diagnosis"]["verdict_en"]


async def test_items_by_name_with_their_frames(open_house: Open):
    house = await open_house(now=AT)
    asset = consumer(house)
    house.collect()
    order = house.ask(asset, ITEMS + "02010100 04000402 02800008", "read")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = result(house, order)
    voltage, number, battery = found["result"]["items"]
    assert (voltage["code"], voltage["unit"], voltage["quantity"]) == ("02010100", "V", "voltage_a")
    assert 180 < float(voltage["value"]) < 260
    assert number["value"] == asset
    assert "no requested data" in battery["refused"]
    assert len(found["result"]["frames"]) == 3
    assert found["outcome"] == "2 of 3 values read"


async def test_an_item_that_is_none_is_not_asked(open_house: Open):
    house = await open_house(now=AT)
    house.collect()
    order = house.ask(consumer(house), ITEMS + "voltge_a", "read")
    await house.until(lambda: house.state(order) is State.FAILED)
    assert "not asked: unknown item 'voltge_a'; nearest: voltage_a" in result(house, order)["outcome"]


async def test_what_is_said_on_a_lent_line_is_no_evidence_of_the_lender(open_house: Open):
    """Back-filling a day, the worker is interrupted again and again; each conversation that is kept is of its own meter alone."""
    house = await open_house(now="2026-03-11 20:07")
    asked = [consumer(house), *assets(house)[:2]]
    house.collect()
    for k in range(12):
        order = house.ask(asked[k % 3], (SURVEY, ITEMS + "02010100", "")[k % 3], "read")
        await house.until(lambda order=order: house.state(order) is State.VERIFIED)
    first, last = moment("2026-03-10 00:00"), moment("2026-03-12 00:00")

    def kept() -> list[Exchange]:
        found = list(exchanges.taken(house.conn, first, last))
        house.conn.commit()
        return found

    await house.until(
        lambda: house.open_points() == 0 and {said.task for said in kept()} == {"curve", "day", "spot"}
    )
    for exchange in kept():
        address = bytes.fromhex(exchange.address)[::-1]
        assert all(address in said.raw for said in exchange.said)


async def test_only_reads_have_items(open_house: Open):
    house = await open_house(now=AT)
    with pytest.raises(orders.OrderError, match="no clock action"):
        house.ask(consumer(house), ITEMS + "02010100", "clock")
    with pytest.raises(orders.OrderError, match="no read action"):
        house.ask(consumer(house), ITEMS + "x" * 2000, "read")


async def test_a_modbus_meter_has_no_clock_and_is_there_all_the_same():
    when = np.datetime64("2026-03-11T02:00:00", "us")
    async with line("tcp") as (driver, link):
        bus = Bus(link, pace=Pace(FAST))
        one = meter("1@sdm630")
        async with bus.turn(one, driver, Priority.ORDER) as session:
            found = await inquire(session, driver, one, SURVEY, lambda: when)
            items = await inquire(session, driver, one, ITEMS + "voltage_a active_import", lambda: when)
    told = found.result["diagnosis"]
    steps = {step.key: step.state.value for step in steps_of(told)}
    assert (steps["address"], steps["clock"], steps["relay"]) == ("ok", "unknown", "unknown")
    assert told["values"]["voltage_a"]["value"] == 230.2
    assert [(item["value"], item["unit"]) for item in items.result["items"]] == [
        (230.2, "V"),
        (1234.567, "kWh"),
    ]
