"""The store as the loop sees it: calls run in threads, and a database that is away is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from headend.store.db import IDLE, Connection, Unreachable, connect

log = structlog.get_logger()

T = TypeVar("T")

#: seconds between tries while the database is away
AWAY = 1.0


class Crowded(psycopg.OperationalError):
    """No connection of the pool came free in time: the database may be away, or only busy with us."""


class Database:
    """A pool and the store's time zone."""

    def __init__(
        self, dsn: str, pool: ConnectionPool[Connection], zone: ZoneInfo, idle: float = IDLE
    ) -> None:
        """`idle`: as the pool's."""
        self._dsn = dsn
        self._idle = idle
        self._pool = pool
        self._own_thread = ThreadPoolExecutor(1, "leases")
        self.zone = zone
        self.away = False

    async def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a thread; it commits. psycopg.OperationalError when the database is away."""

        def run() -> T:
            with self._pool.connection(timeout=5) as conn:
                return work(conn)

        try:
            result = await asyncio.to_thread(run)
        except PoolTimeout as error:
            raise Crowded(str(error)) from None
        self._found()
        return result

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """`call` for who has something to go on with where there is no answer: nobody waits for a database that is known to be away. That it
        is back the leases find out, or the writer."""
        if self.away:
            raise psycopg.OperationalError("the database is away")
        try:
            return await self.call(work)
        except psycopg.OperationalError as error:
            if not isinstance(error, Crowded):
                self.lost(error)
            raise

    def lost(self, error: psycopg.OperationalError) -> None:
        """It did not answer; told once."""
        if not self.away:
            self.away = True
            log.error(
                "database is away; reading goes on, no order is sent",
                error=str(error).splitlines()[0] if str(error) else "",
            )

    def _found(self) -> None:
        if self.away:
            self.away = False
            log.info("database is back")

    async def pause(self) -> None:
        """Between two tries."""
        await asyncio.sleep(AWAY)

    async def at_once(self, work: Callable[[Connection], T]) -> T:
        """`call` in a thread and on a connection of its own, for what cannot wait behind the readings of thousands of terminals: leases
        that run out while their renewal stands in a queue stop every worker, and their new start makes the queue longer."""

        def run() -> T:
            try:
                with connect(self._dsn, self._idle) as conn:
                    return work(conn)
            except Unreachable as error:
                raise psycopg.OperationalError(str(error)) from None

        try:
            result = await asyncio.get_running_loop().run_in_executor(self._own_thread, run)
        except psycopg.OperationalError as error:
            self.lost(error)
            raise
        self._found()
        return result

    async def persist(self, work: Callable[[Connection], T]) -> T:
        """`call`, repeated until the database answers. `work` must be safe to repeat: a commit may have happened unseen."""
        while True:
            try:
                return await self.call(work)
            except psycopg.OperationalError as error:
                self.lost(error)
                await self.pause()

    async def notices(self, channel: str) -> AsyncIterator[str]:
        """Payloads of NOTIFY on `channel`, on a connection of its own; ends with psycopg.OperationalError when that is lost."""
        async with await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=10
        ) as conn:
            await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            async for notice in conn.notifies():
                yield notice.payload
