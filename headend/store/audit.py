"""The audit: one append-only chain over order events, approvals, notices, limits, rules for wallets, the kill switch, spared days, releases,
plans of orderly use and restores.

The database chains (schema/0022): every path that writes such a row is in it, in the same transaction. Here it is verified, by another
hand: the hashes are worked out anew, and the rows that were chained are compared with what was said of them then.

A chain whose tail was cut off is whole by itself. So its head is kept elsewhere: `Head` is one line of text.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headend.store.db import Connection, StoreError

ZERO: Final = bytes(32)
#: records looked at in one go
PAGE: Final = 5000
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BadHead(StoreError):
    """The text is no head of a chain."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number and its hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq} {self.hash}"


def parse_head(text: str) -> Head:
    found = re.fullmatch(r"\s*(\d{1,18})\s+([0-9a-f]{64})\s*", text)
    if found is None:
        raise BadHead(
            "a head of the audit is its number and 64 hexadecimal digits, as `headend audit head` prints it; "
            f"this is {text.strip()[:40]!r}"
        )
    return Head(int(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Broken:
    """What is wrong, at which record (None: at a row that is not chained), in English and Chinese."""

    seq: int | None
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`broken`: the first broken link; None: the chain holds. `head`: where it ends. `since`: when the chain that is there was begun."""

    records: int
    head: Head | None
    broken: Broken | None


def digest(seq: int, kind: str, ref: str, recorded: dt.datetime, body: str, prev: bytes) -> bytes:
    """The hash of a record: canonical bytes as schema/0022 says."""
    micros = (recorded - EPOCH) // dt.timedelta(microseconds=1)
    return hashlib.sha256(prev + "\n".join((str(seq), kind, ref, str(micros), body)).encode()).digest()


def note(conn: Connection, kind: str, ref: str, said: Mapping[str, Any]) -> None:
    """Chain something that has no row of its own, in the caller's transaction. A store from before there was a chain has none."""
    there = conn.execute("SELECT to_regclass('audit') IS NOT NULL AS there").fetchone()
    if there and there["there"]:
        conn.execute("SELECT audit_add(%s, %s, %s::jsonb)", (kind, ref, json.dumps(dict(said))))


def head(conn: Connection) -> Head | None:
    """Where the chain ends."""
    row = conn.execute(
        "SELECT seq, encode(hash, 'hex') AS hash FROM audit ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return Head(row["seq"], row["hash"]) if row else None


def records(
    conn: Connection, *, limit: int, before: int | None = None, kind: str | None = None
) -> list[dict[str, Any]]:
    """Records, newest first, their bodies as objects."""
    rows = conn.execute(
        "SELECT seq, kind, ref, body::jsonb AS body, recorded, encode(hash, 'hex') AS hash FROM audit "
        "WHERE (%(before)s::bigint IS NULL OR seq < %(before)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s) ORDER BY seq DESC LIMIT %(limit)s",
        {"before": before, "kind": kind, "limit": limit},
    )
    return rows.fetchall()


def verify(conn: Connection, since: Head | None = None) -> Verdict:
    """Follow the chain from its beginning, in a snapshot of its own; then look for rows that it does not know, and for what was said of rows
    that are gone or say something else. `since`: a head that was kept elsewhere, which must be in it."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        conn.execute("SET LOCAL timezone = 'UTC'")
        conn.execute("SET LOCAL statement_timeout = 0")
        seq, hash_, begun, broken = 0, ZERO, None, None
        for row in _all(conn):
            broken = _link(row, seq, hash_) or (since and _kept(row, since)) or None
            if broken:
                break
            seq, hash_ = row["seq"], row["hash"]
            begun = begun or row
        if broken is None:
            broken = _beginning(conn, begun) or _tail(seq, since) or _rows(conn)
        return Verdict(seq, Head(seq, hash_.hex()) if seq else None, broken)


def _all(conn: Connection) -> Iterator[dict[str, Any]]:
    last = 0
    while rows := conn.execute(
        "SELECT seq, kind, ref, body, recorded, prev, hash FROM audit WHERE seq > %s ORDER BY seq LIMIT %s",
        (last, PAGE),
    ).fetchall():
        yield from rows
        last = rows[-1]["seq"]


def _link(row: dict[str, Any], seq: int, before: bytes) -> Broken | None:
    n = row["seq"]
    if n != seq + 1:
        missing = f"{seq + 1}" if n == seq + 2 else f"{seq + 1} to {n - 1}"
        return Broken(
            n, f"records {missing} are missing before it", f"其前缺少第 {missing.replace(' to ', '–')} 条记录"
        )
    if bytes(row["prev"]) != before:
        return Broken(
            n,
            "it does not follow the record before it: one of the two was replaced",
            "与前一条记录不相连：其中之一被替换",
        )
    told = digest(n, row["kind"], row["ref"], row["recorded"], row["body"], before)
    if bytes(row["hash"]) != told:
        return Broken(
            n,
            f"it was changed: {row['kind']} {row['ref']}".rstrip(),
            f"内容被改动：{row['kind']} {row['ref']}".rstrip(),
        )
    return None


def _kept(row: dict[str, Any], since: Head) -> Broken | None:
    if row["seq"] != since.seq or row["hash"].hex() == since.hash:
        return None
    return Broken(
        since.seq, "it is not the record whose head was kept: the chain was written anew, or belongs to another store",
        "与留存的链头不符：审计链被重写，或属于另一个库",
    )  # fmt: skip


def _tail(seq: int, since: Head | None) -> Broken | None:
    if since is None or since.seq <= seq:
        return None
    gone = since.seq - seq
    return Broken(
        seq + 1, f"the chain ends at {seq}, and reached {since.seq} when its head was kept: {gone} records are missing at its end",
        f"审计链止于第 {seq} 条，留存链头为第 {since.seq} 条：末尾缺少 {gone} 条记录",
    )  # fmt: skip


def _beginning(conn: Connection, first: dict[str, Any] | None) -> Broken | None:
    """The first record says how much there was before the chain; that is what must be there unchained, no row more or less."""
    if first is None or first["kind"] != "begin":
        return Broken(1, "the chain has no beginning", "审计链没有起始记录")
    said = json.loads(first["body"])
    found = conn.execute("SELECT audit_before() AS found").fetchone()
    assert found is not None
    if {name: said.get(name) for name in ("rows", "sha256")} == found["found"]:
        return None
    strange = conn.execute(
        "SELECT e.order_id || '/' || e.seq AS ref FROM order_event e "
        "WHERE NOT EXISTS (SELECT FROM audit a WHERE a.kind = 'order' AND a.ref = e.order_id || '/' || e.seq) ORDER BY e.recorded DESC LIMIT 1"
    ).fetchone()
    return Broken(
        None, f"{found['found']['rows']} rows are not chained, where {said.get('rows')} were there before the chain, or they were changed"
        + (f"; the newest of orders is {strange['ref']}" if strange else ""),
        f"有 {found['found']['rows']} 行未入链（链前应为 {said.get('rows')} 行），或链前的行被改动"
        + (f"；最新的命令事件为 {strange['ref']}" if strange else ""),
    )  # fmt: skip


def _rows(conn: Connection) -> Broken | None:
    """The first record whose row is gone, or says something else now."""
    row = conn.execute(
        """
        SELECT * FROM (
            SELECT a.seq, a.kind, a.ref, e.order_id IS NULL AS gone FROM audit a
            LEFT JOIN order_event e ON e.order_id = split_part(a.ref, '/', 1)::bigint AND e.seq = split_part(a.ref, '/', 2)::integer
            WHERE a.kind = 'order' AND (e.order_id IS NULL OR audit_body(e)::text <> a.body)
            UNION ALL
            SELECT a.seq, a.kind, a.ref, n.notice_id IS NULL FROM audit a LEFT JOIN notice n ON n.notice_id = a.ref::bigint
            WHERE a.kind = 'notice' AND (n.notice_id IS NULL OR audit_body(n)::text <> a.body)
            UNION ALL
            SELECT a.seq, a.kind, a.ref, d.notice_id IS NULL FROM audit a
            LEFT JOIN notice_delivery d ON d.notice_id = split_part(a.ref, '/', 1)::bigint AND d.seq = split_part(a.ref, '/', 2)::integer
            WHERE a.kind = 'delivery' AND (d.notice_id IS NULL OR audit_body(d)::text <> a.body)
            UNION ALL
            SELECT a.seq, a.kind, a.ref, e.plan_id IS NULL FROM audit a LEFT JOIN orderly_event e ON e.orderly_event_id = a.ref::bigint
            WHERE a.kind = 'orderly' AND (e.plan_id IS NULL OR NOT to_jsonb(e) @> a.body::jsonb)
            UNION ALL
            SELECT a.seq, a.kind, a.ref, t.terms_id IS NULL FROM audit a LEFT JOIN fee_terms t ON t.terms_id = a.ref::bigint
            WHERE a.kind = 'terms' AND (t.terms_id IS NULL OR NOT to_jsonb(t) @> a.body::jsonb)
            UNION ALL
            SELECT a.seq, a.kind, a.ref, true FROM audit a WHERE a.kind = 'debt'
              AND NOT EXISTS (SELECT FROM debt d WHERE d.debt_id = a.ref::int AND to_jsonb(d) @> a.body::jsonb)
              AND NOT EXISTS (SELECT FROM debt_act d WHERE d.debt_id = a.ref::int AND to_jsonb(d) @> a.body::jsonb)
            UNION ALL  -- a grant that was revoked says so in a further record
            SELECT a.seq, a.kind, a.ref, g.grace_id IS NULL FROM audit a LEFT JOIN grace g ON g.grace_id = a.ref::bigint
            WHERE a.kind = 'grace' AND (g.grace_id IS NULL OR NOT to_jsonb(g) @> (a.body::jsonb - 'revoked_by' - 'revoked_at'))) told
            ORDER BY seq LIMIT 1
        """
    ).fetchone()
    if row is None:
        return _now(conn)
    what = f"{row['kind']} {row['ref']}"
    if row["gone"]:
        return Broken(row["seq"], f"what it tells of is gone: {what}", f"所记的行已不在：{what}")
    return Broken(
        row["seq"], f"what it tells of says something else now: {what}", f"所记的行已被改动：{what}"
    )


def _now(conn: Connection) -> Broken | None:
    """Limits, rules for wallets and the kill switch are rows that change: the newest record of each says what must stand there."""
    limits = conn.execute(
        "SELECT seq FROM (SELECT seq, coalesce(body::jsonb -> 'becomes', body::jsonb -> 'limits') AS said FROM audit "
        "WHERE kind IN ('begin', 'limits') ORDER BY seq DESC LIMIT 1) a WHERE said IS DISTINCT FROM (SELECT limits FROM cluster)"
    ).fetchone()
    if limits:
        return Broken(limits["seq"], "the limits for trips are not what it says", "停电限值与所记不符")
    rules = conn.execute(
        "SELECT seq FROM (SELECT seq, body::jsonb -> 'becomes' AS said FROM audit WHERE kind = 'wallet-rules' ORDER BY seq DESC LIMIT 1) a "
        "WHERE said IS DISTINCT FROM (SELECT wallet_rules FROM cluster)"
    ).fetchone()
    if rules:
        return Broken(rules["seq"], "the rules for wallets are not what it says", "钱包对账规则与所记不符")
    stop = conn.execute(
        "SELECT seq FROM (SELECT seq, (body::jsonb ->> 'stopped')::boolean AS said FROM audit WHERE kind = 'stop' ORDER BY seq DESC LIMIT 1) a "
        "WHERE said IS DISTINCT FROM (SELECT stopped FROM trip_stop)"
    ).fetchone()
    return (
        Broken(stop["seq"], "the kill switch is not where it says", "停电总闸状态与所记不符")
        if stop
        else None
    )
