"""Negative (负值): a register or a voltage below zero; power that flows back where nobody may feed in."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, joined, of_slots

RULE: Final = "negative"
VERSION: Final = 1
WORDS: Final = ("Negative values", "负值")

#: [kW] below which a reverse power is the meter's noise
NOISE: Final = 0.02


def find(facts: Facts, *, noise: float = NOISE) -> Verdict:
    with np.errstate(invalid="ignore"):
        below = (facts.imports[:, 1:] < 0) & facts.known[:, 1:]
        for values in facts.voltage:
            below |= values < 0
        back = (facts.power < -noise) & ~facts.exporting[:, None]
    return joined(
        [
            of_slots(RULE, VERSION, below, Severity.ERROR, register_kwh=facts.imports[:, 1:]),
            of_slots(RULE, VERSION, back, Severity.SUSPECT, power_kw=facts.power),
        ]
    )
