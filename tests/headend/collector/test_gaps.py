"""The work list: what is lost first is read first, and what is settled is not asked again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.collector.gaps import (
    MOST_POINTS,
    ahead,
    closed,
    look_back,
    lost_because,
    open_gaps,
    overwritten,
)
from headend.plans import CURVE, DAY, Plan, due, points
from headend.store.coverage import DayMatrix
from terminals.drivers.driver import Retention
from tests.support.house import SHANGHAI, at

KEPT = Retention(curve=dt.timedelta(days=2), day_freeze=dt.timedelta(days=30))
WEDNESDAY = dt.date(2026, 3, 11)
TUESDAY = dt.date(2026, 3, 10)


def matrix(day: dt.date, now: str, *, plan: Plan = CURVE, meters: int = 1, **masks: Any) -> DayMatrix:
    """A day of meters 1..n that owe everything; masks: slots set for every meter, or [meter, slot]."""
    times = points(plan, day, SHANGHAI)
    shape = (meters, len(times))

    def mask(slots: Any) -> Any:
        grid = np.zeros(shape, dtype=np.bool_)
        grid[:, slots] = True
        return grid

    given = {name: mask(masks.pop(name, [])) for name in ("present", "late", "absent")}
    failed = {name: mask(slots) for name, slots in masks.items()}
    may_have = np.broadcast_to(due(plan, day, SHANGHAI, at(now)), shape)
    ids = np.arange(1, meters + 1)
    return DayMatrix(
        plan,
        day,
        times,
        ids,
        np.ones_like(ids),
        np.ones(shape, dtype=np.bool_),
        may_have,
        **given,
        attempts=np.zeros_like(ids),
        failed=failed,
    )


def test_only_what_is_due_missing_and_not_proved_absent() -> None:
    now = "2026-03-11 01:16"  # five slots are due, the one of 01:15 just settled
    given = matrix(WEDNESDAY, now, present=[0], absent=[1], expired=[2], no_answer=[3])
    (gap,) = open_gaps([given], KEPT, at(now))
    assert gap.times.tolist() == points(CURVE, WEDNESDAY, SHANGHAI)[[3, 4]].tolist()
    assert (gap.meter, gap.plan) == (1, CURVE)
    assert gap.deadline == at("2026-03-13 01:00")
    assert open_gaps([matrix(WEDNESDAY, "2026-03-11 00:15", meters=3)], KEPT, at("2026-03-11 00:15")) == []


def test_the_earliest_deadline_first() -> None:
    """A freeze of today is kept for a month; yesterday's curve is overwritten tomorrow."""
    now = "2026-03-11 12:00"
    matrices = [
        matrix(TUESDAY, now, plan=DAY, meters=2),
        matrix(WEDNESDAY, now, meters=2),
        matrix(TUESDAY, now, meters=2, present=[*range(50)]),
    ]
    gaps = open_gaps(matrices, KEPT, at(now))
    assert [(gap.meter, gap.plan.name) for gap in gaps] == [
        (1, "curve"),
        (2, "curve"),
        (1, "day"),
        (2, "day"),
    ]
    assert [gap.deadline for gap in gaps] == sorted(gap.deadline for gap in gaps)
    # one gap a meter and plan, the days joined in order of time
    assert gaps[0].times[0] == points(CURVE, TUESDAY, SHANGHAI)[50]
    assert len(gaps[0].times) == 46 + 48 - 1  # the slot that ends at 12:00 is not settled
    assert (np.diff(gaps[0].times) > np.timedelta64(0)).all()


def test_at_most_a_day_and_a_bit_at_once() -> None:
    now = "2026-03-12 12:00"
    (gap,) = open_gaps(
        [matrix(day, now) for day in (WEDNESDAY, WEDNESDAY + dt.timedelta(days=1))], KEPT, at(now)
    )
    assert len(gap.times) == MOST_POINTS
    assert gap.times[0] == points(CURVE, WEDNESDAY, SHANGHAI)[0]


def test_what_was_overwritten_is_lost_and_not_asked_for() -> None:
    now = "2026-03-13 06:00"  # what ended by 06:00 on Wednesday is gone
    given = matrix(WEDNESDAY, now, present=[0], absent=[1])
    (lost,) = overwritten([given], KEPT, at(now))
    assert lost.times.tolist() == points(CURVE, WEDNESDAY, SHANGHAI)[2:24].tolist()
    (gap,) = open_gaps([given], KEPT, at(now))
    assert gap.times.tolist() == points(CURVE, WEDNESDAY, SHANGHAI)[24:].tolist()
    # and once written down, it is not lost again
    again = matrix(WEDNESDAY, now, present=[0], absent=[1], expired=[*range(2, 24)])
    assert overwritten([again], KEPT, at(now)) == []


def test_closed() -> None:
    everything = [*range(96)]
    assert closed(matrix(WEDNESDAY, "2026-03-12 00:02", present=everything), at("2026-03-12 00:02"))
    assert closed(
        matrix(WEDNESDAY, "2026-03-12 00:02", present=everything[:50], absent=everything[50:]),
        at("2026-03-12 00:02"),
    )
    assert not closed(matrix(WEDNESDAY, "2026-03-12 00:02", present=everything[1:]), at("2026-03-12 00:02"))
    # the last slot is not settled, whatever is there
    assert not closed(matrix(WEDNESDAY, "2026-03-12 00:00", present=everything), at("2026-03-12 00:00"))
    assert not closed(matrix(WEDNESDAY, "2026-03-11 12:00", present=everything[:48]), at("2026-03-11 12:00"))


# --- meters without memory ---

SAMPLED = Retention(dt.timedelta(seconds=60), dt.timedelta(seconds=60), sampled=True)


def test_a_meter_without_memory_is_asked_at_the_instant_and_for_a_minute() -> None:
    for now, asked, lost in (
        ("2026-03-11 00:29:59", [], [0]),
        ("2026-03-11 00:30:00", [1], [0]),
        ("2026-03-11 00:30:59", [1], [0]),
        ("2026-03-11 00:31:00", [], [0, 1]),
    ):
        seen = matrix(WEDNESDAY, str((at(now) + ahead(CURVE, SAMPLED)) + np.timedelta64(8, "h")))
        times = points(CURVE, WEDNESDAY, SHANGHAI)
        assert [gap.times.tolist() for gap in open_gaps([seen], SAMPLED, at(now))] == (
            [times[asked].tolist()] if asked else []
        )
        assert [gap.times.tolist() for gap in overwritten([seen], SAMPLED, at(now))] == [times[lost].tolist()]


def test_a_midnight_is_asked_at_midnight() -> None:
    now = at("2026-03-12 00:00:10")
    seen = matrix(WEDNESDAY, str((now + ahead(DAY, SAMPLED)) + np.timedelta64(8, "h")), plan=DAY)
    (gap,) = open_gaps([seen], SAMPLED, now)
    assert (gap.times.tolist(), gap.deadline) == (
        points(DAY, WEDNESDAY, SHANGHAI).tolist(),
        at("2026-03-12 00:01"),
    )


def test_what_is_looked_back_for_and_what_is_said_of_a_loss() -> None:
    assert look_back(CURVE, KEPT) == np.timedelta64(3, "D")
    assert look_back(DAY, SAMPLED) == np.timedelta64(11, "D")
    assert ahead(CURVE, KEPT) == np.timedelta64(0)
    assert "within 60 s of the instant" in lost_because(SAMPLED)
    assert lost_because(KEPT) == "older than the meter keeps"
