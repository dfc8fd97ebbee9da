"""`headend export` and `headend reads` as their users call them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from headend.store import db, migrate
from tests.support.afresh import afresh
from tests.support.cli import Shell, environment
from tests.support.files import ASSETS, contents, fill, place_meters


@pytest.fixture
def shell(store_dsn: str, tmp_path: Path) -> Shell:
    """A store with three meters and a day, as of three o'clock two days later."""
    with db.connect(store_dsn) as conn:
        migrate.migrate(conn)
        fill(conn, place_meters(conn))
    return Shell(
        environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=f"2026-03-12T03:00:00+08:00@{time.time()!r}x1.0")
    )  # fmt: skip


def test_out_and_in_again(shell, store_dsn, tmp_path):
    said = shell("export", "reads", "2026-03-09", "2026-03-10", "--quantities", "all", "--out", str(tmp_path))
    assert (said.code, said.err) == (0, "")
    file = tmp_path / "curve-2026-03-09_2026-03-10.csv"
    assert f"to {file}, sha256 " in said.out
    with db.connect(store_dsn) as conn:
        before = contents(conn)
        afresh(conn)
        place_meters(conn)
    dry = shell("reads", "import", str(file), "--dry-run", "--json").json()
    assert (dry["dry_run"], dry["new"] > 280) == (True, True)
    said = shell("reads", "import", str(file))
    assert said.code == 0
    assert "0 there already, 0 values revised" in said.out
    assert "rows/s" in said.out
    again = shell("reads", "import", str(file), "--json").json()
    assert (again["new"], again["revised"], again["format"]) == (0, 0, "csv")
    with db.connect(store_dsn) as conn:
        assert contents(conn)["slot_read"] == before["slot_read"]
        assert contents(conn)["slot_phase_read"] == before["slot_phase_read"]


@pytest.mark.parametrize("name", ["csv-wide", "csv-long", "parquet", "arrow", "xlsx", "nem12", "espi"])
def test_every_format_has_its_file(shell, tmp_path, name):
    said = shell(
        "export",
        "reads",
        "2026-03-10",
        "--format",
        name,
        "--meters",
        f"{ASSETS[0]},{ASSETS[1]}",
        "--out",
        str(tmp_path),
        "--json",
    )
    told = said.json()
    assert told["meters"] == 2
    assert Path(told["file"]).stat().st_size == told["bytes"]


@pytest.mark.parametrize("source", ["day", "month"])
def test_freezes(shell, tmp_path, source):
    said = shell("export", "reads", "2026-03-01", "2026-03-31", "--source", source, "--out", str(tmp_path))
    assert said.code == 0
    assert f"{ {'day': 4, 'month': 0}[source] } rows" in said.out


def test_a_daily_file_is_written_and_verified(shell, tmp_path):
    said = shell("export", "daily", "2026-03-10", "--out", str(tmp_path))
    assert said.code == 0
    manifest = tmp_path / "daily-2026-03-10.json"
    assert str(manifest) in said.out
    assert "nothing changed since" in shell("export", "daily", "2026-03-10", "--out", str(tmp_path)).out
    bare = Shell(environment(HEADEND_DSN="postgresql://127.0.0.1:1/nowhere"))
    assert "hashes and totals as written" in bare("export", "verify", str(manifest)).out
    assert bare("export", "verify", str(manifest), "--json").json() == json.loads(manifest.read_text())
    (tmp_path / "day-2026-03-10.csv.gz").write_bytes(b"")
    said = bare("export", "verify", str(manifest))
    assert (said.code, "its SHA-256 differs" in said.line) == (1, True)


WRONG = [
    (["export", "reads", "2026-03-10", "--out", "NONE"], 1, "there is no folder"),
    (["export", "daily", "2026-03-10", "--out", "NONE"], 1, "there is no folder"),
    (["export", "reads", "2026-03-10", "--meters", "1"], 1, "no meter '1' in the archive"),
    (["export", "reads", "2026-03-10", "--area", "X"], 1, "no area 'X' in the archive"),
    (["export", "reads", "2026-03-10", "--quantities", "x"], 1, "curve readings have no 'x'"),
    (["export", "reads", "2026-03-10", "2026-03-09"], 1, "is 0 days"),
    (["export", "reads", "2026-03-10", "--format", "nem12", "--source", "day"], 1, "NEM12 holds interval energies"),
    (["export", "reads", "2026-03-10", "--participants", "x"], 2, "is not two names"),
    (["export", "daily", "2026-03-12", "--out", "HERE"], 1, "is not over yet"),
    (["reads", "import", "FILE", "--opening", "x"], 2, "is not a register in kWh"),
    (["reads", "import", "FILE", "--format", "nem12", "--source", "day"], 2, "NEM12 holds the load curve"),
    (["reads", "import", "FILE"], 1, "1 error in file.csv; nothing was imported: file.csv:2: no meter '9' in the archive"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"), WRONG, ids=[" ".join(a[:2] + a[-2:]) for a, _, _ in WRONG]
)
def test_what_is_wrong_is_said_in_one_line(shell, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.csv").write_text("meter,slot_end,active_import\n9,2026-03-10T00:15:00+08:00,1\n")
    places = {"NONE": str(tmp_path / "none"), "HERE": str(tmp_path), "FILE": str(tmp_path / "file.csv")}
    said = shell(*(places.get(argument, argument) for argument in arguments))
    assert (said.code, words in said.line) == (code, True), said


def test_every_error_has_its_line_and_json_has_them_too(shell, tmp_path):
    file = tmp_path / "file.csv"
    file.write_text(
        "meter,slot_end,active_import\n9,2026-03-10T00:15:00+08:00,1\n000000000101,2026-03-10T00:16:00+08:00,x\n"
    )
    said = shell("reads", "import", str(file))
    assert said.code == 1
    assert said.err.splitlines() == [
        "file.csv:2: no meter '9' in the archive",
        "file.csv:3: active_import: 'x' is not a number",
        "file.csv:3: 2026-03-10T00:16:00+08:00 is not the end of a quarter-hour in Asia/Shanghai",
        "headend: 3 errors in file.csv; nothing was imported",
    ]
    told = json.loads(shell("reads", "import", str(file), "--json").out)
    assert (told["total"], [e["line"] for e in told["errors"]]) == (3, [2, 3, 3])
