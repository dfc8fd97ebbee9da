"""The completeness ledger: what is here, what is missing, and the strongest proof of why."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.plans import CURVE, DAY, MONTH, PHASE, Plan, locate, points
from headend.store import cluster, coverage, db
from headend.store.coverage import Attempt, Entry, UnknownMeter, causes, day_matrix
from headend.store.db import Connection, StoreError
from headend.store.reads import ensure_all_partitions
from headend.store.tables import CURVES
from tests.support.house import MADRID, SHANGHAI, at, deliver, one, place, rows, table

WEDNESDAY = dt.date(2026, 3, 11)
NONE = np.empty(0, dtype="datetime64[us]")
NEXT_NOON = at("2026-03-12 12:00")


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt and what came of it."""

    attempt: Attempt
    got: Any


def attempt(
    meter: int,
    asked: Any,
    got: Any = NONE,
    absent: Any = NONE,
    *,
    when: np.datetime64 = NEXT_NOON,
    reason: str = "",
    detail: str = "",
    plan: Plan = CURVE,
) -> Try:
    asked, got, absent = (np.asarray(t, dtype="datetime64[us]") for t in (asked, got, absent))
    return Try(Attempt(meter, plan, asked, absent, when, reason, detail, got), got)


def record(conn: Connection, *tries: Try, zone: ZoneInfo = SHANGHAI) -> None:
    """As intake does, without the rows."""
    with conn.transaction():
        for plan in dict.fromkeys(t.attempt.plan for t in tries):
            mine = sorted((t for t in tries if t.attempt.plan is plan), key=lambda t: t.attempt.meter)
            counts = [len(t.got) for t in mine]
            times = np.concatenate([t.got for t in mine])
            there = coverage.Points(
                np.repeat(np.array([t.attempt.meter for t in mine]), counts),
                times,
                *locate(plan, times, zone),
                np.repeat(np.array([t.attempt.at for t in mine], dtype="datetime64[us]"), counts),
            )
            entry = Entry.of(plan, there, [t.attempt for t in mine], zone)
            days = np.unique(entry.keys % 2**20).astype("datetime64[D]")  # a key is meter and day
            ensure_all_partitions(conn, {"coverage": days, "gap_reason": days})
            coverage.record(conn, entry)
    conn.commit()


def ledger(conn: Connection, meter: int) -> dict[str, Any]:
    row = conn.execute(
        "SELECT day, present::text, late::text, absent::text, attempts FROM coverage WHERE meter_id = %s",
        (meter,),
    ).fetchone()
    conn.commit()
    assert row is not None
    return row


def bits(width: int, *slots: int) -> str:
    return "".join("1" if k in slots else "0" for k in range(width))


@pytest.mark.parametrize(
    ("day", "width"), [(dt.date(2026, 3, 28), 96), (dt.date(2026, 3, 29), 92), (dt.date(2026, 10, 25), 100)]
)
def test_a_bit_for_every_slot_of_the_local_day(store: Connection, day: dt.date, width: int) -> None:
    cluster.set_zone(store, "Europe/Madrid")
    zone = cluster.zone(store)
    here = place(store, "1", zone=MADRID)
    slots = points(CURVE, day, zone)
    assert len(slots) == width
    after = slots[-1] + np.timedelta64(1, "h")
    chosen = [0, 8, 11, width - 1]
    record(store, attempt(here.meter, slots, slots[chosen], slots[5:7], when=after), zone=zone)
    found = ledger(store, here.meter)
    assert found == {
        "day": day,
        "present": bits(width, *chosen),
        # the grace is four hours: only the day's end came in time
        "late": bits(width, *(k for k in chosen if k != width - 1)),
        "absent": bits(width, 5, 6),
        "attempts": 1,
    }
    matrix = day_matrix(store, CURVE, day, now=after, zone=zone)
    assert matrix.expected.all()
    assert matrix.due.all()
    assert np.flatnonzero(matrix.present[0]).tolist() == chosen
    assert int(matrix.open.sum()) == width - len(chosen) - 2


def test_the_zone_is_fixed_once_there_are_readings(store: Connection) -> None:
    here = place(store, "1")
    record(store, attempt(here.meter, points(CURVE, WEDNESDAY, SHANGHAI)[:1]))
    cluster.set_zone(store, "Asia/Shanghai")
    with pytest.raises(StoreError, match="its zone cannot become Europe/Madrid"):
        cluster.set_zone(store, "Europe/Madrid")
    with pytest.raises(StoreError, match="no time zone 'Nowhere/Land'"):
        cluster.set_zone(store, "Nowhere/Land")


