"""Loss by area and day, and what the anomalies say: what was unknown becomes known when the data come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest

from headend.jobs import anomalies, lineloss
from headend.plans import CURVE, points
from headend.store import clocks, findings, results
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.tables import CURVES, DAYS, SPOT_READS
from protocols.localtime import as_datetime, midnight
from protocols.reading import no_reads
from tests.support.house import SHANGHAI, Place, at, deliver, place, rows, table
from tests.support.household import run

DAY = dt.date(2026, 3, 10)
NIGHT = "2026-03-11 00:40"
TIMES = np.concatenate([[midnight(DAY, SHANGHAI)], points(CURVE, DAY, SHANGHAI)])


def bring(conn: Connection, here: Place, a_slot: int, *, slots: int = 96, volts: float = 230.0) -> None:
    """A steady curve [1e-4 kWh a slot] of the day's first slots, the freezes with it, and the ledger."""
    n = slots + 1
    energy = 5_000_000 + a_slot * np.arange(n)
    moves = (volts + np.arange(n) * 7 % 11 / 10).tolist()  # a voltage that stood still would be a finding
    attempt = Attempt(here.meter, CURVE, TIMES[1:n], TIMES[:0], at(NIGHT))
    given = rows(
        [here.meter] * n, TIMES[:n], active_import=energy.tolist(), active_export=[0] * n, voltage_a=moves, current_a=[1.0] * n,
    )  # fmt: skip
    deliver(conn, CURVES, given, at(NIGHT), attempts=(attempt,))
    if slots == 96:
        freezes = rows(
            [here.meter] * 2, TIMES[[0, -1]], active_import=energy[[0, -1]].tolist(), active_export=[0, 0]
        )
        deliver(conn, DAYS, freezes, at(NIGHT))


def silent(conn: Connection, here: Place) -> None:
    attempt = Attempt(here.meter, CURVE, TIMES[1:], TIMES[:0], at(NIGHT), "no-answer", "silent")
    deliver(conn, CURVES, no_reads(), at(NIGHT), attempts=(attempt,))


@pytest.fixture
def area(store: Connection) -> list[Place]:
    """A supply meter of 10 times a customer's energy behind CT 10, and three customers."""
    return [place(store, "0", role="supply", ct=10, phases=3), *(place(store, f"{k}") for k in (1, 2, 3))]


def work(conn: Connection, now: str = NIGHT, day: dt.date = DAY) -> tuple[str, str]:
    with conn.transaction():
        told = lineloss.job(run(conn, now), day), anomalies.job(run(conn, now), day)
    conn.commit()
    return told


def losses(conn: Connection) -> list[tuple[object, ...]]:
    return table(
        conn,
        "SELECT a.code, status, supplied, sold, loss, missing, why FROM loss_result JOIN area a USING (area_id) ORDER BY 1, day",
    )


def test_known(store: Connection, area: list[Place]) -> None:
    bring(store, area[0], 310)  # 310 x 10 a slot, of which 3 x 1000 are sold
    for here in area[1:]:
        bring(store, here, 1000)
    assert work(store) == ("1 of 1 areas known, 1 changed", "0 findings, 0 new, 0 withdrawn")
    supplied, sold = 310 * 10 * 96, 3000 * 96
    assert losses(store) == [("A1", "known", supplied, sold, supplied - sold, [], "")]
    (found,) = results.losses(store, DAY)
    assert found["rate"] == pytest.approx((supplied - sold) / supplied)
    assert found["loss_low"] <= found["loss"] <= found["loss_high"]
    assert (found["meters_due"], found["meters_complete"]) == (4, 4)
    assert found["technical"] is None  # currents that never change do not tell it
    store.commit()
    assert work(store)[0] == "1 of 1 areas known, 0 changed"  # the same again is no news
    assert table(store, "SELECT key, day FROM feed WHERE topic = 'loss'") == [("A1", DAY)]


