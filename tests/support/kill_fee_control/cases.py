"""Where somebody is killed: at a request on a line, or where he waits for a lock in the middle of a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

from tests.support.kill_fee_control.line import Halt
from tests.support.kill_fee_control.meter import asked
from tests.support.kill_fee_control.town import (
    COLLECTOR,
    DATABASE,
    JOBS,
    PATIENCE,
    SERVER,
    Breach,
    Town,
)

#: steps of the jobs: (what is happening, the table whose lock their transaction waits for then)
JOB_STEPS: Final = (
    ("the balance is written", "balance"), ("the customer is warned", "notice"), ("the trip is asked for", "orders"),
    ("the trip is committed", "audit"),
)  # fmt: skip
#: the same of the REST server, from the payment to the permit
PAY_STEPS: Final = (
    ("the payment is booked", "payment"), ("orders are voided and asked for", "orders"), ("the permit is committed", "audit"),
)  # fmt: skip
#: the customer must have been told before the lock is taken: what the CRM reports would wait for it as well, and we are the CRM
ONCE_TOLD: Final = ("orders", "audit")


@dataclass(frozen=True, slots=True)
class Case:
    """One kill. phase: 'trip', 'permit' (request `nth` on the meter's line), 'fall' (jobs), 'pay' (`nth` message of the bank, or a lock)."""

    phase: str
    victim: str
    nth: int = 0
    after: bool = False
    what: str = ""
    table: str = ""

    @property
    def name(self) -> str:
        when = "after" if self.after else "before"
        at = f"{when} request {self.nth}" if self.nth else f"{when} {self.what}"
        return f"{self.phase}: the {self.victim} {at}"

    async def strike(self, town: Town) -> str:
        """Kill when it is time, and bring back. Returns what was under way."""
        if self.nth:
            return await self._on_the_line(town)
        if self.after:
            return await self._when_it_is_there(town)
        return await self._at_the_lock(town)

    async def _on_the_line(self, town: Town) -> str:
        line = town.rest if self.phase == "pay" else town.wire
        halt = Halt(self.nth, self.after)
        line.arm(halt)
        await town.until(halt.reached.is_set, PATIENCE, f"request {self.nth} does not come")
        town.kill(self.victim)
        # with the collector goes its end of the meter's line, with the server the bank's
        halt.let_go(lost=self.victim in (COLLECTOR, SERVER))
        await town.back(self.victim)
        return _word(halt.request)

    async def _at_the_lock(self, town: Town) -> str:
        who = SERVER if self.phase == "pay" else JOBS
        if who == JOBS and self.table in ONCE_TOLD:
            await town.until(town.told, PATIENCE, "the customer is not told that he is cut off")
        lock = psycopg.connect(town.dsn)
        try:
            lock.execute(f"LOCK TABLE {self.table} IN SHARE ROW EXCLUSIVE MODE".encode())
            waiting = (
                f"SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = '{self.table}'::regclass AND NOT l.granted "
                "AND a.application_name = %s"
            )
            await town.until(
                lambda: town.ask(waiting, who), PATIENCE, f"the {who} does not come to where {self.what}"
            )
            town.kill(self.victim)
        finally:
            lock.close()
        await town.back(self.victim)
        return self.what

    async def _when_it_is_there(self, town: Town) -> str:
        there = {"notice": lambda: "stop" in town.levels(), "orders": lambda: town.orders("trip") > 0}[
            self.table
        ]
        await town.until(there, PATIENCE, f"it does not come to where {self.what}")
        town.kill(self.victim)
        await town.back(self.victim)
        return self.what


def _word(request: bytes) -> str:
    return asked(request) or request.split(b"\r\n", 1)[0].decode("ascii", "replace")


def all_cases(trip: int, permit: int) -> Iterator[Case]:
    """`trip`, `permit`: how many requests these orders have."""
    for what, table in JOB_STEPS[1:3]:
        yield Case("fall", JOBS, after=True, what=what, table=table)
    for what, table in JOB_STEPS:
        for victim in (JOBS, DATABASE):
            yield Case("fall", victim, what=what, table=table)
    for phase, count in (("trip", trip), ("permit", permit)):
        for nth in range(1, count + 1):
            for victim in (COLLECTOR, DATABASE):
                for after in (False, True):
                    yield Case(phase, victim, nth, after)
    for victim in (SERVER, DATABASE):
        for after in (False, True):
            yield Case("pay", victim, 1, after)
        for what, table in PAY_STEPS:
            yield Case("pay", victim, what=what, table=table)


async def watched(town: Town, strike: asyncio.Task[str], story: asyncio.Task[None]) -> str:
    """Both to their end; whoever fails first ends the other."""
    done, waiting = await asyncio.wait({strike, story}, return_when=asyncio.FIRST_EXCEPTION)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        task.result()
    if strike not in done:
        raise Breach("nobody was killed")
    return strike.result()
