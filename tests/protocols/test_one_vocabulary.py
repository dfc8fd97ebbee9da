"""The same meter, read through different protocols, is the same Reads: one meter's truth goes out in each protocol's bytes and
comes back as equal columns, down to the dtype and to what is missing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms import bulk as dlms
from protocols.dlms import values as axdr
from protocols.dlt645 import blocks
from protocols.dlt645 import values as bcd
from protocols.dlt645.bulk import answer_columns, load_columns
from protocols.dlt645.edition1997 import values as old
from protocols.dlt698 import apdu as apdu698
from protocols.dlt698 import bulk as dlt698
from protocols.dlt698 import values as data698
from protocols.gdw376 import bulk as gdw376
from protocols.gdw376.values import encode as encode376
from protocols.iec62056_21 import values as iec
from protocols.localtime import day_slots, from_local, local_fields
from protocols.modbus import bulk as modbus
from protocols.modbus import maps
from protocols.reading import MISSING, REGISTER_QUANTITIES, SLOT_QUANTITIES, Reads

CHINA = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
METER = 7
KEY = np.full(96, METER, np.int64)


@dataclass(frozen=True, slots=True)
class Truth:
    """One meter's day as integers that every protocol can carry.

    kwh    int[slot, 2]  import, export in 1e-2 kWh
    volts  int[slot, 3]  in 0.1 V
    amps   int[slot, 3]  in 1 mA
    power  int[slot, 2]  active in 1e-4 kW, reactive in 1e-4 kvar, with sign
    freeze int[6]        REGISTER_QUANTITIES at the midnight that closes the day, in 1e-2 kWh
    """

    kwh: np.ndarray[Any, np.dtype[np.int64]]
    volts: np.ndarray[Any, np.dtype[np.int64]]
    amps: np.ndarray[Any, np.dtype[np.int64]]
    power: np.ndarray[Any, np.dtype[np.int64]]
    freeze: tuple[int, ...]


@st.composite
def truths(draw: Any) -> Truth:
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = draw(st.sampled_from([1, 1000, 79_000_000]))
    return Truth(
        kwh=np.sort(chance.integers(0, most, (96, 2)), axis=0),
        volts=chance.integers(0, 9999, (96, 3)),
        amps=chance.integers(-700_000, 700_000, (96, 3)),
        power=chance.integers(-700_000, 700_000, (96, 2)),
        freeze=tuple(int(n) for n in chance.integers(0, most, 6)),
    )


def expected_day(truth: Truth) -> Reads:
    """The truth in the store's own units, without any protocol's code."""
    columns: dict[str, Any] = {
        "active_import": truth.kwh[:, 0] * 100,
        "active_export": truth.kwh[:, 1] * 100,
        "active_power": truth.power[:, 0] / 10_000,
        "reactive_power": truth.power[:, 1] / 10_000,
    }
    for k, phase in enumerate("abc"):
        columns[f"voltage_{phase}"] = truth.volts[:, k] / 10
        columns[f"current_{phase}"] = truth.amps[:, k] / 1000
    return Reads(KEY, day_slots(DAY, CHINA), columns)


def expected_freeze(truth: Truth) -> Reads:
    columns = {code: np.array([n * 100]) for code, n in zip(REGISTER_QUANTITIES, truth.freeze, strict=True)}
    return Reads(KEY[:1], day_slots(DAY, CHINA)[-1:], columns)


def scaled(numbers: Any, places: int) -> list[Decimal]:
    return [Decimal(int(n)).scaleb(-places) for n in numbers]


def local_slots() -> list[dt.datetime]:
    local: list[dt.datetime] = local_fields(day_slots(DAY, CHINA), CHINA).astype(dt.datetime).tolist()
    return local


# --- one day of quarter-hours through each protocol ---


def day_645(truth: Truth) -> Reads:
    made = []
    for k, when in enumerate(local_slots()):
        classes = {
            1: [*scaled(truth.volts[k], 1), *scaled(truth.amps[k], 3), Decimal(50)],
            2: [*scaled(truth.power[k, :1], 4), *[Decimal(0)] * 3, *scaled(truth.power[k, 1:], 4), *[Decimal(0)] * 3],
            4: [*scaled(truth.kwh[k], 2), Decimal(0), Decimal(0)],
        }  # fmt: skip
        made.append(blocks.encode_block(when, classes))
    found = load_columns([b"".join(made[k : k + 24]) for k in range(0, 96, 24)])
    assert not found.errors
    return Reads(KEY, from_local(found.time, CHINA), {code: found.columns[code] for code in SLOT_QUANTITIES})


def day_376(truth: Truth) -> Reads:
    """AFN 0D, a curve for each quantity: they arrive apart and share their rows."""
    numbers = {
        101: scaled(truth.kwh[:, 0], 2), 103: scaled(truth.kwh[:, 1], 2),
        81: scaled(truth.power[:, 0], 4), 85: scaled(truth.power[:, 1], 4),
        **{89 + k: scaled(truth.volts[:, k], 1) for k in range(3)},
        **{92 + k: scaled(truth.amps[:, k], 3) for k in range(3)},
    }  # fmt: skip
    start = local_slots()[0]
    curves = [
        gdw376.Curve(METER, function, encode376(0x0D, function, [start, 1, 96, *column]))
        for function, column in numbers.items()
    ]
    found = gdw376.curve_columns(curves)
    assert not found.errors
    return Reads(found.key, from_local(found.time, CHINA), found.columns)


def day_698(truth: Truth) -> Reads:
    columns = (0x20210200, 0x00100201, 0x00200201, 0x20000200, 0x20010200, 0x20040201, 0x20050201)
    rows = []
    for k, when in enumerate(local_slots()):
        single = (
            data698.Data(data698.DOUBLE_LONG_UNSIGNED, int(truth.kwh[k, 0])),
            data698.Data(data698.DOUBLE_LONG_UNSIGNED, int(truth.kwh[k, 1])),
            data698.array(*(data698.Data(data698.LONG_UNSIGNED, int(n)) for n in truth.volts[k])),
            data698.array(*(data698.Data(data698.DOUBLE_LONG, int(n)) for n in truth.amps[k])),
            *(data698.Data(data698.DOUBLE_LONG, int(n)) for n in truth.power[k]),
        )
        stamp = data698.Data(data698.DATE_TIME_S, data698.encode_time_s(np.datetime64(when, "us")))
        rows.append((stamp, *single))
    return records_698(columns, rows)


def records_698(columns: tuple[int, ...], rows: list[Any]) -> Reads:
    record = apdu698.RecordResult(0x50020200, columns, 0, tuple(rows), False)
    (found,) = dlt698.decode(apdu698.encode(apdu698.Apdu(0x85, 3, 1, {"record": record})))
    times = from_local(dlt698.record_times(found), CHINA)
    return Reads(KEY[: len(times)], times, dlt698.quantity_columns(found))


def day_dlms(truth: Truth) -> Reads:
    """A load profile whose scalers are those of the meter's registers: 10 Wh, 0.1 V, 1 mA, 0.1 W."""
    wide, narrow, signed = axdr.DOUBLE_LONG_UNSIGNED, axdr.LONG_UNSIGNED, axdr.DOUBLE_LONG
    slots = day_slots(DAY, CHINA)
    raw = dlms.encode(
        [
            (axdr.OCTET_STRING, dlms.clock_column(slots, CHINA)),
            *((wide, truth.kwh[:, k]) for k in range(2)),
            *((narrow, truth.volts[:, k]) for k in range(3)),
            *((signed, truth.amps[:, k]) for k in range(3)),
            *((signed, truth.power[:, k]) for k in range(2)),
        ]
    )
    at, *columns = dlms.decode(raw)
    registers = [dlms.registers(column, 1) for column in columns[:2]]
    volts = [dlms.reals(column, -1) for column in columns[2:5]]
    amps = [dlms.reals(column, -3) for column in columns[5:8]]
    power = [dlms.reals(column, -4) for column in columns[8:]]
    return Reads(
        KEY, dlms.instants(at, CHINA), dict(zip(SLOT_QUANTITIES, [*registers, *volts, *amps, *power], strict=True))
    )  # fmt: skip


