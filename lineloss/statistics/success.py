"""How well was collected: counts over the completeness ledger, and the rates made of them.

    once rate       一次采集成功率   day freezes got by the first attempt that asked for them / meters due
    cycle rate      周期采集成功率   day freezes got within the day after / meters due
    integrity       数据完整率       points of the load curve that are here / points due
    operation rate  投运率           mean over the days of: terminals that brought something of the day / terminals commissioned
    on-line rate    在线率           looks at which a terminal was on line / looks, of the terminals commissioned
    coverage        覆盖率           metering points behind a commissioned terminal / metering points in the archive

The standards name these rates; no public text defines them to the digit, so these definitions are the program's own. A rate of nothing is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

#: columns of a meter's counts, in this order
METER_COUNTS: Final = (
    "freeze_due", "freeze_once", "freeze_cycle", "curve_due", "curve_present", "curve_late", "curve_absent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Marks:
    """The ledger of a plan and day, bool[meter, point] each.

    due      expected, and old enough to be here
    present, late, absent   here; here, but later than the plan's grace; proved not to be in the meter
    vain     an attempt that asked for it came back without it
    """

    due: Bits
    present: Bits
    late: Bits
    absent: Bits
    vain: Bits


def of_meters(freeze: Marks, curve: Marks) -> I64:
    """int64[meter, METER_COUNTS]; the same meters in both."""
    here, points = freeze.due & freeze.present, curve.due & curve.present
    grids = (
        freeze.due,
        here & ~freeze.late & ~freeze.vain,
        here & ~freeze.late,
        curve.due,
        points,
        points & curve.late,
        curve.due & curve.absent,
    )
    return np.stack([grid.sum(axis=1, dtype=np.int64) for grid in grids], axis=1)


def bringing(freeze: Marks, curve: Marks) -> Bits:
    """bool[meter]: something of the day came through its terminal within the plan's grace, so the terminal exchanged data then."""
    return np.asarray((freeze.present & ~freeze.late).any(axis=1) | (curve.present & ~curve.late).any(axis=1))


@dataclass(frozen=True, slots=True)
class Counts:
    """int64[group] each, of one day, or of several one below the other.

    commissioned, exchanging  terminals that have ever brought data, and those that did that day
    looks, online             how often these terminals were looked at, and found on line
    points, covered           metering points in the archive, and those behind a commissioned terminal
    """

    freeze_due: I64
    freeze_once: I64
    freeze_cycle: I64
    curve_due: I64
    curve_present: I64
    curve_late: I64
    curve_absent: I64
    commissioned: I64
    exchanging: I64
    looks: I64
    online: I64
    points: I64
    covered: I64


COUNTS: Final = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Rates:
    """float64[group], NaN where nothing was due."""

    once: Floats
    cycle: Floats
    integrity: Floats
    operation: Floats
    online: Floats
    coverage: Floats


RATES: Final = tuple(field.name for field in fields(Rates))


def rates(counts: Counts, group: I64, day: I64, groups: int) -> Rates:
    """Of a period: rows [row] of `group` int64[row] in 0…groups-1 and `day` int64[row].

    Points are added up over the days. The operation rate is the mean of the days' own rates; coverage is that of the last day."""

    def total(name: str) -> Floats:
        return np.asarray(np.bincount(group, getattr(counts, name), groups), dtype=np.float64)

    daily = _share(counts.exchanging.astype(np.float64), counts.commissioned)
    some = ~np.isnan(daily)
    days = np.bincount(group[some], minlength=groups)
    order = np.lexsort((day, group))
    last = order[np.flatnonzero(np.diff(group[order], append=-1))]
    coverage = np.full(groups, np.nan)
    coverage[group[last]] = _share(counts.covered[last].astype(np.float64), counts.points[last])
    return Rates(
        once=_share(total("freeze_once"), total("freeze_due")),
        cycle=_share(total("freeze_cycle"), total("freeze_due")),
        integrity=_share(total("curve_present"), total("curve_due")),
        operation=_share(np.asarray(np.bincount(group[some], daily[some], groups), dtype=np.float64), days),
        online=_share(total("online"), total("looks")),
        coverage=coverage,
    )


def _share(part: Floats, whole: NDArray[np.int64] | Floats) -> Floats:
    some = whole > 0
    return np.where(some, part / np.where(some, whole, 1), np.nan)
