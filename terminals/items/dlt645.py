"""DL/T 645-2007: any data identifier of the standard's tables, by its number, its name, or the quantity that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Final

from protocols.dlt645.exchange import Read, ReadAnswer
from protocols.dlt645.fields import Typed
from protocols.dlt645.items import item, rows
from protocols.dlt645.values import decode
from protocols.errors import Refused
from protocols.quantity import quantities
from terminals.drivers.driver import Meter, Script
from terminals.items.item import Item, Told, UnknownItem, plain, quantity_of, unknown

#: What a pattern's pair stands for where a person names the thing without a number: the present, the first.
_FIRST: Final = {
    "rr": "01",
    "ss": "00",
    "nn": "01",
    "dd": "01",
    "pp": "01",
    "hh": "01",
    "kk": "01",
    "ff": "01",
}
#: Pairs of which all are named: tariffs 1-4 and phases.
_ALL: Final = {"rr": ("01", "02", "03", "04"), "pp": ("01", "02", "03")}
#: Classes of identifiers that need more than a number, or are no reading: load records, freezes by list, security, files.
_NOT_ASKED: Final = ("05", "06", "07", "08")


class Dlt645Items:
    """terminals.items.item.Catalogue."""

    def find(self, text: str) -> tuple[Item, ...]:
        if re.fullmatch(r"[0-9A-Fa-f]{8}", text):
            return (_by_number(text.upper()),)
        code = quantity_of(text)
        if code is not None and code in _quantities():
            return tuple(_item(di) for di in _quantities()[code])
        di = _names().get(plain(text))
        if di is None:
            raise unknown(text, _spellings())
        return (_item(di),)

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        try:
            answer: ReadAnswer = yield Read(meter.address, item.key)
        except Refused as refused:
            return (Told(item.code, item.name_en, item.name_zh, refused=str(refused)),)
        return told(item, answer.data)


def told(asked: Item, data: bytes) -> tuple[Told, ...]:
    """The values of an answer. FrameError as protocols.dlt645.values.decode."""
    found = []
    values = decode(asked.key, data)
    for value in values:
        single = len(values) == 1
        found.append(
            Told(
                asked.code, asked.name_en, asked.name_zh, _shown(value.value), value.unit, value.quantity,
                "" if single else value.name, "" if single else value.name_zh,
            )
        )  # fmt: skip
    return tuple(found)


def _by_number(digits: str) -> Item:
    di = int(digits, 16)
    found = item(di)
    if found is None:
        close = [f"{known:08X}" for known in sorted(_numbers(), key=lambda known: known ^ di)[:3]]
        raise UnknownItem(
            f"unknown item {digits!r}: the standard's tables have no such identifier; nearest: {', '.join(close)}"
        )
    if digits[:2] in _NOT_ASKED or "R" not in found.access:
        raise UnknownItem(
            f"{digits} ({found.name_en}) is not read by its number alone; the curve and the freezes are in the store"
        )
    return _item(di)


def _item(di: int) -> Item:
    found = item(di)
    assert found is not None  # every number here comes from the table
    return Item(f"{di:08X}", found.name_en, found.name_zh, di)


@cache
def _numbers() -> tuple[int, ...]:
    """Every identifier that has a name of its own."""
    found: list[int] = []
    for row in rows():
        if row.id[:2] not in _NOT_ASKED and "R" in row.access:
            found += [int(digits, 16) for digits in _expanded(row.id)]
    return tuple(di for di in found if item(di) is not None)


def _expanded(pattern: str) -> Iterator[str]:
    for at in range(0, 8, 2):
        pair = pattern[at : at + 2]
        for number in _ALL.get(pair, (_FIRST[pair],) if pair in _FIRST else ()):
            yield from _expanded(pattern[:at] + number + pattern[at + 2 :])
        if pair in _FIRST:
            return
    yield pattern


@cache
def _names() -> dict[str, int]:
    found: dict[str, int] = {}
    for di in _numbers():
        known = item(di)
        assert known is not None
        for name in (known.name_en, known.name_zh):
            # 正向有功总电能（当前） is what people call 正向有功总电能
            for spelt in (name, name.replace("（当前）", "")):
                found.setdefault(plain(spelt), di)
    return found


def _spellings() -> tuple[str, ...]:
    known = [item(di) for di in _numbers()]
    names = [name for one in known if one for name in (one.name_en, one.name_zh.replace("（当前）", ""))]
    of_quantities = [n for code in _quantities() for n in (code, quantities()[code].name_zh)]
    return (*of_quantities, *names)


@cache
def _quantities() -> dict[str, tuple[int, ...]]:
    """Quantity -> the identifiers that hold it alone; one that meters have only in a block has that."""
    single: dict[str, list[int]] = {}
    blocks: dict[str, list[int]] = {}
    for di in _numbers():
        known = item(di)
        assert known is not None
        for field in known.fields:
            if field.quantity:
                (single if len(known.fields) == 1 else blocks).setdefault(field.quantity, []).append(di)
    return {code: tuple((single.get(code) or blocks[code])[:1]) for code in (*single, *blocks)}


def _shown(value: Typed) -> str | int | float | None:
    """Decimals as text, exactly as many digits as the meter sends."""
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat()
