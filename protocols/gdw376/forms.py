"""One field: its bytes <-> its value, driven by formats.csv.

Numbers come out exact (int, or Decimal with the digits of the form), times as naive local datetimes. What a terminal does
not have it fills with EE, some with FF: None, never 0. So is a field with any other nibble above 9: the checksum was right, so
that is the terminal's doing (a 2-decimals register of EE that it moved into A.14 arrives as 00 EE EE EE EE), and it costs
one field, not the unit. `Value.gap` says which it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final

from protocols.bcd import to_bcd
from protocols.errors import Misuse
from protocols.gdw376.items import Field, Format, events, formats
from protocols.gdw376.units import Ident

FILLER: Final = 0xEE
#: The event that quotes the authentication code PW it was about.
AUTHENTICATION_ERROR: Final = 20


@dataclass(frozen=True, slots=True)
class Clock:
    """A.1. weekday: 1-7 Monday to Sunday, 0 not told."""

    time: dt.datetime
    weekday: int = 0


@dataclass(frozen=True, slots=True)
class PointMark:
    """A point field of an event: pn, and whether the event begins there (D15) or ends."""

    point: int
    begins: bool

    def __str__(self) -> str:
        return f"p{self.point} {'begins' if self.begins else 'ends'}"


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """One record of AFN 0E. data: the content as it came, Le bytes. values: () where it does not fit its layout."""

    erc: int
    data: bytes
    values: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        shown = "******" if self.secret else self.data.hex()
        return f"Event({self.erc}, {shown}, {self.values})"

    @property
    def secret(self) -> bool:
        """Whether the content carries an authentication code."""
        return self.erc == AUTHENTICATION_ERROR or any(value.secret for value in self.values)

    @property
    def name(self) -> str:
        kind = events().get(self.erc)
        return kind.name_en if kind else f"ERC{self.erc}"

    @property
    def time(self) -> dt.datetime | None:
        """When it happened, naive local time; None where the record does not say."""
        found = self.values[0].value if self.values else None
        return found if isinstance(found, dt.datetime) else None


Typed = (
    int | Decimal | str | bytes | dt.datetime | dt.date | dt.time | Clock | PointMark | Ident | Event | None
)


@dataclass(frozen=True, slots=True, repr=False)
class Value:
    """One decoded field. gap: '' or why the value is None: 'EE', 'FF' or 'invalid'."""

    field: Field
    value: Typed
    gap: str = ""

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def unit(self) -> str:
        return self.field.unit

    @property
    def quantity(self) -> str:
        """Its code in quantities.csv or ''."""
        return self.field.quantity

    @property
    def secret(self) -> bool:
        return self.field.secret

    def __repr__(self) -> str:
        shown = "******" if self.secret else repr(self.value)
        return f"Value({self.name!r}, {shown}{', ' + self.unit if self.unit else ''})"


def decode_field(field: Field, raw: bytes) -> Value:
    """The bytes of one field -> its value; a filler or impossible digits give None and say so in `gap`."""
    try:
        return Value(field, _decoder(field.form)(raw))
    except ValueError:
        gap = "EE" if raw.count(FILLER) == len(raw) else "FF" if raw.count(0xFF) == len(raw) else "invalid"
        return Value(field, None, gap)


@cache
def _decoder(name: str) -> Callable[[bytes], Typed]:
    """Bytes of the field's size -> value; ValueError if they are none, fillers among them."""
    form = formats().get(name)
    if form is None:
        return _DECODERS[name]
    if form.kind == "bcd":
        return _bcd(form)
    if form.kind == "time":
        return partial(_time, form.pattern.split())
    return _KINDS[form.kind]


def _digits(raw: bytes) -> int:
    """Low byte first. A nibble above 9 is a ValueError by itself."""
    return int(raw[::-1].hex())


def _bcd(form: Format) -> Callable[[bytes], Typed]:
    step = Decimal(1).scaleb(-form.decimals)

    def plain(raw: bytes) -> Typed:
        number = int(raw[::-1].hex())
        return number * step if form.decimals else number

    def signed(raw: bytes) -> Typed:
        if raw[-1] < 0x80:
            return plain(raw)
        number = -int((raw[:-1] + bytes((raw[-1] & 0x7F,)))[::-1].hex())
        return number * step if form.decimals else number

    return signed if form.signed else plain


def _power(raw: bytes) -> Decimal:
    """A.2: three digits, S in D4 and the power of ten in D7-D5 of the second byte, 000 = 10^4 .. 111 = 10^-3."""
    number = _digits(bytes((raw[0], raw[1] & 0x0F)))
    return Decimal(-number if raw[1] & 0x10 else number).scaleb(4 - (raw[1] >> 5))


