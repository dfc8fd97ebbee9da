"""Verdicts as findings: one of a meter, a rule and a day, with the stretches it speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from lineloss.finding import Finding, number
from lineloss.vee.facts import Facts
from lineloss.vee.rules import RULES
from lineloss.vee.verdict import Severity, Verdict
from protocols.localtime import Times, as_datetime

#: stretches named in one finding: who has more has one cause, not a hundred
MOST: Final = 20
#: rule names of findings begin so
PREFIX: Final = "vee-"
#: told by other jobs already: why points are missing, and whose clock is off
ELSEWHERE: Final = ("gap", "clock")
#: what becomes findings
NAMES: Final = tuple(PREFIX + rule for rule in RULES if rule not in ELSEWHERE)


def findings(verdicts: dict[str, Verdict], facts: Facts, times: Times) -> Iterator[Finding]:
    """`times` [slot + 1]: the instants that the columns of the facts are."""
    for rule, verdict in verdicts.items():
        if rule not in ELSEWHERE:
            yield from _of_rule(verdict, facts, times)


def _of_rule(verdict: Verdict, facts: Facts, times: Times) -> Iterator[Finding]:
    en, zh = RULES[verdict.rule].WORDS
    edges = np.flatnonzero(np.diff(verdict.row)) + 1
    for part in np.split(np.arange(len(verdict)), edges) if len(verdict) else ():
        worst = int(verdict.severity[part].max())
        first = part[0]
        yield Finding(
            PREFIX + verdict.rule,
            verdict.version,
            "meter",
            int(facts.meter[verdict.row[first]]),
            "warning" if worst == Severity.ERROR else "info",
            {
                "slots": [_span(verdict, k, times) for k in part[:MOST].tolist()],
                "stretches": len(part),
                **{
                    name: value(values[first]) for name, values in verdict.evidence.items() if name != "slots"
                },
            },
            en,
            zh,
        )


def _span(verdict: Verdict, k: int, times: Times) -> list[str]:
    """The ends of its first and last slot."""
    return [as_datetime(times[at]).isoformat() for at in (verdict.first[k], verdict.last[k])]


def value(found: Any) -> Any:
    """A number of the evidence, or a truth value."""
    return bool(found) if isinstance(found, np.bool_) else number(found)
