"""Events of every protocol, told by the simulated devices and compared with what the seed planned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from protocols.dlt698 import clock, values
from protocols.dlt698.apdu import RecordResult, Result
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.values import Data
from protocols.errors import Refused
from protocols.exchange import NEED_DATA, Answer, Send
from protocols.localtime import instant
from terminals.drivers import events698
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Driver, Meter, Script
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.happening import Happening
from terminals.drivers.modbus import ModbusDriver
from terminals.drivers.published import PublishedDriver
from terminals.simulator import archive, diary, events376, truth
from terminals.simulator.area import Area
from terminals.simulator.codes import terminal_address
from terminals.simulator.meter import Meter as Simulated
from terminals.simulator.scenario import ZONE, Group, Plan, small, stream
from terminals.simulator.terminal import Terminal

DRIVERS: dict[str, Any] = {
    "dlt645": Dlt645Driver, "dlms": DlmsDriver, "gdw376": Gdw376Driver, "dlt698": Dlt698Driver,
}  # fmt: skip
#: seconds by which a simulated meter's clock may be off, and a second of rounding
CLOCK = np.timedelta64(4, "s")
MINUTE = np.timedelta64(60, "s")
NOW = instant(dt.datetime(2026, 3, 13, 23, 59, tzinfo=ZONE))
LONG_AGO = instant(dt.datetime(2026, 3, 10, tzinfo=ZONE))


class Place(NamedTuple):
    """A terminal in memory, and what will happen behind it."""

    terminal: Terminal
    happens: dict[int, tuple[diary.Entry, ...]]
    driver: Driver


def place(protocol: str, seed: int = 5, events: int = 60) -> Place:
    plan = Plan(dead=1, missing=1, thieves=1, excursions=1, unbalanced=0, prepaid=5, events=events)
    scenario = small(seed, groups=(Group(protocol, "dial-out", 4),), plan=plan)  # type: ignore[arg-type]
    world = truth.build(scenario)
    area = world.plans[0]
    happens = diary.planned(scenario, area)
    meters = [
        Simulated(
            Area(scenario, area), k, password=password, see=lambda act: None, key_delay=None,
            drift=np.timedelta64(k - 2, "s"), diary=diary.Diary(happens.get(k, ())),
        )
        for k, password in enumerate(archive.passwords(world, 0))
    ]  # fmt: skip
    return Place(Terminal(area, meters, 0.0, 0.0, stream(1, "line")), happens, DRIVERS[protocol]())


def meter_of(where: Place, index: int) -> Meter:
    simulated, protocol = where.terminal.meters[index], where.terminal.plan.protocol
    return Meter(
        index, simulated.address, ZONE, simulated.phases, {"password": simulated.password},
        terminal_address(protocol, 0), index + 1,
    )  # fmt: skip


def run(where: Place, script: Script[Any], meter: Meter, now: np.datetime64 = NOW) -> Any:
    """A driver's script against the terminal, frame by frame."""
    conversation = where.driver.exchange(meter)
    if where.terminal.plan.protocol == "dlms":
        where.terminal.attach()
        _drive(where, conversation, where.driver.open(meter), now)
    return _drive(where, conversation, script, now)


def _drive(where: Place, conversation: Any, script: Script[Any], now: np.datetime64) -> Any:
    try:
        request = next(script)
        while True:
            try:
                answer = _ask(where, conversation, request, now)
            except Refused as refused:
                request = script.throw(refused)
            else:
                request = script.send(answer)
    except StopIteration as done:
        return done.value


def _ask(where: Place, conversation: Any, request: Any, now: np.datetime64) -> Any:
    waiting = [conversation.send(request)]
    while waiting:
        for came in where.terminal.exchange(waiting.pop(0), lambda: now):
            conversation.receive_data(came)
        while (event := conversation.next_event()) is not NEED_DATA:
            if isinstance(event, Answer):
                for data in waiting:  # acknowledgements of what came before it
                    assert not list(where.terminal.exchange(data, lambda: now))
                return event.value
            if isinstance(event, Send):
                waiting.append(event.data)
    raise AssertionError("the terminal is silent")


def told(
    where: Place, since: np.datetime64 = LONG_AGO, now: np.datetime64 = NOW
) -> Iterator[tuple[int, Happening]]:
    """Whose, and what: of every meter that answers."""
    if where.driver.events_of == "terminal":
        meter = meter_of(where, 0)
        for event in run(where, where.driver.events(meter, since, now), meter, now):
            yield int(event.at) - 1, event
        return
    for index, simulated in enumerate(where.terminal.meters):
        if not simulated.dead:
            meter = meter_of(where, index)
            for event in run(where, where.driver.events(meter, since, now), meter, now):
                yield index, event


