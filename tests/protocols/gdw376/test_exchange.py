"""Both roles talk to each other in memory, and the line between them misbehaves."""

import datetime as dt
from decimal import Decimal

import pytest

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.gdw376.exchange import (
    ANSWER_BYTES,
    Ask,
    Confirmation,
    Confirmed,
    Device,
    DeviceRequest,
    Forward,
    Master,
    Order,
    Read,
    ReadCurve,
    ReadEvents,
    ReadFrozen,
    Reply,
)
from protocols.gdw376.frame import Address, Frame, Tp, decode
from protocols.gdw376.units import Ident, ident
from protocols.gdw376.values import Clock, PointMark, encode, encode_event

HERE = Address("0171", 0x0822, 1)
NOW = dt.datetime(2024, 5, 6, 7, 8, 9)
CLOCK = encode(0x0C, 2, [Clock(NOW, 1)])


def pair(**more: int) -> tuple[Master, Device]:
    return Master(**more), Device(Address(HERE.region, HERE.terminal))


def asked(device: Device, raw: bytes) -> DeviceRequest:
    device.receive_data(raw)
    event = device.next_event()
    assert isinstance(event, DeviceRequest)
    assert device.next_event() is NEED_DATA
    return event


def answered(master: Master, raw: bytes) -> object:
    master.receive_data(raw)
    event = master.next_event()
    assert isinstance(event, Answer), event
    assert master.next_event() is NEED_DATA
    return event.value


def test_read_class_1():
    master, device = pair(counter=14)
    request = asked(device, master.send(Read(HERE, (0,), (2,), stamp=NOW, delay=5)))
    assert request.afn == 0x0C
    assert [(unit.point, unit.function) for unit in request.units] == [(0, 2)]
    assert request.frame.control == 0x4B
    assert request.frame.tp is not None
    assert (request.frame.tp.pfc, request.frame.tp.moment, request.frame.tp.delay) == (14, (6, 7, 8, 9), 5)
    raw = device.answer([(ident([0], [2]), [CLOCK])])
    assert decode(raw).tp == request.frame.tp
    assert decode(raw).control == 0x88
    reply = answered(master, raw)
    assert isinstance(reply, Reply)
    assert reply.units[0].values[0].value == Clock(NOW, 1)
    assert decode(master.send(Read(HERE, (0,), (2,)))).number == 15
    master.abandon()
    assert decode(master.send(Read(HERE, (0,), (2,)))).number == 0


def test_an_answer_of_many_frames_that_want_confirmation():
    master, device = pair(counter=14)
    device.limit = 150
    request = asked(device, master.send(ReadFrozen(HERE, (1, 2, 9), (1,), dt.date(2024, 5, 5))))
    parts = []
    for unit in request.units:
        assert unit.values[0].value == dt.date(2024, 5, 5)
        totals = [Decimal(unit.point)] * 20
        parts.append(
            (
                ident([unit.point], [1]),
                [encode(0x0D, 1, [dt.date(2024, 5, 5), NOW.replace(second=0), 4, *totals])],
            )
        )
    raw = device.answer(parts, confirm=True)
    master.receive_data(raw)
    confirmed = []
    for _ in range(3):
        event = master.next_event()
        assert isinstance(event, Send)
        device.receive_data(event.data)
        confirmed.append(device.next_event())
    assert confirmed == [Confirmation(14, True), Confirmation(15, True), Confirmation(0, True)]
    event = master.next_event()
    assert isinstance(event, Answer)
    assert [(u.point, u.quantities()["active_import"]) for u in event.value.units] == [
        (1, 10_000),
        (2, 20_000),
        (9, 90_000),
    ]


