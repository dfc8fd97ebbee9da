"""The data field of a read answer <-> typed values, driven by items.csv. fields.py knows what one field means."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

import numpy as np

from protocols.dlt645.fields import (
    SEPARATOR,
    Typed,
    Value,
    decode_field,
    encode_field,
    missing,
    second_of,
    size_of,
)
from protocols.dlt645.items import Field, Item, item, numbered, tariff_quantity
from protocols.errors import FrameError, Misuse
from protocols.quantity import quantities

__all__ = [
    "SEPARATOR", "Place", "Typed", "Value", "decode", "decode_field", "encode", "encode_field", "freeze_categories",
    "missing", "places", "plain_fields", "quantity_values", "size_of", "stored", "value_of",
]  # fmt: skip

#: The longest list of the standard is that of the public holidays: 254.
MOST_REPEATS: Final = 254
_CURVE_TIME: Final = Field("start time", "YYMMDDhhmm", name_zh="起始时间")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies in the data (without the DI)."""

    field: Field
    start: int
    end: int


def decode(di: int, data: bytes) -> tuple[Value, ...]:
    """`data` without the DI -> its values. FrameError if the table has no such DI or they do not fit it."""
    return tuple(value for place in places(di, data) for value in value_of(place, data))


def value_of(place: Place, data: bytes) -> Iterator[Value]:
    """The value or two of one place. FrameError, its offset in `data`, if it is outside its form."""
    try:
        yield from decode_field(place.field, data[place.start : place.end])
    except FrameError as error:
        raise error.moved(place.start) from None


def places(di: int, data: bytes) -> tuple[Place, ...]:
    """Which field lies where. The separators of a freeze block lie between them. FrameError as in `decode`."""
    found = item(di)
    if found is None:
        raise FrameError(f"data {di:08X}: not in the table", 0)
    if found.form == "freeze":
        return tuple(_freeze_places(di, data))
    if not found.fields:
        raise FrameError(f"data {di:08X}: a {found.form} is decoded by its own module", 0)
    return _places(di, len(data))


@lru_cache(maxsize=4096)
def _places(di: int, length: int) -> tuple[Place, ...]:
    """The fields of an item laid over `length` bytes."""
    found = item(di)
    assert found is not None
    laid: list[Place] = []
    at = 0
    fields = _curve(found, length) if found.form == "curve" else _laid_out(found, lambda: at < length)
    for field in fields:
        end = at + size_of(field.form) if field.form != "BYTES" else length
        if end > length:
            raise FrameError(f"{field.name}: {length - at} bytes, {end - at} make {found.name_en}", at)
        laid.append(Place(field, at, end))
        at = end
    if at < length:
        raise FrameError(f"data: {length - at} bytes too many for {found.name_en}", at)
    return tuple(laid)


def _curve(found: Item, length: int) -> Iterator[Field]:
    """Points of a load curve behind their start time; one point alone comes without it.

    No published text has the answer's layout: this is how meters answer, and any other length is refused.
    """
    step = sum(size_of(field.form) for field in found.fields)
    if length == step:
        yield from found.fields
        return
    head = size_of(_CURVE_TIME.form)
    count, odd = divmod(length - head, step)
    if odd or not 1 <= count <= MOST_REPEATS:
        raise FrameError(
            f"data: {length} bytes are no start time and points of {step} for {found.name_en}", 0
        )
    yield _CURVE_TIME
    for number in range(1, count + 1):
        yield from (numbered(field, number) for field in found.fields)


def _laid_out(found: Item, more: Callable[[], bool]) -> Iterator[Field]:
    """The fields in order: optional and repeating ones only while there is `more`."""
    fixed = [field for field in found.fields if not field.repeats]
    group = [field for field in found.fields if field.repeats]
    for field in fixed:
        if field.optional and not more():
            return
        yield field
    number = 0
    while group and more():
        number += 1
        if number > MOST_REPEATS:
            raise FrameError(f"{group[0].name}: more than {MOST_REPEATS} in {found.name_en}", 0)
        for field in group:
            code = tariff_quantity(fixed[0].quantity, number) if fixed and fixed[0].quantity else ""
            each = numbered(field, number)
            yield Field(each.name, each.form, each.unit, each.signed, code, name_zh=each.name_zh)


def freeze_categories(di: int) -> tuple[int, ...]:
    """DI1 of the parts of a freeze block, in the order they come (Table A.6)."""
    return (0, 1, 2) if di >> 16 == 0x0504 else (*range(0x0B), 0x10)


