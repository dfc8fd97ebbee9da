"""Reports that arrive in the middle of a conversation are acknowledged, and the conversation goes on."""

import numpy as np
import pytest

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import values
from protocols.dlt698.apdu import Result
from protocols.dlt698.attentive import AttentiveMaster
from protocols.dlt698.exchange import Acknowledged, Asked, Device
from protocols.dlt698.frame import DATA, FROM_SERVER, Address, Frame
from protocols.dlt698.requests import Get
from protocols.dlt698.values import Data
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

ADDRESS, CLOCK = "000000000001", 0x40000200
REPORT = {"results": (Result(0x30110200, 0, Data(values.NULL)),)}


@pytest.fixture
def device():
    return Device(ADDRESS)


@pytest.fixture
def master():
    return AttentiveMaster(ADDRESS)


def asked(device, data):
    device.receive_data(data)
    event = device.next_event()
    assert isinstance(event, Asked)
    return device.answer({"result": Result(CLOCK, 0, Data(values.NULL))})


@pytest.mark.parametrize("late", [False, True])
def test_a_report_beside_the_answer_is_acknowledged(master, device, late):
    answer = asked(device, master.send(Get(CLOCK)))
    report = device.report(1, REPORT, piid=7)
    master.receive_data(answer + report if late else report + answer)
    events = [master.next_event(), master.next_event()]
    assert isinstance(events[late], Send)
    assert events[not late] == Answer(Data(values.NULL))
    assert master.next_event() is NEED_DATA
    device.receive_data(events[late].data)
    taken = device.next_event()
    assert isinstance(taken, Acknowledged)
    assert (taken.apdu.code, taken.apdu.piid, taken.apdu.fields) == (apdus.REPORT, 7, {"oads": (0x30110200,)})


def test_a_report_in_segments_is_confirmed_piece_by_piece(master):
    device = Device(ADDRESS, segment=20)
    long = {"results": tuple(Result(0x30110200 + k, 0, Data(values.NULL)) for k in range(12))}
    master.receive_data(device.report(1, long))
    frames = 0
    while isinstance(event := master.next_event(), Send):
        device.receive_data(event.data)
        answer = device.next_event()
        if isinstance(answer, Acknowledged):
            assert len(answer.apdu.fields["oads"]) == 12
            break
        assert isinstance(answer, Send)
        master.receive_data(answer.data)
        frames += 1
    assert frames > 2


def test_logins_and_foreign_reports_are_left_to_others(master, device):
    now = np.datetime64("2026-03-11T12:00", "us")
    for frame in (device.link(0, 60, now), Device("000000000002").report(1, REPORT)):
        master.receive_data(frame)
        assert isinstance(master.next_event(), Ignored)


def test_a_report_that_cannot_be_read_is_not_acknowledged(master, device):
    torn = Frame(Address(ADDRESS), 0x10, FROM_SERVER | DATA, bytes.fromhex("880107020030"))
    master.receive_data(torn.encode())
    assert isinstance(master.next_event(), Ignored)
