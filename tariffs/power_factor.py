"""Power factor adjustment (功率因数调整电费, 力调): (83)水电财字第215号, its three standards as a table.

    [version.power_factor]
    standard = "0.90"              # or "0.85", "0.80"
    base = "without funds"         # or "with funds": the money that the percentage is of
    reactive = "both"              # forward + |reverse|; or "forward"
    top = "-1.10"                  # standard 0.85 only: from 0.94 on; or "-1.00"

    mean power factor of the month = P / sqrt(P^2 + Q^2), rounded half up to two decimals

A positive percentage is a surcharge, a negative one a reduction. The table is data/power_factor_1983.csv. Who has
which standard (as remembered, confirmed for the capacities by one billing program): 0.90 industry above 160 kVA at
high voltage and irrigation from 3,200 kVA; 0.85 other industry, non-industry and irrigation from 100 kVA; 0.80
agriculture and wholesale from 100 kVA. Sources disagree whether funds belong to the base, and whether the reduction
of the standard 0.85 ends at 1.10 % (the decree's 0.15 a hundredth) or 1.00 %: both are the plan's to say.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tariffs.door import Door
from tariffs.money import Ints, exact, price_of

STANDARDS: Final = ("0.90", "0.85", "0.80")
BASES: Final = ("without funds", "with funds")
REACTIVE: Final = ("both", "forward")
TOPS: Final = ("-1.10", "-1.00")
#: No energy, no power factor.
NONE: Final = -1
#: so many bits of P and Q can be squared and multiplied by 199 squared in 64 bits
_BITS: Final = 23


@dataclass(frozen=True, slots=True)
class PowerFactor:
    standard: str
    base: str
    reactive: str
    top: str

    def facts(self) -> dict[str, Any]:
        """With the table itself, so that money made by another table has another hash."""
        return {
            "standard": self.standard,
            "base": self.base,
            "reactive": self.reactive,
            "percent": list(_percents(self.standard, self.top)),
        }


def mean(active: Ints, reactive: Ints) -> Ints:
    """Mean power factor int64[account] in hundredths, exactly half up; NONE where there was no energy.

    active int64[account] [1e-4 kWh], reactive int64[account] [1e-4 kvarh], both not negative

    It is at least n - 1/2 hundredths where (2n - 1)^2 (P^2 + Q^2) <= 200^2 P^2: squares are compared and no root
    is drawn. P and Q are cut off to 23 bits first; where what was cut off could matter, Python's integers decide.
    """
    active, reactive = exact(active, "active"), exact(reactive, "reactive")
    if (active < 0).any() or (reactive < 0).any():
        raise ValueError("a mean power factor needs energies that are not negative")
    largest = np.maximum(active, reactive)
    cut = np.zeros(len(largest), dtype=np.int64)
    while ((largest >> cut) >= 2**_BITS - 1).any():
        cut += (largest >> cut) >= 2**_BITS - 1
    p, q = active >> cut, reactive >> cut
    more = (cut > 0).astype(np.int64)
    low, high = _hundredths(p, q + more), _hundredths(p + more, q)
    for row in np.flatnonzero(low != high):
        low[row] = _exactly(int(active[row]), int(reactive[row]))
    return np.where(largest == 0, NONE, low)


def _hundredths(p: Ints, q: Ints) -> Ints:
    """Largest n of 0..100 with (2n - 1)^2 (p^2 + q^2) <= 200^2 p^2."""
    all_, own = p * p + q * q, 40_000 * p * p
    found = np.zeros(len(p), dtype=np.int64)
    for n in range(1, 101):
        found += (2 * n - 1) ** 2 * all_ <= own
    return found


def _exactly(p: int, q: int) -> int:
    return max((n for n in range(1, 101) if (2 * n - 1) ** 2 * (p * p + q * q) <= 40_000 * p * p), default=0)


def percent(rule: PowerFactor, factor: Ints) -> Ints:
    """Adjustment int64[account] [1e-4] for mean power factors in hundredths; 0 where there is none (NONE).

    Below 0.01, where the table ends, 0.01's.
    """
    table = np.array(_percents(rule.standard, rule.top), dtype=np.int64)
    return np.asarray(np.where(factor == NONE, 0, table[np.clip(factor, 1, 100)]), dtype=np.int64)


def counted(rule: PowerFactor, reactive: NDArray[np.int64]) -> Ints:
    """[..., forward and reverse] [1e-4 kvarh] -> what the plan counts."""
    sizes = np.abs(reactive)
    return np.asarray(sizes.sum(axis=-1) if rule.reactive == "both" else sizes[..., 0], dtype=np.int64)


@cache
def _percents(standard: str, top: str) -> tuple[int, ...]:
    """[hundredths 0..100] [1e-4]; 0 hundredths is not in the table and never asked for."""
    found = {}
    text = files("tariffs").joinpath("data", "power_factor_1983.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if row["standard"] == standard:
            other = row["other_percent"]
            value = other if other and top == other else row["percent"]
            found[int(row["power_factor"].replace(".", ""))] = price_of(value) // 100
    return (0, *(found[n] for n in range(1, 101)))


def read_power_factor(door: Door, value: Any, where: str) -> PowerFactor:
    table = door.table(value, where)
    door.keys(table, where, {"standard", "base", "reactive", "top"})
    standard = door.choice(table.get("standard"), f"{where}.standard", STANDARDS)
    if "top" in table and standard != "0.85":
        raise door.error(f"{where}.top", "only the standard 0.85 has two readings; leave the key out")
    return PowerFactor(
        standard,
        door.choice(table.get("base"), f"{where}.base", BASES),
        door.choice(table.get("reactive", "both"), f"{where}.reactive", REACTIVE),
        door.choice(table.get("top", "-1.10"), f"{where}.top", TOPS),
    )
