"""Every format, read back by somebody else's reader."""

from __future__ import annotations

import csv
import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import aemo_mdff_reader as aemo
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headend.export import espi, formats, nem12, xlsx
from headend.export.about import About, ExportError
from headend.store import sheets
from headend.store.coverage import UnknownMeter
from headend.store.sheets import BadSelection
from protocols.localtime import as_datetime, instant
from tests.support import house
from tests.support.files import ASSETS, DAY1, NOW, estimate, export, fill, place_meters
from tests.support.house import MADRID, SHANGHAI

ATOM, ESPI = f"{{{espi.ATOM}}}", f"{{{espi.ESPI}}}"


def table_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text("utf-8").splitlines()))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


@pytest.fixture
def filled(store):
    ids = place_meters(store)
    fill(store, ids)
    return store, ids


def test_wide_csv_has_a_row_a_slot_named_by_its_end_with_units_and_quality(filled, tmp_path):
    store, ids = filled
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    codes = ("active_import", "voltage_a", "power_factor")
    path = export(store, tmp_path, "csv-wide", codes=codes)
    rows = table_of(path)
    assert rows[0] == [
        "meter",
        "slot_end",
        "active_import_kWh",
        "voltage_a_V",
        "power_factor",
        "quality",
        "remarks",
    ]
    assert rows[1] == [ASSETS[0], "2026-03-10T00:15:00+08:00", "100.1234", "220.35", "", "measured", ""]
    (hole,) = [row for row in rows if row[:2] == [ASSETS[0], "2026-03-10T01:15:00+08:00"]]
    assert hole == [
        ASSETS[0],
        "2026-03-10T01:15:00+08:00",
        "100.6170",
        "",
        "",
        "estimated",
        '{"active_import":["estimated","linear","no answer, 无应答"]}',
    ]
    second = [row for row in rows if row[0] == ASSETS[1]]
    assert len(second) == 96
    assert second[0][4] == "0.9005"
    assert second[-1][1] == "2026-03-11T00:00:00+08:00"
    assert [row[0] for row in rows[1:]] == sorted((row[0] for row in rows[1:]), key=str.encode)


def test_long_csv_says_obis_unit_quality_method_and_reason_of_every_value(filled, tmp_path):
    store, ids = filled
    estimate(store, ids[1], house.at("2026-03-10 01:15"), 2_012_340)
    rows = rows_of(export(store, tmp_path, "csv-long", assets=[ASSETS[1]]))
    assert rows[0] == {
        "meter": ASSETS[1], "slot_end": "2026-03-10T00:15:00+08:00", "quantity": "active_import", "obis": "1-0:1.8.0",
        "value": "200.2468", "unit": "kWh", "quality": "measured", "method": "", "reason": "",
    }  # fmt: skip
    (odd,) = [row for row in rows if row["quality"] != "measured"]
    assert (odd["value"], odd["quality"], odd["method"], odd["reason"]) == (
        "201.2340",
        "estimated",
        "linear",
        "no answer, 无应答",
    )
    assert {row["quantity"] for row in rows} == {
        "active_import",
        "active_export",
        "voltage_a",
        "current_a",
        "active_power",
        "reactive_import",
        "power_factor",
    }


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_columnar_files_are_typed_and_their_columns_explained(filled, tmp_path, name):
    store, ids = filled
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    path = export(store, tmp_path, name, cells=10_000)
    table = pq.read_table(path) if name == "parquet" else pa.ipc.open_file(path).read_all()
    assert table.schema.field("active_import_kWh").type == pa.decimal128(18, 4)
    assert table.schema.field("slot_end").type == pa.timestamp("us", "Asia/Shanghai")
    told = table.schema.field("active_import_kWh").metadata
    assert (told[b"obis"], told[b"unit"], told[b"name_zh"].decode()) == (b"1-0:1.8.0", b"kWh", "正向有功电能")
    assert table.schema.metadata[b"zone"] == b"Asia/Shanghai"
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["meter"], first["active_import_kWh"], first["quality"], first["remarks"]) == (
        ASSETS[0],
        Decimal("100.1234"),
        "measured",
        None,
    )
    assert first["slot_end"] == house.moment("2026-03-10 00:15")
    assert np.float32(first["voltage_a_V"]) == np.float32(220.35)
    (hole,) = [row for row in table.to_pylist() if row["quality"] == "estimated"]
    assert (hole["active_import_kWh"], hole["voltage_a_V"]) == (Decimal("100.6170"), None)
    # the same rows as the wide CSV has
    rows = rows_of(export(store, tmp_path, "csv-wide"))
    assert [row["active_import_kWh"] for row in rows] == [
        f"{v:.4f}" if v is not None else "" for v in table.column("active_import_kWh").to_pylist()
    ]