@pytest.mark.parametrize("protocol", ["dlt645", "dlt698"])
def test_the_logs_of_a_meter_are_the_truth(protocol: str) -> None:
    where = place(protocol)
    found = {(index, e.kind, e.code[-4:], e.began): e for index, e in told(where)}
    planned = [(index, entry) for index, entries in where.happens.items() for entry in entries]
    assert len(found) == len(planned) > 50
    for index, entry in planned:
        match = [
            e for (of, kind, code, began), e in found.items()
            if of == index and kind == entry.kind and abs(began - entry.begin) <= CLOCK
            and (not entry.phase or code == f"0{entry.phase}01")
        ]  # fmt: skip
        assert len(match) == 1
        assert match[0].ended is not None
        assert abs(match[0].ended - entry.end) <= CLOCK


def test_the_log_of_a_dlms_meter_is_the_truth() -> None:
    where = place("dlms")
    found = [(index, e) for index, e in told(where) if e.kind in diary.KINDS]
    planned = [(index, entry) for index, entries in where.happens.items() for entry in entries]
    assert len(found) == len(planned) > 50
    for index, entry in planned:
        assert any(
            of == index and e.kind == entry.kind and abs(e.began - entry.begin) <= CLOCK for of, e in found
        )
    # the ends have a code of their own
    assert sum(1 for _, e in told(where)) == 2 * len(planned)


def test_a_concentrator_tells_of_itself_and_of_every_point() -> None:
    """More than one request of eight records; a loss that begins and one that ends are two records, and each says which it is."""
    where = place("gdw376")
    found = list(told(where))
    for kind, code, times in (("cover-open", "gdw376.ERC37", 1), ("voltage-loss", "gdw376.ERC10", 2)):
        planned = [(k, e) for k, entries in where.happens.items() for e in entries if e.kind == kind]
        mine = [(index, e) for index, e in found if e.code == code]
        assert len(mine) == times * len(planned) > 16
        assert {e.kind for _, e in mine} == {kind}
        for index, entry in planned:
            at = entry.end if times == 1 else entry.begin
            assert any(of == index and abs(e.began - at) < MINUTE and e.detail["begins"] for of, e in mine)
    assert len({(index, e.code, e.began, e.seq) for index, e in found}) == len(found)


def test_a_concentrator_says_that_events_wait_and_is_read_once() -> None:
    where = place("gdw376")
    meter = meter_of(where, 0)
    run(where, where.driver.registers(meter, NOW), meter)
    first = where.driver.news(meter)
    assert first.mark
    assert where.driver.news(meter) == first
    list(told(where))
    run(where, where.driver.registers(meter, NOW), meter)
    assert where.driver.news(meter).mark == first.mark  # nothing waits any more


@pytest.mark.parametrize("protocol", ["dlt645", "dlms", "gdw376", "dlt698"])
def test_only_what_is_new_is_asked_for_and_the_same_told_twice_is_the_same(protocol: str) -> None:
    where = place(protocol)
    everything, again = list(told(where)), list(told(where))
    assert again == everything
    since = instant(dt.datetime(2026, 3, 13, 12, tzinfo=ZONE))
    recent = list(told(where, since=since))
    assert {(k, e.code, e.began, e.seq) for k, e in recent} <= {
        (k, e.code, e.began, e.seq) for k, e in everything
    }
    assert 0 < len(recent) < len(everything)
    late = {(k, e.code, e.began) for k, e in everything if e.began >= since}
    assert late <= {(k, e.code, e.began) for k, e in recent}
    assert events376.IMPORTANT.keys() | events376.ORDINARY.keys() < set(diary.KINDS)


@pytest.mark.parametrize("protocol", ["dlt645", "dlms", "dlt698", "gdw376"])
def test_a_clock_that_was_written_shows_the_time_and_is_an_event_of_the_meter(protocol: str) -> None:
    where = place(protocol)
    meter, simulated = meter_of(where, 1), where.terminal.meters[1]
    assert not simulated.dead
    simulated.wander(NOW, np.timedelta64(-400, "s"))  # too far for a broadcast
    run(where, where.driver.write_clock(meter, NOW), meter)
    assert abs(simulated.clock(NOW) - NOW) < np.timedelta64(1, "s")
    (entry,) = simulated.diary.of("clock-set", NOW)
    assert entry.before is not None
    assert abs(NOW - entry.before - np.timedelta64(400, "s")) < np.timedelta64(1, "s")
    if where.driver.events_of == "meter":
        sets = [e for _, e in told(where) if e.kind == "clock-set"]
        assert len(sets) == (2 if protocol == "dlms" else 1)
        assert sets[0].began == entry.before.astype("datetime64[s]")


