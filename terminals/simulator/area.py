"""One area as time goes on: days are solved when somebody first asks about them, and forgotten as meters
forget.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import midnight
from terminals.simulator.layout import AreaPlan, Ints
from terminals.simulator.physics import DAY_US, SolvedDay, Switch, solve_day
from terminals.simulator.scenario import ZONE, Scenario

#: How many days of curve and of day freezes a meter keeps: ten days of 96 points, as the usual load records
#: hold, and the 62 freezes of DL/T 645-2007.
CURVE_DAYS: Final = 10
FREEZE_DAYS: Final = 62


class Area:
    """The state of one area. Time is counted in days from the first and microseconds after local midnight.

    Memory is bounded: `CURVE_DAYS` solved days and `FREEZE_DAYS` sets of registers, however long it runs.
    Relay acts may come for any day still held; what follows from them is solved again.
    """

    def __init__(self, scenario: Scenario, plan: AreaPlan) -> None:
        self.plan = plan
        self._scenario = scenario
        self._begin = midnight(scenario.first_day, ZONE)
        self._last = -1
        self._days: dict[int, SolvedDay] = {}
        self._before: dict[int, tuple[Ints, NDArray[np.bool_]]] = {
            0: (plan.opening, np.ones(plan.customers, dtype=np.bool_))
        }
        self._switches: dict[int, list[Switch]] = {}
        self._freezes: dict[int, Ints] = {}

    def locate(self, at: np.datetime64) -> tuple[int, int]:
        """(day, microseconds after its midnight) of a UTC instant; negative days lie before history."""
        us = int((at - self._begin) // np.timedelta64(1, "us"))
        return us // DAY_US, us % DAY_US

    def date(self, day: int) -> dt.date:
        return self._scenario.first_day + dt.timedelta(days=day)

    def day(self, day: int) -> SolvedDay | None:
        """The day-th day, or None: before history, or forgotten."""
        while self._last < day:
            self._advance()
        return self._days.get(day)

    def freeze(self, day: int) -> Ints | None:
        """int[5, meter], 1e-4 kWh: the registers at the midnight that closes the day-th day; None as in
        `day`.
        """
        self.day(day)
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
        return None if solved is None else np.asarray(solved.shown[:, :, solved.segment(us)])

    def switch(self, at: np.datetime64, meter: int, closed: bool) -> None:
        """A relay acts. KeyError: so long ago that the day is forgotten."""
        day, us = self.locate(at)
        if self.day(day) is None:
            raise KeyError(f"day {day} is not held any more")
        self._switches.setdefault(day, []).append(Switch(us, meter - 1, closed))
        for again in range(day, self._last + 1):
            self._solve(again)

    def _advance(self) -> None:
        self._last += 1
        self._solve(self._last)
        for old in [day for day in self._days if day <= self._last - 1 - CURVE_DAYS]:
            del self._days[old], self._before[old]
            self._switches.pop(old, None)
        for old in [day for day in self._freezes if day <= self._last - 1 - FREEZE_DAYS]:
            del self._freezes[old]

    def _solve(self, day: int) -> None:
        opening, closed = self._before[day]
        solved = solve_day(
            self._scenario,
            self.plan,
            day,
            opening=opening,
            closed=closed,
            switches=self._switches.get(day, ()),
        )
        self._days[day] = solved
        self._freezes[day] = solved.registers(DAY_US)
        self._before[day + 1] = (solved.energy[:, :, -1], solved.closed)
