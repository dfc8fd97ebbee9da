"""A clock that nobody may set from here is a finding, as long as our own is right."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pytest

from headend.clock import SystemClock
from headend.control.clock_policy import Master
from headend.jobs import clocks as job
from headend.jobs.frame import Run
from headend.store import clocks, findings
from headend.store.clocks import Reading
from headend.store.db import Connection
from protocols.localtime import as_datetime
from tests.support.house import SHANGHAI, at, place

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 10:00")


@dataclass(frozen=True, slots=True)
class Told:
    """A given time whose keeper says what it is worth."""

    master: Master | None = None

    def now(self) -> np.datetime64:
        return NOW

    def seconds_until(self, when: np.datetime64) -> float:
        return 0.0


@pytest.fixture
def off(store: Connection) -> Connection:
    """Meter 1 an hour off, meter 2 three minutes, the terminal of meter 1 half an hour."""
    for number in ("1", "2"):
        place(store, number)
    ids = {row["asset"]: row["meter_id"] for row in store.execute("SELECT asset, meter_id FROM meter")}
    first, second = (ids[asset] for asset in sorted(ids))
    terminal = store.execute("SELECT terminal_id FROM installation WHERE meter_id = %s", (first,)).fetchone()
    assert terminal is not None
    when = as_datetime(NOW)
    clocks.note(
        store,
        [
            Reading("meter", first, when, 3600.0, 0.6), Reading("meter", second, when, 180.0, 0.6),
            Reading("terminal", terminal["terminal_id"], when, -1800.0, 0.6),
        ],
    )  # fmt: skip
    store.commit()
    return store


def found(conn: Connection) -> list[tuple[str, float, str]]:
    return sorted(
        (row["subject_kind"], row["evidence"]["ahead_seconds"], row["state"])
        for row in findings.listing(conn)
    )


def test_what_is_too_far_off_to_be_set_is_a_finding_once(off: Connection) -> None:
    for _ in range(2):
        told = job.job(Run(off, SHANGHAI, NOW, Told()), DAY)
        assert told.startswith("2 clocks off")
    assert found(off) == [("meter", 3600.0, "new"), ("terminal", -1800.0, "new")]


def test_a_wrong_master_accuses_nobody_and_withdraws_nothing(off: Connection) -> None:
    job.job(Run(off, SHANGHAI, NOW, Told()), DAY)
    before = found(off)
    told = job.job(Run(off, SHANGHAI, NOW, Told(Master(False, 16.0, "no NTP daemon"))), DAY)
    assert told == "not judged: no NTP daemon"
    assert found(off) == before


def test_on_a_real_machine_its_own_state_decides(off: Connection) -> None:
    """Whatever it is: either it judges, or it says why it does not."""
    told = job.job(Run(off, SHANGHAI, NOW, SystemClock()), DAY)
    assert told.startswith(("2 clocks off", "not judged: "))
    assert bool(found(off)) == told.startswith("2")
