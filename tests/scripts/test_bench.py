"""scripts/bench runs, with sizes that measure nothing; ratios and the page it writes are right."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = REPOSITORY / "scripts" / "_bench"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The bench's own modules; they import each other by plain names, as a script's do."""
    found = {}
    for name in ("measure", "report"):
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        found[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found[name])
        spec.loader.exec_module(found[name])
    return found


def bench(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, BENCH, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_protocols_run_beside_their_peers() -> None:
    told = bench("protocols", "--rounds", "1", "--frames", "20", "--days", "1", "--profiles", "1")
    assert len(re.findall(r"^ +dlt645 \d.*×", told, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +dlms-cosem \d.*×", told, re.MULTILINE)) == 2
    assert len(re.findall(r"^ +dlt698 \d.*×", told, re.MULTILINE)) == 2


def test_store_runs_beside_its_peers() -> None:
    told = bench(
        "store", "--rounds", "1", "--meters", "4", "--batch", "2", "--readback", "30", "--server", "embedded"
    )
    assert len(re.findall(r"^ +psycopg executemany .*×", told, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +psql, COPY of prebuilt files .*×", told, re.MULTILINE)) == 2
    assert (
        len(
            re.findall(
                r"^ten quantities that arrive .*one row of ten, [\d.]+ bytes a value", told, re.MULTILINE
            )
        )
        == 3
    )
    assert re.search(r"^PostgreSQL \d+\.\d+$", told, re.MULTILINE)


def test_collect_reads_a_fleet() -> None:
    told = bench("collect", "--fleet", "small", "--server", "embedded")
    assert re.search(
        r"^a day of 24 meters, collected +ours, one collector +[\d.]+ ?k? points/s", told, re.MULTILINE
    )


def test_ratios_are_taken_round_by_round(modules: dict[str, ModuleType]) -> None:
    race = modules["measure"].Race("r", "rows", 100, 10)
    for ours, theirs in ((1.0, 2.0), (2.0, 3.0), (4.0, 16.0)):
        race.add("ours", ours)
        race.add("peer", theirs)
    assert race.rate("ours") == 50
    assert race.ratios("peer") == [2, 1.5, 4]
    first, second = modules["report"].rows([race])
    assert first == ("r", "ours", "50.0 rows/s", "500", "")
    assert second == ("", "peer", "33.3 rows/s", "333", "2.0× (1.5×–4.0×)")


def test_everybody_is_first_in_some_round(modules: dict[str, ModuleType]) -> None:
    turns = modules["measure"].turns
    assert [turns(["a", "b", "c"], k)[0] for k in range(4)] == ["a", "b", "c", "a"]
    assert sorted(turns(["a", "b", "c"], 2)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.1234, "0.123"),
        (12.34, "12.3"),
        (999.6, "1.00 k"),
        (1234, "1.23 k"),
        (123_456, "123 k"),
        (2_048_061, "2.05 M"),
    ],
)
def test_rates_have_three_digits(modules: dict[str, ModuleType], rate: float, text: str) -> None:
    assert modules["report"]._short(rate) == text


def test_only_what_stands_between_the_marks_is_replaced(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    report, page = modules["report"], tmp_path / "BENCHMARKS.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(page, "new")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match=r"BENCHMARKS\.md has no lines"):
        report.write(page, "new")


def test_the_page_has_the_marks(modules: dict[str, ModuleType]) -> None:
    page = (REPOSITORY / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert page.count(modules["report"].BEGIN) == page.count(modules["report"].END) == 1


def test_validation_tells_of_every_rule_and_of_what_is_planted() -> None:
    done = subprocess.run(
        [sys.executable, BENCH / "vee.py", "60"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    told = dict(re.findall(r"^ +(\S+) +[\d.]+ s +(\d+) verdicts$", done.stdout, re.MULTILINE))
    assert len(told) == 13
    assert 60 < int(told["gap"]) < 60 * 96 * 0.04  # 3 % are missing
