"""Parquet in: types are kept to, since a float is no register and a time without a zone is none."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headend.importing.rows import BadFile
from tests.support.files import ASSETS, bring, contents, place_meters
from tests.support.house import table

AT = dt.datetime(2026, 3, 9, 16, 15, tzinfo=dt.UTC)
GOOD = {
    "meter": pa.array([ASSETS[0], ASSETS[1]]),
    "slot_end": pa.array([AT, AT], pa.timestamp("us", "UTC")),
    "active_import": pa.array([Decimal("1.2345"), None], pa.decimal128(10, 4)),
    "voltage_a_V": pa.array([220.5, 221.0], pa.float64()),
}


def file(tmp_path, **other):
    path = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({name: values for name, values in {**GOOD, **other}.items() if values is not None}), path
    )
    return path


def test_other_peoples_tables_of_the_same_columns_come_in(store, tmp_path):
    ids = place_meters(store)
    milliseconds = pa.array([AT, AT], pa.timestamp("ms", "Europe/Madrid"))
    done = bring(store, file(tmp_path, slot_end=milliseconds, meter=GOOD["meter"].dictionary_encode()))
    assert (done.rows, done.new) == (2, 2)
    assert table(store, "SELECT meter_id, active_import, voltage_a FROM slot_read ORDER BY 1") == [
        (ids[0], 12_345, 220.5),
        (ids[1], None, 221.0),
    ]


WRONG = {
    "float register": ({"active_import": pa.array([1.0, 2.0])}, "active_import is double; registers are exact: decimal128(18, 4)"),
    "naive time": ({"slot_end": pa.array([AT.replace(tzinfo=None)] * 2, pa.timestamp("us"))}, "not a timestamp with a zone"),
    "text time": ({"slot_end": pa.array(["2026-03-10T00:15:00+08:00"] * 2)}, "slot_end is string, not a timestamp with a zone"),
    "number for a meter": ({"meter": pa.array([101, 102])}, "meter is int64, not text: asset numbers keep their zeros"),
    "text for a voltage": ({"voltage_a_V": pa.array(["220", "221"])}, "voltage_a_V is string, not a number"),
    "no time": ({"slot_end": None}, "the header has no column 'slot_end'"),
    "unknown column": ({"energy": pa.array([1, 2])}, "column 'energy'"),
    "too exact": ({"active_import": pa.array([Decimal("1.23456"), None], pa.decimal128(10, 5))}, "cannot be read as Parquet: Rescaling"),
    "NaN": ({"voltage_a_V": pa.array([220.5, float("nan")])}, "voltage_a is not a number"),
    "empty meter": ({"meter": pa.array([ASSETS[0], None])}, "meter is empty"),
    "empty time": ({"slot_end": pa.array([AT, None], pa.timestamp("us", "UTC"))}, "slot_end is empty"),
    "twice": ({"meter": pa.array([ASSETS[0], ASSETS[0]])}, "said before in this file"),
    "huge": ({"active_import": pa.array([Decimal(10**20), None], pa.decimal128(30, 4))}, "active_import is out of range"),
    "remarks": ({"remarks": pa.array(["{", None])}, "is not the JSON of an export"),
    "remark of nothing": ({"remarks": pa.array(['{"frequency":["estimated","x","y"]}', None])}, "a quality is one of"),
    "estimate of a missing value": ({"remarks": pa.array([None, '{"active_import":["estimated","linear","y"]}'])}, "is estimated, but has no value"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_can_be_wrong(store, tmp_path, name):
    place_meters(store)
    other, reason = WRONG[name]
    with pytest.raises(BadFile) as caught:
        bring(store, file(tmp_path, **other))
    assert any(reason in c.reason for c in caught.value.complaints), [str(c) for c in caught.value.complaints]
    assert not any(contents(store).values())


def test_a_torn_file_is_said(store, tmp_path):
    path = file(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadFile, match="cannot be read as Parquet"):
        bring(store, path)
