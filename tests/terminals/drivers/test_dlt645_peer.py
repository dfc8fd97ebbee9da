"""Against the meter of the `dlt645` package from PyPI, on a real socket.

It has registers, present values and parameters; it keeps neither load records nor freezes. The broadcast of time it reads year first, while
the standard sends every number's lowest byte first: that is not compared.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from protocols.errors import Refused
from protocols.localtime import day_slots, instant
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter
from terminals.links.link import Link
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.session import Session

peer = pytest.importorskip("dlt645.service.serversvc.async_server_service").AsyncMeterServerService

PATIENT = Timing(first=2.0, floor=1.0, ceiling=4.0, gap=0.2, attempts=2, pause=0.0, whole=20.0)
ZONE = ZoneInfo("Asia/Shanghai")
METER = Meter(7, "410000010002", ZONE, 3)
NOW = instant(dt.datetime(2026, 3, 11, 8, 15, tzinfo=ZONE))
ENERGIES = {0x00010000: 12345.67, 0x00010100: 1.02, 0x00010200: 2.03, 0x00020000: 89.1}
INSTANTS = {0x02010100: 230.1, 0x02010200: 229.8, 0x02020100: 5.123, 0x02030000: 1.5}


@pytest.fixture
async def their_meter() -> AsyncIterator[Any]:
    meter = peer.new_tcp_server("127.0.0.1", 0)
    meter.set_address(bytes.fromhex(METER.address)[::-1])
    assert all(meter.set_00(di, value) for di, value in ENERGIES.items())
    assert all(meter.set_02(di, value) for di, value in INSTANTS.items())
    assert meter.set_04(0x04000101, "26031103")
    assert meter.set_04(0x04000102, "081500")
    assert meter.set_04(0x04000503, "0010")
    assert await meter.start()
    yield meter
    await meter.stop()


@pytest.fixture
async def session(their_meter: Any, closing: Callable[[Link], Link]) -> Session:
    link = closing(await connect("127.0.0.1", their_meter.server.port, 2.0))
    return Session(link, Dlt645Driver().exchange(METER), PATIENT)


async def test_present_values(session: Session) -> None:
    """It has no blocks, so each is asked for alone; of what it has only alone in part, that part."""
    reads = await session.run(Dlt645Driver().registers(METER, NOW))
    assert {code: column[0] for code, column in reads.columns.items() if reads.valid(code)[0]} == {
        "active_import": 123_456_700, "active_export": 891_000, "voltage_a": 230.1, "current_a": 5.123, "active_power": 1.5,
    }  # fmt: skip


async def test_its_clock(session: Session) -> None:
    assert await session.run(Dlt645Driver().clock(METER)) == NOW


async def test_its_relay_and_its_load(session: Session) -> None:
    """Bit 4 of status word 3 is the relay, open; 1.5 kW flow all the same."""
    state = await session.run(Dlt645Driver().relay_state(METER))
    assert (state.open, state.keep_power, state.load_kw) == (True, False, 1.5)


async def test_an_error_that_says_nothing_proves_nothing(session: Session) -> None:
    """It keeps no load records and says "other error", which is not "no such data": nothing may be taken as absent for ever."""
    with pytest.raises(Refused, match="other error") as told:
        await session.run(Dlt645Driver().curve(METER, day_slots(dt.date(2026, 3, 10), ZONE)))
    assert not told.value.absent


async def test_another_meters_address_is_not_taken(their_meter: Any, closing: Callable[[Link], Link]) -> None:
    """It answers everybody, with an error and the address it was asked by."""
    link = closing(await connect("127.0.0.1", their_meter.server.port, 2.0))
    other = replace(METER, address="410000010003")
    driver = Dlt645Driver()
    with pytest.raises(Refused, match="410000010003"):
        await Session(link, driver.exchange(other), PATIENT).run(driver.clock(other))
