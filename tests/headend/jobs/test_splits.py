"""Losses of lines, buses, transformers, regions and voltage levels from a real store: days, months, and what late readings change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.jobs import lineloss, splits
from headend.store import loss_curve
from headend.store import splits as stored
from headend.store.db import Connection
from headend.store.tables import CURVES, DAYS
from protocols.localtime import midnight
from protocols.reading import MISSING
from tests.support.app import settle
from tests.support.county import DAY, KWH, MONTH, NIGHT, Net, hang, insert
from tests.support.house import SHANGHAI, deliver, moment, rows, table
from tests.support.household import run


@pytest.fixture
def net(store: Connection) -> Net:
    return Net(store)


def work(conn: Connection, now: str = NIGHT, day: dt.date = DAY) -> str:
    with conn.transaction():
        lineloss.job(run(conn, now), day)
        told = splits.job(run(conn, now), day)
    conn.commit()
    return told


def losses(conn: Connection, period: str = "day") -> dict[tuple[str, str, int], tuple[Any, ...]]:
    """(kind, code, level) -> status and kWh supplied, sold, lost"""
    found = {}
    for kind in (
        "line",
        "bus",
        "transformer",
        "region",
        "voltage",
        *(("area",) if period == "month" else ()),
    ):
        for row in stored.losses(conn, kind, period, DAY if period == "day" else MONTH):
            energies = (
                None if row[name] is None else row[name] / KWH for name in ("supplied", "sold", "loss")
            )
            found[kind, row["code"], row["level_v"]] = (row["status"], *energies)
    conn.commit()
    return found


def test_every_split_of_a_day(store: Connection, net: Net) -> None:
    net.day()
    assert work(store).startswith("1 days and 0 months")
    told = losses(store)
    assert told["line", "L1", 0] == ("known", 196, 192, 4)  # 96 + 96
    assert told["line", "L2", 0] == ("known", 94, 92, 2)
    assert told["bus", "B1", 0] == ("known", 293, 290, 3)  # 196 + 94
    assert told["region", "GX", 0] == ("known", 300, 270, 30)  # six homes, 3 × 90
    assert told["voltage", "GX", 10_000] == (
        "known",
        293,
        284,
        9,
    )  # what comes in, less what the three areas take
    assert told["voltage", "GX", 400] == ("known", 284, 270, 14)
    (line,) = [row for row in stored.losses(store, "line", "day", DAY) if row["code"] == "L1"]
    assert line["rate"] == pytest.approx(4 / 196)
    # class 1 of 196 and of 192, each way, and digits of 0.01 kWh
    assert line["loss_high"] == pytest.approx((196 / 0.99 - 192 / 1.01 + 4) * KWH - 4 * KWH, abs=0.1 * KWH)
    assert line["loss_low"] == pytest.approx((196 / 1.01 - 192 / 0.99) * KWH, abs=0.1 * KWH)
    store.commit()
    assert work(store).endswith("0 losses changed")
    assert ("line:L1", DAY) in table(store, "SELECT key, day FROM feed WHERE topic = 'loss'")


def test_a_transformer_by_its_plate(store: Connection, net: Net) -> None:
    net.day()
    work(store)
    # no curve: 96 kWh and no reactive energy known: 4 kW / 0.9 of 400 kVA, K 1.05; the meter is on the low side
    copper = 24 * 4.3 * (4 / 0.9 / 400) ** 2 * 1.05
    (row,) = stored.losses(store, "transformer", "day", DAY)
    assert (row["status"], row["method"]) == ("known", "energy")
    assert row["iron"] == round(0.57 * 24 * KWH)
    assert row["copper"] == pytest.approx(copper * KWH, abs=1)
    assert row["sold"] == 96 * KWH
    assert row["loss"] == row["iron"] + row["copper"] == row["supplied"] - row["sold"]
    # with a curve of both energies: 4 kW and 3 kvar, 5 of 400 kVA
    net.curve(net.main[0], 96, reactive_import=[7_500 * k for k in range(97)], reactive_export=[0] * 97)
    work(store)
    (row,) = stored.losses(store, "transformer", "day", DAY)
    assert row["method"] == "curve"
    assert row["copper"] == pytest.approx(24 * 4.3 * (5 / 400) ** 2 * KWH, abs=2)
    # a bill takes it from the store, by the customer's point on the transformer
    store.execute(
        "INSERT INTO loss_role (point_id, transformer_id, role, valid_from) VALUES (%s, %s, 'receive', %s)",
        (net.main[0].point, net.transformer, moment("2026-01-01 00:00")),
    )
    both = np.array([net.main[1].point, net.main[0].point])
    assert [side.tolist() for side in stored.transformer_loss(store, both, DAY, DAY)] == [
        [MISSING, row["iron"]],
        [MISSING, row["copper"]],
    ]
    # of a day that is not computed nothing is known, and a bill is made of all days
    iron, copper = stored.transformer_loss(store, both, DAY, DAY + dt.timedelta(days=1))
    assert iron.tolist() == copper.tolist() == [MISSING, MISSING]


def test_late_readings_make_their_days_again(store: Connection, net: Net) -> None:
    """What is missing on the 10th comes on the 12th: the night's run makes the 10th again, the next one does not."""
    net.day()
    store.execute("DELETE FROM register_read WHERE meter_id = %s", (net.heads[0].meter,))
    store.commit()
    settle(store)  # another test's open transaction holds the feed of its whole server back
    work(store)
    assert losses(store)["line", "L1", 0] == ("unknown", None, None, None)
    assert losses(store)["line", "L2", 0][0] == "known"
    store.execute(
        "UPDATE loss_result SET status = 'unknown', supplied = NULL, sold = NULL, loss = NULL, loss_low = NULL, loss_high = NULL"
    )
    net.bring(net.heads[0], 196)
    settle(store)
    # of the 9th, which these registers close, and of the 11th, which they open, no loss was ever computed
    assert work(store, "2026-03-13 00:40", dt.date(2026, 3, 12)).startswith("2 days")
    assert losses(store)["line", "L1", 0] == ("known", 196, 192, 4)
    # the areas' day was made again as well
    assert table(store, "SELECT DISTINCT status FROM loss_result WHERE day = %s", DAY) == [("known",)]
    assert work(store, "2026-03-13 01:40", dt.date(2026, 3, 12)).startswith("1 days")


