"""NEM12 in: energies become registers, on a register that is known; and every way in which such a file can be wrong."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.importing.rows import BadFile
from headend.store import sheets
from tests.support import house
from tests.support.afresh import afresh
from tests.support.files import ASSETS, DAY1, bring, contents, estimate, export, fill, place_meters
from tests.support.house import MADRID, table

HEAD = "100,NEM12,202603110200,HEADEND,RETAILER"
TWO = f"200,NMI0000001,E1,E1,E1,,{ASSETS[1]},kWh,15,"  # CT 40
ONE = f"200,NMI0000000,E1,E1,E1,,{ASSETS[0]},kWh,15,"
STAMP = "20260311020000,"


def day(values: list[str], quality: str = "A,,", date: str = "20260310") -> str:
    return f"300,{date},{','.join(values)},{quality},{STAMP}"


def file(tmp_path, *records: str, end: bool = True):
    path = tmp_path / "in.csv"
    path.write_text("\n".join([HEAD, *records, *(["900"] if end else [])]) + "\n")
    return path


def registers(conn, meter: int) -> list[tuple[str, int]]:
    found = table(conn, "SELECT ts, active_import FROM slot_read WHERE meter_id = %s ORDER BY ts", meter)
    return [(ts.astimezone(house.SHANGHAI).strftime("%d %H:%M"), value) for ts, value in found]


def test_energies_are_added_onto_the_register_of_the_opening_midnight(store, tmp_path):
    first, _, _ = place_meters(store)
    house.deliver(
        store,
        sheets.DAYS,
        house.rows([first], [house.at("2026-03-10 00:00")], active_import=[12_345_678]),
        house.at("2026-03-10 01:00"),
    )
    done = bring(store, file(tmp_path, ONE, day(["0.25", "0", "1.0001"] + ["0"] * 93)))
    assert (done.new, done.marked) == (96, 0)
    assert registers(store, first)[:4] == [
        ("10 00:15", 12_348_178),
        ("10 00:30", 12_348_178),
        ("10 00:45", 12_358_179),
        ("10 01:00", 12_358_179),
    ]
    assert registers(store, first)[-1] == ("11 00:00", 12_358_179)


def test_primary_energies_are_divided_by_ct_times_pt_without_adding_up_the_rounding(store, tmp_path):
    _, second, _ = place_meters(store)
    # 0.001 kWh on the primary side is 0.25 of the store's unit on the secondary side of a CT of 40: 24 units in 96 slots
    bring(store, file(tmp_path, TWO, day(["0.001"] * 96)), opening={"": 1_000})
    values = [value for _, value in registers(store, second)]
    assert values[:8] == [1000, 1001, 1001, 1001, 1001, 1002, 1002, 1002]
    assert values[-1] == 1_024


def test_without_a_known_register_it_is_refused_unless_one_is_given_and_that_is_kept_as_an_assumption(
    store, tmp_path
):
    first, second, _ = place_meters(store)
    path = file(tmp_path, ONE, day(["1"] * 96), TWO, day(["40"] * 96))
    with pytest.raises(BadFile) as caught:
        bring(store, path)
    assert [(c.line, c.reason) for c in caught.value.complaints] == [
        (
            line,
            "interval 1: active_import at 2026-03-10T00:00:00+08:00 is not known; import that register first, or give --opening",
        )
        for line in (3, 5)
    ]
    assert bring(store, path, opening={"": 0, ASSETS[1]: 50_000}).new == 192
    assert registers(store, first)[0] == ("10 00:15", 10_000)
    assert registers(store, second)[0] == ("10 00:15", 60_000)
    assert table(store, "SELECT meter_id, quantity, value, method FROM revision ORDER BY 1") == [
        (first, "active_import", 0, "nem12-opening"), (second, "active_import", 50_000, "nem12-opening"),
    ]  # fmt: skip
    before = contents(store)
    again = bring(store, path)  # now the register is known
    assert (again.new, again.revised, again.laid_over) == (0, 0, 0)
    assert contents(store) == before


def test_a_null_ends_what_is_known_until_a_register_is(store, tmp_path):
    first, _, _ = place_meters(store)
    runs = ["400,1,40,A,,", "400,41,42,N,78,", "400,43,96,A,,"]
    path = file(tmp_path, ONE, day(["1"] * 40 + ["0", "0"] + ["1"] * 54, "V,,"), *runs)
    with pytest.raises(
        BadFile, match=r"in.csv:3: interval 43: active_import at 2026-03-10T10:30:00\+08:00 is not known"
    ):
        bring(store, path, opening={"": 0})  # an opening is where the file begins, not where it goes on
    house.deliver(
        store,
        sheets.CURVES,
        house.rows(
            [first, first],
            [house.at("2026-03-10 00:00"), house.at("2026-03-10 10:30")],
            active_import=[0, 500_000],
        ),
        house.at("2026-03-11 01:00"),
    )
    assert bring(store, path).new == 94
    found = dict(registers(store, first))
    assert (found["10 10:00"], found["10 10:30"], found["10 10:45"]) == (400_000, 500_000, 510_000)
    assert "10 10:15" not in found


def test_substituted_estimated_and_final_are_no_readings(store, tmp_path):
    place_meters(store)
    runs = [
        "400,1,10,A,,",
        "400,11,11,S14,51,Installation demolished",
        "400,12,12,E53,,",
        "400,13,13,F16,0,agreed",
        "400,14,96,A,,",
    ]
    done = bring(store, file(tmp_path, ONE, day(["1"] * 96, "V,,"), *runs), opening={"": 0})
    assert (done.new, done.marked, done.laid_over) == (93, 4, 4)
    assert table(store, "SELECT value, method, reason FROM revision ORDER BY ts") == [
        (0, "nem12-opening", "the register where in.csv begins is assumed"), (110_000, "nem12-S14", "51 Installation demolished"),
        (120_000, "nem12-E53", "from in.csv"), (130_000, "nem12-F16", "0 agreed"),
    ]  # fmt: skip
    (bits,) = table(store, "SELECT present::text, estimated::text FROM coverage WHERE day = '2026-03-10'")
    assert bits[0] == "1" * 10 + "000" + "1" * 83
    assert bits[1] == "0" * 10 + "111" + "0" * 83


def test_five_minutes_are_added_up_and_thirty_leave_every_other_slot_empty(store, tmp_path):
    first, second, _ = place_meters(store)
    records = [ONE.replace(",15,", ",5,"), day(["0.1"] * 288), TWO.replace(",15,", ",30,"), day(["4"] * 48)]
    assert bring(store, file(tmp_path, *records), opening={"": 0}).new == 96 + 48
    assert registers(store, first)[:2] == [("10 00:15", 3_000), ("10 00:30", 6_000)]
    assert registers(store, second)[:2] == [("10 00:30", 1_000), ("10 01:00", 2_000)]


def test_units(store, tmp_path):
    first, _, _ = place_meters(store)
    for unit, value in (("Wh", "1500"), ("kWh", "1.5"), ("MWh", "0.0015"), ("KWH", "1.5")):
        afresh(store)
        place_meters(store)
        bring(store, file(tmp_path, ONE.replace("kWh", unit), day([value] + ["0"] * 95)), opening={"": 0})
        assert registers(store, first)[0][1] == 15_000


def test_a_register_rolls_over(store, tmp_path):
    first, _, _ = place_meters(store)
    bring(store, file(tmp_path, ONE, day(["1"] * 96)), opening={"": 9_999_995_000})
    assert registers(store, first)[0] == ("10 00:15", 5_000)


def test_the_meter_is_found_by_its_point_where_the_serial_number_is_not_ours(store, tmp_path):
    first, _, _ = place_meters(store)
    bring(store, file(tmp_path, ONE.replace(ASSETS[0], "METSER123"), day(["1"] * 96)), opening={"": 0})
    assert len(registers(store, first)) == 96


WRONG = {
    "cut off": ([ONE, day(["1"] * 96)], False, 3, "the file is cut off: it has no 900 record at its end"),
    "behind the end": ([ONE, day(["1"] * 96), "900"], True, 5, "there is something behind the 900 record"),
    "no 200": ([day(["1"] * 96)], True, 2, "a 300 record without a 200 record that can be read before it"),
    "two headers": ([HEAD], True, 2, "a file begins with one 100 record that says NEM12"),
    "few intervals": ([ONE, day(["1"] * 95)], True, 3, "the quality"),
    "many intervals": ([ONE, day(["1"] * 98)], True, 3, "105 fields; 96 intervals of 15 minutes make 103"),
    "negative": ([ONE, day(["-1"] + ["1"] * 95)], True, 3, "interval 1: '-1' is not a number from 0 on"),
    "exponent": ([ONE, day(["1"] * 95 + ["1e3"])], True, 3, "interval 96: '1e3' is not a number"),
    "NaN": ([ONE, day(["1"] * 95 + ["NaN"])], True, 3, "interval 96: 'NaN' is not a number"),
    "empty": ([ONE, day(["1"] * 95 + [""])], True, 3, "interval 96: '' is not a number"),
    "too fine": ([ONE, day(["0.00001"] + ["1"] * 95)], True, 3, "interval 1: 0.00001 is finer than 0.0001"),
    "date": ([ONE, day(["1"] * 96, date="20260230")], True, 3, "'20260230' is no date"),
    "quality": ([ONE, day(["1"] * 96, "X,,")], True, 3, "quality 'X'"),
    "method": ([ONE, day(["1"] * 96, "S,51,")], True, 3, "quality 'S': A, N, V, or E, S or F with a method of two digits"),
    "reason": ([ONE, day(["1"] * 96, "F14,,")], True, 3, "quality F14 without a reason code"),
    "null with a value": ([ONE, day(["1"] * 96, "N,,")], True, 3, "interval 1 is null (N) and has a value"),
    "V alone": ([ONE, day(["1"] * 96, "V,,")], True, 3, "quality V, but its 400 records end at interval 0 of 96"),
    "V with a hole": ([ONE, day(["1"] * 96, "V,,"), "400,1,10,A,,"], True, 3, "end at interval 10 of 96"),
    "400 out of order": ([ONE, day(["1"] * 96, "V,,"), "400,1,10,A,,", "400,10,96,A,,", "400,11,96,A,,"], True, 5, "the next one is 11 of 96"),
    "400 beyond": ([ONE, day(["1"] * 96, "V,,"), "400,1,97,A,,", "400,1,96,A,,"], True, 4, "intervals 1 to 97"),
    "400 without V": ([ONE, day(["1"] * 96), "400,1,96,A,,"], True, 4, "whose quality is not V"),
    "400 with V": ([ONE, day(["1"] * 96, "V,,"), "400,1,96,V,,"], True, 4, "quality V is for 300 records alone"),
    "400 alone": ([ONE, "400,1,96,A,,"], True, 3, "a 400 record without a 300 record"),
    "suffix": ([ONE.replace("E1", "X1")], True, 2, "suffix 'X1'"),
    "unit": ([ONE.replace("kWh", "kV")], True, 2, "unit 'kV' is no energy"),
    "length": ([ONE.replace(",15,", ",10,")], True, 2, "interval length '10'"),
    "unknown record": (["250,x"], True, 2, "there is no record '250' in NEM12"),
    "twice": ([ONE, day(["1"] * 96), day(["1"] * 96)], True, 4, "of 2026-03-10: said before in this file"),
    "unknown meter": ([ONE.replace(ASSETS[0], "1").replace("NMI0000000", "NMI"), day(["1"] * 96)], True, 2, "neither meter '1' nor point 'NMI' with"),
    "not installed": ([ONE, day(["1"] * 96, date="20251231")], True, 3, "the meter is not installed with one multiplier for all of it"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_can_be_wrong(store, tmp_path, name):
    place_meters(store)
    records, end, line, reason = WRONG[name]
    if name == "few intervals":  # 95 values and a flag: the flag stands where the last value should
        reason = "interval 96: 'A' is not a number"
    with pytest.raises(BadFile) as caught:
        bring(store, file(tmp_path, *records, end=end), format="nem12", opening={"": 0})
    assert (line, True) in [(c.line, reason in c.reason) for c in caught.value.complaints], [
        str(c) for c in caught.value.complaints
    ]
    assert not any(contents(store).values())


@pytest.mark.parametrize("zone", [house.SHANGHAI, MADRID], ids=str)
def test_what_goes_out_comes_in_again(store, tmp_path, zone):
    """The registers of a day in March, of one in which the clocks go forward, and of a summer's day that begins at 01:00 local time."""
    first = dt.date(2026, 3, 27)
    ids = place_meters(store, zone)
    fill(store, ids[1:], first, zone, days=6, holes=False)
    path = export(store, tmp_path, "nem12", first=first, last=first + dt.timedelta(days=4), zone=zone)
    kept = {
        name: table(
            store, f"SELECT meter_id, ts, {codes} FROM {name} WHERE meter_id = ANY(%s) ORDER BY 1, 2", ids
        )
        for name, codes in (
            ("slot_read", "active_import, active_export"),
            ("slot_phase_read", "reactive_import"),
        )
    }
    afresh(store)
    place_meters(store, zone)
    begin = [house.at("2026-03-27 00:00", zone)] * 2
    openings = [row[2] for row in kept["slot_read"] if row[1] == kept["slot_read"][0][1]]
    known = house.rows(
        ids[1:], begin, active_import=openings, active_export=[7, 7], reactive_import=[None, 500]
    )
    house.deliver(store, sheets.CURVES, known, house.at("2026-04-01 12:00", zone), zone)
    bring(store, path, zone=zone, at=house.at("2026-04-01 12:00", zone))
    for name, codes in (
        ("slot_read", "active_import, active_export"),
        ("slot_phase_read", "reactive_import"),
    ):
        found = table(store, f"SELECT meter_id, ts, {codes} FROM {name} ORDER BY 1, 2")
        assert len(found) > 480
        assert set(found) <= set(kept[name])
    assert table(store, "SELECT 1 FROM revision") == []


def test_an_imported_substitute_goes_out_as_it_came(store, tmp_path):
    place_meters(store)
    runs = ["400,1,95,A,,", "400,96,96,S14,51,Installation demolished"]
    bring(store, file(tmp_path, ONE, day(["1"] * 96, "V,,"), *runs), opening={"": 0})
    text = export(store, tmp_path, "nem12").read_text()
    assert "400,96,96,S14,51,Installation demolished\n" in text
    assert "400,1,1,S16,0,nem12-opening: the register where in.csv begins is assumed\n400,2,95,A,,\n" in text


def test_numbers_survive_an_estimate_in_the_middle(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    text = export(store, tmp_path, "nem12", assets=[ASSETS[0]]).read_text()
    (line,) = [row for row in text.splitlines() if row.startswith("300")][:1]
    assert np.sum([float(v) for v in line.split(",")[4:8]]) == pytest.approx(4 * 0.1234)
    assert DAY1.strftime("%Y%m%d") in line
