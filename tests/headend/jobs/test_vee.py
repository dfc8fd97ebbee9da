"""Validation and estimation in the store: what is laid, what gives way when the meter speaks, and that twice is once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest

from headend.jobs import lineloss, network, vee
from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import blocks, check, edits, events, feed, findings, revisions, rollups
from headend.store import vee as store_vee
from headend.store.blocks import Quality
from headend.store.clocks import CLOCK_SET
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.edits import Cell
from headend.store.events import Event
from headend.store.reads import Note
from headend.store.tables import CURVES, DAYS
from protocols.localtime import midnight
from protocols.reading import MISSING
from tests.support.app import settle
from tests.support.house import MADRID, SHANGHAI, Place, at, deliver, moment, place, rows, table
from tests.support.household import run

#: an ordinary Wednesday with two weeks before it
DAY = dt.date(2026, 3, 11)
FIRST = DAY - dt.timedelta(days=14)
NIGHT = "2026-03-12 00:40"
QUARTERS = 96
SHAPE = np.array([200] * 72 + [2000] * 16 + [400] * 8)


def instants(day: dt.date = DAY) -> np.ndarray:
    """The day's opening midnight and the ends of its slots."""
    return np.concatenate([[midnight(day, SHANGHAI)], points(CURVE, day, SHANGHAI)])


def register(day: dt.date) -> np.ndarray:
    """At these instants [1e-4 kWh]: every day the same shape, a little more each."""
    before = sum(int((SHAPE + 4 * k).sum()) for k in range((day - FIRST).days))
    return 5_000_000 + before + np.concatenate([[0], np.cumsum(SHAPE + 4 * (day - FIRST).days)])


def bring(
    conn: Connection, here: Place, day: dt.date, lost: Sequence[int] = (), freezes: bool = True, **other: int
) -> None:
    """A day's curve with the points of `lost` missing (0 is the opening midnight), and its freezes. `other`: p40=7 is another register."""
    values = {k: int(v) for k, v in enumerate(register(day))} | {
        int(name[1:]): v for name, v in other.items()
    }
    chosen = [k for k in range(len(values)) if k not in lost]
    times = instants(day)
    given = rows(
        [here.meter] * len(chosen),
        times[chosen],
        active_import=[values[k] for k in chosen],
        active_export=[0] * len(chosen),
    )
    deliver(conn, CURVES, given, at(NIGHT))
    if freezes:
        deliver(
            conn, DAYS,
            rows([here.meter] * 2, times[[0, -1]], active_import=register(day)[[0, -1]].tolist(), active_export=[0, 0]), at(NIGHT),
        )  # fmt: skip


def fortnight(conn: Connection, here: Place) -> None:
    """The whole days before DAY, in one delivery each of curve and freezes."""
    days = [FIRST + dt.timedelta(days=k) for k in range(14)]
    times = np.concatenate([instants(days[0])[:1], *(instants(day)[1:] for day in days)])
    registers = np.concatenate([register(days[0])[:1], *(register(day)[1:] for day in days)])
    for source, every in ((CURVES, 1), (DAYS, QUARTERS)):
        given, some = registers[::every].tolist(), times[::every]
        deliver(
            conn,
            source,
            rows([here.meter] * len(given), some, active_import=given, active_export=[0] * len(given)),
            at(NIGHT),
        )


@pytest.fixture
def home(store: Connection) -> Place:
    here = place(store, "1")
    fortnight(store, here)
    return here


def validate(conn: Connection, day: dt.date = DAY, now: str = NIGHT) -> str:
    told = vee.job(run(conn, now), day)
    assert conn.info.transaction_status.name == "IDLE"
    return told


def curve(conn: Connection, here: Place, day: dt.date = DAY) -> tuple[list[int], list[int]]:
    """(registers, qualities) of the day as everybody sees them."""
    block = blocks.load(conn, day, SHANGHAI, ("active_import",), meters=np.array([here.meter]))
    conn.commit()
    return block.registers["active_import"][0].tolist(), block.quality("active_import")[0].tolist()


def sound(conn: Connection) -> None:
    """The store agrees with itself."""
    conn.commit()
    with check.snapshot(conn):
        assert check.everything(conn, SHANGHAI, FIRST, DAY + dt.timedelta(days=1)) == []
    conn.commit()


def counts(conn: Connection) -> list[tuple[object, ...]]:
    return table(conn, "SELECT method, count(*) FROM revision GROUP BY 1 ORDER BY 1")


def late(conn: Connection, before: dt.date) -> str:
    """What follows from all that is committed: a transaction of another test may hold the feed back."""
    settle(conn)
    return vee.late(run(conn, NIGHT), before)