def frames_of(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size = (int.from_bytes(raw[1:3], "little") >> 2) + 8
        found.append(raw[:size])
        raw = raw[size:]
    return found


def long_answer() -> tuple[Master, list[bytes]]:
    master, device = pair()
    device.limit = 10
    asked(device, master.send(Read(HERE, (0,), (2, 7))))
    return master, frames_of(device.answer([(ident([0], [2]), [CLOCK]), (ident([0], [7]), [b"\x01\x02"])]))


def test_a_frame_of_an_answer_is_lost_repeated_or_sent_anew():
    master, (first, last) = long_answer()
    master.receive_data(last)
    assert isinstance(master.next_event(), Ignored)  # its RSEQ is not the one asked
    master.receive_data(first + first + last)
    event = master.next_event()
    assert isinstance(event, Answer)
    assert [unit.function for unit in event.value.units] == [2, 7]

    master, (first, last) = long_answer()
    frame = decode(last)
    skipped = Frame(frame.address, frame.control, frame.afn, frame.seq + 1, frame.body)
    master.receive_data(first + skipped.encode())
    with pytest.raises(FrameError, match="missing"):
        master.next_event()
    master.send(Read(HERE, (0,), (2, 7)))  # may be asked again at once


def test_a_repeat_is_ignored():
    master, (first, last) = long_answer()
    middle = decode(last)
    again = Frame(middle.address, middle.control, middle.afn, 0x01, middle.body)  # FIR = FIN = 0
    master.receive_data(first + again.encode() + again.encode())
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert event.why == "repeated"


def test_units_that_go_on_in_the_next_frame():
    master, (first, _) = long_answer()
    head = decode(first)
    whole = ident([0], [2, 7]).raw + CLOCK + b"\x01\x02"
    master.abandon()
    number = decode(master.send(Read(HERE, (0,), (2, 7)))).number
    for seq, body in ((0x40 | number, whole[:7]), (0x20 | number + 1, whole[7:])):
        master.receive_data(Frame(head.address, head.control, 0x0C, seq, body).encode())
    event = master.next_event()
    assert isinstance(event, Answer)
    assert [unit.data for unit in event.value.units] == [CLOCK, b"\x01\x02"]


def test_an_answer_that_begins_in_its_middle():
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    master.receive_data(Frame(HERE, 0x88, 0x0C, 0x00, ident([0], [2]).raw + CLOCK).encode())
    with pytest.raises(FrameError, match="middle"):
        master.next_event()


def test_a_single_frame_without_fir():
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    reply = answered(master, Frame(HERE, 0x88, 0x0C, 0x20, ident([0], [2]).raw + CLOCK).encode())
    assert isinstance(reply, Reply)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(HERE, 0x4B, 0x0C, 0x60, b""), "not from a terminal"),
        (Frame(Address("0171", 0x0823, 1), 0x88, 0x0C, 0x60), "from 01710823"),
        (Frame(Address("0171", 0x0822, 2), 0x88, 0x0C, 0x60), "to master 2"),
        (Frame(HERE, 0x88, 0x0D, 0x60), "AFN 0D, asked 0C"),
        (Frame(HERE, 0x88, 0x0C, 0x65), "RSEQ 5, asked 0"),
        (Frame(HERE, 0x88, 0x0C, 0x60, ident([0], [7]).raw + b"\x01\x02"), "p0 F7, which was not asked"),
        (
            Frame(HERE, 0xC4, 0x0C, 0x60, ident([0], [2]).raw + CLOCK),
            "begun by the terminal: request class 1",
        ),
        (Frame(HERE, 0x80, 0x00, 0x60, ident([0], [1]).raw), "carries no data"),
        (
            Frame(HERE, 0x80, 0x00, 0x60, ident([0], [3]).raw + b"\x04" + ident([0], [2]).raw + b"\x00"),
            "confirms AFN 04",
        ),
    ],
)
def test_foreign_and_stale_frames_are_ignored(frame, why):
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    master.receive_data(frame.encode())
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert why in event.why
    assert event.frame == frame.encode()
    assert isinstance(answered(master, device.answer([(ident([0], [2]), [CLOCK])])), Reply)


def test_a_late_answer_after_giving_up():
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    late = device.answer([(ident([0], [2]), [CLOCK])])
    master.abandon()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    master.receive_data(late)
    assert isinstance(master.next_event(), Ignored)
    assert isinstance(answered(master, device.answer([(ident([0], [2]), [CLOCK])])), Reply)
    master.receive_data(late)
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert event.why == "unasked"


