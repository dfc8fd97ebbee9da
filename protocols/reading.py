"""Reads: the columns that leave a decoder. Nothing on the reading path handles one value at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.quantity import Kind, quantities

#: A register that was not delivered. Registers are int64 in 1e-4 kWh on the secondary side; missing is never 0.
MISSING: Final = int(np.iinfo(np.int64).min)

Times = NDArray[np.datetime64]
Column = NDArray[Any]

#: What a 15-minute slot row carries (负荷曲线), in the order of the store's columns.
SLOT_QUANTITIES: Final = (
    "active_import", "active_export",
    "voltage_a", "voltage_b", "voltage_c",
    "current_a", "current_b", "current_c",
    "active_power", "reactive_power",
)  # fmt: skip
#: What a slot row of the second capture group carries: three-phase detail, often asked for apart (分相曲线).
PHASE_QUANTITIES: Final = (
    "reactive_import", "reactive_export",
    "active_power_a", "active_power_b", "active_power_c",
    "reactive_power_a", "reactive_power_b", "reactive_power_c",
    "power_factor", "power_factor_a", "power_factor_b", "power_factor_c",
)  # fmt: skip
#: What a freeze or register row carries (日冻结): total, sharp, peak, flat, valley, export.
REGISTER_QUANTITIES: Final = (
    "active_import", "active_import_t1", "active_import_t2", "active_import_t3", "active_import_t4",
    "active_export",
)  # fmt: skip
#: What a freeze row has room for: the same, export by tariff, reactive registers, demand with its time (需量).
FREEZE_QUANTITIES: Final = (
    *REGISTER_QUANTITIES,
    "active_export_t1", "active_export_t2", "active_export_t3", "active_export_t4",
    "reactive_import", "reactive_export", "reactive_q1", "reactive_q2", "reactive_q3", "reactive_q4",
    "max_demand_import", "max_demand_import_time", "max_demand_export", "max_demand_export_time",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reads:
    """n rows; a row is one meter at one instant.

    meter    int64[n]            the caller's key for the meter (the collector passes the store's meter_id)
    time     datetime64[us][n]   UTC; a slot is named by its end, a day freeze by the midnight that closes the day
    columns  code -> [n]         dtype and missing value by the quantity's kind (protocols.quantity): registers are int64
                                 in 1e-4 kWh, MISSING where not delivered; instants float64 in the unit, NaN
    """

    meter: NDArray[np.int64]
    time: Times
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.meter)
        if len(self.time) != n or any(len(column) != n for column in self.columns.values()):
            raise ValueError("columns of Reads differ in length")

    def __len__(self) -> int:
        return len(self.meter)

    def valid(self, code: str) -> NDArray[np.bool_]:
        """bool[n]: which rows carry this quantity."""
        column = self.columns.get(code)
        if column is None:
            return np.zeros(len(self), dtype=np.bool_)
        if column.dtype == np.int64:
            return np.asarray(column != MISSING, dtype=np.bool_)
        return np.asarray(~np.isnan(column), dtype=np.bool_)  # NaT too

    def take(self, rows: NDArray[Any]) -> Reads:
        """The rows chosen by an index or mask array."""
        return Reads(self.meter[rows], self.time[rows], {c: v[rows] for c, v in self.columns.items()})


_EMPTY: Final[Mapping[Kind, tuple[str, Any]]] = {
    "register": ("int64", MISSING),
    "event": ("int64", MISSING),
    "instant": ("float64", np.nan),
    "demand": ("float64", np.nan),
    "moment": ("datetime64[us]", np.datetime64("NaT")),
}


def empty_column(code: str, n: int) -> Column:
    """A column of n missing values, of the right dtype for the quantity."""
    dtype, missing = _EMPTY[quantities()[code].kind]
    return np.full(n, missing, dtype=dtype)


def no_reads() -> Reads:
    return Reads(np.empty(0, dtype=np.int64), np.empty(0, dtype="datetime64[us]"), {})


def concatenate(parts: Sequence[Reads]) -> Reads:
    """One Reads of all rows; a quantity that a part lacks is missing there."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return no_reads()
    codes = dict.fromkeys(code for part in parts for code in part.columns)
    return Reads(
        np.concatenate([part.meter for part in parts]),
        np.concatenate([part.time for part in parts]),
        {
            code: np.concatenate(
                [
                    part.columns[code] if code in part.columns else empty_column(code, len(part))
                    for part in parts
                ]
            )
            for code in codes
        },
    )
