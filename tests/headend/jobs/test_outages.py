"""Outages of a small county from a real store: cuts that meters noted, voltages, a carrier that is down, midnight."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.jobs import outages as job
from headend.store import events, outages
from headend.store.db import Connection
from headend.store.events import Event
from headend.store.tables import CURVES
from tests.support.county import DAY, KWH, TIMES, Net
from tests.support.house import SHANGHAI, Place, at, deliver, moment, place, rows
from tests.support.household import run

MORNING = "2026-03-11 04:30"


@pytest.fixture
def areas(store: Connection) -> list[list[Place]]:
    """Three areas of one line (A1, A2) and another (A3): each its own meter, then five homes."""
    net = Net(store)
    for k, homes in enumerate(net.homes, 1):
        homes += [place(store, f"2{k}{n}", area=f"A{k}", terminal=f"T{k}") for n in (3, 4, 5)]
    return [[main, *homes] for main, homes in zip(net.main, net.homes, strict=True)]


def volts(
    conn: Connection, here: Place, dark: slice | None = None, gone: slice | None = None, times: Any = TIMES
) -> None:
    """A day of voltages; nothing in `dark`, no record in `gone`."""
    values: list[float | None] = [None] + [228.0] * 96
    for part, value in ((dark, 0.0), (gone, None)):
        if part is not None:
            for k in range(*part.indices(96)):
                values[k + 1] = value
    register = [100 * KWH + k for k in range(97)]
    kept = [k for k in range(97) if k == 0 or values[k] is not None]
    given = rows(
        [here.meter] * len(kept),
        times[kept],
        active_import=[register[k] for k in kept],
        voltage_a=[values[k] for k in kept],
    )
    deliver(conn, CURVES, given, times[-1])


def cut(here: Place, began: str, ended: str | None, subject: str = "meter") -> Event:
    number = here.meter if subject == "meter" else here.terminal
    end = None if ended is None else moment(ended)
    return Event(
        subject,
        number,
        moment(began),
        "dlt645.03110001",
        moment(MORNING),
        ended=end,
        detail={"kind": "power-down"},
    )  # type: ignore[arg-type]


def listed(conn: Connection, first: dt.date = DAY, last: dt.date = DAY) -> list[dict[str, Any]]:
    found = outages.listing(conn, first, last)
    conn.commit()
    return found


def test_a_line_goes_and_comes_back(store: Connection, areas: list[list[Place]]) -> None:
    """Two areas of a line note the cut; the third, of another line, is lit all day."""
    for area in areas[:2]:
        for here in area:
            volts(store, here, gone=slice(40, 47))
    for here in areas[2]:
        volts(store, here)
    noted = [
        cut(here, f"2026-03-10 10:0{k}:12", f"2026-03-10 11:3{k}:40")
        for k, area in enumerate(areas[:2])
        for here in area
    ]
    events.write(store, noted, SHANGHAI)
    store.commit()
    assert job.job(run(store, MORNING), DAY) == "2 outages"
    second, first = listed(store)
    assert (first["area"], first["began"], first["ended"]) == (
        "A1",
        moment("2026-03-10 10:00:12"),
        moment("2026-03-10 11:30:40"),
    )
    assert (second["area"], second["began"]) == ("A2", moment("2026-03-10 10:01:12"))
    assert (first["sure"], first["exact"], first["supply"]) == ("certain", [True, True], True)
    assert (first["dark"], first["customers"], first["together"]) == (5, 5, 2)
    # again: the same rows
    number = first["outage_id"]
    job.job(run(store, MORNING), DAY)
    assert listed(store)[1]["outage_id"] == number
    assert outages.listing(store, DAY, DAY, "A3") == []


def test_the_carrier_is_down_and_nothing_is_said(store: Connection, areas: list[list[Place]]) -> None:
    for area in areas:
        for here in area:
            volts(store, here, gone=slice(40, 96))
    store.execute("UPDATE terminal SET online = false")
    store.commit()
    assert job.job(run(store, MORNING), DAY) == "0 outages"
    # ... until its terminal says that it had no power itself: possible, for nobody of its meters is heard
    events.write(store, [cut(areas[0][0], "2026-03-10 12:00", None, "terminal")], SHANGHAI)
    store.commit()
    job.job(run(store, MORNING), DAY)
    (told,) = listed(store)
    assert (told["area"], told["sure"], told["heard"], told["customers"]) == ("A1", "possible", 0, 5)
    # the data come in after all, and everybody was lit: it is withdrawn
    for here in areas[0]:
        volts(store, here)
    assert job.job(run(store, MORNING), DAY) == "0 outages"
    assert listed(store) == []


def test_it_lasts(store: Connection, areas: list[list[Place]]) -> None:
    """At 15:00 it has been dark since 14:00, by voltages."""
    for here in areas[0]:
        volts(store, here, dark=slice(56, 96))
    job.job(run(store, "2026-03-10 15:30"), DAY)
    (told,) = listed(store)
    assert (told["began"], told["ended"], told["exact"]) == (moment("2026-03-10 14:00"), None, [False, False])


def test_one_over_midnight_is_one(store: Connection, areas: list[list[Place]]) -> None:
    next_day = TIMES + np.timedelta64(1, "D")
    for here in areas[0]:
        volts(store, here, dark=slice(90, 96))
        volts(store, here, dark=slice(0, 4), times=next_day)
    job.job(run(store, "2026-03-12 04:30"), DAY)
    job.job(run(store, "2026-03-12 04:30"), DAY + dt.timedelta(days=1))
    (told,) = listed(store, DAY, DAY + dt.timedelta(days=1))
    assert (told["began"], told["ended"]) == (moment("2026-03-10 22:30"), moment("2026-03-11 01:00"))
    assert told["sure"] == "certain"


def test_a_cut_ends_with_the_next_power_up(store: Connection, areas: list[list[Place]]) -> None:
    for here in areas[0]:
        volts(store, here, gone=slice(40, 47))
    back = [
        Event(
            "meter",
            here.meter,
            moment("2026-03-10 11:20:30"),
            "dlt645.03120000",
            moment(MORNING),
            detail={"kind": "power-up"},
        )
        for here in areas[0]
    ]
    events.write(store, [cut(here, "2026-03-10 10:02", None) for here in areas[0]] + back, SHANGHAI)
    store.commit()
    job.job(run(store, MORNING), DAY)
    (told,) = listed(store)
    assert (told["ended"], told["exact"]) == (moment("2026-03-10 11:20:30"), [True, True])


def test_before_anything_is_due(store: Connection) -> None:
    assert job.job(run(store, "2026-03-10 00:05"), DAY) == "nothing due yet"


def test_a_line_by_the_transformer(store: Connection, areas: list[list[Place]]) -> None:
    """A1 says no line itself: it hangs on the line of its transformer."""
    store.execute("UPDATE area_span SET line_id = NULL WHERE area_id = %s", (areas[0][0].area,))
    ids = np.array([area[0].area for area in areas], dtype=np.int64)
    found = outages.lines(store, ids, at(MORNING))
    assert found[0] == found[1] > 0
    assert found[2] not in (found[0], -1)
    store.rollback()
