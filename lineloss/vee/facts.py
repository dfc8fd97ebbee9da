"""What the rules look at: one local day of some meters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import Registers, advance, steps
from lineloss.vee import follow
from protocols.reading import MISSING

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]
#: of phases A, B, C, each [meter, slot]
Phases = tuple[F32, F32, F32]

#: registers count this many to the kWh
KWH: Final = 10_000
#: Highest current [A] of a meter whose plate the archive does not have: 100 A is the largest direct connection in use, behind a current
#: transformer meters are 1.5(6) A. No public source says what is installed: defaults to configure.
DIRECT_AMPERES: Final = 100.0
TRANSFORMER_AMPERES: Final = 10.0
#: 220 V and a fifth: what no supply in order exceeds [V]; a meter behind a voltage transformer sees less.
VOLTS: Final = 264.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Registers int64 [1e-4 kWh] on the meter's side (secondary), MISSING where not known; instants NaN where not known.

    meter         int64[meter]
    hours         how long a slot is [h]
    imports       int64[meter, slot + 1]  column 0 is the opening midnight, column k the end of slot k
    exports       int64[meter, slot + 1]
    freezes       int64[meter, 2]         day freezes of the import register at both midnights
    voltage       float32[meter, slot] x 3 [V]
    current       float32[meter, slot] x 3 [A]
    power         float32[meter, slot]    [kW], below 0 what is fed in
    installed     bool[meter, slot]
    due           bool[meter, slot]       points that the meter owes
    again         bool[meter, slot + 1]   the meter said two different registers of this instant
    cut           bool[meter, slot]       a clock was set within, so that the slot is no whole one
    strange       int64[meter]            readings of instants that are no ends of slots
    before        int64[meter]            newest import register that is known from before the day
    before_hours  float64[meter]          how long before the opening midnight that was [h]
    history       int64[meter, day]       energies of the days before, oldest first
    alike         bool[day]               which of them are days like this one
    roll_over     int64[meter]            what registers count modulo
    phases        int64[meter]            1 or 3
    multiplier    int64[meter]            CT x PT
    amperes       float64[meter]          the highest current that the meter bears, on its side [A]
    exporting     bool[meter]             may feed in
    open          bool[meter]             somebody has an account there, or it is not known that nobody has
    ahead         float64[meter]          how far its clock is ahead [s]
    unsure        float64[meter]          to within how much that is known [s]

    known         bool[meter, slot + 1]   where imports has a register
    false         bool[meter, slot + 1]   where that cannot be true (lineloss/vee/follow.py)
    fell          bool[meter, slot + 1]   where it does not follow the one before it, and neither is false
    good          int64[meter, slot + 1]  imports without what is false
    energy        int64[meter, slot]      of each slot, made of what is good
    day           int64[meter]            energy of the whole day, from the good curve's ends or the freezes
    """

    meter: I64
    hours: float
    imports: Registers
    exports: Registers
    freezes: Registers
    voltage: Phases
    current: Phases
    power: F32
    installed: Bits
    due: Bits
    again: Bits
    cut: Bits
    strange: I64
    before: I64
    before_hours: F64
    history: I64
    alike: Bits
    roll_over: I64
    phases: I64
    multiplier: I64
    amperes: F64
    exporting: Bits
    open: Bits
    ahead: F64
    unsure: F64
    known: Bits = field(init=False)
    false: Bits = field(init=False)
    fell: Bits = field(init=False)
    good: Registers = field(init=False)
    energy: I64 = field(init=False)
    day: I64 = field(init=False)

    def __post_init__(self) -> None:
        # what most rules ask for
        false, fell = follow.judge(
            self.imports, self.before, self.roll_over, self.most, self.before_hours / self.hours
        )
        good = np.where(false, MISSING, self.imports) if false.any() else self.imports
        ends = [np.where(good[:, k] == MISSING, self.freezes[:, k], good[:, k]) for k in (0, -1)]
        for name, made in (
            ("known", self.imports != MISSING),
            ("false", false),
            ("fell", fell),
            ("good", good),
            ("energy", steps(good, self.roll_over)),
            ("day", advance(ends[0], ends[1], self.roll_over)),
        ):
            object.__setattr__(self, name, made)

    def __len__(self) -> int:
        return len(self.meter)

    @property
    def slots(self) -> int:
        return int(self.imports.shape[1]) - 1

    @property
    def most(self) -> I64:
        """int64[meter]: the energy that a slot can hold at the meter's highest current."""
        return most(self.phases, self.amperes, self.hours)


def most(phases: I64, amperes: F64, hours: float) -> I64:
    """int64[meter] [1e-4 kWh]: what all phases at the highest voltage and current give in so many hours."""
    return np.asarray(np.ceil(phases * VOLTS * amperes * hours / 1000 * KWH), dtype=np.int64)


def amperes(multiplier: I64) -> F64:
    """float64[meter] [A]: the highest current of meters whose plate is not known."""
    return np.where(multiplier > 1, TRANSFORMER_AMPERES, DIRECT_AMPERES)
