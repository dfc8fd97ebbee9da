"""Days that are not like the others, with answers worked out by hand: in by the door, out of blocks and of daily_energy.

Registers are in 1e-4 kWh: 10_000 is one kWh.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import CURVE, points
from headend.store import blocks, cluster, revisions, series
from headend.store.blocks import Quality, Why
from headend.store.db import Connection
from headend.store.reads import Note
from headend.store.series import DayEnergy
from headend.store.tables import CURVES, DAY_FREEZES, DAYS, SLOTS, SPOT_READS
from protocols.localtime import midnight
from protocols.reading import MISSING
from tests.support.house import MADRID, SHANGHAI, at, deliver, place, rows

KWH = 10_000
IMPORT = "active_import"


def bring_curve(
    conn: Connection, meter: int, begin: np.datetime64, registers: list[int | None], zone: ZoneInfo = SHANGHAI
) -> None:
    """Registers at `begin` and each quarter-hour after it."""
    times = begin + np.arange(len(registers)) * np.timedelta64(15, "m")
    deliver(conn, CURVES, rows([meter] * len(times), times, active_import=registers), zone=zone)


def bring_freezes(conn: Connection, meter: int, registers: dict[str, int], zone: ZoneInfo = SHANGHAI) -> None:
    """Day freezes at local midnights, total and flat (T3) alike."""
    times = [at(when, zone) for when in registers]
    values = list(registers.values())
    given = rows([meter] * len(times), times, active_import=values, active_import_t3=values)
    deliver(conn, DAYS, given, zone=zone)


def bring_spot(conn: Connection, meter: int, when: str, register: int) -> None:
    given = rows([meter], [at(when)], active_import=[register], active_import_t3=[register])
    deliver(conn, SPOT_READS, given)


def slot(end: str, zone: ZoneInfo = SHANGHAI) -> int:
    """The number of the slot that ends then, in its day."""
    return int(np.searchsorted(points(CURVE, dt.date.fromisoformat(end[:10]), zone), at(end, zone)))


def by_slot(conn: Connection, point: int, day: dt.date, zone: ZoneInfo = SHANGHAI) -> blocks.PointBlock:
    return blocks.energies(conn, day, zone, (IMPORT,), points=np.array([point]))


def by_day(
    conn: Connection, point: int, first: dt.date, last: dt.date | None = None, zone: ZoneInfo = SHANGHAI
) -> list[DayEnergy]:
    now = midnight((last or first) + dt.timedelta(days=2), zone)
    return series.daily_energy(conn, point, first, last or first, now=now, zone=zone)


def test_the_short_day_of_madrid_has_92_slots(store: Connection) -> None:
    """2026-03-29: at 02:00 it is 03:00. A quarter of a kWh a slot behind CT 2: 92 × 0.25 × 2 = 46 kWh."""
    cluster.set_zone(store, "Europe/Madrid")
    here = place(store, "1", ct=2, zone=MADRID)
    opening, closing = np.datetime64("2026-03-28T23:00"), np.datetime64("2026-03-29T22:00")
    bring_curve(store, here.meter, opening, [100 * KWH + 2_500 * k for k in range(93)], MADRID)
    bring_freezes(store, here.meter, {"2026-03-29 00:00": 100 * KWH, "2026-03-30 00:00": 123 * KWH}, MADRID)
    day = dt.date(2026, 3, 29)
    block = blocks.load(store, day, MADRID, (IMPORT,))
    assert (block.times[0], block.times[-1], len(block.times)) == (opening, closing, 93)
    assert block.registers[IMPORT].tolist() == [[100 * KWH + 2_500 * k for k in range(93)]]
    assert block.freezes[IMPORT].tolist() == [[100 * KWH, 123 * KWH]]
    # the eighth slot ends when the clock is put forward: at 01:00 UTC, which is 03:00
    assert block.times[8] == at("2026-03-29 03:00", MADRID) == np.datetime64("2026-03-29T01:00")
    found = by_slot(store, here.point, day, MADRID).energies[IMPORT]
    assert found.energy.tolist() == [[5_000] * 92]
    assert found.energy.sum() == 46 * KWH
    (told,) = by_day(store, here.point, day, zone=MADRID)
    assert told.energy[IMPORT] == told.energy["active_import_t3"] == 46 * KWH


def test_the_long_day_of_madrid_has_100_slots(store: Connection) -> None:
    """2026-10-25: at 03:00 it is 02:00 again. A quarter of a kWh a slot: 25 kWh; the second 02:15 is another slot than the first."""
    cluster.set_zone(store, "Europe/Madrid")
    here = place(store, "1", zone=MADRID)
    opening, closing = np.datetime64("2026-10-24T22:00"), np.datetime64("2026-10-25T23:00")
    # the second hour between two and three, slots 12 to 15, takes twice as much: + 4 × 0.25 kWh = 26 kWh
    used = [2_500] * 12 + [5_000] * 4 + [2_500] * 84
    registers = [7 * KWH, *(7 * KWH + np.cumsum(used)).tolist()]
    bring_curve(store, here.meter, opening, registers, MADRID)
    bring_freezes(store, here.meter, {"2026-10-25 00:00": 7 * KWH, "2026-10-26 00:00": 33 * KWH}, MADRID)
    day = dt.date(2026, 10, 25)
    block = blocks.load(store, day, MADRID, (IMPORT,))
    assert (block.times[0], block.times[-1], len(block.times)) == (opening, closing, 101)
    found = by_slot(store, here.point, day, MADRID).energies[IMPORT]
    assert found.energy.tolist() == [used]
    assert (block.times[12], block.times[16]) == (
        np.datetime64("2026-10-25T01:00"),
        np.datetime64("2026-10-25T02:00"),
    )
    (told,) = by_day(store, here.point, day, zone=MADRID)
    assert told.energy[IMPORT] == 26 * KWH


def test_a_leap_day(store: Connection) -> None:
    """2028-02-28, 29 and 03-01 in Shanghai: 96 slots each; 1, 2 and 3 hundredths of a kWh a slot are 0.96, 1.92 and 2.88 kWh."""
    here = place(store, "1")
    used = [100] * 96 + [200] * 96 + [300] * 96
    begin = at("2028-02-28 00:00")
    bring_curve(store, here.meter, begin, [0, *np.cumsum(used).tolist()])
    bring_freezes(
        store,
        here.meter,
        {
            "2028-02-28 00:00": 0,
            "2028-02-29 00:00": 9_600,
            "2028-03-01 00:00": 28_800,
            "2028-03-02 00:00": 57_600,
        },
    )
    first, last = dt.date(2028, 2, 28), dt.date(2028, 3, 1)
    assert by_slot(store, here.point, dt.date(2028, 2, 29)).energies[IMPORT].energy.tolist() == [[200] * 96]
    whole = blocks.energies(store, first, SHANGHAI, (IMPORT,), last=last)
    assert (whole.times[0], len(whole.times)) == (np.datetime64("2028-02-27T16:00"), 3 * 96 + 1)
    assert whole.energies[IMPORT].energy.tolist() == [used]
    block = blocks.load(store, first, SHANGHAI, (IMPORT,), last=last)
    assert block.freezes[IMPORT].tolist() == [[0, 9_600, 28_800, 57_600]]
    assert [(d.day.isoformat(), d.energy[IMPORT]) for d in by_day(store, here.point, first, last)] == [
        ("2028-02-28", 9_600),
        ("2028-02-29", 19_200),
        ("2028-03-01", 28_800),
    ]


DAY = dt.date(2026, 3, 11)


def exchange(store: Connection) -> tuple[int, int, int]:
    """(point, old meter, new meter): at 10:07 a meter behind CT 10 gives way to one behind CT 20; all but the boundary registers.

    The old one: 500 kWh at midnight, 0.01 kWh a slot until 10:00 (40 slots: 500.40 kWh), 500.47 kWh when it was taken off.
    The new one: 0.01 kWh when it was put on, 0.05 kWh at 10:15, then 0.02 kWh a slot (55 slots: 1.15 kWh at midnight).
    """
    old = place(store, "1", ct=10, until="2026-03-11 10:07")
    new = place(store, "2", ct=20, since="2026-03-11 10:07", point="P1")
    bring_curve(store, old.meter, at("2026-03-11 00:00"), [500 * KWH + 100 * k for k in range(41)])
    bring_curve(store, new.meter, at("2026-03-11 10:15"), [500 + 200 * k for k in range(56)])
    bring_freezes(store, old.meter, {"2026-03-11 00:00": 500 * KWH})
    bring_freezes(store, new.meter, {"2026-03-12 00:00": 11_500})
    return old.point, old.meter, new.meter


def test_a_meter_exchange_at_10_07_with_another_ct(store: Connection) -> None:
    point, old, new = exchange(store)
    bring_spot(store, old, "2026-03-11 10:07", 5_004_700)
    bring_spot(store, new, "2026-03-11 10:07", 100)
    block = by_slot(store, point, DAY)
    assert block.point.tolist() == [point]
    found = block.energies[IMPORT]
    # before: 0.01 × 10 = 0.1 kWh; the slot that ends at 10:15: 0.07 × 10 + 0.04 × 20 = 1.5 kWh; after: 0.02 × 20 = 0.4 kWh
    assert found.energy.tolist() == [[1_000] * 40 + [15_000] + [4_000] * 55]
    assert set(found.quality.ravel().tolist()) == {Quality.MEASURED}
    # the day: 0.47 × 10 + 1.14 × 20 = 4.7 + 22.8 = 27.5 kWh
    assert found.energy.sum() == 275_000
    (told,) = by_day(store, point, DAY)
    assert (told.energy[IMPORT], told.energy["active_import_t3"], told.reasons.get(IMPORT)) == (
        275_000,
        275_000,
        None,
    )
    assert (told.meters, told.closing[IMPORT]) == (["1", "2"], 11_500)


def test_without_the_register_of_the_new_meter_its_slot_is_unknown_and_no_other(store: Connection) -> None:
    point, old, _ = exchange(store)
    bring_spot(store, old, "2026-03-11 10:07", 5_004_700)
    found = by_slot(store, point, DAY).energies[IMPORT]
    assert found.energy.tolist() == [[1_000] * 40 + [MISSING] + [4_000] * 55]
    assert np.flatnonzero(found.why[0]).tolist() == [40] == [slot("2026-03-11 10:15")]
    assert (found.why[0, 40], found.quality[0, 40]) == (Why.EXCHANGED, Quality.MISSING)
    (told,) = by_day(store, point, DAY)
    assert (told.energy[IMPORT], told.reasons[IMPORT]) == (None, "meter-exchanged")


def test_on_the_quarter_hour_the_curves_own_registers_will_do(store: Connection) -> None:
    """Exchanged at 10:00 sharp, both meters have stored that instant: nobody had to read them."""
    old = place(store, "1", ct=10, until="2026-03-11 10:00")
    new = place(store, "2", ct=20, since="2026-03-11 10:00", point="P1")
    bring_curve(store, old.meter, at("2026-03-11 09:45"), [100, 103])
    bring_curve(store, new.meter, at("2026-03-11 10:00"), [7, 9])
    found = by_slot(store, old.point, DAY).energies[IMPORT]
    assert found.energy[0, [39, 40]].tolist() == [30, 40]
    assert (found.why == Why.KNOWN).sum() == 2
    assert set(found.why[0, :39].tolist()) == {Why.MISSING_REGISTER}


def test_before_the_first_meter_and_after_the_last_there_is_nothing_to_know(store: Connection) -> None:
    here = place(store, "1", since="2026-03-11 06:00", until="2026-03-11 06:30")
    bring_curve(store, here.meter, at("2026-03-11 06:00"), [5, 6, 8, 9])
    found = by_slot(store, here.point, DAY).energies[IMPORT]
    assert np.flatnonzero(found.why[0] != Why.NOT_COMMISSIONED).tolist() == [24, 25]
    assert found.energy[0, [24, 25]].tolist() == [1, 2]


def test_registers_roll_over_by_their_own_digits(store: Connection) -> None:
    """Six digits: 999,999.90 → 0.15 kWh are 0.25 kWh. Five digits: 99,999.90 → 0.15 kWh, the same. Six digits cannot fall from there."""
    six, five, fell = (place(store, str(k)) for k in (6, 5, 7))
    store.execute("UPDATE meter SET digits = 5 WHERE meter_id = %s", (five.meter,))
    store.commit()
    for here, top in ((six, 9_999_999_000), (five, 999_999_000), (fell, 999_999_000)):
        bring_curve(store, here.meter, at("2026-03-11 12:00"), [top, 1_500])
        bring_freezes(store, here.meter, {"2026-03-11 00:00": top, "2026-03-12 00:00": 1_500})
    noon = slot("2026-03-11 12:15")
    block = blocks.energies(store, DAY, SHANGHAI, (IMPORT,))
    assert block.point.tolist() == [six.point, five.point, fell.point]
    found = block.energies[IMPORT]
    assert found.energy[:, noon].tolist() == [2_500, 2_500, MISSING]
    assert found.why[:, noon].tolist() == [Why.KNOWN, Why.KNOWN, Why.FELL]
    told = [by_day(store, here.point, DAY)[0] for here in (six, five, fell)]
    assert [d.energy[IMPORT] for d in told] == [2_500, 2_500, None]
    assert told[2].reasons[IMPORT] == "register-fell"


def test_another_ct_from_a_midnight_in_mid_month(store: Connection) -> None:
    """From 2026-03-16 00:00 CT 10 is CT 20; 0.01 kWh a slot on the meter: 0.1 kWh until then, 0.2 kWh after."""
    here = place(store, "1", ct=10, until="2026-03-16 00:00")
    place(store, "1", ct=20, since="2026-03-16 00:00", point="P1")
    bring_curve(store, here.meter, at("2026-03-15 00:00"), [3 * KWH + 100 * k for k in range(193)])
    bring_freezes(
        store,
        here.meter,
        {"2026-03-15 00:00": 30_000, "2026-03-16 00:00": 39_600, "2026-03-17 00:00": 49_200},
    )
    first, last = dt.date(2026, 3, 15), dt.date(2026, 3, 16)
    found = blocks.energies(store, first, SHANGHAI, (IMPORT,), last=last).energies[IMPORT]
    assert found.energy.tolist() == [[1_000] * 96 + [2_000] * 96]
    assert [d.energy[IMPORT] for d in by_day(store, here.point, first, last)] == [96_000, 192_000]


def test_another_ct_from_14_20_in_mid_month(store: Connection) -> None:
    """From 2026-03-16 14:20 CT 10 is CT 20. On the meter 1.00 kWh at 14:15, 1.03 at 14:20, 1.09 at 14:30, 2.00 at midnight."""
    here = place(store, "1", ct=10, until="2026-03-16 14:20")
    place(store, "1", ct=20, since="2026-03-16 14:20", point="P1")
    bring_curve(store, here.meter, at("2026-03-16 14:15"), [10_000, 10_900, 11_000])
    bring_freezes(store, here.meter, {"2026-03-16 00:00": 5_000, "2026-03-17 00:00": 20_000})
    day = dt.date(2026, 3, 16)
    shared = slot("2026-03-16 14:30")
    unread = by_slot(store, here.point, day).energies[IMPORT]
    assert (unread.energy[0, shared], unread.why[0, shared]) == (MISSING, Why.EXCHANGED)
    assert by_day(store, here.point, day)[0].reasons[IMPORT] == "meter-exchanged"

    bring_spot(store, here.meter, "2026-03-16 14:20", 10_300)
    found = by_slot(store, here.point, day).energies[IMPORT]
    # 0.03 × 10 + 0.06 × 20 = 0.3 + 1.2 = 1.5 kWh; then 0.01 × 20 = 0.2 kWh
    assert found.energy[0, [shared, shared + 1]].tolist() == [15_000, 2_000]
    # the day: (1.03 − 0.50) × 10 + (2.00 − 1.03) × 20 = 5.3 + 19.4 = 24.7 kWh
    (told,) = by_day(store, here.point, day)
    assert (told.energy[IMPORT], told.meters) == (247_000, ["1", "1"])


def test_a_new_terminal_is_no_exchange(store: Connection) -> None:
    """From 14:20 the same meter with the same transformers is read by another terminal: nothing happens to its energy."""
    here = place(store, "1", ct=10, until="2026-03-16 14:20")
    place(store, "1", ct=10, since="2026-03-16 14:20", point="P1", terminal="T2")
    bring_curve(store, here.meter, at("2026-03-16 00:00"), [100 * k for k in range(97)])
    bring_freezes(store, here.meter, {"2026-03-16 00:00": 0, "2026-03-17 00:00": 9_600})
    day = dt.date(2026, 3, 16)
    who = blocks.rows(store, day, SHANGHAI)
    assert (who.meter.tolist(), who.whole.tolist()) == ([here.meter], [True])
    assert by_slot(store, here.point, day).energies[IMPORT].energy.tolist() == [[1_000] * 96]
    (told,) = by_day(store, here.point, day)
    assert (told.energy[IMPORT], told.meters) == (96_000, ["1"])


def test_a_meter_that_comes_back_the_same_day(store: Connection) -> None:
    """Meter 1 until 08:00, meter 2 until 16:00, meter 1 again: 1 + 2 + 3 kWh, and the closing register is meter 1's."""
    one = place(store, "1", until="2026-03-11 08:00")
    two = place(store, "2", since="2026-03-11 08:00", until="2026-03-11 16:00", point="P1")
    place(store, "1", since="2026-03-11 16:00", point="P1")
    bring_freezes(store, one.meter, {"2026-03-11 00:00": 50 * KWH, "2026-03-12 00:00": 56 * KWH})
    for meter, when, register in (
        (one.meter, "2026-03-11 08:00", 51 * KWH),
        (two.meter, "2026-03-11 08:00", 7 * KWH),
        (two.meter, "2026-03-11 16:00", 9 * KWH),
        (one.meter, "2026-03-11 16:00", 53 * KWH),  # it was tested in between
    ):
        bring_spot(store, meter, when, register)
    (told,) = by_day(store, one.point, DAY)
    assert (told.energy[IMPORT], told.meters, told.closing[IMPORT]) == (6 * KWH, ["1", "2", "1"], 56 * KWH)


