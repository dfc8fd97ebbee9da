"""Dynamic comparison (同类日比对): the day's energy against those of like days before it, by median and median distance."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import KWH, Facts
from lineloss.vee.history import middle
from lineloss.vee.verdict import Severity, Verdict, of_days
from protocols.reading import MISSING

RULE: Final = "like-day"
VERSION: Final = 1
WORDS: Final = ("Day unlike the days that are like it", "与同类日差异大")

#: like days that must be known, and how many of the newest are looked at: two weeks of working days, a season does not hide in them
DAYS: Final = 4
NEWEST: Final = 10
#: distances from the median, in standard deviations of a normal distribution that has this median distance (1.4826); a default
FAR: Final = 6.0
#: and at least this share of the median, and this much [1e-4 kWh]: steady meters have next to no distance
SHARE: Final = 0.5
LEAST: Final = KWH

_NORMAL: Final = 1.4826


def find(facts: Facts, *, far: float = FAR, share: float = SHARE, days: int = DAYS) -> Verdict:
    chosen = np.flatnonzero(facts.alike)[-NEWEST:]
    count, median, away = middle(facts.history[:, chosen])
    with np.errstate(invalid="ignore"):
        limit = np.maximum(np.maximum(far * _NORMAL * away, share * median), LEAST)
        odd = (facts.day != MISSING) & (count >= days) & (np.abs(facts.day - median) > limit)
    return of_days(
        RULE, VERSION, odd, facts.slots, Severity.SUSPECT,
        kwh=facts.day, median_kwh=median / KWH, limit_kwh=limit / KWH, like_days=count.astype(np.float64),
    )  # fmt: skip