def test_technical_loss_is_stored_where_voltages_and_currents_tell_it(
    store: Connection, area: list[Place]
) -> None:
    """Three customers behind 0.5 ohm each; what they lose is what the supply has more. Their voltmeters are off by a volt or two."""
    random = np.random.default_rng(1)
    use = random.uniform(200, 4000, (3, 96)).round()  # [1e-4 kWh a slot]
    amps = np.round(use / 10_000 * 4000 / 228, 3)
    lost = 0.5 * amps**2 / 4000
    supplied = (use.sum(axis=0) + lost.sum(axis=0) * 10_000) / 10
    for k, (here, energy, current) in enumerate(
        zip(area, [supplied, *use], [amps.sum(axis=0) / 10, *amps], strict=True)
    ):
        drop = np.zeros(96) if k == 0 else 0.5 * current - k
        volts = np.round(230 - drop, 1).tolist()
        given = rows(
            [here.meter] * 97, TIMES, active_import=(5_000_000 + np.r_[0, energy.cumsum()]).round().astype(int).tolist(),
            active_export=[0] * 97, voltage_a=[230.0, *volts], current_a=[0.0, *current.round(3).tolist()],
        )  # fmt: skip
        attempt = Attempt(here.meter, CURVE, TIMES[1:], TIMES[:0], at(NIGHT))
        deliver(store, CURVES, given, at(NIGHT), attempts=(attempt,))
    work(store)
    (found,) = results.losses(store, DAY)
    true = float(lost.sum()) * 10_000
    assert found["technical"] == pytest.approx(true, rel=0.05)
    assert 0 < found["technical_error"] < 0.2 * true
    assert found["loss_low"] <= found["likely_low"] < true < found["likely_high"] <= found["loss_high"]


def test_unknown_until_the_data_come(store: Connection, area: list[Place]) -> None:
    bring(store, area[0], 310)
    bring(store, area[1], 1000)
    bring(store, area[2], 1000)
    silent(store, area[3])
    assert work(store) == ("0 of 1 areas known, 1 changed", "1 findings, 1 new, 0 withdrawn")
    assert losses(store) == [
        ("A1", "unknown", None, None, None, [area[3].meter], "registers are missing of 1 of 4 meters")
    ]
    (missing,) = findings.listing(store, day=DAY)
    assert (missing["rule"], missing["subject"], missing["title_en"], missing["state"]) == (
        "missing",
        "3",
        "Meter not answering: 96 of 96 slots missing",
        "new",
    )
    store.commit()
    findings.acknowledge(store, missing["finding_id"], "李敏", at(NIGHT))
    store.commit()
    work(store)
    assert [f["state"] for f in findings.listing(store, day=DAY)] == [
        "acknowledged"
    ]  # a second run does not shout again
    store.commit()
    bring(store, area[3], 1000)
    assert work(store) == ("1 of 1 areas known, 1 changed", "0 findings, 0 new, 1 withdrawn")
    assert findings.listing(store, day=DAY) == []
    assert [f["finding_id"] for f in findings.listing(store, day=DAY, states=["withdrawn"])] == [
        missing["finding_id"]
    ]
    store.commit()
    assert (
        table(store, "SELECT key FROM feed WHERE topic = 'finding' ORDER BY seq")
        == [(str(missing["finding_id"]),)] * 3
    )


def used(conn: Connection, here: Place, days: Sequence[int]) -> None:
    """Energies [1e-4 kWh] of the days before, the newest last."""
    for ago, energy in enumerate(reversed(days), start=1):
        day = DAY - dt.timedelta(days=ago)
        conn.execute(
            "SELECT ensure_partitions('day_rollup', ARRAY[%s])", (as_datetime(midnight(day, SHANGHAI)),)
        )
        conn.execute(
            "INSERT INTO day_rollup (meter_id, day, points, present, late, estimated, freeze_points, freeze_present, freeze_late, "
            "freeze_estimated, import_energy, import_from, voltage_a_n, voltage_b_n, voltage_c_n, current_a_n, current_b_n, current_c_n, "
            "active_power_n, reactive_power_n) VALUES (%s, %s, 96, 96, 0, 0, 1, 1, 0, 0, %s, 2, 0, 0, 0, 0, 0, 0, 0, 0)",
            (here.meter, day, energy),
        )
    conn.commit()


def test_who_is_silent_is_taken_to_use_what_he_uses_where_that_is_sure_enough(
    store: Connection, area: list[Place]
) -> None:
    bring(store, area[0], 310)
    for here in area[1:3]:
        bring(store, here, 1000)
    silent(store, area[3])
    used(store, area[3], [96_000, 96_400, 95_600])
    assert work(store)[0] == "0 of 1 areas known, 1 changed"  # three days do not tell how much days differ
    store.execute("DELETE FROM day_rollup")
    used(store, area[3], [96_000, 96_400, 95_600, 96_000])
    assert work(store)[0] == "1 of 1 areas known, 1 changed"
    supplied, sold = 310 * 10 * 96, 3000 * 96
    assert losses(store) == [
        (
            "A1",
            "known",
            supplied,
            sold,
            supplied - sold,
            [area[3].meter],
            "the energy is estimated of 1 of 4 meters",
        )
    ]
    store.execute("DELETE FROM day_rollup")
    used(
        store, area[3], [96_000, 150_000, 20_000, 96_000, 5_000]
    )  # give or take more than anybody may act on
    assert work(store)[0] == "0 of 1 areas known, 1 changed"