# --- the freeze that closes the day ---


def freeze_645(truth: Truth) -> Reads:
    total = bcd.encode(0x05060101, [*scaled(truth.freeze[:5], 2)])
    back = bcd.encode(0x05060201, [*scaled(truth.freeze[5:], 2), *[Decimal(0)] * 4])
    found, errors = answer_columns(0x05060101, [total], REGISTER_QUANTITIES[:5])
    more, others = answer_columns(0x05060201, [back], REGISTER_QUANTITIES[5:])
    assert not errors
    assert not others
    return Reads(KEY[:1], day_slots(DAY, CHINA)[-1:], {**found, **more})


def freeze_376(truth: Truth) -> Reads:
    """Td_d = D means the register at D+1 00:00."""
    tariffs = scaled(truth.freeze[1:5], 2)
    export = [Decimal(0)] * 4
    rest = [None] * 10
    made = [
        encode376(0x0D, 1, [DAY, None, 4, *scaled(truth.freeze[:1], 2), *tariffs, *rest, *[None] * 5]),
        encode376(0x0D, 2, [DAY, None, 4, *scaled(truth.freeze[5:], 2), *export, *rest, *[None] * 5]),
    ]
    columns: dict[str, Any] = {}
    for function, answer, codes in zip(
        (1, 2), made, (REGISTER_QUANTITIES[:5], REGISTER_QUANTITIES[5:]), strict=True
    ):
        found, errors = gdw376.answer_columns(0x0D, function, [answer], codes)
        assert not errors
        columns |= found
    times, known = gdw376.freeze_times(made[:1])
    assert known.all()
    return Reads(KEY[:1], from_local(times, CHINA), columns)


