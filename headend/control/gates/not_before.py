"""The trips of a batch are staggered: none leaves before its time."""

from headend.control.facts import ControlFacts, Facts, Limits


def why_not(facts: Facts | ControlFacts, limits: Limits) -> str | None:
    if facts.sending and facts.not_before is not None and facts.now < facts.not_before:
        return f"it may not be sent before {facts.not_before.isoformat()}"
    return None
