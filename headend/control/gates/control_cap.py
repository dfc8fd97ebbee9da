"""A plan gone wrong must stay small: caps on what is written to control load, of a terminal and of the system."""

from headend.control.facts import ControlFacts, Limits


def why_not(facts: ControlFacts, limits: Limits) -> str | None:
    for told, most, where in (
        (facts.terminal_day, limits.controls_per_terminal_day, "to this terminal in the last 24 hours"),
        (facts.system_hour, limits.controls_per_hour, "in the last hour"),
        (facts.system_day, limits.controls_per_day, "in the last 24 hours"),
    ):
        if told is None:
            return f"nobody can say how many load controls were written {where}"
        if told >= most:
            return f"{told} load controls were written {where}; the cap is {most}"
    return None
