"""After the killing: what the terminals have is in the store, once and as they have it, and the store agrees with itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headend.plans import COLLECTED, CURVE, DAY, Plan
from headend.store import check, coverage, db
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZE
from protocols.localtime import as_datetime, instant
from protocols.quantity import quantities
from protocols.reading import MISSING, REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.scenario import ZONE

#: how many of a kind of wrong things are named
TOLD = 5


class Wrong(Exception):
    """The store is not what it must be."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Points that were compared, and their values."""

    points: int
    values: int
    freezes: int


def unfinished(conn: Connection, cut: np.datetime64, dead: list[str]) -> int:
    """Points up to an instant that are still to be asked for, of meters that answer; of the others, those nobody has asked for yet."""
    ids = [
        row["meter_id"] for row in conn.execute("SELECT meter_id FROM meter WHERE asset = ANY(%s)", (dead,))
    ]
    number, day = 0, truth_begin()
    while day <= coverage.today(cut, ZONE):
        for plan in COLLECTED:
            matrix = coverage.day_matrix(conn, plan, day, now=cut, zone=ZONE)
            number += int(matrix.open[~np.isin(matrix.meters, ids)].sum()) + _without_cause(matrix)
        day += dt.timedelta(days=1)
    return number


def _without_cause(matrix: coverage.DayMatrix) -> int:
    cause, names = coverage.causes(matrix)
    return int((cause == names.index("not-asked")).sum())


def truth_begin() -> dt.date:
    return dt.date(2026, 3, 10)


def verify(dsn: str, fleet: Path, cut: np.datetime64) -> Counted:
    """Everything up to an instant; Wrong with what is not as it must be. Nobody writes meanwhile."""
    expected = truth.load(fleet).expected()
    with db.connect(dsn) as conn:
        last = coverage.today(cut, ZONE) + dt.timedelta(days=1)
        with check.snapshot(conn):
            wrong = [str(found) for found in check.everything(conn, ZONE, truth_begin(), last)][:TOLD]
        points, faults = _compare(
            conn, CURVE, "slot_read", SLOT_QUANTITIES, "true", expected.meters, expected.slots, expected.curve,
            expected.available, cut,
        )  # fmt: skip
        wrong += faults
        there = np.repeat(expected.answers[:, None], len(expected.midnights), axis=1)
        freezes, faults = _compare(
            conn, DAY, "register_read", REGISTER_QUANTITIES, f"kind = {DAY_FREEZE}", expected.meters, expected.midnights,
            expected.freezes, there, cut,
        )  # fmt: skip
        wrong += faults
        wrong += [f"{row}" for row in conn.execute("SELECT * FROM revision LIMIT %s", (TOLD,))]
        wrong += list(_unexplained(conn, cut))
    if wrong:
        raise Wrong("\n  ".join(["the store is not what it must be:", *wrong]))
    return Counted(points, points * len(SLOT_QUANTITIES), freezes)


def _compare(
    conn: Connection,
    plan: Plan,
    table: str,
    codes: tuple[str, ...],
    where: str,
    meters: tuple[str, ...],
    times: Any,
    values: Any,
    there: Any,
    cut: np.datetime64,
) -> tuple[int, list[str]]:
    """(points found as they must be, what is wrong): all that was due of a terminal at `cut`, since its meters were installed, and nothing that
    it has not. A point in its first minute is not due: nobody has waited for it."""
    row_of = {asset: k for k, asset in enumerate(meters)}
    column_of = {when: k for k, when in enumerate(times.astype("datetime64[us]").tolist())}
    seen = np.zeros(there.shape, dtype=np.int64)
    wrong: list[str] = []
    for row in conn.execute(
        f"SELECT asset, ts, {', '.join(codes)} FROM {table} JOIN meter USING (meter_id) WHERE {where}"
    ):
        k, j = row_of[row["asset"]], column_of.get(instant(row["ts"]).item())
        name = f"{table}: {row['asset']} at {row['ts'].astimezone(ZONE):%m-%d %H:%M}"
        if j is None or not there[k, j]:
            wrong.append(f"{name} was never there")
            continue
        seen[k, j] += 1
        wrong += [
            f"{name}: {code} is {row[code]}, the meter has {values[code][k][j]}"
            for code in codes
            if not _same(code, row[code], values[code][k][j])
        ]
    installed = instant(dt.datetime(2026, 3, 10, 23, tzinfo=ZONE))
    owed = there & (times > installed) & (times + np.timedelta64(plan.settle) <= cut)
    for what, which in (("is lost", owed & (seen == 0)), ("is there twice", seen > 1)):
        wrong += [
            f"{table}: {meters[k]} at {as_datetime(times[j], ZONE):%m-%d %H:%M} {what}"
            for k, j in zip(*np.nonzero(which), strict=True)
        ]
    told = wrong[:TOLD] + ([f"and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else [])
    return int((owed & (seen == 1)).sum()), told


def _same(code: str, stored: Any, true: Any) -> bool:
    if quantities()[code].kind == "register":
        return bool((MISSING if stored is None else stored) == true)
    return bool(np.isnan(true)) if stored is None else bool(np.float32(stored) == np.float32(true))


def _unexplained(conn: Connection, cut: np.datetime64) -> Iterator[str]:
    """Holes that nobody can tell the cause of."""
    day = truth_begin()
    while day <= coverage.today(cut, ZONE):
        for plan in COLLECTED:
            matrix = coverage.day_matrix(conn, plan, day, now=cut, zone=ZONE)
            number = _without_cause(matrix)
            if number:
                yield f"{number} points of {plan.name} {day} are missing without a cause"
        day += dt.timedelta(days=1)
