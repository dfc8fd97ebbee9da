"""Master and Device against each other, and the master against everything a line can bring."""

from dataclasses import replace

import numpy as np
import pytest

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, clock, values
from protocols.dlt698.answers import connect_fields
from protocols.dlt698.apdu import (
    ActItem,
    ActResult,
    Apdu,
    GetRecord,
    RecordResult,
    Reply,
    Result,
    SetItem,
    SetResult,
    Target,
)
from protocols.dlt698.exchange import Acknowledged, Asked, Device, Inbox, Master
from protocols.dlt698.frame import ANYBODY, EVERYBODY, Address, Frame, decode
from protocols.dlt698.requests import (
    Act,
    ActList,
    Call,
    Connect,
    Get,
    GetList,
    GetRecordList,
    GetRecords,
    ProxyFrame,
    ProxyGet,
    ProxyRecords,
    Release,
    Secure,
    SecureAnswer,
    Set,
    SetList,
)
from protocols.dlt698.values import Data, Rsd, Sid, SidMac, Ti
from protocols.dlt698.wire import Chosen
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

ADDRESS = "000000000001"
WHEN = np.datetime64("2026-03-04T05:06:07")
NUMBER = Data(values.DOUBLE_LONG_UNSIGNED, 123456)
ENERGY = 0x00100200


def talk(master, device, request, reply, limit=1000):
    """Run one request; `reply(asked)` gives the answer's bytes. The last event, and how often bytes crossed the line."""
    wire = master.send(request)
    for turn in range(limit):
        back = b""
        for at in range(0, len(wire), 11):
            device.receive_data(wire[at : at + 11])
            while (event := device.next_event()) is not NEED_DATA:
                back += event.data if isinstance(event, Send) else reply(event)
        master.receive_data(back)
        event = master.next_event()
        if not isinstance(event, Send):
            return event, turn
        wire = event.data
    raise AssertionError("no end")


def ask(request, fields, **options):
    device = Device(ADDRESS)
    seen = []

    def reply(asked):
        seen.append(asked.apdu)
        return device.answer(fields, **options)

    event, _ = talk(Master(ADDRESS), device, request, reply)
    assert event is NEED_DATA or isinstance(event, Answer), event
    return event.value, seen[0]


def record(rows, columns=(ENERGY,)):
    return RecordResult(0x50040200, columns, 0, rows)


ROW = (Data(values.ARRAY, (NUMBER,) * 5),)
LINE = values.Comdcb(3, 2, 8, 1, 0)


@pytest.mark.parametrize(
    ("request_", "fields", "value"),
    [
        (Get(ENERGY), {"result": Result(ENERGY, 0, NUMBER)}, NUMBER),
        (GetList((ENERGY, 0x20000200)), {"results": (Result(ENERGY, 0, NUMBER), Result(0x20000200, 3))},
         (Result(ENERGY, 0, NUMBER), Result(0x20000200, 3))),
        (GetRecords(0x50040200, Rsd(9, count=1), (ENERGY,)), {"record": record((ROW,))}, record((ROW,))),
        (GetRecordList((GetRecord(0x50040200),)), {"records": (record((ROW,)),)}, (record((ROW,)),)),
        (Set(0x40000200, NUMBER), {"result": SetResult(0x40000200, 0)}, None),
        (SetList((SetItem(0x40000200, NUMBER),)), {"results": (SetResult(0x40000200, 7),)}, (SetResult(0x40000200, 7),)),
        (Act(0x80008100, NUMBER), {"result": ActResult(0x80008100, 0, NUMBER)}, NUMBER),
        (ActList((ActItem(0x80008100, NUMBER),)), {"results": (ActResult(0x80008100, 0),)}, (ActResult(0x80008100, 0),)),
        (Release(), {"result": 0}, None),
        (ProxyGet(30, (Target(bytes(7), 10, (ENERGY,)),)), {"replies": (Reply(bytes(7), (Result(ENERGY, 0, NUMBER),)),)},
         (Reply(bytes(7), (Result(ENERGY, 0, NUMBER),)),)),
        (ProxyRecords(30, bytes(7), GetRecord(0x50040200)), {"tsa": bytes(7), "record": record((ROW,))}, record((ROW,))),
        (ProxyFrame(0xF2010201, LINE, 10, 10, b"\x68\x16"), {"port": 0xF2010201, "content": Chosen(1, b"back")}, b"back"),
    ],
    ids=lambda value: type(value).__name__ if type(value).__module__.endswith("requests") else "",
)  # fmt: skip
def test_every_request(request_, fields, value):
    got, asked = ask(request_, fields)
    assert got == value
    assert asked.code == asked.code & 0x7F


