"""A-XDR data of DL/T 698.45-2017: every type of the CHOICE Data, both ways.

A value is a `Data` with its tag. Times stay the bytes that came (clock.py reads them): a meter with a dead clock battery sends
days that do not exist, and a decoder that refused them would hide why.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from protocols.dlt698 import clock
from protocols.dlt698.clock import encode_time_s as encode_time_s  # noqa: PLC0414  a time is a value too
from protocols.dlt698.wire import (
    I8,
    OCTETS,
    U8,
    U16,
    U32,
    Budget,
    Codec,
    Cursor,
    Group,
    Raw,
    Sequence,
    decode_length,
    encode_length,
)
from protocols.errors import FrameError, Misuse

NULL: Final = 0
ARRAY: Final = 1
STRUCTURE: Final = 2
BOOL: Final = 3
BIT_STRING: Final = 4
DOUBLE_LONG: Final = 5
DOUBLE_LONG_UNSIGNED: Final = 6
OCTET_STRING: Final = 9
VISIBLE_STRING: Final = 10
UTF8_STRING: Final = 12
INTEGER: Final = 15
LONG: Final = 16
UNSIGNED: Final = 17
LONG_UNSIGNED: Final = 18
LONG64: Final = 20
LONG64_UNSIGNED: Final = 21
ENUM: Final = 22
FLOAT32: Final = 23
FLOAT64: Final = 24
DATE_TIME: Final = 25
DATE: Final = 26
TIME: Final = 27
DATE_TIME_S: Final = 28
OI: Final = 80
OAD: Final = 81
ROAD: Final = 82
OMD: Final = 83
TI: Final = 84
TSA: Final = 85
MAC: Final = 86
RN: Final = 87
REGION: Final = 88
SCALER_UNIT: Final = 89
RSD: Final = 90
CSD: Final = 91
MS: Final = 92
SID: Final = 93
SID_MAC: Final = 94
COMDCB: Final = 95
RCSD: Final = 96

NAMES: Final = {
    NULL: "NULL", ARRAY: "array", STRUCTURE: "structure", BOOL: "bool", BIT_STRING: "bit-string",
    DOUBLE_LONG: "double-long", DOUBLE_LONG_UNSIGNED: "double-long-unsigned", OCTET_STRING: "octet-string",
    VISIBLE_STRING: "visible-string", UTF8_STRING: "UTF8-string", INTEGER: "integer", LONG: "long",
    UNSIGNED: "unsigned", LONG_UNSIGNED: "long-unsigned", LONG64: "long64", LONG64_UNSIGNED: "long64-unsigned",
    ENUM: "enum", FLOAT32: "float32", FLOAT64: "float64", DATE_TIME: "date_time", DATE: "date", TIME: "time",
    DATE_TIME_S: "date_time_s", OI: "OI", OAD: "OAD", ROAD: "ROAD", OMD: "OMD", TI: "TI", TSA: "TSA", MAC: "MAC",
    RN: "RN", REGION: "Region", SCALER_UNIT: "Scaler_Unit", RSD: "RSD", CSD: "CSD", MS: "MS", SID: "SID",
    SID_MAC: "SID_MAC", COMDCB: "COMDCB", RCSD: "RCSD",
}  # fmt: skip

#: Big-endian struct codes of the numbers, by tag.
NUMBERS: Final = {
    DOUBLE_LONG: ">i", DOUBLE_LONG_UNSIGNED: ">I", INTEGER: ">b", LONG: ">h", UNSIGNED: ">B", LONG_UNSIGNED: ">H",
    LONG64: ">q", LONG64_UNSIGNED: ">Q", ENUM: ">B", FLOAT32: ">f", FLOAT64: ">d", OI: ">H", OAD: ">I", OMD: ">I",
}  # fmt: skip
#: Bytes of the types that always have the same count.
SIZES: Final = {
    NULL: 0, BOOL: 1, DATE_TIME: clock.DATE_TIME, DATE: clock.DATE, TIME: clock.TIME, DATE_TIME_S: clock.DATE_TIME_S,
    TI: 3, SCALER_UNIT: 2, COMDCB: 5,
    **{tag: struct.calcsize(code) for tag, code in NUMBERS.items()},
}  # fmt: skip
_TIMES: Final = frozenset((DATE_TIME, DATE, TIME, DATE_TIME_S))
_BYTES: Final = frozenset((OCTET_STRING, TSA, MAC, RN))
_CHARSETS: Final = {VISIBLE_STRING: "ascii", UTF8_STRING: "utf-8"}
_UNPACK: Final = {tag: (struct.Struct(code).unpack_from, SIZES[tag]) for tag, code in NUMBERS.items()}
_PACK: Final = {tag: struct.Struct(code).pack for tag, code in NUMBERS.items()}

#: Nesting deeper than any attribute of the standard (the archive of 6000 has 5); keeps hostile bytes off the stack.
MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Data:
    """One A-XDR value.

    value  None, bool, int, float, str (texts; bits as "0110"), bytes (octets, TSA, MAC, RN, the four kinds of time, texts that are none), a tuple
           of Data, or one of the classes below. OI, OAD and OMD are one number (0x00100200).
    """

    tag: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class Road:
    """Columns of a record: the record's OAD and those of its columns."""

    oad: int
    columns: tuple[int, ...]


