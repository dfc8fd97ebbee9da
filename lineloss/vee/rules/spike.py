"""Spike (突变): one slot that towers over the day's others, and over what the meter's days were before.

The day's highest slot is compared with its third highest, as utilities in North America do (180 %): a load of more than half an hour has
three high slots.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import KWH, Facts
from lineloss.vee.history import extent
from lineloss.vee.verdict import Severity, Verdict, in_kwh
from protocols.reading import MISSING

RULE: Final = "spike"
VERSION: Final = 1
WORDS: Final = ("One interval far above the day's others", "电量突变")

#: (highest - third highest) / third highest; a default, no public text of the rule is at hand
RATIO: Final = 1.8
#: a slot below this is a kettle [1e-4 kWh]: half a kWh in a quarter-hour are 2 kW
LEAST: Final = KWH // 2
#: and one below this share of the greatest day before is within what the household does
SHARE: Final = 0.25
#: days before that must be known: over whose habits nothing is known, nothing towers
DAYS: Final = 7
#: known slots below which a day has no shape
SLOTS: Final = 24


def find(facts: Facts, *, ratio: float = RATIO, least: int = LEAST, share: float = SHARE) -> Verdict:
    top = facts.energy.max(axis=1)
    before = extent(facts.history)
    rows = np.flatnonzero((top >= least) & (top > share * before.greatest) & (before.count >= DAYS))
    energy = facts.energy[rows]
    known = (energy != MISSING).sum(axis=1) >= SLOTS
    rows, energy = rows[known], energy[known]
    third = np.partition(energy, -3, axis=1)[:, -3]
    towers = top[rows] - third > ratio * third
    rows, third = rows[towers], third[towers]
    slot = facts.energy[rows].argmax(axis=1) + 1
    return Verdict(
        RULE, VERSION, rows, slot, slot, np.full(len(rows), Severity.SUSPECT, dtype=np.int8),
        {"kwh": in_kwh(top[rows]), "third_kwh": in_kwh(third)},
    )  # fmt: skip
