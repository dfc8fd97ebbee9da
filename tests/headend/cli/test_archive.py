"""`headend archive` and `headend init`: all or nothing, and every complaint with its line and column."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cli import Shell, environment
from tests.support.papers import NETWORK, changed, write_csv, write_json, write_xlsx


@pytest.fixture
def store(database: str, tmp_path: Path) -> Shell:
    """An empty store."""
    shell = Shell(environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=database))
    assert shell("init").code == 0
    return shell


@pytest.fixture
def archive(fleet, tmp_path: Path) -> Path:
    """The simulator's archive, to be broken."""
    return Path(shutil.copytree(fleet.folder / "simulator" / "archive", tmp_path / "archive"))


def counts(store: Shell) -> list[int]:
    return [
        len(store("archive", "list", what, "--json").json())
        for what in ("areas", "terminals", "meters", "customers")
    ]


def test_init_twice_changes_nothing(store):
    said = store("init", "--json").json()
    assert said["migrations_applied"] == []
    assert said["calendar"]["first"] <= "2026-01-01"
    said = store("init", "--key-for", "陈晓", "--scopes", "read,operate", "--json").json()
    assert said["api_key"].startswith("hes_")
    assert "shown this once: hes_" in store("init", "--key-for", "陈晓").out


def test_init_refuses_a_zone_that_does_not_exist(store):
    said = store("init", "--zone", "Mars/Tharsis")
    assert said.code == 1
    assert "no time zone 'Mars/Tharsis'" in said.line


def test_import_dry_run_and_again(store, archive):
    said = store("archive", "import", str(archive), "--dry-run", "--json").json()
    assert said["dry_run"]
    assert counts(store) == [0, 0, 0, 0]
    said = store("archive", "import", str(archive))
    assert said.code == 0
    assert "archive imported from" in said.out
    assert counts(store) == [4, 4, 24, 20]
    again = store("archive", "import", str(archive), "--json").json()
    assert sum(again["new"].values()) == sum(again["changed"].values()) == 0


BROKEN = [
    ("areas.csv", 2, "capacity_kva", "lots"),
    ("terminals.csv", 3, "protocol", "morse"),
    ("meters.csv", 4, "phases", "2"),
    ("meters.csv", 5, "from", "yesterday"),
    ("meters.csv", 6, "area", "TQ9999"),
    ("customers.csv", 2, "tariff", "free-of-charge"),
    ("customers.csv", 3, "prepaid", "maybe"),
]


def test_broken_rows_are_named_and_nothing_is_imported(store, archive):
    for name, line, column, value in BROKEN:
        spoil(archive / name, line, column, value)
    said = store("archive", "import", str(archive))
    assert said.code == 1
    complaints = said.err.splitlines()
    # what hangs on a broken row is refused with it
    assert complaints[-1] == f"headend: {len(complaints) - 1} errors in the archive; nothing was imported"
    for name, line, column, value in BROKEN:
        (found,) = [c for c in complaints if c.startswith(f"{name}:{line}: {column}: ")]
        assert repr(value) in found or value in found
    assert counts(store) == [0, 0, 0, 0]

    said = store("archive", "import", str(archive), "--json")
    assert said.code == 1
    assert {(e["file"], e["line"], e["column"]) for e in said.json()["errors"]} >= {b[:3] for b in BROKEN}


def spoil(file: Path, line: int, column: str, value: str) -> None:
    lines = file.read_text("utf-8").splitlines()
    cells = lines[line - 1].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[line - 1] = ",".join(cells)
    file.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("meters.csv", b"meter;point;area\n1;2;3\n", "meters.csv:1: "),
        ("meters.csv", b"\xff\xfe\x00", "meters.csv:"),
        ("areas.csv", "area,name,capacity_kva\nTQ1,台区\n".encode(), "areas.csv:2: "),
        ("areas.csv", b'area,name,capacity_kva\n"TQ1,x,100\n', "areas.csv:"),
    ],
    ids=["semicolons", "not-utf8", "short-row", "open-quote"],
)
def test_files_that_are_no_csv(store, archive, name, content, says):
    (archive / name).write_bytes(content)
    said = store("archive", "import", str(archive))
    assert said.code == 1
    assert "Traceback" not in said.err
    assert said.err.splitlines()[0].removeprefix("headend: ").startswith(says)
    assert counts(store) == [0, 0, 0, 0]


def test_no_folder_and_an_empty_one(store, tmp_path):
    assert f"no folder {tmp_path / 'none'}" in store("archive", "import", str(tmp_path / "none")).line
    (tmp_path / "empty").mkdir()
    said = store("archive", "import", str(tmp_path / "empty"))
    assert said.code == 1
    assert str(tmp_path / "empty") in said.line


def imported(store: Shell, folder: Path, paper) -> Path:
    path = write_csv(folder, paper)
    assert store("archive", "import", str(path)).code == 0
    return path


#: without customers: the tariffs of the paper are not those of the program
PAPER = {kind: rows for kind, rows in NETWORK.items() if kind != "customers"}


