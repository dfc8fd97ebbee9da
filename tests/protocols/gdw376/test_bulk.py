import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import FrameError, Misuse
from protocols.gdw376.bulk import (
    Curve,
    answer_columns,
    codes_of,
    current_reads,
    curve_columns,
    curve_reads,
    freeze_reads,
    freeze_times,
)
from protocols.gdw376.units import ident
from protocols.gdw376.values import DENSITY_MINUTES, Clock, Typed, decode, decode_units, encode, number_of
from protocols.quantity import quantities
from protocols.reading import MISSING, SLOT_QUANTITIES

FUNCTIONS = {81: 3, 85: 3, 89: 2, 90: 2, 91: 2, 92: 3, 93: 3, 94: 3, 101: 4, 103: 4}
START = dt.datetime(2024, 3, 1, 0, 0)


def expected(curves: list[Curve]) -> dict[tuple[int, np.datetime64], dict[str, float]]:
    """What the general decoder says, row by row."""
    rows: dict[tuple[int, np.datetime64], dict[str, float]] = {}
    for curve in curves:
        values = decode(0x0D, curve.function, curve.data)
        start, density = values[0].value, values[1].value
        assert isinstance(start, dt.datetime)
        assert isinstance(density, int)
        for index, value in enumerate(values[3:]):
            when = np.datetime64(start, "us") + index * np.timedelta64(DENSITY_MINUTES.get(density, 0), "m")
            row = rows.setdefault((curve.key, when), {})
            number = number_of(value)
            if number is not None:
                row[value.quantity] = number
    return rows


def told(columns) -> dict[tuple[int, np.datetime64], dict[str, float]]:
    rows = {}
    for i, (key, when) in enumerate(zip(columns.key, columns.time, strict=True)):
        row = rows.setdefault((int(key), when), {})
        for code in SLOT_QUANTITIES:
            value = columns.columns[code][i]
            missing = value == MISSING if quantities()[code].kind == "register" else np.isnan(value)
            if not missing:
                row[code] = value
    return rows


@st.composite
def curves(draw):
    function = draw(st.sampled_from(list(FUNCTIONS)))
    size, count = FUNCTIONS[function], draw(st.integers(0, 5))
    start = START + dt.timedelta(hours=draw(st.integers(0, 2)))
    density = draw(st.sampled_from([1, 2, 3, 254, 255]))
    tag = encode(0x0D, function, [start, density, count], uplink=False)
    digits = st.integers(0, 10 ** (2 * size) - 1).map(lambda n: bytes.fromhex(f"{n:0{2 * size}d}"))
    points = draw(st.lists(digits | st.sampled_from([b"\xee" * size, b"\xff" * size]) | st.binary(min_size=size, max_size=size),
                           min_size=count, max_size=count))  # fmt: skip
    # one function a meter, so that no two curves speak of the same cell
    return Curve(1000 * function + draw(st.integers(0, 2)), function, tag + b"".join(points))


@settings(max_examples=200)
@given(st.lists(curves(), max_size=8, unique_by=lambda c: (c.key, c.data[:7])))
def test_bulk_equals_the_general_decoder(some):
    columns = curve_columns(some)
    assert not columns.errors
    seen: set[tuple[int, bytes]] = set()
    some = [c for c in some if (k := (c.key, c.data[:7])) not in seen and not seen.add(k)]
    want = expected(some)
    # two curves of one meter with another start or density may both hold a point; rows are then apart, cells agree or differ
    got = told(columns)
    assert got.keys() == want.keys()
    if len(columns.key) == len(want):
        assert got == want


def a_day(function: int, key: int, number: int) -> Curve:
    return Curve(
        key, function, encode(0x0D, function, [START, 1, 96, *[Decimal(number + i) for i in range(96)]])
    )


def test_the_curves_of_a_meter_share_their_rows():
    columns = curve_columns([a_day(101, 7, 100), a_day(89, 7, 200), a_day(101, 8, 300), a_day(81, 7, -30)])
    assert len(columns.key) == 192
    assert columns.key[:96].tolist() == [7] * 96
    assert columns.time[0] == np.datetime64("2024-03-01T00:00", "us")
    assert columns.time[95] == np.datetime64("2024-03-01T23:45", "us")
    assert columns.columns["active_import"][0] == 1_000_000
    assert columns.columns["active_import"][96] == 3_000_000
    assert columns.columns["voltage_a"][95] == 295
    assert columns.columns["active_power"][0] == -30
    assert np.isnan(columns.columns["voltage_a"][96:]).all()
    assert (columns.columns["active_export"] == MISSING).all()


