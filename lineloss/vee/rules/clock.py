"""Clock (时钟): the meter's clock is so far off that its slots are others than ours."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, joined, of_days

RULE: Final = "clock"
VERSION: Final = 1
WORDS: Final = ("Clock off", "时钟偏差")

#: [s]: a third of a slot, what a broadcast may still set; a default
SUSPECT: Final = 300.0


def find(facts: Facts, *, suspect: float = SUSPECT) -> Verdict:
    """Suspect from a third of a slot on; from a whole slot on every value is another slot's. What the measurement leaves open counts for
    the clock."""
    with np.errstate(invalid="ignore"):
        off = np.abs(facts.ahead) - np.nan_to_num(facts.unsure)
        wrong = off >= facts.hours * 3600
        doubtful = (off >= suspect) & ~wrong
    return joined(
        [
            of_days(RULE, VERSION, wrong, facts.slots, Severity.ERROR, ahead_s=facts.ahead),
            of_days(RULE, VERSION, doubtful, facts.slots, Severity.SUSPECT, ahead_s=facts.ahead),
        ]
    )
