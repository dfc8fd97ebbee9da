"""How long a backup, its restore and the comparison take, on this disk with fsync on, and what that makes for 10 GB.

    .venv/bin/python scripts/_bench/recovery.py [GIGABYTES] [embedded] [timescaledb]

The store is filled by the server itself with days of curves as meters deliver them (ten values a row, registers that grow, voltages to a
tenth), their ledger, day freezes, and raw exchanges that do not compress. Sizes are the database's on the disk, indexes included.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from servers import KINDS, REPOSITORY, TIMESCALEDB, describe, fresh, server

from headend.store import backup
from headend.store.db import connect

NOW = np.datetime64("2026-06-01T00:00:00", "us")
#: what a utility asks for
GOAL_GB, GOAL_SECONDS = 10, 2 * 3600
METERS = 2_000
#: one day of METERS: 96 rows each, a ledger row, a freeze, an exchange of 1.5 kB
DAY = (
    "INSERT INTO slot_read (meter_id, ts, active_import, active_export, voltage_a, current_a, active_power, reactive_power, evidence) "
    "SELECT m, %(day)s::date + s * interval '15 minutes', 1000000 + (%(day)s::date - date '2026-01-01') * 50000 + s * 521 + m * 7, 0, "
    "(2300 + (random() * 80)::int) / 10.0, (random() * 300)::int / 100.0, (random() * 4000)::int / 1000.0, (random() * 900)::int / 1000.0, "
    "('x' || substr(md5(m::text || %(day)s), 1, 16))::bit(64)::bigint FROM generate_series(1, %(meters)s) m, generate_series(1, 96) s",
    "INSERT INTO coverage (meter_id, day, plan, present, late, absent, attempts, first_at, last_at) "
    "SELECT m, %(day)s::date, 1, ~repeat('0', 96)::varbit, "
    "repeat('0', 96)::varbit, repeat('0', 96)::varbit, 1, %(day)s::date + 1, %(day)s::date + 1 FROM generate_series(1, %(meters)s) m",
    "INSERT INTO register_read (meter_id, ts, kind, active_import) "
    "SELECT m, %(day)s::date + 1, 2, 1000000 + (%(day)s::date - date '2026-01-01') * 50000 + m * 7 "
    "FROM generate_series(1, %(meters)s) m",
    "INSERT INTO exchange (terminal_id, taken_at, evidence, meter_id, task, sha256, body) SELECT m / 20 + 1, %(day)s::date + 1, "
    "('x' || substr(md5(m::text || %(day)s), 1, 16))::bit(64)::bigint, m, 'curve', sha256(m::text::bytea), "
    "(SELECT string_agg(sha256((m::text || %(day)s || k::text)::bytea), ''::bytea) FROM generate_series(1, 47) k) "
    "FROM generate_series(1, %(meters)s) m",
)


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run: bytes of the database and of its backup, rows, seconds of the backup, and of the restore by phase."""

    server: str
    size: int
    backup: int
    rows: int
    backup_seconds: float
    phases: dict[str, float]

    @property
    def restore_seconds(self) -> float:
        return sum(self.phases.values())

    def lines(self) -> list[str]:
        gb = self.size / 1e9
        factor = GOAL_GB / gb
        phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.phases.items())
        restore = self.restore_seconds
        return [
            f"{self.server}: {gb:.2f} GB, {self.rows:,} rows; backup {self.backup_seconds:.1f} s, {self.backup / 1e9:.2f} GB on disk",
            f"  restore {restore:.1f} s ({phases})",
            f"  {GOAL_GB} GB in proportion: backup {self.backup_seconds * factor / 60:.0f} min, restore {restore * factor / 60:.0f} min, "
            f"{GOAL_SECONDS / (restore * factor):.0f} times faster than the {GOAL_SECONDS // 3600} h asked for. Extrapolated, not measured: "
            "load and comparison are in proportion to the rows, building an index is a little worse, and a slower disk makes all of it worse",
        ]


def run(kinds: Sequence[str], gigabytes: float) -> list[Recovery]:
    """Measure once on each server; printed as it goes."""
    done = []
    for kind in kinds:
        with server(kind) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database:
                done.append(_measure(kind, database, gigabytes))
                print("\n".join(done[-1].lines()), flush=True)
    return done


def _measure(kind: str, database: str, gigabytes: float) -> Recovery:
    pg_bin = None
    if kind == TIMESCALEDB:
        told = subprocess.run(
            [REPOSITORY / "scripts" / "timescaledb", "prepare"], capture_output=True, text=True, check=True
        )
        pg_bin = Path(told.stdout.strip())
    scratch = Path(tempfile.mkdtemp(prefix="recovery-", dir=REPOSITORY / ".headend"))
    try:
        with connect(database) as conn:
            size = _fill(conn, gigabytes)
            made = backup.back_up(conn, scratch / "backup", pg_bin)
        back = backup.rehearse(scratch / "backup", database, now=NOW, who="bench", pg_bin=pg_bin)
        return Recovery(describe(database), size, made.bytes, made.rows, made.seconds, back.seconds)
    finally:
        shutil.rmtree(scratch)


def _fill(conn: Any, gigabytes: float) -> int:
    """Days of curves until the database is as large as asked for; its bytes."""
    conn.execute("SET statement_timeout = 0; SET synchronous_commit = off")
    day = np.datetime64("2026-01-01", "D")
    while True:
        for table in ("slot_read", "coverage", "register_read", "exchange"):
            conn.execute(
                "SELECT ensure_partitions(%s, ARRAY[%s::timestamptz, %s::timestamptz + interval '1 day'])",
                (table, str(day), str(day)),
            )
        for statement in DAY:
            conn.execute(statement, {"day": str(day), "meters": METERS})
        conn.commit()
        day += 1
        row = conn.execute("SELECT pg_database_size(current_database()) AS bytes").fetchone()
        if row["bytes"] >= gigabytes * 1e9:
            conn.commit()
            conn.autocommit = True
            conn.execute("VACUUM ANALYZE")
            conn.execute("CHECKPOINT")
            conn.autocommit = False
            return int(row["bytes"])


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [float(word) for word in words if word[0].isdigit()]
    run([kind for kind in KINDS if kind in words] or KINDS, numbers[0] if numbers else 1.0)