def test_golden_request():
    """The frame of the standard's first example: read the communication address of meter 201605190907."""
    raw = Master("201605190907", 0)
    raw._number = 0
    assert raw.send(Get(0x40010200)).hex() == "68170043050709190516200015600501014001020000c60716"


def test_then_get_by_call():
    fields = {"items": (SetItem(0x40000200, NUMBER, 0x40000200, 2),)}
    answer = {"results": (SetResult(0x40000200, 0, Result(0x40000200, 0, NUMBER)),)}
    got, asked = ask(Call(apdus.SET, apdus.THEN_GET, fields), answer)
    assert got.fields == answer
    assert asked.fields == fields


def test_connect():
    device = Device(ADDRESS)
    event, _ = talk(
        Master(ADDRESS),
        device,
        Connect(b"12345678"),
        lambda a: device.answer(connect_fields(a.apdu, vendor=b"TEST")),
    )
    assert event.value.fields["vendor"] == b"TEST"
    assert event.value.fields["max_apdu"] == 1024
    with pytest.raises(Refused, match="password wrong"):
        talk(
            Master(ADDRESS), device, Connect(b"87654321"), lambda a: device.answer(connect_fields(a.apdu, 1))
        )
    assert "12345678" not in repr(Connect(b"12345678"))


def test_acd_follow_report_and_time_tag():
    device, master = Device(ADDRESS), Master(ADDRESS)
    follow = Chosen(1, (Result(0x20150200, 0, Data(values.BIT_STRING, "0" * 32)),))
    tag = apdus.TimeTag(clock.encode_time_s(WHEN), Ti(0, 30))

    def reply(asked):
        assert asked.apdu.time_tag == tag
        return device.answer({"result": Result(ENERGY, 0, NUMBER)}, acd=True, follow=follow)

    talk(master, device, Get(ENERGY, tag), reply)
    assert master.acd
    assert master.follow == follow


def test_security_goes_around_request_and_answer():
    proof = Chosen(0, SidMac(Sid(0x01020304, b"\x05\x06"), b"\xaa\xbb\xcc\xdd"))
    device = Device(ADDRESS)

    def reply(asked):
        assert asked.verification == proof
        return device.answer({"result": ActResult(0x80008100, 0)}, mac=b"\x01\x02\x03\x04")

    event, _ = talk(Master(ADDRESS), device, Secure(Act(0x80008100, Data(values.NULL)), proof), reply)
    assert isinstance(event.value, SecureAnswer)
    assert event.value.value is None
    assert event.value.mac == b"\x01\x02\x03\x04"
    assert apdus.decode(event.value.clear).service == "ACTION-Response"
    with pytest.raises(Refused) as refused:
        talk(
            Master(ADDRESS),
            device,
            Secure(Act(0x80008100, Data(values.NULL)), proof),
            lambda a: device.refuse(23),
        )
    assert refused.value.code == 23


