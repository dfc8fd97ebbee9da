"""Both directions against the `dlt645` package from PyPI: an implementation that shares no line with ours.

PEER_FRAMES sets how many generated frames are compared in each direction; CI takes a sample.

Differences, none in a frame that a meter sends:

* the peer's values are floats, ours exact decimals: compared after rounding to the form's digits
* the peer knows no filler: FF in a number is an error there, missing here; it is not asked about fillers
* the peer has no sign outside its own list of items; only items that both call unsigned are compared, and ours that are signed
  with values that are not negative
"""

import os
import random
from collections.abc import Iterator
from decimal import Decimal

import pytest

from protocols.dlt645 import values
from protocols.dlt645.bulk_frames import frame_columns
from protocols.dlt645.frame import Frame, decode

peer = pytest.importorskip("dlt645.protocol.protocol").DLT645Protocol
client = pytest.importorskip("dlt645.service.clientsvc.client_service")

COUNT = int(os.environ.get("PEER_FRAMES", "2000"))
#: Items of one number that the peer has too: DI, digits, decimals.
NUMBERS = [
    (0x00010000, 8, 2), (0x00010100, 8, 2), (0x00020000, 8, 2), (0x00090000, 8, 2), (0x02010100, 4, 1), (0x02010300, 4, 1),
    (0x02020200, 6, 3), (0x02030000, 6, 4), (0x02040100, 6, 4), (0x02060000, 4, 3), (0x02800002, 4, 2),
]  # fmt: skip


def frames(seed: int) -> Iterator[Frame]:
    """Any address, control code and data; and answers to real items."""
    dice = random.Random(seed)
    for _ in range(COUNT):
        address = "".join(dice.choices("0123456789", k=12))
        if dice.random() < 0.5:
            di, digits, _ = dice.choice(NUMBERS)
            number = dice.randrange(8 * 10 ** (digits - 1))  # without the sign's bit
            data = di.to_bytes(4, "little") + bytes.fromhex(f"{number:0{digits}d}")[::-1]
            yield Frame(address, 0x91, data)
        else:
            yield Frame(address, dice.randrange(256), dice.randbytes(dice.randrange(201)))


def test_the_peer_reads_what_we_write():
    for sent in frames(1):
        got = peer.deserialize(sent.encode(4))
        assert (got.addr[::-1].hex(), got.ctrl_code, bytes(got.data)) == (
            sent.address,
            sent.control,
            sent.data,
        )


def test_we_read_what_the_peer_writes():
    for number, sent in enumerate(frames(2)):
        wakeup = number % 5
        raw = bytes(peer.build_frame(bytes.fromhex(sent.address)[::-1], sent.control, sent.data, wakeup))
        assert decode(raw) == sent
        assert raw == sent.encode(wakeup)


def test_both_refuse_the_same_damage():
    """One changed byte: either both complain, or both read the same frame."""
    dice = random.Random(3)
    for sent in frames(3):
        raw = bytearray(sent.encode())
        raw[dice.randrange(len(raw))] ^= dice.randrange(1, 256)
        ours, theirs = outcome(decode, bytes(raw)), outcome(peer.deserialize, bytes(raw))
        if ours is not None:
            assert theirs is not None


def outcome(function, raw: bytes) -> object:
    try:
        return function(raw)
    except Exception:
        return None


@pytest.mark.parametrize(("di", "digits", "decimals"), NUMBERS)
def test_the_same_numbers(di, digits, decimals):
    """What the peer's own conversion gives for the data, one by one and in bulk."""
    from dlt645.common.transform import bcd_to_float  # noqa: PLC0415 - the peer may be missing

    dice = random.Random(di)
    form = "X" * (digits - decimals) + "." + "X" * decimals
    sent = []
    for _ in range(max(1, COUNT // len(NUMBERS))):
        number = dice.randrange(8 * 10 ** (digits - 1))
        data = bytes.fromhex(f"{number:0{digits}d}")[::-1]
        ours = values.decode(di, data)[0].value
        assert ours == Decimal(number).scaleb(-decimals)
        assert round(bcd_to_float(data, form, "little"), decimals) == float(ours)
        sent.append(Frame(f"{number:012d}", 0x91, di.to_bytes(4, "little") + data).encode())
    assert not frame_columns(di, sent, []).errors
