"""Logins and heartbeats of GPRS meters in wrapper frames, as published by those who met them."""

import pytest

from protocols.dlms.login import HEARTBEAT, LOGIN, Login, decode
from protocols.errors import FrameError

#: What the meter said, what the head-end answered: 2022-07-19, two meters of one make.
PUBLISHED = [
    ("0a020c32313036303034303239343100" "5a4c", "aa030c32313036303034303239343100" "7004", LOGIN, "210600402941"),
    ("0c010c323131323030353034333737" "4002", "cc030c323131323030353034333737" "94ff", HEARTBEAT, "211200504377"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "answered", "code", "address"), PUBLISHED)
def test_published_frames_both_ways(said, answered, code, address):
    login = decode(bytes.fromhex(said))
    assert (login.code, login.address) == (code, address)
    assert login.encode().hex() == said
    assert login.answer().hex() == answered


def test_another_make_puts_another_option_behind_the_digits():
    raw = Login(LOGIN, 2, "000000000000", b"\x0d").encode()
    assert raw[:-2].hex() == "0a020c" + "30" * 12 + "0d"
    assert decode(raw).option == b"\x0d"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("", "login: "),
        ("0b020c323130363030343032393431005a4c", "login: 0b020c in 18 bytes"),
        ("0a020c3231303630303430323934315a4c", "in 17 bytes"),
        ("0a020c413130363030343032393431005a4c", "is not 12 digits, at offset 3"),
        ("0a020c323130363030343032393431005a4d", "CRC 5a4d, must be 5a4c, at offset 16"),
    ],
)
def test_what_is_none(raw, says):
    with pytest.raises(FrameError, match=says):
        decode(bytes.fromhex(raw))
