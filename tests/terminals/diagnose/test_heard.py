"""Who speaks by himself on a line."""

from protocols.gdw376.frame import Address as Address376
from terminals.diagnose.heard import Speaker, speakers

#: A login as a 376.1 terminal sends it: A1 0171, A2 2082H.
LOGIN = bytes.fromhex("68 32 00 32 00 68 C9 71 01 22 08 00 02 78 00 00 01 00 E0 16")


def test_a_login_of_376_names_the_terminal():
    assert Address376("0171", 0x0822).text == "01710822"
    assert speakers(b"\x00\xff" + LOGIN + LOGIN) == (Speaker("gdw376", "01710822"),)


def test_a_spoilt_login_and_noise_name_nobody():
    spoilt = LOGIN[:-2] + bytes((LOGIN[-2] ^ 1, LOGIN[-1]))
    assert speakers(spoilt) == ()
    assert speakers(b"\x68" * 300) == ()
    assert speakers(b"") == ()
