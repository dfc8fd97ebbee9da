"""The driver against pymodbus's server: over TCP, through a gateway that passes RTU, and on a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.errors import Misuse, ProtocolError, Refused
from protocols.exchange import NEED_DATA, Ignored
from protocols.modbus.exchange import Device
from protocols.modbus.maps import models
from protocols.modbus.requests import Bits, ReadBits, ReadRegisters, WriteCoil
from protocols.reading import MISSING
from terminals.bus import Bus
from terminals.drivers.driver import Driver, Meter, RelayAction, Script
from terminals.drivers.modbus import ModbusDriver, _probe, unit_of
from terminals.links.link import Link
from terminals.links.url import parse
from terminals.pace import Pace, Timing
from terminals.turns import Priority
from tests.support.registers import device, on_serial, over_tcp

ZONE = ZoneInfo("Asia/Shanghai")
SLOT = np.array(["2026-03-11T02:15"], dtype="datetime64[us]")
FAST = Timing(first=0.5, floor=0.3, ceiling=1.0, gap=0.1, attempts=2, pause=0.005, whole=20.0)
#: what the meter shows, by the rows of its map
SDM630 = {
    "voltage_a": Decimal("230.2"),
    "voltage_b": Decimal("231.5"),
    "active_power": Decimal(1500),
    "active_import": Decimal("1234.567"),
}
ADL = {"active_import": 123_456, "active_import_t2": 7}  # hundredths of a kWh


@contextlib.contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Two pseudo-terminals joined: what is written to one is read from the other."""
    ends = [os.openpty(), os.openpty()]
    loop = asyncio.get_running_loop()
    for _, near in ends:
        tty.setraw(near)
    for here, there in (ends, ends[::-1]):
        loop.add_reader(here[0], lambda a=here[0], b=there[0]: os.write(b, os.read(a, 1024)))
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        for far, near in ends:
            loop.remove_reader(far)
            os.close(far)
            os.close(near)


@asynccontextmanager
async def line(kind: str) -> AsyncIterator[tuple[ModbusDriver, Link]]:
    """A driver and a link to two meters: unit 1 is an SDM630, unit 9 an ADL3000-E."""
    meters = device(1, "sdm630", SDM630), device(9, "adl3000-e", ADL)
    async with AsyncExitStack() as stack:
        if kind == "serial":
            ours, theirs = stack.enter_context(cable())
            await stack.enter_async_context(on_serial(theirs, *meters))
            url = f"serial://{ours}?baud=9600&parity=N"
        else:
            port = await stack.enter_async_context(over_tcp(*meters, rtu=kind == "gateway"))
            url = f"tcp://127.0.0.1:{port}"
        link = await parse(url).open(5.0)
        stack.push_async_callback(link.close)
        yield ModbusDriver("tcp" if kind == "tcp" else "rtu"), link


def meter(address: str, key: int = 7) -> Meter:
    return Meter(key, address, ZONE, phases=3)


@pytest.mark.parametrize("kind", ["tcp", "gateway", "serial"])
async def test_the_present_values_of_two_meters_on_one_line(kind: str) -> None:
    async with line(kind) as (driver, link):
        bus = Bus(link, pace=Pace(FAST))
        async with bus.turn(meter("1@sdm630"), driver, Priority.SCHEDULED) as session:
            row = await session.run(driver.registers(meter("1@sdm630"), SLOT[0]))
        assert (row.meter.tolist(), row.time.tolist()) == ([7], SLOT.tolist())
        assert row.columns["voltage_a"].tolist() == [230.2]
        assert row.columns["active_power"].tolist() == [1.5]
        assert row.columns["active_import"].tolist() == [12_345_670]
        async with bus.turn(meter("9@adl3000-e", 8), driver, Priority.SCHEDULED) as session:
            outcome = await session.run(driver.day_freeze(meter("9@adl3000-e", 8), SLOT, SLOT[0]))
        assert outcome.reads.columns["active_import"].tolist() == [12_345_600]
        assert outcome.reads.columns["active_import_t2"].tolist() == [700]
        assert "voltage_a" not in outcome.reads.columns
        assert len(outcome.absent) == 0  # a meter without memory proves nothing


