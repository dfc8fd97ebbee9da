"""The runner of the schema files, on files of its own and on the program's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.store.migrate import MigrationError, detect, migrate

Connection = psycopg.Connection[Any]


@pytest.fixture
def schema(tmp_path: Path) -> Callable[..., Path]:
    def write(**contents: str) -> Path:
        for name, sql in contents.items():
            (tmp_path / f"{name.lstrip('_')}.sql").write_text(sql)
        return tmp_path

    return write


def count(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


ONE = "CREATE TABLE a (n int); -- 100 %\nINSERT INTO a VALUES (1);"
TWO = "ALTER TABLE a ADD COLUMN m int; INSERT INTO a VALUES (2, 2);"


def test_applies_each_once_in_order(conn: Connection, schema: Callable[..., Path]) -> None:
    folder = schema(_0002_more=TWO, _0001_first=ONE)
    (folder / "README").write_text("not SQL")
    assert migrate(conn, folder) == [1, 2]
    assert migrate(conn, folder) == []
    assert count(conn, "SELECT count(*) FROM a") == 2
    assert migrate(conn, schema(_0003_last="DROP TABLE a;")) == [3]


def test_a_failing_file_leaves_nothing(conn: Connection, schema: Callable[..., Path]) -> None:
    folder = schema(_0001_first=ONE, _0002_bad="CREATE TABLE b (n int); SELECT nonsense;")
    with pytest.raises(
        MigrationError, match=r"0002_bad\.sql cannot be applied: column \"nonsense\" does not exist"
    ):
        migrate(conn, folder)
    assert count(conn, "SELECT count(*) FROM schema_migration") == 1
    assert count(conn, "SELECT count(*) FROM pg_class WHERE relname = 'b'") == 0
    assert migrate(conn, schema(_0002_bad="CREATE TABLE b (n int);")) == [2]


def test_refuses_a_changed_file_but_not_changed_line_ends(
    conn: Connection, schema: Callable[..., Path]
) -> None:
    folder = schema(_0001_first=ONE)
    migrate(conn, folder)
    (folder / "0001_first.sql").write_bytes(ONE.replace("\n", "\r\n").encode())
    assert migrate(conn, folder) == []
    (folder / "0001_first.sql").write_text(ONE + "-- and more")
    with pytest.raises(MigrationError, match=r"0001_first\.sql has changed since it was applied"):
        migrate(conn, folder)


def test_refuses_a_newer_database(conn: Connection, schema: Callable[..., Path]) -> None:
    folder = schema(_0001_first=ONE, _0002_more=TWO)
    migrate(conn, folder)
    (folder / "0002_more.sql").unlink()
    with pytest.raises(
        MigrationError, match=r"newer than this program: it has 0002_more, the program knows 0001"
    ):
        migrate(conn, folder)


def test_refuses_gaps_in_the_numbers(conn: Connection, schema: Callable[..., Path]) -> None:
    with pytest.raises(MigrationError, match=r"not numbered 1, 2, 3 \.\.\.: \[1, 3\]"):
        migrate(conn, schema(_0001_first=ONE, _0003_third=TWO))


def test_refuses_an_open_transaction_and_restores_autocommit(
    database: str, schema: Callable[..., Path]
) -> None:
    folder = schema(_0001_first=ONE)
    with psycopg.connect(database) as conn:
        conn.execute("SELECT 1")
        with pytest.raises(MigrationError, match="outside a transaction"):
            migrate(conn, folder)
        conn.rollback()
        migrate(conn, folder)
        assert conn.autocommit is False
        conn.rollback()
        assert count(conn, "SELECT count(*) FROM a") == 1


def test_waits_for_another_migration(
    database: str, schema: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = schema(_0001_first=ONE)
    monkeypatch.setattr("headend.store.migrate.LOCK_WAIT", "50ms")
    with psycopg.connect(database, autocommit=True) as other, psycopg.connect(database) as conn:
        other.execute(f"SELECT pg_advisory_lock({int.from_bytes(b'headend', 'big')})".encode())
        with pytest.raises(MigrationError, match="another process has been migrating this database for 50ms"):
            migrate(conn, folder)
        other.execute("SELECT pg_advisory_unlock_all()")
        assert migrate(conn, folder) == [1]


def test_the_layout_follows_the_server_and_runs_at_every_start(
    conn: Connection, server_kind: str, schema: Callable[..., Path]
) -> None:
    folder = schema(
        _0001_first="CREATE TABLE log (layout text);",
        plain="INSERT INTO log VALUES ('plain');",
        timescaledb="INSERT INTO log VALUES ('timescaledb ' || current_setting('timescaledb.license'));",
    )
    expected = {"embedded": "plain", "timescaledb": "timescaledb apache"}[server_kind]
    migrate(conn, folder)
    migrate(conn, folder)
    assert [row[0] for row in conn.execute("SELECT layout FROM log")] == [expected] * 2


def test_detects_the_server(conn: Connection, server_kind: str, schema: Callable[..., Path]) -> None:
    before = detect(conn)
    assert before.postgres.startswith("17.")
    assert (before.timescaledb, before.licence) == (None, None)
    migrate(conn, schema())
    after = detect(conn)
    if server_kind == "timescaledb":
        assert after.timescaledb is not None
        assert after.timescaledb.startswith("2.")
        assert after.licence == "apache"
    else:
        assert after == before


def test_hypertables_without_the_extension_are_refused(conn: Connection, schema: Callable[..., Path]) -> None:
    folder = schema(_0001_first=ONE)
    migrate(conn, folder)
    conn.execute("UPDATE schema_layout SET layout = 'timescaledb'")
    conn.execute("DROP EXTENSION IF EXISTS timescaledb")
    with pytest.raises(MigrationError, match="the extension timescaledb is not there"):
        migrate(conn, folder)


def test_a_role_that_may_not_create_extensions_gets_the_native_layout(
    conn: Connection, database: str, schema: Callable[..., Path]
) -> None:
    role = f"poor_in_{conn.info.dbname}"
    conn.execute(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}".encode())
    with psycopg.connect(database, user=role) as poor:
        migrate(poor, schema(_0001_first=ONE))
        assert detect(poor).timescaledb is None


def test_the_programs_own_schema(conn: Connection) -> None:
    applied = migrate(conn)
    assert applied == list(range(1, len(applied) + 1))
    assert applied
    assert migrate(conn) == []
