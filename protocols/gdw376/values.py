"""Data units <-> typed values, driven by items.csv.

Numbers come out exact (int, or Decimal with the digits of the form), times as naive local datetimes. What a terminal does
not have it fills with EE, some with FF: None, never 0. So is a field with any other nibble above 9: the checksum was right, so
that is the terminal's doing (a 2-decimals register of EE that it moved into A.14 arrives as 00 EE EE EE EE), and it costs
one field, not the unit. `Value.gap` says which it was.

A unit whose function the table does not know, or whose data do not fit its layout, keeps its bytes; the units behind it are
found again where the rest of the frame can be read to its exact end.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache, partial
from typing import Any, Final

from protocols.bcd import to_bcd
from protocols.errors import FrameError, Misuse
from protocols.gdw376.items import Field, Format, Group, Item, Layout, events, formats, item, quantity_code
from protocols.gdw376.units import SIZE, Ident, is_ident
from protocols.quantity import quantities

FILLER: Final = 0xEE
#: Density m -> minutes between two points; 0 is "not frozen".
DENSITY_MINUTES: Final = {1: 15, 2: 30, 3: 60, 254: 5, 255: 1}
#: Fields that looking for the end of an unknown unit may decode: some milliseconds, whatever the bytes are.
_SEARCH_LIMIT: Final = 1000
#: AFN whose requests consist of identifiers, whatever the function (AFN 0A has three that the table knows).
_ASKED_WITHOUT_DATA: Final = (0x09, 0x0A, 0x0C)
#: Data units read out of one frame: all 2040 points of a terminal, once. Identifiers without data could name 262,000.
UNIT_LIMIT: Final = 2048


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


@dataclass(frozen=True, slots=True)
class Event:
    """One record of AFN 0E. data: the content as it came, Le bytes. values: () where it does not fit its layout."""

    erc: int
    data: bytes
    values: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        kind = events().get(self.erc)
        return kind.name_en if kind else f"ERC{self.erc}"

    @property
    def time(self) -> dt.datetime | None:
        """When it happened, naive local time."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Unit:
    """One data unit. data: its bytes without the identifier. why: '' or why they could not be read."""

    afn: int
    point: int
    function: int
    data: bytes = b""
    values: tuple[Value, ...] = ()
    why: str = ""

    def __repr__(self) -> str:
        return f"Unit({self.afn:02X}H, p{self.point}, F{self.function}, {len(self.data)} bytes, {self.why or self.values})"

    @property
    def known(self) -> bool:
        return not self.why

    @property
    def secret(self) -> bool:
        """Whether the bytes carry something that is not for every eye; unknown parameters are taken for such."""
        if self.why:
            found = item(self.afn, self.function)
            return self.afn in (0x04, 0x06, 0x0A, 0x10) and (
                found is None or self.afn in (0x06, 0x10) or _hides(found)
            )
        return any(value.secret or _event_secret(value.value) for value in self.values)

    def quantities(self) -> dict[str, int | float]:
        """What of this unit has a code in quantities.csv, gaps left out.

        Registers as int in 1e-4 kWh, instants as float in the quantity's unit. Of a curve the last point stays: see bulk.py.
        """
        found: dict[str, int | float] = {}
        for value in self.values:
            number = number_of(value)
            if number is not None:
                found[value.quantity] = number
        return found


def number_of(value: Value) -> int | float | None:
    """The value as its column keeps it, or None where it has no quantity or is missing."""
    if not value.quantity or not isinstance(value.value, int | Decimal):
        return None
    if quantities()[value.quantity].kind == "register":
        return int(Decimal(value.value) * 10_000)
    return float(value.value)


def _hides(found: Item) -> bool:
    def secret(nodes: Layout) -> bool:
        return any(secret(node.nodes) if isinstance(node, Group) else node.secret for node in nodes)

    return any(secret(layout) for layout in (found.down or ()) + (found.up or ()))


def _event_secret(value: Typed) -> bool:
    return isinstance(value, Event) and any(inner.secret for inner in value.values)


# --- the data units of a frame ---


def decode_units(afn: int, body: bytes, *, uplink: bool) -> tuple[Unit, ...]:
    """The data unit area of a frame -> its units. Never raises: what cannot be read is a Unit that says why."""
    return tuple(_Reader(afn, body, uplink).units())


