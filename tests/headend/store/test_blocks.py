"""Arrays out: one local day as [meter, slot], the same as row-by-row SQL gives it."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.plans import CURVE, points
from headend.store import blocks, cluster
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES, SLOTS, SPOTS
from protocols.localtime import as_datetime, instant, midnight
from protocols.reading import MISSING, REGISTER_QUANTITIES
from tests.support.house import MADRID, SHANGHAI, at, place, rows, table, write

WEDNESDAY = dt.date(2026, 3, 11)
CODES = ("active_import", "voltage_a", "active_power")


def test_alignment(store: Connection) -> None:
    here = place(store, "1", ct=80, pt=10, phases=3, accuracy=0.005, role="supply")
    quarter = np.timedelta64(15, "m")
    opening, closing = at("2026-03-11 00:00"), at("2026-03-12 00:00")
    times = [
        opening - quarter,
        opening,
        opening + quarter,
        closing,
        closing + quarter,
        opening + np.timedelta64(7, "m"),
    ]
    write(
        store,
        SLOTS,
        rows(
            [here.meter] * 6,
            times,
            active_import=[1, 2, 3, 4, 5, 6],
            voltage_a=[1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
        ),
    )
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import", "voltage_a"))
    assert block.times.tolist()[:2] == [opening.item(), (opening + quarter).item()]
    assert block.registers["active_import"].shape == (1, 97)
    assert block.instants["voltage_a"].shape == (1, 96)
    there = np.flatnonzero(block.registers["active_import"][0] != MISSING)
    assert there.tolist() == [0, 1, 96]
    assert block.registers["active_import"][0, there].tolist() == [2, 3, 4]
    # an instant value at midnight belongs to the day before
    assert np.flatnonzero(~np.isnan(block.instants["voltage_a"][0])).tolist() == [0, 95]
    assert block.instants["voltage_a"][0, [0, 95]].tolist() == [3.5, 4.5]
    who = block.rows
    assert (who.multiplier.tolist(), who.role.tolist(), who.phases.tolist(), who.whole.tolist()) == (
        [800],
        [0],
        [3],
        [True],
    )
    assert who.accuracy.tolist() == pytest.approx([0.005])


def test_nobody_is_installed(store: Connection) -> None:
    place(store, "1", since="2026-03-12 00:00")
    write(store, SLOTS, rows([1], [at("2026-03-11 12:00")], active_import=[5]))
    block = blocks.load(store, WEDNESDAY, SHANGHAI, CODES)
    assert block.registers["active_import"].shape == (0, 97)
    assert block.instants["voltage_a"].shape == (0, 96)
    assert block.freezes["active_import"].shape == (0, 2)


def test_revisions_lie_over_the_first_reading(store: Connection) -> None:
    here, other = place(store, "1"), place(store, "2")
    noon = at("2026-03-11 12:00")
    for value, volts in ((100, 230.5), (101, 231.12345), (102, 231.12345)):
        write(
            store,
            SLOTS,
            rows([here.meter, other.meter], [noon, noon], active_import=[value, 7], voltage_a=[volts, 230.0]),
        )
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import", "voltage_a"))
    assert block.registers["active_import"][:, 48].tolist() == [102, 7]
    assert block.instants["voltage_a"][:, 47].tolist() == [np.float32(231.12345), 230.0]
    # a quantity that nobody asked for is not laid anywhere
    assert list(blocks.load(store, WEDNESDAY, SHANGHAI, ("voltage_b",)).instants) == ["voltage_b"]


def test_freezes_at_both_midnights(store: Connection) -> None:
    here = place(store, "1")
    ends = [at("2026-03-11 00:00"), at("2026-03-12 00:00")]
    write(
        store, DAY_FREEZES, rows([here.meter] * 2, ends, active_import=[10, 20], active_import_t2=[4, None])
    )
    write(store, SPOTS, rows([here.meter], ends[1:], active_import=[99]))
    write(store, DAY_FREEZES, rows([here.meter], ends[1:], active_import=[21]))
    freezes = blocks.load(store, WEDNESDAY, SHANGHAI, CODES).freezes
    assert set(freezes) == set(REGISTER_QUANTITIES)
    assert freezes["active_import"].tolist() == [[10, 21]]
    assert freezes["active_import_t2"].tolist() == [[4, MISSING]]


def test_until_hides_everything_that_ended_later(store: Connection) -> None:
    """Readings, their revisions and the closing freeze: a job's view at an instant."""
    here = place(store, "1")
    ends = [at("2026-03-11 00:00"), at("2026-03-11 12:00"), at("2026-03-11 12:15"), at("2026-03-12 00:00")]
    for k in range(2):
        write(
            store,
            SLOTS,
            rows(
                [here.meter] * 4,
                ends,
                active_import=[v + k for v in (10, 20, 30, 40)],
                voltage_a=[float(k)] * 4,
            ),
        )
        write(store, DAY_FREEZES, rows([here.meter] * 2, [ends[0], ends[3]], active_import=[11 + k, 41 + k]))
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import", "voltage_a"), until=ends[1])
    column = block.registers["active_import"][0]
    assert np.flatnonzero(column != MISSING).tolist() == [0, 48]
    assert column[[0, 48]].tolist() == [11, 21]
    assert np.flatnonzero(~np.isnan(block.instants["voltage_a"][0])).tolist() == [47]
    assert block.freezes["active_import"].tolist() == [[12, MISSING]]
    assert block.registers["active_import"].shape == (1, 97)