def test_present_is_never_absent_in_whatever_order(store: Connection) -> None:
    slots = points(CURVE, WEDNESDAY, SHANGHAI)[:4]
    a, b, c = (place(store, asset) for asset in "123")
    record(store, attempt(a.meter, slots, slots, slots[1:]))  # the driver contradicts itself
    record(store, attempt(b.meter, slots, NONE, slots))
    record(store, attempt(b.meter, slots, slots[:2]))  # proved absent, and there all the same
    record(store, attempt(c.meter, slots, slots[:2]))
    record(store, attempt(c.meter, slots, NONE, slots))
    for here, present, absent in ((a, (0, 1, 2, 3), ()), (b, (0, 1), (2, 3)), (c, (0, 1), (2, 3))):
        found = ledger(store, here.meter)
        assert (found["present"], found["absent"]) == (bits(96, *present), bits(96, *absent))


def test_what_came_in_time_stays_in_time(store: Connection) -> None:
    here = place(store, "1")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    soon = slots[1] + np.timedelta64(CURVE.grace)
    record(store, attempt(here.meter, slots[:2], slots[:2], when=soon))  # the first one just late
    for _ in range(2):
        record(store, attempt(here.meter, slots[:3], slots[:3], when=NEXT_NOON))
    found = ledger(store, here.meter)
    assert found["present"] == bits(96, 0, 1, 2)
    assert found["late"] == bits(96, 0, 2)
    assert found["attempts"] == 3


def test_repeating_what_is_present_changes_no_bit(store: Connection) -> None:
    here = place(store, "1")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    one_try = attempt(here.meter, slots, slots[:9], slots[9:12])
    record(store, one_try)
    before = ledger(store, here.meter)
    record(store, one_try, one_try)
    after = ledger(store, here.meter)
    assert after == {**before, "attempts": 3}


def test_points_off_the_grid_are_nobodys(store: Connection) -> None:
    here = place(store, "1")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    record(store, attempt(here.meter, slots[:1], [slots[0], slots[0] + np.timedelta64(7, "m")]))
    assert ledger(store, here.meter)["present"] == bits(96, 0)


def test_midnight_closes_the_day_before(store: Connection) -> None:
    here = place(store, "1")
    midnight = [at("2026-03-12 00:00")]
    record(store, attempt(here.meter, midnight, midnight), attempt(here.meter, midnight, midnight, plan=DAY))
    assert table(store, "SELECT day, plan, present::text FROM coverage ORDER BY plan") == [
        (WEDNESDAY, 1, bits(96, 95)),
        (WEDNESDAY, 2, "1"),
    ]


def test_reasons_are_folded(store: Connection) -> None:
    here = place(store, "1")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    hour = np.timedelta64(1, "h")
    first = attempt(
        here.meter, slots[:4], slots[:1], slots[1:2], reason="no-answer", detail="one", when=NEXT_NOON
    )
    again = attempt(here.meter, slots[3:6], reason="no-answer", detail="two", when=NEXT_NOON + hour)
    record(store, again, first)  # one batch, out of order
    record(
        store, attempt(here.meter, slots[9:10], reason="no-answer", detail="three", when=NEXT_NOON + 2 * hour)
    )
    record(store, attempt(here.meter, slots[2:3], reason="garbled", when=NEXT_NOON + 3 * hour))
    sql = "SELECT reason, slots::text, attempts, since, last_at, detail FROM gap_reason ORDER BY last_at"
    noon = NEXT_NOON.item().replace(tzinfo=dt.UTC)
    assert table(store, sql) == [
        ("no-answer", bits(96, 2, 3, 4, 5, 9), 3, noon, noon + dt.timedelta(hours=2), "three"),
        ("garbled", bits(96, 2), 1, noon + dt.timedelta(hours=3), noon + dt.timedelta(hours=3), ""),
    ]


def test_an_unknown_reason_is_ours_to_fix(store: Connection) -> None:
    with pytest.raises(ValueError, match="unknown reason 'because'"):
        record(store, attempt(1, [at("2026-03-11 12:00")], reason="because"))


