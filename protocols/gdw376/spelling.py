"""How values, identifiers and names are spelled for people: the same in describe.py and parts.py."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from protocols.gdw376.forms import Clock, Event, PointMark, Value
from protocols.gdw376.units import Ident

#: Control codes of DL/T 645 requests without a password: read, read on, read address (2007), read, read on (1997).
_READS: Final = (0x11, 0x12, 0x13, 0x01, 0x02)
#: Words of the longest phrase in glossary.csv.
_LONGEST: Final = 6


def plain(value: Value) -> Any:
    """A value as JSON has it: numbers, or text. A filler says so; impossible digits are null."""
    if value.gap:
        return None if value.gap == "invalid" else f"invalid ({value.gap})"
    found: Any = value.value
    match found:
        case Decimal():
            found = float(found)
        case Clock():
            found = str(found.time)
        case dt.datetime():
            found = found.isoformat(" ", "minutes")
        case dt.time():
            found = found.isoformat("minutes")
        case dt.date() | PointMark():
            found = str(found)
        case bytes():
            found = found.hex()
        case int() if value.field.form == "BS":
            found = f"{found:0{2 * (value.field.size or 1)}X}H"
        case Ident():
            found = pointed(found)
        case Event():
            found = found.name
    return found


def pointed(ident: Ident) -> str:
    """'p[1, 2] F[33]'."""
    return f"p{list(ident.points)} F{list(ident.functions)}"


def only_reads(frame: bytes) -> bool:
    """Whether a forwarded request is a DL/T 645 read: the one kind that is known, from outside, to carry no password."""
    body = frame.lstrip(b"\xfe")
    return len(body) >= 12 and body[0] == body[7] == 0x68 and body[8] in _READS


@cache
def _glossary() -> dict[str, str]:
    text = files("protocols.gdw376").joinpath("glossary.csv").read_text(encoding="utf-8")
    return {row["en"]: row["zh"] for row in csv.DictReader(text.splitlines())}


@lru_cache(maxsize=2048)
def in_chinese(name: str) -> str:
    """A field's name in Chinese, put together from the phrases of glossary.csv (=: whole names); what it lacks stays as it is."""
    words, known = name.split(), _glossary()
    if whole := known.get(f"={name}"):
        return whole
    told: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(_LONGEST, len(words) - at), 0, -1):
            phrase = known.get(" ".join(words[at : at + length]))
            if phrase is not None or length == 1:
                told.append(words[at] if phrase is None else phrase)
                at += length
                break
    return "".join(told)
