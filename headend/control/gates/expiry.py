"""A command that was meant for this morning must not be carried out tonight."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.now >= facts.expires:
        return f"the order expired at {facts.expires.isoformat()}"
    return None
