"""Sum (电量校核): the intervals of the day add up to something else than the day freezes at its two midnights."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.registers import RESOLUTION, advance
from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, of_days
from protocols.reading import MISSING

RULE: Final = "sum"
VERSION: Final = 1
WORDS: Final = ("Intervals do not add up to the registers", "曲线与日冻结不符")

#: Two digits: curve and freeze are taken within the same seconds, and each midnight may fall on either side of a digit [1e-4 kWh].
TOLERANCE: Final = 2 * RESOLUTION


def find(facts: Facts, *, tolerance: int = TOLERANCE) -> Verdict:
    curve = advance(facts.good[:, 0], facts.good[:, -1], facts.roll_over)
    freezes = advance(facts.freezes[:, 0], facts.freezes[:, 1], facts.roll_over)
    both = (curve != MISSING) & (freezes != MISSING)
    apart = np.abs(np.where(both, curve, 0) - np.where(both, freezes, 0)) > tolerance
    return of_days(
        RULE, VERSION, apart, facts.slots, Severity.SUSPECT, intervals_kwh=curve, registers_kwh=freezes
    )
