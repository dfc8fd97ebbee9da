"""One area as time goes on: days are solved when somebody first asks about them, and forgotten as meters
forget.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import midnight
from terminals.simulator.grid import Grid
from terminals.simulator.layout import AreaPlan, Ints
from terminals.simulator.physics import DAY_US, SolvedDay, Switch, display, solve_day, solve_days
from terminals.simulator.scenario import ZONE, Scenario

#: How many days of curve and of day freezes a meter keeps: ten days of 96 points, as the usual load records
#: hold, and the 62 freezes of DL/T 645-2007.
CURVE_DAYS: Final = 10
FREEZE_DAYS: Final = 62
#: Areas solved at once. Measured with 8 meters each: alone 4 ms a day, together 1 ms each, and no less where there are more than
#: sixteen. So long the loop waits.
TOGETHER: Final = 16
#: Bytes of solved days an area keeps that stands alone: all its days of 40 meters.
_ALONE: Final = 8 << 20


class Shelf:
    """Solved days, `most` bytes of them at most; those that nobody asked for longest are forgotten, and solved again if need be."""

    __slots__ = ("_bytes", "_days", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._days: OrderedDict[tuple[int, int], SolvedDay] = OrderedDict()

    def __len__(self) -> int:
        return len(self._days)

    @property
    def nbytes(self) -> int:
        return self._bytes

    def get(self, area: int, day: int) -> SolvedDay | None:
        """The day, if it is here."""
        found = self._days.get((area, day))
        if found is not None:
            self._days.move_to_end((area, day))
        return found

    def put(self, area: int, day: int, solved: SolvedDay) -> None:
        """Keep it, even if it alone is more than may be kept."""
        self.drop(area, day)
        self._days[area, day] = solved
        self._bytes += solved.nbytes
        while self._bytes > self._most and len(self._days) > 1:
            _, old = self._days.popitem(last=False)
            self._bytes -= old.nbytes

    def drop(self, area: int, day: int) -> None:
        """Forget it."""
        old = self._days.pop((area, day), None)
        if old is not None:
            self._bytes -= old.nbytes


class Area:
    """The state of one area. Time is counted in days from the first and microseconds after local midnight.

    Memory is bounded: the beginnings of `CURVE_DAYS` days, `FREEZE_DAYS` sets of registers, and what `shelf` has room for, however
    long it runs. Relay acts may come for any day still held; what follows from them is solved again.

    changes  counts the relay acts: what was made of a day before one is out of date
    civil    microseconds of local civil time since 1970 at which history begins; the fleet's zone has no clock changes
    """

    __slots__ = (
        "_before", "_begin", "_freezes", "_last", "_neighbours", "_shelf", "_switches", "changes", "civil", "plan", "scenario",
    )  # fmt: skip

    def __init__(self, scenario: Scenario, plan: AreaPlan, shelf: Shelf | None = None) -> None:
        self.plan = plan
        self.changes = 0
        self.civil = int(np.datetime64(scenario.first_day, "us").astype(np.int64))
        self.scenario = scenario
        self._begin: np.datetime64 = midnight(scenario.first_day, ZONE)
        self._last = -1
        self._shelf = Shelf(_ALONE) if shelf is None else shelf
        self._neighbours: Sequence[Area] = (self,)
        self._before: dict[int, tuple[Ints, NDArray[np.bool_]]] = {
            0: (plan.opening, np.ones(plan.customers, dtype=np.bool_))
        }
        self._switches: dict[int, list[Switch]] = {}
        self._freezes: dict[int, Ints] = {}

    def locate(self, at: np.datetime64) -> tuple[int, int]:
        """(day, microseconds after its midnight) of a UTC instant; negative days lie before history."""
        us = int((at - self._begin) // np.timedelta64(1, "us"))
        return us // DAY_US, us % DAY_US

    def instant(self, day: int, us: int) -> np.datetime64:
        """The UTC instant `us` microseconds after the midnight of a day."""
        return self._begin + np.timedelta64(day * DAY_US + us, "us")

    def date(self, day: int) -> dt.date:
        return self.scenario.first_day + dt.timedelta(days=day)

    def day(self, day: int) -> SolvedDay | None:
        """The day-th day, or None: before history, or forgotten."""
        while self._last < day:
            _advance(self._neighbours, self._last + 1)
        if day not in self._before or day > self._last:
            return None
        found = self._shelf.get(self.plan.area, day)
        if found is None:
            _solve(self._together(day), day)
            found = self._shelf.get(self.plan.area, day)
            if found is None:  # the shelf has no room for all the neighbours
                _solve([self], day)
                found = self._shelf.get(self.plan.area, day)
        return found

    def freeze(self, day: int) -> Ints | None:
        """int[5, meter], 1e-4 kWh: the registers at the midnight that closes the day-th day; None as in
        `day`.
        """
        while self._last < day:
            _advance(self._neighbours, self._last + 1)
        return self._freezes.get(day)

    def registers(self, at: np.datetime64) -> Ints | None:
        """int[5, meter], 1e-4 kWh: what all meters display at an instant."""
        day, us = self.locate(at)
        solved = self.day(day)
        return None if solved is None else solved.registers(us)

    def shown(self, at: np.datetime64) -> NDArray[np.int32] | None:
        """int32[14, meter]: the voltages, currents and powers all meters display at an instant."""
        day, us = self.locate(at)
        solved = self.day(day)
        return None if solved is None else solved.shown_at(us)

    def switch(self, at: np.datetime64, meter: int, closed: bool) -> None:
        """A relay acts. KeyError: so long ago that the day is forgotten."""
        day, us = self.locate(at)
        if self.day(day) is None:
            raise KeyError(f"day {day} is not held any more")
        self.changes += 1
        self._switches.setdefault(day, []).append(Switch(us, meter - 1, closed))
        for again in range(day, self._last + 1):
            _solve([self], again)

    def _together(self, day: int) -> list[Area]:
        """The neighbours whose day is wanted too, before long: it is quicker to solve them at once."""
        shelf = self._shelf
        return [
            area
            for area in self._neighbours
            if area._last >= day and day in area._before and shelf.get(area.plan.area, day) is None
        ]

    def _take(self, day: int, solved: SolvedDay) -> None:
        self._shelf.put(self.plan.area, day, solved)
        self._freezes[day] = display(solved.closing)
        self._before[day + 1] = (solved.closing, solved.closed)

    def _forget(self) -> None:
        for old in [day for day in self._before if day <= self._last - 1 - CURVE_DAYS]:
            self._shelf.drop(self.plan.area, old)
            del self._before[old]
            self._switches.pop(old, None)
        for old in [day for day in self._freezes if day <= self._last - 1 - FREEZE_DAYS]:
            del self._freezes[old]


def join(areas: Sequence[Area]) -> None:
    """Areas of one shelf and of the same age are solved `TOGETHER` at a time from now on."""
    for begin in range(0, len(areas), TOGETHER):
        neighbours = tuple(areas[begin : begin + TOGETHER])
        for area in neighbours:
            area._neighbours = neighbours


def _advance(areas: Sequence[Area], day: int) -> None:
    """A day begins for all of them."""
    ready = [area for area in areas if area._last == day - 1]
    for area in ready:
        area._last = day
    _solve(ready, day)
    for area in ready:
        area._forget()


def _solve(areas: Sequence[Area], day: int) -> None:
    """Solve the day of these areas: at once, but for those in which relays acted, whose day has other segments."""
    calm = [area for area in areas if not area._switches.get(day)]
    if calm:
        befores = [area._before[day] for area in calm]
        solved = solve_days(
            calm[0].scenario,
            Grid.of([area.plan for area in calm]),
            day,
            opening=np.concatenate([opening for opening, _ in befores], axis=1),
            closed=np.concatenate([closed for _, closed in befores]),
        )
        for area, own in zip(calm, solved, strict=True):
            area._take(day, own)
    for area in areas:
        if area in calm:
            continue
        opening, closed = area._before[day]
        switches = area._switches[day]
        area._take(
            day,
            solve_day(area.scenario, area.plan, day, opening=opening, closed=closed, switches=switches),
        )
