"""A store as the program finds it: migrated and empty, on both servers; and for selected tests on a licensed TimescaleDB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from headend.store import db, migrate
from headend.store.db import Connection
from tests.support.afresh import afresh
from tests.support.licensed import server as licensed_server


class Stores:
    """One migrated database on each server, used by one test after the other: making one takes longer than most tests."""

    def __init__(self, servers: Any) -> None:
        self._servers = servers
        self._made: dict[str, str] = {}

    def empty(self, kind: str) -> str:
        name = f"store_{os.getpid()}"
        if kind in self._made:
            with psycopg.connect(self._made[kind], autocommit=True) as conn:
                afresh(conn)
            return self._made[kind]
        server = self._servers.dsn(kind)
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
        self._made[kind] = psycopg.conninfo.make_conninfo(server, dbname=name)
        with db.connect(self._made[kind]) as conn:
            migrate.migrate(conn)
        return self._made[kind]

    def close(self) -> None:
        for kind in self._made:
            with psycopg.connect(self._servers.dsn(kind), autocommit=True) as admin:
                admin.execute(f"DROP DATABASE store_{os.getpid()} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def stores(servers: Any) -> Iterator[Stores]:
    stores = Stores(servers)
    yield stores
    stores.close()


@pytest.fixture
def store_dsn(stores: Stores, server_kind: str) -> str:
    """The DSN of an empty store."""
    return stores.empty(server_kind)


@pytest.fixture
def store(store_dsn: str) -> Iterator[Connection]:
    """A connection to an empty store, as every room of the program opens it."""
    with db.connect(store_dsn) as conn:
        yield conn


@pytest.fixture
def second(store_dsn: str) -> Iterator[Connection]:
    """Another connection to the same store: somebody else."""
    with db.connect(store_dsn) as conn:
        yield conn


@pytest.fixture(scope="session")
def licensed_dsn() -> Iterator[str]:
    """A TimescaleDB with licence `timescale`; it serves one connection at a time, the next one waits."""
    with licensed_server() as dsn:
        yield dsn


@pytest.fixture
def licensed(licensed_dsn: str) -> Iterator[Connection]:
    """A connection to an empty store on it."""
    with db.connect(licensed_dsn) as conn:
        migrate.migrate(conn)
        conn.commit()
        afresh(conn)
        conn.autocommit = True
        conn.execute("CALL refresh_continuous_aggregate('slot_hour_kept', NULL, NULL)")
        conn.autocommit = False
        yield conn
