"""One file, sheet or list of an archive as text, before anybody has looked at what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headend.store.archive.complaint import Spot


@dataclass(frozen=True, slots=True)
class Sheet:
    """The records of one kind. `header`: the columns that stand over all of them, with their spot; None: each record has its own."""

    kind: str
    spot: Spot
    header: tuple[str, ...] | None
    records: Iterator[tuple[Spot, Mapping[str, str]]]
