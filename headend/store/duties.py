"""What exactly one process does at a time for all. Server time alone decides, as with the leases of terminals.

Two that both believe it is theirs, for a moment, must do no harm: a duty has no epoch to fence anybody off.
"""

from __future__ import annotations

from typing import Final

from headend.store.db import Connection

#: listening at the broker for all terminals that publish
SUBSCRIPTION: Final = "mqtt"


def hold(conn: Connection, duty: str, owner: str, *, seconds: float) -> bool:
    """Take the duty, or go on having it. False: it is somebody else's."""
    row = conn.execute(
        """
        INSERT INTO duty AS d (duty, owner, until) VALUES (%(duty)s, %(owner)s, clock_timestamp() + make_interval(secs => %(secs)s))
        ON CONFLICT (duty) DO UPDATE SET owner = excluded.owner, until = excluded.until
            WHERE d.owner = excluded.owner OR d.until < clock_timestamp()
        RETURNING owner
        """,
        {"duty": duty, "owner": owner, "secs": seconds},
    ).fetchone()
    return row is not None


def release(conn: Connection, duty: str, owner: str) -> None:
    """Give it back, so that the next need not wait."""
    conn.execute("DELETE FROM duty WHERE duty = %s AND owner = %s", (duty, owner))


def owner(conn: Connection, duty: str) -> str | None:
    """Whose it is; None: nobody's."""
    row = conn.execute(
        "SELECT owner FROM duty WHERE duty = %s AND until > clock_timestamp()", (duty,)
    ).fetchone()
    return None if row is None else str(row["owner"])
