"""The days of grace since the stop notice are over, and so is what a person granted (宽限)."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.grace_until is None:
        return "nobody can say how long the customer has grace: no stop notice since the balance fell below the level"
    if facts.now < facts.grace_until:
        return f"the customer has grace until {facts.grace_until.isoformat()}"
    return None
