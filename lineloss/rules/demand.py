"""A customer who draws more than his contract allows (超容用电, 需量超合同): the mean of a quarter-hour over the contract.

The instants P, Q, U and I of the curve stand for their quarter-hour only roughly, so the register's mean power is used, brought to kVA by the
power factor of the instants where that is known; without it kW are compared with kVA, which accuses nobody wrongly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay, in_kwh
from lineloss.norms import norms

RULE: Final = "demand"
VERSION: Final = 1
NEEDS: Final = ("active_import", "active_power", "reactive_power")

#: A power factor below this is that of next to no load: it would make a demand out of nothing.
_LEAST_FACTOR: Final = 0.5


def find(day: MeterDay, *, limit: float | None = None, slots: int = 1, alarm: float = 1.2) -> list[Finding]:
    """Customers above `limit` times their contract in `slots` quarter-hours or more; an alarm beyond `alarm` times."""
    bound = norms()["contract_demand"].high if limit is None else limit
    rows = np.flatnonzero(day.customer & ~np.isnan(day.contract))
    some = day.take(rows)
    if not len(some):
        return []
    mean = in_kwh(some.forward) / some.hours * some.multiplier[:, None]
    size = np.hypot(some.power, some.reactive)
    factor = np.abs(some.power) / np.where(size > 0, size, np.nan)
    factor = np.where(np.isnan(factor) | (factor < _LEAST_FACTOR), 1.0, factor)
    drawn = mean / factor
    share = drawn / some.contract[:, None]
    over = share > bound + 1e-9
    findings = []
    for k in np.flatnonzero(over.sum(axis=1) >= slots).tolist():
        peak = int(np.nanargmax(share[k]))
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(some.meter[k]),
                "alarm" if share[k, peak] > alarm else "warning",
                {
                    "demand_kva": number(drawn[k, peak], 2),
                    "demand_kw": number(mean[k, peak], 2),
                    "contract_kva": number(some.contract[k], 2),
                    "share": number(share[k, peak]),
                    "limit": bound,
                    "slots_over": int(over[k].sum()),
                    "highest_slot": peak,
                    "interval_minutes": day.interval,
                    "curve_kva": curve(drawn[k], 2),
                },
                f"Demand {drawn[k, peak]:.1f} kVA, contract {some.contract[k]:.1f} kVA ({share[k, peak]:.0%})",
                f"需量 {drawn[k, peak]:.1f} kVA,合同容量 {some.contract[k]:.1f} kVA({share[k, peak]:.0%})",
            )
        )
    return findings