def test_a_short_hole(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(30, 34))
    told = validate(store)
    assert told == "1 meter-days, 0 findings, 4 estimates new or changed, 0 withdrawn, 0 holes stay"
    registers, quality = curve(store, home)
    assert registers == register(DAY).tolist()  # the nights are steady
    assert [k for k, q in enumerate(quality) if q == Quality.ESTIMATED] == [30, 31, 32, 33]
    assert counts(store) == [("vee-linear", 4)]
    assert table(store, "SELECT who, reason FROM revision LIMIT 1") == [
        ("job:vee", "a steady load between the registers on both sides")
    ]
    # the ledger knows what is an estimate, and goes on missing what was not read
    assert table(
        store, "SELECT bit_count(estimated), bit_count(present) FROM coverage WHERE plan = 1 AND day = %s AND meter_id = %s", DAY, home.meter
    ) == [(4, 92)]  # fmt: skip
    assert table(
        store, "SELECT count(*) FROM slot_read WHERE ts = %s", instants()[30].item().replace(tzinfo=dt.UTC)
    ) == [(0,)]
    sound(store)


def test_twice_is_once(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=[*range(30, 34), *range(60, 90)])
    late(store, DAY + dt.timedelta(days=1))  # from here on changes are followed
    validate(store)
    before = (
        table(store, "SELECT * FROM revision ORDER BY ts, version"),
        table(store, "SELECT count(*) FROM feed"),
    )
    assert (
        validate(store) == "1 meter-days, 0 findings, 0 estimates new or changed, 0 withdrawn, 0 holes stay"
    )
    # what it has laid itself is no news to it
    assert late(store, DAY + dt.timedelta(days=1)).startswith("0 meter-days")
    assert (
        table(store, "SELECT * FROM revision ORDER BY ts, version"),
        table(store, "SELECT count(*) FROM feed"),
    ) == before


def test_a_long_hole_goes_by_like_days_and_adds_up(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(40, 95))
    validate(store)
    registers, quality = curve(store, home)
    assert counts(store) == [("vee-like-day", 55)]
    assert registers[95] == register(DAY)[95]
    assert np.diff(registers).sum() == np.diff(register(DAY)).sum()
    assert (
        np.abs(np.array(registers) - register(DAY)).max() < 400
    )  # the evening, 32,000 in all, is where it always is
    assert quality.count(Quality.ESTIMATED) == 55
    sound(store)


def test_when_the_reading_comes_the_estimate_stands_no_more(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(40, 95))
    late(store, DAY + dt.timedelta(days=1))  # from here on changes are followed
    validate(store)
    # one point of it, which is higher than the estimate
    truth = int(register(DAY)[70]) + 100
    deliver(
        store,
        CURVES,
        rows([home.meter], [instants()[70]], active_import=[truth], active_export=[0]),
        at(NIGHT),
    )
    registers, quality = curve(store, home)
    assert (registers[70], quality[70]) == (truth, Quality.MEASURED)
    # what is left of the hole is worked out anew, and fits
    told = late(store, DAY + dt.timedelta(days=1))
    assert "0 withdrawn, 0 holes stay" in told
    registers, quality = curve(store, home)
    assert (registers[70], quality[70]) == (truth, Quality.MEASURED)
    assert (np.diff(registers) >= 0).all()
    assert quality.count(Quality.ESTIMATED) == 54
    sound(store)
    # the rest comes: nothing of an estimate stands, and everything that was said is kept
    bring(store, home, DAY, lost=[70])
    late(store, DAY + dt.timedelta(days=1))
    registers, quality = curve(store, home)
    assert Quality.ESTIMATED not in quality
    assert registers[69] == register(DAY)[69]
    assert int(table(store, "SELECT count(*) FROM revision WHERE method LIKE 'vee-%%'")[0][0]) >= 55  # type: ignore[call-overload]
    assert [c.change for c in feed.read(store, None, 1000, ["curve"]).changes if c.day == DAY].count(
        "actual"
    ) >= 2
    sound(store)