def test_a_dry_run_shows_what_would_change(store, tmp_path):
    path = imported(store, tmp_path / "p", PAPER)
    exchanged = dict(PAPER["meters"][1]) | {
        "meter": "M9", "address": "000000000009", "from": "2026-03-11T10:07", "password": "5ecret",
    }  # fmt: skip
    write_csv(path, {"areas": [dict(PAPER["areas"][1]) | {"name": "城东二"}], "meters": [exchanged]})
    said = store("archive", "import", str(path), "--dry-run")
    assert "nothing changed" in said.out
    for part in ("areas: changed", "城东 → 城东二", "meters: new", "M9", "meters: ended", "M2"):
        assert part in said.out
    assert "5ecret" not in said.out
    data = store("archive", "import", str(path), "--dry-run", "--json").json()
    assert data["ended"] == {"areas": 0, "meters": 1}
    (area,) = [c for c in data["changes"] if c["kind"] == "areas"]
    assert (area["what"], area["file"], area["at"], area["cells"]) == (
        "changed", "areas.csv", "line 2", {"name": ["城东", "城东二"]},
    )  # fmt: skip
    assert "M2" in store("archive", "list", "meters").out
    assert "M9" not in store("archive", "list", "meters").out


def test_what_the_other_leads_is_told(store, tmp_path):
    imported(store, tmp_path / "p", PAPER)
    row = dict(PAPER["meters"][1]) | {"address": "000000000022", "ct": "5", "from": "2026-03-11"}
    path = write_csv(tmp_path / "m", {"meters": [row]})
    said = store("archive", "import", str(path), "--from", "marketing")
    assert "left alone" in said.out
    assert "000000000002 → 000000000022" in said.out
    assert store("archive", "import", str(path), "--from", "billing").code == 2


def test_out_and_in_again(store, tmp_path):
    imported(store, tmp_path / "p", PAPER)
    for place in ("out", "out.json", "out.xlsx"):
        rows = store("archive", "export", str(tmp_path / place), "--json").json()["rows"]
        again = store("archive", "import", str(tmp_path / place), "--dry-run", "--json").json()
        assert again["changes"] == []
        assert sum(again["unchanged"].values()) == sum(rows.values())
    assert "password" not in (tmp_path / "out" / "meters.csv").read_text("utf-8")
    assert store("archive", "export", str(tmp_path / "out"), "--reveal").code == 0
    assert "123456" in (tmp_path / "out" / "meters.csv").read_text("utf-8")
    said = store("archive", "export", str(tmp_path / "out.pdf"))
    assert said.code == 1
    assert "is neither a .xlsx nor a .json nor a folder" in said.line
    assert "name another place" in store("archive", "export", str(tmp_path / "no" / "x.json")).line


def test_one_thing_with_its_past(store, tmp_path):
    imported(store, tmp_path / "p", PAPER)
    imported(
        store,
        tmp_path / "r",
        {"ratios": [{"point": "P1", "ct": "120", "pt": "1", "from": "2026-03-16T10:07"}]},
    )
    said = store("archive", "show", "M1")
    for part in ("meters: M1", "2026-03-01 00:00", "2026-03-16 10:07", "ct 80", "ct 120"):
        assert part in said.out
    assert "ever" in store("archive", "show", "A1").out
    (told,) = store("archive", "show", "M1", "--json").json()
    assert [entry["cells"]["ct"] for entry in told["entries"]] == ["80", "120"]
    assert "nothing in the archive has the code 'Z'" in store("archive", "show", "Z").line


def test_every_list_and_as_it_was(store, tmp_path):
    imported(store, tmp_path / "p", PAPER)
    for kind, rows in PAPER.items():
        said = store("archive", "list", kind, "--at", "2026-03-20")
        assert said.code == 0
        # a point comes with its first meter, a role in an area with it
        there = len(rows) + {"points": 1, "roles": 2}.get(kind, 0)
        assert said.out.startswith(f"{there} {kind}") or f"{there} {kind}" in said.out
    assert store("archive", "list", "meters", "--at", "2026-02-01", "--json").json() == []
    assert len(store("archive", "list", "meters", "--at", "2026-03-01T07:59", "--json").json()) == 2
    said = store("archive", "list", "--at", "yesterday-ish")
    assert said.code == 2
    assert "'yesterday-ish' is not a moment such as 2026-03-11T10:00" in said.line


def test_a_workbook_is_complained_of_by_row(store, tmp_path):
    paper = changed(PAPER, "areas", 1, capacity_kva="much")
    said = store("archive", "import", str(write_xlsx(tmp_path / "a.xlsx", paper)))
    assert said.code == 1
    assert said.err.splitlines()[0] == "a.xlsx[areas]:3: capacity_kva: 'much' is not a number"
    said = store("archive", "import", str(write_json(tmp_path / "a.json", paper)), "--json")
    assert said.json()["errors"][0]["path"] == "$.areas[1]"
