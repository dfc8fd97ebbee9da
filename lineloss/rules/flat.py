"""The same values over and over (数据不变): a record that is repeated, not measured. No network holds a voltage to the last digit for hours."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, curve
from lineloss.meterday import Bools, Floats, MeterDay, longest

RULE: Final = "flat"
VERSION: Final = 1
NEEDS: Final = ("voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c", "active_power")


def find(day: MeterDay, *, minutes: int = 360) -> list[Finding]:
    """Meters all of whose voltages, currents and power stood still for `minutes`.

    A current of nought all day is a customer who is away: his voltage moves. A voltage of nought is an outage.
    """
    need = -(-minutes // day.interval) - 1  # so many values have one step less between them
    still = _still(day.voltage[:, 0])
    rows = np.flatnonzero(np.count_nonzero(still, axis=1) >= need)
    day = day.take(rows)
    still = still[rows] & _still(day.power) & (day.voltage[:, :, 1:] > 0).any(axis=1)
    for phase in (*day.voltage.transpose(1, 0, 2)[1:], *day.current.transpose(1, 0, 2)):
        still &= _still(phase)
    length, first = longest(still)
    return [
        Finding(
            RULE,
            VERSION,
            "meter",
            int(day.meter[row]),
            "warning",
            {
                "minutes": (int(length[row]) + 1) * day.interval,
                "threshold_minutes": minutes,
                "first_slot": int(first[row]),
                "last_slot": int(first[row] + length[row]),
                "interval_minutes": day.interval,
                "curve_v": curve(day.voltage[row, _phase(day, row)], 1),
                "curve_a": curve(day.current[row, _phase(day, row)]),
            },
            f"The same readings for {(int(length[row]) + 1) * day.interval} minutes: repeated, not measured",
            f"数据连续 {(int(length[row]) + 1) * day.interval} 分钟不变:疑为重复数据",
        )
        for row in np.flatnonzero(length >= need).tolist()
    ]


def _still(values: Floats) -> Bools:
    """bool[meter, slot - 1]: the value of a slot is that of the slot before; where neither is known nothing has moved."""
    one, other = values[:, :-1], values[:, 1:]
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def _phase(day: MeterDay, row: int) -> int:
    """The first phase of which anything is known."""
    return int((~np.isnan(day.voltage[row])).any(axis=1).argmax())
