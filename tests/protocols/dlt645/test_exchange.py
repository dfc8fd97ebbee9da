"""Master and Device against each other, and the master against everything a line can bring."""

import numpy as np
import pytest

from protocols.dlt645.exchange import (
    BaudAnswer,
    BaudRequest,
    BroadcastTime,
    ChangeBaud,
    ChangePassword,
    ClearEvents,
    ClearMeter,
    Control,
    ControlAnswer,
    ControlRequest,
    Device,
    Freeze,
    FreezeRequest,
    Master,
    OutputRequest,
    PasswordRequest,
    Read,
    ReadAddress,
    ReadAnswer,
    ReadRequest,
    ResetDemand,
    ResetRequest,
    SealedControl,
    SealedControlRequest,
    Secure,
    SecureAnswer,
    SecureRequest,
    SetTimeBroadcast,
    SwitchOutput,
    Write,
    WriteAddress,
    WriteAddressRequest,
    WriteAnswer,
    WriteRequest,
)
from protocols.dlt645.frame import Frame
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

ADDRESS = "000000000001"
WHEN = np.datetime64("2026-03-04T05:06:07")


def talk(master, devices, request, reply):
    """Run one request over a line with these devices; `reply(device, event)` gives bytes. The last event."""
    wire = master.send(request)
    while True:
        back = b""
        for device in devices:
            device.receive_data(wire)
            while (event := device.next_event()) is not NEED_DATA:
                back += event.data if isinstance(event, Send) else reply(device, event)
        master.receive_data(back)
        event = master.next_event()
        if not isinstance(event, Send):
            return event
        wire = event.data


def answer(data: bytes):
    return lambda device, event: device.answer(data)


def test_read():
    got = talk(Master(), [Device(ADDRESS)], Read(ADDRESS, 0x00010000), answer(bytes.fromhex("78563412")))
    assert got == Answer(ReadAnswer(ADDRESS, 0x00010000, bytes.fromhex("78563412")))


def test_golden_read_frames():
    raw = Master(wakeup=4).send(Read(ADDRESS, 0x00010000))
    assert raw == bytes.fromhex("fefefefe6801000000000068110433333433b316")
    device = Device(ADDRESS, wakeup=0)
    device.receive_data(raw)
    assert device.next_event() == ReadRequest(0x00010000)
    assert device.answer(bytes.fromhex("78563412")).hex() == "6801000000000068910833333433ab8967451716"


@pytest.mark.parametrize("size", [0, 195, 196, 197, 391, 392, 2500, 196 + 255 * 195])
def test_follow_ups_are_joined(size):
    data = bytes(i * 7 & 0xFF for i in range(size))
    got = talk(Master(), [Device(ADDRESS)], Read(ADDRESS, 0x06000001), answer(data))
    assert got.value.data == data


def test_no_frame_of_a_long_answer_exceeds_the_limit():
    device = Device(ADDRESS, wakeup=0)
    device.receive_data(Master().send(Read(ADDRESS, 1)))
    device.next_event()
    assert device.answer(bytes(1000))[9] == 200
    with pytest.raises(Misuse):
        device.answer()  # nothing asked any more
    device.receive_data(Master().send(Read(ADDRESS, 1)))
    device.next_event()
    with pytest.raises(Misuse, match="follow-ups"):
        device.answer(bytes(196 + 255 * 195 + 1))


def test_a_lost_follow_up_is_asked_again():
    master, device = Master(), Device(ADDRESS)
    device.receive_data(master.send(Read(ADDRESS, 1)))
    device.next_event()
    master.receive_data(device.answer(bytes(300)))
    again = master.next_event()
    assert isinstance(again, Send)
    replies = []
    for _ in range(2):
        device.receive_data(again.data)
        replies.append(device.next_event())
    assert replies[0] == replies[1]
    master.receive_data(replies[1].data)
    assert master.next_event().value.data == bytes(300)


def test_several_devices_share_a_line():
    devices = [Device(ADDRESS), Device("000000000002")]
    got = talk(Master(), devices, Read("000000000002", 1), lambda d, e: d.answer(bytes.fromhex(d.address)))
    assert got == Answer(ReadAnswer("000000000002", 1, bytes.fromhex("000000000002")))


def test_wildcards():
    assert talk(Master(), [Device(ADDRESS)], ReadAddress(), answer(b"")) == Answer(ADDRESS)
    assert talk(Master(), [Device(ADDRESS)], Read("AAAAAAAA0001", 1), answer(b"\1")).value.address == ADDRESS
    assert talk(Master(), [Device(ADDRESS)], Read("AAAAAAAA0002", 1), answer(b"\1")) is NEED_DATA