_NULL: Final = Data(NULL)

#: A selected column: an OAD, or a Road.
Csd = int | Road
Rcsd = tuple[Csd, ...]


@dataclass(frozen=True, slots=True)
class Ti:
    """A time interval. unit: 0 s, 1 min, 2 h, 3 day, 4 month, 5 year."""

    unit: int
    count: int


@dataclass(frozen=True, slots=True)
class Region:
    """From `first` to `last`; kind: 0 [a,b), 1 (a,b], 2 [a,b], 3 (a,b)."""

    kind: int
    first: Data
    last: Data


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """A number times 10^scaler is in the unit of units.csv."""

    scaler: int
    unit: int


@dataclass(frozen=True, slots=True)
class Sid:
    """A security identifier and its additional data."""

    number: int
    extra: bytes


@dataclass(frozen=True, slots=True)
class SidMac:
    sid: Sid
    mac: bytes


@dataclass(frozen=True, slots=True)
class Comdcb:
    """A serial line. baud: index into BAUDS; parity: 0 none, 1 odd, 2 even; flow: 0 none, 1 hardware, 2 software."""

    baud: int
    parity: int
    data_bits: int
    stop_bits: int
    flow: int


#: Baud rates by code; 255 is "adaptive".
BAUDS: Final = (300, 600, 1200, 2400, 4800, 7200, 9600, 19200, 38400, 57600, 115200)
PARITIES: Final = ("N", "O", "E")


@dataclass(frozen=True, slots=True)
class Ms:
    """Which meters. kind: 0 none, 1 all, 2 user types, 3 addresses (TSA bytes), 4 configuration numbers, 5 to 7 ranges of those."""

    kind: int
    items: tuple[Any, ...] = ()


NO_METERS: Final = Ms(0)
ALL_METERS: Final = Ms(1)


@dataclass(frozen=True, slots=True)
class Range:
    """Records whose column `oad` lies in [first, last), every `step` (NULL: all of them)."""

    oad: int
    first: Data
    last: Data
    step: Data = _NULL


@dataclass(frozen=True, slots=True)
class Rsd:
    """Which records. kind and what it says:

    0      nothing                                  1      oad, value
    2      one Range in `ranges`                    3      several
    4 5    time: collection start, storage; meters  6 7 8  time, until, every: collection start, storage, success; meters
    9      count: the n-th last                     10     count: the last n; meters

    `time` and `until` are the 7 bytes of date_time_s.
    """

    kind: int
    oad: int = 0
    value: Data = _NULL
    ranges: tuple[Range, ...] = ()
    time: bytes = b""
    until: bytes = b""
    every: Ti = Ti(0, 0)
    count: int = 0
    meters: Ms = NO_METERS


ANY_RECORD: Final = Rsd(0)


