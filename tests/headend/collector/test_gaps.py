"""The work list: what is lost first is read first, and what is settled is not asked again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.collector.gaps import (
    MOST_POINTS,
    Gap,
    Kept,
    ahead,
    closed,
    look_back,
    lost_because,
    open_gaps,
    overwritten,
)
from headend.plans import CURVE, DAY, MONTH, Plan, due, points
from headend.store.coverage import DayMatrix
from terminals.drivers.driver import Retention
from tests.support.house import SHANGHAI, at

KEPT = Kept(Retention(dt.timedelta(days=2), dt.timedelta(days=30), dt.timedelta(days=400)))
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


def test_at_most_a_day_and_a_bit_at_once_and_the_rest_in_its_turn() -> None:
    """The rest was left for the next look: of a meter that never answers that was always the same hundred, and the others had no cause."""
    now = "2026-03-12 12:00"
    days = (WEDNESDAY, WEDNESDAY + dt.timedelta(days=1))
    first, second = open_gaps([matrix(day, now) for day in days], KEPT, at(now))
    assert len(first.times) == MOST_POINTS
    owed = np.concatenate([points(CURVE, day, SHANGHAI) for day in days])
    owed = owed[owed + np.timedelta64(CURVE.settle) <= at(now)]
    assert np.concatenate([first.times, second.times]).tolist() == owed.tolist()
    assert first.deadline < second.deadline == second.times[0] + KEPT.anywhere(CURVE)


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

SAMPLED = Kept(Retention(*3 * (dt.timedelta(seconds=60),), sampled=True))


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
    assert "within 60 s of the instant" in lost_because(CURVE, SAMPLED)
    assert lost_because(CURVE, KEPT) == "older than the meter keeps"


BEHIND = Kept(
    Retention(dt.timedelta(days=1), dt.timedelta(days=10), dt.timedelta(days=60)),
    Retention(dt.timedelta(days=3), dt.timedelta(days=5), dt.timedelta(days=5)),
)


def told(gaps: list[Gap]) -> dict[bool, list[str]]:
    """Local hour and minute of what is asked, by whether it is asked past the terminal."""
    return {
        gap.behind: [str(t)[11:16] for t in (gap.times + np.timedelta64(8, "h")).tolist()] for gap in gaps
    }


def test_the_meter_is_asked_for_what_its_terminal_has_not_got_once_it_had_the_time_to_collect_it() -> None:
    now = "2026-03-11 03:01"
    in_vain = {"not-in-terminal": [0, 1, 11]}
    given = matrix(WEDNESDAY, now, present=[2, 3, 4, 5, 6, 7, 8], **in_vain)
    assert told(open_gaps([given], BEHIND, at(now))) == {
        True: ["00:15", "00:30"],
        False: ["02:30", "02:45", "03:00"],
    }
    assert told(open_gaps([given], KEPT, at(now))).keys() == {False}


def test_a_gaps_deadline_is_the_later_one_of_terminal_and_meter() -> None:
    now = "2026-03-12 02:01"  # the terminal keeps a day, the meter three
    given = matrix(WEDNESDAY, now, present=[*range(8, 96)])
    gaps = open_gaps([given], BEHIND, at(now))
    assert told(gaps) == {True: ["00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45", "02:00"]}
    assert {gap.deadline for gap in gaps} == {at("2026-03-11 00:15") + np.timedelta64(3, "D")}
    assert overwritten([given], BEHIND, at(now)) == []
    later = "2026-03-14 01:05"
    given = matrix(WEDNESDAY, later, present=[*range(8, 96)])
    (lost,) = overwritten([given], BEHIND, at(later))
    assert len(lost.times) == 4
    assert look_back(CURVE, BEHIND) == np.timedelta64(4, "D")
    assert look_back(DAY, BEHIND) == np.timedelta64(11, "D")  # days the terminal keeps longer


def test_a_plan_that_the_protocol_cannot_serve_is_lost_and_says_so() -> None:
    none = Kept(Retention(dt.timedelta(days=2), dt.timedelta(days=30)))
    now = "2026-04-01 00:30"
    given = matrix(dt.date(2026, 3, 31), now, plan=MONTH)
    assert open_gaps([given], none, at(now)) == []
    assert [lost.times.tolist() for lost in overwritten([given], none, at(now))] == [
        [at("2026-04-01 00:00").item()]
    ]
    assert "no month readings" in lost_because(MONTH, none)
