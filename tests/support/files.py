"""A small store to write files from, emptied and filled again, and what is in it to compare."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.export import formats, nem12
from headend.export.about import About
from headend.importing import load
from headend.plans import CURVE, DAY, points
from headend.store import revisions, sheets
from headend.store.db import Connection
from headend.store.reads import Note
from headend.store.tables import CURVES, DAY_FREEZES, DAYS, PHASES, SLOTS, SOURCES
from protocols.localtime import midnight
from protocols.reading import Reads
from tests.support import house
from tests.support.house import SHANGHAI, table

DAY1 = dt.date(2026, 3, 10)
#: when everything came, and when files are imported: the ledger notes it
NOW = house.at("2026-03-11 02:00")
ASSETS = ("000000000101", "000000000102", 'A,quote"d 表')


def place_meters(
    conn: Connection, zone: ZoneInfo = SHANGHAI, order: tuple[int, ...] = (0, 1, 2)
) -> list[int]:
    """Three meters, one three-phase with CT 40; their ids in order of ASSETS."""
    made = {}
    for k in order:
        three = k == 1
        made[k] = house.place(
            conn,
            ASSETS[k],
            area=f"A{k}",
            ct=40 if three else 1,
            phases=3 if three else 1,
            zone=zone,
            point=f"NMI000000{k}",
        ).meter
    return [made[k] for k in range(3)]


def fill(
    conn: Connection,
    ids: list[int],
    day: dt.date = DAY1,
    zone: ZoneInfo = SHANGHAI,
    days: int = 1,
    holes: bool = True,
) -> None:
    """A curve with the opening midnight, holes in the first meter's, phases of the second meter, and freezes at every midnight."""
    times = np.concatenate(
        [
            np.array([midnight(day, zone)]),
            *(points(CURVE, day + dt.timedelta(days=k), zone) for k in range(days)),
        ]
    )
    n = len(times)
    now = max(NOW, times[-1] + np.timedelta64(2, "h"))
    for k, meter in enumerate(ids):
        steps = np.arange(n, dtype=np.int64)
        columns: dict[str, Any] = {
            "active_import": 1_000_000 * (k + 1) + 1_234 * steps * (k + 1),
            "active_export": 7 + 10 * steps,
            "voltage_a": np.float64(220.1) + 0.25 * (steps % 7),
            "current_a": 0.001 * (steps % 11),
            "active_power": np.where(steps % 5 == 0, np.nan, 1.0 / (steps + 1)),
        }
        if k == 1:
            columns |= {"reactive_import": 500 + 3 * steps, "power_factor": 0.9 + 0.0005 * (steps % 3)}
        kept = np.ones(n, dtype=np.bool_) if k or not holes else steps % 13 != 5  # the first meter has holes
        reads = Reads(np.full(n, meter), times, columns).take(kept)
        house.deliver(conn, CURVES, reads, now, zone)
    mids = np.concatenate(
        [
            np.array([midnight(day, zone)]),
            *(points(DAY, day + dt.timedelta(days=k), zone) for k in range(days)),
        ]
    )
    for k, meter in enumerate(ids[:2]):
        m = len(mids)
        columns = {
            code: 1_000_000 * (k + 1) + 118_464 * np.arange(m)
            for code in ("active_import", "active_import_t1")
        }
        columns["max_demand_import"] = 1.2345 + np.arange(m)
        columns["max_demand_import_time"] = mids - np.timedelta64(5, "h")
        house.deliver(conn, DAYS, Reads(np.full(m, meter), mids, columns), now, zone)


def estimate(
    conn: Connection,
    meter: int,
    when: np.datetime64,
    value: int,
    *,
    method: str = "linear",
    reason: str = "no answer, 无应答",
    code: str = "active_import",
    zone: ZoneInfo = SHANGHAI,
) -> None:
    with conn.transaction():
        revisions.revise(
            conn, SLOTS, code, np.array([meter]), np.array([when]), np.array([value]), Note(NOW, reason, "test"), method=method, zone=zone
        )  # fmt: skip
    conn.commit()


def export(
    conn: Connection,
    folder: Path,
    name: str,
    *,
    source: str = "curve",
    first: dt.date = DAY1,
    last: dt.date | None = None,
    zone: ZoneInfo = SHANGHAI,
    codes: tuple[str, ...] = (),
    cells: int = sheets.MOST_CELLS,
    **choice: Any,
) -> Path:
    last = last or first
    span = (
        nem12.standard_span(first, last, zone)
        if name == "nem12"
        else sheets.local_span(source, first, last, zone)
    )
    every = tuple(code for t in span.source.tables for code in t.codes)
    if not codes:
        codes = tuple(c for c in every if c in nem12.SUFFIXES) if name in ("nem12", "espi") else every
    who = sheets.roster(conn, span, **choice)
    about = About(span, codes, zone, len(who), NOW)
    path = folder / f"{source}{formats.module(name).SUFFIX}"
    formats.write(path, name, sheets.sheets(conn, span, codes, who, cells), about)
    conn.rollback()
    return path


def bring(
    conn: Connection,
    path: Path,
    *,
    source: str = "curve",
    format: str | None = None,
    zone: ZoneInfo = SHANGHAI,
    fast: bool = True,
    opening: dict[str, int] | None = None,
    at: np.datetime64 = NOW,
    **how: Any,
) -> load.Summary:
    job = load.Job(path, format or load.guess(path), SOURCES[source], zone, at, "test", opening or {}, fast)
    try:
        done = load.load(conn, job, **how)
    except BaseException:
        conn.rollback()
        raise
    conn.commit()
    return done


def contents(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of readings, ledger and revisions; without the evidence, which names another bringer, and without who laid it over."""
    found = {}
    for name, codes, kind in (
        (SLOTS.name, SLOTS.codes, ""),
        (PHASES.name, PHASES.codes, ""),
        (DAY_FREEZES.name, DAY_FREEZES.codes, "kind, "),
    ):
        found[name] = table(conn, f"SELECT meter_id, ts, {kind}{', '.join(codes)} FROM {name} ORDER BY 1, 2")
    found["coverage"] = table(
        conn,
        "SELECT plan, day, meter_id, present::text, late::text, absent::text, estimated::text, "
        "attempts, first_at, last_at FROM coverage ORDER BY 1, 2, 3",
    )
    found["revision"] = table(
        conn,
        "SELECT meter_id, ts, source, quantity, version, value, method, reason, at FROM revision ORDER BY 1, 2, 3, 4, 5",
    )
    return found
