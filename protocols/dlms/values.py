"""A-XDR data (IEC 62056-5-3, CHOICE Data) and COSEM date-time (Blue Book 4.1.6.1).

Written here and not taken from the library, because dlms-cosem 25.1.0 takes truncated data for whole data
(it slices past the end), loops for an array count of 2**56, encodes strings of more than 127 bytes with a
one-byte length, and has no float, bit-string or compact-array. Here every length is checked against what is
there.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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

NAMES_ZH: Final = {
    NULL: "空", ARRAY: "数组", STRUCTURE: "结构", BOOLEAN: "布尔", BIT_STRING: "位串", DOUBLE_LONG: "32位整数",
    DOUBLE_LONG_UNSIGNED: "32位无符号整数", OCTET_STRING: "字节串", VISIBLE_STRING: "可见字符串", UTF8_STRING: "UTF-8字符串",
    BCD: "BCD", INTEGER: "8位整数", LONG: "16位整数", UNSIGNED: "8位无符号整数", LONG_UNSIGNED: "16位无符号整数",
    COMPACT_ARRAY: "紧凑数组", LONG64: "64位整数", LONG64_UNSIGNED: "64位无符号整数", ENUM: "枚举", FLOAT32: "单精度浮点",
    FLOAT64: "双精度浮点", DATE_TIME: "日期时间", DATE: "日期", TIME: "时间", DONT_CARE: "不关心",
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
#: Elements a compact array may unfold into: enough for a row of any profile, and one a byte. Only a compact array can hold
#: more elements than bytes (null-data and empty strings cost nothing or one a row); so no answer costs more than its length.
#: Rows of one fixed length are exempt: equal ones are made once.
MIN_ELEMENTS: Final = 1024


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
        raise FrameError(f"data: {len(raw) - end} bytes left over behind the value", end)
    return data


def decode_at(raw: bytes, offset: int, depth: int = 0) -> tuple[Data, int]:
    """The value at `offset` and the offset behind it."""
    known = _SMALL.get(raw[offset : offset + 2])
    if known is not None:
        return known, offset + 2
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
        raise FrameError(f"data: length of {count} bytes, must be 1..4", offset)
    return int.from_bytes(_take(raw, offset + 1, count), "big"), offset + 1 + count


def _take(raw: bytes, offset: int, count: int) -> bytes:
    part = raw[offset : offset + count]
    if len(part) != count:
        raise FrameError(f"data: {count} bytes needed, {len(part)} are there", offset)
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
        # The value itself is not told: it may be a key. Nor is the cause, whose words may repeat it.
        told = str(why) if isinstance(why, struct.error) else type(why).__name__
        raise Misuse(f"data: {NAMES.get(tag, tag)} cannot hold this {type(value).__name__}: {told}") from None


#: Values without a body.
_EMPTY: Final = {NULL: Data(NULL), DONT_CARE: Data(DONT_CARE)}
#: Values of two bytes in all, made once: sixteen thousand of them in one answer must not cost an object each.
_SMALL: Final = {
    bytes((tag, byte)): Data(tag, bool(byte) if tag == BOOLEAN else struct.unpack(NUMBERS[tag], bytes((byte,)))[0])
    for tag in (BOOLEAN, BCD, INTEGER, UNSIGNED, ENUM)
    for byte in range(256)
} | {
    b"\x01\x00": Data(ARRAY, ()), b"\x02\x00": Data(STRUCTURE, ()), b"\x04\x00": Data(BIT_STRING, ""),
    b"\x09\x00": Data(OCTET_STRING, b""), b"\x0a\x00": Data(VISIBLE_STRING, ""), b"\x0c\x00": Data(UTF8_STRING, ""),
}  # fmt: skip
_BITS: Final = tuple(f"{byte:08b}" for byte in range(256))
_UNPACK: Final = {tag: (struct.Struct(code).unpack_from, SIZES[tag]) for tag, code in NUMBERS.items()}


def _decode_body(raw: bytes, offset: int, tag: int, depth: int) -> tuple[Data, int]:  # noqa: PLR0911 - one type, one return
    number = _UNPACK.get(tag)
    if number is not None:
        unpack, size = number
        if offset + size > len(raw):
            _take(raw, offset, size)
        return Data(tag, unpack(raw, offset)[0]), offset + size
    if tag in _EMPTY:
        return _EMPTY[tag], offset
    if tag in (ARRAY, STRUCTURE):
        return _decode_items(raw, offset, tag, depth)
    if tag in _STRINGS:
        return _decode_string(raw, offset, tag)
    if tag == BIT_STRING:
        bits, offset = decode_length(raw, offset)
        body = _take(raw, offset, (bits + 7) // 8)
        return Data(tag, "".join([_BITS[byte] for byte in body])[:bits]), offset + len(body)
    if tag == COMPACT_ARRAY:
        return _decode_compact(raw, offset, depth)
    if tag in SIZES:
        body = bytes(_take(raw, offset, SIZES[tag]))
        return Data(tag, bool(body[0]) if tag == BOOLEAN else body), offset + SIZES[tag]
    raise FrameError(f"data: type {tag} is not decoded", max(offset - 1, 0))


def _decode_items(raw: bytes, offset: int, tag: int, depth: int) -> tuple[Data, int]:
    """The elements of an array or structure. The loop is written out: a call for each small element would be most of the time."""
    if depth >= MAX_DEPTH:
        raise FrameError(f"data: nested deeper than {MAX_DEPTH}", offset - 1)
    count, at = (
        (raw[offset], offset + 1)
        if raw[offset : offset + 1] < b"\x80" and offset < len(raw)
        else decode_length(raw, offset)
    )
    if count > len(raw) - at:  # an element has at least its tag
        raise FrameError(f"data: {count} elements, {len(raw) - at} bytes left", offset)
    items: list[Data] = []
    append, small, empty, end = items.append, _SMALL, _EMPTY, len(raw)
    for _ in range(count):
        known = small.get(raw[at : at + 2])
        if known is not None:
            append(known)
            at += 2
            continue
        inner = raw[at] if at < end else _take(raw, at, 1)[0]
        if inner in (ARRAY, STRUCTURE):
            item, at = _decode_items(raw, at + 1, inner, depth + 1)
            append(item)
            continue
        if inner in empty:
            append(empty[inner])
            at += 1
            continue
        item, at = _decode_body(raw, at + 1, inner, depth + 1)
        append(item)
    return Data(tag, tuple(items)), at


def _decode_string(raw: bytes, offset: int, tag: int) -> tuple[Data, int]:
    length, offset = decode_length(raw, offset)
    body = bytes(_take(raw, offset, length))
    if tag == OCTET_STRING:
        return Data(tag, body), offset + length
    try:
        return Data(tag, body.decode(_CHARSETS[tag])), offset + length
    except UnicodeDecodeError as why:
        raise FrameError(f"data: {NAMES[tag]}: {why.reason}", offset + why.start) from why


# --- compact array: one type description, then the bare contents (IEC 62056-5-3, TypeDescription) ---

_Shape = tuple[int, tuple["_Shape", ...] | tuple[()]]


def _decode_shape(raw: bytes, offset: int, depth: int) -> tuple[_Shape, int]:
    if depth > MAX_DEPTH:
        raise FrameError(f"data: type description nested deeper than {MAX_DEPTH}", offset)
    tag = _take(raw, offset, 1)[0]
    offset += 1
    if tag == ARRAY:  # number-of-elements Unsigned16, one description for all
        count = int.from_bytes(_take(raw, offset, 2), "big")
        part, offset = _decode_shape(raw, offset + 2, depth + 1)
        return (tag, (part,) * count), offset
    if tag == STRUCTURE:
        count, offset = decode_length(raw, offset)
        if count > len(raw) - offset:
            raise FrameError(f"data: {count} types, {len(raw) - offset} bytes left", offset)
        parts = []
        for _ in range(count):
            part, offset = _decode_shape(raw, offset, depth + 1)
            parts.append(part)
        return (tag, tuple(parts)), offset
    return (tag, ()), offset


class _Budget:
    """How many elements a compact array may still unfold into."""

    def __init__(self, size: int) -> None:
        self.most = self.left = MIN_ELEMENTS + size

    def spend(self, offset: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise FrameError(f"data: compact-array of more than {self.most} elements", offset)


_SMALL_BODIES: Final = {
    (key[0], key[1:]): data for key, data in _SMALL.items() if data.tag not in (ARRAY, STRUCTURE)
}


def _decode_shaped(raw: bytes, offset: int, shape: _Shape, depth: int, budget: _Budget) -> tuple[Data, int]:
    tag, parts = shape
    if tag not in (ARRAY, STRUCTURE):
        budget.spend(offset)
        known = _SMALL_BODIES.get((tag, raw[offset : offset + 1]))
        return (known, offset + 1) if known is not None else _decode_body(raw, offset, tag, depth)
    budget.spend(offset)
    items = []
    for part in parts:
        item, offset = _decode_shaped(raw, offset, part, depth + 1, budget)
        items.append(item)
    return Data(tag, tuple(items)), offset


def _fixed_size(shape: _Shape) -> int | None:
    """Bytes of an element, if all elements have as many."""
    tag, parts = shape
    if tag not in (ARRAY, STRUCTURE):
        return SIZES.get(tag)
    if tag == ARRAY:
        size = _fixed_size(parts[0]) if parts else 0
        return None if size is None else size * len(parts)
    sizes = [_fixed_size(part) for part in parts]
    return None if None in sizes else sum(size or 0 for size in sizes)


#: Type byte -> the values of all bodies of one byte.
_ROWS: Final = {
    bytes((tag,)): [_SMALL[bytes((tag, byte))] for byte in range(256)]
    for tag in (BOOLEAN, BCD, INTEGER, UNSIGNED, ENUM)
}


def _decode_compact(raw: bytes, offset: int, depth: int) -> tuple[Data, int]:
    """A compact array comes out as the array it stands for."""
    if depth >= MAX_DEPTH:
        raise FrameError(f"data: nested deeper than {MAX_DEPTH}", offset - 1)
    row = _ROWS.get(raw[offset : offset + 1])
    if row is not None:  # one byte an element: most of what is sent
        length, at = decode_length(raw, offset + 1)
        return Data(ARRAY, tuple([row[byte] for byte in _take(raw, at, length)])), at + length
    number = _UNPACK.get(raw[offset]) if offset < len(raw) else None
    if number is not None:
        return _decode_numbers(raw, offset, number[1])
    few = _decode_few_rows(raw, offset) if raw[offset : offset + 1] == b"\x02" else None
    if few is not None:
        return few
    shape, offset = _decode_shape(raw, offset, depth)
    length, offset = decode_length(raw, offset)
    _take(raw, offset, length)
    if not length:
        return _SMALL[b"\x01\x00"], offset
    size = _fixed_size(shape)
    if size == 0:
        raise FrameError("data: compact-array of elements without length", offset)
    contents = raw[: offset + length]
    return Data(ARRAY, tuple(_compact_items(contents, offset, shape, size, depth))), len(contents)


def _decode_numbers(raw: bytes, offset: int, size: int) -> tuple[Data, int]:
    """The commonest compact array: numbers of one type."""
    tag = raw[offset]
    length, at = decode_length(raw, offset + 1)
    body = _take(raw, at, length)
    whole = length - length % size
    items = [Data(tag, value) for (value,) in struct.iter_unpack(NUMBERS[tag], body[:whole])]
    if whole != length:
        _take(raw[: at + length], at + whole, size)
    return Data(ARRAY, tuple(items)), at + length


#: Contents of a compact array that are not worth looking for equal rows.
_FEW: Final = 64


@lru_cache(maxsize=64)
def _row(tags: bytes) -> struct.Struct | None:
    """The layout of a structure of numbers; None if there are other types in it."""
    codes = [NUMBERS[tag][1:] for tag in tags if tag in NUMBERS]
    return struct.Struct(">" + "".join(codes)) if 0 < len(codes) == len(tags) else None


def _decode_few_rows(raw: bytes, offset: int) -> tuple[Data, int] | None:
    """Structures of numbers in a short compact array; None for all others. Thousands of them fit one answer."""
    fields = raw[offset + 1 : offset + 2]
    at = offset + 2 + (fields[0] if fields else 0)
    if at >= len(raw) or at > offset + 10:
        return None
    tags, length = raw[offset + 2 : at], raw[at]
    row, body = _row(tags), raw[at + 1 : at + 1 + length]
    if row is None or not 0 < length <= _FEW or len(body) != length or length % row.size:
        return None
    rows = [Data(STRUCTURE, tuple(map(Data, tags, each))) for each in row.iter_unpack(body)]
    return Data(ARRAY, tuple(rows)), at + 1 + length


def _compact_items(contents: bytes, at: int, shape: _Shape, size: int | None, depth: int) -> list[Data]:
    """The elements up to the end of `contents`; equal rows of a fixed `size` are made once."""
    items: list[Data] = []
    budget, seen = _Budget(len(contents) - at), dict[bytes, Data]()
    while at < len(contents):
        body = contents[at : at + size] if size else b""
        item = seen.get(body) if size else None
        behind = at + len(body)
        if item is None:
            item, behind = _decode_shaped(contents, at, shape, depth + 1, budget)
        if behind == at:
            raise FrameError("data: compact-array of elements without length", at)
        if size:
            seen[body] = item
        items.append(item)
        at = behind
    return items


def encode_compact(items: Sequence[Data]) -> bytes:
    """Elements of one shape -> the bytes of a compact array. Misuse: none, or of different shapes."""
    if not items:
        raise Misuse("data: a compact-array without elements has no type")
    shape = _shape_of(items[0])
    if any(_shape_of(item) != shape for item in items):
        raise Misuse("data: elements of a compact-array differ in shape")
    contents = b"".join(map(_bare, items))
    return bytes((COMPACT_ARRAY,)) + shape + encode_length(len(contents)) + contents


def _shape_of(data: Data) -> bytes:
    if data.tag == STRUCTURE:
        return bytes((STRUCTURE,)) + encode_length(len(data.value)) + b"".join(map(_shape_of, data.value))
    if data.tag == ARRAY:
        inner = {_shape_of(item) for item in data.value}
        if len(inner) != 1 or len(data.value) > 0xFFFF:
            raise Misuse("data: an array within a compact-array needs elements of one shape")
        return bytes((ARRAY,)) + len(data.value).to_bytes(2, "big") + inner.pop()
    return bytes((data.tag,))


def _bare(data: Data) -> bytes:
    if data.tag in (ARRAY, STRUCTURE):
        return b"".join(map(_bare, data.value))
    return encode(data)[1:]


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
        raise FrameError(f"date-time: {len(raw)} bytes, must be 12", 0)
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
        raise FrameError(f"date-time: {raw.hex()} is no instant: {why}", 0) from why


def clock_text(raw: bytes) -> str:
    """12 bytes as a person reads them: "2021-01-24 14:48:57.80, deviation -60"; "" if they are no date and time of day.

    What is not specified (FF, FFFF; Blue Book 4.1.6.1) is shown as ??.
    """
    if len(raw) != SIZES[DATE_TIME]:
        return ""
    year, month, day, _, hour, minute, second, hundredths, deviation, _ = struct.unpack(">HBBBBBBBhB", raw)
    fields = ((year, 0xFFFF, 1, 9999), (month, 0xFF, 1, 12), (day, 0xFF, 1, 31), (hour, 0xFF, 0, 23),
              (minute, 0xFF, 0, 59), (second, 0xFF, 0, 59))  # fmt: skip
    if any(value != missing and not low <= value <= high for value, missing, low, high in fields):
        return ""
    if year == 0xFFFF and hour == 0xFF:  # twelve bytes of something else
        return ""
    words = ["????" if year == 0xFFFF else f"{year:04}"]
    words += ["??" if value == 0xFF else f"{value:02}" for value in (month, day, hour, minute, second)]
    text = "{}-{}-{} {}:{}:{}".format(*words)
    if 0 < hundredths < 100:
        text += f".{hundredths:02}"
    return text if deviation == UNDEFINED_DEVIATION else f"{text}, deviation {deviation}"


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
        raise FrameError(f"logical name: {len(raw)} bytes, must be 6", 0)
    return ".".join(str(byte) for byte in raw)
