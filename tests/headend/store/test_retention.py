"""Throwing away: whole pieces, only old ones, under writers, and a feed that says so."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time

import pytest

from headend.store import db, exchanges, feed, migrate, partitions, retention
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange, Said
from headend.store.retention import KINDS, BadRetention
from headend.store.tables import CURVES
from protocols.localtime import as_datetime, day_slots
from tests.support.app import settle
from tests.support.house import SHANGHAI, at, deliver, one, place, rows, table

NOW = at("2026-06-15 12:00")
UTC = dt.UTC


def days(n: int) -> dt.timedelta:
    return dt.timedelta(days=n)


def curve(conn: Connection, meter: int, day: str, register: int = 0, **more: object) -> None:
    """A whole day of registers."""
    times = day_slots(dt.date.fromisoformat(day), SHANGHAI)
    deliver(
        conn, CURVES, rows([meter] * 96, times, active_import=list(range(register, register + 96))), **more
    )


@pytest.fixture
def old(store: Connection) -> int:
    """A meter with a day of each month from January to June."""
    meter = place(store, "M1").meter
    for month in range(1, 7):
        curve(store, meter, f"2026-{month:02}-10", month * 1000)
    return meter


def test_every_kind_has_defaults_that_keep_what_the_law_asks_for(store: Connection) -> None:
    kept = {policy.kind.name: policy.keep for policy in retention.policies(store)}
    assert kept["readings"] >= days(3 * 365)
    assert {kind.name for kind in KINDS} == set(kept)
    for kind in KINDS:
        assert kind.least <= kind.keep
        assert kind.why
    never = {
        "ledger_entry",
        "payment",
        "bill",
        "orders",
        "order_event",
        "revision",
        "notice",
        "finding",
        "account",
        "balance",
    }
    assert not never & {name for kind in KINDS for name in kind.tables}


def test_a_slip_of_the_pen_is_refused(store: Connection) -> None:
    with pytest.raises(BadRetention, match=r"readings for 1 days is less than the 1096 .* --really"):
        retention.keep(store, "readings", days(1), who="test")
    with pytest.raises(BadRetention, match=r"no kind of data 'reading'; there are readings, "):
        retention.keep(store, "reading", days(5000), who="test")
    with pytest.raises(BadRetention, match="a day at least"):
        retention.keep(store, "feed", dt.timedelta(hours=1), who="test", really=True)
    retention.keep(store, "readings", days(40), who="李敏", really=True)
    (policy,) = [p for p in retention.policies(store) if p.kind.name == "readings"]
    assert (policy.keep, policy.who) == (days(40), "李敏")


def test_whole_pieces_go_and_nothing_younger_than_the_policy(store: Connection, old: int) -> None:
    retention.keep(store, "readings", days(60), who="test", really=True)
    store.commit()
    cut = as_datetime(NOW) - days(60)
    store.commit()
    young = table(store, "SELECT meter_id, ts FROM slot_read WHERE ts >= %s ORDER BY ts", cut)
    would = {gone.kind: gone for gone in retention.run(store, NOW, dry=True)}["readings"]
    assert one(store, "SELECT count(*) FROM slot_read") == 6 * 96
    did = {gone.kind: gone for gone in retention.run(store, NOW)}["readings"]
    assert [piece.name for piece in did.dropped] == [piece.name for piece in would.dropped]
    assert {piece.parent for piece in did.dropped} >= {
        "slot_read",
        "coverage",
    }  # and what other tests left empty
    assert all(piece.hi <= cut for piece in did.dropped)
    assert table(store, "SELECT meter_id, ts FROM slot_read WHERE ts >= %s ORDER BY ts", cut) == young
    assert one(store, "SELECT min(ts) FROM slot_read") == as_datetime(at("2026-05-10 00:15"))
    assert partitions.thrown_away(store)["slot_read"] == max(
        p.hi for p in did.dropped if p.parent == "slot_read"
    )
    assert partitions.thrown_away(store)["slot_read"] <= cut
    store.commit()
    assert not any(gone.dropped for gone in retention.run(store, NOW))


def test_what_comes_for_a_time_that_is_gone_makes_a_piece_and_goes_again(store: Connection, old: int) -> None:
    retention.keep(store, "readings", days(60), who="test", really=True)
    store.commit()
    retention.run(store, NOW)
    curve(store, old, "2026-01-10", 1000)
    assert one(store, "SELECT count(*) FROM slot_read WHERE ts < '2026-02-01'") == 96
    retention.run(store, NOW)
    assert one(store, "SELECT count(*) FROM slot_read WHERE ts < '2026-02-01'") == 0


def test_money_orders_and_revisions_stay(store: Connection, old: int) -> None:
    store.execute(
        "INSERT INTO revision (meter_id, ts, source, quantity, version, value, method, reason, who, at) "
        "VALUES (%s, '2026-01-10', 'slot', 'active_import', 2, 1, 'edit', 'x', 'x', '2026-01-10')",
        (old,),
    )
    for kind in KINDS:
        retention.keep(store, kind.name, days(1), who="test", really=True)
    store.commit()
    retention.run(store, at("2027-06-15 12:00"))
    assert one(store, "SELECT count(*) FROM slot_read") == 0
    assert one(store, "SELECT count(*) FROM revision") == 1


def test_a_piece_that_is_held_waits_for_the_next_run(store: Connection, second: Connection, old: int) -> None:
    retention.keep(store, "readings", days(60), who="test", really=True)
    store.commit()
    second.execute("SELECT count(*) FROM slot_read")  # a reader in its transaction
    begun = time.monotonic()
    (held,) = [gone for gone in retention.run(store, NOW) if gone.kind == "readings"]
    assert [piece.parent for piece in held.dropped] == ["coverage"] * len(held.dropped)
    assert held.held
    assert time.monotonic() - begun < 1.5 * len(held.held) + 10
    assert one(store, "SELECT count(*) FROM slot_read") == 6 * 96
    second.commit()
    (done,) = [gone for gone in retention.run(store, NOW) if gone.kind == "readings"]
    assert [piece.name for piece in done.dropped] == [piece.name for piece in held.held]


def test_writers_go_on_while_pieces_are_dropped(store: Connection, store_dsn: str, old: int) -> None:
    """They wait for a lock at most, never fail, and what they wrote is there."""
    retention.keep(store, "readings", days(60), who="test", really=True)
    store.commit()
    longest, errors, done = [0.0], [], threading.Event()
    written = []

    def write() -> None:
        with db.connect(store_dsn) as conn:
            n = 0
            while not done.is_set():
                begun = time.monotonic()
                try:
                    curve(conn, old, f"2026-06-{n % 14 + 1:02}", 50_000 + n // 14)
                    written.append(n)
                except Exception as error:
                    errors.append(error)
                    conn.rollback()
                longest[0] = max(longest[0], time.monotonic() - begun)
                n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            retention.run(store, NOW)
            for month in (1, 2, 3):  # old data again, so that there is always something to drop
                curve(store, old, f"2026-{month:02}-10", month * 1000)
    finally:
        done.set()
        writer.join()
    assert not errors
    assert len(written) > 3
    assert longest[0] < 5
    assert one(store, "SELECT count(*) FROM slot_read WHERE ts > '2026-05-31 16:00'") >= 96 * min(
        len(written), 14
    )


def test_rows_of_tables_that_are_not_split(store: Connection) -> None:
    store.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) SELECT 'x', d, d, 1, true, '' "
        "FROM generate_series(timestamptz '2025-01-01', '2026-06-01', '1 day') d"
    )
    store.execute(
        "INSERT INTO idempotency (person, key, request, status, body, made_at) "
        "SELECT 'x', n::text, '', 200, '{}', clock_timestamp() - make_interval(days => n) FROM generate_series(0, 9) n"
    )
    store.commit()
    gone = {g.kind: g.rows for g in retention.run(store, NOW, dry=True)}
    assert gone["idempotency"] == 3
    assert {g.kind: g.rows for g in retention.run(store, NOW)} == gone
    assert one(store, "SELECT count(*) FROM idempotency") == 7
    assert one(store, "SELECT min(started) >= %s FROM job_run", as_datetime(NOW) - days(366))


def _age(conn: Connection, keys: list[str], n: int) -> None:
    conn.execute(
        "UPDATE feed SET at = clock_timestamp() - make_interval(days => %s) WHERE key = ANY(%s)", (n, keys)
    )
    conn.commit()


def test_a_cursor_from_before_what_the_feed_still_has_is_stale(store: Connection) -> None:
    for key in "abcdef":
        feed.publish(store, "loss", [(key, None)])
        settle(store)
    cursors = {change.key: change.cursor for change in feed.read(store, None, 10).changes}
    store.commit()
    _age(store, ["a", "b", "c"], 31)
    (gone,) = [g for g in retention.run(store, NOW) if g.kind == "feed"]
    assert gone.rows == 3
    with pytest.raises(feed.StaleCursor, match="thrown away; read again from the beginning"):
        feed.read(store, cursors["b"], 10)
    with pytest.raises(feed.StaleCursor, match="thrown away"):
        feed.read(store, "1.0.0.0", 10)  # began with an empty feed, and has seen nothing of what is gone
    store.rollback()
    assert [c.key for c in feed.read(store, cursors["c"], 10).changes] == ["d", "e", "f"]
    assert [c.key for c in feed.read(store, None, 10).changes] == ["d", "e", "f"]
    assert [c.key for c in feed.read(store, cursors["e"], 10).changes] == ["f"]


def test_who_was_told_half_of_a_row_that_goes_is_stale(store: Connection) -> None:
    for asset in ("M1", "M2", "M3"):
        curve(store, place(store, asset).meter, "2026-06-10")
    settle(store)
    store.execute(
        "UPDATE feed SET meters = '{1, 2, 3}', at = clock_timestamp() - interval '40 days' WHERE seq = 1"
    )
    store.commit()
    half = feed.read(store, None, 2).cursor
    whole = feed.read(store, None, 3).cursor
    store.commit()
    retention.run(store, NOW)
    with pytest.raises(feed.StaleCursor):
        feed.read(store, half, 10)
    store.rollback()
    assert len(feed.read(store, whole, 10).changes) == 2


def test_the_feed_loses_a_beginning_without_holes(store: Connection, second: Connection) -> None:
    """A row that looks old behind a young one stays; and nothing goes while an older transaction may still publish."""
    for key in "abcd":
        feed.publish(store, "loss", [(key, None)])
        settle(store)
    _age(store, ["a", "c", "d"], 31)
    feed.publish(second, "loss", [("late", None)])
    retention.run(store, NOW)
    assert table(store, "SELECT key FROM feed ORDER BY xid, seq") == [("b",), ("c",), ("d",)]
    second.rollback()
    _age(store, ["b", "c"], 31)
    feed.publish(second, "loss", [("late", None)])  # has its number; what is made after it must wait for it
    feed.publish(store, "loss", [("e", None)])
    store.commit()
    _age(store, ["b", "c", "d", "e"], 31)
    retention.run(store, NOW)
    assert table(store, "SELECT key FROM feed") == [("e",)]
    second.commit()
    settle(store)
    assert [c.key for c in feed.read(store, None, 10).changes] == ["late", "e"]


def test_a_reader_of_rare_topics_does_not_grow_stale(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "IDLE", 5)
    feed.publish(store, "bill", [("b", None)])
    settle(store)
    cursor = feed.read(store, None, 10, ["bill"]).cursor
    for n in range(10):
        feed.publish(store, "loss", [(f"l{n}", None)])
        settle(store)
    page = feed.read(store, cursor, 10, ["bill"])
    assert (page.changes, page.more) == ([], False)
    assert page.cursor != cursor
    store.commit()
    _age(store, ["b", *(f"l{n}" for n in range(10))], 31)
    retention.run(store, NOW)
    feed.publish(store, "bill", [("b2", None)])
    settle(store)
    assert [c.key for c in feed.read(store, page.cursor, 10, ["bill"]).changes] == ["b2"]


def test_the_hash_stays_beside_the_reading_when_the_bytes_are_gone(store: Connection) -> None:
    meter = place(store, "M1")
    taken = at("2026-01-11 01:00")
    said = Exchange(
        meter.terminal,
        meter.meter,
        "000000000001",
        "dlt645",
        "curve",
        taken,
        taken,
        said=(Said(0.0, True, b"\x68"), Said(0.2, False, b"\x16")),
    )
    curve(store, meter.meter, "2026-01-10", exchange=said)
    assert (
        exchanges.named(
            store, said.evidence, as_datetime(taken), as_datetime(taken) + days(1), [meter.terminal]
        )
        == said
    )
    store.commit()
    retention.run(store, NOW)  # ninety days for bytes, ten years for readings
    assert (
        exchanges.named(
            store, said.evidence, as_datetime(taken), as_datetime(taken) + days(1), [meter.terminal]
        )
        is None
    )
    assert one(store, "SELECT count(*) FROM exchange") == 0
    assert one(store, "SELECT count(*) FROM slot_read WHERE evidence = %s", said.evidence) == 96
    assert said.sha256[:8] == said.evidence.to_bytes(8, "big", signed=True)


def test_it_refuses_to_run_inside_a_transaction(store: Connection) -> None:
    store.execute("SELECT 1")
    with pytest.raises(StoreError, match="outside a transaction"):
        retention.run(store, NOW)


def test_other_spans_leave_no_gap_and_no_overlap(database: str) -> None:
    with db.connect(database) as conn:
        migrate.migrate(conn)
        conn.execute("UPDATE cluster SET zone = 'Asia/Shanghai'")
        meter = place(conn, "M1").meter
        curve(conn, meter, "2026-03-11")
        assert partitions.fit_spans(conn, 100_000) == []
        assert set(partitions.fit_spans(conn, 100_001)) == set(partitions.SPANS)
        assert partitions.fit_spans(conn, 100_001) == []
        conn.commit()
        register = 100
        for day in ("2026-03-08", "2026-03-09", "2026-03-12", "2026-03-14", "2026-03-18", "2026-03-16"):
            curve(conn, meter, day, register)
            register += 100
        partitions.fit_spans(conn, 7)
        conn.commit()
        for day in ("2026-03-17", "2026-03-22", "2026-03-04", "2026-03-20"):
            curve(conn, meter, day, register)
            register += 100
        assert one(conn, "SELECT count(*) FROM slot_read") == 11 * 96
        found = partitions.pieces(conn, ("slot_read",))
        assert len(found) > 4
        assert {piece.hi - piece.lo for piece in found} >= {days(1), days(7)}
        for before, after in itertools.pairwise(found):
            assert before.hi <= after.lo
        stamps = [row[0] for row in table(conn, "SELECT ts FROM slot_read")]
        assert all(sum(piece.lo <= ts < piece.hi for piece in found) == 1 for ts in stamps)
        # what is not there yet can be made wherever it falls: there is no gap that nothing fits into
        for day in (dt.date(2026, 2, 25) + days(n) for n in range(40)):
            deliver(conn, CURVES, rows([meter], [day_slots(day, SHANGHAI)[50]], voltage_a=[230.0]))
        assert one(conn, "SELECT count(*) FROM slot_read") == 11 * 96 + 40 - 11


def test_pieces_of_a_large_store_are_known(store: Connection, old: int) -> None:
    found = partitions.pieces(store)
    assert {piece.parent for piece in found} >= {"slot_read", "coverage"}
    assert all(piece.size > 0 for piece in found)
    assert partitions.installed(store, as_datetime(NOW)) == 1
