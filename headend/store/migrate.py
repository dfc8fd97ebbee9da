"""Brings a database to the schema of this program: numbered plain SQL files, each applied once, in order.

After them one of two files that may run at every start: `timescaledb.sql` where the extension is present,
else `plain.sql`. Which of the two is decided once per database: tables laid out natively stay so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from headend.store.db import StoreError

#: One migration at a time per database; the number says nothing, it must only be ours ('headend' in ASCII).
LOCK = int.from_bytes(b"headend", "big")
LOCK_WAIT = "2min"  # another process's migration of a new database takes seconds; of a large one, minutes
BOOKKEEPING = b"""
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS schema_layout (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    layout text NOT NULL CHECK (layout IN ('plain', 'timescaledb'))
);
"""
FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")

Connection = psycopg.Connection[Any]


class MigrationError(StoreError):
    """The database cannot be brought to this program's schema; the message names culprit and next step."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server offers."""

    postgres: str  # '17.10'
    timescaledb: str | None  # the version created in this database, '2.19.3'
    licence: str | None  # 'timescale': compression, retention, continuous aggregates; 'apache': without these

    @property
    def licensed(self) -> bool:
        """Are old readings compressed and hours aggregated ahead here (schema/timescaledb.sql)?"""
        return self.licence == "timescale"


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    name: str
    sql: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql).hexdigest()


def detect(conn: Connection) -> Server:
    """Ask the server."""
    postgres = _value(conn, "SELECT split_part(current_setting('server_version'), ' ', 1)")
    version = _value(conn, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    licence = _value(conn, "SELECT current_setting('timescaledb.license', true)") if version else None
    return Server(postgres, version, licence or None)


def migrate(conn: Connection, schema: Traversable | None = None) -> list[int]:
    """Apply what is missing, each file in a transaction of its own; the versions applied.

    `schema`: the folder with the files, the program's own if None. The connection is outside a transaction.
    """
    folder = schema or files("headend.store") / "schema"
    numbered = _numbered(folder)
    with _autocommit(conn), _locked(conn):
        with conn.transaction():
            conn.execute(BOOKKEEPING)
        missing = _missing(conn, numbered)
        layout = _layout(conn)
        _check_licence(conn, layout)
        for file in missing:
            with _reporting(f"{file.version:04}_{file.name}.sql"), conn.transaction():
                conn.execute(file.sql)
                conn.execute(
                    "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                    [file.version, file.name, file.sha256],
                )
        upkeep = folder / f"{layout}.sql"
        if upkeep.is_file():
            with _reporting(upkeep.name), conn.transaction():
                conn.execute(_sql(upkeep))
    return [file.version for file in missing]


def known() -> list[int]:
    """The versions that this program has files for."""
    return [file.version for file in _numbered(files("headend.store") / "schema")]


def _numbered(folder: Traversable) -> list[_File]:
    found = []
    for entry in folder.iterdir():
        match = FILE_NAME.fullmatch(entry.name)
        if match:
            found.append(_File(int(match[1]), match[2], _sql(entry)))
    found.sort(key=lambda file: file.version)
    versions = [file.version for file in found]
    if versions != list(range(1, len(versions) + 1)):
        raise MigrationError(
            f"the schema files are not numbered 1, 2, 3 ...: {versions}; correct their names"
        )
    return found


def _sql(entry: Traversable) -> bytes:
    """Line ends as git may have made them must not change the checksum."""
    return entry.read_bytes().replace(b"\r\n", b"\n")


def _missing(conn: Connection, numbered: list[_File]) -> list[_File]:
    """The files not applied yet; MigrationError if those applied are not ours."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            "SELECT version, name, sha256 FROM schema_migration ORDER BY version"
        ).fetchall()
    known = {file.version: file for file in numbered}
    for version, name, sha256 in rows:
        file = known.get(version)
        if file is None:
            raise MigrationError(
                f"the database is newer than this program: it has {version:04}_{name}, the program knows "
                f"{len(numbered):04} at most; install the newer program"
            )
        if file.sha256 != sha256:
            raise MigrationError(
                f"{version:04}_{file.name}.sql has changed since it was applied to this database; "
                "restore the file, and put the change in a new one"
            )
    applied = {version for version, _, _ in rows}
    return [file for file in numbered if file.version not in applied]


def _layout(conn: Connection) -> str:
    """'timescaledb' or 'plain', decided at the first migration."""
    layout: str | None = _value(conn, "SELECT layout FROM schema_layout")
    if layout is None:
        _create_extension(conn)
        layout = "timescaledb" if detect(conn).timescaledb else "plain"
        conn.execute("INSERT INTO schema_layout (layout) VALUES (%s)", [layout])
    elif layout == "timescaledb" and not detect(conn).timescaledb:
        raise MigrationError(
            "the tables of this database are TimescaleDB hypertables, and the extension timescaledb is not "
            "there; use the server with TimescaleDB that it was made on"
        )
    return layout


def _check_licence(conn: Connection, layout: str) -> None:
    """MigrationError where the licence that compressed the readings is gone: without it they are not refused, they are invisible."""
    if layout == "timescaledb" and not detect(conn).licensed and _uses_licence(conn):
        raise MigrationError(
            "the readings of this database are compressed, which TimescaleDB reads under licence 'timescale' alone, and this server has "
            "'apache': set timescaledb.license = 'timescale' in postgresql.conf and restart it; to leave the licence for good, "
            "CALL leave_licence() in this database first, while it is there"
        )


def _uses_licence(conn: Connection) -> bool:
    """Does the database use what only the licence 'timescale' offers? The two views exist under either."""
    return bool(
        _value(
            conn,
            "SELECT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates)"
            " OR EXISTS (SELECT FROM timescaledb_information.hypertables WHERE compression_enabled)",
        )
    )


def _create_extension(conn: Connection) -> None:
    """TimescaleDB if the server has it ready: an attempt without preloading would end the connection."""
    ready = _value(
        conn,
        "SELECT current_setting('timescaledb.max_background_workers', true) IS NOT NULL AND EXISTS"
        " (SELECT FROM pg_available_extensions WHERE name = 'timescaledb' AND installed_version IS NULL)",
    )
    if not ready:
        return
    try:
        with conn.transaction():
            conn.execute("SET LOCAL client_min_messages = error")  # its banner
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.errors.InsufficientPrivilege:
        return  # the native layout works for every role


def _value(conn: Connection, query: str) -> Any:
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query.encode()).fetchone()
    return row[0] if row else None


@contextmanager
def _autocommit(conn: Connection) -> Iterator[None]:
    """So that each `conn.transaction()` is a transaction and not a savepoint in a greater one."""
    if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise MigrationError("migrate() needs a connection outside a transaction")
    before = conn.autocommit
    conn.autocommit = True
    try:
        yield
    finally:
        if not conn.closed:
            conn.autocommit = before


@contextmanager
def _locked(conn: Connection) -> Iterator[None]:
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'".encode())
            conn.execute(
                "SELECT pg_advisory_lock(%s)", [LOCK]
            )  # the session's, so it outlives this transaction
    except psycopg.errors.LockNotAvailable:
        raise MigrationError(
            f"another process has been migrating this database for {LOCK_WAIT}; wait for it, or end it"
        ) from None
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


@contextmanager
def _reporting(name: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        at = error.diag.statement_position
        raise MigrationError(
            f"{name} cannot be applied: {str(error).strip()}" + (f" (character {at})" if at else "")
        ) from error
