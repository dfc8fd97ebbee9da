"""The archive out and in again: nothing changes, in no format. And the past of one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.store import archive
from headend.store.archive import UnknownCode
from headend.store.archive.exporting import ExportError
from headend.store.db import Connection
from tests.support.house import SHANGHAI, at, moment
from tests.support.papers import NETWORK, TABLES, bring, everything, write_csv

NOW = at("2026-03-20 12:00")
FORMS = ("out", "out.json", "out.xlsx")


@pytest.fixture
def filled(store: Connection, tmp_path: Path) -> Connection:
    """The network with a past: a meter exchanged, a CT exchanged, an area switched over, a role changed."""
    bring(store, write_csv(tmp_path / "first", NETWORK))
    meter, area, role = (dict(NETWORK[kind][k]) for kind, k in (("meters", 1), ("areas", 0), ("roles", 0)))
    later = {
        "areas": [area | {"line": "F2", "from": "2026-03-10"}],
        "meters": [meter | {"meter": "M9", "address": "000000000009", "from": "2026-03-11T10:07", "password": "777777"}],
        "ratios": [{"point": "P1", "ct": "120", "pt": "1", "from": "2026-03-12"}],
        "roles": [role | {"object": "F2", "from": "2026-03-10"}, role | {"from": "2026-03-01", "to": "2026-03-10"},
                  {"point": "P2", "kind": "area", "object": "A2", "role": "supply", "from": "2026-03-15"}],
    }  # fmt: skip
    bring(store, write_csv(tmp_path / "later", later))
    return store


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_out_goes_in_and_changes_nothing(filled: Connection, tmp_path: Path, form: str) -> None:
    before = everything(filled)
    counts = archive.export(filled, tmp_path / form, now=NOW, zone=SHANGHAI)
    assert counts["meters"] == 3
    # those of the paper, of which one has become another; two areas of P2; the area of P1, which is older than the CT in meters.csv
    assert counts["roles"] == 9 + 2 + 1
    assert all(counts.values())
    again = bring(filled, tmp_path / form)
    assert again.changes == ()
    assert sum(again.unchanged.values()) == sum(counts.values())
    assert everything(filled) == before
    # written over, not beside
    archive.export(filled, tmp_path / form, now=NOW, zone=SHANGHAI)
    assert [path.name for path in tmp_path.rglob("*.part")] == []


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_store_becomes_the_same(store: Connection, tmp_path: Path, form: str) -> None:
    """All that a store without a past holds is in its export: the same rows with the same numbers."""
    p1, p2, p9 = NETWORK["points"]
    p3 = {"point": "P3", "kind": "", "organisation": ""}
    dated = [dict(row) | {"from": "2026-03-01T08:00"} for row in NETWORK["customers"]]
    paper = {**NETWORK, "points": [p1, p2, p3, p9], "customers": dated}
    bring(store, write_csv(tmp_path / "first", paper))
    before = everything(store)
    archive.export(store, tmp_path / form, now=NOW, zone=SHANGHAI, reveal=True)
    empty(store)
    bring(store, tmp_path / form)
    assert everything(store) == before


def empty(conn: Connection) -> None:
    conn.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
    conn.commit()


def test_a_past_is_left_behind(filled: Connection, tmp_path: Path) -> None:
    """What is there now goes over to another store, and comes out of it as it went in."""
    archive.export(filled, tmp_path / "one.json", now=NOW, zone=SHANGHAI, reveal=True)
    empty(filled)
    bring(filled, tmp_path / "one.json")
    archive.export(filled, tmp_path / "two.json", now=NOW, zone=SHANGHAI, reveal=True)
    assert (tmp_path / "two.json").read_text() == (tmp_path / "one.json").read_text()


def test_passwords_stay_inside_unless_asked_for(filled: Connection, tmp_path: Path) -> None:
    for form in FORMS[:2]:
        for reveal in (False, True):
            archive.export(filled, tmp_path / form, now=NOW, zone=SHANGHAI, reveal=reveal)
            path = tmp_path / form
            text = (path / "meters.csv" if path.is_dir() else path).read_text(encoding="utf-8")
            assert ("777777" in text) == ("password" in text) == reveal


def test_as_it_was(filled: Connection, tmp_path: Path) -> None:
    archive.export(filled, tmp_path / "then", now=at("2026-03-05 00:00"), zone=SHANGHAI)
    text = (tmp_path / "then" / "meters.csv").read_text(encoding="utf-8")
    assert "M2" in text
    assert "M9" not in text
    assert "F1" in (tmp_path / "then" / "areas.csv").read_text(encoding="utf-8")


def test_places_that_cannot_be(filled: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"out\.pdf is neither a \.xlsx nor a \.json nor a folder"):
        archive.export(filled, tmp_path / "out.pdf", now=NOW, zone=SHANGHAI)
    monkeypatch.setattr("headend.store.archive.exporting.SHEET_ROWS", 3)
    with pytest.raises(ExportError, match="have more rows than a sheet holds; export to a folder"):
        archive.export(filled, tmp_path / "out.xlsx", now=NOW, zone=SHANGHAI)
    assert not list(tmp_path.glob("*out.xlsx*"))


def past(conn: Connection, code: str) -> list[tuple[str, dict[str, str]]]:
    (found,) = archive.history(conn, code)
    return [(entry.what, entry.cells) for entry in found.entries]


def test_the_past_of_a_thing(filled: Connection) -> None:
    (found,) = archive.history(filled, "M1")
    assert (found.kind, found.facts["digits"]) == ("meters", "8")
    spans = [(entry.start, entry.end, entry.cells["ct"]) for entry in found.entries]
    exchanged = moment("2026-03-12 00:00")
    assert spans == [(moment("2026-03-01 00:00"), exchanged, "80"), (exchanged, None, "120")]
    assert "123456" not in str(found)
    assert [(entry.cells["plans"], entry.cells.get("switch")) for entry in found.entries] == [
        ("curve day month phase", None)
    ] * 2
    filled.execute("UPDATE installation SET switch = '{round 1,round 2}' WHERE valid_to = 'infinity'")
    assert [cells.get("switch") for _, cells in past(filled, "M1")] == [None, "round 1+round 2"]
    assert [cells["line"] for what, cells in past(filled, "A1") if what == "hangs"] == ["F1", "F2"]
    assert [cells["meter"] for what, cells in past(filled, "P2") if what == "installed"] == ["M2", "M9"]
    assert [cells["customer"] for what, cells in past(filled, "P2") if what == "account"] == ["C2"]
    assert [cells["role"] for what, cells in past(filled, "F2") if what == "role"] == ["receive"]
    assert {what for what, _ in past(filled, "T2")} == {"installed", "sim"}
    assert {what for what, _ in past(filled, "C3")} == {"account", "contract"}
    assert {
        cells.get("voltage_kv") for what, cells in past(filled, "3301") if cells.get("kind") == "voltage"
    } == {"10.000", "35.000"}
    with pytest.raises(UnknownCode, match="nothing in the archive has the code 'nothing'"):
        archive.history(filled, "nothing")


@pytest.mark.parametrize("kind", [name for name in archive.KINDS if name != "ratios"])
def test_every_kind_is_listed(filled: Connection, kind: str) -> None:
    rows = archive.listing(filled, kind, NOW)
    assert rows
    assert archive.listing(filled, kind, at("1979-01-01 00:00")) == [] or kind not in (
        "meters",
        "roles",
        "customers",
    )
