"""What the rules of a day look at: the day's columns of some meters, or what there is of the day so far. One row is one meter's time
on a point.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import steps
from lineloss.topology import Role
from protocols.reading import MISSING

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
I64 = NDArray[np.int64]

#: Phase voltages that meters are made for [V]: behind voltage transformers with four and with three wires (there the line voltage), and direct.
NOMINAL: Final = (57.7, 100.0, 220.0)
#: What is taken for each [V]: from, up to. The last reaches to 380 V, which a broken neutral puts on a meter for 220.
_BANDS: Final = ((43.0, 72.0), (75.0, 130.0), (165.0, 407.0))
_KWH: Final = 1e-4


@dataclass(frozen=True, slots=True)
class MeterDay:
    """Everything on the meter's (secondary) side. A quantity that was not loaded is NaN, or MISSING, throughout.

    meter       int64[meter]
    area        int64[meter]           the area's id; -1: of no area
    role        int8[meter]            topology.Role
    phases      int8[meter]            1 or 3
    multiplier  int64[meter]           CT x PT
    contract    float64[meter]         [kVA] what the customer may draw; NaN not known, or no customer's
    feeds_in    bool[meter]            the point may feed in
    roll_over   int64[meter]           [1e-4 kWh] what the registers count modulo
    nominal     float64[meter]         [V] what its voltage circuits are made for (nominal_of); NaN: nothing says so
    voltage     float64[meter, 3, slot] [V], NaN where not delivered or the meter has no such phase
    current     float64[meter, 3, slot] [A]
    power       float64[meter, slot]   [kW], negative: to the network
    reactive    float64[meter, slot]   [kvar]
    imports     int64[meter, slot + 1] [1e-4 kWh] registers, MISSING where not known
    exports     int64[meter, slot + 1]
    interval    minutes one slot stands for

    forward     int64[meter, slot]     [1e-4 kWh] from one import register to the next, MISSING where it cannot be known
    reverse     int64[meter, slot]     the same of the export registers
    """

    meter: I64
    area: I64
    role: NDArray[np.int8]
    phases: NDArray[np.int8]
    multiplier: I64
    contract: Floats
    feeds_in: Bools
    roll_over: I64
    nominal: Floats
    voltage: Floats
    current: Floats
    power: Floats
    reactive: Floats
    imports: I64
    exports: I64
    interval: int = 15
    forward: I64 = field(init=False)
    reverse: I64 = field(init=False)

    def __post_init__(self) -> None:
        # once, for all who ask for it
        for name, registers in (("forward", self.imports), ("reverse", self.exports)):
            object.__setattr__(self, name, steps(registers, self.roll_over))

    def __len__(self) -> int:
        return len(self.meter)

    @property
    def slots(self) -> int:
        return int(self.imports.shape[1]) - 1

    @property
    def hours(self) -> float:
        """Of one slot."""
        return self.interval / 60

    @property
    def customer(self) -> Bools:
        """bool[meter]: what the area delivers goes through it."""
        return np.asarray(self.role == Role.RECEIVE)

    def take(self, which: Any) -> MeterDay:
        """The rows chosen by an index or a mask array."""
        return replace(
            self,
            **{
                column.name: getattr(self, column.name)[which]
                for column in fields(self)
                if column.init and column.name != "interval"
            },
        )


def nominal_of(voltage: Floats) -> Floats:
    """float64[meter] [V]: what each meter is made for, by the median of its highest phase; NaN where no voltage says so.

    The archive does not know it. The highest, because a phase that is lost, or has none (three wires: B), says nothing.
    """
    known = np.full(len(voltage), np.nan)
    if not voltage.size:
        return known
    highest = np.fmax.reduce(voltage, axis=1)
    highest[~(highest > 0)] = np.nan
    row, some = np.arange(len(highest)), np.maximum((highest > 0).sum(axis=1), 1)
    highest.sort(axis=1)  # what is not known goes last
    typical = (highest[row, (some - 1) // 2] + highest[row, some // 2]) / 2
    for rated, (low, high) in zip(NOMINAL, _BANDS, strict=True):
        known[(typical >= low) & (typical <= high)] = rated
    return known


def three_wires(day: MeterDay) -> Bools:
    """bool[meter]: a meter between three wires: it has line voltages of A and C against B, and none of B."""
    return np.asarray((day.phases == 3) & (day.nominal == NOMINAL[1]))


def apparent(day: MeterDay) -> Floats:
    """Apparent power, float64[meter, slot] [kVA], secondary side: from P and Q, else U x I of all phases; NaN where neither is known."""
    by_powers = np.hypot(day.power, day.reactive)
    single = day.phases == 1
    each = day.voltage * np.abs(day.current) / 1000
    # of a single-phase meter the phases that it does not have are NaN; a three-phase meter needs all three
    volt_amperes = np.where(single[:, None], each[:, 0], each.sum(axis=1))
    return np.where(np.isnan(by_powers), volt_amperes, by_powers)


def in_kwh(energy: I64) -> Floats:
    """[kWh] of energies [1e-4 kWh], any shape; NaN where it is not known."""
    return np.where(energy == MISSING, np.nan, energy * _KWH)


def longest(mask: Bools) -> tuple[I64, I64]:
    """The longest run of True along the last axis of [n, slot]: (length int64[n], first slot int64[n]); length 0 where there is none."""
    slots = np.arange(mask.shape[1])
    before = np.maximum.accumulate(np.where(mask, -1, slots), axis=1)
    run = np.where(mask, slots - before, 0)
    if not mask.shape[1]:
        return np.zeros(len(mask), dtype=np.int64), np.zeros(len(mask), dtype=np.int64)
    end = run.argmax(axis=1)
    length = run[np.arange(len(mask)), end]
    return length.astype(np.int64), np.where(length > 0, end - length + 1, 0).astype(np.int64)
