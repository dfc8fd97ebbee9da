"""From the lines to the store: deliveries of many lines leave in one transaction each few moments.

The queue is bounded; with the database away the lines wait at it, and what they have not read is still a gap.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import structlog

from headend.collector.database import Database
from headend.store.intake import Delivery, save

log = structlog.get_logger()

#: deliveries waiting for the database; one is a meter's answer of at most a hundred rows, so this is some tens of MB
QUEUE = 4096
#: deliveries in one transaction: larger ones gain nothing (measured: the rate is flat from some 10,000 rows on)
BATCH = 256
#: seconds a delivery may wait for company
GATHER = 0.1


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
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(QUEUE)
        self.tally = Tally()

    async def put(self, delivery: Delivery) -> None:
        """Hand over; waits while the queue is full."""
        await self._queue.put(delivery)

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

    async def _write(self, batch: list[Delivery]) -> None:
        try:
            written = await self._database.persist(
                lambda conn: save(conn, batch, self._database.zone, who=self._owner)
            )
        except (
            Exception
        ) as error:  # a mistake of ours too: were this task to end, every line would wait for it for ever
            if len(batch) > 1:  # one bad result must not take its neighbours with it
                for delivery in batch:
                    await self._write([delivery])
                return
            await self._spoilt(batch[0], f"{type(error).__name__}: {error}".partition("\n")[0].strip())
            return
        self.tally.rows += written.new
        self.tally.repeated += written.repeated
        self.tally.revised += written.revised
        self.tally.batches += 1

    async def _spoilt(self, delivery: Delivery, why: str) -> None:
        """The store refuses the values: what was said is kept, and each attempt is booked with the reason."""
        log.error(
            "delivery refused by the store",
            source=delivery.source.name,
            meters=sorted({a.meter for a in delivery.attempts}),
            error=why,
        )
        attempts = tuple(
            replace(a, absent=a.absent[:0], reason="garbled", detail=f"the store refused the values: {why}")
            for a in delivery.attempts
        )
        empty = Delivery(delivery.source, delivery.at, attempts=attempts, exchange=delivery.exchange)
        try:
            await self._database.persist(
                lambda conn: save(conn, [empty], self._database.zone, who=self._owner)
            )
        except Exception:
            log.exception("attempt not booked", source=delivery.source.name)