def test_a_corrupt_curve_goes_alone():
    good = a_day(89, 1, 200)
    short = Curve(2, 89, good.data[:-1])
    no_head = Curve(3, 89, good.data[:5])
    no_date = Curve(4, 89, b"\xee" * 5 + good.data[5:])
    no_density = Curve(5, 89, good.data[:5] + b"\x09" + good.data[6:])
    columns = curve_columns([short, good, no_head, no_date, no_density])
    assert set(columns.errors) == {0, 2, 3, 4}
    assert all(isinstance(error, FrameError) for error in columns.errors.values())
    assert columns.key.tolist() == [1] * 96


def test_nothing_and_what_is_no_quantity():
    assert len(curve_columns([]).key) == 0
    for function in (1, 97, 109, 240):
        with pytest.raises(Misuse):
            curve_columns([Curve(1, function, b"")])


REGISTERS = ("active_import", "active_import_t1", "active_import_t2", "active_import_t3", "active_import_t4")


def freeze(day: dt.date, tariffs: int, first: Decimal | None) -> bytes:
    values = [first, *[Decimal(n) for n in range(1, tariffs + 1)]]
    return encode(0x0D, 1, [day, None, tariffs, *values, *[None] * 3 * (tariffs + 1)])


def test_day_freezes_of_many_meters():
    day = dt.date(2024, 2, 29)
    answers = [
        freeze(day, 4, Decimal("12.3456")),
        freeze(day, 4, None),
        freeze(day, 2, Decimal(5)),
        b"junk",
        freeze(day, 4, Decimal(7)),
    ]
    spoilt = bytearray(answers[4])
    spoilt[9:14] = bytes.fromhex("00eeeeeeee")
    answers[4] = bytes(spoilt)
    columns, errors = answer_columns(0x0D, 1, answers, REGISTERS)
    assert columns["active_import"].tolist() == [123456, MISSING, 50_000, MISSING, MISSING]
    assert columns["active_import_t2"].tolist() == [20_000, 20_000, 20_000, MISSING, 20_000]
    assert columns["active_import_t4"].tolist() == [40_000, 40_000, MISSING, MISSING, 40_000]
    assert set(errors) == {3}
    times, good = freeze_times(answers)
    assert times[0] == np.datetime64("2024-03-01T00:00", "us")
    assert good.tolist() == [True, True, True, False, True]


def test_month_freezes_close_the_month():
    times, good = freeze_times([b"\x12\x24rest", b"\x02\x24", b"\x13\x24", b""], month=True)
    assert times[0] == np.datetime64("2025-01-01T00:00", "us")
    assert times[1] == np.datetime64("2024-03-01T00:00", "us")
    assert good.tolist() == [True, True, False, False]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 6), st.binary(min_size=5, max_size=5)), max_size=12))
def test_answers_equal_the_general_decoder(some):
    answers = []
    for tariffs, total in some:
        raw = bytearray(freeze(dt.date(2024, 1, 1), tariffs, Decimal(1)))
        raw[9:14] = total
        answers.append(bytes(raw))
    columns, errors = answer_columns(0x0D, 1, answers, REGISTERS)
    assert not errors
    for index, answer in enumerate(answers):
        want = {v.quantity: number_of(v) for v in decode(0x0D, 1, answer) if number_of(v) is not None}
        got = {code: columns[code][index] for code in REGISTERS if columns[code][index] != MISSING}
        assert got == want


SHANGHAI = ZoneInfo("Asia/Shanghai")


def demand(taken: dt.datetime, when: str | None, value: Decimal | None = Decimal("1.2345")) -> bytes:
    """AFN 0C F145, M = 1."""
    return encode(0x0C, 145, [taken, 1, value, when, Decimal(1), None])


def test_quantities_by_kind_of_one_unit():
    data = demand(dt.datetime(2024, 3, 2, 8, 15), "02-29 13:45")
    (unit,) = decode_units(0x0C, ident([1], [145]).raw + data, uplink=True)
    assert unit.quantities() == {"max_demand_import": 1.2345}  # whose midnight? no zone, no moment
    found = unit.quantities(SHANGHAI)
    assert found["max_demand_import_time"] == np.datetime64("2024-02-29T05:45", "us")
    assert isinstance(found["max_demand_import"], float)
    values: list[Typed] = [
        dt.datetime(2024, 3, 2),
        Clock(dt.datetime(2024, 3, 2)),
        5,
        7,
        None,
        1,
        None,
        3,
        None,
        4,
        None,
        9,
        None,
    ]
    (unit,) = decode_units(0x0C, ident([1], [27]).raw + encode(0x0C, 27, values), uplink=True)
    assert unit.quantities() == {"programmings": 7, "demand_resets": 3, "clock_settings": 9}
    power = encode(
        0x0C, 25, [dt.datetime(2024, 3, 2), *[None] * 8, Decimal("98.5"), Decimal("-50.0"), *[None] * 13]
    )
    (unit,) = decode_units(0x0C, ident([1], [25]).raw + power, uplink=True)
    assert unit.quantities() == {"power_factor": 0.985, "power_factor_a": -0.5}


