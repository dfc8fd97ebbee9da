"""APDUs of DL/T 698.45-2017 as a table: service and choice -> the fields in their order, and one codec that follows it.

    code [choice] [PIID] fields.. [follow report] [time tag]

PIID: bit 7 priority, bits 5-0 number; in answers bit 6 is ACD ("I have events"), in requests it is reserved and kept as it came.
Requests of a client end with an optional time tag, answers of a server with an optional follow report and an optional time tag;
LINK and SECURITY end with neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.dlt698 import values
from protocols.dlt698.values import Csd, Data, Rcsd, Rsd, Ti
from protocols.dlt698.wire import (
    NOTHING,
    OCTETS,
    U8,
    U16,
    U32,
    Budget,
    Choice,
    Chosen,
    Codec,
    Cursor,
    Group,
    Optional,
    Raw,
    Sequence,
    encode_length,
)
from protocols.errors import FrameError, Misuse

LINK: Final = 0x01
CONNECT: Final = 0x02
RELEASE: Final = 0x03
GET: Final = 0x05
SET: Final = 0x06
ACTION: Final = 0x07
REPORT: Final = 0x08
PROXY: Final = 0x09
SECURITY: Final = 0x10
ERROR: Final = 0x6E
#: Set in the code of a server's APDU. 84 (release notification) and 88 (report) come unasked.
SERVER: Final = 0x80

#: Choices of GET, SET, ACTION and PROXY.
NORMAL: Final = 1
LIST: Final = 2
THEN_GET: Final = 3
RECORD: Final = 3
RECORD_LIST: Final = 4
NEXT: Final = 5
MD5: Final = 6
PROXY_TRANSPARENT: Final = 7

PRIORITY: Final = 0x80
ACD: Final = 0x40
NUMBER: Final = 0x3F

#: LINK-Request types and LINK-Response results (bits 2-0; bit 7 says that the clock may be trusted).
LINK_TYPES: Final = {0: "login", 1: "heartbeat", 2: "logout"}
LINK_RESULTS: Final = {0: "accepted", 1: "address repeated", 2: "illegal device", 3: "capacity exceeded"}
CLOCK_TRUSTED: Final = 0x80
AUTHENTICATIONS: Final = {0: "public", 1: "password", 2: "symmetric", 3: "signature"}
CONNECT_RESULTS: Final = {
    0: "accepted", 1: "password wrong", 2: "symmetric decryption error", 3: "asymmetric decryption error",
    4: "signature error", 5: "protocol version mismatch", 255: "other",
}  # fmt: skip
ERRORS: Final = {1: "APDU not parsable", 2: "service not supported", 255: "other"}


@dataclass(frozen=True, slots=True)
class Result:
    """What reading an attribute gave: `data`, or the reason why not (`dar`, then `data` is None)."""

    oad: int
    dar: int = 0
    data: Data | None = None


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows that are encoded already, each of `size` bytes: what bulk.encode makes of numpy columns."""

    raw: bytes
    size: int

    def __len__(self) -> int:
        return len(self.raw) // self.size

    def part(self, first: int, last: int) -> PackedRows:
        """The rows from `first` up to `last`."""
        return PackedRows(self.raw[first * self.size : last * self.size], self.size)


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What reading records gave.

    columns  as the server named them
    rows     one value per CSD each (A-RecordRow); a ROAD is one array or structure of its columns
    flat     the server sends the columns of a ROAD side by side instead
    dar      why there are none; then `rows` is None
    packed   where a server has its rows encoded already, instead of `rows`; never set by decoding
    """

    oad: int
    columns: Rcsd
    dar: int = 0
    rows: tuple[tuple[Data, ...], ...] | None = ()
    flat: bool = False
    packed: PackedRows | None = None

    @property
    def width(self) -> int:
        """Values in a row."""
        return sum(_width(column, self.flat) for column in self.columns)


@dataclass(frozen=True, slots=True)
class GetRecord:
    """Which records to read, and which of their columns (none: all)."""

    oad: int
    rsd: Rsd = values.ANY_RECORD
    columns: Rcsd = ()


@dataclass(frozen=True, slots=True)
class SetItem:
    """Write `data` to `oad`; with `read`, read that OAD `delay` seconds later."""

    oad: int
    data: Data
    read: int = 0
    delay: int = 0


@dataclass(frozen=True, slots=True)
class SetResult:
    oad: int
    dar: int
    read: Result | None = None


@dataclass(frozen=True, slots=True)
class ActItem:
    """Call method `omd` with `data`; with `read`, read that OAD `delay` seconds later."""

    omd: int
    data: Data
    read: int = 0
    delay: int = 0


@dataclass(frozen=True, slots=True)
class ActResult:
    omd: int
    dar: int
    data: Data | None = None
    read: Result | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One server behind the proxy: its TSA bytes, seconds to wait for it, and what is asked of it."""

    tsa: bytes
    timeout: int
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one server behind the proxy answered."""

    tsa: bytes
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Two byte strings of a CONNECT: cipher text and signature. Made and checked by the utility's cipher machine."""

    cipher: bytes
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RnMac:
    """A random number and the MAC over it."""

    rn: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class TimeTag:
    """When the client sent (7 bytes of date_time_s) and how long the message stays valid."""

    sent: bytes
    delay: Ti


