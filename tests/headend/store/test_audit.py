"""The chain: everything decided is in it, every way to falsify it is named, and it goes on after a restore."""

from __future__ import annotations

import datetime as dt
import threading

import psycopg
import pytest

from headend.store import audit, cluster, db, orders, trip_stop, wallet_rules
from headend.store.audit import Head
from headend.store.db import Connection
from tests.headend.store.test_orders import ask, send
from tests.support.arrears import NOW, broke
from tests.support.house import one, place, table


def lived(conn: Connection) -> Head:
    """A store in which something has happened. Its head."""
    here = broke(conn)
    send(conn, here, ask(conn))
    trip_stop.stop(conn, who="王芳", reason="x", now=NOW)
    cluster.set_limits(conn, {"trips_per_hour": 3}, "李敏")
    conn.commit()
    told = audit.verify(conn)
    assert told.broken is None
    assert told.head is not None
    return told.head


def force(conn: Connection, statement: str) -> None:
    """As somebody does who may do everything."""
    conn.execute("SET session_replication_role = replica")
    conn.execute(statement.encode())
    conn.execute("RESET session_replication_role")
    conn.commit()


def test_everything_that_was_decided_is_in_it(store: Connection) -> None:
    head = lived(store)
    kinds = table(store, "SELECT kind, body::jsonb ->> 'event' FROM audit ORDER BY seq")
    assert kinds == [
        ("begin", None),
        ("notice", None),
        ("delivery", None),
        ("terms", None),
        ("order", "request"),
        ("order", "approve"),
        ("order", "send"),
        ("stop", None),
        ("limits", None),
    ]
    told = audit.records(store, limit=9)
    assert [r["seq"] for r in told] == list(range(9, 0, -1))
    assert (told[0]["body"]["who"], told[0]["body"]["becomes"]) == ("李敏", {"trips_per_hour": 3})
    assert told[4]["body"]["requested_by"] == "job:prepaid"
    assert (head.seq, str(audit.head(store))) == (9, str(head))
    assert audit.parse_head(f" {head}\n") == head
    store.commit()
    with pytest.raises(audit.BadHead, match="its number and 64"):
        audit.parse_head("8 abc")


