"""The archive of before, brought to the schema of the whole network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.store import migrate
from headend.store.migrate import MigrationError

SCHEMA = Path(migrate.__file__).parent / "schema"
Connection = psycopg.Connection[Any]

OLD = """
INSERT INTO area (code, name, capacity_kva) VALUES ('A1', 'a', 400), ('A2', 'b', 315);
INSERT INTO point (code) VALUES ('P1'), ('P2');
INSERT INTO point_role (point_id, area_id, role, valid_from, valid_to) VALUES
    (1, 1, 'supply', '2026-01-01', 'infinity'), (2, 1, 'receive', '2026-01-01', '2026-02-01'), (2, 2, 'receive', '2026-02-01', 'infinity');
INSERT INTO customer (number, name) VALUES ('C1', 'x'), ('C2', 'y');
INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from, valid_to) VALUES
    (1, 2, 't', true, '2026-01-01', '2026-02-01'), (2, 2, 't', true, '2026-02-01', 'infinity');
"""


@pytest.fixture
def old(conn: Connection, tmp_path: Path) -> Connection:
    """A store of the schema before, with an archive in it."""
    before = tmp_path / "schema"
    shutil.copytree(SCHEMA, before)
    for file in before.glob("*.sql"):
        if file.name[:4].isdigit() and int(file.name[:4]) >= 10:
            file.unlink()
    migrate.migrate(conn, before)
    conn.execute(OLD.encode())
    return conn


def test_roles_are_what_they_were(old: Connection) -> None:
    asked = "SELECT point_id, area_id, role, valid_from::text, valid_to::text FROM {} ORDER BY 1, 4"
    before = old.execute(asked.format("point_role").encode()).fetchall()
    migrate.migrate(old)
    assert old.execute(asked.format("area_role").encode()).fetchall() == before
    kinds = old.execute("SELECT kind, object_id, level_kv FROM loss_role ORDER BY loss_role_id").fetchall()
    assert sorted(kinds) == [("area", 1, 0), ("area", 1, 0), ("area", 2, 0)]
    # the view takes what the table took
    old.execute(
        "INSERT INTO area_role (point_id, area_id, role, valid_from) VALUES (1, 2, 'receive', '2026-03-01')"
    )
    old.execute("UPDATE area_role SET valid_to = '2026-04-01' WHERE area_id = 2 AND point_id = 1")
    assert old.execute("SELECT count(*) FROM area_role WHERE valid_to = '2026-04-01'").fetchone() == (1,)


def test_a_store_with_overlaps_is_told_which(old: Connection) -> None:
    old.execute("UPDATE account SET valid_to = '2026-03-01' WHERE customer_id = 1")
    with pytest.raises(
        MigrationError, match=r"two rows of account hold at once, \(point_id\): 2 from 2026-02-01"
    ):
        migrate.migrate(old)
    old.execute("UPDATE account SET valid_to = '2026-02-01' WHERE customer_id = 1")
    assert 10 in migrate.migrate(old)