#: What a server adds to an answer unasked: Chosen(1, results) or Chosen(2, record results).
FollowReport = Chosen


@dataclass(frozen=True, slots=True)
class Apdu:
    """One APDU.

    code        of the service, server bit included
    choice      None where the service has none
    piid        the whole PIID or PIID-ACD byte; None in SECURITY
    fields      by the names of the table
    undecoded   the rest of a choice that the table does not know; `fields` is empty then
    """

    code: int
    choice: int | None = None
    piid: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    follow: FollowReport | None = None
    time_tag: TimeTag | None = None
    undecoded: bytes | None = None

    @property
    def service(self) -> str:
        return SERVICES[self.code]

    @property
    def number(self) -> int:
        """The number by which an answer is matched to its request."""
        return (self.piid or 0) & NUMBER


# --- codecs of the shapes above ---


class ResultCodec:
    """A-ResultNormal: OAD, then 00 DAR or 01 Data."""

    def read(self, cursor: Cursor) -> Result:
        oad = cursor.read("oad", values.OAD_)
        if cursor.choice("result", (0, 1), "0 (DAR) or 1 (data)"):
            return Result(oad, 0, values.DATA_.read(cursor))
        return Result(oad, cursor.read("dar", U8))

    def write(self, value: Result, out: bytearray) -> None:
        values.OAD_.write(value.oad, out)
        if value.data is None:
            out += bytes((0, value.dar))
        else:
            out.append(1)
            values.DATA_.write(value.data, out)


class RecordResultCodec:
    """A-ResultRecord: OAD, RCSD, then 00 DAR or 01 and the rows."""

    def read(self, cursor: Cursor) -> RecordResult:
        oad = cursor.read("oad", values.OAD_)
        columns: Rcsd = cursor.read("columns", values.RCSD_)
        if not cursor.choice("record", (0, 1), "0 (DAR) or 1 (rows)"):
            return RecordResult(oad, columns, cursor.read("dar", U8), None)
        severed = any(isinstance(column, values.Road) and len(column.columns) != 1 for column in columns)
        cursor.roads |= severed
        flat = cursor.flat and severed
        at = cursor.at
        count = cursor.count(cost=0)  # a row is what its values are
        row = RowCodec(columns, flat)
        if count and not row.width:
            raise FrameError(f"record: {count} rows without columns", at)
        return RecordResult(oad, columns, 0, tuple([cursor.read("row", row) for _ in range(count)]), flat)

    def write(self, value: RecordResult, out: bytearray) -> None:
        values.OAD_.write(value.oad, out)
        values.RCSD_.write(value.columns, out)
        if value.rows is None:
            out += bytes((0, value.dar))
            return
        out.append(1)
        if value.packed is not None:
            out += encode_length(len(value.packed)) + value.packed.raw
        else:
            Sequence(RowCodec(value.columns, value.flat)).write(value.rows, out)


