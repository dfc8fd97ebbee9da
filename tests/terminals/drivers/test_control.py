"""Load control and keep-power of both protocols, with real frames against a simulated terminal: what is written reads back as it was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlt698 import values
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import Answer
from protocols.gdw376.frame import parse_address
from protocols.localtime import from_local
from terminals.drivers.control import Controls, Term, pack_slots, split, unpack_slots
from terminals.drivers.control376 import Control376
from terminals.drivers.control698 import Control698
from terminals.drivers.driver import Script
from terminals.drivers.station import Station, terminal_itself
from terminals.drivers.station376 import Station376
from terminals.drivers.station698 import Station698
from terminals.simulator import device376, device698

ZONE = ZoneInfo("Asia/Shanghai")
PW = "00112233445566778899aabbccddeeff"
WHOM = {
    "gdw376": terminal_itself("33010001", ZONE, {"terminal_password": PW}),
    "dlt698": terminal_itself("330100000001", ZONE),
}


def at(text: str) -> np.datetime64:
    return np.datetime64(from_local(np.array([text], "datetime64[us]"), ZONE)[0], "us")


NOW = at("2026-03-11T10:00:30")
SLOTS = "0" * 16 + "1" * 8 + "2" * 8 + "0" * 16


@dataclass
class Table:
    """A terminal on the table. `late`: seconds that a frame is on its way; `change`: what the line does to answers."""

    protocol: str
    late: int = 0
    change: Callable[[bytes], bytes] = bytes
    frames: list[bytes] = field(default_factory=list)
    first_scheme: int = 0

    def __post_init__(self) -> None:
        self.line: Any
        self.station: Station
        self.controls: Controls
        if self.protocol == "gdw376":
            station = Station376()
            concentrator = device376.Concentrator(parse_address("33010001"), [], lambda data, now: [])
            self.line, self.station = device376.Line376(concentrator), station
            self.controls = Control376(station, first_scheme=self.first_scheme)
        else:
            bus: Any = None
            self.line = device698.Connection698(device698.Concentrator("330100000001", [], bus))
            self.station, self.controls = Station698(), Control698(first_scheme=self.first_scheme)
        self.whom = WHOM[self.protocol]
        self.master = self.station.exchange(self.whom)

    def run(self, script: Script[Any]) -> Any:
        try:
            request = next(script)
            while True:
                raw = self.master.send(request)
                self.frames.append(raw)
                arrived = NOW + np.timedelta64(self.late, "s")
                answer = b"".join(self.line.receive(raw, lambda at=arrived: at))
                if not answer:
                    script.close()
                    self.master.abandon()
                    return None
                self.master.receive_data(self.change(answer))
                try:
                    event = self.master.next_event()
                    assert isinstance(event, Answer), event
                    request = script.send(event.value)
                except Refused as refused:
                    request = script.throw(refused)
        except StopIteration as done:
            return done.value

    def write(self, name: str, value: Mapping[str, Any], term: Term | None = None) -> None:
        self.run(self.controls.write(self.whom, name, value, term))

    def read(self, *names: str) -> Any:
        return self.run(self.controls.read(self.whom, names))


BOTH = pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
REST = {"setpoint_w": 50_000, "start": "08:30", "half_hours": 20, "weekdays": [6, 7]}
PAUSE = {"first": "2026-12-01", "last": "2026-12-31", "setpoint_w": 20_000}
DOWN = {
    "down_percent": 20, "sliding_minutes": 15, "control_half_hours": 4, "freeze_delay": 5, "alarm_minutes": [10, 5, 4, 3],
}  # fmt: skip
BOUGHT = {"order": 77, "value": 5000, "alarm": 500, "trip": -20, "mode": "add", "by": "energy"}
PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("security", {"security_w": 30_500}),
    ("slots", {"slots": SLOTS}),
    ("alarms.2", {"alarm_minutes": [10, 5]}),
    ("power-rounds.1", {"power_rounds": [1, 3, 8]}),
    ("energy-rounds.2", {"energy_rounds": []}),
    ("sliding.1", {"sliding_minutes": 15}),
    ("period.1.2", {"setpoints_w": [400_000, 300_000]}),
    ("period.8.1", {"setpoints_w": [1, 999, 1_000_000]}),
    ("factory-rest.1", REST),
    ("suspension.1", PAUSE),
    ("monthly-energy.1", {"limit_kwh": 120_000, "float_percent": -10, "alarm_percent": 90}),
    ("purchase.1", BOUGHT),
]


def proves(held: Mapping[str, Any] | None, written: Mapping[str, Any]) -> bool:
    return bool(held) and all(written.get(name) == value for name, value in (held or {}).items())


@BOTH
@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_a_parameter_reads_back_as_it_was_written(protocol: str, name: str, value: dict[str, Any]) -> None:
    table = Table(protocol)
    if (protocol, name) == ("dlt698", "alarms.2"):
        table.line._terminal.held.put("set.81020200", bytes.fromhex("0104" + "1101" * 4))
    else:
        assert table.read(name) == {}
    table.write(name, value)
    held = table.read(name)[name]
    assert proves(held, value), held
    # what is not named in the answer is what the protocol has no field for
    missing = {"gdw376": {"alarm_percent", "by"}, "dlt698": set[str]()}[protocol]
    assert set(value) - set(held) <= missing


@BOTH
@pytest.mark.parametrize(
    ("control", "more"),
    [
        ("period", {"scheme": 2, "periods": [1, 2]}), ("factory-rest", {}), ("suspension", {}), ("reduction", DOWN), ("monthly-energy", {}),
        ("purchase", {}),
    ],
)  # fmt: skip
def test_a_control_is_switched_on_and_off(protocol: str, control: str, more: dict[str, Any]) -> None:
    table = Table(protocol)
    every = [
        f"on.{name}.1"
        for name in ("period", "factory-rest", "suspension", "reduction", "monthly-energy", "purchase")
    ]
    table.write(f"on.{control}.1", {"on": True, **more})
    held = table.read(*every)
    mine = held[f"on.{control}.1"]
    assert mine["on"]
    assert proves(mine, {"on": True, **more})
    assert set(mine) == {"period": {"on", "scheme", "periods"}, "reduction": {"on", "down_percent"}}.get(
        control, {"on"}
    )
    # the others are told apart, and so is another group
    others = [held[name]["on"] for name in every if name != f"on.{control}.1"]
    assert others == [False] * 5
    assert table.read(f"on.{control}.2") == {f"on.{control}.2": {"on": False}}
    table.write(f"on.{control}.1", {"on": False})
    assert table.read(f"on.{control}.1") == {f"on.{control}.1": {"on": False}}


@BOTH
def test_keep_power(protocol: str) -> None:
    table = Table(protocol)
    assert table.read("keep-power") == {"keep-power": {"on": False}}
    table.write("keep-power", {"on": True, "half_hours": 0})
    assert table.read("keep-power") == {"keep-power": {"on": True}}
    table.write("keep-power", {"on": False})
    assert table.read("keep-power") == {"keep-power": {"on": False}}


def test_automatic_keep_power_is_on_and_proves_no_order() -> None:
    table = Table("dlt698")
    held = table.line._terminal.held
    said = held.get_attribute
    held.get_attribute = lambda oad, now: Data(values.ENUM, 2) if oad == 0x80010200 else said(oad, now)
    told = table.read("keep-power")["keep-power"]
    assert told["on"] is True
    assert not proves(told, {"on": True, "half_hours": 0})
    assert not proves(told, {"on": False})


def test_keep_power_of_a_376_1_terminal_ends_by_itself() -> None:
    table = Table("gdw376")
    table.write("keep-power", {"on": True, "half_hours": 2})
    table.late = 3599
    assert table.read("keep-power") == {"keep-power": {"on": True}}
    table.late = 3601
    assert table.read("keep-power") == {"keep-power": {"on": False}}


@BOTH
def test_one_scheme_leaves_the_others(protocol: str) -> None:
    table = Table(protocol)
    table.write("period.1.1", {"setpoints_w": [100_000]})
    table.write("period.1.3", {"setpoints_w": [200_000, 300_000]})
    table.write("period.1.1", {"setpoints_w": [150_000, 250_000]})
    assert table.read("period.1.1", "period.1.2", "period.1.3") == {
        "period.1.1": {"setpoints_w": [150_000, 250_000]},
        "period.1.3": {"setpoints_w": [200_000, 300_000]},
    }


@BOTH
def test_the_state_says_what_is_left_and_what_is_done(protocol: str) -> None:
    table = Table(protocol)
    table.write("purchase.1", BOUGHT)
    table.write("purchase.1", BOUGHT)  # the same one again
    table.write("on.reduction.1", {"on": True, **DOWN})
    state = table.read("state.1")["state.1"]
    assert state["left"] == {"gdw376": 5000, "dlt698": 50_000_000}[protocol]
    assert (state["float_percent"], state["power_tripped"], state["power_alarm"]) == (-20, [], [])


# --- bytes ---


def test_the_frames_of_q_gdw_376_1() -> None:
    table = Table("gdw376")
    table.write("on.period.1", {"on": True, "scheme": 2, "periods": [1, 2]})
    table.write("period.1.2", {"setpoints_w": [400_000, 300_000]})
    table.write("keep-power", {"on": True, "half_hours": 4})
    table.write("on.reduction.3", {"on": True, **DOWN})
    bodies = [frame[12:-18] for frame in table.frames]
    # AFN, SEQ, DA DT, data: p1 F9, F41; p0 F25; p3 F12; the password behind it
    assert [body[:1].hex() + body[2:].hex() for body in bodies] == [
        "05" + "01010101" + "0301",
        "04" + "01010105" + "02" + "03" + "0084" + "0083",
        "05" + "00000103" + "04",
        "05" + "04010801" + "0f" + "a0" + "05" + "04" + "0a050403",
    ]
    assert all(frame[-18:-2].hex() == PW for frame in table.frames)


def test_the_apdus_of_dl_t_698_45() -> None:
    table = Table("dlt698")
    table.write("on.period.1", {"on": True, "scheme": 2, "periods": [1, 2]})
    table.write("keep-power", {"on": True, "half_hours": 0})
    table.write("on.reduction.1", {"on": True, **DOWN})
    shown = [frame.hex() for frame in table.frames]
    assert "81037f00020250230102020408c0110100" in shown[0]
    assert "8103060050230100" in shown[1]
    assert "80017f000000" in shown[2]
    assert "81067f0002025023010208110f0fec11051104110a11051104110300" in shown[3]


# --- the end of a command ---


def test_tp_ends_where_the_command_does_or_before() -> None:
    for seconds, delay, sent in (
        (90, 2, "10:00:00"),
        (60, 1, "10:00:30"),
        (1, 1, "09:59:31"),
        (86_400, 255, "10:00:30"),
    ):
        table = Table("gdw376")
        table.write("on.suspension.1", {"on": True}, Term(NOW, NOW + np.timedelta64(seconds, "s")))
        second, minute, hour = (int(f"{byte:02x}") for byte in table.frames[0][-7:-4])
        assert (f"{hour:02}:{minute:02}:{second:02}", table.frames[0][-3]) == (sent, delay)


@BOTH
def test_a_command_that_comes_after_its_end_is_not_obeyed(protocol: str) -> None:
    term = Term(NOW, NOW + np.timedelta64(60, "s"))
    for late, obeyed in ((50, True), (130, False)):
        table = Table(protocol, late=late)
        table.write("on.suspension.1", {"on": True}, term)
        table.late = 0
        assert table.read("on.suspension.1")["on.suspension.1"]["on"] is obeyed


@BOTH
def test_a_command_whose_time_has_run_out_does_not_leave(protocol: str) -> None:
    table = Table(protocol)
    with pytest.raises(Misuse, match="time ran out"):
        table.write("on.suspension.1", {"on": True}, Term(NOW, NOW))
    assert table.frames == []


# --- what cannot be said ---


@BOTH
@pytest.mark.parametrize(
    "name",
    [
        "perod.1",
        "period.1",
        "on.perod.1",
        "on.period",
        "security.1",
        "alarms",
        "power-rounds",
        "reduction.1",
        "period.1.2.3",
    ],
)
def test_there_is_no_such_name(protocol: str, name: str) -> None:
    table = Table(protocol)
    with pytest.raises(Misuse, match="no load control of a terminal"):
        table.read(name)
    with pytest.raises(Misuse, match="no load control of a terminal"):
        table.write(name, {"on": True, "security_w": 1, "setpoints_w": [1]})
    assert table.frames == []


@BOTH
def test_what_a_terminal_does_cannot_be_written(protocol: str) -> None:
    table = Table(protocol)
    with pytest.raises(Misuse, match="no load control of a terminal"):
        table.write("state.1", {"power_w": 0})
    assert table.frames == []


@pytest.mark.parametrize("name", ["on.period.9", "period.0.1", "alarms.9"])
def test_numbers_are_from_1_to_8(name: str) -> None:
    with pytest.raises(Misuse, match="from 1 to 8"):
        split(name)


def test_a_setpoint_of_four_digits_does_not_leave_for_a_376_1_terminal() -> None:
    table = Table("gdw376")
    with pytest.raises(Misuse, match=r"does not fit A\.2"):
        table.write("security", {"security_w": 412_345})
    assert table.frames == []


def test_a_value_of_another_shape_is_a_frame_error() -> None:
    table = Table("dlt698")
    table.line._terminal.held.put("set.81010200", bytes.fromhex("1203e8"))  # a number where an array must be
    with pytest.raises(FrameError, match="slots: the terminal's value has another shape"):
        table.read("slots")


def test_schemes_may_count_from_one() -> None:
    for protocol in ("gdw376", "dlt698"):
        table = Table(protocol, first_scheme=1)
        table.write("on.period.1", {"on": True, "scheme": 2, "periods": [1]})
        assert table.read("on.period.1") == {"on.period.1": {"on": True, "scheme": 2, "periods": [1]}}


def test_slots_are_two_bits_each() -> None:
    assert pack_slots(SLOTS).hex() == "000000005555aaaa00000000"
    assert unpack_slots(pack_slots(SLOTS)) == SLOTS
    assert pack_slots("1" + "0" * 46 + "2").hex() == "01" + "00" * 10 + "80"
