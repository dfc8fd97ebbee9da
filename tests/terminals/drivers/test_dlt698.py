"""The driver for DL/T 698.45 terminals: against the simulated terminal on real sockets and on the table, and against published frames."""

import asyncio
import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import clock, requests, values
from protocols.dlt698.apdu import Apdu, RecordResult
from protocols.dlt698.exchange import Device
from protocols.dlt698.frame import Address, decode, tsa
from protocols.dlt698.requests import GetRecords, ProxyFrame
from protocols.dlt698.values import Data, Road
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA
from protocols.localtime import day_slots, local_fields, midnight
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.bus import Bus
from terminals.drivers.dlt698 import (
    CURVE,
    DAY,
    FROZEN,
    METER_LINE,
    METER_PORT,
    SERVER,
    STORED,
    TASK_RECORDS,
    Dlt698Driver,
)
from terminals.drivers.driver import Driver, Meter, RelayAction
from terminals.drivers.through import NotReached
from terminals.links.tcp import connect
from terminals.pace import Pace, Timing
from terminals.session import Session
from terminals.simulator import truth
from terminals.simulator.area import Area
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE
from terminals.turns import Priority
from tests.support.terminal698 import DRIFT, StillClock, Table, civil, world_of

TODAY = dt.date(2026, 3, 11)
SLOTS = day_slots(TODAY, ZONE)
CLOSING = np.array([midnight(dt.date(2026, 3, 11), ZONE), midnight(dt.date(2026, 3, 12), ZONE)])
NIGHT = "2026-03-12 00:07"
FAST = Timing(first=0.5, floor=0.4, ceiling=1.0, gap=0.1, attempts=2, pause=0.0, whole=20.0)
POINT = np.datetime64("2026-03-11T08:15", "us")  # local
ADDRESS = "410000010002"


def same(reads, row, expected, codes):
    """Whether reads hold what the meter in this row of the truth displays."""
    return all(
        np.array_equal(reads.columns[code].astype(float), expected[code][row].astype(float), equal_nan=True)
        for code in codes
        if code in expected
    )


# --- real sockets ---


@pytest.fixture
async def fleet(tmp_path):
    fleet = Fleet(world_of(missing=1, dead=1).scenario, tmp_path, StillClock(civil(NIGHT)), ("127.0.0.1", 9))
    await fleet.start()
    yield fleet
    await fleet.stop()


@pytest.fixture
async def link(server, closing):
    """A link to the server that a test gives its answers."""
    return closing(await connect("127.0.0.1", server.port, 2.0))


async def test_days_on_a_bus_equal_the_truth(fleet):
    """Every meter of an even and of an odd terminal in turn; the terminals' address is not known: whoever is alone answers."""
    expected = truth.load(fleet.directory).expected(first=TODAY, last=TODAY)
    driver = Dlt698Driver()
    there = 0
    for number, terminal in enumerate(fleet.terminals):
        host, port = fleet.endpoints[number].split(":")
        bus = Bus(await connect(host, int(port), 2.0), pace=Pace(FAST))
        for simulated in terminal.meters:
            meter = Meter(simulated.index, simulated.address, ZONE, simulated.phases)
            async with bus.turn(meter, driver, Priority.SCHEDULED) as session:
                curve = await session.run(driver.curve(meter, SLOTS))
                days = await session.run(driver.day_freeze(meter, CLOSING, civil(NIGHT)))
            row = expected.meters.index(simulated.asset)
            has = expected.available[row]
            assert curve.reads.time.tolist() == SLOTS[has].tolist()
            cut = {code: column[:, has] for code, column in expected.curve.items()}
            assert simulated.dead or same(curve.reads, row, cut, SLOT_QUANTITIES)
            assert len(curve.absent) == len(days.absent) == 0  # what the terminal lacks proves nothing
            assert set(curve.reads.meter) <= {simulated.index}
            if not simulated.dead:
                assert days.reads.time.tolist() == CLOSING.tolist()
                last = days.reads.take(days.reads.time == CLOSING[1])
                assert same(last, row, expected.freezes, REGISTER_QUANTITIES)
            there += len(curve.reads)
        await bus.close()
    assert expected.available.sum() == there > 0
    assert not expected.available.all()