def test_the_strongest_proof_is_the_cause(store: Connection) -> None:
    here = place(store, "1")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    names = ["offline", "link-lost", "no-answer", "garbled", "missing-in-answer", "refused", "expired"]
    # slot k was asked in vain for the first k reasons, in the order of their strength; slot 8 was proved absent on top
    for k in reversed(range(len(names))):
        record(store, attempt(here.meter, slots[k + 1 : 9], reason=names[k]))
    record(store, attempt(here.meter, slots[8:9], NONE, slots[8:9]))
    record(store, attempt(here.meter, slots[9:], slots[9:]))
    matrix = day_matrix(store, CURVE, WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)
    cause, known = causes(matrix)
    told = [known[k] if k >= 0 else "" for k in cause[0]]
    assert told == ["not-asked", *names, "not-recorded", *[""] * 87]
    # what was overwritten or never recorded is not worth another question
    assert np.flatnonzero(matrix.open[0]).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_why(store: Connection) -> None:
    here = place(store, "M1", terminal="T7", area="A7", address="000000000077")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    now = at("2026-03-11 12:10")  # 48 slots are due, the 12:00 one among them
    record(
        store,
        attempt(
            here.meter,
            slots[:40],
            slots[:10],
            slots[20:22],
            when=slots[39],
            reason="no-answer",
            detail="silent",
        ),
        attempt(here.meter, slots[10:20], slots[12:14], when=now, reason="garbled", detail="noise"),
    )
    told = coverage.why(store, asset="M1", day=WEDNESDAY, now=now, zone=SHANGHAI)
    assert (told.point, told.area, told.terminal, told.protocol, told.address) == (
        "PM1",
        "A7",
        "T7",
        "dlt645",
        "000000000077",
    )
    assert told.commissioned
    curve, freeze = told.plans
    assert (curve.expected, curve.due, curve.present, curve.late, curve.absent, curve.attempts) == (
        96,
        48,
        12,
        12,
        2,
        2,
    )
    assert [(h.first, h.last, h.points, h.reason, h.attempts, h.detail) for h in curve.holes] == [
        (slots[10], slots[11], 2, "garbled", 1, "noise"),
        (slots[14], slots[19], 6, "garbled", 1, "noise"),
        (slots[20], slots[21], 2, "not-recorded", 0, ""),
        (slots[22], slots[39], 18, "no-answer", 1, "silent"),
        (slots[40], slots[47], 8, "not-asked", 0, ""),
    ]
    assert (freeze.expected, freeze.due, freeze.holes) == (1, 0, ())
    assert sum(hole["points"] for hole in told.to_dict()["plans"][0]["holes"]) == 48 - 12
    assert {hole["reason_zh"] for hole in told.to_dict()["plans"][0]["holes"]} == {
        "报文校验错误",
        "电表无此记录",
        "电表无应答",
        "待采集",
    }


def test_why_of_who_is_not_there(store: Connection) -> None:
    place(store, "M1", since="2026-03-11 10:00", until="2026-03-11 14:00")
    for day in (dt.date(2026, 3, 10), dt.date(2026, 3, 12)):
        told = coverage.why(store, asset="M1", day=day, now=NEXT_NOON, zone=SHANGHAI)
        assert not told.commissioned
        assert told.plans == ()
    with pytest.raises(UnknownMeter, match="no meter 'M2' in the archive"):
        coverage.why(store, asset="M2", day=WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)


def test_a_meter_that_moves_in_the_day_owes_all_of_it(store: Connection) -> None:
    place(store, "M1", terminal="T1", until="2026-03-11 10:00")
    here = place(store, "M1", terminal="T2", point="P2", since="2026-03-11 10:00")
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    record(store, attempt(here.meter, slots, slots[:50]))
    told = coverage.why(store, asset="M1", day=WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)
    assert told.terminal == "T2"
    assert (told.plans[0].expected, told.plans[0].present) == (96, 50)


def test_days_with_25_and_23_hours_have_whole_installations(store: Connection) -> None:
    """A day begins at its midnight, not 24 hours before its end."""
    cluster.set_zone(store, "Europe/Madrid")
    long_day, short_day = dt.date(2026, 10, 25), dt.date(2026, 3, 29)
    place(store, "1", zone=MADRID, since="2026-10-24 00:00", until="2026-10-25 00:30")
    place(store, "2", zone=MADRID, since="2026-03-28 00:00", until="2026-03-28 23:30")
    now = at("2026-12-01 00:00")
    told = coverage.why(store, asset="1", day=long_day, now=now, zone=MADRID)
    assert (told.commissioned, told.plans[0].expected) == (True, 2)
    assert not coverage.why(store, asset="2", day=short_day, now=now, zone=MADRID).commissioned
    assert len(day_matrix(store, CURVE, short_day, now=now, zone=MADRID).meters) == 0


def test_the_matrix_of_meters_that_come_and_go(store: Connection) -> None:
    whole = place(store, "1")
    comes = place(store, "2", since="2026-03-11 06:07")
    goes = place(store, "3", until="2026-03-11 06:07")
    exact = place(store, "4", since="2026-03-11 06:00", until="2026-03-11 07:00")
    place(store, "5", until="2026-03-11 00:00")
    place(store, "6", since="2026-03-12 00:00")
    matrix = day_matrix(store, CURVE, WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)
    assert matrix.meters.tolist() == [whole.meter, comes.meter, goes.meter, exact.meter]
    spans = [(np.flatnonzero(row).min(), np.flatnonzero(row).max()) for row in matrix.expected]
    # slot k ends at 15 (k + 1) minutes: 06:15 is slot 24
    assert spans == [(0, 95), (24, 95), (0, 23), (24, 27)]
    freezes = day_matrix(store, DAY, WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)
    assert freezes.expected[:, 0].tolist() == [True, True, False, False]


