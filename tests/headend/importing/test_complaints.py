"""A file that is wrong is refused whole, with the line of everything that is wrong."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from headend.importing import csvfile
from headend.importing.rows import MOST_COMPLAINTS, BadFile, Seen, StoreError
from tests.support.afresh import afresh
from tests.support.files import ASSETS, bring, contents, export, fill, place_meters

A, B, _ = ASSETS
HEAD = "meter,slot_end,active_import_kWh,voltage_a_V"
LONG = "meter,slot_end,quantity,value,unit,obis,quality,method,reason"
AT = "2026-03-10T00:15:00+08:00"

WIDE = {
    "unknown meter": ("999,{at},1.0,220", 2, "no meter '999' in the archive"),
    "no meter": (",{at},1.0,220", 2, "meter is empty"),
    "off the grid": ("{a},2026-03-10T00:16:00+08:00,1.0,220", 2, "2026-03-10T00:16:00+08:00 is not the end of a quarter-hour in Asia/Shanghai"),
    "no offset": ("{a},2026-03-10T00:15:00,1.0,220", 2, "is no time with an offset, such as"),
    "no time": ("{a},,1.0,220", 2, "slot_end is empty"),
    "not come yet": ("{a},2026-03-20T00:15:00+08:00,1.0,220", 2, "cannot be: it is before 1990 or has not come yet"),
    "before there were meters": ("{a},1966-03-20T00:15:00+08:00,1.0,220", 2, "cannot be"),
    "twice": ("{a},{at},1.0,220\n{b},{at},1.0,220\n{a},2026-03-09T16:15:00Z,1.0,220", 4, "said before in this file"),
    "too exact": ("{a},{at},1.00001,220", 2, "1.00001 has more than four decimals; registers are exact"),
    "negative": ("{a},{at},-1.0,220", 2, "active_import: -1.0000 is out of range"),
    "a register that no meter shows": ("{a},{at},1000000000,220", 2, "is out of range"),
    "huge": ("{a},{at},1e30,220", 2, "active_import is out of range"),
    "a voltage of millions": ("{a},{at},1.0,1e9", 2, "voltage_a: 1e+09 is out of range"),
    "NaN": ("{a},{at},1.0,NaN", 2, "voltage_a"),
    "NaN register": ("{a},{at},NaN,220", 2, "active_import: 'NaN' is not a number"),
    "infinite": ("{a},{at},1.0,inf", 2, "voltage_a"),
    "words": ("{a},{at},abc,220", 2, "active_import: 'abc' is not a number"),
    "few cells": ("{a},{at},1.0", 2, "3 columns, the header has 4"),
    "many cells": ("{a},{at},1.0,220,5", 2, "5 columns, the header has 4"),
    "second of two": ("{a},{at},1.0,220\n{b},{at},x,220", 3, "active_import: 'x' is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("fast", [True, False], ids=["pyarrow", "by-cell"])
@pytest.mark.parametrize("name", WIDE)
def test_one_wrong_line_of_a_wide_table(store, tmp_path, name, fast):
    place_meters(store)
    text, line, reason = WIDE[name]
    path = tmp_path / "wide.csv"
    path.write_text(f"{HEAD}\n{text.format(a=A, b=B, at=AT)}\n", "utf-8")
    with pytest.raises(BadFile) as caught:
        bring(store, path, format="csv", fast=fast)
    (complaint,) = caught.value.complaints
    assert (complaint.line, complaint.file) == (line, "wide.csv")
    assert reason in complaint.reason
    assert str(caught.value).startswith(f"1 error in wide.csv; nothing was imported: wide.csv:{line}: ")
    assert not any(contents(store).values())


LONGS = {
    "unit": ("{a},{at},active_import,1.0,MWh,,,,", "active_import: unit 'MWh' is not 'kWh'"),
    "obis": ("{a},{at},active_import,1.0,kWh,1-0:2.8.0,,,", "active_import: obis '1-0:2.8.0' is not '1-0:1.8.0'"),
    "quantity": ("{a},{at},energy,1.0,kWh,,,,", "quantity 'energy' is none of this source's"),
    "no value": ("{a},{at},active_import,,kWh,,,,", "active_import: the value is empty"),
    "quality": ("{a},{at},active_import,1.0,kWh,,guessed,x,", "a quality is one of"),
    "how": ("{a},{at},active_import,1.0,kWh,,estimated,,", "active_import is estimated, but how is not said"),
    "twice": ("{a},{at},active_import,1.0,kWh,,,,\n{a},{at},voltage_a,220,V,,,,\n{a},{at},active_import,1.0,kWh,,,,", "active_import: said before"),
}  # fmt: skip


@pytest.mark.parametrize("fast", [True, False], ids=["pyarrow", "by-cell"])
@pytest.mark.parametrize("name", LONGS)
def test_one_wrong_line_of_a_long_table(store, tmp_path, name, fast):
    text, reason = LONGS[name]
    place_meters(store)
    path = tmp_path / "long.csv"
    path.write_text(f"{LONG}\n{text.format(a=A, at=AT)}\n", "utf-8")
    with pytest.raises(BadFile) as caught:
        bring(store, path, format="csv", fast=fast)
    (complaint,) = caught.value.complaints
    assert complaint.line == 1 + len(text.splitlines())
    assert reason in complaint.reason
    assert not any(contents(store).values())


HEADS = {
    "meter,slot_end,energy_kWh": "column 'energy_kWh': curve readings have none of that name",
    "meter,slot_end,active_import_MWh": "column 'active_import_MWh'",
    "asset,slot_end,active_import_kWh": "the header has no column 'meter'",
    "meter,slot_end": "no column holds a quantity",
    "meter,slot_end,active_import,active_import_kWh": "a quantity has two columns",
    "meter,slot_end,quantity,value,colour": "column 'colour'",
    "": "the header has no column 'meter'",
}


@pytest.mark.parametrize("head", HEADS)
def test_a_wrong_header(store, tmp_path, head):
    path = tmp_path / "wide.csv"
    path.write_text(f"{head}\n")
    with pytest.raises(BadFile) as caught:
        bring(store, path, format="csv")
    assert any(HEADS[head] in str(complaint) for complaint in caught.value.complaints)
    assert {complaint.line for complaint in caught.value.complaints} == {1}


@pytest.mark.parametrize("fast", [True, False], ids=["pyarrow", "by-cell"])
def test_what_is_not_utf_8_is_named_by_its_line(store, tmp_path, fast):
    path = tmp_path / "wide.csv"
    path.write_bytes(
        f"{HEAD}\n{A},{AT},1.0,220\n".encode() + "电表".encode("gbk") + f",{AT},1.0,220\n".encode()
    )
    place_meters(store)
    with pytest.raises(BadFile) as caught:
        bring(store, path, format="csv", fast=fast)
    assert [(c.line, c.reason) for c in caught.value.complaints] == [(3, "is not UTF-8 text")]
    path.write_bytes("电表".encode("gbk") + b"," + HEAD.encode())
    with pytest.raises(BadFile, match="csv:1: is not UTF-8 text"):
        bring(store, path, format="csv", fast=fast)


@pytest.mark.parametrize("fast", [True, False], ids=["pyarrow", "by-cell"])
def test_all_that_is_wrong_is_said_up_to_a_bound(store, tmp_path, fast):
    place_meters(store)
    path = tmp_path / "wide.csv"
    path.write_text(HEAD + "\n" + "".join(f"{k},{AT},1.0,220\n" for k in range(500)))
    with pytest.raises(BadFile) as caught:
        bring(store, path, format="csv", fast=fast)
    assert len(caught.value.complaints) == MOST_COMPLAINTS
    assert caught.value.total == 500
    assert str(caught.value) == "500 errors in wide.csv; nothing was imported"
    assert [c.line for c in caught.value.complaints] == list(range(2, MOST_COMPLAINTS + 2))


@pytest.mark.parametrize("fast", [True, False], ids=["pyarrow", "by-cell"])
def test_a_wrong_line_far_down_takes_back_what_came_before(store, tmp_path, monkeypatch, fast):
    monkeypatch.setattr(csvfile, "BATCH", 40)
    ids = place_meters(store)
    fill(store, ids)
    path = export(store, tmp_path, "csv-wide")
    afresh(store)
    place_meters(store)
    lines = path.read_text().splitlines()
    lines[150] = lines[150].replace("+08:00", "", 1)
    lines[120] = "1" + lines[120]
    path.write_text("\n".join(lines))
    with pytest.raises(BadFile) as caught:
        bring(store, path, fast=fast)
    assert [c.line for c in caught.value.complaints] == [121, 151]
    assert not any(contents(store).values())


def test_a_torn_gzip_is_said_and_nothing_stays(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    plain = export(store, tmp_path, "csv-wide")
    afresh(store)
    place_meters(store)
    whole = gzip.compress(plain.read_bytes())
    path = tmp_path / "wide.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    for fast in (True, False):
        with pytest.raises(BadFile, match="cannot be read"):
            bring(store, path, fast=fast)
        assert not any(contents(store).values())
    path.write_bytes(whole)
    assert bring(store, path).new > 200


def test_seen_finds_repeats_across_batches_in_any_order():
    seen = Seen()
    assert seen.repeats(np.array([1, 2, 3])).tolist() == []
    assert seen.repeats(np.array([7, 5, 9, 5])).tolist() == [3]
    assert seen.repeats(np.array([4, 2, 9])).tolist() == [1, 2]
    assert seen.repeats(np.array([10, 11])).tolist() == []
    assert seen.repeats(np.array([11, 12])).tolist() == [0]


def test_a_file_longer_than_memory_must_come_in_order(monkeypatch):
    monkeypatch.setattr(Seen, "MOST", 5)
    seen = Seen()
    for k in range(0, 30, 3):
        assert seen.repeats(np.arange(k, k + 3)).tolist() == []
    with pytest.raises(StoreError, match="not in order of meter and time"):
        seen.repeats(np.array([4]))
