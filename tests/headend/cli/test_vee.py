"""`headend vee` as its users call it, on a store with a hole, a false register and a fortnight before them."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from headend.store.db import Connection
from tests.headend.jobs.test_vee import DAY, bring, fortnight, register
from tests.support.cli import Shell, environment
from tests.support.house import place


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


@pytest.fixture
def headend(store: Connection, store_dsn: str) -> Shell:
    here = place(store, "1")
    fortnight(store, here)
    bring(store, here, DAY, lost=range(40, 60), p80=3)
    other = place(store, "2")
    bring(store, other, DAY, lost=range(30, 90))
    return Shell(
        environment(HEADEND_DSN=store_dsn, HEADEND_CLOCK=f"2026-03-12T00:40:00+08:00@{time.time()!r}x1.0")
    )


def versions(headend: Shell, meter: str = "1") -> dict[str, str]:
    """method of what stands, by slot."""
    said = headend("vee", "show", meter, str(DAY), "--json").json()
    return {v["time"][11:16]: v["method"] for v in said["versions"] if v["quantity"] == "active_import"}


def test_run_and_show(headend: Shell) -> None:
    done = headend("vee", "run")
    assert done.code == 0, done
    assert (
        done.out.splitlines()[0]
        == "2 meter-days, 1 findings, 21 estimates new or changed, 0 withdrawn, 1 holes stay"
    )
    assert done.out.splitlines()[1].startswith("late: 0 meter-days")
    said = headend("vee", "show", "1", str(DAY), "--json").json()
    assert [(v["rule"], v["severity"], v["first"][11:16], v["last"][11:16]) for v in said["verdicts"]] == [
        ("gap", "error", "10:00", "14:45"),
        ("register", "error", "20:00", "20:00"),
    ]
    assert said["verdicts"][1]["evidence"]["value_false"] is True
    assert said["missing"] == []
    assert set(versions(headend).values()) == {"vee-like-day", "vee-linear"}
    left = headend("vee", "show", "2", str(DAY), "--json").json()["missing"]
    assert [(h["first"][11:16], h["last"][11:16], h["why"]) for h in left] == [
        ("07:30", "22:15", "no like days, check meter or profile to go by")
    ]
    people = headend("vee", "show", "1", str(DAY)).out
    for words in ("register", "vee-like-day", "job:vee", "12:30"):
        assert words in people
    assert "what stays missing" in headend("vee", "show", "2", str(DAY)).out
    assert headend("vee", "run", "--day", str(DAY)).out.startswith(
        "2 meter-days, 1 findings, 0 estimates new or changed, 0 withdrawn"
    )


def test_edit_and_undo(headend: Shell) -> None:
    assert headend("vee", "run").code == 0
    value = f"{(int(register(DAY)[50]) + 100) / 10_000:.4f}"
    words = ("1", f"{DAY} 12:30", value)
    done = headend("vee", "edit", *words, "--why", "read off on site", "--person", "李敏")
    assert done.code == 0, done
    assert done.out == f"active_import of meter 1 at {DAY} 12:30 is {value} now, by 李敏\n"
    assert "already" in headend("vee", "edit", *words, "--why", "again", "--person", "李敏").out
    assert versions(headend)["12:30"] == "edit"
    trace = headend("reads", "trace", "1", f"{DAY} 12:30", "--json").json()
    assert [(v["method"], v["who"]) for v in trace] == [("vee-like-day", "job:vee"), ("edit", "李敏")]
    assert headend("vee", "run").code == 0
    assert versions(headend)["12:30"] == "edit"
    back = headend("vee", "undo", "1", f"{DAY} 12:30", "--why", "the wrong meter")
    assert back.code == 0, back
    assert "12:30" not in versions(headend)
    trace = headend("reads", "trace", "1", f"{DAY} 12:30", "--json").json()
    assert [(v["method"], v["value"] is None) for v in trace][-1] == ("withdrawn", True)
    assert "withdrawn" in headend("reads", "trace", "1", f"{DAY} 12:30").out
    headend("vee", "run")
    assert versions(headend)["12:30"] == "vee-like-day"
    assert headend("check").code == 0


def test_an_edit_over_what_the_meter_said_keeps_it(headend: Shell) -> None:
    """Of a freeze too, which is billed."""
    midnight = f"{DAY + dt.timedelta(days=1)} 00:00"
    assert (
        headend(
            "vee", "edit", "1", midnight, "777.5", "--source", "day", "--why", "display photographed"
        ).code
        == 0
    )
    trace = headend("reads", "trace", "1", midnight, "--source", "day", "--json").json()
    assert [(v["method"], v["value"]) for v in trace] == [
        ("read", int(register(DAY)[-1])),
        ("edit", 7_775_000),
    ]
    assert (
        headend("vee", "undo", "1", midnight, "--source", "day", "--why", "another meter's display").code == 0
    )

    again = headend("vee", "undo", "1", midnight, "--source", "day", "--why", "twice")
    assert (again.code, "no edit stands" in again.line) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("1", f"{DAY} 12:31", "500"), "is no point of the curve"),
        (("1", "2026-03-13 12:30", "500"), "has not come yet"),
        (("1", f"{DAY} 12:30", "x"), "is not a number of kWh"),
        (("1", f"{DAY} 12:30", "500.00001"), "up to four decimals"),
        (("1", f"{DAY} 12:30", "-1"), "is no register"),
        (("1", f"{DAY} 12:30", "1000000"), "0 to 999999 kWh"),
        (
            ("1", f"{DAY} 12:30", "500", "--quantity", "active_import_t1"),
            "cannot be edited in curve readings",
        ),
        (("9", f"{DAY} 12:30", "500"), "no meter '9'"),
        (("1", "2025-12-01 12:30", "500"), "was not installed"),
        (("1", f"{DAY} 12:30", "500", "--why", " "), "without a reason"),
    ],
)
def test_an_edit_that_cannot_be(headend: Shell, words: tuple[str, ...], said: str) -> None:
    why = () if "--why" in words else ("--why", "x")
    done = headend("vee", "edit", *words, *why)
    assert done.code == 1
    assert said in done.line
    assert versions(headend) == {}


def test_what_is_not_there(headend: Shell) -> None:
    assert "not over" in headend("vee", "run", "--day", "today").line
    assert "not installed" in headend("vee", "show", "1", "2025-12-01").line
    done = headend("vee", "edit", "1", f"{DAY} 12:30", "500")
    assert (done.code, "--why" in done.line) == (2, True)
    done = headend("vee", "edit", "1", f"{DAY} 12:30", "500", "--why", "x", "--quantity", "charm")
    assert (done.code, "there is no quantity 'charm'" in done.line) == (2, True)
