"""What a loss computation needs to know of the network, as arrays: one row is one metering point in one loss
object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import Times


class Role(IntEnum):
    """What a metering point is *to this loss object*; a public transformer's meter is RECEIVE of its line and
    SUPPLY of its area, so the role belongs to the pair and not to the meter."""

    SUPPLY = 0
    RECEIVE = 1
    #: watched, never summed: a PV generation meter (its surplus counts at the billing meter), a check meter
    AUXILIARY = 2


@dataclass(frozen=True, slots=True)
class Topology:
    """The network on one day. Rows in area order are fastest (no sort), any order is right.

    meter       int64[meter]    the store's meter_id of the device that measured
    point       int64[meter]    the metering point
    area        int64[meter]    index into area_id; -1: belongs to no area known here, ignored
    role        int8[meter]     Role
    multiplier  int64[meter]    CT x PT, secondary to primary
    accuracy    float64[meter]  class of accuracy as a fraction: class 1 is 0.01 (instrument transformers
                                included)
    phases      int8[meter]     1 or 3
    exports     bool[meter]     the point may feed in, so its reverse register is due as well
    area_id     int64[area]     the loss objects
    """

    meter: NDArray[np.int64]
    point: NDArray[np.int64]
    area: NDArray[np.int64]
    role: NDArray[np.int8]
    multiplier: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    phases: NDArray[np.int8]
    exports: NDArray[np.bool_]
    area_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.meter)
        columns = (
            self.point,
            self.area,
            self.role,
            self.multiplier,
            self.accuracy,
            self.phases,
            self.exports,
        )
        if any(len(column) != n for column in columns):
            raise ValueError("columns of Topology differ in length")
        if n and (self.area.max() >= len(self.area_id) or self.area.min() < -1):
            raise ValueError("Topology.area points outside area_id")
        if n and (self.multiplier.min() < 1 or self.accuracy.min() < 0 or self.accuracy.max() >= 1):
            raise ValueError("Topology: multiplier below 1, or accuracy outside [0, 1)")

    def __len__(self) -> int:
        return len(self.meter)

    @property
    def areas(self) -> int:
        return len(self.area_id)

    def counted(self) -> NDArray[np.bool_]:
        """bool[meter]: the rows that enter the loss formula."""
        return np.asarray((self.area >= 0) & (self.role != Role.AUXILIARY), dtype=np.bool_)

    def rows_by_area(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows int64[meter], start int64[area + 1]): rows[start[a]:start[a + 1]] are the rows of area a."""
        rows = np.argsort(self.area, kind="stable")
        start = np.searchsorted(self.area[rows], np.arange(self.areas + 1))
        return rows.astype(np.int64), start.astype(np.int64)

    def sum_by_area(self, values: NDArray[Any]) -> NDArray[Any]:
        """[meter, ...] -> [area, ...] in the dtype of `values`: integers stay exact. Rows without area are
        left out.
        """
        return sum_by(self.area, self.areas, values)


def sum_by(group: NDArray[np.int64], groups: int, values: NDArray[Any]) -> NDArray[Any]:
    """[row, ...] -> [group, ...] in the dtype of `values`: integers stay exact. Rows of group -1 are left out;
    rows in the order of their groups are fastest.
    """
    total = np.zeros((groups, *values.shape[1:]), dtype=values.dtype)
    if not len(group):
        return total
    if np.any(group[1:] < group[:-1]):
        rows = np.argsort(group, kind="stable")
        group, values = group[rows], values[rows]
    start = np.searchsorted(group, np.arange(groups + 1))
    filled = start[1:] > start[:-1]
    if filled.any():
        # reduceat sums from each start to the next one; the last group ends at the last row, which has a group
        total[filled] = np.add.reduceat(values, start[:-1][filled], axis=0)
    return total


@dataclass(frozen=True, slots=True)
class Spans:
    """What hangs on what, from when to when: [row], ids of things of two kinds, `until` excluded."""

    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    since: Times
    until: Times

    def take(self, which: Any) -> Spans:
        return Spans(self.child[which], self.parent[which], self.since[which], self.until[which])

    def over(self, above: Spans) -> Spans:
        """What hangs on the parents' parents, while both hold."""
        low, high = matches(self.parent, above.child)
        since, until = _both(self.since[low], above.since[high], self.until[low], above.until[high])
        found = Spans(self.child[low], above.parent[high], since, until)
        return found.take(since < until)


