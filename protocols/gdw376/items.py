"""items.csv, events.csv and formats.csv: what every data unit and every event record means.

A row of items.csv is one AFN and Fn: names, what its pn counts (`point`), the time tag in front of its data (`tag`), and the
layout of its data in downlink and uplink frames (`down`, `up`). `none` says that there are no data, an empty cell that the
layout is not known. AFN 0A answers with the layouts of AFN 04 and has rows only where its question carries data. A layout
lists the fields as they come on the wire:

    name:FORM unit =var *count @quantity ! ?      ; next field      < group of fields >*count      layout || other edition

    FORM      a row of formats.csv, or BINn (binary), BSn (bits), BCDn, DIGITSn (digits as they stand), DIn (digits, low
              byte first), ASCIIn, HEXn (bytes), IP, DADT (a data unit identifier), AFN, POINT (pn in D11-D0, D15 begins), HI4
              LO4 (the two halves of one byte), GB (GB 18030 text), EVENTS (records); [var] instead of n where another field
              gives the length
    =n        the value is a count that others refer to: =n&15 masked, =n%255 modulo, =n# its number of one bits
    *n        repeated 1..n; *0..15, *2..N, *2..18/2 (step), *A..C (phases), *rest (to the end)
    @code     its code in quantities.csv
    !         secret       ?  may be absent at the end

Names carry {n} for the index, and in a group within a group {n} for the outer and {m} for the inner one; {p} is the phase.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from protocols.quantity import quantities


@dataclass(frozen=True, slots=True)
class Format:
    """One row of formats.csv (Annex A). `pattern` reads high digit first for numbers, wire order for times."""

    format: str
    bytes: int
    kind: str
    decimals: int
    signed: bool
    pattern: str
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a layout. size: bytes, or None where the count `length` gives it.

    A place in a table, so equal only to itself: looking one up costs nothing.
    """

    name: str
    form: str
    size: int | None
    unit: str = ""
    quantity: str = ""
    secret: bool = False
    optional: bool = False
    length: str = ""
    counts: str = ""
    transform: str = ""
    repeat: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Fields that repeat together."""

    nodes: tuple[Node, ...]
    repeat: str


Node = Field | Group
Layout = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One AFN and Fn. `down`, `up`: the layouts by edition, most usual first; None where they are not known.

    The time tag, where there is one, is the beginning of both.
    """

    afn: int
    function: int
    name_en: str
    name_zh: str
    point: str
    tag: str
    down: tuple[Layout, ...] | None
    up: tuple[Layout, ...] | None
    edition: str
    note: str

    def layouts(self, *, uplink: bool) -> tuple[Layout, ...] | None:
        return self.up if uplink else self.down


@dataclass(frozen=True, slots=True)
class EventKind:
    """One ERC. The layout is of the record's content, behind ERC and Le."""

    erc: int
    name_en: str
    name_zh: str
    layout: Layout
    edition: str


def _table(name: str) -> list[dict[str, str]]:
    text = files("protocols.gdw376").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def formats() -> dict[str, Format]:
    """Format name -> Format."""
    return {
        row["format"]: Format(
            format=row["format"],
            bytes=int(row["bytes"]),
            kind=row["kind"],
            decimals=int(row["decimals"] or 0),
            signed=row["signed"] == "y",
            pattern=row["pattern"],
            note=row["note"],
        )
        for row in _table("formats.csv")
    }


@cache
def items() -> dict[tuple[int, int], Item]:
    """(AFN, Fn) -> Item, in the order of the table."""
    found = [_item(row) for row in _table("items.csv")]
    return {(item.afn, item.function): item for item in found}


@lru_cache(maxsize=4096)
def item(afn: int, function: int) -> Item | None:
    """What a data unit is, or None. Parameters that AFN 0A asks for are those of AFN 04."""
    own = items().get((afn, function))
    if afn != 0x0A:
        return own
    asked = items().get((0x04, function))
    if asked is None:
        return None
    down = own.down if own else ((),)
    return Item(afn, function, "", "", asked.point, "", down, asked.down, asked.edition, asked.note)


@cache
def events() -> dict[int, EventKind]:
    """ERC -> EventKind."""
    return {
        int(row["erc"]): EventKind(
            int(row["erc"]), row["name_en"], row["name_zh"], parse(row["fields"]), row["edition"]
        )
        for row in _table("events.csv")
    }