def test_an_estimate_gives_way_to_the_meters_own_value(store: Connection) -> None:
    """12:15 is not read: 1.50 kWh is estimated between 1.00 and 2.00; then the meter says 1.20. So for the day freeze: 9 kWh, then 8."""
    here = place(store, "1")
    bring_curve(store, here.meter, at("2026-03-11 12:00"), [10_000, None, 20_000])
    bring_freezes(store, here.meter, {"2026-03-11 00:00": 0})
    when, closing = at("2026-03-11 12:15"), at("2026-03-12 00:00")
    note = Note(at("2026-03-13 08:00"), "two hours of silence", "vee")
    for table, at_, value in ((SLOTS, when, 15_000), (DAY_FREEZES, closing, 90_000)):
        revisions.revise(
            store, table, IMPORT, np.array([here.meter]), np.array([at_]), np.array([value]), note, method="linear", zone=SHANGHAI
        )  # fmt: skip
    store.commit()
    k = slot("2026-03-11 12:15")

    block = blocks.load(store, DAY, SHANGHAI, (IMPORT,))
    assert block.registers[IMPORT][0, k : k + 3].tolist() == [10_000, 15_000, 20_000]
    assert block.quality(IMPORT)[0, k : k + 3].tolist() == [
        Quality.MEASURED,
        Quality.ESTIMATED,
        Quality.MEASURED,
    ]
    why = blocks.standing(store, SLOTS, here.meter, when, IMPORT)
    assert why is not None
    assert (why.quality, why.method, why.reason, why.who) == (
        Quality.ESTIMATED,
        "linear",
        "two hours of silence",
        "vee",
    )
    found = by_slot(store, here.point, DAY).energies[IMPORT]
    assert found.energy[0, [k, k + 1]].tolist() == [5_000, 5_000]
    assert found.quality[0, [k, k + 1]].tolist() == [Quality.ESTIMATED, Quality.ESTIMATED]
    (told,) = by_day(store, here.point, DAY)
    assert (told.energy[IMPORT], told.qualities[IMPORT]) == (90_000, "estimated")

    deliver(store, CURVES, rows([here.meter], [when], active_import=[12_000]), at("2026-03-13 09:00"))
    deliver(store, DAYS, rows([here.meter], [closing], active_import=[80_000]), at("2026-03-13 09:00"))
    block = blocks.load(store, DAY, SHANGHAI, (IMPORT,))
    assert block.registers[IMPORT][0, k : k + 3].tolist() == [10_000, 12_000, 20_000]
    assert block.quality(IMPORT)[0, k + 1] == Quality.MEASURED
    found = by_slot(store, here.point, DAY).energies[IMPORT]
    assert found.energy[0, [k, k + 1]].tolist() == [2_000, 8_000]
    assert found.quality[0, [k, k + 1]].tolist() == [Quality.MEASURED, Quality.MEASURED]
    (told,) = by_day(store, here.point, DAY)
    assert (told.energy[IMPORT], told.qualities[IMPORT]) == (80_000, "measured")


