"""The daily file: sealed, checkable from itself, the same for the same data, and never silently another."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from headend.export import daily
from headend.export.about import ExportError
from headend.export.formats import digest
from headend.importing.verify import NotTheFile, verify
from headend.store import db, feed, sheets
from tests.support import house
from tests.support.afresh import afresh
from tests.support.app import settle
from tests.support.files import ASSETS, DAY1, NOW, bring, contents, estimate, fill, place_meters
from tests.support.house import SHANGHAI

LATER = house.at("2026-03-12 03:00")


@pytest.fixture
def filled(store):
    ids = place_meters(store)
    fill(store, ids)
    return store, ids


def write(conn, folder: Path, day: dt.date = DAY1) -> daily.Daily:
    folder.mkdir(exist_ok=True)
    return daily.write(conn, day, SHANGHAI, folder, LATER)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(gzip.decompress(path.read_bytes()).decode().splitlines()))


def test_the_manifest_says_what_is_in_the_files(filled, tmp_path):
    store, ids = filled
    estimate(store, ids[0], house.at("2026-03-10 01:15"), 1_006_170)
    done = write(store, tmp_path)
    assert names(tmp_path) == ["curve-2026-03-10.csv.gz", "daily-2026-03-10.json", "day-2026-03-10.csv.gz"]
    told = json.loads(done.path.read_text())
    assert told == done.manifest
    assert (told["zone"], told["revision"], told["day"]) == ("Asia/Shanghai", 1, "2026-03-10")
    curve, freezes = told["files"]
    assert curve["sha256"] == digest(tmp_path / curve["name"])
    rows = lines(tmp_path / curve["name"])
    # three meters x 96, of which the first has holes and one of them an estimate
    holes = sum((k % 13) == 5 for k in range(1, 97))
    assert (curve["expected"], curve["missing"], curve["totals"]["estimated"]) == (288, holes - 1, 1)
    assert curve["totals"]["rows"] == len(rows) == 288 - holes + 1
    assert Decimal(curve["totals"]["sums"]["active_import"]) == sum(
        Decimal(row["active_import_kWh"]) for row in rows
    )
    # freezes: both midnights of two meters, registers 118,464 units apart
    assert freezes["totals"]["rows"] == 4
    assert freezes["totals"]["energy"]["active_import"] == {"meters": 2, "sum": "23.6928"}
    assert freezes["totals"]["closing"]["active_import"] == {"meters": 2, "sum": "323.6928"}
    assert (freezes["expected"], freezes["missing"]) == (6, 2)
    assert verify(done.path) == told


def test_the_same_data_give_the_same_bytes_and_a_second_run_touches_nothing(filled, tmp_path):
    store, _ = filled
    settle(store)  # the manifests name the feed's newest change
    first, second = write(store, tmp_path / "a"), write(store, tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (first.written, second.written) == (True, True)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    again = write(store, tmp_path / "a")
    assert (again.written, again.path) == (False, first.path)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before


def test_a_change_makes_a_new_revision_that_says_how_much_changed(filled, tmp_path):
    store, ids = filled
    first = write(store, tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    came = [house.at("2026-03-10 01:15"), house.at("2026-03-10 04:30")]
    late = house.rows([ids[0]] * 2, came, active_import=[1_006_000, 1_022_000])
    house.deliver(store, sheets.CURVES, late, NOW)
    estimate(store, ids[1], house.at("2026-03-10 12:00"), 2_222_222)
    second = write(store, tmp_path)
    assert second.path.name == "daily-2026-03-10.r2.json"
    assert second.manifest["revision"] == 2
    assert second.manifest["replaces"]["sha256"] == digest(first.path)
    assert second.manifest["replaces"]["changed"] == {
        "curve": {"added": 2, "removed": 0, "changed": 1}, "day": {"added": 0, "removed": 0, "changed": 0},
    }  # fmt: skip
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert verify(second.path)["revision"] == 2
    assert verify(first.path)["revision"] == 1
    assert not write(store, tmp_path).written


def test_who_takes_the_files_and_follows_the_feed_from_their_cursor_misses_nothing(filled, tmp_path):
    store, ids = filled
    settle(store)
    done = write(store, tmp_path)
    cursor = done.manifest["feed_cursor"]
    assert feed.read(store, cursor, 10).changes == []
    store.rollback()
    house.deliver(
        store,
        sheets.CURVES,
        house.rows([ids[0]], [house.at("2026-03-10 01:15")], active_import=[1_006_000]),
        NOW,
    )
    settle(store)
    (change,) = feed.read(store, cursor, 10).changes
    assert (change.key, change.change, change.day) == (ASSETS[0], "new", DAY1)
    store.rollback()


def test_a_writer_that_has_not_committed_holds_the_cursor_back(filled, store_dsn, tmp_path):
    store, ids = filled
    with db.connect(store_dsn) as slow:
        slow.execute("SELECT pg_current_xact_id()")
        house.deliver(
            store,
            sheets.CURVES,
            house.rows([ids[0]], [house.at("2026-03-10 01:15")], active_import=[1_006_000]),
            NOW,
        )
        done = write(store, tmp_path)
        slow.rollback()
    settle(store)
    # the change is in the file already, and told once more: never skipped
    told = [change.key for change in feed.read(store, done.manifest["feed_cursor"], 10).changes]
    assert told == [ASSETS[0]]
    store.rollback()


def test_the_files_of_one_moment_fit_together(filled, store_dsn, tmp_path, monkeypatch):
    """Somebody writes between the two files: neither has it."""
    store, ids = filled
    written = daily._file

    def meanwhile(*given):
        if "day-" not in given[1].name:
            made = written(*given)
            with db.connect(store_dsn) as other:
                house.deliver(
                    other,
                    sheets.DAYS,
                    house.rows([ids[2]], [house.at("2026-03-11 00:00")], active_import=[1]),
                    NOW,
                )
            return made
        return written(*given)

    monkeypatch.setattr(daily, "_file", meanwhile)
    assert write(store, tmp_path).manifest["files"][1]["totals"]["rows"] == 4


def test_a_day_that_is_not_over_is_refused(filled, tmp_path):
    store, _ = filled
    with pytest.raises(ExportError, match="2026-03-12 is not over yet"):
        write(store, tmp_path, dt.date(2026, 3, 12))
    assert names(tmp_path) == []


def test_a_run_that_is_broken_off_leaves_no_manifest_and_no_files(filled, tmp_path, monkeypatch):
    store, _ = filled
    monkeypatch.setattr(daily, "_content", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(store, tmp_path)
    assert names(tmp_path) == []


SPOILS = {
    "a flipped bit": (lambda body: body[:-9] + bytes([body[-9] ^ 1]) + body[-8:], "its SHA-256 differs"),
    "cut off": (lambda body: body[:-20], "its SHA-256 differs"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_verify_finds_what_was_altered(filled, tmp_path, spoil):
    store, _ = filled
    done = write(store, tmp_path)
    file = tmp_path / "curve-2026-03-10.csv.gz"
    change, words = SPOILS[spoil]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(NotTheFile, match=words):
        verify(done.path)
    file.unlink()
    with pytest.raises(NotTheFile, match="is missing; ask for it again"):
        verify(done.path)


def test_verify_counts_again_even_where_the_hash_was_adapted(filled, tmp_path):
    """Who alters a file and its hash must still make the totals agree."""
    store, _ = filled
    done = write(store, tmp_path)
    file = tmp_path / "day-2026-03-10.csv.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    assert text.count("111.8464") == 2  # total and first tariff of the first meter at the closing midnight
    for altered, words in (
        (text.replace("111.8464", "111.8465", 1), "sums"),
        (text.rsplit("\n", 2)[0] + "\n", "rows 3, but"),
    ):
        file.write_bytes(gzip.compress(altered.encode()))
        told = json.loads(done.path.read_text())
        told["files"][1]["sha256"] = digest(file)
        done.path.write_text(json.dumps(told))
        with pytest.raises(NotTheFile, match=words):
            verify(done.path)


def test_a_foreign_manifest_is_not_written_over(filled, tmp_path):
    store, _ = filled
    (tmp_path / "daily-2026-03-10.json").write_text("{}")
    with pytest.raises(ExportError, match="is no manifest of ours; move it away"):
        write(store, tmp_path)
    with pytest.raises(NotTheFile, match="is no manifest of a daily file"):
        verify(tmp_path / "daily-2026-03-10.json")
    assert names(tmp_path) == ["daily-2026-03-10.json"]


def test_the_daily_files_import_into_an_empty_store(filled, tmp_path):
    store, _ = filled
    write(store, tmp_path)
    before = contents(store)
    afresh(store)
    place_meters(store)
    bring(store, tmp_path / "curve-2026-03-10.csv.gz")
    bring(store, tmp_path / "day-2026-03-10.csv.gz", source="day")
    after = contents(store)
    # the opening midnight's slot is the day before's; the second capture group is not part of the daily file
    opening = house.moment("2026-03-10 00:00")
    assert after["slot_read"] == [row for row in before["slot_read"] if row[1] != opening]
    assert after["register_read"] == before["register_read"]


def test_an_empty_store_gives_an_empty_file(store, tmp_path):
    done = write(store, tmp_path)
    assert [file["totals"]["rows"] for file in done.manifest["files"]] == [0, 0]
    assert verify(done.path) == done.manifest


def test_totals_do_not_depend_on_how_many_meters_are_read_at_once(filled, tmp_path, monkeypatch):
    store, _ = filled
    whole = write(store, tmp_path / "a").manifest
    given = sheets.sheets
    monkeypatch.setattr(
        daily.sheets, "sheets", lambda conn, span, codes, who: given(conn, span, codes, who, 1)
    )
    assert write(store, tmp_path / "b").manifest == whole
    assert np.sum([file["totals"]["rows"] for file in whole["files"]]) > 200
