"""Arrays out: one local day as [meter, slot], the same as row-by-row SQL gives it."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest

from headend.plans import CURVE, points
from headend.store import blocks, cluster
from headend.store.blocks import block as block_
from headend.store.blocks.grid import by_key
from headend.store.blocks.whole import whole
from headend.store.coverage import FOREVER
from headend.store.db import Connection
from headend.store.tables import CURVES, DAY_FREEZES, PHASES, SLOTS, SPOTS
from protocols.localtime import as_datetime, instant, midnight
from protocols.reading import MISSING, REGISTER_QUANTITIES
from tests.support.house import MADRID, SHANGHAI, at, deliver, moment, place, rows, table, write

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


def fleet(conn: Connection, count: int) -> list[int]:
    """So many meters, each on a point of its own, CT 1 to 3 in turn."""
    place(conn, "0")
    conn.execute(
        "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, 1, 0.01 FROM generate_series(2, %s) n",
        (count,),
    )
    conn.execute("INSERT INTO point (code) SELECT 'Q' || n FROM generate_series(2, %s) n", (count,))
    conn.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) "
        "SELECT n, n, 1, n::text, 1 + n %% 3, 1, timestamptz '2026-01-01 00:00+08' FROM generate_series(2, %s) n",
        (count,),
    )
    conn.commit()
    return list(range(1, count + 1))


def curves(conn: Connection, meters: list[int], days: int = 1, *, holes: float = 0.0) -> None:
    """Registers of whole days from WEDNESDAY on, some points of some meters left out."""
    slots = [points(CURVE, WEDNESDAY + dt.timedelta(days=k), SHANGHAI) for k in range(days)]
    times = np.concatenate([np.array([midnight(WEDNESDAY, SHANGHAI)]), *slots])
    rng = np.random.default_rng(len(meters))
    meter, when = np.repeat(meters, len(times)), np.tile(times, len(meters))
    values = meter * 1_000_000 + np.tile(np.arange(len(times)) * 100, len(meters))
    kept = rng.random(len(meter)) >= holes
    deliver(
        conn,
        CURVES,
        rows(
            meter[kept].tolist(),
            when[kept],
            active_import=values[kept].tolist(),
            active_export=(values[kept] + 7).tolist(),
            voltage_a=np.round(200 + rng.random(int(kept.sum())), 1).tolist(),
        ),
    )


@pytest.mark.parametrize("holes", [0.0, 0.004, 0.3])
def test_the_same_however_many_meters_are_whole(store: Connection, holes: float) -> None:
    """All of them, most of them, none: by the ledger the values come with their times or without."""
    meters = fleet(store, 450)
    curves(store, meters, holes=holes)
    block = blocks.load(store, WEDNESDAY, SHANGHAI, CODES)
    expected = naive(store, WEDNESDAY, SHANGHAI, "active_import", meters)
    assert block.registers["active_import"].tolist() == [
        [MISSING if v is None else v for v in row] for row in expected
    ]
    complete = (block.registers["active_import"] != MISSING).all(axis=1).sum()
    assert (holes == 0.3) == (complete == 0)
    assert (holes == 0) == (complete == 450)
    volts = naive(store, WEDNESDAY, SHANGHAI, "voltage_a", meters)
    assert np.array_equal(
        block.instants["voltage_a"],
        np.array([row[1:] for row in volts], dtype=np.float32),
        equal_nan=True,
    )


def test_the_same_in_however_many_questions(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    curves(store, fleet(store, 30), days=2, holes=0.01)
    asked = {"last": WEDNESDAY + dt.timedelta(days=1), "until": at("2026-03-12 18:00")}
    everything = blocks.load(store, WEDNESDAY, SHANGHAI, CODES, **asked)
    monkeypatch.setattr(block_, "CELLS_AT_ONCE", 97 * 7)
    pieces = blocks.load(store, WEDNESDAY, SHANGHAI, CODES, **asked)
    assert pieces.registers["active_import"].tolist() == everything.registers["active_import"].tolist()
    assert (everything.known("active_import").any(axis=0) == (everything.times <= asked["until"])).all()
    for code in CODES[1:]:
        assert np.array_equal(pieces.instants[code], everything.instants[code], equal_nan=True)


def test_a_row_off_the_grid_does_not_stand_in_for_one_that_is_missing(store: Connection) -> None:
    here = place(store, "1")
    times = np.concatenate([[midnight(WEDNESDAY, SHANGHAI)], points(CURVE, WEDNESDAY, SHANGHAI)])
    times[50] += np.timedelta64(60, "s")
    write(store, SLOTS, rows([here.meter] * 97, times, active_import=list(range(97))))
    found = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import",)).registers["active_import"][0]
    assert found.tolist() == [*range(50), MISSING, *range(51, 97)]


@pytest.mark.parametrize("minutes", [-14, 0, 1, 46])
def test_a_row_off_the_grid_beside_a_whole_day(store: Connection, minutes: int) -> None:
    """The ledger does not know of it, so that the day is whole: no value may move because of it."""
    here = place(store, "1")
    curves(store, [here.meter], days=2)
    odd = at("2026-03-11 12:00") + np.timedelta64(minutes, "m")
    deliver(store, CURVES, rows([here.meter], [odd], active_import=[77], voltage_a=[1.0]))
    last = WEDNESDAY + dt.timedelta(days=1)
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import",), last=last)
    expected = here.meter * 1_000_000 + np.arange(193) * 100
    if minutes == 0:  # on the grid it is the meter's later word
        expected[48] = 77
    assert block.registers["active_import"].tolist() == [expected.tolist()]


def test_who_is_whole(store: Connection) -> None:
    one, two, three = (place(store, str(k)) for k in (1, 2, 3))
    curves(store, [one.meter, two.meter])
    meters = np.array([one.meter, two.meter, three.meter])
    times = np.concatenate([[midnight(WEDNESDAY, SHANGHAI)], points(CURVE, WEDNESDAY, SHANGHAI)])
    assert whole(store, CURVE, meters, times, SHANGHAI).tolist() == [True, True, False]
    assert whole(store, CURVE, meters, times[1:50], SHANGHAI).tolist() == [True, True, False]
    # one's opening midnight belongs to the day before
    store.execute(
        "UPDATE coverage SET present = set_bit(present, 95, 0) WHERE meter_id = %s AND day = '2026-03-10'",
        (one.meter,),
    )
    assert whole(store, CURVE, meters, times, SHANGHAI).tolist() == [False, True, False]
    assert whole(store, CURVE, meters, times[1:], SHANGHAI).tolist() == [True, True, False]
    store.execute(
        "UPDATE coverage SET present = set_bit(present, 49, 0) WHERE meter_id = %s AND day = '2026-03-11'",
        (two.meter,),
    )
    assert whole(store, CURVE, meters, times[1:50], SHANGHAI).tolist() == [True, True, False]
    assert whole(store, CURVE, meters, times[1:51], SHANGHAI).tolist() == [True, False, False]
    # an instant that is no point of the plan is in nobody's ledger
    assert not whole(store, CURVE, meters, times[:2] + np.timedelta64(1, "m"), SHANGHAI).any()


def test_the_phase_curve_in_the_same_block(store: Connection) -> None:
    here = place(store, "1", phases=3)
    noon = at("2026-03-11 12:00")
    given = rows(
        [here.meter], [noon], active_import=[5], voltage_a=[230.5], reactive_import=[6], power_factor_b=[0.75]
    )
    write(store, SLOTS, given)
    write(store, PHASES, given)
    codes = ("power_factor_b", "active_import", "reactive_import", "voltage_a")
    block = blocks.load(store, WEDNESDAY, SHANGHAI, codes)
    assert {code: grid[0, 48] for code, grid in block.registers.items()} == {
        "active_import": 5,
        "reactive_import": 6,
    }
    assert {code: grid[0, 47] for code, grid in block.instants.items()} == {
        "power_factor_b": 0.75,
        "voltage_a": 230.5,
    }
    assert int(block.known("power_factor_b").sum()) == int(block.known("reactive_import").sum()) == 1


def test_quality_of_instants_counts_from_the_first_slot(store: Connection) -> None:
    """An instant value has no opening midnight: the mark of 12:00 stands at slot 47, as its value does; the one of midnight nowhere."""
    here = place(store, "1")
    for volts in (230.0, 231.0):
        given = rows(
            [here.meter] * 2, [at("2026-03-11 00:00"), at("2026-03-11 12:00")], voltage_a=[volts] * 2
        )
        write(store, SLOTS, given)
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("voltage_a",))
    found = block.quality("voltage_a")
    assert found.shape == (1, 96)
    assert {(k, int(q)) for k, q in enumerate(found[0]) if q} == {(47, blocks.Quality.REVISED)}


def test_marks_follow_a_meter_into_each_of_its_rows(store: Connection) -> None:
    first = place(store, "1", until="2026-03-11 10:00")
    place(store, "1", point="P9", since="2026-03-11 10:00")
    other = place(store, "2")
    for value in (5, 6):
        meters = [first.meter, other.meter]
        write(store, SLOTS, rows(meters, [at("2026-03-11 12:00")] * 2, active_import=[value] * 2))
    block = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import",))
    assert block.rows.meter.tolist() == [first.meter, first.meter, other.meter]
    assert block.quality("active_import")[:, 48].tolist() == [blocks.Quality.REVISED] * 3
    assert int((block.quality("active_import") != blocks.Quality.MISSING).sum()) == 3


def test_what_is_no_quantity_of_the_curve(store: Connection) -> None:
    with pytest.raises(
        blocks.BadCode, match="'active_import_t1' is not kept in slot_read or slot_phase_read"
    ):
        blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import_t1",))
    with pytest.raises(blocks.BadCode, match="'voltage_a' is no register"):
        blocks.energies(store, WEDNESDAY, SHANGHAI, ("voltage_a",))


def test_the_planner_is_left_as_it_was(store: Connection) -> None:
    """Within a caller's transaction, and when something goes wrong in it."""
    place(store, "1")
    with store.transaction():
        store.execute("SET LOCAL jit = off")
        blocks.load(store, WEDNESDAY, SHANGHAI, CODES)
        found = [one_setting(store, name) for name in ("enable_seqscan", "enable_bitmapscan", "jit")]
        assert found == ["on", "on", "off"]
    with pytest.raises(ZeroDivisionError), by_key(store):
        raise ZeroDivisionError
    assert one_setting(store, "enable_seqscan") == "on"


