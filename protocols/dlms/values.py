"""A-XDR data (IEC 62056-5-3, CHOICE Data) and COSEM date-time (Blue Book 4.1.6.1).

Written here and not taken from the library, because dlms-cosem 25.1.0 takes truncated data for whole data
(it slices past the end), loops for an array count of 2**56, encodes strings of more than 127 bytes with a
one-byte length, and has no float, bit-string or compact-array. Here every length is checked against what is
there.
"""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.errors import FrameError, Misuse
from protocols.localtime import as_datetime, instant

NULL: Final = 0
ARRAY: Final = 1
STRUCTURE: Final = 2
BOOLEAN: Final = 3
BIT_STRING: Final = 4
DOUBLE_LONG: Final = 5
DOUBLE_LONG_UNSIGNED: Final = 6
OCTET_STRING: Final = 9
VISIBLE_STRING: Final = 10
UTF8_STRING: Final = 12
BCD: Final = 13
INTEGER: Final = 15
LONG: Final = 16
UNSIGNED: Final = 17
LONG_UNSIGNED: Final = 18
COMPACT_ARRAY: Final = 19
LONG64: Final = 20
LONG64_UNSIGNED: Final = 21
ENUM: Final = 22
FLOAT32: Final = 23
FLOAT64: Final = 24
DATE_TIME: Final = 25
DATE: Final = 26
TIME: Final = 27
DONT_CARE: Final = 255

NAMES: Final = {
    NULL: "null-data", ARRAY: "array", STRUCTURE: "structure", BOOLEAN: "boolean", 
    BIT_STRING: "bit-string",
    DOUBLE_LONG: "double-long", DOUBLE_LONG_UNSIGNED: "double-long-unsigned", OCTET_STRING: "octet-string",
    VISIBLE_STRING: "visible-string", UTF8_STRING: "utf8-string", BCD: "bcd", INTEGER: "integer", 
    LONG: "long", UNSIGNED: "unsigned", LONG_UNSIGNED: "long-unsigned", COMPACT_ARRAY: "compact-array",
    LONG64: "long64",
    LONG64_UNSIGNED: "long64-unsigned", ENUM: "enum", FLOAT32: "float32", FLOAT64: "float64",
    DATE_TIME: "date-time", DATE: "date", TIME: "time", DONT_CARE: "dont-care",
}  # fmt: skip

#: Big-endian struct codes of the numbers, by tag.
NUMBERS: Final = {
    DOUBLE_LONG: ">i", DOUBLE_LONG_UNSIGNED: ">I", BCD: ">b", INTEGER: ">b", LONG: ">h", UNSIGNED: ">B",
    LONG_UNSIGNED: ">H", LONG64: ">q", LONG64_UNSIGNED: ">Q", ENUM: ">B", FLOAT32: ">f", FLOAT64: ">d",
}  # fmt: skip
#: Byte counts of the types that always have the same one.
SIZES: Final = {
    NULL: 0, BOOLEAN: 1, DATE_TIME: 12, DATE: 5, TIME: 4, DONT_CARE: 0,
    **{tag: struct.calcsize(code) for tag, code in NUMBERS.items()},
}  # fmt: skip
_CHARSETS: Final = {VISIBLE_STRING: "ascii", UTF8_STRING: "utf-8"}
_STRINGS: Final = frozenset((OCTET_STRING, VISIBLE_STRING, UTF8_STRING))

#: Nesting deeper than any COSEM attribute (object_list of an association has 5); keeps hostile bytes off the
#: stack.
MAX_DEPTH: Final = 16
#: Elements of one value: a year of quarter hours with a dozen columns is 420,000. Only a compact array can
#: hold more elements than bytes, so the bound matters there.
MAX_ELEMENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Data:
    """One A-XDR value. `value`: None, bool, int, float, bytes, str (texts; bits as "0110") or a tuple of
    Data.
    """

    tag: int
    value: Any = None


