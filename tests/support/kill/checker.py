"""Proves that the store holds what its writers were told it holds, and nothing else: everything of a batch or nothing of it."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg.rows import tuple_row

from headend.store import db
from headend.store.db import Connection
from headend.store.tables import TABLES
from protocols.quantity import quantities
from tests.support.kill.batches import EPOCH, Batch
from tests.support.kill.model import Ledger, Model, Vain

BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: enough to see what kind of fault it is
TOLD = 5
LONG = 400


class Wrong(Exception):
    """The store is not what it must be; one line for each difference, up to a few of a kind."""


@dataclass(slots=True)
class Checker:
    """Keeps the model between checks: each one adds what was committed since the last."""

    dsn: str
    logs: Path
    model: Model = field(default_factory=Model)
    batches: dict[str, Batch] = field(default_factory=dict)
    committed: list[str] = field(default_factory=list)
    unsure: int = 0  # batches whose writer died before it was told, and which are there
    _read: dict[Path, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Nobody writes now. Wrong if anything differs."""
        self._read_logs()
        with db.connect(self.dsn) as conn, conn.transaction():
            # one connection, one snapshot: what is compared belongs together
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            wrong = list(self._differences(conn))
        if wrong:
            raise Wrong("\n".join(wrong))

    def _read_logs(self) -> None:
        """A last line that is cut off announced a batch that was never sent."""
        for log in sorted(self.logs.glob("writer-*.log")):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
            for line in whole.decode().splitlines():
                what, _, rest = line.partition(" ")
                if what == "begin":
                    batch = Batch.parse(rest)
                    self.batches[batch.name] = batch
                else:
                    self._told.add(rest)

    def _differences(self, conn: Connection) -> Iterator[str]:
        order = self._order(conn)
        there = {name for name, _ in order}
        yield from _some("told that it is committed, and not there", sorted(self._told - there))
        known = set(self.committed)
        yield from _some("was there, and is no more", sorted(known - there))
        for name, _ in order:
            if name not in self.batches:
                yield f"batch {name} is there and was never begun"
            elif name not in known:
                self.committed.append(name)
                self.unsure += name not in self._told
                self.model.apply(self.batches[name])
        yield from self._readings(conn)
        yield from self._ledger(conn)
        yield from self._feed(conn, order)

    def _order(self, conn: Connection) -> list[tuple[str, int]]:
        """Batches that are there, by their exchanges, with their transactions; in the order of their commits."""
        found = rows(
            conn,
            "SELECT split_part(task, '/', 1), min(xmin::text::bigint), max(xmin::text::bigint) FROM exchange "
            "GROUP BY 1 ORDER BY min(pg_xact_commit_timestamp(xmin))",
        )
        return [(name, first if first == last else -1) for name, first, last in found]

    def _readings(self, conn: Connection) -> Iterator[str]:
        model = self.model
        for table in TABLES.values():
            if table.source == "month":
                continue
            found: dict[Any, Any] = {}
            kind = "" if table.kind is None else f"WHERE kind = {table.kind}"
            for meter, ts, evidence, *cells in rows(
                conn, f"SELECT meter_id, ts, evidence, {', '.join(table.codes)} FROM {table.name} {kind}"
            ):
                key = (meter, us(ts))
                if key in found:
                    yield f"{table.name} has meter {meter} at {ts} twice"
                held = {code: cell for code, cell in zip(table.codes, cells, strict=True) if cell is not None}
                found[key] = (held, evidence)
            wanted = {
                key: (held, model.evidence[table.source, *key])
                for key, held in model.rows[table.source].items()
            }
            yield from _unlike(f"{table.name} ({table.source})", wanted, found)
        yield from _unlike(
            "other_read",
            model.others,
            {
                (meter, us(ts), kind, code): (
                    count if quantities()[code].kind == "register" else value,
                    evidence,
                )
                for meter, ts, kind, code, count, value, evidence in rows(
                    conn, "SELECT meter_id, ts, kind, quantity, count, value, evidence FROM other_read"
                )
            },
        )
        versions: dict[Any, Any] = {}
        for meter, ts, source, code, version, value, evidence, at, reason, who in rows(
            conn,
            "SELECT meter_id, ts, source, quantity, version, value, evidence, at, reason, who FROM revision ORDER BY version",
        ):
            told = versions.setdefault((meter, us(ts), source, code), [])
            if version != len(told) + 2:
                yield f"revision of meter {meter} at {ts}: version {version} after {len(told)} others"
            told.append((value, evidence, us(at), reason, who))
        yield from _unlike(
            "revision",
            {
                cell: [(Decimal(str(value)), *rest) for value, *rest in told]
                for cell, told in model.revisions.items() if told
            },
            versions,
        )  # fmt: skip
        yield from _unlike(
            "completion",
            model.completions,
            {
                (meter, source, evidence): (set(codes), Counter(us(when) for when in instants))
                for meter, source, evidence, codes, instants in rows(
                    conn, "SELECT meter_id, source, evidence, codes, instants FROM completion"
                )
            },
        )
        yield from _unlike(
            "exchange",
            model.exchanges,
            {
                (terminal, us(taken), evidence): bytes(sha)
                for terminal, taken, evidence, sha in rows(
                    conn, "SELECT terminal_id, taken_at, evidence, sha256 FROM exchange"
                )
            },
        )

    def _ledger(self, conn: Connection) -> Iterator[str]:
        """Against the model; and against the rows themselves, whatever the model says."""
        found = {
            (plan, meter, days(day)): Ledger(
                us(first), us(last), bits(present), bits(late), bits(absent), attempts
            )
            for plan, meter, day, present, late, absent, attempts, first, last in rows(
                conn,
                "SELECT plan, meter_id, day, present::text, late::text, absent::text, attempts, first_at, last_at FROM coverage",
            )
        }
        yield from _unlike("coverage", self.model.coverage, found)
        yield from _unlike(
            "gap_reason",
            self.model.reasons,
            {
                (plan, meter, days(day), reason): Vain(bits(slots), attempts, us(since), us(last), detail)
                for plan, meter, day, reason, slots, attempts, since, last, detail in rows(
                    conn,
                    "SELECT plan, meter_id, day, reason, slots::text, attempts, since, last_at, detail FROM gap_reason",
                )
            },
        )
        present: dict[Any, Any] = {key: row.present for key, row in found.items() if row.present}
        slot = "(extract(epoch FROM ts)::bigint + 28800) / 900 - 1"
        curve = (
            f"SELECT %s, meter_id, ({slot}) / 96, array_agg((({slot}) %% 96)::int) FROM {{}} GROUP BY 2, 3"
        )
        counted = [
            *rows(conn, curve.format("slot_read WHERE active_import IS NOT NULL"), 1),
            *rows(conn, curve.format("slot_phase_read"), 4),
            *rows(
                conn,
                f"SELECT 2, meter_id, ({slot}) / 96, ARRAY[0] FROM register_read WHERE kind = 2 AND active_import IS NOT NULL",
            ),
        ]
        yield from _unlike(
            "coverage against the rows",
            {(plan, m, int(day)): set(at) for plan, m, day, at in counted},
            present,
        )

    def _feed(self, conn: Connection, order: list[tuple[str, int]]) -> Iterator[str]:
        """Each batch's changes in its transaction; and the consumer was told exactly the table, in its order."""
        assets = dict(rows(conn, "SELECT meter_id, asset FROM meter"))
        told: list[list[str]] = []
        by_transaction: dict[int, set[tuple[str, str, int, int]]] = {}
        for xid, topic, change, day, meters in rows(
            conn, "SELECT xid::text::bigint, topic, change, day, meters FROM feed ORDER BY feed.xid, seq"
        ):
            changes = by_transaction.setdefault(xid, set())
            for meter in meters:
                if (topic, change, days(day), meter) in changes:
                    yield f"the feed tells of {topic} {change} {day} meter {meter} twice in transaction {xid}"
                changes.add((topic, change, days(day), meter))
                told.append([topic, change, str(day), assets[meter]])
        wanted = {xid: self.model.feed[name] for name, xid in order if self.model.feed.get(name)}
        yield from _unlike("feed, by transaction", wanted, by_transaction)
        heard: list[list[str]] = []
        for line in (self.logs / "consumer.log").read_text().splitlines():
            heard += json.loads(line)["changes"]
        if heard != told:
            at = next(
                (k for k, (a, b) in enumerate(zip(heard, told, strict=False)) if a != b),
                min(len(heard), len(told)),
            )
            yield f"the consumer heard {len(heard)} changes, the feed has {len(told)}; they differ from number {at} on"


def rows(conn: Connection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(sql, parameters or None).fetchall()


def us(when: dt.datetime) -> int:
    return (when - BEGINNING) // dt.timedelta(microseconds=1)


def days(day: dt.date) -> int:
    return (day - EPOCH).days


def bits(text: str) -> set[int]:
    return {k for k, bit in enumerate(text) if bit == "1"}


def _some(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"{len(names)} × {what}: {', '.join(names[:TOLD])}"


def _unlike(what: str, wanted: dict[Any, Any], found: dict[Any, Any]) -> Iterator[str]:
    if wanted == found:
        return
    for name, keys in (("lost", wanted.keys() - found.keys()), ("too much", found.keys() - wanted.keys())):
        yield from _some(f"{what}: {name}", [str(key) for key in sorted(keys)])
    differ = [key for key in wanted.keys() & found.keys() if wanted[key] != found[key]]
    if differ:
        key = min(differ)
        yield f"{len(differ)} × {what}: not as it must be: {key}: {str(found[key])[:LONG]}, must be {str(wanted[key])[:LONG]}"