def test_rates(store: Connection) -> None:
    """Ten meters; freezes due for nine of them, curves of 48 slots until noon of the day after and so on, by hand."""
    meters = [place(store, f"{k}").meter for k in range(9)]
    place(store, "9", since="2026-03-12 00:00")
    slots, midnight = points(CURVE, WEDNESDAY, SHANGHAI), points(DAY, WEDNESDAY, SHANGHAI)
    soon, late = midnight[0] + np.timedelta64(20, "m"), midnight[0] + np.timedelta64(25, "h")
    day: list[Attempt] = [attempt(m, midnight, midnight, when=soon, plan=DAY) for m in meters[:5]]  # at once
    day += [attempt(meters[5], midnight, when=soon, reason="no-answer", plan=DAY)]
    day += [
        attempt(meters[5], midnight, midnight, when=soon + np.timedelta64(1, "h"), plan=DAY)
    ]  # at the second try
    day += [attempt(meters[6], midnight, midnight, when=late, plan=DAY)]  # the first try, but too late
    day += [attempt(meters[7], midnight, NONE, midnight, when=soon, plan=DAY)]  # it has none
    record(store, *day)  # and nobody asked the ninth
    record(
        store, attempt(meters[0], slots, slots[:90], slots[90:], when=midnight[0] + np.timedelta64(30, "m"))
    )
    record(store, attempt(meters[1], slots, slots, when=midnight[0] + np.timedelta64(4, "h")))
    assert coverage.rates(store, day=WEDNESDAY, now=late + np.timedelta64(1, "h"), zone=SHANGHAI) == {
        "day": "2026-03-11",
        "freeze_due": 9,
        "freeze_first_attempt": 5,
        "freeze_in_cycle": 6,
        "once_rate": 5 / 9,
        "cycle_rate": 6 / 9,
        "curve_due": 9 * 96,
        "curve_present": 90 + 96,
        # 00:30 is in time for slots that ended from 20:30 on (slot 81); 04:00 only for the last
        "curve_late": 81 + 95,
        "curve_not_recorded": 6,
        "integrity": 186 / 864,
    }


def test_rates_of_nothing_due(store: Connection) -> None:
    place(store, "1")
    told = coverage.rates(store, day=WEDNESDAY, now=at("2026-03-11 00:10"), zone=SHANGHAI)
    assert (told["once_rate"], told["integrity"], told["curve_due"]) == (None, None, 0)


def test_two_writers_lose_no_bit_and_never_wait_for_each_other_in_a_ring(
    store_dsn: str, store: Connection
) -> None:
    meters = [place(store, f"{k}").meter for k in range(12)]
    slots = points(CURVE, WEDNESDAY, SHANGHAI)
    failures: list[BaseException] = []

    def work(mine: Sequence[int], which: slice) -> None:
        try:
            with db.connect(store_dsn) as conn:
                for slot in slots[which]:
                    for asked, given, reason in (
                        (slot, [slot], ""),
                        (slots[-1], [], "no-answer"),
                    ):
                        one_slot = np.array([asked])
                        told = tuple(Attempt(m, CURVE, one_slot, NONE, NEXT_NOON, reason) for m in mine)
                        came = rows(
                            mine if given else [],
                            given * len(mine),
                            active_import=[1] * len(mine) if given else [],
                        )
                        deliver(conn, CURVES, came, NEXT_NOON, attempts=told)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(meters, slice(0, 20))),
        threading.Thread(target=work, args=(meters[::-1], slice(20, 40))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert (
        one(
            store,
            "SELECT count(*) FROM coverage WHERE present = %s::varbit AND attempts = 80",
            bits(96, *range(40)),
        )
        == 12
    )
    assert one(store, "SELECT count(*) FROM gap_reason WHERE attempts = 40") == 12


def test_a_meter_owes_the_plans_of_its_installation_alone(store: Connection) -> None:
    a, b = place(store, "1"), place(store, "2")
    store.execute("UPDATE installation SET plans = '{2,4}' WHERE meter_id = %s", (b.meter,))
    store.commit()
    for plan, owing in ((CURVE, [True, False]), (DAY, [True, True]), (PHASE, [False, True]), (MONTH, [])):
        matrix = day_matrix(store, plan, WEDNESDAY, now=NEXT_NOON, zone=SHANGHAI)
        assert matrix.meters.tolist() == [a.meter, b.meter]
        assert matrix.expected.any(axis=1).tolist() == (owing or [False, False])
    assert day_matrix(store, MONTH, dt.date(2026, 3, 31), now=NEXT_NOON, zone=SHANGHAI).times.shape == (1,)
