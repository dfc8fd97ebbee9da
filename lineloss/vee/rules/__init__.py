"""One rule a file: RULE, VERSION, WORDS (en, zh) and `find(facts) -> Verdict`. A rule prints, raises and mends nothing."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from lineloss.vee.facts import Facts
from lineloss.vee.rules import (
    clock,
    duplicate,
    gap,
    inactive,
    interval,
    likeday,
    limits,
    multiplier,
    negative,
    register,
    spike,
    total,
    zero,
)
from lineloss.vee.verdict import Verdict

#: in the order in which people are told
MODULES: Final[tuple[ModuleType, ...]] = (
    gap, register, negative, limits, spike, total, duplicate, interval, zero, multiplier, clock, inactive, likeday,
)  # fmt: skip
RULES: Final[dict[str, ModuleType]] = {module.RULE: module for module in MODULES}


def validate(facts: Facts) -> dict[str, Verdict]:
    """What every rule says, by rule."""
    return {name: module.find(facts) for name, module in RULES.items()}