def test_an_open_hole_becomes_exact_when_its_other_end_comes(store: Connection, home: Place) -> None:
    """Silent from noon on; heard again the next morning, its memory of the day lost."""
    bring(store, home, DAY, lost=range(49, 97), freezes=False)
    late(store, DAY + dt.timedelta(days=1))
    validate(store)
    first, quality = curve(store, home)
    assert quality.count(Quality.ESTIMATED) == 48
    following = DAY + dt.timedelta(days=1)
    bring(store, home, following, lost=range(20), freezes=False)
    settle(store)
    vee.late(run(store, "2026-03-13 00:40"), following + dt.timedelta(days=1))
    second, quality = curve(store, home)
    assert quality.count(Quality.ESTIMATED) == 48
    assert second != first
    after, quality = curve(store, home, following)
    assert quality[1:20] == [Quality.ESTIMATED] * 19
    assert after[20] == register(following)[20]
    together = [*second, *after[1:]]
    assert (np.diff(together) >= 0).all()
    assert np.abs(np.array(together) - np.concatenate([register(DAY), register(following)[1:]])).max() < 300
    sound(store)


def test_without_habits_it_stays_missing(store: Connection) -> None:
    here = place(store, "1")
    bring(store, here, DAY, lost=range(40, 60))
    assert validate(store).endswith("0 estimates new or changed, 0 withdrawn, 1 holes stay")
    assert counts(store) == []


def test_the_neighbours_profile_where_a_meter_has_no_habits(store: Connection) -> None:
    here = place(store, "1")
    bring(store, here, DAY, lost=range(40, 60))
    for k in range(2, 7):
        bring(store, place(store, f"{k}"), DAY)
    validate(store)
    assert counts(store) == [("vee-profile", 20)]
    assert np.abs(np.array(curve(store, here)[0]) - register(DAY)).max() < 100


def test_a_check_meter_says_what_flowed(store: Connection) -> None:
    """The area's own meter and one beside it on the same bars, of half its ratio; no like day would know of the party."""
    main, twin = place(store, "M", role="supply", ct=2), place(store, "K", role="auxiliary", ct=1)
    for day in (*(FIRST + dt.timedelta(days=k) for k in range(5, 14)), DAY):
        bring(store, main, day, lost=range(50, 90) if day == DAY else ())
        times, double = instants(day), (register(day) * 2 - 5_000_000).tolist()
        deliver(
            store,
            CURVES,
            rows([twin.meter] * 97, times, active_import=double, active_export=[0] * 97),
            at(NIGHT),
        )
    validate(store)
    assert counts(store) == [("vee-proxy", 40)]
    assert curve(store, main)[0] == register(DAY).tolist()


def test_a_false_register_is_told_and_an_estimate_stands_over_it(store: Connection, home: Place) -> None:
    bring(store, home, DAY, p40=3)
    validate(store)
    registers, quality = curve(store, home)
    assert (registers[40], quality[40]) == (register(DAY)[40], Quality.ESTIMATED)
    assert table(
        store,
        "SELECT active_import FROM slot_read WHERE ts = %s",
        instants()[40].item().replace(tzinfo=dt.UTC),
    ) == [(3,)]
    (found,) = findings.listing(store, day=DAY)
    assert (found["rule"], found["severity"], found["subject"]) == ("vee-register", "warning", "1")
    assert found["evidence"]["value_false"] is True
    sound(store)
    assert "0 estimates new or changed" in validate(store)
    # the meter takes it back: asked again it says another register, which stands
    store.commit()
    deliver(
        store, CURVES, rows([home.meter], [instants()[40]], active_import=[int(register(DAY)[40])]), at(NIGHT)
    )
    assert curve(store, home)[1][40] == Quality.REVISED
    validate(store)
    assert curve(store, home)[1][40] == Quality.REVISED
    assert [f["rule"] for f in findings.listing(store, day=DAY)] == ["vee-duplicate"]  # it has said two
    sound(store)


def test_what_can_no_longer_be_estimated_is_withdrawn(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(30, 34))
    validate(store)
    deliver(
        store,
        CURVES,
        rows([home.meter] * 60, instants()[37:97], active_import=[10 + k for k in range(60)]),
        at(NIGHT),
    )
    # from the end of the hole on the register is another meter's: no energy can be derived
    deliver(store, CURVES, rows([home.meter] * 3, instants()[34:37], active_import=[7, 8, 9]), at(NIGHT))
    assert "4 withdrawn, 1 holes stay" in validate(store)
    registers, quality = curve(store, home)
    assert registers[30:34] == [MISSING] * 4
    assert quality[30:34] == [Quality.MISSING] * 4
    assert table(
        store, "SELECT coalesce(bit_count(estimated), 0) FROM coverage WHERE plan = 1 AND day = %s", DAY
    ) == [(0,)]
    sound(store)
    assert "0 withdrawn" in validate(store)
    # and the meter's own value is seen when it comes
    deliver(
        store, CURVES, rows([home.meter], [instants()[31]], active_import=[int(register(DAY)[31])]), at(NIGHT)
    )
    assert curve(store, home)[1][31] == Quality.MEASURED
    sound(store)


