"""A phase's voltage is lost while another one is there (失压, 断相). With all of them gone it is an outage, which is no fault of the meter.

A phase that is lost while its current flows is energy that no register counts.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay, three_wires
from lineloss.norms import norms

RULE: Final = "phase-loss"
VERSION: Final = 1
NEEDS: Final = ("voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c")
PHASES: Final = ("A", "B", "C")


def find(
    day: MeterDay,
    *,
    lost: float | None = None,
    loaded: float | None = None,
    alive: float = 0.78,
    amperes: float = 0.05,
    minutes: int = 30,
) -> list[Finding]:
    """Three-phase meters that were without one phase for `minutes` or more of the day.

    lost, loaded  fractions of nominal: below `lost` it is gone, below `loaded` it is while current flows
    alive         another phase must be above this fraction, else it is an outage
    amperes       [A] at the meter; less is no load but noise
    """
    gone = norms()["phase_lost"].low if lost is None else lost
    under_load = norms()["phase_lost_loaded"].low if loaded is None else loaded
    day = day.take(np.flatnonzero(day.phases == 3))
    rated = day.nominal
    volts = np.where(three_wires(day)[:, None, None] & (np.arange(3) == 1)[:, None], np.nan, day.voltage)
    size = np.abs(day.current)
    flows = size >= amperes
    share = volts / rated[:, None, None]
    down = (share < gone) | ((share < under_load) & flows)
    out = down & (share >= alive).any(axis=1, keepdims=True)
    total = out.sum(axis=2) * day.interval
    return [
        _finding(day, row, out[row], size[row], rated[row], gone, under_load, minutes)
        for row in np.flatnonzero((total >= minutes).any(axis=1)).tolist()
    ]


def _finding(
    day: MeterDay,
    row: int,
    out: np.ndarray,
    size: np.ndarray,
    rated: float,
    gone: float,
    under_load: float,
    minutes: int,
) -> Finding:
    """out bool[3, slot], size float64[3, slot] of one meter."""
    per_phase = out.sum(axis=1) * day.interval
    names = [PHASES[p] for p in np.flatnonzero(per_phase >= minutes).tolist()]
    worst = int(per_phase.argmax())
    slots = np.flatnonzero(out[worst])
    loaded = np.where(out & ~np.isnan(size), size, 0.0)
    # what the lost phases would have counted at nominal voltage
    uncounted = float(loaded.sum()) * rated / 1000 * day.hours * int(day.multiplier[row])
    with_current = bool(loaded.max() >= 0.05)
    which, length = "/".join(names), int(per_phase[worst])
    return Finding(
        RULE,
        VERSION,
        "meter",
        int(day.meter[row]),
        "alarm" if with_current else "warning",
        {
            "phases": names,
            "minutes": [int(m) for m in per_phase],
            "nominal_v": number(rated, 1),
            "limit_lost_v": number(gone * rated, 1),
            "limit_loaded_v": number(under_load * rated, 1),
            "with_current": with_current,
            "uncounted_kvah": number(uncounted, 2),
            "first_slot": int(slots[0]),
            "last_slot": int(slots[-1]),
            "interval_minutes": day.interval,
            "curve_v": curve(day.voltage[row, worst], 1),
            "curve_a": curve(day.current[row, worst]),
        },
        f"Phase {which} lost for {length} minutes" + (" while current flowed" if with_current else ""),
        f"{which} 相{'失压(有电流)' if with_current else '断相'} {length} 分钟",
    )
