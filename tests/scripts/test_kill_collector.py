"""A sample of what scripts/kill-collector does 200 times; and a database that is away for seconds under load."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
#: the database that is killed is an embedded one, whatever the others are
pytestmark = pytest.mark.skipif(
    "embedded" not in os.environ.get("HEADEND_TEST_SERVERS", "embedded"), reason="one server shows it"
)


def kill_collector(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_collector", "--seconds", "200", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "0 lost, 0 duplicate, 0 partial" in done.stdout
    found = re.search(r"readings +(\d+) points and (\d+) freezes", done.stdout)
    assert found is not None
    assert int(found[1]) > 200
    assert int(found[2]) > 10
    return done.stdout


@pytest.mark.timeout(300)
def test_five_kills() -> None:
    said = kill_collector("--kills", "5", "--seed", "3")
    found = re.search(r"kills +(\d+) with -9 \((.*)\)", said)
    assert found is not None
    assert int(found[1]) >= 5
    assert {who.split(" × ")[1] for who in found[2].split(", ")} == {"collector", "database", "terminals"}
    spool = re.search(r"spool +(\d+) bytes at most", said)
    assert spool is not None
    assert int(spool[1]) > 0


@pytest.mark.timeout(300)
def test_a_database_that_is_away_under_load() -> None:
    said = kill_collector("--kills", "0", "--away", "6")
    found = re.search(r"away +6 s without the database: (\d+) bytes on the disk, (\d+) points", said)
    assert found is not None
    # 24 meters, one of them dead, and a point falls due every second and a half
    assert int(found[2]) >= 2 * 23
