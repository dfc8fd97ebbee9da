"""The fleet on real sockets: dial-out, dial-in, serial; read with the drivers a head-end reads with."""

import asyncio
import csv
import json

import numpy as np
import pytest
import uvloop

from protocols.dlt645.exchange import Read
from protocols.localtime import day_slots
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter, RelayAction
from terminals.greetings.dtu import DtuGreeting
from terminals.links.link import CannotListen, LinkLost
from terminals.links.listener import Listener
from terminals.links.tcp import connect
from terminals.links.url import parse
from terminals.pace import Timing
from terminals.roster import Roster, Rules
from terminals.session import NoAnswer, Session
from terminals.simulator import truth
from terminals.simulator.scenario import ZONE, Group, Plan
from terminals.simulator.standin import StandInMachine
from terminals.simulator.witness import read_acts

FAST = Timing(first=0.5, floor=0.3, ceiling=1.0, gap=0.1, attempts=1, pause=0.0, whole=20.0)
PATIENT = Timing(first=0.3, floor=0.2, ceiling=1.0, gap=0.1, attempts=6, pause=0.0, whole=20.0)
NIGHT = "2026-03-12 00:07"
DRIVERS = {"dlt645": Dlt645Driver(machine=StandInMachine()), "dlms": DlmsDriver()}


class Archive:
    """The written archive, looked up the way a collector does."""

    def __init__(self, directory):
        def table(name):
            text = (directory / "archive" / f"{name}.csv").read_text(encoding="utf-8")
            return list(csv.DictReader(text.splitlines()))

        self.terminals = {row["terminal"]: row for row in table("terminals")}
        self.meters = table("meters")

    def terminal(self, protocol, link):
        return next(t for t in self.terminals.values() if (t["protocol"], t["link"]) == (protocol, link))

    def behind(self, terminal):
        return [row for row in self.meters if row["terminal"] == terminal["terminal"]]


def meter_of(row):
    return Meter(int(row["meter"]), row["address"], ZONE, int(row["phases"]), {"password": row["password"]})


def url_of(terminal):
    endpoint = terminal["endpoint"]
    return endpoint if "://" in endpoint else f"tcp://{endpoint}"


async def run(link, row, work, timing=FAST):
    """`work(driver, meter)` gives a script; runs it in a session of its own."""
    driver, meter = DRIVERS[row["protocol"]], meter_of(row)
    session = Session(link, driver.exchange(meter), timing)
    await session.run(driver.open(meter))
    result = await session.run(work(driver, meter))
    await session.run(driver.close(meter))
    return result


@pytest.fixture
async def fleet(make_fleet):
    fleet = make_fleet(NIGHT)
    await fleet.start()
    yield fleet
    await fleet.stop()


@pytest.fixture
async def dial(closing):
    async def open_link(terminal):
        return closing(await parse(url_of(terminal)).open(2.0))

    return open_link


def test_nothing_is_ready_before_it_is(make_fleet):
    fleet = make_fleet(NIGHT)
    assert not (fleet.directory / "ready.json").exists()


async def test_files(fleet):
    ready = json.loads((fleet.directory / "ready.json").read_text(encoding="utf-8"))
    assert ready["sha256"] == fleet.sha256 == truth.digest(fleet.directory)
    assert len(ready["terminals"]) == 4
    for terminal in Archive(fleet.directory).terminals.values():
        assert ready["terminals"][terminal["terminal"]]["endpoint"] == terminal["endpoint"]


@pytest.mark.parametrize(
    ("protocol", "link"), [("dlt645", "dial-out"), ("dlms", "dial-out"), ("dlt645", "serial")]
)
async def test_a_day_read_is_the_truth(fleet, dial, at, protocol, link):
    expected = truth.load(fleet.directory).expected()
    archive = Archive(fleet.directory)
    terminal = archive.terminal(protocol, link)
    wire = await dial(terminal)
    slots = day_slots(at("2026-03-11 12:00").astype("datetime64[D]").item(), ZONE)
    span = np.isin(expected.slots, slots)
    midnights = expected.midnights[:2]
    for row in archive.behind(terminal):
        k = expected.meters.index(row["meter"])
        if not expected.answers[k]:
            with pytest.raises(NoAnswer):
                await run(wire, row, lambda driver, meter: driver.curve(meter, slots))
            continue
        outcome = await run(wire, row, lambda driver, meter: driver.curve(meter, slots))
        there = expected.recorded[k][span]
        order = np.argsort(outcome.reads.time)
        assert (outcome.reads.time[order] == slots[there]).all()
        assert (np.sort(outcome.absent) == slots[~there]).all()
        for code, column in outcome.reads.columns.items():
            wanted = expected.curve[code][k][span][there]
            np.testing.assert_array_equal(column[order], wanted)
        outcome = await run(wire, row, lambda driver, meter: driver.day_freeze(meter, midnights, at(NIGHT)))
        order = np.argsort(outcome.reads.time)
        for code, column in outcome.reads.columns.items():
            assert column[order].tolist() == expected.freezes[code][k][:2].tolist()


