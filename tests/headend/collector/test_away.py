"""A database that is really stopped while terminals on real sockets are read."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.collector.database import Database
from headend.collector.spool import survey
from headend.control.order_state import State
from headend.store import db, migrate, orders
from headend.store.db import Connection
from headend.store.embedded import Embedded
from terminals.simulator.scenario import ZONE
from tests.support.collecting import BUS, HandClock, House
from tests.support.house import one

_numbers = itertools.count()


@dataclass
class Server:
    """One of our own, which may be stopped."""

    embedded: Embedded

    def stop(self) -> None:
        assert self.embedded.release()  # nobody else uses it

    def start(self) -> str:
        return self.embedded.acquire()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="headend-away-"))
    folder.chmod(0o755)  # root's server runs as somebody else
    made = Server(Embedded(folder, None, {"fsync": "off"}))
    made.start()
    try:
        yield made
    finally:
        made.embedded.release()
        shutil.rmtree(made.embedded.place, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_dsn(server: Server) -> str:
    admin = server.start()
    name = f"away_{next(_numbers)}"
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
    dsn = psycopg.conninfo.make_conninfo(admin, dbname=name)
    with db.connect(dsn) as conn:
        migrate.migrate(conn)
    return dsn


@pytest.fixture
async def house(own_dsn: str, tmp_path: Path) -> AsyncIterator[House]:
    with db.pool(own_dsn, size=4) as pool:
        conn = db.connect(own_dsn)
        made = House(own_dsn, conn, Database(own_dsn, pool, ZONE), tmp_path, HandClock("2026-03-11 02:07"))
        try:
            await made.open(BUS, alone=True)
            yield made
        finally:
            await made.close()
            made.conn.close()


async def back(server: Server, house: House) -> Connection:
    await asyncio.to_thread(server.start)
    house.conn.close()
    house.conn = db.connect(house.dsn)
    return house.conn


def size(tmp_path: Path) -> int:
    return sum(left.size for left in survey(tmp_path / "spool").spools)


def questions(house: House) -> int:
    return len(house.wire.requests)


async def quiet(ask: Callable[[], int]) -> int:
    """Wait until a number stands still."""
    before = -1
    async with asyncio.timeout(20):
        while (now := ask()) != before:
            before = now
            await asyncio.sleep(0.7)
    return now


async def test_lines_read_on_and_the_rest_follows_when_it_is_back(
    server: Server, house: House, tmp_path: Path
) -> None:
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    before = one(house.conn, "SELECT count(*) FROM slot_read")
    await quiet(lambda: questions(house))
    server.stop()
    at_first, points = questions(house), 0
    for now in ("02:22", "02:37", "03:07"):  # two points more each, then a point that was never due before
        house.clock.set(f"2026-03-11 {now}")
        points = size(tmp_path)
        await house.until(lambda points=points: size(tmp_path) > points)
    read = await quiet(lambda: questions(house))
    assert read > at_first
    conn = await back(server, house)
    await house.until(lambda: house.open_points() == 0)
    await house.until(lambda: size(tmp_path) == 0)
    meters = one(conn, "SELECT count(*) FROM meter")
    assert one(conn, "SELECT count(*) FROM slot_read") == before + 4 * meters
    assert one(conn, "SELECT count(*) FROM revision") == 0
    # what was read while it was away is not asked for again, neither before nor after it is in the store
    assert await quiet(lambda: questions(house)) == read
    house.clock.set("2026-03-11 03:22")  # and life goes on
    await house.until(lambda: house.open_points() == 0)
    assert one(conn, "SELECT count(*) FROM slot_read") == before + 5 * meters


async def test_who_stops_while_it_is_away_leaves_his_readings_to_the_next(
    server: Server, house: House, tmp_path: Path
) -> None:
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    server.stop()
    house.clock.set("2026-03-11 03:07")
    await house.until(lambda: size(tmp_path) > 0)
    await quiet(lambda: questions(house))
    await house.leave()
    (left,) = survey(tmp_path / "spool").spools
    assert not left.alive
    conn = await back(server, house)
    await house.wire.stop()  # so that it can only come from the disk
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    await house.until(lambda: size(tmp_path) == 0)
    assert one(conn, "SELECT count(*) FROM slot_read WHERE ts > '2026-03-11 00:00+08'") == 12 * one(
        conn, "SELECT count(*) FROM meter"
    )


async def test_no_order_is_sent_while_it_is_away(server: Server, house: House) -> None:
    house.clock.set("2026-03-11 10:07")
    daemon = house.collect()
    await house.until(lambda: house.open_points() == 0)
    asset = one(
        house.conn,
        "SELECT min(asset) FROM meter JOIN installation USING (meter_id) JOIN area_role USING (point_id) WHERE role = 'receive'",
    )
    order = house.ask(asset, "keep-power")
    (row,) = orders.work(house.conn, [one(house.conn, "SELECT terminal_id FROM terminal")])
    house.conn.commit()
    await house.until(lambda: house.state(order) is State.VERIFIED)
    assert house.wire.commands == 1
    await quiet(lambda: questions(house))
    server.stop()
    (held,) = daemon._held.values()
    approved: dict[str, Any] = {**row, "state": State.APPROVED.value}
    await house.until(lambda: daemon._database.away)
    asked = questions(house)
    for _ in range(15):
        held.worker.give([approved])  # as if it had been told in the last moment
        await asyncio.sleep(0.1)
    assert questions(house) == asked
    await back(server, house)
    await house.until(lambda: not daemon._database.away)
    assert house.wire.commands == 1
