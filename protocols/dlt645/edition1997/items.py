"""items.csv: what every two-byte identifier of DL/T 645-1997 means, by pattern.

A pattern is the DI as four hex digits in which a lower-case letter stands for a range:

    m month of an active item: 0 present, 4 last, 8 the one before     n the same of a reactive item: 1, 5, 9
    r tariff 1-E    p phase 1-3    z year zone 1-E    h holiday 1-E    t day table 3-A, numbered 1-8    s slot 1-E

Names carry `{r}`, `{p}`, ... for the number (the phase as its letter), `{m}` for the month in front of a Chinese name and
`{,m}` for ", last month" behind an English one. Only the present month has a quantity.

A format lists the fields as they come on the wire, as in protocols.dlt645.items: `name:FORM`, `*` repeats to the end.
`A|B` means: some meters send B, and a value whose first digit of A is not 0 is one of them. `set` is a block: the items
whose DI begins with the same three digits, in order.

A clause "annex A" is the table of the standard; "unconfirmed" marks a row that no public source confirms.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from protocols.dlt645.items import Field, Item
from protocols.quantity import quantities

_RANGES: Final = {
    "m": range(0, 9, 4),
    "n": range(1, 10, 4),
    "r": range(0x1, 0xF),
    "p": range(0x1, 0x4),
    "z": range(0x1, 0xF),
    "h": range(0x1, 0xF),
    "t": range(0x3, 0xB),
    "s": range(0x1, 0xF),
}
#: 0 present, 1 last, 2 before last -> (behind an English name, before a Chinese one).
_MONTHS: Final = (("", "（当前）"), (", last month", "（上月）"), (", month before last", "（上上月）"))
#: At most fourteen tariffs: a block has a total and as many more (DI E, the last before the block's F).
MOST_TARIFFS: Final = 14


@dataclass(frozen=True, slots=True)
class Row:
    """One row of items.csv as it stands."""

    id: str
    name_en: str
    name_zh: str
    format: str
    unit: str
    quantity: str
    access: str
    clause: str


@cache
def rows() -> tuple[Row, ...]:
    text = files("protocols.dlt645.edition1997").joinpath("items.csv").read_text(encoding="utf-8")
    return tuple(Row(**row) for row in csv.DictReader(text.splitlines()))


@cache
def _by_class() -> dict[str, list[Row]]:
    """Rows by their first digit, so that a look-up tries a part of the table."""
    found: dict[str, list[Row]] = {}
    for row in rows():
        found.setdefault(row.id[0], []).append(row)
    return found


@lru_cache(maxsize=4096)
def item(di: int) -> Item | None:
    """The item of a DI (0x9010), or None if the table has no row for it. `fields` of a set are those of its members."""
    digits = f"{di:04X}"
    for row in _by_class().get(digits[0], ()):
        numbers = _fit(row.id, digits)
        if numbers is not None:
            return _item(di, row, numbers)
    return None


def _fit(pattern: str, digits: str) -> dict[str, int] | None:
    """The numbers of the variable digits, or None if the pattern does not fit."""
    numbers = {}
    for letter, digit in zip(pattern, digits, strict=False):
        if letter in _RANGES:
            numbers[letter] = int(digit, 16)
            if numbers[letter] not in _RANGES[letter]:
                return None
        elif letter != digit:
            return None
    return numbers


def _item(di: int, row: Row, numbers: dict[str, int]) -> Item:
    month = (numbers.get("m", 0) or numbers.get("n", 1) - 1) // 4
    name = _filled(row.name_en, numbers, month)
    return Item(
        di=di,
        name_en=name,
        name_zh=_filled(row.name_zh, numbers, month),
        form="set" if row.format == "set" else "fields",
        fields=_members(di) if row.format == "set" else _fields(row, name, numbers, month),
        access=row.access,
        clause=row.clause,
    )


def _filled(template: str, numbers: dict[str, int], month: int) -> str:
    behind, before = _MONTHS[month]
    shown = {letter: str(number) for letter, number in numbers.items()} | {"m": before}
    if "p" in numbers:
        shown["p"] = "?ABC"[numbers["p"]]
    if "t" in numbers:
        shown["t"] = str(numbers["t"] - _RANGES["t"].start + 1)
    return re.sub(r"\{(\w)\}", lambda found: shown[found[1]], template.replace("{,m}", behind))


def _fields(row: Row, name: str, numbers: dict[str, int], month: int) -> tuple[Field, ...]:
    numeric = row.format[0] in "0X"  # a number is "value", a text or time says what it is
    code = "" if month else _filled(row.quantity, numbers, month).lower()
    found: list[Field] = []
    for part in row.format.split():
        label, _, form = part.rpartition(":")
        found.append(
            Field(
                name=label.replace("_", " ") or ("value" if numeric else name),
                form=form.rstrip("*"),
                unit=row.unit if form[0] in "0X" else "",
                quantity=code if code in quantities() and not found else "",
                repeats=form.endswith("*"),
            )
        )
    return tuple(found)


def _members(di: int) -> tuple[Field, ...]:
    """The fields of a set: of every item of the table that differs from it in the last digit only."""
    found: list[Field] = []
    for member in filter(None, (item(di & 0xFFF0 | digit) for digit in range(0xF))):
        for field in member.fields:
            label = (
                member.name_en
                if field.name in ("value", member.name_en)
                else f"{member.name_en}, {field.name}"
            )
            found.append(Field(label, field.form, field.unit, quantity=field.quantity, optional=bool(found)))
    return tuple(found)
