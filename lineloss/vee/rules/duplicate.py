"""Duplicate (重复): two different registers of one instant, or one record told again as the next ones.

A record told again: register, voltages and currents are those of the slot before to the last digit although power flows. A register that
stands still because nothing flows is none.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.vee.facts import Facts
from lineloss.vee.verdict import Severity, Verdict, joined, of_slots, stretches

RULE: Final = "duplicate"
VERSION: Final = 1
WORDS: Final = ("Readings repeated", "数据重复")

#: a record that stands again so often: once may be a coincidence of rounded numbers
REPEATS: Final = 2
#: [kW] of active power: twice what moves a register of 0.01 kWh within a quarter-hour
FLOWS: Final = 0.08
#: where the meter tells no power: this share of voltage times current is taken to be active
FACTOR: Final = 0.5


def find(facts: Facts, *, repeats: int = REPEATS, flows: float = FLOWS) -> Verdict:
    row, first, last = stretches(_told_again(facts, flows))
    often = last - first + 1 >= repeats
    row, first, last = row[often], first[often], last[often]
    again = Verdict(
        RULE, VERSION, row, first + 1, last + 1, np.full(len(row), Severity.SUSPECT, dtype=np.int8), {"slots": last - first + 1},
    )  # fmt: skip
    # the register that stands is the later of the two
    differs = of_slots(RULE, VERSION, facts.again[:, 1:], Severity.SUSPECT, second_kwh=facts.imports[:, 1:])
    return joined([again, differs])


def _told_again(facts: Facts, flows: float) -> NDArray[np.bool_]:
    """bool[meter, slot]: the record is that of the slot before."""
    same = np.zeros(facts.energy.shape, dtype=np.bool_)
    still = np.flatnonzero(facts.energy[:, 1:] == 0)
    row, slot = np.divmod(still, facts.slots - 1)
    slot += 1
    with np.errstate(invalid="ignore"):
        power = facts.power[row, slot]
        apparent = np.abs(facts.voltage[0][row, slot] * facts.current[0][row, slot]) / 1000
        moving = np.where(np.isnan(power), FACTOR * apparent, np.abs(power)) > flows
    row, slot = row[moving], slot[moving]
    equal = ~np.isnan(facts.current[0][row, slot])
    for values in (*facts.voltage, *facts.current):
        now, then = values[row, slot], values[row, slot - 1]
        equal &= (now == then) | (np.isnan(now) & np.isnan(then))
    same[row[equal], slot[equal]] = True
    return same