def test_a_revised_and_an_edited_value(store: Connection) -> None:
    """The meter says 1.00 kWh of 12:00 and later 1.10; a person puts 2.20 where it says 2.00 of 12:15."""
    here = place(store, "1")
    bring_curve(store, here.meter, at("2026-03-11 12:00"), [10_000, 20_000])
    bring_freezes(store, here.meter, {"2026-03-11 00:00": 5_000, "2026-03-12 00:00": 30_000})
    bring_curve(store, here.meter, at("2026-03-11 12:00"), [11_000])
    bring_freezes(store, here.meter, {"2026-03-12 00:00": 31_000})
    note = Note(at("2026-03-13 08:00"), "display photographed", "李敏")
    revisions.revise(
        store, SLOTS, IMPORT, np.array([here.meter]), np.array([at("2026-03-11 12:15")]), np.array([22_000]), note,
        method="edit", zone=SHANGHAI,
    )  # fmt: skip
    store.commit()
    block = blocks.load(store, DAY, SHANGHAI, (IMPORT,))
    noon = slot("2026-03-11 12:00") + 1
    assert block.registers[IMPORT][0, [noon, noon + 1]].tolist() == [11_000, 22_000]
    assert block.quality(IMPORT)[0, [noon - 1, noon, noon + 1]].tolist() == [
        Quality.MISSING,
        Quality.REVISED,
        Quality.EDITED,
    ]
    found = by_slot(store, here.point, DAY).energies[IMPORT]
    assert (found.energy[0, noon], found.quality[0, noon]) == (11_000, Quality.EDITED)
    (told,) = by_day(store, here.point, DAY)
    assert (told.energy[IMPORT], told.qualities[IMPORT]) == (26_000, "revised")
