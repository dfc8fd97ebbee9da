"""A store as the program finds it: migrated, on both servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headend.store import db, migrate
from headend.store.db import Connection


@pytest.fixture
def store_dsn(database: str) -> str:
    """The DSN of an empty store."""
    with db.connect(database) as conn:
        migrate.migrate(conn)
    return database


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
