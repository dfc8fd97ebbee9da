"""`headend lineloss report` and `curve` over a real store: the table, the JSON, the files, and what they say when there is nothing."""

from __future__ import annotations

import time
from pathlib import Path

import openpyxl
import pytest

from headend.store.db import Connection
from tests.support.cli import Shell, environment
from tests.support.county import Net


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


@pytest.fixture
def shell(store_dsn: str, store: Connection, tmp_path: Path) -> Shell:
    """A county whose losses of 2026-03-10 are computed, by the command."""
    net = Net(store)
    net.day()
    for here, kwh in ((net.heads[0], 196), (net.main[0], 96), (net.main[1], 96)):
        net.curve(here, kwh)
    shell = Shell(
        environment(
            HEADEND_HOME=str(tmp_path / "home"),
            HEADEND_DSN=store_dsn,
            HEADEND_CLOCK=f"2026-03-11T10:00:00+08:00@{time.time()!r}x1.0",
        )
    )
    said = shell("lineloss", "run", "2026-03-10")
    assert (said.code, len(said.out.splitlines())) == (0, 2), said
    return shell


def test_a_report_of_every_kind(shell: Shell) -> None:
    for kind, code, lost in (
        ("line", "L1", "4.0000"),
        ("bus", "B1", "3.0000"),
        ("region", "GX", "30.0000"),
        ("voltage", "GX@10", "9.0000"),
        ("area", "A1", "6.0000"),
    ):
        told = shell("lineloss", "report", "--by", kind, "--json").json()
        assert (told["by"], told["period"], told["first_day"]) == (kind, "day", "2026-03-10")
        (one,) = [row for row in told["objects"] if row["code"] == code]
        assert (one["status"], one["loss"]) == ("known", lost)
        assert float(one["loss_low"]) < float(lost) < float(one["loss_high"])
        shown = shell("lineloss", "report", "--by", kind)
        assert shown.code == 0
        assert code in shown.out
    transformer = shell("lineloss", "report", "--by", "transformer").out
    assert "copper" in transformer
    assert "13.68" in transformer  # 0.57 kW for 24 h


def test_files(shell: Shell, tmp_path: Path) -> None:
    book, page = tmp_path / "loss.xlsx", tmp_path / "loss.html"
    said = shell(
        "lineloss", "report", "--by", "line", "--day", "2026-03-10", "--xlsx", str(book), "--html", str(page)
    )
    assert (said.code, said.out) == (0, "")
    assert [
        row[1] for row in openpyxl.load_workbook(book).worksheets[0].iter_rows(min_row=2, values_only=True)
    ] == ["L2", "L1"]
    text = page.read_text("utf-8")
    # the ranking, the histories of both, and the quarter-hours of the line that has them
    assert text.count("<svg") == 1 + 2 + 1
    assert not list(tmp_path.glob(".*.part"))
    assert (
        "cannot be written"
        in shell("lineloss", "report", "--html", str(tmp_path / "nowhere" / "x.html")).line
    )


def test_quarter_hours(shell: Shell) -> None:
    told = shell("lineloss", "curve", "L1", "2026-03-10", "--by", "line", "--json").json()
    assert len(told) == 96
    assert told[0] == {
        "slot_end": "2026-03-10T00:15:00+08:00",
        "supplied": "2.0417",
        "sold": "2.0000",
        "loss": "0.0417",
    }
    assert "–" in shell("lineloss", "curve", "GX@0.4", "--by", "voltage").out  # its homes have no curve
    assert "no line 'L9'" in shell("lineloss", "curve", "L9", "--by", "line").line


def test_nothing_to_report(shell: Shell) -> None:
    assert (
        "no losses by line of 2026-02-01"
        in shell("lineloss", "report", "--by", "line", "--month", "2026-02").line
    )
    assert shell("lineloss", "report", "--month", "März").code == 2
    assert shell("lineloss", "report", "--month", "2026-03", "--day", "2026-03-10").code == 2
