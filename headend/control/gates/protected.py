"""保电: a protected customer is never cut off, whatever is owed."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.protected is None:
        return "no account is known for this meter, so nobody can say that the customer is not protected"
    if facts.protected:
        return f"the customer is protected: {facts.protected}"
    return None
