"""The kill switch: one person stops every trip and every load control at once, two let them go on."""

from headend.control.facts import ControlFacts, Facts, Limits


def why_not(facts: Facts | ControlFacts, limits: Limits) -> str | None:
    if facts.stopped is None:
        return "nobody can say whether trips are stopped"
    if facts.stopped:
        return f"trips are stopped: {facts.stopped}"
    return None
