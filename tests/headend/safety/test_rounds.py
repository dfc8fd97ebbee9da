"""A customer whom a terminal's round (轮次) cuts off: real terminals, real frames, and what proves that he is, or is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headend.collector.drivers import drivers
from headend.store import orders
from headend.store.order_facts import keeps_power
from protocols.errors import FrameError, Refused
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Driver, Meter, RelayAction, RelayAnswer, RelayState, Script
from terminals.drivers.gdw376 import Gdw376Driver
from tests.support.house import one, place
from tests.support.wire import Wire, ask

BOTH = pytest.mark.parametrize("protocol", ["gdw376", "dlt698"], indirect=True)
DRIVERS: dict[str, Any] = {"gdw376": Gdw376Driver, "dlt698": Dlt698Driver}


@pytest.fixture
def switched(wire: Wire) -> Wire:
    """The second customer of the area hangs on round 2."""
    assert wire.meter.index == 2
    wire.conn.execute("UPDATE installation SET switch = '{round 2}' WHERE meter_id = %s", (wire.where.meter,))
    wire.conn.commit()
    return wire


def driver_of(wire: Wire, **options: Any) -> Driver:
    driver: Driver = DRIVERS[wire.meter.area.plan.protocol](**options)
    return driver


def out(wire: Wire) -> set[int]:
    """Rounds that are out by command."""
    assert wire.terminal.holding is not None
    return wire.terminal.holding.held.commanded(wire.clock.now())


@BOTH
async def test_it_warns_trips_is_proved_and_gives_back(switched: Wire) -> None:
    driver = driver_of(switched)
    order = ask(switched.conn, switched.where, switched.clock.now())
    trip = await switched.carry_out(driver, order)
    assert trip["state"] == "pending"
    assert "relay still closed" in trip["outcome"]
    assert out(switched) == set()
    switched.clock.pass_(minutes=3)
    trip = await switched.carry_out(driver, order)
    assert (trip["state"], trip["outcome"]) == ("verified", "relay read back open, load 0.0000 kW")
    assert trip["result"]["relay"]["detail"] == "rounds tripped by command: 2 of 2"
    assert out(switched) == {2}
    assert switched.acts == []  # his meter's own relay had no part in it
    back = await switched.carry_out(
        driver, ask(switched.conn, switched.where, switched.clock.now(), "permit")
    )
    assert back["state"] == "verified", back["outcome"]
    assert out(switched) == set()


@BOTH
@pytest.mark.parametrize("hours", [5, -5])
async def test_the_command_ends_by_the_terminals_own_clock(switched: Wire, hours: int) -> None:
    """However wrong it is, and whatever the meter's own says."""
    if switched.terminal.concentrator is not None:
        switched.terminal.concentrator.wander(np.timedelta64(hours, "h"))
    else:
        switched.terminal.wander(np.timedelta64(hours, "h"))
    order = ask(switched.conn, switched.where, switched.clock.now())
    trip = await switched.carry_out(driver_of(switched, alarm_minutes=0), order)
    assert trip["state"] == "verified", trip["outcome"]


@BOTH
async def test_a_terminal_in_keep_power_is_not_told_to_trip(switched: Wire) -> None:
    assert switched.terminal.holding is not None
    switched.terminal.holding.held.keep(switched.clock.now(), 0)
    trip = await switched.carry_out(
        driver_of(switched), ask(switched.conn, switched.where, switched.clock.now())
    )
    assert trip["state"] == "failed"
    assert "is in keep-power; `headend control end-keep-power` ends it" in trip["outcome"]
    assert switched.terminal.holding.held.names("trip.") == []