class RowCodec:
    """A-RecordRow: the values of one row, one behind the other. How many there are its record knows."""

    def __init__(self, columns: Rcsd, flat: bool) -> None:
        self.columns = columns
        self.flat = flat
        self.width = sum(_width(column, flat) for column in columns)

    def read(self, cursor: Cursor) -> tuple[Data, ...]:
        if cursor.trace is not None:
            return tuple(
                cursor.read("cell", CellCodec(column)) for column in cells_of(self.columns, self.flat)
            )
        row, cursor.at = values.decode_run(cursor.raw, cursor.at, self.width, cursor.depth, cursor.budget)
        return tuple(row)

    def write(self, value: tuple[Data, ...], out: bytearray) -> None:
        if len(value) != self.width:
            raise Misuse(f"record: a row of {self.width} columns has {len(value)}")
        for cell in value:
            values.DATA_.write(cell, out)


@dataclass(frozen=True, slots=True)
class CellCodec:
    """One value of a row, under its column's name."""

    column: Csd

    def read(self, cursor: Cursor) -> Data:
        return values.DATA_.read(cursor)

    def write(self, value: Data, out: bytearray) -> None:
        values.DATA_.write(value, out)


def cells_of(columns: Rcsd, flat: bool) -> list[Csd]:
    """What each value of a row is: a column, or a whole ROAD."""
    if not flat:
        return list(columns)
    return [
        oad
        for column in columns
        for oad in (column.columns if isinstance(column, values.Road) else (column,))
    ]


def inside(road: values.Road, cell: Data) -> tuple[Data, ...] | None:
    """The values of a ROAD's columns in the one value of its cell; None if it is no array of as many.

    A ROAD of one column also comes bare, and that column's own value may be an array.
    """
    compound = cell.tag in (values.ARRAY, values.STRUCTURE)
    if len(road.columns) == 1:
        nested = compound and len(cell.value) == 1 and cell.value[0].tag in (values.ARRAY, values.STRUCTURE)
        return tuple(cell.value) if nested else (cell,)
    if not compound or len(cell.value) != len(road.columns):
        return None
    return tuple(cell.value)


def _width(column: Csd, flat: bool) -> int:
    return len(column.columns) if isinstance(column, values.Road) and flat else 1


_OADS: Final = Sequence(values.OAD_)
_RESULT: Final = ResultCodec()
_RESULTS: Final = Sequence(_RESULT)
_RECORD_RESULT: Final = RecordResultCodec()
_RECORD_RESULTS: Final = Sequence(_RECORD_RESULT)
_GET_RECORD: Final = Group(GetRecord, oad=values.OAD_, rsd=values.RSD_, columns=values.RCSD_)
_SET_ITEM: Final = Group(SetItem, oad=values.OAD_, data=values.DATA_)
_SET_GET: Final = Group(SetItem, oad=values.OAD_, data=values.DATA_, read=values.OAD_, delay=U8)
_SET_RESULT: Final = Group(SetResult, oad=values.OAD_, dar=U8)
_SET_GOT: Final = Group(SetResult, oad=values.OAD_, dar=U8, read=_RESULT)
_ACT_ITEM: Final = Group(ActItem, omd=values.OAD_, data=values.DATA_)
_ACT_GET: Final = Group(ActItem, omd=values.OAD_, data=values.DATA_, read=values.OAD_, delay=U8)
_ACT_RESULT: Final = Group(ActResult, omd=values.OAD_, dar=U8, data=Optional("returned data", values.DATA_))
_ACT_GOT: Final = Group(
    ActResult, omd=values.OAD_, dar=U8, data=Optional("returned data", values.DATA_), read=_RESULT
)


