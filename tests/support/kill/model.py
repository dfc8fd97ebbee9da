"""What the store must hold after some batches, told in plain dictionaries and one value at a time: as unlike the store's own code as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from headend.plans import CURVE, DAY
from headend.store.tables import SOURCES, Table
from tests.support.kill.batches import AHEAD, DAY_LONG, REASON, Batch, Item, exchange, value

Cell = int | float


@dataclass(slots=True)
class Ledger:
    """A row of coverage: sets of point numbers."""

    first: int
    last: int
    present: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    attempts: int = 0


@dataclass(slots=True)
class Vain:
    """A row of gap_reason."""

    slots: set[int]
    attempts: int
    since: int
    last: int
    detail: str


@dataclass(slots=True)
class Model:
    """All tables that a batch touches. Instants are microseconds since 1970, days count from there."""

    rows: dict[str, dict[tuple[int, int], dict[str, Cell]]] = field(
        default_factory=lambda: {"slot": {}, "phase": {}, "day": {}, "spot": {}}
    )
    evidence: dict[tuple[str, int, int], int] = field(default_factory=dict)
    others: dict[tuple[int, int, int, str], tuple[Cell, int]] = field(default_factory=dict)
    revisions: dict[tuple[int, int, str, str], list[tuple[Cell, int, int, str, str]]] = field(
        default_factory=dict
    )
    completions: dict[tuple[int, str, int], tuple[set[str], Counter[int]]] = field(default_factory=dict)
    coverage: dict[tuple[int, int, int], Ledger] = field(default_factory=dict)
    reasons: dict[tuple[int, int, int, str], Vain] = field(default_factory=dict)
    exchanges: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    #: of each batch: topic, change, day, meter
    feed: dict[str, set[tuple[str, str, int, int]]] = field(default_factory=dict)

    def apply(self, batch: Batch) -> None:
        """Batches come in the order in which they were committed."""
        news = self.feed.setdefault(batch.name, set())
        for source in SOURCES.values():
            for k, item in enumerate(batch.items):
                if item.source != source.name:
                    continue
                evidence = exchange(batch, k).evidence
                for table in source.tables:
                    self._ledger(batch, item, table)
                    topic = table.source if table.plan is None else table.plan.name
                    for when in item.instants(item.points):
                        for change in self._row(batch, item, table, when, evidence):
                            news.add((topic, change, day(when), item.meter))
                columns = {code for table in source.tables for code in table.codes}
                for code in item.codes:
                    if code not in columns:
                        for when in item.instants(item.points):
                            for change in self._other(batch, item, source.kind, code, when, evidence):
                                news.add((source.name, change, day(when), item.meter))
        for k in range(len(batch.items)):
            kept = exchange(batch, k)
            self.exchanges[1, batch.at, kept.evidence] = kept.sha256

    def _row(self, batch: Batch, item: Item, table: Table, when: int, evidence: int) -> Iterator[str]:
        given = {code: value(item.meter, when, code, item.salt) for code in item.codes if code in table.codes}
        if not given:
            return
        key = (item.meter, when)
        held = self.rows[table.source].get(key)
        if held is None:
            self.rows[table.source][key] = given
            self.evidence[table.source, *key] = evidence
            yield "new"
            return
        holes = given.keys() - held.keys()
        if holes:
            codes, instants = self.completions.setdefault(
                (item.meter, table.source, evidence), (set(), Counter())
            )
            codes |= holes
            instants[when] += 1
            held.update({code: given[code] for code in holes})
            yield "completed"
        for code in given.keys() - holes:
            if given[code] != held[code] and self._revise(
                (*key, table.source, code), given[code], held[code], evidence, batch
            ):
                yield "corrected"

    def _other(
        self, batch: Batch, item: Item, kind: int, code: str, when: int, evidence: int
    ) -> Iterator[str]:
        given = value(item.meter, when, code, item.salt)
        held, _ = self.others.setdefault((item.meter, when, kind, code), (given, evidence))
        if self.others[item.meter, when, kind, code] == (given, evidence):
            yield "new"
        elif given != held and self._revise(
            (item.meter, when, "other", f"{kind}:{code}"), given, held, evidence, batch
        ):
            yield "corrected"

    def _revise(
        self, cell: tuple[int, int, str, str], given: Cell, held: Cell, evidence: int, batch: Batch
    ) -> bool:
        versions = self.revisions.setdefault(cell, [])
        # a value that came again after another had been read over it is a version of its own
        if versions and versions[-1][0] == given:
            return False
        assert versions or given != held
        versions.append((given, evidence, batch.at, REASON, batch.who))
        return True

    def _ledger(self, batch: Batch, item: Item, table: Table) -> None:
        """Slots of the curve for a row with its register, of the phase curve for a row with anything; the freeze's one point. Whatever came
        for the table makes a row of its day."""
        plan = table.plan
        if plan is None:
            return
        needed = [code for code in (plan.needs or table.codes) if code in item.codes]
        points = set(item.points) if needed else set()
        asked, absent = (set(item.asked), set(item.absent)) if plan in (CURVE, DAY) else (set(), set())
        came = bool(item.points) and any(code in item.codes for code in table.codes)
        if came or asked or absent:
            row = self.coverage.setdefault((plan.id, item.meter, item.day), Ledger(batch.at, batch.at))
            row.first, row.last = min(row.first, batch.at), max(row.last, batch.at)
            row.attempts += bool(asked or absent)
            grace = int(plan.grace.total_seconds() * 1_000_000)
            for point, when in zip(item.points, item.instants(item.points), strict=True):
                if point in points and point not in row.present and batch.at - when > grace:
                    row.late.add(point)
            row.present |= points
            row.absent = (row.absent | absent) - row.present
        holes = asked - points - absent
        if item.reason and holes:
            key = (plan.id, item.meter, item.day, item.reason)
            vain = self.reasons.setdefault(key, Vain(set(), 0, batch.at, batch.at, ""))
            vain.slots |= holes
            vain.attempts += 1
            vain.since, vain.last = min(vain.since, batch.at), max(vain.last, batch.at)
            vain.detail = batch.name


def day(when: int) -> int:
    """The local day that an instant closes or lies in."""
    return (when + AHEAD - 1) // DAY_LONG
