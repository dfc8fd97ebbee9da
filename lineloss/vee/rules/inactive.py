"""Inactive with use (停用有电量): energy where no account is open, or while the meter is not installed."""

from __future__ import annotations

from typing import Final

from lineloss.registers import RESOLUTION
from lineloss.vee.facts import KWH, Facts
from lineloss.vee.verdict import Severity, Verdict, joined, of_days, of_slots

RULE: Final = "inactive"
VERSION: Final = 1
WORDS: Final = ("Energy where nobody is a customer", "停用计量点有电量")

#: what a closed account's meter may count a day: a digit or two by creeping [1e-4 kWh]
LEAST: Final = KWH // 10


def find(facts: Facts, *, least: int = LEAST) -> Verdict:
    closed = ~facts.open & (facts.day > least)
    away = ~facts.installed & (facts.energy > RESOLUTION)
    return joined(
        [
            of_days(RULE, VERSION, closed, facts.slots, Severity.SUSPECT, kwh=facts.day),
            of_slots(RULE, VERSION, away, Severity.SUSPECT, kwh=facts.energy),
        ]
    )