@pytest.mark.parametrize("glued", [False, True])
async def test_a_report_in_between_is_answered_and_not_taken_for_the_answer(server, link, glued):
    """Behind an answer, in its piece of bytes or later: the next request finds it, acknowledges it, and gets its own answer."""
    device, got = Device(ADDRESS), []
    time = Data(values.DATE_TIME_S, clock.encode_time_s(POINT))

    def report():
        return device.report(1, {"results": (apdus.Result(0x40000200, 0, time),)}, piid=9)

    def answer(data):
        device.receive_data(data)
        out = b""
        while (event := device.next_event()) is not NEED_DATA:
            got.append((event.apdu.code, event.apdu.piid))
            if event.apdu.code == apdus.GET:
                out += device.answer({"result": apdus.Result(0x40000200, 0, time)})
                out += report() if glued else b""
        return out

    server.answer = answer
    driver, meter = Dlt698Driver(), Meter(1, ADDRESS, ZONE, terminal=ADDRESS)
    session = Session(link, driver.exchange(meter), FAST)
    for _ in range(2):
        assert local_fields(np.array([await session.run(driver.clock(meter))]), ZONE)[0] == POINT
        if not glued:
            server.transports[0].write(report())
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    asked = [(apdus.GET, 0), (apdus.GET, 1)]
    # one that came by itself is answered before anything else is asked
    assert got == ([*asked, (apdus.REPORT, 9)] if glued else [asked[0], (apdus.REPORT, 9), asked[1]])


# --- on the table ---


@pytest.fixture(scope="module")
def world():
    return world_of(missing=1, dead=1)


@pytest.fixture(params=[0, 1])
def table(world, request):
    return Table(world, request.param, NIGHT)


def living(table):
    """A customer's meter that answers, and its row."""
    k = next(k for k, m in enumerate(table.terminal.meters) if m.has_relay and not m.dead)
    return k, table.meters[k]


def test_it_is_a_driver():
    driver: Driver = Dlt698Driver(curve_kept=dt.timedelta(days=3))
    assert driver.retention.curve == dt.timedelta(days=3)
    assert driver.retention.day_freeze == dt.timedelta(days=31)
    meter = Meter(1, ADDRESS, ZONE)
    assert driver.known(meter) == ""
    driver.recall(meter, "")
    with pytest.raises(ValueError, match="keeps nothing"):
        driver.recall(meter, "{}")


def test_a_report_before_the_answer(table):
    """It leaves once: it has been acknowledged."""
    _, meter = living(table)
    time = Data(values.DATE_TIME_S, clock.encode_time_s(POINT))
    table.concentrator.reports.append((1, {"results": (apdus.Result(0x40000200, 0, time),)}))
    got = table.run(meter, table.driver.curve(meter, SLOTS))
    assert len(got.reads) > 90
    assert not table.concentrator.reports


def test_scattered_slots_share_requests_where_they_are_near(table):
    _, meter = living(table)
    wanted = SLOTS[[0, 1, 5, 40]]
    requests_made = list_requests(table, meter, table.driver.curve(meter, wanted))
    assert [type(r) for r in requests_made] == [GetRecords, GetRecords]
    got = table.run(meter, table.driver.curve(meter, wanted[::-1]))
    assert got.reads.time.tolist() == wanted.tolist()


def list_requests(table, meter, script):
    made = []

    def tee():
        request = next(script)
        try:
            while True:
                made.append(request)
                request = script.send((yield request))
        except StopIteration as done:
            return done.value

    table.run(meter, tee())
    return made


def test_months_close_at_midnight():
    table = Table(world_of("2026-03-30"), 1, "2026-04-02 00:07")
    meter = table.meters[1]
    points = np.array([midnight(dt.date(2026, 4, 1), ZONE)])
    got = table.run(meter, table.driver.month_freeze(meter, points, table.now))
    assert got.reads.time.tolist() == points.tolist()
    shown = Area(table.world.scenario, table.plan).registers(points[0])
    assert [int(got.reads.columns[code][0]) for code in REGISTER_QUANTITIES[:5]] == shown[:, 1].tolist()


def test_the_present_equals_the_truth(table):
    k, meter = living(table)
    reads = table.run(meter, table.driver.registers(meter, table.now))
    assert reads.time.tolist() == [table.now.astype("datetime64[us]").item()]
    simulated = table.terminal.meters[k]
    assert [int(reads.columns[c][0]) for c in REGISTER_QUANTITIES[:5]] == simulated.registers(
        table.now
    ).tolist()
    shown = simulated.shown(table.now)
    assert reads.columns["voltage_a"][0] == shown[0] / 10
    assert reads.columns["active_power"][0] == pytest.approx(shown[6] / 10_000)
    assert reads.valid("voltage_b")[0] == (meter.phases == 3)


