"""An archive in: read, compared with what is there, worked out, written; all of it or nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from headend.store.archive import accounts, hang, roles, rows, stored, things, write
from headend.store.archive.changes import Summary
from headend.store.archive.complaint import Complaints
from headend.store.archive.desk import Desk
from headend.store.archive.kinds import KINDS, Leader
from headend.store.archive.rows import Row
from headend.store.db import Connection, StoreError

#: another import of a million meters takes minutes; who waits longer than this should rather know
LOCK_WAIT = "2min"


class ArchiveBusy(StoreError):
    """Somebody else is changing the archive."""


def load(
    conn: Connection,
    path: Path,
    *,
    zone: ZoneInfo,
    tariffs: set[str] | None = None,
    source: Leader | None = None,
    dry_run: bool = False,
) -> Summary:
    """Import a folder or file within one transaction. ArchiveError lists the complaints and nothing is imported; `dry_run` rolls back.

    Civil times without an offset are in `zone`. `source` says whose data these are: what the other one leads is left alone, and
    reported; None: both at once. Two imports take turns."""
    with _no_collector():
        return _load(conn, path, zone, tariffs, source, dry_run)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without Python's search for circles: all that an import makes lives until its end, and looking through it takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _load(
    conn: Connection,
    path: Path,
    zone: ZoneInfo,
    tariffs: set[str] | None,
    source: Leader | None,
    dry_run: bool,
) -> Summary:
    complaints = Complaints()
    said = rows.read(path, zone, source, complaints)
    try:
        with conn.transaction(force_rollback=dry_run):
            _take_turn(conn)
            desk = Desk(stored.read(conn, said), zone, source, complaints)
            _work_out(desk, said, tariffs)
            _check_routes(conn, desk, said.get("meters", []))
            complaints.refuse()
            write.written(conn, desk.stored, desk.begun, desk.ended, desk.terms)
    except (psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation) as error:
        raise ArchiveBusy(
            f"the store refuses the archive: {error.diag.message_primary} ({error.diag.message_detail or 'somebody has changed it meanwhile'}); "
            "nothing was imported: look at both with `headend archive show`, then import again"
        ) from None
    return desk.tally.summary()


def _take_turn(conn: Connection) -> None:
    """The lock that the store's own check for overlaps takes, too (schema 0010)."""
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            conn.execute("SELECT pg_advisory_xact_lock(hashtext('archive'))")
            conn.execute("SET LOCAL lock_timeout TO DEFAULT")
    except psycopg.errors.LockNotAvailable:
        raise ArchiveBusy(
            f"another import has been running for {LOCK_WAIT}; wait for it, then import again"
        ) from None


def _work_out(desk: Desk, said: dict[str, list[Row]], tariffs: set[str] | None) -> None:
    """Kind by kind: what refers to something comes after it."""
    for name, kind in KINDS.items():
        given = said.get(name)
        if not given:
            continue
        match name:
            case "meters":
                hang.meters(desk, given)
            case "ratios":
                hang.ratios(desk, given)
            case "roles":
                roles.all_of(desk, given)
            case "customers":
                accounts.all_of(desk, given, tariffs)
            case _:
                things.all_of(desk, kind, given)


def _check_routes(conn: Connection, desk: Desk, given: list[Row]) -> None:
    """Addresses and numbers behind each terminal, of the meters as they shall hang."""
    leaving = [span.id for span in desk.ended.get("installation", [])]
    for column in ("address", "pn"):
        wanted = [
            (span.values["terminal"], str(span.values[column]))
            for span in desk.begun.get("installation", [])
            if span.open and span.values[column] is not None
        ]
        taken: dict[tuple[str, Any], str] = {}
        if wanted:
            found = conn.execute(
                f"SELECT t.code, i.{column} AS value, m.asset FROM unnest(%s::text[], %s::text[]) u(terminal, value) "
                f"JOIN terminal t ON t.code = u.terminal JOIN installation i ON i.terminal_id = t.terminal_id AND i.{column}::text = u.value "
                "AND i.valid_to = 'infinity' JOIN meter m USING (meter_id) WHERE i.installation_id <> ALL(%s::int[])",
                (*map(list, zip(*wanted, strict=True)), leaving),
            )
            taken = {(row["code"], row["value"]): row["asset"] for row in found}
        hang.crossed(desk, taken, given, column)
    _check_coils(conn, desk, given, leaving)


def _check_coils(conn: Connection, desk: Desk, given: list[Row], leaving: list[int | None]) -> None:
    """A contactor cuts one customer off: who shared its coil would go with him."""
    begun = [span.values for span in desk.begun.get("installation", []) if span.open]
    terminals = {values["terminal"] for values in begun if hang.coil(values["address"])}
    if terminals:
        found = conn.execute(
            "SELECT t.code, i.address, m.asset FROM installation i JOIN terminal t USING (terminal_id) JOIN meter m USING (meter_id) "
            "WHERE t.code = ANY(%s) AND i.valid_to = 'infinity' AND i.installation_id <> ALL(%s::int[])",
            (sorted(terminals), leaving),
        )
        taken: dict[tuple[str, Any], str] = {
            (row["code"], hang.coil(row["address"])): row["asset"] for row in found
        }
        hang.crossed(desk, taken, given, "address", hang.coil)
