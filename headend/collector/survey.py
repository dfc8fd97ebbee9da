"""What the terminals of this process owe: the archive and the ledger, looked up for many of them at once."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.clock import Clock
from headend.collector.database import Database
from headend.collector.gaps import IN_VAIN, over
from headend.collector.gather import Gather
from headend.collector.tasks import meter_of
from headend.plans import Plan, points
from headend.store import archive, coverage
from headend.store.coverage import DayMatrix
from headend.store.db import Connection
from terminals.drivers.driver import Meter

#: terminals looked up together: what one lot brings (4,000 meters, four days) is some MB, and a look takes the threads a fraction of a second
MOST: Final = 500

#: days that are looked through after a standstill: what has been owed for longer is nobody's any more
STANDSTILL: Final = 366

#: seconds that a terminal may wait for others to be looked up with it: it was in no hurry before its point fell due
COMPANY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One terminal, and which days of which plans may have gaps. `ahead`: points are wanted so long before they have settled.

    `first`: by one who does not know whether anybody has been at work before. Where nobody was for longer than meters remember, the days
    before those that are asked about come first, from the last one on that the ledger knows."""

    terminal: int
    days: tuple[tuple[Plan, dt.date, np.timedelta64], ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Owed:
    """What the store says of a terminal: its meters of this moment, and the days that were asked about: those that are `closed`, and what
    the others are like."""

    meters: dict[int, Meter] = field(default_factory=dict)
    days: list[DayMatrix] = field(default_factory=list)
    closed: list[tuple[Plan, dt.date]] = field(default_factory=list)


class Survey:
    """psycopg.OperationalError when the store does not answer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._gather: Gather[Question, Owed] = Gather(self._look, MOST, COMPANY)

    async def of(self, question: Question) -> Owed:
        """What one terminal owes now."""
        return await self._gather.ask(question)

    async def meters(self, terminal: int) -> dict[int, Meter]:
        """Its meters of this moment, at once: somebody waits for an order."""
        now, zone = self._clock.now(), self._database.zone
        rows = await self._database.ask(lambda conn: archive.installed(conn, now, [terminal]))
        return {row.meter_id: meter_of(row, zone) for row in rows}

    async def _look(self, questions: Sequence[Question]) -> Sequence[Owed]:
        now = self._clock.now()
        return await self._database.ask(lambda conn: self._ask(conn, questions, now))

    def _ask(self, conn: Connection, questions: Sequence[Question], now: np.datetime64) -> list[Owed]:
        zone = self._database.zone
        owed = {question.terminal: Owed() for question in questions}
        for row in archive.installed(conn, now, list(owed)):
            owed[row.terminal_id].meters[row.meter_id] = meter_of(row, zone)
        asking: defaultdict[tuple[Plan, dt.date, np.timedelta64], list[int]] = defaultdict(list)
        for terminal, lost in _stood_still(
            conn, [question for question in questions if question.first], zone
        ):
            asking[lost].append(terminal)
        for question in questions:
            for wanted in question.days:
                asking[wanted].append(question.terminal)
        for (plan, day, ahead), terminals in asking.items():
            whole = coverage.day_matrix(
                conn,
                plan,
                day,
                now=now + ahead,
                zone=zone,
                terminals=terminals,
                reasons=("expired", *IN_VAIN),
            )
            # most days of most terminals owe nothing: they are told apart here, for all at once
            wanting = set(terminals)
            if over(whole, now):
                wanting = set(whole.terminals[whole.open.any(axis=1)].tolist())
                for terminal in terminals:
                    if terminal not in wanting:
                        owed[terminal].closed.append((plan, day))
            for terminal, part in whole.by_terminal(sorted(wanting)):
                owed[terminal].days.append(part)
        return [owed[question.terminal] for question in questions]


def _stood_still(
    conn: Connection, questions: Sequence[Question], zone: ZoneInfo
) -> Iterator[tuple[int, tuple[Plan, dt.date, np.timedelta64]]]:
    """(terminal, day) of the days in which nobody was at work and that nobody looks at any more, ascending: who is interrupted writing them
    down goes on from the last one that he has written."""
    edges: defaultdict[tuple[Plan, dt.date, np.timedelta64], list[int]] = defaultdict(list)
    for question in questions:
        oldest: dict[Plan, tuple[dt.date, np.timedelta64]] = {}
        for plan, day, ahead in question.days:
            oldest[plan] = min(oldest.get(plan, (day, ahead)), (day, ahead))
        for plan, (day, ahead) in oldest.items():
            edges[plan, day, ahead].append(question.terminal)
    for (plan, edge, ahead), terminals in edges.items():
        last = coverage.last_looked(conn, edge, terminals)
        day = max(min(last.values(), default=edge), edge - dt.timedelta(days=STANDSTILL))
        while day < edge:
            if len(points(plan, day, zone)):
                yield from (
                    (terminal, (plan, day, ahead))
                    for terminal in terminals
                    if last.get(terminal, edge) <= day
                )
            day += dt.timedelta(days=1)
