"""Published messages that were kept out, by topic: how often, since when, and why the newest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from headend.store.db import Connection

#: topics listed; what anybody can publish must not fill a disk, and nobody reads a longer list. Further ones are counted together.
MOST: Final = 1000
OTHERS: Final = "(others)"
#: bytes kept of a message: enough to see what it was meant to be
SAMPLE: Final = 2048
#: characters of a topic and of a reason
TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """One message that was kept out."""

    topic: str
    reason: str
    at: dt.datetime
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listed:
    topic: str
    reason: str
    count: int
    first_at: dt.datetime
    last_at: dt.datetime
    sample: bytes = field(repr=False)


def note(conn: Connection, refusals: Sequence[Refusal]) -> None:
    """List them."""
    if not refusals:
        return
    row = conn.execute("SELECT count(*) AS n FROM refused_message").fetchone()
    assert row is not None
    room = MOST - row["n"]
    known = {
        row["topic"]
        for row in conn.execute(
            "SELECT topic FROM refused_message WHERE topic = ANY(%s)", ([_text(r.topic) for r in refusals],)
        )
    }
    folded: dict[str, tuple[Refusal, int, dt.datetime]] = {}
    for refusal in refusals:
        topic = _text(refusal.topic)
        if topic not in known and topic not in folded:
            topic, room = (topic, room - 1) if room > 0 else (OTHERS, room)
        before = folded.get(topic)
        folded[topic] = (refusal, 1 + (before[1] if before else 0), before[2] if before else refusal.at)
    for topic in sorted(folded):  # in one order, so that two writers never wait for each other
        newest, count, first = folded[topic]
        conn.execute(
            """
            INSERT INTO refused_message AS r (topic, reason, count, first_at, last_at, sample) VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (topic) DO UPDATE SET reason = excluded.reason, count = r.count + excluded.count,
                last_at = greatest(r.last_at, excluded.last_at), sample = excluded.sample
            """,
            (topic, _text(newest.reason), count, first, newest.at, newest.payload[:SAMPLE]),
        )


def listing(conn: Connection) -> list[Listed]:
    """All of them, the newest first."""
    rows = conn.execute(
        "SELECT topic, reason, count, first_at, last_at, sample FROM refused_message ORDER BY last_at DESC, topic"
    )
    return [Listed(**{**row, "sample": bytes(row["sample"])}) for row in rows]


def forget(conn: Connection) -> int:
    """Empty the list, when somebody has dealt with it; how many topics stood there."""
    return conn.execute("DELETE FROM refused_message").rowcount


def _text(said: str) -> str:
    """PostgreSQL's text holds no NUL, nor half of a surrogate pair."""
    return said.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()[:TEXT]