def test_orders_are_taken_or_refused():
    master, device = pair()
    trip = Order(HERE, 0x05, ((ident([1], [1]), [encode(0x05, 1, [0, 0], uplink=False)]),), pw=b"p" * 16)
    assert "pppp" not in repr(trip)
    request = asked(device, master.send(trip))
    assert request.frame.pw == b"p" * 16
    assert request.frame.control == 0x4A
    assert "pppp" not in repr(request)
    assert [v.value for v in request.units[0].values] == [0, 0]
    assert answered(master, device.confirm()) == Confirmed(HERE)

    asked(device, master.send(trip))
    master.receive_data(device.deny())
    with pytest.raises(Refused) as refused:
        master.next_event()
    assert refused.value.code == 2
    assert not refused.value.absent

    asked(device, master.send(trip))
    master.receive_data(device.results([(ident([1], [1]), 3)]))
    with pytest.raises(Refused, match=r"p\[1\] F\[1\] error 3") as refused:
        master.next_event()
    assert refused.value.code == 3

    asked(device, master.send(trip))
    assert answered(master, device.results([(ident([1], [1]), 0)])) == Confirmed(HERE)


def test_a_denied_read():
    master, device = pair()
    asked(device, master.send(ReadFrozen(HERE, (1,), (17,), dt.date(2024, 5, 5), month=True)))
    master.receive_data(device.deny())
    with pytest.raises(Refused) as refused:
        master.next_event()
    assert not refused.value.absent  # a terminal that has not read its meter yet says the same
    master.send(Read(HERE, (1,), (25,)))


def test_reset_has_its_own_link_function():
    master, device = pair()
    request = asked(device, master.send(Order(HERE, 0x01, ((ident([0], [1]), [b""]),))))
    assert request.frame.control == 0x41


def test_forwarding():
    master, device = pair()
    meter = bytes.fromhex("68611001301215681104333334337b16")
    request = asked(device, master.send(Forward(HERE, 31, meter)))
    assert request.units[0].values[-1].value == meter
    assert meter.hex() not in repr(Forward(HERE, 31, meter))
    answer = bytes.fromhex("68611001301215689c003516")
    reply = answered(master, device.answer([(ident([0], [1]), [encode(0x10, 1, [31, len(answer), answer])])]))
    assert isinstance(reply, Reply)
    assert reply.content() == answer
    asked(device, master.send(Forward(HERE, 31, meter)))
    silent = answered(master, device.answer([(ident([0], [1]), [encode(0x10, 1, [31, 0, b""])])]))
    assert isinstance(silent, Reply)
    assert silent.content() == b""


def test_curves_events_and_anything():
    master, device = pair()
    request = asked(device, master.send(ReadCurve(HERE, (1,), (89, 90, 91), NOW.replace(second=0), 1, 4)))
    assert [[v.value for v in unit.values] for unit in request.units] == [[NOW.replace(second=0), 1, 4]] * 3
    master.abandon()

    request = asked(device, master.send(ReadEvents(HERE, 255, 1)))
    assert [v.value for v in request.units[0].values] == [255, 1]
    record = encode_event(12, [NOW, PointMark(3, True)])
    device.waiting = (1, 0)
    reply = answered(
        master, device.answer([(ident([0], [1]), [encode(0x0E, 1, [1, 0, 255, 1, record, record])])])
    )
    assert isinstance(reply, Reply)
    assert reply.ec == (1, 0)
    assert reply.units[0].values[4].value == record

    asked(device, master.send(Ask(HERE, 0x0B, ((ident([1], [1]), [b""]),))))
    reply = answered(master, device.answer([(ident([0], [2]), [CLOCK])], afn=0x0C))
    assert isinstance(reply, Reply)
    assert reply.afn == 0x0C