# --- codecs of the types above; the APDUs use them too ---


class DataCodec:
    """Data with its tag."""

    def read(self, cursor: Cursor) -> Data:
        if cursor.trace is not None:
            traced: Data = cursor.trace.data(cursor)
            return traced
        if cursor.budget is not None:
            cursor.budget.spend(1, cursor.at)
        data, cursor.at = decode_at(cursor.raw, cursor.at, cursor.depth, cursor.budget)
        return data

    def write(self, value: Data, out: bytearray) -> None:
        _encode(value, out)


class CsdCodec:
    """CSD: 0 an OAD, 1 a ROAD."""

    def read(self, cursor: Cursor) -> Csd:
        kind = cursor.choice("CSD", (0, 1), "0 or 1")
        found: Csd = ROAD_.read(cursor) if kind else cursor.read("oad", OAD_)
        return found

    def write(self, value: Csd, out: bytearray) -> None:
        out.append(isinstance(value, Road))
        (ROAD_ if isinstance(value, Road) else OAD_).write(value, out)


class MsCodec:
    """MS: which meters."""

    def read(self, cursor: Cursor) -> Ms:
        kind = cursor.choice("MS", range(max(_MS) + 1), f"0 to {max(_MS)}")
        if kind <= ALL_METERS.kind:
            return ALL_METERS if kind else NO_METERS
        return Ms(kind, cursor.read("meters", _MS[kind]))

    def write(self, value: Ms, out: bytearray) -> None:
        if value.kind not in (0, 1, *_MS):
            raise Misuse(f"MS: choice {value.kind} must be 0 to {max(_MS)}")
        out.append(value.kind)
        if value.kind in _MS:
            _MS[value.kind].write(value.items, out)


class RsdCodec:
    """RSD: which records."""

    def read(self, cursor: Cursor) -> Rsd:
        kind = cursor.choice("RSD", _RSD, f"0 to {max(_RSD)}")
        return Rsd(kind, **{name: cursor.read(name, codec) for name, codec in _RSD[kind]})

    def write(self, value: Rsd, out: bytearray) -> None:
        fields = _RSD.get(value.kind)
        if fields is None:
            raise Misuse(f"RSD: choice {value.kind} must be 0 to {max(_RSD)}")
        out.append(value.kind)
        for name, codec in fields:
            codec.write(getattr(value, name), out)


class OneRange:
    """Selector 2: exactly one Range, without a count."""

    def read(self, cursor: Cursor) -> tuple[Range, ...]:
        return (RANGE_.read(cursor),)

    def write(self, value: tuple[Range, ...], out: bytearray) -> None:
        if len(value) != 1:
            raise Misuse(f"RSD: selector 2 has one range, not {len(value)}")
        RANGE_.write(value[0], out)


DATA_: Final = DataCodec()
OAD_: Final = U32
TIME_S_: Final = Raw(SIZES[DATE_TIME_S])
TIME_: Final = Raw(SIZES[DATE_TIME])
TI_: Final = Group(Ti, unit=U8, count=U16)
ROAD_: Final = Group(Road, oad=OAD_, columns=Sequence(OAD_))
CSD_: Final = CsdCodec()
RCSD_: Final = Sequence(CSD_)
REGION_: Final = Group(Region, kind=U8, first=DATA_, last=DATA_)
SCALER_UNIT_: Final = Group(ScalerUnit, scaler=I8, unit=U8)
SID_: Final = Group(Sid, number=U32, extra=OCTETS)
SID_MAC_: Final = Group(SidMac, sid=SID_, mac=OCTETS)
COMDCB_: Final = Group(Comdcb, baud=U8, parity=U8, data_bits=U8, stop_bits=U8, flow=U8)
RANGE_: Final = Group(Range, oad=OAD_, first=DATA_, last=DATA_, step=DATA_)
MS_: Final = MsCodec()
RSD_: Final = RsdCodec()
_REGIONS: Final = Sequence(REGION_)
_MS: Final[dict[int, Codec]] = {
    2: Sequence(U8),
    3: Sequence(OCTETS),
    4: Sequence(U16),
    5: _REGIONS,
    6: _REGIONS,
    7: _REGIONS,
}
_AT: Final[tuple[tuple[str, Codec], ...]] = (("time", TIME_S_), ("meters", MS_))
_WITHIN: Final[tuple[tuple[str, Codec], ...]] = (
    ("time", TIME_S_), ("until", TIME_S_), ("every", TI_), ("meters", MS_),
)  # fmt: skip
_RSD: Final[dict[int, tuple[tuple[str, Codec], ...]]] = {
    0: (),
    1: (("oad", OAD_), ("value", DATA_)),
    2: (("ranges", OneRange()),),
    3: (("ranges", Sequence(RANGE_)),),
    4: _AT,
    5: _AT,
    6: _WITHIN,
    7: _WITHIN,
    8: _WITHIN,
    9: (("count", U8),),
    10: (("count", U8), ("meters", MS_)),
}