def encode_units(parts: Iterable[tuple[Ident, Sequence[bytes]]]) -> bytes:
    """(identifier, data of each of its point-function pairs in order) -> the data unit area. Misuse if counts differ."""
    out = bytearray()
    for ident, data in parts:
        if len(data) != len(ident.points) * len(ident.functions):
            raise Misuse(
                f"data units: {len(data)} given, {len(ident.points) * len(ident.functions)} identified"
            )
        out += ident.raw + b"".join(data)
    return bytes(out)


_Pairs = deque[tuple[int, int]]


class _Unreadable(Exception):
    pass


class _Reader:
    def __init__(self, afn: int, body: bytes, uplink: bool) -> None:
        self._afn, self._body, self._uplink = afn, body, uplink
        self._budget = _SEARCH_LIMIT
        self._asks_only = not uplink and afn in _ASKED_WITHOUT_DATA

    def units(self) -> Iterator[Unit]:
        at, count, pairs = 0, 0, _Pairs()
        while pairs or at < len(self._body):
            count += 1
            if count > UNIT_LIMIT:
                yield Unit(self._afn, -1, -1, self._body[at:], why=f"more than {UNIT_LIMIT} data units")
                return
            if not pairs:
                if len(self._body) - at < SIZE:
                    break
                ident = Ident(self._body[at : at + SIZE])
                at += SIZE
                pairs = _Pairs(ident.pairs())
                if not pairs:
                    yield Unit(
                        self._afn, -1, -1, self._body[at:], why=f"identifier {ident.raw.hex()} names nothing"
                    )
                    return
            point, function = pairs.popleft()
            try:
                unit, end = self._one(point, function, at, pairs)
            except _Unreadable as error:
                end = at if self._asks_only else self._resume(at, pairs)
                unit = Unit(self._afn, point, function, self._body[at:end], why=str(error))
            yield unit
            at = end
            if not unit.known and at == len(self._body):
                for point, function in pairs:
                    yield Unit(self._afn, point, function, why="its data could not be told from those before")
                return
        if at < len(self._body):
            yield Unit(self._afn, -1, -1, self._body[at:], why="too short for an identifier")

    def _one(
        self, point: int, function: int, at: int, pairs: _Pairs, limit: int = 1 << 20
    ) -> tuple[Unit, int]:
        found = item(self._afn, function)
        editions = found.layouts(uplink=self._uplink) if found else None
        if editions is None:
            raise _Unreadable(
                "the table has no such function" if found is None else "the table has no layout for it"
            )
        why = "it does not end where the next unit or the frame does"
        for layout in editions:
            try:
                values, end = decode_layout(layout, self._body, at, limit)
            except FrameError as error:
                why = str(error)
                continue
            if pairs or end == len(self._body) or self._plausible(end):
                return Unit(self._afn, point, function, self._body[at:end], values), end
        raise _Unreadable(why)

    def _plausible(self, at: int) -> bool:
        """Whether an identifier may stand here."""
        return is_ident(self._body[at : at + SIZE])

    def _resume(self, start: int, pairs: _Pairs) -> int:
        """Where the unit that begins at `start` ends: the first place from which all the rest can be read."""
        for at in range(start, len(self._body)):
            if not pairs and not self._plausible(at):
                continue
            if self._reads_to_the_end(at, _Pairs(pairs)):
                return at
            if self._budget <= 0:
                break
        return len(self._body)

    def _reads_to_the_end(self, at: int, pairs: _Pairs) -> bool:
        while pairs or at < len(self._body):
            if self._budget <= 0:
                return False
            if not pairs:
                if not self._plausible(at):
                    return False
                pairs = _Pairs(Ident(self._body[at : at + SIZE]).pairs())
                at += SIZE
            try:
                unit, at = self._one(*pairs.popleft(), at, pairs, self._budget)
            except _Unreadable:
                self._budget -= 20  # what most of them take until they fail
                return False
            self._budget -= len(unit.values) + 1
        return True


# --- one data unit ---


def decode(afn: int, function: int, data: bytes, *, uplink: bool = True) -> tuple[Value, ...]:
    """The data of one unit, the whole of it -> its values. FrameError if no edition of the layout fits them."""
    error = FrameError(f"AFN {afn:02X} F{function}: the table has no layout")
    for layout in _editions(afn, function, uplink):
        try:
            values, end = decode_layout(layout, data, 0)
        except FrameError as fault:
            error = fault
            continue
        if end == len(data):
            return values
        error = FrameError(
            f"data: {len(data) - end} bytes too many at offset {end} for AFN {afn:02X} F{function}"
        )
    raise error


