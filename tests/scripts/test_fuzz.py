"""A sample of what scripts/fuzz does for hours: it finds its way into every protocol, and finds nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocols import registry

pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 only")

REPOSITORY = Path(__file__).resolve().parents[2]


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.fuzz", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("protocol", registry.available())
def test_guided(protocol: str, tmp_path: Path) -> None:
    done = fuzz(protocol, "--runs", "400", "--seconds", "60", "--seed", "1", "--home", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"number_of_executed_units: [4-9]\d\d", done.stderr)


@pytest.mark.parametrize("protocol", registry.available())
def test_blind(protocol: str, tmp_path: Path) -> None:
    done = fuzz(
        protocol, "--blind", "--runs", "1000", "--seconds", "60", "--seed", "1", "--home", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{protocol}: 1000 executions" in done.stdout


def test_a_fault_is_found_and_kept(tmp_path: Path) -> None:
    """An input that raises anything else ends the run, and stays to be looked at."""
    broken = (
        "import sys; sys.argv = ['fuzz', 'dlt645-2007', '--blind', '--runs', '1000', '--seed', '1', '--home', sys.argv[1]]\n"
        "from tests.support import fuzz\n"
        "from protocols.dlt645 import describe\n"
        "def bad(raw, *, reveal=False): raise KeyError(raw[0])\n"
        "describe.describe = bad\n"
        "fuzz.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "KeyError" in done.stderr
    (kept,) = tmp_path.glob("dlt645-2007/crash-blind-*")
    assert kept.read_bytes()