@pytest.mark.parametrize("driver", [ModbusDriver("tcp"), PublishedDriver()])
def test_who_keeps_no_events_says_so_and_raises_nothing(driver: Driver) -> None:
    assert driver.events_of == ""
    assert not driver.clock_ways
    meter = Meter(1, "17@sdm630", ZONE)
    with pytest.raises(StopIteration) as done:
        next(driver.events(meter, LONG_AGO, NOW))
    assert done.value.value == ()
    assert driver.news(meter).told == ()


def _record(number: int, begin: str, end: str | None) -> tuple[Data, ...]:
    times = [
        Data(values.NULL)
        if text is None
        else Data(values.DATE_TIME_S, clock.encode_time_s(np.datetime64(text, "us")))
        for text in (begin, end)
    ]
    return (Data(values.DOUBLE_LONG_UNSIGNED, number), *times, Data(values.NULL))


def itself() -> Place:
    where = place("dlt698")
    assert where.terminal.concentrator is not None
    where.terminal.concentrator.records = {
        0x3106: [_record(k, f"2026-03-1{k}T08:00", f"2026-03-1{k}T08:05") for k in (1, 2)]
        + [_record(3, "2026-03-13T09:00", None)]
    }
    return where


def test_a_terminal_of_698_is_asked_for_the_records_of_its_own_objects() -> None:
    where = itself()
    address = terminal_address("dlt698", 0)
    meter = Meter(1, address, ZONE, terminal=address)
    found = run(where, where.driver.events(meter, LONG_AGO, NOW), meter)
    assert [(e.code, e.kind, e.of, e.detail["number"]) for e in found] == [
        ("dlt698.3106", "power-down", "terminal", number) for number in (3, 2, 1)
    ]
    assert found[0].ended is None
    assert found[1].ended - found[1].began == np.timedelta64(5, "m")
    since = instant(dt.datetime(2026, 3, 13, tzinfo=ZONE))
    assert (
        len(run(where, where.driver.events(meter, since, NOW), meter)) == 2
    )  # the first older one ends the asking


@pytest.mark.parametrize("choice", [1, 2])
def test_a_report_that_is_acknowledged_is_kept(choice: int) -> None:
    """As an attribute, whose record is one structure, and as rows that name the meter they are of."""
    where = itself()
    station, meter = where.terminal.concentrator, meter_of(where, 1)
    assert station is not None
    record = _record(4, "2026-03-13T10:00", "2026-03-13T10:01")
    if choice == 1:
        fields: Any = {"results": (Result(0x30110201, 0, Data(values.STRUCTURE, record)),)}
    else:
        whose = Data(values.TSA, tsa(Address(where.terminal.meters[2].address)))
        columns = (events698.SERVER, *events698.COLUMNS)
        fields = {"records": (RecordResult(0x301B0200, columns, rows=((whose, *record),)),)}
    station.reports.append((choice, fields))
    run(where, where.driver.registers(meter, NOW), meter)
    assert not station.reports
    news = where.driver.news(meter)
    assert news.mark
    (event,) = news.told
    assert event.began == instant(dt.datetime(2026, 3, 13, 10, tzinfo=ZONE))
    if choice == 1:
        assert (event.code, event.of, event.at) == ("dlt698.3011", "terminal", "")
    else:
        assert (event.code, event.of, event.at) == (
            "dlt698.301B",
            "address",
            where.terminal.meters[2].address,
        )
    assert where.driver.news(meter).told == ()


def test_an_older_meter_is_written_date_and_time_one_after_the_other() -> None:
    meter = Meter(1, "000000000001", ZONE, secrets={"password": "123456"})
    script = Dlt645Driver().write_clock(meter, NOW)
    assert next(script).di == 0x0400010C
    date = script.throw(Refused("no such item", code=2, absent=True))
    time = script.send(None)
    assert (date.di, time.di) == (0x04000101, 0x04000102)
    assert (date.data.hex(), time.data.hex()) == ("05130326", "005923")  # Friday the 13th, 23:59:00


def test_a_meter_that_wants_more_than_a_password_is_not_tried_another_way() -> None:
    meter = Meter(1, "000000000001", ZONE, secrets={"password": "123456"})
    script = Dlt645Driver().write_clock(meter, NOW)
    next(script)
    with pytest.raises(Refused):
        script.throw(Refused("password wrong or not authorised", code=4))
