"""The TCP wrapper: its header, its receiver, and as a Transport."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.frame import BUFFER, HEADER, MAX_APDU, Frame, Receiver, WrapperTransport, decode, encode
from protocols.dlms.transport import Transport
from protocols.errors import FrameError, Misuse
from protocols.exchange import NEED_DATA, Answer, Ignored

RAW = encode(Frame(16, 1, b"\xc0\x01"))


def test_there_and_back() -> None:
    assert RAW.hex() == "0001001000010002c001"
    assert decode(RAW) == Frame(16, 1, b"\xc0\x01")


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"", 0),
        (RAW[:7], 7),
        (b"\x00\x02" + RAW[2:], 0),
        (RAW + b"\x00", 6),
        (RAW[:-1], 6),
        (RAW[:6] + b"\0\0", 6),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, offset: int) -> None:
    with pytest.raises(FrameError, match="wrapper") as caught:
        decode(raw)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "frame", [Frame(1, 1, b""), Frame(1, 1, bytes(MAX_APDU + 1)), Frame(-1, 1, b"a"), Frame(1, 65536, b"a")]
)
def test_what_does_not_fit(frame: Frame) -> None:
    with pytest.raises(Misuse):
        encode(frame)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_the_receiver_is_bounded_and_finds_what_follows_noise(noise: bytes, step: int) -> None:
    receiver = Receiver(limit=64)
    frames = []
    for piece in (noise, b"\xff" * 80, *(RAW[at : at + step] for at in range(0, len(RAW), step))):
        receiver.feed(piece)
        for _ in range(200):
            try:
                frame = receiver.next()
            except FrameError:
                continue
            if frame is None:
                break
            frames.append(frame)
    assert frames[-1:] == [Frame(16, 1, b"\xc0\x01")]
    assert HEADER + MAX_APDU <= BUFFER


def test_transport() -> None:
    ours: Transport = WrapperTransport(16, 1)
    theirs: Transport = WrapperTransport(1, None)
    assert (ours.connect(), ours.resume(), ours.disconnect()) == (b"", b"", b"")
    with pytest.raises(Misuse):
        theirs.send(b"\xc4")
    theirs.receive_data(ours.send(b"\xc0\x01"))
    assert theirs.next_event() == Answer(b"\xc0\x01")
    assert theirs.next_event() is NEED_DATA
    ours.receive_data(theirs.send(b"\xc4\x01"))
    assert ours.next_event() == Answer(b"\xc4\x01")


def test_frames_of_others_are_ignored() -> None:
    ours = WrapperTransport(16, 1)
    for foreign in (encode(Frame(1, 17, b"\xc4")), encode(Frame(2, 16, b"\xc4"))):
        ours.receive_data(foreign)
        assert isinstance(ours.next_event(), Ignored)


def test_an_apdu_beyond_the_limit_is_corrupt() -> None:
    ours = WrapperTransport(16, 1, limit=8)
    ours.receive_data(encode(Frame(1, 16, bytes(9))))
    with pytest.raises(FrameError, match="no header"):
        ours.next_event()
    ours.limit = 9
    ours.receive_data(encode(Frame(1, 16, bytes(9))))
    assert ours.next_event() == Answer(bytes(9))
    assert ours.skipped == 17