def test_columnar_files_keep_decimals_beyond_a_double(store, tmp_path):
    first, _, _ = place_meters(store)
    most = 9_999_999_999_999  # nine digits before the point
    house.deliver(
        store, sheets.CURVES, house.rows([first], [house.at("2026-03-10 00:15")], active_import=[most]), NOW
    )
    assert pq.read_table(export(store, tmp_path, "parquet")).column("active_import_kWh").to_pylist() == [
        Decimal("999999999.9999")
    ]


def test_without_pyarrow_one_line_says_what_to_install(filled, tmp_path, monkeypatch):
    store, _ = filled
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'headend\[parquet\]'"):
        export(store, tmp_path, "parquet")
    assert not list(tmp_path.iterdir())


def test_a_workbook_is_for_people(filled, tmp_path):
    store, ids = filled
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    book = openpyxl.load_workbook(export(store, tmp_path, "xlsx"))
    page, told = book["readings 读数"], book["columns 说明"]
    assert page.freeze_panes == "C2"
    rows = [[cell.value for cell in row] for row in page.iter_rows()]
    assert rows[0][:5] == ["meter", "slot_end", "offset", "active_import_kWh", "active_export_kWh"]
    assert rows[1][:4] == [ASSETS[0], dt.datetime(2026, 3, 10, 0, 15), "+08:00", 100.1234]
    assert page["D2"].number_format == "0.0000"
    assert rows[1][rows[0].index("voltage_a_V")] == 220.35
    (hole,) = [row for row in rows if row[-2] == "estimated"]
    assert hole[3] == 100.617
    texts = [[cell.value for cell in row] for row in told.iter_rows()]
    assert ["active_import_kWh", "active energy import", "正向有功电能", "kWh", "1-0:1.8.0"] in texts
    assert any(row[0] == "quality: estimated" and "估算值" in row[2] for row in texts)
    assert len(rows) == page.max_row == 1 + len(table_of(export(store, tmp_path, "csv-wide"))) - 1


def test_a_worksheet_that_is_too_small_is_said_before_a_row_is_written(tmp_path):
    span = sheets.local_span("curve", DAY1, DAY1, SHANGHAI)
    about = About(span, ("active_import",), SHANGHAI, 10_923, NOW)
    with pytest.raises(
        ExportError,
        match="10923 meters x 96 slots may be 1048608 rows, a worksheet holds 1048575; choose up to 10922 meters",
    ):
        formats.write(tmp_path / "x.xlsx", "xlsx", iter(()), about)
    assert not list(tmp_path.iterdir())
    xlsx.check(About(span, ("active_import",), SHANGHAI, 10_922, NOW))


# ---- NEM12 ----


def test_nem12_read_by_a_reader_of_aemos(filled, tmp_path):
    store, _ = filled
    path = export(store, tmp_path, "nem12")
    assert aemo.validate_file(path) == []
    header = aemo.parse_header(path)
    assert header is not None
    assert (header.version, header.from_participant, header.to_participant) == (
        "NEM12",
        "HEADEND",
        "RETAILER",
    )
    found = list(aemo.parse(path))
    by = {(r.meter_serial_number, r.nmi_suffix, r.interval_end): r for r in found}
    one = by[ASSETS[1], "E1", dt.datetime(2026, 3, 10, 0, 15)]
    # CT 40: 0.2468 kWh on the secondary side
    assert (one.nmi, one.uom, one.value, one.quality_method) == ("NMI0000001", "kWh", 9.872, "A")
    assert one.interval_start == dt.datetime(2026, 3, 10)
    assert {r.nmi_suffix for r in found if r.meter_serial_number == ASSETS[1]} == {"E1", "B1", "Q1"}
    assert by[ASSETS[1], "Q1", dt.datetime(2026, 3, 11)].uom == "kVArh"
    total = sum(
        Decimal(str(r.value)) for r in found if (r.meter_serial_number, r.nmi_suffix) == (ASSETS[1], "E1")
    )
    assert total == Decimal("0.2468") * 96 * 40