def encode(
    afn: int, function: int, values: Sequence[Typed], *, uplink: bool = True, edition: int = 0
) -> bytes:
    """The reverse: values in the order `decode` gives them, None for a filler. Misuse if they do not fit."""
    editions = _editions(afn, function, uplink)
    if edition >= len(editions):
        raise Misuse(f"AFN {afn:02X} F{function}: the table has no layout {edition}")
    return encode_layout(editions[edition], values)


def _editions(afn: int, function: int, uplink: bool) -> tuple[Layout, ...]:
    found = item(afn, function)
    return (found.layouts(uplink=uplink) if found else None) or ()


def decode_layout(
    layout: Layout, data: bytes, at: int, limit: int = 1 << 20
) -> tuple[tuple[Value, ...], int]:
    """The fields of a layout from offset `at` -> (values, where they end). FrameError names field and offset.

    `limit`: more fields than that are an error too.
    """
    if not layout:
        return (), at
    reader = _Cursor(data, at)
    counts: dict[str, int] = {}
    found: list[Value] = []
    for field in laid_out(layout, counts, reader.more):
        if len(found) >= limit:
            raise FrameError(f"{field.name}: more than {limit} fields at offset {reader.at}")
        if field.form == "EVENTS":
            records, reader.at = _decode_events(data, reader.at, counts)
            found += records
            continue
        at = reader.at
        raw = reader.take(field, field.size or counts.get(field.length, 0))
        value = decode_field(field, raw)
        if field.counts:
            counts[field.counts] = _count(field, value, raw, at)
        found.append(value)
    return tuple(found), reader.at


class _Cursor:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def more(self) -> bool:
        return self.at < len(self.data)

    def take(self, field: Field, size: int) -> bytes:
        """The next bytes; HI4 looks at the byte that LO4 takes. FrameError if they are not there."""
        at = self.at
        self.at = at + size
        raw = self.data[at : at + size]
        if len(raw) < size:
            raise FrameError(f"{field.name}: {len(raw)} bytes at offset {at}, {size} are needed")
        if size or field.form != "HI4":
            return raw
        if at == len(self.data):
            raise FrameError(f"{field.name}: no byte at offset {at}, 1 is needed")
        return self.data[at : at + 1]


def _count(field: Field, value: Value, raw: bytes, at: int) -> int:
    number = value.value
    if not isinstance(number, int) or (field.form == "BIN" and raw.count(FILLER) == len(raw)):
        raise FrameError(f"{field.name}: {raw.hex()} at offset {at}, no data follow")
    if field.transform == "#":
        return number.bit_count()
    if field.transform == "~":
        if number and number not in DENSITY_MINUTES:
            raise FrameError(f"{field.name}: density {number} at offset {at} is not in the table")
        return 60 // DENSITY_MINUTES[number] if number else 0
    return number & int(field.transform[1:]) if field.transform else number


def encode_layout(layout: Layout, values: Sequence[Typed]) -> bytes:
    """Values in the order of the layout -> bytes. Misuse if one does not fit, is missing or left over."""
    counts: dict[str, int] = {}
    out, queue, half = bytearray(), deque(values), 0
    for field in laid_out(layout, counts, lambda: bool(queue)):
        if field.form == "EVENTS":
            while queue:
                out += _encode_event(queue.popleft())
            break
        if not queue:
            raise Misuse(f"{field.name}: no value given")
        value = queue.popleft()
        size = field.size if field.size is not None else counts[field.length]
        if field.form == "HI4":
            half = _nibble(field, value) << 4
            continue
        raw = (
            bytes((half | _nibble(field, value),))
            if field.form == "LO4"
            else encode_field(field, value, size)
        )
        if field.counts:
            counts[field.counts] = _count(field, Value(field, value), raw, len(out))
        out += raw
    if queue:
        raise Misuse(f"layout: {len(queue)} values too many")
    return bytes(out)


def _nibble(field: Field, value: Typed) -> int:
    if not isinstance(value, int) or not 0 <= value <= 15:
        raise Misuse(f"{field.name}: {value!r} is not 0-15")
    return value


# --- walking a layout ---


def laid_out(layout: Layout, counts: dict[str, int], more: Callable[[], bool]) -> Iterator[Field]:
    """The fields one by one, repeats unrolled. The caller fills `counts` as it goes; `more`: is there anything left?"""
    for node in layout:
        yield from _unrolled(node, counts, more, ())