@pytest.mark.parametrize(("dar", "absent"), [(2, False), (3, False), (4, True), (6, True), (255, False)])
def test_refusals(dar, absent):
    device = Device(ADDRESS)
    for request in (
        Get(ENERGY), GetRecords(0x50040200, Rsd(9, count=1)), GetRecords(0x50040200, Rsd(9, count=1), raw=True),
        Set(ENERGY, NUMBER), Act(ENERGY, NUMBER), ProxyFrame(0xF2010201, LINE, 1, 1, b""),
        ProxyRecords(1, bytes(7), GetRecord(ENERGY), raw=True),
    ):  # fmt: skip
        with pytest.raises(Refused) as refused:
            talk(Master(ADDRESS), device, request, lambda _: device.refuse(dar))
        assert (refused.value.code, refused.value.absent) == (dar, absent)
    for request in (GetList((ENERGY,)), GetRecordList((GetRecord(ENERGY),)), SetList((SetItem(ENERGY, NUMBER),)),
                    ActList((ActItem(ENERGY, NUMBER, ENERGY, 1),)), ProxyGet(1, (Target(bytes(7), 1, (ENERGY,)),))):  # fmt: skip
        event, _ = talk(Master(ADDRESS), device, request, lambda _: device.refuse(dar))
        assert f"dar={dar}" in repr(event.value)


def test_error_response():
    device = Device(ADDRESS)
    with pytest.raises(Refused, match="other"):
        talk(Master(ADDRESS), device, Get(ENERGY), lambda _: device.error())
    # a choice that nobody knows, and an APDU that ends too early
    for data, why in ((b"\x05\x09\x01\x00", 2), (b"\x05\x01\x01\x00", 1)):
        device.receive_data(Frame(Address(ADDRESS), 1, 0x43, data).encode())
        event = device.next_event()
        assert apdus.decode(decode(event.data).data).fields["error"] == why


def test_data_blocks_and_segments():
    rows = tuple((Data(values.ARRAY, (Data(values.DOUBLE_LONG_UNSIGNED, i),) * 5),) for i in range(300))
    for piece, segment in ((400, 4000), (400, 100), (100_000, 100)):
        device = Device(ADDRESS, piece=piece, segment=segment)
        for raw in (False, True):
            event, turns = talk(
                Master(ADDRESS, segment=60), device, GetRecords(0x50040200, Rsd(10, count=255), (ENERGY,), raw),
                lambda _, d=device: d.answer({"record": record(rows)}),
            )  # fmt: skip
            assert turns > 10
            if raw:
                parts = [bulk.decode(part)[0] for part in event.value]
                numbers = np.concatenate([part.cells[0].leaves[0].values for part in parts])
                assert numbers.tolist() == list(range(300))
            else:
                assert event.value == record(rows)


def test_an_array_is_joined_from_blocks():
    value = Data(values.ARRAY, tuple(Data(values.OCTET_STRING, bytes([i]) * 40) for i in range(100)))
    device = Device(ADDRESS, piece=300)
    event, turns = talk(
        Master(ADDRESS),
        device,
        Get(0x60000200),
        lambda _: device.answer({"result": Result(0x60000200, 0, value)}),
    )
    assert event == Answer(value)
    assert turns > 10
    fields = {"results": (Result(0x60000200, 0, value), Result(ENERGY, 4), Result(0x40010200, 0, NUMBER))}
    event, _ = talk(
        Master(ADDRESS), device, GetList((0x60000200, ENERGY, 0x40010200)), lambda _: device.answer(fields)
    )
    assert event.value == fields["results"]


def test_a_long_request_goes_in_segments():
    device = Device(ADDRESS)
    long = Data(values.OCTET_STRING, bytes(3000))
    seen = []

    def reply(asked):
        seen.append(asked.apdu.fields["item"].data)
        return device.answer({"result": SetResult(0xF0010400, 0)})

    event, turns = talk(Master(ADDRESS, segment=100), device, Set(0xF0010400, long), reply)
    assert event == Answer(None)
    assert seen == [long]
    assert turns > 20