def test_broadcast_time_is_heard_by_all_and_answered_by_none():
    heard = []

    def reply(device, event):
        heard.append(event)
        return device.answer() + b""

    got = talk(Master(), [Device(ADDRESS), Device("000000000002")], SetTimeBroadcast(WHEN), reply)
    assert got == Answer(None)
    assert heard == [BroadcastTime(WHEN)] * 2
    golden = SetTimeBroadcast(np.datetime64("2017-06-05T10:22:51"))
    assert Master(0).send(golden).hex() == "6899999999999968080684554338394a4b16"


GOLDEN_RELAY = [
    (Control("201905241006", 0x1A, WHEN), "68061024051920681c1035333333333333334d33"),
    (
        Control("151230011061", 0x1B, np.datetime64("2099-12-30"), password="020637", operator="00000001"),
        "68611001301215681c10356a3935343333334e333333336345cc2d16",
    ),
    (
        Control("151230011061", 0x1A, np.datetime64("2099-12-30"), password="020637", operator="00000001"),
        "68611001301215681c10356a3935343333334d333333336345cc2c16",
    ),
]


@pytest.mark.parametrize(("request_", "hexes"), GOLDEN_RELAY)
def test_golden_relay_frames(request_, hexes):
    assert Master(0).send(request_).hex().startswith(hexes)
    assert "020637" not in repr(request_)


@pytest.mark.parametrize(("data", "word"), [(b"", None), (b"\x20\x00", 0x0020)])
def test_relay_answers_of_both_editions(data, word):
    seen = []

    def reply(device, event):
        seen.append(event)
        return device.answer(data)

    got = talk(Master(), [Device(ADDRESS)], Control(ADDRESS, 0x1A, WHEN, password="123456"), reply)
    assert got == Answer(ControlAnswer(ADDRESS, word))
    assert seen == [ControlRequest(0x1A, 0, WHEN, 2, "123456", "00000000")]


def test_write():
    seen = []

    def reply(device, event):
        seen.append(event)
        return device.answer()

    order = Write(ADDRESS, 0x04001401, b"\x05\x00", 4, "654321", "00000009")
    assert talk(Master(), [Device(ADDRESS)], order, reply) == Answer(WriteAnswer(ADDRESS))
    assert seen == [WriteRequest(0x04001401, b"\x05\x00", 4, "654321", "00000009")]


@pytest.mark.parametrize(
    ("request_", "code", "size", "absent"),
    [
        (Read(ADDRESS, 1), 0x02, 1, True),
        (Read(ADDRESS, 1), 0x06, 1, True),
        (Read(ADDRESS, 1), 0x04, 1, False),
        (Control(ADDRESS, 0x1A, WHEN), 0x04, 1, False),
        (Control(ADDRESS, 0x1A, WHEN), 0x0020, 2, False),
    ],
)
def test_refused(request_, code, size, absent):
    master = Master()
    with pytest.raises(Refused) as refused:
        talk(master, [Device(ADDRESS)], request_, lambda d, e: d.refuse(code, size=size))
    assert (refused.value.code, refused.value.absent) == (code, absent)
    assert talk(master, [Device(ADDRESS)], Read(ADDRESS, 7), answer(b"\1")).value.data == b"\1"


def test_an_error_sent_without_the_33h():
    master = Master()
    master.send(Control(ADDRESS, 0x1A, WHEN))
    raw = Frame(ADDRESS, 0xDC, bytes(((0x20 - 0x33) & 0xFF, (0 - 0x33) & 0xFF))).encode()
    master.receive_data(raw)
    with pytest.raises(Refused, match="keep-power") as refused:
        master.next_event()
    assert refused.value.code == 0x0020


@pytest.mark.parametrize(
    "stray",
    [
        Frame("000000000002", 0x91, b"\1\0\0\0\5"),
        Frame(ADDRESS, 0x91, b"\2\0\0\0\5"),
        Frame(ADDRESS, 0x94),
        Frame(ADDRESS, 0x11, b"\1\0\0\0"),
        Frame(ADDRESS, 0x92, b"\1\0\0\0\5\1"),
    ],
)
def test_stale_and_foreign_frames_are_ignored(stray):
    master = Master()
    master.send(Read(ADDRESS, 1))
    master.receive_data(stray.encode())
    assert isinstance(master.next_event(), Ignored)
    master.receive_data(Frame(ADDRESS, 0x91, b"\1\0\0\0\6").encode())
    assert master.next_event() == Answer(ReadAnswer(ADDRESS, 1, b"\6"))
    master.receive_data(stray.encode())
    assert isinstance(master.next_event(), Ignored)


