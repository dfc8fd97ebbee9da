"""Reads, ledger and feed agree, or none of them happened; and nothing ends the one task that writes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.collector import writer
from headend.collector.database import Database
from headend.collector.records import Brought
from headend.collector.spool import Spool
from headend.collector.writer import Writer
from headend.plans import CURVE, DAY, Plan, points
from headend.store import db, leases
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES, Exchange, Said
from headend.store.intake import BadReading, Delivery, save
from headend.store.orders import Fence
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
async def running(database: Database, place: Path, limit: int = 2**24) -> AsyncIterator[Writer]:
    made = Writer(database, "me", Spool(place, "me", limit))
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_bad_result_does_not_take_its_neighbours_with_it(
    store: Connection, database: Database, tmp_path: Path
) -> None:
    a, b, c = (place(store, asset) for asset in "123")
    async with running(database, tmp_path) as made:
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


async def test_a_commit_that_was_cut_off_is_made_again(
    store: Connection, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    async with running(database, tmp_path) as made:
        ticket = await made.put(result(here.meter))
        async with asyncio.timeout(20):
            await made.flush()
            assert not made.settled(ticket)  # it is on the disk
            while not made.settled(ticket):
                await asyncio.sleep(0.01)
    assert (tries, made.tally.rows, made.tally.spooled, made.tally.drained) == (2, 4, 1, 1)
    assert kept(store)[0] == 4
    assert not database.away
    assert not list(tmp_path.iterdir())


def everything(conn: Connection) -> dict[str, Any]:
    """What the store holds of readings. How often something was tried counts a repeat as a try: left out."""
    named = {
        "slot_read": "*", "register_read": "*", "revision": "*", "exchange": "*", "feed": "topic, change, day, meters",
        "coverage": "plan, day, meter_id, present, late, absent, estimated", "gap_reason": "plan, day, meter_id, reason, slots, detail",
    }  # fmt: skip
    return {name: table(conn, f"SELECT {what} FROM {name} ORDER BY 1, 2, 3") for name, what in named.items()}


async def test_a_spool_that_is_written_twice_changes_nothing_the_second_time(
    store: Connection, database: Database, tmp_path: Path
) -> None:
    """A collector that is killed between the commit and the end of the file: its heir writes all of it again."""
    a, b = place(store, "1"), place(store, "2")
    said = Exchange(
        a.terminal, a.meter, "1", "dlt645", "curve", NOW, NOW, SLOTS[:4], (Said(0.1, False, b"68"),)
    )
    batch = [
        Delivery(CURVES, NOW, result(a.meter).reads, result(a.meter).attempts, said),
        result(b.meter, SLOTS[4:6], reason="missing-in-answer", active_import=[1, None]),
        result(b.meter, SLOTS[95:], DAY, active_import=[9]),
        result(a.meter, active_import=[0, 1, 2, 77]),  # read again, different: a revision
    ]
    dead = Spool(tmp_path / "spool", "dead", 2**24)
    dead.append([Brought(delivery) for delivery in batch])
    dead.close()
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    found = []
    for _ in range(2):
        async with running(database, tmp_path / "spool") as made, asyncio.timeout(20):
            while made.tally.drained < len(batch):
                await asyncio.sleep(0.01)
        assert not list((tmp_path / "spool").iterdir())
        found.append(everything(store))
        store.commit()
        shutil.copytree(tmp_path / "copy", tmp_path / "spool", dirs_exist_ok=True)
    assert found[0] == found[1]
    assert {name: len(rows) for name, rows in found[0].items()} == {
        "slot_read": 5, "register_read": 1, "revision": 1, "exchange": 1, "feed": 3, "coverage": 3, "gap_reason": 1,
    }  # fmt: skip
    assert one(store, "SELECT who FROM revision") == "dead"  # who read it, not who wrote it


async def test_a_verdict_counts_only_of_who_holds_the_terminal(
    store: Connection, database: Database, tmp_path: Path
) -> None:
    here, there = place(store, "1"), place(store, "2", terminal="T2")
    old = Fence("me", here.terminal, leases.take(store, "me", [here.terminal], seconds=60)[here.terminal])
    leases.take(store, "another", [here.terminal], seconds=60)
    mine = Fence("me", there.terminal, leases.take(store, "me", [there.terminal], seconds=60)[there.terminal])
    store.commit()
    async with running(database, tmp_path) as made:
        for where, fence in ((here, old), (there, mine)):
            attempt = Attempt(where.meter, CURVE, SLOTS[:6], SLOTS[4:6], NOW)
            await made.put(Delivery(CURVES, NOW, result(where.meter).reads, (attempt,)), fence)
        async with asyncio.timeout(20):
            await made.flush()
    assert made.tally.refused == 1
    # the readings are facts, whoever read them
    assert table(
        store, "SELECT meter_id, bit_count(present), bit_count(absent) FROM coverage ORDER BY meter_id"
    ) == [(here.meter, 4, 0), (there.meter, 4, 2)]
    # and the points that he says are not there are asked for again
    assert table(store, "SELECT meter_id, reason, bit_count(slots), detail FROM gap_reason") == [
        (here.meter, "missing-in-answer", 2, "said to be absent when the lease had ended; asked again")
    ]


async def test_a_full_spool_makes_the_lines_wait_and_says_so_before(
    store: Connection, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headend.collector.database.AWAY", 0.05)
    monkeypatch.setattr(writer, "GATHER", 0.0)
    here = place(store, "1")
    away = True
    right = writer.save

    def refuse(*given: Any, **more: Any) -> Any:
        if away:
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return right(*given, **more)

    monkeypatch.setattr(writer, "save", refuse)
    async with running(database, tmp_path, limit=3000) as made:
        tickets, putting = [], 0
        async with asyncio.timeout(20):
            while not made.tally.waits:
                slot = SLOTS[putting : putting + 1]
                tickets.append(await made.put(result(here.meter, slot, active_import=[putting])))
                putting += 1
                await asyncio.sleep(0.02)
        assert (made.tally.alarms, made.tally.rows) == (1, 0)
        assert made.tally.spooled > 3
        waiting = asyncio.create_task(made.flush())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        away = False
        async with asyncio.timeout(20):
            await waiting
            while not made.settled(tickets[-1]):
                await asyncio.sleep(0.01)
    # nothing was lost, and in the order in which it came
    assert table(store, "SELECT active_import FROM slot_read ORDER BY ts") == [(k,) for k in range(putting)]
    assert one(store, "SELECT count(*) FROM revision") == 0
