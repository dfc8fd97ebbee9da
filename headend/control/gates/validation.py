"""Every reading under the balance has been through validation, and nothing speaks against one: no spike, no roll-over that is none, no
exchange or multiplier that has not been settled yet."""

import datetime as dt

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    yesterday = facts.local.date() - dt.timedelta(days=1)
    if facts.validated_until is None or facts.validated_until < yesterday:
        return f"the readings of {yesterday} have not been validated yet; `headend vee run` does it"
    if facts.doubts is None:
        return "nobody can say what validation found"
    if facts.doubts:
        return f"validation has doubts about readings under the balance: {facts.doubts}"
    if facts.same_since is None:
        return "nobody can say since when this meter is on the point"
    if facts.now - facts.same_since < limits.settled_in:
        return f"the meter or its transformers were changed at {facts.same_since.isoformat()}, less than {limits.settled_in} ago"
    return None
