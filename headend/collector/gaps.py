"""The work list, recomputed from the ledger each time: nothing remembers where we were. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, DAY, MONTH, Plan
from headend.store.coverage import DayMatrix
from protocols.localtime import Times
from terminals.drivers.driver import Driver, Retention

#: points asked of one meter in one turn on the line: a day and a bit; its neighbours wait no longer than that
MOST_POINTS = 100
#: how long afterwards points of meters without memory are written down as lost: what an outage longer than that took stays "not asked"
SAMPLED_BACK = np.timedelta64(10, "D")
#: how long a terminal is given to collect a point by itself before its meter is asked past it: a reading over power-line carrier takes the
#: terminal itself many tries, and asking past it keeps the line from what it collects
COLLECTING = np.timedelta64(2, "h")
#: what a terminal says of a point that it has not got
IN_VAIN = ("not-in-terminal", "refused")
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Gap:
    """Points of one plan that one meter still owes. `deadline`: when the last who has the first of them overwrites it. `behind`: asked of the
    meter itself, past its terminal."""

    meter: int
    plan: Plan
    times: Times
    deadline: np.datetime64
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """How long what a driver asks keeps its records: the terminal or meter that is asked, and the meter behind it where it can be asked too."""

    asked: Retention
    behind: Retention | None = None

    @classmethod
    def of(cls, driver: Driver) -> Kept:
        return cls(driver.retention, None if driver.behind is None else driver.behind.retention)

    @property
    def sampled(self) -> bool:
        return self.asked.sampled

    def here(self, plan: Plan) -> np.timedelta64:
        """By who is asked first."""
        return _span(plan, self.asked)

    def anywhere(self, plan: Plan) -> np.timedelta64:
        """By whoever keeps it longest."""
        return self.here(plan) if self.behind is None else max(self.here(plan), _span(plan, self.behind))


@lru_cache(maxsize=256)
def _span(plan: Plan, retention: Retention) -> np.timedelta64:
    spans = {CURVE.id: retention.curve, DAY.id: retention.day_freeze, MONTH.id: retention.month_freeze}
    return np.timedelta64(spans[plan.id])


def ahead(plan: Plan, kept: Kept) -> np.timedelta64:
    """How long before a point has settled it is wanted. A meter without memory is read when the point is, not when it has settled."""
    return np.timedelta64(plan.settle) if kept.sampled else np.timedelta64(0, "us")


def look_back(plan: Plan, kept: Kept) -> np.timedelta64:
    """How old a point may be that is looked at: a day more than is kept, so that what was lost is seen and written down as lost. Where
    nothing is kept, that is what was lost in an outage of days."""
    span = kept.anywhere(plan)
    return (max(span, SAMPLED_BACK) if kept.sampled else span) + _DAY


def lost_because(plan: Plan, kept: Kept) -> str:
    """What `why` says of an overwritten point."""
    if kept.sampled:
        return f"the meter keeps no curve: it must be read within {kept.asked.curve.total_seconds():g} s of the instant"
    if not kept.anywhere(plan):
        return f"this protocol gives no {plan.name} readings: take the plan from what the meter owes"
    return "older than the meter keeps"


def open_gaps(
    matrices: Iterable[DayMatrix], kept: Kept, now: np.datetime64, most: int | None = MOST_POINTS
) -> list[Gap]:
    """What can still be read, earliest deadline first, at most so many points a gap: a meter that owes more has several. All of them, for each
    must be asked in its turn, or be told why not: a meter that never answers would have holes without a cause behind its first ones."""
    owed: dict[tuple[int, int, bool], tuple[Plan, list[Times]]] = {}
    for matrix in matrices:
        readable = matrix.open & (matrix.times + kept.anywhere(matrix.plan) > now)
        if not readable.any():
            continue
        pieces = [(False, readable)]
        if kept.behind is not None:
            past = _past_the_terminal(matrix, kept, now)
            pieces = [(False, readable & ~past), (True, readable & past)]
        for behind, chosen in pieces:
            rows, columns = np.nonzero(chosen)
            begins = np.flatnonzero(np.diff(rows, prepend=-1))
            for meter, times in zip(
                matrix.meters[rows[begins]].tolist(),
                np.split(matrix.times[columns], begins[1:]),
                strict=False,
            ):
                owed.setdefault((meter, matrix.plan.id, behind), (matrix.plan, []))[1].append(times)
    gaps = []
    for (meter, _, behind), (plan, parts) in owed.items():
        whole = parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))
        for begin in range(0, len(whole), most or len(whole)):
            times = whole[begin:][:most]
            gaps.append(Gap(meter, plan, times, times[0] + kept.anywhere(plan), behind))
    gaps.sort(key=lambda gap: (gap.deadline, gap.meter, gap.plan.id, gap.behind))
    return gaps


def _past_the_terminal(matrix: DayMatrix, kept: Kept, now: np.datetime64) -> NDArray[np.bool_]:
    """bool[meter, point]: what the terminal keeps no longer, and what it has not got although it had the time to collect it."""
    none = np.zeros(matrix.present.shape, dtype=np.bool_)
    wanting = np.logical_or.reduce([none, *(matrix.failed[why] for why in IN_VAIN if why in matrix.failed)])
    wanting &= matrix.times + COLLECTING <= now
    return np.asarray(wanting | (matrix.times + kept.here(matrix.plan) <= now))


def overwritten(matrices: Iterable[DayMatrix], kept: Kept, now: np.datetime64) -> list[Gap]:
    """What can no longer be read: whoever had it has overwritten it. To be written down as lost, once."""
    lost = []
    for matrix in matrices:
        gone = matrix.open & (matrix.times + kept.anywhere(matrix.plan) <= now)
        lost += [
            Gap(int(matrix.meters[row]), matrix.plan, matrix.times[gone[row]], now)
            for row in np.flatnonzero(gone.any(axis=1))
        ]
    return lost


def over(matrix: DayMatrix, now: np.datetime64) -> bool:
    """All points of the day are past and due."""
    return bool(matrix.due.all() and (matrix.times < now).all())


def closed(matrix: DayMatrix, now: np.datetime64) -> bool:
    """The day is over and owes nothing: it need not be looked at again by this process."""
    return over(matrix, now) and not matrix.open.any()
