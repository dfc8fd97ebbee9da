"""A register that stands while load is measured (电能表停走): what is used is not counted."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import Floats, MeterDay, longest

RULE: Final = "stopped"
VERSION: Final = 1
NEEDS: Final = (
    "active_import", "active_export", "active_power", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip

#: Of volts times amperes this much is taken for active where the meter gives no power: the worst load that is met in practice.
_WORST_FACTOR: Final = 0.5


def find(day: MeterDay, *, slots: int = 4, kwh: float = 0.1, watts: float = 10.0) -> list[Finding]:
    """Meters neither of whose registers moved through `slots` quarter-hours with load in each.

    kwh    at the meter, ten times what the last digit is worth: as much must have passed uncounted
    watts  less than this in a slot is no load: a register of 0.01 kWh may stand through an hour of it
    """
    # a meter without an export register has none that could move instead
    still = (day.forward == 0) & (day.reverse <= 0)
    load = _load(day)
    idle = still & (load * 1000 >= watts)
    # who has not used as much in all of these slots has not in some of them
    rows = np.flatnonzero(np.where(idle, load, 0.0).sum(axis=1) * day.hours >= kwh - 1e-9)
    day, load = day.take(rows), load[rows]
    length, first = longest(idle[rows])
    runs = enumerate(zip(first.tolist(), length.tolist(), strict=True))
    used = day.hours * np.array([np.nansum(load[row, f : f + n]) for row, (f, n) in runs])
    return [
        Finding(
            RULE,
            VERSION,
            "meter",
            int(day.meter[row]),
            "alarm",
            {
                "minutes": int(length[row]) * day.interval,
                "uncounted_kwh": number(used[row] * day.multiplier[row], 2),
                "register_kwh": number(day.imports[row, first[row]] / 10_000, 4),
                "first_slot": int(first[row]),
                "last_slot": int(first[row] + length[row] - 1),
                "threshold_kwh": kwh,
                "interval_minutes": day.interval,
                "curve_kw": curve(load[row]),
            },
            f"Register stands for {int(length[row]) * day.interval} minutes under load: "
            f"about {used[row] * day.multiplier[row]:.2f} kWh not counted",
            f"电能表停走 {int(length[row]) * day.interval} 分钟(有负荷):约 {used[row] * day.multiplier[row]:.2f} kWh 未计",
        )
        for row in np.flatnonzero((length >= slots) & (used >= kwh - 1e-9)).tolist()
    ]


def _load(day: MeterDay) -> Floats:
    """[kW] float64[meter, slot] that certainly flows, whichever way; NaN where nothing says so."""
    load = np.abs(day.power)
    row, slot = np.nonzero(np.isnan(load))
    each = day.voltage[row, :, slot] * np.abs(day.current[row, :, slot]) / 1000
    load[row, slot] = _WORST_FACTOR * np.where(np.isnan(each).all(axis=1), np.nan, np.nansum(each, axis=1))
    return load