@dataclass(frozen=True, slots=True)
class Links:
    """What metering points are to loss objects of one kind, from when to when: [row], one row is one point in one object.

    own  bool[row]: somebody has said so of this very pair; else it follows from how the network hangs together
    """

    point: NDArray[np.int64]
    object: NDArray[np.int64]
    role: NDArray[np.int8]
    since: Times
    until: Times
    own: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.point)

    def take(self, which: Any) -> Links:
        return Links(
            self.point[which], self.object[which], self.role[which], self.since[which], self.until[which], self.own[which]
        )  # fmt: skip

    def of(self, role: Role) -> Links:
        """The rows of one role."""
        return self.take(self.role == role)

    def hung(self, on: Spans, role: Role | None = None) -> Links:
        """The same points in what their objects hang on, while both hold; in `role` there, or the one they have here."""
        low, high = matches(self.object, on.child)
        since, until = _both(self.since[low], on.since[high], self.until[low], on.until[high])
        given = self.role[low] if role is None else np.full(len(low), role, dtype=np.int8)
        follows = np.zeros(len(low), dtype=np.bool_)
        found = Links(self.point[low], on.parent[high], given, since, until, follows)
        return found.take(since < until)


def joined(parts: Sequence[Links]) -> Links:
    """All their rows."""
    return Links(*(np.concatenate([getattr(part, name) for part in parts]) for name in Links.__slots__))


def matches(keys: NDArray[np.int64], among: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of rows with the same key: (row of `keys`, row of `among`), in the order of `keys`."""
    order = np.argsort(among, kind="stable")
    ordered = among[order]
    first, last = np.searchsorted(ordered, keys, "left"), np.searchsorted(ordered, keys, "right")
    many = last - first
    before = np.cumsum(many) - many
    left = np.repeat(np.arange(len(keys)), many)
    right = order[np.arange(len(left)) - np.repeat(before - first, many)]
    return left, right


def _both(since: Times, also_since: Times, until: Times, also_until: Times) -> tuple[Times, Times]:
    return np.maximum(since, also_since), np.minimum(until, also_until)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The points of loss objects in one period, in the order of the objects.

    point      int64[pair]    index into the points that have a meter in the period
    object     int64[pair]    index into object_id
    role       int8[pair]     Role
    moved      bool[pair]     the point had this role for a part of its time in the period only
    object_id  int64[object]  ascending
    """

    point: NDArray[np.int64]
    object: NDArray[np.int64]
    role: NDArray[np.int8]
    moved: NDArray[np.bool_]
    object_id: NDArray[np.int64]

    @property
    def objects(self) -> int:
        return len(self.object_id)

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """[pair, ...] -> [object, ...]"""
        return sum_by(self.object, self.objects, values)

    def has(self, role: Role) -> NDArray[np.bool_]:
        """bool[object]: something has this role there."""
        return np.asarray(np.bincount(self.object[self.role == role], minlength=self.objects) > 0)


def pairs(
    links: Links,
    point: NDArray[np.int64],
    since: Times,
    until: Times,
    begin: np.datetime64,
    end: np.datetime64,
) -> Pairs:
    """Who is what to which object between `begin` and `end`.

    point         int64[point]  ids of those that have a meter in the period, ascending; others are left out
    since, until  [point]       from when to when they have one

    What somebody has said of a pair goes before what follows from the network. A point that follows to be both
    supply and receive point of an object (a tie between two of its parts) is inside it, and no part of the formula.
    """
    at = np.minimum(np.searchsorted(point, links.point), max(len(point) - 1, 0))
    there = (links.since < end) & (links.until > begin)
    there &= (point[at] == links.point) if len(point) else np.zeros(len(links), dtype=np.bool_)
    links, at = links.take(there), at[there]
    object_id, index = np.unique(links.object, return_inverse=True)
    order = np.lexsort((links.since, ~links.own, at, index))
    links, at, index = links.take(order), at[order], index[order]
    fresh = np.ones(len(at), dtype=np.bool_)
    fresh[1:] = (at[1:] != at[:-1]) | (index[1:] != index[:-1])
    start = np.flatnonzero(fresh)
    group = np.cumsum(fresh) - 1
    if not len(start):
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, none.astype(np.int8), none.astype(np.bool_), none)
    kept = links.own | ~links.own[start][group]  # the rows that count in their group
    lowest, highest = _extremes(links.role, kept, start)
    first = np.minimum.reduceat(np.where(kept, links.since, np.datetime64("9999-01-01")), start)
    last = np.maximum.reduceat(np.where(kept, links.until, np.datetime64("0001-01-01")), start)
    span = np.minimum(links.until, end) - np.maximum(links.since, begin)
    held = np.add.reduceat(np.where(kept, span, np.timedelta64(0, "us")), start)
    holes = held < np.minimum(last, end) - np.maximum(first, begin)
    at, index = at[start], index[start]
    moved = (first > np.maximum(since[at], begin)) | (last < np.minimum(until[at], end)) | holes
    moved |= links.own[start] & (lowest != highest)
    inside = ~links.own[start] & (lowest == Role.SUPPLY) & (highest == Role.RECEIVE)
    return Pairs(at[~inside], index[~inside], lowest[~inside], moved[~inside], object_id)


def _extremes(
    role: NDArray[np.int8], kept: NDArray[np.bool_], start: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """(the least, the greatest) role of each group."""
    low = np.minimum.reduceat(np.where(kept, role, np.int8(127)), start)
    high = np.maximum.reduceat(np.where(kept, role, np.int8(-1)), start)
    return low.astype(np.int8), high.astype(np.int8)
