"""Kill switch, tokens, batches, no-trip days and payments around orders in the store."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.control.order_state import NoSuchStep
from headend.store import batches, cluster, db, ledger, no_trip, orders, trip_batch, trip_buckets, trip_stop
from headend.store.db import Connection, StoreError
from headend.store.orders import OrderError, Refused
from headend.store.trip_batch import Plan
from protocols.localtime import as_datetime
from tests.headend.store.test_orders import ask, both, pay, send, state
from tests.support.arrears import HOUR, NOW, broke, fence
from tests.support.house import one, place, table

SECOND = np.timedelta64(1, "s")
MINUTE = np.timedelta64(60, "s")


def gates_of(caught: pytest.ExceptionInfo[Refused]) -> list[str]:
    return [r.gate for r in caught.value.refusals]


def ready(conn: Connection, asset: str = "1", **options: Any) -> tuple[int, orders.Fence]:
    """An approved trip and the fence that may send it."""
    here = broke(conn, asset, terminal=f"T{asset}", **options)
    order = ask(conn, asset)
    orders.approve(conn, order, who="李敏", now=NOW)
    return order, fence(conn, here)


# --- what cuts off -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "other", "refused"),
    [("tcp://10.0.0.1:502", "coil 9:0/trips", True), ("10.0.0.2:502", "coil 9:0", False), ("10.0.0.1:502", "coil 9:1", False)],
)  # fmt: skip
def test_one_coil_behind_two_terminals_of_one_line_trips_nobody(
    store: Connection, endpoint: str, other: str, refused: bool
) -> None:
    broke(store, "1", protocol="modbus-tcp", endpoint="10.0.0.1:502", switch=["coil 9:0"])
    place(store, "2", terminal="T2", protocol="modbus-tcp", endpoint=endpoint, switch=[other])
    if not refused:
        ask(store, "1")
        return
    with pytest.raises(Refused, match="the same switch cuts off meter 2") as caught:
        ask(store, "1")
    assert gates_of(caught) == ["switch"]


def test_rounds_of_a_terminal_that_has_another_address_by_now_trip_nobody(store: Connection) -> None:
    order, held = ready(store, protocol="gdw376", login="33010001", pn=1, switch=["round 2"])
    store.execute("UPDATE terminal SET login = '33010002'")
    where = {"address": "000000000001", "switch": ("round 2",)}
    (refusal,) = orders.begin(store, order, fence=held, now=NOW, login="33010001", **where)
    assert (refusal.gate, state(store, order)) == ("route", "refused")


# --- the kill switch -------------------------------------------------------------------------------------------


def test_the_kill_switch_refuses_everywhere_and_gives_supply_back(store: Connection) -> None:
    order, held = ready(store)
    wanted = ask(store, broke(store, "2", terminal="T2").asset)
    trip_stop.stop(store, who="王芳", reason="wrong tariff", now=NOW)
    broke(store, "3", terminal="T3")
    with pytest.raises(Refused, match=r"trips are stopped: by 王芳 .*wrong tariff") as caught:
        ask(store, "3")
    assert gates_of(caught) == ["stopped"]
    with pytest.raises(Refused, match="stopped"):
        orders.approve(store, wanted, who="李敏", now=NOW)
    assert [r.gate for r in orders.begin(store, order, fence=held, now=NOW)] == ["stopped"]
    assert state(store, order) == "refused"
    close = ask(store, "3", "close")
    assert orders.begin(store, close, fence=fence(store, place(store, "9", terminal="T3")), now=NOW) == []


def test_two_persons_let_trips_go_on(store: Connection) -> None:
    with pytest.raises(trip_stop.CannotResume, match="not stopped"):
        trip_stop.resume(store, who="李敏", reason="x", now=NOW)
    trip_stop.stop(store, who="job:watch", reason="too many", now=NOW)
    with pytest.raises(trip_stop.CannotResume, match="not a person"):
        trip_stop.resume(store, who="job:watch", reason="x", now=NOW)
    assert trip_stop.resume(store, who="李敏", reason="looked", now=NOW)["stopped"]
    with pytest.raises(trip_stop.CannotResume, match="another person"):
        trip_stop.resume(store, who="李敏", reason="again", now=NOW)
    trip_stop.stop(store, who="王芳", reason="no, wait", now=NOW)  # takes the first word back
    assert trip_stop.resume(store, who="陈晓", reason="well", now=NOW)["resume_by"] == "陈晓"
    row = trip_stop.resume(store, who="李敏", reason="well", now=NOW)
    assert (row["stopped"], row["resume_by"]) == (False, None)
    with pytest.raises(StoreError, match="why"):
        trip_stop.stop(store, who="王芳", reason=" ", now=NOW)


def test_a_stop_waits_for_a_trip_that_is_being_sent_and_stops_the_next(
    store: Connection, second: Connection
) -> None:
    """Whoever has thrown the switch knows that nothing leaves any more."""
    store.execute("BEGIN")
    assert trip_stop.state(store, hold=True) is not None
    second.execute("SET lock_timeout = '300ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        trip_stop.stop(second, who="王芳", reason="x", now=NOW)
    second.rollback()
    store.rollback()
    trip_stop.stop(second, who="王芳", reason="x", now=NOW)


# --- tokens ----------------------------------------------------------------------------------------------------


def network(conn: Connection) -> None:
    """Two areas on one line, of one organisation each."""
    conn.execute(
        "INSERT INTO line (code, name, voltage_kv) VALUES ('L1', '', 10); INSERT INTO organisation (code, name, kind) VALUES ('C', '', 'county'), "
        "('S1', '', 'station'), ('S2', '', 'station'); INSERT INTO organisation_span (organisation_id, parent_id, valid_from) "
        "SELECT s.organisation_id, c.organisation_id, '2026-01-01' FROM organisation s, organisation c WHERE s.kind = 'station' AND c.code = 'C'; "
        "INSERT INTO area_span (area_id, line_id, organisation_id, valid_from) SELECT area_id, line_id, organisation_id, '2026-01-01' "
        "FROM area JOIN organisation o ON o.code = 'S' || right(area.code, 1), line"
    )
    conn.commit()


def test_tokens_of_every_scope(store: Connection) -> None:
    homes = [broke(store, f"{k}", terminal=f"T{k}", area=f"A{1 + k // 2}") for k in range(4)]
    network(store)
    for limits, refused in (
        ({"trips_per_area_day": 1}, [1]),
        ({"trips_per_line_day": 1}, [1, 2]),
        ({"trips_per_organisation_minute": 1}, [1]),
        ({"trips_per_minute": 1}, [1, 2]),
    ):
        cluster.set_limits(store, limits)
        send(store, homes[0], ask(store, "0"))
        for k in (1, 2):
            facts, now = orders.facts(store, f"{k}", NOW)
            assert [r.gate for r in orders.gates.ask(facts, now)] == (["cap"] if k in refused else []), (
                limits,
                k,
            )
        store.execute(
            "UPDATE orders SET is_open = false, state = 'failed'; DELETE FROM trip_bucket; UPDATE cluster SET limits = '{}'"
        )
        store.commit()


def test_a_token_comes_back_after_its_span_and_not_before(store: Connection) -> None:
    cluster.set_limits(store, {"trips_per_hour": 1})
    send(store, broke(store, "1"), ask(store, "1"))
    broke(store, "2", terminal="T2")
    for later, free in ((HOUR - SECOND, False), (HOUR, True)):
        facts, _ = orders.facts(store, "2", NOW + later)
        assert (facts.trips_hour == 0) is free


def test_a_refused_trip_takes_no_token(store: Connection) -> None:
    order, held = ready(store)
    store.execute("UPDATE account SET protected = '透析'")
    assert orders.begin(store, order, fence=held, now=NOW) != []
    assert one(store, "SELECT coalesce(sum(cardinality(taken)), 0) FROM trip_bucket") == 0


def test_the_last_token_goes_to_one_of_many(store_dsn: str, store: Connection) -> None:
    """Eight connections at once, of areas in opposite order of their locks; nobody waits for ever, and the cap holds."""
    cluster.set_limits(store, {f"trips_per_{scope}minute": 3 for scope in ("", "line_", "organisation_")})
    made = [ready(store, f"{k}", area=f"A{k % 3}") for k in range(8)]
    conns = [db.connect(store_dsn) for _ in made]
    try:
        found = both(*(
            lambda c=c, m=m: orders.begin(c, m[0], fence=m[1], now=NOW) for c, m in zip(conns, made, strict=True)
        ))  # fmt: skip
    finally:
        for conn in conns:
            conn.close()
    assert [type(f) for f in found] == [list] * 8, found
    assert sum(f == [] for f in found) == 3
    assert one(store, "SELECT cardinality(taken) FROM trip_bucket WHERE scope = 'system'") == 3


def test_who_belongs_nowhere_shares_one_bucket(store: Connection) -> None:
    here = broke(store)
    store.execute("DELETE FROM loss_role")
    held = trip_buckets.of_meter(store, here.meter, as_datetime(NOW))
    assert held.subjects == {"system": [0], "organisation": [0], "line": [0], "area": [0]}


# --- days on which an organisation spares ----------------------------------------------------------------------


def test_days_of_an_organisation_hold_below_it_and_on_the_eve(store: Connection) -> None:
    broke(store, "1", area="A1")
    broke(store, "2", area="A2", terminal="T2")
    network(store)
    day = dt.date(2026, 3, 11)

    def spared() -> list[str]:
        found = [k for k in ("1", "2") if orders.facts(store, k, NOW)[0].no_trip]
        store.rollback()
        return found

    for organisation, first, expected in (
        ("S1", day, ["1"]), ("C", day, ["1", "2"]), ("", day, ["1", "2"]),
        ("S2", day + dt.timedelta(days=1), ["2"]), ("S2", day + dt.timedelta(days=2), []), ("S2", day - dt.timedelta(days=1), []),
    ):  # fmt: skip
        number = no_trip.declare(
            store,
            first=first,
            last=first,
            kind="exam",
            reason="高考",
            who="王芳",
            now=NOW,
            organisation=organisation,
        )
        assert spared() == expected, (organisation, first)
        no_trip.withdraw(store, number, who="王芳", now=NOW)
        assert spared() == []
    # whose customer it is is not known: any organisation's days hold
    store.execute("DELETE FROM area_span")
    store.commit()
    no_trip.declare(
        store, first=day, last=day, kind="heat", reason="39 °C", who="王芳", now=NOW, organisation="S1"
    )
    assert spared() == ["1", "2"]
    with pytest.raises(
        Refused, match=r"calendar: heat alert \(高温预警\) of S1 from 2026-03-11 to 2026-03-11: 39 °C"
    ):
        ask(store)


def test_what_cannot_be_declared(store: Connection) -> None:
    day = dt.date(2026, 3, 11)
    good = {"first": day, "last": day, "kind": "exam", "reason": "x", "who": "x", "now": NOW}
    for wrong, why in (
        ({"kind": "rain"}, "no kind of no-trip days 'rain'"), ({"reason": " "}, "say why"), ({"organisation": "X"}, "no organisation X"),
        ({"last": day - dt.timedelta(days=1)}, "no span of 1 to 92"), ({"last": day + dt.timedelta(days=92)}, "no span"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match=why):
            no_trip.declare(store, **(good | wrong))
        store.rollback()
    with pytest.raises(no_trip.UnknownDeclaration):
        no_trip.withdraw(store, 7, who="x", now=NOW)


# --- keep-power, falls, payments -------------------------------------------------------------------------------


def test_keep_power_that_was_told_or_read_back_stands_against_a_trip(store: Connection) -> None:
    here = broke(store)
    held = fence(store, here)

    def on() -> bool | None:
        found = orders.facts(store, "1", NOW)[0].keep_power
        store.rollback()
        return found

    def seen(keep: bool) -> dict[str, Any]:
        return {"relay": {"open": False, "permitted": False, "keep_power": keep, "load_kw": 0.1}}

    def told(action: str, *steps: tuple[str, dict[str, Any] | None]) -> None:
        order = ask(store, action=action)
        assert orders.begin(store, order, fence=held, now=NOW) == []
        for event, result in steps:
            orders.step(store, order, orders.Event(event), fence=held, now=NOW, result=result)

    assert on() is False
    told("keep-power", ("lose", None))
    assert on() is True  # perhaps it took it
    store.execute("UPDATE orders SET is_open = false, state = 'expired'")
    told("end-keep-power", ("reject", None))
    assert on() is True
    told("end-keep-power", ("answer", None), ("prove", seen(False)))
    assert on() is False
    told("close", ("answer", None), ("prove", seen(True)))  # somebody else has switched it on
    with pytest.raises(
        Refused, match="keep_power: the meter, or the terminal that switches it, is in keep-power"
    ):
        ask(store)


def test_a_fall_waits_for_a_person_who_has_looked(store: Connection) -> None:
    broke(store)
    store.execute("UPDATE balance SET provisional_low_fen = -20000")
    order = ask(store, who="陈晓")
    found = orders.get(store, order)
    assert (
        found["state"],
        found["outcome"].startswith("waits: fall: the balance has fallen by 199.00 yuan"),
    ) == ("wanted", True)
    with pytest.raises(Refused) as caught:
        orders.approve(store, order, who="李敏", now=NOW)
    assert (gates_of(caught), state(store, order)) == (["fall"], "wanted")
    with pytest.raises(Refused) as caught:
        orders.approve(store, order, who="陈晓", now=NOW, accept=["fall"])
    assert (gates_of(caught)[-1], state(store, order)) == ("second_person", "wanted")
    with pytest.raises(OrderError, match="nobody can accept what 'cap' says"):
        orders.approve(store, order, who="李敏", now=NOW, accept=["cap"])
    orders.approve(store, order, who="李敏", now=NOW, accept=["fall"])
    found = orders.get(store, order)
    assert (found["state"], found["accepted"], found["events"][-1]["detail"]) == (
        "approved",
        {"fall": "李敏"},
        "accepts: fall",
    )
    assert orders.begin(store, order, fence=fence(store, broke_place(store)), now=NOW) == []


def broke_place(conn: Connection) -> Any:
    row = conn.execute("SELECT terminal_id AS terminal FROM installation LIMIT 1").fetchone()
    assert row is not None
    return type("Here", (), row)


def test_a_payment_voids_what_has_not_been_sent(store: Connection) -> None:
    order, held = ready(store)
    sent_order, sent_held = ready(store, "2")
    assert orders.begin(store, sent_order, fence=sent_held, now=NOW) == []
    pay(store, 1, NOW)
    found = orders.get(store, order)
    assert (found["state"], found["outcome"], found["events"][-1]["who"]) == (
        "cancelled",
        "void: the customer has paid",
        "payment:bank",
    )
    with pytest.raises(NoSuchStep):
        orders.begin(store, order, fence=held, now=NOW)
    store.rollback()
    ledger.pay(
        store,
        customer="C2",
        channel="bank",
        accounting_date=dt.date(2026, 3, 11),
        serial="9",
        amount_fen=9,
        paid_at=NOW,
        now=NOW,
    )
    assert state(store, sent_order) == "sending"  # beyond recall; reading tells


# --- not before ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["trip", "close"])
def test_an_order_is_not_sent_before_its_time_and_stays(store: Connection, action: str) -> None:
    here = broke(store)
    held = fence(store, here)
    order = ask(store, action=action, not_before=NOW + 10 * MINUTE)
    if action == "trip":
        orders.approve(store, order, who="李敏", now=NOW)
    early = NOW + 10 * MINUTE - np.timedelta64(1, "us")
    assert orders.work(store, [here.terminal], now=early) == []
    assert [r.gate for r in orders.begin(store, order, fence=held, now=early)] == ["not_before"]
    assert state(store, order) == "approved"
    assert [o["order_id"] for o in orders.work(store, [here.terminal], now=NOW + 10 * MINUTE)] == [order]
    assert orders.begin(store, order, fence=held, now=NOW + 10 * MINUTE) == []
    with pytest.raises(OrderError, match="would expire before"):
        ask(store, action=action, not_before=NOW + HOUR)


# --- batches ---------------------------------------------------------------------------------------------------


def plan(meters: list[str], **more: Any) -> Plan:
    given: dict[str, Any] = {
        "reason": "arrears",
        "who": "陈晓",
        "now": NOW,
        "expires": NOW + 4 * HOUR,
        "every": 90.0,
        "key": "march",
    }
    return Plan(tuple(meters), **(given | more))


def test_a_batch_is_tried_asked_for_staggered_and_approved_each_by_itself(store: Connection) -> None:
    for k in range(3):
        broke(store, f"{k}", terminal=f"T{k}", protected="透析" if k == 1 else "")
    dry = trip_batch.dry_run(store, plan(["0", "1", "2", "99"]))
    assert [(a.meter, a.refused, [gate for gate, _ in a.reasons]) for a in dry] == [
        ("0", False, []), ("1", True, ["protected"]), ("2", False, []), ("99", True, ["meter"]),
    ]  # fmt: skip
    assert one(store, "SELECT count(*) FROM orders") == 0
    number, told = trip_batch.ask(store, plan(["0", "1", "2", "99"]))
    assert [a.refused for a in told] == [False, True, False, True]
    again, repeated = trip_batch.ask(store, plan(["0", "1", "2", "99"]))
    assert (again, [a.order for a in repeated][::2]) == (number, [a.order for a in told][::2])
    assert [a.not_before for a in told][::2] == [as_datetime(NOW), as_datetime(NOW + 180 * SECOND)]
    assert one(store, "SELECT asked FROM trip_batch WHERE batch_id = %s", number) == 2
    assert [a.refused for a in trip_batch.approve(store, number, who="陈晓", now=NOW)] == [True, True]
    store.execute("UPDATE balance SET valid = false WHERE account_id = (SELECT max(account_id) FROM account)")
    store.commit()
    done = trip_batch.approve(store, number, who="李敏", now=NOW)
    assert [(a.meter, a.refused) for a in done] == [("0", False), ("2", True)]
    assert [state(store, a.order or 0) for a in told if a.order][::2] == ["approved", "refused"]
    row = batches.listing(store, limit=9)[0]
    assert (row["asked"], row["approved"], row["void"], row["wanted"]) == (
        2,
        1,
        2,
        0,
    )  # one refused when it was asked for, one when it was to be approved
    with pytest.raises(StoreError, match="do not fit before the orders expire"):
        trip_batch.ask(store, plan(["0", "1"], every=4 * 3600.0))
    with pytest.raises(batches.UnknownBatch):
        trip_batch.approve(store, 77, who="李敏", now=NOW)


def test_an_unusual_batch_waits_until_another_person_has_released_it(store: Connection) -> None:
    cluster.set_limits(store, {"batch_small": 2, "batch_history": 2, "batch_times": 2})
    for k in range(5):
        broke(store, f"{k}", terminal=f"T{k}")
    number, told = trip_batch.ask(store, plan([f"{k}" for k in range(5)]))
    assert [a.refused for a in told] == [False] * 5
    assert "quarantine: a batch of 3 trips" in told[2].reasons[0][1]
    assert all(a.refused for a in trip_batch.approve(store, number, who="李敏", now=NOW))
    assert table(store, "SELECT DISTINCT state FROM orders") == [("wanted",)]
    for who, why in (("陈晓", "cannot release it"), ("job:x", "not a person")):
        with pytest.raises(StoreError, match=why):
            batches.release(store, number, who=who, why="x", now=NOW)
        store.rollback()
    assert batches.release(store, number, who="李敏", why="end of quarter", now=NOW) == 5
    assert not any(a.refused for a in trip_batch.approve(store, number, who="李敏", now=NOW))
    # one more than was released: nobody of it goes
    here = broke(store, "5", terminal="T5")
    trip_batch.ask(store, plan(["5"]))
    order = told[0].order or 0
    held = fence(store, place(store, "x", terminal="T0"))
    assert [r.gate for r in orders.begin(store, order, fence=held, now=NOW)] == ["quarantine"]
    assert here.asset == "5"


def test_what_one_asks_for_in_a_day_is_a_batch(store: Connection) -> None:
    """A job with a wrong tariff asks one by one, and is a batch all the same; what is usual for it passes."""
    cluster.set_limits(store, {"batch_small": 1, "batch_history": 2, "batch_times": 2})
    for k, size in enumerate((2, 1)):
        store.execute(
            "INSERT INTO trip_batch (key, who, day, reason, at, asked) VALUES (%s, 'job:prepaid', %s, '', '2026-03-01', %s)",
            (f"{k}", dt.date(2026, 3, k + 1), size),
        )  # fmt: skip
    made = []
    for k in range(3):
        broke(store, f"{k}", terminal=f"T{k}")
        made.append(ask(store, f"{k}"))
    assert [orders.get(store, order)["outcome"] for order in made[:2]] == ["", ""]
    assert "a batch of 3 trips, where 1 are usual" in orders.get(store, made[2])["outcome"]
    assert len({orders.get(store, order)["batch_id"] for order in made}) == 1
