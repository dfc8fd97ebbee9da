"""The databases of a run: servers of its own on this disk with fsync on, and a fresh database for every load."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from headend.store.db import connect
from headend.store.embedded import Embedded
from headend.store.migrate import detect, migrate

REPOSITORY = Path(__file__).resolve().parents[2]
EMBEDDED, TIMESCALEDB = "embedded", "timescaledb"
KINDS = (EMBEDDED, TIMESCALEDB)
_PRELOADED = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
_numbers = itertools.count()


@contextmanager
def server(kind: str, more: Mapping[str, str] | None = None) -> Iterator[str | None]:
    """A server for this run alone; its DSN, or None where TimescaleDB cannot be had (said on stderr). `more`: settings of it."""
    bindir, settings = None, dict(more or {})
    if kind == TIMESCALEDB:
        done = subprocess.run(
            [REPOSITORY / "scripts" / "timescaledb", "prepare"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)
            yield None
            return
        bindir, settings = Path(done.stdout.strip()), settings | _PRELOADED
    state = REPOSITORY / ".headend"
    state.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=state))
    home.chmod(0o755)  # root's server runs as somebody else, who must reach it
    held = Embedded(home, bindir, settings)
    try:
        with held as dsn:
            yield dsn
    finally:
        shutil.rmtree(held.place, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def fresh(dsn: str, kind: str) -> Iterator[str]:
    """The DSN of a database with the program's schema and nothing in it; gone afterwards."""
    name = f"bench_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    mine = psycopg.conninfo.make_conninfo(dsn, dbname=name)
    try:
        if kind == TIMESCALEDB:
            with psycopg.connect(mine, autocommit=True) as conn:
                conn.execute("SET client_min_messages = error")
                conn.execute("CREATE EXTENSION timescaledb")
        with connect(mine) as conn:
            migrate(conn)
        yield mine
    finally:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def describe(dsn: str) -> str:
    """'PostgreSQL 17.10, TimescaleDB 2.19.3 (apache)' of a migrated database."""
    with connect(dsn) as conn:
        found = detect(conn)
    extension = f", TimescaleDB {found.timescaledb} ({found.licence})" if found.timescaledb else ""
    return f"PostgreSQL {found.postgres}{extension}"
