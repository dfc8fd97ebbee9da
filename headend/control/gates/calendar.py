"""No trip on days off, their eves, no-trip days, nights and evenings, nor where an organisation spares its customers (exams, heat, cold); none at all
where the calendar has no answer."""

from headend.control.facts import Facts, Limits


def why_not(facts: Facts, limits: Limits) -> str | None:
    day = facts.local.date()
    if facts.day_kind is None or facts.next_day_kind is None:
        return f"the calendar does not know {day} and the day after; load it with `headend init`"
    if facts.day_kind != "workday":
        return (
            f"{day} is a {facts.day_kind} day"
            if facts.day_kind == "no-trip"
            else f"{day} is a {facts.day_kind}"
        )
    if facts.next_day_kind != "workday":
        return f"{day} is the eve of a {facts.next_day_kind}"
    if facts.no_trip is None:
        return "nobody can say whether the customer's organisation trips nobody today"
    if facts.no_trip:
        return facts.no_trip
    if not limits.trip_from <= facts.local.time() < limits.trip_until:
        return f"{facts.local:%H:%M} is outside {limits.trip_from:%H:%M}-{limits.trip_until:%H:%M}"
    return None