def test_an_edit_is_an_anchor_and_can_be_taken_back(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(40, 60))
    validate(store)
    cell = Cell("1", instants()[50], "active_import")
    read_off = int(register(DAY)[50]) + 40
    note = Note(at(NIGHT), "read off by the electrician", "李敏")
    assert edits.edit(store, cell, f"{read_off / 10_000:.4f}", note, SHANGHAI)
    store.commit()
    validate(store)
    registers, quality = curve(store, home)
    assert (registers[50], quality[50]) == (read_off, Quality.EDITED)
    assert (np.diff(registers) >= 0).all()
    assert quality.count(Quality.ESTIMATED) == 19
    sound(store)
    edits.take_back(store, cell, Note(at(NIGHT), "of the meter next door", "李敏"), SHANGHAI)
    store.commit()
    assert curve(store, home)[1][50] == Quality.MISSING
    sound(store)
    validate(store)
    registers, quality = curve(store, home)
    assert quality.count(Quality.ESTIMATED) == 20
    assert abs(registers[50] - int(register(DAY)[50])) < 40
    kept = table(
        store,
        "SELECT method, who FROM revision WHERE ts = %s ORDER BY version",
        instants()[50].item().replace(tzinfo=dt.UTC),
    )
    assert [method for method, _ in kept] == ["vee-like-day", "edit", "withdrawn", "vee-like-day"]
    sound(store)


def test_estimates_count_neither_for_losses_nor_for_the_roll_ups_disagreement(store: Connection) -> None:
    """An area that misses an end of the day stays unknown, whatever was estimated; and the roll-ups hold what everybody sees."""
    main, here = place(store, "0", role="supply"), place(store, "1")
    for k in range(6):
        for meter in (main, here):
            bring(store, meter, DAY - dt.timedelta(days=6 - k))
    bring(store, main, DAY)
    bring(store, here, DAY, lost=range(80, 97), freezes=False)
    validate(store)
    assert curve(store, here)[0][96] != MISSING
    (net,) = network.areas(run(store, NIGHT), DAY, blocks.rows(store, DAY, SHANGHAI))
    assert not lineloss.balance(net).known.any()
    store.commit()
    more = True
    while more:
        with store.transaction():
            more = rollups.step(store, SHANGHAI, at(NIGHT)).more
        store.commit()
    with check.snapshot(store):
        assert rollups.check(store, SHANGHAI, DAY, DAY) == ([], 0)


def test_findings_of_other_meters_stay_when_one_is_looked_at_again(store: Connection, home: Place) -> None:
    other = place(store, "2")
    bring(store, home, DAY, p40=3)
    bring(store, other, DAY, p50=3)
    late(store, DAY + dt.timedelta(days=1))
    validate(store)
    assert len(findings.listing(store, day=DAY)) == 2
    store.commit()
    deliver(
        store, CURVES, rows([home.meter], [instants()[40]], active_import=[int(register(DAY)[40])]), at(NIGHT)
    )
    late(store, DAY + dt.timedelta(days=1))
    assert {(f["rule"], f["subject"]) for f in findings.listing(store, day=DAY)} == {
        ("vee-duplicate", "1"),
        ("vee-register", "2"),
    }


def test_who_owes_no_curve_and_who_is_not_installed_is_left_alone(store: Connection, home: Place) -> None:
    store.execute("UPDATE installation SET plans = '{2}' WHERE meter_id = %s", (home.meter,))
    place(store, "2", since="2026-03-12 00:00")
    store.commit()
    assert (
        validate(store) == "1 meter-days, 0 findings, 0 estimates new or changed, 0 withdrawn, 0 holes stay"
    )


def test_a_running_day_is_refused(store: Connection, home: Place) -> None:
    with pytest.raises(vee.NotOver, match="not over"):
        vee.job(run(store, "2026-03-11 23:00"), DAY)


def test_a_reading_that_came_meanwhile_is_not_covered(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=[30])
    late = store_vee.Laying(
        np.array([home.meter]), instants()[[30]], np.array([7]), np.array(["vee-linear"]), np.array([True])
    )
    deliver(
        store, CURVES, rows([home.meter], [instants()[30]], active_import=[int(register(DAY)[30])]), at(NIGHT)
    )
    nothing = np.empty(0, dtype=np.int64), np.empty(0, dtype="datetime64[us]")
    with store.transaction():
        laid = store_vee.lay(store, "active_import", late, nothing, now=at(NIGHT), who="test", zone=SHANGHAI)
    store.commit()
    assert laid == (0, 0)
    assert curve(store, home)[1][30] == Quality.MEASURED


