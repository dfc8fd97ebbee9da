import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError, Misuse
from protocols.gdw376.items import Field, formats, item, parse
from protocols.gdw376.units import ident
from protocols.gdw376.values import (
    Clock,
    Event,
    PointMark,
    Typed,
    decode,
    decode_event,
    decode_field,
    decode_units,
    encode,
    encode_event,
    encode_field,
    encode_units,
)


def field(form: str) -> Field:
    found = parse(f"x:{form}")[0]
    assert isinstance(found, Field)
    return found


def read(form: str, raw: str) -> Typed:
    return decode_field(field(form), bytes.fromhex(raw)).value


@pytest.mark.parametrize(
    ("form", "raw", "value"),
    [
        ("A.1", "512023071018", Clock(dt.datetime(2018, 10, 7, 23, 20, 51))),
        ("A.1", "003907174315", Clock(dt.datetime(2015, 3, 17, 7, 39), 2)),
        ("A.2", "2381", Decimal(123)),
        ("A.2", "2391", Decimal(-123)),
        ("A.2", "2301", Decimal("1.23E+6")),
        ("A.2", "23e1", Decimal("0.123")),
        ("A.3", "67452301", 1234567),
        ("A.3", "67452311", -1234567),
        ("A.3", "67452341", 1234567000),
        ("A.4", "25", 25),
        ("A.4", "a5", -25),
        ("A.5", "0010", Decimal("100.0")),
        ("A.5", "5092", Decimal("-125.0")),
        ("A.6", "3492", Decimal("-12.34")),
        ("A.7", "2724", Decimal("242.7")),
        ("A.8", "3412", 1234),
        ("A.9", "563412", Decimal("12.3456")),
        ("A.9", "563492", Decimal("-12.3456")),
        ("A.10", "563412", 123456),
        ("A.11", "78563412", Decimal("123456.78")),
        ("A.12", "614300301215", "151230004361"),
        ("A.13", "78563412", Decimal("1234.5678")),
        ("A.14", "0001000000", Decimal("0.0100")),
        ("A.15", "4716280818", dt.datetime(2018, 8, 28, 16, 47)),
        ("A.16", "39191628", "28 16:19:39"),
        ("A.17", "47162808", "08-28 16:47"),
        ("A.18", "471628", "28 16:47"),
        ("A.19", "4716", dt.time(16, 47)),
        ("A.19", "0000", dt.time(0, 0)),
        ("A.20", "270818", dt.date(2018, 8, 27)),
        ("A.21", "0718", "2018-07"),
        ("A.22", "15", Decimal("1.5")),
        ("A.23", "563412", Decimal("12.3456")),
        ("A.24", "1628", "28 16"),
        ("A.25", "563492", Decimal("-123.456")),
        ("A.26", "3412", Decimal("1.234")),
        ("A.27", "78563412", 12345678),
        ("m", "fe", 254),
        ("BIN2", "3412", 0x1234),
        ("BIN1", "ee", 0xEE),
        ("BS2", "eeee", 0xEEEE),
        ("POINT", "0580", PointMark(5, True)),
        ("ASCII4", "322e3031", "2.01"),
        ("IP", "0a010203", "10.1.2.3"),
    ],
)
def test_forms(form, raw, value):
    assert read(form, raw) == value
    assert encode_field(field(form), value, len(raw) // 2).hex() == raw


@pytest.mark.parametrize(
    ("form", "raw", "gap"),
    [
        ("A.14", "eeeeeeeeee", "EE"),
        ("A.14", "ffffffffff", "FF"),
        ("A.14", "00eeeeeeee", "invalid"),
        ("A.9", "eeeeee", "EE"),
        ("A.15", "eeeeeeeeee", "EE"),
        ("A.15", "0000000000", "invalid"),
        ("A.15", "6116280818", "invalid"),
        ("A.17", "47163002", "invalid"),
        ("A.20", "300218", "invalid"),
        ("A.12", "eeeeeeeeeeee", "EE"),
        ("A.3", "67452381", "invalid"),
        ("BIN2", "eeee", "EE"),
        ("ASCII2", "8001", "invalid"),
        ("ASCII2", "eeee", "EE"),
    ],
)
def test_gaps(form, raw, gap):
    value = decode_field(field(form), bytes.fromhex(raw))
    assert (value.value, value.gap) == (None, gap)
    assert encode_field(value.field, None, len(raw) // 2) == b"\xee" * (len(raw) // 2)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("A.14", Decimal("0.00001")), ("A.14", -1), ("A.14", 10**6), ("A.9", 80), ("A.2", 12345), ("A.3", 10**11),
        ("A.3", 10**7 + 1), ("A.4", 80), ("A.1", Clock(dt.datetime(1999, 1, 1))), ("A.1", 5), ("A.20", dt.date(2100, 1, 1)),
        ("A.17", "1"), ("A.19", dt.date(2020, 1, 1)), ("BIN1", 256), ("BIN1", -1), ("A.12", "12"), ("ASCII2", "abc"),
        ("HEX2", b"1"), ("IP", "1.2.3"), ("POINT", PointMark(5000, True)), ("A.7", "volt"), ("A.14", Decimal("NaN")),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_our_fault(form, value):
    where = field(form)
    with pytest.raises(Misuse, match="x: "):
        encode_field(where, value, where.size or 0)


def test_a_secret_that_does_not_fit_is_not_told():
    secret = parse("password:ASCII2 !")[0]
    assert isinstance(secret, Field)
    with pytest.raises(Misuse) as error:
        encode_field(secret, "hunter2", 2)
    assert "hunter2" not in str(error.value)


numbers = [form for form in formats().values() if form.kind == "bcd"]


@given(st.sampled_from(numbers), st.data())
def test_every_number_of_a_form_goes_both_ways(form, data):
    where = field(form.format)
    raw = bytearray(
        bytes.fromhex(f"{data.draw(st.integers(0, 10 ** (2 * form.bytes) - 1)):0{2 * form.bytes}d}")
    )
    if form.signed:
        raw[-1] &= 0x7F
        raw[-1] |= data.draw(st.sampled_from([0, 0x80])) if any(raw) else 0
    value = decode_field(where, bytes(raw))
    assert value.gap == ""
    assert encode_field(where, value.value, form.bytes) == bytes(raw)


@given(st.integers(-999, 999), st.integers(-3, 4))
def test_power_keeps_its_value(number, exponent):
    value = Decimal(number).scaleb(exponent)
    assert decode_field(field("A.2"), encode_field(field("A.2"), value, 2)).value == value


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)), st.integers(0, 7))
def test_clocks(when, weekday):
    when = when.replace(microsecond=0)
    raw = encode_field(field("A.1"), Clock(when, weekday), 6)
    assert decode_field(field("A.1"), raw).value == Clock(when, weekday)


