"""Groups of metering points that somebody wants to see together (群组): put together by hand, used by every statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError

I64 = NDArray[np.int64]

#: points of one group: what a demand response of one group loads is bounded by it
MOST: Final = 20_000


class UnknownGroup(StoreError):
    def __init__(self, code: str) -> None:
        super().__init__(
            f"no group {code!r}; `headend statistics group list` shows them, `headend statistics group put` makes one"
        )


class BadGroup(StoreError):
    """Members that cannot be."""


def put(conn: Connection, code: str, name: str, members: Sequence[str], *, key_users: bool = False) -> int:
    """Make a group, or make it anew, of metering points and customers (all points of theirs), in the caller's transaction; how many points.
    BadGroup names the first member that the archive does not have."""
    rows = conn.execute(
        "SELECT u.name, p.point_id FROM unnest(%(names)s::text[]) WITH ORDINALITY u(name, n) LEFT JOIN LATERAL ("
        "SELECT point_id FROM point WHERE code = u.name UNION SELECT a.point_id FROM customer c JOIN account a USING (customer_id) "
        "WHERE c.number = u.name) p ON true ORDER BY u.n",
        {"names": list(members)},
    ).fetchall()
    for row in rows:
        if row["point_id"] is None:
            raise BadGroup(
                f"the archive has neither a metering point nor a customer {row['name']!r}; nothing was changed"
            )
    points = sorted({row["point_id"] for row in rows})
    if len(points) > MOST:
        raise BadGroup(f"{len(points)} points are more than the {MOST} that a group may have; make several")
    found = conn.execute(
        "INSERT INTO point_group (code, name, key_users) VALUES (%s, %s, %s) "
        "ON CONFLICT (code) DO UPDATE SET name = excluded.name, key_users = excluded.key_users RETURNING point_group_id AS id",
        (code, name, key_users),
    ).fetchone()
    assert found is not None
    conn.execute(
        "DELETE FROM point_group_member WHERE point_group_id = %s AND point_id <> ALL(%s)",
        (found["id"], points),
    )
    conn.execute(
        "INSERT INTO point_group_member SELECT %s, p FROM unnest(%s::int[]) p ON CONFLICT DO NOTHING",
        (found["id"], points),
    )
    return len(points)


def remove(conn: Connection, code: str) -> None:
    """Forget a group; figures that were kept of it stay. UnknownGroup."""
    if not conn.execute("DELETE FROM point_group WHERE code = %s", (code,)).rowcount:
        raise UnknownGroup(code)


def listing(conn: Connection) -> list[dict[str, Any]]:
    """All groups with their size, by code."""
    return conn.execute(
        "SELECT g.code, g.name, g.key_users, count(m.point_id)::int AS points FROM point_group g "
        "LEFT JOIN point_group_member m USING (point_group_id) GROUP BY g.point_group_id ORDER BY g.code"
    ).fetchall()


def points(conn: Connection, code: str) -> I64:
    """point_ids of a group, ascending. UnknownGroup."""
    rows = conn.execute(
        "SELECT m.point_id FROM point_group g LEFT JOIN point_group_member m USING (point_group_id) WHERE g.code = %s ORDER BY 1",
        (code,),
    ).fetchall()
    if not rows:
        raise UnknownGroup(code)
    return np.array([row["point_id"] for row in rows if row["point_id"] is not None], dtype=np.int64)


def codes(conn: Connection, code: str) -> list[str]:
    """Codes of the metering points of a group. UnknownGroup."""
    ids = points(conn, code).tolist()
    rows = conn.execute("SELECT code FROM point WHERE point_id = ANY(%s) ORDER BY 1", (ids,))
    return [row["code"] for row in rows]