def test_what_a_file_estimated_is_left_alone(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(30, 34))
    meter, when = np.array([home.meter]), instants()[[31]]
    with store.transaction():
        revisions.revise(
            store, CURVES.tables[0], "active_import", meter, when, register(DAY)[[31]], Note(at(NIGHT), "from a file", "x"),
            method="E52", zone=SHANGHAI,
        )  # fmt: skip
    store.commit()
    validate(store)
    assert counts(store) == [("E52", 1), ("vee-linear", 3)]


def test_after_a_standstill_the_last_days_are_looked_at_anew(store: Connection, home: Place) -> None:
    bring(store, home, DAY, lost=range(30, 34))
    with store.transaction():
        store_vee.move(store, vee.JOB, "99.1.1.1", at(NIGHT))  # of another life of the database
    store.commit()
    told = late(store, DAY + dt.timedelta(days=1))
    assert told.startswith("7 meter-days")
    assert counts(store) == [("vee-linear", 4)]


def test_every_kind_of_fact_comes_from_the_store(store: Connection, home: Place) -> None:
    """A closed account, a clock an hour off, a set within a slot, readings between slots: the rules are told of each."""
    store.execute(
        "INSERT INTO customer (number, name) VALUES ('C', 'C'); "
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from, valid_to) "
        f"SELECT customer_id, {home.point}, 'x', false, '2025-01-01', '2026-02-01' FROM customer"
    )
    store.execute(
        "INSERT INTO clock (subject_kind, subject_id, read_at, ahead, uncertainty) VALUES ('meter', %s, '2026-03-11 12:00+08', 3700, 2)",
        (home.meter,),
    )
    attempt = Attempt(home.meter, CURVE, instants()[1:], instants()[:0], at(NIGHT))
    bring(store, home, DAY)
    between = instants()[[3, 4, 5, 6, 7]] + np.timedelta64(7, "m")
    deliver(
        store,
        CURVES,
        rows([home.meter] * 5, between, active_import=[5_300_000] * 5),
        at(NIGHT),
        attempts=(attempt,),
    )
    moved = moment("2026-03-11 12:05")
    events.write(
        store,
        [Event("terminal", home.terminal, moved, "x", moved, detail={"kind": CLOCK_SET, "before": "2026-03-11T12:07:00+08:00"})],
        SHANGHAI,
    )  # fmt: skip
    store.commit()
    validate(store)
    told = {f["rule"]: f["evidence"] for f in findings.listing(store, day=DAY)}
    assert set(told) == {"vee-inactive", "vee-interval"}
    assert told["vee-interval"]["between"] == 5
    assert [span[0][11:16] for span in told["vee-interval"]["slots"]] == [
        "16:15",
        "04:15",
    ]  # 12:15 by the clock on the wall
    assert told["vee-inactive"]["kwh"] == pytest.approx(np.diff(register(DAY)).sum() / 10_000)


def test_a_day_of_23_hours(store: Connection) -> None:
    """In Madrid the clocks went forward on 29 March 2026: 92 slots, compared by the clock on the wall."""
    here = place(store, "1", zone=MADRID)
    value = 5_000_000
    day = dt.date(2026, 3, 24)
    while day <= dt.date(2026, 3, 29):
        ends = points(CURVE, day, MADRID)
        values = value + np.cumsum(np.full(len(ends), 100))
        keep = np.ones(len(ends), dtype=np.bool_)
        if day == dt.date(2026, 3, 29):
            keep[10:40] = False
        deliver(
            store, CURVES,
            rows([here.meter] * int(keep.sum()), ends[keep], active_import=values[keep].tolist(), active_export=[0] * int(keep.sum())),
            at("2026-03-30 00:40", MADRID), zone=MADRID,
        )  # fmt: skip
        value = int(values[-1])
        day += dt.timedelta(days=1)
    vee.job(Run(store, MADRID, at("2026-03-30 00:40", MADRID)), dt.date(2026, 3, 29))
    # a Sunday, before which lies one day of rest: no habit, and no neighbours
    assert counts(store) == []
    store.execute("INSERT INTO calendar_day (day, kind) VALUES ('2026-03-25', 'holiday')")
    store.commit()
    vee.job(Run(store, MADRID, at("2026-03-30 00:40", MADRID)), dt.date(2026, 3, 29))
    assert counts(store) == [("vee-like-day", 30)]
    block = blocks.load(store, dt.date(2026, 3, 29), MADRID, ("active_import",))
    assert set(np.diff(block.registers["active_import"][0]).tolist()) == {100}
