"""The work list, recomputed from the ledger each time: nothing remembers where we were. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headend.plans import CURVE, Plan
from headend.store.coverage import DayMatrix
from protocols.localtime import Times
from terminals.drivers.driver import Retention

#: points asked of one meter in one turn on the line: a day and a bit; its neighbours wait no longer than that
MOST_POINTS = 100
#: how long afterwards points of meters without memory are written down as lost: what an outage longer than that took stays "not asked"
SAMPLED_BACK = np.timedelta64(10, "D")
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Gap:
    """Points of one plan that one meter still owes. `deadline`: when it overwrites the first of them."""

    meter: int
    plan: Plan
    times: Times
    deadline: np.datetime64


def _kept(plan: Plan, retention: Retention) -> np.timedelta64:
    return np.timedelta64(retention.curve if plan is CURVE else retention.day_freeze)


def ahead(plan: Plan, retention: Retention) -> np.timedelta64:
    """How long before a point has settled it is wanted. A meter without memory is read when the point is, not when it has settled."""
    return np.timedelta64(plan.settle) if retention.sampled else np.timedelta64(0, "us")


def look_back(plan: Plan, retention: Retention) -> np.timedelta64:
    """How old a point may be that is looked at: a day more than is kept, so that what was lost is seen and written down as lost. Where
    nothing is kept, that is what was lost in an outage of days."""
    kept = _kept(plan, retention)
    return (max(kept, SAMPLED_BACK) if retention.sampled else kept) + _DAY


def lost_because(retention: Retention) -> str:
    """What `why` says of an overwritten point."""
    if retention.sampled:
        return f"the meter keeps no curve: it must be read within {retention.curve.total_seconds():g} s of the instant"
    return "older than the meter keeps"


def open_gaps(matrices: Iterable[DayMatrix], retention: Retention, now: np.datetime64) -> list[Gap]:
    """What can still be read, earliest deadline first, at most MOST_POINTS a gap (the rest comes next time)."""
    owed: dict[tuple[int, int], tuple[Plan, list[Times]]] = {}
    for matrix in matrices:
        readable = matrix.open & (matrix.times + _kept(matrix.plan, retention) > now)
        for row in np.flatnonzero(readable.any(axis=1)):
            key = (int(matrix.meters[row]), matrix.plan.id)
            owed.setdefault(key, (matrix.plan, []))[1].append(matrix.times[readable[row]])
    gaps = []
    for (meter, _), (plan, parts) in owed.items():
        times = np.sort(np.concatenate(parts))[:MOST_POINTS]
        gaps.append(Gap(meter, plan, times, times[0] + _kept(plan, retention)))
    gaps.sort(key=lambda gap: (gap.deadline, gap.meter, gap.plan.id))
    return gaps


def overwritten(matrices: Iterable[DayMatrix], retention: Retention, now: np.datetime64) -> list[Gap]:
    """What can no longer be read: the meter has overwritten it. To be written down as lost, once."""
    lost = []
    for matrix in matrices:
        gone = matrix.open & (matrix.times + _kept(matrix.plan, retention) <= now)
        lost += [
            Gap(int(matrix.meters[row]), matrix.plan, matrix.times[gone[row]], now)
            for row in np.flatnonzero(gone.any(axis=1))
        ]
    return lost


def closed(matrix: DayMatrix, now: np.datetime64) -> bool:
    """The day is over and owes nothing: it need not be looked at again by this process."""
    return bool(matrix.due.all() and matrix.times[-1] < now and not matrix.open.any())
