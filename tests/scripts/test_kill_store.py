"""A sample of what scripts/kill-store does 500 times; and a store that breaks its promise is found out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kill.batches import Batch, Item, deliveries
from tests.support.kill.model import Model

REPOSITORY = Path(__file__).resolve().parents[2]
SERVERS = os.environ.get("HEADEND_TEST_SERVERS", "embedded,timescaledb").split(",")


def kill_store(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.kill", "--seconds", "100", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_six_kills(server: str) -> None:
    done = kill_store("--kills", "6", "--seed", "3", "--server", server)
    if done.returncode and done.stderr.startswith("timescaledb:") and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-3000:]
    assert "0 lost, 0 duplicate, 0 partial" in done.stdout
    found = re.search(r"kills +(\d+) with -9 \(.*?(\d+) × server", done.stdout)
    assert found is not None
    assert int(found[1]) >= 6
    assert int(found[2]) >= 1
    batches = re.search(r"batches +(\d+) committed", done.stdout)
    assert batches is not None
    assert int(batches[1]) > 6


@pytest.mark.skipif("embedded" not in SERVERS, reason="one server shows it")
def test_a_writer_that_commits_ledger_and_rows_apart_is_found() -> None:
    done = kill_store("--kills", "6", "--seed", "3", "--fault", "ledger-first")
    assert done.returncode == 1, done.stdout
    assert (
        "coverage against the rows: too much" in done.stderr
        or "coverage against the rows: not as it must be" in done.stderr
    )
    kept = re.search(r"everything is kept in (\S+) and (\S+)\n", done.stderr)
    assert kept is not None
    for folder in kept.groups():
        subprocess.run(["rm", "-rf", folder], check=True)


def test_what_a_log_says_is_what_was_sent() -> None:
    item = Item("curve", 3, 20458, (0, 5), ("active_import", "voltage_a"), 1, (0, 5, 6), (6,), "no-answer")
    batch = Batch(
        "1.1.1", "writer 1", 1_767_649_949_569_441, (item, Item("spot", 4, 20458, (77,), ("frequency",)))
    )
    again = Batch.parse(batch.line())
    assert again == batch
    first, second = deliveries(batch), deliveries(again)
    assert [d.exchange and d.exchange.text for d in first] == [d.exchange and d.exchange.text for d in second]
    assert first[0].reads.columns["voltage_a"].tolist() == second[0].reads.columns["voltage_a"].tolist()


def test_the_model_knows_first_readings_completions_and_corrections() -> None:
    model = Model()

    def bring(number: int, salt: int, *codes: str) -> set[tuple[str, str, int, int]]:
        item = Item("curve", 1, 20458, (0,), codes, salt, (0, 1), (), "missing-in-answer")
        model.apply(Batch(f"1.1.{number}", "writer 1", 1_767_649_949_000_000 + number, (item,)))
        return model.feed[f"1.1.{number}"]

    assert bring(1, 0, "voltage_a") == {("curve", "new", 20458, 1)}
    assert model.coverage[1, 1, 20458].present == set()
    assert bring(2, 0, "active_import") == {("curve", "completed", 20458, 1)}
    assert bring(3, 0, "active_import", "voltage_a") == set()
    assert bring(4, 2, "active_import") == {("curve", "corrected", 20458, 1)}
    assert bring(5, 2, "active_import") == set()
    ledger = model.coverage[1, 1, 20458]
    assert (ledger.present, ledger.attempts) == ({0}, 5)
    # the first was told that slot 0 did not come either, as its register did not
    assert model.reasons[1, 1, 20458, "missing-in-answer"].slots == {0, 1}
    assert [len(versions) for versions in model.revisions.values()] == [1]
