"""Master and meter of the 1997 edition on one line."""

import numpy as np
import pytest

from protocols.dlt645.edition1997 import exchange as x
from protocols.dlt645.frame import BROADCAST, WILDCARD, Frame
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

METER = "000000060507"


def asked(device: x.Device, raw: bytes) -> object:
    device.receive_data(raw)
    return device.next_event()


def run(master: x.Master, device: x.Device, request: x.Request, data: bytes = b"", step: int = 5) -> object:
    """The whole exchange, follow-ups included, in pieces of `step` bytes."""
    wire = master.send(request)
    while True:
        event = asked(device, wire)
        answer = event.data if isinstance(event, Send) else device.answer(data)
        for at in range(0, len(answer), step):
            master.receive_data(answer[at : at + step])
        event = master.next_event()
        if not isinstance(event, Send):
            assert isinstance(event, Answer), event
            assert master.next_event() is NEED_DATA
            return event.value
        wire = event.data


def test_read_and_read_again():
    master, device = x.Master(), x.Device(METER)
    data = bytes.fromhex("64930000")
    assert run(master, device, x.Read(METER, 0x9010), data) == x.ReadAnswer(METER, 0x9010, data)
    assert run(master, device, x.Read(METER, 0x9010, again=True), data) == x.ReadAnswer(METER, 0x9010, data)
    assert master.skipped == 0


def test_the_published_request_is_ours():
    assert x.Master().send(x.Read("000010000192", 0x9010)).hex() == "fefefefe6892010010000068010243c37c16"


def test_long_answers_are_fetched_part_by_part():
    data = bytes(range(200)) * 3
    answer = run(x.Master(), x.Device(METER), x.Read(METER, 0x901F), data)
    assert isinstance(answer, x.ReadAnswer)
    assert answer.data == data
    device = x.Device(METER)
    asked(device, x.Master().send(x.Read(METER, 0x901F)))
    with pytest.raises(Misuse):
        device.answer(bytes(198 * 18))


def test_a_meter_that_never_ends_is_given_up():
    master = x.Master()
    master.send(x.Read(METER, 0x901F))
    more = Frame(METER, 0xA1, bytes.fromhex("1f9000"))
    for _ in range(x.MOST_FOLLOW_UPS + 1):
        master.receive_data(more.encode())
        assert isinstance(master.next_event(), Send)
        more = Frame(METER, 0xA2, bytes.fromhex("1f9000"))
    master.receive_data(more.encode())
    with pytest.raises(FrameError, match="follow-up: more than"):
        master.next_event()


@pytest.mark.parametrize("anonymous", [True, False])
def test_a_wildcard_is_answered_from_the_meter_or_from_the_wildcard(anonymous):
    answer = run(x.Master(), x.Device(METER, anonymous=anonymous), x.Read(WILDCARD, 0xC032), bytes(6))
    assert isinstance(answer, x.ReadAnswer)
    assert answer.address == (WILDCARD if anonymous else METER)


def test_a_nameless_answer_to_a_named_request_is_taken_only_when_allowed():
    nameless = Frame(WILDCARD, 0x81, bytes.fromhex("109000000000")).encode()
    for allowed in (False, True):
        master = x.Master(anonymous=allowed)
        master.send(x.Read(METER, 0x9010))
        master.receive_data(nameless)
        assert isinstance(master.next_event(), Answer if allowed else Ignored)


def test_a_read_by_the_broadcast_address_takes_any_meter():
    master = x.Master()
    master.send(x.Read(BROADCAST, 0x9010))
    master.receive_data(Frame(METER, 0x81, bytes.fromhex("109000000000")).encode())
    event = master.next_event()
    assert isinstance(event, Answer)
    assert event.value.address == METER


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame("000000000009", 0x81, bytes.fromhex("109000000000")), "from 000000000009"),
        (Frame(METER, 0x81, bytes.fromhex("119000000000")), "data 9011"),
        (Frame(METER, 0x91, bytes.fromhex("109000000000")), "function 11H"),
        (Frame(METER, 0x01, bytes.fromhex("1090")), "not from a meter"),
    ],
)
def test_what_is_no_answer_is_ignored(frame, why):
    master = x.Master()
    master.send(x.Read(METER, 0x9010))
    master.receive_data(frame.encode())
    event = master.next_event()
    assert isinstance(event, Ignored)
    assert why in event.why


