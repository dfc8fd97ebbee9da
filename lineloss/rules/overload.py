"""A transformer that carries more than it is made for (配变重载, 过载): apparent power at the supply of its area over its capacity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay, apparent, longest
from lineloss.norms import norms
from lineloss.topology import Role

RULE: Final = "overload"
VERSION: Final = 1
NEEDS: Final = (
    "active_power", "reactive_power", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip


def find(
    day: MeterDay,
    capacity: Mapping[int, float],
    *,
    heavy: float | None = None,
    over: float | None = None,
    minutes: int = 120,
) -> list[Finding]:
    """Areas above `heavy` (warning) or `over` (alarm) of their capacity for `minutes` without a break.

    capacity  area id -> [kVA]; an area without one is not judged, nor a slot in which one of its supply meters is not known
    """
    some = norms()["transformer_heavy"].high if heavy is None else heavy
    full = norms()["transformer_over"].high if over is None else over
    supply = day.take(np.flatnonzero((day.role == Role.SUPPLY) & (day.area >= 0)))
    if not len(supply):
        return []
    area, index = np.unique(supply.area, return_inverse=True)
    drawn = np.zeros((len(area), supply.slots))
    np.add.at(drawn, index.ravel(), apparent(supply) * supply.multiplier[:, None])
    kva = np.array([capacity.get(one, np.nan) for one in area.tolist()])
    load = drawn / kva[:, None]
    runs = {limit: longest(load > limit + 1e-9) for limit in (some, full)}
    need = -(-minutes // day.interval)
    findings = []
    for k in np.flatnonzero(runs[some][0] >= need).tolist():
        limit = full if runs[full][0][k] >= need else some
        length, first = (int(part[k]) for part in runs[limit])
        peak = float(np.nanmax(load[k]))
        findings.append(
            Finding(
                RULE,
                VERSION,
                "area",
                int(area[k]),
                "alarm" if limit == full else "warning",
                {
                    "highest_load": number(peak),
                    "highest_kva": number(np.nanmax(drawn[k]), 1),
                    "capacity_kva": number(kva[k], 1),
                    "limit": limit,
                    "minutes": length * day.interval,
                    "threshold_minutes": minutes,
                    "first_slot": first,
                    "interval_minutes": day.interval,
                    "curve_load": curve(load[k], 4),
                },
                f"Transformer {'overloaded' if limit == full else 'heavily loaded'} for {length * day.interval} minutes, "
                f"highest {peak:.0%} of {kva[k]:.0f} kVA",
                f"配变{'过载' if limit == full else '重载'} {length * day.interval} 分钟,最高负载率 {peak:.0%}(容量 {kva[k]:.0f} kVA)",
            )
        )
    return findings