def test_late_answers_after_abandon():
    master = Master()
    master.send(Read(ADDRESS, 1))
    master.abandon()
    master.receive_data(Frame(ADDRESS, 0x91, b"\1\0\0\0\5").encode())
    assert isinstance(master.next_event(), Ignored)
    master.send(Read(ADDRESS, 1))
    master.abandon()
    master.send(Read(ADDRESS, 2))
    master.receive_data(Frame(ADDRESS, 0xD1, b"\2").encode())  # whose "no data" is this?
    with pytest.raises(Refused) as refused:
        master.next_event()
    assert not refused.value.absent


def test_one_request_at_a_time():
    master = Master()
    master.send(Read(ADDRESS, 1))
    with pytest.raises(Misuse):
        master.send(Read(ADDRESS, 2))


def test_a_corrupt_answer_leaves_the_exchange_usable():
    master = Master()
    master.send(Read(ADDRESS, 1))
    good = Frame(ADDRESS, 0x91, b"\1\0\0\0\5").encode()
    bad = bytearray(good)
    bad[-2] ^= 1
    master.receive_data(bytes(bad))
    with pytest.raises(FrameError, match="checksum"):
        master.next_event()
    assert master.next_event() is NEED_DATA
    master.receive_data(good)
    assert master.next_event().value.data == b"\5"


@pytest.mark.parametrize(
    "frame", [Frame(ADDRESS, 0x91, b"\1"), Frame(ADDRESS, 0xD1), Frame(ADDRESS, 0xD1, b"123")]
)
def test_misshapen_answers(frame):
    master = Master()
    master.send(Read(ADDRESS, 1))
    master.receive_data(frame.encode())
    with pytest.raises(FrameError):
        master.next_event()
    master.send(Read(ADDRESS, 1))


def test_misuse_never_prints_the_password():
    with pytest.raises(Misuse) as misuse:
        Master().send(Control(ADDRESS, 0x1A, WHEN, password="12345"))
    assert "12345" not in str(misuse.value)


def test_noise_is_bounded_and_counted():
    master = Master()
    for _ in range(100):
        master.receive_data(b"\x68" * 100)
        assert master.next_event() is NEED_DATA
    assert master.skipped >= 10_000 - 4096


# --- the other functions ---

AUTH = {"level": 2, "password": "123456", "operator": "00000009"}


