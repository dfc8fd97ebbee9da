"""Databases of earlier schemas, kept with data: what the seeded utility looked like then.

`python -m tests.support.kept` (scripts/keep) keeps one of the schema as it is now; it is made before the next file is added.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from headend.store import embedded, intake
from headend.store.migrate import migrate
from headend.store.rows import fetch
from headend.store.tables import CURVES, SLOTS
from protocols.reading import Reads
from tests.support.seed import NOW, ZONE, seeded

FOLDER = Path(__file__).resolve().parents[1] / "headend" / "store" / "kept"
#: filled by the schema files themselves
OWN = ("schema_migration", "schema_layout", "partition_span", "partition")


def versions() -> list[int]:
    """The schemas of which a database is kept."""
    return sorted(int(path.name[:4]) for path in FOLDER.glob("*.sql.gz"))


def make(dsn: str, version: int, folder: Path) -> dict[str, int]:
    """An empty database becomes one of that schema with its data; rows by table. `folder`: an empty one for the schema's files."""
    for file in (files("headend.store") / "schema").iterdir():
        if re.match(r"\d{4}_", file.name) and int(file.name[:4]) <= version:
            (folder / file.name).write_bytes(file.read_bytes())
    with psycopg.connect(dsn, options="-c timezone=UTC") as conn:
        assert migrate(conn, folder) == list(range(1, version + 1))
        counts = {}
        conn.execute("SET session_replication_role = replica")  # what the triggers made then is in the dump
        for own_row in ("cluster", "trip_stop", "audit"):  # rows that the schema files themselves make
            if conn.execute("SELECT to_regclass(%s)", (own_row,)).fetchone() != (None,):
                conn.execute(f"DELETE FROM {own_row}".encode())
        for statement, rows in _statements(gzip.decompress((FOLDER / f"{version:04}.sql.gz").read_bytes())):
            if rows is None:
                if "search_path" not in statement:
                    conn.execute(statement.encode())
                continue
            table = statement.split()[1].removeprefix("public.")
            _partitions(conn, table, statement, rows)
            with conn.cursor().copy(statement.encode()) as copy:
                copy.write(rows)
            counts[table] = counts.get(table, 0) + rows.count(b"\n")  # a table in parts comes in parts
        conn.commit()
        # The feed's transactions were counted by another server, and ours may have begun its life a moment ago.
        behind = "SELECT max(xid) >= pg_current_xact_id() FROM feed"
        while conn.execute(behind.encode()).fetchone() == (True,):
            conn.commit()
    return counts


def _statements(dump: bytes) -> Iterator[tuple[str, bytes | None]]:
    """pg_dump's script in parts: (statement, its rows where it is a COPY)."""
    lines = iter(dump.decode().splitlines())
    gathered = ""
    for line in lines:
        if not gathered and (not line or line.startswith(("--", "\\"))):
            continue
        gathered += line + "\n"
        if not line.endswith(";"):
            continue
        if gathered.startswith("COPY "):
            rows = ""
            for row in lines:
                if row == "\\.":
                    break
                rows += row + "\n"
            yield gathered, rows.encode()
        else:
            yield gathered, None
        gathered = ""


def _partitions(conn: psycopg.Connection[Any], table: str, statement: str, rows: bytes) -> None:
    """The partitions that the rows need, by the function that the schema had then."""
    takes = conn.execute(
        "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'ensure_partitions'"
    ).fetchone()
    if takes is None or not rows:
        return
    names = statement[statement.index("(") + 1 : statement.index(")")].split(", ")
    old = takes[0].startswith("lo ")
    column = {"slot_read": "ts", "register_read": "ts"}.get(table)
    if not old:
        found = conn.execute("SELECT time_column FROM partition_span WHERE parent = %s", (table,)).fetchone()
        column = found[0] if found else None
    if column is None:
        return
    times = sorted({line.split("\t")[names.index(column)] for line in rows.decode().splitlines()})
    if old:
        conn.execute("SELECT ensure_partitions(%s::timestamptz, %s::timestamptz)", (times[0], times[-1]))
    else:
        conn.execute("SELECT ensure_partitions(%s, %s::timestamptz[])", (table, times))


def _read_again(conn: Any, meter: int) -> None:
    """A meter's newest slots say something else: versions."""
    found = fetch(
        conn,
        SLOTS,
        ["voltage_a"],
        meters=np.array([meter]),
        first=NOW - np.timedelta64(1, "h"),
        last=NOW,
        order=True,
    )
    again = Reads(found["meter_id"], found["ts"], {"voltage_a": found["voltage_a"] + np.float32(1)})
    assert intake.save(conn, [intake.Delivery(CURVES, NOW, again)], ZONE, who="keep").revised > 0
    conn.commit()


def keep() -> Path:
    """Keep the seeded utility in the schema of today."""
    home = Path(tempfile.mkdtemp(prefix="headend-keep-"))
    home.chmod(0o755)
    server = embedded.Embedded(home)
    try:
        with server as dsn:
            with seeded(dsn, areas=4, meters=6) as (conn, made):
                _read_again(conn, made.meter_ids[0][1])
                row = conn.execute("SELECT max(version) AS version FROM schema_migration").fetchone()
                assert row is not None
            dump = subprocess.run(
                [
                    embedded.wheel_bindir() / "pg_dump", "--data-only", "--load-via-partition-root",
                    *(f"--exclude-table-data={name}" for name in OWN), dsn,
                ],
                capture_output=True, check=True,
            ).stdout  # fmt: skip
    finally:
        shutil.rmtree(server.place, ignore_errors=True)
    path = FOLDER / f"{row['version']:04}.sql.gz"
    path.write_bytes(gzip.compress(dump, 9, mtime=0))
    return path


if __name__ == "__main__":
    print(keep())
