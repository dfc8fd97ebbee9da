"""The feed under writers that overlap: nothing skipped, nothing repeated."""

from __future__ import annotations

import random
import threading
import time

import pytest

from headend.store import db, feed, migrate
from tests.support.app import settle


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
