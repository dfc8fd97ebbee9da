"""The gates before a trip, one a file. Each looks at the facts and returns why not, or None. All are asked; every no is kept.

Closing, permitting to close and keep-power pass no gate: giving supply back is always allowed.
"""

from __future__ import annotations

from headend.control.facts import Facts, Limits, Refusal
from headend.control.gates import balance, calendar, cap, expiry, notice, protected, second_person

#: in the order in which a person would ask
GATES = (protected, calendar, balance, notice, cap, second_person, expiry)


def ask(facts: Facts, limits: Limits) -> list[Refusal]:
    """Every gate's no; empty if the trip may go on."""
    refusals = []
    for gate in GATES:
        why = gate.why_not(facts, limits)
        if why is not None:
            refusals.append(Refusal(gate.__name__.rpartition(".")[2], why))
    return refusals
