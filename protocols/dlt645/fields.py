"""One field of a data field <-> its value, by the form that items.csv and layouts.csv give it.

Numbers come out exact (int, or Decimal with the digits of the form), times as naive local datetimes. A field of all FF, or of
all EE as terminals fill it, is missing: None, never 0. Any other nibble above 9 is a FrameError; its offset counts from the
field's first byte.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from protocols.bcd import from_bcd, to_bcd
from protocols.dlt645.items import Field
from protocols.errors import FrameError, Misuse

Typed = int | Decimal | str | dt.datetime | dt.date | dt.time | None

#: Behind each part of a freeze block and each class of a load record.
SEPARATOR: Final = 0xAA

#: What no source lays out. BYTESn: n of them; BYTES: all that is left.
RAW: Final = "BYTES"

#: Times without a year are text as they stand: 99 in them means every, or not used.
_TEXTS: Final = {
    "MMDDhhmm": "{MM:02d}-{DD:02d} {hh:02d}:{mm:02d}",
    "MMDDhh": "{MM:02d}-{DD:02d} {hh:02d}h",
    "MMDDNN": "{MM:02d}-{DD:02d}",
    "DDhh": "{DD:02d} {hh:02d}h",
    "hhmmNN": "{hh:02d}:{mm:02d}",
}
#: The second value of a time: weekday 0-6, or the number of a day table or tariff.
_SECOND: Final = {"WW": ("weekday", "星期"), "NN": ("number", "编号")}


@dataclass(frozen=True, slots=True)
class Value:
    """One decoded field; `quantity` is its code in quantities.csv or ''."""

    name: str
    value: Typed
    unit: str = ""
    quantity: str = ""
    name_zh: str = ""


@lru_cache(maxsize=256)
def size_of(form: str) -> int:
    """Bytes on the wire; 0 for BYTES, which takes what is left."""
    if form.startswith(("ASCII", RAW)):
        return int(form[5:] or 0)
    return len(form.replace(".", "")) // 2


def second_of(form: str) -> str:
    """ "WW" or "NN" if a field of this form gives two values, else ""."""
    if form[0] in "XNHAB":
        return ""
    return next((mark for mark in _SECOND if mark in form), "")


def missing(raw: bytes) -> bool:
    """The fillers: all FF, or all EE."""
    return raw.count(0xFF) == len(raw) or raw.count(0xEE) == len(raw)


def decode_field(field: Field, raw: bytes) -> Iterator[Value]:
    """The value of one field (a date with weekday gives two). FrameError if it is outside its form."""
    kind = field.form[0]
    if kind == "H":
        yield Value(field.name, int.from_bytes(raw, "little"), field.unit, "", field.name_zh)
    elif kind == "B":
        yield Value(field.name, raw.hex(), "", "", field.name_zh)
    elif missing(raw):
        yield Value(field.name, None, field.unit, field.quantity, field.name_zh)
        if second := second_of(field.form):
            yield Value(*_second(field, second, None))
    elif kind == "X":
        yield Value(field.name, _decode_number(field, raw), field.unit, field.quantity, field.name_zh)
    elif kind == "N":
        from_bcd(raw, field.name)
        yield Value(field.name, raw[::-1].hex(), name_zh=field.name_zh)
    elif kind == "A":
        yield Value(field.name, _decode_ascii(field.name, raw), name_zh=field.name_zh)
    else:
        yield from _decode_time(field, raw)


def _decode_number(field: Field, raw: bytes) -> int | Decimal:
    negative = field.signed and raw[-1] & 0x80
    digits = (raw[:-1] + bytes((raw[-1] & 0x7F,)) if negative else raw)[::-1].hex()
    if not digits.isdecimal():
        raise FrameError(f"{field.name}: {raw[::-1].hex().upper()} is not BCD", 0)
    number = -int(digits) if negative else int(digits)
    decimals = len(field.form.partition(".")[2])
    return Decimal(number).scaleb(-decimals) if decimals else number


def _decode_ascii(name: str, raw: bytes) -> str:
    text = raw[::-1].strip(b"\0 ")
    if any(not 0x20 <= byte < 0x7F for byte in text):
        raise FrameError(f"{name}: {raw.hex()} is not ASCII", 0)
    return text.decode("ascii")


def _pairs(form: str) -> list[str]:
    """YYMMDDhhmm -> its pairs in wire order: mm hh DD MM YY."""
    return [form[i : i + 2] for i in range(0, len(form), 2)][::-1]


def _decode_time(field: Field, raw: bytes) -> Iterator[Value]:
    part = {
        name: from_bcd(raw[i : i + 1], f"{field.name} {name}") for i, name in enumerate(_pairs(field.form))
    }
    yield Value(field.name, _moment(field, part, raw), "", field.quantity, field.name_zh)
    if second := second_of(field.form):
        if second == "WW" and part["WW"] > 6:
            raise FrameError(f"{field.name}: weekday {part['WW']}, 0-6 are allowed", 0)
        yield Value(*_second(field, second, part[second]))


def _second(field: Field, mark: str, number: int | None) -> tuple[str, int | None, str, str, str]:
    name, name_zh = _SECOND[mark]
    if mark == "WW":
        return name, number, "", "", name_zh
    return f"{field.name} {name}", number, "", "", f"{field.name_zh}{name_zh}"


def _moment(field: Field, part: dict[str, int], raw: bytes) -> Typed:
    text = _TEXTS.get(field.form)
    if text is not None:
        return text.format_map(part)
    try:
        clock = dt.time(part.get("hh", 0), part.get("mm", 0), part.get("ss", 0))
        if "YY" not in part:
            return clock
        if part["MM"] == part["DD"] == 0:
            return None  # a record place that was never written is all zero
        day = dt.date(2000 + part["YY"], part["MM"], part["DD"])
        return dt.datetime.combine(day, clock) if "hh" in part else day
    except ValueError:
        raise FrameError(f"{field.name}: {raw[::-1].hex()} is no {field.form}", 0) from None


def encode_field(field: Field, values: Sequence[Typed]) -> bytes:
    """The reverse of `decode_field`. Misuse if the value does not fit."""
    value, size = values[0], size_of(field.form)
    kind = field.form[0]
    if value is None and kind != "B":
        return b"\xff" * size
    if kind not in "HXNA":
        return _encode_raw(field, value) if kind == "B" else _encode_time(field, values)
    if kind == "H" and isinstance(value, int) and 0 <= value < 256**size:
        return value.to_bytes(size, "little")
    if kind == "X" and isinstance(value, int | Decimal):
        return encode_number(value, field)
    if kind == "N" and isinstance(value, str) and len(value) == 2 * size and value.isdecimal():
        return to_bcd(int(value), size, field.name)
    if kind == "A" and isinstance(value, str) and value.isascii() and len(value) <= size:
        return value.encode("ascii").rjust(size, b"\0")[::-1]
    raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")


def _encode_raw(field: Field, value: Typed) -> bytes:
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        raw = None
    if raw is None or len(raw) != (size_of(field.form) or len(raw)):
        raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")
    return raw


def encode_number(value: int | Decimal, field: Field) -> bytes:
    """A number in the form of its field; Misuse if digits would be lost."""
    decimals, size = len(field.form.partition(".")[2]), size_of(field.form)
    scaled = Decimal(value).scaleb(decimals)
    number = int(scaled)
    if number != scaled or (number < 0 and not field.signed):
        raise Misuse(f"{field.name}: {value} does not fit {field.form}")
    raw = bytearray(to_bcd(abs(number), size, field.name))
    if field.signed and raw[-1] & 0x80:
        raise Misuse(f"{field.name}: {value} does not fit {field.form} with a sign")
    raw[-1] |= 0x80 if number < 0 else 0
    return bytes(raw)


def _encode_time(field: Field, values: Sequence[Typed]) -> bytes:
    value, names, second = values[0], _pairs(field.form), second_of(field.form)
    part = {second: int(str(values[1]))} if second and len(values) > 1 else {}
    if isinstance(value, str):  # MM-DD hh:mm and the like: its digits in the order of the form
        digits = "".join(c for c in value if c.isdecimal())
        order = [name for name in names[::-1] if name != second]
        if len(digits) == 2 * len(order):
            part |= {name: int(digits[2 * at : 2 * at + 2]) for at, name in enumerate(order)}
    if isinstance(value, dt.date):
        if not 2000 <= value.year <= 2099:
            raise Misuse(f"{field.name}: {value} is outside 2000-2099")
        part |= {"YY": value.year - 2000, "MM": value.month, "DD": value.day}
    if isinstance(value, dt.datetime | dt.time):
        part |= {"hh": value.hour, "mm": value.minute, "ss": value.second}
    if not set(names) <= part.keys():
        raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")
    return b"".join(to_bcd(part[name], 1, field.name) for name in names)
