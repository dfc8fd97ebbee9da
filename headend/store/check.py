"""Does the store agree with itself? Ledger with rows, versions with their predecessors, the feed with its order, readings with the bytes
behind them. Each function looks at what is stored and returns what does not agree, at most MOST of it; nothing is mended here.

Run it on one snapshot while writers go on:

    with check.snapshot(conn):
        wrong = check.everything(conn, zone, first, last)
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from numpy.typing import NDArray

from headend.plans import CURVE, DAY, MONTH, PHASE, Plan, points
from headend.store import exchanges, feed, packed, partitions, rollups
from headend.store.db import Connection, StoreError
from headend.store.exchanges import NotAnExchange
from headend.store.reads import numeric
from headend.store.revisions import NO_ESTIMATES, READ
from headend.store.tables import DAY_FREEZES, MONTH_FREEZES, PHASES, SLOTS, TABLES, Table
from protocols.localtime import Times, as_datetime, midnight

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

#: disagreements that are named: who has more has one cause, not a thousand
MOST: Final = 1000
#: meters looked at together: their day is 50 MB of keys at most
METERS: Final = 20_000
#: exchanges unpacked where a sample is asked for: a second's work
SAMPLE: Final = 500
#: a reading may be stamped this much ahead of the exchange that brought it (intake.AHEAD)
AHEAD: Final = dt.timedelta(hours=36)
EPOCH: Final = dt.date(1970, 1, 1)
#: plan -> the table whose rows make its points present
COUNTED: Final = {CURVE: SLOTS, DAY: DAY_FREEZES, MONTH: MONTH_FREEZES, PHASE: PHASES}
#: tables of readings and the keys that may be there once
KEYS: Final = {
    "slot_read": ("meter_id", "ts"),
    "slot_phase_read": ("meter_id", "ts"),
    "register_read": ("meter_id", "ts", "kind"),
    "other_read": ("meter_id", "ts", "kind", "quantity"),
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that is not as it should be. `meter` is an asset number, or '' where no meter is concerned; `slot` names a point by its end."""

    check: str
    what: str
    meter: str = ""
    day: dt.date | None = None
    slot: dt.datetime | None = None
    plan: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what does not agree. `left_out`: meter-days whose roll-up still waits for its job."""

    first: dt.date
    last: dt.date
    checks: tuple[str, ...]
    wrong: tuple[Disagreement, ...]
    left_out: int = 0


@contextmanager
def snapshot(conn: Connection) -> Iterator[None]:
    """Within, everything is seen as it was at one instant, whoever writes. The connection is outside a transaction."""
    if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise StoreError("a check needs a connection outside a transaction: commit or roll back first")
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def everything(
    conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date, *, sample: int | None = None
) -> list[Disagreement]:
    """All checks but the roll-ups', which wait for their job. `sample`: exchanges to unpack, None for all."""
    return [
        *ledger(conn, zone, first, last),
        *duplicates(conn, zone, first, last),
        *versions(conn, zone, first, last),
        *order(conn),
        *evidence(conn, zone, first, last, sample=sample),
    ][:MOST]


# --- ledger and rows ---


