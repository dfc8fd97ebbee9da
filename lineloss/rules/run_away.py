"""A register that runs away (电能表飞走): more than the meter can carry, or far more than it ever counted in a day."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve, number
from lineloss.meterday import I64, Floats, MeterDay, in_kwh
from lineloss.norms import norms
from protocols.reading import MISSING

RULE: Final = "run-away"
VERSION: Final = 1
NEEDS: Final = ("active_import", "voltage_a", "voltage_b", "voltage_c")


def find(
    day: MeterDay,
    highest: Floats,
    days_before: I64,
    *,
    largest: Floats | None = None,
    times: float = 5.0,
    kwh: float = 20.0,
    days: int = 7,
) -> list[Finding]:
    """Meters that counted more in a slot than they can carry, or more in the day than `times` their highest of the days before.

    highest      float64[meter] [kWh] of the days before, primary side, NaN where none is known
    days_before  int64[meter] how many days that is of; fewer than `days` of them say nothing
    largest  float64[meter] [A] what each meter is made for; None: what meters with and without a current transformer are made for at most
    times    a household that comes home from holiday counts three or four times what it did: that is no fault
    kwh      primary side; a day below this is nobody's alarm, however little there was before
    """
    amperes = _largest(day) if largest is None else largest
    rated = np.where(np.isnan(day.nominal), 220.0, day.nominal)
    # twice, for U above nominal, classes, and a terminal's time-stamp that is a few minutes late
    can = 2 * day.phases * rated * amperes / 1000 * day.hours
    peak = in_kwh(day.forward.max(axis=1, initial=MISSING))  # which is below everything
    beyond = peak > can
    total = in_kwh(np.maximum(day.forward, 0).sum(axis=1)) * day.multiplier
    unusual = (days_before >= days) & (total > times * highest) & (total >= kwh)
    findings = []
    for row in np.flatnonzero(beyond | unusual).tolist():
        slot = int(day.forward[row].argmax())
        why = (
            ("more than it can carry", "超出表计承载能力")
            if beyond[row]
            else ("far above its own history", "远高于历史用电")
        )
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(day.meter[row]),
                "alarm",
                {
                    "why": "capacity" if beyond[row] else "history",
                    "day_kwh": number(total[row], 2),
                    "highest_day_before_kwh": number(highest[row], 2),
                    "days_before": int(days_before[row]),
                    "times": times,
                    "highest_slot": slot,
                    "highest_slot_kwh": number(peak[row] * day.multiplier[row], 2),
                    "slot_limit_kwh": number(can[row] * day.multiplier[row], 2),
                    "interval_minutes": day.interval,
                    "curve_kwh": curve(in_kwh(day.forward[row]) * day.multiplier[row], 2),
                },
                f"Register runs away: {total[row]:.1f} kWh in the day, {why[0]}",
                f"电能表飞走:当日 {total[row]:.1f} kWh,{why[1]}",
            )
        )
    return findings


def _largest(day: MeterDay) -> Floats:
    direct, behind = norms()["carrying_direct"].high, norms()["carrying_ct"].high
    return np.where(day.multiplier > 1, behind, direct)