def one_setting(conn: Connection, name: str) -> str:
    row = conn.execute("SELECT current_setting(%s) AS value", (name,)).fetchone()
    assert row is not None
    return str(row["value"])


@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 60, None])
def test_a_stream_is_the_whole_in_pieces(
    store: Connection, second: Connection, connections: int, size: int | None
) -> None:
    meters = fleet(store, 60)
    curves(store, meters, days=2, holes=0.01)
    store.execute("UPDATE installation SET valid_to = %s WHERE meter_id = 7", (moment("2026-03-11 10:00"),))
    place(store, "1000", point="Q7", since="2026-03-11 10:00")  # somebody's meter is exchanged
    last = WEDNESDAY + dt.timedelta(days=1)
    everything = blocks.load(store, WEDNESDAY, SHANGHAI, ("active_import", "voltage_a"), last=last)
    store.commit()
    conns = [store, second][:connections]
    parts = list(
        blocks.stream(
            conns, WEDNESDAY, SHANGHAI, ("active_import", "voltage_a"), last=last, meters_at_once=size
        )
    )
    assert all(len(np.unique(part.rows.meter)) <= (size or 10**9) for part in parts)
    assert np.concatenate([part.rows.meter for part in parts]).tolist() == everything.rows.meter.tolist()
    joined = np.concatenate([part.registers["active_import"] for part in parts])
    assert joined.tolist() == everything.registers["active_import"].tolist()
    volts = np.concatenate([part.instants["voltage_a"] for part in parts])
    assert np.array_equal(volts, everything.instants["voltage_a"], equal_nan=True)

    energy = blocks.energies(store, WEDNESDAY, SHANGHAI, last=last)
    store.commit()
    pieces = list(blocks.stream_energies(conns, WEDNESDAY, SHANGHAI, last=last, points_at_once=size))
    assert np.concatenate([piece.point for piece in pieces]).tolist() == energy.point.tolist()
    for code in ("active_import", "active_export"):
        for what in ("energy", "why", "quality"):
            joined = np.concatenate([getattr(piece.energies[code], what) for piece in pieces])
            assert joined.tolist() == getattr(energy.energies[code], what).tolist()