def test_nem12_flags_what_is_missing_and_what_is_estimated(filled, tmp_path):
    store, ids = filled
    # the first meter's holes: 01:15, 04:30, …; the first one is estimated by a line, one register is edited
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    estimate(
        store, ids[0], house.at("2026-03-10 12:00"), 1_059_300, method="edit", reason="read by hand, once"
    )
    path = export(store, tmp_path, "nem12", assets=[ASSETS[0]], codes=("active_import",))
    events = [
        (e.start_interval, e.end_interval, e.quality_method, e.reason_code, e.reason_description)
        for e in aemo.parse_events(path)
    ]
    assert events[:4] == [
        (1, 4, "A", None, ""), (5, 6, "S17", 0, "linear: no answer; 无应答"), (7, 17, "A", None, ""), (18, 19, "N", 78, ""),
    ]  # fmt: skip
    assert (48, 49, "F16", 0, "edited: read by hand; once") in events
    # every interval once
    assert [k for first, last, *_ in events for k in range(first, last + 1)] == list(range(1, 97))
    values = [r.value for r in aemo.parse(path)]
    assert values[17:19] == [0, 0]
    assert {r.quality_method for r in aemo.parse(path)} == {"V"}


def test_nem12_days_are_days_of_standard_time(store, tmp_path):
    """Madrid, 2026-03-28 to 30: the clocks go forward on the 29th, and NEM12 does not notice."""
    first = dt.date(2026, 3, 28)
    ids = place_meters(store, MADRID)
    fill(store, ids[:2], first, MADRID, days=4, holes=False)
    path = export(
        store,
        tmp_path,
        "nem12",
        first=first,
        last=dt.date(2026, 3, 30),
        zone=MADRID,
        codes=("active_import",),
        assets=[ASSETS[0]],
    )
    found = list(aemo.parse(path))
    assert [r.interval_date.day for r in found[::96]] == [28, 29, 30]
    assert {r.quality_method for r in found} == {"A"}
    span = nem12.standard_span(first, dt.date(2026, 3, 30), MADRID)
    assert [as_datetime(when, MADRID).isoformat() for when in span.starts[[0, 96, 192]]] == [
        "2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T01:00:00+02:00",
    ]  # fmt: skip
    assert len(span.times) == 3 * 96


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("Asia/Shanghai", 8), ("Australia/Sydney", 10), ("America/New_York", -5), ("Europe/Dublin", 0)],
)
def test_standard_time_is_the_zones_without_its_summer_time(zone, hours):
    for month in (1, 7):
        assert nem12.standard_offset(dt.date(2026, month, 5), ZoneInfo(zone)) == dt.timedelta(hours=hours)


@pytest.mark.parametrize("name", ["nem12", "espi"])
def test_energies_are_not_made_of_voltages_nor_of_freezes(filled, tmp_path, name):
    store, _ = filled
    with pytest.raises(ExportError, match=r"holds energies only.*voltage_a"):
        export(store, tmp_path, name, codes=("active_import", "voltage_a"))
    span = sheets.local_span("day", DAY1, DAY1, SHANGHAI)
    with pytest.raises(ExportError, match="export the curve"):
        formats.write(tmp_path / "x", name, iter(()), About(span, ("active_import",), SHANGHAI, 1, NOW))


# ---- Green Button ----

#: the schema's order of elements (espi.xsd 4.0.20231213); what is written must be a subsequence
ORDER = {
    "UsagePoint": ["roleFlags", "ServiceCategory", "status", "serviceDeliveryPoint"],
    "ReadingType": ["accumulationBehaviour", "commodity", "consumptionTier", "currency", "dataQualifier", "defaultQuality", "flowDirection",
                    "intervalLength", "kind", "phase", "powerOfTenMultiplier", "timeAttribute", "tou", "uom", "cpp"],
    "IntervalBlock": ["interval", "IntervalReading"],
    "IntervalReading": ["cost", "ReadingQuality", "timePeriod", "value", "consumptionTier", "tou", "cpp"],
    "ReadingQuality": ["quality"],
    "interval": ["duration", "start"],
    "timePeriod": ["duration", "start"],
    "LocalTimeParameters": ["dstEndRule", "dstOffset", "dstStartRule", "tzOffset"],
    "ServiceCategory": ["kind"],
    "MeterReading": [],
}  # fmt: skip


def structure(root: ET.Element) -> None:
    """Every element of the schema's in its place, and nothing that it does not know."""
    for element in root.iter():
        if not element.tag.startswith(ESPI):
            continue
        name = element.tag.removeprefix(ESPI)
        children = [child.tag.removeprefix(ESPI) for child in element]
        if children or name in ORDER:
            places = [ORDER[name].index(child) for child in children]
            assert places == sorted(places), name
            assert len(set(places)) == len(places) or name == "IntervalBlock", name


