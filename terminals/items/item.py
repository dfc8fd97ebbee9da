"""Items by name, what a meter told of them, and the one shape of every protocol's catalogue."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from protocols.quantity import quantities
from terminals.drivers.driver import Meter, Script

#: Items in one order: all that a person reads at a glance, and a minute of the line of a meter that answers slowly.
MOST: Final = 24


class UnknownItem(Exception):
    """No item of that name in this meter's protocol. The message names the nearest ones."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to ask.

    code  as the protocol writes it: 02010100, 1-0:32.7.0, 20000200, voltage_a of a register map
    key   what the catalogue asks by
    """

    code: str
    name_en: str
    name_zh: str
    key: Any = None


@dataclass(frozen=True, slots=True)
class Told:
    """One value that the meter told, or why it did not (`refused`). `code` is the item's; `part` the field's name in an item of several."""

    code: str
    name_en: str
    name_zh: str
    value: str | float | int | None = None
    unit: str = ""
    quantity: str = ""
    part: str = ""
    part_zh: str = ""
    refused: str = ""


class Catalogue(Protocol):
    """One protocol's items."""

    def find(self, text: str) -> tuple[Item, ...]:
        """What a person means. Most names are one item; a quantity may be several in turn of which one is enough. UnknownItem."""

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        """Ask for one. Refused by the meter becomes a Told that says so."""


def unknown(text: str, names: Iterable[str]) -> UnknownItem:
    """The complaint, with what is nearest."""
    close = nearest(text, names)
    hint = (
        f"; nearest: {', '.join(close)}"
        if close
        else "; give a quantity such as voltage_a, a Chinese name, or an OBIS code"
    )
    return UnknownItem(f"unknown item {text!r}{hint}")


def nearest(text: str, names: Iterable[str]) -> Sequence[str]:
    """At most three of `names` that are spelt like `text`, whatever case and spaces."""
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    return [
        by_plain[found] for found in difflib.get_close_matches(plain(text), list(by_plain), n=3, cutoff=0.5)
    ]


def plain(text: str) -> str:
    """A name without what people write differently."""
    return "".join(text.lower().replace("_", " ").replace("（", "(").replace("）", ")").split())


@cache
def quantity_names() -> dict[str, str]:
    """Plain name, code, Chinese name or OBIS code -> quantity code."""
    found: dict[str, str] = {}
    for code, quantity in quantities().items():
        for name in (code, quantity.name_en, quantity.name_zh, quantity.obis):
            found.setdefault(plain(name), code)
    return found


def quantity_of(text: str) -> str | None:
    """The quantity that a person means, or None. An OBIS code may come as 1.0.32.7.0.255 too."""
    return quantity_names().get(plain(text)) or quantity_names().get(plain(shown_obis(text)))


def shown_obis(text: str) -> str:
    """1.0.32.7.0.255 as 1-0:32.7.0; anything else as it is."""
    numbers = text.split(".")
    if len(numbers) == 6 and all(n.isdecimal() for n in numbers) and numbers[5] == "255":
        a, b, c, d, e, _ = numbers
        return f"{a}-{b}:{c}.{d}.{e}"
    return text
