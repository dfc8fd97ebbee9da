"""Wrong areas of a real store: two streets on one line, in blocks that hold one of them alone; and whose turn it is."""

from __future__ import annotations

import datetime as dt
from importlib import import_module

import numpy as np
import pytest

from headend.jobs import places
from headend.store import findings
from headend.store.db import Connection
from tests.support.house import place
from tests.support.household import run
from tests.support.streets import settle
from tests.support.truth.homes import SLOTS, Weather, happen, medium_voltage
from tests.support.truth.meters import Readings, read, together
from tests.support.truth.street import habits, street

FIRST = dt.date(2026, 3, 9)
LAST = FIRST + dt.timedelta(days=1)
NIGHT = "2026-03-11 04:10"


def block(strangers: list[tuple[int, int, int]]) -> Readings:
    random = np.random.default_rng(1)
    wave = medium_voltage(2 * SLOTS, random)
    areas = []
    for area in (0, 1):
        profiles, sun = habits(8, seed=2 + area)
        areas.append(
            read(
                happen(street(8, seed=area), profiles, sun, Weather(10, 2, 1.5), random, wave),
                random,
                area=area,
            )
        )
    return together(areas, strangers)


def on_line(conn: Connection, *areas: str) -> None:
    row = conn.execute(
        "INSERT INTO line (code, name, voltage_kv) VALUES ('L1', 'L1', 10) RETURNING line_id"
    ).fetchone()
    assert row is not None
    conn.execute(
        "INSERT INTO area_span (area_id, line_id, valid_from) SELECT area_id, %s, '2026-01-01' FROM area WHERE code = ANY(%s)",
        (row["line_id"], list(areas)),
    )
    conn.commit()


def look(conn: Connection) -> str:
    with conn.transaction():
        told = places.job(run(conn, NIGHT), LAST)
    conn.commit()
    return told


def test_strangers_are_named_and_over_when_the_archive_is_right(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = settle(store, block([(0, 3, 1), (1, 4, 0)]), FIRST)
    monkeypatch.setattr(
        import_module("headend.store.blocks.stream"), "CELLS_AT_ONCE", 10 * 2 * SLOTS
    )  # one of the two areas is a block
    assert look(store) == "0 areas, 0 findings, 0 new, 0 over"  # no line: nobody to compare with
    on_line(store, "A0", "A1")
    assert look(store) == "2 areas, 2 findings, 2 new, 0 over"
    told = {
        f["subject"]: (f["evidence"]["area"], f["evidence"]["found_area"]) for f in findings.listing(store)
    }
    assert told == {"004": ("A1", "A0"), "014": ("A0", "A1")}
    store.commit()
    for row, area in ((4, "A0"), (14, "A1")):
        store.execute(
            "UPDATE loss_role SET area_id = (SELECT area_id FROM area WHERE code = %s) WHERE point_id = %s",
            (area, who[row].point),
        )
    store.commit()
    assert look(store) == "2 areas, 0 findings, 0 new, 2 over"
    assert findings.listing(store) == []


def test_a_line_with_one_area_has_nothing_to_compare(store: Connection) -> None:
    place(store, "1")
    on_line(store, "A1")
    assert look(store) == "0 areas, 0 findings, 0 new, 0 over"


def test_every_line_has_its_turn() -> None:
    lines = np.repeat(np.arange(40), np.arange(40) % 7 + 1)
    areas = np.arange(len(lines))
    nights = [places.turn(areas, lines, FIRST + dt.timedelta(days=n)) for n in range(30)]
    assert all(0 < sum(map(len, some)) <= places.AREAS + 6 for some in nights)
    seen = np.unique(np.concatenate([area for some in nights for area in some]))
    alone = np.isin(lines, np.flatnonzero(np.bincount(lines) == 1))
    assert seen.tolist() == areas[~alone].tolist()
    large = places.turn(np.arange(500), np.zeros(500, dtype=np.int64), FIRST)
    assert [len(some) for some in large] == [places.ON_A_LINE]
