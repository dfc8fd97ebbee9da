"""The kill switch: whoever is first stops every trip, two persons let them go on. Its changes are in the audit."""

from __future__ import annotations

from typing import Any

from headend.control.facts import is_person
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime


class CannotResume(StoreError):
    """Trips cannot be let go on so."""


def state(conn: Connection, *, hold: bool = False) -> dict[str, Any] | None:
    """The switch. `hold`: it cannot be thrown before this transaction ends, and one that is being thrown is waited for."""
    return conn.execute(f"SELECT * FROM trip_stop {'FOR SHARE' if hold else ''}").fetchone()


def why(row: dict[str, Any] | None) -> str | None:
    """'' while trips may go on; None: nobody can say."""
    if row is None:
        return None
    if not row["stopped"]:
        return ""
    when = row["at"].isoformat(timespec="seconds") if row["at"] else "an unknown time"
    return (
        f"by {row['who']} at {when}: {row['reason']}; `headend relay resume` by two persons lets them go on"
    )


def stop(conn: Connection, *, who: str, reason: str, now: Any) -> dict[str, Any]:
    """Stop every trip that has not been sent; commits. A second stop takes back a resume that was begun."""
    if not reason.strip() or not who.strip():
        raise StoreError("say who stops the trips, and why: it is kept for ever")
    with conn.transaction():
        conn.execute(
            "INSERT INTO trip_stop (one, stopped, reason, who, at) VALUES (true, true, %(why)s, %(who)s, %(at)s) "
            "ON CONFLICT (one) DO UPDATE SET stopped = true, reason = %(why)s, who = %(who)s, at = %(at)s, resume_by = NULL, resume_reason = ''",
            {"why": reason.strip(), "who": who.strip(), "at": as_datetime(now)},
        )
    return _now(conn)


def resume(conn: Connection, *, who: str, reason: str, now: Any) -> dict[str, Any]:
    """The first person asks for it, another one does it; commits. CannotResume."""
    if not is_person(who):
        raise CannotResume(f"{who!r} is not a person: only people let trips go on")
    if not reason.strip():
        raise CannotResume("say why trips may go on: it is kept for ever")
    with conn.transaction():
        row = conn.execute("SELECT * FROM trip_stop FOR UPDATE").fetchone()
        if row is None or not row["stopped"]:
            raise CannotResume("trips are not stopped")
        if row["resume_by"] is None:
            conn.execute(
                "UPDATE trip_stop SET resume_by = %s, resume_reason = %s", (who.strip(), reason.strip())
            )
        elif row["resume_by"] == who.strip():
            raise CannotResume(f"{who} has said so already; another person must say it too")
        else:
            conn.execute(
                "UPDATE trip_stop SET stopped = false, resume_by = NULL, resume_reason = '', reason = %s, who = %s, at = %s",
                (f"{row['resume_by']}: {row['resume_reason']}; {who.strip()}: {reason.strip()}", who.strip(), as_datetime(now)),
            )  # fmt: skip
    return _now(conn)


def _now(conn: Connection) -> dict[str, Any]:
    row = state(conn)
    conn.commit()
    assert row is not None
    return row
