"""What is exported and imported again is the same store: rows, ledger, estimates."""

from __future__ import annotations

import numpy as np
import pytest

from headend.export.formats import digest
from headend.importing import csvfile, load
from headend.importing.rows import BadFile
from headend.store import db, exchanges, sheets
from protocols.localtime import as_datetime
from tests.support import house
from tests.support.afresh import afresh
from tests.support.files import (
    ASSETS,
    DAY1,
    NOW,
    bring,
    contents,
    estimate,
    export,
    fill,
    place_meters,
)
from tests.support.house import table


@pytest.mark.parametrize(
    ("name", "fast"),
    [("csv-wide", True), ("csv-wide", False), ("csv-long", True), ("csv-long", False), ("parquet", True)],
)
def test_export_and_import_give_the_same_store(store, tmp_path, name, fast):
    ids = place_meters(store)
    fill(store, ids)
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)  # one of the first meter's holes
    estimate(
        store, ids[0], house.at("2026-03-10 04:30"), 1_022_212, method="like-day", reason='odd "words", 逗号'
    )
    before = contents(store)
    # day 9 owns the opening midnight
    curve = export(store, tmp_path, name, first=DAY1.replace(day=9), last=DAY1)
    days = export(store, tmp_path, name, source="day", first=DAY1.replace(day=9), last=DAY1)
    afresh(store)
    assert place_meters(store) == ids
    assert not any(contents(store).values())

    done = bring(store, curve, fast=fast)
    assert done.new == sum(len(before[name]) for name in ("slot_read", "slot_phase_read"))
    assert (done.repeated, done.revised, done.marked, done.laid_over) == (0, 0, 2, 2)
    assert bring(store, days, source="day", fast=fast).new == len(before["register_read"])
    assert contents(store) == before

    again = bring(store, curve, fast=fast)
    assert (again.new, again.revised, again.laid_over) == (0, 0, 0)
    assert contents(store) == before
    # and out again: the very same bytes
    assert (
        export(store, tmp_path / "..", name, first=DAY1.replace(day=9), last=DAY1).read_bytes()
        == curve.read_bytes()
    )


def test_every_reading_names_the_file_that_brought_it(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    path = export(store, tmp_path, "csv-wide")
    afresh(store)
    place_meters(store)
    bring(store, path)
    ((evidence, terminal, task),) = table(store, "SELECT evidence, terminal_id, task FROM exchange")
    assert (terminal, task) == (0, "import curve")
    for name in ("slot_read", "slot_phase_read", "revision"):
        assert table(store, f"SELECT DISTINCT evidence FROM {name}") == [(evidence,)]

    (told,) = exchanges.taken(store, as_datetime(NOW), as_datetime(NOW + np.timedelta64(1, "s")))
    assert (told.protocol, told.address) == ("file", path.name)
    assert told.said[0].raw.hex() == digest(path)


def test_the_file_does_not_depend_on_the_stores_numbers_nor_on_how_many_meters_are_read_at_once(
    store, tmp_path
):
    ids = place_meters(store)
    fill(store, ids)
    here = export(store, tmp_path, "csv-wide").read_bytes()
    assert export(store, tmp_path, "csv-wide", cells=1).read_bytes() == here
    afresh(store)
    ids = place_meters(store, order=(2, 0, 1))
    fill(store, ids)
    assert export(store, tmp_path, "csv-wide").read_bytes() == here


def test_what_the_meter_said_is_not_displaced_by_a_files_estimate(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    hole = house.at("2026-03-10 01:15")
    estimate(store, ids[0], hole, 1_006_170)
    path = export(store, tmp_path, "csv-wide")
    house.deliver(store, sheets.CURVES, house.rows([ids[0]], [hole], active_import=[1_006_000]), NOW)
    before = contents(store)
    done = bring(store, path)
    assert (done.marked, done.laid_over, done.revised) == (1, 0, 0)
    assert contents(store) == before


def test_an_edit_comes_in_as_an_edit(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    when = house.at("2026-03-10 12:00")
    estimate(store, ids[1], when, 2_222_222, method="edit", reason="read by hand")
    path = export(store, tmp_path, "parquet")
    afresh(store)
    place_meters(store)
    assert bring(store, path).laid_over == 1
    assert table(store, "SELECT quantity, value, method, reason FROM revision") == [
        ("active_import", 2_222_222, "edit", "read by hand")
    ]


def test_a_different_value_is_a_revision_and_the_first_one_stays(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    path = export(store, tmp_path, "csv-wide", codes=("active_import",))
    text = path.read_text()
    path.write_text(text.replace("100.1234", "100.1235", 1))
    assert "100.1234" in text
    done = bring(store, path)
    assert (done.new, done.revised) == (0, 1)
    assert table(store, "SELECT value, method, reason FROM revision") == [
        (1_001_235, "read", "read again from a file, different")
    ]


def test_dry_run_changes_nothing_and_says_what_would_be(store, tmp_path):
    ids = place_meters(store)
    fill(store, ids)
    path = export(store, tmp_path, "csv-wide")
    afresh(store)
    place_meters(store)
    done = bring(store, path, dry_run=True)
    assert done.new > 200
    assert not any(contents(store).values())
    assert table(store, "SELECT 1 FROM exchange") == []


def test_batches_are_committed_one_by_one_after_the_whole_file_was_checked(
    store, store_dsn, tmp_path, monkeypatch
):

    ids = place_meters(store)
    fill(store, ids)
    path = export(store, tmp_path, "csv-wide")
    afresh(store)
    place_meters(store)
    monkeypatch.setattr(csvfile, "BATCH", 50)
    seen = []

    def look(rows: int) -> None:
        with db.connect(store_dsn) as other:
            ((n,),) = table(other, "SELECT count(*) FROM slot_read")
        seen.append((rows, n))

    job = load.Job(path, "csv", sheets.CURVES, house.SHANGHAI, NOW, "test")
    total = load.load(store, job, batches=True, progress=look)
    assert len(seen) > 3
    assert all(rows == there for rows, there in seen)
    afresh(store)
    place_meters(store)
    path.write_text(path.read_text() + f"{ASSETS[0]},2026-03-10T00:16:00+08:00\n")
    with pytest.raises(BadFile, match="nothing was imported"):
        load.load(store, job, batches=True)
    store.rollback()
    assert not any(contents(store).values())
    assert total.rows == seen[-1][0]
