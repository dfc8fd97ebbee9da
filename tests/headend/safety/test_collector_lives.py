"""The collector a year on: no task ends unseen, no lease waits in a queue, no line is called for ever in vain."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headend.collector import worker as worker_module
from headend.collector import writer as writer_module
from headend.collector.daemon import Daemon, Options
from headend.collector.database import Database
from headend.collector.limits import Allowances, Starts
from headend.collector.spool import Spool
from headend.collector.survey import Survey
from headend.collector.throttle import Throttle
from headend.collector.worker import Context, Worker
from headend.collector.writer import Writer
from headend.plans import CURVE
from headend.store import archive, callers, db, leases
from headend.store.callers import Caller
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery
from headend.store.tables import CURVES
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.links.listener import Listener
from terminals.links.tcp import connect
from terminals.pace import Timing
from tests.support.house import Place, at, one, place, table
from tests.support.wire import HandClock

NOW = at("2026-03-11 11:00")


@pytest.fixture
async def daemon(database_of: Database, clock: HandClock, tmp_path: Path) -> AsyncIterator[Daemon]:
    made = Daemon(database_of, clock, Options(listen=None, spool=tmp_path))
    yield made
    await asyncio.sleep(0.01)  # a task that never ran leaves its work unawaited
    tasks = [held.task for held in made._held.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, *made._retired, return_exceptions=True)


def silence(where: Place, slot: str) -> Delivery:
    times = np.array([at(slot)], dtype="datetime64[us]")
    return Delivery(
        CURVES, NOW, attempts=(Attempt(where.meter, CURVE, times, NO_TIMES, NOW, "no-answer", ""),)
    )


async def test_a_mistake_in_one_result_does_not_end_the_writing(
    store: Connection, database_of: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The writer's task ended unseen: the lines waited at its queue for ever, and the leases were renewed all the same."""
    good, bad = place(store, "1"), place(store, "2")
    save = writer_module.save

    def choosy(conn: Any, batch: list[Delivery], *more: Any, **names: Any) -> Any:
        if any(delivery.attempts[0].meter == bad.meter for delivery in batch):
            raise KeyError("a mistake of ours")
        return save(conn, batch, *more, **names)

    monkeypatch.setattr(writer_module, "save", choosy)
    writer = Writer(database_of, "here", Spool(tmp_path, "here", 2**24))
    task = asyncio.create_task(writer.run())
    await writer.put(silence(bad, "2026-03-11 10:00"))
    await writer.put(silence(good, "2026-03-11 10:00"))
    async with asyncio.timeout(5):
        await writer.flush()
    assert not task.done()
    assert table(store, "SELECT meter_id FROM gap_reason") == [(good.meter,)]
    task.cancel()


