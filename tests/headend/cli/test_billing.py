"""`headend billing`: the batch, its gates, corrections, and what a year had brought before."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from headend.store.db import Connection
from tests.support.cli import Shell, environment
from tests.support.house import Place, one, place
from tests.support.household import Home, home


@pytest.fixture
def server_kind() -> str:
    return "embedded"


@pytest.fixture
def here(store: Connection) -> Place:
    return place(store, "1", customer="C1", tariff="zhejiang-residential-steps", since="2025-06-01 00:00")


@pytest.fixture
def house(store: Connection, here: Place) -> Home:
    made = home(here.meter, dt.date(2026, 3, 9), 2)
    made.freeze(store, "2026-03-09", "2026-03-10")
    return made


@pytest.fixture
def shell(store_dsn: str, house: Home, tmp_path: Path) -> Shell:
    return Shell(
        environment(
            HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=f"2026-03-11T10:00:00+08:00@{time.time()!r}x1.0"
        )
    )  # fmt: skip


def opening(folder: Path, *lines: str) -> str:
    path = folder / "opening.csv"
    path.write_text("\n".join(("customer,point,day,used_kwh", *lines)) + "\n", encoding="utf-8")
    return str(path)


def test_a_batch_with_its_gate_and_a_correction(
    shell: Shell, store: Connection, house: Home, tmp_path: Path
) -> None:
    said = shell("billing", "run", "--date", "2026-03-09", "--most-without", "50")
    assert (said.code, said.line) == (
        1, "headend: not released: 1 of 1 accounts have no bill, more than 50 %; look at the exceptions file, then run again or with "
        "another --most-without",
    )  # fmt: skip
    assert (
        "1 accounts begin their year"
        in shell("billing", "opening", opening(tmp_path, "C1,P1,2026-03-01,812.5")).out
    )
    store.rollback()
    house.freeze(store, "2026-03-09")  # nothing between the first of the month and the ninth is known yet
    assert shell("billing", "opening", opening(tmp_path, "C1,P1,2026-03-09,812.5")).code == 0
    assert (
        "1 of 1 accounts billed" in shell("billing", "run", "--date", "2026-03-09", "--most-without", "0").out
    )
    house.freeze(store, "2026-03-10", add=10_000)
    (told,) = shell("billing", "correct", "--json").json()
    assert (told["changed"], told["corrections"], told["corrections_fen"]) == (1, 1, 57)
    rows = Path(told["file"]).read_text(encoding="utf-8").splitlines()
    assert rows[1].startswith("C1,P1,2026-03-09,2026-03-09,2,")
    assert "0.57" in rows[1]
    assert shell("billing", "correct", "--json").json()[0]["changed"] == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["C1,P1,2026-03-01,812.5", "C9,P1,2026-03-01,1"], "line 3: customer 'C9' has no account at 'P1'"),
        (["C1,P1,2026-03-01,-1"], "line 2: -1 kWh: 0 or more"),
        (["C1,P1,2026-03-01,1.23456"], "line 2: 1.23456 kWh: 0 or more with at most four decimals"),
        (["C1,P1,the first,1"], "line 2: a day such as 2026-03-01"),
        (["C1,P1,2026-03-01,NaN"], "line 2"),
    ],
)
def test_a_bad_file_is_one_line_and_nothing_is_taken_in(
    shell: Shell, store: Connection, tmp_path: Path, lines: list[str], said: str
) -> None:
    told = shell("billing", "opening", opening(tmp_path, *lines))
    assert told.code == 1
    assert said in told.line
    assert told.line.endswith("nothing was taken in")
    assert one(store, "SELECT count(*) FROM account_opening") == 0
