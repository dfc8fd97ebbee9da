"""The gates before a trip, and before a write to a terminal, one a file. Each looks at the facts and returns why not, or None. All are
asked; every no is kept.

Closing, permitting to close and keep-power pass no gate: giving supply back is always allowed.
"""

from __future__ import annotations

from collections.abc import Iterable

from headend.control.facts import Facts, Limits, Refusal, WriteFacts
from headend.control.gates import (
    balance,
    calendar,
    cap,
    expiry,
    notice,
    protected,
    second_person,
    terminal_cap,
)

#: in the order in which a person would ask
GATES = (protected, calendar, balance, notice, cap, second_person, expiry)
WRITE_GATES = (terminal_cap, second_person, expiry)


def ask(facts: Facts, limits: Limits) -> list[Refusal]:
    """Every gate's no; empty if the trip may go on."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in GATES)


def ask_write(facts: WriteFacts, limits: Limits) -> list[Refusal]:
    """The same for a write to a terminal."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in WRITE_GATES)


def _noes(answers: Iterable[tuple[str, str | None]]) -> list[Refusal]:
    return [Refusal(name.rpartition(".")[2], why) for name, why in answers if why is not None]
