"""The simulated DL/T 698.45 terminal by itself: selectors, shapes of rows, blocks, and what it does not have."""

import datetime as dt

import numpy as np
import pytest

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, clock, values
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.requests import Act, Call, Get, GetList, GetRecords, ProxyFrame, ProxyGet, Set
from protocols.dlt698.values import ALL_METERS, Comdcb, Data, Ms, Road, Rsd, Ti
from protocols.errors import Refused
from protocols.localtime import day_slots
from terminals.simulator.device698 import CLOCK, DAY, FROZEN, MINUTE, SERVER, TASK_RECORDS
from terminals.simulator.scenario import ZONE
from terminals.simulator.wallet import Limits, Wallet
from tests.support.terminal698 import Table, world_of

NIGHT = "2026-03-12 00:07"
STORED = 0x60420200
FIRST, LAST = np.datetime64("2026-03-11T09:00", "us"), np.datetime64("2026-03-11T10:00", "us")


@pytest.fixture(scope="module")
def world():
    return world_of(missing=1, dead=1)


@pytest.fixture(params=[0, 1])
def table(world, request):
    """An even and an odd terminal; the dead meter is behind another, and the record with a hole is not of these hours."""
    return Table(world, request.param, NIGHT)


def ask(table, request):
    return table.ask(table.driver.exchange(table.meters[1]), request)


def one(meter):
    return Ms(3, (tsa(Address(meter.address)),))


def within(every, meters, first=FIRST, last=LAST):
    return Rsd(
        7, time=clock.encode_time_s(first), until=clock.encode_time_s(last), every=every, meters=meters
    )


def records(table, rsd, *columns, freeze=MINUTE):
    request = GetRecords(TASK_RECORDS, rsd, (SERVER, STORED, Road(freeze, (FROZEN, *columns))), raw=True)
    found, errors = bulk.decode_many(ask(table, request))
    assert not errors
    return found


def times(found):
    return sorted(time for part in found for time in bulk.record_times(part))


def living(table):
    return next(k for k, m in enumerate(table.terminal.meters) if k and not m.dead)


def test_selectors_choose_by_storage_time_and_meter(table):
    k = living(table)
    hour = list(np.arange(FIRST, LAST, np.timedelta64(15, "m")))  # the end does not belong to it here
    got = times(records(table, within(Ti(1, 15), one(table.meters[k])), 0x00100201))
    assert got == hour
    assert times(records(table, within(Ti(1, 30), one(table.meters[k])), 0x00100201)) == got[::2]
    assert times(records(table, within(Ti(0, 0), one(table.meters[k])), 0x00100201)) == got
    single = Rsd(5, time=clock.encode_time_s(got[1]), meters=one(table.meters[k]))
    assert times(records(table, single, 0x00100201)) == got[1:2]
    last = records(table, Rsd(10, count=3, meters=one(table.meters[k])), 0x00100201)
    assert times(last)[-1] == np.datetime64("2026-03-12T00:00", "us")
    assert len(times(last)) == 3


def test_single_and_three_phase_meters_in_one_answer(table):
    found = records(table, within(Ti(1, 15), ALL_METERS), 0x20000200)
    phases = [meter.phases for meter in table.terminal.meters]
    assert {1, 3} == set(phases)
    assert sum(map(len, found)) == 4 * len(phases)
    given = sum(int(leaf.present.sum()) for part in found for leaf in part.cells[-1].leaves)
    assert given == 4 * sum(phases)


def test_odd_terminals_store_days_under_the_last_minute_and_send_roads_flat(world):
    even, odd = Table(world, 0, NIGHT), Table(world, 1, NIGHT)
    stored = {}
    for table in (even, odd):
        rsd = Rsd(10, count=1, meters=one(table.meters[living(table)]))
        columns = (SERVER, STORED, Road(DAY, (FROZEN, 0x00100200)))
        got = ask(table, GetRecords(TASK_RECORDS, rsd, columns))
        stored[got.flat] = clock.time_text(got.rows[0][1].value)
        (found,) = records(table, rsd, 0x00100200, freeze=DAY)
        assert bulk.record_times(found)[0] == np.datetime64("2026-03-12T00:00", "us")
    assert stored == {False: "2026-03-12 00:00:00", True: "2026-03-11 23:59:00"}


def test_a_day_of_a_meter_comes_in_blocks_and_segments(table):
    begin = np.datetime64("2026-03-11T00:00", "us")
    rsd = within(Ti(1, 15), one(table.meters[0]), begin, begin + np.timedelta64(1, "D"))
    request = GetRecords(
        TASK_RECORDS, rsd, (SERVER, STORED, Road(MINUTE, (FROZEN, 0x00100200, 0x20040200))), raw=True
    )
    answers = ask(table, request)
    assert len(answers) > 4  # APDUs
    found, errors = bulk.decode_many(answers)
    assert not errors
    assert sum(map(len, found)) == len(day_slots(dt.date(2026, 3, 11), ZONE))


