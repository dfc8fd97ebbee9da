"""A balance that falls by more than a few usual days in one is a wrong reading until a person has looked at it."""

from headend.control.facts import Facts, Limits, is_person


def why_not(facts: Facts, limits: Limits) -> str | None:
    if is_person(facts.fall_accepted_by) and facts.fall_accepted_by != facts.requested_by:
        return None
    if facts.usual_day_fen is None or facts.fall_fen is None:
        return "nobody knows what a usual day costs this account; a person must look at the fall of its balance and accept it"
    if facts.fall_fen > limits.fall_days * facts.usual_day_fen:
        return (
            f"the balance has fallen by {facts.fall_fen / 100:.2f} yuan since yesterday began, more than {limits.fall_days} usual days of "
            f"{facts.usual_day_fen / 100:.2f} yuan; a person must look at it and accept it"
        )
    return None