def _energy(raw: bytes) -> int:
    """A.3: seven digits, S in D4 and G in D6 of the last byte; G = 1 is MWh or yuan, read as kWh or li."""
    if raw[3] & 0xA0:
        raise ValueError
    number = _digits(raw[:3] + bytes((raw[3] & 0x0F,))) * (1000 if raw[3] & 0x40 else 1)
    return -number if raw[3] & 0x10 else number


def _float(raw: bytes) -> int:
    """A.4: S0 (1 = down) in D7, 0-79."""
    number = _digits(bytes((raw[0] & 0x7F,)))
    return -number if raw[0] & 0x80 else number


def _clock(raw: bytes) -> Clock:
    second, minute, hour, day, _month, year = (_digits(raw[i : i + 1]) if i != 4 else 0 for i in range(6))
    month = _digits(bytes((raw[4] & 0x1F,)))
    return Clock(dt.datetime(2000 + year, month, day, hour, minute, second), raw[4] >> 5)


def _time(names: Sequence[str], raw: bytes) -> Typed:
    part = {name: _digits(raw[i : i + 1]) for i, name in enumerate(names)}
    clock = dt.time(part.get("hh", 0), part.get("mm", 0), part.get("ss", 0))
    if "YY" in part:
        day = dt.date(2000 + part["YY"], part["MM"], part.get("DD", 1))
        if "DD" not in part:
            return f"{day.year}-{day.month:02d}"
        return dt.datetime.combine(day, clock) if "hh" in part else day
    if "DD" not in part:
        return clock
    dt.date(2000, part.get("MM", 1), part["DD"])  # 2000 has a 29th of February
    names = [name for name in ("MM", "DD") if name in part]
    date = "-".join(f"{part[name]:02d}" for name in names)
    return f"{date} " + ":".join(f"{part[name]:02d}" for name in ("hh", "mm", "ss") if name in part)


def _meter(raw: bytes) -> str:
    """A.12. Not every address is decimal."""
    if raw.count(FILLER) == len(raw) or raw.count(0xFF) == len(raw):
        raise ValueError
    return raw[::-1].hex().upper()


def _ascii(raw: bytes) -> str:
    text = raw.rstrip(b"\0")
    if any(not 0x20 <= byte < 0x7F for byte in text):
        raise ValueError
    return text.decode("ascii")


def _point(raw: bytes) -> PointMark:
    number = int.from_bytes(raw, "little")
    return PointMark(number & 0x0FFF, bool(number & 0x8000))


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _binary(raw: bytes) -> int:
    """A single EE may be a number; two or more of them are a filler."""
    if len(raw) > 1 and raw.count(FILLER) == len(raw):
        raise ValueError
    return int.from_bytes(raw, "little")


_KINDS: Final[dict[str, Callable[[bytes], Typed]]] = {
    "power": _power,
    "energy": _energy,
    "float": _float,
    "clock": _clock,
    "digits": _meter,
    "density": _number,
}

_DECODERS: Final[dict[str, Callable[[bytes], Typed]]] = {
    "BIN": _binary,
    "BS": _number,
    "AFN": _number,
    "BCD": _digits,
    "DIGITS": lambda raw: raw.hex().upper(),
    "DI": lambda raw: raw[::-1].hex().upper(),
    "ASCII": _ascii,
    "HEX": bytes,
    "GB": lambda raw: raw.decode("gb18030"),
    "IP": lambda raw: ".".join(map(str, raw)),
    "DADT": Ident,
    "POINT": _point,
    "HI4": lambda raw: raw[0] >> 4,
    "LO4": lambda raw: raw[0] & 0x0F,
}


def encode_field(field: Field, value: Typed, size: int) -> bytes:
    """The reverse of `decode_field`; None is a filler of EE. Misuse if the value does not fit."""
    if value is None:
        return bytes((FILLER,)) * size
    raw: bytes | None
    try:
        raw = _ENCODERS[_encoder(field)](field, value, size)
    except (ValueError, TypeError, AttributeError, OverflowError, ArithmeticError, UnicodeError):
        raw = None
    if raw is None or len(raw) != size:
        shown = "the value" if field.secret else repr(value)
        raise Misuse(f"{field.name}: {shown} does not fit {field.form}")
    return raw


def _encoder(field: Field) -> str:
    form = formats().get(field.form)
    return form.kind if form else field.form