def test_a_clock_that_is_off_widens_the_limits(store: Connection, area: list[Place]) -> None:
    bring(store, area[0], 310)
    for here in area[1:]:
        bring(store, here, 1000)

    def width() -> int:
        work(store)
        (found,) = results.losses(store, DAY)
        return int(found["likely_high"] - found["likely_low"])

    right = width()
    read = as_datetime(at("2026-03-10 12:00"))
    store.commit()
    clocks.note(store, [clocks.Reading("meter", area[1].meter, read, 5.0, 2.0)])
    store.commit()
    assert width() == right  # no worse than it can be measured
    clocks.note(store, [clocks.Reading("meter", area[2].meter, read, -480.0, 2.0)])
    store.commit()
    assert width() > right + 200  # eight minutes of 1000 a quarter-hour are 533, beside the limits of class


def test_a_finding_that_comes_back_is_new_again(store: Connection, area: list[Place]) -> None:
    for here in area:
        bring(store, here, 1000 if here is not area[0] else 310, volts=245.0 if here is area[1] else 230.0)
    assert work(store)[1] == "1 findings, 1 new, 0 withdrawn"
    (high,) = findings.listing(store, rule="voltage")
    assert high["subject"] == "1"
    store.execute("UPDATE slot_read SET voltage_a = voltage_a - 15 WHERE meter_id = %s", (area[1].meter,))
    store.commit()
    assert work(store)[1] == "0 findings, 0 new, 1 withdrawn"
    store.execute("UPDATE slot_read SET voltage_a = voltage_a + 15 WHERE meter_id = %s", (area[1].meter,))
    store.commit()
    work(store)
    assert [(f["finding_id"], f["state"]) for f in findings.listing(store)] == [(high["finding_id"], "new")]


def test_part_of_a_day_accuses_nobody(store: Connection, area: list[Place]) -> None:
    """Half of what is supplied is lost, until noon: a loss and a theft are judged by whole days."""
    bring(store, area[0], 600, slots=48)
    for here in area[1:]:
        bring(store, here, 1000, slots=48)
    assert work(store, "2026-03-10 12:30") == (
        "1 of 1 areas known, 1 changed, day not over",
        "0 findings, 0 new, 0 withdrawn",
    )
    assert losses(store)[0][4] == (6000 - 3000) * 48


def test_before_anything_is_due(store: Connection, area: list[Place]) -> None:
    assert work(store, "2026-03-10 00:40") == ("nothing due yet", "nothing due yet")


def test_a_meter_exchanged_in_the_day_leaves_its_area_unknown(store: Connection, area: list[Place]) -> None:
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000)
    store.execute(
        "UPDATE installation SET valid_to = '2026-03-10 10:00+08' WHERE meter_id = %s", (area[1].meter,)
    )
    place(store, "9", point="P1", since="2026-03-10 10:00")
    assert work(store)[0] == "0 of 1 areas known, 1 changed"
    assert "registers are missing" in str(losses(store)[0][6])


def spot(conn: Connection, meter: int, when: str, register: int) -> None:
    deliver(
        conn, SPOT_READS, rows([meter], [at(when)], active_import=[register], active_export=[0]), at(NIGHT)
    )


def exchanged(conn: Connection, old: Place, since: str = "2026-03-10 10:07") -> Place:
    """The old meter off at 10:07, 40 slots of 1000 and 400 more into the day; another with CT 2 and half the pace on its point from `since`."""
    conn.execute("UPDATE installation SET valid_to = '2026-03-10 10:07+08' WHERE meter_id = %s", (old.meter,))
    new = place(conn, "9", point=f"P{old.asset}", since=since, ct=2)
    late = TIMES[41:]  # from 10:15 on
    energy = 77 + 250 + 500 * np.arange(len(late))
    deliver(
        conn,
        CURVES,
        rows([new.meter] * len(late), late, active_import=energy.tolist(), active_export=[0] * len(late)),
        at(NIGHT),
    )
    return new


