"""What every protocol can do with the archive that a terminal holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from terminals.drivers.driver import Meter, Script
from terminals.drivers.entry import Entry


@dataclass(frozen=True, slots=True)
class Held:
    """What a terminal told of its archive. `denied`: first and last number of what it refused to tell, or has not got."""

    entries: tuple[Entry, ...]
    denied: tuple[tuple[int, int], ...] = ()


class Shelf(Protocol):
    """The archive of terminals of one protocol. Stateless.

    blank        a new entry, before anything is known of its meter
    needs_point  entries are known by their measuring point alone
    last         the highest number of an entry
    written      entries in one write
    """

    blank: Entry
    needs_point: bool
    last: int
    written: int

    def held(self, whom: Meter, numbers: Sequence[int] | None = None) -> Script[Held]:
        """All entries, or those of `numbers`."""

    def write(self, whom: Meter, entries: Sequence[Entry], held: Sequence[Entry] = ()) -> Script[None]:
        """Make these entries, at most `written`; `held`: those of them that are there now. Never erases: Misuse."""

    def erase(self, whom: Meter, entry: Entry) -> Script[None]:
        """Take one entry out."""
