"""Data of every type both ways, and bytes of any kind against the decoders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.buffer import ReceiveBuffer
from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, clock, values
from protocols.dlt698 import frame as frames
from protocols.dlt698.describe import describe
from protocols.dlt698.frame import BUFFER_LIMIT, Address, Frame, decode, encode_address, fcs16, find
from protocols.dlt698.segments import Joiner, split
from protocols.dlt698.values import Data, Ms, Rsd, Ti
from protocols.errors import FrameError, Misuse
from tests.protocols.dlt698.strategies import ADDRESSES, APDUS, DATA, U8, U16


@given(DATA)
def test_data_both_ways(data):
    raw = values.encode(data)
    assert values.decode(raw) == data
    for cut in range(len(raw)):
        with pytest.raises(FrameError):
            values.decode(raw[:cut])


def test_every_tag_of_the_standard_is_there():
    drawn = {
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        9,
        10,
        12,
        15,
        16,
        17,
        18,
        20,
        21,
        22,
        23,
        24,
        25,
        26,
        27,
        28,
        *range(80, 97),
    }
    assert set(values.NAMES) == drawn
    for tag in set(range(256)) - drawn:
        with pytest.raises(FrameError, match=f"type {tag}"):
            values.decode(bytes((tag, *bytes(20))))


def test_nesting_is_bounded():
    deepest = b"\x01\x01" * (values.MAX_DEPTH - 1) + b"\x00"
    values.decode(deepest)
    for head in (
        b"\x01\x01",
        b"\x02\x01",
        b"\x5a\x01\x00\x00\x00\x00",
        b"\x58\x00",
        b"\x5a\x03\x01\x00\x00\x00\x00",
    ):
        with pytest.raises(FrameError, match="nested"):
            values.decode(head * 4000)


def test_counts_beyond_the_bytes():
    for raw in (
        "0184ffffffff00",
        "0984ffffffff",
        "0484ffffffff",
        "5284ffffffff",
        "6084ffffffff00",
        "5c0484ffffffff",
    ):
        with pytest.raises(FrameError):
            values.decode(bytes.fromhex(raw))


def test_values_that_do_not_fit():
    for data in (Data(values.UNSIGNED, 256), Data(values.DATE_TIME_S, b"1"), Data(values.VISIBLE_STRING, 5),
                 Data(99, 1), Data(values.BIT_STRING, "2"), Data(values.RSD, Rsd(11)), Data(values.RSD, Rsd(2)),
                 Data(values.MS, Ms(9)), Data(values.TI, Ti(0, 70000))):  # fmt: skip
        with pytest.raises(Misuse):
            values.encode(data)


def test_chinese_in_a_visible_string():
    raw = bytes((values.VISIBLE_STRING, 4)) + "欠费".encode("gb18030")
    assert values.decode(raw).value == "欠费"
    assert values.encode(values.decode(raw)) == raw
    for raw in ("0a01ff", "0c02ff00"):  # a meter's filler: no text, and not to be lost for it
        data = values.decode(bytes.fromhex(raw))
        assert data.value == bytes.fromhex(raw)[2:]
        assert values.encode(data).hex() == raw


@given(st.datetimes())
def test_times(when):
    moment = np.datetime64(when, "us")
    second, milli = moment.astype("datetime64[s]"), moment.astype("datetime64[ms]")
    assert clock.decode_time_s(clock.encode_time_s(moment)) == second
    assert clock.decode_time(clock.encode_time(moment)) == milli


def test_times_that_do_not_exist():
    for raw in ("2016012016271100", "20160120162711", "07ea020300003c", "07ea0d01000000"):
        with pytest.raises(FrameError):
            clock.decode_time_s(bytes.fromhex(raw))
    assert clock.time_text(bytes.fromhex("20160120162711")) == "8214-01-32 22:39:17"
    with pytest.raises(FrameError):
        clock.decode_time(bytes.fromhex("07e9040b05090c2803e8"))


@given(ADDRESSES, U8, st.sampled_from((0x43, 0xC3, 0x81, 0x01, 0x4B, 0xCB)), st.binary(max_size=300), U16)
def test_frames_both_ways(address, client, control, data, word):
    for frame in (Frame(address, client, control, data), Frame(address, client, control | 0x20, data, word)):
        raw = frame.encode(2)
        assert decode(raw) == frame
        buffer = ReceiveBuffer(BUFFER_LIMIT)
        buffer.feed(raw)
        assert find(buffer) == frame
    assert frames.tsa_address(frames.tsa(address)) == address


def test_kilobytes():
    frame = Frame(Address("01"), 0, 0x43, bytes(1024 * 3 - 10), kilobytes=True)
    raw = frame.encode()
    assert raw[1:3] == b"\x03\x40"
    assert decode(raw) == frame
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(b"\x68\xff\x7f" + raw)  # 16 MB are announced: noise
    assert find(buffer) == frame


def test_check_sum_of_the_standard():
    assert fcs16(b"123456789") == 0x906E


def test_frames_that_cannot_be_sent():
    for frame in (Frame(Address("0"), 0, 0x43, b""), Frame(Address("AB" * 17), 0, 0x43, b""), Frame(Address("xy"), 0, 0x43, b""),
                  Frame(Address("01", 4), 0, 0x43, b""), Frame(Address("01"), 0, 0x63, b""), Frame(Address("01"), 0, 0x43, b"", 1),
                  Frame(Address("01"), 0, 0x43, bytes(16380)), Frame(Address("01"), 0, 0x43, b"", kilobytes=True)):  # fmt: skip
        with pytest.raises(Misuse):
            frame.encode()
    assert encode_address(Address("000000000001")) == bytes.fromhex("05010000000000")


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 700))
def test_segments_both_ways(data, size):
    joiner = Joiner()
    pieces = split(Frame(Address("01"), 0, 0xC3, data), size)
    if len(pieces) == 1:
        assert pieces[0].data == data
        return
    ends = [joiner.add(decode(piece.encode())).apdu for piece in pieces]
    assert ends[:-1] == [None] * (len(pieces) - 1)
    assert ends[-1] == data


def test_a_repeated_segment_is_taken_once():
    joiner = Joiner()
    pieces = split(Frame(Address("01"), 0, 0xC3, b"abcdef"), 2)
    assert [joiner.add(piece).apdu for piece in (pieces[0], pieces[0], pieces[1], pieces[1], pieces[2])][
        -1
    ] == b"abcdef"
    with pytest.raises(FrameError, match="without a first"):
        joiner.add(pieces[1])


@given(APDUS)
def test_apdus_both_ways(apdu):
    raw = apdus.encode(apdu)
    assert apdus.encode(apdus.decode(raw)) == raw
    assert apdus.decode(raw).fields == apdu.fields


APDU_HEADS = st.sampled_from(
    [bytes((code, *([choice] if choice is not None else []))) for code, choice in apdus.TABLE]
)


@settings(max_examples=400)
@given(APDU_HEADS, st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_frame_error(head, body):
    raw = head + body
    try:
        apdu = apdus.decode(raw)
    except FrameError:
        pass
    else:
        assert apdus.decode(apdus.encode(apdu)) == apdu or "nan" in repr(apdu)
    told = describe(Frame(Address("01"), 0, 0x43, raw).encode(), reveal=True)
    assert told["apdu"]["service"]
    found, errors = bulk.decode_many([raw])
    assert len(found) + len(errors) <= max(len(raw), 1)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.lists(st.integers(0, 299), max_size=5))
def test_noise_on_the_line(noise, starts):
    raw = bytearray(noise)
    for at in starts:
        if at < len(raw):
            raw[at] = 0x68
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(bytes(raw))
    for _ in range(len(raw) + 1):
        try:
            if find(buffer) is None:
                break
        except FrameError:
            continue
    else:
        raise AssertionError("no end")


def test_what_looks_corrupt_inside_a_frame_that_begins():
    inner = bytes.fromhex("680a00430000000000000016")
    whole = Frame(Address("00" * 3 + inner.hex() + "00"), 0, 0x43, b"").encode()
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(whole[:-8])
    assert find(buffer) is None
    buffer.feed(whole[-8:])
    assert find(buffer) == decode(whole)
    buffer.feed(inner * 1000)
    with pytest.raises(FrameError, match="HCS"):
        find(buffer)


def test_the_buffer_is_bounded():
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    head = Frame(Address("01"), 0, 0x43, bytes(16000)).encode()[:-1]
    for _ in range(5):
        buffer.feed(head)
    assert len(buffer.data) == BUFFER_LIMIT