# --- units ---

CLOCK = bytes.fromhex("512023071018")
COUNTERS = b"\x03\x04"


def test_several_units_under_one_identifier():
    body = ident([0], [2, 7]).raw + CLOCK + COUNTERS
    units = decode_units(0x0C, body, uplink=True)
    assert [(unit.point, unit.function, unit.data) for unit in units] == [(0, 2, CLOCK), (0, 7, COUNTERS)]
    assert encode_units([(ident([0], [2, 7]), [CLOCK, COUNTERS])]) == body
    with pytest.raises(Misuse):
        encode_units([(ident([0], [2, 7]), [CLOCK])])


def test_points_come_before_functions():
    body = ident([1, 2], [17, 18]).raw + b"".join(bytes((n, 0x80)) for n in (1, 2, 3, 4))
    units = decode_units(0x0C, body, uplink=True)
    assert [(u.point, u.function, u.values[0].value) for u in units] == [
        (1, 17, 1),
        (1, 18, 2),
        (2, 17, 3),
        (2, 18, 4),
    ]


@pytest.mark.parametrize("unknown", [b"", b"\x01", b"\xaa" * 5, bytes(23)])
def test_an_unknown_function_keeps_its_bytes_and_the_rest_is_read(unknown):
    body = ident([0], [2]).raw + CLOCK + ident([0], [240]).raw + unknown + ident([0], [7]).raw + COUNTERS
    units = decode_units(0x0C, body, uplink=True)
    assert [unit.function for unit in units] == [2, 240, 7]
    assert units[1].data == unknown
    assert not units[1].known
    assert "no such function" in units[1].why
    assert units[2].values[0].value == 3


def test_an_unknown_function_between_known_ones_of_one_identifier():
    body = ident([0], [2, 7, 1]).raw + b"\xaa\xbb\xcc" + CLOCK + COUNTERS  # F1 of class 1 does not exist
    units = decode_units(0x0C, body, uplink=True)
    assert [(unit.function, unit.known) for unit in units] == [(1, False), (2, True), (7, True)]
    assert units[0].data == b"\xaa\xbb\xcc"


def test_unknown_at_the_end_takes_the_rest():
    body = ident([0], [2]).raw + CLOCK + ident([0], [240]).raw + bytes(range(100, 150))
    units = decode_units(0x0C, body, uplink=True)
    assert units[1].data == bytes(range(100, 150))