def feed(path):
    root = ET.parse(path).getroot()
    structure(root)
    entries = root.findall(f"{ATOM}entry")
    ids = [entry.findtext(f"{ATOM}id") for entry in entries]
    assert len(set(ids)) == len(ids)
    hrefs = {
        entry.find(f"{ATOM}link[@rel='self']").get("href"): entry.find(f"{ATOM}content")[0]
        for entry in entries
    }
    for entry in entries:  # what an entry points at is there, itself or as a collection
        for link in entry.findall(f"{ATOM}link[@rel='related']"):
            assert any(href == link.get("href") or href.startswith(link.get("href") + "/") for href in hrefs)
    return hrefs


def test_green_button_names_an_interval_by_its_start(filled, tmp_path):
    store, ids = filled
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    entries = feed(export(store, tmp_path, "espi"))
    block = entries[f"UsagePoint/NMI0000001.{ASSETS[1]}/MeterReading/active_import/IntervalBlock/2026-03-10"]
    begin = int(dt.datetime(2026, 3, 9, 16, tzinfo=dt.UTC).timestamp())
    assert [int(block.findtext(f"{ESPI}interval/{ESPI}{name}")) for name in ("start", "duration")] == [
        begin,
        86_400,
    ]
    readings = block.findall(f"{ESPI}IntervalReading")
    assert [int(r.findtext(f"{ESPI}timePeriod/{ESPI}start")) for r in readings] == [
        begin + 900 * k for k in range(96)
    ]
    assert {r.findtext(f"{ESPI}timePeriod/{ESPI}duration") for r in readings} == {"900"}
    kind = entries["ReadingType/active_import.2"]
    scale = Decimal(10) ** int(kind.findtext(f"{ESPI}powerOfTenMultiplier"))
    assert kind.findtext(f"{ESPI}uom") == "72"
    # 0.2468 kWh x 40, in Wh
    assert int(readings[0].findtext(f"{ESPI}value")) * scale == Decimal("9872")
    # the estimated register makes two intervals estimated; those next to a hole are not there
    first = entries[f"UsagePoint/NMI0000000.{ASSETS[0]}/MeterReading/active_import/IntervalBlock/2026-03-10"]
    found = {
        int(r.findtext(f"{ESPI}timePeriod/{ESPI}start")): r.findtext(f"{ESPI}ReadingQuality/{ESPI}quality")
        for r in first.findall(f"{ESPI}IntervalReading")
    }
    assert [k for k, quality in found.items() if quality == "9"] == [begin + 900 * 4, begin + 900 * 5]
    assert begin + 900 * 17 not in found
    assert begin + 900 * 16 in found
    assert set(found.values()) == {None, "9"}


def test_green_button_knows_days_of_23_hours_and_the_rules_of_summer_time(store, tmp_path):
    day = dt.date(2026, 3, 29)
    ids = place_meters(store, MADRID)
    fill(store, ids[:2], day, MADRID)
    entries = feed(export(store, tmp_path, "espi", first=day, zone=MADRID))
    block = entries[f"UsagePoint/NMI0000001.{ASSETS[1]}/MeterReading/active_import/IntervalBlock/{day}"]
    assert block.findtext(f"{ESPI}interval/{ESPI}duration") == str(23 * 3600)
    assert len(block.findall(f"{ESPI}IntervalReading")) == 92
    told = entries["LocalTimeParameters/1"]
    assert (told.findtext(f"{ESPI}tzOffset"), told.findtext(f"{ESPI}dstOffset")) == ("3600", "3600")
    # month 3 (10), last (7) Sunday (7) at 2 and at 3
    assert told.findtext(f"{ESPI}dstStartRule") == f"{3 << 28 | 7 << 25 | 7 << 17 | 2 << 12:08X}"
    assert told.findtext(f"{ESPI}dstEndRule") == f"{10 << 28 | 7 << 25 | 7 << 17 | 3 << 12:08X}"


def test_green_buttons_rules_are_those_that_utilities_of_new_york_publish():
    """dstStartRule 360E2000 and dstEndRule B40E2000 stand in the sample files of the Green Button SDK."""
    told = espi._local_time(2026, ZoneInfo("America/New_York"))
    assert (
        "<dstEndRule>B40E2000</dstEndRule><dstOffset>3600</dstOffset><dstStartRule>360E2000</dstStartRule><tzOffset>-18000</tzOffset>"
        in told
    )


