"""Which table a reading goes to: by where it comes from (its source) and by its quantity (the capture group)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headend.plans import CURVE, DAY, MONTH, PHASE, Plan
from protocols.quantity import quantities
from protocols.reading import FREEZE_QUANTITIES, PHASE_QUANTITIES, SLOT_QUANTITIES

#: register_read.kind and other_read.kind
CURVE_KIND: Final = 1
DAY_FREEZE: Final = 2
SPOT: Final = 3
MONTH_FREEZE: Final = 4

#: kind of quantity -> PostgreSQL type of its column, and what stands for NULL when rows are read back
COLUMN_TYPES: Final = {
    "register": "int8",
    "event": "int8",
    "instant": "float4",
    "demand": "float8",
    "moment": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of readings with a column for each quantity. `source` is its name in revision and completion; `plan` counts its points."""

    name: str
    source: str
    codes: tuple[str, ...]
    plan: Plan | None
    kind: int | None = None  # register_read.kind, None where the table has no such column

    @property
    def keys(self) -> tuple[str, ...]:
        return ("meter_id", "ts") if self.kind is None else ("meter_id", "ts", "kind")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, *self.codes, "evidence")

    def type(self, code: str) -> str:
        """PostgreSQL's type of a quantity's column, or of `evidence`."""
        if code == "evidence":
            return "int8"
        return COLUMN_TYPES[quantities()[code].kind]


SLOTS: Final = Table("slot_read", "slot", SLOT_QUANTITIES, CURVE)
PHASES: Final = Table("slot_phase_read", "phase", PHASE_QUANTITIES, PHASE)
DAY_FREEZES: Final = Table("register_read", "day", FREEZE_QUANTITIES, DAY, DAY_FREEZE)
MONTH_FREEZES: Final = Table("register_read", "month", FREEZE_QUANTITIES, MONTH, MONTH_FREEZE)
SPOTS: Final = Table("register_read", "spot", FREEZE_QUANTITIES, None, SPOT)
TABLES: Final = {table.source: table for table in (SLOTS, PHASES, DAY_FREEZES, MONTH_FREEZES, SPOTS)}


@dataclass(frozen=True, slots=True)
class Source:
    """Where readings come from: the load curve, a freeze, or a look at the meter. `kind` is other_read.kind."""

    name: str
    kind: int
    tables: tuple[Table, ...]


CURVES: Final = Source("curve", CURVE_KIND, (SLOTS, PHASES))
DAYS: Final = Source("day", DAY_FREEZE, (DAY_FREEZES,))
SPOT_READS: Final = Source("spot", SPOT, (SPOTS,))
MONTHS: Final = Source("month", MONTH_FREEZE, (MONTH_FREEZES,))
SOURCES: Final = {source.name: source for source in (CURVES, DAYS, MONTHS, SPOT_READS)}


def rare(source: Source, codes: Iterator[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The quantities that have no column in the source's tables: they go to other_read."""
    known = {code for table in source.tables for code in table.codes}
    return tuple(code for code in codes if code not in known)
