"""Whether hours and prices may be written into a meter now. Pure; what is not known never allows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from headend.control.facts import Limits

#: what is switched, and the tables that come into force with it
SWITCHES = ("switch zones", "switch days", "switch prices", "switch steps")


def why_not(
    limits: Limits,
    *,
    now: dt.datetime,
    at: dt.datetime,
    keys: Collection[str],
    switches: Mapping[str, str | None],
    clock_ahead: float | None,
) -> list[str]:
    """Every no, empty if it may be written.

    now, at   naive local time: this moment, and when the new tables come into force
    keys      what would be written
    switches  the times that stand in the meter, as ISO text
    clock_ahead  seconds that the meter's clock is ahead of ours; None: nobody knows"""
    noes = []
    if at - now < dt.timedelta(hours=limits.prices_ahead_hours):
        noes.append(
            f"the tables would change places at {at:%Y-%m-%d %H:%M}: at least {limits.prices_ahead_hours} hours must be left"
        )
    if near_midnight(limits, now):
        noes.append(f"within {limits.prices_midnight_minutes} minutes of midnight nothing is written")
    if clock_ahead is None:
        noes.append("the meter's clock is not known")
    elif abs(clock_ahead) > limits.prices_clock_seconds:
        noes.append(
            f"the meter's clock is off by {clock_ahead:+.0f} s, {limits.prices_clock_seconds} s at most: set it first"
        )
    return noes + pending(now, at, keys, switches)


def near_midnight(limits: Limits, now: dt.datetime) -> bool:
    since = dt.timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)
    keep_off = dt.timedelta(minutes=limits.prices_midnight_minutes)
    return not keep_off <= since <= dt.timedelta(days=1) - keep_off


def pending(
    now: dt.datetime, at: dt.datetime, keys: Collection[str], switches: Mapping[str, str | None]
) -> list[str]:
    """A switch that is already programmed: of the spare tables that it will bring into force none may change; what a write that broke off
    has left may be completed. Taking it back is always allowed."""
    noes = []
    spare = any(key.startswith("spare ") for key in keys)
    for name in SWITCHES:
        text = switches.get(name)
        when = None if text is None else dt.datetime.fromisoformat(text)
        if when is None or when <= now or not keys:
            continue
        if when != at:
            noes.append(f"{name} is programmed for {when:%Y-%m-%d %H:%M} already: take it back first")
        elif spare:
            noes.append(
                f"{name} is programmed for that day already, and a spare table would change: take it back first"
            )
    return noes