# ---- what is chosen ----


def test_meters_and_areas_are_chosen_by_name(filled, tmp_path):
    store, _ = filled
    for choice in ({"assets": [ASSETS[1]]}, {"areas": ["A1"]}):
        rows = table_of(export(store, tmp_path, "csv-wide", **choice))
        assert {row[0] for row in rows[1:]} == {ASSETS[1]}
    with pytest.raises(UnknownMeter, match="no meter '1' in the archive"):
        export(store, tmp_path, "csv-wide", assets=["1"])
    with pytest.raises(BadSelection, match="no area 'X' in the archive"):
        export(store, tmp_path, "csv-wide", areas=["X"])
    with pytest.raises(BadSelection, match="curve readings have no 'frequency'; choose from active_import"):
        export(store, tmp_path, "csv-wide", codes=("frequency",))


def test_a_span_has_bounds():
    with pytest.raises(BadSelection, match="is 367 days"):
        sheets.local_span("curve", DAY1, DAY1 + dt.timedelta(days=366), SHANGHAI)
    with pytest.raises(BadSelection, match="is 0 days"):
        sheets.local_span("curve", DAY1, DAY1 - dt.timedelta(days=1), SHANGHAI)
    with pytest.raises(BadSelection, match="no month ends"):
        sheets.local_span("month", DAY1, DAY1, SHANGHAI)
    assert sheets.local_span("month", DAY1, dt.date(2026, 3, 31), SHANGHAI).times.tolist() == [
        instant(house.moment("2026-04-01 00:00")).astype(dt.datetime)
    ]


def test_a_meter_that_comes_at_seven_past_ten_gives_no_energy_for_the_slot_within_which_it_came(
    store, tmp_path
):
    old = house.place(store, "1", point="P1", until="2026-03-10 10:07")
    new = house.place(store, "2", point="P1", since="2026-03-10 10:07", ct=40)
    times = [house.at("2026-03-10 00:00") + np.timedelta64(15 * k, "m") for k in range(97)]
    for place, part in ((old, times[:41]), (new, times[41:])):
        values = [10_000 * k for k in range(len(part))]
        house.deliver(
            store, sheets.CURVES, house.rows([place.meter] * len(part), part, active_import=values), NOW
        )
    found = list(aemo.parse(export(store, tmp_path, "nem12", codes=("active_import",))))
    assert {r.nmi for r in found} == {"P1"}
    values = {(r.meter_serial_number, r.interval_index): r.value for r in found}
    assert [values["1", k] for k in (1, 40, 41, 42)] == [1, 1, 0, 0]
    assert [values["2", k] for k in (40, 41, 42, 96)] == [0, 0, 40, 40]


def test_a_register_that_falls_gives_no_energy_and_one_that_rolls_over_does(store, tmp_path):
    first, second, _ = place_meters(store)
    times = [house.at(f"2026-03-10 {text}") for text in ("00:00", "00:15", "00:30")]
    for meter, values in ((first, [9_999_990_000, 10_000, 20_000]), (second, [500_000, 400_000, 410_000])):
        house.deliver(store, sheets.CURVES, house.rows([meter] * 3, times, active_import=values), NOW)
    path = export(store, tmp_path, "nem12", codes=("active_import",))
    values = {(r.meter_serial_number, r.interval_index): r.value for r in aemo.parse(path)}
    assert [values[ASSETS[0], k] for k in (1, 2)] == [2, 1]
    assert [values[ASSETS[1], k] for k in (1, 2)] == [0, 40]
    events = [(e.start_interval, e.end_interval, e.quality_method) for e in aemo.parse_events(path)]
    assert events == [(1, 2, "A"), (3, 96, "N"), (1, 1, "N"), (2, 2, "A"), (3, 96, "N")]


def test_a_file_that_fails_leaves_nothing_and_harms_nothing(filled, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("what was there")

    def torn():
        raise RuntimeError("power cut")
        yield

    span = sheets.local_span("curve", DAY1, DAY1, SHANGHAI)
    with pytest.raises(RuntimeError):
        formats.write(path, "csv-wide", torn(), About(span, ("active_import",), SHANGHAI, 1, NOW))
    assert [p.name for p in tmp_path.iterdir()] == ["curve.csv"]
    assert path.read_text() == "what was there"
