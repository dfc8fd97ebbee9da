"""Q/GDW 376.1 terminals: published logins and heartbeats, and the terminal's side of the codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.gdw376.exchange import Confirmation, Device
from protocols.gdw376.frame import Address, decode
from protocols.gdw376.units import ident
from terminals.greetings.gdw376 import Gdw376Greeting
from terminals.greetings.greeting import Beat, Sifted, Verdict

GREETING = Gdw376Greeting()
OWN = Address("0171", 0x0822)
LOGIN = bytes.fromhex("683200320068c97101220800027800000100e016")
HEARTBEAT = bytes.fromhex("683200320068c97101220800027900000400e416")
LOGOUT = Device(OWN).logout()
REPORT = Device(OWN).report(0x0E, [(ident([0], [1]), [bytes(12)])])
OTHER = Device(Address("0171", 0x0823)).heartbeat()


def waiting_heartbeat():
    """ACD set, with EC, PSEQ 5, and the vendors' clock."""
    device = Device(OWN, counter=5)
    device.waiting = (3, 4)
    return device.heartbeat(bytes.fromhex("563412091123"))


@pytest.mark.parametrize(
    ("frame", "identity"),
    [
        (LOGIN, "01710822"),
        (HEARTBEAT, "01710822"),
        (bytes.fromhex("683200320068c900023412000271000004008816"), "02001234"),
        (bytes.fromhex("683200320068c92105aaaa00027900000100bf16"), "0521AAAA"),
        (bytes.fromhex("683200320068c91403326300027300000100eb16"), "03146332"),
        (waiting_heartbeat(), "01710822"),
    ],
)
def test_a_login_or_a_heartbeat_names_the_terminal(frame, identity):
    said = GREETING.identify(frame + b"more")
    assert (said.identity, said.at, said.beat, said.rest) == (identity, 0, Beat(frame), b"more")


def test_noise_before_and_a_header_in_it():
    noise = b"\r\nCONNECT\r\n\x68\x00\x01\x00\x01\x68"  # as long as 64 bytes that never come
    said = GREETING.identify(noise + LOGIN)
    assert (said.identity, said.at, said.rest) == ("01710822", len(noise), b"")


def test_a_report_names_the_terminal_and_stays_the_session_s():
    said = GREETING.identify(REPORT + HEARTBEAT)
    assert (said.identity, said.beat, said.rest) == ("01710822", None, REPORT + HEARTBEAT)


@pytest.mark.parametrize("cut", range(6, len(LOGIN)))
def test_a_login_that_is_not_all_here(cut):
    assert GREETING.identify(LOGIN[:cut]) is Verdict.MORE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"REG,T-1\r\n",
        LOGOUT,  # brings nobody in
        LOGIN[:-2] + b"\xe1\x16",  # its checksum
        bytes.fromhex("684a004a00680b2021070000006100000400020000040000be16"),  # a master's
        Device(Address("0171", 0xFFFF, 0, True)).heartbeat(),  # a group
    ],
)
def test_nobody(data):
    assert GREETING.identify(data) is Verdict.NOTHING


@pytest.mark.parametrize("counter", [0, 9, 15, 16])
def test_the_confirmation_is_the_one_the_terminal_waits_for(counter):
    device = Device(OWN, counter=counter)
    said = GREETING.identify(device.login())
    answer = GREETING.answer(said.identity, said.beat, 0.0, 0.0)
    frame = decode(answer)
    assert (frame.control, frame.afn, frame.seq) == (0x0B, 0x00, 0x60 | counter & 0x0F)
    device.receive_data(answer)
    assert device.next_event() == Confirmation(counter & 0x0F, True)


def test_the_published_login_s_confirmation():
    assert (
        GREETING.answer("01710822", Beat(LOGIN), 0.0, 0.0).hex()
        == "6832003200680b7101220800006800000100" + "1016"
    )


def make(said=None):
    return GREETING.filter(said or GREETING.identify(LOGIN))


@given(st.data())
def test_the_filter_takes_out_what_is_the_terminal_s_own_and_no_other_byte(check, data):
    answer = Device(OWN)
    others = [OTHER, REPORT, LOGIN[:-2] + b"\xe1\x16", b"\x68" * 9, answer.heartbeat(bytes(200))]
    check(data, make, [LOGIN, HEARTBEAT, LOGOUT, waiting_heartbeat()], others)


def test_a_heartbeat_in_the_midst_of_a_frame_and_a_logout_behind_it():
    sifted = make().feed(REPORT[:20] + HEARTBEAT + REPORT[20:] + LOGOUT)
    assert (sifted.clean, sifted.beats) == (REPORT, (Beat(HEARTBEAT), Beat(LOGOUT, True)))


def test_a_whole_heartbeat_behind_one_that_never_ends_is_found_when_waiting_ends():
    sifter = make()
    begun = Device(OWN).heartbeat(bytes(80))[:20]
    assert sifter.feed(begun + HEARTBEAT) == Sifted()
    assert sifter.release() == Sifted(begun, (Beat(HEARTBEAT),))
    assert sifter.held == b""


def test_a_frame_that_is_no_beat_is_not_waited_for():
    sifter = make()
    assert sifter.feed(REPORT[:-1]).clean == REPORT[:-1]
    assert sifter.feed(b"\x16\x68").clean == b"\x16"
    assert sifter.held == b"\x68"