def freeze_698(truth: Truth) -> Reads:
    stamp = np.datetime64(DAY + dt.timedelta(days=1), "us")
    wide = [data698.Data(data698.DOUBLE_LONG_UNSIGNED, n) for n in truth.freeze]
    row = (data698.Data(data698.DATE_TIME_S, data698.encode_time_s(stamp)), data698.array(*wide[:5]), wide[5])
    return records_698((0x20210200, 0x00100200, 0x00200201), [row])


def freeze_dlms(truth: Truth) -> Reads:
    raw = dlms.encode(
        [
            (axdr.OCTET_STRING, dlms.clock_column(day_slots(DAY, CHINA)[-1:], CHINA)),
            *((axdr.DOUBLE_LONG_UNSIGNED, np.array([n])) for n in truth.freeze),
        ]
    )
    at, *columns = dlms.decode(raw)
    return Reads(
        KEY[:1],
        dlms.instants(at, CHINA),
        {code: dlms.registers(column, 1) for code, column in zip(REGISTER_QUANTITIES, columns, strict=True)},
    )


DAYS: dict[str, Callable[[Truth], Reads]] = {
    "dlt645-2007": day_645, "gdw376": day_376, "dlt698": day_698, "dlms": day_dlms,
}  # fmt: skip
FREEZES: dict[str, Callable[[Truth], Reads]] = {
    "dlt645-2007": freeze_645, "gdw376": freeze_376, "dlt698": freeze_698, "dlms": freeze_dlms,
}  # fmt: skip


def same(got: Reads, wanted: Reads) -> None:
    assert got.meter.tolist() == wanted.meter.tolist()
    assert got.time.tolist() == wanted.time.tolist()
    assert set(got.columns) >= set(wanted.columns)
    for code, column in wanted.columns.items():
        assert got.columns[code].dtype == column.dtype, code
        np.testing.assert_array_equal(got.columns[code], column, err_msg=code)


@pytest.mark.parametrize("protocol", DAYS)
@settings(max_examples=12)
@given(truth=truths())
def test_a_day_of_quarter_hours(protocol: str, truth: Truth) -> None:
    same(DAYS[protocol](truth), expected_day(truth))


@pytest.mark.parametrize("protocol", FREEZES)
@settings(max_examples=25)
@given(truth=truths())
def test_the_freeze_that_closes_the_day(protocol: str, truth: Truth) -> None:
    same(FREEZES[protocol](truth), expected_freeze(truth))


# --- what the meter shows now: also by the protocols that keep no curve ---

PRESENT = ("active_import", "active_export", "voltage_a", "voltage_b", "voltage_c")
Present = dict[str, int | float]


