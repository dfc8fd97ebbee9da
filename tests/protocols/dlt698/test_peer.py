"""Against the `dlt698` package from PyPI (C++ inside): an implementation that shares no line with ours.

Every generated frame, value and APDU is encoded here, decoded there and encoded there again: the bytes must be equal, so both read and
write the same. Where the peer refuses, its reason must be one of those explained here; it never reads the same bytes as something else.
PEER_FRAMES sets how many generated frames, values and APDUs are compared, each; CI takes a sample.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import values
from protocols.dlt698.frame import BROADCAST, Frame, decode
from tests.protocols.dlt698.strategies import ADDRESSES, APDUS, DATA, U8

peer = pytest.importorskip("dlt698.codec")
errors = pytest.importorskip("dlt698.errors")

COUNT = int(os.environ.get("PEER_FRAMES", "1000"))
often = settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: What the peer refuses and we read: it checks values against their domains while decoding, we give what came, so that a technician can
#: see what a faulty meter sends.
STRICTER = {
    "TI unit": "units above 5",
    "TSA length": "an empty TSA, or one of more than 17 bytes",
    "TSA address length": "a TSA whose first byte does not count the others",
    "COMDCB": "a baud rate, parity, size or flow control outside its enumeration",
    "Region boundary": "a kind above 3, or ends of different types",
    "MS Region type/boundary": "the same inside MS, or ends that are not of the kind MS says",
    "visible-string character": "control characters and the national code",
    "broadcast address": "a broadcast that is not the one byte AA",
}
#: What it refuses because it holds more of the text to be binding; a head-end must read what comes.
BINDING = {
    "PIID reserved bit": "bit 6 of a request, which a terminal of the field does set",
    "GET count": "a list without elements",
    "mutation count": "the same in SET and ACTION",
    "ERROR type": "codes beside 1, 2 and 255",
    "LINK result": "codes beside 0 to 3",
    "CONNECT result": "codes beside 0 to 5 and 255",
    "RELEASE result": "codes beside 0",
    "nonfinal DAR block": "a refusal that does not say it is the last block",
    "proxy single TSA": "a wildcard, group or broadcast address behind a proxy",
    "zero proxy timeout": "a time-out of 0, the terminal's own",
    "A-XDR length limit": "bounds of its own",
    "password visible-string": "a password that is no printable text",
}


def ask(call, *arguments):
    """What the peer says, or why it refuses."""
    try:
        return call(*arguments), ""
    except errors.Dlt698Error as error:
        return None, next((why for why in (*STRICTER, *BINDING) if why in str(error)), str(error))


def explained(why):
    return why in STRICTER or why in BINDING


@often
@given(
    ADDRESSES, U8, st.sampled_from((0x43, 0xC3, 0x81, 0x01, 0x83, 0x03, 0x4B, 0xCB)), st.binary(max_size=300)
)
def test_frames(address, client, control, data):
    sent = Frame(address, client, control, data)
    got, why = ask(peer.decode_frame, sent.encode())
    if got is None:
        assert why == "broadcast address"
        assert address.kind == BROADCAST
        return
    assert (got.control, got.client, bytes(got.payload)) == (control, client, data)
    if address.logical < 2:  # above, the peer follows the older edition: two bits, no byte of its own
        assert bytes(got.server.bytes)[::-1].hex().upper() == address.digits
        assert got.server.logical == address.logical
    assert decode(bytes(peer.encode_frame(got))) == sent


@often
@given(DATA)
def test_data(data):
    raw = values.encode(data)
    got, why = ask(peer.decode_data, raw)
    if got is None:
        assert explained(why), why
        return
    assert values.decode(bytes(peer.encode_data(got))) == data


@often
@given(APDUS)
def test_apdus(apdu):
    raw = apdus.encode(apdu)
    security = apdu.code in (0x10, 0x90)
    got, why = ask(peer.decode_security if security else peer.decode_apdu, raw)
    if got is None:
        assert explained(why), why
        return
    again = bytes(peer.encode_security(got) if security else peer.encode_apdu(got))
    assert again == raw
    assert apdus.encode(apdus.decode(again)) == raw
