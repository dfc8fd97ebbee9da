"""A meter as a terminal's own archive knows it, what our archive wants there, and the difference between the two. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

#: what a comparison looks at, beside the point by which entries are found; all else in an entry is the terminal's and stays as it is
COMPARED: Final = ("address", "protocol", "port", "baud")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a terminal's archive.

    number    of the row: 装置序号 of Q/GDW 376.1, 配置序号 of DL/T 698.45
    point     the measuring point (测量点号); in DL/T 698.45 the number is the point
    address   the meter's, as digits
    protocol  what the terminal speaks with it: dlt645-2007, dlt645-1997, dlt698, or 'code N'
    port      of the terminal: 1-31 (376.1), an OAD of 8 hex digits (698.45)
    baud      bits a second; 0: what the port has by itself
    more      the protocol's other fields, by name
    password  hex digits; never printed, never in an order
    """

    number: int
    point: int
    address: str
    protocol: str
    port: str
    baud: int = 0
    more: Mapping[str, int | str] = field(default_factory=dict)
    password: str = field(default="", repr=False, compare=False)

    def document(self) -> dict[str, Any]:
        """As JSON keeps it: without the password."""
        return {
            "number": self.number, "point": self.point, "address": self.address, "protocol": self.protocol, "port": self.port,
            "baud": self.baud, "more": dict(self.more),
        }  # fmt: skip


def entry_of(document: Mapping[str, Any], password: str = "") -> Entry:
    """The way back."""
    return Entry(**{**document, "more": dict(document["more"])}, password=password)


@dataclass(frozen=True, slots=True)
class Wish:
    """A meter that our archive hangs behind the terminal. None: the archive says nothing of it, so any value is right.

    point  0: the archive gives none
    more   for a new entry, over the protocol's defaults
    """

    meter: str
    point: int
    address: str
    protocol: str | None = None
    port: str | None = None
    baud: int | None = None
    more: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that would be written. `was` None: nothing is there; `becomes` None: it is erased. `cells`: what differs, was and is."""

    meter: str
    was: Entry | None
    becomes: Entry | None
    cells: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        row = self.becomes or self.was
        assert row is not None
        return row.number


@dataclass(frozen=True, slots=True)
class Difference:
    """missing, different  what makes the terminal's archive ours
    superfluous         entries of meters that our archive does not hang there; only ever erased by name
    unplaced            meters without a point number, where the protocol knows them by that alone
    same                how many entries are as they should be
    """

    missing: tuple[Change, ...] = ()
    different: tuple[Change, ...] = ()
    superfluous: tuple[Entry, ...] = ()
    unplaced: tuple[Wish, ...] = ()
    same: int = 0

    @property
    def changes(self) -> tuple[Change, ...]:
        return (*self.different, *self.missing)


def difference(
    held: Iterable[Entry], wishes: Iterable[Wish], blank: Entry, *, needs_point: bool, last: int
) -> Difference:
    """`blank`: what a new entry has where the archive says nothing. `needs_point`: a wish without a point cannot be placed; else it is
    found by its address, or takes the lowest free number. `last`: the highest number of an entry."""
    rows = sorted(held, key=lambda row: row.number)
    by_point: dict[int, Entry] = {}
    by_address: dict[str, Entry] = {}
    for row in rows:
        by_point.setdefault(row.point, row)
        by_address.setdefault(row.address, row)
    used: set[int] = set()
    missing, different, unplaced, pairs, same = [], [], [], [], 0
    placed = sorted(wishes, key=lambda wish: (wish.point == 0, wish.point, wish.address))
    for wish in placed:
        if wish.point == 0 and needs_point:
            unplaced.append(wish)
            continue
        found = by_point.get(wish.point) if wish.point else by_address.get(wish.address)
        if found is not None and found.number not in used:
            used.add(found.number)
            pairs.append((wish, found))
        else:
            missing.append(wish)
    for wish, row in pairs:
        becomes = _fulfilled(row, wish)
        cells = {
            name: (getattr(row, name), getattr(becomes, name))
            for name in COMPARED
            if getattr(row, name) != getattr(becomes, name)
        }
        if cells:
            different.append(Change(wish.meter, row, becomes, cells))
        else:
            same += 1
    numbers = {row.number for row in rows}
    taken = numbers | {wish.point for wish in missing}
    adds = []
    for wish in missing:
        number = wish.point
        if number == 0 or number in numbers:
            number = _free(taken, last)
            taken.add(number)
        if number == 0:
            unplaced.append(wish)
            continue
        new = replace(blank, number=number, point=wish.point or number, more={**blank.more, **wish.more})
        adds.append(Change(wish.meter, None, _fulfilled(new, wish)))
    superfluous = tuple(row for row in rows if row.number not in used)
    return Difference(tuple(adds), tuple(different), superfluous, tuple(unplaced), same)


def erasing(superfluous: Sequence[Entry], numbers: Iterable[int]) -> tuple[Change, ...]:
    """Changes that erase these of the superfluous entries. ValueError: one of the numbers is none of them."""
    rows = {row.number: row for row in superfluous}
    wrong = [number for number in numbers if number not in rows]
    if wrong:
        raise ValueError(
            f"entry {wrong[0]} is not superfluous: only entries that our archive does not want may be erased"
        )
    return tuple(Change("", rows[number], None) for number in sorted(set(numbers)))


def _fulfilled(row: Entry, wish: Wish) -> Entry:
    """The row with what the wish says; what it says nothing of stays."""
    return replace(
        row,
        address=wish.address,
        protocol=row.protocol if wish.protocol is None else wish.protocol,
        port=row.port if wish.port is None else wish.port,
        baud=row.baud if wish.baud is None else wish.baud,
    )


def _free(taken: set[int], last: int) -> int:
    """The lowest number that no entry has; 0: all are taken."""
    return next((number for number in range(1, last + 1) if number not in taken), 0)
