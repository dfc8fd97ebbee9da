"""items.csv and layouts.csv: what every data identifier means. Tables A.1 to A.7 of DL/T 645-2007, by pattern.

A pattern is the DI as eight hex digits in which a lower-case pair stands for a range:

    rr tariff 01-3F       ss settlement day or month 00-0C    nn record, holiday 01-FE    dd one of the last ten 01-0A
    pp phase 01-03        hh harmonic order 1-21 (01-15)      kk table, step 01-08        ff field of the record 01-FD

The row that names a pair outright wins over one that has a range in its place. Names carry `{rr}` for the number, `{pp}` for
the phase letter, `{ff}` for the field's name; in English `{,ss}` is ", settlement day N" or nothing at the present one and
`{#ss}` the bare number, in Chinese `{ss}` is （当前） or （上N结算日）; `{month}` counts months.

A format lists the fields as they come on the wire, `name|名称:FORM`. `?` after a name: may be left out at the end. `*n` after a
form: n times; `*` alone: to the end of the data (several starred fields repeat together); a `#` in their names is the number.
Forms: `XXX.X` decimals, `NN..` identity digits, `HH..` binary, `ASCIIn`, `BYTESn` what no source lays out, and times such as
`YYMMDDhhmm` (an `NN` in them is a table or tariff number), low byte first. `=layout` is that list of layouts.csv,
`#layout` its field ff, `@..` a list that a load curve repeats behind its start time. A quantity on a row with `ss` is that of
the present settlement day only. `load-record`, `freeze` and `security` are taken apart by blocks.py, values.py, security.py.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from protocols.quantity import quantities

_RANGES: Final = {
    "rr": range(0x01, 0x40),
    "ss": range(0x0D),
    "nn": range(0x01, 0xFF),
    "dd": range(0x01, 0x0B),
    "pp": range(0x01, 0x04),
    "hh": range(0x01, 0x16),
    "kk": range(0x01, 0x09),
    "ff": range(0x01, 0xFE),
}
#: Formats that other modules take apart.
BLOCKS: Final = ("load-record", "freeze", "security")


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
    name_zh: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """What one DI means. `form`: "fields", "curve" or one of BLOCKS, which have no `fields`.

    access  R, R/W, W (never answered), or 03H: by security authentication only
    """

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


def _table(name: str) -> csv.DictReader[str]:
    text = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


@cache
def rows() -> tuple[Row, ...]:
    return tuple(Row(**row) for row in _table("items.csv"))


@cache
def _by_start() -> dict[str, list[Row]]:
    """Rows by their first four places, so that a look-up tries a handful; those with fewer ranges first."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows(), key=lambda row: sum(row.id[at : at + 2] in _RANGES for at in range(0, 8, 2))):
        found.setdefault(row.id[:4], []).append(row)
    return found


@lru_cache(maxsize=4096)
def item(di: int) -> Item | None:
    """The item of a DI (0x04000102), or None if the table has no row for it."""
    digits = f"{di:08X}"
    starts = _by_start()
    for row in (*starts.get(digits[:4], ()), *starts.get(digits[:2] + "pp", ())):
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


def _item(di: int, row: Row, numbers: Mapping[str, int]) -> Item | None:
    record = layout(row.format[1:].partition("*")[0]) if row.format[0] == "#" else ()
    if record and numbers["ff"] > len(record):
        return None
    field = record[numbers["ff"] - 1] if record else None
    english, chinese = _words(numbers, field)
    name, name_zh = _fill(row.name_en, english), _fill(row.name_zh, chinese)
    fields: list[Field] = []
    if field is not None:
        fields = _times(replace(field, name="value", name_zh="数值"), row.format.partition("*")[2])
    elif row.format not in BLOCKS:
        fields = _fields(row, name, name_zh, numbers)
    form = row.format if row.format in BLOCKS else "curve" if row.format[0] == "@" else "fields"
    return Item(di, name, name_zh, form, tuple(fields), row.access, row.clause)


def _words(numbers: Mapping[str, int], field: Field | None) -> tuple[dict[str, str], dict[str, str]]:
    """What stands for each place in the English and in the Chinese name."""
    shown = {name: str(number) for name, number in numbers.items()}
    if "pp" in numbers:
        shown["pp"] = "?ABC"[numbers["pp"]]
    english, chinese = dict(shown), dict(shown)
    if "ss" in numbers:
        back = numbers["ss"]
        english |= {",ss": f", settlement day {back}" if back else "", "#ss": str(back)}
        english["month"] = f"month -{back}" if back else "this month"
        chinese |= {
            "ss": f"（上{back}结算日）" if back else "（当前）",
            "month": f"上{back}月" if back else "本月",
        }
    if field is not None:
        english["ff"], chinese["ff"] = field.name, field.name_zh
    return english, chinese


def _fill(template: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{([^}]+)\}", lambda m: words[m[1]], template)


def _fields(row: Row, name: str, name_zh: str, numbers: Mapping[str, int]) -> list[Field]:
    codes = [_fill(code, {n: str(number) for n, number in numbers.items()}) for code in row.quantity.split()]
    if numbers.get("ss") or not all(code in quantities() for code in codes):
        codes = []
    units = row.unit.split()
    found: list[Field] = []
    for at, part in enumerate(row.format.lstrip("@").split()):
        if part[0] == "=":
            found += layout(part[1:])
            continue
        label, _, form = part.rpartition(":")
        english, _, chinese = label.replace("_", " ").partition("|")
        form, star, times = form.partition("*")
        number = form[0] == "X"
        field = Field(
            # a number is "value", a text or time says what it is
            name=english.rstrip("?") or ("value" if number else name),
            form=form,
            unit=(units[at] if len(units) > 1 else row.unit) if number else "",
            signed=row.signed == "y" and number,
            quantity=codes[at] if at < len(codes) else "",
            optional=english.endswith("?"),
            repeats=bool(star and not times),
            name_zh=chinese or ("数值" if number else name_zh),
        )
        found += _times(field, times)
    return found


def _times(field: Field, times: str) -> list[Field]:
    return [numbered(field, n) for n in range(1, int(times) + 1)] if times else [field]


def numbered(field: Field, number: int) -> Field:
    """The n-th of a field that comes several times."""
    english, chinese = (
        name.replace("#", str(number)) if "#" in name else f"{name}{gap}{number}"
        for name, gap in ((field.name, " "), (field.name_zh, ""))
    )
    return replace(field, name=english, name_zh=chinese, repeats=False, optional=False)


@cache
def layout(name: str) -> tuple[Field, ...]:
    """One list of layouts.csv. A row whose form is `=other` takes that list in, under names made with its own."""
    found: list[Field] = []
    for row in _layouts()[name]:
        if row["form"][0] == "=":
            found += [
                replace(f, name=row["name_en"].format(f.name), name_zh=row["name_zh"].format(f.name_zh))
                for f in layout(row["form"][1:])
            ]
        else:
            signed = row["signed"] == "y"
            found.append(Field(row["name_en"], row["form"], row["unit"], signed, name_zh=row["name_zh"]))
    return tuple(found)


@cache
def _layouts() -> dict[str, Sequence[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in _table("layouts.csv"):
        found.setdefault(row["layout"], []).append(row)
    return dict(found)


def tariff_quantity(total: str, tariff: int) -> str:
    """The code of tariff n of a total register ('active_import', 2 -> 'active_import_t2'), or ''."""
    code = f"{total}_t{tariff}"
    return code if code in quantities() else ""