def test_clocks_of_the_meter_and_of_the_terminal(table):
    _, meter = living(table)
    second = np.timedelta64(1, "s")
    assert abs(table.run(meter, table.driver.clock(meter)) - table.now - DRIFT) < second
    table.run(meter, table.driver.set_clock(meter, table.now))
    assert table.run(meter, table.driver.clock(meter)) == table.now
    itself = replace(meter, address=meter.terminal)
    assert table.run(itself, table.driver.clock(itself)) == table.now
    told = table.now - np.timedelta64(3, "m")
    table.run(itself, table.driver.set_clock(itself, told))
    assert table.run(meter, table.driver.station.clock(meter)) == told
    assert table.run(meter, table.driver.clock(meter)) == table.now  # and nobody else's


def test_a_relay_is_switched_through_the_terminal(table):
    k, meter = living(table)
    driver, soon = table.driver, table.now + np.timedelta64(10, "m")
    assert not table.run(meter, driver.relay_state(meter)).open
    table.run(meter, driver.relay(meter, RelayAction.TRIP, soon))
    state = table.run(meter, driver.relay_state(meter))
    assert (state.open, state.permitted, state.load_kw) == (True, False, 0.0)
    table.run(meter, driver.relay(meter, RelayAction.PERMIT, soon))
    assert table.run(meter, driver.relay_state(meter)).permitted
    assert [(act.meter, act.act) for act in table.acts] == [
        (table.terminal.meters[k].asset, act) for act in ("trip", "permit")
    ]


def test_what_a_meter_refuses_is_its_refusal_and_what_is_not_reached_is_none(world):
    tables = [Table(world, area, NIGHT) for area in range(4)]
    table, k = next((t, m.index) for t in tables for m in t.terminal.meters if m.dead)
    soon = table.now + np.timedelta64(10, "m")
    dead, supply = table.meters[k], table.meters[0]
    with pytest.raises(NotReached, match=r"not reached: .*request timeout"):
        table.run(dead, table.driver.relay(dead, RelayAction.TRIP, soon))
    with pytest.raises(Refused, match="timeout"):
        table.run(dead, table.driver.registers(dead, table.now))
    with pytest.raises(Refused):  # a supply meter has no relay
        table.run(supply, table.driver.relay(supply, RelayAction.TRIP, soon))
    itself = replace(supply, address=supply.terminal)
    for script in (table.driver.relay(itself, RelayAction.TRIP, soon), table.driver.relay_state(itself)):
        with pytest.raises(Misuse, match="only meters behind it"):
            table.run(itself, script)
    stray = replace(dead, secrets={"port": "mast"})
    with pytest.raises(Misuse, match="no OAD of 8 hex digits"):
        table.run(stray, table.driver.clock(stray))


def test_a_connect_where_the_terminal_has_a_password(table):
    _, meter = living(table)
    right = replace(meter, secrets={"terminal_password": "00000000"})
    table.run(right, table.driver.open(right))
    table.run(right, table.driver.close(right))
    said = [decode(frame).data[0] for frame in table.heard]
    assert said == [apdus.CONNECT, apdus.RELEASE]
    wrong = replace(meter, secrets={"terminal_password": "12345678"})
    with pytest.raises(Refused, match="password wrong"):
        table.run(wrong, table.driver.open(wrong))
    table.run(meter, table.driver.open(meter))
    assert len(table.heard) == 3


# --- answers that no simulated terminal gives ---


COLUMNS = (SERVER, STORED, Road(CURVE.freeze, (FROZEN, 0x00100201)))


def answers(*rows, columns=COLUMNS):
    record = RecordResult(TASK_RECORDS, columns, 0, rows)
    return (apdus.encode(Apdu(apdus.GET | apdus.SERVER, apdus.RECORD, 0, {"record": record})),)


def row(value, frozen=POINT, server=ADDRESS, stored=POINT):
    def time(when):
        return Data(values.DATE_TIME_S, clock.encode_time_s(when)) if when is not None else Data(values.NULL)

    inner = values.array(time(frozen), Data(values.DOUBLE_LONG_UNSIGNED, value))
    return (Data(values.TSA, tsa(Address(server))), time(stored), inner)


