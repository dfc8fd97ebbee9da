"""Databases for the tests: every test that asks for one runs on the embedded PostgreSQL and on TimescaleDB.

HEADEND_TEST_SERVERS=embedded restricts them. Where TimescaleDB cannot be had (see scripts/timescaledb) its
tests are skipped, in continuous integration (CI in the environment) they fail.
"""

from __future__ import annotations

import itertools
import os

# Two workers have two cores: threads of theirs that wait for each other in small matrices cost three times the time. Before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest

from headend.store.embedded import Embedded

# A busy machine is slow now and then; and a run of continuous integration must not fail by a draw that nobody can repeat: there the
# examples are the same each time, here and in the long runs they are new.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

REPOSITORY = Path(__file__).resolve().parent.parent
SERVERS = os.environ.get("HEADEND_TEST_SERVERS", "embedded,timescaledb").split(",")
#: Nothing in a test outlives a power cut.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
TIMESCALEDB = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.bgw_launcher_poll_time": "100ms",  # it hears that the server stops only when it looks
}
_numbers = itertools.count()


@cache
def _timescaledb() -> Path | str:
    """The bin folder, or why there is none."""
    done = subprocess.run(
        [REPOSITORY / "scripts" / "timescaledb", "prepare"], capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else done.stderr.strip()


class Servers:
    """The servers that this run has asked for, started at the first question; parallel workers share them."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Embedded, str]] = {}

    def dsn(self, kind: str) -> str:
        if kind not in self._running:
            bindir, settings = None, FAST
            if kind == "timescaledb":
                found = _timescaledb()
                if isinstance(found, str):
                    if os.environ.get("CI"):
                        pytest.fail(found)
                    pytest.skip(found)
                bindir, settings = found, FAST | TIMESCALEDB
            run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
            server = Embedded(Path(f"/tmp/headend-tests-{os.geteuid()}-{run}-{kind}"), bindir, settings)
            self._running[kind] = (server, server.acquire())
        return self._running[kind][1]

    def close(self) -> None:
        for server, _ in self._running.values():
            if server.release():  # the last worker tidies up
                shutil.rmtree(server.place)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(params=SERVERS)
def server_kind(request: pytest.FixtureRequest) -> str:
    """'embedded' or 'timescaledb'."""
    return str(request.param)


@pytest.fixture
def database(servers: Servers, server_kind: str) -> Iterator[str]:
    """The DSN of a fresh, empty database."""
    dsn = servers.dsn(server_kind)
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        # Copying the template's files beats logging every page of it, on a server that may lose them.
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
    yield psycopg.conninfo.make_conninfo(dsn, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to it, each statement its own transaction."""
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn
