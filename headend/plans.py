"""What must be collected: plans, their points in a local day, and the reasons a point can be missing. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import Times, day_slots, local_day, midnight
from protocols.reading import Reads


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Points that must exist. One object a plan: it is itself, and a key in no time.

    `every`: a point for each slot of `minutes`, or one for the day or the month, named by the midnight that closes it.
    `settle`: how long after its end the meter has a point stored. `grace`: a point that comes later than this after its end is late.
    `needs`: the quantities without which a point is not there; none: any of the table's.
    """

    id: int
    name: str
    name_zh: str
    every: Literal["slot", "day", "month"]
    minutes: int
    settle: dt.timedelta
    grace: dt.timedelta
    needs: tuple[str, ...] = ("active_import",)

    def met_by(self, reads: Reads, codes: tuple[str, ...] = ()) -> NDArray[np.bool_]:
        """bool[n]: the rows that make their point present. `codes`: any of these does, where nothing in particular is needed."""
        if self.needs:
            return np.asarray(
                np.logical_and.reduce([reads.valid(code) for code in self.needs]), dtype=np.bool_
            )
        held = [reads.valid(code) for code in codes if code in reads.columns]
        return np.asarray(np.logical_or.reduce([np.zeros(len(reads), dtype=np.bool_), *held]), dtype=np.bool_)


CURVE: Final = Plan(1, "curve", "负荷曲线", "slot", 15, dt.timedelta(minutes=1), dt.timedelta(hours=4))
DAY: Final = Plan(2, "day", "日冻结", "day", 0, dt.timedelta(minutes=5), dt.timedelta(hours=24))
MONTH: Final = Plan(3, "month", "月冻结", "month", 0, dt.timedelta(minutes=5), dt.timedelta(hours=72))
PHASE: Final = Plan(
    4, "phase", "分相曲线", "slot", 15, dt.timedelta(minutes=1), dt.timedelta(hours=24), needs=()
)
PLANS: Final = {plan.id: plan for plan in (CURVE, DAY, MONTH, PHASE)}
#: what the collector's drivers can ask for so far
COLLECTED: Final = (CURVE, DAY, MONTH)

#: code -> (en, zh). A hole carries exactly one of these as its present cause.
REASONS: Final = {
    "offline": ("terminal offline", "终端离线"),
    "not-published": ("the terminal publishes by itself and has not", "终端未上报"),
    "link-lost": ("connection lost during the exchange", "通信中断"),
    "not-in-terminal": ("the terminal has not got it from the meter", "终端未采到"),
    "no-answer": ("meter does not answer", "电表无应答"),
    "garbled": ("answer garbled (checksum or shape)", "报文校验错误"),
    "refused": ("meter refused", "电表拒绝"),
    "missing-in-answer": ("answered without this point", "应答缺点"),
    "not-recorded": ("meter proved not to have it", "电表无此记录"),
    "expired": ("overwritten in the meter before it could be read", "电表已覆盖"),
    "allowance": ("the SIM's bytes of this month are used up", "SIM卡流量用尽"),
    "not-asked": ("due, not asked yet", "待采集"),
    "not-due": ("not due yet", "未到采集时间"),
    "not-commissioned": ("no meter installed then", "未投运"),
}


@lru_cache(maxsize=2048)
def points(plan: Plan, day: dt.date, zone: ZoneInfo) -> Times:
    """datetime64[us][points]: the instants that name the plan's points of a local day, UTC, ascending."""
    if plan.every == "slot":
        return day_slots(day, zone, plan.minutes)
    following = day + dt.timedelta(days=1)
    there = plan.every == "day" or following.day == 1
    closing: Times = np.array([midnight(following, zone)] if there else [], dtype="datetime64[us]")
    closing.flags.writeable = False
    return closing


#: slots between a batch's first and last that are worth a table: two years of quarter-hours
_TABLE: Final = 70_000


def locate(plan: Plan, times: Times, zone: ZoneInfo) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Instants -> (day [n] as days since 1970-01-01, index of the point in its day [n]; -1 where it is no point of the plan)."""
    times = times.astype("datetime64[us]", copy=False)
    if not len(times):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if plan.every == "slot":
        # slots of one step: found by their number, which is ten times as fast as sorting the instants
        number, rest = np.divmod(times.astype(np.int64), plan.minutes * 60_000_000)
        first = int(number.min())
        if int(number.max()) - first < _TABLE and not rest.any():
            known, inverse = number - first, np.zeros(int(number.max()) - first + 1, dtype=np.int64)
            inverse[known] = 1
            distinct = np.flatnonzero(inverse)
            inverse[distinct] = np.arange(len(distinct))
            day, index = _locate(plan, (distinct + first) * (plan.minutes * 60_000_000), zone)
            return day[inverse[known]], index[inverse[known]]
    unique, inverse = np.unique(times.astype(np.int64), return_inverse=True)
    day, index = _locate(plan, unique, zone)
    return day[inverse], index[inverse]


def _locate(
    plan: Plan, ascending: NDArray[np.int64], zone: ZoneInfo
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for ascending distinct instants [us since 1970]: one look a day."""
    day = np.empty(len(ascending), dtype=np.int64)
    index = np.empty(len(ascending), dtype=np.int64)
    begin = 0
    while begin < len(ascending):
        owner = local_day(ascending[begin].astype("datetime64[us]"), zone)
        closing = midnight(owner + dt.timedelta(days=1), zone).astype(np.int64)
        end = int(np.searchsorted(ascending, closing, side="right"))
        there = points(plan, owner, zone).astype(np.int64)
        at = np.searchsorted(there, ascending[begin:end])
        day[begin:end] = (owner - dt.date(1970, 1, 1)).days
        found = at < len(there)
        found[found] = there[at[found]] == ascending[begin:end][found]
        index[begin:end] = np.where(found, at, -1)
        begin = end
    return day, index


def expected(plan: Plan, day: dt.date, zone: ZoneInfo, installed: Times, removed: Times) -> NDArray[np.bool_]:
    """bool[meter, point]: points of the day that a meter installed in [installed, removed) owes."""
    ends = points(plan, day, zone)
    return np.asarray((ends > installed[:, None]) & (ends <= removed[:, None]), dtype=np.bool_)


def due(plan: Plan, day: dt.date, zone: ZoneInfo, now: np.datetime64) -> NDArray[np.bool_]:
    """bool[point]: points that a meter can have by now."""
    return np.asarray(points(plan, day, zone) + np.timedelta64(plan.settle) <= now, dtype=np.bool_)
