"""items.csv: what every data identifier means. Tables A.1 to A.7 of DL/T 645-2007, by pattern.

A pattern is the DI as eight hex digits in which a lower-case pair stands for a range:

    rr tariff 01-3F    qq total or tariff 00-3F    ss settlement day 00-0C    nn record 01-FE
    pp phase 01-03     hh harmonic 01-15 (decimal digits in hex places, as the standard numbers them)

The first row that fits wins. Names carry `{rr}` for the number, `{pp}` for the phase letter, and `{,ss}` for
", settlement day N" or nothing at the present one.

A format lists the fields as they come on the wire, `name:FORM`. `?` after a name: may be left out at the end.
`*` after a form: repeats to the end of the data (several starred fields repeat together). Forms: `XXX.X`
decimals, `NN..` identity digits, `HH..` binary, `ASCIIn`, and times such as `YYMMDDhhmm`, low byte first.
`load-record` and `freeze` are blocks with separators, see blocks.py and values.py.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from protocols.quantity import quantities

_RANGES: Final = {
    "rr": range(0x01, 0x40),
    "qq": range(0x40),
    "ss": range(0x0D),
    "nn": range(0x01, 0xFF),
    "pp": range(0x01, 0x04),
    "hh": range(0x01, 0x16),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an item. `form` as in the table; `quantity` '' where quantities.csv has no such code."""

    name: str
    form: str
    unit: str = ""
    signed: bool = False
    quantity: str = ""
    optional: bool = False
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """What one DI means. `fields` is empty for the block formats, whose name is in `form`."""

    di: int
    name_en: str
    name_zh: str
    form: str
    fields: tuple[Field, ...]
    access: str
    clause: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of items.csv as it stands."""

    id: str
    name_en: str
    name_zh: str
    format: str
    unit: str
    signed: str
    quantity: str
    access: str
    clause: str


@cache
def rows() -> tuple[Row, ...]:
    text = files("protocols.dlt645").joinpath("items.csv").read_text(encoding="utf-8")
    return tuple(Row(**row) for row in csv.DictReader(text.splitlines()))


@cache
def _by_class() -> dict[str, list[Row]]:
    """Rows by their first two digits, so that a look-up tries a handful."""
    found: dict[str, list[Row]] = {}
    for row in rows():
        found.setdefault(row.id[:2], []).append(row)
    return found


@lru_cache(maxsize=4096)
def item(di: int) -> Item | None:
    """The item of a DI (0x04000102), or None if the table has no row for it."""
    digits = f"{di:08X}"
    for row in _by_class().get(digits[:2], ()):
        numbers = _fit(row.id, digits)
        if numbers is not None:
            return _item(di, row, numbers)
    return None


def _fit(pattern: str, digits: str) -> dict[str, int] | None:
    """The numbers of the variable pairs, or None if the pattern does not fit."""
    numbers = {}
    for at in range(0, 8, 2):
        pair = pattern[at : at + 2]
        if pair in _RANGES:
            numbers[pair] = int(digits[at : at + 2], 16)
            if numbers[pair] not in _RANGES[pair]:
                return None
        elif pair != digits[at : at + 2]:
            return None
    return numbers


def _item(di: int, row: Row, numbers: dict[str, int]) -> Item:
    block = row.format in ("load-record", "freeze")
    name = _fill(row.name_en, numbers, ", settlement day {}")
    return Item(
        di=di,
        name_en=name,
        name_zh=_fill(row.name_zh, numbers, "，上{}结算日"),
        form=row.format if block else "fields",
        fields=() if block else _fields(row, name),
        access=row.access,
        clause=row.clause,
    )


def _fill(template: str, numbers: dict[str, int], settlement: str) -> str:
    shown = {"pp": "?ABC"[numbers["pp"]]} if "pp" in numbers else {}
    shown = {name: str(number) for name, number in numbers.items()} | shown
    optional = settlement.format(numbers["ss"]) if numbers.get("ss") else ""
    return re.sub(r"\{(\w\w)\}", lambda m: shown[m[1]], template.replace("{,ss}", optional))


def _fields(row: Row, name: str) -> tuple[Field, ...]:
    parts, units, codes = row.format.split(), row.unit.split(), row.quantity.split()
    plain = (
        "value" if re.match(r"X", row.format) else name
    )  # a number is "value", a text or time says what it is
    found = []
    for at, part in enumerate(parts):
        label, _, form = part.rpartition(":")
        found.append(
            Field(
                name=label.rstrip("?") or plain,
                form=form.rstrip("*"),
                unit=(units[at] if len(units) > 1 else row.unit) if form.startswith("X") else "",
                signed=row.signed == "y" and form.startswith("X"),
                quantity=codes[at] if at < len(codes) else "",
                optional=label.endswith("?"),
                repeats=form.endswith("*"),
            )
        )
    return tuple(found)


def tariff_quantity(total: str, tariff: int) -> str:
    """The code of tariff n of a total register ('active_import', 2 -> 'active_import_t2'), or ''."""
    code = f"{total}_t{tariff}"
    return code if code in quantities() else ""
