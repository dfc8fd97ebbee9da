"""`headend orderly` before a real store: a plan is a file, and everything that is told fits the screen."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from headend.jobs import orderly as job
from headend.store.db import Connection
from headend.store.orderly_orders import carry_out
from tests.support.cli import Shell, environment
from tests.support.factories import DAY, DAY_BEFORE, curve, factory, flat
from tests.support.house import at
from tests.support.household import run

PLAN = """
name = "迎峰度夏"
reason = "short of 500 kW"
first_day = 2026-03-11
last_day = 2026-03-11
periods = ["10:00-12:00"]
shortage_kw = 500
calls = [
    {industry = "铝冶炼", setpoint = "60%"},
    {everybody = true, setpoint = "minimum"},
]
"""


@pytest.fixture
def shell(store_dsn: str, tmp_path: Path) -> Shell:
    clock = f"2026-03-10T15:00:00+08:00@{time.time()!r}x0.001"
    return Shell(environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=clock))


def test_from_file_to_effect(shell: Shell, store: Connection, tmp_path: Path) -> None:
    here = [factory(store, 1), factory(store, 2), factory(store, 3, protected="医院")]
    reached = [curve(store, one, flat(1000), last=DAY_BEFORE) for one in here]
    file = tmp_path / "plan.toml"
    file.write_text(PLAN, "utf-8")
    said = shell("orderly", "draft", str(file), "--person", "陈晓")
    assert said.code == 0, said
    words = " ".join(said.out.split())
    assert "plan 1: 迎峰度夏, draft; 10:00-12:00 from 2026-03-11 to 2026-03-11" in words
    assert (
        "short of 500 kW; 2 terminals would give 800 kW, each on the day when it gives least 800 kW" in words
    )
    assert "protected 保电用户 医院" in words
    for same in ("陈晓", " 陈晓 "):
        said = shell("orderly", "approve", "1", "--person", same)
        assert (said.code, "another person must" in said.line) == (1, True)
    assert (
        "2 terminals are told before 03-11 10:00" in shell("orderly", "approve", "1", "--person", "李敏").out
    )
    said = shell("orderly", "look", "1", "--person", "李敏")
    assert (said.code, said.line.endswith("a plan that is approved cannot be worked out anew")) == (1, True)
    assert "no day of plan 1 has been measured" in shell("orderly", "effect", "1").out
    carry_out(store, now=at(f"{DAY} 09:30"))
    assert shell("orderly", "list", "--json").json()[0]["state"] == "running"
    assert "order 1 approved" in shell("orderly", "show", "1").out
    said = shell("orderly", "withdraw", "1", "--why", "it rains", "--person", "王芳")
    assert "plan 1 is withdrawn; 0 terminals are let go now" in said.out
    assert "withdraw by 王芳 it rains" in shell("orderly", "show", "1").out
    # its twin is carried out
    shell("orderly", "draft", str(file), "--person", "陈晓")
    shell("orderly", "approve", "2", "--person", "李敏")
    carry_out(store, now=at(f"{DAY} 09:31"))
    carry_out(store, now=at(f"{DAY} 12:00"))
    for one, load, start in zip(
        here[:2],
        (lambda day, slot: 600 if day == DAY and 40 <= slot < 48 else 1000, flat(1000)),
        reached[:2],
        strict=True,
    ):
        curve(
            store,
            one,
            load,
            DAY - dt.timedelta(days=1),
            DAY,
            start=start,
            without=[95] if one is here[1] else [],
        )
    store.execute("UPDATE orders SET sent_at = requested_at WHERE action = 'write'")
    job.job(run(store, "2026-03-12 04:30"), DAY)
    store.commit()
    (day,) = shell("orderly", "effect", "2", "--json").json()
    assert (day["known"], day["reduced_kwh"], day["followed"]) == (1, pytest.approx(800), 1)
    out = " ".join(shell("orderly", "effect", "2", COLUMNS="220").out.split())
    assert "2000.0 1200.0 800.0 800.0 … 800.0 800.0 100% yes" in out
    assert "quarter-hours that are not known: 1, 0 of them in its periods" in out
    assert "no: 7 of 7 quarter-hours above" in out


def test_the_doctor_sees_who_is_still_held(shell: Shell, store: Connection) -> None:
    def told() -> tuple[str, str]:
        return next(
            (row["state"], row["detail"])
            for row in shell("doctor", "--json").json()
            if row["what"] == "orderly use"
        )

    assert told() == ("ok", "nobody is held by a plan that is over")
    store.execute(
        "INSERT INTO orderly_plan (name, document, first_day, last_day, begins, ends, state, created_by, created_at, approved_by, approved_at) "
        "VALUES ('x', '{}', '2026-03-09', '2026-03-09', '2026-03-09', '2026-03-09 10:00', 'running', 'a', '2026-03-09', 'b', '2026-03-09')"
    )
    store.commit()
    assert told() == ("wrong", "plan 1 is over and still running: nobody ends it; start `headend jobs run`")


def test_bad_files_are_one_line(shell: Shell, store: Connection, tmp_path: Path) -> None:
    for text, words in (
        ("name = ", "cannot be read"),
        (PLAN.replace("60%", "much"), "call 1: setpoint: 'much' is none"),
        (PLAN.replace("2026-03-11", "2026-03-01"), "the plan is over"),
        (PLAN + 'line = "L9"\n', "no line L9 in the archive"),
    ):
        file = tmp_path / "plan.toml"
        file.write_text(text, "utf-8")
        said = shell("orderly", "draft", str(file), "--person", "陈晓")
        assert (said.code, words in said.line) == (1, True), said
    assert shell("orderly", "list", "--json").json() == []
    said = shell("orderly", "show", "7")
    assert (said.code, said.line.endswith("no plan 7 of orderly use; `headend orderly list` shows them")) == (
        1,
        True,
    )
