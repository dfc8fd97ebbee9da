"""A meter of 1997 remembers nothing: what is asked of it is of this moment."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlt645.edition1997.exchange import Device, ReadRequest
from protocols.dlt645.edition1997.words import NO_SUCH_DI
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Send
from terminals.drivers.dlt645_1997 import Dlt645Driver1997
from terminals.drivers.driver import Meter, RelayAction

ZONE = ZoneInfo("Asia/Shanghai")
METER = Meter(7, "000000000012", ZONE)
SLOT = np.array(["2026-03-11T02:15"], dtype="datetime64[us]")
#: Blocks where the meter knows them, single items where it does not.
BLOCKS = {0x901F: "78563412 11000000 22000000 AA", 0xB61F: "2002 2102 2202", 0xB62F: "0005 0005 0005"}
SINGLES = {0x9010: "78563412", 0xB611: "2002", 0xB621: "0005", 0xB630: "001000"}


class Peer:
    """The meter, and the driver's script run against it frame by frame."""

    def __init__(self, data):
        self.data = {di: bytes.fromhex(text) for di, text in data.items()}
        self.device = Device(METER.address)
        self.asked: list[int] = []

    def answer(self, frame):
        self.device.receive_data(frame)
        answers = b""
        while (event := self.device.next_event()) is not NEED_DATA:
            if isinstance(event, Send):
                answers += event.data
            elif isinstance(event, ReadRequest):
                self.asked.append(event.di)
                known = self.data.get(event.di)
                answers += self.device.refuse(NO_SUCH_DI) if known is None else self.device.answer(known)
        return answers

    def run(self, driver, script):
        exchange = driver.exchange(METER)
        try:
            request = next(script)
            while True:
                try:
                    answer = self._one(exchange, request)
                except Refused as refused:
                    request = script.throw(refused)
                else:
                    request = script.send(answer)
        except StopIteration as done:
            return done.value

    def _one(self, exchange, request):
        exchange.receive_data(self.answer(exchange.send(request)))
        while True:
            event = exchange.next_event()
            if isinstance(event, Answer):
                return event.value
            if isinstance(event, Send):
                exchange.receive_data(self.answer(event.data))


def test_blocks_are_read_where_the_meter_has_them():
    meter, driver = Peer(BLOCKS), Dlt645Driver1997()
    reads = meter.run(driver, driver.registers(METER, SLOT[0]))
    assert reads.columns["active_import"].tolist() == [1234567800]
    assert reads.columns["voltage_b"].tolist() == [221.0]
    assert reads.columns["current_c"].tolist() == [5.0]
    assert 0x9010 not in meter.asked


def test_single_items_where_it_knows_no_blocks():
    meter, driver = Peer(SINGLES), Dlt645Driver1997()
    reads = meter.run(driver, driver.registers(METER, SLOT[0]))
    assert reads.columns["active_import"].tolist() == [1234567800]
    assert reads.columns["active_power"].tolist() == [0.1]
    assert reads.meter.tolist() == [7]


def test_a_meter_that_has_none_of_it_gives_no_row():
    driver = Dlt645Driver1997()
    assert len(Peer({}).run(driver, driver.registers(METER, SLOT[0]))) == 0


def test_a_point_is_the_present_one_and_proves_nothing_of_others():
    meter, driver = Peer(SINGLES), Dlt645Driver1997()
    outcome = meter.run(driver, driver.curve(METER, SLOT))
    assert outcome.reads.time.tolist() == SLOT.tolist()
    assert len(outcome.absent) == 0
    assert driver.retention.sampled
    with pytest.raises(Misuse, match="2 points"):
        meter.run(driver, driver.curve(METER, np.concatenate([SLOT, SLOT])))
    assert len(meter.run(driver, driver.day_freeze(METER, SLOT[:0], SLOT[0])).reads) == 0


def test_the_clock_and_a_date_that_turns_between_the_two_reads():
    driver = Dlt645Driver1997()
    clock = Peer({0xC010: "03110326", 0xC011: "050010"}).run(driver, driver.clock(METER))
    assert clock == np.datetime64("2026-03-11T02:00:05")
    meter = Peer({0xC010: "03110326", 0xC011: "100000"})
    assert meter.run(driver, driver.clock(METER)) == np.datetime64("2026-03-10T16:00:10")
    assert meter.asked == [0xC010, 0xC011, 0xC010]
    with pytest.raises(FrameError, match="no date or time"):
        Peer({0xC010: "FFFFFFFF", 0xC011: "050010"}).run(driver, driver.clock(METER))


def test_it_has_no_relay():
    driver = Dlt645Driver1997()
    with pytest.raises(Refused, match="no relay"):
        next(driver.relay(METER, RelayAction.TRIP, SLOT[0]))
    with pytest.raises(Refused, match="no relay"):
        next(driver.relay_state(METER))
    assert dt.timedelta(0) < driver.retention.curve <= dt.timedelta(minutes=5)
