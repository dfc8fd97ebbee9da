"""Register against the one before (示数校核): false registers, falls, and jumps over a hole beyond what the meter can carry.

Which is which is worked out in lineloss/vee/follow.py; a jump within one slot is told by the rule "limits".
"""

from __future__ import annotations

from typing import Final

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, of_slots
from protocols.reading import MISSING

RULE: Final = "register"
VERSION: Final = 1
WORDS: Final = ("Register does not follow the one before", "示数异常")


def find(facts: Facts) -> Verdict:
    # the opening midnight belongs to the day before, which tells of it
    false = facts.false[:, 1:]
    bad = false | (facts.fell[:, 1:] & (facts.energy == MISSING))
    return of_slots(RULE, VERSION, bad, Severity.ERROR, register_kwh=facts.imports[:, 1:], value_false=false)