def test_a_missing_transformers_meter_leaves_its_line_limits(store: Connection, net: Net) -> None:
    net.day()
    store.execute("DELETE FROM register_read WHERE meter_id = %s", (net.main[1].meter,))
    store.commit()
    work(store)
    (line,) = [row for row in stored.losses(store, "line", "day", DAY) if row["code"] == "L1"]
    assert (line["status"], line["loss"], line["points_have"], line["points_due"]) == ("bounded", None, 2, 3)
    assert line["missing_points"] == ["P12"]
    # 400 kVA, half as much again, all day
    assert line["unmetered"] == round(400 * 1.5 * 24 * KWH)
    assert line["loss_low"] < 4 * KWH < line["loss_high"]
    # the region does not need that meter, the voltage level does
    told = losses(store)
    assert told["region", "GX", 0][0] == "known"
    assert told["voltage", "GX", 10_000][0] == "bounded"
    assert told["voltage", "GX", 400][0] == "unknown"


def test_a_missing_customer_leaves_his_region_limits_by_what_his_area_was_given(
    store: Connection, net: Net
) -> None:
    net.day()
    store.execute("DELETE FROM register_read WHERE meter_id = %s", (net.homes[0][0].meter,))
    store.commit()
    work(store)
    # nobody has ever read it: for all that is known it may feed in
    assert losses(store)["region", "GX", 0][0] == "unknown"
    net.bring(net.homes[0][0], 40, first=DAY - dt.timedelta(days=9), days=2)
    work(store)
    (region,) = stored.losses(store, "region", "day", DAY)
    assert region["status"] == "bounded"
    # given 96, the other took 50: 46, and the class of both
    assert region["unmetered"] == pytest.approx((96 / 0.99 - 50 / 1.01) * KWH, abs=0.1 * KWH)
    assert region["loss_low"] < 30 * KWH < region["loss_high"]


def test_a_register_missed_at_midnight_lies_between_its_neighbours(store: Connection, net: Net) -> None:
    """The head's register of the closing midnight is missing, the one of the midnight after is there."""
    net.day()
    store.execute("DELETE FROM register_read WHERE meter_id = %s", (net.heads[0].meter,))
    store.commit()
    net.bring(net.heads[0], 196, days=2, without=[1])
    work(store)
    (line,) = [row for row in stored.losses(store, "line", "day", DAY) if row["code"] == "L1"]
    # between 0 and 392 kWh on that day: 196 if it was even
    assert (line["status"], line["loss"]) == ("bounded", 4 * KWH)
    assert line["loss_low"] < -190 * KWH
    # read a quarter-hour before midnight and one after: 4.08 kWh are open
    register = round(196 * KWH * (69 - 1 / 96))
    ends = midnight(DAY + dt.timedelta(days=1), SHANGHAI) + np.array([-15, 15]) * np.timedelta64(60, "s")
    given = rows(
        [net.heads[0].meter] * 2, ends, active_import=[register, register + 40_833], active_export=[0, 0]
    )
    deliver(store, CURVES, given)
    work(store)
    (line,) = [row for row in stored.losses(store, "line", "day", DAY) if row["code"] == "L1"]
    assert line["status"] == "known"
    assert line["loss"] == pytest.approx(4 * KWH, abs=1)
    assert line["loss_high"] - line["loss_low"] == pytest.approx(
        (2 * 0.01 * (196 + 192) + 4.0833) * KWH, rel=0.02
    )