#: What stands before the data of class 2 and of hourly freezes (clause on data time tags, Td).
_TAGS: Final = {
    "": "",
    "Td_d": "Td day:A.20",
    "Td_m": "Td month:A.21",
    "Td_c": "Td start:A.15; density:m; points:BIN1 =n",
    "Td_h": "hour:BCD1; density:m =n~",
}


def _item(row: dict[str, str]) -> Item:
    tag = parse(_TAGS[row["tag"]])
    down, up = _editions(row["down"], ()), _editions(row["up"], tag)
    if row["afn"] == "0D":
        down = (tag,)
    return Item(
        afn=int(row["afn"], 16),
        function=int(row["fn"]),
        name_en=row["name_en"],
        name_zh=row["name_zh"],
        point=row["point"],
        tag=row["tag"],
        down=down,
        up=up,
        edition=row["edition"],
        note=row["note"],
    )


def _editions(cell: str, tag: Layout) -> tuple[Layout, ...] | None:
    if not cell:
        return None
    if cell == "none":
        return ((),)
    return tuple(tag + parse(layout) for layout in cell.split(" || "))


# --- the layout language ---

_FIELD: Final = re.compile(
    r"(?P<name>[^:;<>]+):(?P<form>[A-Za-z0-9._]+)(?:\[(?P<length>\w+)\])?(?P<rest>[^;<>]*)"
)
_SIZED: Final = re.compile(r"(BIN|BS|BCD|DIGITS|DI|ASCII|HEX)(\d+)")
_FIXED: Final = {"IP": 4, "DADT": 4, "AFN": 1, "POINT": 2, "HI4": 0, "LO4": 1}
_OPEN: Final = ("GB", "ASCII", "HEX", "EVENTS")


def parse(text: str) -> Layout:
    """A layout cell -> its nodes. ValueError names what is not understood: the tables are ours."""
    nodes, rest = _nodes(text.strip())
    if rest:
        raise ValueError(f"layout: {rest!r} is left over")
    return nodes


def _nodes(text: str) -> tuple[Layout, str]:
    found: list[Node] = []
    while text and not text.startswith(">"):
        if text.startswith("<"):
            inside, text = _nodes(text[1:].lstrip())
            closed = re.match(r">\*(\S+?)\s*(?=[;>]|$)", text)
            if closed is None:
                raise ValueError(f"layout: group without count at {text!r}")
            found.append(Group(inside, closed[1]))
        else:
            closed = _FIELD.match(text)
            if closed is None:
                raise ValueError(f"layout: no field at {text!r}")
            found.append(_field(closed))
        text = text[closed.end() :].lstrip().removeprefix(";").lstrip()
    return tuple(found), text


def _field(match: re.Match[str]) -> Field:
    form, size = _form(match["form"], match["length"])
    parts: dict[str, Any] = {"unit": ""}
    for word in match["rest"].split():
        if word[0] == "=":
            counts = re.fullmatch(r"=([A-Za-z]+)(.*)", word)
            if counts is None:
                raise ValueError(f"layout: {word!r}")
            parts |= {"counts": counts[1], "transform": counts[2]}
        elif word[0] == "*":
            parts["repeat"] = word[1:]
        elif word[0] == "@":
            parts["quantity"] = word[1:]
        elif word in ("!", "?"):
            parts["secret" if word == "!" else "optional"] = True
        else:
            parts["unit"] = word
    return Field(match["name"].strip(), form, size, length=match["length"] or "", **parts)


def _form(form: str, length: str | None) -> tuple[str, int | None]:
    if form in formats() and formats()[form].kind != "tag":
        return form, formats()[form].bytes
    if form in _FIXED:
        return form, _FIXED[form]
    if form in _OPEN and (length or form == "EVENTS"):
        return form, None
    sized = _SIZED.fullmatch(form)
    if sized is None:
        raise ValueError(f"layout: no form {form!r}")
    return sized[1], int(sized[2])


def quantity_code(template: str, mark: str) -> str:
    """'active_import_t{n}', '2' -> 'active_import_t2'; '' where quantities.csv has no such code."""
    code = template.replace("{n}", mark).replace("{p}", mark)
    return code if code in quantities() else ""