def test_a_meter_exchange_whose_registers_were_read_leaves_its_area_known(
    store: Connection, area: list[Place]
) -> None:
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000)
    new = exchanged(store, area[1])
    spot(store, area[1].meter, "2026-03-10 10:07", 5_000_000 + 40_400)
    assert work(store)[0] == "0 of 1 areas known, 1 changed"  # the new one's beginning is not known yet
    spot(store, new.meter, "2026-03-10 10:07", 77)
    told = work(store)
    assert told[0] == "1 of 1 areas known, 1 changed"
    # the old one's 40,400 and twice the new one's 250 + 55 × 500 = 27,750 stand where 96,000 stood
    supplied, sold = 310 * 10 * 96, 2 * 96_000 + 40_400 + 2 * 27_750
    assert losses(store)[0][1:5] == ("known", supplied, sold, supplied - sold)
    # half a curve accuses nobody
    assert not [f for f in findings.listing(store, day=DAY) if f["rule"] == "theft"]


def test_a_point_without_a_meter_for_a_while_leaves_its_area_unknown(
    store: Connection, area: list[Place]
) -> None:
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000)
    new = exchanged(store, area[1], "2026-03-10 10:08")
    spot(store, area[1].meter, "2026-03-10 10:07", 5_000_000 + 40_400)
    spot(store, new.meter, "2026-03-10 10:08", 77)
    assert work(store)[0] == "0 of 1 areas known, 1 changed"


def test_an_exchange_within_the_part_of_the_day_that_has_passed(store: Connection, area: list[Place]) -> None:
    """Until 12:00, 48 slots: the new meter has done 8 of them; and one that comes in the afternoon keeps nobody waiting."""
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000, slots=48)
    new = exchanged(store, area[1])
    spot(store, area[1].meter, "2026-03-10 10:07", 5_000_000 + 40_400)
    spot(store, new.meter, "2026-03-10 10:07", 77)
    place(store, "10", since="2026-03-10 16:00")
    assert work(store, "2026-03-10 12:30")[0] == "1 of 1 areas known, 1 changed, day not over"
    supplied, sold = 310 * 10 * 48, 2 * 48_000 + 40_400 + 2 * (250 + 7 * 500)
    assert losses(store)[0][1:5] == ("known", supplied, sold, supplied - sold)


def test_what_the_old_meter_fed_in_the_new_one_must_account_for(store: Connection, area: list[Place]) -> None:
    """The old one's export register moved once: without the new one's at midnight nobody knows what was fed in since."""
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000)
    new = exchanged(store, area[1])
    spot(store, area[1].meter, "2026-03-10 10:07", 5_000_000 + 40_400)
    deliver(store, SPOT_READS, rows([new.meter], [at("2026-03-10 10:07")], active_import=[77]), at(NIGHT))
    assert work(store)[0] == "1 of 1 areas known, 1 changed"  # nobody feeds in: nothing is missing
    store.execute("UPDATE slot_read SET active_export = 5 WHERE meter_id = %s", (area[1].meter,))
    store.execute("UPDATE register_read SET active_export = 5 WHERE meter_id = %s", (area[1].meter,))
    store.commit()
    assert work(store)[0] == "0 of 1 areas known, 1 changed"


def test_a_five_digit_meter_rolls_over(store: Connection, area: list[Place]) -> None:
    for here in area:
        bring(store, here, 310 if here is area[0] else 1000)
    top = 999_970_000
    turned = [(top + 1000 * k) % 1_000_000_000 for k in range(97)]
    store.execute("DELETE FROM slot_read WHERE meter_id = %s", (area[1].meter,))
    store.execute("DELETE FROM register_read WHERE meter_id = %s", (area[1].meter,))
    deliver(
        store,
        CURVES,
        rows([area[1].meter] * 97, TIMES, active_import=turned, active_export=[0] * 97),
        at(NIGHT),
    )
    assert work(store)[0] == "0 of 1 areas known, 1 changed"
    assert losses(store)[0][6].startswith("a register went down")
    store.execute("UPDATE meter SET digits = 5 WHERE meter_id = %s", (area[1].meter,))
    store.commit()
    assert work(store)[0] == "1 of 1 areas known, 1 changed"
    assert losses(store)[0][2:4] == (310 * 10 * 96, 3000 * 96)


def test_an_area_without_a_supply_meter(store: Connection) -> None:
    bring(store, place(store, "1"), 1000)
    assert work(store)[0] == "0 of 1 areas known, 1 changed"
    assert losses(store)[0][6] == "the area has no supply meter in the archive"
