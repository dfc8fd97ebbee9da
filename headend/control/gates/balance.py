"""Only a prepaid balance that is certainly below zero, freshly computed from fresh and valid readings, may cut somebody off."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.prepaid is None:
        return "no account is known for this meter"
    if not facts.prepaid:
        return "the account is not prepaid, or the master does not execute its fee control"
    if facts.balance_high_fen is None or facts.balance_as_of is None or facts.newest_reading is None:
        return "no balance has been computed"
    if not facts.balance_valid:
        return "a reading under the balance has not passed validation"
    if facts.now - facts.balance_as_of > limits.balance_age:
        return f"the balance is of {facts.balance_as_of.isoformat()}, older than {limits.balance_age}"
    if facts.balance_as_of > facts.now or facts.newest_reading > facts.now:
        return "the balance or its newest reading lies in the future: a clock is wrong"
    if facts.now - facts.newest_reading > limits.reading_age:
        return f"the newest reading is of {facts.newest_reading.isoformat()}, older than {limits.reading_age}"
    if facts.stop_below_fen is None:
        return "nobody of the customer's organisation is cut off for his balance, or nobody can say below which one"
    if facts.balance_high_fen >= min(0, facts.stop_below_fen):
        level = "zero" if facts.stop_below_fen >= 0 else f"{facts.stop_below_fen / 100:.2f}"
        return f"the balance may be {facts.balance_high_fen / 100:.2f} yuan, which is not below {level}"
    return None
