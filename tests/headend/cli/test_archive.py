"""`headend archive` and `headend init`: all or nothing, and every complaint with its line and column."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cli import Shell, environment


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