def test_a_meter_exchange_is_two_rows_that_are_not_whole(store: Connection) -> None:
    old = place(store, "1", until="2026-03-11 10:00", area="A5", role="receive")
    new = place(store, "2", point="P1", since="2026-03-11 10:00", area="A5")
    other = place(store, "3", until="2026-03-12 00:00")
    place(store, "4", until="2026-03-11 00:00")
    who = blocks.load(store, WEDNESDAY, SHANGHAI, CODES).rows
    assert who.meter.tolist() == [old.meter, new.meter, other.meter]
    assert who.point.tolist() == [old.point, old.point, other.point]
    assert who.area.tolist() == [old.area, old.area, other.area]
    assert who.whole.tolist() == [False, False, True]


def test_a_meter_that_moves_has_its_curve_in_both_rows(store: Connection) -> None:
    first = place(store, "1", until="2026-03-11 10:00")
    second = place(store, "1", point="P9", since="2026-03-11 10:00")
    write(store, SLOTS, rows([first.meter], [at("2026-03-11 12:00")], active_import=[5]))
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import",))
    assert block.rows.point.tolist() == [first.point, second.point]
    assert block.registers["active_import"][:, 48].tolist() == [5, 5]


def naive(
    conn: Connection, day: dt.date, zone: ZoneInfo, code: str, meters: list[int]
) -> list[list[float | None]]:
    """The same by one query per table and a loop."""
    times = [midnight(day, zone), *points(CURVE, day, zone)]
    span = (as_datetime(times[0]), as_datetime(times[-1]))
    cells = {
        (m, instant(ts)): v
        for m, ts, v in table(
            conn, f"SELECT meter_id, ts, {code} FROM slot_read WHERE ts BETWEEN %s AND %s", *span
        )
    }
    for m, ts, v in table(
        conn,
        "SELECT meter_id, ts, value FROM revision WHERE source = 'slot' AND quantity = %s ORDER BY version",
        code,
    ):
        cells[m, instant(ts)] = float(v)
    return [[cells.get((m, when)) for when in times] for m in meters]


@pytest.mark.parametrize("day", [dt.date(2026, 3, 28), dt.date(2026, 3, 29), dt.date(2026, 10, 25)])
def test_the_same_as_naive_sql(store: Connection, day: dt.date) -> None:
    cluster.set_zone(store, "Europe/Madrid")
    rng = np.random.default_rng(day.toordinal())
    meters = [place(store, f"{k}", zone=MADRID).meter for k in range(5)]
    slots = np.concatenate([points(CURVE, day + dt.timedelta(days=k), MADRID) for k in (-1, 0, 1)])
    for _ in range(3):  # overlapping batches: completion and revisions happen
        n = 300
        columns = {code: np.round(rng.uniform(0, 300, n), 2).tolist() for code in CODES}
        columns["active_import"] = rng.integers(0, 2**50, n).tolist()
        for column in columns.values():
            for k in np.flatnonzero(rng.random(n) < 0.3):
                column[k] = None
        write(store, SLOTS, rows(rng.choice(meters, n).tolist(), rng.choice(slots, n), **columns))
    block = blocks.load(store, day, MADRID, CODES)
    assert len(block.times) == len(points(CURVE, day, MADRID)) + 1
    assert block.rows.meter.tolist() == meters
    expected = naive(store, day, MADRID, "active_import", meters)
    assert block.registers["active_import"].tolist() == [
        [MISSING if v is None else v for v in row] for row in expected
    ]
    for code in CODES[1:]:
        found = [[None if np.isnan(v) else v for v in row] for row in block.instants[code].tolist()]
        wanted = [
            [None if v is None else float(np.float32(v)) for v in row[1:]]
            for row in naive(store, day, MADRID, code, meters)
        ]
        assert found == wanted


def test_assets(store: Connection) -> None:
    a, b = place(store, "1"), place(store, "2")
    assert blocks.assets(store, np.array([b.meter, a.meter, b.meter])) == ["2", "1", "2"]