def _targets(item: Codec) -> Codec:
    return Sequence(Group(Target, tsa=OCTETS, timeout=U16, items=Sequence(item)), cost=3)


def _replies(item: Codec) -> Codec:
    return Sequence(Group(Reply, tsa=OCTETS, items=Sequence(item)), cost=3)


_FOLLOW: Final = Optional(
    "follow report", Choice("follow report", {1: _RESULTS, 2: _RECORD_RESULTS}, {1: "results", 2: "records"})
)
_TIME_TAG: Final = Optional("time tag", Group(TimeTag, sent=values.TIME_S_, delay=values.TI_))
_SIGNATURE: Final = Group(Signature, cipher=OCTETS, signature=OCTETS)
_AUTHENTICATION: Final = Choice(
    "authentication", {0: NOTHING, 1: OCTETS, 2: _SIGNATURE, 3: _SIGNATURE}, {1: "password"}
)
_VERIFICATION: Final = Choice(
    "verification",
    {0: values.SID_MAC_, 1: OCTETS, 2: Group(RnMac, rn=OCTETS, mac=OCTETS), 3: values.SID_},
    {1: "rn"},
)
_TERMS: Final[dict[str, Codec]] = {
    "protocol_version": U16, "protocol_conformance": Raw(8), "function_conformance": Raw(16),
    "tx_frame": U16, "rx_frame": U16, "window": U8, "max_apdu": U16,
    "timeout_s": U32,
}  # fmt: skip

#: Codes -> names, and whether a choice byte follows.
SERVICES: Final = {
    0x01: "LINK-Request", 0x81: "LINK-Response", 0x02: "CONNECT-Request", 0x82: "CONNECT-Response",
    0x03: "RELEASE-Request", 0x83: "RELEASE-Response", 0x84: "RELEASE-Notification",
    0x05: "GET-Request", 0x85: "GET-Response", 0x06: "SET-Request", 0x86: "SET-Response",
    0x07: "ACTION-Request", 0x87: "ACTION-Response", 0x08: "REPORT-Response", 0x88: "REPORT-Notification",
    0x09: "PROXY-Request", 0x89: "PROXY-Response", 0x10: "SECURITY-Request", 0x90: "SECURITY-Response",
    0x6E: "ERROR-Response", 0xEE: "ERROR-Response",
}  # fmt: skip
CHOICES: Final = frozenset((0x05, 0x85, 0x06, 0x86, 0x07, 0x87, 0x08, 0x88, 0x09, 0x89))