def present_2007(kwh: list[int], volts: list[int]) -> Present:
    answers = {
        di: bcd.encode(di, scaled([n], 2)) for di, n in zip((0x00010000, 0x00020000), kwh, strict=True)
    }
    answers[0x0201FF00] = bcd.encode(0x0201FF00, [Decimal(n) for n in volts])
    return {code: n for di, raw in answers.items() for code, n in bcd.quantity_values(di, raw).items()}  # type: ignore[misc]


def present_1997(kwh: list[int], volts: list[int]) -> Present:
    answers = {di: old.encode(di, scaled([n], 2)) for di, n in zip((0x9010, 0x9020), kwh, strict=True)}
    answers |= {0xB611 + k: old.encode(0xB611 + k, [n]) for k, n in enumerate(volts)}
    return {code: n for di, raw in answers.items() for code, n in old.quantity_values(di, raw).items()}  # type: ignore[misc]


def present_iec(kwh: list[int], volts: list[int]) -> Present:
    lines = [
        f"{code}({Decimal(n).scaleb(-2):09.2f}*kWh)" for code, n in zip(("1.8.0", "2.8.0"), kwh, strict=True)
    ]
    lines += [f"{code}({n:05.1f}*V)" for code, n in zip(("32.7.0", "52.7.0", "72.7.0"), volts, strict=True)]
    return iec.quantity_values(iec.parse("\r\n".join(lines).encode()))  # type: ignore[return-value]


def present_modbus(kwh: list[int], volts: list[int]) -> Present:
    table = maps.meter_map("abb-b23")
    energies = b"".join(n.to_bytes(8, "big") for n in kwh)
    phases = b"".join((10 * n).to_bytes(4, "big") for n in volts)
    found: Present = {}
    for address, raw in ((0x5000, energies), (0x5B00, phases)):
        columns, errors = modbus.columns(table, 3, address, [raw])
        assert not errors
        found |= {code: column[0].item() for code, column in columns.items()}
    return found


def present_dlms(kwh: list[int], volts: list[int]) -> Present:
    cells = [dlms.column([axdr.decode(axdr.encode(axdr.Data(axdr.DOUBLE_LONG_UNSIGNED, n)))]) for n in kwh]
    found: Present = dict(zip(PRESENT, [dlms.registers(cell, 1)[0].item() for cell in cells], strict=False))
    for code, n in zip(PRESENT[2:], volts, strict=True):
        cell = dlms.column([axdr.decode(axdr.encode(axdr.Data(axdr.LONG_UNSIGNED, 10 * n)))])
        found[code] = dlms.reals(cell, -1)[0].item()
    return found


@pytest.mark.parametrize("read", [present_2007, present_1997, present_iec, present_modbus, present_dlms])
@given(
    kwh=st.lists(st.integers(0, 99_999_999), min_size=2, max_size=2),
    volts=st.lists(st.integers(0, 999), min_size=3, max_size=3),
)
def test_what_the_meter_shows_now(
    read: Callable[[list[int], list[int]], Present], kwh: list[int], volts: list[int]
) -> None:
    """Registers are integers in 1e-4 kWh and volts floats, whatever the wire had."""
    found = read(kwh, volts)
    wanted = dict(zip(PRESENT, [100 * kwh[0], 100 * kwh[1], *map(float, volts)], strict=True))
    assert {code: found[code] for code in PRESENT} == wanted
    assert [type(found[code]) for code in PRESENT] == [int, int, float, float, float]


def test_missing_is_missing_in_every_protocol() -> None:
    """A value that the meter does not have is MISSING or NaN, never 0: FF fillers, EE fillers, NULL, null-data."""
    gone = [
        answer_columns(0x00010000, [b"\xff" * 4], ("active_import",))[0]["active_import"],
        gdw376.curve_columns([gdw376.Curve(METER, 101, encode376(0x0D, 101, [local_slots()[0], 1, 1, None]))]).columns["active_import"],
        records_698((0x20210200, 0x00100201), [(
            data698.Data(data698.DATE_TIME_S, data698.encode_time_s(np.datetime64("2026-03-10", "us"))), data698.Data(data698.NULL),
        )]).columns["active_import"],
        dlms.registers(dlms.column([axdr.Data(axdr.NULL, None)]), 1),
    ]  # fmt: skip
    for column in gone:
        assert column.dtype == np.int64
        assert column.tolist() == [MISSING]