@BOTH
async def test_a_lost_answer_is_found_out_and_nothing_is_sent_again(switched: Wire) -> None:
    sent = []

    class Confused(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            sent.append(action)
            yield from super().relay(meter, action, expires)
            raise FrameError("no sense in it")

    driver = Confused(alarm_minutes=0)
    order = ask(switched.conn, switched.where, switched.clock.now())
    assert (await switched.carry_out(driver, order))["state"] == "unknown"
    assert (await switched.carry_out(driver, order))["state"] == "verified"
    assert sent == [RelayAction.TRIP]


@BOTH
async def test_a_round_that_is_out_proves_nothing_while_power_flows(switched: Wire) -> None:
    """Fed past its breaker, or another breaker's round: somebody must go there."""

    class Fed(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay_state(self, meter: Meter) -> Script[RelayState]:
            seen = yield from super().relay_state(meter)
            return RelayState(seen.open, seen.permitted, seen.keep_power, 1.25, seen.detail)

    trip = await switched.carry_out(
        Fed(alarm_minutes=0), ask(switched.conn, switched.where, switched.clock.now())
    )
    assert (trip["state"], trip["outcome"]) == (
        "failed",
        "relay open but load 1.2500 kW: bypassed or welded; send somebody",
    )


@BOTH
async def test_a_meter_that_is_silent_behind_its_breaker_is_no_proof(switched: Wire) -> None:
    """The terminal says that the round is out; nobody measures that nothing flows."""
    switched.conn.execute(
        "UPDATE installation SET address = '999999999999' WHERE meter_id = %s", (switched.where.meter,)
    )
    switched.conn.commit()
    driver = driver_of(switched, alarm_minutes=0)
    trip = await switched.carry_out(driver, ask(switched.conn, switched.where, switched.clock.now()))
    assert (trip["state"], trip["outcome"]) == ("pending", "relay still open, load not known")
    assert out(switched) == {2}


@BOTH
async def test_close_and_keep_power_are_not_a_rounds(switched: Wire) -> None:
    driver = driver_of(switched)
    for action, word in (("close", "order permit"), ("keep-power", "the whole terminal's")):
        order = await switched.carry_out(
            driver, ask(switched.conn, switched.where, switched.clock.now(), action)
        )
        assert order["state"] == "failed"
        assert word in order["outcome"]
    assert switched.acts == []


@BOTH
async def test_a_round_that_the_archive_gives_to_two_meters_trips_nobody(switched: Wire) -> None:
    where, now = switched.where, switched.clock.now()
    other = place(
        switched.conn, "OTHER", terminal="T1", address="999999999998", protocol=switched.meter.area.plan.protocol, pn=9,
        switch=("round 1", "round 2"),
        customer="9009",
    )  # fmt: skip
    assert other.terminal == where.terminal
    with pytest.raises(
        orders.Refused, match="the same switch cuts off meter OTHER; the archive must say which one"
    ):
        orders.request(
            switched.conn, kind="relay", action="trip", asset=where.asset, reason="arrears", who="job:prepaid", now=now,
            expires=now + np.timedelta64(4, "h"),
        )  # fmt: skip
    assert one(switched.conn, "SELECT count(*) FROM orders WHERE sent_at IS NOT NULL") == 0


@BOTH
async def test_behind_transformers_a_little_of_the_meters_is_much_of_the_customers(switched: Wire) -> None:
    """0.015 kW on a meter with CT 100 and PT 100 are 150 kW that flow on."""
    switched.conn.execute("UPDATE installation SET ct = 100, pt = 100")
    switched.conn.commit()

    class Fed(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay_state(self, meter: Meter) -> Script[RelayState]:
            seen = yield from super().relay_state(meter)
            return replace(seen, load_kw=0.015)

    trip = await switched.carry_out(
        Fed(alarm_minutes=0), ask(switched.conn, switched.where, switched.clock.now())
    )
    assert (trip["state"], trip["outcome"]) == (
        "failed",
        "relay open but load 150.0000 kW: bypassed or welded; send somebody",
    )
    assert trip["result"]["relay"]["load_kw"] == 150.0


@BOTH
@pytest.mark.parametrize("now_by", ["{}", "{round 3}"])
async def test_what_cut_him_off_gives_supply_back(switched: Wire, now_by: str) -> None:
    """The archive names something else by then; that one was never told anything, and reads closed."""
    driver = driver_of(switched, alarm_minutes=0)
    trip = await switched.carry_out(driver, ask(switched.conn, switched.where, switched.clock.now()))
    assert trip["state"] == "verified"
    assert (trip["result"]["switch"], trip["result"]["terminal"]) == (["round 2"], "T1")
    says(switched, now_by)
    back = await switched.carry_out(
        driver, ask(switched.conn, switched.where, switched.clock.now(), "permit")
    )
    assert out(switched) == set()
    assert (back["state"], back["result"]["switch"]) == ("verified", ["round 2"]), back["outcome"]


@BOTH
async def test_what_was_told_is_asked_what_became_of_it(switched: Wire) -> None:
    """Not what the archive names by then."""

    class Confused(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            yield from super().relay(meter, action, expires)
            raise FrameError("no sense in it")

    order = ask(switched.conn, switched.where, switched.clock.now())
    trip = await switched.carry_out(Confused(alarm_minutes=0), order)
    assert trip["state"] == "unknown"
    says(switched, "{round 3}")
    trip = await switched.carry_out(driver_of(switched), order)
    assert (trip["state"], trip["result"]["relay"]["detail"]) == (
        "verified",
        "rounds tripped by command: 2 of 2",
    )


@BOTH
async def test_another_terminals_rounds_prove_nothing(switched: Wire) -> None:
    """The meter was moved before anybody could read what became of the command."""

    class Confused(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
            yield from super().relay(meter, action, expires)
            raise FrameError("no sense in it")

    order = ask(switched.conn, switched.where, switched.clock.now())
    await switched.carry_out(Confused(alarm_minutes=0), order)
    switched.conn.execute("UPDATE terminal SET code = 'T2'")
    switched.conn.commit()
    trip = await switched.carry_out(driver_of(switched), order)
    assert (trip["state"], trip["outcome"]) == (
        "failed",
        "round 2 of terminal T1 was told, and the meter hangs behind T2 now: what became of it must be looked for there",
    )
    switched.conn.execute('UPDATE orders SET result = result || \'{"relay": {"open": true}}\'')
    assert orders.cut_off_by(switched.conn, switched.where.meter, "T1") == ("round 2",)
    assert orders.cut_off_by(switched.conn, switched.where.meter, "T2") is None


def says(wire: Wire, switch: str) -> None:
    """What the archive names as the switch from now on."""
    wire.conn.execute("UPDATE installation SET switch = %s WHERE meter_id = %s", (switch, wire.where.meter))
    wire.conn.commit()


@BOTH
async def test_a_round_says_nothing_of_the_meters_keep_power(switched: Wire) -> None:
    """The meter was told to keep power before a round cut it off: that holds until somebody takes it back."""
    where, now = switched.where, switched.clock.now()
    driver = drivers("terminals.simulator.standin:StandInMachine")[switched.meter.area.plan.protocol]
    says(switched, "{}")
    kept = await switched.carry_out(driver, ask(switched.conn, where, now, "keep-power"))
    assert kept["state"] == "verified", kept["outcome"]
    says(switched, "{round 2}")
    back = await switched.carry_out(driver, ask(switched.conn, where, now, "permit"))
    assert back["result"]["relay"]["keep_power"] is None
    assert keeps_power(switched.conn, [where.meter]) == {where.meter: True}
    with pytest.raises(orders.Refused, match="keep_power: the meter, or the terminal that switches it"):
        ask(switched.conn, where, now)
    ended = await switched.carry_out(driver, ask(switched.conn, where, now, "end-keep-power"))
    assert ended["outcome"] == "keep-power read back off"
    assert ask(switched.conn, where, now)


@BOTH
async def test_nobody_waits_longer_than_the_warning_for_a_proof_that_does_not_come(switched: Wire) -> None:
    """While an order is open nothing else can be asked for: who has paid meanwhile would have to wait for its end, four hours."""
    switched.conn.execute(
        "UPDATE installation SET address = '999999999999' WHERE meter_id = %s", (switched.where.meter,)
    )
    switched.conn.commit()
    order = ask(switched.conn, switched.where, switched.clock.now())
    assert (await switched.carry_out(driver_of(switched), order))["state"] == "pending"
    switched.clock.pass_(minutes=11)
    trip = await switched.carry_out(driver_of(switched), order)
    assert (trip["state"], trip["outcome"]) == ("failed", "relay open, load not known")
    assert trip["result"]["relay"]["open"]
    assert orders.cut_off_by(switched.conn, switched.where.meter, "T1") == ("round 2",)


@BOTH
async def test_a_long_warning_is_waited_for(switched: Wire) -> None:
    driver = driver_of(switched, alarm_minutes=15)
    order = ask(switched.conn, switched.where, switched.clock.now())
    await switched.carry_out(driver, order)
    switched.clock.pass_(minutes=14)
    assert (await switched.carry_out(driver, order))["state"] == "pending"
    switched.clock.pass_(minutes=2)
    assert (await switched.carry_out(driver, order))["state"] == "verified"


@BOTH
async def test_supply_is_given_back_where_the_terminal_does_not_say_what_it_did(switched: Wire) -> None:
    """Its clock still ends the command, and is wrong by more than the order lasts."""

    class Mute(DRIVERS[switched.meter.area.plan.protocol]):  # type: ignore[misc]
        def relay_state(self, meter: Meter) -> Script[RelayState]:
            raise Refused("denied", code=1)
            yield

    trip = await switched.carry_out(
        driver_of(switched, alarm_minutes=0), ask(switched.conn, switched.where, switched.clock.now())
    )
    assert trip["state"] == "verified"
    (switched.terminal.concentrator or switched.terminal).wander(np.timedelta64(5, "h"))
    back = ask(switched.conn, switched.where, switched.clock.now(), "permit")
    await switched.carry_out(Mute(), back)
    assert out(switched) == set()
    assert (await switched.carry_out(driver_of(switched), back))["state"] == "verified"
