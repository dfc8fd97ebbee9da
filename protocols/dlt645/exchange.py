"""Who may speak next on a DL/T 645-2007 line: `Master` asks, `Device` is the meter's side.

Half duplex, one request at a time. A long answer (C bit 5) is fetched with follow-up reads 12H, which both
sides handle themselves: the caller sees one request and one whole answer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from protocols.bcd import from_bcd, to_bcd
from protocols.buffer import ReceiveBuffer
from protocols.dlt645.frame import (
    BROADCAST,
    BUFFER_LIMIT,
    ERROR,
    FROM_METER,
    MORE,
    OFFSET,
    WILDCARD,
    Frame,
    encode_address,
    find,
    matches,
)
from protocols.dlt645.words import CONTROL_ERROR_BITS, ERROR_BITS, NO_DATA, bit_names
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send, _Signal

#: A read answer carries at most 200 data bytes.
READ_LIMIT: Final = 200
#: SEQ of a follow-up is one byte, 1..255.
LAST_SEQUENCE: Final = 255

_TIME, _READ, _FOLLOW, _ADDRESS, _WRITE, _WRITE_ADDRESS, _CONTROL = 0x08, 0x11, 0x12, 0x13, 0x14, 0x15, 0x1C


# --- what a master may ask ---


@dataclass(frozen=True, slots=True)
class Read:
    """11H. `di` as one number (0x04000102); `extra` follows it, see blocks.from_time. -> ReadAnswer"""

    address: str
    di: int
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadAddress:
    """13H to the wildcard: only with a single meter on the line. -> its address, str"""


@dataclass(frozen=True, slots=True)
class SetTimeBroadcast:
    """08H. `when`: naive local time. Nobody answers: done at once. -> None"""

    when: np.datetime64
    address: str = BROADCAST


@dataclass(frozen=True, slots=True)
class Write:
    """14H. `password` 6 and `operator` 8 hex digits, high digit first. -> WriteAnswer"""

    address: str
    di: int
    data: bytes
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)


@dataclass(frozen=True, slots=True)
class Control:
    """1CH in clear text: N1 `action`, N2, end of validity in naive local time. -> ControlAnswer"""

    address: str
    action: int
    expires: np.datetime64
    n2: int = 0
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)


Request = Read | ReadAddress | SetTimeBroadcast | Write | Control


# --- what it gets ---


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """`data` without the DI, follow-ups joined. `address` is the meter's own, also after a wildcard."""

    address: str
    di: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    address: str


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """`word`: the execution word of the 2014 supplement; None from older meters (L = 0)."""

    address: str
    word: int | None