def test_unknown_functions_are_asked_without_data():
    body = ident([1], [249 - 8, 2 + 240]).raw + ident([1], [25]).raw
    units = decode_units(0x0C, body, uplink=False)
    assert [(unit.function, unit.known) for unit in units] == [(241, True), (242, False), (25, True)]


def test_what_cannot_be_told_apart_says_so():
    body = ident([0], [239, 240]).raw + b"\xaa\xbb\xcc"
    units = decode_units(0x0C, body, uplink=True)
    assert [unit.data for unit in units] == [b"\xaa\xbb\xcc", b""]
    assert "could not be told" in units[1].why


def test_a_longer_edition_of_a_known_function_keeps_its_bytes():
    item_length = len(encode(0x0C, 161, [None] * 4))
    body = ident([1], [161]).raw + b"\xee" * (item_length + 5)
    (unit,) = decode_units(0x0C, body, uplink=True)
    assert not unit.known
    assert len(unit.data) == item_length + 5


def test_editions_are_told_by_their_length():
    for size, name in ((3, 93), (2, 66)):
        data = b"\x01\x01\x24" + b"\x00" * {3: 93, 2: 66}[size]
        (unit,) = decode_units(0x0D, ident([1], [27]).raw + data, uplink=True)
        assert unit.known
        assert len(unit.data) == name + 3


def test_missing_tariff_count_means_no_data():
    with pytest.raises(FrameError, match="tariffs M"):
        decode(0x0C, 33, bytes.fromhex("4716280818ee"))


def test_a_unit_too_short_or_too_long():
    with pytest.raises(FrameError, match="offset 5"):
        decode(0x0C, 7 + 18, bytes.fromhex("4716280818"))
    with pytest.raises(FrameError, match=r"too many .* at offset 2"):
        decode(0x0C, 7, b"\x01\x02\x03")
    with pytest.raises(FrameError, match="no layout"):
        decode(0x0C, 240, b"")
    with pytest.raises(Misuse, match="no layout"):
        encode(0x0C, 240, [])
    with pytest.raises(Misuse, match="too many"):
        encode(0x0C, 7, [1, 2, 3])
    with pytest.raises(Misuse, match="no value given"):
        encode(0x0C, 7, [1])


def test_quantities():
    data = encode(
        0x0D,
        1,
        [dt.date(2024, 3, 1), dt.datetime(2024, 3, 2, 0, 5), 4, *[Decimal(f"{n}.5") for n in range(20)]],
    )
    (unit,) = decode_units(0x0D, ident([1], [1]).raw + data, uplink=True)
    assert unit.quantities() == {
        "active_import": 5000, "active_import_t1": 15000, "active_import_t2": 25000, "active_import_t3": 35000,
        "active_import_t4": 45000, "reactive_import": 55000, "reactive_q1": 105000, "reactive_q4": 155000,
    }  # fmt: skip
    (unit,) = decode_units(
        0x0C,
        ident([1], [25]).raw + encode(0x0C, 25, [None] * 14 + [Decimal("231.1")] + [None] * 9),
        uplink=True,
    )
    assert unit.quantities() == {"voltage_b": 231.1}


def test_parameters_asked_for_are_those_that_are_set():
    asked, set_ = item(0x0A, 26), item(0x04, 26)
    assert asked is not None
    assert set_ is not None
    assert asked.up == set_.down
    assert item(0x0A, 240) is None
    # F10 asks for single entries of the archive and is answered with all of them
    assert encode(0x0A, 10, [2, 1, 7], uplink=False).hex() == "020001000700"
    meter: list[Typed] = [1, 1, 0x1F, 30, "000000000001", bytes(6), 4, 9, "000000000000", 0x11]
    data = encode(0x04, 10, [1, *meter], uplink=False)
    assert len(data) == 29
    assert [v.value for v in decode(0x0A, 10, data)] == [1, *meter]


def test_control_halves():
    assert encode(0x05, 1, [5, 2], uplink=False) == b"\x52"
    assert [(v.name, v.value) for v in decode(0x05, 1, b"\x52", uplink=False)] == [
        ("alarm delay", 5),
        ("limit time", 2),
    ]
    with pytest.raises(FrameError):
        decode(0x05, 1, b"", uplink=False)
    with pytest.raises(Misuse):
        encode(0x05, 1, [16, 0], uplink=False)


def test_text():
    data = encode(0x05, 32, [0, 1, 8, "限电通知"], uplink=False)
    assert decode(0x05, 32, data, uplink=False)[3].value == "限电通知"