def test_demands_in_bulk_are_those_of_the_units():
    taken = dt.datetime(2024, 3, 2, 8, 15)
    answers = [
        demand(taken, "03-02 08:00"),
        demand(taken, "12-31 23:45"),  # of last year
        demand(taken, "03-02 09:00"),  # the meter's clock is fast
        demand(dt.datetime(2025, 1, 1), "02-29 00:15"),  # the last one there was
        demand(taken, None, None),
        b"junk",
    ]
    codes = codes_of(0x0C, 145)
    assert codes == ("max_demand_import", "max_demand_import_time")
    columns, errors = answer_columns(0x0C, 145, answers, codes, SHANGHAI)
    assert set(errors) == {5}
    assert columns["max_demand_import"].dtype == np.float64
    assert columns["max_demand_import_time"].dtype == np.dtype("datetime64[us]")
    local = ["2024-03-02T08:00", "2023-12-31T23:45", "2024-03-02T09:00", "2024-02-29T00:15"]
    want = np.array(local, "datetime64[us]") - np.timedelta64(8, "h")
    assert columns["max_demand_import_time"][:4].tolist() == want.tolist()
    assert np.isnat(columns["max_demand_import_time"][4:]).all()
    for index, answer in enumerate(answers[:5]):
        (unit,) = decode_units(0x0C, ident([1], [145]).raw + answer, uplink=True)
        for code, number in unit.quantities(SHANGHAI).items():
            assert columns[code][index] == number
    without, _ = answer_columns(0x0C, 145, answers, codes)
    assert np.isnat(without["max_demand_import_time"]).all()


def test_freezes_present_data_and_curves_are_the_same_reads():
    """The register at 00:00 of March 1st, told three ways."""
    day, total = dt.date(2024, 2, 29), Decimal("123.4500")
    midnight = np.datetime64("2024-02-29T16:00", "us")
    frozen, errors = freeze_reads(
        1, [7, 8, 9], [freeze(day, 4, total), b"junk", freeze(day, 4, None)[:8]], SHANGHAI
    )
    assert set(errors) == {1, 2}
    month, _ = freeze_reads(17, [7], [b"\x02\x24" + freeze(day, 4, total)[3:]], SHANGHAI)
    now = encode(0x0C, 129, [dt.datetime(2024, 3, 1), 4, total, *[Decimal(n) for n in range(1, 5)]])
    present, _ = current_reads(129, [7, 8], [now, b"\xee" * 31], SHANGHAI)
    curve = encode(0x0D, 101, [dt.datetime(2024, 2, 29, 23, 45), 1, 2, Decimal(123), total])
    points, _ = curve_reads([Curve(7, 101, curve)], SHANGHAI)
    for reads, row in ((frozen, 0), (month, 0), (present, 0), (points, 1)):
        assert reads.meter[row] == 7
        assert reads.time[row] == midnight
        assert reads.columns["active_import"][row] == 1_234_500
        assert reads.columns["active_import"].dtype == np.int64
    assert len(frozen) == len(present) == 1
    assert set(points.columns) == {"active_import"}
    with pytest.raises(Misuse):
        freeze_reads(81, [], [], SHANGHAI)
    with pytest.raises(Misuse):
        current_reads(2, [], [], SHANGHAI)


def test_curves_of_every_density_and_beyond_the_slot_quantities():
    for density, minutes in DENSITY_MINUTES.items():
        data = encode(
            0x0D, 106, [dt.datetime(2024, 3, 1), density, 3, Decimal("99.0"), None, Decimal("-80.0")]
        )
        reads, errors = curve_reads([Curve(1, 106, data)], SHANGHAI)
        assert not errors
        assert reads.columns["power_factor_a"].tolist() == [0.99, -0.8]  # the missing point is no row
        assert reads.time[1] - reads.time[0] == np.timedelta64(2 * minutes, "m")
