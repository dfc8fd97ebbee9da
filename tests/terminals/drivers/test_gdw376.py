"""The driver against published frames, and against a terminal in memory that has not got everything."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlt645.exchange import BroadcastTime, ControlRequest, ReadRequest
from protocols.dlt645.exchange import Device as MeterDevice
from protocols.dlt645.exchange import Master as MeterMaster
from protocols.dlt645.exchange import Read as MeterRead
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.gdw376 import frame as frames
from protocols.gdw376.exchange import Device, DeviceRequest, Part
from protocols.gdw376.units import ident
from protocols.gdw376.values import Clock, Typed, Unit, encode
from protocols.localtime import Times, day_slots, instant, midnight
from protocols.reading import MISSING, SLOT_QUANTITIES
from terminals.drivers.driver import Driver, Meter, RelayAction
from terminals.drivers.gdw376 import Gdw376Driver, curve_functions
from terminals.drivers.through import NotReached

ZONE = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
SLOTS = day_slots(DAY, ZONE)
QUARTER = dt.timedelta(minutes=15)
BEGIN = dt.datetime(2026, 3, 10)
METER = Meter(
    7, "151230011061", ZONE, 3, {"password": "020637", "operator": "00000001"}, terminal="02001234", point=1
)
VECTORS = {
    line["id"].rpartition("-")[2]: bytes.fromhex(line["hex"])
    for line in map(
        json.loads,
        (Path(__file__).parents[2] / "protocols" / "vectors" / "gdw376.jsonl")
        .read_text("utf-8")
        .splitlines(),
    )
}


def utc(*local: int) -> np.datetime64:
    return instant(dt.datetime(*local, tzinfo=ZONE))  # type: ignore[misc, arg-type]


NOW = utc(2026, 3, 11, 0, 30)


class Terminal:
    """Curves by (Fn, local time), freezes by (Fn, tag), present values by Fn; a meter on its port. What is not there is left out."""

    def __init__(self) -> None:
        self.device = Device(frames.parse_address(METER.terminal))
        self.meter: MeterDevice | None = MeterDevice(METER.address)
        self.items: dict[int, bytes] = {}
        self.curves: dict[tuple[int, dt.datetime], Decimal | None] = {
            (101, BEGIN + n * QUARTER): Decimal(1000 + n) for n in range(1, 97)
        }
        self.freezes: dict[tuple[int, Any], Sequence[Typed]] = {}
        self.present: dict[int, Sequence[Typed]] = {}
        self.denied: set[int] = set()
        self.denies_forwarding = False
        self.asked: list[DeviceRequest] = []
        self.heard: list[object] = []

    def answer(self, raw: bytes) -> bytes:
        self.device.receive_data(raw)
        out = b""
        while (event := self.device.next_event()) is not NEED_DATA:
            if isinstance(event, DeviceRequest):
                self.asked.append(event)
                out += self._serve(event)
        return out

    def _serve(self, request: DeviceRequest) -> bytes:
        match request.afn:
            case 0x05:
                return self.device.confirm()
            case 0x10 if self.denies_forwarding:
                return self.device.deny()
            case 0x10:
                content = next(v.value for v in request.units[0].values if v.name == "content")
                assert isinstance(content, bytes)
                told = self._meter(content)
                return self.device.answer([(ident([0], [1]), [encode(0x10, 1, [31, len(told), told])])])
        parts = [part for unit in request.units if (part := self._part(unit)) is not None]
        return self.device.answer(parts) if parts else self.device.deny()

    def _part(self, unit: Unit) -> Part | None:
        function = unit.function
        values: Sequence[Typed] | None = None
        if function in self.denied:
            return None
        if unit.afn == 0x0C:
            values = self.present.get(function)
        elif len(unit.values) == 1:
            tag = unit.values[0].value
            found = self.freezes.get((function, tag))
            values = None if found is None else [tag, *found]
        elif any(fn == function for fn, _ in self.curves):
            start, density, points = (value.value for value in unit.values)
            assert isinstance(start, dt.datetime)
            assert isinstance(points, int)
            told = [self.curves.get((function, start + k * QUARTER)) for k in range(points)]
            values = [start, density, points, *told]
        return (
            None
            if values is None
            else (ident([unit.point], [function]), [encode(unit.afn, function, values)])
        )

    def _meter(self, raw: bytes) -> bytes:
        out = b""
        if self.meter is None:
            return out
        self.meter.receive_data(raw)
        while (event := self.meter.next_event()) is not NEED_DATA:
            self.heard.append(event)
            if isinstance(event, Send):
                out += event.data
            elif isinstance(event, ReadRequest) and event.di not in self.items:
                out += self.meter.refuse(2)
            elif isinstance(event, ReadRequest):
                out += self.meter.answer(self.items[event.di])
            else:
                out += self.meter.answer(b"")
        return out

    def functions(self) -> list[int]:
        return [unit.function for request in self.asked for unit in request.units]


def run(terminal: Terminal, script: Any, driver: Gdw376Driver | None = None) -> Any:
    """Drive a script to its result, every exchange over one fresh Master."""
    master = (driver or Gdw376Driver()).exchange(METER)
    try:
        request = next(script)
        while True:
            try:
                answer = ask(master, terminal, request)
            except Refused as refused:
                request = script.throw(refused)
            else:
                request = script.send(answer)
    except StopIteration as done:
        return done.value


def ask(master: Any, terminal: Terminal, request: Any) -> Any:
    master.receive_data(terminal.answer(master.send(request)))
    event = master.next_event()
    assert isinstance(event, Answer), event
    return event.value


def curve(terminal: Terminal, slots: Times = SLOTS, **options: Any) -> Any:
    return run(terminal, Gdw376Driver(**options).curve(METER, slots))


# --- published frames ---


class Tape:
    """Published answers, each given once: to the request with its number and its first unit."""

    def __init__(self, *ids: str) -> None:
        self.answers = [VECTORS[id] for id in ids]
        self.sent: list[frames.Frame] = []

    def play(self, driver: Gdw376Driver, meter: Meter, script: Any) -> Any:
        master = driver.exchange(meter)
        try:
            request = next(script)
            while True:
                sent = frames.decode(master.send(request))
                wanted = frames.decode(self.answers[0]).number
                while sent.number != wanted:  # the master's earlier requests were not published
                    master.abandon()
                    sent = frames.decode(master.send(request))
                self.sent.append(sent)
                master.receive_data(self.answers.pop(0))
                event = master.next_event()
                assert isinstance(event, Answer), event
                request = script.send(event.value)
        except StopIteration as done:
            return done.value


KSY = Meter(3, "000000000001", ZONE, 3, terminal="01710822", point=1)


def test_a_published_day_freeze() -> None:
    """F1 has a total and nothing else; F2 is EE from end to end: missing, and no proof of anything."""
    driver = Gdw376Driver(day_functions=(1, 2))
    tape = Tape("021", "023")
    closing = np.array([midnight(dt.date(2018, 8, 28), ZONE)])
    got = tape.play(driver, KSY, driver.day_freeze(KSY, closing, closing[0]))
    assert not tape.answers
    # the second request, but for the time stamp, is the published one
    published = frames.decode(VECTORS["014"])
    assert (tape.sent[1].body, tape.sent[1].address, tape.sent[1].control) == (
        published.body, published.address, published.control,
    )  # fmt: skip
    assert got.reads.time.tolist() == closing.tolist()
    assert got.reads.columns["active_import"].tolist() == [100]
    assert set(got.reads.columns) >= {"active_import_t4", "active_export"}
    for code, column in got.reads.columns.items():
        assert code == "active_import" or column.tolist() == [MISSING]
    assert len(got.absent) == 0


def test_a_published_month_freeze() -> None:
    driver = Gdw376Driver(month_functions=(17,))
    closing = np.array([midnight(dt.date(2018, 8, 1), ZONE)])
    tape = Tape("022")
    got = tape.play(driver, KSY, driver.month_freeze(KSY, closing, closing[0]))
    assert tape.sent[0].body == frames.decode(VECTORS["012"]).body
    assert got.reads.time.tolist() == closing.tolist()
    assert got.reads.columns["active_import"].tolist() == [100]


def test_published_present_values_stand_at_the_time_at_which_they_were_read() -> None:
    driver = Gdw376Driver(present_functions=(25,))
    got = Tape("018").play(driver, KSY, driver.registers(KSY, NOW))
    assert got.time.tolist() == [utc(2018, 8, 28, 16, 47).item()]
    assert got.columns["active_power"].tolist() == [0.0]
    assert not got.valid("voltage_b").any()


@pytest.mark.parametrize(("action", "request_id", "answer_id"), [(RelayAction.PERMIT, "032", "033")])
def test_a_published_relay_command(action: RelayAction, request_id: str, answer_id: str) -> None:
    """The same meter frame inside the same forwarding request, and the published answer is understood."""
    driver = Gdw376Driver(master=2, meter_seconds=60)
    tape = Tape(answer_id)
    got = tape.play(driver, METER, driver.relay(METER, action, utc(2099, 12, 30)))
    assert got.pending is False
    published = frames.decode(VECTORS[request_id])
    assert tape.sent[0].body == published.body
    assert (tape.sent[0].address, tape.sent[0].afn, tape.sent[0].pw) == (
        published.address, published.afn, published.pw,
    )  # fmt: skip


def test_a_published_trip_is_the_same_bytes() -> None:
    driver = Gdw376Driver(master=2, meter_seconds=60)
    script = driver.relay(METER, RelayAction.TRIP, utc(2099, 12, 30))
    sent = frames.decode(driver.exchange(METER).send(next(script)))
    assert sent.body == frames.decode(VECTORS["034"]).body


# --- curves ---


def test_it_is_a_driver() -> None:
    driver: Driver = Gdw376Driver()
    assert run(Terminal(), driver.open(METER)) is None
    assert run(Terminal(), driver.close(METER)) is None
    driver.recall(METER, driver.known(METER))
    with pytest.raises(ValueError, match="keeps nothing"):
        driver.recall(METER, "something")


def test_every_curve_has_its_function() -> None:
    functions = curve_functions()
    assert set(SLOT_QUANTITIES) < set(functions)
    assert (functions["active_import"], functions["active_export"], functions["active_power"]) == (
        101,
        103,
        81,
    )
    assert (functions["voltage_b"], functions["current_c"], functions["power_factor"]) == (90, 94, 105)


def test_a_day_quantity_by_quantity() -> None:
    terminal = Terminal()
    for n in range(1, 97):
        terminal.curves[89, BEGIN + n * QUARTER] = Decimal(2200 + n).scaleb(-1)
        terminal.curves[81, BEGIN + n * QUARTER] = Decimal(-n).scaleb(-4)
    got = curve(terminal)
    np.testing.assert_array_equal(got.reads.time, SLOTS)
    assert got.reads.columns["active_import"].tolist() == [(1000 + n) * 10_000 for n in range(1, 97)]
    np.testing.assert_allclose(got.reads.columns["voltage_a"], [220 + n / 10 for n in range(1, 97)])
    np.testing.assert_allclose(got.reads.columns["active_power"], [-n / 10_000 for n in range(1, 97)])
    assert set(got.reads.columns) == set(SLOT_QUANTITIES)
    assert np.isnan(got.reads.columns["current_a"]).all()
    assert len(got.absent) == 0
    # two stretches, in each the register first and everything else once
    assert terminal.functions()[:2] == [101, 103]
    assert [terminal.functions().count(fn) for fn in (101, 81, 85, 94)] == [2, 2, 2, 2]
    starts = [
        request.units[0].values[0].value for request in terminal.asked if request.units[0].function == 101
    ]
    assert starts == [BEGIN + QUARTER, BEGIN + 49 * QUARTER]


def test_several_functions_in_one_identifier() -> None:
    terminal = Terminal()
    for n in range(1, 97):
        terminal.curves[89, BEGIN + n * QUARTER] = Decimal(230)
    got = curve(terminal, functions_per_request=8, points_per_request=96)
    assert len(got.reads) == 96
    assert got.reads.columns["voltage_a"].tolist() == [230.0] * 96
    assert [[unit.function for unit in request.units] for request in terminal.asked] == [
        [101], [103], [89, 90, 91, 92, 93, 94], [81, 85],
    ]  # fmt: skip


def test_a_single_phase_meter_is_not_asked_for_phases_it_has_not() -> None:
    terminal = Terminal()
    driver = Gdw376Driver()
    one = Meter(7, METER.address, ZONE, 1, terminal=METER.terminal, point=1)
    run(terminal, driver.curve(one, SLOTS[:4]))
    assert terminal.functions() == [101, 103, 89, 92, 81, 85]


def test_what_the_terminal_has_as_ee_stays_owed() -> None:
    terminal = Terminal()
    for n in range(30, 40):
        terminal.curves[101, BEGIN + n * QUARTER] = None
    got = curve(terminal)
    assert len(got.reads) == 86
    assert not np.isin(SLOTS[29:39], got.reads.time).any()
    assert len(got.absent) == 0


def test_nothing_but_ee_costs_one_question_a_stretch_and_is_no_absence() -> None:
    terminal = Terminal()
    terminal.curves = dict.fromkeys(terminal.curves)
    got = curve(terminal)
    assert (len(got.reads), len(got.absent)) == (0, 0)
    assert terminal.functions() == [101, 101]


def test_a_denial_is_the_reason_and_no_absence() -> None:
    terminal = Terminal()
    terminal.denied = {101}
    with pytest.raises(Refused) as refused:
        curve(terminal)
    assert not refused.value.absent


def test_a_denial_of_the_rest_costs_nothing_that_came() -> None:
    terminal = Terminal()
    terminal.denied = {103, 90}
    assert curve(terminal).reads.valid("active_import").all()


def test_only_stretches_with_gaps_are_asked_for() -> None:
    terminal = Terminal()
    wanted = SLOTS[[3, 5, 40]]
    got = curve(terminal, wanted)
    np.testing.assert_array_equal(got.reads.time, wanted)
    asked = [r.units[0].values for r in terminal.asked if r.units[0].function == 101]
    assert [(values[0].value, values[2].value) for values in asked] == [
        (BEGIN + 4 * QUARTER, 3), (BEGIN + 41 * QUARTER, 1),
    ]  # fmt: skip


def test_an_answer_about_other_times_or_another_meter_brings_nothing() -> None:
    class Elsewhere(Terminal):
        def _part(self, unit: Unit) -> Part | None:
            part = super()._part(unit)
            if part is None:
                return None
            shifted = [BEGIN - dt.timedelta(days=1), 1, 2, Decimal(1), Decimal(2)]
            return part[0], [encode(0x0D, unit.function, shifted)]

    got = curve(Elsewhere(), SLOTS[:2])
    assert len(got.reads) == 0


def test_the_second_pass_of_a_repeated_hour_cannot_be_asked_for() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    meter = Meter(7, METER.address, berlin, 1, terminal=METER.terminal, point=1)
    slots = day_slots(dt.date(2026, 10, 25), berlin)
    assert len(slots) == 100
    terminal = Terminal()
    begin = dt.datetime(2026, 10, 25)
    terminal.curves = {(101, begin + n * QUARTER): Decimal(n) for n in range(1, 97)}
    got = run(terminal, Gdw376Driver().curve(meter, slots))
    assert len(got.reads) == 96
    assert len(np.setdiff1d(slots, got.reads.time)) == 4


# --- freezes and present values ---


def test_day_freezes_by_their_closing_midnight() -> None:
    terminal = Terminal()
    read = dt.datetime(2026, 3, 11, 0, 5)
    terminal.freezes[161, DAY] = [read, 4, *map(Decimal, (100, 10, 20, 30, 40))]
    terminal.freezes[163, DAY] = [read, 4, *map(Decimal, (5, 1, 1, 1, 2))]
    terminal.freezes[161, dt.date(2026, 3, 9)] = [read, 4, *[None] * 5]
    closing = np.array([midnight(dt.date(2026, 3, day), ZONE) for day in (9, 10, 11)])
    got = run(terminal, Gdw376Driver().day_freeze(METER, closing, NOW))
    assert got.reads.time.tolist() == closing[2:].tolist()
    told = {code: column[0] / 10_000 for code, column in got.reads.columns.items()}
    assert told == {
        "active_import": 100, "active_import_t1": 10, "active_import_t2": 20, "active_import_t3": 30,
        "active_import_t4": 40, "active_export": 5, "active_export_t1": 1, "active_export_t2": 1,
        "active_export_t3": 1, "active_export_t4": 2,
    }  # fmt: skip
    assert len(got.absent) == 0
    assert terminal.functions() == [
        161,
        161,
        161,
        163,
    ]  # where the register is missing, the rest is not asked for


def test_a_terminal_without_any_freeze_refuses() -> None:
    with pytest.raises(Refused) as refused:
        run(Terminal(), Gdw376Driver().day_freeze(METER, np.array([midnight(DAY, ZONE)]), NOW))
    assert not refused.value.absent


def test_present_values_of_two_times_are_two_rows() -> None:
    terminal = Terminal()
    terminal.present[129] = [dt.datetime(2026, 3, 11, 0, 15), 4, *map(Decimal, (100, 10, 20, 30, 40))]
    terminal.present[131] = [dt.datetime(2026, 3, 11, 0, 15), 4, *[Decimal(0)] * 5]
    terminal.present[25] = [dt.datetime(2026, 3, 10, 22, 0), Decimal("1.5"), *[None] * 22]
    got = run(terminal, Gdw376Driver().registers(METER, NOW))
    assert got.time.tolist() == [utc(2026, 3, 10, 22).item(), utc(2026, 3, 11, 0, 15).item()]
    assert got.columns["active_import"].tolist() == [MISSING, 1_000_000]
    assert got.columns["active_export"].tolist() == [MISSING, 0]
    assert got.columns["active_power"][0] == 1.5


def test_no_present_values_is_a_refusal_that_names_the_terminal() -> None:
    with pytest.raises(Refused, match="terminal 02001234 has no present values of point 1"):
        run(Terminal(), Gdw376Driver().registers(METER, NOW))


# --- through the terminal ---


def test_the_meters_own_clock_and_the_terminals() -> None:
    terminal = Terminal()
    terminal.items[0x04000101] = bytes.fromhex("03 11 03 26")
    terminal.items[0x04000102] = bytes.fromhex("10 31 00")
    assert run(terminal, Gdw376Driver().clock(METER)) == utc(2026, 3, 11, 0, 31, 10)
    terminal.present[2] = [Clock(dt.datetime(2026, 3, 11, 0, 29, 59), 3)]
    assert run(terminal, Gdw376Driver().station.clock(METER)) == utc(2026, 3, 11, 0, 29, 59)


def test_setting_clocks() -> None:
    terminal = Terminal()
    run(terminal, Gdw376Driver().set_clock(METER, NOW))
    assert [type(event) for event in terminal.heard] == [BroadcastTime]
    terminal.denies_forwarding = True  # nobody answers a broadcast
    run(terminal, Gdw376Driver().set_clock(METER, NOW))
    run(terminal, Gdw376Driver().station.set_clock(METER, NOW))
    order = terminal.asked[-1]
    assert (order.afn, order.units[0].function, order.frame.tp) == (0x05, 31, None)
    told = order.units[0].values[0].value
    assert isinstance(told, Clock)
    assert (told.time, told.weekday) == (dt.datetime(2026, 3, 11, 0, 30), 3)


def test_a_meter_that_refuses_is_told_from_a_terminal_that_does() -> None:
    terminal = Terminal()
    with pytest.raises(Refused) as refused:  # error byte 02 of the meter
        run(terminal, Gdw376Driver().relay_state(METER))
    assert refused.value.absent
    terminal.denies_forwarding = True
    with pytest.raises(NotReached, match="the meter was not reached"):
        run(terminal, Gdw376Driver().relay_state(METER))


@pytest.mark.parametrize("denied", [False, True])
def test_a_relay_command_without_an_answer_is_never_a_refusal(denied: bool) -> None:
    """What the meter did is not known: the order must be found out about, not written off."""
    terminal = Terminal()
    terminal.meter, terminal.denies_forwarding = None, denied
    with pytest.raises((FrameError, NotReached)):
        run(terminal, Gdw376Driver().relay(METER, RelayAction.TRIP, NOW))
    assert [request.afn for request in terminal.asked] == [0x10]


def test_a_relay_command_reaches_the_meter_once() -> None:
    terminal = Terminal()
    run(terminal, Gdw376Driver().relay(METER, RelayAction.TRIP, utc(2026, 3, 11, 2)))
    (heard,) = terminal.heard
    assert isinstance(heard, ControlRequest)
    assert (heard.action, heard.password) == (0x1A, "020637")


def test_relay_state() -> None:
    terminal = Terminal()
    terminal.items[0x04000503] = bytes.fromhex("50 00")
    terminal.items[0x02030000] = bytes.fromhex("34 12 00")
    state = run(terminal, Gdw376Driver().relay_state(METER))
    assert (state.open, state.permitted, state.load_kw) == (True, False, 0.1234)


def test_an_answer_of_another_meter_is_no_answer() -> None:
    terminal = Terminal()
    other = MeterDevice("000000000009")

    def confused(_: bytes) -> bytes:
        other.receive_data(MeterMaster(0).send(MeterRead(other.address, 0x04000503)))
        assert isinstance(other.next_event(), ReadRequest)
        return other.answer(b"\x50\x00")

    terminal._meter = confused  # type: ignore[method-assign]
    with pytest.raises(FrameError, match="another meter's frame"):
        run(terminal, Gdw376Driver().relay_state(METER))


# --- what the archive must say ---


@pytest.mark.parametrize(
    ("meter", "complaint"),
    [
        (Meter(1, METER.address, ZONE, terminal="02001234"), "has no point number"),
        (Meter(1, METER.address, ZONE, terminal="2001234", point=1), "not eight hex digits"),
        (Meter(1, METER.address, ZONE, point=1), "the archive must give its address"),
    ],
)
def test_who_cannot_be_found_is_not_asked(meter: Meter, complaint: str) -> None:
    with pytest.raises(Misuse, match=complaint):
        Gdw376Driver().exchange(meter)


@pytest.mark.parametrize(
    "secrets", [{"port": "0"}, {"port": "485"}, {"port": "x"}, {"terminal_password": "12"}]
)
def test_nonsense_about_the_terminal_is_misuse(secrets: dict[str, str]) -> None:
    meter = Meter(1, METER.address, ZONE, 1, secrets, METER.terminal, 1)
    with pytest.raises(Misuse):
        run(Terminal(), Gdw376Driver().clock(meter))


def test_sessions_begin_with_different_numbers() -> None:
    """A late answer to one meter's question must not be taken for the next one's."""
    driver = Gdw376Driver()
    script = driver.clock(METER)
    request = next(script)
    numbers = [frames.decode(driver.exchange(METER).send(request)).number for _ in range(16)]
    assert sorted(numbers) == list(range(16))
    late = Terminal().answer(driver.exchange(METER).send(request))
    master = driver.exchange(METER)
    master.send(request)
    master.receive_data(late)
    assert isinstance(master.next_event(), Ignored)
