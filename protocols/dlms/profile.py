"""Profile buffers as Reads and event logs as arrays: the capture objects say what each column is (Blue Book, IC 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.dlms import bulk, model
from protocols.errors import FrameError
from protocols.quantity import Kind, quantities
from protocols.reading import Column, Reads, Times, no_reads

#: (class, logical name, attribute, data index), as `selector.read_capture_object` gives it.
CaptureObject = tuple[int, str, int, int]
#: (scaler, unit) of a register, its attribute 3 (attribute 4 of a demand register).
ScalerUnit = tuple[int, int]

DATA, REGISTER, EXTENDED, DEMAND_REGISTER = 1, 3, 4, 5
#: capture_time of an extended register (IC 4) and of a demand register (IC 5).
CAPTURE_TIME: Final = {EXTENDED: 5, DEMAND_REGISTER: 6}
#: A demand register has its current average in attribute 2, the last in 3.
VALUES: Final[Mapping[int, tuple[int, ...]]] = {
    DATA: (2,),
    REGISTER: (2,),
    EXTENDED: (2,),
    DEMAND_REGISTER: (2, 3),
}

#: A quantity's unit in quantities.csv -> COSEM units it may come in (Blue Book, enumeration of units), with the power of ten to it.
UNITS: Final[Mapping[str, Mapping[int, int]]] = {
    "kWh": {30: -3}, "kvarh": {32: -3}, "kVAh": {31: -3}, "kW": {27: -3}, "kvar": {29: -3}, "kVA": {28: -3},
    "V": {35: 0}, "A": {33: 0}, "Hz": {44: 0}, "°": {8: 0}, "°C": {9: 0}, "": {255: 0},
}  # fmt: skip


@cache
def _by_obis() -> dict[str, dict[Kind, str]]:
    found: dict[str, dict[Kind, str]] = {}
    for quantity in quantities().values():
        medium, _, rest = quantity.obis.partition(":")
        found.setdefault(f"{medium.replace('-', '.')}.{rest}.255", {})[quantity.kind] = quantity.code
    return found


def quantity_of(captured: CaptureObject) -> str | None:
    """The quantity of a column, by its OBIS code; None for what quantities.csv does not have."""
    class_id, obis, attribute, index = captured
    kinds = _by_obis().get(obis, {})
    if index:
        return None
    if CAPTURE_TIME.get(class_id) == attribute:
        return kinds.get("moment")
    if attribute not in VALUES.get(class_id, ()):
        return None
    wanted: tuple[Kind, ...] = ("event",) if class_id == DATA else ("register", "instant", "demand", "event")
    return next((kinds[kind] for kind in wanted if kind in kinds), None)


def column_of(code: str, column: bulk.Column, scaler_unit: ScalerUnit | None, zone: ZoneInfo) -> Column:
    """A raw column in the quantity's stored unit. FrameError: a unit that is not its own, or values of another kind."""
    quantity = quantities()[code]
    if quantity.kind == "moment":
        return bulk.instants(column, zone)
    if quantity.kind == "event":
        return bulk.registers(column, -1)  # counts: as they are
    if scaler_unit is None:
        raise FrameError(f"{code}: its scaler and unit are not known", 0)
    scaler, unit = scaler_unit
    if unit not in UNITS[quantity.unit] or abs(scaler) > 12:
        raise FrameError(f"{code}: unit {unit} with scaler {scaler} is not {quantity.unit}", 0)
    if quantity.kind == "register":
        return bulk.registers(column, scaler)
    return bulk.reals(column, scaler + UNITS[quantity.unit][unit])


@dataclass(frozen=True, slots=True)
class Profile:
    """What the columns of a buffer are, as the meter told.

    objects  capture_objects, one per column
    scalers  scaler_unit by (class, logical name)
    period   capture period [s]; 0: not periodic, then null-data gives no time
    """

    objects: tuple[CaptureObject, ...]
    scalers: Mapping[tuple[int, str], ScalerUnit]
    period: int = 0

    def reads(self, raw: bytes, meter: int, zone: ZoneInfo) -> Reads:
        """The buffer's rows, columns by quantity; what quantities.csv does not have is left out. Null-data: a time goes on by the
        period, a value is missing. FrameError: not a buffer of these columns.
        """
        columns = self._columns(raw)
        if not columns:
            return no_reads()
        times = self._times(columns, zone)
        found: dict[str, Column] = {}
        for captured, column in zip(self.objects, columns, strict=True):
            code = quantity_of(captured)
            if code is not None and code not in found:
                found[code] = column_of(code, column, self.scalers.get(captured[:2]), zone)
        return Reads(np.full(len(times), meter, dtype=np.int64), times, found)

    def events(self, raw: bytes, zone: ZoneInfo) -> tuple[Times, NDArray[np.int64]]:
        """An event log: when, datetime64[us][n] UTC, and the event code, int64[n]: the first column of class 1 that holds numbers.

        Rows without a code are left out. FrameError: no such column.
        """
        columns = self._columns(raw)
        if not columns:
            return np.empty(0, dtype="datetime64[us]"), np.empty(0, dtype=np.int64)
        for captured, column in zip(self.objects, columns, strict=True):
            if captured[0] == DATA and column.values.dtype == np.int64 and column.values.ndim == 1:
                return self._times(columns, zone)[column.present], column.values[column.present]
        raise FrameError("event log: no column of event codes", 0)

    def _columns(self, raw: bytes) -> tuple[bulk.Column, ...]:
        columns = bulk.decode(raw)
        if columns and len(columns) != len(self.objects):
            raise FrameError(f"profile: {len(columns)} columns, capture_objects has {len(self.objects)}", 0)
        return columns

    def _times(self, columns: Sequence[bulk.Column], zone: ZoneInfo) -> Times:
        for captured, column in zip(self.objects, columns, strict=True):
            if captured[0] == model.CLOCK_CLASS:
                return bulk.instants(column, zone, self.period or None)
        raise FrameError("profile: no clock among the capture objects", 0)