def test_a_corrupt_answer_leaves_the_request_open_for_a_re_read():
    master, device = x.Master(), x.Device(METER)
    asked(device, master.send(x.Read(METER, 0x9010)))
    raw = bytearray(device.answer(bytes(4)))
    raw[-3] ^= 1
    master.receive_data(bytes(raw))
    with pytest.raises(FrameError):
        master.next_event()
    answer = run(master, device, x.Read(METER, 0x9010, again=True), bytes(4))
    assert isinstance(answer, x.ReadAnswer)


@pytest.mark.parametrize(("code", "absent"), [(0x02, True), (0x01, False), (0x04, False)])
def test_refusal(code, absent):
    master, device = x.Master(), x.Device(METER)
    asked(device, master.send(x.Read(METER, 0x9999)))
    master.receive_data(device.refuse(code))
    with pytest.raises(Refused) as caught:
        master.next_event()
    assert caught.value.code == code
    assert caught.value.absent is absent


def test_a_refusal_that_may_belong_to_an_older_request_proves_nothing():
    master = x.Master()
    master.send(x.Read(METER, 0x9010))
    master.abandon()
    master.send(x.Read(METER, 0x9020))
    master.receive_data(Frame(METER, 0xC1, b"\x02").encode())
    with pytest.raises(Refused) as caught:
        master.next_event()
    assert not caught.value.absent


def test_write_shows_no_password():
    master, device = x.Master(), x.Device(METER)
    request = x.Write(METER, 0xC111, b"\x15", 2, "123456")
    event = asked(device, master.send(request))
    assert event == x.WriteRequest(0xC111, b"\x15", 2, "123456")
    assert "123456" not in repr(request) + repr(event)
    master.receive_data(device.answer())
    assert master.next_event() == Answer(x.WriteAnswer(METER))
    with pytest.raises(Misuse) as caught:
        master.send(x.Write(METER, 0xC111, b"", 2, "12345"))
    assert "12345" not in str(caught.value)


def test_the_other_commands():
    master, device = x.Master(), x.Device(METER)
    for request, wanted in (
        (x.WriteAddress("000000000042"), x.WriteAddressRequest("000000000042")),
        (x.ChangeBaud(METER, 2400), x.BaudRequest(2400)),
        (x.ChangePassword(METER, 0, "111111", 1, "222222"), x.PasswordRequest(0, "111111", 1, "222222")),
        (x.ResetDemand(METER, 1, "111111"), x.ResetDemandRequest(1, "111111")),
        (x.ResetDemand(METER), x.ResetDemandRequest(0, "")),
    ):
        assert asked(device, master.send(request)) == wanted
        assert "111111" not in repr(request) + repr(wanted)
        master.receive_data(device.answer())
        assert master.next_event() == Answer(x.WriteAnswer(METER))
    with pytest.raises(Misuse, match="baud"):
        master.send(x.ChangeBaud(METER, 1234))


def test_broadcast_time_is_not_answered():
    master, device = x.Master(), x.Device(METER)
    event = asked(device, master.send(x.SetTimeBroadcast(np.datetime64("2020-05-18T12:34:56"))))
    assert event == x.BroadcastTime(np.datetime64("2020-05-18T12:34:56"))
    assert device.answer() == b""
    assert master.next_event() == Answer(None)


def test_the_meter_is_deaf_to_the_other_edition_and_to_others():
    device = x.Device(METER)
    for frame in (
        Frame(METER, 0x11, bytes(4)),
        Frame("000000000009", 0x01, b"\x10\x90"),
        Frame(METER, 0x81, b"\x10\x90"),
        Frame(BROADCAST, 0x01, b"\x10\x90"),
    ):
        assert asked(device, frame.encode()) is NEED_DATA
    with pytest.raises(Misuse):
        device.answer()


def test_two_requests_at_once_are_a_misuse():
    master = x.Master()
    master.send(x.Read(METER, 0x9010))
    with pytest.raises(Misuse):
        master.send(x.Read(METER, 0x9010))
