"""A customer's power factor below the standard of his class (功率因数不达标), decree (83) 水电财字第215号.

The standard is kept or missed by the month; a day that misses it is a hint to look at the compensation before the month is over, and so
never an alarm. P / sqrt(P^2 + Q^2) of the day, two decimals, rounded half up, as the bill does it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay
from lineloss.norms import norms

RULE: Final = "power-factor"
VERSION: Final = 1
NEEDS: Final = ("active_power", "reactive_power")

#: [kVA] from which the decree has a standard, and above which it is the higher one.
SOME: Final = 100.0
LARGE: Final = 160.0


def find(day: MeterDay, *, slots: int = 48, load: float = 0.05, far: float = 0.05) -> list[Finding]:
    """Three-phase customers with a contract of 100 kVA or more whose day is below the standard.

    slots  fewer values say nothing about a day
    load   share of the contract that the mean power must reach: a plant at rest has any factor
    far    below the standard by more than this is a warning, less is an information
    """
    rows = np.flatnonzero(day.customer & (day.phases == 3) & (day.contract >= SOME))
    some = day.take(rows)
    both = ~np.isnan(some.power) & ~np.isnan(some.reactive)
    # reactive energy counts whichever way it flows: over-compensation is no excuse
    active = np.where(both, np.abs(some.power), 0.0).sum(axis=1)
    reactive = np.where(both, np.abs(some.reactive), 0.0).sum(axis=1)
    count = both.sum(axis=1)
    size = np.hypot(active, reactive)
    factor = np.floor(active / np.where(size > 0, size, np.nan) * 100 + 0.5) / 100
    high, low = norms()["power_factor_090"].low, norms()["power_factor_085"].low
    standard = np.where(some.contract > LARGE, high, low)
    mean = active / np.maximum(count, 1) * some.multiplier
    found = (count >= slots) & (mean >= load * some.contract) & (factor < standard - 1e-9)
    findings = []
    for k in np.flatnonzero(found).tolist():
        scale = some.hours * int(some.multiplier[k])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(some.meter[k]),
                "warning" if factor[k] < standard[k] - far - 1e-9 else "info",
                {
                    "power_factor": number(factor[k], 2),
                    "standard": number(standard[k], 2),
                    "contract_kva": number(some.contract[k], 1),
                    "active_kwh": number(active[k] * scale, 1),
                    "reactive_kvarh": number(reactive[k] * scale, 1),
                    "slots_used": int(count[k]),
                    "interval_minutes": day.interval,
                    "curve_kw": curve(some.power[k]),
                    "curve_kvar": curve(some.reactive[k]),
                },
                f"Power factor of the day {factor[k]:.2f}, standard {standard[k]:.2f} (judged by the month)",
                f"当日功率因数 {factor[k]:.2f},标准 {standard[k]:.2f}(按月考核)",
            )
        )
    return findings
