"""A wrong batch must stay small: caps on trips for the system and for one transformer area."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    if facts.trips_hour >= limits.trips_per_hour:
        return f"{facts.trips_hour} trips in the last hour; the cap is {limits.trips_per_hour}"
    if facts.trips_day >= limits.trips_per_day:
        return f"{facts.trips_day} trips in the last 24 hours; the cap is {limits.trips_per_day}"
    if facts.trips_area_hour >= limits.trips_per_area_hour:
        return f"{facts.trips_area_hour} trips in this transformer area in the last hour; the cap is {limits.trips_per_area_hour}"
    return None
