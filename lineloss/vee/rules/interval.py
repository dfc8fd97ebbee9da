"""Interval size (间隔): slots that a set of the clock cut, a meter that records more rarely than it owes, readings between the slots."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, joined, of_days, of_slots

RULE: Final = "interval"
VERSION: Final = 1
WORDS: Final = ("Intervals of another length", "采样间隔异常")

#: slots of which such a meter records one: half-hours and hours
STEPS: Final = (4, 2)
#: the share of them that must be there for the rhythm to be one
THERE: Final = 0.9
#: fewer points than this show no rhythm
LEAST: Final = 8
#: readings between the slots that a day may have: somebody read the meter by hand
STRANGE: Final = 4


def find(facts: Facts, *, strange: int = STRANGE) -> Verdict:
    often = facts.strange > strange
    return joined(
        [
            of_slots(RULE, VERSION, facts.cut, Severity.SUSPECT),
            of_days(
                RULE, VERSION, often, facts.slots, Severity.SUSPECT, between=facts.strange.astype(np.float64)
            ),
            _rare(facts),
        ]
    )


def _rare(facts: Facts) -> Verdict:
    """Meters of which every second or fourth point is there, and no other."""
    have = facts.due & facts.known[:, 1:]
    owed, count = facts.due.sum(axis=1), have.sum(axis=1)
    minutes = np.full(len(facts), np.nan)
    few = np.flatnonzero((owed >= LEAST) & (count >= 2) & (2 * count <= owed + 1))
    for step in STEPS:
        if not len(few) or facts.slots % step:
            continue
        beats = have[few].reshape(len(few), facts.slots // step, step).sum(axis=1).max(axis=1)
        rhythm = (beats == count[few]) & (beats * step >= THERE * owed[few])
        minutes[few[rhythm]] = step * facts.hours * 60
        few = few[~rhythm]
    return of_days(RULE, VERSION, ~np.isnan(minutes), facts.slots, Severity.SUSPECT, minutes=minutes)
