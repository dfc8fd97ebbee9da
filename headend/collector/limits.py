"""What a collector may ask of the network: so many new connections a second in all and in one radio cell, so many bytes of a SIM a month."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from headend.collector.gaps import Gap
from headend.plans import CURVE
from headend.store.traffic import Allowance

#: cells remembered: those whose next turn has passed are forgotten when there are more
CELLS: Final = 10_000


class Starts:
    """Turns for new connections. A mast that serves hundreds of terminals drops most of them when all are called in the same second.

    `total`, `cell`: connections a second, in all and in one cell."""

    def __init__(self, total: float, cell: float, now: Callable[[], float]) -> None:
        self._every, self._cell_every = 1 / total, 1 / cell
        self._now = now
        self._next = 0.0
        self._cells: dict[str, float] = {}

    def reserve(self, cell: str) -> float:
        """Seconds to wait for the turn that is given away by this; '' is no cell that is known."""
        now = self._now()
        at = max(now, self._next, self._cells.get(cell, 0.0) if cell else 0.0)
        # in all: by the number of turns given away, so that one crowded cell does not hold up the others
        self._next = max(now, self._next) + self._every
        if cell:
            self._cells[cell] = at + self._cell_every
            if len(self._cells) > CELLS:
                self._cells = {name: until for name, until in self._cells.items() if until > now}
        return at - now

    async def turn(self, cell: str) -> None:
        """Wait for it."""
        wait = self.reserve(cell)
        if wait > 0:
            await asyncio.sleep(wait)


class Allowances:
    """What each terminal's SIM may still take, as the store had it last."""

    def __init__(self) -> None:
        self._known: Mapping[int, Allowance] = {}

    def learn(self, known: Mapping[int, Allowance]) -> None:
        self._known = known

    def cell(self, terminal: int) -> str:
        found = self._known.get(terminal)
        return found.cell if found is not None else ""

    def spent(self, terminal: int) -> Allowance | None:
        """The terminal's allowance, if nothing is left of it."""
        found = self._known.get(terminal)
        return found if found is not None and found.spent else None


class PutOff:
    """Which points have been said to wait for their SIM's next month, so that each is said once. By meter and plan the newest: all before it
    were told."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], np.datetime64] = {}

    def news(self, waiting: Iterable[Gap]) -> list[Gap]:
        """What of it has not been told yet."""
        found = []
        for gap in waiting:
            key = gap.meter, gap.plan.id
            told = self._told.get(key)
            times = gap.times if told is None else gap.times[gap.times > told]
            if len(times):
                self._told[key] = times[-1]
                found.append(replace(gap, times=times))
        return found


def spare(gaps: Iterable[Gap], now: np.datetime64) -> tuple[list[Gap], list[Gap]]:
    """(what is read all the same, what waits) when a SIM has no bytes left: freezes are what bills are made of, and a curve that would be lost
    within the day is worth more than the bytes."""
    dear = [gap.plan is CURVE and gap.deadline - now > np.timedelta64(1, "D") for gap in gaps]
    read = [gap for gap, waits in zip(gaps, dear, strict=True) if not waits]
    return read, [gap for gap, waits in zip(gaps, dear, strict=True) if waits]
