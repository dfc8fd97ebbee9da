"""What a call to save electricity has brought of a group: its day and the like days before it, worked out when asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, points
from headend.store import blocks, point_groups, vee
from headend.store.db import Connection, StoreError
from lineloss.statistics import response
from lineloss.statistics.response import Effect
from protocols.localtime import Times, as_datetime, local_day
from protocols.reading import MISSING

Floats = NDArray[np.float64]

#: how far back like days are looked for: working days of six weeks are thirty
BACK: Final = 45
_KWH: Final = 1e-4


class NoEffect(StoreError):
    """It cannot be told."""


@dataclass(frozen=True, slots=True)
class Told:
    """points: those of the group; whole: of whom all the days are known, who alone are counted. days: the like days, the newest first.
    times: the ends of the day's slots; first, last: those of the event."""

    points: int
    whole: int
    days: list[dt.date]
    times: Times
    first: int
    last: int
    effect: Effect

    def to_dict(self) -> dict[str, Any]:
        """Energies in kWh; slots named by their ends."""
        found = self.effect
        return {
            "points": self.points,
            "points_known": self.whole,
            "like_days": self.days,
            "unit": "kWh",
            "reduced": found.reduced,
            "low": found.low,
            "high": found.high,
            "certain": found.certain,
            "baseline_moved_by": found.moved,
            "placebo": found.placebo.tolist(),
            "slots": [
                {
                    "slot_end": as_datetime(when),
                    "baseline": float(b),
                    "taken": float(t),
                    "event": self.first <= k <= self.last,
                }
                for k, (when, b, t) in enumerate(zip(self.times, found.baseline, found.taken, strict=True))
            ],
        }


def effect(
    conn: Connection,
    group: str,
    begin: np.datetime64,
    end: np.datetime64,
    zone: ZoneInfo,
    without: Collection[dt.date] = (),
) -> Told:
    """Of a group between two instants of one local day; days in `without` are no like days (other events). NoEffect says why not."""
    day = local_day(begin + np.timedelta64(1, "us"), zone)
    times = points(CURVE, day, zone)
    if not times[0] - np.timedelta64(15, "m") <= begin < end <= times[-1]:
        raise NoEffect(
            "an event lies within one local day and ends after it began; ask for each day of a longer one"
        )
    first, last = int(np.searchsorted(times, begin, side="right")), int(np.searchsorted(times, end))
    ids = point_groups.points(conn, group)
    since = day - dt.timedelta(days=BACK)
    kinds = vee.kinds(conn, since, day)
    like = [since + dt.timedelta(days=k) for k in range(BACK) if kinds[k] == kinds[-1]]
    like = [
        one for one in reversed(like) if one not in without and len(points(CURVE, one, zone)) == len(times)
    ][: response.LIKE]
    curves = [_day(conn, one, zone, ids, len(times)) for one in (day, *like)]
    # a like day of which hardly anybody is known would leave hardly anybody
    most = max(int((~np.isnan(c).any(axis=1)).sum()) for c in curves)
    kept = [k for k, c in enumerate(curves) if k == 0 or (~np.isnan(c).any(axis=1)).sum() >= 0.9 * most]
    curves, like = [curves[k] for k in kept], [like[k - 1] for k in kept[1:]]
    whole = np.logical_and.reduce([~np.isnan(c).any(axis=1) for c in curves])
    sums = np.array([c[whole].sum(axis=0) for c in curves])
    found = response.effect(sums[0], sums[1:], first, last) if whole.any() else None
    if found is None:
        raise NoEffect(
            f"of group {group!r} {int(whole.sum())} of {len(ids)} points are known on {day} and on {len(like)} like days; "
            f"{response.LEAST} days at least are needed: `headend why METER {day}` tells what is missing"
        )
    return Told(len(ids), int(whole.sum()), like, times, first, last, found)


def _day(conn: Connection, day: dt.date, zone: ZoneInfo, ids: NDArray[np.int64], slots: int) -> Floats:
    """float64[point, slot] [kWh] of a day; NaN where not known, or where the point had no meter."""
    found = np.full((len(ids), slots), np.nan)
    size = blocks.CELLS_AT_ONCE // slots
    for begin in range(0, len(ids), size):
        block = blocks.energies(conn, day, zone, ("active_import",), points=ids[begin : begin + size])
        energy = block.energies["active_import"].energy
        found[np.searchsorted(ids, block.point)] = np.where(energy == MISSING, np.nan, energy * _KWH)
    return found
