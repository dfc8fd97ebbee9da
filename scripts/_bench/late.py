"""Late readings into compressed chunks: what they cost there, beside the same readings into the same chunk while it is still open.

On the licensed TimescaleDB of scripts/timescale-licensed: PostgreSQL compiled to WebAssembly, one process, all in memory. Its rates say
nothing about a server's; the ratios say what compression changes. All goes in by `intake.save`, ledger and feed included.
"""

from __future__ import annotations

import datetime as dt
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from measure import Race, quiet, turns
from servers import REPOSITORY, describe

from headend.store import intake, migrate
from headend.store.db import Connection, connect
from headend.store.intake import Delivery
from headend.store.tables import CURVES
from protocols.localtime import day_slots
from protocols.quantity import quantities
from protocols.reading import SLOT_QUANTITIES, Reads

CHINA = ZoneInfo("Asia/Shanghai")
#: within one chunk (they begin on UTC's Thursdays); the day in the middle comes late
WEEK = [dt.date(2026, 2, 6) + dt.timedelta(days=k) for k in range(5)]
LATE = WEEK[2]
LATE_SLOT = 40  # of every day: it comes late for all of them
NOW = np.datetime64("2026-03-20T00:00:00", "us")
BATCH = 50  # meters in a transaction
START_SECONDS = 180.0
OPEN, COMPRESSED = "into an open chunk", "into a compressed chunk"


@contextmanager
def licensed() -> Iterator[str | None]:
    """The DSN of scripts/timescale-licensed while it runs; None where it cannot be had (said on stderr)."""
    script = REPOSITORY / "scripts" / "timescale-licensed"
    done = subprocess.run([script, "prepare"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        yield None
        return
    with subprocess.Popen(
        [script, "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        ready, _, _ = select.select([running.stdout], [], [], START_SECONDS)
        found = re.fullmatch(r"export HEADEND_DSN='(.+)'\n", running.stdout.readline() if ready else "")
        try:
            if found is None:
                print("late: scripts/timescale-licensed does not start", file=sys.stderr)
            yield found and found[1]
        finally:
            running.terminate()


def _day(
    day: dt.date, meters: int, slots: Sequence[int], codes: Sequence[str] = SLOT_QUANTITIES
) -> list[Delivery]:
    """A delivery for each meter; seeded by the day, so that a repeat is one."""
    times = day_slots(day, CHINA)
    rng = np.random.default_rng(day.toordinal())
    made = []
    for meter in range(1, meters + 1):
        columns: dict[str, Any] = {}
        for code in SLOT_QUANTITIES:
            if quantities()[code].kind == "register":
                values = meter * 1_000_000 + np.cumsum(rng.integers(0, 5_000, len(times)))
            else:
                values = rng.integers(0, 2_500, len(times)) / 10
            if code in codes:
                columns[code] = values[slots]
        made.append(Delivery(CURVES, NOW, Reads(np.full(len(slots), meter), times[slots], columns)))
    return made


ALL = list(range(96))
REST = [k for k in ALL if k != LATE_SLOT]
FEW = tuple(code for code in SLOT_QUANTITIES if quantities()[code].kind == "register")


def _fill(conn: Connection, meters: int) -> None:
    """The week without its late day, without one slot of each day, and the first day with registers alone."""
    conn.execute("TRUNCATE slot_read, coverage, gap_reason, revision, completion, feed")
    for day in WEEK:
        if day != LATE:
            _save(conn, _day(day, meters, REST, FEW if day == WEEK[0] else SLOT_QUANTITIES))


def _save(conn: Connection, deliveries: list[Delivery]) -> None:
    for begin in range(0, len(deliveries), BATCH):
        intake.save(conn, deliveries[begin : begin + BATCH], CHINA, who="bench")
        conn.commit()


def _compress(conn: Connection) -> float:
    begin = time.perf_counter()
    conn.execute("SELECT compress_chunk(c, true) FROM show_chunks('slot_read') c")
    conn.commit()
    return time.perf_counter() - begin


def run(rounds: int, meters: int) -> tuple[list[Race], list[str]]:
    """The races, and what the server is and how much compression saved."""
    works = {
        f"late meter-days ({BATCH} meters a transaction)": _day(LATE, meters, ALL),
        "the same again: duplicates": _day(LATE, meters, ALL),
        f"one late slot a meter ({BATCH} meters a transaction)": _day(WEEK[3], meters, [LATE_SLOT]),
        "the same slot again: duplicates": _day(WEEK[3], meters, [LATE_SLOT]),
        "completion of eight quantities of a day": _day(WEEK[0], meters, REST),
    }
    races = [
        Race(title, "rows", sum(len(d.reads) for d in work), len(SLOT_QUANTITIES))
        for title, work in works.items()
    ]
    notes: list[str] = []
    with licensed() as dsn:
        if dsn is None:
            return [], []
        with connect(dsn) as conn:
            migrate.migrate(conn)
        described = describe(dsn)
        with connect(dsn) as conn:
            conn.execute(
                "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || n, 3, 0.01 FROM generate_series(1, %s) n",
                (meters,),
            )
            conn.commit()
            for race in races:
                race.seconds = {OPEN: [], COMPRESSED: []}
            for number in range(rounds):
                for who in turns([OPEN, COMPRESSED], number):
                    _fill(conn, meters)
                    for race, work in zip(races, works.values(), strict=True):
                        if (
                            who == COMPRESSED
                        ):  # each kind meets a chunk that is compressed through and through
                            _compress(conn)
                        with quiet():
                            begin = time.perf_counter()
                            _save(conn, work)
                            race.add(who, time.perf_counter() - begin)
                    _check(conn, meters)
            _fill(conn, meters)
            seconds = _compress(conn)
            size = conn.execute(
                "SELECT sum(before_compression_total_bytes)::float8 AS before, sum(after_compression_total_bytes)::float8 AS after "
                "FROM hypertable_compression_stats('slot_read')"
            ).fetchone()
            conn.commit()
            assert size is not None
            notes.append(
                f"late readings: {described} compiled to WebAssembly, one process, in memory: compare its lines with each other only; "
                f"values are noise, so {size['before'] / size['after']:.1f} times smaller compressed is a lower bound; "
                f"compressing {(len(WEEK) - 1) * meters * len(REST) / 1000:.0f} k rows took {seconds:.1f} s"
            )
    return races, notes


def _check(conn: Connection, meters: int) -> None:
    """All rows are there, complete: a contender that lost some would win."""
    found = conn.execute(
        "SELECT count(*) AS n, count(voltage_a) AS v FROM slot_read WHERE meter_id <= %s", (meters,)
    ).fetchone()
    conn.commit()
    wanted = meters * (len(WEEK) * 96 - 3)  # the slot stays out of the three days that nobody mended
    assert found == {"n": wanted, "v": wanted}, f"{found}, not {wanted}"


def main() -> None:
    import report  # noqa: PLC0415 - by itself: python scripts/_bench/late.py

    races, notes = run(3, 200)
    print("\n".join(notes), report.text(races), sep="\n\n")


if __name__ == "__main__":
    main()
