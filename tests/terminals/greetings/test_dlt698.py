"""DL/T 698.45 terminals: published LINK-Requests, and the terminal's side of the codec."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import clock
from protocols.dlt698.exchange import Acknowledged, Device
from protocols.dlt698.frame import Address, Frame
from terminals.greetings.dlt698 import Dlt698Greeting
from terminals.greetings.greeting import Beat, Verdict

GREETING = Dlt698Greeting(ZoneInfo("Asia/Shanghai"))
LOGIN = bytes.fromhex("681e008105840000000000006cc0010000003c07e4080604102c0e00007a0616")
OWN = "000000000084"
WHEN = np.datetime64("2026-03-11T10:00:00.250")
HEARTBEAT = Device(OWN).link(1, 60, WHEN, piid=0x85)
LOGOUT = Device(OWN).link(2, 60, WHEN)
REPORT = Device(OWN).report(3, {"port": 0xF2010201, "frames": (b"\x68\x01",)})
OTHER = Device("000000000085").link(1, 60, WHEN)
SCRAMBLED = Frame(Address(OWN), 0, 0x89, apdus.encode(
    apdus.Apdu(apdus.LINK, None, 1, {"request": 1, "heartbeat_s": 60, "time": clock.encode_time(WHEN)})
)).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "identity", "heartbeat"),
    [
        (LOGIN, OWN, 60.0),
        ("681e008105111111111111009e7601000000b407e90403040f14050000e8b016", "111111111111", 180.0),
        ("681e00810501000000000000d2b6011001012c07e0090c0100001f02ab9d3916", "000000000001", 300.0),
        ("681c0081034347461400cfa4010001000007e00b09031028010000dcfa16", "14464743", None),
        (SCRAMBLED, OWN, 60.0),
    ],
)
def test_a_login_or_a_heartbeat_names_the_terminal_and_its_pace(frame, identity, heartbeat):
    raw = frame if isinstance(frame, bytes) else bytes.fromhex(frame)
    said = GREETING.identify(raw + b"more")
    assert (said.identity, said.at, said.beat, said.rest) == (identity, 0, Beat(raw), b"more")
    assert said.heartbeat == heartbeat


def test_wake_up_bytes_and_noise_before():
    said = GREETING.identify(b"\xfe\xfe\xfe\xfe\x68\x1e\x00\x81" + LOGIN)
    assert (said.identity, said.at) == (OWN, 8)


def test_a_report_names_the_terminal_and_stays_the_session_s():
    said = GREETING.identify(REPORT + HEARTBEAT)
    assert (said.identity, said.beat, said.rest) == (OWN, None, REPORT + HEARTBEAT)
    assert GREETING.filter(said).feed(said.rest).clean == REPORT


@pytest.mark.parametrize("cut", range(4, len(LOGIN)))
def test_a_login_that_is_not_all_here(cut):
    assert GREETING.identify(LOGIN[:cut]) is Verdict.MORE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LOGOUT,  # brings nobody in
        LOGIN[:-2] + b"\x07\x16",  # its check
        # a client's request; a wildcard address
        bytes.fromhex("681700430503000000000000109dc1050100f1010200002d5616"),
        Frame(Address("AA", 1), 0, 0x81, apdus.encode(
            apdus.Apdu(apdus.LINK, None, 1, {"request": 0, "heartbeat_s": 60, "time": clock.encode_time(WHEN)})
        )).encode(),
    ],
)  # fmt: skip
def test_nobody(data):
    assert GREETING.identify(data) is Verdict.NOTHING


def test_the_answer_has_the_terminal_s_number_and_three_times():
    device = Device(OWN)
    said = GREETING.identify(HEARTBEAT)
    noon = np.datetime64("2026-03-11T04:00:00", "s").astype(float)  # UTC
    device.receive_data(GREETING.answer(OWN, said.beat, noon + 0.5, noon + 1.25))
    event = device.next_event()
    assert isinstance(event, Acknowledged)
    assert (event.apdu.code, event.apdu.piid) == (0x81, 0x85)
    fields = event.apdu.fields
    assert fields["result"] == apdus.CLOCK_TRUSTED
    assert [
        str(clock.decode_time(fields[f"{name}_time"])) for name in ("request", "received", "response")
    ] == [
        "2026-03-11T10:00:00.250000",
        "2026-03-11T12:00:00.500000",
        "2026-03-11T12:00:01.250000",
    ]


def test_a_master_whose_clock_is_not_to_be_trusted_says_so():
    device = Device(OWN)
    device.receive_data(Dlt698Greeting(ZoneInfo("UTC"), trusted=False).answer(OWN, Beat(LOGIN), 0.0, 0.0))
    assert device.next_event().apdu.fields["result"] == 0


def make():
    return GREETING.filter(GREETING.identify(LOGIN))


@given(st.data())
def test_the_filter_takes_out_what_is_the_terminal_s_own_and_no_other_byte(check, data):
    others = [OTHER, REPORT, LOGIN[:-2] + b"\x07\x16", b"\x68" * 9, b"\x68\x1e\x00\x81" * 3]
    check(data, make, [LOGIN, HEARTBEAT, LOGOUT, SCRAMBLED], others)


def test_a_heartbeat_in_the_midst_of_a_frame_and_a_logout_behind_it():
    sifted = make().feed(REPORT[:15] + HEARTBEAT + REPORT[15:] + LOGOUT)
    assert (sifted.clean, sifted.beats) == (REPORT, (Beat(HEARTBEAT), Beat(LOGOUT, True)))