async def test_a_curve_point_is_the_value_that_is_now_and_one_at_a_time() -> None:
    async with line("tcp") as (driver, link):
        bus = Bus(link, pace=Pace(FAST))
        mine = meter("1@sdm630")
        async with bus.turn(mine, driver, Priority.SCHEDULED) as session:
            outcome = await session.run(driver.curve(mine, SLOT))
            assert outcome.reads.time.tolist() == SLOT.tolist()
            assert outcome.reads.columns["active_import"].tolist() == [12_345_670]
            with pytest.raises(Misuse, match="2 points asked of a Modbus meter"):
                await session.run(driver.curve(mine, np.concatenate([SLOT, SLOT])))
            assert len((await session.run(driver.curve(mine, SLOT[:0]))).reads) == 0


async def test_registers_that_the_device_lacks_are_missing_and_none_at_all_is_a_refusal() -> None:
    older = device(1, "sdm630", SDM630, below=0x100), device(2, "sdm630", SDM630, below=0x40)
    async with over_tcp(*older) as port:
        driver, link = ModbusDriver("tcp"), await parse(f"tcp://127.0.0.1:{port}").open(5.0)
        bus = Bus(link, pace=Pace(FAST))
        mine, other = meter("1@sdm630"), meter("2@sdm630", 8)
        async with bus.turn(mine, driver, Priority.ORDER) as session:
            row = await session.run(driver.registers(mine, SLOT[0]))
        assert row.columns["active_import"].tolist() == [12_345_670]
        assert {"active_import_t1", "reactive_q1"}.isdisjoint(row.columns)
        assert len(row.columns) < sum(bool(r.quantity) for r in unit_of("1@sdm630").table.rows)
        async with bus.turn(other, driver, Priority.ORDER) as session:
            with pytest.raises(Refused) as refused:
                await session.run(driver.day_freeze(other, SLOT, SLOT[0]))
        assert (refused.value.code, refused.value.absent) == (2, True)
        await bus.close()


@pytest.mark.parametrize("line_name", ["tcp", "rtu"])
@pytest.mark.parametrize("model", models())
def test_no_answer_of_an_earlier_session_is_taken_for_a_reading(line_name: str, model: str) -> None:
    """Whatever a task may have asked before and given up comes late, when the next session begins: it is not believed."""
    driver = ModbusDriver(line_name)  # type: ignore[arg-type]
    mine = meter(f"1@{model}")
    for task in (
        driver.registers(mine, SLOT[0]),
        driver.curve(mine, SLOT),
        driver.day_freeze(mine, SLOT, SLOT[0]),
    ):
        with contextlib.suppress(ProtocolError, StopIteration):
            request = next(task)
            while True:  # each block in turn is the one whose answer is late
                device = Device(1, line_name)  # type: ignore[arg-type]
                device.receive_data(driver.exchange(mine).send(request))
                assert device.next_event() == request
                late = device.answer_registers(b"\x11" * 2 * request.count)
                fresh = driver.exchange(mine)
                first = next(driver.open(mine))
                assert isinstance(first, ReadRegisters)
                fresh.send(first)
                fresh.receive_data(late)
                assert isinstance(fresh.next_event(), Ignored)
                assert fresh.next_event() is NEED_DATA
                request = task.throw(Refused("not here", code=2, absent=True))


def test_the_opening_read_ends_with_a_whole_value_of_the_map() -> None:
    for model in models():
        table = unit_of(f"1@{model}").table
        probe = _probe(table)
        rows = table.within(probe.function, probe.address, probe.count)
        assert max(row.end for row in rows) == probe.address + probe.count
        assert probe.count <= table.most


