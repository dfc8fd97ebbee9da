"""The table and the values it drives, load records one by one and in bulk."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645 import blocks, bulk, frame, values
from protocols.dlt645.items import item, rows
from protocols.errors import FrameError, Misuse
from protocols.quantity import quantities
from protocols.reading import MISSING, empty_column

CONCRETE = {"rr": "02", "ss": "00", "nn": "03", "dd": "03", "pp": "02", "hh": "05", "kk": "02", "ff": "02"}


def concrete(pattern: str) -> int:
    return int("".join(CONCRETE.get(pattern[i : i + 2], pattern[i : i + 2]) for i in range(0, 8, 2)), 16)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_every_row_is_sound(row):
    found = item(concrete(row.id))
    assert found is not None
    assert row.name_zh
    assert row.clause
    assert row.access in ("R", "R/W", "W", "03H")
    assert "{" not in found.name_en + found.name_zh
    for field in found.fields:
        assert not field.quantity or field.quantity in quantities()
        assert field.name_zh
        assert values.size_of(field.form) <= 138


def test_the_first_row_that_fits_wins():
    assert len({row.id for row in rows()}) == len(rows())
    assert item(0x00010000).fields[0].quantity == "active_import"
    assert item(0x00010001).fields[0].quantity == ""
    assert item(0x00010001).name_en == "forward active energy total, settlement day 1"
    assert item(0x00014002) is None
    assert item(0x020A0215).name_en == "voltage B harmonic 21"
    assert item(0xDEADBEEF) is None


@pytest.mark.parametrize(
    ("di", "data", "expected"),
    [
        (0x02030000, "560480", [Decimal("-0.0456")]),
        (0x02020100, "ffffff", [None]),
        (0x0201FF00, "0123ffffeeee", [Decimal("230.1"), None, None]),
        (0x0201FF00, "0123", [Decimal("230.1")]),
        (0x04000101, "06291218", [dt.date(2018, 12, 29), 6]),
        (0x05060001, "0000010226", [dt.datetime(2026, 2, 1)]),
        (0x05060001, "0000000000", [None]),
        (0x04000402, "120000001020", ["201000000012"]),
        (0x04000503, "5010", [0x1050]),
        (0x04000A01, "00000101", ["01-01 00:00"]),
        (0x01010000, "1234560000010226", [Decimal("56.3412"), dt.datetime(2026, 2, 1)]),
    ],
)
def test_values(di, data, expected):
    assert [value.value for value in values.decode(di, bytes.fromhex(data))] == expected


@pytest.mark.parametrize(
    ("di", "data"),
    [
        (0x00010000, "7856341a"),
        (0x00010000, "785634"),
        (0x00010000, "7856341200"),
        (0x02010100, "ffee"),
        (0x04000101, "06321218"),
        (0x04000102, "000025"),
        (0xDEADBEEF, "00"),
        (0x06000001, "a0a0"),
        (0x0506FF01, "00"),
    ],
)
def test_outside_its_format_is_a_frame_error(di, data):
    with pytest.raises(FrameError):
        values.decode(di, bytes.fromhex(data))


def test_freeze_block_sections():
    energy = bytes.fromhex("7856341200000000")
    data = bytes.fromhex("0000010226") + b"\xaa" + energy + b"\xaa" + b"\xaa" * 10
    found = values.decode(0x0506FF01, data)
    assert found[0].value == dt.datetime(2026, 2, 1)
    assert [(v.value, v.quantity) for v in found[1:]] == [
        (Decimal("123456.78"), "active_import"),
        (Decimal(0), "active_import_t1"),
    ]


def test_quantity_values_are_in_store_units():
    data = bytes.fromhex("7856341200000000ffffffff")
    assert values.quantity_values(0x0001FF00, data) == {"active_import": 1234567800, "active_import_t1": 0}
    assert values.quantity_values(0x02010100, bytes.fromhex("9722")) == {"voltage_a": 229.7}


NUMBERS = {"XXXXXX.XX": 8, "XXX.X": 4, "XX.XXXX": 6, "XXX.XXX": 6}


@given(st.sampled_from([row for row in rows() if row.format in NUMBERS]), st.data())
def test_numbers_come_back(row, data):
    digits, decimals = NUMBERS[row.format], len(row.format.partition(".")[2])
    most = 10**digits - 1 if row.signed != "y" else 8 * 10 ** (digits - 1) - 1
    number = data.draw(st.integers(-most if row.signed == "y" else 0, most))
    value = Decimal(number).scaleb(-decimals)
    di = concrete(row.id)
    assert values.decode(di, values.encode(di, [value]))[0].value == value


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)))
def test_times_come_back(when):
    for di, unit in ((0x05060001, {"second": 0}), (0x0400010C, {})):
        when = when.replace(microsecond=0, **unit)
        given_ = [when, 3][: 2 if di == 0x0400010C else 1]
        assert [v.value for v in values.decode(di, values.encode(di, given_))] == given_


@given(st.text("0123456789", min_size=12, max_size=12), st.integers(0, 255), st.binary(max_size=255))
def test_frames_come_back(address, control, data):
    sent = frame.Frame(address, control, data)
    assert frame.decode(sent.encode(2)) == sent


@given(st.sampled_from([concrete(row.id) for row in rows()]), st.binary(max_size=120))
def test_garbage_is_values_or_a_frame_error(di, data):
    try:
        values.decode(di, data)
    except FrameError:
        return
    bulk.answer_columns(di, [data, data], ["active_import", "voltage_a"])


@pytest.mark.parametrize(
    ("di", "given_"),
    [
        (0x00010000, [Decimal("0.001")]),
        (0x00010000, [Decimal(1000000)]),
        (0x00010000, [Decimal(-1)]),
        (0x02030000, [Decimal(80)]),
        (0x00010000, []),
        (0x00010000, [Decimal(1), Decimal(2)]),
        (0x04000402, ["12"]),
        (0x05060001, [dt.datetime(1999, 1, 1)]),
        (0x05060001, [dt.time(1, 2)]),
        (0x06000001, [1]),
    ],
)
def test_what_does_not_fit_is_misuse(di, given_):
    with pytest.raises(Misuse):
        values.encode(di, given_)


# --- load records ---

START = dt.datetime(2026, 2, 1)
CLASSES = {
    1: [Decimal("230.1"), None, None, Decimal("-1.5"), None, None, Decimal("50.01")],
    2: [Decimal("-0.345"), *[None] * 3, Decimal("0.1"), *[None] * 3],
    4: [Decimal("123456.78"), Decimal(0), Decimal(-1), Decimal(0)],
}


def at(n: int) -> dt.datetime:
    return START + dt.timedelta(minutes=15 * n)


def test_a_whole_block_has_103_bytes():
    whole = {n: [Decimal(0)] * len(fields) for n, fields in blocks.class_fields().items()}
    assert len(blocks.encode_block(START, whole)) == 103
    assert blocks.class_sizes() == {1: 17, 2: 24, 3: 8, 4: 16, 5: 16, 6: 6}


def test_blocks_come_back():
    data = b"".join(blocks.encode_block(at(n), CLASSES) for n in range(5))
    found = blocks.decode_blocks(data)
    assert [block.time for block in found] == [at(n) for n in range(5)]
    assert {n: [v.value for v in vs] for n, vs in found[0].classes.items()} == CLASSES


@pytest.mark.parametrize("slack", [0, 2, 5])
def test_length_byte_of_every_reading(slack):
    block = bytearray(blocks.encode_block(START, CLASSES))
    block[2] += slack
    block[-2] = (block[-2] + slack) & 0xFF
    assert blocks.decode_blocks(bytes(block))[0].classes.keys() == CLASSES.keys()
    assert bulk.load_columns([bytes(block)]).columns["active_import"].tolist() == [1234567800]


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 6), (4,), (1, 2, 3, 4, 5, 6)])
def test_separator_variants(order):
    given_ = {4: CLASSES[4]}
    block = blocks.encode_block(START, given_, order=order)
    assert blocks.decode_blocks(block)[0].classes.keys() == {4}


def general(answers):
    """The bulk decoder made to use the general one for everything."""
    joined = bulk._joined([bulk._one_by_one(i, blocks.decode_blocks(a)) for i, a in enumerate(answers)], {})
    return joined.owner, joined.time, joined.columns


def mixed_answers():
    other = {4: CLASSES[4], 6: [Decimal(1), Decimal(2)]}
    return [
        b"".join(blocks.encode_block(at(n), CLASSES) for n in range(24)),
        b"",
        blocks.encode_block(at(3), other) + blocks.encode_block(at(4), CLASSES),
        b"".join(blocks.encode_block(at(n), other) for n in range(3)),
        blocks.encode_block(at(5), {}, faulty=True) + blocks.encode_block(at(6), other),
        b"".join(blocks.encode_block(at(n), {1: CLASSES[1], 3: [None] * 4}) for n in range(3)),
    ]


def test_bulk_agrees_with_the_general_decoder():
    answers = mixed_answers()
    fast, slow = bulk.load_columns(answers), general(answers)
    assert not fast.errors
    np.testing.assert_array_equal(fast.owner, slow[0])
    np.testing.assert_array_equal(fast.time, slow[1])
    for code, column in slow[2].items():
        assert fast.columns[code].dtype == column.dtype
        np.testing.assert_array_equal(fast.columns[code], column)
    row = int(np.flatnonzero(fast.owner == 4)[0])
    assert fast.columns["active_import"][row] == MISSING
    assert np.isnan(fast.columns["voltage_a"][row])


def test_any_flipped_bit_of_a_block_is_noticed_or_decoded_alike():
    good = blocks.encode_block(at(1), CLASSES)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        loaded = bulk.load_columns([good, bytes(bad), good])
        try:
            blocks.decode_blocks(bytes(bad))
        except FrameError:
            assert list(loaded.errors) == [1]
            assert loaded.owner.tolist() == [0, 2]
        else:
            assert not loaded.errors


@given(st.lists(st.binary(max_size=150), max_size=5))
def test_bulk_survives_garbage(answers):
    good = blocks.encode_block(at(1), CLASSES)
    loaded = bulk.load_columns([*answers, good])
    assert loaded.owner.tolist().count(len(answers)) == 1


def test_answer_columns():
    answers = [bytes.fromhex("7856341200000000"), b"\x00\x01\x02\x0f" * 2, bytes.fromhex("ffffffff")]
    columns, errors = bulk.answer_columns(0x0001FF00, answers, ["active_import", "active_import_t1"])
    assert columns["active_import"].tolist() == [1234567800, MISSING, MISSING]
    assert columns["active_import_t1"].tolist() == [0, MISSING, MISSING]
    assert list(errors) == [1]


def test_requests_for_load_records():
    extra = blocks.from_time(np.datetime64("2026-02-01T00:15"), 24)
    assert extra.hex() == "241500010226"
    assert blocks.decode_request(extra) == (24, at(1))
    assert blocks.decode_request(blocks.number_of_blocks(1)) == (1, None)
    with pytest.raises(Misuse):
        blocks.number_of_blocks(100)
    with pytest.raises(FrameError):
        blocks.decode_request(b"\1\2")


@pytest.mark.parametrize(
    ("di", "good", "wanted"),
    [
        (0x01010000, "1234560000010226", {"max_demand_import": 56.3412, "max_demand_import_time": np.datetime64("2026-02-01", "us")}),
        (0x01010000, "0000000000000000", {"max_demand_import": 0.0}),
        (0x01010000, "ffffffffffffffff", {}),
        (0x03110000, "270000", {"power_failures": 27}),
        (0x00290000, "78563412", {"active_import_b": 1234567800}),
        (0x0206FF00, "00105085ffff5009", {"power_factor": 1.0, "power_factor_a": -0.55, "power_factor_c": 0.95}),
        (0x02800007, "2581", {"temperature": -12.5}),
    ],
)  # fmt: skip
def test_bulk_gives_each_kind_its_own_column(di, good, wanted):
    data = bytes.fromhex(good)
    assert values.quantity_values(di, data) == wanted
    codes = [field.quantity for field in item(di).fields if field.quantity]
    bad = b"\x1a" * len(data)
    columns, errors = bulk.answer_columns(di, [data, bad, data], codes)
    assert list(errors) == [1]
    for code in codes:
        empty = empty_column(code, 3)
        assert columns[code].dtype == empty.dtype
        empty[[0, 2]] = wanted.get(code, empty[0])
        np.testing.assert_array_equal(columns[code], empty)


@given(st.binary(min_size=8, max_size=8))
def test_moments_in_bulk_are_those_of_the_general_decoder(data):
    codes = ["max_demand_import", "max_demand_import_time"]
    columns, errors = bulk.answer_columns(0x01010000, [data], codes)
    try:
        wanted = values.quantity_values(0x01010000, data)
    except FrameError:
        assert list(errors) == [0]
    else:
        assert not errors
        for code in codes:
            np.testing.assert_array_equal(columns[code][0], wanted.get(code, empty_column(code, 1)[0]))


def test_time_tables_and_holidays():
    zones = values.decode(0x04010000, bytes.fromhex("010101020107"))
    assert [(v.name, v.value) for v in zones] == [
        ("zone 1", "01-01"), ("zone 1 number", 1), ("zone 2", "07-01"), ("zone 2 number", 2),
    ]  # fmt: skip
    assert values.encode(0x04010000, [v.value for v in zones]).hex() == "010101020107"
    slots = bytes.fromhex("020006030010" + 12 * "030010")
    assert [v.value for v in values.decode(0x04010003, slots)][:4] == ["06:00", 2, "10:00", 3]
    holiday = values.decode(0x04030005, bytes.fromhex("02011026"))
    assert [v.value for v in holiday] == [dt.date(2026, 10, 1), 2]
    assert values.encode(0x04030005, [dt.date(2026, 10, 1), 2]).hex() == "02011026"
    assert values.decode(0x04000B01, bytes.fromhex("0001"))[0].value == "01 00h"
    assert values.encode(0x04000B02, ["99 99h"]).hex() == "9999"


def test_load_curves_of_the_supplement():
    start = "0010010226"
    found = values.decode(0x061001FF, bytes.fromhex(start + "012355020222" + "0123ffffffff"))
    assert [v.value for v in found[1:]] == [Decimal(n) / 10 for n in (2301, 255, 2202)] + [
        Decimal("230.1"),
        None,
        None,
    ]
    point = values.decode(0x06100601, bytes.fromhex("78563412"))
    assert [(v.name, v.value, v.unit) for v in point] == [("value", Decimal("123456.78"), "kWh")]
    series = values.decode(0x06100601, bytes.fromhex(start + "7856341279563412"))
    assert [(v.name, v.value) for v in series] == [
        ("start time", dt.datetime(2026, 2, 1, 10, 0)), ("value 1", Decimal("123456.78")), ("value 2", Decimal("123456.79")),
    ]  # fmt: skip
    assert values.encode(0x06100601, [v.value for v in series]).hex() == start + "7856341279563412"
    with pytest.raises(FrameError):
        values.decode(0x06100601, bytes(6))


def test_a_list_never_grows_without_end():
    with pytest.raises(FrameError, match="more than 254"):
        values.decode(0x0001FF00, bytes(4 * 300))


FIELDED = [row for row in rows() if row.format not in ("load-record", "freeze", "security")]


@pytest.mark.parametrize("row", FIELDED, ids=lambda row: row.id)
def test_fillers_are_missing_in_every_item(row):
    di = concrete(row.id)
    size = sum(values.size_of(field.form) for field in item(di).fields)
    for filler in (b"\xff", b"\xee"):
        for value in values.decode(di, filler * size):
            field = next((f for f in item(di).fields if f.name in value.name), item(di).fields[0])
            assert value.value is None or field.form[0] in "HB"
