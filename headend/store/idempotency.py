"""Idempotency-Key: the answer of a write that succeeded, kept so that a repeat gets the same answer and
changes nothing.
"""

from __future__ import annotations

import hashlib
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


def recall(conn: Connection, *, person: str, key: str, request: bytes) -> Answer | None:
    """The answer given before, or None: then the caller acts and calls `remember` in the same transaction.

    Holds a transaction lock on the pair, so that two equal requests at once act one after the other and the
    second one replays.
    """
    lock = int.from_bytes(
        hashlib.sha256(f"idempotency\0{person}\0{key}".encode()).digest()[:8], "big", signed=True
    )
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
    row = conn.execute(
        "SELECT request, status, body FROM idempotency WHERE person = %s AND key = %s", (person, key)
    ).fetchone()
    if row is None:
        return None
    if bytes(row["request"]) != request:
        raise KeyReused(f"Idempotency-Key {key!r} was used before for a different request; take a fresh one")
    return Answer(row["status"], row["body"])


def remember(conn: Connection, *, person: str, key: str, request: bytes, answer: Answer) -> None:
    """Keep the answer; it becomes visible with the change it stands for, or not at all."""
    conn.execute(
        "INSERT INTO idempotency (person, key, request, status, body) VALUES (%s, %s, %s, %s, %s)",
        (person, key, request, answer.status, Jsonb(answer.body)),
    )