def null() -> Data:
    return Data(NULL)


def array(*items: Data) -> Data:
    return Data(ARRAY, items)


def structure(*items: Data) -> Data:
    return Data(STRUCTURE, items)


def octets(value: bytes) -> Data:
    return Data(OCTET_STRING, value)


def plain(data: Data) -> Any:
    """The value without its types: lists for arrays and structures."""
    if isinstance(data.value, tuple):
        return [plain(item) for item in data.value]
    return data.value


def encode(data: Data) -> bytes:
    """The A-XDR bytes. Misuse: a value that its type cannot hold."""
    out = bytearray()
    _encode(data, out)
    return bytes(out)


def decode(raw: bytes) -> Data:
    """Exactly one value. FrameError: truncated, unknown type, bytes left over."""
    data, end = decode_at(raw, 0)
    if end != len(raw):
        raise FrameError(f"data: {len(raw) - end} bytes left over at offset {end}")
    return data


def decode_at(raw: bytes, offset: int, depth: int = 0) -> tuple[Data, int]:
    """The value at `offset` and the offset behind it."""
    tag = _take(raw, offset, 1)[0]
    return _decode_body(raw, offset + 1, tag, depth)


def encode_length(length: int) -> bytes:
    """An A-XDR length: one byte below 128, else 80H + count and the bytes."""
    if length < 0x80:
        return bytes((length,))
    body = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(body),)) + body


def decode_length(raw: bytes, offset: int) -> tuple[int, int]:
    """The A-XDR length at `offset` and the offset behind it."""
    first = _take(raw, offset, 1)[0]
    if first < 0x80:
        return first, offset + 1
    count = first & 0x7F
    if not 1 <= count <= 4:
        raise FrameError(f"data: length of {count} bytes at offset {offset}, must be 1..4")
    return int.from_bytes(_take(raw, offset + 1, count), "big"), offset + 1 + count


def _take(raw: bytes, offset: int, count: int) -> bytes:
    part = raw[offset : offset + count]
    if len(part) != count:
        raise FrameError(f"data: {count} bytes needed at offset {offset}, {len(part)} are there")
    return part


def _encode(data: Data, out: bytearray) -> None:
    tag, value = data.tag, data.value
    out.append(tag)
    try:
        if tag in (ARRAY, STRUCTURE):
            out += encode_length(len(value))
            for item in value:
                _encode(item, out)
        elif tag in NUMBERS:
            out += struct.pack(NUMBERS[tag], value)
        elif tag == BOOLEAN:
            out.append(1 if value else 0)
        elif tag in _STRINGS:
            body = value if tag == OCTET_STRING else value.encode(_CHARSETS[tag])
            out += encode_length(len(body)) + body
        elif tag == BIT_STRING:
            out += encode_length(len(value))
            padded = value + "0" * (-len(value) % 8)
            out += bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))
        elif tag in (DATE_TIME, DATE, TIME):
            if len(value) != SIZES[tag]:
                raise ValueError(f"{len(value)} bytes, must be {SIZES[tag]}")
            out += value
        elif tag not in (NULL, DONT_CARE):
            raise ValueError("not a type that is sent")
    except (struct.error, ValueError, TypeError, AttributeError, OverflowError) as why:
        raise Misuse(f"data: {NAMES.get(tag, tag)} cannot hold {value!r}: {why}") from why


