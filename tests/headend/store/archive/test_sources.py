"""Who leads what: what the other system says of it is reported, and left alone. And what a dry run tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headend.store.archive import Change, Summary
from headend.store.db import Connection
from tests.support.house import moment, one, table
from tests.support.papers import NETWORK, bring, changed, everything, refused, said, write_csv

M2 = dict(NETWORK["meters"][1])
ADDRESS, CT = "000000000022", "50"


@pytest.fixture
def filled(store: Connection, tmp_path: Path) -> Connection:
    bring(store, write_csv(tmp_path / "first", NETWORK))
    return store


def told(found: Summary) -> list[tuple[str, str, str, dict[str, tuple[str, str]]]]:
    return [(change.kind, change.code, change.what, change.shown()) for change in found.changes]


def test_each_source_changes_what_it_leads(filled: Connection, tmp_path: Path) -> None:
    """The same row from either side: CT is marketing's, the address the head-end's."""
    row = M2 | {"address": ADDRESS, "ct": CT, "from": "2026-04-01", "password": "654321"}
    path = write_csv(tmp_path / "p", {"meters": [row]})
    found = bring(filled, path, source="marketing", dry_run=True)
    assert (found.changed["meters"], found.left_alone["meters"]) == (1, 1)
    assert told(found) == [
        ("meters", "M2", "changed", {"ct": ("1", CT)}),
        ("meters", "M2", "left alone", {"address": ("000000000002", ADDRESS), "password": ("", "(secret)")}),
    ]
    found = bring(filled, path, source="headend")
    assert told(found) == [
        ("meters", "M2", "changed", {"address": ("000000000002", ADDRESS), "password": ("", "(secret)")}),
        ("meters", "M2", "left alone", {"ct": ("1", CT)}),
    ]
    now = "SELECT i.address, i.ct, secrets, valid_from FROM installation i JOIN meter m USING (meter_id) "
    now += "WHERE asset = 'M2' AND valid_to = 'infinity'"
    april = moment("2026-04-01 00:00")
    assert table(filled, now) == [(ADDRESS, 1, {"password": "654321"}, april)]
    # said again, the difference is still there to be told of
    found = bring(filled, path, source="headend")
    assert (found.unchanged["meters"], found.left_alone["meters"]) == (1, 1)


def test_a_source_brings_the_columns_that_it_leads(filled: Connection, tmp_path: Path) -> None:
    marketing = {
        name: M2[name]
        for name in ("meter", "point", "area", "role", "phases", "ct", "pt", "accuracy", "from")
    }
    path = write_csv(tmp_path / "p", {"meters": [marketing | {"ct": "3", "from": "2026-04-01"}]})
    assert bring(filled, path, source="marketing").changed == {"meters": 1}
    assert said(refused(filled, path))[0].startswith("meters.csv:1: terminal: column missing")
    headend = {name: M2[name] for name in ("meter", "terminal", "protocol", "address", "from")}
    path = write_csv(tmp_path / "p", {"meters": [headend | {"address": ADDRESS, "from": "2026-04-02"}]})
    assert bring(filled, path, source="headend").changed == {"meters": 1}
    now = "SELECT ct, address FROM installation WHERE valid_to = 'infinity' AND meter_id = 2"
    assert table(filled, now) == [(3, ADDRESS)]
    # a new meter has nothing to be overwritten, but it needs a route from somebody
    new = {"meters": [marketing | {"meter": "M7", "point": "P7"}]}
    assert said(refused(filled, write_csv(tmp_path / "p", new), source="marketing")) == [
        "meters.csv:2: terminal: is missing; a meter that is hung needs it",
        "meters.csv:2: address: is missing; a meter that is hung needs it",
    ]


def test_what_the_other_leads_does_not_come_into_being(filled: Connection, tmp_path: Path) -> None:
    before = everything(filled)
    new = M2 | {"meter": "M7", "address": "000000000007", "pn": "", "from": "2026-04-01"}
    found = bring(filled, write_csv(tmp_path / "p", {"meters": [new]}), source="headend")
    assert found.changes[0] == Change(
        "meters",
        "M7",
        "left alone",
        found.changes[0].spot,
        {},
        "not in the store; the marketing system leads",
    )
    paper = {
        "terminals": [
            dict(NETWORK["terminals"][0]) | {"terminal": "T9"},
            dict(NETWORK["terminals"][1]) | {"login": "77"},
        ],
        "sims": [dict(NETWORK["sims"][0]) | {"cell": "elsewhere"}],
    }
    found = bring(filled, write_csv(tmp_path / "p", paper), source="marketing")
    assert found.left_alone == {"terminals": 2, "sims": 1}
    assert found.new == {"terminals": 0, "sims": 0}
    paper = {
        "customers": [
            dict(NETWORK["customers"][0]) | {"name": "X", "tariff": "industrial", "to": "2026-05-01"}
        ],
        "areas": changed(NETWORK, "areas", 0, name="Y")["areas"],
        "ratios": [{"point": "P1", "ct": "9", "pt": "1", "from": "2026-05-01"}],
        "roles": [dict(NETWORK["roles"][0]) | {"role": "supply", "from": "2026-05-01"}],
    }
    found = bring(filled, write_csv(tmp_path / "p", paper), source="headend")
    assert found.left_alone == dict.fromkeys(paper, 1)
    assert sum(found.changed.values()) == sum(found.new.values()) == 0
    assert everything(filled) == before
    # and an area that meters.csv says, and a removal
    moved = M2 | {"area": "A2", "role": "auxiliary", "to": "2026-06-01"}
    found = bring(filled, write_csv(tmp_path / "p", {"meters": [moved]}), source="headend")
    assert told(found)[0][3] == {
        "area": ("A1", "A2"), "role": ("receive", "auxiliary"), "to": ("", "2026-06-01T00:00:00+08:00"),
    }  # fmt: skip
    assert everything(filled) == before


def test_marketing_moves_a_meter_and_its_route_stays(filled: Connection, tmp_path: Path) -> None:
    row = M2 | {"point": "P8", "terminal": "T2", "pn": "9", "from": "2026-04-01"}
    found = bring(filled, write_csv(tmp_path / "p", {"meters": [row]}), source="marketing")
    assert told(found)[1] == ("meters", "M2", "left alone", {"terminal": ("T1", "T2"), "pn": ("2", "9")})
    assert one(
        filled,
        "SELECT t.code FROM installation i JOIN terminal t USING (terminal_id) WHERE i.meter_id = 2 AND valid_to = 'infinity'",
    ) == "T1"  # fmt: skip


def test_a_dry_run_tells_everything_and_does_nothing(filled: Connection, tmp_path: Path) -> None:
    before = everything(filled)
    exchanged = M2 | {
        "meter": "M9",
        "address": "000000000009",
        "from": "2026-03-11T10:07",
        "password": "secret!",
    }
    paper: Any = {
        "areas": changed(NETWORK, "areas", 1, name="城东二")["areas"],
        "meters": [NETWORK["meters"][0], exchanged],
        "customers": NETWORK["customers"],
    }
    found = bring(filled, write_csv(tmp_path / "p", paper), dry_run=True)
    assert everything(filled) == before
    assert (found.new, found.changed, found.ended, found.unchanged) == (
        {"areas": 0, "meters": 1, "customers": 0}, {"areas": 1, "meters": 0, "customers": 0},
        {"areas": 0, "meters": 1, "customers": 0}, {"areas": 1, "meters": 1, "customers": 2},
    )  # fmt: skip
    by = {(change.code, change.what): change for change in found.changes}
    assert by["A2", "changed"].shown() == {"name": ("城东", "城东二")}
    assert by["M2", "ended"].shown() == {"to": ("", "2026-03-11T10:07:00+08:00")}
    new = by["M9", "new"]
    assert (new.spot.file, new.spot.line) == ("meters.csv", 3)
    assert new.shown()["password"] == ("", "(secret)")
    assert new.shown()["plans"] == ("", "curve day")
    assert "secret!" not in str([change.shown() for change in found.changes])
    # what was told is what is done
    assert bring(filled, tmp_path / "p").changes == found.changes
    assert everything(filled) != before
