"""The gates before a trip, a write to a terminal, one that controls load, and one of a wallet's limits, one a file.

Each looks at the facts and returns why not, or None. All are asked; every no is kept. Closing, permitting to close, keep-power and
switching load control off pass no gate: giving supply back is always allowed.
"""

from __future__ import annotations

from collections.abc import Iterable

from headend.control.facts import ControlFacts, Facts, Limits, Refusal, WriteFacts
from headend.control.gates import (
    balance,
    behind,
    calendar,
    cap,
    control_cap,
    expiry,
    fall,
    grace,
    keep_power,
    not_before,
    notice,
    protected,
    quarantine,
    second_person,
    stopped,
    switch,
    terminal_cap,
    validation,
)

#: in the order in which a person would ask
GATES = (
    stopped, protected, switch, keep_power, calendar, balance, validation, fall, notice, grace, cap, quarantine, second_person, not_before, expiry,
)  # fmt: skip
WRITE_GATES = (terminal_cap, second_person, expiry)
CONTROL_GATES = (stopped, behind, control_cap, second_person, not_before, expiry)
#: limits by which a meter will cut off by itself
LIMIT_GATES = (stopped, protected, second_person, expiry)
#: whose no a person can lift, so that the order waits for one; any other no ends it
WAITS = frozenset({"fall", "quarantine", "second_person"})
#: what the approver may take upon himself
ACCEPTABLE = ("fall",)
#: whose no time alone lifts: the order stays as it is
EARLY = "not_before"


def ask(facts: Facts, limits: Limits) -> list[Refusal]:
    """Every gate's no; empty if the trip may go on."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in GATES)


def ask_write(facts: WriteFacts, limits: Limits) -> list[Refusal]:
    """The same for a write to a terminal."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in WRITE_GATES)


def ask_limits(facts: Facts, limits: Limits) -> list[Refusal]:
    """The same for a write of a wallet's limits."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in LIMIT_GATES)


def ask_control(facts: ControlFacts, limits: Limits) -> list[Refusal]:
    """The same for a write that controls load."""
    return _noes((gate.__name__, gate.why_not(facts, limits)) for gate in CONTROL_GATES)


def _noes(answers: Iterable[tuple[str, str | None]]) -> list[Refusal]:
    return [Refusal(name.rpartition(".")[2], why) for name, why in answers if why is not None]
