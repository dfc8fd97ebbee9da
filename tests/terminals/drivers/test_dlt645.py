"""The driver against a meter in memory: real frames through Master and Device, no link, no clock."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlt645 import blocks, values
from protocols.dlt645.exchange import BroadcastTime, ControlRequest, Device, ReadRequest
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Send
from protocols.localtime import day_slots, midnight
from protocols.reading import MISSING
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Driver, Meter, RelayAction, RelayState

ZONE = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
SLOTS = day_slots(DAY, ZONE)
QUARTER = dt.timedelta(minutes=15)
METER = Meter(7, "000000000001", ZONE, secrets={"password": "123456", "operator": "00000042"})


def utc(*local: int) -> np.datetime64:
    when = dt.datetime(*local, tzinfo=ZONE).astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(when, "us")


NOW = utc(2026, 3, 11, 0, 30)


class MemoryMeter:
    """Load records by local time, freezes newest first, a clock, and what else is read by DI."""

    def __init__(self) -> None:
        self.device = Device(METER.address)
        self.clock = dt.datetime(2026, 3, 11, 0, 30)
        self.load = {dt.datetime(2026, 3, 10) + n * QUARTER: Decimal(1000 + n) for n in range(1, 97)}
        self.faulty: set[dt.datetime] = set()
        self.exact = False  # given-time reads need a record at exactly that time
        self.freezes = [dt.datetime(2026, 3, 11) - dt.timedelta(days=n) for n in range(62)]
        self.export = True
        self.items: dict[int, bytes] = {}
        self.relay = b""
        self.heard: list[object] = []

    def reply(self, event: object) -> bytes:
        self.heard.append(event)
        if isinstance(event, ControlRequest):
            return self.device.answer(self.relay)
        if not isinstance(event, ReadRequest):
            return self.device.answer()
        data = self.read(event)
        return self.device.refuse(2) if data is None else self.device.answer(data)

    def read(self, event: ReadRequest) -> bytes | None:
        di, number = event.di, event.di & 0xFF
        if di in (0x06000001, 0x06000002):
            return self.records(event)
        if di >> 16 == 0x0506:
            return self.freeze(di >> 8 & 0xFF, number)
        if di == 0x04000101:
            return values.encode(di, [self.clock.date(), self.clock.isoweekday() % 7])
        if di == 0x04000102:
            return values.encode(di, [self.clock.time()])
        return self.items.get(di)

    def records(self, event: ReadRequest) -> bytes | None:
        count, start = blocks.decode_request(event.extra)
        times = sorted(self.load)[-count:] if start is None else [t for t in sorted(self.load) if t >= start]
        if not times or (self.exact and start and start not in self.load):
            return None
        return b"".join(
            blocks.encode_block(
                t, {4: [self.load[t], Decimal(0), Decimal(0), Decimal(0)]}, faulty=t in self.faulty
            )
            for t in times[:count]
        )

    def freeze(self, category: int, number: int) -> bytes | None:
        if number > len(self.freezes):
            return None
        if category == 0:
            return values.encode(0x05060001, [self.freezes[number - 1]])
        if category == 2:
            return values.encode(0x05060201, [Decimal(5)]) if self.export else None
        total = Decimal(self.freezes[number - 1].toordinal() % 100000)
        return values.encode(0x05060101, [total, *[Decimal(n) for n in range(1, 5)]])


def run(memory, script):
    """Drive a script to its result, every exchange over one fresh Master."""
    master = Dlt645Driver().exchange(METER)
    try:
        request = next(script)
        while True:
            try:
                answer = ask(master, memory, request)
            except Refused as refused:
                request = script.throw(refused)
            else:
                request = script.send(answer)
    except StopIteration as done:
        return done.value


def ask(master, memory, request):
    wire = master.send(request)
    while True:
        memory.device.receive_data(wire)
        while (event := memory.device.next_event()) is not NEED_DATA:
            master.receive_data(event.data if isinstance(event, Send) else memory.reply(event))
        event = master.next_event()
        if isinstance(event, Answer):
            return event.value
        assert isinstance(event, Send), event
        wire = event.data


def curve(memory, slots=SLOTS, **options):
    return run(memory, Dlt645Driver(**options).curve(METER, slots))


def asked(memory, di):
    return [event for event in memory.heard if isinstance(event, ReadRequest) and event.di == di]


def test_it_is_a_driver():
    driver: Driver = Dlt645Driver()
    assert driver.retention.day_freeze == dt.timedelta(days=62)
    assert run(MemoryMeter(), driver.open(METER)) is None
    assert run(MemoryMeter(), driver.close(METER)) is None


def test_a_whole_day_takes_few_requests_of_five_frames():
    memory = MemoryMeter()
    got = curve(memory)
    np.testing.assert_array_equal(got.reads.time, SLOTS)
    assert got.reads.columns["active_import"].tolist() == [(1000 + n) * 10_000 for n in range(1, 97)]
    assert np.isnan(got.reads.columns["voltage_a"]).all()
    assert set(got.reads.meter) == {7}
    assert len(got.absent) == 0
    assert len(memory.heard) == 11


def test_scattered_slots_are_grouped_and_the_bridge_is_kept():
    memory = MemoryMeter()
    got = curve(memory, SLOTS[[0, 1, 3, 40]])
    assert len(memory.heard) == 2
    np.testing.assert_array_equal(got.reads.time, SLOTS[[0, 1, 2, 3, 40]])


def test_a_hole_inside_an_answer_is_proven():
    memory = MemoryMeter()
    for n in (5, 6, 50):
        del memory.load[dt.datetime(2026, 3, 10) + n * QUARTER]
    got = curve(memory)
    np.testing.assert_array_equal(got.absent, SLOTS[[4, 5, 49]])
    assert len(got.reads) == 93


@pytest.mark.parametrize("exact", [False, True])
def test_a_hole_at_the_start(exact):
    memory = MemoryMeter()
    memory.exact = exact
    for n in range(1, 11):
        del memory.load[dt.datetime(2026, 3, 10) + n * QUARTER]
    got = curve(memory)
    np.testing.assert_array_equal(got.absent, SLOTS[:10])
    np.testing.assert_array_equal(got.reads.time, SLOTS[10:])


def test_the_end_is_absent_only_as_far_as_the_meters_clock_has_come():
    memory = MemoryMeter()
    memory.load = {t: v for t, v in memory.load.items() if t <= dt.datetime(2026, 3, 10, 22)}
    memory.clock = dt.datetime(2026, 3, 10, 23, 10)  # slow
    got = curve(memory)
    assert got.reads.time[-1] == utc(2026, 3, 10, 22)
    assert got.absent.tolist() == [
        utc(2026, 3, 10, h, m).item() for h, m in ((22, 15), (22, 30), (22, 45), (23, 0))
    ]


def test_a_meter_without_any_record():
    memory = MemoryMeter()
    memory.load = {}
    got = curve(memory)
    assert len(got.reads) == 0
    np.testing.assert_array_equal(got.absent, SLOTS)
    assert len(memory.heard) <= 6


def test_another_recording_interval():
    memory = MemoryMeter()
    memory.load = {t: v for t, v in memory.load.items() if t.minute == 0}
    got = curve(memory)
    assert len(got.reads) == 24
    assert len(got.absent) == 72
    memory = MemoryMeter()
    memory.load = {dt.datetime(2026, 3, 10) + n * dt.timedelta(minutes=5): Decimal(n) for n in range(1, 289)}
    got = curve(memory)
    np.testing.assert_array_equal(got.reads.time, SLOTS)


def test_a_block_the_meter_calls_faulty_is_absent():
    memory = MemoryMeter()
    memory.faulty = {dt.datetime(2026, 3, 10, 1)}
    got = curve(memory)
    assert got.absent.tolist() == [utc(2026, 3, 10, 1).item()]
    assert len(got.reads) == 95


def test_a_late_answer_to_another_start_proves_nothing():
    script = Dlt645Driver().curve(METER, SLOTS[:24])
    memory = MemoryMeter()
    master = Dlt645Driver().exchange(METER)
    request = next(script)
    late = memory.records(ReadRequest(0x06000001, blocks.from_time(np.datetime64("2026-03-10T04:00"), 9)))
    answer = ask(master, memory, request)
    request = script.send(type(answer)(answer.address, answer.di, late))
    try:
        while True:
            request = script.send(ask(master, memory, request))
    except StopIteration as done:
        got = done.value
    assert len(got.absent) == 0
    assert set(SLOTS[:24]) <= set(got.reads.time)


def test_other_refusals_end_the_script():
    memory = MemoryMeter()
    memory.reply = lambda event: memory.device.refuse(4)
    with pytest.raises(Refused):
        curve(memory)


def test_a_corrupt_load_record_ends_the_script():
    memory = MemoryMeter()
    memory.records = lambda event: b"\xa0\xa0\x00garbage"
    with pytest.raises(FrameError):
        curve(memory)


def test_no_slots():
    got = curve(MemoryMeter(), SLOTS[:0])
    assert len(got.reads) == len(got.absent) == 0


def test_the_repeated_hour_is_left_alone():
    berlin = ZoneInfo("Europe/Berlin")
    slots = day_slots(dt.date(2026, 10, 25), berlin)
    meter = Meter(1, METER.address, berlin)
    memory = MemoryMeter()
    memory.load = {dt.datetime(2026, 10, 25) + n * QUARTER: Decimal(n) for n in range(1, 97)}
    got = run(memory, Dlt645Driver().curve(meter, slots))
    assert len(slots) == 100
    assert len(got.reads) == 96
    assert len(got.absent) == 0


# --- freezes ---


def freezes(memory, days, now=NOW):
    wanted = np.array([midnight(day, ZONE) for day in days])
    return wanted, run(memory, Dlt645Driver().day_freeze(METER, np.sort(wanted), now))


def days(*back: int) -> list[dt.date]:
    return [dt.date(2026, 3, 11) - dt.timedelta(days=n) for n in back]


def test_freezes_are_found_by_counting():
    memory = MemoryMeter()
    wanted, got = freezes(memory, days(2, 1, 0))
    np.testing.assert_array_equal(got.reads.time, wanted)
    energy = got.reads.columns
    assert energy["active_import"][-1] == (dt.datetime(2026, 3, 11).toordinal() % 100000) * 10_000
    assert energy["active_import_t3"].tolist() == [30_000] * 3
    assert energy["active_export"].tolist() == [50_000] * 3
    assert len(memory.heard) == 9


def test_a_meter_without_export_is_asked_once():
    memory = MemoryMeter()
    memory.export = False
    _, got = freezes(memory, days(2, 1, 0))
    assert got.reads.columns["active_export"].tolist() == [MISSING] * 3
    assert len(memory.heard) == 7
    assert len(got.absent) == 0


def test_freezes_are_searched_where_the_meter_was_off():
    memory = MemoryMeter()
    memory.freezes = [
        day for day in memory.freezes if not dt.datetime(2026, 2, 20) < day < dt.datetime(2026, 3, 8)
    ]
    memory.freezes += [memory.freezes[-1] - dt.timedelta(days=n) for n in range(1, 16)]
    wanted, got = freezes(memory, days(0, 5, 19, 30))
    np.testing.assert_array_equal(got.reads.time, np.sort(wanted[[0, 2, 3]]))
    assert got.absent.tolist() == [wanted[1].item()]
    assert len(memory.heard) < 30


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_short_list(count):
    memory = MemoryMeter()
    memory.freezes = memory.freezes[:count]
    wanted, got = freezes(memory, days(0, 9, 40, 80))
    assert set(got.reads.time) | set(got.absent) == set(wanted)
    assert len(got.reads) == {0: 0, 1: 1, 10: 2}[count]
    assert len(memory.heard) < 30


def test_a_freeze_that_a_slow_meter_has_not_made_yet_is_not_absent():
    memory = MemoryMeter()
    memory.freezes = memory.freezes[1:]
    memory.clock = dt.datetime(2026, 3, 10, 23, 50)
    wanted, got = freezes(memory, days(1, 0))
    assert got.reads.time.tolist() == [wanted[0].item()]
    assert len(got.absent) == 0
    memory.clock = dt.datetime(2026, 3, 11, 0, 40)
    wanted, got = freezes(memory, days(1, 0))
    assert got.absent.tolist() == [wanted[1].item()]


def test_a_list_that_shifts_at_midnight_gives_no_wrong_day():
    memory = MemoryMeter()
    memory.freezes = memory.freezes[1:]
    original = memory.freeze

    def shifting(category: int, number: int) -> bytes | None:
        answer = original(category, number)
        if category == 0 and len(asked(memory, 0x05060001)) == 1:
            memory.freezes.insert(0, dt.datetime(2026, 3, 11))
        return answer

    memory.freeze = shifting
    _, got = freezes(memory, days(1), now=utc(2026, 3, 10, 23, 59))
    assert len(got.reads) == 0
    assert len(got.absent) == 0


def test_a_freeze_of_fillers_is_absent():
    memory = MemoryMeter()
    original = memory.freeze
    memory.freeze = lambda category, number: b"\xff" * 20 if category else original(category, number)
    wanted, got = freezes(memory, days(0))
    assert len(got.reads) == 0
    assert got.absent.tolist() == [wanted[0].item()]


# --- present values, clock, relay ---


def test_registers():
    memory = MemoryMeter()
    memory.items = {
        0x0001FF00: bytes.fromhex("7856341200000000"),
        0x02010100: bytes.fromhex("9722"),
        0x0202FF00: bytes.fromhex("561280") + b"\xff" * 6,
        0x02030000: bytes.fromhex("560400"),
    }
    reads = run(memory, Dlt645Driver().registers(METER, NOW))
    assert reads.time.tolist() == [NOW.item()]
    assert {code: column[0] for code, column in reads.columns.items()} == {
        "active_import": 1234567800,
        "active_import_t1": 0,
        "voltage_a": 229.7,
        "current_a": -1.256,
        "active_power": 0.0456,
    }
    assert len(run(MemoryMeter(), Dlt645Driver().registers(METER, NOW))) == 0


def test_clock():
    memory = MemoryMeter()
    memory.clock = dt.datetime(2026, 3, 10, 12, 34, 56)
    assert run(memory, Dlt645Driver().clock(METER)) == utc(2026, 3, 10, 12, 34, 56)


def test_clock_over_midnight():
    memory = MemoryMeter()
    memory.clock = dt.datetime(2026, 3, 10, 23, 59, 59)
    original = memory.read

    def ticking(event):
        answer = original(event)
        memory.clock = dt.datetime(2026, 3, 11, 0, 0, 1)
        return answer

    memory.read = ticking
    assert run(memory, Dlt645Driver().clock(METER)) == utc(2026, 3, 11, 0, 0, 1)


def test_a_meter_that_gives_no_time():
    memory = MemoryMeter()
    memory.read = lambda event: b"\xff" * (4 if event.di == 0x04000101 else 3)
    with pytest.raises(FrameError):
        run(memory, Dlt645Driver().clock(METER))


def test_set_clock_speaks_local_time():
    memory = MemoryMeter()
    run(memory, Dlt645Driver().set_clock(METER, utc(2026, 3, 10, 1, 2, 3)))
    assert memory.heard == [BroadcastTime(np.datetime64("2026-03-10T01:02:03"))]


@pytest.mark.parametrize(
    ("action", "n1"),
    [
        (RelayAction.TRIP, 0x1A),
        (RelayAction.PERMIT, 0x1B),
        (RelayAction.CLOSE, 0x1C),
        (RelayAction.KEEP_POWER, 0x3A),
        (RelayAction.END_KEEP_POWER, 0x3B),
    ],
)
def test_relay_commands(action, n1):
    memory = MemoryMeter()
    got = run(memory, Dlt645Driver().relay(METER, action, utc(2026, 3, 10, 9, 0)))
    assert memory.heard == [
        ControlRequest(n1, 0, np.datetime64("2026-03-10T09:00:00"), 2, "123456", "00000042")
    ]
    assert not got.pending


@pytest.mark.parametrize(("word", "pending"), [("0400", False), ("2000", True), ("0800", True)])
def test_relay_answer_word(word, pending):
    memory = MemoryMeter()
    memory.relay = bytes.fromhex(word)
    got = run(memory, Dlt645Driver().relay(METER, RelayAction.TRIP, NOW))
    assert got.pending is pending
    assert "trip" in got.detail


def test_relay_refused_and_without_password():
    memory = MemoryMeter()
    memory.reply = lambda event: memory.device.refuse(0x20, size=2)
    with pytest.raises(Refused, match="keep-power"):
        run(memory, Dlt645Driver().relay(METER, RelayAction.TRIP, NOW))
    with pytest.raises(Misuse):
        run(memory, Dlt645Driver().relay(Meter(1, METER.address, ZONE), RelayAction.TRIP, NOW))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (0x0000, (False, False, False)),
        (0x0050, (True, False, False)),
        (0x0010, (True, True, False)),
        (0x1000, (False, False, True)),
        (0x0040, (False, False, False)),
    ],
)
def test_relay_state(word, state):
    memory = MemoryMeter()
    memory.items = {0x04000503: word.to_bytes(2, "little"), 0x02030000: bytes.fromhex("560480")}
    got = run(memory, Dlt645Driver().relay_state(METER))
    assert got == RelayState(*state, load_kw=-0.0456, detail=f"run status word 3 {word:04X}H")
