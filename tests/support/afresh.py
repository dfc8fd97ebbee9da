"""A used store is made new: empty, and counting from 1 again. Only what was written costs time, for most tests write to a dozen tables of eighty."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

#: whoever still holds a lock is ended
_ALONE: LiteralString = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'headend' AND pid <> pg_backend_pid()
"""
#: tables that hold anything, and whether they are parts of one or have parts. A chunk of a hypertable counts also when it is empty: its rows
#: may be compressed elsewhere.
_WRITTEN: LiteralString = """
WITH RECURSIVE part (root, oid, bound) AS (
    SELECT oid, oid, false FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname NOT IN ('schema_migration', 'schema_layout', 'partition_span', 'partition')
    UNION ALL
    SELECT part.root, c.oid, c.relispartition FROM part JOIN pg_inherits ON inhparent = part.oid JOIN pg_class c ON c.oid = inhrelid
)
SELECT DISTINCT (CASE WHEN bound THEN oid ELSE root END)::regclass::text, oid <> root FROM part
WHERE pg_relation_size(oid) > 0 OR (oid <> root AND NOT bound)
"""
_COUNTERS: LiteralString = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
WHERE schemaname = 'public' AND last_value IS NOT NULL
"""


def afresh(conn: psycopg.Connection[Any]) -> None:
    """What was not committed is lost too."""
    conn.rollback()
    committing, conn.autocommit = conn.autocommit, True
    cursor = conn.cursor(row_factory=tuple_row)
    cursor.execute(_ALONE)
    found = cursor.execute(_WRITTEN).fetchall()
    parts = sorted({name for name, parted in found if parted})
    whole = sorted({name for name, parted in found if not parted} - set(parts))
    if parts:
        cursor.execute(f"TRUNCATE {', '.join(parts)}".encode())
    # Emptying a table's file means a new one for each of its indexes, and for all tables that refer to it: deleting a few rows is cheaper by
    # far. With VACUUM the file is empty as well, so that the next rows lie in the order in which they come.
    cursor.execute("SET session_replication_role = replica")
    for name in whole:
        cursor.execute(f"DELETE FROM {name}".encode())
    cursor.execute("INSERT INTO trip_stop DEFAULT VALUES ON CONFLICT DO NOTHING")
    cursor.execute("RESET session_replication_role")
    if whole:
        cursor.execute(f"VACUUM {', '.join(whole)}".encode())
    cursor.execute(_COUNTERS)
    cursor.execute("INSERT INTO cluster DEFAULT VALUES")
    cursor.execute(
        "SELECT audit_add('begin', '', audit_before() || '{\"limits\": {}}') WHERE NOT EXISTS (SELECT FROM audit)"
    )
    conn.autocommit = committing
