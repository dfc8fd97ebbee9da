"""DLMS meters that dial in by themselves: what a make says first, and published pushes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import values
from protocols.dlms.apdu import DataNotification, EventNotification
from protocols.dlms.encoding import encode as encode_apdu
from protocols.dlms.frame import Frame, encode
from protocols.dlms.login import HEARTBEAT, Login
from protocols.dlms.messages import Target
from terminals.greetings.dlms import DlmsGreeting
from terminals.greetings.greeting import Beat, Said, Sifted, Verdict

GREETING = DlmsGreeting()
LOGGED = bytes.fromhex("0001000100010012" "0a020c32313036303034303239343100" "5a4c")  # fmt: skip
ANSWER = bytes.fromhex("0001000100010012" "aa030c32313036303034303239343100" "7004")  # fmt: skip
OWN = "210600402941"
BEAT = encode(Frame(1, 1, Login(HEARTBEAT, 1, OWN).encode()))
OTHER = encode(Frame(1, 1, Login(HEARTBEAT, 1, "210600402942").encode()))
#: hw-fixtures/dlms/u9n-dlms-cosem-udp/push.toml, the first.
CIPHERED = bytes.fromhex(
    "000100010001 0046DB082F192291991641033B30000001E5025CE9D2271FD78BE8C204211A916A9D7F587E0A7A814CADEA89E9593F01F92E"
    "A8C087B5BDFDEFEAB6BECF282DFE49C08F5BE6DC8400".replace(" ", "")
)


def push(*items):
    body = values.encode(values.structure(*items))
    return encode(Frame(1, 1, encode_apdu(DataNotification(7, None, body))))


def listed(obis, text):
    return values.octets(values.obis_bytes(obis)), values.octets(text)


ENERGY = values.Data(values.DOUBLE_LONG_UNSIGNED, 370)
NAMED = push(*listed("0.0.96.1.7.255", b"MA304H4-9"), *listed("0.0.96.1.0.255", b"7340157030784395"), ENERGY)


def test_a_make_s_login_is_answered_as_published():
    said = GREETING.identify(LOGGED + b"more")
    assert (said.identity, said.beat, said.rest) == (OWN, Beat(LOGGED), b"more")
    assert GREETING.answer(OWN, said.beat, 0.0, 0.0) == ANSWER
    assert GREETING.identify(b"\x00\x01noise" + BEAT).identity == OWN


@pytest.mark.parametrize(
    ("frame", "identity"),
    [
        (CIPHERED, "2f19229199164103"),
        (NAMED, "7340157030784395"),
        (push(*listed("0.0.42.0.0.255", b"KFM1200001234567"), ENERGY), "KFM1200001234567"),
        (push(values.structure(*listed("0.0.96.1.0.255", b"73401570"))), "73401570"),
        (push(values.octets(b"\x00\x01"), values.Data(values.VISIBLE_STRING, "ISK0000012345678"), ENERGY), "ISK0000012345678"),
    ],
)  # fmt: skip
def test_a_push_names_the_meter_and_stays_the_session_s(frame, identity):
    said = GREETING.identify(b"\xff" + frame + b"more")
    assert (said.identity, said.at, said.beat, said.rest) == (identity, 1, None, frame + b"more")


def test_the_names_that_a_utility_pushes_are_its_own_choice():
    said = DlmsGreeting(["0.0.96.1.7.255"]).identify(NAMED)
    assert said.identity == "MA304H4-9"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x01\x00\x01\x00\x01\x00\x00",
        push(ENERGY, values.octets(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09")),
        encode(Frame(1, 1, encode_apdu(EventNotification(None, Target(1, "0.0.97.98.0.255", 2), b"\x11\x01")))),
        LOGGED[:-1] + b"\x4d",  # its CRC
        encode(Frame(1, 1, b"\x61\x03\x00\x00\x00")),
    ],
)  # fmt: skip
def test_nobody(data):
    assert not isinstance(GREETING.identify(data), Said)


@pytest.mark.parametrize("cut", range(8, len(NAMED), 7))
def test_a_push_that_is_not_all_here(cut):
    assert GREETING.identify(NAMED[:cut]) is Verdict.MORE


@given(st.data())
def test_the_filter_takes_out_what_is_the_meter_s_own_and_no_other_byte(check, data):
    """A beat that is cut where a few of its bytes would end a frame may stay in the stream; it is never harmed."""
    others = [OTHER, NAMED, CIPHERED, LOGGED[:-1] + b"\x4d", bytes(9), b"\x00\x01" * 4]
    check(data, lambda: GREETING.filter(GREETING.identify(LOGGED)), [LOGGED, BEAT], others, again=True)


@given(st.data())
def test_between_whole_frames_every_beat_is_taken_out(check, data):
    others = [OTHER, NAMED, CIPHERED, push(ENERGY, values.octets(bytes(12)))]
    check(data, lambda: GREETING.filter(GREETING.identify(LOGGED)), [LOGGED, BEAT], others, whole=True)


def test_a_meter_known_by_a_push_may_send_heartbeats_too():
    sifter = GREETING.filter(GREETING.identify(CIPHERED))
    sifted = sifter.feed(CIPHERED[:30] + BEAT + CIPHERED[30:])
    assert (sifted.clean, sifted.beats) == (CIPHERED, (Beat(BEAT),))


def test_what_ends_a_frame_is_not_held_though_a_heartbeat_begins_so():
    sifter = GREETING.filter(GREETING.identify(LOGGED))
    answer = encode(Frame(1, 1, b"\xc4\x01\xc1\x00\x06" + bytes(40)))
    assert sifter.feed(answer + answer) == Sifted(answer + answer)
    for cut in range(1, len(answer)):
        begun = sifter.feed(answer[:cut])
        assert begun.clean + sifter.held == answer[:cut]
        assert begun.clean + sifter.feed(answer[cut:]).clean == answer
        assert sifter.held == b""
    for byte in answer + BEAT[:-1]:
        sifter.feed(bytes([byte]))
    assert sifter.held == BEAT[:-1]
    assert sifter.feed(BEAT[-1:] + b"noise\x00").beats == (Beat(BEAT),)
    assert sifter.held == b"\x00"