#: The types that are put together of others, by tag.
COMPOUND: Final[dict[int, Codec]] = {
    ROAD: ROAD_, TI: TI_, REGION: REGION_, SCALER_UNIT: SCALER_UNIT_, RSD: RSD_, CSD: CSD_, MS: MS_, SID: SID_,
    SID_MAC: SID_MAC_, COMDCB: COMDCB_, RCSD: RCSD_,
}  # fmt: skip


# --- Data ---


def array(*items: Data) -> Data:
    return Data(ARRAY, items)


def structure(*items: Data) -> Data:
    return Data(STRUCTURE, items)


def plain(data: Data) -> Any:
    """The value without its types: lists for arrays and structures."""
    if isinstance(data.value, tuple) and data.tag in (ARRAY, STRUCTURE):
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
        raise FrameError(f"data: {len(raw) - end} bytes left over", end)
    return data


#: What a value put together of others counts beyond the one that every value does.
_COMPOUND_COST: Final = 2


def decode_at(raw: bytes, at: int, depth: int = 0, budget: Budget | None = None) -> tuple[Data, int]:
    """The value at `at` and the offset behind it."""
    if at >= len(raw):
        raise FrameError("data: a type is needed, no byte is there", at)
    tag = raw[at]
    number = _UNPACK.get(tag)
    if number is not None:
        unpack, size = number
        if at + 1 + size > len(raw):
            raise _short_of(tag, size, len(raw) - at - 1, at)
        return Data(tag, unpack(raw, at + 1)[0]), at + 1 + size
    if tag == NULL:
        return _NULL, at + 1
    if tag in (ARRAY, STRUCTURE):
        _bounded(depth, at)
        count, end = decode_count(raw, at)
        items, end = decode_run(raw, end, count, depth + 1, budget)
        return Data(tag, tuple(items)), end
    if tag in COMPOUND:
        _bounded(depth, at)
        if budget is not None:
            budget.spend(_COMPOUND_COST, at)
        cursor = Cursor(raw, at + 1, depth + 1, False, budget)
        return Data(tag, COMPOUND[tag].read(cursor)), cursor.at
    return _decode_bytes(raw, at, tag)


def _bounded(depth: int, at: int) -> None:
    if depth >= MAX_DEPTH:
        raise FrameError(f"data: nested deeper than {MAX_DEPTH}", at)


def _short_of(tag: int, size: int, there: int, at: int) -> FrameError:
    return FrameError(f"data: {NAMES[tag]} needs {size} bytes, {there} are there", at)


def decode_count(raw: bytes, at: int) -> tuple[int, int]:
    """How many elements the array or structure at `at` has, and where they begin."""
    count, end = decode_length(raw, at + 1)
    if count > len(raw) - end:  # an element has at least its tag
        raise FrameError(f"data: {count} elements announced, {len(raw) - end} bytes left", at + 1)
    return count, end