def ledger(conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[Disagreement]:
    """Of local days first..last: what is present by the ledger and what the rows have, both ways; late, absent and estimated bits."""
    found: list[Disagreement] = []
    begin = _kept_from(conn, zone, ("coverage", *(table.name for table in COUNTED.values())))
    day = max(first, begin) if begin else first
    spans = _spans(conn)
    while day <= last and len(found) < MOST:
        for plan, table in COUNTED.items():
            if len(points(plan, day, zone)):
                for span in spans:
                    found += _ledger(conn, plan, table, day, zone, span)
        day += dt.timedelta(days=1)
    return found[:MOST]


def _spans(conn: Connection) -> list[tuple[int, int]]:
    """Ranges of meter_id [lo, hi) of METERS meters each, and all others at the ends: rows may name a meter that the archive does not."""
    rows = conn.execute(
        "SELECT meter_id FROM (SELECT meter_id, row_number() OVER (ORDER BY meter_id) AS n FROM meter) m WHERE n %% %s = 0 ORDER BY 1",
        (METERS,),
    ).fetchall()
    edges = [-(2**31), *(row["meter_id"] for row in rows), 2**31]
    return list(itertools.pairwise(edges))


def _ledger(
    conn: Connection, plan: Plan, table: Table, day: dt.date, zone: ZoneInfo, span: tuple[int, int]
) -> list[Disagreement]:
    times = points(plan, day, zone)
    width = len(times)
    rows = conn.execute(
        "SELECT meter_id, present::text, late::text, absent::text, estimated::text FROM coverage "
        "WHERE plan = %s AND day = %s AND meter_id >= %s AND meter_id < %s ORDER BY meter_id",
        (plan.id, day, *span),
    ).fetchall()
    masks = ("present", "late", "absent", "estimated")
    odd = [row["meter_id"] for row in rows if any(row[m] is not None and len(row[m]) != width for m in masks)]
    rows = [row for row in rows if row["meter_id"] not in set(odd)]
    meter, time = _there(conn, plan, table, times, span)
    known = np.array([row["meter_id"] for row in rows], dtype=np.int64)
    meters = np.union1d(known, meter)
    place = np.searchsorted(meters, known)

    def grid(name: str) -> Bits:
        bits = np.zeros((len(meters), width), dtype=np.bool_)
        texts = [row[name] if row[name] is not None else "0" * width for row in rows]
        if texts:
            bits[place] = np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(
                len(texts), width
            ) == ord("1")
        return bits

    there = np.zeros((len(meters), width), dtype=np.bool_)
    there[np.searchsorted(meters, meter), np.searchsorted(times, time)] = True
    present, late, absent, estimated = map(grid, masks)
    standing = _standing(conn, table, meters, times) if estimated.any() else estimated
    wrong = {
        "a row is there, the ledger does not know it": there & ~present,
        "the ledger has it present, there is no row": present & ~there,
        "late, and not present": late & ~present,
        "absent, and present": absent & present,
        "an estimate by the ledger, none by the revisions": estimated & ~standing,
    }
    names = _assets(conn, [*meters[np.logical_or.reduce(list(wrong.values())).any(axis=1)].tolist(), *odd])
    return [
        *(
            Disagreement(
                "ledger", f"bits for another number of points than {width}", names[m], day, None, plan.name
            )
            for m in odd
        ),
        *(
            Disagreement("ledger", what, names[int(meters[m])], day, as_datetime(times[t]), plan.name)
            for what, bits in wrong.items()
            for m, t in np.argwhere(bits)[:MOST].tolist()
        ),
    ]


def _there(
    conn: Connection, plan: Plan, table: Table, times: Times, span: tuple[int, int]
) -> tuple[I64, Times]:
    """(meter, time) of the rows that make their point present (plans.Plan.met_by), on the plan's grid."""
    needed = (
        " AND ".join(f"{code} IS NOT NULL" for code in plan.needs)
        or f"num_nonnulls({', '.join(table.codes)}) > 0"
    )
    found = packed.rows(
        conn,
        table,
        (),
        first=times[0],
        last=times[-1],
        where=f"meter_id >= %s AND meter_id < %s AND {needed}",
        values=span,
    )
    on_grid = times[np.minimum(np.searchsorted(times, found.time), len(times) - 1)] == found.time
    return found.meter[on_grid], found.time[on_grid]


def _standing(conn: Connection, table: Table, meters: I64, times: Times) -> Bits:
    """bool[meter, point]: where the newest version of any quantity is an estimate."""
    rows = conn.execute(
        "SELECT DISTINCT meter_id, ts FROM (SELECT DISTINCT ON (meter_id, ts, quantity) meter_id, ts, method FROM revision "
        "WHERE source = %s AND meter_id = ANY(%s) AND ts BETWEEN %s AND %s ORDER BY meter_id, ts, quantity, version DESC) v "
        "WHERE method <> ALL(%s)",
        (table.source, meters.tolist(), as_datetime(times[0]), as_datetime(times[-1]), list(NO_ESTIMATES)),
    ).fetchall()
    bits = np.zeros((len(meters), len(times)), dtype=np.bool_)
    if rows:
        when = np.array([row["ts"].replace(tzinfo=None) for row in rows], dtype="datetime64[us]")
        column = np.minimum(np.searchsorted(times, when), len(times) - 1)
        ok = times[column] == when
        bits[np.searchsorted(meters, [row["meter_id"] for row in rows])[ok], column[ok]] = True
    return bits


# --- keys and versions ---


def duplicates(conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[Disagreement]:
    """Keys that are there twice, read from the rows and not from an index that may be wrong; and native partitions that overlap or are
    not what the list of them says."""
    found = _pieces(conn)
    with conn.transaction():
        for way in ("indexscan", "indexonlyscan", "bitmapscan"):
            conn.execute(f"SET LOCAL enable_{way} = off")
        day = first
        while day <= last and len(found) < MOST:
            for table, keys in KEYS.items():
                found += _twice(conn, zone, table, keys, day)
            day += dt.timedelta(days=1)
        for way in (
            "indexscan",
            "indexonlyscan",
            "bitmapscan",
        ):  # the caller's transaction may be around this one
            conn.execute(f"SET LOCAL enable_{way} = on")
    return found[:MOST]


def _twice(
    conn: Connection, zone: ZoneInfo, table: str, keys: tuple[str, ...], day: dt.date
) -> list[Disagreement]:
    rows = conn.execute(
        f"SELECT {', '.join(keys)}, count(*) AS times FROM {table} WHERE ts > %s AND ts <= %s GROUP BY {', '.join(keys)} HAVING count(*) > 1 "
        "ORDER BY 1, 2 LIMIT %s",
        (as_datetime(midnight(day, zone)), as_datetime(midnight(day + dt.timedelta(days=1), zone)), MOST),
    ).fetchall()
    names = _assets(conn, [row["meter_id"] for row in rows])
    return [
        Disagreement(
            "duplicates", f"{row['times']} rows of one key in {table}", names[row["meter_id"]], day, row["ts"]
        )
        for row in rows
    ]


def _pieces(conn: Connection) -> list[Disagreement]:
    found = []
    pieces = partitions.pieces(conn)
    for before, after in itertools.pairwise(pieces):
        if before.parent == after.parent and after.lo < before.hi:
            found.append(
                Disagreement("duplicates", f"{before.name} and {after.name} overlap from {after.lo} on")
            )
    if not partitions.hypertables(conn):
        there = {
            row["name"]: row["parent"]
            for row in conn.execute(
                "SELECT c.relname AS name, p.relname AS parent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "JOIN pg_class p ON p.oid = i.inhparent JOIN partition_span s ON s.parent = p.relname WHERE c.relkind = 'r'"
            )
        }
        listed = {piece.name: piece.parent for piece in pieces}
        for name in sorted(there.keys() ^ listed.keys()):
            what = (
                "is not in the list of partitions"
                if name in there
                else "is in the list of partitions, and does not exist"
            )
            found.append(Disagreement("duplicates", f"{name} {what}"))
    return found


def versions(conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[Disagreement]:
    """Revisions count 2, 3, 4 … for each value, and each says something else than the one before it."""
    bounds = (as_datetime(midnight(first, zone)), as_datetime(midnight(last + dt.timedelta(days=1), zone)))
    rows = conn.execute(
        """
        SELECT meter_id, ts, source, quantity, version, n, same FROM (
            SELECT meter_id, ts, source, quantity, version, row_number() OVER w AS n,
                   (value, method) IS NOT DISTINCT FROM (lag(value) OVER w, lag(method) OVER w) AS same
            FROM revision WHERE ts > %s AND ts <= %s WINDOW w AS (PARTITION BY meter_id, ts, source, quantity ORDER BY version)) v
        WHERE version <> n + 1 OR (n > 1 AND same) ORDER BY meter_id, ts LIMIT %s
        """,
        (*bounds, MOST),
    ).fetchall()
    told = [
        (
            row,
            f"version {row['version']} of {row['source']} {row['quantity']} "
            + ("is no other than the one before" if row["same"] else f"is number {row['n'] + 1}"),
        )
        for row in rows
    ]  # fmt: skip
    gone = partitions.thrown_away(conn)
    for table in TABLES.values():
        lo = max(
            bounds[0], gone.get(table.name, bounds[0])
        )  # revisions are never thrown away, their first versions are
        for code in table.codes:
            told += [
                (row, f"version 2 of {table.source} {code} was read like the first, or without a first")
                for row in _first_again(conn, table, code, (lo, bounds[1]))
            ]
    names = _assets(conn, [row["meter_id"] for row, _ in told])
    return [Disagreement("versions", what, names[row["meter_id"]], None, row["ts"]) for row, what in told][
        :MOST
    ]


def _first_again(
    conn: Connection, table: Table, code: str, bounds: tuple[dt.datetime, dt.datetime]
) -> list[dict[str, Any]]:
    """Second versions that a meter's answer made, although the first reading says the same."""
    kind = "" if table.kind is None else f"AND r.kind = {table.kind}"
    return conn.execute(
        f"SELECT v.meter_id, v.ts FROM revision v LEFT JOIN {table.name} r ON r.meter_id = v.meter_id AND r.ts = v.ts {kind} "
        "AND r.ts > %(lo)s AND r.ts <= %(hi)s WHERE v.source = %(source)s AND v.quantity = %(code)s AND v.version = 2 AND v.method = %(read)s "
        f"AND v.ts > %(lo)s AND v.ts <= %(hi)s AND (r.{code} IS NULL OR {numeric(table, f'r.{code}', code)} = v.value) LIMIT %(most)s",
        {"lo": bounds[0], "hi": bounds[1], "source": table.source, "code": code, "read": READ, "most": MOST},
    ).fetchall()


# --- the feed ---


def order(conn: Connection) -> list[Disagreement]:
    """The feed's numbers belong to this server and come after what was thrown away; its followers stand within it."""
    found = []
    state = conn.execute(
        "SELECT epoch, feed_xid::text AS xid, feed_seq AS seq, pg_snapshot_xmax(pg_current_snapshot())::text AS xmax FROM cluster"
    ).fetchone()
    assert state is not None
    ahead = conn.execute(
        "SELECT count(*) AS n, min(xid)::text AS first FROM feed WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) "
        "AND xid IS DISTINCT FROM pg_current_xact_id_if_assigned()"
    ).fetchone()
    if ahead and ahead["n"]:
        what = f"{ahead['n']} rows from transaction {ahead['first']} on, and this server has only come to {state['xmax']}"
        found.append(Disagreement("feed", f"{what}: it was copied without `headend restore`"))
    gone = conn.execute(
        "SELECT count(*) AS n FROM feed WHERE (xid, seq) <= (%s::text::xid8, %s::bigint)",
        (state["xid"], state["seq"]),
    ).fetchone()
    if gone and gone["n"]:
        found.append(
            Disagreement(
                "feed",
                f"{gone['n']} rows are older than what was thrown away: nobody will ever be told of them",
            )
        )
    for row in conn.execute("SELECT job, cursor FROM job_cursor WHERE cursor <> ''").fetchall():
        try:
            feed.touched(conn, row["cursor"], 1)
        except feed.StaleCursor:
            continue  # it will begin again
        except feed.BadCursor as error:
            found.append(Disagreement("feed", f"job {row['job']}: {error}"))
    lost = conn.execute(
        "SELECT m AS meter, count(*) AS n FROM feed CROSS JOIN LATERAL unnest(meters) m WHERE NOT EXISTS "
        "(SELECT FROM meter WHERE meter_id = m) GROUP BY m ORDER BY m LIMIT %s",
        (MOST,),
    ).fetchall()
    what = "changes of a meter that the archive does not have"
    return [*found, *(Disagreement("feed", f"{row['n']} {what}", f"#{row['meter']}") for row in lost)]


# --- evidence ---


def evidence(
    conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date, *, sample: int | None = None
) -> list[Disagreement]:
    """Exchanges taken on these days unpack to what their hash names (`sample`: so many of them, spread evenly; None: all), and every hash
    beside a reading of these days has its exchange, unless that is so old that its bytes may have been thrown away."""
    return [*_unpacked(conn, zone, first, last, sample), *_orphans(conn, zone, first, last)][:MOST]


def _unpacked(
    conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date, sample: int | None
) -> list[Disagreement]:
    bounds = (as_datetime(midnight(first, zone)), as_datetime(midnight(last + dt.timedelta(days=1), zone)))
    row = conn.execute(
        "SELECT count(*) AS n FROM exchange WHERE taken_at >= %s AND taken_at < %s", bounds
    ).fetchone()
    total = row["n"] if row else 0
    step = 1 if sample is None or total <= sample else total // sample
    found: list[Disagreement] = []
    with conn.cursor(name="check_exchanges") as cursor:
        cursor.itersize = 200  # bodies of some KiB each
        cursor.execute(
            "SELECT * FROM (SELECT *, row_number() OVER (ORDER BY taken_at, terminal_id, evidence) AS n FROM exchange "
            "WHERE taken_at >= %s AND taken_at < %s) e WHERE n %% %s = 0",
            (*bounds, step),
        )
        for stored in cursor:
            what = _spoilt(stored)
            if what:
                found.append(Disagreement("evidence", what, slot=stored["taken_at"]))
            if len(found) >= MOST:
                break
    return found


def _spoilt(row: dict[str, Any]) -> str:
    """Why an exchange is not what it says; '' if it is."""
    try:
        exchange = exchanges.unpack(row)
    except NotAnExchange as error:
        return str(error)
    if (exchange.evidence, exchange.terminal) != (row["evidence"], row["terminal_id"]):
        return f"the exchange of {row['taken_at']} with terminal {row['terminal_id']} is filed under another's name"
    return ""


def _orphans(conn: Connection, zone: ZoneInfo, first: dt.date, last: dt.date) -> list[Disagreement]:
    """Hashes beside readings whose exchange should still be there, and is not."""
    gone = partitions.thrown_away(conn).get("exchange")
    since = as_datetime(midnight(first, zone))
    if gone is not None:
        since = max(since, gone + AHEAD)  # what is stamped later cannot have come in an exchange that is gone
    until = as_datetime(midnight(last + dt.timedelta(days=1), zone))
    found = []
    for table in KEYS:
        rows = conn.execute(
            f"SELECT DISTINCT ON (r.evidence) r.evidence, r.meter_id, r.ts FROM {table} r WHERE r.ts > %(since)s AND r.ts <= %(until)s "
            "AND r.evidence IS NOT NULL AND NOT EXISTS (SELECT FROM exchange e "
            "WHERE e.evidence = r.evidence AND e.taken_at >= %(since)s - %(ahead)s) ORDER BY r.evidence, r.ts, r.meter_id LIMIT %(most)s",
            {"since": since, "until": until, "ahead": AHEAD, "most": MOST},
        ).fetchall()
        names = _assets(conn, [row["meter_id"] for row in rows])
        found += [
            Disagreement(
                "evidence", f"a row of {table} names exchange {row['evidence'] & (2**64 - 1):016x}, which is not there",
                names[row["meter_id"]], None, row["ts"],
            )
            for row in rows
        ]  # fmt: skip
    return found


# --- all of it, for people ---


CHECKS: Final = ("ledger", "duplicates", "versions", "feed", "evidence", "rollups")
#: what stands on the command line -> what is looked at
CHOICES: Final = {
    "ledger": ("ledger", "duplicates", "versions"),
    "rollups": ("rollups",),
    "feed": ("feed",),
    "evidence": ("evidence",),
    "all": CHECKS,
}


def report(
    conn: Connection,
    zone: ZoneInfo,
    first: dt.date,
    last: dt.date,
    checks: Sequence[str] = CHECKS,
    *,
    sample: int | None = None,
) -> Report:
    """Look at the chosen checks on one snapshot. The connection is outside a transaction."""
    wrong: list[Disagreement] = []
    left_out = 0
    with snapshot(conn):
        for name in checks:
            if name == "rollups":
                differences, left_out = rollups.check(conn, zone, first, last, MOST)
                names = _assets(conn, [d.meter for d in differences])
                wrong += [Disagreement("rollups", _told(d), names[d.meter], d.day) for d in differences]
            elif name == "feed":
                wrong += order(conn)
            elif name == "evidence":
                wrong += evidence(conn, zone, first, last, sample=sample)
            else:
                wrong += {"ledger": ledger, "duplicates": duplicates, "versions": versions}[name](
                    conn, zone, first, last
                )
    return Report(first, last, tuple(checks), tuple(wrong[:MOST]), left_out)


def _told(found: rollups.Difference) -> str:
    columns = sorted(found.columns.items())
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return (
        f"{found.table}: "
        + ", ".join(f"{name} {old} should be {new}" for name, (old, new) in columns[:3])
        + more
    )


def whole(conn: Connection, zone: ZoneInfo) -> tuple[dt.date, dt.date] | None:
    """The first and the last local day of which the ledger or a reading is there; None: the store is empty."""
    days: list[dt.date] = []
    for table, column in (("coverage", "day"), *((table, "ts") for table in KEYS)):
        pieces = partitions.pieces(conn, (table,))
        for piece, of in ((pieces, "min"), (list(reversed(pieces)), "max")):
            for one in piece:  # the outermost piece that is not empty: one look each at a bounded time
                row = conn.execute(
                    f"SELECT {of}({column}) AS edge FROM {table} WHERE {column} >= %s AND {column} < %s",
                    (one.lo, one.hi),
                ).fetchone()
                if row and row["edge"] is not None:
                    edge = row["edge"]
                    day = edge.astimezone(zone).date() if isinstance(edge, dt.datetime) else edge
                    days += [day - dt.timedelta(days=1), day] if isinstance(edge, dt.datetime) else [day]
                    break
    return (min(days), max(days)) if days else None


def _kept_from(conn: Connection, zone: ZoneInfo, tables: Sequence[str]) -> dt.date | None:
    """The first local day that has been thrown away from none of the tables; None: nothing has."""
    gone = partitions.thrown_away(conn)
    edges = [gone[table] for table in tables if table in gone]
    if not edges:
        return None
    day = max(edges).date()
    while as_datetime(midnight(day, zone)) < max(edges):
        day += dt.timedelta(days=1)
    return day


def _assets(conn: Connection, meters: Sequence[int]) -> dict[int, str]:
    """meter_id -> asset number; '#7' where the archive has none."""
    known = {
        row["meter_id"]: row["asset"]
        for row in conn.execute(
            "SELECT meter_id, asset FROM meter WHERE meter_id = ANY(%s)", (sorted(set(meters)),)
        )
    }
    return {meter: known.get(meter, f"#{meter}") for meter in meters}


__all__ = [
    "CHECKS", "CHOICES", "MOST", "SAMPLE", "Disagreement", "Report", "duplicates", "everything", "evidence", "ledger", "order", "report",
    "snapshot", "versions", "whole",
]  # fmt: skip