@pytest.mark.parametrize(
    "asks", [lambda d: d.login(), lambda d: d.logout(), lambda d: d.heartbeat(), lambda d: d.heartbeat(CLOCK)]
)
def test_login_and_heartbeat_are_confirmed(asks):
    master, device = Master(), Device(Address(HERE.region, HERE.terminal), counter=9)
    raw = asks(device)
    assert decode(raw).control == 0xC9
    assert decode(raw).confirm
    master.receive_data(raw)
    event = master.next_event()
    assert isinstance(event, Send)
    assert decode(event.data).control == 0x0B
    device.receive_data(event.data)
    assert device.next_event() == Confirmation(9, True)
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert event.why.rpartition(" ")[2] in ("login", "logout", "heartbeat")
    assert event.frame == raw


def test_a_report_comes_while_a_request_runs():
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    device.waiting = (5, 6)
    record = encode_event(12, [NOW, PointMark(3, True)])
    master.receive_data(device.report(0x0E, [(ident([0], [1]), [encode(0x0E, 1, [5, 6, 4, 5, record])])]))
    assert isinstance(master.next_event(), Send)
    assert isinstance(master.next_event(), Ignored)
    assert isinstance(answered(master, device.answer([(ident([0], [2]), [CLOCK])])), Reply)


def test_all_points_at_once():
    master, device = pair()
    everything = Ident(b"\xff\x00" + ident([0], [25]).raw[2:])
    asked(device, master.send(Ask(HERE, 0x0C, ((everything, []),))))
    reply = answered(master, device.answer([(ident([3], [25]), [encode(0x0C, 25, [None] * 24)])]))
    assert isinstance(reply, Reply)
    assert reply.units[0].point == 3


def test_groups_do_not_answer():
    master, device = pair()
    everybody = Address("0000", 0xFFFF, 16, group=True)
    raw = master.send(Order(everybody, 0x05, ((ident([0], [31]), [CLOCK]),)))
    assert master.next_event() == Answer(None)
    asked(device, raw)
    assert device.confirm() == b""
    asked(device, raw)
    assert device.answer([]) == b""
    master.send(Read(HERE, (0,), (2,)))


def test_the_device_hears_only_what_is_meant_for_it():
    device = Device(HERE)
    for frame in (
        Frame(Address("0171", 0x0823, 1), 0x4B, 0x0C, 0x60, ident([0], [2]).raw),
        Frame(HERE, 0x88, 0x0C, 0x60, ident([0], [2]).raw),
        Frame(HERE, 0x08, 0x0C, 0x60, ident([0], [2]).raw),
    ):
        device.receive_data(frame.encode())
    assert device.next_event() is NEED_DATA
    raw = bytearray(Frame(HERE, 0x4B, 0x0C, 0x60, ident([0], [2]).raw).encode())
    raw[-2] ^= 1
    device.receive_data(bytes(raw))
    assert device.next_event() is NEED_DATA
    assert device.corrupt == 1
    for answer in (device.confirm, device.deny, lambda: device.answer([])):
        with pytest.raises(Misuse):
            answer()


def test_one_request_at_a_time():
    master, device = pair()
    raw = master.send(Read(HERE, (0,), (2,)))
    with pytest.raises(Misuse):
        master.send(Read(HERE, (0,), (2,)))
    asked(device, raw)
    bad = bytearray(device.answer([(ident([0], [2]), [CLOCK])]))
    bad[-2] ^= 0x40
    master.receive_data(bytes(bad))
    with pytest.raises(FrameError, match="checksum"):
        master.next_event()
    asked(device, master.send(Read(HERE, (0,), (2,))))  # corrupt: asked again at once
    assert isinstance(answered(master, device.answer([(ident([0], [2]), [CLOCK])])), Reply)


def test_a_request_that_fits_no_frame_leaves_nothing_behind():
    master, _ = pair()
    with pytest.raises(Misuse):
        master.send(Read(Address("171", 1), (0,), (2,)))
    with pytest.raises(Misuse):
        master.send(ReadFrozen(HERE, (1,), (240,), dt.date(2024, 1, 1)))
    with pytest.raises(Misuse):
        master.send(ReadFrozen(HERE, (1,), (), dt.date(2024, 1, 1)))
    master.send(Read(HERE, (0,), (2,)))


