"""The processes that scripts/kill-store kills: writers that close the ledger's gaps and disturb each other, and a consumer of the feed."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from headend.plans import CURVE
from headend.store import coverage, db, feed, intake, reads
from headend.store.db import Connection, Unreachable
from tests.support.kill.batches import (
    AHEAD,
    DAY_LONG,
    EPOCH,
    FIRST_DAY,
    METERS,
    MINUTE,
    REASON,
    ZONE,
    Batch,
    Item,
    deliveries,
)  # fmt: skip

#: a server that was killed is back within seconds; who waits longer has found something
PATIENCE_SECONDS = 90.0
FAULTS = ("ledger-first",)
CORRECTABLE = ("active_import", "voltage_a", "current_b", "active_power")
PHASES = ("reactive_import", "active_power_a", "power_factor")


def connect(dsn: str) -> Connection:
    """However long a killed server takes to come back."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return db.connect(dsn)
        except (Unreachable, psycopg.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def append(log: int, line: str) -> None:
    os.write(log, f"{line}\n".encode())


def write(dsn: str, log: Path, who: int, life: int, seed: int, fault: str | None) -> None:
    """Until killed. Before a batch its content goes to the log, after its commit its name."""
    chance = np.random.default_rng([seed, who, life])
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    number = 0
    if fault == "ledger-first":
        _commit_the_ledger_first(chance)
    while True:
        with connect(dsn) as conn:
            try:
                while True:
                    number += 1
                    batch = _next(conn, chance, who, f"{who}.{life}.{number}")
                    conn.commit()
                    append(handle, "begin " + batch.line())
                    intake.save(conn, deliveries(batch), ZONE, who=batch.who, reason=REASON)
                    conn.commit()
                    append(handle, "done " + batch.name)
            except psycopg.OperationalError:
                if not conn.broken:  # a deadlock, say: the server lives, and this is no work of ours
                    raise


def _commit_the_ledger_first(chance: np.random.Generator) -> None:
    """The fault that is planted to see it found: the ledger's row and the readings are no longer one transaction."""
    honest = reads.write

    def split(conn: Connection, *given: Any, **named: Any) -> reads.Marks:
        conn.execute("COMMIT")
        time.sleep(chance.random() * 0.1)
        conn.execute("BEGIN")
        return honest(conn, *given, **named)

    reads.write = split


def _next(conn: Connection, chance: np.random.Generator, who: int, name: str) -> Batch:
    """One to four things that a collector may bring: mostly what the ledger says is missing."""
    mine = [meter for meter in range(1, METERS + 1) if meter % 2 == who % 2]
    day = _open_day(conn, mine)
    owner = EPOCH + dt.timedelta(days=day)
    # some come in time, some late
    at = (
        (day + 1) * DAY_LONG
        - AHEAD
        + int(chance.integers(0, 30 * 60)) * MINUTE
        + int(chance.integers(0, 60_000_000))
    )
    ledger = coverage.day_matrix(
        conn, CURVE, owner, now=np.datetime64(day * DAY_LONG + 3 * DAY_LONG, "us"), zone=ZONE, reasons=()
    )
    items: dict[tuple[str, int], Item] = {}
    for _ in range(int(chance.integers(1, 5))):
        item = _gap(ledger, chance, mine, day) if chance.random() < 0.6 else _extra(chance, day)
        if item is not None:
            items.setdefault((item.source, item.meter), item)
    if not items:
        items["spot", mine[0]] = Item(
            "spot", mine[0], day, (int(chance.integers(1, 86_400)),), ("active_import",)
        )
    return Batch(name, f"writer {who}", at, tuple(items.values()))


def _open_day(conn: Connection, mine: list[int]) -> int:
    """The first day of which the ledger misses a point of my meters."""
    whole = conn.execute(
        "SELECT day FROM coverage WHERE plan = %s AND meter_id = ANY(%s) AND bit_count(present | absent) = 96 "
        "GROUP BY day HAVING count(*) = %s",
        (CURVE.id, mine, len(mine)),
    )
    days = {(row["day"] - EPOCH).days for row in whole}
    day = FIRST_DAY
    while day in days:
        day += 1
    return day


def _gap(ledger: coverage.DayMatrix, chance: np.random.Generator, mine: list[int], day: int) -> Item | None:
    """Ask a meter for what is missing of its day; most of it comes, some is proved absent, for some there is a reason."""
    wanting = [m for m in mine if ledger.open[int(np.searchsorted(ledger.meters, m))].any()]
    if not wanting:
        return None
    meter = int(chance.choice(wanting))
    asked = np.flatnonzero(ledger.open[int(np.searchsorted(ledger.meters, meter))])
    luck = chance.random()
    if luck < 0.1:
        return Item("curve", meter, day, (), (), 0, _tuple(asked), (), "no-answer")
    came = asked if luck > 0.5 else asked[chance.random(len(asked)) < 0.7]
    rest = np.setdiff1d(asked, came)
    absent = rest[: len(rest) // 3]
    codes = ("active_import", "active_export", "voltage_a") if chance.random() < 0.5 else ("active_import",)
    reason = "missing-in-answer" if len(rest) > len(absent) else ""
    return Item("curve", meter, day, _tuple(came), codes, 0, _tuple(asked), _tuple(absent), reason)


def _extra(chance: np.random.Generator, today: int) -> Item:
    """What nobody asked the ledger for: completions, repeats, corrections, the phases, freezes, spot readings, rare quantities; of any meter."""
    meter = int(chance.integers(1, METERS + 1))
    day = max(FIRST_DAY, today - int(chance.integers(0, 3)))
    begin = int(chance.integers(0, 80))
    run = tuple(range(begin, begin + int(chance.integers(1, 17))))
    salt = int(chance.integers(0, 3))
    second = (int(chance.integers(1, 5)),)  # few different ones, so that both writers meet
    made = {
        "complete": Item("curve", meter, day, run, ("voltage_a", "current_b", "active_power")),
        "repeat": Item("curve", meter, day, run, ("active_import",)),
        "correct": Item("curve", meter, day, run[:3], (str(chance.choice(CORRECTABLE)),), 1 + salt),
        "phase": Item("curve", meter, day, run, (*PHASES, "active_import") if salt else PHASES, salt // 2),
        "freeze": Item("day", meter, day, (0,), ("active_import", "active_export_t1"), salt // 2, (0,)),
        "spot": Item("spot", meter, day, second, ("active_import", "active_export")[: 1 + salt % 2], salt),
        "rare": Item("spot", meter, day, second, ("frequency",), salt),
    }
    return made[str(chance.choice(list(made)))]


def _tuple(numbers: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers)


def consume(dsn: str, log: Path) -> None:
    """Follow the feed until killed. A page and the cursor behind it are one line of the log: what is not there whole was not taken."""
    handle = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    whole = log.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    os.ftruncate(handle, len(whole))
    cursor = json.loads(whole.splitlines()[-1])["cursor"] if whole else None
    while True:
        with connect(dsn) as conn:
            try:
                while True:
                    page = feed.read(conn, cursor, 50)
                    conn.commit()
                    if page.changes:
                        append(handle, page_line(page))
                        cursor = page.cursor
                    if not page.more:
                        time.sleep(0.02)
            except psycopg.OperationalError:
                if not conn.broken:
                    raise


def page_line(page: feed.Page) -> str:
    told = [[c.topic, c.change, str(c.day), c.key] for c in page.changes]
    return json.dumps({"cursor": page.cursor, "changes": told}, separators=(",", ":"))
