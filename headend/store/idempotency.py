"""Idempotency-Key: the answer of a write that succeeded, kept so that a repeat gets the same answer and
changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from headend.store.db import Connection, StoreError


class KeyReused(StoreError):
    """The same key came with another request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered the first time."""

    status: int
    body: dict[str, Any]


@contextmanager
def one_at_a_time(conn: Connection, *, person: str, key: str) -> Iterator[None]:
    """Hold off equal requests until the block is left, so that the second of two at once replays the first.

    A session lock, because the acts that run inside commit their own transactions.
    """
    digest = hashlib.sha256(f"idempotency\0{person}\0{key}".encode()).digest()
    lock = int.from_bytes(digest[:8], "big", signed=True)
    conn.execute("SELECT pg_advisory_lock(%s)", (lock,))
    try:
        yield
        conn.commit()
    finally:
        if not conn.closed:  # a broken connection has lost its lock with itself
            conn.rollback()
            conn.execute("SELECT pg_advisory_unlock(%s)", (lock,))
            conn.commit()


def recall(conn: Connection, *, person: str, key: str, request: bytes) -> Answer | None:
    """The answer given before, or None: then the caller acts and calls `remember`."""
    row = conn.execute(
        "SELECT request, status, body FROM idempotency WHERE person = %s AND key = %s", (person, key)
    ).fetchone()
    if row is None:
        return None
    if bytes(row["request"]) != request:
        raise KeyReused(f"Idempotency-Key {key!r} was used before for a different request; take a fresh one")
    return Answer(row["status"], row["body"])


def remember(conn: Connection, *, person: str, key: str, request: bytes, answer: Answer) -> None:
    """Keep the answer, in the caller's transaction."""
    conn.execute(
        "INSERT INTO idempotency (person, key, request, status, body) VALUES (%s, %s, %s, %s, %s)",
        (person, key, request, answer.status, Jsonb(answer.body)),
    )
