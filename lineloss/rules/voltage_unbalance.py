"""Three-phase voltage unbalance (三相电压不平衡), GB/T 15543-2008: negative to positive sequence, 2 % in normal operation, 4 % for a short time.

Meters keep no angles between the voltages, so the phases are taken to be 120 degrees apart: magnitudes alone are judged, and an unbalance of
angles is not seen. The norm is one of the network, so only the supply of an area and meters at medium voltage are judged: at a single
customer's end of a long line the loads of his own phases decide.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay
from lineloss.norms import norms
from lineloss.topology import Role

RULE: Final = "voltage-unbalance"
VERSION: Final = 1
NEEDS: Final = ("voltage_a", "voltage_b", "voltage_c")

#: Below this share of nominal a phase is lost, which is another finding.
_ALIVE: Final = 0.78


def unbalance(voltage: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[n, slot] from [n, 3, slot]: |U2| / |U1| of three phasors 120 degrees apart."""
    a, b, c = voltage[:, 0], voltage[:, 1], voltage[:, 2]
    total = a + b + c
    negative = np.hypot(a - (b + c) / 2, np.sqrt(0.75) * (b - c))
    return np.asarray(negative / np.where(total > 0, total, np.nan))


def find(
    day: MeterDay,
    *,
    limit: float | None = None,
    short: float | None = None,
    slots: int = 24,
    short_slots: int = 2,
) -> list[Finding]:
    """Meters where 5 % of the day's values or more are above `limit`, or `short_slots` above `short`.

    slots  fewer values give no percentile worth judging
    """
    usual = norms()["voltage_unbalance"].high if limit is None else limit
    most = norms()["voltage_unbalance_short"].high if short is None else short
    rated = day.nominal
    judged = (day.phases == 3) & ((day.role == Role.SUPPLY) | (rated == 57.7))
    rows = np.flatnonzero(judged)
    volts = day.voltage[rows]
    share = np.where((volts >= _ALIVE * rated[rows, None, None]).all(axis=1), unbalance(volts), np.nan)
    count = (~np.isnan(share)).sum(axis=1)
    enough = count >= slots
    rows, share = rows[enough], share[enough]
    if not len(rows):
        return []
    p95 = np.nanpercentile(share, 95, axis=1)
    over = (share > most + 1e-9).sum(axis=1)
    return [
        Finding(
            RULE,
            VERSION,
            "meter",
            int(day.meter[row]),
            "alarm" if over[k] >= short_slots else "warning",
            {
                "unbalance_95": number(p95[k]),
                "unbalance_highest": number(np.nanmax(share[k])),
                "limit": usual,
                "limit_short": most,
                "minutes_over_short": int(over[k]) * day.interval,
                "slots_used": int(count[enough][k]),
                "interval_minutes": day.interval,
                "curve": curve(share[k], 4),
                "curves_v": [curve(day.voltage[row, p], 1) for p in range(3)],
            },
            f"Phase voltages unbalanced by {p95[k]:.1%} (limit {usual:.0%})",
            f"三相电压不平衡度 {p95[k]:.1%}(限值 {usual:.0%})",
        )
        for k, row in enumerate(rows.tolist())
        if p95[k] > usual + 1e-9 or over[k] >= short_slots
    ]
