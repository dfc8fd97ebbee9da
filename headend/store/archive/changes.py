"""What an import does, for people: one entry for each thing that is new, changed, ended or left alone, old value beside new."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headend.store.archive.cells import listed
from headend.store.archive.complaint import Spot

What = Literal["new", "changed", "ended", "left alone"]
Cells = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """`cells`: column -> (what the store has, what the file says). Of what is left alone the store's value stays."""

    kind: str
    code: str
    what: What
    spot: Spot
    cells: Cells
    why: str = ""

    def shown(self) -> dict[str, tuple[str, str]]:
        """The cells as text; a password is not shown."""
        return {name: (show(name, old), show(name, new)) for name, (old, new) in self.cells.items()}


def show(name: str, value: Any) -> str:
    """A value as a file would have it; of a password only that there is one."""
    match value:
        case None:
            text = ""
        case dict():
            text = "(secret)" if value else ""
        case bool():
            text = "yes" if value else "no"
        case dt.datetime():
            text = value.isoformat()
        case float():
            text = f"{value:g}"
        case _:
            text = listed(value) if isinstance(value, tuple | list) else str(value)
    return text


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows by kind: each is new, changed or unchanged; besides, things that ended, and rows of which something was left alone because
    the other system leads it. `changes`: all of them, in the order of the kinds and rows."""

    new: Mapping[str, int]
    changed: Mapping[str, int]
    unchanged: Mapping[str, int]
    ended: Mapping[str, int]
    left_alone: Mapping[str, int]
    changes: tuple[Change, ...]


@dataclass(slots=True)
class Tally:
    """Gathers them."""

    _counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _changes: list[Change] = field(default_factory=list)

    def row(self, kind: str, code: str, spot: Spot, *, new: bool, cells: Cells, left: Cells) -> None:
        """A row that was looked at; `cells`: what it changes."""
        what = "new" if new else "changed" if cells else "unchanged"
        self._count(kind, what)
        if what != "unchanged":
            self._changes.append(Change(kind, code, "new" if new else "changed", spot, cells))
        if left:
            self._count(kind, "left alone")
            self._changes.append(Change(kind, code, "left alone", spot, left))

    def refused(self, kind: str, code: str, spot: Spot, why: str) -> None:
        """A row that as a whole is not this source's to say."""
        self._count(kind, "left alone")
        self._changes.append(Change(kind, code, "left alone", spot, {}, why))

    def ended(self, kind: str, code: str, spot: Spot, at: dt.datetime) -> None:
        self._count(kind, "ended")
        self._changes.append(Change(kind, code, "ended", spot, {"to": (None, at)}))

    def _count(self, kind: str, what: str) -> None:
        counts = self._counts.setdefault(
            kind, dict.fromkeys(("new", "changed", "unchanged", "ended", "left alone"), 0)
        )
        counts[what] += 1

    def summary(self) -> Summary:
        def of(what: str) -> dict[str, int]:
            return {kind: counts[what] for kind, counts in self._counts.items()}

        return Summary(
            of("new"), of("changed"), of("unchanged"), of("ended"), of("left alone"), tuple(self._changes)
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Iterable[str]) -> Cells:
    """Where two sets of values differ."""
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
