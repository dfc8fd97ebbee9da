"""What a plan has brought, against a truth that is known by construction; and what is missing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.jobs import orderly as job
from headend.store import orderly, orderly_effect
from headend.store.db import Connection
from headend.store.orderly_orders import carry_out
from tests.support.app import settle
from tests.support.factories import DAY, DAY_BEFORE, FIRST, PLANNED, WRITTEN, Load, curve, factory, flat
from tests.support.house import SHANGHAI, Place, at, moment, table
from tests.support.household import run

MORNING = "2026-03-12 04:30"
#: slots of the plan's periods, 10:00-12:00 and 18:00-19:00
WITHIN = (*range(40, 48), *range(72, 76))


def called(usual: float, down_to: float, *, late: int = 0) -> Load:
    """The day of the call: the usual load, and in the periods less; `late`: slots of each until he follows."""
    follows = [slot for span in (range(40, 48), range(72, 76)) for slot in span[late:]]
    return lambda day, slot: down_to if day == DAY and slot in follows else usual


def carried_out(conn: Connection, *here: Place, loads: list[Load], days: int = 1, **other: Any) -> int:
    """A plan over these factories, carried out; their curves are in until the end of its last day."""
    last = DAY + dt.timedelta(days=days - 1)
    reached = [curve(conn, one, load, last=DAY_BEFORE) for one, load in zip(here, loads, strict=True)]
    said = {**WRITTEN, "shortage_kw": 5000, "last_day": last.isoformat(), **other}
    plan = orderly.draft(conn, orderly.read(said), who="陈晓", now=PLANNED)
    orderly.approve(conn, plan, who="李敏", now=PLANNED)
    for when in (f"{DAY} 09:31", f"{last} 19:00"):
        carry_out(conn, now=at(when))
    for one, load, start in zip(here, loads, reached, strict=True):
        curve(conn, one, load, DAY - dt.timedelta(days=1), last, start=start)
    return plan


def measured(conn: Connection, plan: int, when: str = MORNING) -> dict[str, Any]:
    """The last day, as it is measured then."""
    settle(conn)
    job.job(run(conn, when), dt.date.fromisoformat(when[:10]) - dt.timedelta(days=1))
    conn.commit()
    return orderly_effect.effects(conn, plan)[-1]


def test_the_truth_of_each_and_of_all(store: Connection) -> None:
    here = [factory(store, n) for n in (1, 2, 3)]
    # asked: down to 60 %. The first does, the second goes to 80 %, the third does nothing
    loads = [called(1000, 600), called(500, 400), flat(800)]
    plan = carried_out(store, *here, loads=loads)
    day = measured(store, plan)
    assert (day["participants"], day["known"], day["followed"]) == (3, 3, 1)
    found = {p["customer"]: p for p in day["participants_list"]}
    hours = 3
    for number, usual, took in (("C1", 1000, 600), ("C2", 500, 400), ("C3", 800, 800)):
        one = found[number]
        assert one["baseline_kwh"] == pytest.approx(usual * hours)
        assert one["taken_kwh"] == pytest.approx(took * hours)
        assert one["reduced_kwh"] == pytest.approx((usual - took) * hours, abs=1e-6)
        assert one["asked_kwh"] == pytest.approx(usual * 0.4 * hours)
        assert (one["low_kwh"], one["high_kwh"]) == pytest.approx((one["reduced_kwh"],) * 2, abs=1e-6)
    assert [found[c]["share"] for c in ("C1", "C2", "C3")] == pytest.approx([1, 0.5, 0], abs=1e-9)
    assert [(found[c]["followed"], found[c]["above"], found[c]["slots"]) for c in ("C1", "C2", "C3")] == [
        (True, 0, 10), (False, 10, 10), (False, 10, 10),
    ]  # fmt: skip
    assert day["reduced_kwh"] == pytest.approx((400 + 100) * hours)
    assert day["asked_kwh"] == pytest.approx(0.4 * 2300 * hours)
    assert day["share"] == pytest.approx(500 / 920)


def test_who_follows_after_the_warning_has_followed(store: Connection) -> None:
    here = [factory(store, n) for n in (1, 2)]
    plan = carried_out(store, *here, loads=[called(1000, 600, late=1), called(1000, 600, late=2)])
    day = measured(store, plan)
    assert {p["customer"]: p["above"] for p in day["participants_list"]} == {"C1": 0, "C2": 2}
    assert day["followed"] == 1


def test_the_limits_hold_the_truth_where_days_differ(store: Connection) -> None:
    """Loads scatter by 6 % from day to day, and by 2 % within; eight factories go down to what they were asked."""
    random = np.random.default_rng(11)
    level = {FIRST + dt.timedelta(days=k): random.normal(1, 0.06) for k in range(20)}
    here, loads, truth = [], [], 0.0
    for n in range(1, 9):
        noise = {(d, s): random.normal(1, 0.02) for d in level for s in range(96)}

        def usual(day, slot, noise=noise, n=n):
            return 100.0 * (n + 4) * level[day] * noise[day, slot]  # type: ignore[misc]

        here.append(factory(store, n))
        target = 60.0 * (n + 4)
        loads.append(
            lambda day, slot, usual=usual, target=target: (
                min(usual(day, slot), target) if day == DAY and slot in WITHIN else usual(day, slot)
            )
        )
        truth += sum(max(0.0, usual(DAY, s) - target) / 4 for s in WITHIN)
    plan = carried_out(store, *here, loads=loads)
    day = measured(store, plan)
    assert (day["known"], day["followed"]) == (8, 8)
    assert day["low_kwh"] <= truth <= day["high_kwh"]
    assert day["low_kwh"] > 0
    assert day["high_kwh"] - day["low_kwh"] < truth  # limits that say nothing would hold everything


def test_what_is_missing_is_told_and_measured_when_it_comes(store: Connection) -> None:
    here = [factory(store, n) for n in (1, 2, 3)]
    loads = [called(1000, 600), called(1000, 600), called(1000, 600)]
    reached = [curve(store, one, load, last=DAY_BEFORE) for one, load in zip(here, loads, strict=True)]
    plan = orderly.draft(store, orderly.read({**WRITTEN, "shortage_kw": 5000}), who="陈晓", now=PLANNED)
    orderly.approve(store, plan, who="李敏", now=PLANNED)
    for when in ("09:30", "19:00"):
        carry_out(store, now=at(f"{DAY} {when}"))
    given: tuple[Any, ...] = (DAY - dt.timedelta(days=1), DAY)
    curve(store, here[0], loads[0], *given, start=reached[0])
    # the second has a hole in a period, the third one at night
    curve(store, here[1], loads[1], *given, start=reached[1], without=[41])
    curve(store, here[2], loads[2], *given, start=reached[2], without=[90])
    day = measured(store, plan)
    assert (day["known"], day["followed"], day["reduced_kwh"]) == (1, 2, pytest.approx(1200))
    assert {p["customer"]: (p["why"], p["followed"]) for p in day["participants_list"]} == {
        "C1": ("", True),
        "C2": ("quarter-hours that are not known: 2, 2 of them in its periods", None),
        "C3": ("quarter-hours that are not known: 2, 0 of them in its periods", True),
    }
    assert day["asked_kwh"] == pytest.approx(1200)  # of whom it is known
    # nothing new: nothing is measured again
    before = day["measured_at"]
    assert measured(store, plan, "2026-03-12 05:30")["measured_at"] == before
    curve(store, here[1], loads[1], *given, start=reached[1], now=at("2026-03-13 05:00"))
    day = measured(store, plan, "2026-03-13 05:30")
    assert (day["day"], day["known"], day["reduced_kwh"]) == (DAY, 2, pytest.approx(2400))
    assert [p["why"] == "" for p in day["participants_list"]] == [True, True, False]


def test_too_few_like_days_are_told(store: Connection) -> None:
    here = factory(store, 1)
    plan = carried_out(store, here, loads=[called(1000, 600)])
    store.execute(
        "DELETE FROM slot_read WHERE ts < %s", (at("2026-03-06 00:00").astype(object).replace(tzinfo=dt.UTC),)
    )
    store.commit()
    day = measured(store, plan)
    assert (day["known"], day["reduced_kwh"], day["share"]) == (0, None, None)
    assert day["participants_list"][0]["why"] == "3 like days are known, 4 at least are needed"


def test_days_of_the_plan_are_no_like_days_of_it(store: Connection) -> None:
    """Wednesday to Friday: on Friday the two days before were days of the call, too."""
    here = factory(store, 1)

    def load(day, slot):
        return 600.0 if day >= DAY and slot in WITHIN else 1000.0

    plan = carried_out(store, here, loads=[load], days=3)
    day = measured(store, plan, "2026-03-14 04:30")
    assert day["day"] == dt.date(2026, 3, 13)
    assert day["reduced_kwh"] == pytest.approx(1200)
    assert len(orderly_effect.effects(store, plan)) == 3


def test_only_what_was_carried_out_is_measured(store: Connection) -> None:
    here = factory(store, 1)
    load = called(1000, 600)
    reached = curve(store, here, load, last=DAY_BEFORE)
    plan = orderly.draft(store, orderly.read({**WRITTEN, "shortage_kw": 5000}), who="陈晓", now=PLANNED)
    orderly.approve(store, plan, who="李敏", now=PLANNED)
    carry_out(store, now=at("2026-03-11 10:20"))  # the job had been away
    orderly.withdraw(store, plan, who="王芳", why="rain", now=at("2026-03-11 11:10"))
    curve(store, here, load, DAY - dt.timedelta(days=1), DAY, start=reached)
    (p,) = measured(store, plan)["participants_list"]
    assert p["asked_kwh"] == pytest.approx(400 * 0.5)  # 10:30 to 11:00
    assert (p["reduced_kwh"], p["slots"]) == (pytest.approx(200), 1)
    assert p["followed"] is True
    # of a single quarter-hour nothing is said but its energy: a terminal warns in it
    store.execute("UPDATE orderly_plan SET over_at = %s", (moment("2026-03-11 10:50"),))
    assert orderly_effect.measure(store, plan, DAY, SHANGHAI, now=at("2026-03-12 05:00"))
    (p,) = orderly_effect.effects(store, plan)[0]["participants_list"]
    assert (p["slots"], p["followed"], p["reduced_kwh"]) == (0, None, pytest.approx(100))
    store.rollback()
    # a plan that never ran has nothing
    other = orderly.draft(
        store,
        orderly.read({**WRITTEN, "first_day": "2026-03-12", "last_day": "2026-03-12"}),
        who="陈晓",
        now=at("2026-03-11 12:00"),
    )
    orderly.withdraw(store, other, who="王芳", why="rain", now=at("2026-03-11 12:10"))
    measured(store, plan, "2026-03-13 04:30")
    assert table(store, "SELECT plan_id, day FROM orderly_day") == [(plan, DAY)]


def test_who_was_not_told_has_not_refused_to_follow(store: Connection) -> None:
    here = [factory(store, n) for n in (1, 2)]
    plan = carried_out(store, *here, loads=[flat(1000), flat(1000)])
    store.execute(
        "UPDATE orders SET sent_at = requested_at WHERE terminal_id = %s AND action = 'write'",
        (here[0].terminal,),
    )
    store.commit()
    found = {p["customer"]: (p["told"], p["followed"]) for p in measured(store, plan)["participants_list"]}
    assert found == {"C1": (True, False), "C2": (False, False)}


def test_an_estimate_within_the_periods_is_no_reading(store: Connection) -> None:
    """What a like day tells of a hole says nothing of what was reduced in it."""
    here = factory(store, 1)
    plan = carried_out(store, here, loads=[called(1000, 600)])
    slot = at("2026-03-11 10:30")
    store.execute(
        "INSERT INTO revision (source, meter_id, ts, quantity, version, value, method, reason, who, at) "
        "SELECT 'slot', meter_id, ts, 'active_import', 2, active_import + 1, 'vee-like-day', 'x', 'job:vee', ts FROM slot_read WHERE ts = %s",
        (slot.astype(object).replace(tzinfo=dt.UTC),),
    )
    store.commit()
    (p,) = measured(store, plan)["participants_list"]
    assert p["why"] == "quarter-hours that are not known: 2, 2 of them in its periods"
