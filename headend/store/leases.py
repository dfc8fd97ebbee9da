"""Who owns a terminal, and who is at work at all. Server time alone decides; a higher epoch fences every owner before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from headend.store.db import Connection
from protocols.localtime import as_datetime

Epochs = Mapping[int, int]  # terminal_id -> epoch


#: how long is waited for a lease that somebody is just looking at; a collector that stands still may do so until its session is ended
PATIENCE = "2s"


def at_work(conn: Connection, owner: str, *, since: np.datetime64, seconds: float) -> None:
    """A collector is there, and has listened `since` [domain time]. Those that have not been for a day are forgotten."""
    conn.execute(
        "INSERT INTO collector (owner, since, until) VALUES (%(owner)s, %(since)s, clock_timestamp() + make_interval(secs => %(secs)s)) "
        "ON CONFLICT (owner) DO UPDATE SET until = excluded.until",
        {"owner": owner, "since": as_datetime(since), "secs": seconds},
    )
    conn.execute("DELETE FROM collector WHERE until < clock_timestamp() - interval '1 day'")


def claim(conn: Connection, owner: str, *, quota: int, seconds: float) -> Epochs:
    """Take up to `quota` terminals we dial (dial-out and serial) that nobody holds. Returns what was taken. LockNotAvailable after
    PATIENCE."""
    conn.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
    rows = conn.execute(
        """
        WITH free AS (
            SELECT t.terminal_id FROM terminal t LEFT JOIN lease l USING (terminal_id)
            WHERE t.link NOT IN ('dial-in', 'mqtt') AND (l.terminal_id IS NULL OR l.until < clock_timestamp())
            ORDER BY t.terminal_id LIMIT %(quota)s FOR UPDATE OF t SKIP LOCKED)
        INSERT INTO lease AS l (terminal_id, owner, epoch, until)
        SELECT terminal_id, %(owner)s, 1, clock_timestamp() + make_interval(secs => %(secs)s) FROM free
        ON CONFLICT (terminal_id) DO UPDATE SET owner = excluded.owner, epoch = l.epoch + 1, until = excluded.until
        WHERE l.until < clock_timestamp()
        RETURNING terminal_id, epoch
        """,
        {"owner": owner, "quota": quota, "secs": seconds},
    )
    return {row["terminal_id"]: row["epoch"] for row in rows}


def take(conn: Connection, owner: str, terminals: Collection[int], *, seconds: float) -> Epochs:
    """Terminals that dialled in here: a lease follows the newest socket, whoever held it. Returns the new epochs. LockNotAvailable after
    PATIENCE."""
    conn.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
    rows = conn.execute(
        """
        INSERT INTO lease AS l (terminal_id, owner, epoch, until)
        SELECT terminal_id, %(owner)s, 1, clock_timestamp() + make_interval(secs => %(secs)s)
        FROM (SELECT DISTINCT unnest(%(terminals)s::int[]) AS terminal_id ORDER BY 1) AS in_one_order -- nobody locks another out
        ON CONFLICT (terminal_id) DO UPDATE SET owner = excluded.owner, epoch = l.epoch + 1, until = excluded.until
        RETURNING terminal_id, epoch
        """,
        {"terminals": list(terminals), "owner": owner, "secs": seconds},
    )
    return {row["terminal_id"]: row["epoch"] for row in rows}


def renew(conn: Connection, owner: str, *, seconds: float) -> Epochs:
    """Extend what we still hold, and return it: a terminal that is not in the answer is somebody else's now."""
    rows = conn.execute(
        "UPDATE lease SET until = clock_timestamp() + make_interval(secs => %s) "
        "WHERE owner = %s AND until > clock_timestamp() RETURNING terminal_id, epoch",
        (seconds, owner),
    )
    return {row["terminal_id"]: row["epoch"] for row in rows}


def release(conn: Connection, owner: str) -> None:
    """Give everything back, so that the next owner need not wait for the lease to run out; and be at work no more."""
    conn.execute("DELETE FROM collector WHERE owner = %s", (owner,))
    conn.execute(
        "UPDATE lease SET until = clock_timestamp() WHERE owner = %s AND until > clock_timestamp()", (owner,)
    )


def give_up(conn: Connection, owner: str, epochs: Epochs) -> None:
    """Terminals that have hung up are nobody's, unless they have dialled in anew meanwhile."""
    conn.execute(
        "UPDATE lease l SET until = clock_timestamp() FROM unnest(%s::int[], %s::bigint[]) AS gone(terminal_id, epoch) "
        "WHERE l.terminal_id = gone.terminal_id AND l.epoch = gone.epoch AND l.owner = %s AND l.until > clock_timestamp()",
        (list(epochs), list(epochs.values()), owner),
    )


def left(conn: Connection, owner: str, terminal_id: int, epoch: int) -> float:
    """Seconds for which the lease is ours if nobody renews it; 0 if it is not."""
    row = conn.execute(
        "SELECT extract(epoch FROM until - clock_timestamp())::float8 AS seconds FROM lease "
        "WHERE terminal_id = %s AND owner = %s AND epoch = %s",
        (terminal_id, owner, epoch),
    ).fetchone()
    return max(0.0, float(row["seconds"])) if row else 0.0


def held(conn: Connection, owner: str, terminal_id: int, epoch: int) -> bool:
    """Whether the lease is ours at this moment; locks the row, so that it stays so until the transaction ends."""
    row = conn.execute(
        "SELECT owner = %s AND epoch = %s AND until > clock_timestamp() AS ours FROM lease WHERE terminal_id = %s FOR SHARE",
        (owner, epoch, terminal_id),
    ).fetchone()
    return bool(row and row["ours"])


def holders(conn: Connection, terminal_ids: Sequence[int]) -> Mapping[int, tuple[str, int]]:
    """Who holds each of these terminals at this moment, and his epoch; a lease that has run out is nobody's."""
    rows = conn.execute(
        "SELECT terminal_id, owner, epoch FROM lease WHERE terminal_id = ANY(%s::int[]) AND until > clock_timestamp()",
        (list(terminal_ids),),
    )
    return {row["terminal_id"]: (row["owner"], row["epoch"]) for row in rows}


def nowhere(conn: Connection) -> list[dict[str, Any]]:
    """Terminals that dial in and are connected to no collector: terminal_id and protocol."""
    return conn.execute(
        "SELECT t.terminal_id, t.protocol FROM terminal t LEFT JOIN lease l USING (terminal_id) "
        "WHERE t.link = 'dial-in' AND (l.until IS NULL OR l.until < clock_timestamp()) ORDER BY t.terminal_id"
    ).fetchall()


def void(conn: Connection) -> int:
    """After a restore: nobody owns anything, and who owned something before is fenced off by a much higher epoch. Leases ended."""
    return conn.execute(
        "UPDATE lease SET owner = 'restore', until = clock_timestamp(), epoch = epoch + 1000000"  # more than a terminal changes hands in years
    ).rowcount
