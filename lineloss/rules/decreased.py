"""A register that went down without rolling over (示度下降): a meter that was exchanged or reset without anybody saying so, or a wrong reading."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss import registers
from lineloss.finding import Finding, number
from lineloss.meterday import I64, MeterDay
from protocols.reading import MISSING

RULE: Final = "decreased"
VERSION: Final = 1
NEEDS: Final = ("active_import", "active_export")


def find(day: MeterDay) -> list[Finding]:
    """One finding a meter, for the first fall of either register; holes between two readings are bridged."""
    found: dict[int, Finding] = {}
    for name, zh, values in (("import", "正向", day.imports), ("export", "反向", day.exports)):
        rows = registers.lower(values)
        before = _before(values[rows])
        fell = registers.decreased(before, values[rows, 1:], day.roll_over[rows, None])
        for k in np.flatnonzero(fell.any(axis=1)).tolist():
            row, slot = int(rows[k]), int(fell[k].argmax())
            first, last = int(before[k, slot]), int(values[row, slot + 1])
            found.setdefault(
                row,
                Finding(
                    RULE,
                    VERSION,
                    "meter",
                    int(day.meter[row]),
                    "alarm",
                    {
                        "register": name,
                        "slot": slot,
                        "before_kwh": number(first / 10_000, 4),
                        "after_kwh": number(last / 10_000, 4),
                        "falls": int(fell[k].sum()),
                        "rolls_over_at_kwh": int(day.roll_over[row]) // 10_000,
                        "interval_minutes": day.interval,
                    },
                    f"The {name} register fell from {first / 10_000:.2f} to {last / 10_000:.2f} kWh",
                    f"{zh}电能示值由 {first / 10_000:.2f} 降至 {last / 10_000:.2f} kWh",
                ),
            )
    return [found[row] for row in sorted(found)]


def _before(values: I64) -> I64:
    """int64[meter, slot]: of each register the last one before it that is known; MISSING where there is none."""
    column = np.arange(values.shape[1])
    known = np.maximum.accumulate(np.where(values != MISSING, column, -1), axis=1)[:, :-1]
    return np.where(known >= 0, np.take_along_axis(values, np.maximum(known, 0), axis=1), MISSING)
