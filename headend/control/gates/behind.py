"""Whoever hangs behind a terminal is cut off with it: nobody there may be protected (保电), unknown, or in keep-power."""

from headend.control.facts import ControlFacts, Limits


def why_not(facts: ControlFacts, limits: Limits) -> str | None:
    if not facts.meters:
        return "the archive knows of no meter behind this terminal, so nobody can say whom it would cut off"
    if facts.strangers:
        return f"no account is known for meter {facts.strangers[0]}, so nobody can say that its customer is not protected"
    if facts.protected:
        return f"a protected customer hangs behind it: {facts.protected[0]}"
    if facts.kept:
        return f"meter {facts.kept[0]} behind it is in keep-power; `headend relay end-keep-power` ends it"
    return None
