"""Load records of DL/T 645-2007 (Table A.7), a day of one meter at a time: integers to wire bytes in
columns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import local_fields
from terminals.simulator.layout import Ints
from terminals.simulator.physics import NOT_SHOWN, SHOWN, STEP_SHOWN
from terminals.simulator.scenario import ZONE

Bytes = NDArray[np.uint8]
#: The blocks of one meter's day for one order of classes, and the solved day that they were made of.
_Made = tuple[object, list[bytes]]

#: The classes these meters record: voltage, current and frequency; powers; energies.
CLASSES: Final = (1, 2, 4)
ALL_CLASSES: Final = (1, 2, 3, 4, 5, 6)
_FREQUENCY: Final = 5_000  # 0.01 Hz


class Kept:
    """Encoded days of meters, `most` of them at most (11 KB each), so that a head-end that reads a day in pieces pays once."""

    __slots__ = ("_days", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._days: OrderedDict[Hashable, _Made] = OrderedDict()

    def get(self, key: Hashable, solved: object) -> list[bytes] | None:
        """What was made of this very day."""
        made = self._days.get(key)
        return made[1] if made is not None and made[0] is solved else None

    def put(self, key: Hashable, solved: object, made: list[bytes]) -> None:
        self._days[key] = (solved, made)
        self._days.move_to_end(key)
        if len(self._days) > self._most:
            self._days.popitem(last=False)


def blocks(
    ends: NDArray[np.datetime64],
    totals: Ints,
    shown: NDArray[np.int32],
    order: Sequence[int] = ALL_CLASSES,
) -> list[bytes]:
    """Blocks of one meter's day, or of many meters' slot: datetime64[us][n] UTC, int[n] in 1e-4 kWh, int32[14, n] as in SHOWN.

    `order`: the classes that get a separator; those not recorded leave it empty.
    """
    n = len(ends)
    parts = [_times(ends)]
    for number in order:
        if number in CLASSES:
            parts.append(_class(totals, shown, number))
        parts.append(_constant(0xAA, n))
    body = np.concatenate(parts, axis=1)
    head = np.broadcast_to(np.array([0xA0, 0xA0, body.shape[1]], dtype=np.uint8), (n, 3))
    block = np.concatenate([head, body], axis=1)
    check = block.sum(axis=1, dtype=np.uint8)[:, None]
    matrix = np.concatenate([block, check, _constant(0xE5, n)], axis=1)
    raw, width = matrix.tobytes(), matrix.shape[1]
    return [raw[k * width : (k + 1) * width] for k in range(n)]


def packed(values: Ints, size: int) -> Bytes:
    """int[n] -> uint8[n, size] packed decimals, low byte first; NOT_SHOWN becomes FF.."""
    rest = np.maximum(values, 0)
    out = np.empty((len(values), size), dtype=np.uint8)
    for k in range(size):
        rest, pair = np.divmod(rest, 100)
        out[:, k] = pair + pair // 10 * 6
    out[values == NOT_SHOWN] = 0xFF
    return out


def _class(totals: Ints, values: NDArray[np.int32], number: int) -> Bytes:
    n = len(totals)
    shown = {name: values[k] for k, name in enumerate(SHOWN)}
    if number == 1:
        columns = [packed(shown[name], 2) for name in ("va", "vb", "vc")]
        columns += [packed(shown[name], 3) for name in ("ia", "ib", "ic")]
        columns.append(packed(np.full(n, _FREQUENCY), 2))
    elif number == 2:
        columns = [packed(shown[name], 3) for name in ("p", "pa", "pb", "pc", "q", "qa", "qb", "qc")]
    else:
        columns = [packed(totals // STEP_SHOWN, 4), np.zeros((n, 12), dtype=np.uint8)]
    return np.concatenate(columns, axis=1)


def _times(ends: NDArray[np.datetime64]) -> Bytes:
    """datetime64[us][n] UTC -> uint8[n, 5]: mm hh DD MM YY, local."""
    local = local_fields(ends, ZONE)
    months = local.astype("datetime64[M]")
    days = local.astype("datetime64[D]")
    minutes = (local - days).astype("timedelta64[m]").astype(np.int64)
    month = months.astype(np.int64)
    fields = (
        minutes % 60,
        minutes // 60,
        (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        month % 12 + 1,
        month // 12 + 1970 - 2000,
    )
    return np.concatenate([packed(field, 1) for field in fields], axis=1)


def _constant(value: int, n: int) -> Bytes:
    return np.full((n, 1), value, dtype=np.uint8)
