"""Orders in the store: one open relay order a meter, gates at every door, nothing moved by who may not."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from headend.control.order_state import TABLE, Event, NoSuchStep, State
from headend.store import cluster, db, ledger, orders
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from headend.store.orders import (
    AlreadyOpen,
    Fence,
    NotInstalled,
    OrderError,
    Refused,
    StaleOwner,
    UnknownOrder,
)
from protocols.localtime import as_datetime
from tests.support.arrears import HOUR, NOW, OWNER, book, broke, fence
from tests.support.house import Place, at, one, place, table

LATER = NOW + HOUR


def ask(conn: Connection, asset: str = "1", action: str = "trip", **options: Any) -> int:
    given = {"kind": "relay", "reason": "arrears", "who": "job:prepaid", "now": NOW, "expires": LATER}
    return orders.request(conn, action=action, asset=asset, **{**given, **options})


def idle(conn: Connection) -> bool:
    return conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def state(conn: Connection, order: int) -> State:
    found = State(orders.get(conn, order)["state"])
    conn.commit()
    return found


def force(conn: Connection, order: int, to: State) -> None:
    """Put an order into a state, as a crash may leave it."""
    ended = not any(s is to for s, _ in TABLE)
    conn.execute("UPDATE orders SET state = %s, is_open = %s WHERE order_id = %s", (to, not ended, order))
    conn.commit()


# --- requests --------------------------------------------------------------------------------------------------


def test_a_trip_waits_for_a_second_person(store: Connection) -> None:
    broke(store)
    order = ask(store)
    assert idle(store)
    found = orders.get(store, order)
    assert (found["state"], found["is_open"], found["asset"], found["approved_by"]) == (
        "wanted",
        True,
        "1",
        None,
    )
    assert [(e["event"], e["state"], e["who"], e["detail"]) for e in found["events"]] == [
        ("request", "wanted", "job:prepaid", "arrears")
    ]
    assert orders.work(store, [found["terminal_id"]]) == []  # nobody acts on it yet


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("relay", "permit"),
        ("relay", "close"),
        ("relay", "keep-power"),
        ("relay", "end-keep-power"),
        ("read", ""),
        ("clock", "set"),
    ],
)
def test_everything_else_is_approved_at_once(store: Connection, kind: str, action: str) -> None:
    """Also for a protected customer on a holiday, of whom nothing is known: giving supply back is always allowed."""
    here = place(store, "1", customer="C1", protected="透析")
    order = ask(store, action=action, kind=kind, who="陈晓")
    found = orders.get(store, order)
    assert (found["state"], found["approved_by"]) == ("approved", "陈晓")
    assert [o["order_id"] for o in orders.work(store, [here.terminal])] == [order]


def test_what_cannot_be_asked(store: Connection) -> None:
    place(store, "1", since="2026-03-12 00:00")
    with pytest.raises(OrderError, match="no relay action 'explode'; there are trip, permit"):
        ask(store, action="explode")
    with pytest.raises(OrderError, match="no ozone action"):
        ask(store, kind="ozone")
    with pytest.raises(UnknownMeter):
        ask(store, asset="2")
    with pytest.raises(
        NotInstalled, match=r"meter 1 is not installed anywhere at 2026-03-11T02:00:00\+00:00"
    ):
        ask(store)
    with pytest.raises(UnknownOrder, match="no order 77"):
        orders.get(store, 77)
    store.commit()
    assert one(store, "SELECT count(*) FROM orders") == 0


def test_one_open_relay_order_a_meter(store: Connection) -> None:
    here = broke(store)
    order = ask(store)
    with pytest.raises(AlreadyOpen, match=f"relay order {order} of this meter is still open") as caught:
        ask(store, action="permit", who="陈晓")
    assert caught.value.order_id == order
    assert idle(
        store
    )  # or the server would end an idle connection's transaction in the middle of the next job
    ask(store, action="", kind="read")  # reading is not concerned
    orders.cancel(store, order, who="陈晓", now=NOW)
    assert ask(store, action="permit") > order
    assert here.meter == one(store, "SELECT meter_id FROM orders WHERE is_open AND kind = 'relay'")


def both(*work: Callable[[], Any]) -> list[Any]:
    """Run at the same moment on a thread each; results or errors in order."""
    results: list[Any] = [None] * len(work)
    gate = threading.Barrier(len(work))

    def run(k: int) -> None:
        gate.wait()
        try:
            results[k] = work[k]()
        except Exception as error:
            results[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_one_open_relay_order_under_two_connections(store: Connection, second: Connection) -> None:
    for k in range(5):
        place(store, f"{k}")
        found = both(lambda k=k: ask(store, f"{k}", "close"), lambda k=k: ask(second, f"{k}", "permit"))
        made = [r for r in found if isinstance(r, int)]
        refused = [r for r in found if isinstance(r, AlreadyOpen)]
        assert (len(made), len(refused)) == (1, 1)
        assert refused[0].order_id == made[0]
    assert one(store, "SELECT count(*) FROM orders") == 5


def test_the_same_request_key_is_the_same_order(store: Connection, second: Connection) -> None:
    place(store, "1")
    place(store, "2")
    order = ask(store, action="close", request_key="k")
    assert ask(store, action="close", request_key="k") == order
    orders.cancel(store, order, who="x", now=NOW)
    assert ask(store, action="close", request_key="k") == order  # ended or not
    for other in ({"asset": "2"}, {"action": "permit"}):
        with pytest.raises(OrderError, match=f"request key 'k' belongs to order {order}"):
            ask(store, request_key="k", **{"action": "close", **other})
    for k in range(5):
        found = both(
            *(lambda c=c, k=k: ask(c, "2", "", kind="read", request_key=f"r{k}") for c in (store, second))
        )
        assert found[0] == found[1]
    assert one(store, "SELECT count(*) FROM orders WHERE kind = 'read'") == 5


# --- gates -----------------------------------------------------------------------------------------------------


def refused(conn: Connection, **options: Any) -> list[str]:
    with pytest.raises(Refused) as caught:
        ask(conn, **options)
    return [r.gate for r in caught.value.refusals]


def test_a_refused_trip_is_on_record_once_a_day(store: Connection) -> None:
    here = broke(store, protected="透析")
    for _ in range(3):
        with pytest.raises(Refused, match="protected: the customer is protected: 透析") as caught:
            ask(store, request_key="every time another" + str(_))
    found = orders.get(store, caught.value.order_id or 0)
    assert (found["state"], found["is_open"], found["outcome"]) == (
        "refused",
        False,
        "protected: the customer is protected: 透析",
    )
    assert found["ended_at"] == as_datetime(NOW)
    assert one(store, "SELECT count(*) FROM orders") == 1
    assert refused(store, who="陈晓") == ["protected"]  # another person's request is another record
    cluster.set_limits(store, {"notice_counts": "written"})
    store.execute("UPDATE notice SET at = at + interval '1 hour'")
    assert refused(store) == ["protected", "notice"]  # and so is another reason
    assert (
        one(store, "SELECT count(*) FROM orders WHERE meter_id = %s AND state = 'refused'", here.meter) == 3
    )


UNDELIVERED = "ALTER TABLE notice_delivery DISABLE TRIGGER USER; "
#: what to change in the store, and which gates must then say no
WORLD = {
    "UPDATE account SET protected = '学校'": ["protected"],
    "UPDATE account SET prepaid = false": ["balance"],
    "UPDATE account SET valid_to = '2026-03-11 09:00+08'": ["protected", "balance", "fall", "notice", "grace"],
    "UPDATE account SET valid_from = '2026-03-11 10:00:01+08'": ["protected", "balance", "fall", "notice", "grace"],
    "DELETE FROM balance": ["balance", "fall", "grace"],
    "UPDATE balance SET provisional_high_fen = 0": ["balance"],
    "UPDATE balance SET valid = false": ["balance"],
    "UPDATE balance SET newest_reading = NULL": ["balance"],
    "UPDATE balance SET as_of = '2026-03-11 07:59+08'": ["balance"],
    "UPDATE balance SET newest_reading = '2026-03-11 05:59+08'": ["balance"],
    UNDELIVERED + "DELETE FROM notice_delivery": ["notice", "grace"],
    UNDELIVERED + "UPDATE notice_delivery SET state = 'failed'": ["notice", "grace"],
    UNDELIVERED + "UPDATE notice_delivery SET state = 'sent'": ["notice", "grace"],
    UNDELIVERED
    + """UPDATE notice_delivery SET state = 'sent'; UPDATE cluster SET limits = '{"notice_counts": "sent"}'""": [],
    UNDELIVERED + "UPDATE notice_delivery SET at = '2026-03-11 09:31+08'": ["notice"],
    "UPDATE notice SET level = 'warn2'": ["notice", "grace"],
    """UPDATE cluster SET limits = '{"notice_counts": "written"}'; UPDATE notice SET at = '2026-03-11 09:31+08'""": ["notice"],
    # grace: the week of the practice, what a person granted, and a stop that began after the notice
    "INSERT INTO fee_terms (grace_days, reason, who, at) VALUES (7, 'x', 'x', now())": ["grace"],
    "INSERT INTO fee_terms (trips, grace_days, reason, who, at) VALUES (false, 0, 'x', 'x', now())": ["balance"],
    "INSERT INTO fee_terms (stop_fen, grace_days, reason, who, at) VALUES (-110, 0, 'x', 'x', now())": ["balance"],
    "INSERT INTO fee_terms (stop_fen, grace_days, reason, who, at) VALUES (-109, 0, 'x', 'x', now())": [],
    "INSERT INTO fee_terms (account_id, grace_days, reason, who, at) SELECT account_id, 1, 'x', 'x', now() FROM account": ["grace"],
    "INSERT INTO grace (account_id, last_day, reason, who, at) SELECT account_id, '2026-03-11', 'x', 'x', now() FROM account": ["grace"],
    "INSERT INTO grace (account_id, last_day, reason, who, at) SELECT account_id, '2026-03-10', 'x', 'x', now() FROM account": [],
    "INSERT INTO grace (account_id, last_day, reason, who, at, revoked_by, revoked_at) "
    "SELECT account_id, '2026-03-11', 'x', 'x', now(), 'y', now() FROM account": [],
    "UPDATE balance SET stop_since = NULL": ["grace"],
    "UPDATE balance SET stop_since = '2026-03-11 09:31+08'": ["grace"],
    # an instalment since the last payment: he has paid for what he used
    "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
    "SELECT account_id, 'instalment', '1/2026-03-09', 1, -110, '', '{}', now() FROM account": ["balance"],
    "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
    "SELECT account_id, 'instalment', '1/2026-03-09', 1, -109, '', '{}', now() FROM account": [],
    "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
    "SELECT account_id, 'instalment', '1/2026-03-09', 1, -110, '', '{}', now() FROM account; "
    "INSERT INTO fee_terms (debt_trips, grace_days, reason, who, at) VALUES (true, 0, 'x', 'x', now())": [],
    "DELETE FROM calendar_day": ["calendar"],
    "DELETE FROM calendar_day WHERE day = '2026-03-12'": ["calendar"],
    "UPDATE calendar_day SET kind = 'no-trip' WHERE day = '2026-03-11'": ["calendar"],
    "UPDATE calendar_day SET kind = 'holiday' WHERE day = '2026-03-12'": ["calendar"],
    "UPDATE cluster SET zone = 'Europe/Madrid'": ["calendar"],  # where it is three in the morning
    """UPDATE cluster SET limits = '{"trips_per_hour": 0}'""": ["cap"],
    """UPDATE cluster SET limits = '{"trip_from": "10:30"}'""": ["calendar"],
    # a second account on the point: nobody can say whose balance decides
    # which the store itself refuses; from before it did, or with that switched off
    "ALTER TABLE account DISABLE TRIGGER USER; "
    "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT customer_id, point_id, 'x', true, '2026-02-01' "
    "FROM account": ["protected", "balance", "fall", "notice", "grace"],
    "UPDATE trip_stop SET stopped = true, reason = 'x', who = 'x', at = now()": ["stopped"],
    "DELETE FROM trip_stop": ["stopped"],
    "DELETE FROM job_run": ["validation"],
    "UPDATE job_run SET ok = false": ["validation"],
    "UPDATE job_run SET day = '2026-03-09'": ["validation"],
    "UPDATE job_run SET job = 'vee-late'": ["validation"],
    """INSERT INTO no_trip (first_day, last_day, kind, reason, who, at) VALUES ('2026-03-12', '2026-03-13', 'heat', 'x', 'x', now())""": ["calendar"],
    "UPDATE balance SET provisional_low_fen = -10101": ["fall"],
    "UPDATE balance SET provisional_low_fen = -10100": [],
    "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
    "SELECT account_id, 'charge', '2026-03-10', 1, -10000, '', '{}', now() FROM account": ["fall"],
    # an exchange of the meter this morning, and one of long ago
    "UPDATE installation SET valid_from = '2026-03-11 08:00+08'; INSERT INTO meter (asset, phases, accuracy) VALUES ('old', 1, 0.01); "
    "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from, valid_to) SELECT m.meter_id, i.point_id, "
    "i.terminal_id, 'old', 1, 1, '2026-01-01', '2026-03-11 08:00+08' FROM installation i, meter m WHERE m.asset = 'old'": ["validation"],
    "UPDATE installation SET valid_from = '2026-03-11 08:00+08'": [],
    **{
        "INSERT INTO finding (rule, rule_version, subject_kind, subject_id, day, first_day, severity, title_en, title_zh, evidence, state, "
        f"first_seen, last_seen) SELECT '{rule}', 1, 'meter', meter_id, '{day}', '{day}', 'alarm', '', '', '{{}}', '{state}', now(), now() "
        "FROM meter": gates
        for rule, day, state, gates in (
            ("vee-spike", "2026-03-10", "new", ["validation"]), ("vee-register", "2026-03-10", "acknowledged", ["validation"]),
            ("vee-multiplier", "2026-02-08", "work-order", ["validation"]), ("wrong-ratio", "2026-03-10", "recurred", ["validation"]),
            ("vee-spike", "2026-02-07", "new", []), ("vee-spike", "2026-03-10", "closed", []), ("vee-spike", "2026-03-10", "withdrawn", []),
            ("offline", "2026-03-10", "new", []),
        )
    },
}  # fmt: skip


def test_what_the_gates_see_of_the_store(store: Connection) -> None:
    broke(store)
    facts, limits = orders.facts(store, "1", NOW)
    assert (facts.balance_high_fen, facts.protected, facts.day_kind, facts.next_day_kind) == (
        -110,
        "",
        "workday",
        "workday",
    )
    assert limits == cluster.limits(store)
    store.commit()
    for change, gates in WORLD.items():
        with store.transaction(force_rollback=True):
            store.execute(change)
            given, limits = orders.facts(store, "1", NOW)
            told = [r.gate for r in orders.gates.ask(given, limits)]
        assert told == gates, change
    with pytest.raises(UnknownMeter):
        orders.facts(store, "9", NOW)


def pay(conn: Connection, fen: int, paid_at: Any, serial: str = "1") -> None:
    ledger.pay(
        conn, customer="C1", channel="bank", accounting_date=dt.date(2026, 3, 11), serial=serial, amount_fen=fen, paid_at=paid_at, now=NOW
    )  # fmt: skip


def test_a_correction_of_days_gone_by_is_a_fall(store: Connection) -> None:
    """A price or a ratio that was put in wrong makes old days dear today."""
    here = broke(store)
    facts, limits = orders.facts(store, "1", NOW)
    assert orders.gates.ask(facts, limits) == []
    ledger.post(
        store,
        [ledger.Charge(here.account or 0, f"2026-03-0{day}", 2, -9_000, bytes(32), {}) for day in (2, 3, 4)],
        now=NOW,
    )
    facts, limits = orders.facts(store, "1", NOW)
    assert (facts.usual_day_fen, facts.fall_fen or 0) >= (2_000, 27_000)
    assert [r.gate for r in orders.gates.ask(facts, limits)] == ["fall"]


def test_a_payment_counts_at_once_and_charges_do_not(store: Connection) -> None:
    here = broke(store)
    ledger.post(store, [ledger.Charge(here.account or 0, "2026-03-10", 1, -5000, bytes(32), {})], now=NOW)
    pay(store, 109, at("2026-03-11 08:00"))
    facts, _ = orders.facts(store, "1", NOW)
    assert facts.balance_high_fen == -1
    assert facts.noticed_at is not None  # the notice came after that payment
    pay(store, 1, at("2026-03-11 09:30"), "2")
    facts, _ = orders.facts(store, "1", NOW)
    assert (facts.balance_high_fen, facts.noticed_at) == (0, None)
    assert refused(store) == ["balance", "notice"]


def send(conn: Connection, here: Place, order: int, now: Any = NOW) -> Fence:
    held = fence(conn, here)
    orders.approve(conn, order, who="李敏", now=now)
    assert orders.begin(conn, order, fence=held, now=now) == []
    return held


def test_caps_by_area_and_system(store: Connection) -> None:
    cluster.set_limits(store, {"trips_per_hour": 3, "trips_per_day": 4, "trips_per_area_hour": 2})
    homes = [broke(store, f"{k}", area="A1" if k < 3 else "A2", terminal=f"T{k}") for k in range(6)]
    for k in (0, 1):
        send(store, homes[k], ask(store, f"{k}"))
    assert refused(store, asset="2") == ["cap"]  # two in its area
    send(store, homes[3], ask(store, "3"))
    assert refused(store, asset="4") == ["cap"]  # three in the hour
    hour = NOW + HOUR
    store.execute(
        "UPDATE balance SET as_of = %s, newest_reading = %s", (as_datetime(hour), as_datetime(hour))
    )
    send(store, homes[4], ask(store, "4", now=hour, expires=hour + HOUR), hour)
    with pytest.raises(Refused, match="4 trips in the last 24 hours; the cap is 4"):
        ask(store, "5", now=hour, expires=hour + HOUR)


def test_the_cap_holds_when_two_send_at_once(store_dsn: str, store: Connection, second: Connection) -> None:
    cluster.set_limits(store, {"trips_per_hour": 1})
    for k in range(4):
        homes = [broke(store, f"{k}{j}", terminal=f"T{k}{j}") for j in range(2)]
        fences = [fence(store, here) for here in homes]
        made = [ask(store, here.asset) for here in homes]
        for order in made:
            orders.approve(store, order, who="李敏", now=NOW)
        found = both(
            lambda: orders.begin(store, made[0], fence=fences[0], now=NOW),  # noqa: B023
            lambda: orders.begin(second, made[1], fence=fences[1], now=NOW),  # noqa: B023
        )
        assert sorted(len(refusals) for refusals in found) == [0, 1]
        store.execute("UPDATE orders SET sent_at = NULL; DELETE FROM trip_bucket")
        store.commit()


# --- approval --------------------------------------------------------------------------------------------------


def test_approval_by_another_person(store: Connection) -> None:
    broke(store)
    order = ask(store, who="陈晓")
    for who in ("陈晓", "job:prepaid"):
        with pytest.raises(Refused, match="second_person"):
            orders.approve(store, order, who=who, now=NOW)
        assert state(store, order) is State.WANTED
    assert orders.approve(store, order, who="李敏", now=NOW) == State.APPROVED
    found = orders.get(store, order)
    assert (found["approved_by"], found["approved_at"]) == ("李敏", as_datetime(NOW))
    with pytest.raises(NoSuchStep, match="an order that is approved cannot approve"):
        orders.approve(store, order, who="李敏", now=NOW)


def test_the_gates_are_asked_again_at_approval_and_at_sending(store: Connection) -> None:
    here = broke(store)
    held = fence(store, here)
    order = ask(store)
    store.execute("UPDATE account SET protected = '透析'")
    with pytest.raises(Refused, match="protected"):
        orders.approve(store, order, who="李敏", now=NOW)
    assert state(store, order) is State.REFUSED
    store.execute("UPDATE account SET protected = ''")
    order = ask(store)
    orders.approve(store, order, who="李敏", now=NOW)
    with store.transaction():  # booked, and not yet voided what it makes needless
        book(store, "C1", 5000, NOW)
    store.commit()
    assert [r.gate for r in orders.begin(store, order, fence=held, now=NOW)] == ["balance", "notice"]
    found = orders.get(store, order)
    assert (found["state"], found["sent_at"], found["is_open"]) == ("refused", None, False)


def test_a_trip_written_into_the_table_without_approval_is_not_sent(store: Connection) -> None:
    here = broke(store)
    order = ask(store)
    force(store, order, State.APPROVED)
    assert [r.gate for r in orders.begin(store, order, fence=fence(store, here), now=NOW)] == [
        "second_person"
    ]


# --- sending and after -----------------------------------------------------------------------------------------


def test_begin_is_committed_before_the_first_byte(store: Connection, second: Connection) -> None:
    here = broke(store)
    order = ask(store)
    held = send(store, here, order)
    assert idle(store)
    found = orders.get(second, order)
    assert (found["state"], found["epoch"], found["sent_at"]) == ("sending", held.epoch, as_datetime(NOW))
    with pytest.raises(NoSuchStep, match="an order that is sending cannot send"):
        orders.begin(store, order, fence=held, now=NOW)
    with pytest.raises(NoSuchStep, match="an order that is sending cannot cancel"):
        orders.cancel(store, order, who="陈晓", now=NOW)


def test_a_whole_life(store: Connection) -> None:
    here = broke(store)
    order = ask(store)
    held = send(store, here, order)
    steps = [
        (Event.LOSE, "no answer", None),
        (Event.HOLD, "still closed", {"relay": {"open": False}}),
        (Event.PROVE, "", {"relay": {"open": True}}),
    ]
    for k, (event, detail, result) in enumerate(steps):
        orders.step(store, order, event, fence=held, now=NOW + (k + 1) * HOUR, detail=detail, result=result)
    found = orders.get(store, order)
    assert (found["state"], found["is_open"], found["outcome"], found["result"]) == (
        "verified",
        False,
        "still closed",
        {"relay": {"open": True}},
    )
    assert found["ended_at"] == as_datetime(NOW + 3 * HOUR)
    told = [(e["seq"], e["event"], e["state"], e["who"]) for e in found["events"]]
    assert told == [
        (1, "request", "wanted", "job:prepaid"), (2, "approve", "approved", "李敏"), (3, "send", "sending", OWNER),
        (4, "lose", "unknown", OWNER), (5, "hold", "pending", OWNER), (6, "prove", "verified", OWNER),
    ]  # fmt: skip
    assert table(store, "SELECT DISTINCT topic, key FROM feed WHERE topic = 'order'") == [
        ("order", str(order))
    ]
    with pytest.raises(psycopg.errors.RaiseException, match="order_event is append-only"):
        store.execute("DELETE FROM order_event")


def test_every_state_and_event_in_the_store(store: Connection) -> None:
    here = place(store, "1")
    held = fence(store, here)
    for before, event in itertools.product(State, Event):
        order = ask(store, action="close")
        force(store, order, before)
        expected = TABLE.get((before, event))
        if expected is None:
            with pytest.raises(NoSuchStep):
                orders.step(store, order, event, fence=held, now=NOW)
            assert state(store, order) is before
        else:
            assert orders.step(store, order, event, fence=held, now=NOW) is expected
            assert state(store, order) is expected
        force(store, order, State.CANCELLED)


def test_only_the_owner_of_the_terminal_moves_it(store: Connection) -> None:
    here, other = broke(store), place(store, "2", terminal="T2")
    order = ask(store)
    old = send(store, here, order)
    elsewhere = fence(store, other)
    with pytest.raises(StaleOwner):  # a lease, but of another terminal
        orders.step(store, order, Event.ANSWER, fence=elsewhere, now=NOW)
    new = fence(store, here, "another collector")
    with pytest.raises(StaleOwner, match=f"order {order}: terminal {here.terminal} is not held by {OWNER}"):
        orders.step(store, order, Event.ANSWER, fence=old, now=NOW)
    with pytest.raises(StaleOwner):
        orders.step(store, order, Event.ANSWER, fence=Fence(new.owner, new.terminal_id, old.epoch), now=NOW)
    assert state(store, order) is State.SENDING
    store.execute(
        "UPDATE lease SET until = clock_timestamp() - interval '1 second' WHERE terminal_id = %s",
        (here.terminal,),
    )
    store.commit()
    with pytest.raises(StaleOwner):
        orders.step(store, order, Event.LOSE, fence=new, now=NOW)
    third = fence(store, here, "third")
    assert orders.step(store, order, Event.LOSE, fence=third, now=NOW) is State.UNKNOWN  # what a restart does
    assert [o["order_id"] for o in orders.work(store, [here.terminal])] == [order]
    assert orders.expire(store, now=NOW + 1000 * HOUR, who="x") == []  # an outcome that is open stays open


def test_a_stale_owner_sends_nothing(store: Connection) -> None:
    here = broke(store)
    order = ask(store)
    orders.approve(store, order, who="李敏", now=NOW)
    old = fence(store, here)
    fence(store, here, "another")
    with pytest.raises(StaleOwner):
        orders.begin(store, order, fence=old, now=NOW)
    assert state(store, order) is State.APPROVED


def test_what_was_not_sent_in_time(store: Connection) -> None:
    here = broke(store)
    trip, close = ask(store), ask(store, asset=place(store, "2").asset, action="close", expires=LATER)
    assert orders.expire(store, now=LATER - 1, who=OWNER) == []
    orders.approve(store, trip, who="李敏", now=NOW)
    held = fence(store, here)
    # the worker comes before the sweep
    assert [r.gate for r in orders.begin(store, close, fence=held, now=LATER)] == ["expiry"]
    assert state(store, close) is State.EXPIRED
    assert orders.expire(store, now=LATER, who=OWNER) == [trip]
    assert idle(store)
    found = orders.get(store, trip)
    assert (found["state"], found["outcome"]) == ("expired", "not sent by 2026-03-11T03:00:00+00:00")
    assert orders.expire(store, now=LATER, who=OWNER) == []


def test_work_is_by_priority_and_age(store: Connection) -> None:
    here, other = place(store, "1"), place(store, "2", terminal="T2")
    first = ask(store, action="", kind="read")
    second = ask(store, action="close", priority=1)
    third = ask(store, action="set", kind="clock")
    ask(store, asset="2", action="close")
    assert [o["order_id"] for o in orders.work(store, [here.terminal])] == [second, first, third]
    assert len(orders.work(store, [here.terminal, other.terminal])) == 4
    assert orders.work(store, []) == []
    assert [o["order_id"] for o in orders.listing(store, limit=2, meter="1")] == [third, second]
    assert [o["order_id"] for o in orders.listing(store, limit=9, meter="1", before=third, kind="read")] == [
        first
    ]
    orders.cancel(store, second, who="x", now=NOW)
    assert [o["order_id"] for o in orders.listing(store, limit=9, meter="1", open_only=True)] == [
        third,
        first,
    ]


def test_the_owner_is_woken(store_dsn: str, store: Connection) -> None:
    here = place(store, "1")
    with db.connect(store_dsn) as listener:
        listener.autocommit = True
        listener.execute("LISTEN headend_orders")
        ask(store, action="close")
        notices = list(listener.notifies(timeout=5, stop_after=1))
    assert [n.payload for n in notices] == [str(here.terminal)]
