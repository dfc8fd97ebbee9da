"""What must be collected: plans, their points in a local day, and the reasons a point can be missing. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import Times, day_slots, local_day, midnight


@dataclass(frozen=True, slots=True)
class Plan:
    """`minutes` 0: one point a day, the midnight that closes it. `settle`: how long after its end the meter has a point stored.
    `grace`: a point that comes later than this after its end is late."""

    id: int
    name: str
    name_zh: str
    minutes: int
    settle: dt.timedelta
    grace: dt.timedelta


CURVE: Final = Plan(1, "curve", "负荷曲线", 15, dt.timedelta(minutes=1), dt.timedelta(hours=4))
DAY: Final = Plan(2, "day", "日冻结", 0, dt.timedelta(minutes=5), dt.timedelta(hours=24))
PLANS: Final = {plan.id: plan for plan in (CURVE, DAY)}

#: code -> (en, zh). A hole carries exactly one of these as its present cause.
REASONS: Final = {
    "offline": ("terminal offline", "终端离线"),
    "link-lost": ("connection lost during the exchange", "通信中断"),
    "no-answer": ("meter does not answer", "电表无应答"),
    "garbled": ("answer garbled (checksum or shape)", "报文校验错误"),
    "refused": ("meter refused", "电表拒绝"),
    "missing-in-answer": ("answered without this point", "应答缺点"),
    "not-recorded": ("meter proved not to have it", "电表无此记录"),
    "expired": ("overwritten in the meter before it could be read", "电表已覆盖"),
    "not-asked": ("due, not asked yet", "待采集"),
    "not-due": ("not due yet", "未到采集时间"),
    "not-commissioned": ("no meter installed then", "未投运"),
}


@lru_cache(maxsize=2048)
def points(plan: Plan, day: dt.date, zone: ZoneInfo) -> Times:
    """datetime64[us][points]: the instants that name the plan's points of a local day, UTC, ascending."""
    if plan.minutes:
        return day_slots(day, zone, plan.minutes)
    closing: Times = np.array([midnight(day + dt.timedelta(days=1), zone)], dtype="datetime64[us]")
    closing.flags.writeable = False
    return closing


def locate(plan: Plan, times: Times, zone: ZoneInfo) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Instants -> (day [n] as days since 1970-01-01, index of the point in its day [n]; -1 where it is no point of the plan)."""
    unique, inverse = np.unique(times.astype("datetime64[us]"), return_inverse=True)
    day = np.empty(len(unique), dtype=np.int64)
    index = np.empty(len(unique), dtype=np.int64)
    for k, when in enumerate(
        unique
    ):  # distinct instants: at most a few hundred however many meters there are
        owner = local_day(when, zone)
        there = points(plan, owner, zone)
        at = int(np.searchsorted(there, when))
        day[k] = (owner - dt.date(1970, 1, 1)).days
        index[k] = at if at < len(there) and there[at] == when else -1
    return day[inverse], index[inverse]


def expected(plan: Plan, day: dt.date, zone: ZoneInfo, installed: Times, removed: Times) -> NDArray[np.bool_]:
    """bool[meter, point]: points of the day that a meter installed in [installed, removed) owes."""
    ends = points(plan, day, zone)
    return np.asarray((ends > installed[:, None]) & (ends <= removed[:, None]), dtype=np.bool_)


def due(plan: Plan, day: dt.date, zone: ZoneInfo, now: np.datetime64) -> NDArray[np.bool_]:
    """bool[point]: points that a meter can have by now."""
    return np.asarray(points(plan, day, zone) + np.timedelta64(plan.settle) <= now, dtype=np.bool_)