def test_noise_is_counted_and_the_answer_is_found_byte_by_byte():
    master, device = pair()
    asked(device, master.send(Read(HERE, (0,), (2,))))
    events = []
    for byte in b"\x00\x68\x11" + device.answer([(ident([0], [2]), [CLOCK])]):
        master.receive_data(bytes((byte,)))
        if (event := master.next_event()) is not NEED_DATA:
            events.append(event)
    assert len(events) == 1
    assert isinstance(events[0], Answer)
    assert master.skipped == 3


def test_what_an_answer_lacks():
    master, device = pair()
    asked(device, master.send(Read(HERE, (1, 2), (25, 129))))
    power = encode(0x0C, 25, [None] * 24)
    reply = answered(master, device.answer([(ident([2], [25]), [power])]))
    assert isinstance(reply, Reply)
    assert reply.missing == ((1, 25), (1, 129), (2, 129))
    assert reply.units[0].empty  # EE from end to end: the terminal has not got it, the meter may
    asked(device, master.send(Read(HERE, (0,), (2,))))
    reply = answered(master, device.answer([(ident([0], [2]), [CLOCK])]))
    assert isinstance(reply, Reply)
    assert (reply.missing, reply.units[0].empty) == ((), False)


def test_absence_is_proven_only_by_a_code_that_the_caller_knows():
    for known, absent in (((), False), ((2,), True), ((9,), False)):
        master, device = Master(absent=known), pair()[1]
        asked(device, master.send(ReadFrozen(HERE, (1,), (1,), dt.date(2024, 5, 5))))
        master.receive_data(device.results([(ident([1], [1]), 2)]))
        with pytest.raises(Refused) as refused:
            master.next_event()
        assert (refused.value.code, refused.value.absent) == (2, absent)
    master, device = Master(absent=(2,)), pair()[1]
    asked(device, master.send(ReadFrozen(HERE, (1,), (1,), dt.date(2024, 5, 5))))
    master.receive_data(device.deny())  # F2 says nothing of why
    with pytest.raises(Refused) as refused:
        master.next_event()
    assert not refused.value.absent


def test_an_answer_of_endless_frames_is_dropped():
    master, device = pair()
    request = asked(device, master.send(Read(HERE, (1,), (25,)))).frame
    body = ident([1], [25]).raw + bytes(16_000)
    for number in range(ANSWER_BYTES // len(body) + 1):
        seq = (0x40 if number == 0 else 0) | (request.number + number & 0x0F)
        master.receive_data(Frame(HERE, 0x88, 0x0C, seq, body).encode())
        if number < ANSWER_BYTES // len(body):
            assert master.next_event() is NEED_DATA
    with pytest.raises(FrameError, match="more than 1048576 bytes") as error:
        master.next_event()
    assert error.value.offset == 14
    master.send(Read(HERE, (1,), (25,)))


@pytest.mark.parametrize(
    ("sent", "delay", "now", "late"),
    [
        (NOW, 5, NOW, False),
        (NOW, 5, NOW + dt.timedelta(minutes=5), False),
        (NOW, 5, NOW + dt.timedelta(minutes=5, seconds=1), True),
        (NOW, 0, NOW + dt.timedelta(days=3), False),  # no check
        (NOW, 5, NOW - dt.timedelta(hours=1), False),  # the master's clock is fast
        (dt.datetime(2024, 4, 30, 23, 59), 5, dt.datetime(2024, 5, 1, 0, 3), False),
        (dt.datetime(2024, 4, 30, 23, 59), 5, dt.datetime(2024, 5, 1, 0, 10), True),
    ],
)
def test_a_request_that_is_too_old_is_not_answered(sent, delay, now, late):
    master, device = pair()
    device.receive_data(master.send(Read(HERE, (0,), (2,), stamp=sent, delay=delay)))
    event = device.next_event(now)
    assert (event is NEED_DATA, device.late) == (late, int(late))


def test_a_stamp_that_is_no_time_does_not_expire():
    assert not Tp(1, b"\xff\xff\xff\xff", 5).expired(NOW)
    assert not Tp(1, b"\x61\x00\x00\x06", 5).expired(NOW)
    with pytest.raises(FrameError, match="Tp") as error:
        _ = Tp(1, b"\xff\xff\xff\xff").moment
    assert error.value.offset == 1
