"""Late, foreign, corrupt and echoed answers; identification in pieces; broadcasts."""

from __future__ import annotations

import pytest

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.modbus.exchange import Device, Master
from protocols.modbus.frame import Frame
from protocols.modbus.requests import Identify, Identity, ReadRegisters, Registers, WriteRegister
from protocols.modbus.rtu import frame as rtu
from protocols.modbus.tcp import frame as tcp

ONE, OTHER = ReadRegisters(1, 0, 2), ReadRegisters(1, 50, 2)


def told(value: int, unit: int = 1) -> bytes:
    return rtu.encode(Frame(unit, 3, b"\x04" + value.to_bytes(4, "big")))


def test_a_late_answer_is_not_taken_for_another_register() -> None:
    master = Master("rtu")
    master.send(ONE)
    master.abandon()
    master.send(OTHER)
    master.receive_data(told(1) + told(2))
    late, right = master.next_event(), master.next_event()
    assert isinstance(late, Ignored)
    assert "given up" in late.why
    assert right == Answer(Registers(1, 3, 50, (2).to_bytes(4, "big")))


def test_the_same_request_is_answered_by_either_and_only_once() -> None:
    master = Master("rtu")
    master.send(ONE)
    master.abandon()
    master.send(ONE)
    master.receive_data(told(1))
    assert isinstance(master.next_event(), Answer)
    master.send(OTHER)
    master.receive_data(told(1))
    assert isinstance(master.next_event(), Ignored)
    master.receive_data(told(2))
    assert isinstance(master.next_event(), Answer)


def test_a_silent_line_settles_what_was_owed() -> None:
    master = Master("rtu")
    master.send(ONE)
    master.abandon()
    master.settled()
    master.send(OTHER)
    master.receive_data(told(2))
    assert isinstance(master.next_event(), Answer)


def test_a_meter_that_never_answered_costs_one_turn_and_no_more() -> None:
    """The retry of the same request ends it: nobody is locked out by an answer that never comes."""
    master = Master("rtu")
    master.send(ONE)
    master.abandon()
    master.send(OTHER)
    master.receive_data(told(2))
    assert isinstance(master.next_event(), Ignored)
    assert master.next_event() is NEED_DATA
    master.abandon()
    master.send(OTHER)
    master.receive_data(told(2))
    assert isinstance(master.next_event(), Answer)


def test_foreign_answers_are_ignored() -> None:
    for raw in (
        told(1, unit=2),
        rtu.encode(Frame(1, 4, b"\x04\0\0\0\1")),
        rtu.encode(Frame(1, 3, b"\x02\0\1")),
    ):
        master = Master("rtu")
        master.send(ONE)
        master.receive_data(raw + told(9))
        assert isinstance(master.next_event(), Ignored)
        assert isinstance(master.next_event(), Answer)


def test_a_corrupt_answer_is_said_and_the_next_one_taken() -> None:
    master = Master("rtu")
    master.send(ONE)
    master.receive_data(told(1)[:-1] + b"\0")
    with pytest.raises(FrameError, match="CRC"):
        master.next_event()
    master.send(ONE)
    master.receive_data(told(3))
    assert isinstance(master.next_event(), Answer)


def test_tcp_transactions_tell_late_answers() -> None:
    master = Master("tcp")
    first = tcp.decode(master.send(ONE))
    master.abandon()
    second = tcp.decode(master.send(OTHER))
    for asked, kind in ((first, Ignored), (second, Answer)):
        master.receive_data(tcp.encode(Frame(1, 3, b"\x04\0\0\0\1", asked.transaction)))
        assert isinstance(master.next_event(), kind)


def test_refusals_keep_their_code() -> None:
    for code, absent in ((2, True), (6, False)):
        master = Master("rtu")
        master.send(ONE)
        master.receive_data(rtu.encode(Frame(1, 0x83, bytes((code,)))))
        with pytest.raises(Refused) as refused:
            master.next_event()
        assert (refused.value.code, refused.value.absent) == (code, absent)
        master.send(ONE)


def test_identity_comes_in_pieces() -> None:
    objects = {code: bytes((65 + code,)) * 100 for code in range(6)}
    for line in ("rtu", "tcp"):
        master, device = Master(line), Device(1, line)  # type: ignore[arg-type]
        raw, pieces = master.send(Identify(1, 2)), 0
        while True:
            device.receive_data(raw)
            assert isinstance(device.next_event(), Identify)
            master.receive_data(device.answer_identity(objects))
            event = master.next_event()
            if isinstance(event, Answer):
                break
            assert isinstance(event, Send)
            raw, pieces = event.data, pieces + 1
        assert pieces == 2
        assert event.value == Identity(1, objects)


def test_broadcast_writes_are_answered_by_nobody() -> None:
    master, device = Master("rtu"), Device(7, "rtu")
    device.receive_data(master.send(WriteRegister(0, 1, 2)))
    assert master.next_event() == Answer(None)
    assert device.next_event() == WriteRegister(0, 1, 2)
    assert device.answer_written() == b""
    with pytest.raises(Misuse):
        master.send(ReadRegisters(0, 0, 1))


def test_what_does_not_fit_is_misuse() -> None:
    master = Master("rtu")
    reads = [
        ReadRegisters(1, 0, 126),
        ReadRegisters(1, 0, 0),
        ReadRegisters(250, 0, 1),
        ReadRegisters(1, 0, 1, 6),
    ]
    for request in (*reads, WriteRegister(1, 0, 70000)):
        with pytest.raises(Misuse):
            master.send(request)
    master.send(ONE)
    with pytest.raises(Misuse):
        master.send(ONE)
