"""A customer who feeds in and has no contract to do so (无合同反向送电): an unreported generator, or a current transformer the wrong way round."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import MeterDay, in_kwh

RULE: Final = "reverse-flow"
VERSION: Final = 1
NEEDS: Final = ("active_import", "active_export", "active_power")


def find(day: MeterDay, *, kwh: float = 0.1, slots: int = 4) -> list[Finding]:
    """Customers whose export register moved by `kwh` or more, or whose power was negative in `slots` slots and as much energy.

    kwh  at the meter: ten times what its last digit is worth; a meter's idle creep stays below
    """
    sent = in_kwh(np.maximum(day.reverse, 0).sum(axis=1))
    rows = np.flatnonzero(
        day.customer & ~day.feeds_in & ((sent > 0) | (np.count_nonzero(day.power < 0, axis=1) >= slots))
    )
    some, sent = day.take(rows), sent[rows]
    taken = in_kwh(np.maximum(some.forward, 0).sum(axis=1))
    back = some.power < 0
    by_power = np.where(back, -some.power, 0.0).sum(axis=1) * some.hours
    told = np.maximum(sent, by_power)
    found = (sent >= kwh - 1e-9) | ((back.sum(axis=1) >= slots) & (by_power >= kwh - 1e-9))
    findings = []
    for k in np.flatnonzero(found).tolist():
        # all of a load that flows backwards is no generator but a wrong connection
        wrong_way = bool(
            sent[k] > 0 and taken[k] < 0.01 * sent[k] and back[k].sum() == (some.power[k] != 0).sum()
        )
        total = float(told[k]) * int(some.multiplier[k])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(some.meter[k]),
                "alarm" if told[k] >= taken[k] else "warning",
                {
                    "exported_kwh": number(sent[k] * some.multiplier[k], 2),
                    "imported_kwh": number(taken[k] * some.multiplier[k], 2),
                    "by_power_kwh": number(by_power[k] * some.multiplier[k], 2),
                    "minutes_negative": int(back[k].sum()) * day.interval,
                    "threshold_kwh": kwh,
                    "never_forward": wrong_way,
                    "interval_minutes": day.interval,
                    "curve_kw": curve(some.power[k]),
                },
                f"{total:.1f} kWh fed in without a contract"
                + ("; nothing flows forwards: look at the current circuits first" if wrong_way else ""),
                f"无合同反向送电 {total:.1f} kWh"
                + (",且全天无正向电量:先查电流回路接线" if wrong_way else ""),
            )
        )
    return findings
