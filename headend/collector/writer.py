"""From the lines to the store: results of many lines leave in one transaction each few moments.

The queue is bounded; with the database away the lines wait at it, and what they have not read is still a gap.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
import structlog

from headend.collector.database import Database
from headend.plans import CURVE, locate
from headend.store import coverage, feed, reads
from headend.store.coverage import Attempt
from headend.store.db import Connection
from protocols.reading import Reads, Times, concatenate, no_reads

log = structlog.get_logger()

#: results waiting for the database; one is a meter's answer of at most a hundred rows, so this is some tens of MB
QUEUE = 4096
#: results in one transaction: larger ones gain nothing (measured: the rate is flat from some 10,000 rows on)
BATCH = 256
#: seconds a result may wait for company
GATHER = 0.1
NOTHING: Times = np.empty(0, dtype="datetime64[us]")


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt and the rows it brought."""

    attempt: Attempt
    reads: Reads


@dataclass(slots=True)
class Tally:
    """What this process has written since it began."""

    rows: int = 0
    repeated: int = 0
    revised: int = 0
    batches: int = 0


class Writer:
    """One task that owns the way into the store."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._queue: asyncio.Queue[Result] = asyncio.Queue(QUEUE)
        self.tally = Tally()

    async def put(self, result: Result) -> None:
        """Hand over; waits while the queue is full."""
        await self._queue.put(result)

    async def flush(self) -> None:
        """Wait until all that was handed over is committed."""
        await self._queue.join()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHER)
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._write(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _write(self, batch: list[Result]) -> None:
        try:
            written = await self._database.persist(
                lambda conn: save(conn, batch, self._database.zone, self._owner)
            )
        except (
            Exception
        ) as error:  # a mistake of ours too: were this task to end, every line would wait for it for ever
            if len(batch) > 1:  # one bad result must not take its neighbours with it
                for result in batch:
                    await self._write([result])
                return
            attempt = batch[0].attempt
            log.error(
                "result refused by the store",
                meter=attempt.meter,
                plan=attempt.plan.name,
                error=f"{type(error).__name__}: {error}".strip(),
            )
            spoilt = replace(
                attempt,
                got=NOTHING,
                absent=NOTHING,
                reason="garbled",
                detail=f"the store refused the values: {f'{error}'.partition(chr(10))[0]}",
            )
            try:
                await self._database.persist(
                    lambda conn: save(conn, [Result(spoilt, no_reads())], self._database.zone, self._owner)
                )
            except Exception:
                log.exception("attempt not booked", meter=attempt.meter, plan=attempt.plan.name)
            return
        self.tally.rows += written.new
        self.tally.repeated += written.repeated
        self.tally.revised += written.revised
        self.tally.batches += 1


def save(conn: Connection, batch: list[Result], zone: ZoneInfo, owner: str) -> reads.Written:
    """Reads, ledger and feed in one transaction: they agree or none of them happened."""
    now = max(result.attempt.at for result in batch)
    with conn.transaction():
        written = reads.Written(0, 0, 0)
        for plan_table, topic in ((reads.SLOTS, "curve"), (reads.DAY_FREEZES, "day")):
            rows = concatenate(
                [r.reads for r in batch if (r.attempt.plan is CURVE) == (plan_table is reads.SLOTS)]
            )
            if not len(rows):
                continue
            written += reads.write(conn, plan_table, rows, now=now, reason="read again, different", who=owner)
            plan = next(
                r.attempt.plan for r in batch if (r.attempt.plan is CURVE) == (plan_table is reads.SLOTS)
            )
            day, _ = locate(plan, rows.time, zone)
            pairs = np.unique(np.stack([rows.meter, day]), axis=1)
            assets = {
                row["meter_id"]: row["asset"]
                for row in conn.execute(
                    "SELECT meter_id, asset FROM meter WHERE meter_id = ANY(%s)",
                    (np.unique(rows.meter).tolist(),),
                )
            }
            feed.publish(
                conn,
                topic,
                [(assets[m], dt.date(1970, 1, 1) + dt.timedelta(days=d)) for m, d in pairs.T.tolist()],
            )
        coverage.record(conn, [r.attempt for r in batch], zone)
    return written
