"""Running balances between bounds that hold the truth; notices once; trips and permits only as they may be asked for."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.control.order_state import Event
from headend.jobs import prepaid, settle
from headend.store import cluster, ledger, notices, orders, tariffs
from headend.store.db import Connection, StoreError
from tests.headend.store.test_tariffs import offered
from tests.support.arrears import fence, without_grace
from tests.support.house import Place, at, one, place, table
from tests.support.household import PEAK, VALLEY, Home, fen, home, run
from tests.support.notices import deliver_all

TODAY = dt.date(2026, 3, 11)
#: 40 quarter-hours of 0.1 kWh until 10:00: 32 in the valley, 8 in the peak
SPENT = 8 * 1000 * PEAK + 32 * 1000 * VALLEY


def customer(conn: Connection, asset: str = "1", *, since: str = "2026-03-11 00:00", **options: Any) -> Place:
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(date '2026-03-01', date '2026-03-31', interval '1 day') d "
        "ON CONFLICT DO NOTHING"
    )
    conn.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES ('vee', '2026-03-10', '2026-03-11', 1, true, '')"
    )
    return place(conn, asset, customer=f"C{asset}", since=since, **options)


def steady(conn: Connection, here: Place, now: str = "2026-03-11 10:00") -> Home:
    """0.1 kWh in every quarter-hour from the midnight before."""
    house = home(here.meter, TODAY, 1, steady=1000)
    house.bring(conn, "2026-03-11 00:00", now)
    return house


def pay(conn: Connection, asset: str, amount: int, when: str = "2026-03-10 12:00", serial: str = "1") -> None:
    ledger.pay(
        conn, customer=f"C{asset}", channel="bank", accounting_date=TODAY, serial=f"{asset}/{serial}", amount_fen=amount,
        paid_at=at(when), now=at(when),
    )  # fmt: skip


def work(conn: Connection, now: str = "2026-03-11 10:05") -> str:
    with conn.transaction():
        return prepaid.job(run(conn, now), TODAY)


def shown(conn: Connection, asset: str = "1") -> dict[str, Any]:
    row = conn.execute(
        "SELECT b.* FROM balance b JOIN account USING (account_id) JOIN customer USING (customer_id) WHERE number = %s",
        (f"C{asset}",),
    ).fetchone()
    conn.commit()
    assert row is not None
    return row


def test_with_a_plan_whose_charge_is_not_known_nobody_is_cut_off(store: Connection) -> None:
    steady(store, customer(store, tariff="hunan-large-industry"))
    pay(store, "1", 100)
    assert work(store) == "1 unknown; 0 notices"  # by the ledger alone: the curve would have spent it
    found = shown(store)
    assert (found["provisional_low_fen"], found["provisional_high_fen"], found["valid"]) == (100, 100, False)


def test_a_plan_without_a_price_makes_nobody_elses_balance_unknown(store: Connection) -> None:
    text = offered(("2026-03-12", "0.5"), name="late")
    tariffs.put(store, [text], who="wang", reason="notice 8", now=at("2026-02-01 10:00"), today=TODAY)
    steady(store, customer(store))
    steady(store, place(store, "2", customer="C2", since="2026-03-11 00:00", tariff="late"))
    assert work(store) in ("1 stop, 1 unknown; 1 notices", "1 unknown, 1 stop; 1 notices")
    assert (shown(store)["valid"], shown(store, "2")["valid"]) == (True, False)


def test_what_was_used_since_is_priced_by_the_steps_too(store: Connection) -> None:
    """4 kWh were used, 3 of them in the second step, whatever hours they fell in."""
    here = customer(store, tariff="zhejiang-residential-steps", since="2025-06-01 00:00")
    steady(store, here)
    store.execute(
        "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
        "VALUES (%s, 'charge', '2026-03-10', 1, 0, '', '{}', '2026-03-11')",
        (here.account,),
    )
    work(store)
    assert not shown(store)["valid"]  # nobody knows what the year had brought
    store.execute("INSERT INTO account_opening VALUES (%s, '2026-03-11', %s)", (here.account, 2759 * 10_000))
    work(store)
    found = shown(store)
    assert found["valid"]
    spent = SPENT + 500 * 30_000
    assert (found["provisional_low_fen"], found["provisional_high_fen"]) == (
        -spent // 1_000_000,
        -(spent // 1_000_000),
    )


def test_what_is_left(store: Connection) -> None:
    here = customer(store)
    steady(store, here)
    pay(store, "1", 10_000)
    assert work(store) == "1 ok; 0 notices"
    found = shown(store)
    assert fen(SPENT) == 138
    # 137.60 fen are used: neither bound is rounded towards the other
    assert (found["ledger_fen"], found["provisional_low_fen"], found["provisional_high_fen"]) == (
        10_000,
        9_862,
        9_863,
    )
    assert (found["valid"], found["level"], found["newest_reading"]) == (
        True,
        "ok",
        at("2026-03-11 10:00").item().replace(tzinfo=dt.UTC),
    )
    assert found["as_of"] == at("2026-03-11 10:05").item().replace(tzinfo=dt.UTC)


def test_what_is_read_later_than_now_does_not_exist_yet(store: Connection) -> None:
    here = customer(store)
    steady(store, here, "2026-03-11 20:00")
    pay(store, "1", 10_000)
    work(store)
    assert shown(store)["provisional_low_fen"] == 9_862


@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_hold_the_truth_whatever_is_missing(store: Connection, seed: int) -> None:
    """Ten customers over two days, of which one is settled, with random holes up to the newest reading."""
    rng = np.random.default_rng(seed)
    houses = {}
    for k in range(10):
        here = customer(store, f"{k}", since="2026-03-10 00:00", ct=k + 1)
        house = home(here.meter, dt.date(2026, 3, 10), 2, seed=seed)
        house.freeze(store, "2026-03-10", "2026-03-11")
        pay(store, f"{k}", 10_000)
        newest = int(rng.integers(1, 97))
        end = str(dt.datetime(2026, 3, 11) + dt.timedelta(minutes=15 * newest))[:16]
        holes = np.flatnonzero(rng.random(newest) < rng.choice([0, 0.2, 0.9]))
        house.bring(store, "2026-03-11 00:00", end, without=holes.tolist())
        houses[f"{k}"] = (house, end, k + 1)
    with store.transaction():
        settle.job(run(store, "2026-03-11 00:40"), dt.date(2026, 3, 10))
    work(store, "2026-03-12 00:00")
    widths = []
    for asset, (house, end, ct) in houses.items():
        found = shown(store, asset)
        charged = fen(house.cost("2026-03-10 00:00", "2026-03-11 00:00", ct))
        assert found["ledger_fen"] == 10_000 - charged
        truth = (10_000 - charged) * 1_000_000 - house.cost("2026-03-11 00:00", end, ct)
        assert found["provisional_low_fen"] * 1_000_000 <= truth <= found["provisional_high_fen"] * 1_000_000
        widths.append(found["provisional_high_fen"] - found["provisional_low_fen"])
    assert max(widths) > 2  # somewhere the holes mattered


def test_a_balance_stands_on_the_settled_register_or_on_nothing(store: Connection) -> None:
    anchored, floating, quiet = (customer(store, asset) for asset in "123")
    for asset in "123":
        pay(store, asset, 100)
    steady(store, anchored)
    home(floating.meter, TODAY, 1, steady=1000).bring(
        store, "2026-03-11 00:00", "2026-03-11 10:00", without=[0]
    )
    assert work(store) == "1 stop, 2 unknown; 1 notices"
    for asset in "23":
        found = shown(store, asset)
        assert (found["level"], found["valid"], found["provisional_high_fen"]) == ("unknown", False, 100)
        assert found["invalid_why"]
    # the day freeze is as good as the curve's midnight
    home(floating.meter, TODAY, 1, steady=1000).freeze(store, "2026-03-11")
    work(store)
    assert shown(store, "2")["provisional_low_fen"] == -38
    assert quiet.account is not None


def test_an_unsettled_past_that_the_curve_does_not_reach_is_not_valid(store: Connection) -> None:
    """Settled nine days ago: the week that is looked at cannot tell what was used before it."""
    here = customer(store, since="2026-03-01 00:00")
    pay(store, "1", 10_000)
    house = home(here.meter, dt.date(2026, 3, 1), 11, steady=1000)
    house.freeze(store, "2026-03-01", "2026-03-02")
    with store.transaction():
        settle.job(run(store, "2026-03-02 00:40"), dt.date(2026, 3, 1))
    house.bring(store, "2026-03-04 00:00", "2026-03-11 10:00")
    assert work(store) == "1 unknown; 0 notices"
    assert not shown(store)["valid"]
    house.freeze(store, "2026-03-05")
    with store.transaction():
        settle.job(run(store, "2026-03-05 00:40"), dt.date(2026, 3, 4))
    assert work(store) == "1 ok; 0 notices"


def test_commissioned_today(store: Connection) -> None:
    customer(store, since="2026-03-11 09:00")
    assert work(store) == "1 unknown; 0 notices"


def test_nobody_pays_in_advance(store: Connection) -> None:
    place(store, "1", customer="C1", prepaid=False)
    assert work(store) == "no prepaid accounts"


def test_levels(store: Connection) -> None:
    for k, amount in enumerate([2139, 2137, 637, 138, 137]):  # 137.6 fen are used
        steady(store, customer(store, f"{k}"))
        pay(store, f"{k}", amount)
    assert work(store) == "1 ok, 1 warn1, 2 warn2, 1 stop; 4 notices"
    assert [shown(store, f"{k}")["level"] for k in range(5)] == ["ok", "warn1", "warn2", "warn2", "stop"]


def test_stale_readings_stop_nobody(store: Connection) -> None:
    steady(store, customer(store))
    assert work(store, "2026-03-11 14:01") == "1 warn2; 1 notices"  # four hours and a minute later
    assert work(store, "2026-03-11 14:00").startswith("1 ")
    assert not shown(store)["valid"]


def levels(conn: Connection) -> list[str]:
    return [level for (level,) in table(conn, "SELECT level FROM notice ORDER BY notice_id")]


def test_a_notice_a_level_until_a_payment(store: Connection) -> None:
    steady(store, customer(store))
    pay(store, "1", 137)
    for _ in range(3):
        work(store)
    assert levels(store) == ["stop"]
    assert (
        one(store, "SELECT text_zh FROM notice")
        == "尊敬的客户C1(户号C1),您的电费余额为-0.01元,请及时充值。余额不足,宽限至2026-03-18 10:05,逾期未缴将按规定停电。"
    )
    pay(store, "1", 100, "2026-03-11 10:06", "2")
    work(store, "2026-03-11 10:10")
    work(store, "2026-03-11 10:10")
    assert levels(store) == ["stop", "warn2"]


# --- trips and permits -----------------------------------------------------------------------------------------


def broke(conn: Connection, asset: str = "1", *, told: bool = True, **options: Any) -> Place:
    """137 fen short of nothing, and told so at 10:05."""
    here = customer(conn, asset, **options)
    steady(conn, here)
    without_grace(conn)
    work(conn)
    if told:
        deliver_all(conn, at("2026-03-11 10:05"))
    return here


def act(conn: Connection, now: str) -> tuple[int, int, list[str]]:
    found = prepaid.act(run(conn, now))
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return found


def test_nothing_to_do_leaves_nothing_open(store: Connection) -> None:
    assert act(store, "2026-03-11 10:35") == (0, 0, [])


def test_a_trip_only_after_the_notice_has_had_its_time(store: Connection) -> None:
    broke(store)
    assert act(store, "2026-03-11 10:34") == (0, 0, [])
    assert act(store, "2026-03-11 10:35") == (1, 0, [])
    assert table(store, "SELECT action, state, requested_by, reason FROM orders") == [
        ("trip", "wanted", "job:prepaid", "arrears: balance -1.37 yuan at most")
    ]
    assert act(store, "2026-03-11 10:50") == (0, 0, [])  # never twice


def test_a_notice_that_did_not_arrive_lets_nobody_be_cut_off(store: Connection) -> None:
    """Written at 10:05, sent at 10:10, and never delivered; then somebody hands it over at the door."""
    broke(store, told=False)
    number = one(store, "SELECT notice_id FROM notice")
    for state, when in (("sent", "10:10"), ("failed", "10:20")):
        report = notices.Report(state, "sms", "SMS-1", at(f"2026-03-11 {when}"))
        assert notices.report(store, number, report, who="crm", now=at(f"2026-03-11 {when}"))
    assert act(store, "2026-03-11 11:00") == (0, 0, [])
    handed = notices.Report("delivered", "visit", "A-17", at("2026-03-11 10:50"))
    assert notices.report(store, number, handed, who="李敏", now=at("2026-03-11 11:00"))
    assert not notices.report(store, number, handed, who="李敏", now=at("2026-03-11 11:01"))
    assert act(store, "2026-03-11 11:19") == (0, 0, [])
    assert act(store, "2026-03-11 11:20") == (1, 0, [])


def test_what_counts_as_told_is_the_utilitys_word(store: Connection) -> None:
    broke(store, told=False)
    with store.transaction():
        cluster.set_limits(store, {"notice_counts": "written"}, "wang")
    assert act(store, "2026-03-11 10:35") == (1, 0, [])
    with pytest.raises(
        StoreError, match="limit notice_counts: 'whispered' is not one of delivered, sent, written"
    ):
        cluster.set_limits(store, {"notice_counts": "whispered"})


def test_a_protected_customer_is_refused_on_record(store: Connection) -> None:
    broke(store, protected="透析")
    trips, permits, refusals = act(store, "2026-03-11 10:35")
    assert (trips, permits, len(refusals)) == (0, 0, 1)
    assert "1: protected: the customer is protected: 透析" in refusals[0]
    act(store, "2026-03-11 10:50")
    assert table(store, "SELECT state, sent_at FROM orders") == [("refused", None)]


def test_between_zero_and_below_nobody_is_tripped(store: Connection) -> None:
    """Less than a fen short: the bound that favours the customer says nothing is owed."""
    here = customer(store)
    steady(store, here)
    pay(store, "1", 137)
    work(store)
    assert (shown(store)["level"], shown(store)["provisional_high_fen"]) == ("stop", 0)
    assert act(store, "2026-03-11 10:35") == (0, 0, [])


def test_out_of_hours_nobody_is_asked_for(store: Connection) -> None:
    broke(store)
    store.execute("UPDATE calendar_day SET kind = 'holiday' WHERE day = '2026-03-12'")
    assert act(store, "2026-03-11 10:35") == (0, 0, [])
    assert one(store, "SELECT count(*) FROM orders") == 0


def tripped(conn: Connection, here: Place, *end: Event, result: dict[str, Any] | None = None) -> int:
    """Ask, approve, send, and move the order to its end."""
    assert act(conn, "2026-03-11 10:35")[0] == 1
    order = one(conn, "SELECT max(order_id) FROM orders")
    held, when = fence(conn, here), at("2026-03-11 10:40")
    orders.approve(conn, order, who="李敏", now=when, accept=["fall"])
    assert orders.begin(conn, order, fence=held, now=when) == []
    for event in end:
        orders.step(conn, order, event, fence=held, now=when, result=result)
    return order


def finish(conn: Connection, here: Place, order: int, *end: Event) -> None:
    held, when = fence(conn, here), at("2026-03-11 11:00")
    assert orders.begin(conn, order, fence=held, now=when) == []
    for event in end:
        orders.step(conn, order, event, fence=held, now=when)


def relay_orders(conn: Connection) -> list[tuple[str, str]]:
    return table(conn, "SELECT action, state FROM orders ORDER BY order_id")


def test_a_permit_after_the_payment_and_never_twice(store: Connection) -> None:
    here = broke(store)
    tripped(store, here, Event.ANSWER, Event.PROVE)
    assert act(store, "2026-03-11 10:50") == (0, 0, [])  # cut off, and still owing
    pay(store, "1", 136, "2026-03-11 10:51", "2")
    assert act(store, "2026-03-11 10:52") == (0, 0, [])  # not enough
    pay(store, "1", 10, "2026-03-11 10:53", "3")
    # before any balance is computed anew: a payment counts at once
    assert act(store, "2026-03-11 10:54") == (0, 1, [])
    assert act(store, "2026-03-11 10:55") == (0, 0, [])
    assert relay_orders(store) == [("trip", "verified"), ("permit", "approved")]
    finish(store, here, one(store, "SELECT max(order_id) FROM orders"), Event.ANSWER, Event.HOLD, Event.PROVE)
    work(store, "2026-03-11 11:05")
    assert act(store, "2026-03-11 11:06") == (0, 0, [])


def test_a_permit_that_failed_is_tried_again(store: Connection) -> None:
    """The meter refused it, or it was never sent: he has paid, and sits in the dark."""
    here = broke(store)
    tripped(store, here, Event.ANSWER, Event.PROVE)
    pay(store, "1", 1000, "2026-03-11 10:51", "2")
    assert act(store, "2026-03-11 10:54") == (0, 1, [])
    finish(store, here, one(store, "SELECT max(order_id) FROM orders"), Event.REJECT)
    assert act(store, "2026-03-11 11:10") == (0, 1, [])
    orders.cancel(store, one(store, "SELECT max(order_id) FROM orders"), who="x", now=at("2026-03-11 11:11"))
    assert act(store, "2026-03-11 11:25") == (0, 1, [])
    assert relay_orders(store) == [
        ("trip", "verified"),
        ("permit", "failed"),
        ("permit", "cancelled"),
        ("permit", "approved"),
    ]


def test_a_trip_that_failed_with_the_relay_open_counts_as_one(store: Connection) -> None:
    """Open and bypassed: no further trip helps, and after the payment supply is due."""
    here = broke(store)
    tripped(store, here, Event.ANSWER, Event.DISPROVE, result={"relay": {"open": True}})
    assert act(store, "2026-03-11 10:50") == (0, 0, [])
    pay(store, "1", 1000, "2026-03-11 10:51", "2")
    assert act(store, "2026-03-11 10:54") == (0, 1, [])


def test_a_trip_that_failed_is_asked_for_again(store: Connection) -> None:
    here = broke(store)
    tripped(store, here, Event.REJECT)
    assert act(store, "2026-03-11 10:50") == (1, 0, [])


def test_a_trip_whose_outcome_is_open_blocks_another(store: Connection) -> None:
    here = broke(store)
    tripped(store, here, Event.LOSE)
    assert act(store, "2026-03-11 10:50") == (0, 0, [])
    assert relay_orders(store) == [("trip", "unknown")]


def test_broke_again(store: Connection) -> None:
    here = broke(store)
    tripped(store, here, Event.ANSWER, Event.PROVE)
    pay(store, "1", 138, "2026-03-11 10:51", "2")
    assert act(store, "2026-03-11 10:54") == (0, 1, [])
    finish(store, here, one(store, "SELECT max(order_id) FROM orders"), Event.ANSWER, Event.PROVE)
    home(here.meter, TODAY, 1, steady=1000).bring(store, "2026-03-11 00:00", "2026-03-11 11:00")
    work(store, "2026-03-11 11:05")
    deliver_all(store, at("2026-03-11 11:05"))
    assert act(store, "2026-03-11 11:20") == (0, 0, [])  # told anew, with time to pay
    assert act(store, "2026-03-11 11:35") == (1, 0, [])