def test_a_stream_of_nobody(store: Connection, second: Connection) -> None:
    assert list(blocks.stream([store, second], WEDNESDAY, SHANGHAI, CODES)) == []
    assert list(blocks.stream_energies([store], WEDNESDAY, SHANGHAI)) == []


def test_a_stream_may_be_left_early(store: Connection, second: Connection) -> None:
    """Its connections are free again, with no transaction open, and what went wrong in a thread is told."""
    curves(store, fleet(store, 20))
    stream = blocks.stream([store, second], WEDNESDAY, SHANGHAI, ("active_import",), meters_at_once=1)
    assert next(stream).rows.meter.tolist() == [1]
    stream.close()  # type: ignore[attr-defined]
    idle = psycopg.pq.TransactionStatus.IDLE
    assert [conn.info.transaction_status for conn in (store, second)] == [idle, idle]
    store.execute("ALTER TABLE revision RENAME TO elsewhere")
    store.commit()
    try:
        with pytest.raises(psycopg.errors.UndefinedTable):
            list(blocks.stream([store, second], WEDNESDAY, SHANGHAI, ("active_import",), meters_at_once=1))
    finally:
        store.execute("ALTER TABLE elsewhere RENAME TO revision")
        store.commit()


def test_energies_by_definition(store: Connection) -> None:
    """Meters come and go on points at any minute, some registers of boundaries are not read, registers now and then fall: the same as
    written out for one point and slot at a time."""
    rng = np.random.default_rng(1007)
    cuts = [
        sorted(rng.choice(np.arange(-100, 3000), int(rng.integers(0, 5)), replace=False)) for _ in range(12)
    ]
    opening = midnight(WEDNESDAY, SHANGHAI)
    spans: dict[str, list[tuple[int, np.datetime64, np.datetime64, int]]] = {}
    read: dict[tuple[int, np.datetime64], int] = {}
    last = WEDNESDAY + dt.timedelta(days=1)
    times = np.concatenate(
        [[opening], *(points(CURVE, WEDNESDAY + dt.timedelta(days=k), SHANGHAI) for k in (0, 1))]
    )
    for p, minutes in enumerate(cuts):
        instants = [at("2026-01-01 00:00"), *(opening + np.timedelta64(int(m), "m") for m in minutes)]
        ends = [*instants[1:], FOREVER]
        for k, (since, until) in enumerate(zip(instants, ends, strict=True)):
            if rng.random() < 0.1:
                continue  # nobody's meter for a while
            ct = int(rng.integers(1, 5))
            text = [str(as_datetime(when, SHANGHAI))[:16] for when in (since, until)]
            here = place(
                store,
                f"{p}{k}",
                point=f"P{p}",
                ct=ct,
                since=text[0],
                until=None if until == FOREVER else text[1],
            )
            spans.setdefault(f"P{p}", []).append((here.meter, since, until, ct))
            inner = times[(times >= since) & (times <= until)]
            inner = inner[rng.random(len(inner)) > 0.05]
            register = 1_000 * (p + 1) + np.cumsum(rng.integers(-1, 40, len(inner) + 2))
            for when, value in zip(inner, register[1:-1].tolist(), strict=True):
                read[here.meter, when] = value
            if len(inner):
                write(
                    store,
                    SLOTS,
                    rows([here.meter] * len(inner), inner, active_import=register[1:-1].tolist()),
                )
            for when, value in ((since, register[0]), (until, register[-1])):
                if opening <= when <= times[-1] and rng.random() < 0.8:
                    write(store, SPOTS, rows([here.meter], [when], active_import=[int(value)]))
                    read.setdefault((here.meter, when), int(value))
    code_of = dict(table(store, "SELECT point_id, code FROM point"))
    block = blocks.energies(store, WEDNESDAY, SHANGHAI, ("active_import",), last=last)
    found = block.energies["active_import"]
    known = 0
    for p, point in enumerate(block.point.tolist()):
        for j, (begin, end) in enumerate(itertools.pairwise(times)):
            total: int | None = None
            for meter, since, until, ct in spans[code_of[point]]:
                a, b = max(begin, since), min(end, until)
                if a >= b:
                    continue
                first, then = read.get((meter, a)), read.get((meter, b))
                if first is None or then is None or then < first:
                    total = None
                    break
                total = (total or 0) + (then - first) * ct
            assert found.energy[p, j] == (MISSING if total is None else total), (p, j)
            assert (found.why[p, j] == blocks.Why.KNOWN) == (total is not None)
            known += total is not None
    assert known > len(block.point) * 96  # most of it
    assert len(np.unique(found.why)) == 5  # and every reason there is
