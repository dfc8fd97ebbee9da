"""The job that asks the rules: what it loads, from whom it asks, and what it says of a real store."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.jobs import anomalies, network
from headend.plans import CURVE, points
from headend.store import archive, blocks, events, findings, leases
from headend.store.archive import GONE, TerminalState
from headend.store.blocks.stream import by_area
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.events import Event
from headend.store.tables import CURVES
from protocols.localtime import midnight
from protocols.reading import no_reads
from tests.support.house import SHANGHAI, Place, at, deliver, moment, place, rows, table
from tests.support.household import run

DAY = dt.date(2026, 3, 10)
NIGHT = "2026-03-11 00:40"
TIMES = np.concatenate([[midnight(DAY, SHANGHAI)], points(CURVE, DAY, SHANGHAI)])
MOVES = (np.arange(97) * 7 % 11) / 10  # no network holds a voltage still


def bring(
    conn: Connection, here: Place, a_slot: float, *, export: float = 0.0, now: str = NIGHT, **columns: Any
) -> None:
    """A day of a meter: kWh a slot, one value or 97 of each other quantity, and the ledger."""
    import_ = (5_000_000 + np.floor(a_slot * np.arange(97) * 100 + 1e-6) * 100).astype(int).tolist()
    export_ = (np.floor(export * np.arange(97) * 100 + 1e-6) * 100).astype(int).tolist()
    given = {"voltage_a": (229 + MOVES).tolist(), **columns}
    wide = {code: value if isinstance(value, list) else [value] * 97 for code, value in given.items()}
    reads = rows([here.meter] * 97, TIMES, active_import=import_, active_export=export_, **wide)
    deliver(
        conn, CURVES, reads, at(now), attempts=(Attempt(here.meter, CURVE, TIMES[1:], TIMES[:0], at(now)),)
    )


def look(
    conn: Connection, *rules: str, now: str = NIGHT, day: dt.date = DAY
) -> set[tuple[str, str, str, str]]:
    """(rule, kind, subject, severity) of what is open after a look by these rules, or all."""
    with conn.transaction():
        anomalies.look(run(conn, now), day, rules or anomalies.RULES)
    conn.commit()
    told = {(f["rule"], f["subject_kind"], f["subject"], f["severity"]) for f in findings.listing(conn)}
    conn.commit()
    return told


def test_every_rule_is_asked_and_says_what_it_looks_at() -> None:
    known = {code for how in anomalies.BY_AREA.values() for code in how.needs}
    assert known <= set(blocks_codes())
    assert len(set(anomalies.RULES)) == len(anomalies.RULES) == 21


def blocks_codes() -> tuple[str, ...]:
    return anomalies.SLOT_QUANTITIES


def test_only_the_columns_that_are_looked_at_are_loaded(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(store, place(store, "1"), 0.1, current_a=1.0)
    loaded: list[set[str]] = []
    real = network.areas

    def watched(*arguments: Any) -> Any:
        for net in real(*arguments):
            loaded.append({*net.block.registers, *net.block.instants})
            yield net

    monkeypatch.setattr(network, "areas", watched)
    look(store, "decreased")
    look(store, "voltage")
    look(store, "missing")
    assert loaded == [
        {"active_import", "active_export"},
        {"active_import", "active_export", "voltage_a", "voltage_b", "voltage_c"},
    ]


def test_blocks_of_whole_areas(store: Connection) -> None:
    sizes = {"A1": 3, "A2": 4, "A3": 1, "A4": 5}
    for area, size in sizes.items():
        for k in range(size):
            place(store, f"{area}-{k}", area=area)
    lonely = place(store, "lonely", area="A9")
    store.execute("DELETE FROM loss_role WHERE point_id = %s", (lonely.point,))
    both = place(store, "both", area="A1")
    store.execute(
        "INSERT INTO loss_role (point_id, area_id, role, valid_from) SELECT %s, area_id, 'supply', '2026-01-01' FROM area WHERE code = 'A4'",
        (both.point,),
    )
    store.commit()
    who = blocks.rows(store, DAY, SHANGHAI)
    parts = list(by_area(who, 6))
    store.commit()
    areas = [np.unique(part.area).tolist() for part in parts]
    assert sum(map(len, areas)) == len({a for some in areas for a in some})  # no area in two of them
    assert sum(len(part) for part in parts) == len(who) == 16
    assert areas[-1] == [-1]
    for part in parts:
        assert (np.diff(part.meter) >= 0).all()
    assert [len(part) for part in parts] == [4, 5, 6, 1]


def test_the_rules_of_a_real_day(store: Connection) -> None:
    ordinary = [place(store, str(k)) for k in range(1, 4)]
    for here in ordinary:
        bring(store, here, 0.1, current_a=1.9, active_power=0.4)
    stuck = place(store, "stuck")
    bring(store, stuck, 0.0, current_a=4.0, active_power=0.9)
    backwards, allowed = place(store, "backwards"), place(store, "allowed")
    for here in (backwards, allowed):
        bring(store, here, 0.05, export=0.2, current_a=1.0, active_power=-0.6)
    store.execute("UPDATE point SET feeds_in = true WHERE point_id = %s", (allowed.point,))
    large = place(store, "large", ct=20, phases=3, customer="88001")
    store.execute(
        "INSERT INTO customer_span (customer_id, industry, capacity_kva, valid_from) SELECT customer_id, 'C13', 200, '2026-01-01' FROM customer"
    )
    store.commit()
    volts = {f"voltage_{p}": (229 + MOVES).tolist() for p in "abc"}
    bring(
        store, large, 3.0, active_power=12.0, reactive_power=9.0, **volts, **{f"current_{p}": 21.0 for p in "abc"}
    )  # fmt: skip
    assert look(store) == {
        ("stopped", "meter", "stuck", "alarm"),
        ("reverse-flow", "meter", "backwards", "alarm"),
        ("demand", "meter", "large", "alarm"),
        ("power-factor", "meter", "large", "warning"),
    }


def test_an_area_whose_transformer_is_too_small(store: Connection) -> None:
    supply = place(store, "0", role="supply", ct=100, phases=3)
    store.execute("UPDATE area SET capacity_kva = 100")
    store.commit()
    volts = {f"voltage_{p}": (229 + MOVES).tolist() for p in "abc"}
    bring(store, supply, 0.4, active_power=1.2, reactive_power=0.3, **volts)
    assert look(store) == {("overload", "area", "A1", "alarm")}


def test_a_main_and_its_check_meter(store: Connection) -> None:
    main, check, other = (place(store, name, accuracy=0.005) for name in ("main", "check", "other"))
    store.execute("UPDATE point SET checks = 'Pmain' WHERE code IN ('Pcheck', 'Pother')")
    store.commit()
    bring(store, main, 1.0, current_a=19.0)
    bring(store, check, 0.99, current_a=19.0)
    assert look(store, "check-meter") == {("check-meter", "meter", "main", "warning")}
    (told,) = findings.listing(store)
    assert told["evidence"]["check_meter"] == "check"  # by the name that people know it by
    assert told["evidence"]["main_kwh"] == pytest.approx(96.0)
    assert other.meter != check.meter


def test_what_meters_told_of(store: Connection) -> None:
    here, fresh = place(store, "1"), place(store, "2", since="2026-03-10 08:00")
    heard = moment("2026-03-10 12:00")
    told = [
        Event(
            "meter",
            here.meter,
            moment("2026-03-08 23:00"),
            "dlt645.03300D01",
            heard,
            detail={"kind": "cover-open"},
        ),
        Event(
            "meter",
            here.meter,
            moment("2026-03-08 23:05"),
            "dlt645.03350001",
            heard,
            detail={"kind": "magnetic-field"},
        ),
        Event(
            "meter",
            fresh.meter,
            moment("2026-03-10 08:30"),
            "dlt645.03300D01",
            heard,
            detail={"kind": "cover-open"},
        ),
        Event(
            "terminal",
            here.terminal,
            moment("2026-03-10 09:00"),
            "gdw376.37",
            heard,
            detail={"kind": "cover-open"},
        ),
        Event(
            "meter",
            here.meter,
            moment("2026-03-10 09:00"),
            "dlt645.03110001",
            heard,
            detail={"kind": "power-down"},
        ),
    ]
    events.write(store, told, SHANGHAI)
    store.commit()
    expected = {
        ("cover", "meter", "1", "alarm"), ("magnetic", "meter", "1", "alarm"), ("cover", "terminal", "T1", "alarm"),
    }  # fmt: skip
    assert look(store, "cover", "magnetic") == expected
    # told on that day: the day before and the day after have nothing of it
    assert look(store, "cover", "magnetic", day=DAY - dt.timedelta(days=1)) == expected
    assert [f["days"] for f in findings.listing(store)] == [1, 1, 1]


def test_a_terminal_that_is_gone_and_one_that_comes_and_goes(store: Connection) -> None:
    gone, restless = place(store, "1", terminal="T1"), place(store, "2", terminal="T2")
    place(store, "3", terminal="T3")
    archive.seen(store, {gone.terminal: TerminalState(True, at("2026-03-10 05:00"))}, at("2026-03-10 05:00"))
    archive.seen(store, {gone.terminal: GONE})
    for k in range(13):
        archive.seen(
            store,
            {restless.terminal: TerminalState(True, at("2026-03-10 01:00"))},
            at(f"2026-03-10 {k:02}:10"),
        )
        archive.seen(
            store,
            {restless.terminal: TerminalState(True, at("2026-03-10 01:00"))},
            at(f"2026-03-10 {k:02}:20"),
        )
        if k < 12:
            archive.seen(store, {restless.terminal: GONE})
    store.commit()
    attempt = Attempt(gone.meter, CURVE, TIMES[1:40], TIMES[:0], at("2026-03-10 12:00"), "offline", "")
    deliver(store, CURVES, no_reads(), at("2026-03-10 12:00"), attempts=(attempt,))
    # nobody who was not listened to is accused: no collector, and one that came an hour ago
    assert not {f for f in look(store, "offline", now="2026-03-10 13:40") if f[0] == "offline"}
    leases.at_work(store, "new", since=at("2026-03-10 12:40"), seconds=60)
    assert not {f for f in look(store, "offline", now="2026-03-10 13:40") if f[0] == "offline"}
    leases.at_work(store, "old", since=at("2026-03-10 04:00"), seconds=60)
    leases.at_work(store, "old", since=at("2026-03-10 13:30"), seconds=60)  # a renewal, it was there before
    told = look(store, "offline", "flapping", "missing", now="2026-03-10 13:40")
    assert {f for f in told if f[2] != "3"} == {
        ("offline", "terminal", "T1", "warning"), ("flapping", "terminal", "T2", "warning"),
    }  # fmt: skip
    (off,) = [f for f in findings.listing(store) if f["rule"] == "offline"]
    assert off["evidence"]["explains"] == 1  # the holes of its meter
    leases.release(store, "old")  # whoever was said to be away is so still when the collector begins anew
    assert ("offline", "terminal", "T1", "warning") in look(store, "offline", now="2026-03-10 13:50")
    # of yesterday nobody knows how it was; what was said of today stays
    assert ("offline", "terminal", "T1", "warning") in look(store, "offline", now=NIGHT)
    # and the holes of that day are its own, whenever they are looked at again
    assert not [f for f in look(store, "missing", now=NIGHT) if f[:3] == ("missing", "terminal", "T1")]
    # back: it was so, and is over; gone again on the same day: recurred
    archive.seen(store, {gone.terminal: TerminalState(True, at("2026-03-10 14:00"))}, at("2026-03-10 14:00"))
    store.commit()
    assert {f for f in look(store, "offline", now="2026-03-10 14:10") if f[0] == "offline"} == set()
    assert [(f["finding_id"], f["days"]) for f in findings.listing(store, states=["closed"])] == [
        (off["finding_id"], 1)
    ]
    archive.seen(store, {gone.terminal: GONE})
    store.commit()
    leases.at_work(store, "old", since=at("2026-03-10 14:05"), seconds=60)
    look(store, "offline", now="2026-03-10 16:10")
    (again,) = findings.listing(store, rule="offline")
    assert (again["state"], again["again_of"]) == ("recurred", off["finding_id"])


def test_logins_are_kept_in_bounds(store: Connection) -> None:
    here = place(store, "1")
    for k in range(205):
        archive.seen(
            store, {here.terminal: TerminalState(True)}, at("2026-03-10 00:00") + np.timedelta64(k, "m")
        )
        archive.seen(store, {here.terminal: GONE})
    store.commit()
    assert table(store, "SELECT cardinality(ats), ats[1] FROM terminal_login") == [
        (200, moment("2026-03-10 00:05"))
    ]


def test_a_meter_that_answers_seldom(store: Connection) -> None:
    good, weak, dead = place(store, "good"), place(store, "weak"), place(store, "dead")
    for k in range(12):
        now = at("2026-03-10 12:00") + np.timedelta64(k, "m")
        for here, why in ((good, ""), (weak, "no-answer" if k % 2 else ""), (dead, "no-answer")):
            tried = Attempt(here.meter, CURVE, TIMES[1 + k : 2 + k], TIMES[:0], now, why)
            reads = (
                rows([here.meter], TIMES[1 + k : 2 + k], active_import=[100 + k]) if not why else no_reads()
            )
            deliver(store, CURVES, reads, now, attempts=(tried,))
    assert look(store, "route", now="2026-03-10 12:40") == {("route", "meter", "weak", "warning")}
    (told,) = findings.listing(store)
    assert (told["evidence"]["attempts"], told["evidence"]["in_vain"]) == (12, 6)


def test_far_above_its_own_history(store: Connection) -> None:
    here = place(store, "1")
    store.execute(
        "SELECT ensure_partitions('day_rollup', ARRAY['2026-03-01'::timestamptz, '2026-03-09'::timestamptz])"
    )
    store.execute(
        "INSERT INTO day_rollup (meter_id, day, points, present, late, estimated, freeze_points, freeze_present, freeze_late, "
        "freeze_estimated, import_energy, import_from, voltage_a_n, voltage_b_n, voltage_c_n, current_a_n, current_b_n, current_c_n, "
        "active_power_n, reactive_power_n) "
        "SELECT %s, d::date, 96, 96, 0, 0, 1, 1, 0, 0, 50000 + 1000 * extract(day FROM d)::int, 2, 0, 0, 0, 0, 0, 0, 0, 0 "
        "FROM generate_series('2026-03-01'::date, '2026-03-09'::date, interval '1 day') d",
        (here.meter,),
    )
    store.commit()
    bring(store, here, 0.5, current_a=9.0)
    assert look(store, "run-away") == {("run-away", "meter", "1", "alarm")}
    (told,) = findings.listing(store)
    assert told["evidence"]["highest_day_before_kwh"] == pytest.approx(5.9)
    assert told["evidence"]["days_before"] == 9


def test_a_voltage_of_the_whole_area_is_one_finding(store: Connection) -> None:
    for k in range(6):
        bring(store, place(store, str(k)), 0.1, voltage_a=(240 + MOVES).tolist(), current_a=1.7)
    bring(
        store,
        place(store, "far", area="A2", terminal="T2"),
        0.1,
        voltage_a=(240 + MOVES).tolist(),
        current_a=1.7,
    )
    assert look(store, "voltage") == {
        ("voltage", "area", "A1", "alarm"),
        ("voltage", "meter", "far", "alarm"),
    }
