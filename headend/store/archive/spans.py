"""What holds from when to when, and what may follow what. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Span:
    """`values` hold in [start, end); `end` None: until further notice. `new`: not in the store yet; `ended`: in it, to end at `end`."""

    of: Any  # what it is a span of: a code, or several
    values: dict[str, Any]
    start: dt.datetime
    end: dt.datetime | None = None
    id: int | None = None
    new: bool = False
    ended: bool = False

    @property
    def open(self) -> bool:
        return self.end is None

    def finish(self, at: dt.datetime) -> None:
        """It holds no longer than this."""
        self.end, self.ended = at, not self.new


class TooEarly(Exception):
    """A change that would rewrite what was so before. `held` is what stands against it."""

    def __init__(self, held: Span) -> None:
        self.held = held


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a thing's latest span: it ends at `end_at`, and a new one begins at `begin`; None: it does not."""

    end_at: dt.datetime | None = None
    begin: dt.datetime | None = None


def step(
    latest: Span | None,
    values: dict[str, Any],
    nothing: dict[str, Any] | None,
    start: dt.datetime | None,
    end: dt.datetime | None,
    ever: dt.datetime,
) -> Step:
    """What has to happen so that `values` hold in [start, end). TooEarly if another span says otherwise.

    `nothing`: values that need no span. A first span without a `start` begins at `ever`; a later one needs a start."""
    if latest is not None and end is not None and latest.end == end and latest.values == values:
        return Step()
    current = latest.values if latest is not None and latest.open else nothing
    if values == current:
        if end is None or latest is None or not latest.open:
            return Step()
        if end <= latest.start:
            raise TooEarly(latest)
        return Step(end_at=end)
    if start is None and latest is not None:
        raise TooEarly(latest)
    begin = ever if start is None else start
    if latest is not None and (begin <= latest.start or (latest.end is not None and begin < latest.end)):
        raise TooEarly(latest)
    closes = begin if latest is not None and latest.open else None
    return Step(closes, None if values == nothing else begin)
