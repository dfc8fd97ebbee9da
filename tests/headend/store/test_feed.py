"""The feed under writers that overlap: nothing skipped, nothing repeated."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from headend.store import db, feed, intake, migrate
from headend.store.db import Connection
from headend.store.intake import Delivery
from headend.store.tables import CURVES, DAYS, SPOT_READS
from protocols.localtime import instant
from tests.support.app import settle
from tests.support.house import SHANGHAI, one, place, rows, table


def test_a_long_transaction_holds_the_reader_back_instead_of_being_skipped(database: str) -> None:
    with db.connect(database) as slow, db.connect(database) as quick, db.connect(database) as reader:
        migrate.migrate(slow)
        slow.commit()
        feed.publish(slow, "curve", [("slow", None)])  # has its transaction id, and takes its time
        feed.publish(quick, "curve", [("quick", None)])
        quick.commit()
        before = feed.read(reader, None, 10)
        reader.commit()
        assert before.changes == []
        slow.commit()
        settle(slow)
        after = feed.read(reader, before.cursor, 10)
        assert [change.key for change in after.changes] == ["slow", "quick"]


def test_what_is_rolled_back_never_happened(database: str) -> None:
    with db.connect(database) as conn:
        migrate.migrate(conn)
        conn.commit()
        feed.publish(conn, "curve", [("gone", None)])
        conn.rollback()
        feed.publish(conn, "curve", [("kept", None)])
        settle(conn)
        assert [change.key for change in feed.read(conn, None, 10).changes] == ["kept"]
        with pytest.raises(ValueError, match="unknown feed topic"):
            feed.publish(conn, "weather", [("x", None)])
        assert feed.publish(conn, "loss", []) == 0


def test_a_consumer_ends_with_exactly_the_table(database: str) -> None:
    writers, rounds = 8, 12
    with db.connect(database) as conn:
        migrate.migrate(conn)
        conn.commit()
    done = threading.Event()
    seen: list[str] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        with db.connect(database) as conn:
            for n in range(rounds):
                feed.publish(conn, "curve", [(f"{number}-{n}-a", None)])
                time.sleep(chance.random() * 0.01)
                feed.publish(conn, "day", [(f"{number}-{n}-b", None)])
                if chance.random() < 0.2:
                    conn.rollback()
                else:
                    conn.commit()

    def follow() -> None:
        cursor: str | None = None
        with db.connect(database) as conn:
            while True:
                last = done.is_set()
                page = feed.read(conn, cursor, 7)
                conn.commit()
                seen.extend(change.key for change in page.changes)
                cursor = page.cursor
                if last and not page.changes:
                    return

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    consumer = threading.Thread(target=follow)
    for thread in [consumer, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    with db.connect(database) as conn:
        settle(conn)
    done.set()
    consumer.join()
    with db.connect(database) as conn:
        table = [row["key"] for row in conn.execute("SELECT key FROM feed ORDER BY xid, seq")]
    assert len(table) > writers
    assert seen == table


def test_transactions_are_ordered_by_number_not_by_text(database: str) -> None:
    with db.connect(database) as conn:
        migrate.migrate(conn)
        conn.execute(
            "INSERT INTO feed (xid, topic, key) VALUES ('99', 'loss', 'c'), ('9', 'loss', 'a'), ('10', 'loss', 'b')"
        )
        conn.commit()
        keys, cursor = [], None
        for _ in range(3):
            page = feed.read(conn, cursor, 1)
            keys += [change.key for change in page.changes]
            cursor = page.cursor
        assert keys == ["a", "b", "c"]


READ = (
    ("curve", "SELECT 'slot', ts, active_import::text, voltage_a::text, current_a::text, evidence FROM slot_read "
              "WHERE meter_id = %(m)s AND ts > %(from)s AND ts <= %(to)s"),
    ("day", "SELECT 'day', ts, active_import::text, NULL, NULL, evidence FROM register_read "
            "WHERE kind = 2 AND meter_id = %(m)s AND ts > %(from)s AND ts <= %(to)s"),
    ("spot", "SELECT 'spot', ts, active_import::text, NULL, NULL, evidence FROM register_read "
             "WHERE kind = 3 AND meter_id = %(m)s AND ts > %(from)s AND ts <= %(to)s"),
)  # fmt: skip
VERSIONS = "SELECT source, ts, quantity, version, value::text, method FROM revision WHERE meter_id = %(m)s AND ts > %(from)s AND ts <= %(to)s"


def copy_of(conn: Connection, topic: str, meter: int, day: dt.date) -> set[tuple[Any, ...]]:
    """What a follower of the feed reads again when it is told of a meter's day: its readings of the topic, with their later versions."""
    begin = dt.datetime.combine(day, dt.time(), SHANGHAI)
    span = {"m": meter, "from": begin, "to": begin + dt.timedelta(days=1)}
    source = {"curve": "slot"}.get(topic, topic)
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = set(cursor.execute(dict(READ)[topic], span).fetchall())
        return rows | {row for row in cursor.execute(VERSIONS, span).fetchall() if row[0] == source}