class Master:
    """The head-end's side: protocols.exchange.Exchange. `wakeup` bytes FE go before each request."""

    def __init__(self, wakeup: int = 4) -> None:
        self._wakeup = wakeup
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._request: Request | None = None
        self._corrupt = False
        self._silent = False
        self._owed = False
        self._parts = bytearray()
        self._sequence = 0

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._buffer.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request. Misuse if one is outstanding, unless its answer came in corrupt."""
        if (self._request is not None and not self._corrupt) or self._silent:
            raise Misuse("a request is outstanding")
        raw = _request_frame(request).encode(self._wakeup)
        self._owed |= self._request is not None
        self._reset()
        if isinstance(request, SetTimeBroadcast):
            self._silent = True
        else:
            self._request = request
        return raw

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def abandon(self) -> None:
        """Forget the running request. Its late answer is Ignored, unless it answers the next one too."""
        self._owed = self._request is not None
        self._reset()

    def _reset(self) -> None:
        self._request = None
        self._corrupt = self._silent = False
        self._parts.clear()
        self._sequence = 0

    def next_event(self) -> Event:
        """FrameError: corrupt; the request stays open for a good frame behind it, or `send` anew."""
        if self._silent:
            self._silent = False
            return Answer(None)
        try:
            frame = find(self._buffer)
            return NEED_DATA if frame is None else self._judge(frame)
        except FrameError:
            self._corrupt = True
            raise

    def _judge(self, frame: Frame) -> Event:
        why = self._foreign(frame)
        if not why and frame.error:
            self._refuse(frame)
        if frame.from_meter and self._request is not None and matches(_asked(self._request), frame.address):
            self._owed = False
        return Ignored(why, frame.encode()) if why else self._accept(frame)

    def _foreign(self, frame: Frame) -> str:
        """Why this frame is not the answer to the running request; '' if it is."""
        request = self._request
        if request is None or isinstance(request, SetTimeBroadcast):
            return "unasked"
        asked = _asked(request)
        function = _FOLLOW if self._sequence else _FUNCTIONS[type(request)]
        why = ""
        if not frame.from_meter:
            why = "not from a meter (echo or another master)"
        elif not matches(asked, frame.address):
            why = f"from {frame.address}, asked {asked}"
        elif frame.function != function:
            why = f"function {frame.function:02X}H, asked {function:02X}H"
        elif isinstance(request, Read) and not frame.error:
            why = self._foreign_data(request, frame.data)
        return why

    def _foreign_data(self, request: Read, data: bytes) -> str:
        if len(data) < 4 + bool(self._sequence):
            raise FrameError(f"data: {len(data)} bytes, too short for a read answer")
        di = int.from_bytes(data[:4], "little")
        if di != request.di:
            return f"data {di:08X}, asked {request.di:08X}"
        if self._sequence and data[-1] != self._sequence:
            return f"follow-up {data[-1]}, asked {self._sequence}"
        return ""

    def _refuse(self, frame: Frame) -> None:
        code, names = _error(frame)
        absent = isinstance(self._request, Read) and bool(code & NO_DATA)
        if self._sequence or self._owed:
            # A refused follow-up says nothing about the record: its beginning was delivered. And an error
            # names no DI, so while an abandoned request may still be answered late it proves nothing either.
            absent = False
        self._owed = False
        self._reset()
        raise Refused(f"meter {frame.address} refused: {', '.join(names)}", code=code, absent=absent)

    def _accept(self, frame: Frame) -> Event:
        match self._request:
            case Read() as request:
                return self._accept_read(request, frame)
            case ReadAddress():
                if frame.data != encode_address(frame.address):
                    raise FrameError(
                        f"address: data {frame.data.hex()} differ from the frame's {frame.address}"
                    )
                value: object = frame.address
            case Control():
                if len(frame.data) not in (0, 2):
                    raise FrameError(f"control answer: {len(frame.data)} bytes, 0 or 2 are allowed")
                value = ControlAnswer(
                    frame.address, int.from_bytes(frame.data, "little") if frame.data else None
                )
            case _:
                value = WriteAnswer(frame.address)
        self._reset()
        return Answer(value)

    def _accept_read(self, request: Read, frame: Frame) -> Event:
        self._parts += frame.data[4:-1] if self._sequence else frame.data[4:]
        if not frame.more:
            answer = ReadAnswer(frame.address, request.di, bytes(self._parts))
            self._reset()
            return Answer(answer)
        if self._sequence == LAST_SEQUENCE:
            raise FrameError("follow-up: more than 255 frames announced")
        self._sequence += 1
        data = request.di.to_bytes(4, "little") + bytes((self._sequence,))
        return Send(Frame(request.address, _FOLLOW, data).encode(self._wakeup))


def _asked(request: Request) -> str:
    return WILDCARD if isinstance(request, ReadAddress) else request.address


_FUNCTIONS: Final[dict[type, int]] = {
    Read: _READ,
    ReadAddress: _ADDRESS,
    SetTimeBroadcast: _TIME,
    Write: _WRITE,
    Control: _CONTROL,
}


def _request_frame(request: Request) -> Frame:
    match request:
        case Read(address, di, extra):
            return Frame(address, _READ, di.to_bytes(4, "little") + extra)
        case ReadAddress():
            return Frame(WILDCARD, _ADDRESS)
        case SetTimeBroadcast(when, address):
            return Frame(address, _TIME, encode_time(when))
        case Write():
            body = request.di.to_bytes(4, "little") + _authority(request) + request.data
            return Frame(request.address, _WRITE, body)
        case Control():
            order = bytes((request.action, request.n2)) + encode_time(request.expires)
            return Frame(request.address, _CONTROL, _authority(request) + order)


def _authority(request: Write | Control) -> bytes:
    """PA P0 P1 P2 C0 C1 C2 C3."""
    password, operator = _hex(request.password, 3, "password"), _hex(request.operator, 4, "operator")
    return bytes((request.level,)) + password + operator


def _hex(digits: str, size: int, field_name: str) -> bytes:
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise Misuse(f"{field_name}: {2 * size} digits are needed")  # never print what was given
    return raw[::-1]


def encode_time(when: np.datetime64) -> bytes:
    """Naive local time -> ss mm hh DD MM YY, the wire order of YYMMDDhhmmss. Misuse outside 2000-2099."""
    t: dt.datetime = when.astype("datetime64[s]").astype(dt.datetime)
    if t is None or not 2000 <= t.year <= 2099:
        raise Misuse(f"time: {when} is outside 2000-2099")
    fields = (t.second, t.minute, t.hour, t.day, t.month, t.year - 2000)
    return b"".join(to_bcd(number, 1) for number in fields)


def decode_time(raw: bytes) -> np.datetime64:
    """ss mm hh DD MM YY -> naive local datetime64[s]. FrameError if it is no date."""
    second, minute, hour, day, month, year = (from_bcd(raw[i : i + 1], "time") for i in range(6))
    try:
        return np.datetime64(dt.datetime(2000 + year, month, day, hour, minute, second), "s")
    except ValueError:
        raise FrameError(f"time: {raw[::-1].hex()} is no date") from None


def _error(frame: Frame) -> tuple[int, list[str]]:
    """Error code and its names: one byte, or the two-byte word of 1CH and 03H."""
    size = len(frame.data)
    if size not in (1, 2):
        raise FrameError(f"error answer: {size} bytes, 1 or 2 are allowed")
    table = CONTROL_ERROR_BITS if size == 2 and frame.function == _CONTROL else ERROR_BITS
    code = int.from_bytes(frame.data, "little")
    # Some meters send the error without the 33H; then what we subtracted shows as a nonsense of many bits.
    sent = int.from_bytes(bytes((b + OFFSET) & 0xFF for b in frame.data), "little")
    if code.bit_count() > 2 and sent.bit_count() == 1 and sent in table:
        code = sent
    return code, bit_names(code, table) or ["no reason given"]


# --- the meter's side ---


@dataclass(frozen=True, slots=True)
class ReadRequest:
    di: int
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """13H; `answer()` sends the device's address."""


