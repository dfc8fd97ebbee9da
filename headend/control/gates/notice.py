"""The customer must have been told, and have had time to pay."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.noticed_at is None:
        return "no notice to the customer is on record"
    if facts.now - facts.noticed_at < limits.notice_before:
        return f"the notice is of {facts.noticed_at.isoformat()}, less than {limits.notice_before} ago"
    return None
