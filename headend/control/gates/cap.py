"""A wrong batch must stay small: tokens for the minute, the hour and the day, of the system, the organisation, the line and the transformer area."""

from typing import Final

from headend.control.facts import Facts, Limits

SCOPES: Final = {
    "": "",
    "organisation_": " of this organisation",
    "line_": " on this line",
    "area_": " in this transformer area",
}
SPANS: Final = {"minute": "in the last minute", "hour": "in the last hour", "day": "in the last 24 hours"}


def why_not(facts: Facts, limits: Limits) -> str | None:
    for scope, where in SCOPES.items():
        for span, when in SPANS.items():
            taken: int | None = getattr(facts, f"trips_{scope}{span}")
            most: int = getattr(limits, f"trips_per_{scope}{span}")
            if taken is None:
                return f"nobody can say how many trips there were{where} {when}"
            if taken >= most:
                return f"{taken} trips{where} {when}; the cap is {most}"
    return None
