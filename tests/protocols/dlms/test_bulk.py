"""Profile buffers as columns: the fast way and the general way tell the same."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import bulk, values
from protocols.dlms.bulk import Column
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse
from protocols.localtime import day_slots
from protocols.reading import MISSING

CHINA = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
ALL = np.ones(3, dtype=np.bool_)


def same(left: tuple[Column, ...], right: tuple[Column, ...]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert (a.present == b.present).all()
        assert a.values.dtype == b.values.dtype
        assert a.values.shape == b.values.shape
        np.testing.assert_array_equal(a.values[a.present], b.values[b.present])


def column_of(tag: int, rows: int) -> st.SearchStrategy[tuple[int, Any]]:
    if tag == values.OCTET_STRING:
        return st.integers(0, 200).flatmap(
            lambda k: st.binary(min_size=rows * k, max_size=rows * k).map(
                lambda raw: (tag, np.frombuffer(raw, dtype=np.uint8).reshape(rows, k))
            )
        )
    wire = np.dtype(values.NUMBERS[tag])
    if wire.kind == "f":
        cell: Any = st.floats(width=8 * wire.itemsize, allow_nan=False)
    else:
        info = np.iinfo(wire)
        cell = st.integers(int(info.min), min(int(info.max), 2**63 - 1))
    return st.lists(cell, min_size=rows, max_size=rows).map(
        lambda cells: (tag, np.array(cells, dtype=wire.newbyteorder("=")))
    )


@st.composite
def tables(draw: Any) -> list[tuple[int, Any]]:
    rows = draw(st.integers(1, 20))
    tags = draw(st.lists(st.sampled_from([values.OCTET_STRING, *values.NUMBERS]), min_size=1, max_size=6))
    return [draw(column_of(tag, rows)) for tag in tags]


@given(tables())
def test_matrix_equals_general(table: list[tuple[int, Any]]) -> None:
    raw = bulk.encode(table)
    fast = bulk.decode_matrix(raw)
    assert fast is not None
    same(fast, bulk.decode_general(raw))
    for (_, sent), got in zip(table, fast, strict=True):
        assert got.present.all()
        np.testing.assert_array_equal(got.values, sent)


@given(tables(), st.data())
def test_broken_buffers(table: list[tuple[int, Any]], data: st.DataObject) -> None:
    raw = bytearray(bulk.encode(table))
    at = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[at // 8] ^= 1 << at % 8
    try:
        fast = bulk.decode_matrix(bytes(raw))
    except FrameError:
        fast = None
    try:
        general = bulk.decode_general(bytes(raw))
    except FrameError:
        general = None
    if fast is not None and general is not None:
        same(fast, general)
    elif general is None and fast is not None:  # only texts: the matrix leaves them as bytes
        assert values.VISIBLE_STRING in raw or fast == ()


@given(tables(), st.integers(1, 10))
def test_cut_buffers(table: list[tuple[int, Any]], cut: int) -> None:
    with pytest.raises(FrameError):
        bulk.decode(bulk.encode(table)[:-cut] or b"\x01")


@given(st.binary(max_size=100))
def test_garbage(raw: bytes) -> None:
    for body in (raw, b"\x01" + raw, b"\x01\x02\x02" + raw):
        try:
            bulk.decode(body)
        except FrameError:
            continue


def test_null_cells_and_mixed_types() -> None:
    rows = [
        values.structure(values.octets(b"ab"), Data(values.LONG_UNSIGNED, 5), Data(values.FLOAT32, 1.5)),
        values.structure(values.null(), values.null(), values.null()),
        values.structure(values.octets(b"cd"), Data(values.UNSIGNED, 7), Data(values.UNSIGNED, 2)),
    ]
    raw = values.encode(values.array(*rows))
    assert bulk.decode_matrix(raw) is None
    text, number, real = bulk.decode(raw)
    assert list(number.present) == [True, False, True]
    assert list(number.values) == [5, 0, 7]
    assert text.values.shape == (3, 2)
    assert list(bulk.registers(number, -1)) == [5, MISSING, 7]
    assert np.isnan(bulk.reals(real, 0)[1])
    assert list(bulk.reals(real, 0)[[0, 2]]) == [1.5, 2.0]


def test_a_column_that_is_always_null() -> None:
    raw = values.encode(
        values.array(*[values.structure(Data(values.UNSIGNED, n), values.null()) for n in range(3)])
    )
    fast = bulk.decode_matrix(raw)
    assert fast is not None
    same(fast, bulk.decode_general(raw))
    assert (bulk.registers(fast[1], 0) == MISSING).all()


def test_what_is_no_number_is_refused() -> None:
    odd = values.array(values.structure(values.octets(b"a")), values.structure(values.octets(b"ab")))
    (column,) = bulk.decode(values.encode(odd))
    assert column.values.dtype == object
    for scale in (bulk.registers, bulk.reals):
        with pytest.raises(FrameError):
            scale(column, 0)
    with pytest.raises(FrameError):  # an energy in floating point cannot be exact
        bulk.registers(Column(np.ones(3), ALL), 0)


def test_no_rows() -> None:
    assert bulk.decode(b"\x01\x00") == ()
    for raw in (b"\x01\x00\x00", b"\x02\x00", b"\x00", b"\x01\x01\x11\x05"):
        with pytest.raises(FrameError):
            bulk.decode(raw)


@pytest.mark.parametrize(
    ("scaler", "raw", "want"),
    [(-1, 5, 5), (0, 5, 50), (3, 5, 50_000), (-2, 59, 5), (-4, 12345, 12), (-1, 2**62, 2**62)],
)
def test_registers_are_exact(scaler: int, raw: int, want: int) -> None:
    column = Column(np.full(3, raw, dtype=np.int64), np.array([True, False, True]))
    assert list(bulk.registers(column, scaler)) == [want, MISSING, want]


def test_registers_do_not_overflow() -> None:
    for raw in (2**60, -(2**63)):
        with pytest.raises(FrameError):
            bulk.registers(Column(np.full(3, raw, dtype=np.int64), ALL), 3)
    huge = values.encode(values.array(values.structure(Data(values.LONG64_UNSIGNED, 2**63))))
    for decode in (bulk.decode_matrix, bulk.decode_general):
        with pytest.raises(FrameError):
            decode(huge)


def test_reals_are_the_nearest_double() -> None:
    column = Column(np.array([2305, 1, -7], dtype=np.int64), ALL)
    assert list(bulk.reals(column, -1)) == [230.5, 0.1, -0.7]
    assert list(bulk.reals(column, 2)) == [230500.0, 100.0, -700.0]


# --- times ---


@pytest.mark.parametrize("zone", [CHINA, BERLIN, ZoneInfo("UTC")], ids=str)
@pytest.mark.parametrize("day", [dt.date(2026, 3, 29), dt.date(2026, 10, 25), dt.date(2024, 2, 29)], ids=str)
def test_times_round_trip_through_every_hour(zone: ZoneInfo, day: dt.date) -> None:
    slots = day_slots(day, zone)
    raw = bulk.clock_column(slots, zone)
    for row, slot in zip(raw, slots, strict=True):
        assert row.tobytes() == values.encode_clock(slot, zone)
    present = np.ones(len(slots), dtype=np.bool_)
    assert (bulk.instants(Column(raw, present), CHINA) == slots).all()
    undefined = raw.copy()
    undefined[:, 9:11] = (0x80, 0x00)
    assert (bulk.instants(Column(undefined, present), zone) == slots).all()


@given(st.binary(min_size=12, max_size=12))
def test_times_agree_with_the_single_decoder(raw: bytes) -> None:
    column = Column(np.frombuffer(raw, dtype=np.uint8).reshape(1, 12), np.ones(1, dtype=np.bool_))
    try:
        want = values.decode_clock(raw, CHINA).utc
    except FrameError:
        with pytest.raises(FrameError):
            bulk.instants(column, CHINA)
        return
    assert bulk.instants(column, CHINA)[0] == want


@given(
    st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32), st.integers(0, 24), st.integers(0, 60),
    st.sampled_from([0, 59, 60, 255]), st.sampled_from([0, 99, 100, 255]), st.sampled_from([-480, 0, 840, 841, -0x8000]),
    st.sampled_from([0, 0x80, 0xFF]),
)  # fmt: skip
def test_plausible_times_agree(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    cent: int,
    deviation: int,
    status: int,
) -> None:
    raw = year.to_bytes(2, "big") + bytes((month, day, 255, hour, minute, second, cent))
    test_times_agree_with_the_single_decoder.hypothesis.inner_test(  # type: ignore[attr-defined]
        raw + deviation.to_bytes(2, "big", signed=True) + bytes((status,))
    )


def test_null_times_follow_the_row_before() -> None:
    slots = day_slots(dt.date(2026, 3, 1), CHINA)[:4]
    cells = [values.octets(values.encode_clock(slots[0], CHINA)), values.null(), values.null(),
             values.octets(values.encode_clock(slots[3], CHINA))]  # fmt: skip
    (column,) = bulk.decode(values.encode(values.array(*(values.structure(cell) for cell in cells))))
    assert (bulk.instants(column, CHINA, 900) == slots).all()
    without = bulk.instants(column, CHINA)
    assert list(np.isnat(without)) == [False, True, True, False]
    (nothing,) = bulk.decode(values.encode(values.array(values.structure(values.null()))))
    assert np.isnat(bulk.instants(nothing, CHINA, 900)).all()
    with pytest.raises(FrameError):
        bulk.instants(Column(np.zeros((1, 5), dtype=np.uint8), np.ones(1, dtype=np.bool_)), CHINA)


def test_encode_misuse() -> None:
    with pytest.raises(Misuse):
        bulk.encode([(values.UNSIGNED, np.array([256]))])
    with pytest.raises(Misuse):
        bulk.encode([(values.UNSIGNED, np.array([1])), (values.UNSIGNED, np.array([1, 2]))])
