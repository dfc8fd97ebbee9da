"""Days on which an organisation spares its customers: exams, heat, cold. Declared and withdrawn by people, never deleted; in the audit."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: kind -> what people call it
KINDS: Final = {
    "exam": ("exam days", "考试"),
    "heat": ("heat alert", "高温预警"),
    "cold": ("cold alert", "寒潮预警"),
    "other": ("no-trip days", "不停电日"),
}
#: a declaration for more days than this is a typing error; exams take four, a heat wave some weeks. A default without a source.
LONGEST: Final = 92


class UnknownDeclaration(StoreError):
    def __init__(self, number: int) -> None:
        super().__init__(
            f"no declaration {number} of no-trip days that still holds; `headend relay no-trip list` shows them"
        )


def declare(
    conn: Connection,
    *,
    first: dt.date,
    last: dt.date,
    kind: str,
    reason: str,
    who: str,
    now: Any,
    organisation: str = "",
) -> int:
    """Nobody of `organisation` (its code; '': nobody at all) is tripped from `first` to `last`, nor on the eve; commits. Its number."""
    if kind not in KINDS:
        raise StoreError(f"no kind of no-trip days {kind!r}; there are {', '.join(KINDS)}")
    if not reason.strip():
        raise StoreError("say why nobody is tripped on these days: it is told whoever is refused")
    if not 0 <= (last - first).days < LONGEST:
        raise StoreError(f"{first} to {last} is no span of 1 to {LONGEST} days")
    with conn.transaction():
        owner = None
        if organisation:
            found = conn.execute(
                "SELECT organisation_id FROM organisation WHERE code = %s", (organisation,)
            ).fetchone()
            if found is None:
                raise StoreError(
                    f"no organisation {organisation} in the archive; `headend archive list organisations` shows them"
                )
            owner = found["organisation_id"]
        row = conn.execute(
            "INSERT INTO no_trip (first_day, last_day, kind, organisation_id, reason, who, at) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "RETURNING no_trip_id",
            (first, last, kind, owner, reason.strip(), who, as_datetime(now)),
        ).fetchone()
    conn.commit()
    assert row is not None
    return int(row["no_trip_id"])


def withdraw(conn: Connection, number: int, *, who: str, now: Any) -> None:
    """It holds no more; commits. UnknownDeclaration."""
    with conn.transaction():
        done = conn.execute(
            "UPDATE no_trip SET withdrawn_by = %s, withdrawn_at = %s WHERE no_trip_id = %s AND withdrawn_at IS NULL",
            (who, as_datetime(now), number),
        ).rowcount
        if not done:
            raise UnknownDeclaration(number)
    conn.commit()


def listing(conn: Connection, *, since: dt.date) -> list[dict[str, Any]]:
    """Declarations that reach beyond `since`, withdrawn ones too, by their first day."""
    return conn.execute(
        "SELECT n.no_trip_id AS id, n.first_day, n.last_day, n.kind, o.code AS organisation, n.reason, n.who, n.at, n.withdrawn_by, n.withdrawn_at "
        "FROM no_trip n LEFT JOIN organisation o USING (organisation_id) WHERE n.last_day >= %s ORDER BY n.first_day, n.no_trip_id",
        (since,),
    ).fetchall()


def why(conn: Connection, meter_id: int, day: dt.date, now: dt.datetime) -> str:
    """Why nobody of this meter's organisation is tripped on `day`: that day or the next is declared, for it or for one above it. '' if
    nothing is. Where the archive does not say whose customer it is, a declaration of anybody's holds."""
    row = conn.execute(
        """
        WITH RECURSIVE declared AS (
            SELECT * FROM no_trip WHERE withdrawn_at IS NULL AND first_day <= %(day)s::date + 1 AND last_day >= %(day)s::date),
        here AS (SELECT organisation_of(i.point_id, i.terminal_id, %(now)s) AS id FROM installation i
                 WHERE i.meter_id = %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s),
        above (id, depth) AS (
            SELECT id, 0 FROM here WHERE id IS NOT NULL
            UNION ALL
            SELECT s.parent_id, depth + 1 FROM above JOIN organisation_span s ON s.organisation_id = above.id
            WHERE s.parent_id IS NOT NULL AND s.valid_from <= %(now)s AND s.valid_to > %(now)s AND depth < 10)
        SELECT d.kind, d.reason, d.first_day, d.last_day, o.code FROM declared d LEFT JOIN organisation o USING (organisation_id)
        WHERE d.organisation_id IS NULL OR d.organisation_id IN (SELECT id FROM above) OR NOT EXISTS (SELECT FROM above)
        ORDER BY d.first_day, d.no_trip_id LIMIT 1
        """,
        {"day": day, "now": now, "meter": meter_id},
    ).fetchone()
    if row is None:
        return ""
    en, zh = KINDS[row["kind"]]
    whose = f" of {row['code']}" if row["code"] else ""
    return f"{en} ({zh}){whose} from {row['first_day']} to {row['last_day']}: {row['reason']}"