def _freeze_places(di: int, data: bytes) -> Iterator[Place]:
    """A freeze block FF: the categories in order, each ended by AA; a disabled one leaves its AA.

    AA is neither a digit nor a filler, so it cannot stand inside a part.
    """
    if not data or data[-1] != SEPARATOR:
        raise FrameError("freeze block: does not end with AA", max(len(data) - 1, 0))
    categories = freeze_categories(di)
    parts = data[:-1].split(bytes((SEPARATOR,)))
    if len(parts) > len(categories):
        raise FrameError(f"freeze block: {len(parts)} parts, at most {len(categories)} are known", 0)
    start = 0
    for category, part in zip(categories, parts, strict=False):
        inner = di & 0xFFFF00FF | category << 8
        found = item(inner)
        if found is not None and part:
            for place in _moved(inner, len(part), start):
                named = (
                    place.field.name
                    if place.field.name == found.name_en
                    else f"{found.name_en}, {place.field.name}"
                )
                zh = (
                    found.name_zh
                    if place.field.name_zh == found.name_zh
                    else f"{found.name_zh}：{place.field.name_zh}"
                )
                field = place.field
                each = Field(named, field.form, field.unit, field.signed, field.quantity, name_zh=zh)
                yield Place(each, start + place.start, start + place.end)
        start += len(part) + 1


def _moved(di: int, length: int, by: int) -> tuple[Place, ...]:
    try:
        return _places(di, length)
    except FrameError as error:
        raise error.moved(by) from None


def encode(di: int, values: Sequence[Typed]) -> bytes:
    """The reverse: values in the order `decode` gives them. Misuse if they do not fit."""
    found = item(di)
    if found is None or not found.fields:
        raise Misuse(f"data {di:08X}: no field format in the table")
    out, at = bytearray(), 0
    fields = (
        _curve_given(found, len(values))
        if found.form == "curve"
        else _laid_out(found, lambda: at < len(values))
    )
    for field in fields:
        count = 2 if second_of(field.form) else 1
        if at + count > len(values):
            raise Misuse(f"{field.name}: no value given")
        out += encode_field(field, values[at : at + count])
        at += count
    if at < len(values):
        raise Misuse(f"data {di:08X}: {len(values) - at} values too many")
    return bytes(out)


def _curve_given(found: Item, count: int) -> Iterator[Field]:
    if count != len(found.fields):
        yield _CURVE_TIME
        count -= 1
    for _ in range(max(1, count // len(found.fields))):
        yield from found.fields


def quantity_values(di: int, data: bytes) -> dict[str, int | float | np.datetime64]:
    """What of this answer has a code in quantities.csv, missing fields left out. FrameError as in `decode`.

    By the quantity's kind: registers int in 1e-4 of the unit, events int, instants and demands float in the unit, moments
    datetime64[us] in the meter's own naive local time.
    """
    found: dict[str, int | float | np.datetime64] = {}
    for code, start, end, signed, factor, divisor in _counted(di, len(data)):
        digits = data[start:end][::-1].hex()
        if not digits.isdecimal() or (signed and data[end - 1] & 0x80):
            break  # a filler, a negative number or a fault: told apart below
        found[code] = int(digits) * factor if factor else int(digits) / divisor
    else:
        if found:
            return found
    for value in decode(di, data):
        if value.quantity and value.value is not None:
            number = stored(value)
            if number is not None:
                found[value.quantity] = number
    return found


def stored(value: Value) -> int | float | np.datetime64 | None:
    """A decoded value as its quantity's column holds it; None where it is missing or not of that kind."""
    kind, given = quantities()[value.quantity].kind, value.value
    if kind == "moment":
        return np.datetime64(given, "us") if isinstance(given, dt.datetime) else None
    if not isinstance(given, int | Decimal):
        return None
    if kind == "register":
        return int(given * 10_000)
    return int(given) if kind == "event" else float(given)


@lru_cache(maxsize=1024)
def _counted(di: int, length: int) -> tuple[tuple[str, int, int, bool, int, int], ...]:
    """Answers that are numbers and nothing else: code, where, sign bit, factor of an integer column or divisor of a float; else ()."""
    fields = plain_fields(di, length)
    if not fields or any(field.form[0] != "X" for field in fields):
        return ()
    told = []
    for place in _places(di, length):
        code, decimals = place.field.quantity, len(place.field.form.partition(".")[2])
        if code:
            kind = quantities()[code].kind
            factor = {"register": 10_000 // 10**decimals, "event": 1}.get(kind, 0)
            told.append((code, place.start, place.end, place.field.signed, factor, 10**decimals))
    return tuple(told) if len(told) == len(fields) else ()


@lru_cache(maxsize=1024)
def plain_fields(di: int, length: int) -> tuple[Field, ...]:
    """The fields of an answer of `length` bytes if bulk.py can decode them all: numbers and full times; else ()."""
    found = item(di)
    if found is None or found.form != "fields":
        return ()
    try:
        laid = _places(di, length)
    except FrameError:
        return ()
    plain = all(
        place.field.form[0] == "X" or place.field.form in ("YYMMDDhhmm", "YYMMDDhhmmss") for place in laid
    )
    return tuple(place.field for place in laid) if plain else ()