Fields = dict[str, Codec]
#: (code, choice) -> fields. DL/T 698.45-2017, application layer, APDU definitions in ASN.1.
TABLE: Final[dict[tuple[int, int | None], Fields]] = {
    (0x01, None): {"request": U8, "heartbeat_s": U16, "time": values.TIME_},
    (0x81, None): {
        "result": U8, "request_time": values.TIME_, "received_time": values.TIME_, "response_time": values.TIME_,
    },
    (0x02, None): {**_TERMS, "auth": _AUTHENTICATION},
    (0x82, None): {
        "vendor": Raw(4), "software": Raw(4), "software_date": Raw(6), "hardware": Raw(4), "hardware_date": Raw(6),
        "extension": Raw(8), **_TERMS, "result": U8, "security": Optional("security", Group(RnMac, rn=OCTETS, mac=OCTETS)),
    },
    (0x03, None): {},
    (0x83, None): {"result": U8},
    (0x84, None): {"connected": values.TIME_S_, "time": values.TIME_S_},
    (0x05, 1): {"oad": values.OAD_},
    (0x05, 2): {"oads": _OADS},
    (0x05, 3): {"record": _GET_RECORD},
    (0x05, 4): {"records": Sequence(_GET_RECORD, cost=3)},
    (0x05, 5): {"block": U16},
    (0x05, 6): {"oad": values.OAD_},
    (0x85, 1): {"result": _RESULT},
    (0x85, 2): {"results": _RESULTS},
    (0x85, 3): {"record": _RECORD_RESULT},
    (0x85, 4): {"records": _RECORD_RESULTS},
    (0x85, 5): {
        "last_block": U8, "block": U16,
        "content": Choice("block", {0: U8, 1: _RESULTS, 2: _RECORD_RESULTS}, {0: "dar", 1: "results", 2: "records"}),
    },
    (0x85, 6): {"oad": values.OAD_, "content": Choice("MD5", {0: U8, 1: OCTETS}, {0: "dar", 1: "md5"})},
    (0x06, 1): {"item": _SET_ITEM},
    (0x06, 2): {"items": Sequence(_SET_ITEM)},
    (0x06, 3): {"items": Sequence(_SET_GET)},
    (0x86, 1): {"result": _SET_RESULT},
    (0x86, 2): {"results": Sequence(_SET_RESULT)},
    (0x86, 3): {"results": Sequence(_SET_GOT)},
    (0x07, 1): {"item": _ACT_ITEM},
    (0x07, 2): {"items": Sequence(_ACT_ITEM)},
    (0x07, 3): {"items": Sequence(_ACT_GET)},
    (0x87, 1): {"result": _ACT_RESULT},
    (0x87, 2): {"results": Sequence(_ACT_RESULT)},
    (0x87, 3): {"results": Sequence(_ACT_GOT)},
    (0x88, 1): {"results": _RESULTS},
    (0x88, 2): {"records": _RECORD_RESULTS},
    (0x88, 3): {"port": values.OAD_, "frames": Sequence(OCTETS)},
    (0x08, 1): {"oads": _OADS},
    (0x08, 2): {"oads": _OADS},
    (0x08, 3): {},
    (0x09, 1): {"timeout_s": U16, "targets": _targets(values.OAD_)},
    (0x09, 2): {"timeout_s": U16, "tsa": OCTETS, "record": _GET_RECORD},
    (0x09, 3): {"timeout_s": U16, "targets": _targets(_SET_ITEM)},
    (0x09, 4): {"timeout_s": U16, "targets": _targets(_SET_GET)},
    (0x09, 5): {"timeout_s": U16, "targets": _targets(_ACT_ITEM)},
    (0x09, 6): {"timeout_s": U16, "targets": _targets(_ACT_GET)},
    (0x09, 7): {
        "port": values.OAD_, "comdcb": values.COMDCB_, "timeout_s": U16, "byte_timeout_ms": U16,
        "frame": OCTETS,
    },
    (0x89, 1): {"replies": _replies(_RESULT)},
    (0x89, 2): {"tsa": OCTETS, "record": _RECORD_RESULT},
    (0x89, 3): {"replies": _replies(_SET_RESULT)},
    (0x89, 4): {"replies": _replies(_SET_GOT)},
    (0x89, 5): {"replies": _replies(_ACT_RESULT)},
    (0x89, 6): {"replies": _replies(_ACT_GOT)},
    (0x89, 7): {"port": values.OAD_, "content": Choice("forwarded", {0: U8, 1: OCTETS}, {0: "dar", 1: "frame"})},
    (0x10, None): {
        "content": Choice("security", {0: OCTETS, 1: OCTETS}, {0: "apdu", 1: "ciphered"}), "verification": _VERIFICATION,
    },
    (0x90, None): {
        "content": Choice("security", {0: OCTETS, 1: OCTETS, 2: U8}, {0: "apdu", 1: "ciphered", 2: "dar"}),
        "verification": Optional("verification", Choice("verification", {0: OCTETS}, {0: "mac"})),
    },
    (0x6E, None): {"error": U8},
    (0xEE, None): {"error": U8},
}  # fmt: skip

