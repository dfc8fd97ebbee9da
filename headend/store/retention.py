"""How long each kind of data is kept, and throwing away what is older: whole pieces of the tables split by time, oldest first.

Nothing younger than its policy ever goes. Ledger entries, payments, bills, orders, revisions, notices and findings are no kind: nothing
here touches them. One owner: this job does it on every server, TimescaleDB's own retention policies are not used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from headend.store import feed, partitions
from headend.store.db import Connection, StoreError, own_transactions
from headend.store.partitions import Piece, pieces
from protocols.localtime import as_datetime

#: rows deleted in one transaction where a table is not split by time: a second's work, so that nobody waits long for its locks
BATCH: Final = 20_000
#: such transactions of one run: what is left waits for the next run
BATCHES: Final = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """What is kept how long. `least`: below it somebody has made a slip of the pen. `why` is for people.

    `tables` are split by time and lose whole pieces; `rows` deletes up to n rows older than `keep` elsewhere and says how many."""

    name: str
    keep: dt.timedelta
    least: dt.timedelta
    why: str
    tables: tuple[str, ...] = ()
    rows: Callable[[Connection, dt.timedelta, dt.datetime, int, bool], int] | None = None


def _days(n: int) -> dt.timedelta:
    return dt.timedelta(days=n)


def _feed(conn: Connection, keep: dt.timedelta, now: dt.datetime, most: int, dry: bool) -> int:
    return feed.cut(conn, keep, rows=most, dry=dry)


def _deleting(
    table: str, key: str, older: str
) -> Callable[[Connection, dt.timedelta, dt.datetime, int, bool], int]:
    """Rows of a table that is not split by time: `older` is the condition, with %(cut)s in domain time or %(keep)s for the server's clock."""

    def rows(conn: Connection, keep: dt.timedelta, now: dt.datetime, most: int, dry: bool) -> int:
        chosen = f"SELECT {key} FROM {table} WHERE {older} LIMIT %(most)s"
        said = {"cut": now - keep, "keep": keep, "most": most}
        if dry:
            row = conn.execute(f"SELECT count(*) AS n FROM ({chosen}) c", said).fetchone()
            return int(row["n"]) if row else 0
        return conn.execute(f"DELETE FROM {table} WHERE ({key}) IN ({chosen})", said).rowcount

    return rows


#: the defaults; what a utility changes stands in the table `retention`
KINDS: Final = (
    Kind("readings", _days(3653), _days(1096),
         "ten years, so that a bill can be disputed; Q/GDW asks for three years on line (ledger and reasons of gaps are kept as long)",
         ("slot_read", "slot_phase_read", "register_read", "other_read", "coverage", "gap_reason"),
         _deleting("completion", "meter_id, source, evidence", "at < %(cut)s AND NOT EXISTS (SELECT FROM unnest(instants) i WHERE i >= %(cut)s)")),
    Kind("rollups", _days(7305), _days(1096), "twenty years: a meter's day is 450 bytes, and long comparisons need them",
         ("day_rollup", "day_phase_rollup", "month_rollup")),
    Kind("statistics", _days(7305), _days(400), "twenty years of success rates, loads and voltage classes: a few thousand rows a day",
         ("success_day", "load_day", "voltage_day")),
    Kind("forecasts", _days(731), _days(62), "forecasts with their errors and terminals' days: two years show every season twice",
         ("area_forecast", "terminal_day")),
    Kind("exchanges", _days(90), _days(7),
         "the raw bytes, to decode them again after a mended decoder; their hashes stay beside the readings", ("exchange",)),
    Kind("events", _days(1096), _days(90), "what meters reported, as long as a dispute about tampering may last", ("event",)),
    Kind("wallets", _days(1096), _days(90), "what meters said is left in their wallets: money is disputed for three years", ("wallet_reading",)),
    Kind("feed", _days(30), _days(2), "a CRM that was away for longer reads everything again", (), _feed),
    Kind("job-runs", _days(366), _days(7), "to compare this year's nights with last year's", (),
         _deleting("job_run", "run_id", "started < %(cut)s")),
    Kind("idempotency", _days(7), _days(1), "nobody repeats a request a week later", (),
         _deleting("idempotency", "person, key", "made_at < clock_timestamp() - %(keep)s")),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in KINDS}


