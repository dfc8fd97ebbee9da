"""What may stand in a cell: parsers from text, each of which says in a ValueError what it wants instead."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.plans import CURVE, DAY, PLANS

Parse = Callable[[str], Any]

_PLAN_NAMES = {plan.name: plan.id for plan in PLANS.values()}
#: what a meter owes if nobody says (as the column's default in the store)
OWED = (CURVE.id, DAY.id)


def text(value: str) -> str:
    """Something, of 200 characters at most: what fits a line of a screen."""
    if not value:
        raise ValueError("is empty")
    if len(value) > 200:
        raise ValueError(f"has {len(value)} characters, at most 200 fit")
    return anything(value)


def anything(value: str) -> str:
    """Any text without control characters; it may be empty."""
    if not value.isprintable() and any(unicodedata.category(char) == "Cc" for char in value):
        raise ValueError(f"{value!r} holds a control character")
    return value


def maybe(parse: Parse) -> Parse:
    """The same, or nothing: an empty cell is None."""
    return lambda value: parse(value) if value else None


def choice(*choices: str) -> Parse:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return value

    return parse


def whole(low: int, high: int) -> Parse:
    def parse(value: str) -> int:
        # a longer one is too great in any case, and int() would take its time over it
        if not value.isascii() or not value.isdigit() or len(value) > 18 or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
        return int(value)

    return parse


def decimal(low: str, high: str, places: int) -> Callable[[str], Decimal]:
    """Between `low` and `high`, with as many decimals as the store keeps: more would differ at every import."""

    def parse(value: str) -> Decimal:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a number") from None
        if not number.is_finite() or not Decimal(low) <= number <= Decimal(high):
            raise ValueError(f"{value!r} is not between {low} and {high}")
        if round(number, places) != number:
            raise ValueError(f"{value!r} has more than {places} decimal place{'s' if places > 1 else ''}")
        return number

    return parse


def accuracy(value: str) -> float:
    """A meter's class as a fraction; the store keeps it as real."""
    return float(decimal("0.0005", "0.05", 4)(value))


def phases(value: str) -> int:
    return int(choice("1", "3")(value))


def yes_no(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError(f"{value!r} is not yes or no")
    return value == "yes"


def plans(value: str) -> tuple[int, ...]:
    """Names of plans with spaces between, as their numbers in order; none: what every meter owes."""
    if not value:
        return OWED
    names = value.split()
    for name in names:
        if name not in _PLAN_NAMES:
            raise ValueError(f"{name!r} is not one of the plans {', '.join(_PLAN_NAMES)}")
    return tuple(sorted({_PLAN_NAMES[name] for name in names}))


def listed(values: Sequence[int | str]) -> str:
    """The way back from `plans` and from `switch`."""
    if values and isinstance(values[0], str):
        return "+".join(map(str, values))
    return " ".join(PLANS[int(k)].name for k in values)


#: what cuts a meter's supply off where its own relay does not: a control round (轮次) of its terminal, or a coil on its line
_SWITCH: Final = re.compile(r"round [1-8]|coil [1-9][0-9]{0,2}:(?:0|[1-9][0-9]{0,4})(?:/trips)?")


def switch(value: str) -> tuple[str, ...]:
    """`round 1+round 2`, or `coil 9:0` or `coil 9:0/trips` (unit and coil, and whether it is energised to cut off); none: its own relay."""
    parts = tuple(sorted({part.strip() for part in value.split("+")})) if value else ()
    for part in parts:
        if not _SWITCH.fullmatch(part):
            raise ValueError(
                f"{part!r} is neither a round of the terminal, such as round 1, nor a coil, such as coil 9:0 or coil 9:0/trips"
            )
    if len({part[:4] for part in parts}) > 1 or (len(parts) > 1 and parts[0].startswith("coil")):
        raise ValueError(f"{value!r} is more than one coil, or a coil and a round")
    return parts


def password(value: str) -> dict[str, str]:
    """As installation.secrets keeps it."""
    return {"password": anything(value)} if value else {}


def moment(value: str) -> dt.datetime:
    """As written: civil time where no offset is given (`located` says which)."""
    try:
        found = dt.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an ISO date-time such as 2026-03-10T23:00") from None
    # what people type for "always" leaves the calendar when a zone is applied
    if not 1980 <= found.year < 2100:
        raise ValueError(f"{value!r} is not between the years 1980 and 2100")
    return found


def located(when: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """An instant; civil time that the clocks skip names none: ValueError."""
    if when.tzinfo is not None:
        return when
    local = when.replace(tzinfo=zone)
    if local.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != when:
        raise ValueError(f"'{when.isoformat()}' does not exist: the clocks go forward then")
    return local


def beginning(zone: ZoneInfo) -> dt.datetime:
    """Since ever: the earliest that a cell may say."""
    return dt.datetime(1980, 1, 1, tzinfo=zone)
