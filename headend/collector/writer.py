"""From the lines to the store: deliveries of many lines leave in one transaction each few moments.

While the database is away they go to the spool on the disk, and the lines read on; when it is back the spool is emptied in order, what comes
meanwhile goes behind it, and with the spool empty the way is straight again. Every queue is bounded: with the spool full the lines wait,
and what they have not read is still a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
import structlog

from headend.collector.database import Database
from headend.collector.records import Brought
from headend.collector.spool import ALARM, Spool, SpoolFull
from headend.store import leases
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery, save
from headend.store.orders import Fence
from headend.store.reads import Written

log = structlog.get_logger()

#: deliveries waiting for the database; one is a meter's answer of at most a hundred rows, so this is some tens of MB
QUEUE = 4096
#: deliveries in one transaction: larger ones gain nothing (measured: the rate is flat from some 10,000 rows on)
BATCH = 256
#: seconds a delivery may wait for company
GATHER = 0.1
#: seconds between looks for spools of collectors that are gone: their readings are late already
INHERIT = 30.0


@dataclass(slots=True)
class Tally:
    """What this process has written since it began. Counts only rise.

    rows, repeated, revised, batches   written to the store
    spooled, drained                   deliveries that went to the disk, and that came from there into the store
    refused                            verdicts of absence that came after their lease had ended
    alarms                             how often the spool rose to the share of its bound that is told
    waits                              tries to spool that found no room, while the lines waited
    """

    rows: int = 0
    repeated: int = 0
    revised: int = 0
    batches: int = 0
    spooled: int = 0
    drained: int = 0
    refused: int = 0
    alarms: int = 0
    waits: int = 0


class Writer:
    """The tasks that own the way into the store."""

    def __init__(self, database: Database, owner: str, spool: Spool) -> None:
        self._database = database
        self._owner = owner
        self._spool = spool
        self._queue: asyncio.Queue[Brought] = asyncio.Queue(QUEUE)
        self._filled = asyncio.Event()
        self._taken = 0
        self._settled = 0
        self._alarmed = False
        self.tally = Tally()

    async def put(self, delivery: Delivery, fence: Fence | None = None) -> int:
        """Hand over what was read under the lease of `fence`; waits while the queue is full. Returns its ticket, see `settled`."""
        await self._queue.put(Brought(delivery, fence))
        self._taken += 1
        return self._taken

    def settled(self, ticket: int) -> bool:
        """Whether all up to this ticket is in the store, or was refused by it: the ledger knows of it."""
        return self._settled >= ticket

    async def flush(self) -> None:
        """Wait until all that was handed over is safe: in the store, or on the disk."""
        await self._queue.join()

    async def run(self) -> None:
        """Write until cancelled; then the spool is left to whoever comes next."""
        try:
            await self._inherit()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take())
                group.create_task(self._drain())
                group.create_task(self._inherit_for_ever())
        finally:
            self._spool.close()

    # --- in: straight, or onto the disk ---

    async def _take(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHER)
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._keep(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _keep(self, batch: Sequence[Brought]) -> None:
        """Into the store if it can be reached and nothing waits before us, else onto the disk; returns when it is safe."""
        straight, told = not self._database.away, False
        while True:
            if straight and self._spool.empty:
                try:
                    await self._write(batch, self._owner)
                except psycopg.OperationalError as error:
                    self._database.lost(error)
                else:
                    self._settled += len(batch)
                    return
            try:
                await asyncio.to_thread(self._spool.append, batch)
            except (SpoolFull, OSError) as error:
                if not told:
                    log.error("lines wait: neither the store nor the spool takes readings", error=str(error))
                told = straight = True
                self.tally.waits += 1
                await self._database.pause()
            except (
                Exception
            ):  # a mistake of ours: were this task to end, every line would wait for it for ever
                log.exception("deliveries lost; their points are still gaps", deliveries=len(batch))
                self._settled += len(batch)
                return
            else:
                self.tally.spooled += len(batch)
                self._filled.set()
                self._watch()
                return

    def _watch(self) -> None:
        """Raise the alarm while there is still time to do something."""
        share = self._spool.size / self._spool.limit
        if share >= ALARM and not self._alarmed:
            self.tally.alarms += 1
            log.error(
                "the spool is filling: bring the database back, or raise HEADEND_SPOOL_MIB",
                percent=round(100 * share),
                mib=self._spool.size >> 20,
            )
        self._alarmed = share >= ALARM

    # --- out: from the disk into the store ---

    async def _drain(self) -> None:
        while True:
            await self._filled.wait()
            try:
                records = await asyncio.to_thread(self._spool.peek, BATCH)
                if records:
                    await self._write([record.brought for record in records], records[0].collector)
                    await asyncio.to_thread(self._spool.drop)
            except psycopg.OperationalError as error:
                self._database.lost(error)
                await self._database.pause()
            except Exception:  # the disk's fault or ours: what is there stays there
                log.exception("the spool cannot be written to the store; trying again")
                await self._database.pause()
            else:
                self.tally.drained += len(records)
                self._settled += sum(record.collector == self._owner for record in records)
                self._watch()
            if self._spool.empty:
                self._filled.clear()

    async def _inherit(self) -> None:
        """What a collector left that is gone is written as if we had read it; its verdicts are not, see `_fenced`."""
        try:
            segments = await asyncio.to_thread(self._spool.adopt)
        except OSError as error:
            log.error("spools of earlier collectors cannot be taken over", error=str(error))
            return
        if segments:
            log.info("writing what an earlier collector left on the disk", segments=segments)
        if not self._spool.empty:
            self._filled.set()

    async def _inherit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(INHERIT)
            await self._inherit()

    # --- the store ---

    async def _write(self, batch: Sequence[Brought], who: str) -> None:
        """Commit a batch. psycopg.OperationalError: the database is away, and it may be brought again, though some of it is there by then."""
        try:
            written, refused = await self._database.call(lambda conn: self._save(conn, batch, who))
        except psycopg.OperationalError:
            raise
        except Exception as error:  # a mistake of ours too
            if len(batch) > 1:  # one bad result must not take its neighbours with it
                for one in batch:
                    await self._write([one], who)
                return
            await self._spoilt(
                batch[0].delivery, f"{type(error).__name__}: {error}".partition("\n")[0].strip(), who
            )
            return
        self.tally.rows += written.new
        self.tally.repeated += written.repeated
        self.tally.revised += written.revised
        self.tally.refused += refused
        self.tally.batches += 1

    def _save(self, conn: Connection, batch: Sequence[Brought], who: str) -> tuple[Written, int]:
        deliveries, refused = _fenced(conn, batch)
        return save(conn, deliveries, self._database.zone, who=who), refused

    async def _spoilt(self, delivery: Delivery, why: str, who: str) -> None:
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
            await self._database.call(lambda conn: save(conn, [empty], self._database.zone, who=who))
        except psycopg.OperationalError:
            raise
        except Exception:
            log.exception("attempt not booked", source=delivery.source.name)


def _fenced(conn: Connection, batch: Sequence[Brought]) -> tuple[list[Delivery], int]:
    """The deliveries, and from how many of them a verdict was taken: readings are facts whoever read them, but that a meter has no record
    is believed only of who holds its terminal, for nobody asks again what is proved absent."""
    verdicts = {
        item.fence.terminal_id for item in batch if item.fence is not None and _has_verdict(item.delivery)
    }
    if not verdicts:
        return [item.delivery for item in batch], 0
    held = leases.holders(conn, sorted(verdicts))
    conn.commit()  # `save` wants a transaction of its own
    deliveries, refused = [], 0
    for item in batch:
        fence, delivery = item.fence, item.delivery
        if (
            fence is not None
            and _has_verdict(delivery)
            and held.get(fence.terminal_id) != (fence.owner, fence.epoch)
        ):
            delivery, refused = without_verdict(delivery), refused + 1
        deliveries.append(delivery)
    return deliveries, refused


def _has_verdict(delivery: Delivery) -> bool:
    return any(len(attempt.absent) for attempt in delivery.attempts)


def without_verdict(delivery: Delivery) -> Delivery:
    """The points that the meter is said not to have came in vain, and are asked for again."""
    why = "said to be absent when the lease had ended; asked again"
    return replace(
        delivery,
        attempts=tuple(
            replace(a, absent=NO_TIMES, reason=a.reason or "missing-in-answer", detail=a.detail or why)
            if len(a.absent)
            else a
            for a in delivery.attempts
        ),
    )
