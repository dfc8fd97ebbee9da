"""Roll-ups equal their rows, bit for bit, whatever comes late, twice, corrected or estimated, and whoever is killed in between."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.plans import CURVE, DAY, points
from headend.store import feed, revisions, rollups
from headend.store.check import snapshot
from headend.store.db import Connection
from headend.store.reads import Note
from headend.store.tables import CURVES, DAY_FREEZES, DAYS, SLOTS
from protocols.localtime import as_datetime, midnight
from tests.support.app import settle
from tests.support.house import MADRID, SHANGHAI, at, deliver, one, place, rows, table

DAY_ = dt.date(2026, 3, 11)
NOW = at("2026-03-20 12:00")


def run(conn: Connection, zone: ZoneInfo = SHANGHAI) -> int:
    """The job until nothing waits; meter-days made."""
    settle(conn)
    made = 0
    for _ in range(100):
        with conn.transaction():
            done = rollups.step(conn, zone, NOW)
        conn.commit()
        made += done.days
        if not done.more:
            return made
    raise AssertionError("it never ends")


def wrong(
    conn: Connection, zone: ZoneInfo = SHANGHAI, first: dt.date = DAY_ - dt.timedelta(days=40), n: int = 80
) -> list[Any]:
    conn.commit()
    with snapshot(conn):
        found, skipped = rollups.check(conn, zone, first, first + dt.timedelta(days=n))
    assert not skipped
    return found


def day_row(conn: Connection, meter: int, day: dt.date = DAY_) -> dict[str, Any]:
    row = conn.execute("SELECT * FROM day_rollup WHERE meter_id = %s AND day = %s", (meter, day)).fetchone()
    conn.commit()
    assert row is not None
    return row


def whole_day(
    conn: Connection, meter: int, day: dt.date, zone: ZoneInfo, seed: int, **more: Any
) -> dict[str, np.ndarray]:
    """A day of curve with random values, opening midnight included, and its freeze. What was written."""
    rng = np.random.default_rng(seed)
    times = np.concatenate([[midnight(day, zone)], points(CURVE, day, zone)])
    n = len(times)
    written = {
        "active_import": 1_000_000 + np.cumsum(rng.integers(0, 900, n)),
        "active_export": 5_000 + np.cumsum(rng.integers(0, 9, n)),
        "voltage_a": rng.normal(230, 3, n).astype(np.float32).astype(np.float64),
        "active_power": rng.normal(2, 1, n).astype(np.float32).astype(np.float64),
        "active_power_a": rng.normal(1, 1, n).astype(np.float32).astype(np.float64),
    }
    deliver(
        conn,
        CURVES,
        rows([meter] * n, times, **{code: v.tolist() for code, v in written.items()}),
        zone=zone,
        **more,
    )
    return {"times": times, **written}


@pytest.mark.parametrize(
    ("zone", "day", "slots"),
    [
        (SHANGHAI, DAY_, 96),
        (MADRID, dt.date(2026, 3, 29), 92),
        (MADRID, dt.date(2026, 10, 25), 100),
        (SHANGHAI, dt.date(2028, 2, 29), 96),
    ],
    ids=["ordinary", "spring", "autumn", "leap"],
)
def test_a_day_is_what_its_rows_say(store: Connection, zone: ZoneInfo, day: dt.date, slots: int) -> None:
    meter = place(store, "M1", zone=zone).meter
    w = whole_day(store, meter, day, zone, 1)
    run(store, zone)
    row = day_row(store, meter, day)
    assert (row["points"], row["present"], row["late"], row["estimated"]) == (slots, slots, row["late"], 0)
    assert (row["freeze_points"], row["freeze_present"]) == (1, 0)
    assert row["import_energy"] == w["active_import"][-1] - w["active_import"][0]
    assert row["export_register"] == w["active_export"][-1]
    assert (row["import_from"], row["export_from"]) == (1, 1)
    own = w["voltage_a"][1:]
    assert row["voltage_a_n"] == slots
    assert (np.float32(row["voltage_a_min"]), np.float32(row["voltage_a_max"])) == (own.min(), own.max())
    assert row["voltage_a_min_at"] == as_datetime(w["times"][1:][own.argmin()])
    assert row["voltage_a_max_at"] == as_datetime(w["times"][1:][own.argmax()])
    total = 0.0
    for value in own.tolist():
        total += value
    assert row["voltage_a_mean"] == total / slots  # the very same bits
    assert np.float32(row["active_power_max"]) == w["active_power"][1:].max()
    assert (row["voltage_b_n"], row["voltage_b_min"], row["voltage_b_mean"]) == (0, None, None)
    phase = store.execute(
        "SELECT * FROM day_phase_rollup WHERE meter_id = %s AND day = %s", (meter, day)
    ).fetchone()
    assert phase is not None
    assert np.float32(phase["active_power_a_max"]) == w["active_power_a"][1:].max()
    assert wrong(store, zone, day, 2) == []


def test_the_freeze_goes_before_the_curve_and_registers_roll_over(store: Connection) -> None:
    meter = place(store, "M1").meter
    store.execute("UPDATE meter SET digits = 5")
    whole_day(store, meter, DAY_, SHANGHAI, 1)
    top = 99_999 * 10_000
    deliver(
        store,
        DAYS,
        rows([meter] * 2, [at("2026-03-11 00:00"), at("2026-03-12 00:00")], active_import=[top, 20_000]),
    )
    run(store)
    row = day_row(store, meter)
    assert (row["import_from"], row["import_register"], row["import_energy"]) == (2, 20_000, 30_000)
    assert (row["export_from"], row["freeze_present"]) == (1, 1)
    store.execute("UPDATE meter SET digits = 6")  # then it did not roll over: it fell
    run(store)
    row = day_row(store, meter)
    assert (row["import_from"], row["import_register"], row["import_energy"]) == (None, 20_000, None)
    assert wrong(store) == []


def test_late_corrected_completed_and_estimated(store: Connection) -> None:
    meter = place(store, "M1").meter
    times = points(CURVE, DAY_, SHANGHAI)
    deliver(store, CURVES, rows([meter] * 48, times[:48], active_import=range(48), voltage_a=[230.0] * 48))
    run(store)
    assert (day_row(store, meter)["present"], day_row(store, meter)["import_register"]) == (48, None)
    late = times[-1] + np.timedelta64(10, "h")
    deliver(store, CURVES, rows([meter] * 24, times[48:72], active_import=range(48, 72)), late)
    run(store)
    # all came at noon: what ended before 08:00 was more than four hours old; and all of the second delivery
    assert (day_row(store, meter)["present"], day_row(store, meter)["late"]) == (72, 31 + 24)
    deliver(store, CURVES, rows([meter], times[60:61], voltage_a=[212.5]), late)  # a NULL is filled
    deliver(
        store, CURVES, rows([meter], times[3:4], active_import=[3], voltage_a=[251.25]), late
    )  # a value is corrected
    run(store)
    row = day_row(store, meter)
    assert (row["voltage_a_n"], row["voltage_a_min"], row["voltage_a_max"]) == (49, 212.5, 251.25)
    with store.transaction():
        revisions.revise(
            store, SLOTS, "active_import", np.full(24, meter), times[72:], np.arange(72, 96), Note(late, "no answer", "test"),
            method="linear", zone=SHANGHAI,
        )  # fmt: skip
    run(store)
    row = day_row(store, meter)
    assert (row["present"], row["estimated"], row["import_register"]) == (72, 24, 95)
    deliver(
        store, CURVES, rows([meter] * 24, times[72:], active_import=range(172, 196)), late
    )  # the meter's own
    run(store)
    row = day_row(store, meter)
    assert (row["present"], row["estimated"], row["import_register"]) == (96, 0, 195)
    assert wrong(store) == []
    with store.transaction():
        revisions.revise(
            store, DAY_FREEZES, "active_import", np.array([meter]), times[-1:], np.array([777]), Note(late, "by hand", "test"),
            method="edit", zone=SHANGHAI,
        )  # fmt: skip
    run(store)
    assert day_row(store, meter)["import_register"] == 777
    assert wrong(store) == []


def test_only_what_changed_is_made_again(store: Connection) -> None:
    meters = [place(store, f"M{k}").meter for k in range(5)]
    for k, meter in enumerate(meters):
        whole_day(store, meter, DAY_, SHANGHAI, k)
    run(store)
    assert run(store) == 0
    store.execute("UPDATE day_rollup SET voltage_a_n = 7")  # whoever is made again is mended
    deliver(store, CURVES, rows([meters[2]], points(CURVE, DAY_, SHANGHAI)[5:6], active_import=[1]), NOW)
    assert run(store) == 2  # the day, and the next one, whose opening register it might have been
    assert table(store, "SELECT meter_id FROM day_rollup WHERE voltage_a_n <> 7") == [(meters[2],)]


def test_a_register_that_closes_a_day_opens_the_next(store: Connection) -> None:
    meter = place(store, "M1").meter
    deliver(store, DAYS, rows([meter], [at("2026-03-13 00:00")], active_import=[900]))
    run(store)
    assert day_row(store, meter, dt.date(2026, 3, 12))["import_energy"] is None
    deliver(
        store, DAYS, rows([meter], [at("2026-03-12 00:00")], active_import=[200]), NOW
    )  # of the day before
    run(store)
    assert day_row(store, meter, dt.date(2026, 3, 12))["import_energy"] == 700
    assert wrong(store) == []


def test_a_kill_in_between_loses_and_repeats_nothing(store: Connection, second: Connection) -> None:
    meter = place(store, "M1").meter
    run(store)
    whole_day(store, meter, DAY_, SHANGHAI, 1)
    settle(store)
    before = one(store, "SELECT cursor FROM job_cursor")
    second.execute("SELECT 1")
    done = rollups.step(second, SHANGHAI, NOW)
    assert done.days > 0
    second.rollback()  # as the server does it when the connection is gone
    assert one(store, "SELECT cursor FROM job_cursor") == before
    assert one(store, "SELECT count(*) FROM day_rollup") == 0
    assert run(store) == done.days
    assert wrong(store) == []


def test_the_size_of_a_batch_changes_no_bit(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    meters = [place(store, f"M{k}").meter for k in range(7)]
    for k, meter in enumerate(meters):
        whole_day(store, meter, DAY_, SHANGHAI, k)
    run(store)
    monkeypatch.setattr(rollups, "METERS", 2)
    assert wrong(store) == []


def test_months_are_their_days(store: Connection) -> None:
    meter = place(store, "M1").meter
    closing = [at("2026-03-01 00:00") + np.timedelta64(n, "D") for n in range(32)]
    deliver(store, DAYS, rows([meter] * 32, closing, active_import=[1000 * n for n in range(32)]))
    for n in (3, 20):
        whole_day(store, meter, dt.date(2026, 3, n), SHANGHAI, n)
    run(store)
    row = store.execute("SELECT * FROM month_rollup WHERE month = '2026-03-01'").fetchone()
    assert row is not None
    assert (row["days"], row["freeze_points"], row["freeze_present"], row["import_energy_days"]) == (
        31,
        31,
        31,
        31,
    )
    assert (row["import_energy"], row["import_register"]) == (31_000, 31_000)
    days = table(
        store,
        "SELECT voltage_a_min, voltage_a_max, voltage_a_mean, voltage_a_n FROM day_rollup WHERE voltage_a_n > 0 ORDER BY day",
    )
    assert (row["voltage_a_min"], row["voltage_a_max"]) == (min(d[0] for d in days), max(d[1] for d in days))
    total = 0.0
    for _, _, mean, n in days:
        total += mean * n
    assert row["voltage_a_mean"] == total / sum(d[3] for d in days)
    assert wrong(store) == []
    store.execute("UPDATE month_rollup SET present = present + 1 WHERE month = '2026-03-01'")
    (found,) = wrong(store)
    assert (found.table, found.day, found.columns) == (
        "month_rollup",
        dt.date(2026, 3, 1),
        {"present": (row["present"] + 1, row["present"])},
    )


def test_what_a_meter_owes_follows_its_installation(store: Connection) -> None:
    meter = place(store, "M1").meter
    whole_day(store, meter, DAY_, SHANGHAI, 1)
    run(store)
    assert day_row(store, meter)["points"] == 96
    store.execute("UPDATE installation SET valid_to = %s", (as_datetime(at("2026-03-11 12:00")),))
    store.commit()
    with snapshot(store):
        assert rollups.check(store, SHANGHAI, DAY_, DAY_) == ([], 1)  # it waits for the job
    run(store)
    assert day_row(store, meter)["points"] == 48
    store.execute("UPDATE installation SET plans = '{2}'")
    run(store)
    assert (day_row(store, meter)["points"], day_row(store, meter)["freeze_points"]) == (0, 0)
    assert wrong(store) == []


def test_after_a_restore_everything_is_made_again(store: Connection) -> None:
    meter = place(store, "M1").meter
    whole_day(store, meter, DAY_, SHANGHAI, 1)
    run(store)
    feed.begin_again(store)
    store.execute("UPDATE day_rollup SET voltage_a_n = 3")
    store.commit()
    assert run(store) >= 1
    assert wrong(store) == []
    assert [change.key for change in feed.read(store, None, 10).changes][:1] == ["M1"]


@pytest.mark.parametrize("harm", [
    "UPDATE day_rollup SET voltage_a_mean = voltage_a_mean * (1 + 1e-15)", "DELETE FROM day_rollup",
    "UPDATE slot_read SET active_power = 9 WHERE ts = '2026-03-11 04:00+08'", "UPDATE coverage SET present = present & ~present",
    "INSERT INTO day_phase_rollup SELECT meter_id + 1, day, 0,0,0,0,0,null,0,0,0,0,0,null,0,0,0,0,0,null,0,0,0,0,0,null FROM day_rollup LIMIT 0; "
    "UPDATE day_phase_rollup SET power_factor_n = 1",
])  # fmt: skip
def test_the_checker_sees_every_harm(store: Connection, harm: str) -> None:
    meter = place(store, "M1").meter
    whole_day(store, meter, DAY_, SHANGHAI, 1)
    run(store)
    assert wrong(store) == []
    store.execute(harm.rsplit("; ", maxsplit=1)[-1].encode())
    assert wrong(store)


def test_hours_for_dashboards(store: Connection) -> None:
    meter = place(store, "M1").meter
    times = points(CURVE, DAY_, SHANGHAI)[:8]
    deliver(
        store,
        CURVES,
        rows(
            [meter] * 8,
            times,
            voltage_a=[230, 231, 232, 235, 220, 220, 220, 220],
            active_power=[1, 2, 3, 6, 0, 0, 0, 0],
        ),
    )
    found = table(
        store, "SELECT hour, n, voltage_a_min, voltage_a_avg, voltage_a_max, voltage_b_avg, active_power_avg, active_power_max FROM slot_hour "
        "WHERE meter_id = %s ORDER BY hour", meter,
    )  # fmt: skip
    assert found == [
        (as_datetime(midnight(DAY_, SHANGHAI)), 4, 230.0, 232.0, 235.0, None, 3.0, 6.0),
        (
            as_datetime(midnight(DAY_, SHANGHAI) + np.timedelta64(1, "h")),
            4,
            220.0,
            220.0,
            220.0,
            None,
            0.0,
            0.0,
        ),
    ]
    assert math.isclose(found[0][3], 232.0)


def chance(seed: int) -> Iterator[np.random.Generator]:
    yield np.random.default_rng(seed)


def test_many_random_deliveries(store: Connection) -> None:
    """Whatever order readings come in, the job run now and then, the roll-ups equal their rows."""
    (rng,) = chance(8)
    meters = [place(store, f"M{k}").meter for k in range(4)]
    for _ in range(30):
        meter = int(rng.choice(meters))
        day = DAY_ + dt.timedelta(days=int(rng.integers(0, 3)))
        slots = np.sort(rng.choice(96, int(rng.integers(1, 30)), replace=False))
        times = points(CURVE, day, SHANGHAI)[slots]
        registers = [
            int(v) if rng.random() > 0.2 else None for v in rng.integers(0, 5, len(slots)) + slots * 10
        ]
        volts = [float(v) if rng.random() > 0.3 else None for v in rng.normal(230, 5, len(slots))]
        deliver(
            store, CURVES, rows([meter] * len(slots), times, active_import=registers, voltage_a=volts), NOW
        )
        if rng.random() < 0.3:
            deliver(
                store,
                DAYS,
                rows([meter], points(DAY, day, SHANGHAI), active_import=[int(rng.integers(0, 5000))]),
                NOW,
            )
        if rng.random() < 0.3:
            run(store)
    run(store)
    assert one(store, "SELECT count(*) FROM day_rollup") > 4
    assert wrong(store) == []
