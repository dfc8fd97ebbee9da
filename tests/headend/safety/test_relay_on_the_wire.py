"""What a relay command may do once it is on its way: real meters, real frames, and drivers that are overheard or lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headend.collector.commands import Commands
from headend.collector.recorder import Recorder
from protocols.errors import FrameError, Refused
from protocols.localtime import instant
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter, RelayAction, RelayAnswer, RelayState, Script
from terminals.drivers.modbus import ModbusDriver
from terminals.simulator.standin import StandInMachine
from tests.support.house import SHANGHAI
from tests.support.wire import LEASE, ask

HOUR = np.timedelta64(1, "h")


class Smart(Dlt645Driver):
    """With the cipher machine that the simulated meters know."""

    def __init__(self) -> None:
        super().__init__(machine=StandInMachine())


class Overheard(Smart):
    """Notes until when the command in the frame holds."""

    expires: np.datetime64 | None = None

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        self.expires = expires
        return super().relay(meter, action, expires)


@pytest.mark.parametrize("drift", [0, 5, -5])
async def test_the_frame_holds_no_longer_than_the_lease_by_the_meters_own_clock(
    wire: Any, drift: int
) -> None:
    """A frame that a terminal keeps back must be void when somebody else owns the terminal, however wrong the meter's clock is; and
    a meter that is hours ahead must still take it."""
    wire.meter.wander(wire.clock.now(), drift * HOUR)
    driver = Overheard()
    order = await wire.carry_out(driver, ask(wire.conn, wire.where, wire.clock.now()))
    assert order["state"] == "verified"
    assert wire.acts == ["trip"]
    assert driver.expires is not None
    left = float((driver.expires - wire.meter.clock(wire.clock.now())) / np.timedelta64(1, "s"))
    assert 0 < left <= LEASE


async def test_the_frame_holds_no_longer_than_the_order(wire: Any) -> None:
    order = ask(wire.conn, wire.where, wire.clock.now(), hours=1)
    wire.clock.pass_(seconds=3600 - 5)
    driver = Overheard()
    wire.meter.wander(wire.clock.now(), np.timedelta64(0, "s"))
    found = await wire.carry_out(driver, order)
    assert found["state"] == "verified"
    assert driver.expires is not None
    assert driver.expires <= instant(found["expires_at"])


async def test_a_silent_meter_is_not_told_to_trip(wire: Any) -> None:
    """The meter is asked for its clock before the order is begun: nothing leaves for a meter that cannot be read back."""
    order = ask(wire.conn, wire.where, wire.clock.now())

    class Elsewhere(Smart):
        def clock(self, meter: Meter) -> Script[np.datetime64]:
            return super().clock(Meter(meter.key, "999999999999", meter.zone))

    found = await wire.carry_out(Elsewhere(), order)
    assert (found["state"], found["sent_at"]) == ("approved", None)
    assert wire.acts == []


async def test_a_meter_without_a_clock_is_given_supply_but_not_cut_off(wire: Any) -> None:
    class Timeless(Smart):
        def clock(self, meter: Meter) -> Script[np.datetime64]:
            raise FrameError("clock: the meter gives no date or time")
            yield

    trip = ask(wire.conn, wire.where, wire.clock.now())
    assert (await wire.carry_out(Timeless(), trip))["state"] == "approved"
    assert (await wire.carry_out(Smart(), trip))["state"] == "verified"
    close = ask(wire.conn, wire.where, wire.clock.now(), "close")
    assert (await wire.carry_out(Timeless(), close))["state"] == "verified"
    assert wire.acts == ["trip", "close"]


@pytest.mark.parametrize("protocol", ["dlms"], indirect=True)
async def test_a_command_without_an_expiry_of_its_own_is_not_written_too_late(wire: Any) -> None:
    """DLMS acts when the request arrives: what the meter cannot check is checked before the bytes leave."""

    class Slow(DlmsDriver):
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            wire.clock.pass_(hours=5)
            return (yield from super().relay(meter, action, expires))

    order = await wire.carry_out(Slow(), ask(wire.conn, wire.where, wire.clock.now()))
    assert order["state"] == "unknown"
    assert wire.acts == []


async def test_what_the_meter_said_it_will_do_later_is_remembered_when_the_read_back_fails(wire: Any) -> None:
    """The trip delay runs in the meter, the read-back is lost: a quarter of an hour later 'closed' disproves nothing."""

    class Delayed(Smart):
        deaf = True

        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            yield from super().clock(meter)
            return RelayAnswer(pending=True, detail="trip delay")

        def relay_state(self, meter: Meter) -> Script[RelayState]:
            return super().relay_state(Meter(meter.key, "999999999999", meter.zone) if self.deaf else meter)

    driver = Delayed()
    order = ask(wire.conn, wire.where, wire.clock.now())
    assert (await wire.carry_out(driver, order))["state"] == "answered"
    driver.deaf = False
    wire.clock.pass_(minutes=15)
    assert (await wire.carry_out(driver, order))["state"] == "pending"


async def test_an_answer_that_makes_no_sense_is_no_refusal(wire: Any) -> None:
    """The meter acted; that its answer cannot be understood leaves the outcome to be read, and fails nothing."""

    class Confused(Smart):
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            yield from super().relay(meter, action, expires)
            raise FrameError("answer word: 3 bytes")

    order = ask(wire.conn, wire.where, wire.clock.now())
    assert (await wire.carry_out(Confused(), order))["state"] == "unknown"
    assert (await wire.carry_out(Confused(), order))["state"] == "verified"
    assert wire.acts == ["trip"]


async def test_a_refusal_is_a_refusal(wire: Any) -> None:
    class Unwilling(Smart):
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            yield from super().clock(meter)
            raise Refused("keep-power", code=0x20)

    assert (await wire.carry_out(Unwilling(), ask(wire.conn, wire.where, wire.clock.now())))[
        "state"
    ] == "failed"


async def test_a_load_that_was_not_read_is_no_proof_and_no_crash(wire: Any) -> None:
    """NaN is not JSON: the order must be kept all the same, and 'verified' is not what is kept."""

    class Blind(Smart):
        def relay_state(self, meter: Meter) -> Script[RelayState]:
            seen = yield from super().relay_state(meter)
            return RelayState(seen.open, seen.permitted, seen.keep_power, float("nan"))

    order = ask(wire.conn, wire.where, wire.clock.now())
    found = await wire.carry_out(Blind(), order)
    assert found["state"] == "pending"
    assert found["result"]["relay"]["load_kw"] is None


async def test_the_database_going_away_does_not_end_the_reading(wire: Any) -> None:
    order = ask(wire.conn, wire.where, wire.clock.now())
    waiting = wire.order(order)
    wire.database._pool.close()
    recorder = Recorder(wire.where.terminal, "dlt645", Smart(), wire.clock.now)
    commands = Commands(wire.database, wire.clock, Smart(), wire.fence, lambda: None, recorder)
    meter = Meter(wire.where.meter, wire.meter.address, SHANGHAI)
    await commands.carry_out(wire.bus, meter, waiting)
    assert wire.order(order)["state"] == "approved"
    assert wire.acts == []


@pytest.mark.parametrize("protocol", ["modbus-tcp", "modbus-rtu"], indirect=True)
async def test_a_coil_is_proved_by_itself_and_by_the_meters_power(wire: Any) -> None:
    driver = ModbusDriver("tcp" if wire.meter.area.plan.protocol == "modbus-tcp" else "rtu")
    trip = await wire.carry_out(driver, ask(wire.conn, wire.where, wire.clock.now()))
    assert (trip["state"], trip["outcome"]) == ("verified", "relay read back open, load 0.0000 kW")
    permit = await wire.carry_out(driver, ask(wire.conn, wire.where, wire.clock.now(), "permit"))
    assert permit["state"] == "failed"
    assert "a person orders close" in permit["outcome"]
    close = await wire.carry_out(driver, ask(wire.conn, wire.where, wire.clock.now(), "close"))
    assert close["state"] == "verified"
    assert wire.acts == ["trip", "close"]


@pytest.mark.parametrize("protocol", ["modbus-tcp"], indirect=True)
async def test_a_silent_contactor_is_not_told_to_trip_and_a_late_command_is_not_written(wire: Any) -> None:
    class Silent(ModbusDriver):
        def relay_state(self, meter: Meter) -> Script[RelayState]:
            return super().relay_state(Meter(meter.key, "77@sdm120", meter.zone, switch=("coil 77:0",)))

    class Slow(ModbusDriver):
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            wire.clock.pass_(hours=5)
            return (yield from super().relay(meter, action, expires))

    order = ask(wire.conn, wire.where, wire.clock.now())
    assert (await wire.carry_out(Silent("tcp"), order))["state"] == "approved"
    assert (await wire.carry_out(Slow("tcp"), order))["state"] == "unknown"
    assert wire.acts == []
