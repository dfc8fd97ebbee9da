"""High and low (超限): more than the meter's highest current can carry; far above or below all of its days before."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import KWH, Facts
from lineloss.vee.history import extent
from lineloss.vee.verdict import Severity, Verdict, joined, of_days, of_slots
from protocols.reading import MISSING

RULE: Final = "limits"
VERSION: Final = 1
WORDS: Final = ("Energy beyond what is possible or usual", "电量超限")

#: days before that must be known
DAYS: Final = 7
#: times the greatest, or of the least day before: a guest or a holiday changes less; defaults
HIGH: Final = 3.0
LOW: Final = 0.1
#: below this nothing is worth telling [1e-4 kWh a day]
LEAST: Final = KWH


def find(facts: Facts, *, high: float = HIGH, low: float = LOW, days: int = DAYS) -> Verdict:
    most = facts.most
    over = facts.energy > most[:, None]
    carried = np.broadcast_to(most[:, None], over.shape)
    impossible = of_slots(RULE, VERSION, over, Severity.ERROR, kwh=facts.energy, most_kwh=carried)
    before = extent(facts.history)
    told = (facts.day != MISSING) & (before.count >= days)
    above = told & (facts.day > high * before.greatest) & (facts.day - before.greatest > LEAST)
    # nothing at all is the rule "zero"
    below = told & (facts.day > 0) & (facts.day < low * before.least) & (before.least > LEAST)
    unusual = of_days(
        RULE, VERSION, above | below, facts.slots, Severity.SUSPECT,
        kwh=facts.day, least_kwh=before.least, greatest_kwh=before.greatest,
    )  # fmt: skip
    return joined([impossible, unusual])
