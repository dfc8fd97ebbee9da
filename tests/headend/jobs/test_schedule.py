"""When each job runs, on a clock that the test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from headend.jobs import orderly, schedule
from headend.jobs.schedule import Schedule
from headend.store import results
from headend.store.db import Connection
from tests.support.house import SHANGHAI, at, place, table


class Moving:
    """Domain time in the test's hand."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.time = at(text)

    def now(self) -> np.datetime64:
        return self.time

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.time) / np.timedelta64(1, "s")))


@pytest.fixture
def server_kind() -> str:
    """When a job runs is no matter of the server; each job has tests on both."""
    return "embedded"


@pytest.fixture
def clock() -> Moving:
    return Moving("2026-03-11 10:00")


@pytest.fixture
def planned(store_dsn: str, store: Connection, clock: Moving, tmp_path: Path) -> Callable[[str], list[str]]:
    """Moves the clock, looks once; which jobs ran."""
    place(store, "1", customer="C1")
    made = Schedule(store_dsn, SHANGHAI, clock, tmp_path)

    def look(when: str) -> list[str]:
        clock.set(when)
        before = len(results.runs(store, 1000))
        store.commit()
        made.once(store)
        assert (
            store.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        )  # minutes pass until the next look
        new = results.runs(store, 1000)
        store.commit()
        return [f"{run['job']} {run['day']:%d}" for run in reversed(new[: len(new) - before])]

    return look


QUARTER = ["prepaid 11", "lineloss 11", "anomalies 11", "campaigns 11"]
NIGHT = ["settle 10", "instalments 10", "lineloss 10", "splits 10", "anomalies 10", "billing 10"]
#: with the night's work until the curves have had their time, and then once more; the lines whose turn it is once
SUSPECTS, PLACES = "suspects 10", "places 10"
#: the day before is validated as a whole once; until then late data of older days alone are followed, and from then on of that day too
EARLY, LATE, WHOLE, AFTERWARDS = (
    ["vee-late 10"],
    ["vee-late 10", "vee 10"],
    ["vee-late 10", "vee 10", "statistics 10"],
    ["vee-late 11"],
)
HOUR, UPKEEP = (
    ["clocks 11", "wallets 11", "online 11", "outages 11", "orderly 10", "rollup 11"],
    ["retention 11", "tables 11"],
)


def test_each_quarter_hour_and_each_hour_once(planned: Callable[[str], list[str]]) -> None:
    assert planned("2026-03-11 10:00") == [
        *QUARTER,
        *NIGHT,
        SUSPECTS,
        PLACES,
        *WHOLE,
        *HOUR,
        *UPKEEP,
    ]  # at the start at once
    assert planned("2026-03-11 10:05") == []
    assert planned("2026-03-11 10:06") == [*QUARTER, *NIGHT, *AFTERWARDS, *HOUR]
    assert planned("2026-03-11 10:20") == []
    assert planned("2026-03-11 10:21") == QUARTER
    assert planned("2026-03-11 10:51") == QUARTER  # a quarter that was slept through is not made up for
    assert planned("2026-03-11 11:07") == [*QUARTER, *NIGHT, *AFTERWARDS, *HOUR]


def test_the_night_begins_when_the_freezes_have_had_their_time(planned: Callable[[str], list[str]]) -> None:
    planned("2026-03-10 23:55")
    assert planned("2026-03-11 00:06") == [*QUARTER, *EARLY, *HOUR]
    assert planned("2026-03-11 00:34") == QUARTER
    assert planned("2026-03-11 00:35") == [*NIGHT, SUSPECTS]
    assert planned("2026-03-11 00:36") == QUARTER
    assert planned("2026-03-11 01:06") == [*QUARTER, *NIGHT, SUSPECTS, *EARLY, *HOUR]
    assert planned("2026-03-11 03:00") == [*QUARTER, *NIGHT, SUSPECTS, *EARLY, *HOUR, *UPKEEP]  # once a day
    # the curve's points have had their time as well
    assert planned("2026-03-11 04:06") == [*QUARTER, *NIGHT, SUSPECTS, PLACES, *WHOLE, *HOUR]
    assert planned("2026-03-11 05:06") == [*QUARTER, *NIGHT, *AFTERWARDS, *HOUR]


