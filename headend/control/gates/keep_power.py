"""保电 in the meter, or in the terminal that switches it: it was told to refuse trips, and nobody has taken that back."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.keep_power is None:
        return "nobody can say whether the meter, or the terminal that switches it, is in keep-power"
    if facts.keep_power:
        return "the meter, or the terminal that switches it, is in keep-power; `headend relay end-keep-power` ends the meter's"
    return None