async def test_trip_permit_key_and_what_the_truth_makes_of_it(fleet, dial, at):
    archive = Archive(fleet.directory)
    world = truth.load(fleet.directory).world
    asset = world.asset(world.faults.late)
    row = next(r for r in archive.meters if r["meter"] == asset)
    terminal = archive.terminals[row["terminal"]]
    if terminal["link"] == "dial-in":
        pytest.skip("this seed put the customer behind a terminal that dials in")
    clock = fleet._clock
    wire = await dial(terminal)
    clock.time = at("2026-03-12 11:07")
    until = at("2026-03-12 20:00")
    await run(wire, row, lambda driver, meter: driver.relay(meter, RelayAction.TRIP, until))
    state = await run(wire, row, lambda driver, meter: driver.relay_state(meter))
    assert (state.open, state.permitted, state.load_kw) == (True, False, 0.0)
    clock.time = at("2026-03-12 14:17")
    await run(wire, row, lambda driver, meter: driver.relay(meter, RelayAction.PERMIT, until))
    state = await run(wire, row, lambda driver, meter: driver.relay_state(meter))
    assert (state.open, state.permitted) == (True, True)
    clock.time = at("2026-03-12 14:20")
    await asyncio.sleep(0.3)  # the customer needs three domain minutes; nobody asks meanwhile
    acts = read_acts(fleet.directory / "acts.jsonl")
    assert [act.act for act in acts] == ["trip", "permit", "key"]
    clock.time = at("2026-03-13 00:07")
    state = await run(wire, row, lambda driver, meter: driver.relay_state(meter))
    assert not state.open
    assert state.load_kw > 0
    expected = truth.load(fleet.directory).expected(acts)
    slots = day_slots(at("2026-03-12 12:00").astype("datetime64[D]").item(), ZONE)
    span = np.isin(expected.slots, slots)
    supply = next(r for r in archive.behind(terminal) if r["role"] == "supply")
    for one in (row, supply):
        outcome = await run(wire, one, lambda driver, meter: driver.curve(meter, slots))
        k = expected.meters.index(one["meter"])
        order = np.argsort(outcome.reads.time)
        for code, column in outcome.reads.columns.items():
            np.testing.assert_array_equal(column[order], expected.curve[code][k][span])


async def test_a_restart_continues_with_the_relays_as_they_were(fleet, make_fleet, dial, at):
    archive = Archive(fleet.directory)
    terminal = archive.terminal("dlt645", "dial-out")
    dead = fleet.terminals[0].plan.dead
    row = next(r for k, r in enumerate(archive.behind(terminal)) if k and k not in dead)
    await run(await dial(terminal), row, lambda d, m: d.relay(m, RelayAction.TRIP, at("2026-03-12 20:00")))
    await fleet.stop()
    again = make_fleet("2026-03-12 09:00")
    await again.start()
    try:
        terminal = Archive(again.directory).terminal("dlt645", "dial-out")
        state = await run(await dial(terminal), row, lambda d, m: d.relay_state(m))
        assert state.open
    finally:
        await again.stop()
    other = make_fleet(NIGHT, seed=8)
    await other.start()
    await other.stop()
    assert read_acts(other.directory / "acts.jsonl") == []  # another truth: those relays were never ours


async def test_the_newest_connection_wins(fleet):
    terminal = Archive(fleet.directory).terminal("dlt645", "dial-out")
    dead = fleet.terminals[0].plan.dead
    row = next(r for k, r in enumerate(Archive(fleet.directory).behind(terminal)) if k not in dead)
    host, port = terminal["endpoint"].split(":")
    old = await connect(host, int(port), 2.0)
    await run(old, row, lambda driver, meter: driver.clock(meter))
    new = await connect(host, int(port), 2.0)
    await run(new, row, lambda driver, meter: driver.clock(meter))
    with pytest.raises(LinkLost):
        await old.read(1.0)
    await new.close()
    await old.close()


async def test_lost_and_garbled_answers_are_got_by_asking_again(make_fleet, dial, at):
    rough = Plan(dead=1, missing=1, thieves=1, excursions=1, unbalanced=0, prepaid=5, lost=0.05, garbled=0.05)
    fleet = make_fleet(NIGHT, plan=rough)
    await fleet.start()
    try:
        archive = Archive(fleet.directory)
        for protocol in ("dlt645", "dlms"):
            terminal = archive.terminal(protocol, "dial-out")
            dead = fleet.terminals[list(archive.terminals).index(terminal["terminal"])].plan.dead
            row = next(r for k, r in enumerate(archive.behind(terminal)) if k not in dead)
            wire = await dial(terminal)
            for _ in range(5):
                reads = await run(wire, row, lambda d, m: d.registers(m, at(NIGHT)), timing=PATIENT)
                assert reads.columns["active_import"][0] > 0
    finally:
        await fleet.stop()


