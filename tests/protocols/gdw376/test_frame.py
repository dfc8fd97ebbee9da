import contextlib
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse
from protocols.gdw376.describe import describe
from protocols.gdw376.frame import (
    BUFFER_LIMIT,
    LENGTH_LIMIT,
    Address,
    Frame,
    Tp,
    decode,
    find,
    parse_address,
    stamp,
)
from protocols.gdw376.units import Ident, ident, idents, is_ident
from protocols.gdw376.values import UNIT_LIMIT, decode_units

OWN = Address("0171", 0x0822)

addresses = st.builds(
    Address,
    st.integers(0, 9999).map(lambda n: f"{n:04d}"),
    st.integers(0, 0xFFFF),
    st.integers(0, 127),
    st.booleans(),
)
stamps = st.builds(Tp, st.integers(0, 255), st.binary(min_size=4, max_size=4), st.integers(0, 255))


@st.composite
def frames(draw):
    uplink = draw(st.booleans())
    afn = draw(st.sampled_from([0, 1, 2, 4, 5, 9, 0x0A, 0x0C, 0x0D, 0x0E, 0x10]))
    control = draw(st.integers(0, 0x7F)) | (0x80 if uplink else 0)
    tp = draw(st.none() | stamps)
    with_pw = not uplink and afn in (1, 4, 5, 0x10)
    return Frame(
        address=draw(addresses),
        control=control,
        afn=afn,
        seq=draw(st.integers(0, 0x7F)) | (0x80 if tp else 0),
        body=draw(st.binary(min_size=4 if with_pw else 0, max_size=300)),
        pw=draw(st.binary(min_size=16, max_size=16)) if with_pw else b"",
        ec=(draw(st.integers(0, 255)), 7) if uplink and control & 0x20 else None,
        tp=tp,
        protocol=draw(st.integers(1, 3)),
    )


@given(frames())
def test_round_trip(frame):
    assert decode(frame.encode()) == frame
    assert describe(frame.encode())["protocol_id"] == frame.protocol


@given(st.binary(max_size=200))
def test_bytes_are_a_frame_or_an_error(raw):
    with contextlib.suppress(FrameError):
        describe(raw)
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(raw)
    for _ in range(len(raw) + 1):
        try:
            if find(buffer) is None:
                break
        except FrameError:
            continue
    else:
        raise AssertionError("find goes on for ever")


@given(frames(), st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 50))
def test_found_in_noise_in_any_pieces(frame, before, after, step):
    raw = before + frame.encode() + after
    buffer, found = ReceiveBuffer(BUFFER_LIMIT), []
    for at in range(0, len(raw), step):
        buffer.feed(raw[at : at + step])
        while True:
            try:
                one = find(buffer)
            except FrameError:
                continue
            if one is None:
                break
            found.append(one)
    assert frame in found


@given(st.binary(max_size=400), st.integers(0, 0x10), st.booleans())
def test_units_of_any_bytes(body, afn, uplink):
    units = decode_units(afn, body, uplink=uplink)
    assert sum(len(unit.data) for unit in units) <= len(body)
    repr(units)


def test_a_false_header_does_not_hide_a_frame():
    frame = Frame(OWN, 0xC9, 2, 0x70, ident([0], [1]).raw)
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(b"\x68\xfe\xff\xfe\xff\x68" + frame.encode())
    assert find(buffer) == frame


def test_a_burst_of_garbage_is_one_error_and_the_buffer_is_bounded():
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(bytes.fromhex("6812161216") * 20_000)
    assert len(buffer.data) == BUFFER_LIMIT
    with pytest.raises(FrameError, match="checksum"):
        find(buffer)
    while True:
        try:
            if find(buffer) is None:
                break
        except FrameError:
            continue
    assert len(buffer.data) < 3000  # the last candidates, which are not all here


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("68", "at least 16"),
        ("00320032006800000000000000000000000000e016", "start: 00H must be 68H, at offset 0"),
        ("683200320000c97101220800027800000100e016", "start: 00H .* at offset 5"),
        ("683200360068c97101220800027800000100e016", "must agree"),
        ("683000300068c97101220800027800000100e016", "protocol id: 0"),
        ("683600360068c97101220800027800000100e016", "length: 13"),
        ("683200320068c97101220800027800000100e017", "end: 17H .* at offset 19"),
        ("683200320068c97101220800027800000100e116", "checksum: E1H must be E0H, at offset 18"),
        ("682a002a0068c9710122080002f80116".replace("f801", "f8"), "frame"),
    ],
)
def test_complaints_name_field_offset_and_rule(raw, says):
    with pytest.raises(FrameError, match=says):
        decode(bytes.fromhex(raw))