@dataclass(frozen=True, slots=True)
class BroadcastTime:
    """08H; `when` is naive local time. Not answered."""

    when: np.datetime64


@dataclass(frozen=True, slots=True)
class WriteRequest:
    di: int
    data: bytes
    level: int
    password: str = field(repr=False)
    operator: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteAddressRequest:
    """15H; the answer still goes out under the old address, so change `Device.address` after `answer()`."""

    address: str


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """1CH in clear text. `expires` is naive local time, None where the field is no date (99.., 00..)."""

    action: int
    n2: int
    expires: np.datetime64 | None
    level: int
    password: str = field(repr=False)
    operator: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """A function this class does not take apart, or one whose data field is too short for it."""

    function: int
    data: bytes = field(repr=False)


DeviceRequest = (
    ReadRequest
    | AddressRequest
    | BroadcastTime
    | WriteRequest
    | WriteAddressRequest
    | ControlRequest
    | OtherRequest
)
DeviceEvent = DeviceRequest | Send | Literal[_Signal.NEED_DATA]


class Device:
    """A meter: feed it what is on the line, drain `next_event`, write what Send, `answer`, `refuse` give.

    It hears only its own address, wildcards, and the broadcasts 08H and 16H. Corrupt frames it counts and
    lets pass in silence, as a meter does. Any number of Devices may listen to one line.
    """

    def __init__(self, address: str, *, wakeup: int = 4) -> None:
        encode_address(address)
        self.address = address
        self.corrupt = 0
        self._wakeup = wakeup
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._asked: Frame | None = None
        self._rest: dict[int, bytes] = {}
        self._rest_di = -1

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next_event(self) -> DeviceEvent:
        """A request to answer or refuse, a Send to write at once (a follow-up), or NEED_DATA."""
        while True:
            try:
                frame = find(self._buffer)
                if frame is None:
                    return NEED_DATA
                if not self._hears(frame):
                    continue
                if frame.function == _FOLLOW:
                    return Send(self._follow_up(frame))
                self._asked = frame
                return _request(frame)
            except FrameError:
                self.corrupt += 1

    def _hears(self, frame: Frame) -> bool:
        if frame.from_meter:
            return False
        if frame.address == BROADCAST:
            return frame.function in (_TIME, 0x16)
        return matches(frame.address, self.address)

    def answer(self, data: bytes = b"") -> bytes:
        """The bytes of the normal answer to the last request; b'' where nobody answers.

        For a read, `data` comes without the DI; what one frame cannot hold is kept for follow-ups.
        """
        asked = self._take()
        if asked is None:
            return b""
        if asked.function == _ADDRESS:
            data = encode_address(self.address)
        if asked.function != _READ:
            return self._frame(asked.function | FROM_METER, data)
        di = asked.data[:4]
        first, rest = data[: READ_LIMIT - 4], data[READ_LIMIT - 4 :]
        step = READ_LIMIT - 5  # DI and SEQ
        parts = [rest[i : i + step] for i in range(0, len(rest), step)]
        if len(parts) > LAST_SEQUENCE:
            raise Misuse(f"answer: {len(data)} bytes need more than {LAST_SEQUENCE} follow-ups")
        self._rest_di = int.from_bytes(di, "little")
        self._rest = dict(enumerate(parts, start=1))
        return self._frame(_READ | FROM_METER | (MORE if parts else 0), di + first)

    def refuse(self, code: int, *, size: int = 1) -> bytes:
        """The bytes of the error answer; `size` 2 for the error word of the 2014 supplement."""
        asked = self._take()
        if asked is None:
            return b""
        return self._frame(asked.function | FROM_METER | ERROR, code.to_bytes(size, "little"))

    def _take(self) -> Frame | None:
        """The request to be answered now; None for one that nobody answers."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise Misuse("nothing was asked")
        return None if asked.address == BROADCAST or asked.function == _TIME else asked

    def _follow_up(self, frame: Frame) -> bytes:
        """Answer 12H from what is kept. It stays kept: a master that lost the answer asks again."""
        di, sequence = int.from_bytes(frame.data[:4], "little"), int.from_bytes(frame.data[4:5], "little")
        part = self._rest.get(sequence) if di == self._rest_di else None
        if part is None or len(frame.data) != 5:
            return self._frame(_FOLLOW | FROM_METER | ERROR, bytes((NO_DATA,)))
        more = MORE if sequence + 1 in self._rest else 0
        return self._frame(_FOLLOW | FROM_METER | more, frame.data[:4] + part + frame.data[4:5])

    def _frame(self, control: int, data: bytes) -> bytes:
        return Frame(self.address, control, data).encode(self._wakeup)


def _request(frame: Frame) -> DeviceRequest:
    """A master's frame, typed."""
    data, function = frame.data, frame.function
    found: DeviceRequest = OtherRequest(function, data)
    if function == _READ and len(data) >= 4:
        found = ReadRequest(int.from_bytes(data[:4], "little"), data[4:])
    elif function == _ADDRESS and not data:
        found = AddressRequest()
    elif function == _TIME and len(data) == 6:
        found = BroadcastTime(decode_time(data))
    elif function == _WRITE and len(data) >= 12:
        level, password, operator = split_authority(data[4:12])
        found = WriteRequest(int.from_bytes(data[:4], "little"), data[12:], level, password, operator)
    elif function == _WRITE_ADDRESS and len(data) == 6:
        found = WriteAddressRequest(data[::-1].hex().upper())
    elif function == _CONTROL and len(data) == 16:
        level, password, operator = split_authority(data[:8])
        try:
            expires: np.datetime64 | None = decode_time(data[10:])
        except FrameError:
            expires = None
        found = ControlRequest(data[8], data[9], expires, level, password, operator)
    return found


def split_authority(raw: bytes) -> tuple[int, str, str]:
    """PA P0 P1 P2 C0 C1 C2 C3 -> (level, password, operator), high digit first."""
    return raw[0], raw[3:0:-1].hex().upper(), raw[7:3:-1].hex().upper()