def test_a_consumer_of_readings_ends_with_exactly_the_tables(store: Connection, store_dsn: str) -> None:
    """Eight writers of the same few meters, with delays inside their transactions, some of which are rolled back; and one who follows."""
    writers, rounds, days = 8, 25, (dt.date(2026, 3, 10), dt.date(2026, 3, 11))
    meters = [place(store, f"M{n}").meter for n in range(4)]
    assets = {f"M{n}": meter for n, meter in enumerate(meters)}
    done = threading.Event()
    told: list[tuple[str, str, str, dt.date]] = []
    copies: dict[tuple[str, int, dt.date], set[tuple[Any, ...]]] = {}
    failed: list[BaseException] = []

    def delivery(chance: random.Random) -> Delivery:
        meter, day = chance.choice(meters), chance.choice(days)
        begin = dt.datetime.combine(day, dt.time(), SHANGHAI)
        now = instant(begin + dt.timedelta(days=1, minutes=chance.randrange(2000)))
        value = chance.choice(
            [100, 100, 100, 101]
        )  # mostly the same, so that repeats, completions and corrections all occur
        what = chance.random()
        if what < 0.7:
            first = chance.randrange(12)
            times = [
                instant(begin + dt.timedelta(minutes=15 * (k + 1)))
                for k in range(first, first + chance.randrange(1, 8))
            ]
            columns = [
                {"active_import": value},
                {"voltage_a": float(value)},
                {"active_import": value, "current_a": 1.5},
            ]
            chosen = chance.choice(columns)
            reads = rows(
                [meter] * len(times), times, **{code: [v] * len(times) for code, v in chosen.items()}
            )
            return Delivery(CURVES, now, reads)
        if what < 0.85:
            return Delivery(
                DAYS, now, rows([meter], [instant(begin + dt.timedelta(days=1))], active_import=[value])
            )
        second = instant(begin + dt.timedelta(hours=10, seconds=chance.randrange(3)))
        return Delivery(SPOT_READS, now, rows([meter], [second], active_import=[value]))

    def write(number: int) -> None:
        chance = random.Random(number)
        with db.connect(store_dsn) as conn:
            for _ in range(rounds):
                with conn.transaction() as transaction:
                    intake.save(
                        conn,
                        [delivery(chance) for _ in range(chance.randrange(1, 4))],
                        SHANGHAI,
                        who=f"writer {number}",
                    )
                    time.sleep(chance.random() * 0.02)
                    if chance.random() < 0.2:
                        raise psycopg.Rollback(transaction)
                time.sleep(chance.random() * 0.005)

    def follow() -> None:
        cursor: str | None = None
        with db.connect(store_dsn) as conn:
            while True:
                last = done.is_set()
                page = feed.read(conn, cursor, 7)
                conn.commit()
                for change in page.changes:
                    assert change.day is not None
                    told.append((change.topic, change.change, change.key, change.day))
                    where = (change.topic, assets[change.key], change.day)
                    copies[where] = copy_of(conn, *where)
                    conn.commit()
                cursor = page.cursor
                if last and not page.changes:
                    return

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # told in the test's own thread
                failed.append(error)

        return run

    threads = [threading.Thread(target=guarded(lambda n=n: write(n))) for n in range(writers)]
    consumer = threading.Thread(target=guarded(follow))
    for thread in [consumer, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    settle(store)
    done.set()
    consumer.join()
    assert failed == []

    expanded = table(
        store,
        "SELECT topic, change, (SELECT asset FROM meter WHERE meter_id = m), day FROM feed, unnest(meters) WITH ORDINALITY AS u (m, n) "
        "ORDER BY feed.xid, seq, n",
    )
    assert told == expanded
    assert {change for _, change, _, _ in told} == {"new", "completed", "corrected"}
    kept = {where: rows for where, rows in copies.items() if rows}
    truth = {
        (topic, meter, day): found
        for topic in ("curve", "day", "spot")
        for meter in meters
        for day in days
        if (found := copy_of(store, topic, meter, day))
    }
    assert kept == truth
    counts = [
        one(store, f"SELECT count(*) FROM {name}") for name in ("slot_read", "register_read", "revision")
    ]
    assert sum(len(rows) for rows in truth.values()) == sum(counts)
    assert all(counts)
