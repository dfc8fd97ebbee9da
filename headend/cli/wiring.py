"""The wiring's verdict for a diagnosis: the phasors that a meter told, in the terms of `lineloss.wiring`, and what that makes of them."""

from __future__ import annotations

import math

from lineloss.wiring import Moment, judge, words
from terminals.diagnose.phasors import Phase, Phasors, Source

#: Line voltages that a meter between three wires shows for A and C [V]: behind 10/0.1 kV transformers, or 380 V direct.
_LINES = ((75.0, 130.0), (330.0, 440.0))


def verdict(phasors: Phasors) -> tuple[str, str] | None:
    """In words (en, zh); None: there is nothing to judge."""
    moment = moment_of(phasors)
    return None if moment is None else words(judge(moment))


def moment_of(phasors: Phasors) -> Moment | None:
    """The elements of the meter; None where there is no voltage."""
    pairs = list(zip(phasors.phases, phasors.star, strict=True))
    if _three_wires(phasors):
        pairs = [(phase, at) for phase, at in pairs if phase.name != "B"]
    if len(pairs) == 2 and not _three_wires(phasors):
        return None  # two phases of a network: none of the wirings that are known
    if not any(phase.voltage > 0 for phase, _ in pairs):
        return None
    return Moment(
        tuple(phase.name for phase, _ in pairs),
        tuple(phase.voltage for phase, _ in pairs),
        tuple(phase.current for phase, _ in pairs),
        tuple(_angle(phase) for phase, _ in pairs),
        tuple(at for _, at in pairs) if phasors.measured else None,
    )


def _angle(phase: Phase) -> float:
    """A power factor alone does not say lag or lead, and an angle that its own P and Q deny is none."""
    return math.nan if phase.doubt or phase.source is Source.FACTOR else phase.angle


def _three_wires(phasors: Phasors) -> bool:
    by_name = {phase.name: phase for phase in phasors.phases}
    if "A" not in by_name or "C" not in by_name or ("B" in by_name and by_name["B"].voltage > 10):
        return False
    return all(any(low <= by_name[name].voltage <= high for low, high in _LINES) for name in "AC")
