"""Reads, ledger and feed agree, or none of them happened; and nothing ends the one task that writes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from headend.collector import writer
from headend.collector.database import Database
from headend.collector.writer import Writer
from headend.plans import CURVE, DAY, Plan, points
from headend.store import db
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES
from headend.store.intake import BadReading, Delivery, save
from headend.store.tables import CURVES, SOURCES
from tests.support.house import SHANGHAI, at, one, place, rows, table

WEDNESDAY = dt.date(2026, 3, 11)
SLOTS = points(CURVE, WEDNESDAY, SHANGHAI)
NOW = at("2026-03-12 00:10")


def result(
    meter: int, slots: Any = SLOTS[:4], plan: Plan = CURVE, reason: str = "", **columns: Any
) -> Delivery:
    given = rows([meter] * len(slots), slots, **(columns or {"active_import": list(range(len(slots)))}))
    attempt = Attempt(meter, plan, np.asarray(slots), NO_TIMES, NOW, reason)
    return Delivery(SOURCES[plan.name], NOW, given, (attempt,))


def kept(conn: Connection) -> list[int]:
    tables = ("slot_read", "register_read", "coverage", "gap_reason", "feed")
    return [one(conn, f"SELECT count(*) FROM {name}") for name in tables]


def test_one_transaction(store: Connection) -> None:
    a, b = place(store, "1"), place(store, "2")
    batch = [
        result(a.meter),
        result(b.meter, SLOTS[94:]),
        result(b.meter, SLOTS[95:], DAY, active_import=[9]),
        Delivery(
            CURVES, NOW, attempts=(Attempt(b.meter, CURVE, SLOTS[:3], NO_TIMES, NOW, "no-answer", "silent"),)
        ),
    ]
    written = save(store, batch, SHANGHAI, who="me")
    assert (written.new, written.repeated, written.revised) == (7, 0, 0)
    assert kept(store)[:4] == [6, 1, 3, 1]
    # midnight belongs to the day that it closes
    assert table(store, "SELECT topic, change, meters, day FROM feed ORDER BY topic") == [
        ("curve", "new", [a.meter, b.meter], WEDNESDAY), ("day", "new", [b.meter], WEDNESDAY),
    ]  # fmt: skip
    assert save(store, batch, SHANGHAI, who="me").repeated == 7


def test_a_part_that_fails_leaves_nothing(store: Connection) -> None:
    here = place(store, "1")
    later = NOW + np.timedelta64(2, "D")
    for bad in (
        result(here.meter, SLOTS[4:8], reason="because", voltage_a=[230.0] * 4),  # refused by the ledger
        result(here.meter, [later]),  # a reading of the day after tomorrow
    ):
        with pytest.raises((ValueError, BadReading)):
            save(store, [result(here.meter), bad], SHANGHAI, who="me")
        store.rollback()
        assert kept(store) == [0, 0, 0, 0, 0]


@pytest.fixture
async def database(store_dsn: str) -> AsyncIterator[Database]:
    with db.pool(store_dsn, size=2) as pool:
        yield Database(store_dsn, pool, SHANGHAI)


@contextlib.asynccontextmanager
async def running(database: Database) -> AsyncIterator[Writer]:
    made = Writer(database, "me")
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_bad_result_does_not_take_its_neighbours_with_it(
    store: Connection, database: Database
) -> None:
    a, b, c = (place(store, asset) for asset in "123")
    async with running(database) as made:
        for given in (
            result(a.meter),
            result(b.meter, active_import=[1, 2, 3, 4], voltage_a=[1.0] * 4),
            result(c.meter),
        ):
            await made.put(given)
        # a year that no timestamp of the store can hold
        far = np.array(["9999-12-31T23:59:59"], dtype="datetime64[us]") + np.timedelta64(10_000, "D")
        await made.put(
            Delivery(
                CURVES,
                NOW,
                rows([b.meter], far, active_import=[1]),
                (Attempt(b.meter, CURVE, SLOTS[:2], NO_TIMES, NOW),),
            )
        )
        async with asyncio.timeout(20):
            await made.flush()
    assert made.tally.rows == 12
    assert kept(store)[0] == 12
    assert table(store, "SELECT meter_id, reason, slots::text LIKE '11%%' FROM gap_reason") == [
        (b.meter, "garbled", True)
    ]
    assert "the store refused the values" in one(store, "SELECT detail FROM gap_reason")


async def test_a_database_that_is_away_is_waited_for(
    store: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place(store, "1")
    monkeypatch.setattr("headend.collector.database.AWAY", 0.05)
    tries = 0
    right = writer.save

    def cut(conn: Connection, *given: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:  # the reads are written, and the connection goes before the commit
            with conn.transaction():
                right(conn, *given, **more)
                with db.connect(conn.info.dsn) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
                conn.execute("SELECT 1")
        return right(conn, *given, **more)

    monkeypatch.setattr(writer, "save", cut)
    async with running(database) as made:
        await made.put(result(here.meter))
        async with asyncio.timeout(20):
            await made.flush()
    assert (tries, made.tally.rows) == (2, 4)
    assert kept(store)[0] == 4
    assert not database.away
