"""Backup, restore and the rehearsal of a restore.

A backup is pg_dump's directory format with a manifest of what the dumped snapshot held (store/manifest.py). It is written beside its name
and renamed when complete. A restore fills a database beside its target, compares every table with the manifest, makes the orders safe,
and only then takes the target's name: a half-restored store is nobody's.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from headend import __version__
from headend.store import (
    audit,
    campaigns,
    cluster,
    db,
    feed,
    leases,
    manifest,
    orderly,
    orders,
    partitions,
    pgtools,
)
from headend.store.db import Connection, StoreError, own_transactions
from headend.store.manifest import DUMP, Contents, Difference, Manifest
from headend.store.migrate import detect, known, migrate

#: parallel dumps and loads: one a core of a small server; more would take the collectors' share
JOBS: Final = "2"
#: fast and a fifth of the size; what it saves in disk it saves in time
COMPRESSION: Final = "zstd:1"
#: how long pg_dump waits for a table that somebody alters
LOCK_WAIT_MS: Final = "60000"
#: for the sessions that load and index: memory for one index build each; a crash in the middle is begun again anyway
LOADING: Final = "-c synchronous_commit=off -c maintenance_work_mem=256MB -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
#: a restored store trips nobody, and holds nobody to a setpoint, until a person has looked: payments and orders since the backup are missing in it
NO_TRIPS: Final = {"trips_per_hour": 0, "trips_per_day": 0, "controls_per_hour": 0, "controls_per_day": 0}
BESIDE: Final = "_restoring"


class BackupError(StoreError):
    """A backup cannot be made or brought back; what was there stays as it was."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. Seconds by phase; open orders by what became of them; the limits that stood before trips were stopped."""

    manifest: Manifest
    seconds: dict[str, float]
    differences: list[Difference]
    orders: dict[str, list[int]]
    limits: dict[str, str]
    migrations: list[int]
    found: Contents

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def back_up(conn: Connection, folder: Path, pg_bin: Path | None = None) -> Manifest:
    """Save the whole store to a new folder; readers and writers go on. The connection is outside a transaction."""
    tools = pgtools.find(int(detect(conn).postgres.split(".")[0]), pg_bin)
    conn.commit()
    part = folder.with_name(folder.name + ".part")
    if folder.exists():
        raise BackupError(f"{folder} exists already: a backup never overwrites another; name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir(mode=0o700)  # it will hold meters' passwords
    except FileExistsError:
        raise BackupError(
            f"{part} is there: another backup is being written, or one was broken off; then remove it"
        ) from None
    begun = time.perf_counter()
    try:
        made = _dump(conn, part, tools, begun)
        manifest.write(part, made)
        part.rename(folder)
        _sync(folder.parent)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if not conn.closed:
            _note(conn, "backup", folder, time.perf_counter() - begun, 0, ok=False, detail=_line(error))
        raise
    _note(conn, "backup", folder, made.seconds, made.bytes, ok=True, detail=f"{made.rows} rows")
    return made


def _dump(conn: Connection, part: Path, tools: pgtools.Tools, begun: float) -> Manifest:
    with own_transactions(conn), conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        counted = manifest.sequences(conn)  # before the dump: they move on without a transaction
        shot = conn.execute("SELECT pg_export_snapshot() AS name, clock_timestamp() AS now").fetchone()
        assert shot is not None
        dumping = pgtools.start(
            tools, "pg_dump", "--format=directory", f"--jobs={JOBS}", f"--compress={COMPRESSION}", f"--snapshot={shot['name']}",
            f"--lock-wait-timeout={LOCK_WAIT_MS}", "--file", part / DUMP, conn=conn,
        )  # fmt: skip
        try:
            made = _describe(conn, shot["now"], counted)
            pgtools.finish(dumping, "pg_dump")
        finally:
            pgtools.stop(dumping)
    made = replace(made, files=manifest.checksums(part))
    return replace(made, seconds=round(time.perf_counter() - begun, 3))


def _describe(conn: Connection, now: dt.datetime, counted: dict[str, int]) -> Manifest:
    """What the snapshot holds, while it is being dumped."""
    server = detect(conn)
    state = conn.execute("SELECT epoch, zone FROM cluster").fetchone()
    assert state is not None
    schema = conn.execute("SELECT version, sha256 FROM schema_migration ORDER BY version").fetchall()
    return Manifest(
        program=__version__, taken=now.isoformat(), postgres=server.postgres,
        timescaledb=server.timescaledb if partitions.hypertables(conn) else None,
        schema={row["version"]: row["sha256"] for row in schema}, epoch=state["epoch"], zone=state["zone"], feed=feed.latest(conn),
        seconds=0.0, tables=manifest.contents(conn), sequences=counted,
    )  # fmt: skip


def _sync(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _note(
    conn: Connection, kind: str, folder: Path, seconds: float, size: int, *, ok: bool, detail: str
) -> None:
    """For `headend doctor`. A store that cannot be written to is no reason to lose the backup that was made of it."""
    with suppress(psycopg.Error):
        conn.rollback()
        with conn.transaction():
            conn.execute(
                "INSERT INTO backup_run (kind, folder, seconds, bytes, ok, detail) VALUES (%s, %s, %s, %s, %s, %s)",
                (kind, str(folder.absolute()), seconds, size, ok, detail),
            )
        conn.commit()


def note_rehearsal(
    conn: Connection, folder: Path, done: Restored | None, error: BaseException | None = None
) -> None:
    """In the store that the backup was made of: when it was proved that it can be brought back, or that it cannot."""
    if done is None:
        _note(conn, "rehearsal", folder, 0, 0, ok=False, detail=_line(error) if error else "")
    else:
        _note(
            conn,
            "rehearsal",
            folder,
            done.total,
            done.manifest.bytes,
            ok=True,
            detail=f"{done.manifest.rows} rows equal",
        )


# --- back again ---


def restore(folder: Path, dsn: str, *, now: np.datetime64, who: str, pg_bin: Path | None = None) -> Restored:
    """Bring a backup back into the database that `dsn` names, which is empty or does not exist yet."""
    target = psycopg.conninfo.conninfo_to_dict(dsn).get("dbname")
    if not target:
        raise BackupError("the DSN to restore into names no database; add dbname=…")
    made = manifest.read(folder)
    _refuse_newer(made)
    with _admin(dsn) as admin:
        _refuse_used(admin, dsn, str(target))
        beside = f"{target}{BESIDE}"
        done = _fill(admin, folder, made, dsn, beside, now=now, who=who, pg_bin=pg_bin)
        try:
            _refuse_used(admin, dsn, str(target))
            admin.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)'.encode())
            _rename(admin, beside, str(target))
        except BaseException:
            _drop(admin, beside)
            raise
    return done


def rehearse(folder: Path, dsn: str, *, now: np.datetime64, who: str, pg_bin: Path | None = None) -> Restored:
    """Restore into a database of its own on the server of `dsn`, compare, and throw it away again."""
    made = manifest.read(folder)
    _refuse_newer(made)
    name = f"headend_rehearsal_{os.getpid()}"
    with _admin(dsn) as admin:
        try:
            return _fill(admin, folder, made, dsn, name, now=now, who=who, pg_bin=pg_bin)
        finally:
            _drop(admin, name)


def _refuse_newer(made: Manifest) -> None:
    """A newer schema cannot be served by this program; an older one is brought up to date after the restore."""
    ours = known()
    if max(made.schema) > max(ours):
        raise BackupError(
            f"the backup has schema {max(made.schema):04}, this program knows {max(ours):04} at most: it was made by a newer headend "
            f"({made.program}); install that one"
        )


def _refuse_server(admin: Connection, made: Manifest) -> int:
    """The server's major version, if it can take this backup."""
    server = detect(admin)
    major = int(server.postgres.split(".")[0])
    if major < made.major:
        raise BackupError(
            f"the backup is of PostgreSQL {made.major}, the server to restore on is {major}: an older one cannot read it; use {made.major} or newer"
        )
    if made.timescaledb:
        row = admin.execute(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        ).fetchone()
        has = row["default_version"] if row else None
        if has != made.timescaledb:
            raise BackupError(
                f"the backup is of TimescaleDB {made.timescaledb}, the server to restore on has {has or 'none'}; "
                f"install {made.timescaledb} there, restore, and upgrade then"
            )
    return major


@contextmanager
def _admin(dsn: str) -> Iterator[Connection]:
    """A connection to the server, beside the database in question."""
    with db.connect(psycopg.conninfo.make_conninfo(dsn, dbname="postgres")) as admin:
        admin.autocommit = True
        yield admin


def _refuse_used(admin: Connection, dsn: str, name: str) -> None:
    if admin.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        return
    with db.connect(psycopg.conninfo.make_conninfo(dsn, dbname=name)) as conn:
        row = conn.execute(
            "SELECT count(*) AS n FROM pg_class c WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'public') AND relkind IN "
            "('r', 'p', 'v', 'm', 'S', 'f') "
            "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
        ).fetchone()
    if row and row["n"]:
        raise BackupError(
            f"database {name} at {db.where(dsn)} is not empty: a restore overwrites nothing; name a new one"
        )


def _fill(
    admin: Connection,
    folder: Path,
    made: Manifest,
    dsn: str,
    name: str,
    *,
    now: np.datetime64,
    who: str,
    pg_bin: Path | None,
) -> Restored:
    """A database of this name with what was saved in it, compared and made safe; dropped again if anything goes wrong."""
    clock = _Clock()
    tools = pgtools.find(_refuse_server(admin, made), pg_bin)
    clock.did("files", lambda: manifest.verify(folder, made))
    if admin.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None:
        raise BackupError(
            f"database {name} is there: another restore runs, or one was broken off; then drop it"
        )
    try:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    except psycopg.errors.InsufficientPrivilege:
        raise BackupError(
            "a restore fills a database beside its target, and this role may not create one; grant it CREATEDB"
        ) from None
    try:
        with db.connect(psycopg.conninfo.make_conninfo(dsn, dbname=name)) as conn:
            conn.autocommit = True
            clock.did("load", lambda: _load(conn, folder, made, tools))
            clock.did("analyse", lambda: conn.execute("SET statement_timeout = 0; ANALYZE"))
            found = clock.did("compare", lambda: _compare(conn, made))
            # what is made safe is named as today's schema names it
            migrations = clock.did("migrate", lambda: migrate(conn))
            moved, limits = clock.did(
                "make safe", lambda: _make_safe(conn, folder, made, clock, now=now, who=who)
            )
    except BaseException:
        _drop(admin, name)
        raise
    return Restored(made, clock.seconds, [], moved, limits, migrations, found)


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def did(self, phase: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[phase] = round(time.perf_counter() - begun, 3)


def _load(conn: Connection, folder: Path, made: Manifest, tools: pgtools.Tools) -> None:
    if made.timescaledb:
        conn.execute("SET client_min_messages = error")
        conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        conn.execute("SELECT timescaledb_pre_restore()")
        _load_timescaledb(conn, folder, tools)
        conn.execute("SELECT timescaledb_post_restore()")
    else:
        _pg_restore(conn, folder, tools, f"--jobs={JOBS}")


def _pg_restore(conn: Connection, folder: Path, tools: pgtools.Tools, *more: str | Path) -> None:
    with _loading(conn) as session:
        loading = pgtools.start(
            tools, "pg_restore", "--format=directory", "--exit-on-error", "--no-owner", "--no-privileges", *more, folder / DUMP, conn=session,
        )  # fmt: skip
        try:
            pgtools.finish(loading, "pg_restore")
        finally:
            pgtools.stop(loading)


@contextmanager
def _loading(conn: Connection) -> Iterator[Connection]:
    """A connection whose options suit a bulk load: the program that is started takes them over."""
    given = psycopg.conninfo.make_conninfo(
        conn.info.dsn, password=conn.info.password or None, options=f"-c timezone=UTC {LOADING}"
    )
    with psycopg.connect(given, row_factory=psycopg.rows.dict_row) as session:
        yield session


def _load_timescaledb(conn: Connection, folder: Path, tools: pgtools.Tools) -> None:
    """TimescaleDB's own tables point at each other, so they are loaded in the dump's order by one session; everything else by several."""
    listed = subprocess.run(
        [tools.bindir / "pg_restore", "--list", folder / DUMP],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout.splitlines()
    entries = [line for line in listed if line and not line.startswith(";")]
    first, rest = folder.parent / f"{folder.name}.first", folder.parent / f"{folder.name}.rest"
    catalog = [
        line
        for line in entries
        if " TABLE DATA _timescaledb_" in line and " _timescaledb_internal " not in line
    ]
    catalog += [line for line in entries if " SEQUENCE SET _timescaledb_" in line]
    try:
        others = [line for line in entries if line not in set(catalog)]
        _pg_restore(conn, folder, tools, "--section=pre-data")
        first.write_text("\n".join(catalog) + "\n")
        rest.write_text("\n".join(others) + "\n")
        _pg_restore(conn, folder, tools, "--section=data", "--use-list", first)
        _pg_restore(conn, folder, tools, "--section=data", f"--jobs={JOBS}", "--use-list", rest)
        _pg_restore(conn, folder, tools, "--section=post-data", f"--jobs={JOBS}")
    finally:
        first.unlink(missing_ok=True)
        rest.unlink(missing_ok=True)


def _compare(conn: Connection, made: Manifest) -> Contents:
    """What is there now, if it is what was saved. BackupError names what differs."""
    with conn.transaction():
        found = manifest.contents(conn)
        counted = manifest.sequences(conn)
    different = [str(difference) for difference in manifest.compare(made.tables, found)]
    different += [
        f"{name} counted to {last}, and only to {counted.get(name, 0)} now" for name, last in made.sequences.items() if counted.get(name, 0) < last
    ]  # fmt: skip
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise BackupError(
            f"what was restored is not what was saved: {'; '.join(different[:3])}{more}; nothing was kept of it"
        )
    return found


def _make_safe(
    conn: Connection, folder: Path, made: Manifest, clock: _Clock, *, now: np.datetime64, who: str
) -> tuple[dict[str, list[int]], dict[str, str]]:
    """A store that has slept must not act on what it remembers. All of it in one transaction."""
    with conn.transaction():
        before = {
            name: value for name, value in cluster.shown(cluster.limits(conn)).items() if name in NO_TRIPS
        }
        feed.begin_again(conn)
        leases.void(conn)
        conn.execute("UPDATE terminal SET online = false WHERE online")
        taken = dt.datetime.fromisoformat(made.taken)
        moved = orders.after_restore(conn, taken=taken, now=now, who=who)
        orderly.after_restore(conn, taken=taken, now=now, who=who)
        campaigns.after_restore(conn, who=who)
        cluster.set_limits(conn, NO_TRIPS, who)
        audit.note(
            conn, "restore", "", {"taken": made.taken, "who": who, "rows": made.rows, "epoch": made.epoch}
        )
        conn.execute(
            "INSERT INTO backup_run (kind, folder, seconds, bytes, ok, detail) VALUES ('restore', %s, %s, %s, true, %s)",
            (
                str(folder.absolute()),
                sum(clock.seconds.values()),
                made.bytes,
                f"{made.rows} rows equal, by {who}",
            ),
        )
    return moved, before


def _drop(admin: Connection, name: str) -> None:
    if not admin.closed:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def _rename(admin: Connection, old: str, new: str) -> None:
    """Nobody may be connected; TimescaleDB's workers come back for a moment."""
    for turn in range(20):
        admin.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (old,),
        )
        try:
            admin.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"'.encode())
            return
        except psycopg.errors.ObjectInUse:
            if turn == 19:
                raise BackupError(
                    f"database {old} is restored, and somebody stays connected to it; rename it to {new} by hand"
                ) from None
            time.sleep(0.25)
