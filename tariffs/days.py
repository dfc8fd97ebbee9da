"""Kinds of day (工作日, 休息日, 节假日): what a plan with a holiday's prices needs to know of each local day.

The calendar is an argument. A day that it does not know is an error where a plan tells the kinds apart: no kind
is no price.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: A weekend that is worked by decree (调休) is a workday, a weekday that is free by decree a holiday or weekend:
#: the calendar says which.
KINDS: Final = ("workday", "weekend", "holiday")
WORKDAY, WEEKEND, HOLIDAY = range(len(KINDS))
UNKNOWN: Final = -1


class CalendarError(LookupError):
    """A plan needs the kind of a day that the calendar does not have."""


@dataclass(frozen=True, slots=True)
class Days:
    """kind int8[day]: index into KINDS of the local days from `first` on, UNKNOWN where there is no word of one."""

    first: dt.date
    kind: NDArray[np.int8]

    @classmethod
    def of(cls, kinds: Mapping[dt.date, str]) -> Days:
        """Days from a table day -> 'workday', 'weekend' or 'holiday'; KeyError-free, holes stay unknown."""
        if not kinds:
            return NO_DAYS
        first, last = min(kinds), max(kinds)
        kind = np.full((last - first).days + 1, UNKNOWN, dtype=np.int8)
        for day, word in kinds.items():
            if word not in KINDS:
                raise ValueError(f"{day}: {word!r} is no kind of day; known: {', '.join(KINDS)}")
            kind[(day - first).days] = KINDS.index(word)
        return cls(first, kind)

    def on(self, days: NDArray[np.datetime64], plan: str) -> NDArray[np.int8]:
        """Kind of each of `days` (datetime64[D], local). CalendarError names the first that has none."""
        at = (days.astype("datetime64[D]") - np.datetime64(self.first, "D")).astype(np.int64)
        inside = (at >= 0) & (at < len(self.kind))
        kind = np.full(days.shape, UNKNOWN, dtype=np.int8)
        kind[inside] = self.kind[at[inside]]
        lost = np.flatnonzero(kind == UNKNOWN)
        if len(lost):
            day = days.astype("datetime64[D]")[lost[0]].item()
            raise CalendarError(
                f"no calendar for {day.year}: {plan} tells {', '.join(KINDS)} apart and {day} has no kind; "
                f"load the calendar of {day.year}"
            )
        return kind


#: No day is known: enough for plans that treat all days alike.
NO_DAYS: Final = Days(dt.date(1970, 1, 1), np.empty(0, dtype=np.int8))
