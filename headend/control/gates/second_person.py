"""Whoever asks for a trip, a refund, or for a write to a terminal, does not approve it. A job asks, a person approves; two keys of one person
are one person."""

from headend.control.facts import ControlFacts, Facts, Limits, WriteFacts, is_person


def needed(kind: str, action: str) -> bool:
    """Whether such an order waits for a second person."""
    return (kind, action) in (("relay", "trip"), ("purchase", "refund")) or action == "write"


def why_not(facts: Facts | WriteFacts | ControlFacts, limits: Limits) -> str | None:
    if facts.approved_by is None:
        return "nobody has approved it" if facts.sending else None
    if not is_person(facts.approved_by):
        return f"{facts.approved_by!r} is not a person"
    if facts.approved_by == facts.requested_by:
        return f"{facts.approved_by} asked for it and cannot approve it"
    return None
