"""Terminals that publish, through a real broker into the store: facts once, broken ones listed, nothing acknowledged too early."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.collector import redecode
from headend.collector.daemon import Daemon, Options
from headend.collector.database import Database
from headend.collector.drivers import drivers
from headend.collector.subscriber import Subscription
from headend.store import coverage, db, duties, refused
from headend.store.db import Connection
from headend.store.duties import SUBSCRIPTION as DUTY
from protocols.localtime import as_datetime
from protocols.published.topic import Template
from terminals.links.mqtt import connect, parse_broker
from tests.support.broker import Mosquitto, Publisher, retained
from tests.support.collecting import FAST, HandClock
from tests.support.house import SHANGHAI, at, one, place, table

NOW = "2026-03-11 10:16:00"
SINCE = "2026-03-11 09:00"
DATA = "hes/v1/o/T1/M-1/data"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """With our session, so that it keeps what is published from now on, as one does where a collector has ever listened."""
    broker = Mosquitto(tmp_path)
    broker.start()
    link = await connect(parse_broker(broker.url), "headend", Template().filter, 10.0)
    await link.close()
    yield broker
    broker.stop()


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


@pytest.fixture
def meter(store: Connection) -> int:
    return place(store, "1", terminal="T1", protocol="mqtt", link="mqtt", address="M-1", since=SINCE).meter


class Running:
    def __init__(self, daemon: Daemon, task: asyncio.Task[None]) -> None:
        self.daemon = daemon
        self.task = task

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(25):
            while not is_so():
                assert not self.task.done()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        self.daemon.stop()
        await asyncio.wait_for(self.task, 20)


@asynccontextmanager
async def collector(dsn: str, broker: Mosquitto, clock: HandClock) -> AsyncIterator[Running]:
    with db.pool(dsn, size=4) as pool, tempfile.TemporaryDirectory() as spool:
        what = Subscription(parse_broker(broker.url), status="hes/v1/headend/status")
        options = Options(
            None,
            Path(spool),
            lease_seconds=2.0,
            poll_seconds=0.1,
            timing=FAST,
            drivers=drivers(),
            subscription=what,
        )
        daemon = Daemon(Database(dsn, pool, SHANGHAI), clock, options)
        running = Running(daemon, asyncio.create_task(daemon.run()))
        try:
            yield running
        finally:
            await running.stop()


def reading(at_: str = "2026-03-11T10:15:00+08:00", value: str = "1234.5", **more: Any) -> str:
    return json.dumps(
        {"kind": "curve", "time": at_, "values": {"active_import": value, "1-0:32.7.0": 230.5}, **more}
    )


def slots(conn: Connection) -> list[tuple[Any, ...]]:
    return table(conn, "SELECT meter_id, active_import, voltage_a FROM slot_read ORDER BY ts")


async def test_what_is_published_is_stored_counted_and_can_be_decoded_again(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    async with collector(store_dsn, broker, HandClock(NOW)) as running:
        publisher.say(DATA, reading())
        publisher.say(
            DATA, json.dumps({"time": "2026-03-11T10:15:42+08:00", "values": {"active_import_t2": 7}})
        )
        await running.until(lambda: len(slots(store)) == 1)
        await running.until(lambda: one(store, "SELECT count(*) FROM register_read WHERE kind = 3") == 1)
        assert slots(store) == [(meter, 12_345_000, 230.5)]
        status = await asyncio.to_thread(retained, broker.port, "hes/v1/headend/status")
        assert json.loads(status) == {"online": True, "collector": running.daemon.owner}
    matrix = coverage.day_matrix(
        store, coverage.CURVE, at(NOW).astype("datetime64[D]").item(), now=at(NOW), zone=SHANGHAI
    )
    assert matrix.present.sum() == 1
    # the message whole, under its topic, and named beside what came of it
    report = redecode.day(store, drivers(), at(NOW).astype("datetime64[D]").item(), SHANGHAI)
    assert (report.exchanges, report.readings, report.equal, report.differences) == (2, 3, 3, [])
    assert (
        one(store, "SELECT count(*) FROM exchange x JOIN slot_read s USING (evidence) WHERE x.task = 'curve'")
        == 1
    )
    assert (
        json.loads(await asyncio.to_thread(retained, broker.port, "hes/v1/headend/status"))["online"] is False
    )


async def test_the_same_again_is_free_and_another_value_is_a_revision(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    publisher.say(DATA, reading(), retain=True)
    async with collector(store_dsn, broker, HandClock(NOW)) as running:
        await running.until(lambda: len(slots(store)) == 1)
        publisher.say(DATA, reading())
        publisher.say(DATA, reading(quality="good"))  # other bytes, the same said
        publisher.say(DATA, reading("2026-03-11T10:00:00+08:00"))
        await running.until(lambda: len(slots(store)) == 2)
        assert one(store, "SELECT count(*) FROM exchange") == 3  # one of them is byte for byte the first
        assert one(store, "SELECT count(*) FROM revision") == 0
        publisher.say(DATA, reading(value="1234.6"))
        await running.until(lambda: one(store, "SELECT count(*) FROM revision") == 1)
        assert slots(store)[1] == (meter, 12_345_000, 230.5)  # what came first stays


async def test_broken_and_foreign_messages_are_listed_and_stop_nobody(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    async with collector(store_dsn, broker, HandClock(NOW)) as running:
        for topic, payload in (
            (DATA, b"\xff\xfe"),
            (DATA, reading(value="-1")),
            (DATA, reading("2026-03-15T10:15:00+08:00")),
            (DATA, reading(quality="estimated")),
            ("hes/v1/o/T9/M-1/data", reading()),
            ("hes/v1/o/T1/M-2/data", reading()),
            ("hes/v1/o/T1/M-1/orders", b"{}"),
        ):
            publisher.say(topic, payload)
        publisher.say(DATA, reading())
        await running.until(lambda: len(slots(store)) == 1)
        await running.until(lambda: sum(row.count for row in refused.listing(store)) == 7)
        told = {row.topic: (row.count, row.reason) for row in refused.listing(store)}
        store.commit()
    assert told == {
        DATA: (4, "rows kept out by their quality: 1 estimated"),
        "hes/v1/o/T9/M-1/data": (1, "topic: no terminal of the archive publishes as 'T9'"),
        "hes/v1/o/T1/M-2/data": (1, "topic: no meter 'M-2' hangs behind 'T1' now"),
        "hes/v1/o/T1/M-1/orders": (1, "topic: 'orders' is not one of data, event, status"),
    }
    assert slots(store) == [(meter, 12_345_000, 230.5)]


async def test_events_and_status(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    async with collector(store_dsn, broker, HandClock(NOW)) as running:
        event = json.dumps(
            {"time": "2026-03-11T10:14:00+08:00", "code": "power-failure", "detail": {"phase": "A"}}
        )
        publisher.say("hes/v1/o/T1/M-1/event", event)
        await running.until(lambda: one(store, "SELECT count(*) FROM event") == 1)
        assert table(store, "SELECT subject_kind, subject_id, code, detail FROM event") == [
            ("meter", meter, "mqtt power-failure", {"phase": "A"})
        ]
        await running.until(lambda: one(store, "SELECT online FROM terminal"))
        publisher.say("hes/v1/o/T1/-/status", b'{"online": false}')
        await running.until(lambda: not one(store, "SELECT online FROM terminal"))


async def test_what_was_not_published_has_that_cause(
    store_dsn: str, store: Connection, broker: Mosquitto, meter: int
) -> None:
    clock = HandClock("2026-03-11 10:00:00")
    async with collector(store_dsn, broker, clock) as running:
        clock.set(NOW)
        sql = "SELECT coalesce(sum(bit_count(slots)), 0) FROM gap_reason WHERE reason = 'not-published'"
        await running.until(lambda: one(store, sql) == 5)  # 09:15 to 10:15
        told = coverage.why(
            store, asset="1", day=at(NOW).astype("datetime64[D]").item(), now=clock.now(), zone=SHANGHAI
        )
        store.commit()
        assert [(hole.reason, hole.points) for hole in told.plans[0].holes if hole.reason != "not-due"] == [
            ("not-published", 5)
        ]


async def test_one_listens_and_its_heir_goes_on(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    async with collector(store_dsn, broker, HandClock(NOW)) as first:
        publisher.say(DATA, reading("2026-03-11T09:15:00+08:00"))
        await first.until(lambda: len(slots(store)) == 1)
        async with collector(store_dsn, broker, HandClock(NOW)) as second:
            assert duties.owner(store, DUTY) == first.daemon.owner
            store.commit()
            await first.stop()
            publisher.say(DATA, reading("2026-03-11T09:30:00+08:00"))  # perhaps while nobody listens
            await second.until(lambda: len(slots(store)) == 2)
            assert duties.owner(store, DUTY) == second.daemon.owner
            store.commit()
    assert one(store, "SELECT count(*) FROM exchange") == 2


async def test_what_a_killed_collector_had_not_committed_comes_again(
    store_dsn: str, store: Connection, broker: Mosquitto, publisher: Publisher, meter: int
) -> None:
    """It has the message and waits for a lock in the database; then it is killed with -9."""
    settings = {
        "HEADEND_DSN": store_dsn, "HEADEND_MQTT": broker.url, "HEADEND_LEASE_SECONDS": "2",
        "HEADEND_CLOCK": f"2026-03-11T10:16:00@{time.time()}x1",
    }  # fmt: skip
    command = [sys.executable, "-m", "headend", "collect", "--listen", "none"]
    others = {name: value for name, value in os.environ.items() if not name.startswith("HEADEND_")}
    process = subprocess.Popen(
        command, env=others | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    try:
        publisher.say(DATA, reading("2026-03-11T09:15:00+08:00"))
        async with asyncio.timeout(25):
            while len(slots(store)) < 1:
                await asyncio.sleep(0.05)
        with psycopg.connect(store_dsn) as blocker:
            blocker.execute("LOCK TABLE exchange IN SHARE MODE")
            publisher.say(DATA, reading("2026-03-11T09:30:00+08:00"))
            async with asyncio.timeout(25):
                while one(store, blocked) < 1:
                    await asyncio.sleep(0.05)
            process.kill()
            process.wait()
    finally:
        process.kill()
        process.wait()
    assert len(slots(store)) == 1
    async with collector(store_dsn, broker, HandClock(NOW)) as heir:
        await heir.until(lambda: len(slots(store)) == 2)
    assert one(store, "SELECT count(*) FROM exchange") == 2


async def test_a_broker_that_comes_late_or_goes_away_is_waited_for(
    store_dsn: str, store: Connection, broker: Mosquitto, meter: int
) -> None:
    broker.stop()
    async with collector(store_dsn, broker, HandClock(NOW)) as running:
        await asyncio.sleep(0.5)
        for value in ("2026-03-11T09:15:00+08:00", "2026-03-11T09:30:00+08:00"):
            broker.start()
            publisher = Publisher(broker.port)
            before = len(slots(store))
            publisher.say(DATA, reading(value), retain=True)
            await running.until(lambda before=before: len(slots(store)) == before + 1)
            publisher.close()
            await asyncio.sleep(0.3)
            broker.stop()


def test_a_duty_is_one_owners(store: Connection, second: Connection) -> None:
    def hold(conn: Connection, owner: str, seconds: float = 60) -> bool:
        held = duties.hold(conn, DUTY, owner, seconds=seconds)
        conn.commit()
        return held

    assert hold(store, "a")
    assert not hold(second, "b")
    assert hold(store, "a", 0.05)
    time.sleep(0.1)
    assert duties.owner(second, DUTY) is None
    assert hold(second, "b")
    assert duties.owner(second, DUTY) == "b"
    assert not hold(store, "a")
    duties.release(store, DUTY, "a")  # not his
    assert not hold(store, "a")
    duties.release(second, DUTY, "b")
    second.commit()
    assert hold(store, "a")


def test_the_list_of_refusals_is_bounded(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "MOST", 3)
    moment = as_datetime(at(NOW))
    for n in range(5):
        refused.note(
            store,
            [
                refused.Refusal(f"t{n}", "why\0", moment, b"x" * 5000),
                refused.Refusal("t0", "why", moment, b""),
            ],
        )
    found = {row.topic: row.count for row in refused.listing(store)}
    assert found == {"t0": 6, "t1": 1, "t2": 1, refused.OTHERS: 2}
    assert max(len(row.sample) for row in refused.listing(store)) == refused.SAMPLE
    assert refused.forget(store) == 4
    assert refused.listing(store) == []
