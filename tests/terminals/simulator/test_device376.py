"""A concentrator on a real socket, read with the driver a head-end reads with; and one that dials in."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import json

import numpy as np
import pytest

from protocols.buffer import ReceiveBuffer
from protocols.errors import Refused
from protocols.exchange import NEED_DATA
from protocols.gdw376 import frame as frames
from protocols.gdw376.exchange import Confirmation, Device, DeviceRequest, ReadEvents, confirmation
from protocols.gdw376.units import ident
from protocols.gdw376.values import Clock, encode
from protocols.localtime import day_slots, midnight
from terminals.bus import Bus
from terminals.drivers.driver import Meter, RelayAction
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.links.url import parse
from terminals.pace import Pace, Timing
from terminals.simulator import truth
from terminals.simulator.scenario import ZONE, Group
from terminals.simulator.standin import StandInMachine
from terminals.simulator.witness import read_acts
from terminals.turns import Priority

FAST = Timing(first=0.5, floor=0.3, ceiling=1.0, gap=0.1, attempts=1, pause=0.0, whole=20.0)
NIGHT = "2026-03-12 00:07"
WAITING = (Group("gdw376", "dial-out", 4),)
CALLING = (Group("gdw376", "dial-in", 4),)


class Desk:
    """A head-end's desk: one driver, the archive, a bus on one terminal's line."""

    def __init__(self, fleet, area):
        self.driver = Gdw376Driver(machine=StandInMachine())
        self.fleet = fleet
        self.terminal = fleet.terminals[area]
        rows = {
            name: list(
                csv.DictReader((fleet.directory / "archive" / f"{name}.csv").read_text("utf-8").splitlines())
            )
            for name in ("terminals", "meters")
        }
        self.entry = rows["terminals"][area]
        self.meters = [
            Meter(
                int(row["meter"]), row["address"], ZONE, int(row["phases"]), {"password": row["password"]},
                self.entry["login"], int(row["pn"]),
            )
            for row in rows["meters"]
            if row["terminal"] == self.entry["terminal"]
        ]  # fmt: skip
        self.expected = truth.load(fleet.directory).expected()

    async def open(self):
        self.bus = Bus(await parse(f"tcp://{self.entry['endpoint']}").open(2.0), pace=Pace(FAST))
        return self

    async def run(self, meter, work):
        async with self.bus.turn(meter, self.driver, Priority.SCHEDULED) as session:
            return await session.run(work(self.driver, meter))

    def row(self, meter):
        return self.expected.meters.index(f"{meter.key:012d}")


@pytest.fixture
async def desk(make_fleet):
    """desk(area) on a fleet of four terminals, two of which have a dead meter and one with holes."""
    fleet = make_fleet(NIGHT, groups=WAITING)
    await fleet.start()
    made = []

    async def build(area=0):
        made.append(await Desk(fleet, area).open())
        return made[-1]

    yield build
    for one in made:
        await one.bus.close()
    await fleet.stop()


@pytest.mark.parametrize("area", range(4))
async def test_a_day_read_is_the_truth_and_what_is_missing_stays_owed(desk, at, area):
    desk = await desk(area)
    slots = day_slots(at("2026-03-11 12:00").astype("datetime64[D]").item(), ZONE)
    span = np.isin(desk.expected.slots, slots)
    midnights = desk.expected.midnights[:2]
    for meter in desk.meters:
        k = desk.row(meter)
        there = desk.expected.recorded[k][span] & desk.expected.answers[k]
        curve = await desk.run(meter, lambda driver, meter: driver.curve(meter, slots))
        assert (curve.reads.time == slots[there]).all()
        assert len(curve.absent) == 0
        for code, column in curve.reads.columns.items():
            np.testing.assert_array_equal(column, desk.expected.curve[code][k][span][there])
        freeze = await desk.run(meter, lambda driver, meter: driver.day_freeze(meter, midnights, at(NIGHT)))
        assert len(freeze.reads) == 2 * desk.expected.answers[k]
        for code, wanted in desk.expected.freezes.items():
            assert freeze.reads.columns[code].tolist() == wanted[k][: len(freeze.reads)].tolist()


async def test_present_values_are_those_of_the_minute(desk, at):
    desk = await desk()
    desk.fleet._clock.time = at("2026-03-12 11:07:41")
    for meter in desk.meters:
        if meter.address in desk.expected.faults["dead"]:
            with pytest.raises(Refused, match="has no present values"):
                await desk.run(meter, lambda driver, meter: driver.registers(meter, at(NIGHT)))
            continue
        reads = await desk.run(meter, lambda driver, meter: driver.registers(meter, at(NIGHT)))
        assert reads.time.tolist() == [at("2026-03-12 11:07").item()]
        registers = desk.expected.registers(meter.address, at("2026-03-12 11:07"))
        assert [reads.columns[f"active_import{t}"][0] for t in ("", "_t1", "_t2", "_t3", "_t4")] == registers
        slot = int(np.searchsorted(desk.expected.slots, at("2026-03-12 11:15")))
        for code in ("voltage_a", "current_a", "active_power", "reactive_power"):
            assert reads.columns[code][0] == desk.expected.curve[code][desk.row(meter)][slot]
        assert 0.5 < reads.columns["power_factor"][0] <= 1
        assert reads.columns["apparent_power"][0] >= reads.columns["active_power"][0]


async def test_a_month_freeze_closes_its_month(desk, at):
    desk = await desk()
    desk.fleet._clock.time = at("2026-04-01 00:07")
    meter = next(m for m in desk.meters if m.address not in desk.expected.faults["dead"])
    closing = np.array([at("2026-03-01 00:00"), at("2026-04-01 00:00")])
    got = await desk.run(meter, lambda driver, meter: driver.month_freeze(meter, closing, closing[1]))
    assert got.reads.time.tolist() == closing[1:].tolist()  # history begins on the 10th of March
    assert got.reads.columns["active_import"][0] == desk.expected.registers(meter.address, closing[1])[0]


async def test_trip_and_permit_through_the_terminal(desk, at):
    desk = await desk()
    dead = desk.expected.faults["dead"]
    meter = next(m for m in desk.meters[1:] if m.address not in dead)
    desk.fleet._clock.time = at("2026-03-12 11:07")
    clock = await desk.run(meter, lambda driver, meter: driver.clock(meter))
    assert abs(clock - at("2026-03-12 11:07")) <= np.timedelta64(4, "s")
    until = at("2026-03-12 20:00")
    await desk.run(meter, lambda driver, meter: driver.relay(meter, RelayAction.TRIP, until))
    state = await desk.run(meter, lambda driver, meter: driver.relay_state(meter))
    assert (state.open, state.permitted, state.load_kw) == (True, False, 0.0)
    await desk.run(meter, lambda driver, meter: driver.relay(meter, RelayAction.PERMIT, until))
    state = await desk.run(meter, lambda driver, meter: driver.relay_state(meter))
    assert (state.open, state.permitted) == (True, True)
    with pytest.raises(Refused):  # the meter's own word, through the terminal
        await desk.run(
            meter, lambda driver, meter: driver.relay(meter, RelayAction.TRIP, at("2026-03-12 10:00"))
        )
    acts = read_acts(desk.fleet.directory / "acts.jsonl")
    assert [(act.meter, act.act) for act in acts] == [
        (meter.address, "trip"), (meter.address, "permit"), (meter.address, "refused"),
    ]  # fmt: skip
    # the customer presses the key three minutes later, and the terminal's curve is that of the meter
    desk.fleet._clock.time = at("2026-03-12 11:31")
    slot = np.array([at("2026-03-12 11:30")])
    got = await desk.run(meter, lambda driver, meter: driver.curve(meter, slot))
    acts = read_acts(desk.fleet.directory / "acts.jsonl")
    assert acts[-1].act == "key"
    expected = truth.load(desk.fleet.directory).expected(acts)
    k = int(np.searchsorted(expected.slots, slot[0]))
    assert got.reads.columns["active_power"].tolist() == [expected.curve["active_power"][desk.row(meter)][k]]


async def test_the_terminals_clock_is_set_and_the_meters_is_not(desk, at):
    desk = await desk()
    meter = next(m for m in desk.meters if m.address not in desk.expected.faults["dead"])
    before = await desk.run(meter, lambda driver, meter: driver.clock(meter))
    await desk.run(meter, lambda driver, meter: driver.station.set_clock(meter, at("2026-03-12 00:17")))
    assert await desk.run(meter, lambda driver, meter: driver.station.clock(meter)) == at("2026-03-12 00:17")
    assert await desk.run(meter, lambda driver, meter: driver.clock(meter)) == before
    # a broadcast through the terminal reaches the meters
    await desk.run(meter, lambda driver, meter: driver.set_clock(meter, at("2026-03-12 00:09")))
    assert await desk.run(meter, lambda driver, meter: driver.clock(meter)) == at("2026-03-12 00:09")


async def test_what_it_has_not_got_it_denies(desk, at):
    desk = await desk()
    meter = desk.meters[0]
    stranger = Meter(1, meter.address, ZONE, 3, {}, meter.terminal, 99)
    old = np.array([midnight(at("2025-01-01 12:00").astype("datetime64[D]").item(), ZONE)])
    for who, work in (
        (stranger, lambda driver, meter: driver.day_freeze(meter, old, at(NIGHT))),
        (meter, lambda driver, meter: driver.day_freeze(meter, old, at(NIGHT))),
        (stranger, lambda driver, meter: driver.curve(meter, old)),
    ):
        with pytest.raises(Refused) as refused:
            await desk.run(who, work)
        assert not refused.value.absent

    def events(driver, meter):
        yield ReadEvents(frames.parse_address(meter.terminal, 1), 200, 201)

    with pytest.raises(Refused):
        await desk.run(meter, events)


class HeadEnd(asyncio.Protocol):
    """Listens, and confirms whatever wants to be confirmed; `deaf`: not even that."""

    def __init__(self, heard, deaf):
        self.heard, self.deaf = heard, deaf
        self.buffer = ReceiveBuffer(frames.BUFFER_LIMIT)

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer.feed(data)
        while (frame := frames.find(self.buffer)) is not None:
            self.heard.put_nowait((self, frame))
            if frame.confirm and not self.deaf:
                self.transport.write(confirmation(frame).encode())


async def test_a_terminal_that_dials_in_logs_in_and_sends_heartbeats(make_fleet):
    heard = asyncio.Queue()
    server = await asyncio.get_running_loop().create_server(lambda: HeadEnd(heard, False), "127.0.0.1", 0)
    fleet = make_fleet(NIGHT, listener=server.sockets[0].getsockname(), heartbeat=0.05, groups=CALLING)
    await fleet.start()
    try:
        ready = json.loads((fleet.directory / "ready.json").read_text("utf-8"))
        assert {t["link"] for t in ready["terminals"].values()} == {"dial-in"}
        said: dict[str, list[int]] = {}
        async with asyncio.timeout(10):
            while len(said) < 4 or min(map(len, said.values())) < 3:
                _, frame = await heard.get()
                assert frame.afn == 0x02
                said.setdefault(frame.address.text, []).append(frame.body[2])
        assert set(said) == {f"3301{k:04X}" for k in range(1, 5)}
        for bodies in said.values():  # F1 once, then F3 (bits of DT1)
            assert bodies[0] == 0x01
            assert set(bodies[1:]) == {0x04}
        assert [wire.logins for wire in fleet.wires] == [1, 1, 1, 1]
    finally:
        await fleet.stop()
        server.close()


class Talkative(asyncio.Protocol):
    """A terminal that says that it is alive before it answers; keeps what it was told."""

    def __init__(self):
        self.device = Device(frames.parse_address("33010001"))
        self.told = []

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.device.receive_data(data)
        while (event := self.device.next_event()) is not NEED_DATA:
            self.told.append(event)
            if isinstance(event, DeviceRequest):
                clock = encode(0x0C, 2, [Clock(dt.datetime(2026, 3, 12, 0, 7, 5), 4)])
                answer = self.device.answer([(ident([0], [2]), [clock])])
                self.transport.write(self.device.heartbeat() + answer)


async def test_what_a_terminal_says_by_itself_is_confirmed_and_no_answer(at):
    terminal = Talkative()
    server = await asyncio.get_running_loop().create_server(lambda: terminal, "127.0.0.1", 0)
    bus = Bus(await parse(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}").open(2.0), pace=Pace(FAST))
    driver = Gdw376Driver()
    meter = Meter(1, "410000010001", ZONE, 3, {}, "33010001", 1)
    try:
        for _ in range(2):
            async with bus.turn(meter, driver, Priority.SCHEDULED) as session:
                assert await session.run(driver.station.clock(meter)) == at("2026-03-12 00:07:05")
        async with asyncio.timeout(5):
            while len(terminal.told) < 4:
                await asyncio.sleep(0.01)
        assert [event for event in terminal.told if isinstance(event, Confirmation)] == [
            Confirmation(0, True),
            Confirmation(1, True),
        ]
    finally:
        await bus.close()
        server.close()
