"""What the parsers hand on: rows as columns, and what is wrong with the file, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import StoreError
from headend.store.sheets import EDITED, ESTIMATED, QUALITIES
from protocols.localtime import Times
from protocols.quantity import quantities
from protocols.reading import MISSING

I64 = NDArray[np.int64]

#: complaints kept before the rest is only counted
MOST_COMPLAINTS: Final = 200
#: rows handed on at once: near the store's best rate for a commit, and a few tens of megabytes
BATCH: Final = 100_000
#: the widest meter shows nine digits of whole kWh, in 1e-4
MOST_REGISTER: Final = 10**13
#: volts, amperes, kilowatts: beyond this it is not a measurement
MOST_INSTANT: Final = 1e9


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong in one line."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class BadFile(StoreError):
    """The file was refused; `complaints` holds the first of them, `total` is how many there are."""

    def __init__(self, file: str, complaints: list[Complaint], total: int, imported: int = 0) -> None:
        self.complaints = complaints
        self.total = total
        done = "nothing was imported" if not imported else f"{imported} rows before were imported and stay"
        first = f": {complaints[0]}" if total == 1 else ""
        super().__init__(f"{total} error{'s' if total != 1 else ''} in {file}; {done}{first}")


@dataclass(slots=True)
class Complaints:
    """Collects what is wrong with a file, up to a bound."""

    file: str
    kept: list[Complaint] = field(default_factory=list)
    total: int = 0

    def add(self, line: int, reason: str) -> None:
        self.total += 1
        if len(self.kept) < MOST_COMPLAINTS:
            self.kept.append(Complaint(self.file, int(line), reason))

    def mark(self) -> tuple[int, int]:
        """Where it stands."""
        return len(self.kept), self.total

    def back_to(self, mark: tuple[int, int]) -> None:
        """Forget what was said since."""
        del self.kept[mark[0] :]
        self.total = mark[1]

    def error(self, imported: int = 0) -> BadFile:
        return BadFile(self.file, sorted(self.kept, key=lambda c: c.line), self.total, imported)


@dataclass(frozen=True, slots=True)
class Mark:
    """A cell that is no measurement: row, quantity, EDITED or ESTIMATED, and how and why."""

    row: int
    code: str
    quality: int
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows of a file.

    line int64[n] in the file; asset [meters] and meter int64[n], its index; time datetime64[us][n] UTC; columns as in Reads, of every
    quantity of the file; marks of the cells that were not measured.
    """

    line: I64
    assets: list[str]
    meter: I64
    time: Times
    columns: Mapping[str, NDArray[Any]]
    marks: list[Mark] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.line)


def check_values(rows: Rows, complaints: Complaints) -> None:
    """Numbers that no meter shows."""
    for code, values in rows.columns.items():
        kind = quantities()[code].kind
        if kind in ("register", "event"):
            wrong = (values != MISSING) & ((values < 0) | (values >= MOST_REGISTER))
        elif kind == "moment":
            continue
        else:
            wrong = ~np.isnan(values) & ~(np.abs(values) < MOST_INSTANT)
        for k in np.flatnonzero(wrong)[:MOST_COMPLAINTS].tolist():
            shown = f"{values[k] / 10_000:.4f}" if kind == "register" else f"{values[k]:g}"
            complaints.add(int(rows.line[k]), f"{code}: {shown} is out of range")


def check_marks(rows: Rows, complaints: Complaints) -> None:
    """What is estimated or edited is a value."""
    for mark in rows.marks:
        value = rows.columns[mark.code][mark.row]
        if value == MISSING if value.dtype == np.int64 else np.isnan(value):  # NaT too
            complaints.add(
                int(rows.line[mark.row]), f"{mark.code} is {QUALITIES[mark.quality]}, but has no value"
            )


@dataclass(slots=True)
class Seen:
    """Which (meter, slot, quantity) a file has said, to find what it says twice: 8 bytes each."""

    keys: list[I64] = field(default_factory=list)
    last: int = -1
    held: int = 0
    orderly: bool = True
    order: dict[str, int] = field(default_factory=dict)

    #: 400 MB of keys; a longer file must come in order, as ours do: then the last key is enough
    MOST: ClassVar[int] = 50_000_000

    def key(self, assets: list[str], meter: I64, time: Times, what: I64 | int = 0) -> I64:
        """int64[n]: the meter by its first appearance in the file, the minute (until the year 2990) and the quantity's number (below 128)."""
        number = np.array([self.order.setdefault(asset, len(self.order)) for asset in assets], dtype=np.int64)
        minutes = time.astype("datetime64[m]").astype(np.int64) & ((1 << 29) - 1)
        return np.asarray(
            (number[meter] if len(meter) else meter) << 36 | minutes << 7 | what, dtype=np.int64
        )

    def repeats(self, key: I64) -> NDArray[np.int64]:
        """The rows [k] whose key has been said before; what is given now counts from now on."""
        if not len(key):
            return np.empty(0, dtype=np.int64)
        rising = bool((key[1:] > key[:-1]).all()) and int(key[0]) > self.last
        self.last = max(self.last, int(key.max()))
        self.orderly = self.orderly and rising
        self.held += len(key)
        if self.held > self.MOST:
            if not self.orderly:
                raise StoreError(
                    f"more than {self.MOST} rows that are not in order of meter and time; sort the file, or cut it into pieces"
                )
            self.keys.clear()
            return np.empty(0, dtype=np.int64)
        order = np.argsort(key, kind="stable")
        ranked = key[order]
        found = [order[1:][ranked[1:] == ranked[:-1]]]
        near = [] if rising else [k for k in self.keys if k[0] <= ranked[-1] and k[-1] >= ranked[0]]
        for before in near:
            at = np.minimum(np.searchsorted(before, key), len(before) - 1)
            found.append(np.flatnonzero(before[at] == key))
        self.keys.append(ranked)
        return np.unique(np.concatenate(found))


QUALITY_OF: Final = {"edited": EDITED, "estimated": ESTIMATED}