def test_blocks_nobody_asked_for():
    device = Device(ADDRESS)
    request = Apdu(apdus.GET, apdus.NEXT, 3, {"block": 1})
    device.receive_data(Frame(Address(ADDRESS), 1, 0x43, apdus.encode(request)).encode())
    answer = apdus.decode(decode(device.next_event().data).data)
    assert answer.fields["content"] == Chosen(0, 11)


def answer_frame(piid, oad=ENERGY, address=ADDRESS, client=0x10, control=0xC3, data=NUMBER):
    apdu = Apdu(0x85, 1, piid, {"result": Result(oad, 0, data)})
    return Frame(Address(address), client, control, apdus.encode(apdu))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (answer_frame(5), "stale"),
        (answer_frame(0, oad=0x20000200), "about 20000200"),
        (answer_frame(0, address="000000000002"), "from 000000000002"),
        (answer_frame(0, client=0x11), "client 11"),
        (answer_frame(0, control=0x43), "echo"),
        (answer_frame(0, control=0x83), "unasked"),
        (
            replace(answer_frame(0), data=apdus.encode(Apdu(0x86, 1, 0, {"result": SetResult(ENERGY, 0)}))),
            "unexpected",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_the_answer_is_ignored(frame, why):
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    master.receive_data(frame.encode())
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert why in event.why
    assert decode(event.frame) == frame
    master.receive_data(answer_frame(0).encode())
    assert master.next_event() == Answer(NUMBER)
    master.receive_data(answer_frame(0).encode())
    assert isinstance(master.next_event(), Ignored)


def test_a_late_answer_is_not_taken_for_the_new_one():
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    with pytest.raises(Misuse):
        master.send(Get(ENERGY))
    master.abandon()
    master.send(Get(ENERGY))
    late, new = answer_frame(0, data=Data(values.DOUBLE_LONG_UNSIGNED, 1)), answer_frame(1)
    master.receive_data(late.encode() + new.encode())
    assert isinstance(master.next_event(), Ignored)
    assert master.next_event() == Answer(NUMBER)


def test_half_an_answer_does_not_hold_up_the_next():
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    master.receive_data(answer_frame(0).encode()[:-3])
    assert master.next_event() is NEED_DATA
    master.abandon()
    master.send(Get(ENERGY))
    master.receive_data(answer_frame(1).encode())
    assert master.next_event() == Answer(NUMBER)


def test_corrupt_then_good():
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    good = answer_frame(0).encode()
    bad = bytearray(good)
    bad[20] ^= 4
    master.receive_data(bytes(bad) + good)
    with pytest.raises(FrameError, match="FCS"):
        master.next_event()
    assert master.next_event() == Answer(NUMBER)
    master.send(Get(ENERGY))
    master.receive_data(bytes(bad))
    with pytest.raises(FrameError):
        master.next_event()
    master.send(Get(ENERGY))  # an answer that came in corrupt ends the wait


def test_segments_out_of_order():
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    whole = answer_frame(0)

    def piece(word, data):
        return replace(whole, control=0xE3, segment=word, data=data).encode()

    first = piece(0x0005, whole.data[:5])
    master.receive_data(first)
    confirmed = master.next_event()
    assert decode(confirmed.data).segment == 0x8005
    master.receive_data(first)  # the confirmation was lost
    assert master.next_event() == confirmed
    master.receive_data(piece(0xC007, whole.data[5:]))
    with pytest.raises(FrameError, match="number 7, must be 6"):
        master.next_event()
    master.receive_data(first + piece(0x4006, whole.data[5:]))
    assert isinstance(master.next_event(), Send)
    assert master.next_event() == Answer(NUMBER)


def test_broadcast_and_wildcard():
    master, device = Master(EVERYBODY), Device(ADDRESS)
    raw = master.send(Act(0x40007F00, Data(values.DATE_TIME_S, clock.encode_time_s(WHEN))))
    assert master.next_event() == Answer(None)
    device.receive_data(raw)
    assert isinstance(device.next_event(), Asked)
    assert device.answer({"result": ActResult(0x40007F00, 0)}) == b""
    event, _ = talk(
        Master(ANYBODY), device, Get(ENERGY), lambda _: device.answer({"result": Result(ENERGY, 0, NUMBER)})
    )
    assert event == Answer(NUMBER)


def test_scrambled():
    device = Device(ADDRESS)
    master = Master(ADDRESS, scramble=True, wakeup=4)
    assert b"\x00\x10\x02\x00" not in master.send(Get(ENERGY))
    master.abandon()
    event, _ = talk(
        master, device, Get(ENERGY), lambda _: device.answer({"result": Result(ENERGY, 0, NUMBER)})
    )
    assert event == Answer(NUMBER)


def test_login_heartbeat_and_report():
    device, inbox = Device(ADDRESS), Inbox(client=0xA0)
    taken = inbox.take(device.link(0, 180, WHEN), WHEN + 1, WHEN + 2)
    assert taken.apdu.fields["request"] == 0
    assert taken.server == Address(ADDRESS)
    device.receive_data(taken.reply)
    event = device.next_event()
    assert isinstance(event, Acknowledged)
    assert clock.decode_time(event.apdu.fields["received_time"]) == WHEN + 1
    assert clock.decode_time(event.apdu.fields["request_time"]) == WHEN
    assert event.apdu.fields["result"] == 0x80
    taken = inbox.take(device.report(1, {"results": (Result(ENERGY, 0, NUMBER),)}, piid=7), WHEN, WHEN)
    device.receive_data(taken.reply)
    assert device.next_event().apdu.fields == {"oads": (ENERGY,)}
    with pytest.raises(FrameError):
        inbox.take(Master(ADDRESS).send(Get(ENERGY)), WHEN, WHEN)


def test_a_long_report_is_confirmed_piece_by_piece():
    device, inbox = Device(ADDRESS, segment=50), Inbox()
    master = Master(ADDRESS)
    wire = device.report(3, {"port": 0xF2010201, "frames": (bytes(400),)})
    taken = None
    for _ in range(20):
        master.receive_data(wire)
        seen = master.next_event()
        assert isinstance(seen, Ignored)
        taken = inbox.take(seen.frame, WHEN, WHEN)
        device.receive_data(taken.reply)
        event = device.next_event()
        if isinstance(event, Acknowledged):
            break
        wire = event.data
    assert taken.apdu.fields["frames"] == (bytes(400),)


def test_a_device_hears_only_itself():
    device = Device(ADDRESS, groups=("000000000099",))
    for address, heard in (
        (Address("000000000002"), False),
        (Address("000000000099", 2), True),
        (Address("000000000098", 2), False),
    ):
        device.receive_data(Master(address).send(Get(ENERGY)))
        event = device.next_event()
        assert isinstance(event, Asked if heard else Ignored)
        if heard:
            assert device.refuse(3) == b""


def test_misuse():
    with pytest.raises(Misuse):
        Master("12345")
    with pytest.raises(Misuse):
        Device(ADDRESS).answer({})
    with pytest.raises(Misuse):
        Device(ADDRESS).refuse(1)
    with pytest.raises(Misuse):
        Master(EVERYBODY, segment=10).send(Set(ENERGY, Data(values.OCTET_STRING, bytes(100))))


def test_a_corrupt_apdu_in_a_good_frame():
    """The frame's checks are right, what it carries is not: a FrameError that says where, and the request may be sent anew."""
    master = Master(ADDRESS)
    master.send(Get(ENERGY))
    raw = replace(answer_frame(0), data=answer_frame(0).data[:-4]).encode()
    master.receive_data(raw)
    with pytest.raises(
        FrameError, match=r"data: double-long-unsigned needs 4 bytes, 2 are there, at offset 22"
    ) as wrong:
        master.next_event()
    assert raw[wrong.value.offset] == values.DOUBLE_LONG_UNSIGNED
    master.send(Get(ENERGY))
    master.receive_data(answer_frame(1).encode())
    assert master.next_event() == Answer(NUMBER)
