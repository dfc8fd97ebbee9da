"""Data sets, their codes, time stamps, profiles, and what of them goes into Reads."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.errors import FrameError, Misuse
from protocols.iec62056_21.frame import Block, decode
from protocols.iec62056_21.items import code, item, rows
from protocols.iec62056_21.values import (
    DataSet,
    Stamp,
    Value,
    encode,
    parse,
    profile_reads,
    profiles,
    quantity_values,
    reads,
    scaled,
    stamp,
)
from protocols.quantity import quantities

BERLIN = ZoneInfo("Europe/Berlin")
TEXTS = {
    vector["id"].rpartition("-")[2]: frame
    for vector in map(
        json.loads,
        (Path(__file__).parents[1] / "vectors" / "iec62056-21.jsonl").read_text("utf-8").splitlines(),
    )
    if vector["valid"] and isinstance(frame := decode(bytes.fromhex(vector["hex"])), Block)
}


def utc(text: str) -> np.datetime64:
    return np.datetime64(text, "us")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"1.8.0(1*kWh)\r\n!\r\n", [("1.8.0", [("1", "kWh")])]),
        (b"1.6.1(0.5*kW)(2211120730)\r\n", [("1.6.1", [("0.5", "kW"), ("2211120730", "")])]),
        (b"1.8.0*01(1)1.8.1*01(2)", [("1.8.0*01", [("1", "")]), ("1.8.1*01", [("2", "")])]),
        (b"0.1.0&12(20-12-30 16:02)", [("0.1.0&12", [("20-12-30 16:02", "")])]),
        (b"P.01(x)\r\n(1)(2)\r\n", [("P.01", [("x", "")]), ("", [("1", ""), ("2", "")])]),
        (b"", []),
        (b"!\r\n", []),
        (b"0.0.0()", [("0.0.0", [("", "")])]),
    ],
)
def test_parse(text, wanted):
    assert [(data.id, [(v.text, v.unit) for v in data.values]) for data in parse(text)] == wanted


@pytest.mark.parametrize("number", TEXTS)
def test_encode_is_the_reverse(number):
    found = parse(TEXTS[number].text)
    assert parse(encode(found)) == found


def test_encode_refuses_what_would_be_read_differently():
    with pytest.raises(Misuse):
        encode([DataSet("1.8.0", (Value("1)("),))])


@pytest.mark.parametrize("text", [b"1.8.0", b"1.8.0(1", b"1.8.0)1(", b"1.8.0(1)x\r\n", b"1.8.0((1))"])
def test_what_is_no_data_set_is_a_frame_error_with_its_place(text):
    with pytest.raises(FrameError, match="data set") as caught:
        parse(text)
    assert caught.value.offset is not None


@pytest.mark.parametrize(
    ("identifier", "quantity"),
    [
        ("1.8.0", "active_import"), ("1-0:1.8.0*255", "active_import"), ("1-1:1.8.0", "active_import"),
        ("1.8.4", "active_import_t4"), ("2.8.0", "active_export"), ("5.8.0", "reactive_q1"),
        ("31.7.0", "current_a"), ("1-0:72.7.0*255", "voltage_c"), ("14.7.0", "frequency"),
        ("16.7.0", "active_power"), ("1.6.0", "max_demand_import"), ("0.1.0", "demand_resets"),
        ("C.7.0", "power_failures"), ("0-0:96.7.21", "power_failures"), ("81.7.4", "phase_angle_a"),
        ("1.8", "active_import"), ("0-0:96.9.0", "temperature"),
        ("1.8.0*01", ""), ("1.8.0&01", ""), ("1.8.0*00", ""), ("1-2:1.8.0", ""), ("7-0:1.8.0", ""), ("1.7.0", ""),
        ("1.8.0.1", ""), ("1.8.5", ""), ("0-0:1.8.0", ""), ("F.F", ""), ("1.5.0", ""),
    ],
)  # fmt: skip
def test_only_present_values_of_the_meter_itself_are_quantities(identifier, quantity):
    found = item(identifier)
    assert (found.quantity if found else "") == quantity


def test_every_quantity_with_a_code_is_found_by_it():
    for quantity in quantities().values():
        if quantity.kind != "moment" and not quantity.obis.startswith("0-0:96.2"):
            found = item(quantity.obis)
            assert found is None or found.quantity in ("", quantity.code), quantity
    known = {found.quantity for q in quantities().values() if (found := item(q.obis))}
    assert {
        "active_import",
        "reactive_q4",
        "apparent_power_c",
        "power_factor",
        "current_n",
        "active_power_b",
    } <= known


def test_the_tables_have_both_names():
    assert all(row.name_en and row.name_zh and row.clause for row in rows())
    assert code("not a code") is None
    assert item("1-0:9999.8.0") is None


@pytest.mark.parametrize(
    ("text", "unit", "to", "wanted"),
    [
        ("1", "Wh", "kWh", "0.001"), ("1.5", "MWh", "kWh", "1500"), ("+000.8", "A", "A", "0.8"), ("1", "mA", "A", "0.001"),
        ("-000.82", "kW", "kW", "-0.82"), (" 001.67", "kW", "kW", "1.67"), ("28", "W", "kW", "0.028"),
        ("20", "kV", "V", "20000"), ("7", "", "kWh", "7"), ("32", "deg", "°", "32"), ("1", "kvarh", "kWh", None),
        ("1", "m3", "kWh", None), ("----", "kWh", "kWh", None), ("", "kWh", "kWh", None), ("9" * 40, "kWh", "kWh", None),
    ],
)  # fmt: skip
def test_units(text, unit, to, wanted):
    assert scaled(Value(text, unit), to) == (None if wanted is None else Decimal(wanted))


@pytest.mark.parametrize(
    ("text", "time", "season"),
    [
        ("2211120730", dt.datetime(2022, 11, 12, 7, 30), ""),
        ("121015061841", dt.datetime(2012, 10, 15, 6, 18, 41), ""),
        ("1220823161500", dt.datetime(2022, 8, 23, 16, 15), "summer"),
        ("0221123161500", dt.datetime(2022, 11, 23, 16, 15), "winter"),
        ("2220823161500", dt.datetime(2022, 8, 23, 16, 15), "utc"),
        ("12208231615", dt.datetime(2022, 8, 23, 16, 15), "summer"),
        ("221113", dt.datetime(2022, 11, 13), ""),
        ("1220826", dt.datetime(2022, 8, 26), "summer"),
        ("20-12-30 16:02", dt.datetime(2020, 12, 30, 16, 2), ""),
        ("101209113020W", dt.datetime(2010, 12, 9, 11, 30, 20), "winter"),
        ("2211122400", dt.datetime(2022, 11, 13), ""),
    ],
)
def test_time_stamps(text, time, season):
    assert stamp(text) == Stamp(time, season)


@pytest.mark.parametrize(
    "text", ["0000000000", "", "23:16:43", "2213010000", "kWh", "991231" * 5, "2211122500"]
)
def test_what_is_no_time_stamp(text):
    assert stamp(text) is None


def test_the_season_tells_the_hour_that_comes_twice():
    twice = dt.datetime(2022, 10, 30, 2, 30)
    assert Stamp(twice, "summer").instant(BERLIN) == utc("2022-10-30T00:30")
    assert Stamp(twice, "winter").instant(BERLIN) == utc("2022-10-30T01:30")
    assert Stamp(twice, "utc").instant(BERLIN) == utc("2022-10-30T02:30")


def test_a_published_readout_as_reads():
    row = reads(7, utc("2021-04-10T16:55:32"), parse(TEXTS["007"].text), BERLIN)
    assert row.meter.tolist() == [7]
    got = {code: column[0] for code, column in row.columns.items()}
    assert got["active_import"] == 945000
    assert got["active_export"] == 2939000
    assert got["reactive_q4"] == 1588000
    assert got["max_demand_import"] == 10.102
    assert got["max_demand_import_time"] == utc("2021-04-06T22:15")
    assert got["voltage_c"] == 237.6
    assert got["active_power_a"] == -0.82
    assert got["active_power"] == 0.03
    assert got["reactive_power"] == -0.95
    assert got["power_failures"] == 8
    assert got["demand_resets"] == 1


def test_units_and_further_digits_of_a_published_readout():
    got = quantity_values(parse(TEXTS["006"].text))
    assert got["active_import"] == 158826927
    assert got["active_power"] == 0.028
    assert got["phase_angle_c"] == 73
    assert quantity_values(parse(b"1.8.0(00024234.1010820*kWh)"))["active_import"] == 242341010


def test_net_power_is_the_difference_of_what_is_sent():
    assert quantity_values(parse(b"1.7.0(00.49*kW)\r\n2.7.0(01.00*kW)"))["active_power"] == pytest.approx(
        -0.51
    )
    assert "active_power" not in quantity_values(parse(b"1.7.0(00.49*kW)"))
    assert quantity_values(parse(b"16.7.0(1*kW)1.7.0(2*kW)2.7.0(0*kW)"))["active_power"] == 1


def test_published_profiles():
    (first,) = profiles(parse(TEXTS["011"].text))
    assert first.columns[0] == ("1.5", "kW")
    assert first.minutes == 15
    assert [row[0].plain for row in first.rows] == [Decimal("0.18374"), Decimal("0.16832")]
    (wide,) = profiles(parse(TEXTS["012"].text))
    assert len(wide.columns) == 8
    assert len(wide.rows) == 2
    events = profiles(parse(TEXTS["013"].text))
    assert [event.status for event in events] == ["00008020", "00008020", "00000010"]
    assert events[0].rows == ((Value("1235703"), Value("1220826")),)
    assert events[2].rows == ((),)
    (header,) = profiles(parse(TEXTS["014"].text))
    assert header.minutes == 5
    assert header.rows == ()


def test_a_profile_of_registers_as_reads():
    text = (
        b"P.01(1221030023000)(00)(15)(2)(1.8.0)(kWh)(31.7.0)(mA)\r\n(100.5)(1500)\r\n(101)(----)\r\n"
        b"P.01(0221030023000)(80)(15)(2)(1.8.0)(kWh)(31.7.0)(A)\r\n(102)(2)\r\n"
    )
    found = profile_reads(3, profiles(parse(text)), BERLIN)
    assert found.time.tolist() == np.array(["2022-10-30T00:30", "2022-10-30T00:45", "2022-10-30T01:30"], "datetime64[us]").tolist()  # fmt: skip
    assert found.columns["active_import"].tolist() == [1005000, 1010000, 1020000]
    np.testing.assert_equal(found.columns["current_a"], [1.5, np.nan, 2.0])


@pytest.mark.parametrize(
    "text",
    [
        b"(1)(2)",
        b"P.01(1220823161500)(0)(15)",
        b"P.01(1220823161500)(0)(15)(2)(1.5)(kW)",
        b"P.01(1220823161500)(0)(15)(999999999)(1.5)(kW)",
        b"P.01(1220823161500)(0)(x)(1)(1.5)(kW)",
        b"P.01(1220823161500)(0)(15)(1)(1.5)(kW)\r\n(1)\r\nP.01(1220823161500)(0)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(1)",
        b"P.98(1220823161500)(0)(15)(0)\r\n(1)",
    ],
)
def test_a_profile_that_does_not_fit_its_header(text):
    with pytest.raises(FrameError, match="profile") as caught:
        profiles(parse(text))
    assert caught.value.offset is not None