def _unrolled(
    node: Field | Group, counts: dict[str, int], more: Callable[[], bool], marks: tuple[str, ...]
) -> Iterator[Field]:
    if isinstance(node, Group):
        for mark in _marks(node.repeat, counts, more):
            for inner in node.nodes:
                yield from _unrolled(inner, counts, more, (*marks, mark))
    elif node.repeat == "n" and not marks and counts["n"] <= 0xFF:
        yield from _curve(node, counts["n"])
    elif node.repeat:
        for mark in _marks(node.repeat, counts, more):
            yield _named(node, (*marks, mark))
    elif not node.optional or more():
        yield _named(node, marks) if marks else node


def _marks(repeat: str, counts: dict[str, int], more: Callable[[], bool]) -> Iterator[str]:
    if repeat == "rest":
        number = 0
        while more():
            number += 1
            yield str(number)
        return
    begin, _, end = repeat.partition("..")
    if not end:
        begin, end = "1", begin
    if begin == "A":
        yield from "ABC"
        return
    end, _, step = end.partition("/")
    last = int(end) if end.isdecimal() else counts[end]
    yield from (str(number) for number in range(int(begin), last + 1, int(step or 1)))


@lru_cache(maxsize=256)
def _curve(field: Field, points: int) -> tuple[Field, ...]:
    """The points of a curve, once named: most of what terminals send is one of a few lengths."""
    return tuple(_named(field, (str(number),)) for number in range(1, points + 1))


@lru_cache(maxsize=16384)
def _named(field: Field, marks: tuple[str, ...]) -> Field:
    """The field with its indices filled in."""
    name = field.name.replace("{n}", marks[0]).replace("{p}", marks[0]).replace("{m}", marks[-1])
    code = field.quantity
    if "{n}" in code:
        code = quantity_code(code, int(marks[0]))
    return replace(field, name=name, quantity=code, repeat="")


# --- event records ---


def _decode_events(data: bytes, at: int, counts: dict[str, int]) -> tuple[list[Value], int]:
    """Y records, Y = Pn - Pm modulo 256: ERC, Le, content of Le bytes. A terminal may send fewer, one by one."""
    found: list[Value] = []
    for number in range((counts["Pn"] - counts["Pm"]) % 256):
        if at == len(data):
            break
        head = data[at : at + 2]
        content = data[at + 2 : at + 2 + head[-1]]
        if len(head) < 2 or len(content) < head[1]:
            raise FrameError(
                f"event {number + 1}: {len(data) - at} bytes at offset {at} are too few for the record"
            )
        found.append(Value(_record_field(number + 1), decode_event(head[0], content)))
        at += 2 + len(content)
    return found, at


@cache
def _record_field(number: int) -> Field:
    return Field(f"event {number}", "EVENTS", None)


def decode_event(erc: int, content: bytes) -> Event:
    """One record's content. What it has beyond its layout stays in `data`; one that is too short has no values."""
    kind = events().get(erc)
    try:
        values = decode_layout(kind.layout, content, 0)[0] if kind else ()
    except FrameError:
        values = ()
    return Event(erc, content, values)


def encode_event(erc: int, values: Sequence[Typed]) -> Event:
    """Values in the order of the ERC's layout -> a record. Misuse if they do not fit."""
    kind = events().get(erc)
    if kind is None:
        raise Misuse(f"ERC{erc}: not in the table")
    return decode_event(erc, encode_layout(kind.layout, values))


def _encode_event(event: Typed) -> bytes:
    if not isinstance(event, Event) or len(event.data) > 0xFF:
        raise Misuse("event: a record of at most 255 bytes is needed")
    return bytes((event.erc, len(event.data))) + event.data


# --- one field ---


def decode_field(field: Field, raw: bytes) -> Value:
    """The bytes of one field -> its value; a filler or impossible digits give None and say so in `gap`."""
    try:
        return Value(field, _decoder(field)(raw))
    except ValueError:
        gap = "EE" if raw.count(FILLER) == len(raw) else "FF" if raw.count(0xFF) == len(raw) else "invalid"
        return Value(field, None, gap)


@lru_cache(maxsize=16384)
def _decoder(field: Field) -> Callable[[bytes], Typed]:
    """Bytes of the field's size -> value; ValueError if they are none, fillers among them."""
    form = formats().get(field.form)
    if form is None:
        return _DECODERS[field.form]
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
    "ASCII": lambda _f, value, size: value.encode("ascii").ljust(size, b"\0"),
    "HEX": _to_hex,
    "GB": lambda _f, value, _s: value.encode("gb18030"),
    "IP": lambda _f, value, _s: bytes(int(part) for part in value.split(".")),
    "DADT": lambda _f, value, _s: value.raw,
    "POINT": _to_point,
}
