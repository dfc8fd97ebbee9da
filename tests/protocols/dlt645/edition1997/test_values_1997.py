"""The table of 1997 and what its formats make of bytes."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.edition1997.bulk import answer_columns
from protocols.dlt645.edition1997.items import item, rows
from protocols.dlt645.edition1997.values import decode, encode, latest, quantity_values, spans
from protocols.dlt645.items import item as item_2007
from protocols.errors import FrameError, Misuse
from protocols.quantity import quantities
from protocols.reading import empty_column

EVERY = [di for di in range(0x10000) if item(di) is not None]


def values(di: int, data: str) -> list[object]:
    return [value.value for value in decode(di, bytes.fromhex(data)).values]


def test_the_table():
    # 3 months × (2 active + 6 reactive) × 16 × (energy, demand, its time), and the variables and parameters
    assert len([di for di in EVERY if di >> 12 in (9, 0xA)]) == 2 * 3 * 8 * 16
    assert {row.access for row in rows()} == {"R", "R/W", "W"}
    assert {row.clause for row in rows()} == {"annex A", "unconfirmed"}
    for di in EVERY:
        found = item(di)
        assert found is not None
        assert found.name_en
        assert found.name_zh
        assert found.fields
        assert "{" not in found.name_en + found.name_zh
        assert all(field.quantity in quantities() for field in found.fields if field.quantity)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (0x9010, 0x00010000), (0x9013, 0x00010300), (0x9020, 0x00020000),
        (0xB611, 0x02010100), (0xB623, 0x02020300), (0xB630, 0x02030000), (0xB650, 0x02060000),
    ],
)  # fmt: skip
def test_quantities_are_those_of_the_same_item_in_2007(here, there):
    mine, theirs = item(here), item_2007(there)
    assert mine is not None
    assert theirs is not None
    assert mine.fields[0].quantity == theirs.fields[0].quantity != ""
    assert mine.name_en == theirs.name_en


def test_quadrants_stand_in_the_order_1_4_2_3():
    codes = [found.fields[0].quantity for di in (0x9130, 0x9140, 0x9150, 0x9160) if (found := item(di))]
    assert codes == ["reactive_q1", "reactive_q4", "reactive_q2", "reactive_q3"]


def test_past_months_are_no_present_quantity():
    for di in (0x9410, 0x9810, 0x9510, 0xA410, 0x941F):
        found = item(di)
        assert found is not None
        assert not any(field.quantity for field in found.fields)
    assert (item(0x9810) or item(0)).name_zh.startswith("（上上月）")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("di", "data", "wanted"),
    [
        (0x9010, "89561300", [Decimal("1356.89")]),
        (0x9010, "ffffffff", [None]),
        (0x9020, "99999999", [Decimal("999999.99")]),  # unsigned: no bit is a sign
        (0xB611, "2302", [223]),
        (0xB611, "3522", [Decimal("223.5")]),  # a meter that sends XXX.X
        (0xB622, "5012", [Decimal("12.50")]),
        (0xB630, "563412", [Decimal("12.3456")]),
        (0xB640, "5698", [Decimal("98.56")]),
        (0xB650, "9909", [Decimal("0.999")]),
        (0xA010, "563412", [Decimal("12.3456")]),
        (0xB010, "30121506", ["06-15 12:30"]),
        (0xB010, "00000000", [None]),
        (0xB212, "0700", [7]),
        (0xC010, "01180503", [dt.date(2003, 5, 18), 1]),
        (0xC011, "563412", [dt.time(12, 34, 56)]),
        (0xC01F, "01180503563412", [dt.date(2003, 5, 18), 1, dt.time(12, 34, 56)]),
        (0xC032, "563412907856", ["567890123456"]),
        (0xC117, "0001", [0, 1]),
        (0xC119, "05000000", [Decimal("0.5")]),
        (0xC331, "023008", [2, dt.time(8, 30)]),
        (0xC321, "010101", [1, "01-01"]),
        (0xC511, "00000101", ["01-01 00:00"]),
        (0x901F, "01000000" "02000000", [Decimal("0.01"), Decimal("0.02")]),
        (0x901F, "01000000aa" "02000000aa", [Decimal("0.01"), Decimal("0.02")]),
        (0xB61F, "3002" "3102" "ffff", [230, 231, None]),
        (0xB61F, "3002aa" "3102aa" "3202aa", [230, 231, 232]),
        (0xC02F, "aaaaaa", [0xAA, 0xAA, 0xAA]),  # binary may be AA: no delimiter there
    ],
)  # fmt: skip
def test_decode(di, data, wanted):
    assert values(di, data) == wanted


def test_a_vendors_byte_behind_the_values():
    found = decode(0x9010, bytes.fromhex("8956130001"))
    assert found.values[0].value == Decimal("1356.89")
    assert found.tail == b"\x01"
    assert not found.delimited


@pytest.mark.parametrize(
    ("di", "data", "complaint"),
    [
        (0x1234, "00", "not in the table"),
        (0x9010, "895613", "3 bytes, 4 make"),
        (0x9010, "895613000102", "too many"),
        (0x9010, "8a561300", "not BCD"),
        (0xB010, "30121513", "MM is 13"),
        (0xB010, "61121512", "mm is 61"),
        (0x901F, "00000000" * 17, "too many"),
        (0x901F, "00000000" "0000", "2 bytes, 4 make"),
        (0xC010, "07180503", "weekday"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_frame_error_with_its_place(di, data, complaint):
    with pytest.raises(FrameError, match=complaint) as caught:
        decode(di, bytes.fromhex(data))
    assert caught.value.offset is not None
    assert caught.value.offset <= len(data) // 2


@given(st.sampled_from(EVERY), st.binary(max_size=120))
def test_any_bytes_are_values_or_a_frame_error_and_no_byte_is_lost(di, data):
    try:
        found = list(spans(di, data))
    except FrameError:
        return
    assert [span.start for span in found] == [0, *(span.end for span in found)][:-1]
    assert found[-1].end == len(data)


@given(st.sampled_from([di for di in EVERY if di not in (0xC020, 0xC021, 0xC022, 0xC02F)]), st.data())
def test_encode_is_the_reverse(di, data):
    found = item(di)
    assert found is not None
    digits = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=70))
    raw = bytes(int(str(digit), 16) for digit in digits)
    try:
        decoded = decode(di, raw)
    except FrameError:
        return
    plain = [value.value for value in decoded.values]
    assert encode(di, plain, tail=decoded.tail) == raw


def test_encode_refuses_what_would_be_read_differently():
    with pytest.raises(Misuse):
        encode(0xB611, [1234])
    with pytest.raises(Misuse):
        encode(0x9010, [Decimal("-1")])
    with pytest.raises(Misuse):
        encode(0x9010, [Decimal("1"), Decimal("2")])
    with pytest.raises(Misuse):
        encode(0xB61F, [])
    assert encode(0xB611, [Decimal("223.5")]).hex() == "3522"


@pytest.mark.parametrize(
    ("moment", "until", "wanted"),
    [
        ("06-15 12:30", "2020-03-01T00:00", "2019-06-15T12:30"),
        ("06-15 12:30", "2020-06-15T12:30", "2020-06-15T12:30"),
        ("02-29 00:00", "2023-01-01T00:00", "2020-02-29T00:00"),
        ("02-29 00:00", "1903-01-01T00:00", "1896-02-29T00:00"),
        ("02-30 00:00", "2023-01-01T00:00", "NaT"),
    ],
)
def test_a_moment_without_a_year_is_the_last_one_before_the_reading(moment, until, wanted):
    found = latest(moment, np.datetime64(until))
    assert str(found) == str(np.datetime64(wanted, "us"))


CODES = [
    "active_import", "active_import_t2", "voltage_a", "voltage_c",
    "programmings", "max_demand_import", "max_demand_import_time",
]  # fmt: skip


@pytest.mark.parametrize("di", [0x9010, 0x901F, 0xB61F, 0xB611, 0xB212, 0xA01F, 0xB010, 0xC331])
def test_bulk_agrees_with_the_general_decoder(di):
    rng = np.random.default_rng(di)
    bytes_ = [0x00, 0x12, 0x99, 0xFF, 0x3A, 0xAA]
    answers = [
        bytes(rng.choice(bytes_, size, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]))
        for size in rng.integers(0, 14, 400)
    ]
    until = np.datetime64("2020-01-01T00:00")
    columns, errors = answer_columns(di, answers, CODES, until)
    for index, answer in enumerate(answers):
        try:
            wanted = quantity_values(di, answer, until)
        except FrameError:
            assert index in errors
            wanted = {}
        else:
            assert index not in errors
        for code in CODES:
            missing = empty_column(code, 1)[0]
            np.testing.assert_equal(columns[code][index], columns[code].dtype.type(wanted.get(code, missing)))
