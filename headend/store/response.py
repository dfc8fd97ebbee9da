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
from headend.store.blocks import Quality
from headend.store.db import Connection, StoreError
from lineloss.statistics import response
from lineloss.statistics.response import Effect
from protocols.localtime import Times, as_datetime, local_day
from protocols.reading import MISSING

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

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
    first, last = within(times, begin, end)
    ids = point_groups.points(conn, group)
    like = like_days(conn, day, day, zone, without)
    event = np.zeros(len(times), dtype=np.bool_)
    event[first : last + 1] = True
    curves = [curve(conn, day, zone, ids, measured=event), *(curve(conn, one, zone, ids) for one in like)]
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


def within(times: Times, begin: np.datetime64, end: np.datetime64) -> tuple[int, int]:
    """The first and the last slot between two instants, of slots that end at `times`."""
    return int(np.searchsorted(times, begin, side="right")), int(np.searchsorted(times, end))


def like_days(
    conn: Connection, day: dt.date, before: dt.date, zone: ZoneInfo, without: Collection[dt.date] = ()
) -> list[dt.date]:
    """The newest days before `before` that are like `day`, the newest first: of its kind and with as many slots; days in `without` are none."""
    since = before - dt.timedelta(days=BACK)
    kinds = vee.kinds(conn, since, max(day, before))
    kind, slots = kinds[(day - since).days], len(points(CURVE, day, zone))
    found = [since + dt.timedelta(days=k) for k in range(BACK) if kinds[k] == kind]
    return [one for one in reversed(found) if one not in without and len(points(CURVE, one, zone)) == slots][
        : response.LIKE
    ]


def curve(
    conn: Connection, day: dt.date, zone: ZoneInfo, ids: NDArray[np.int64], measured: Bits | None = None
) -> Floats:
    """float64[point, slot] [kWh] of a day, `ids` ascending; NaN where not known, or where the point had no meter.

    measured  bool[slot]: where an estimate is none. What would have been taken, as like days tell, says nothing of what a call has brought."""
    slots = len(points(CURVE, day, zone))
    found = np.full((len(ids), slots), np.nan)
    size = blocks.CELLS_AT_ONCE // slots
    for begin in range(0, len(ids), size):
        block = blocks.energies(conn, day, zone, ("active_import",), points=ids[begin : begin + size])
        known = block.energies["active_import"]
        missing = known.energy == MISSING
        if measured is not None:
            missing |= measured & (known.quality >= Quality.ESTIMATED)
        found[np.searchsorted(ids, block.point)] = np.where(missing, np.nan, known.energy * _KWH)
    return found