def _decode_body(raw: bytes, offset: int, tag: int, depth: int) -> tuple[Data, int]:
    if depth > MAX_DEPTH:
        raise FrameError(f"data: nested deeper than {MAX_DEPTH} at offset {offset}")
    if tag in NUMBERS:
        size = SIZES[tag]
        return Data(tag, struct.unpack(NUMBERS[tag], _take(raw, offset, size))[0]), offset + size
    if tag in (ARRAY, STRUCTURE):
        count, offset = decode_length(raw, offset)
        if count > len(raw) - offset:  # an element has at least its tag
            raise FrameError(f"data: {count} elements at offset {offset}, {len(raw) - offset} bytes left")
        items = []
        for _ in range(count):
            item, offset = decode_at(raw, offset, depth + 1)
            items.append(item)
        return Data(tag, tuple(items)), offset
    if tag in _STRINGS:
        return _decode_string(raw, offset, tag)
    if tag == BIT_STRING:
        bits, offset = decode_length(raw, offset)
        body = _take(raw, offset, (bits + 7) // 8)
        return Data(tag, "".join(f"{byte:08b}" for byte in body)[:bits]), offset + len(body)
    if tag == COMPACT_ARRAY:
        return _decode_compact(raw, offset, depth)
    if tag in SIZES:
        body = _take(raw, offset, SIZES[tag])
        value: Any = bytes(body)
        if tag == BOOLEAN:
            value = bool(body[0])
        return Data(tag, value if SIZES[tag] else None), offset + SIZES[tag]
    raise FrameError(f"data: type {tag} at offset {offset - 1} is not decoded")


def _decode_string(raw: bytes, offset: int, tag: int) -> tuple[Data, int]:
    length, offset = decode_length(raw, offset)
    body = bytes(_take(raw, offset, length))
    if tag == OCTET_STRING:
        return Data(tag, body), offset + length
    try:
        return Data(tag, body.decode(_CHARSETS[tag])), offset + length
    except UnicodeDecodeError as why:
        raise FrameError(f"data: {NAMES[tag]} at offset {offset}: {why.reason}") from why


# --- compact array: one type description, then the bare contents (IEC 62056-5-3, TypeDescription) ---

_Shape = tuple[int, tuple["_Shape", ...] | tuple[()]]


def _decode_shape(raw: bytes, offset: int, depth: int) -> tuple[_Shape, int]:
    if depth > MAX_DEPTH:
        raise FrameError(f"data: type description nested deeper than {MAX_DEPTH} at offset {offset}")
    tag = _take(raw, offset, 1)[0]
    offset += 1
    if tag == ARRAY:  # number-of-elements Unsigned16, one description for all
        count = int.from_bytes(_take(raw, offset, 2), "big")
        part, offset = _decode_shape(raw, offset + 2, depth + 1)
        return (tag, (part,) * count), offset
    if tag == STRUCTURE:
        count, offset = decode_length(raw, offset)
        if count > len(raw) - offset:
            raise FrameError(f"data: {count} types at offset {offset}, {len(raw) - offset} bytes left")
        parts = []
        for _ in range(count):
            part, offset = _decode_shape(raw, offset, depth + 1)
            parts.append(part)
        return (tag, tuple(parts)), offset
    return (tag, ()), offset


class _Budget:
    """How many elements a compact array may still unfold into."""

    def __init__(self) -> None:
        self.left = MAX_ELEMENTS

    def spend(self, offset: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise FrameError(f"data: compact-array of more than {MAX_ELEMENTS} elements at offset {offset}")


def _decode_shaped(raw: bytes, offset: int, shape: _Shape, depth: int, budget: _Budget) -> tuple[Data, int]:
    tag, parts = shape
    budget.spend(offset)
    if tag not in (ARRAY, STRUCTURE):
        return _decode_body(raw, offset, tag, depth)
    items = []
    for part in parts:
        item, offset = _decode_shaped(raw, offset, part, depth + 1, budget)
        items.append(item)
    return Data(tag, tuple(items)), offset


def _decode_compact(raw: bytes, offset: int, depth: int) -> tuple[Data, int]:
    """A compact array comes out as the array it stands for."""
    shape, offset = _decode_shape(raw, offset, depth)
    length, offset = decode_length(raw, offset)
    contents = bytes(_take(raw, offset, length))
    items: list[Data] = []
    budget = _Budget()
    at = 0
    while at < length:
        item, behind = _decode_shaped(contents, at, shape, depth + 1, budget)
        if behind == at:
            raise FrameError(f"data: compact-array elements without length at offset {offset}")
        items.append(item)
        at = behind
    return Data(ARRAY, tuple(items)), offset + length


# --- clock ---

UNDEFINED_DEVIATION: Final = -0x8000
#: clock-status bits, Blue Book 4.1.6.1
STATUS_INVALID: Final = 0x01
STATUS_DOUBTFUL: Final = 0x02
STATUS_DAYLIGHT: Final = 0x80
STATUS_UNDEFINED: Final = 0xFF


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A decoded date-time: the UTC instant, the deviation in minutes as sent (None: 8000H), the status
    byte.
    """

    utc: np.datetime64
    deviation: int | None
    status: int


def encode_clock(utc: np.datetime64, zone: ZoneInfo, *, weekday: bool = True) -> bytes:
    """A UTC instant as the 12 bytes of a date-time in civil time of `zone`.

    Deviation is minutes from local time to UTC (Blue Book 4.1.6.1), so UTC+8 is -480, and it includes
    daylight saving.
    """
    local = as_datetime(utc, zone)
    offset = local.utcoffset()
    assert offset is not None
    deviation = -int(offset.total_seconds() // 60)
    status = STATUS_DAYLIGHT if local.dst() else 0
    return struct.pack(
        ">HBBBBBBBhB",
        local.year, local.month, local.day, local.isoweekday() if weekday else 0xFF,
        local.hour, local.minute, local.second, local.microsecond // 10_000,
        deviation, status,
    )  # fmt: skip


def decode_clock(raw: bytes, zone: ZoneInfo) -> ClockTime:
    """12 bytes -> UTC. With deviation 8000H the civil time is taken in `zone`, and the daylight bit chooses
    the pass through a doubled hour. FrameError: a date that is not fully specified or does not exist.
    """
    if len(raw) != 12:
        raise FrameError(f"date-time: {len(raw)} bytes, must be 12")
    fields = struct.unpack(">HBBBBBBBhB", raw)
    year, month, day, _, hour, minute, second, hundredths, deviation, status = fields
    try:
        local = dt.datetime(
            year, month, day, hour, minute,
            0 if second == 0xFF else second,
            0 if hundredths == 0xFF else hundredths * 10_000,
        )  # fmt: skip
        if deviation != UNDEFINED_DEVIATION:
            if not -840 <= deviation <= 840:
                raise ValueError(f"deviation {deviation} min")
            utc = instant(local.replace(tzinfo=dt.UTC)) + np.timedelta64(deviation * 60_000_000, "us")
            return ClockTime(utc, deviation, status)
        fold = 0 if status == STATUS_UNDEFINED or status & STATUS_DAYLIGHT else 1
        return ClockTime(instant(local.replace(tzinfo=zone, fold=_fold(local, zone, fold))), None, status)
    except (ValueError, OverflowError) as why:
        raise FrameError(f"date-time: {raw.hex()} is no instant: {why}") from why


def _fold(local: dt.datetime, zone: ZoneInfo, wanted: int) -> int:
    """fold=1 is only meant for an hour that really comes twice; in a gap it would shift the time."""
    first, second = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert first is not None
    assert second is not None
    return wanted if first > second else 0


# --- logical names ---


def obis_bytes(obis: str) -> bytes:
    """ "1.0.1.8.0.255" -> 6 bytes. Misuse: not six numbers of 0..255."""
    try:
        raw = bytes(int(part) for part in obis.split("."))
    except ValueError as why:
        raise Misuse(f"logical name {obis!r}: {why}") from why
    if len(raw) != 6:
        raise Misuse(f"logical name {obis!r}: six numbers are needed")
    return raw


def obis_text(raw: bytes) -> str:
    """6 bytes -> "1.0.1.8.0.255"."""
    if len(raw) != 6:
        raise FrameError(f"logical name: {len(raw)} bytes, must be 6")
    return ".".join(str(byte) for byte in raw)
