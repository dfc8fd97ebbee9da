"""Where an import is worked out: what is there, what shall be, who may say so. Pure: nothing is written here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from headend.store.archive.cells import beginning
from headend.store.archive.changes import Cells, Tally
from headend.store.archive.complaint import Complaints
from headend.store.archive.kinds import WHERE, Column, Kind, Leader
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span
from headend.store.archive.stored import Stored


@dataclass(slots=True)
class Desk:
    """`source`: who says it all; None: both at once, as at a first load. `begun` and `ended`: spans by
    table, to be written; `terms`: accounts whose terms change; `ever`: where a first span
    begins of which nobody says when."""

    stored: Stored
    zone: ZoneInfo
    source: Leader | None
    complaints: Complaints
    tally: Tally = field(default_factory=Tally)
    begun: dict[str, list[Span]] = field(default_factory=dict)
    ended: dict[str, list[Span]] = field(default_factory=dict)
    terms: list[Span] = field(default_factory=list)
    ever: dt.datetime = field(init=False)

    def __post_init__(self) -> None:
        self.ever = beginning(self.zone)

    def leads(self, leader: Leader) -> bool:
        """May the source overwrite what this one leads?"""
        return self.source is None or self.source == leader

    def judge(
        self, columns: tuple[Column, ...], held: Mapping[str, Any] | None, row: Row
    ) -> tuple[dict[str, Any], Cells]:
        """(what the row makes of the held values, what is left alone). Nothing held: nothing to be overwritten, all is taken."""
        values = {column.name: column.blank for column in columns} if held is None else dict(held)
        left: Cells = {}
        for column in columns:
            name = column.name
            if name not in row.cells or row.cells[name] == values[name]:
                continue
            if held is None or self.leads(column.leader):
                values[name] = row.cells[name]
            else:
                left[name] = (values[name], row.cells[name])
        return values, left

    def known(self, column: Column, row: Row, values: Mapping[str, Any]) -> None:
        """Complains if what a cell refers to is not there."""
        code = values[column.name]
        if code is not None and code == row.cells.get(column.name):
            self.exists(column.refers, code, row, column.name)

    def exists(self, table: str, code: str, row: Row, column: str) -> bool:
        if code in self.stored.known[table]:
            return True
        kind, noun = WHERE[table]
        self.complaints.add(row.spot, column, f"no {noun} {code!r} in {self.file(kind, row)} or the store")
        return False

    def file(self, kind: str, row: Row) -> str:
        """What people would look into."""
        return f"{kind}.csv" if row.spot.file.endswith(".csv") else kind

    def begin(self, table: str, span: Span) -> None:
        span.new = True
        self.begun.setdefault(table, []).append(span)

    def end(self, table: str, span: Span, at: dt.datetime) -> None:
        span.finish(at)
        if span.ended:
            self.ended.setdefault(table, []).append(span)

    def local(self, when: dt.datetime) -> str:
        return when.astimezone(self.zone).isoformat()

    def too_early(self, row: Row, what: str, held: Span) -> None:
        """`what` is so since a time that the row's `from` is not later than."""
        until = f" until {self.local(held.end)}" if held.end else ""
        self.complaints.add(
            row.spot, "from", f"{what} since {self.local(held.start)}{until}; a change needs a later `from`"
        )

    def refuse(self, kind: Kind, row: Row) -> None:
        """A thing that the source cannot bring into being."""
        other = "marketing system" if kind.leader == "marketing" else "head-end"
        self.tally.refused(kind.name, row.cells[kind.key], row.spot, f"not in the store; the {other} leads")