@pytest.mark.parametrize(
    "address",
    [
        "1@sdm630+9:0",
        "",
        "1",
        "sdm630",
        "0@sdm630",
        "256@sdm630",
        "1@sdm631",
        "1@../sdm630",
        "x@sdm630",
    ],
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(Misuse, match=r"UNIT@MODEL|no register map"):
        ModbusDriver("rtu").exchange(meter(address))


@pytest.mark.parametrize("switch", ["coil 0:0", "coil 9", "coil 9:70000", "coil 9:0/opens", "round 1"])
def test_a_switch_that_is_no_coil(switch: str) -> None:
    with pytest.raises(Misuse, match="is no coil"):
        next(ModbusDriver("rtu").relay_state(replace(meter("1@sdm630"), switch=(switch,))))


async def test_what_no_map_has_is_refused_before_a_byte_leaves() -> None:
    driver: Driver = ModbusDriver("rtu")
    mine = meter("1@sdm630")
    for script, what in (
        (driver.clock(mine), "clock"),
        (driver.set_clock(mine, SLOT[0]), "clock"),
        (driver.relay(mine, RelayAction.TRIP, SLOT[0]), "relay"),
        (driver.relay_state(mine), "relay"),
    ):
        with pytest.raises(Refused, match=f"sdm630 has no {what}"):
            next(script)
    assert driver.retention.sampled
    assert driver.known(mine) == ""
    with pytest.raises(ValueError, match="keeps nothing"):
        driver.recall(mine, "{}")


async def test_a_value_that_the_meter_marks_as_none_is_missing() -> None:
    async with over_tcp(device(1, "abb-b23", {"active_import": (1 << 64) - 1})) as port:
        driver, link = ModbusDriver("tcp"), await parse(f"tcp://127.0.0.1:{port}").open(5.0)
        bus = Bus(link, pace=Pace(FAST))
        mine = meter("1@abb-b23")
        async with bus.turn(mine, driver, Priority.ORDER) as session:
            row = await session.run(driver.registers(mine, SLOT[0]))
        assert row.columns["active_import"].tolist() == [MISSING]
        await bus.close()


@pytest.mark.parametrize("kind", ["tcp", "gateway"])
@pytest.mark.parametrize("trips", [False, True])
async def test_a_contactor_on_a_module_beside_the_meter(kind: str, trips: bool) -> None:
    """Unit 5 has two coils; the second one is ours, and the first stays as it is."""
    meters = device(1, "sdm630", SDM630), device(5, "sdm630", {}, coils=(True, not trips))
    async with over_tcp(*meters, rtu=kind == "gateway") as port:
        driver, link = (
            ModbusDriver("tcp" if kind == "tcp" else "rtu"),
            await parse(f"tcp://127.0.0.1:{port}").open(5.0),
        )
        bus = Bus(link, pace=Pace(FAST))
        mine = replace(meter("1@sdm630"), switch=("coil 5:1" + ("/trips" if trips else ""),))
        async with bus.turn(mine, driver, Priority.ORDER) as session:
            assert not (await session.run(driver.relay_state(mine))).open
            await session.run(driver.relay(mine, RelayAction.TRIP, SLOT[0]))
            state = await session.run(driver.relay_state(mine))
            assert (state.open, state.permitted, state.load_kw) == (True, False, 1.5)
            both = await session.run(_bits(5, 2))
            assert both == (True, trips)
            await session.run(driver.relay(mine, RelayAction.CLOSE, SLOT[0]))
            assert not (await session.run(driver.relay_state(mine))).open
        await bus.close()


def _bits(unit: int, count: int) -> Script[tuple[bool, ...]]:
    answer: Bits = yield ReadBits(unit, 0, count)
    return answer.on


def test_what_a_coil_cannot_do_is_refused_before_a_byte_leaves() -> None:
    driver = ModbusDriver("rtu")
    for action in (RelayAction.PERMIT, RelayAction.KEEP_POWER, RelayAction.END_KEEP_POWER):
        with pytest.raises(Refused, match=f"{action.value} by a coil"):
            next(driver.relay(replace(meter("1@sdm630"), switch=("coil 1:0",)), action, SLOT[0]))
    powerless = replace(meter("9@adl3000-e"), switch=("coil 9:0",))
    with pytest.raises(Refused, match="a trip could not be proved"):
        next(driver.relay(powerless, RelayAction.TRIP, SLOT[0]))
    assert next(driver.relay(powerless, RelayAction.CLOSE, SLOT[0])) == WriteCoil(9, 0, on=True)