async def test_leases_do_not_wait_behind_the_readings(
    daemon: Daemon, database_of: Database, store: Connection
) -> None:
    """Thousands of workers ask the store at once when a collector starts; its leases must not run out meanwhile."""
    here = place(store, "1").terminal

    def slowly(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(0.5)")

    crowd = [asyncio.create_task(database_of.call(slowly)) for _ in range(40)]
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    await daemon._keep_leases()
    await daemon._keep_leases()
    assert time.monotonic() - begun < 1.5
    assert here in daemon._held
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_terminal_without_a_usable_address_takes_no_other_with_it(
    daemon: Daemon, store: Connection
) -> None:
    bad = place(store, "1", terminal="T1", link="serial", endpoint="serial:///dev/null?baud=fast").terminal
    good = place(store, "2", terminal="T2").terminal
    await daemon._keep_leases()
    assert set(daemon._held) == {bad, good}


async def test_a_terminal_that_moved_is_called_at_its_new_address(daemon: Daemon, store: Connection) -> None:
    """At the old one another terminal may answer by now, and DLMS meters behind it have the same numbers."""
    here = place(store, "1").terminal
    await daemon._keep_leases()
    before = daemon._held[here].worker
    await daemon._keep_leases()
    assert daemon._held[here].worker is before
    store.execute("UPDATE terminal SET endpoint = '127.0.0.1:2'")
    store.commit()
    await daemon._keep_leases()
    assert daemon._held[here].worker.terminal.endpoint == "127.0.0.1:2"


async def test_a_worker_that_failed_is_begun_anew_with_the_lease_as_it_is(
    daemon: Daemon, store: Connection
) -> None:
    """It came back after a second with the epoch it had, whoever held the terminal by then."""
    here = place(store, "1").terminal
    await daemon._keep_leases()
    failed = daemon._held[here]
    await asyncio.sleep(0.05)
    failed.task.cancel()
    await asyncio.gather(failed.task, return_exceptions=True)
    assert here not in daemon._held
    leases.take(store, daemon.owner, [here], seconds=20)  # lost and claimed again meanwhile
    store.commit()
    await daemon._keep_leases()
    assert daemon._held[here].worker.epoch == failed.worker.epoch + 1
    await asyncio.sleep(0.05)
    daemon._held[here].task.cancel()
    await asyncio.gather(daemon._held[here].task, return_exceptions=True)
    leases.take(store, "somebody else", [here], seconds=20)
    store.commit()
    await daemon._keep_leases()
    await asyncio.sleep(1.1)
    assert here not in daemon._held


async def test_who_dials_in_beyond_the_quota_is_told_so_and_takes_no_lease(
    database_of: Database, store: Connection, clock: HandClock, tmp_path: Path
) -> None:
    place(store, "1", terminal="DTU1", link="dial-in")
    daemon = Daemon(database_of, clock, Options(listen=None, spool=tmp_path, quota=0))
    await daemon._keep_leases()
    assert "serves 0 terminals already" in str(await daemon._resolve("DTU1", "dtu"))
    assert one(store, "SELECT count(*) FROM lease") == 0


async def test_an_owner_frozen_in_a_transaction_keeps_nobody_else_from_renewing(
    daemon: Daemon, store: Connection, store_dsn: str
) -> None:
    """It held the lock on its lease, and whoever wanted to take over waited there until his own leases had run out."""
    mine = place(store, "1", terminal="T1").terminal
    await daemon._keep_leases()
    assert set(daemon._held) == {mine}
    theirs = place(store, "2", terminal="T2").terminal
    with db.connect(store_dsn) as frozen:
        leases.take(frozen, "frozen", [theirs], seconds=0.01)
        frozen.commit()
        frozen.execute("SELECT FROM lease WHERE owner = 'frozen' FOR SHARE")
        await asyncio.sleep(0.05)
        until = daemon._valid_until[mine]
        await daemon._keep_leases()
        assert daemon._valid_until[mine] > until
        assert set(daemon._held) == {mine}
        frozen.rollback()
    await daemon._keep_leases()
    assert set(daemon._held) == {mine, theirs}


async def test_a_terminal_that_hangs_up_is_nobodys_and_its_points_are_owed_because_of_that(
    daemon: Daemon, store: Connection, clock: HandClock, unused_tcp_port: int
) -> None:
    """Its lease was renewed for ever, so that nobody could say it was nowhere, and what it owed had no cause."""
    here = place(store, "1", terminal="DTU1", link="dial-in")
    listener = Listener("127.0.0.1", unused_tcp_port, daemon._roster.admit)
    writing = asyncio.create_task(daemon._writer.run())
    await listener.start()
    try:
        await daemon._keep_leases()
        _, terminal = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        terminal.write(b"REG,DTU1\r\n")
        await _until(lambda: any(held.worker.online for held in daemon._held.values()))
        await daemon._tell_status()
        online = "SELECT online FROM terminal"
        assert one(store, online) is True
        terminal.close()
        await _until(lambda: here.terminal not in daemon._held)
        await daemon._tell_status()
        await daemon._keep_leases()
        assert one(store, online) is False
        assert not leases.holders(store, [here.terminal])
        clock.pass_(minutes=20)
        await daemon._absent_terminals()
        await daemon._writer.flush()
        reasons = "SELECT DISTINCT reason, detail FROM gap_reason"
        assert table(store, reasons) == [("offline", "the terminal has not dialled in")]
    finally:
        writing.cancel()
        await listener.close()
        await daemon._roster.close()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.fixture
def alone(database_of: Database, clock: HandClock, store: Connection, tmp_path: Path) -> Worker:
    place(store, "1")
    (terminal,) = archive.terminals(store)
    store.commit()
    writer = Writer(database_of, "here", Spool(tmp_path, "here", 2**24))
    context = Context(
        database_of,
        writer,
        Survey(database_of, clock),
        clock,
        Timing(),
        "here",
        Starts(100, 100, time.monotonic),
        Allowances(),
        Throttle(),
    )
    return Worker(context, terminal, Dlt645Driver(), 1, lambda: True)


async def test_a_line_that_hangs_up_at_once_is_called_less_and_less(
    alone: Worker, store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "REDIAL", 0.02)
    calls = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    writing = asyncio.create_task(alone._context.writer.run())
    dialling = asyncio.create_task(alone.dial(lambda timeout: connect("127.0.0.1", port, timeout)))
    await asyncio.sleep(2.0)
    await alone._context.writer.flush()
    for task in (dialling, writing):
        task.cancel()
    await asyncio.gather(dialling, writing, return_exceptions=True)
    server.close()
    assert 1 <= calls <= 8
    details = [
        row[0] for row in table(store, "SELECT DISTINCT detail FROM gap_reason WHERE reason = 'offline'")
    ]
    assert details
    assert all(detail.startswith("it takes the call and says nothing: link tcp://") for detail in details)


async def test_who_is_not_served_stands_where_people_look(
    daemon: Daemon, store: Connection, unused_tcp_port: int
) -> None:
    """Unknown, and speaking otherwise than the archive says; told once each call; gone from the list when it is served."""
    place(store, "1", terminal="DTU1", link="dial-in")
    listener = Listener("127.0.0.1", unused_tcp_port, daemon._roster.admit)
    await listener.start()
    try:
        for attempt in (1, 2):
            _, stranger = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            stranger.write(b"REG,DTU9\r\n")
            await _until(
                lambda n=attempt: [w.attempts for w in daemon._roster.unconfirmed()] == [n]  # type: ignore[misc]
            )
            await daemon._tell_callers()
            stranger.close()
        (row,) = callers.listing(store)
        assert (row["identity"], row["kind"], row["attempts"]) == ("DTU9", "dtu", 2)
        assert row["why"] == "no terminal of the archive has this login"
        store.commit()
        place(store, "2", terminal="DTU9", link="dial-in")
        await daemon._keep_leases()
        _, known = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        known.write(b"REG,DTU9\r\n")
        await _until(lambda: any(held.worker.online for held in daemon._held.values()))
        await daemon._tell_status()
        assert callers.listing(store) == []
        store.commit()
        known.close()
    finally:
        await listener.close()
        await daemon._roster.close()


def test_a_caller_with_a_new_name_each_time_does_not_fill_the_store(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "MOST", 5)
    for n in range(8):
        at = dt.datetime(2026, 3, 11, 10, n, tzinfo=dt.UTC)
        callers.note(store, "here", [Caller(f"?{n:02x}", "", "nobody", "tcp://10.0.0.1:9", at, at, 1)])
    assert [row["identity"] for row in callers.listing(store)] == ["?07", "?06", "?05", "?04", "?03"]


async def test_what_cannot_be_reached_is_written_down_now_and_then(
    alone: Worker, clock: HandClock, store: Connection
) -> None:
    """Every call in vain booked every open point of every meter again: an hour without a network was a flood of writes."""
    writing = asyncio.create_task(alone._context.writer.run())
    for minutes, attempts in ((0, 1), (1, 1), (3, 2)):
        clock.time = NOW + np.timedelta64(minutes, "m")
        for _ in range(3):
            await alone._unreachable("nobody there")
        await alone._context.writer.flush()
        most = one(store, "SELECT max(attempts) FROM gap_reason WHERE reason = 'offline'")
        assert most == attempts
    writing.cancel()


async def test_a_terminal_that_speaks_otherwise_than_the_archive_says_is_not_served_and_its_lease_stays(
    daemon: Daemon, store: Connection
) -> None:
    """A raw DL/T 645 request to a concentrator that speaks Q/GDW 376.1 would be noise, and its answer a gap without a cause."""
    here = place(store, "1", terminal="01710822", link="dial-in")
    said = await daemon._resolve("01710822", "gdw376")
    assert said == "it speaks gdw376, the archive has dlt645 for terminal 01710822"
    assert await daemon._resolve("01710823", "dtu") == "no terminal of the archive has this login"
    assert table(store, "SELECT owner FROM lease") == []
    epoch = await daemon._resolve("01710822", "dtu")  # a DTU passes any protocol on
    assert isinstance(epoch, int)
    assert table(store, "SELECT terminal_id, epoch FROM lease") == [(here.terminal, epoch)]