@pytest.mark.parametrize(
    ("request_", "dar"),
    [
        (Get(0x40990200), 4),
        (Set(0x40010200, Data(values.OCTET_STRING, b"1")), 3),
        (Set(CLOCK, Data(values.UNSIGNED, 1)), 7),
        (Set(CLOCK, Data(values.DATE_TIME_S, b"\xff" * 7)), 8),
        (GetRecords(0x50040200, Rsd(10, count=1, meters=ALL_METERS), (Road(DAY, (FROZEN,)),)), 4),
        (GetRecords(TASK_RECORDS, Rsd(10, count=1, meters=ALL_METERS), (SERVER,)), 4),
        (GetRecords(TASK_RECORDS, Rsd(10, count=1, meters=ALL_METERS), (Road(0x50110200, (FROZEN,)),)), 4),
        (GetRecords(TASK_RECORDS, Rsd(0), (Road(DAY, (FROZEN,)),)), 8),
        (ProxyFrame(0xF2010201, Comdcb(3, 2, 8, 1, 0), 1, 10, b"nobody reads this"), 33),
    ],
)
def test_what_it_does_not_have_it_refuses(table, request_, dar):
    with pytest.raises(Refused) as no:
        ask(table, request_)
    assert no.value.code == dar


def test_services_it_does_not_offer(table):
    with pytest.raises(Refused, match="service not supported"):
        ask(table, Call(apdus.ACTION, 2, {"items": (apdus.ActItem(0x60008600, Data(values.NULL)),)}))


def test_it_does_not_let_its_archive_be_cleared(table):
    with pytest.raises(Refused) as no:
        ask(table, Act(0x60008600, Data(values.NULL)))
    assert no.value.code == 3


def test_its_own_clock_and_address(table):
    results = ask(table, GetList((CLOCK, 0x40010200, 0x00100200)))
    assert clock.decode_time_s(results[0].data.value) == np.datetime64("2026-03-12T00:07", "us")
    assert results[1].data.value.hex() == table.concentrator.address
    assert results[2].dar == 4


def test_the_dead_and_the_unknown_are_timed_out(world):
    tables = [Table(world, area, NIGHT) for area in range(4)]
    table, k = next((t, m.index) for t in tables for m in t.terminal.meters if m.dead)
    servers = (tsa(Address(table.meters[k].address)), tsa(Address("990000000000")))
    targets = tuple(apdus.Target(server, 10, (0x00100200,)) for server in servers)
    replies = ask(table, ProxyGet(30, targets))
    assert [(r.tsa, r.items[0].dar) for r in replies] == [(server, 33) for server in servers]
    assert records(table, within(Ti(1, 15), one(table.meters[k])), 0x00100201) == []


def test_a_full_queue_of_reports_loses_the_oldest(table):
    for n in range(20):
        table.concentrator.reports.append((1, {"results": (apdus.Result(n << 16, 0, Data(values.NULL)),)}))
    assert len(table.concentrator.reports) == 16
    ask(table, Get(CLOCK))
    assert table.concentrator.reports[0][1]["results"][0].oad == 5 << 16


def test_a_wallet_is_read(table):
    """The objects of the standard; a meter without a wallet has not got them."""
    meter = table.terminal.meters[living(table)]
    server = tsa(Address(meter.address))

    def read(oad):
        (reply,) = ask(table, ProxyGet(30, (apdus.Target(server, 10, (oad,)),)))
        return reply.items[0]

    def numbers(oad):
        data = read(oad).data
        return [part.value for part in data.value] if data.tag == values.STRUCTURE else data.value

    assert read(0x202C0200).data is None
    limits = Limits(alarm1=2_000, alarm2=500, overdraft=300, hoarding=90_000, permit=50)
    meter.wallet = Wallet((8_283, 6_183, 5_483, 3_083), limits)
    meter.purchase(
        np.datetime64("2026-03-12T00:07", "us") - np.timedelta64(8, "h"), "open", 5_000, 1, "000000009001"
    )
    assert {oad: numbers(oad) for oad in (0x202C0200, 0x202D0200, 0x202E0200, 0x401E0200, 0x401F0200)} == {
        0x202C0200: [5_000, 1], 0x202D0200: 0, 0x202E0200: 5_000, 0x401E0200: [2_000, 500], 0x401F0200: [300, 90_000, 50],
    }  # fmt: skip
    meter.wallet = None  # others look at this world, too
