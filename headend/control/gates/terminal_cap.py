"""A wrong archive must not sweep a terminal: caps on the entries that are made, and that are overwritten, in 24 hours."""

from headend.control.facts import Limits, WriteFacts


def why_not(facts: WriteFacts, limits: Limits) -> str | None:
    for what, wanted, today, most in (
        ("made", facts.adds, facts.adds_today, limits.terminal_adds_per_day),
        ("overwritten or erased", facts.replaces, facts.replaces_today, limits.terminal_replaces_per_day),
    ):
        if wanted and wanted + today > most:
            return f"{wanted} entries would be {what}, {today} were in the last 24 hours; the cap is {most} a terminal"
    return None