def corrupted_tail(control: int, seq: int) -> bytes:
    data = bytes((control,)) + OWN.encode() + bytes((0x0C, seq, 0))
    length = (len(data) << 2 | 2).to_bytes(2, "little")
    return b"\x68" + 2 * length + b"\x68" + data + bytes((sum(data) & 0xFF, 0x16))


def test_announced_but_not_there():
    with pytest.raises(FrameError, match="Tp"):
        decode(corrupted_tail(0x88, 0xE0))
    with pytest.raises(FrameError, match="EC"):
        decode(corrupted_tail(0xA8, 0x60))


def test_a_master_may_leave_pw_out():
    frame = Frame(OWN, 0x4A, 0x05, 0x60, ident([1], [2]).raw)
    assert decode(frame.encode()) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Frame(OWN, 0x88, 0x0C, 0xE0),
        Frame(OWN, 0xA8, 0x0C, 0x60),
        Frame(OWN, 0x4A, 0x0C, 0x60, pw=bytes(16)),
        Frame(OWN, 0x4A, 0x05, 0x60, pw=bytes(15)),
        Frame(OWN, 0x4A, 0x05, 0x60, protocol=0),
        Frame(OWN, 0x4A, 0x05, 0x60, bytes(LENGTH_LIMIT)),
        Frame(Address("171", 1), 0x4A, 0x05, 0x60),
        Frame(Address("0171", 70_000), 0x4A, 0x05, 0x60),
        Frame(OWN, 0x88, 0x0C, 0xE0, tp=Tp(0, b"")),
    ],
)
def test_misuse(frame):
    with pytest.raises(Misuse):
        frame.encode()


def test_addresses():
    assert parse_address("01710822", 3) == Address("0171", 0x0822, 3)
    assert Address("0171", 0x0822, 3).text == "01710822"
    with pytest.raises(Misuse):
        parse_address("0171082")
    everybody = Address("0000", 0xFFFF, 16, group=True)
    assert everybody.is_for(OWN)
    assert Address("0171", 0xFFFF, group=True).is_for(OWN)
    assert not Address("0172", 0xFFFF, group=True).is_for(OWN)
    assert not Address("0171", 5, group=True).is_for(OWN)
    assert Address("0171", 0x0822, 9).is_for(OWN)
    assert not Address("0171", 0x0823).is_for(OWN)


def test_time_stamps():
    tp = Tp(2, stamp(dt.datetime(2018, 8, 28, 16, 19, 39)), 5)
    assert tp.encode().hex() == "023919162805"
    assert tp.moment == (28, 16, 19, 39)
    with pytest.raises(FrameError):
        _ = Tp(2, b"\xaa\x00\x00\x00").moment


# --- identifiers ---


@given(st.integers(0, 2040), st.integers(1, 256))
def test_one_point_and_function(point, function):
    name = ident([point], [function])
    assert (name.points, name.functions) == ((point,), (function,))
    assert name.valid


def test_identifiers_of_the_standard():
    assert ident([0], [3]).raw.hex() == "00000400"
    assert ident([1], [129]).raw.hex() == "01010110"
    assert ident([1, 3, 8], [1, 2]).raw.hex() == "85010300"
    assert list(ident([1, 2], [5, 6]).pairs()) == [(1, 5), (1, 6), (2, 5), (2, 6)]
    assert ident([2040], [248]).raw.hex() == "80ff801e"
    for points, functions in (
        ([1, 9], [1]),
        ([1], [1, 9]),
        ([], [1]),
        ([2041], [1]),
        ([1], [257]),
        ([0, 1], [1]),
    ):
        with pytest.raises(Misuse):
            ident(points, functions)


def test_as_many_identifiers_as_needed():
    names = idents([0, 1, 8, 9], [33, 34, 129])
    pairs = {pair for name in names for pair in name.pairs()}
    assert pairs == {(p, f) for p in (0, 1, 8, 9) for f in (33, 34, 129)}
    assert len(names) == 6


def test_invalid_identifiers():
    assert not Ident(b"\x01\x00\x01\x00").valid
    assert not Ident(b"\x00\x01\x01\x00").valid
    assert not Ident(b"\x01\x01\x00\x00").valid
    assert not Ident(b"\x01\x01\x01\x20").valid
    assert Ident(b"\xff\x00\x01\x00").all_points
    assert not is_ident(b"\x01")


def test_identifiers_that_name_too_much():
    body = b"\xff\x01\xff\x02" * 1000
    units = decode_units(0x0C, body, uplink=False)
    assert len(units) == UNIT_LIMIT + 1
    assert "2048" in units[-1].why
