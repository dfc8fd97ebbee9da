"""DL/T 698.45: any attribute by its OAD (8 hex digits), by the object's name, or by a quantity's.

For a meter behind a terminal the OAD travels in a PROXY request; what only DL/T 645 has travels in a forwarded frame.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from protocols.dlt698 import items as table
from protocols.dlt698 import show
from protocols.dlt698.apdu import Reply, Result, Target
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.requests import GetList, ProxyGet
from protocols.errors import FrameError, Refused
from protocols.part import MASK
from protocols.quantity import quantities
from terminals.drivers.dlt698 import METER_SECONDS
from terminals.drivers.driver import Meter, Script
from terminals.items.item import Item, Told, plain, quantity_of, unknown

_ATTRIBUTE: Final = 0x0200


class Dlt698Items:
    """terminals.items.item.Catalogue. An item's key: (OAD, number of the quantity in its array or None)."""

    def find(self, text: str) -> tuple[Item, ...]:
        if re.fullmatch(r"[0-9A-Fa-f]{8}", text) and table.object_name(int(text, 16)):
            return (_item(int(text, 16)),)
        code = quantity_of(text)
        if code is not None and code in _quantities():
            oad, place = _quantities()[code]
            known = quantities()[code]
            return (Item(f"{oad:08X}", known.name_en, known.name_zh, (oad, place)),)
        oad_of_name = _names().get(plain(text))
        if oad_of_name is None:
            raise unknown(
                text, (*_quantities(), *(quantities()[c].name_zh for c in _quantities()), *_names())
            )
        return (_item(oad_of_name),)

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        oad, place = item.key
        try:
            result = yield from _result(meter, oad)
        except Refused as refused:
            return (Told(item.code, item.name_en, item.name_zh, refused=str(refused)),)
        if result.data is None:
            why = table.dars().get(result.dar, f"DAR {result.dar}")
            return (Told(item.code, item.name_en, item.name_zh, refused=f"{meter.address} refused: {why}"),)
        return _told(item, show.column(oad), result.data, place)


def _result(meter: Meter, oad: int) -> Script[Result]:
    if meter.address == meter.terminal or not meter.terminal:
        results: tuple[Result, ...] = yield GetList((oad,))
    else:
        target = Target(tsa(Address(meter.address)), METER_SECONDS, (oad,))
        replies: tuple[Reply, ...] = yield ProxyGet(METER_SECONDS, (target,))
        results = next((reply.items for reply in replies if reply.tsa == target.tsa), ())
    for result in results:
        if result.oad == oad:
            return result
    raise FrameError(f"{oad:08X}: the answer is about something else")


def _told(item: Item, column: show.Column, data: Any, place: int | None) -> tuple[Told, ...]:
    if column.secret:
        return (Told(item.code, item.name_en, item.name_zh, MASK),)
    value = column.value(data, reveal=False)
    unit = column.unit if isinstance(column.unit, str) else ""
    codes = table.quantities(item.key[0])
    if not isinstance(value, list):
        return (Told(item.code, item.name_en, item.name_zh, value, unit, codes[0] if codes else ""),)
    found = []
    for k, one in enumerate(value):
        if place is not None and k != place:
            continue
        code = codes[k] if k < len(codes) else ""
        known = quantities().get(code)
        part = known.name_en if known else str(k + 1)
        part_zh = known.name_zh if known else str(k + 1)
        single = place is not None
        found.append(
            Told(
                item.code, item.name_en, item.name_zh, one if isinstance(one, str | int | float | None) else str(one), unit, code,
                "" if single else part, "" if single else part_zh,
            )
        )  # fmt: skip
    return tuple(found)


def _item(oad: int) -> Item:
    found = table.item(oad)
    name_zh = (found.member_zh or found.name_zh) if found else table.member_name(oad)
    return Item(f"{oad:08X}", table.object_name(oad), name_zh or "对象", (oad, None))


@cache
def _quantities() -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in table.items():
        if row.kind == "attr" and not row.secret and not row.composite:
            for place, code in enumerate(row.quantities):
                if code:
                    found.setdefault(code, (row.oi << 16 | row.number << 8, place))
    return found


@cache
def _names() -> dict[str, int]:
    found: dict[str, int] = {}
    for row in table.items():
        if row.kind == "attr" and row.number == 2 and not row.secret:
            for name in (row.name_en, row.name_zh):
                found.setdefault(plain(name), row.oi << 16 | _ATTRIBUTE)
    return found