class BadRetention(StoreError):
    """A policy that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A kind as this utility keeps it."""

    kind: Kind
    keep: dt.timedelta
    who: str = ""

    def cut(self, now: dt.datetime) -> dt.datetime:
        return now - self.keep


@dataclass(frozen=True, slots=True)
class Gone:
    """What a run did, or would do: pieces thrown away, pieces that somebody held and that go next time, rows deleted elsewhere."""

    kind: str
    dropped: tuple[Piece, ...] = ()
    held: tuple[Piece, ...] = ()
    rows: int = 0


def policies(conn: Connection) -> list[Policy]:
    """Every kind, with the utility's own number where it has one."""
    own = {row["kind"]: row for row in conn.execute("SELECT kind, keep, who FROM retention")}
    return [
        Policy(kind, own[kind.name]["keep"], own[kind.name]["who"])
        if kind.name in own
        else Policy(kind, kind.keep)
        for kind in KINDS
    ]


def keep(conn: Connection, name: str, span: dt.timedelta, *, who: str, really: bool = False) -> Policy:
    """Change a policy, in the caller's transaction. BadRetention for an unknown kind, and below the least unless it is really meant."""
    kind = BY_NAME.get(name)
    if kind is None:
        raise BadRetention(f"no kind of data {name!r}; there are {', '.join(BY_NAME)}")
    if span < kind.least and not really:
        raise BadRetention(
            f"{name} for {span.days} days is less than the {kind.least.days} that make sense ({kind.why}); --really if it is meant"
        )
    if span < _days(1):
        raise BadRetention(f"{name} must be kept for a day at least")
    conn.execute(
        "INSERT INTO retention (kind, keep, who) VALUES (%(kind)s, %(keep)s, %(who)s) "
        "ON CONFLICT (kind) DO UPDATE SET keep = %(keep)s, who = %(who)s, at = clock_timestamp()",
        {"kind": name, "keep": span, "who": who},
    )
    return Policy(kind, span, who)


def overdue(conn: Connection, policy: Policy, now: dt.datetime) -> list[Piece]:
    """The pieces that hold nothing younger than the policy, oldest first; those of the readings before those of their ledger."""
    cut = policy.cut(now)
    found = (
        [piece for piece in pieces(conn, policy.kind.tables) if piece.hi <= cut] if policy.kind.tables else []
    )
    return sorted(found, key=lambda piece: (policy.kind.tables.index(piece.parent), piece.lo))


def run(conn: Connection, now: np.datetime64, *, dry: bool = False) -> list[Gone]:
    """Throw away what is older than its policy, kind by kind, each piece and each batch of rows in a transaction of its own.

    The connection is outside a transaction. Writers go on: see partitions.LOCK_WAIT for how long one may have to wait."""
    at = as_datetime(now)
    with own_transactions(conn):
        return [_run(conn, policy, at, dry) for policy in policies(conn)]


def _run(conn: Connection, policy: Policy, now: dt.datetime, dry: bool) -> Gone:
    dropped: list[Piece] = []
    held: list[Piece] = []
    for piece in overdue(conn, policy, now):
        # one attempt a table: who holds one piece of it holds its name, and each attempt makes writers wait
        tried = any(other.parent == piece.parent for other in held)
        (dropped if dry or (not tried and partitions.drop(conn, piece)) else held).append(piece)
    rows = 0
    if policy.kind.rows is not None:
        for _ in range(1 if dry else BATCHES):
            with conn.transaction():
                gone = policy.kind.rows(conn, policy.keep, now, BATCH, dry)
            rows += gone
            if gone < BATCH:
                break
    return Gone(policy.kind.name, tuple(dropped), tuple(held), rows)