def test_a_day_is_looked_at_as_a_whole_until_that_was_done(
    planned: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night whose validation failed is tried again; so long late data of the day itself are left to it."""
    with monkeypatch.context() as patch:

        def fails(*_: object) -> str:
            raise RuntimeError("no")

        patch.setitem(schedule.JOBS, "vee", fails)
        assert planned("2026-03-11 04:06") == [*QUARTER, *NIGHT, SUSPECTS, PLACES, *WHOLE, *HOUR, *UPKEEP]
    # the figures of the day have been made
    assert planned("2026-03-11 05:06") == [*QUARTER, *NIGHT, *LATE, *HOUR]
    assert planned("2026-03-11 06:06") == [*QUARTER, *NIGHT, *AFTERWARDS, *HOUR]


def test_customers_are_looked_at_on_the_first_of_a_month(planned: Callable[[str], list[str]]) -> None:
    assert "segments 30" not in planned("2026-03-31 05:06")
    assert planned("2026-04-01 05:06").count("segments 31") == 1
    assert "segments 31" not in planned("2026-04-01 06:06")


def test_what_came_late_goes_on_at_the_next_look_and_others_have_their_turn(
    planned: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned("2026-03-11 10:06")
    left = [2]

    def much(*_: object) -> str:
        left[0] -= 1
        return "some, more waits" if left[0] else "the rest"

    monkeypatch.setitem(schedule.JOBS, "vee-late", much)
    assert "vee-late 11" in planned("2026-03-11 11:06")
    assert planned("2026-03-11 11:07") == ["vee-late 11"]
    assert planned("2026-03-11 11:08") == []


def test_the_bill_is_written(planned: Callable[[str], list[str]], tmp_path: Path) -> None:
    planned("2026-03-11 00:40")
    assert (tmp_path / "billing-2026-03-10.manifest.json").is_file()


def test_a_job_that_fails_does_not_stop_the_others(
    planned: Callable[[str], list[str]], store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise RuntimeError("no")

    monkeypatch.setitem(schedule.JOBS, "prepaid", fails)
    assert planned("2026-03-11 10:00") == [*QUARTER, *NIGHT, SUSPECTS, PLACES, *WHOLE, *HOUR, *UPKEEP]
    jobs = table(store, "SELECT job, ok FROM job_run ORDER BY run_id")
    assert jobs == [
        ("prepaid", False),
        *(
            (name, True)
            for name in (
                "lineloss",
                "anomalies",
                "campaigns",
                "settle",
                "instalments",
                "lineloss",
                "splits",
                "anomalies",
                "billing",
                "suspects",
                "places",
                "vee-late",
                "vee",
                "statistics",
                "clocks",
                "wallets",
                "online",
                "outages",
                "orderly",
                "rollup",
                "retention",
                "tables",
            )
        ),
    ]


def test_the_pause_ends_with_the_next_quarter(store_dsn: str, clock: Moving, tmp_path: Path) -> None:
    made = Schedule(store_dsn, SHANGHAI, clock, tmp_path)
    assert made._pause() == schedule.TICK
    clock.set("2026-03-11 10:05")
    clock.time += np.timedelta64(59_000, "ms")
    assert made._pause() == 1.0


def test_a_database_that_goes_away_is_waited_for(
    store_dsn: str, store: Connection, clock: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is cut in the middle of a job: the same jobs run when it is back, without waiting for the next quarter."""
    cut = threading.Event()

    def cuts(run: schedule.Run, _: object) -> str:
        if not cut.is_set():
            cut.set()
            with psycopg.connect(store_dsn, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (run.conn.info.backend_pid,))
        run.conn.execute("SELECT 1")
        return "done"

    unreachable = iter([True, False])
    connect = schedule.connect

    def sometimes(dsn: str) -> Connection:
        return connect("host=127.0.0.1 port=1" if cut.is_set() and next(unreachable) else dsn)

    monkeypatch.setitem(schedule.JOBS, "prepaid", cuts)
    monkeypatch.setattr(schedule, "connect", sometimes)
    made = Schedule(store_dsn, SHANGHAI, clock, tmp_path)
    thread = threading.Thread(target=made.forever)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not table(store, "SELECT 1 FROM job_run WHERE job = 'billing'"):
            assert time.monotonic() < deadline
            assert thread.is_alive()
            time.sleep(0.05)
    finally:
        made.stop.set()
        thread.join(10)
    assert table(store, "SELECT job, ok FROM job_run WHERE job = 'prepaid'") == [("prepaid", True)]


def test_plans_of_orderly_use_are_looked_at_each_minute(
    planned: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def act(run: schedule.Run) -> orderly.Done:
        looked.append(str(run.now)[11:16])
        if len(looked) == 2:
            raise RuntimeError("no")
        return orderly.Done()

    monkeypatch.setattr(orderly, "act", act)
    for when in ("10:07:00", "10:07:30", "10:08:00", "10:09:59"):
        planned(f"2026-03-11 {when}")
    assert looked == ["02:07", "02:08", "02:09"]  # one that failed is tried again the next minute
