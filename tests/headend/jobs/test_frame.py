"""A job's bookkeeping is done for it: time, success, the error."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from headend.jobs import frame
from headend.jobs.frame import Run
from headend.store import results
from headend.store.db import Connection
from tests.support.house import SHANGHAI, at, one
from tests.support.seed import Clock

DAY = dt.date(2026, 3, 10)
NOW = at("2026-03-11 00:40")


def note(run: Run) -> None:
    run.conn.execute("INSERT INTO area (code, name, capacity_kva) VALUES ('A1', 'x', 1)")


def test_a_job_that_works(store: Connection) -> None:
    given: list[Run] = []

    def job(run: Run, day: dt.date) -> str:
        given.append(run)
        note(run)
        return f"did {day}"

    assert frame.run("work", job, store, SHANGHAI, Clock(NOW), DAY) == "did 2026-03-10"
    assert store.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert (given[0].now, given[0].zone) == (NOW, SHANGHAI)
    (run,) = results.runs(store)
    assert (run["job"], run["day"], run["ok"], run["summary"]) == ("work", DAY, True, "did 2026-03-10")
    assert run["started"] == NOW.item().replace(tzinfo=dt.UTC)
    assert 0 <= run["seconds"] < 60
    assert one(store, "SELECT count(*) FROM area") == 1


def test_a_job_that_fails_leaves_its_error_and_nothing_else(store: Connection) -> None:
    def job(run: Run, day: dt.date) -> str:
        note(run)
        raise ZeroDivisionError("a thing " + "x" * 1000)

    with pytest.raises(ZeroDivisionError):
        frame.run("work", job, store, SHANGHAI, Clock(NOW), DAY)
    assert store.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    (run,) = results.runs(store)
    assert run["ok"] is False
    assert run["summary"].startswith("ZeroDivisionError: a thing xxx")
    assert len(run["summary"]) == 500
    assert one(store, "SELECT count(*) FROM area") == 0


def test_a_job_that_breaks_its_transaction(store: Connection) -> None:
    def job(run: Run, day: dt.date) -> str:
        run.conn.execute("SELECT 1 / 0")
        return ""

    with pytest.raises(psycopg.errors.DivisionByZero):
        frame.run("work", job, store, SHANGHAI, Clock(NOW), DAY)
    assert results.runs(store)[0]["summary"] == "DivisionByZero: division by zero"
