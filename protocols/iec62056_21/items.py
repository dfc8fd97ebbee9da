"""What an identifier of a data set means: EDIS and OBIS codes, in full or reduced.

    1-0:1.8.1*255     A-B:C.D.E*F         medium, channel, what, how, tariff, billing period
    1.8.1*01          reduced             *01 is the billing period that the meter's reset counter called 01
    1.8.1&12          & instead of *      that period ended by hand, not by the clock
    F.F  C.1.0  P.01  letters             errors, service, profiles

items.csv has the codes that are no measurement (`e` stands for any number), codes.csv what C and D of a measurement mean.
What is measured gets its quantity from the obis column of protocols/quantities.csv, so nothing is said twice.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from protocols.quantity import quantities

#: Some meters write : where . belongs, behind the channel too; no group of a real code has more than three characters.
_GROUPS: Final = r"([0-9A-Z]{1,3})[.:]([0-9A-Z]{1,3})(?:[.:]([0-9A-Z]{1,3}))?"
_CODE: Final = re.compile(r"(?:(\d{1,3})-(\d{1,3}):)?" + _GROUPS + r"(?:([.*&])(\d{1,3}))?")
#: F of the present value.
_PRESENT: Final = (None, 255)
#: Channels that are the meter itself; others belong to what is connected to it.
_OWN_CHANNELS: Final = (None, 0, 1)
_POWERS: Final = {"kWh": "kW", "kvarh": "kvar", "kVAh": "kVA"}


@dataclass(frozen=True, slots=True)
class Code:
    """`key`: C.D.E as written, reduced. `period`: F, None where not given. `by_hand`: & in place of *."""

    medium: int | None
    channel: int | None
    key: str
    period: int | None = None
    by_hand: bool = False

    @property
    def present(self) -> bool:
        return self.period in _PRESENT


@dataclass(frozen=True, slots=True)
class Item:
    """`unit`: of a measurement, what it has when the meter sends none. `quantity`: '' unless it is the present value of one.

    form  number count text hex stamp time profile
    """

    code: Code
    name_en: str
    name_zh: str
    form: str = "number"
    unit: str = ""
    quantity: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of items.csv as it stands."""

    id: str
    name_en: str
    name_zh: str
    form: str
    clause: str


@cache
def rows() -> tuple[Row, ...]:
    return tuple(Row(**row) for row in _table("items.csv"))


@cache
def _measured() -> dict[tuple[str, str], dict[str, str]]:
    """(part, code) -> its row of codes.csv."""
    return {(row["part"], row["code"]): row for row in _table("codes.csv")}


def _table(name: str) -> list[dict[str, str]]:
    text = files("protocols.iec62056_21").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def _quantities() -> dict[tuple[bool, str], str]:
    """(electricity, C.D.E) -> code in quantities.csv."""
    found = {}
    for quantity in quantities().values():
        if not quantity.code.endswith("_time"):  # it stands in brackets behind its value
            medium, _, key = quantity.obis.partition("-")
            found[medium == "1", key.partition(":")[2]] = quantity.code
    return found


def code(text: str) -> Code | None:
    """The parts of an identifier, or None if it is none (a manufacturer's own)."""
    found = _CODE.fullmatch(text)
    if found is None:
        return None
    medium, channel, *groups, sign, period = found.groups()
    if groups[2] == "255":  # some meters write "not used" so
        groups[2] = "0"
    return Code(
        int(medium) if medium else None,
        int(channel) if channel else None,
        ".".join(group for group in groups if group),
        int(period) if period else None,
        sign == "&",
    )


@lru_cache(maxsize=4096)
def item(text: str) -> Item | None:
    """What an identifier means; None if neither table knows it."""
    found = code(text)
    if found is None:
        return None
    behind = (
        "" if found.present else f", billing period {found.period}{' (by hand)' if found.by_hand else ''}"
    )
    for row in rows():
        number = _fit(row.id, found.key)
        if number is not None and (found.medium in (None, 0) or row.id[0].isalpha() or row.id[0] in "09"):
            name, name_zh = row.name_en.replace("{e}", number), row.name_zh.replace("{e}", number)
            return Item(found, name + behind, name_zh, row.form, "", _quantity(found, row.form))
    return _measurement(found, behind)


def _fit(pattern: str, key: str) -> str | None:
    """What stands for `e`, '' without one; None if the pattern does not fit."""
    if not pattern.endswith("e"):
        return "" if pattern == key else None
    head = pattern[:-1]
    number = key[len(head) :]
    return number if key.startswith(head) and number.isdecimal() else None


def _measurement(found: Code, behind: str) -> Item | None:
    if found.medium not in (None, 1):
        return None
    what, how, *tariff = found.key.split(".")
    row, kind = _measured().get(("C", what)), _measured().get(("D", how))
    if row is None or kind is None:
        return None
    power = kind["unit"] == "power"
    name = row["name_en"].replace(" energy", " power") if power else row["name_en"]
    number = f", tariff {tariff[0]}" if tariff and tariff[0] not in ("0", "255") and what != "81" else ""
    channel = "" if found.channel in _OWN_CHANNELS else f", channel {found.channel}"
    unit = _POWERS.get(row["unit"], row["unit"]) if power else row["unit"]
    quantity = _quantity(found, "number")
    if quantity:
        shown = quantities()[quantity]
        return Item(found, shown.name_en, shown.name_zh, "number", shown.unit, quantity)
    name_en = f"{name}, {kind['name_en']}{number}{channel}{behind}"
    return Item(found, name_en, row["name_zh"] + kind["name_zh"], "number", unit)


def _quantity(found: Code, form: str) -> str:
    if not found.present or found.channel not in _OWN_CHANNELS:
        return ""
    if form == "count":
        return {"0.1.0": "demand_resets", "C.7.0": "power_failures", "96.7.21": "power_failures"}.get(
            found.key, ""
        )
    if found.key == "C.6.3":
        return "clock_battery"
    key = found.key if found.key.count(".") == 2 else f"{found.key}.0"
    return _quantities().get((found.medium != 0 and not key.startswith("96."), key), "")
