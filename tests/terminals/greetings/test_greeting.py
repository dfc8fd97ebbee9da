"""Which kind of caller the first bytes name, when there is no more use in waiting."""

from zoneinfo import ZoneInfo

import pytest

from protocols.gdw376.exchange import Device
from protocols.gdw376.frame import Address
from terminals.greetings import every_kind
from terminals.greetings.greeting import FIRST_LIMIT, NOISE_LIMIT, Verdict, recognise

KINDS = every_kind(ZoneInfo("Asia/Shanghai"))
L376 = Device(Address("0171", 0x0822)).login()
CALLERS = {
    "dtu": (b"REG,T-1\r\n", "T-1"),
    "gdw376": (L376, "01710822"),
    "dlt698": (
        bytes.fromhex("681e008105840000000000006cc0010000003c07e4080604102c0e00007a0616"),
        "000000000084",
    ),
    "dlms": (bytes.fromhex("00010001000100120a020c323130363030343032393431005a4c"), "210600402941"),
}


@pytest.mark.parametrize("kind", CALLERS)
@pytest.mark.parametrize("noise", [b"", b"\xfe\xfe\x00\r\n", bytes(range(256))[: NOISE_LIMIT - 60]])
def test_every_kind_is_told_from_the_others_byte_by_byte(kind, noise):
    frame, identity = CALLERS[kind]
    data = noise + frame
    for end in range(len(data)):
        assert recognise(KINDS, data[:end]) is Verdict.MORE
    greeting, said = recognise(KINDS, data)
    assert (greeting.kind, said.identity, said.at, said.rest) == (kind, identity, len(noise), b"")


@pytest.mark.parametrize("first", CALLERS)
@pytest.mark.parametrize("second", CALLERS)
def test_the_first_greeting_counts(first, second):
    greeting, said = recognise(KINDS, CALLERS[first][0] + CALLERS[second][0])
    assert (greeting.kind, said.rest) == (first, CALLERS[second][0])


def test_garbage_is_a_stranger_within_the_limit_of_noise():
    line = b"GET / HTTP/1.1\r\n"
    assert recognise(KINDS, line) is Verdict.MORE
    assert recognise(KINDS, line * (NOISE_LIMIT // len(line))) is Verdict.STRANGER


def test_a_frame_that_never_ends_is_a_stranger_within_the_limit_of_first_bytes():
    begun = b"\x68\x01\x1f\x01\x1f\x68"  # 1,984 bytes of user data
    data = begun + b"U" * FIRST_LIMIT
    assert recognise(KINDS, data[:1000]) is Verdict.MORE
    assert recognise(KINDS, data) is Verdict.STRANGER
