"""What a loss computation needs to know of the network, as arrays: one row is one metering point in one loss
object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        total = np.zeros((self.areas, *values.shape[1:]), dtype=values.dtype)
        if not len(self):
            return total
        area = self.area
        if np.any(area[1:] < area[:-1]):
            rows = np.argsort(area, kind="stable")
            area, values = area[rows], values[rows]
        start = np.searchsorted(area, np.arange(self.areas + 1))
        filled = start[1:] > start[:-1]
        if filled.any():
            # reduceat sums from each start to the next one; the last group ends at the last row, which has
            # an area
            total[filled] = np.add.reduceat(values, start[:-1][filled], axis=0)
        return total