def _to_bcd(field: Field, value: Any, size: int) -> bytes:
    form = formats()[field.form]
    scaled = Decimal(value).scaleb(form.decimals)
    number = int(scaled)
    if number != scaled or (number < 0 and not form.signed):
        raise ValueError
    raw = bytearray(to_bcd(abs(number), size, field.name))
    if form.signed and raw[-1] & 0x80:
        raise ValueError
    raw[-1] |= 0x80 if number < 0 else 0
    return bytes(raw)


def _to_power(field: Field, value: Any, size: int) -> bytes:
    """With the finest power of ten that holds the value."""
    for code in range(7, -1, -1):
        scaled = Decimal(value).scaleb(code - 4)
        if abs(scaled) < 1000 and scaled == int(scaled):
            low, high = to_bcd(abs(int(scaled)), size, field.name)
            return bytes((low, high | code << 5 | (0x10 if scaled < 0 else 0)))
    raise ValueError


def _to_energy(field: Field, value: Any, size: int) -> bytes:
    number, large = abs(int(value)), False
    if number >= 10**7:
        number, rest = divmod(number, 1000)
        large = True
        if rest or number >= 10**7:
            raise ValueError
    if value != int(value):
        raise ValueError
    raw = bytearray(to_bcd(number, size, field.name))
    raw[3] |= (0x40 if large else 0) | (0x10 if value < 0 else 0)
    return bytes(raw)


def _to_float(field: Field, value: Any, size: int) -> bytes:
    if not -79 <= value <= 79:
        raise ValueError
    raw = to_bcd(abs(value), size, field.name)
    return bytes((raw[0] | (0x80 if value < 0 else 0),))


def _to_clock(field: Field, value: Any, _: int) -> bytes:
    t = value.time
    if not 2000 <= t.year <= 2099 or not 0 <= value.weekday <= 7:
        raise ValueError
    numbers = (t.second, t.minute, t.hour, t.day, t.month, t.year - 2000)
    raw = bytearray(b"".join(to_bcd(number, 1, field.name) for number in numbers))
    raw[4] |= value.weekday << 5
    return bytes(raw)


def _to_time(field: Field, value: Any, _: int) -> bytes:
    names = formats()[field.form].pattern.split()
    if isinstance(value, str):  # as `_time` spells what has no year, and the month A.21
        digits = "".join(c for c in value if c.isdecimal())[2 if field.form == "A.21" else 0 :]
        if len(digits) != 2 * len(names):
            raise ValueError
        return bytes.fromhex(digits)[::-1]
    part: dict[str, int] = {}
    if isinstance(value, dt.date):
        if not 2000 <= value.year <= 2099:
            raise ValueError
        part |= {"YY": value.year - 2000, "MM": value.month, "DD": value.day}
    if isinstance(value, dt.datetime | dt.time):
        part |= {"hh": value.hour, "mm": value.minute, "ss": value.second}
    if not set(names) <= part.keys():
        raise ValueError
    return b"".join(to_bcd(part[name], 1, field.name) for name in names)


def _to_hex(_: Field, value: Any, size: int) -> bytes:
    return bytes(value)


def _to_point(_: Field, value: Any, size: int) -> bytes:
    if not 0 <= value.point <= 0x0FFF:
        raise ValueError
    return int(value.point | (0x8000 if value.begins else 0)).to_bytes(size, "little")


def _to_number(_: Field, value: Any, size: int) -> bytes:
    return int(value).to_bytes(size, "little")


_ENCODERS: Final[dict[str, Callable[[Field, Any, int], bytes]]] = {
    "bcd": _to_bcd,
    "power": _to_power,
    "energy": _to_energy,
    "float": _to_float,
    "clock": _to_clock,
    "time": _to_time,
    "digits": lambda _f, value, _s: bytes.fromhex(value)[::-1],
    "density": _to_number,
    "BIN": _to_number,
    "BS": _to_number,
    "AFN": _to_number,
    "BCD": lambda field, value, size: to_bcd(value, size, field.name),
    "DIGITS": lambda _f, value, _s: bytes.fromhex(value),
    "DI": lambda _f, value, _s: bytes.fromhex(value)[::-1],
    "ASCII": lambda _f, value, size: value.encode("ascii").ljust(size, b"\0"),
    "HEX": _to_hex,
    "GB": lambda _f, value, _s: value.encode("gb18030"),
    "IP": lambda _f, value, _s: bytes(int(part) for part in value.split(".")),
    "DADT": lambda _f, value, _s: value.raw,
    "POINT": _to_point,
}
