"""Multiplier (倍率校核): the register's energy of the day against measured voltage times current.

Active energy is at most apparent energy, and rarely below a fifth of it. Voltage and current are samples at the ends of the slots, so a
day of them is compared, and factors that no load explains are told: registers and instants stand on different sides of the instrument
transformers, or one of them was set up with another ratio.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.vee.facts import KWH, Facts
from lineloss.vee.verdict import Severity, Verdict, of_days
from protocols.reading import MISSING

RULE: Final = "multiplier"
VERSION: Final = 1
WORDS: Final = ("Energy does not match voltage and current", "电量与电压电流不符")

#: energy / apparent energy: samples of a restless load differ from its mean by less than these; defaults
HIGH: Final = 2.0
LOW: Final = 0.2
#: slots that must be known
SLOTS: Final = 48
#: apparent energy of the day below which the register's resolution counts [kVAh]
LEAST: Final = 1.0

F64 = NDArray[np.float64]


def find(facts: Facts, *, high: float = HIGH, low: float = LOW) -> Verdict:
    energy, apparent, count = _day(facts)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = energy / apparent
    told = (count >= SLOTS) & ((apparent >= LEAST) | (energy >= LEAST)) & ((ratio > high) | (ratio < low))
    return of_days(
        RULE, VERSION, told, facts.slots, Severity.SUSPECT,
        ratio=ratio, kwh=energy, kvah=apparent, multiplier=facts.multiplier.astype(np.float64),
    )  # fmt: skip


def _day(facts: Facts) -> tuple[F64, F64, NDArray[np.int64]]:
    """([kWh], [kVAh], slots) of those slots in which both are known, [meter]."""
    there = (facts.energy != MISSING) & ~np.isnan(facts.current[0]) & ~np.isnan(facts.voltage[0])
    va = _product(facts, 0, slice(None))
    va[~there] = 0
    total = va.sum(axis=1, dtype=np.float64)
    three = np.flatnonzero(facts.phases == 3)
    for phase in (1, 2) if len(three) else ():
        more = _product(facts, phase, three)
        more[np.isnan(more) | ~there[three]] = 0
        total[three] += more.sum(axis=1, dtype=np.float64)
    energy = np.einsum("ms,ms->m", facts.energy, there)  # MISSING times nothing is nothing
    return energy / KWH, total * facts.hours / 1000, there.sum(axis=1)


def _product(facts: Facts, phase: int, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
    """|U I| [VA], float32[row, slot]: in either direction."""
    product: NDArray[np.float32] = facts.voltage[phase][rows] * facts.current[phase][rows]
    return np.abs(product, out=product)