def test_hourly_freeze_counts_by_density():
    (unit,) = decode_units(
        0x0C, ident([1], [97]).raw + bytes.fromhex("1301") + bytes.fromhex("0022") * 4, uplink=True
    )
    assert [value.value for value in unit.values[2:]] == [Decimal("220.0")] * 4
    with pytest.raises(FrameError, match="density"):
        decode(0x0C, 97, bytes.fromhex("1307"))


# --- events ---

METER_CLOCK = encode_event(12, [dt.datetime(2024, 5, 6, 7, 8), PointMark(3, True)])


def test_events_wrap_at_256():
    data = encode(0x0E, 1, [1, 2, 255, 1, METER_CLOCK, METER_CLOCK])
    (unit,) = decode_units(0x0E, ident([0], [1]).raw + data, uplink=True)
    records = [value.value for value in unit.values[4:]]
    assert records == [METER_CLOCK, METER_CLOCK]
    assert METER_CLOCK.time == dt.datetime(2024, 5, 6, 7, 8)
    assert METER_CLOCK.name == "meter clock out of tolerance"


def test_unknown_and_odd_events_keep_their_bytes():
    unknown = Event(99, b"abc")
    short = Event(12, b"\x08")
    long = decode_event(12, METER_CLOCK.data + b"more")
    data = encode(0x0E, 1, [1, 2, 0, 3, unknown, short, long])
    (unit,) = decode_units(0x0E, ident([0], [1]).raw + data, uplink=True)
    assert [value.value for value in unit.values[4:]] == [unknown, short, long]
    assert long.values == METER_CLOCK.values
    assert unknown.name == "ERC99"
    assert short.time is None


def test_an_event_cut_off():
    data = encode(0x0E, 1, [1, 2, 0, 1, METER_CLOCK])
    with pytest.raises(FrameError, match="event 1"):
        decode(0x0E, 1, data[:-1])
    with pytest.raises(Misuse):
        encode(0x0E, 1, [1, 2, 0, 1, 5])
    with pytest.raises(Misuse):
        encode_event(99, [])


def test_layouts_that_are_wrong_say_where():
    for text in ("a", "a:NOPE", "< a:BIN1", "a:BIN1 =9", "a:BIN1 >", "a:HEX"):
        with pytest.raises(ValueError, match="layout"):
            parse(text)


#: units of load control as their layouts say, byte by byte: AFN, Fn, downlink, the bytes, the values
CONTROL: list[tuple[int, int, bool, str, list[Typed]]] = [
    (0x04, 17, True, "0584", [Decimal("405")]),
    (0x04, 41, True, "05 03 0084 0083 01 0582", [5, 3, Decimal(400), Decimal(300), 1, Decimal(205)]),
    (0x04, 42, True, "5082 3008 14 c0", [Decimal(250), dt.time(8, 30), 20, 0xC0]),
    (0x04, 44, True, "011226 311226 20a0", [dt.date(2026, 12, 1), dt.date(2026, 12, 31), Decimal("2.0")]),
    (0x04, 46, True, "20010040 90", [120_000, -10]),
    (0x04, 46, True, "20010040", [120_000]),
    (0x04, 47, True, "4d000000 55 00500000 00050000 20000010", [77, 0x55, 5000, 500, -20]),
    (0x05, 9, True, "03 01", [3, 1]),
    (0x05, 12, True, "0f a0 05 04 0a 05 04 03", [15, -20, 5, 4, 10, 5, 4, 3]),
    (0x05, 25, True, "04", [4]),
    (
        0x0C, 5, False, "01 05 01 03 01 00 03 00 00 00 08 02 00 01",
        [1, 5, 1, 3, 1, 0, 3, 0, 0, 0, 8, 2, 0, 1],
    ),
    (
        0x0C, 6, False, "00 00 01 0084 a0 03 00 00 01 00",
        [0, 0, 1, Decimal(400), -20, 3, 0, 0, 1, 0],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("afn", "function", "down", "raw", "values"), CONTROL)
def test_units_of_load_control(afn: int, function: int, down: bool, raw: str, values: list[Typed]) -> None:
    data = bytes.fromhex(raw)
    assert [value.value for value in decode(afn, function, data, uplink=not down)] == values
    edition = int(len(values) == 1 and function == 46)
    if (afn, function) != (0x04, 46):  # of its powers of ten the finest that holds the number is written
        assert decode(
            afn, function, encode(afn, function, values, uplink=not down), uplink=not down
        ) == decode(afn, function, data, uplink=not down)
    else:
        assert encode(afn, function, values, uplink=not down, edition=edition)[4:] == data[4:]
