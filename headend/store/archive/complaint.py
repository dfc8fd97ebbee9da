"""What is wrong with an archive: where, which column, why. All of it is said, up to a bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from headend.store.db import StoreError

#: complaints shown before the rest is only counted
MOST_COMPLAINTS = 200


class Spot(NamedTuple):
    """Where a row stands: line of a CSV file, row of a sheet; in JSON the path."""

    file: str
    line: int
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with one cell. `line` is 0 in JSON, which has a `path`."""

    file: str
    line: int
    column: str
    reason: str
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{self.file}: {self.path}.{self.column}: {self.reason}"
        return f"{self.file}:{self.line}: {self.column}: {self.reason}"


class ArchiveError(StoreError):
    """The archive was refused; nothing was imported."""

    def __init__(self, complaints: list[Complaint], total: int) -> None:
        self.complaints = complaints
        self.total = total
        super().__init__(f"{total} error{'s' if total != 1 else ''} in the archive; nothing was imported")


class NotAnArchive(StoreError):
    """The folder or file cannot be read as an archive at all."""


@dataclass(slots=True)
class Complaints:
    """Gathers them; what goes beyond the bound is counted."""

    kept: list[Complaint] = field(default_factory=list)
    total: int = 0

    def add(self, spot: Spot, column: str, reason: str) -> None:
        self.total += 1
        if len(self.kept) < MOST_COMPLAINTS:
            self.kept.append(Complaint(spot.file, spot.line, column, reason, spot.path))

    def refuse(self) -> None:
        """ArchiveError if there are any."""
        if self.total:
            raise ArchiveError(self.kept, self.total)