def told(driver, raw):
    """What the driver makes of these answers to its one request for two slots."""
    points = np.array([POINT, POINT + np.timedelta64(15, "m")]) - np.timedelta64(8, "h")
    script = driver.curve(Meter(5, ADDRESS, ZONE), points)
    next(script)
    with pytest.raises(StopIteration) as done:
        script.send(raw)
    return done.value.value.reads


def test_another_meters_rows_and_unasked_ones_are_nobodys():
    later = POINT + np.timedelta64(1, "h")
    reads = told(Dlt698Driver(), answers(row(1, server="410000010003"), row(2), row(3, frozen=later)))
    assert reads.columns["active_import"].tolist() == [200]
    nameless = answers((row(2)[1], row(2)[2]), columns=COLUMNS[1:])
    assert len(told(Dlt698Driver(), nameless)) == 0


def test_a_row_of_a_dead_clock_does_not_spoil_its_neighbours():
    bad = row(7)
    bad = (*bad[:2], values.array(Data(values.DATE_TIME_S, bytes((0xFF,) * 7)), bad[2].value[1]))
    reads = told(Dlt698Driver(), answers(bad, row(2)))
    assert reads.columns["active_import"].tolist() == [200]


def test_a_record_without_a_time_of_the_freeze_is_placed_only_by_a_scheme_that_is_known():
    raw = answers(row(2, frozen=None))
    assert len(told(Dlt698Driver(), raw)) == 0
    known = Dlt698Driver(curve=replace(CURVE, storage=1))
    assert told(known, raw).columns["active_import"].tolist() == [200]


def test_of_two_tasks_records_of_a_point_the_one_with_the_register_counts():
    null = row(2)
    null = (*null[:2], values.array(null[2].value[0], Data(values.NULL)))
    reads = told(Dlt698Driver(), answers(null, row(9)))
    assert reads.columns["active_import"].tolist() == [900]
    assert len(told(Dlt698Driver(), answers(null))) == 0


def test_corrupt_records_are_an_error_and_none_are_none():
    script = Dlt698Driver().curve(Meter(5, ADDRESS, ZONE), SLOTS[:2])
    next(script)
    with pytest.raises(FrameError):
        script.send((answers(row(2))[0][:-4],))
    assert len(told(Dlt698Driver(), answers())) == 0


# --- what others send ---

#: Frame 45 of a published collection: a head-end forwards a frame to a meter through RS-485 port F2010201.
FORWARD = "683a00430501000000000010c2a3090708f20102010302080100000a000a19681700430522222222222210c1d6050107001002000004011600c47516"
#: The day freeze of all meters, as a published tool asks for it (method 5, storage time 00:00).
TOOL = "05033A601203000507E30B08000000010500202A020000604002000060410200006042020001500402000300100200002002002000020000"


def test_forwarding_is_byte_for_byte_the_published_frame():
    published = decode(bytes.fromhex(FORWARD))
    inner = published.data[-26:-1]
    ours = requests.encode(ProxyFrame(METER_PORT, METER_LINE, 10, 10, inner), 8)
    assert apdus.encode(ours) == published.data


def test_records_are_asked_for_as_published_tools_do():
    theirs = apdus.decode(bytes.fromhex(TOOL)).fields["record"]
    script = Dlt698Driver().day_freeze(Meter(5, ADDRESS, ZONE), CLOSING[:1], CLOSING[1])
    asked = next(script)
    assert asked.oad == theirs.oad == TASK_RECORDS
    assert {SERVER, STORED} <= set(asked.columns) & set(theirs.columns)
    (road,) = [c for c in asked.columns if isinstance(c, Road)]
    (published,) = [c for c in theirs.columns if isinstance(c, Road)]
    assert road.oad == published.oad == DAY.freeze
    assert 0x00100200 in road.columns
    assert 0x00100200 in published.columns
    assert asked.rsd.meters.items == (bytes.fromhex("05" + ADDRESS),)
    # the published storage time of a day, its 00:00, and the midnight that closes it are both within the range
    assert asked.rsd.time == clock.encode_time_s(np.datetime64("2026-03-10T00:00", "us"))
    assert asked.rsd.until > clock.encode_time_s(np.datetime64("2026-03-11T00:00", "us"))
    script.close()
