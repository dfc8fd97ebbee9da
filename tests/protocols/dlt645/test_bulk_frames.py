"""Whole frames in bulk: the same numbers and the same complaints as one by one."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645 import values
from protocols.dlt645.bulk_frames import frame_columns
from protocols.dlt645.frame import Frame, decode
from protocols.dlt645.items import item
from protocols.errors import FrameError, Refused
from protocols.reading import MISSING, empty_column
from tests.support.work import work

DI = 0x00010000


def answer(meter: int, kwh: str | None, *, di: int = DI, control: int = 0x91, wakeup: int = 0) -> bytes:
    data = di.to_bytes(4, "little") + values.encode(di, [None if kwh is None else Decimal(kwh)])
    return Frame(f"{meter:012d}", control, data).encode(wakeup)


def test_good_bad_refused_and_foreign_frames():
    spoilt = bytearray(answer(3, "3.00"))
    spoilt[-2] ^= 1
    frames = [
        answer(1, "123456.78"),
        answer(2, None),
        bytes(spoilt),
        answer(4, "4.00", wakeup=4),
        Frame("000000000005", 0xD1, b"\2").encode(),
        answer(6, "6.00", di=0x00020000),
        Frame("000000000007", 0x91, bytes.fromhex("000001000000001a")).encode(),
        Frame("00000000AAAA", 0x91, bytes.fromhex("0000010001000000")).encode(),
        b"",
        answer(9, "9.00", control=0xB1),
    ]
    got = frame_columns(DI, frames, ["active_import"])
    assert got.address.tolist() == [1, 2, -1, 4, 5, 6, 7, -1, -1, 9]
    register = got.columns["active_import"]
    assert register.dtype == np.int64
    assert register.tolist() == [1234567800, MISSING, MISSING, 40000, *[MISSING] * 3, 100, MISSING, MISSING]
    assert sorted(got.errors) == [2, 4, 5, 6, 8, 9]
    assert isinstance(got.errors[4], Refused)
    assert got.errors[4].absent
    assert "checksum" in str(got.errors[2])
    assert [got.errors[i].offset for i in (2, 5, 6, 8, 9)] == [18, 10, 14, 0, 8]


def test_an_array_of_frames_and_their_list_are_the_same():
    frames = [answer(n, f"{n}.25", wakeup=4) for n in range(20_000)]
    raw = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1)
    for given_ in (frames, raw):
        got = frame_columns(DI, given_, ["active_import"])
        assert not got.errors
        np.testing.assert_array_equal(got.address, np.arange(20_000))
        np.testing.assert_array_equal(got.columns["active_import"], np.arange(20_000) * 10_000 + 2500)


@given(st.dictionaries(st.integers(0, 49), st.integers(0, 8 * 20 - 1), min_size=1, max_size=20))
def test_a_flipped_bit_spoils_its_own_frame_only(flips):
    """One a frame: two may cancel out in a sum."""
    frames = [bytearray(answer(n, f"{n}.25")) for n in range(50)]
    for n, bit in flips.items():
        frames[n][bit // 8] ^= 1 << bit % 8
    got = frame_columns(DI, [bytes(frame) for frame in frames], ["active_import"])
    for index, frame in enumerate(frames):
        complaint = complains(lambda raw=bytes(frame): decode(raw))
        assert str(got.errors.get(index)) == str(complaint)
        if complaint is None:
            assert got.columns["active_import"][index] == index * 10_000 + 2500


def complains(function) -> FrameError | None:
    try:
        function()
    except FrameError as error:
        return error
    return None


@given(
    st.sampled_from([DI, 0x0201FF00, 0x01010000, 0x02030000, 0x03110000, 0x0001FF00]), st.binary(max_size=20)
)
def test_any_data_are_as_one_by_one(di, data):
    raw = Frame("000000000001", 0x91, di.to_bytes(4, "little") + data).encode()
    codes = [field.quantity for field in item(di).fields if field.quantity]
    got = frame_columns(di, [raw, raw], codes)
    complaint = complains(lambda: values.quantity_values(di, data))
    assert [error.message for error in got.errors.values()] == ([complaint.message] * 2 if complaint else [])
    wanted = {} if complaint else values.quantity_values(di, data)
    for code in codes:
        np.testing.assert_array_equal(got.columns[code][1], wanted.get(code, empty_column(code, 1)[0]))


def test_like_frames_are_not_taken_one_by_one():
    """The rate is scripts/bench's; here, the calls that ten thousand frames cost."""
    frames = np.frombuffer(b"".join(answer(n, "1.00") for n in range(2000)) * 5, np.uint8).reshape(10_000, -1)
    frame_columns(DI, frames, ["active_import"])
    assert work(frame_columns, DI, frames, ["active_import"]) < 1000


def test_nothing_gives_nothing():
    for frames in ([], np.empty((0, 20), np.uint8)):
        got = frame_columns(DI, frames, ["active_import"])
        assert len(got.address) == 0
        assert not got.errors


@pytest.mark.parametrize("length", [1, 11, 15, 16])
def test_frames_too_short_for_anything(length):
    got = frame_columns(DI, [bytes(length)] * 3, ["active_import"])
    assert len(got.errors) == 3
