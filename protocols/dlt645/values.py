"""The data field of a read answer <-> typed values, driven by items.csv.

Numbers come out exact (int, or Decimal with the digits of the form), times as naive local datetimes. A field
of all FF, or of all EE as terminals fill it, is missing: None, never 0. Any other nibble above 9 is a
FrameError.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from protocols.bcd import from_bcd, to_bcd
from protocols.dlt645.items import Field, Item, item, tariff_quantity
from protocols.errors import FrameError, Misuse
from protocols.quantity import quantities

Typed = int | Decimal | str | dt.datetime | dt.date | dt.time | None

SEPARATOR = 0xAA


@dataclass(frozen=True, slots=True)
class Value:
    """One decoded field; `quantity` is its code in quantities.csv or ''."""

    name: str
    value: Typed
    unit: str = ""
    quantity: str = ""


def decode(di: int, data: bytes) -> tuple[Value, ...]:
    """`data` without the DI -> its values. FrameError if the table has no such DI or they do not fit it."""
    found = item(di)
    if found is None:
        raise FrameError(f"data {di:08X}: not in the table")
    if found.form == "freeze":
        return tuple(_decode_freeze(di, data))
    if not found.fields:
        raise FrameError(f"data {di:08X}: a {found.form} is decoded by blocks.py")
    return tuple(_decode_fields(found, data))


def encode(di: int, values: Sequence[Typed]) -> bytes:
    """The reverse: values in the order `decode` gives them. Misuse if they do not fit."""
    found = item(di)
    if found is None or not found.fields:
        raise Misuse(f"data {di:08X}: no field format in the table")
    out, queue = bytearray(), list(values)
    for field in _laid_out(found, lambda: bool(queue)):
        if len(queue) < _yields(field.form):
            raise Misuse(f"{field.name}: no value given")
        taken = [queue.pop(0) for _ in range(_yields(field.form))]
        out += encode_field(field, taken)
    if queue:
        raise Misuse(f"data {di:08X}: {len(queue)} values too many")
    return bytes(out)


def quantity_values(di: int, data: bytes) -> dict[str, int | float]:
    """What of this answer has a code in quantities.csv, missing fields left out.

    Registers as int in 1e-4 kWh, instants as float in the quantity's unit. FrameError as in `decode`.
    """
    found: dict[str, int | float] = {}
    for value in decode(di, data):
        if not value.quantity or not isinstance(value.value, int | Decimal):
            continue
        quantity = quantities()[value.quantity]
        number = Decimal(value.value)
        found[value.quantity] = int(number * 10_000) if quantity.kind == "register" else float(number)
    return found


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
        for field in group:
            code = tariff_quantity(fixed[0].quantity, number) if fixed and fixed[0].quantity else ""
            yield Field(f"{field.name} {number}", field.form, field.unit, field.signed, code)


def _decode_fields(found: Item, data: bytes) -> Iterator[Value]:
    left = bytearray(data)
    for field in _laid_out(found, lambda: bool(left)):
        size = size_of(field.form)
        if len(left) < size:
            at = len(data) - len(left)
            raise FrameError(f"{field.name}: {len(left)} bytes at offset {at}, {size} make {found.name_en}")
        yield from decode_field(field, bytes(left[:size]))
        del left[:size]
    if left:
        at = len(data) - len(left)
        raise FrameError(f"data: {len(left)} bytes too many at offset {at} for {found.name_en}")


@lru_cache(maxsize=1024)
def plain_fields(di: int, length: int) -> tuple[Field, ...]:
    """The fields of an answer of `length` bytes if all are plain numbers that fill it exactly; else ()."""
    found = item(di)
    laid: list[Field] = []
    if found is not None and found.fields:
        for field in _laid_out(found, lambda: _length(laid) < length):
            laid.append(field)  # noqa: PERF402 - the loop's own condition looks at what is laid
    plain = all(field.form[0] == "X" for field in laid)
    return tuple(laid) if plain and laid and _length(laid) == length else ()


def _length(fields: Sequence[Field]) -> int:
    return sum(size_of(field.form) for field in fields)


def _decode_freeze(di: int, data: bytes) -> Iterator[Value]:
    """A freeze block FF: the categories in order, each ended by AA; a disabled one leaves its AA."""
    if not data or data[-1] != SEPARATOR:
        raise FrameError("freeze block: does not end with AA")
    hourly = di >> 16 == 0x0504
    categories = (0, 1, 2) if hourly else (*range(0x0B), 0x10)
    parts = data[:-1].split(bytes((SEPARATOR,)))
    if len(parts) > len(categories):
        raise FrameError(f"freeze block: {len(parts)} parts, at most {len(categories)} are known")
    for category, part in zip(categories, parts, strict=False):
        found = item(di & 0xFFFF00FF | category << 8)
        if found is not None and part:
            for value in _decode_fields(found, part):
                name = value.name if value.name == found.name_en else f"{found.name_en}, {value.name}"
                yield Value(name, value.value, value.unit, value.quantity)


# --- one field ---


@lru_cache(maxsize=256)
def size_of(form: str) -> int:
    """Bytes on the wire."""
    if form.startswith("ASCII"):
        return int(form[5:])
    return len(form.replace(".", "")) // 2


def _yields(form: str) -> int:
    return 2 if "WW" in form else 1


def missing(raw: bytes) -> bool:
    """The fillers: all FF, or all EE."""
    return raw.count(0xFF) == len(raw) or raw.count(0xEE) == len(raw)


def decode_field(field: Field, raw: bytes) -> Iterator[Value]:
    """The value of one field (a date with weekday gives two). FrameError if it is outside its form."""
    kind = field.form[0]
    if kind == "H":
        yield Value(field.name, int.from_bytes(raw, "little"), field.unit)
    elif missing(raw):
        yield Value(field.name, None, field.unit, field.quantity)
        if "WW" in field.form:
            yield Value("weekday", None)
    elif kind == "X":
        yield Value(field.name, _decode_number(field, raw), field.unit, field.quantity)
    elif kind == "N":
        from_bcd(raw, field.name)
        yield Value(field.name, raw[::-1].hex())
    elif kind == "A":
        yield Value(field.name, _decode_ascii(field.name, raw))
    else:
        yield from _decode_time(field, raw)


def _decode_number(field: Field, raw: bytes) -> int | Decimal:
    negative = field.signed and raw[-1] & 0x80
    number = from_bcd(raw[:-1] + bytes((raw[-1] & 0x7F,)) if negative else raw, field.name)
    number = -number if negative else number
    decimals = len(field.form.partition(".")[2])
    return Decimal(number).scaleb(-decimals) if decimals else number


def _decode_ascii(name: str, raw: bytes) -> str:
    text = raw[::-1].strip(b"\0 ")
    if any(not 0x20 <= byte < 0x7F for byte in text):
        raise FrameError(f"{name}: {raw.hex()} is not ASCII")
    return text.decode("ascii")


def _parts(form: str) -> list[str]:
    """YYMMDDhhmm -> its pairs in wire order: mm hh DD MM YY."""
    return [form[i : i + 2] for i in range(0, len(form), 2)][::-1]


def _decode_time(field: Field, raw: bytes) -> Iterator[Value]:
    part = {
        name: from_bcd(raw[i : i + 1], f"{field.name} {name}") for i, name in enumerate(_parts(field.form))
    }
    yield Value(field.name, _moment(field, part, raw))
    if "WW" in part:
        if part["WW"] > 6:
            raise FrameError(f"{field.name}: weekday {part['WW']}, 0-6 are allowed")
        yield Value("weekday", part["WW"])


def _moment(field: Field, part: dict[str, int], raw: bytes) -> Typed:
    try:
        clock = dt.time(part.get("hh", 0), part.get("mm", 0), part.get("ss", 0))
        if "YY" in part:
            if part["MM"] == part["DD"] == 0:
                return None  # a record place that was never written is all zero
            day = dt.date(2000 + part["YY"], part["MM"], part["DD"])
            return dt.datetime.combine(day, clock) if "hh" in part else day
        if "MM" in part:
            return f"{part['MM']:02d}-{part['DD']:02d} {part['hh']:02d}:{part['mm']:02d}"
    except ValueError:
        raise FrameError(f"{field.name}: {raw[::-1].hex()} is no {field.form}") from None
    return clock


def encode_field(field: Field, values: Sequence[Typed]) -> bytes:
    """The reverse of `decode_field`. Misuse if the value does not fit."""
    value, size = values[0], size_of(field.form)
    if value is None:
        return b"\xff" * size
    kind = field.form[0]
    if kind == "H" and isinstance(value, int) and 0 <= value < 256**size:
        return value.to_bytes(size, "little")
    if kind == "X" and isinstance(value, int | Decimal):
        return encode_number(value, field)
    if kind == "N" and isinstance(value, str) and len(value) == 2 * size and value.isdecimal():
        return to_bcd(int(value), size, field.name)
    if kind == "A" and isinstance(value, str) and value.isascii() and len(value) <= size:
        return value.encode("ascii").rjust(size, b"\0")[::-1]
    if kind not in "HXNA":
        return _encode_time(field, values)
    raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")


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
    value = values[0]
    names = _parts(field.form)
    if isinstance(value, str):  # MM-DD hh:mm
        digits = "".join(c for c in value if c.isdecimal())
        if len(digits) == 2 * len(names):
            return to_bcd(int(digits), len(names), field.name)
        raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")
    part: dict[str, int] = {"WW": int(str(values[1]))} if len(values) > 1 else {}
    if isinstance(value, dt.date):
        if not 2000 <= value.year <= 2099:
            raise Misuse(f"{field.name}: {value} is outside 2000-2099")
        part |= {"YY": value.year - 2000, "MM": value.month, "DD": value.day}
    if isinstance(value, dt.datetime | dt.time):
        part |= {"hh": value.hour, "mm": value.minute, "ss": value.second}
    if not set(names) <= part.keys():
        raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")
    return b"".join(to_bcd(part[name], 1, field.name) for name in names)
