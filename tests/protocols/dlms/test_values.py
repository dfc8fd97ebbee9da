"""A-XDR values and COSEM date-time."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import values
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse
from protocols.localtime import instant

CHINA = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")


def numbers(tag: int) -> st.SearchStrategy[Data]:
    code = np.dtype(values.NUMBERS[tag])
    if code.kind == "f":
        return st.floats(width=8 * code.itemsize, allow_nan=False).map(lambda x: Data(tag, x))
    info = np.iinfo(code)
    return st.integers(int(info.min), int(info.max)).map(lambda x: Data(tag, x))


LEAVES = st.one_of(
    *(numbers(tag) for tag in values.NUMBERS),
    st.just(Data(values.NULL)),
    st.just(Data(values.DONT_CARE)),
    st.booleans().map(lambda x: Data(values.BOOLEAN, x)),
    st.binary(max_size=300).map(values.octets),
    st.text(st.characters(max_codepoint=127), max_size=200).map(lambda x: Data(values.VISIBLE_STRING, x)),
    st.text(max_size=80).map(lambda x: Data(values.UTF8_STRING, x)),
    st.text("01", max_size=40).map(lambda x: Data(values.BIT_STRING, x)),
    st.binary(min_size=12, max_size=12).map(lambda x: Data(values.DATE_TIME, x)),
    st.binary(min_size=5, max_size=5).map(lambda x: Data(values.DATE, x)),
    st.binary(min_size=4, max_size=4).map(lambda x: Data(values.TIME, x)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda tag, items: Data(tag, tuple(items)),
        st.sampled_from([values.ARRAY, values.STRUCTURE]),
        st.lists(inner, max_size=5),
    ),
    max_leaves=20,
)


@given(TREES)
def test_round_trip(data: Data) -> None:
    raw = values.encode(data)
    assert values.decode(raw) == data
    with pytest.raises(FrameError):
        values.decode(raw + b"\x00")


@given(TREES)
def test_cut_anywhere_is_never_a_value(data: Data) -> None:
    raw = values.encode(data)
    for end in range(len(raw)):
        with pytest.raises(FrameError):
            values.decode(raw[:end])


@given(st.binary(max_size=120))
def test_garbage(raw: bytes) -> None:
    with contextlib.suppress(FrameError):
        values.decode(raw)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 70_000])
def test_long_strings(length: int) -> None:
    raw = values.encode(values.octets(bytes(length)))
    assert values.decode(raw).value == bytes(length)


@pytest.mark.parametrize(
    "raw",
    [
        "01880100000000000000",  # 2**56 elements announced
        "0184ffffffff00",
        "09850000000001aa",  # a length of five bytes
        "0980",  # a length of no bytes
        "1c00",  # delta types
        "0a02c3a9",  # visible-string that is not ASCII
        "0c01ff",  # not UTF-8
        "0201" * 20 + "00",  # nested too deep
        "1302000100",  # compact array of empty structures
        "13" + "01ffff" * 5 + "00" + "0101",  # compact array that would unfold for ever
    ],
)
def test_hostile(raw: str) -> None:
    with pytest.raises(FrameError):
        values.decode(bytes.fromhex(raw))


def test_compact_array() -> None:
    # structure of long-unsigned and octet-string; two elements
    raw = bytes.fromhex(
        "13 02 02 12 09 0a 0001 02 6162 0002 01 63".replace(" ", "").replace("020212090a", "0202120909")
    )
    want = values.array(
        values.structure(Data(values.LONG_UNSIGNED, 1), values.octets(b"ab")),
        values.structure(Data(values.LONG_UNSIGNED, 2), values.octets(b"c")),
    )
    assert values.decode(raw) == want
    # array of two unsigned
    assert values.plain(values.decode(bytes.fromhex("13010002110401020304"))) == [[1, 2], [3, 4]]
    with pytest.raises(Misuse):
        values.encode(Data(values.COMPACT_ARRAY, ()))


@pytest.mark.parametrize(
    "data",
    [
        Data(values.UNSIGNED, 256), Data(values.INTEGER, -129), Data(values.UNSIGNED, "x"), Data(values.OCTET_STRING, 5),
        Data(values.VISIBLE_STRING, "é"), Data(values.DATE_TIME, b"x"), Data(99, 1), Data(values.FLOAT32, 1e300),
    ],
)  # fmt: skip
def test_what_does_not_fit(data: Data) -> None:
    with pytest.raises(Misuse):
        values.encode(data)


def test_floats() -> None:
    assert values.decode(bytes.fromhex("1743660000")).value == 230.0
    assert math.isnan(values.decode(bytes.fromhex("177fc00000")).value)


# --- clock ---


@given(
    st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2090, 1, 1), timezones=st.just(dt.UTC)),
    st.sampled_from([CHINA, BERLIN, ZoneInfo("UTC"), ZoneInfo("America/New_York")]),
)
def test_clock_round_trip(when: dt.datetime, zone: ZoneInfo) -> None:
    utc = instant(when.replace(microsecond=when.microsecond // 10_000 * 10_000))
    raw = values.encode_clock(utc, zone)
    assert values.decode_clock(raw, CHINA).utc == utc
    undefined = raw[:9] + b"\x80\x00" + raw[11:]
    assert values.decode_clock(undefined, zone).utc == utc  # the daylight bit tells the doubled hour apart


@pytest.mark.parametrize(
    ("raw", "utc", "deviation"),
    [
        ("07e50118ff0e303950ffc400", "2021-01-24T13:48:57.80", -60),
        ("07ea0301071e000000000000", None, None),
        ("07ea03010708000000000000", "2026-03-01T08:00", 0),  # deviation 0 is UTC, not "unknown"
        ("07ea03010708000000fe2000", "2026-03-01T00:00", -480),
        ("07ea030107080000ff800000", "2026-03-01T00:00", None),  # undefined: civil time of the meter's zone
        ("07ea0301ff08ffffff800000", None, None),
        ("07ea0301070800ffff8000ff", "2026-03-01T00:00", None),
    ],
)
def test_clock(raw: str, utc: str | None, deviation: int | None) -> None:
    if utc is None:
        with pytest.raises(FrameError):
            values.decode_clock(bytes.fromhex(raw), CHINA)
        return
    clock = values.decode_clock(bytes.fromhex(raw), CHINA)
    assert clock.utc == np.datetime64(utc)
    assert clock.deviation == deviation


def test_weekday_and_daylight_bit() -> None:
    raw = values.encode_clock(np.datetime64("2026-07-05T10:00", "us"), BERLIN)
    assert raw.hex() == "07ea0705070c000000ff8880"
    assert values.encode_clock(np.datetime64("2026-07-05T10:00", "us"), BERLIN, weekday=False)[4] == 0xFF


@pytest.mark.parametrize(
    "raw", ["", "00" * 12, "ffff" + "ff" * 10, "07ea0d01ff00000000800000", "07ea021eff00000000800000",
            "07ea0301ff18000000800000", "07ea0301ff00003c00800000", "07ea0301ff000000007fff00", "0001010101000000003480" "00"]
)  # fmt: skip
def test_no_such_instant(raw: str) -> None:
    with pytest.raises(FrameError):
        values.decode_clock(bytes.fromhex(raw), CHINA)


@pytest.mark.parametrize("text", ["1.0.1.8.0", "1.0.1.8.0.256", "a.b.c.d.e.f", "", "1.0.1.8.0.255.1"])
def test_logical_names(text: str) -> None:
    with pytest.raises(Misuse):
        values.obis_bytes(text)
    with pytest.raises(FrameError):
        values.obis_text(b"12345")
    assert values.obis_text(values.obis_bytes("1.0.1.8.0.255")) == "1.0.1.8.0.255"


def test_plain() -> None:
    tree: Any = values.plain(values.array(values.structure(Data(values.ENUM, 3), values.null())))
    assert tree == [[3, None]]


@pytest.mark.parametrize("count", [1, 2, 9, 21, 22, 300])
def test_short_and_long_compact_arrays_are_read_alike(count: int) -> None:
    """Short ones are unpacked in one go, long ones row by row with equal rows made once."""
    rows = [
        values.structure(Data(values.LONG, n % 7 - 3), Data(values.UNSIGNED, n % 3)) for n in range(count)
    ]
    for items in (rows, [row.value[0] for row in rows], [row.value[1] for row in rows]):
        raw = values.encode_compact(items)
        assert values.decode(raw) == Data(values.ARRAY, tuple(items))
        with pytest.raises(FrameError):
            values.decode(raw[:-1])
