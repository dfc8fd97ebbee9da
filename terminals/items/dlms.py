"""DLMS/COSEM: any object by its OBIS code, with class and attribute where they are not the usual ones, or by a quantity's name.

`1-0:32.7.0`, `1.0.32.7.0.255`, `3,1-0:32.7.0,2` (class, OBIS, attribute) or voltage_a.
"""

from __future__ import annotations

import re
from typing import Any, Final

from protocols.dlms import model, values
from protocols.dlms.exchange import Get
from protocols.dlms.values import Data
from protocols.errors import Refused
from protocols.quantity import quantities
from terminals.drivers.driver import Meter, Script
from terminals.items.item import Item, Told, quantity_of, shown_obis, unknown

_OBIS: Final = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*](\d{1,3}))?")
_DOTTED: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_FULL: Final = re.compile(r"(\d{1,5}),([^,]+),(\d{1,2})")
#: Interface classes tried in turn where only an OBIS code is given: register, extended register, demand register, data (Blue Book).
CLASSES: Final = (3, 4, 5, 1)
#: Classes whose value has a scaler and a unit, and the attribute that holds them.
_SCALED: Final = {3: 3, 4: 3, 5: 4}
#: Units of the Blue Book's enumeration (IC 3) that electricity meters use.
UNITS: Final = {
    8: "°", 9: "°C", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A", 35: "V", 44: "Hz", 6: "min", 7: "s",
    70: "dBm", 72: "dB", 255: "",
}  # fmt: skip
#: Bytes of a value that are shown: an object list may have tens of thousands, and a person reads a line.
_SHOWN: Final = 256


class DlmsItems:
    """terminals.items.item.Catalogue. An item's key: (classes to try, OBIS in six groups, attribute)."""

    def find(self, text: str) -> tuple[Item, ...]:
        full = _FULL.fullmatch(text.replace(" ", ""))
        if full and (obis := _six(full[2])):
            return (_item((int(full[1]),), obis, int(full[3])),)
        code = quantity_of(text)
        if code is not None and (obis := _six(quantities()[code].obis)):
            found = quantities()[code]
            return (Item(found.obis, found.name_en, found.name_zh, (CLASSES, obis, model.VALUE)),)
        if obis := _six(text):
            return (_item(CLASSES, obis, 2),)
        for item in model.items():
            if text in (item.name_en, item.name_zh):
                return (_item((item.class_id,), item.obis, item.attribute),)
        raise unknown(text, _spellings())

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        classes, obis, attribute = item.key
        refused = ""
        for class_id in classes:
            try:
                data: Data = yield Get(class_id, obis, attribute)
            except Refused as no:
                refused = str(no)
                continue
            scaler, unit = 0, ""
            if attribute == model.VALUE and class_id in _SCALED and isinstance(data.value, int | float):
                scaler, unit = yield from _scale(class_id, obis)
            value, shown_unit = shown(data, scaler, unit)
            return (
                Told(item.code, item.name_en, item.name_zh, value, shown_unit, quantity_of(item.code) or ""),
            )
        return (Told(item.code, item.name_en, item.name_zh, refused=refused),)


def _scale(class_id: int, obis: str) -> Script[tuple[int, str]]:
    """Scaler and unit; a register that does not tell them is shown as it came."""
    try:
        told: Data = yield Get(class_id, obis, _SCALED[class_id])
    except Refused:
        return 0, "?"
    match values.plain(told):
        case [int() as scaler, int() as unit] if abs(scaler) <= 12:
            return scaler, UNITS.get(unit, f"unit {unit}")
    return 0, "?"


def shown(data: Data, scaler: int = 0, unit: str = "") -> tuple[Any, str]:
    """A value for people and JSON, and its unit: W, var, VA and their energies by the thousand, as everywhere else here."""
    value = data.value
    if isinstance(value, bool) or value is None:
        return value, unit
    if isinstance(value, int | float):
        if unit in ("W", "var", "VA", "Wh", "varh", "VAh"):
            scaler, unit = scaler - 3, f"k{unit}"
        number = value / 10**-scaler if scaler < 0 else value * 10**scaler
        return number, unit
    if isinstance(value, bytes):
        text = (
            value.decode("ascii")
            if value.isascii() and value.decode("ascii").isprintable()
            else value.hex(" ").upper()
        )
        return text[:_SHOWN], unit
    plain = str(values.plain(data))
    return (plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]} …"), unit


def _item(classes: tuple[int, ...], obis: str, attribute: int) -> Item:
    for item in model.items():
        if item.obis == obis and item.attribute == attribute and item.class_id in (*classes, item.class_id):
            return Item(
                _code(classes, obis, attribute),
                item.name_en,
                item.name_zh,
                ((item.class_id,), obis, attribute),
            )
    return Item(_code(classes, obis, attribute), "object", "对象", (classes, obis, attribute))


def _code(classes: tuple[int, ...], obis: str, attribute: int) -> str:
    short = shown_obis(obis)
    return short if len(classes) > 1 or attribute == 2 else f"{classes[0]},{short},{attribute}"


def _six(text: str) -> str:
    """1-0:32.7.0 or 1.0.32.7.0.255 as six groups; '' if it is no OBIS code."""
    found = _OBIS.fullmatch(text) or _DOTTED.fullmatch(text)
    groups = [group or "255" for group in found.groups()] if found else []
    return ".".join(groups) if groups and all(int(group) <= 255 for group in groups) else ""


def _spellings() -> tuple[str, ...]:
    names = [name for q in quantities().values() for name in (q.code, q.name_zh)]
    return (*names, *(name for item in model.items() for name in (item.name_en, item.name_zh)))