def test_nothing_of_it_can_be_changed_by_who_may_write(store: Connection) -> None:
    lived(store)
    for statement in ("UPDATE audit SET body = ''", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(psycopg.errors.RaiseException, match="audit is append-only"), store.transaction():
            store.execute(statement)


@pytest.mark.parametrize(
    ("falsified", "seq", "says"),
    [
        ("UPDATE audit SET body = replace(body, '李敏', '陈晓') WHERE seq = 6", 6, "it was changed: order 1/2"),
        ("UPDATE audit SET recorded = recorded + interval '1 day' WHERE seq = 3", 3, "it was changed"),
        ("UPDATE audit SET kind = 'order' WHERE seq = 8", 8, "it was changed"),
        ("DELETE FROM audit WHERE seq = 4", 5, "records 4 are missing before it"),
        ("DELETE FROM audit WHERE seq BETWEEN 2 AND 4", 5, "records 2 to 4 are missing before it"),
        ("DELETE FROM audit WHERE seq = 1", 2, "records 1 are missing"),
        ("UPDATE audit SET prev = hash WHERE seq = 5", 5, "does not follow"),
        # a record that was replaced with its hash worked out anew
        ("UPDATE audit SET body = '{}', hash = sha256(prev || convert_to(concat_ws(E'\\n', seq, kind, ref, (extract(epoch FROM recorded) "
         "* 1000000)::bigint, '{}'), 'UTF8')) WHERE seq = 4", 5, "does not follow the record before it"),
        ("UPDATE order_event SET who = '陈晓' WHERE event = 'approve'", 6, "what it tells of says something else now: order 1/2"),
        ("UPDATE orders SET requested_by = 'x'", 5, "says something else now: order 1/1"),
        ("DELETE FROM order_event WHERE event = 'send'", 7, "what it tells of is gone: order 1/3"),
        ("UPDATE notice SET at = at - interval '1 day'", 2, "says something else now: notice 1"),
        ("DELETE FROM notice", 2, "is gone: notice 1"),
        ("UPDATE notice_delivery SET at = at - interval '1 day'", 3, "says something else now: delivery 1/1"),
        ("DELETE FROM notice_delivery", 3, "is gone: delivery 1/1"),
        ("INSERT INTO notice_delivery (notice_id, seq, state, channel, reference, at, who) VALUES (1, 2, 'sent', 'sms', 'x', now(), 'x')", None,
         "1 rows are not chained"),
        ("INSERT INTO order_event (order_id, seq, at, event, state, who) VALUES (1, 9, now(), 'x', 'x', 'x')", None,
         "1 rows are not chained, where 0 were there before the chain"),
        ("INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en) SELECT account_id, 'stop', now(), 0, '', '' FROM account",
         None, "1 rows are not chained"),
        ("UPDATE cluster SET limits = '{}'", 9, "the limits for trips are not what it says"),
        ("UPDATE trip_stop SET stopped = false", 8, "the kill switch is not where it says"),
    ],
)  # fmt: skip
def test_the_first_broken_link_is_named(
    store: Connection, falsified: str, seq: int | None, says: str
) -> None:
    lived(store)
    force(store, falsified)
    told = audit.verify(store)
    assert told.broken is not None
    assert (told.broken.seq, says in told.broken.en, bool(told.broken.zh)) == (seq, True, True), told.broken


def test_rules_for_wallets_are_somebodys_word(store: Connection) -> None:
    """What the meters' limits shall be goes into meters and terminals."""
    lived(store)
    wallet_rules.set_rules(store, {"alarm1": 2_000}, "陈晓")
    store.commit()
    (newest,) = audit.records(store, limit=1, kind="wallet-rules")
    assert newest["body"] == {"was": {}, "becomes": {"alarm1": 2_000}, "who": "陈晓"}
    store.commit()
    assert audit.verify(store).broken is None
    store.commit()
    force(store, "UPDATE cluster SET wallet_rules = '{}'")
    told = audit.verify(store).broken
    assert told is not None
    assert (told.seq, told.en) == (newest["seq"], "the rules for wallets are not what it says")


def test_a_tail_that_was_cut_off_shows_against_a_kept_head(store: Connection) -> None:
    head = lived(store)
    assert audit.verify(store, head).broken is None
    store.commit()
    cluster.set_limits(store, {}, "x")
    store.commit()
    force(
        store,
        "DELETE FROM audit WHERE seq > 7; UPDATE cluster SET limits = '{}'; UPDATE trip_stop SET stopped = false",
    )
    assert audit.verify(store).broken is None  # whole by itself
    told = audit.verify(store, head)
    assert told.broken is not None
    assert (told.broken.seq, told.broken.en) == (
        8, "the chain ends at 7, and reached 9 when its head was kept: 2 records are missing at its end",
    )  # fmt: skip
    # and what goes on from there is another chain
    for hours in (1, 2):
        cluster.set_limits(store, {"trips_per_hour": hours}, "x")
        store.commit()
    told = audit.verify(store, head)
    assert told.broken is not None
    assert (told.broken.seq, "written anew" in told.broken.en) == (9, True)


def test_many_at_once_make_one_chain(store_dsn: str, store: Connection) -> None:
    assets = [place(store, f"{k}", terminal=f"T{k}").asset for k in range(6)]

    def work(asset: str) -> None:
        with db.connect(store_dsn) as conn:
            for _ in range(10):
                order = ask(conn, asset, "close")
                orders.cancel(conn, order, who="x", now=NOW)

    threads = [threading.Thread(target=work, args=(asset,)) for asset in assets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    told = audit.verify(store)
    assert (told.records, told.broken) == (121, None)
    assert one(store, "SELECT count(*) FROM order_event") == 120


def test_what_was_there_before_the_chain_is_in_its_first_record(store: Connection) -> None:
    lived(store)
    force(store, "DELETE FROM audit")
    store.execute(
        "SELECT audit_add('begin', '', audit_before() || jsonb_build_object('limits', (SELECT limits FROM cluster)))"
    )
    store.commit()
    assert audit.verify(store).broken is None
    store.commit()
    orders.request(
        store,
        kind="relay",
        action="permit",
        asset=place(store, "2").asset,
        reason="x",
        who="x",
        now=NOW,
        expires=NOW + 3_600_000_000,
    )
    assert audit.verify(store).broken is None
    store.commit()
    force(store, "UPDATE order_event SET detail = 'y' WHERE order_id = 1 AND seq = 1")
    told = audit.verify(store)
    assert told.broken is not None
    assert told.broken.seq is None


def test_a_session_with_another_time_zone_says_the_same(store_dsn: str, store: Connection) -> None:
    here = place(store, "1")
    with psycopg.connect(store_dsn, options="-c timezone=America/New_York") as conn:
        conn.execute(
            "INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en) SELECT account_id, 'stop', %s, 0, '', '' FROM account",
            (dt.datetime(2026, 3, 11, tzinfo=dt.UTC),),
        )
    assert here.account is None
    broke(store, "2", terminal="T2")
    told = audit.verify(store)
    assert told.broken is None