def test_an_area_without_a_supply_meter_leaves_its_line_limits(store: Connection, net: Net) -> None:
    area = insert(store, "area", code="A4", name="新区", capacity_kva=100)
    hang(store, "area", area, line_id=net.lines[1], organisation_id=net.county)
    store.commit()
    net.day()
    work(store)
    told = {row["code"]: row for row in stored.losses(store, "line", "day", DAY)}
    assert told["L1"]["status"] == "known"
    assert (told["L2"]["status"], told["L2"]["unmetered"]) == ("bounded", 100 * 1.5 * 24 * KWH)
    assert told["L2"]["loss_low"] < 2 * KWH < told["L2"]["loss_high"]


def test_a_month_needs_no_day_between_its_ends(store: Connection, net: Net) -> None:
    net.day(first=MONTH, days=31, without=range(3, 29))
    assert work(store, "2026-04-01 00:40", dt.date(2026, 3, 31)).endswith("losses changed")
    told = losses(store, "month")
    assert told["line", "L1", 0] == ("known", 196 * 31, 192 * 31, 4 * 31)
    assert told["area", "A1", 0] == ("known", 96 * 31, 90 * 31, 6 * 31)
    assert told["region", "GX", 0] == ("known", 300 * 31, 270 * 31, 30 * 31)
    (line,) = [row for row in stored.losses(store, "line", "month", MONTH) if row["code"] == "L1"]
    assert line["method"] == "registers"


@pytest.mark.parametrize("server_kind", ["embedded"])  # thirty-one nights of the same statements
def test_a_month_in_which_an_area_moved_is_the_sum_of_its_days(store: Connection, net: Net) -> None:
    """A2 moves from line 1 to line 2 on the 11th, at midnight."""
    store.execute(
        "UPDATE area_span SET valid_to = %s WHERE area_id = %s",
        (moment("2026-03-11 00:00"), net.main[1].area),
    )
    hang(
        store, "area", net.main[1].area, "2026-03-11 00:00", line_id=net.lines[1], organisation_id=net.county
    )
    store.commit()
    net.day(first=MONTH, days=31)
    for head, before, after in zip(net.heads, (196, 94), (99, 191), strict=True):
        store.execute("DELETE FROM register_read WHERE meter_id = %s", (head.meter,))
        store.commit()
        midnights = [midnight(MONTH + dt.timedelta(days=k), SHANGHAI) for k in range(32)]
        register = [KWH * (before * min(k, 10) + after * max(k - 10, 0)) for k in range(32)]
        deliver(
            store, DAYS, rows([head.meter] * 32, midnights, active_import=register, active_export=[0] * 32)
        )
    for k in range(31):
        work(store, "2026-04-01 00:40", MONTH + dt.timedelta(days=k))
    told = losses(store, "month")
    # line 1: ten days of 196 - 192, then 21 of 99 - 96; line 2: ten of 94 - 92, then 21 of 191 - 188
    assert told["line", "L1", 0] == ("known", 1960 + 2079, 1920 + 2016, 40 + 63)
    assert told["line", "L2", 0] == ("known", 940 + 4011, 920 + 3948, 20 + 63)
    methods = {row["code"]: row["method"] for row in stored.losses(store, "line", "month", MONTH)}
    assert methods == {"L1": "days", "L2": "days"}


def test_by_quarter_hour(store: Connection, net: Net) -> None:
    for here, kwh in ((net.heads[0], 196.8), (net.main[0], 96), (net.main[1], 96)):
        net.curve(here, kwh)
    key = stored.object_of(store, "line", "L1")
    curve = loss_curve.curves(store, "line", [key], DAY, SHANGHAI)[key]
    # 2.05 - 1 - 1 kWh
    assert curve.supplied.tolist() == [20_500] * 96
    assert curve.loss.tolist() == [500] * 96
    store.execute(
        "DELETE FROM slot_read WHERE meter_id = %s AND ts = %s",
        (net.main[1].meter, moment("2026-03-10 12:00")),
    )
    store.commit()
    curve = loss_curve.curves(store, "line", [key], DAY, SHANGHAI)[key]
    # the quarter-hours before and after 12:00
    assert np.flatnonzero(curve.loss == MISSING).tolist() == [47, 48]


def test_objects_that_are_gone_lose_their_rows(store: Connection, net: Net) -> None:
    net.day()
    work(store)
    store.execute("DELETE FROM loss_role WHERE bus_id = %s", (net.bus,))
    store.execute("UPDATE line_span SET bus_id = NULL")
    store.commit()
    work(store)
    assert ("bus", "B1", 0) not in losses(store)


def test_a_day_that_is_not_over(store: Connection, net: Net) -> None:
    assert work(store, "2026-03-10 12:00") == "the day is not over"


def test_objects_by_code(store: Connection, net: Net) -> None:
    assert stored.object_of(store, "voltage", "GX@10") == (net.county, 10_000)
    with pytest.raises(stored.UnknownObject, match="REGION@KV"):
        stored.object_of(store, "voltage", "GX")
    with pytest.raises(stored.UnknownObject, match="no line 'L9'"):
        stored.object_of(store, "line", "L9")
