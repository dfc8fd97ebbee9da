"""The customer must have been told, and have had time to pay."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.noticed_at is None:
        return f"no notice of the stop is {limits.notice_counts}, as far as anybody has reported (headend prepaid notices)"
    if facts.now - facts.noticed_at < limits.notice_before:
        return (
            f"the customer was told at {facts.noticed_at.isoformat()}, less than {limits.notice_before} ago"
        )
    return None
