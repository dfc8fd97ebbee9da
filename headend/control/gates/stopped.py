"""The kill switch: one person stops every trip at once, two let them go on."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.stopped is None:
        return "nobody can say whether trips are stopped"
    if facts.stopped:
        return f"trips are stopped: {facts.stopped}"
    return None
