"""A command that was meant for this morning must not be carried out tonight."""

from headend.control.facts import ControlFacts, Facts, Limits, WriteFacts


def why_not(facts: Facts | WriteFacts | ControlFacts, limits: Limits) -> str | None:
    if facts.now >= facts.expires:
        return f"the order expired at {facts.expires.isoformat()}"
    return None
