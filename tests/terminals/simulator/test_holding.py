"""A terminal that holds its area to a setpoint: rounds trip after their warning, the load falls, and comes back when nothing is held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import Refused
from terminals.drivers.control376 import Control376
from terminals.drivers.control698 import Control698
from terminals.drivers.station import terminal_itself
from terminals.drivers.station376 import Station376
from terminals.drivers.station698 import Station698
from terminals.simulator.fleet import Fleet
from terminals.simulator.physics import SHOWN
from terminals.simulator.scenario import ZONE, Group, small
from tests.terminals.simulator.conftest import QUIET, HandClock, civil

BEGIN = "2026-03-11 18:00"
MINUTE = np.timedelta64(1, "m")
P = SHOWN.index("p")


class Held:
    """A terminal of the fleet, told over its own wire."""

    def __init__(self, fleet: Fleet, protocol: str) -> None:
        (self.terminal,) = fleet.terminals
        self.now = civil(BEGIN)
        if protocol == "gdw376":
            address = self.terminal.line._concentrator.address.text  # type: ignore[union-attr]
            self.station, self.controls = Station376(), Control376(Station376())
        else:
            address = self.terminal.concentrator.address  # type: ignore[union-attr]
            self.station, self.controls = Station698(), Control698()  # type: ignore[assignment]
        self.whom = terminal_itself(address, ZONE)
        self.master = self.station.exchange(self.whom)

    def run(self, script):
        try:
            request = next(script)
            while True:
                raw = self.master.send(request)
                self.master.receive_data(b"".join(self.terminal.exchange(raw, lambda: self.now)))
                try:
                    request = script.send(self.master.next_event().value)
                except Refused as refused:
                    request = script.throw(refused)
        except StopIteration as done:
            return done.value

    def write(self, name: str, **value):
        self.run(self.controls.write(self.whom, name, value))

    def state(self):
        return self.run(self.controls.read(self.whom, ["state.1"]))["state.1"]

    def later(self, minutes: int):
        """The state after so many minutes."""
        self.now += minutes * MINUTE
        return self.state()

    def curve(self, meter: int) -> list[int]:
        """0.1 mW of a meter at each quarter-hour of the day so far."""
        device = self.terminal.meters[meter]
        record = device.record(self.now, self.now)
        assert record is not None
        return [int(p) for p, end in zip(record.shown[P], record.ends, strict=True) if end <= self.now]


@pytest.fixture(params=["gdw376", "dlt698"])
async def held(request, tmp_path):
    scenario = replace(
        small(7, plan=replace(QUIET, dead=0, missing=0, thieves=0, excursions=0)),
        groups=(Group(request.param, "dial-out", 1),),
    )
    fleet = Fleet(scenario, tmp_path, HandClock(civil(BEGIN)), ("127.0.0.1", 9))
    await fleet.start()
    made = Held(fleet, request.param)
    if request.param == "dlt698":
        made.terminal.holding.held.put("set.81020200", bytes.fromhex("0104" + "1100" * 4))
    yield made
    await fleet.stop()


async def test_a_period_trips_round_by_round_and_its_end_gives_supply_back(held) -> None:
    full = held.state()["power_w"]
    held.write("alarms.2", alarm_minutes=[10, 5])
    held.write("power-rounds.1", power_rounds=[1, 2])
    # from 18:00 to 19:00 no more than 1 kW: two rounds cannot do it
    held.write("slots", slots="0" * 36 + "11" + "0" * 10)
    held.write("period.1.1", setpoints_w=[1000])
    held.write("on.period.1", on=True, scheme=1, periods=[1])
    warned = held.later(5)
    assert (warned["power_alarm"], warned["power_tripped"], warned["setpoint_w"]) == (["period"], [], 1000)
    first = held.later(6)
    assert first["power_tripped"] == [1]
    assert first["power_w"] < full
    both = held.later(10)
    assert both["power_tripped"] == [1, 2]
    assert both["power_w"] < first["power_w"]
    # there are no others: it stays so to the end of the period
    assert held.later(30)["power_tripped"] == [1, 2]
    over = held.later(15)  # 19:06
    assert (over["power_tripped"], over["setpoint_w"]) == ([], 0)
    held.later(24)  # 19:30
    # meter 1 hangs on round 1, meter 3 on none that trips
    one, three = held.curve(1), held.curve(3)
    slots = {"18:00": 72, "18:15": 73, "18:30": 74, "18:45": 75, "19:15": 77}
    assert one[slots["18:00"] - 1] > 0
    assert [one[slots[t] - 1] for t in ("18:15", "18:30", "18:45")] == [0, 0, 0]
    assert one[slots["19:15"] - 1] > 0
    assert all(three[slot - 1] > 0 for slot in slots.values())


async def test_a_reduction_goes_by_what_flowed_when_it_began_and_ends_by_itself(held) -> None:
    full = held.state()["power_w"]
    held.write("power-rounds.1", power_rounds=[1, 2, 3, 4])
    held.write(
        "on.reduction.1",
        on=True,
        down_percent=20,
        sliding_minutes=15,
        control_half_hours=2,
        freeze_delay=5,
        alarm_minutes=[3, 3, 3, 3],
    )
    begun = held.state()
    assert abs(begun["setpoint_w"] - full * 8 // 10) <= full // 100
    state = held.later(20)
    assert state["power_tripped"] == list(range(1, 1 + len(state["power_tripped"])))
    assert state["power_tripped"]
    assert state["power_w"] <= begun["setpoint_w"]
    over = held.later(45)
    assert (over["power_tripped"], over["float_percent"]) == ([], 0)
    assert over["power_w"] > begun["setpoint_w"]


async def test_keep_power_gives_supply_back_and_nothing_trips_under_it(held) -> None:
    held.write("power-rounds.1", power_rounds=[1])
    held.write("suspension.1", first="2026-03-01", last="2026-03-31", setpoint_w=1000)
    held.write("on.suspension.1", on=True)
    assert held.later(2)["power_tripped"] == [1]
    held.write("keep-power", on=True, half_hours=0)
    assert held.state()["power_tripped"] == []
    assert held.later(60)["power_tripped"] == []
    held.write("keep-power", on=False)
    assert held.later(2)["power_tripped"] == [1]
    held.write("on.suspension.1", on=False)
    assert held.state()["power_tripped"] == []


async def test_what_is_never_cut_stands_over_a_setpoint(held) -> None:
    full = held.state()["power_w"]
    held.write("power-rounds.1", power_rounds=[1])
    held.write("suspension.1", first="2026-03-01", last="2026-03-31", setpoint_w=1000)
    held.write("security", security_w=10_000_000)
    held.write("on.suspension.1", on=True)
    assert held.later(10)["power_tripped"] == []
    assert full > 1000
    held.write("security", security_w=1000)
    assert held.later(2)["power_tripped"] == [1]


async def test_a_factory_rests_on_its_days_and_hours_alone(held) -> None:
    held.write("power-rounds.1", power_rounds=[1])
    held.write("factory-rest.1", setpoint_w=1000, start="18:30", half_hours=1, weekdays=[3])  # a Wednesday
    held.write("on.factory-rest.1", on=True)
    assert held.later(29)["power_tripped"] == []
    assert held.later(3)["power_tripped"] == [1]
    assert held.later(30)["power_tripped"] == []
    held.write("factory-rest.1", setpoint_w=1000, start="18:30", half_hours=10, weekdays=[1, 2, 4, 5, 6, 7])
    assert held.later(3)["power_tripped"] == []