def decode_run(
    raw: bytes, at: int, count: int, depth: int = 0, budget: Budget | None = None
) -> tuple[list[Data], int]:
    """`count` values one behind the other, and the offset behind them."""
    if budget is not None:
        budget.spend(count, at)
    items = []
    size = len(raw)
    for _ in range(count):
        if at < size and not raw[at]:
            items.append(_NULL)
            at += 1
            continue
        known = _SHORT.get(raw[at : at + 2])
        if known is None or depth >= MAX_DEPTH:
            known, at = decode_at(raw, at, depth, budget)
        else:
            at += 2
        items.append(known)
    return items, at


def _decode_bytes(raw: bytes, at: int, tag: int) -> tuple[Data, int]:
    bits = 0
    if tag in SIZES:
        size, begin = SIZES[tag], at + 1
    elif tag in _BYTES or tag in _CHARSETS or tag == BIT_STRING:
        size, begin = decode_length(raw, at + 1)
        if tag == BIT_STRING:
            bits, size = size, (size + 7) // 8
    else:
        raise FrameError(f"data: type {tag} is none of the standard's", at)
    body = raw[begin : begin + size]
    if len(body) != size:
        raise _short_of(tag, size, len(body), at)
    value: Any = body
    if tag == BOOL:
        value = bool(body[0])
    elif tag == BIT_STRING:
        value = format(int.from_bytes(body, "big"), f"0{8 * size}b")[:bits] if bits else ""
    elif tag in _CHARSETS:
        value = _text(body, tag)
    return Data(tag, value), begin + size


def _text(body: bytes, tag: int) -> str | bytes:
    """A text; Chinese in a visible-string too, in the national code. Bytes that are no text stay bytes: meters fill with FF."""
    if body.isascii():
        return body.decode("ascii")
    charset = "gb18030" if tag == VISIBLE_STRING else _CHARSETS[tag]
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        return body
    return text if text.encode(charset) == body else body


def _encode(data: Data, out: bytearray) -> None:
    tag, value = data.tag, data.value
    out.append(tag & 0xFF)
    try:
        if tag in _PACK:
            out += _PACK[tag](value)
        elif tag in (ARRAY, STRUCTURE):
            out += encode_length(len(value))
            for item in value:
                _encode(item, out)
        elif tag in COMPOUND:
            COMPOUND[tag].write(value, out)
        elif tag == BOOL:
            out.append(1 if value else 0)
        elif tag in _TIMES:
            if len(value) != SIZES[tag]:
                raise ValueError(f"{len(value)} bytes, must be {SIZES[tag]}")
            out += value
        elif tag != NULL:
            out += _encode_string(tag, value)
    except (struct.error, ValueError, TypeError, AttributeError, OverflowError) as why:
        # not the value itself: it may be a password
        raise Misuse(f"data: {NAMES.get(tag, tag)} cannot hold this {type(value).__name__}") from why


def _encode_string(tag: int, value: Any) -> bytes:
    if tag in _BYTES:
        return encode_length(len(value)) + bytes(value)
    if tag in _CHARSETS:
        if isinstance(value, bytes):
            return encode_length(len(value)) + value
        charset = _CHARSETS[tag] if tag != VISIBLE_STRING or value.isascii() else "gb18030"
        body: bytes = value.encode(charset)
        return encode_length(len(body)) + body
    if tag == BIT_STRING:
        size = (len(value) + 7) // 8
        number = int(value.ljust(8 * size, "0"), 2) if value else 0
        return encode_length(len(value)) + number.to_bytes(size, "big")
    raise ValueError("not a type of the standard")


def _short() -> dict[bytes, Data]:
    """Every value of two bytes, made once: thousands of them in one APDU must not take long."""
    tags = (BOOL, INTEGER, UNSIGNED, ENUM)
    raws = [bytes((tag, value)) for tag in tags for value in range(256)]
    raws += [bytes((tag, 0)) for tag in (ARRAY, STRUCTURE, BIT_STRING, RSD, MS, RCSD, *_BYTES, *_CHARSETS)]
    return {raw: decode(raw) for raw in (*raws, bytes((MS, 1)))}


_SHORT: Final[dict[bytes, Data]] = {}
_SHORT.update(_short())