#: Services without PIID, and those that end without time tag.
_NO_PIID: Final = frozenset((0x10, 0x90))
BARE: Final = frozenset((0x01, 0x81, 0x10, 0x90))
#: Choices that were added to the text of 2017 later: published frames show other fields under the same number, which stay undecoded.
_UNSURE: Final = frozenset(((0x05, MD5), (0x85, MD5)))


def decode(raw: bytes, budget: Budget | None = None) -> Apdu:
    """Exactly one APDU. FrameError: unknown service, truncated, a value outside its type, bytes left over; over the budget."""
    budget = budget or Budget.of(raw)
    cursor = Cursor(raw, budget=budget)
    try:
        return read(cursor)
    except FrameError:
        if not cursor.roads:
            raise
        try:
            return read(Cursor(raw, flat=True, budget=budget))
        except FrameError:
            pass
        raise


def read(cursor: Cursor) -> Apdu:
    """The APDU that fills the rest of a cursor's bytes. Errors as `decode`."""
    begin = cursor.at
    code = cursor.byte()
    if code not in SERVICES:
        raise FrameError(f"apdu: service {code:02X}H is none of the standard's", begin)
    cursor.note(begin, "service", code)
    choice = cursor.read("choice", U8) if code in CHOICES else None
    piid = None if code in _NO_PIID else cursor.read("piid", U8)
    after = cursor.at
    try:
        return _fields(cursor, code, choice, piid)
    except FrameError:
        if (code, choice) not in _UNSURE:
            raise
        cursor.rewind(after)
        return _undecoded(cursor, code, choice, piid)


def _fields(cursor: Cursor, code: int, choice: int | None, piid: int | None) -> Apdu:
    fields = TABLE.get((code, choice))
    if fields is None:
        return _undecoded(cursor, code, choice, piid)
    found = {name: cursor.read(name, codec) for name, codec in fields.items()}
    follow = cursor.read("follow", _FOLLOW) if code & SERVER and code not in BARE else None
    time_tag = None if code in BARE else cursor.read("time_tag", _TIME_TAG)
    if cursor.at != len(cursor.raw):
        raise FrameError(f"apdu: {len(cursor.raw) - cursor.at} bytes left over", cursor.at)
    return Apdu(code, choice, piid, found, follow, time_tag)


def _undecoded(cursor: Cursor, code: int, choice: int | None, piid: int | None) -> Apdu:
    at = cursor.at
    rest = cursor.take(len(cursor.raw) - at)
    if rest:
        cursor.note(at, "undecoded", rest)
    return Apdu(code, choice, piid, {}, None, None, rest)


def encode(apdu: Apdu) -> bytes:
    """The bytes of an APDU. Misuse: an unknown service or choice, a missing field, a value that does not fit."""
    out = bytearray((apdu.code & 0xFF,))
    if apdu.choice is not None:
        out.append(apdu.choice & 0xFF)
    if apdu.piid is not None:
        out.append(apdu.piid & 0xFF)
    if apdu.undecoded is not None:
        return bytes(out) + apdu.undecoded
    fields = TABLE.get((apdu.code, apdu.choice))
    if fields is None or (apdu.piid is None) != (apdu.code in _NO_PIID):
        raise Misuse(f"apdu: no service {apdu.code:02X}H with choice {apdu.choice} and PIID {apdu.piid}")
    if set(fields) != set(apdu.fields):
        raise Misuse(
            f"apdu: {SERVICES[apdu.code]} {apdu.choice} has the fields {', '.join(fields) or 'none'}"
        )
    for name, codec in fields.items():
        codec.write(apdu.fields[name], out)
    if apdu.code in BARE:
        return bytes(out)
    if apdu.code & SERVER:
        _FOLLOW.write(apdu.follow, out)
    _TIME_TAG.write(apdu.time_tag, out)
    return bytes(out)
