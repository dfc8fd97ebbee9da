"""What cuts a customer off must cut off nobody else: a terminal's round, or a coil, that the archive gives to two meters."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.cuts_also is None:
        return "the meter hangs nowhere, so nobody can say whom its switch cuts off"
    if facts.cuts_also:
        return f"the same switch cuts off meter {facts.cuts_also[0]}; the archive must say which one it belongs to"
    return None