@pytest.mark.parametrize(
    ("request_", "data", "heard", "got"),
    [
        (WriteAddress("000000000007"), b"", WriteAddressRequest("000000000007"), WriteAnswer(ADDRESS)),
        (Freeze("99010000", ADDRESS), b"", FreezeRequest("99010000"), WriteAnswer(ADDRESS)),
        (ChangeBaud(ADDRESS, 9600), b"", BaudRequest(9600, 0x20), BaudAnswer(ADDRESS, 9600)),
        (ChangeBaud(ADDRESS, 4800), b"\x16", BaudRequest(4800, 0x10), BaudAnswer(ADDRESS, 4800)),
        (
            ChangePassword(ADDRESS, 2, "123456", 4, "654321"),
            b"",
            PasswordRequest(0x04000C05, 2, "123456", 4, "654321"),
            WriteAnswer(ADDRESS),
        ),
        (
            ResetDemand(ADDRESS, **AUTH),
            b"",
            ResetRequest(0x19, 2, "123456", "00000009"),
            WriteAnswer(ADDRESS),
        ),
        (ClearMeter(ADDRESS, **AUTH), b"", ResetRequest(0x1A, 2, "123456", "00000009"), WriteAnswer(ADDRESS)),
        (
            ClearEvents(ADDRESS, **AUTH),
            b"",
            ResetRequest(0x1B, 2, "123456", "00000009", 0xFFFFFFFF),
            WriteAnswer(ADDRESS),
        ),
        (
            ClearEvents(ADDRESS, 0x03300D00, **AUTH),
            b"",
            ResetRequest(0x1B, 2, "123456", "00000009", 0x03300D00),
            WriteAnswer(ADDRESS),
        ),
        (SwitchOutput(ADDRESS, 1), b"", OutputRequest(1), WriteAnswer(ADDRESS)),
        (
            Secure(ADDRESS, 0x070000FF, bytes(range(24)), "00000009"),
            bytes(12),
            SecureRequest(0x070000FF, "00000009", bytes(range(24))),
            SecureAnswer(ADDRESS, 0x070000FF, bytes(12)),
        ),
        (
            SealedControl(ADDRESS, bytes(range(20)), "00000009"),
            b"\x04\0",
            SealedControlRequest("00000009", bytes(range(20))),
            ControlAnswer(ADDRESS, 4),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_function_there_and_back(request_, data, heard, got):
    seen = []

    def reply(device, event):
        seen.append(event)
        return device.answer(data)

    assert talk(Master(), [Device(ADDRESS)], request_, reply) == Answer(got)
    assert seen == [heard]
    for shown in (repr(request_), repr(seen[0])):
        assert not any(secret in shown for secret in ("123456", "654321", "\\x01\\x02"))


GOLDEN_REQUESTS = [
    (Freeze("99999999"), "68999999999999681604" + "cccccccc"),
    (Freeze("99150830", ADDRESS), "68010000000000681604" + "633b48cc"),
    (ChangeBaud(ADDRESS, 2400), "68010000000000681701" + "3b"),
    (ChangePassword(ADDRESS, 2, "000000", 2, "111111"), "6801000000000068180c" + "363f3337" + "35333333" + "35444444"),
    (ClearEvents(ADDRESS, 0x03300D00), "6801000000000068" + "1b0c" + "35333333" + "33333333" + "33406336"),
    (SealedControl(ADDRESS, bytes(20)), "6801000000000068" + "1c1c" + "cb333333" + "33333333" + "33" * 20),
    (SwitchOutput(ADDRESS, 2), "68010000000000681d0135"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "hexes"), GOLDEN_REQUESTS, ids=lambda value: type(value).__name__)
def test_golden_requests(request_, hexes):
    assert Master(0).send(request_).hex()[:-4] == hexes


@pytest.mark.parametrize("action", [0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x2A, 0x2B, 0x3A, 0x3B])
@pytest.mark.parametrize("word", [None, 0x0004])
def test_every_command_with_both_answers(action, word):
    seen = []

    def reply(device, event):
        seen.append((event.action, event.n2))
        return device.answer(b"" if word is None else word.to_bytes(2, "little"))

    n2 = 6 if action in (0x1D, 0x1E) else 0
    got = talk(Master(), [Device(ADDRESS)], Control(ADDRESS, action, WHEN, n2), reply)
    assert (got, seen) == (Answer(ControlAnswer(ADDRESS, word)), [(action, n2)])


def test_a_freeze_of_all_is_answered_by_none():
    heard = []
    devices = [Device(ADDRESS), Device("000000000002")]
    got = talk(Master(), devices, Freeze(), lambda d, e: heard.append(e) or d.answer())
    assert got == Answer(None)
    assert heard == [FreezeRequest("99999999")] * 2


@pytest.mark.parametrize(
    "request_",
    [
        Freeze("99990060"),
        Freeze("990100"),
        ChangeBaud(ADDRESS, 4801),
        ChangePassword(ADDRESS, 2, "000000", 10, "000000"),
        SealedControl(ADDRESS, bytes(19)),
        SwitchOutput(ADDRESS, 3),
        WriteAddress("AAAAAAAAAAAA"),
        Control("AAAAAAAAAAAA", 0x1A, WHEN),
        SealedControl("999999999999", bytes(20)),
        ClearMeter("AAAAAAAA0001"),
        ChangePassword(ADDRESS, 2, "00", 2, "000000"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_said(request_):
    with pytest.raises(Misuse):
        Master().send(request_)


@pytest.mark.parametrize(
    ("request_", "code", "size", "says"),
    [
        (Secure(ADDRESS, 0x070000FF, bytes(24)), 0x0008, 2, "identity authentication failed"),
        (Secure(ADDRESS, 0x070102FF, bytes(24)), 0x0002, 2, "repeated recharge"),
        (SealedControl(ADDRESS, bytes(20)), 0x0002, 2, "MAC check failed"),
        (ChangeBaud(ADDRESS, 600), 0x08, 1, "baud rate cannot change"),
        (ClearMeter(ADDRESS), 0x04, 1, "password error"),
    ],
)
def test_each_function_refuses_in_its_own_words(request_, code, size, says):
    with pytest.raises(Refused, match=says) as refused:
        talk(Master(), [Device(ADDRESS)], request_, lambda d, e: d.refuse(code, size=size))
    assert refused.value.code == code


@pytest.mark.parametrize("function", range(32))
@pytest.mark.parametrize("size", [0, 1, 3, 4, 6, 8, 11, 12, 16, 20, 28])
def test_a_meter_hears_any_shape_of_any_function(function, size):
    device = Device(ADDRESS)
    device.receive_data(Frame(ADDRESS, function, bytes(size)).encode())
    device.next_event()
    assert device.next_event() is NEED_DATA


def test_follow_ups_of_a_load_record_name_only_di_and_number():
    """N and the start time belong to the first question; the meter goes on with that answer."""
    device = Device(ADDRESS, wakeup=0)
    master = Master(0)
    device.receive_data(master.send(Read(ADDRESS, 0x06000001, bytes.fromhex("240000010226"))))
    assert device.next_event() == ReadRequest(0x06000001, bytes.fromhex("240000010226"))
    master.receive_data(device.answer(bytes(600)))
    sent = master.next_event().data
    assert sent.hex().startswith("6801000000000068120534333339" + "34")
    device.receive_data(sent)
    master.receive_data(device.next_event().data)
    assert master.next_event().data.hex().startswith("6801000000000068120534333339" + "35")