class House:
    """A head-end that listens: a roster that knows everybody."""

    def __init__(self):
        self.epochs = {}
        self.logins = asyncio.Queue()
        self.roster = Roster(
            self._resolve,
            lambda: 0.0,
            [DtuGreeting()],
            on_login=self.logins.put_nowait,
            rules=Rules(heartbeat=5.0, missed=1, gap=0.05),
        )
        self.listener = Listener("127.0.0.1", 0, self.roster.admit, age=2.0)

    async def _resolve(self, identity, kind):
        self.epochs[identity] = self.epochs.get(identity, 0) + 1
        return self.epochs[identity]

    async def next_login(self):
        async with asyncio.timeout(10):
            return await self.logins.get()


@pytest.fixture
async def house():
    house = House()
    await house.listener.start()
    yield house
    await house.listener.close()
    await house.roster.close()


@pytest.mark.parametrize("protocol", ["dlt645", "dlms"])
async def test_dialling_in(make_fleet, house, at, protocol):
    groups = (Group(protocol, "dial-in", 1), Group("dlt645", "dial-out", 3))
    fleet = make_fleet(NIGHT, listener=("127.0.0.1", house.listener.port), heartbeat=0.1, groups=groups)
    await fleet.start()
    try:
        archive = Archive(fleet.directory)
        terminal = archive.terminal(protocol, "dial-in")
        presence = await house.next_login()
        assert presence.identity == terminal["login"] == terminal["terminal"]
        dead = fleet.terminals[0].plan.dead
        rows = [r for k, r in enumerate(archive.behind(terminal)) if k not in dead]
        for _ in range(4):  # heartbeats come in between
            reads = await run(presence.link, rows[0], lambda d, m: d.registers(m, at(NIGHT)))
            assert reads.columns["active_import"][0] > 0
            await asyncio.sleep(0.08)
        assert fleet.wires[0].logins == 1
        await presence.link.close()
        again = await house.next_login()  # dropped, it comes back
        assert again.epoch == presence.epoch + 1
        assert await run(again.link, rows[-1], lambda d, m: d.clock(m))
    finally:
        await fleet.stop()


async def test_dialling_in_waits_for_the_head_end(make_fleet, house):
    port = house.listener.port
    await house.listener.close()
    fleet = make_fleet(NIGHT, listener=("127.0.0.1", port), heartbeat=5.0)
    await fleet.start()
    try:
        await asyncio.sleep(0.3)
        late = Listener("127.0.0.1", port, house.roster.admit, age=2.0)
        await late.start()
        assert (await house.next_login()).identity
        await late.close()
    finally:
        await fleet.stop()


async def test_a_port_in_use_is_one_clear_line_and_leaves_nothing_open(make_fleet, house):
    fleet = make_fleet(NIGHT)
    fleet._first_port = house.listener.port
    with pytest.raises(CannotListen, match=f"cannot listen on tcp://127.0.0.1:{house.listener.port}: "):
        await fleet.start()
    assert fleet.wires == []
    assert not (fleet.directory / "ready.json").exists()


async def test_it_runs_on_uvloop_too(make_fleet, at):
    """Sockets and pty on the other loop, in a thread of its own."""

    async def read_all():
        fleet = make_fleet(NIGHT)
        await fleet.start()
        try:
            archive, found = Archive(fleet.directory), []
            for number, terminal in enumerate(archive.terminals.values()):
                if terminal["link"] == "dial-in":
                    continue
                dead = fleet.terminals[number].plan.dead
                row = next(r for k, r in enumerate(archive.behind(terminal)) if k not in dead)
                wire = await parse(url_of(terminal)).open(2.0)
                found.append(await run(wire, row, lambda d, m: d.clock(m)))
                await wire.close()
            return found
        finally:
            await fleet.stop()

    clocks = await asyncio.to_thread(uvloop.run, read_all())
    assert len(clocks) == 3
    assert all(abs(clock - at(NIGHT)) <= np.timedelta64(4, "s") for clock in clocks)


async def test_a_read_from_nobody_is_silence(fleet, dial):
    wire = await dial(Archive(fleet.directory).terminal("dlt645", "dial-out"))
    driver = DRIVERS["dlt645"]
    nobody = Meter(0, "000000000001", ZONE)
    with pytest.raises(NoAnswer):
        await Session(wire, driver.exchange(nobody), FAST).request(Read("000000000001", 0x00010000))
