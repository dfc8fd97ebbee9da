"""What a worker knows of its gaps while the ledger cannot be asked, or does not know yet what was read. Pure.

Two things are kept of one terminal: what was wanting when the ledger was last asked, with what is owed on the days after; and what was
brought in since and may still be on its way into the store. Together they say what falls due and what need not be asked again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.collector.gaps import Kept, ahead, closed
from headend.plans import PLANS, Plan, due, points
from headend.store.coverage import NO_TIMES, DayMatrix
from protocols.localtime import Times
from terminals.drivers.driver import Meter


@dataclass(frozen=True, slots=True)
class _Day:
    """meters int64[meter]; `wanting`: bool[meter, point] packed, those points that are owed and neither here nor given up."""

    meters: NDArray[np.int64]
    wanting: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Owed:
    """By the newest day known of a plan: its meters, and which of them owe it from then on, bool[meter]."""

    day: dt.date
    meters: NDArray[np.int64]
    owes: NDArray[np.bool_]


@dataclass(slots=True)
class Memory:
    """Of one terminal; outlives its workers. A few hundred bytes for each day with gaps: a meter's bits of a day are twelve bytes.

    meters   as the archive had them last; None: it was never asked
    caught_up  what was lost in a standstill before this process has been written down
    """

    meters: Mapping[int, Meter] | None = None
    caught_up: bool = False
    _days: dict[tuple[int, dt.date], _Day] = field(default_factory=dict)
    _owed: dict[int, _Owed] = field(default_factory=dict)
    _brought: dict[tuple[int, int], Times] = field(default_factory=dict)  # (plan, meter) -> points
    _ticket: int = 0
    _done: set[tuple[int, dt.date]] = field(default_factory=set)
    _done_on: dt.date | None = None

    def done_on(self, today: dt.date) -> set[tuple[int, dt.date]]:
        """Days of plans that were seen to owe nothing: they are looked at again once a day, since an archive may be corrected backwards."""
        if self._done_on != today:
            self._done.clear()
            self._done_on = today
        return self._done

    @property
    def knows(self) -> bool:
        """Whether there is anything to go on with."""
        return bool(self._owed)

    def learn(self, matrices: Iterable[DayMatrix], now: np.datetime64) -> None:
        """The ledger as it is; days that are closed need not be kept."""
        self._days.clear()
        self._owed.clear()
        for matrix in matrices:
            lost = matrix.failed.get("expired")
            wanting = matrix.expected & ~matrix.present & ~matrix.absent
            if lost is not None:
                wanting &= ~lost
            if not closed(matrix, now):
                self._days[matrix.plan.id, matrix.day] = _Day(
                    np.array(matrix.meters), np.packbits(wanting, axis=1)
                )
            newest = self._owed.get(matrix.plan.id)
            if len(matrix.times) and (newest is None or matrix.day > newest.day):
                self._owed[matrix.plan.id] = _Owed(
                    matrix.day, np.array(matrix.meters), np.array(matrix.expected[:, -1])
                )

    def recall(
        self, wanted: Iterable[tuple[Plan, dt.date]], now: np.datetime64, zone: ZoneInfo, kept: Kept
    ) -> list[DayMatrix]:
        """The same days as far as they are remembered; of days that have come since, all that falls due."""
        found = []
        for plan, day in wanted:
            before, newest = self._days.get((plan.id, day)), self._owed.get(plan.id)
            width, by = len(points(plan, day, zone)), now + ahead(plan, kept)
            if before is not None:
                wanting = np.unpackbits(before.wanting, axis=1, count=width).astype(np.bool_)
                found.append(_matrix(plan, day, zone, by, before.meters, wanting))
            elif newest is not None and day > newest.day:
                wanting = np.repeat(newest.owes[:, None], width, axis=1)
                found.append(_matrix(plan, day, zone, by, newest.meters, wanting))
        return found

    def brought(self, plan: Plan, meter: int, times: Times, ticket: int) -> None:
        """These points need not be asked for until what was handed over as `ticket`, and all before it, is in the ledger.

        At most the points that fall due while the database is away: a hundred a day and meter."""
        if len(times):
            self._brought[plan.id, meter] = np.union1d(self._brought.get((plan.id, meter), NO_TIMES), times)
        self._ticket = max(self._ticket, ticket)

    @property
    def ticket(self) -> int:
        """The last thing that was handed over."""
        return self._ticket

    def forget(self) -> None:
        """All that was brought is in the ledger, or was refused: the ledger alone counts."""
        self._brought.clear()

    def fold(self, matrix: DayMatrix) -> DayMatrix:
        """The day with what was brought since: as far as asking goes, it is here."""
        here = None
        for (plan, meter), times in self._brought.items():
            row = int(np.searchsorted(matrix.meters, meter))
            if PLANS[plan] is matrix.plan and row < len(matrix.meters) and matrix.meters[row] == meter:
                here = matrix.present.copy() if here is None else here
                here[row] |= np.isin(matrix.times, times)
        return matrix if here is None else replace(matrix, present=here)


def _matrix(
    plan: Plan,
    day: dt.date,
    zone: ZoneInfo,
    now: np.datetime64,
    meters: NDArray[np.int64],
    wanting: NDArray[np.bool_],
) -> DayMatrix:
    """A day of which no more is known than what it wants."""
    none = np.zeros_like(wanting)
    may_have = np.broadcast_to(due(plan, day, zone, now), wanting.shape)
    zeros = np.zeros(len(meters), dtype=np.int64)
    return DayMatrix(
        plan, day, points(plan, day, zone), meters, zeros, wanting, may_have, none, none, none, zeros
    )
