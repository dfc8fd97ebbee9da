"""Modbus meters of the fleet, asked by the head-end's driver and by pymodbus, which is not ours."""

import csv
import struct

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from protocols.errors import Refused
from protocols.modbus.requests import ReadRegisters, WriteRegister
from terminals.drivers.driver import Meter
from terminals.drivers.modbus import ModbusDriver
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.session import NoAnswer, Session
from terminals.simulator.commands import obey
from terminals.simulator.physics import NOT_SHOWN, SHOWN
from terminals.simulator.scenario import NOTHING, ZONE, Group

NOW = "2026-03-12 14:15"
TIMING = Timing(first=0.5, floor=0.4, ceiling=0.5, gap=0.1, attempts=2, pause=0.0, whole=10.0)


@pytest.fixture
async def fleet(make_fleet):
    groups = (Group("modbus-tcp", "dial-out", 2), Group("modbus-rtu", "dial-out", 2))
    fleet = make_fleet(NOW, groups=groups, plan=NOTHING)
    await fleet.start()
    yield fleet
    await fleet.stop()


def rows_of(fleet, area):
    text = (fleet.directory / "archive" / "meters.csv").read_text(encoding="utf-8")
    code = fleet.terminals[area].plan.asset(0)[:8]
    return [row for row in csv.DictReader(text.splitlines()) if row["meter"].startswith(code)]


async def dial(fleet, area):
    host, port = fleet.endpoints[area].split(":")
    return await connect(host, int(port), 2.0)


def meter_of(row):
    return Meter(int(row["meter"]), row["address"], ZONE, int(row["phases"]))


async def run(link, row, work):
    driver, meter = ModbusDriver(row["protocol"].removeprefix("modbus-")), meter_of(row)
    session = Session(link, driver.exchange(meter), TIMING)
    await session.run(driver.open(meter))
    return await session.run(work(driver, meter))


def test_the_archive_calls_them_by_unit_and_model(fleet):
    rows = rows_of(fleet, 0)
    assert [row["address"] for row in rows] == [
        f"{k + 1}@{'abb-b23' if row['phases'] == '3' else 'sdm120'}" for k, row in enumerate(rows)
    ]
    assert {row["protocol"] for row in rows} == {"modbus-tcp"}
    assert {row["password"] for row in rows} == {""}


@pytest.mark.parametrize("area", [0, 2])
async def test_what_is_read_is_what_the_meter_displays(fleet, at, area):
    link = await dial(fleet, area)
    for row, meter in zip(rows_of(fleet, area), fleet.terminals[area].meters, strict=True):
        reads = await run(link, row, lambda driver, meter: driver.registers(meter, at(NOW)))
        shown = dict(zip(SHOWN, meter.shown(at(NOW)).astype(float), strict=True))
        assert reads.columns["active_import"][0] == meter.registers(at(NOW))[0]
        assert reads.columns["active_export"][0] == 0
        assert reads.columns["voltage_a"][0] == pytest.approx(shown["va"] / 10, abs=1e-4)
        assert reads.columns["current_a"][0] == pytest.approx(shown["ia"] / 1_000, abs=0.006)
        assert reads.columns["active_power"][0] == pytest.approx(shown["p"] / 10_000, abs=1e-5)
        assert reads.columns["reactive_power"][0] == pytest.approx(shown["q"] / 10_000, abs=1e-5)
        assert 0.5 < reads.columns["power_factor"][0] < 1
        three = shown["vb"] != NOT_SHOWN
        assert ("voltage_b" in reads.columns) == three == (row["phases"] == "3")
    await link.close()


async def test_a_point_is_read_while_it_is(fleet, at):
    link = await dial(fleet, 0)
    row = rows_of(fleet, 0)[1]
    outcome = await run(link, row, lambda driver, meter: driver.curve(meter, np.array([at(NOW)])))
    assert outcome.reads.time.tolist() == [at(NOW)]
    assert outcome.reads.columns["active_import"][0] == fleet.terminals[0].meters[1].registers(at(NOW))[0]
    await link.close()


async def test_pymodbus_reads_it(fleet, at):
    host, port = fleet.endpoints[0].split(":")
    client = AsyncModbusTcpClient(host, port=int(port), timeout=2)
    assert await client.connect()
    answer = await client.read_holding_registers(0x5000, count=4, device_id=1)
    kwh = int.from_bytes(struct.pack(">4H", *answer.registers), "big")
    assert kwh * 100 == fleet.terminals[0].meters[0].registers(at(NOW))[0]
    answer = await client.read_input_registers(0, count=2, device_id=2)
    volts = struct.unpack(">f", struct.pack(">2H", *answer.registers))[0]
    assert volts == pytest.approx(fleet.terminals[0].meters[1].shown(at(NOW))[0] / 10, abs=1e-3)
    client.close()


@pytest.mark.parametrize("area", [0, 2])
async def test_what_it_has_not_it_refuses(fleet, area):
    link = await dial(fleet, area)
    rows = rows_of(fleet, area)
    three, single = rows[0], rows[1]
    wrong = [
        (three, ReadRegisters(1, 0x4FFF, 2)),  # begins before the first register
        (three, ReadRegisters(1, 0x5008, 8)),  # the B23 reads no hole over
        (three, ReadRegisters(1, 0x5000, 4, 4)),  # input registers: its are holding registers
        (single, ReadRegisters(2, 0, 61, 4)),  # more than it answers at once
        (single, WriteRegister(2, 0, 1)),
    ]
    for row, request in wrong:
        driver, meter = ModbusDriver(row["protocol"].removeprefix("modbus-")), meter_of(row)
        with pytest.raises(Refused):
            await Session(link, driver.exchange(meter), TIMING).request(request)
    # the SDM120 reads its small holes over
    driver, meter = ModbusDriver(single["protocol"].removeprefix("modbus-")), meter_of(single)
    answer = await Session(link, driver.exchange(meter), TIMING).request(ReadRegisters(2, 0, 14, 4))
    assert answer.data[4:12] == bytes(8)
    await link.close()


@pytest.mark.parametrize("trouble", ["dead", "foreign"])
@pytest.mark.parametrize("area", [0, 2])
async def test_its_troubles(fleet, at, area, trouble):
    link = await dial(fleet, area)
    row = rows_of(fleet, area)[1]
    who = row["meter"] if trouble == "dead" else row["terminal"]
    obey(fleet, f"fault {trouble} {who} 1")
    with pytest.raises(NoAnswer):
        await run(link, row, lambda driver, meter: driver.registers(meter, at(NOW)))
    await link.close()
