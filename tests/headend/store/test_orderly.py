"""Plans of orderly use in the store: whom they call and whom not, two persons, and nothing below what protects a customer."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from headend.store import audit, cluster, orderly, orders
from headend.store.db import Connection, StoreError
from headend.store.orderly import BadPlan, CannotAct, CannotApprove, UnknownPlan
from headend.store.orderly_candidates import BadWhom
from tests.support.factories import DAY, PLANNED, WRITTEN, curve, factory, flat, organisation
from tests.support.house import one, place, table

HOUR = np.timedelta64(3600, "s")


def draft(conn: Connection, **other: Any) -> int:
    return orderly.draft(conn, orderly.read({**WRITTEN, **other}), who="陈晓", now=PLANNED)


def called(conn: Connection, number: int) -> list[tuple[Any, ...]]:
    return [
        (p["customer"], p["setpoint_w"], p["reduce_kw"])
        for p in orderly.get(conn, number)["participants_list"]
    ]


def left(conn: Connection, number: int) -> dict[str, list[str]]:
    return {
        row["customer"]: [code for code, _ in row["reasons"]] for row in orderly.get(conn, number)["left_out"]
    }


def test_who_is_called_and_who_is_left_out_and_why(store: Connection) -> None:
    for number, kw in ((1, 1000), (2, 800), (3, 300)):
        curve(store, factory(store, number), flat(kw))
    curve(store, factory(store, 4, industry="纺织"), flat(900))
    curve(store, factory(store, 5, protected="医院"), flat(900))
    curve(store, factory(store, 6, online=False), flat(900))
    curve(store, factory(store, 7, minimum_kw=None), flat(900))
    factory(store, 8)  # no curve
    curve(store, factory(store, 9, protocol="dlt645"), flat(900))
    curve(store, factory(store, 10), flat(900))
    place(store, "11", terminal="T10", protocol="gdw376", customer="C11", protected="幼儿园")
    curve(store, factory(store, 12), flat(900))
    place(store, "13", terminal="T12", protocol="gdw376")  # of whom the archive has no account
    number = draft(store)
    # 60 % of 1000 and 800 kW; 300 kW is not needed, nor is the second call
    assert called(store, number) == [("C1", 600_000, 400), ("C2", 480_000, 320)]
    assert left(store, number) == {
        "C3": ["not-needed"], "C4": ["not-needed"], "C5": ["protected"], "C6": ["offline"], "C7": ["no-minimum"], "C8": ["no-curve"],
        "C9": ["no-terminal"], "C10": ["protected-behind", "others-behind"],
        "C11": ["protected", "others-behind", "no-minimum"], "C12": ["protected-behind"],
    }  # fmt: skip
    found = orderly.get(store, number)
    assert (found["state"], found["participants"], found["reduce_kw"], found["held"]) == ("draft", 2, 720, 0)
    assert found["begins"].isoformat() == "2026-03-11T02:00:00+00:00"
    assert found["ends"].isoformat() == "2026-03-11T11:00:00+00:00"


def test_the_protected_minimum_holds_whatever_the_plan_asks(store: Connection) -> None:
    curve(store, factory(store, 1, minimum_kw=850.5), flat(1000))
    number = draft(store, calls=[{"everybody": True, "setpoint": "10%"}], shortage_kw=900)
    (p,) = orderly.get(store, number)["participants_list"]
    assert (p["setpoint_w"], p["minimum_w"], p["raised"]) == (851_000, 850_500, True)
    with pytest.raises(psycopg.errors.CheckViolation, match="never_below_the_minimum"):
        store.execute("UPDATE orderly_participant SET setpoint_w = 850499")
    store.rollback()


def test_scopes_calls_and_setpoints_of_their_own(store: Connection) -> None:
    first, second, third = (factory(store, n, industry="化工") for n in (1, 2, 3))
    for here in (first, second, third):
        curve(store, here, flat(1000))
    organisation(store, "GX", first.terminal, second.terminal)
    number = draft(
        store, organisation="GX", shortage_kw=5000, calls=[{"customers": ["C2"], "setpoint": "300 kW"}, {"industry": "化工", "setpoint": "50%"}],
        setpoints={"C1": "minimum"},
    )  # fmt: skip
    assert called(store, number) == [("C2", 300_000, 700), ("C1", 100_000, 900)]
    assert left(store, number) == {}
    for other, words in (
        ({"organisation": "XX"}, "no organisation XX"),
        ({"line": "L9"}, "no line L9"),
        ({"calls": [{"customers": ["C9"], "setpoint": "50%"}]}, "no customer C9"),
        ({"calls": [{"group": "G", "setpoint": "50%"}]}, "no group 'G'"),
        (
            {"organisation": "GX", "calls": [{"customers": ["C3"], "setpoint": "50%"}]},
            "customer C3 has no account in the plan's",
        ),
        ({"setpoints": {"C8": "minimum"}}, "setpoints: no call of the plan names a customer C8"),
        (
            {"organisation": "GX", "setpoints": {"C3": "minimum"}},
            "setpoints: no call of the plan names a customer C3",
        ),
    ):
        with pytest.raises(StoreError, match=words):
            draft(store, **other)
        store.rollback()
    assert one(store, "SELECT count(*) FROM orderly_plan") == 1
    assert issubclass(BadWhom, StoreError)


def test_a_weekend_is_compared_with_weekends(store: Connection) -> None:
    curve(store, factory(store, 1), lambda day, slot: 400 if day.weekday() >= 5 else 1000)
    # two weekends are four days of rest, the fewest that tell
    number = draft(
        store, first_day="2026-03-13", last_day="2026-03-14", shortage_kw=50, calls=[{"everybody": True, "setpoint": "350 kW"}]
    )  # fmt: skip
    (p,) = orderly.get(store, number)["participants_list"]
    assert (p["usual_kw"], p["reduce_kw"], p["least_kw"]) == (700, 350, 50)  # the Saturday gives least


def test_two_persons_and_exactly_what_was_looked_at(store: Connection) -> None:
    here = factory(store, 1)
    curve(store, here, flat(1000))
    number = draft(store)
    for who, words in (
        ("陈晓", "wrote this plan and cannot approve it"),
        ("job:x", "is not a person"),
        (" ", "is not a person"),
    ):
        with pytest.raises(CannotApprove, match=words):
            orderly.approve(store, number, who=who, now=PLANNED)
        store.rollback()
    # he became protected while nobody looked: what was looked at is not what would be done
    store.execute("UPDATE account SET protected = '医院' WHERE account_id = %s", (here.account,))
    store.commit()
    with pytest.raises(
        CannotApprove,
        match=f"has changed since it was looked at; look at it again .`headend orderly show {number}`",
    ):
        orderly.approve(store, number, who="李敏", now=PLANNED)
    assert left(store, number) == {"C1": ["protected"]}
    with pytest.raises(CannotApprove, match="calls 0 terminals"):
        orderly.approve(store, number, who="李敏", now=PLANNED)
    store.rollback()
    store.execute("UPDATE account SET protected = ''")
    store.commit()
    orderly.look(store, number, who="陈晓", now=PLANNED)
    orderly.approve(store, number, who="李敏", now=PLANNED)
    found = orderly.get(store, number)
    assert (found["state"], found["approved_by"]) == ("approved", "李敏")
    assert [event["act"] for event in found["events"]] == ["draft", "look", "look", "approve"]
    assert found["events"][-1]["said"]["participants"][0]["setpoint_w"] == 600_000
    with pytest.raises(CannotAct):
        orderly.look(store, number, who="陈晓", now=PLANNED)
    store.rollback()
    # it stands
    for statement in (
        "UPDATE orderly_participant SET setpoint_w = 100000",
        "DELETE FROM orderly_participant",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match="is no draft any more"):
            store.execute(statement.encode())
        store.rollback()
    with pytest.raises(UnknownPlan, match="no plan 99"):
        orderly.approve(store, 99, who="李敏", now=PLANNED)
    store.rollback()
    with pytest.raises(BadPlan, match="the plan is over"):
        orderly.draft(
            store,
            orderly.read({**WRITTEN, "first_day": "2026-03-09", "last_day": "2026-03-09"}),
            who="陈晓",
            now=PLANNED,
        )
    store.rollback()
    with pytest.raises(StoreError, match="not a person"):
        orderly.draft(store, orderly.read(WRITTEN), who="job:x", now=PLANNED)


def test_nobody_is_in_two_plans_at_once(store: Connection) -> None:
    curve(store, factory(store, 1), flat(1000))
    first, second = draft(store), draft(store, name="另一")
    orderly.approve(store, first, who="李敏", now=PLANNED)
    with pytest.raises(CannotApprove, match="has changed"):
        orderly.approve(store, second, who="李敏", now=PLANNED)
    assert orderly.get(store, second)["left_out"][0]["reasons"] == [["other-plan", f"{first} 迎峰度夏"]]
    other_day = draft(store, first_day="2026-03-12", last_day="2026-03-12")
    assert called(store, other_day) == [("C1", 600_000, 400)]
    orderly.withdraw(store, first, who="陈晓", why="rain", now=PLANNED)
    orderly.look(store, second, who="陈晓", now=PLANNED)
    orderly.approve(store, second, who="李敏", now=PLANNED)


def test_the_cap_of_a_day_is_the_cap_of_a_plan(store: Connection) -> None:
    for number in (1, 2):
        curve(store, factory(store, number), flat(1000))
    cluster.set_limits(store, {"controls_per_day": 1})
    store.commit()
    with pytest.raises(CannotApprove, match="calls 2 terminals; at least 1 and at most 1"):
        orderly.approve(store, draft(store), who="李敏", now=PLANNED)


def test_a_terminal_that_keeps_power_is_left_out(store: Connection) -> None:
    here = factory(store, 1)
    curve(store, here, flat(1000))
    order = orders.request(
        store,
        kind="control",
        action="keep-power",
        terminal="T1",
        reason="x",
        who="陈晓",
        now=PLANNED,
        expires=PLANNED + HOUR,
    )
    for sent, state, reason in ((None, "approved", []), (PLANNED, "verified", ["keep-power"])):
        store.execute(
            "UPDATE orders SET state = %s, sent_at = %s WHERE order_id = %s",
            (state, sent and str(sent), order),
        )
        store.commit()
        assert left(store, draft(store)).get("C1", []) == reason
    # told for an hour, it is over after that
    for hours, reason in ((1, []), (3, ["keep-power"])):
        store.execute(
            "UPDATE orders SET request = %s, sent_at = sent_at - interval '1 hour'",
            (f'{{"half_hours": {2 * hours}}}',),
        )
        store.commit()
        assert left(store, draft(store)).get("C1", []) == reason


def test_everything_is_in_the_audit_and_no_event_can_be_changed(store: Connection) -> None:
    curve(store, factory(store, 1), flat(1000))
    number = draft(store)
    orderly.approve(store, number, who="李敏", now=PLANNED)
    orderly.withdraw(store, number, who="陈晓", why="rain", now=PLANNED)
    assert table(store, "SELECT kind, body::jsonb ->> 'act', body::jsonb ->> 'who' FROM audit WHERE kind = 'orderly' ORDER BY seq") == [
        ("orderly", "draft", "陈晓"), ("orderly", "approve", "李敏"), ("orderly", "withdraw", "陈晓"),
    ]  # fmt: skip
    store.commit()
    assert audit.verify(store).broken is None
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        store.execute("UPDATE orderly_event SET who = 'x'")
    store.rollback()
    store.execute("SET session_replication_role = replica")
    store.execute("UPDATE orderly_event SET said = '{}' WHERE act = 'approve'")
    store.execute("RESET session_replication_role")
    store.commit()
    broken = audit.verify(store).broken
    assert broken is not None
    assert "says something else now: orderly" in broken.en
    with pytest.raises(StoreError, match="say why"):
        orderly.withdraw(store, number, who="陈晓", why=" ", now=PLANNED)
    assert orderly.get(store, number)["first_day"] == DAY
