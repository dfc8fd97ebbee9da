"""Zero (零电量): a whole day without energy of a meter that has used some on each of its days before."""

from __future__ import annotations

from typing import Final

from lineloss.vee.facts import KWH, Facts
from lineloss.vee.history import extent
from lineloss.vee.verdict import Severity, Verdict, of_days

RULE: Final = "zero"
VERSION: Final = 1
WORDS: Final = ("No energy all day", "全天零电量")

#: days before that must be known
DAYS: Final = 7
#: what each of them must have used: a router and a refrigerator [1e-4 kWh]
USED: Final = KWH // 5


def find(facts: Facts, *, days: int = DAYS, used: int = USED) -> Verdict:
    before = extent(facts.history)
    zero = (facts.day == 0) & (before.count >= days) & (before.least >= used)
    return of_days(RULE, VERSION, zero, facts.slots, Severity.SUSPECT, least_kwh=before.least)
