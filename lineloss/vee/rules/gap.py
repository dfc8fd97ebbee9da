"""Gap (缺数): a point that the meter owes is not there."""

from __future__ import annotations

from typing import Final

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, of_slots

RULE: Final = "gap"
VERSION: Final = 1
WORDS: Final = ("Points missing", "曲线缺点")


def find(facts: Facts) -> Verdict:
    return of_slots(RULE, VERSION, facts.due & ~facts.known[:, 1:], Severity.ERROR)
