"""Who may speak next on a DL/T 645-1997 line: `Master` asks, `Device` is the meter's side.

Half duplex, one request at a time. A long answer (C bit 5) is fetched with 02H, which names the DI and no number: the meter
sends the next part each time it is asked. A wildcard request may be answered from AA..AA instead of the meter's address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from protocols.buffer import ReceiveBuffer
from protocols.dlt645.device import BroadcastTime, OtherRequest
from protocols.dlt645.edition1997.words import BAUD_RATES, ERROR_BITS, FUNCTIONS, NO_SUCH_DI
from protocols.dlt645.frame import (
    BROADCAST,
    BUFFER_LIMIT,
    ERROR,
    FROM_METER,
    MORE,
    WILDCARD,
    Frame,
    encode_address,
    find,
    matches,
)
from protocols.dlt645.requests import (
    ChangeBaud,
    ChangePassword,
    SetTimeBroadcast,
    WriteAnswer,
    decode_time,
    encode_time,
)
from protocols.dlt645.words import bit_names
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send, _Signal

#: What both editions ask alike is 2007's class; here 0CH and 0FH, each answered by a WriteAnswer.
__all__ = ["BroadcastTime", "ChangeBaud", "ChangePassword", "OtherRequest", "SetTimeBroadcast", "WriteAnswer"]

#: Data bytes of one answer frame, as in the 2007 edition: the 1997 text is not at hand.
READ_LIMIT: Final = 200
#: The longest item is a block of 14 slots or 15 energies, under 100 bytes: a meter that announces more than this many
#: further parts never ends.
MOST_FOLLOW_UPS: Final = 16

_READ, _FOLLOW, _AGAIN, _WRITE, _TIME, _ADDRESS, _BAUD, _PASSWORD, _RESET = (
    0x01, 0x02, 0x03, 0x04, 0x08, 0x0A, 0x0C, 0x0F, 0x10,
)  # fmt: skip


# --- what a master may ask ---


@dataclass(frozen=True, slots=True)
class Read:
    """01H. `di` as one number (0x9010). `again`: 03H, the same once more after a corrupt answer. -> ReadAnswer"""

    address: str
    di: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """04H: DI, PA P0 P1 P2, data. `password`: 6 hex digits, high digit first. -> WriteAnswer"""

    address: str
    di: int
    data: bytes = field(repr=False)
    level: int = 0
    password: str = field(default="000000", repr=False)


@dataclass(frozen=True, slots=True)
class WriteAddress:
    """0AH to the wildcard, with a single meter on the line whose program key is pressed. -> WriteAnswer"""

    new: str
    address: str = WILDCARD


@dataclass(frozen=True, slots=True)
class ResetDemand:
    """10H. `password` '' for meters that take it without one (unconfirmed whether the standard asks for it). -> WriteAnswer"""

    address: str
    level: int = 0
    password: str = field(default="", repr=False)


Request = Read | Write | WriteAddress | ChangeBaud | ChangePassword | ResetDemand | SetTimeBroadcast


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """`data` without the DI, follow-ups joined. `address`: as the answer has it, AA..AA from a meter that does not say."""

    address: str
    di: int
    data: bytes


_FUNCTIONS: Final[dict[type, int]] = {
    Read: _READ,
    Write: _WRITE,
    WriteAddress: _ADDRESS,
    ChangeBaud: _BAUD,
    ChangePassword: _PASSWORD,
    ResetDemand: _RESET,
    SetTimeBroadcast: _TIME,
}


class Master:
    """The head-end's side: protocols.exchange.Exchange. `wakeup` bytes FE go before each request.

    anonymous  also take answers from AA..AA to a request that named a meter: only with a single meter on the line
    """

    def __init__(self, wakeup: int = 4, *, anonymous: bool = False) -> None:
        self._wakeup = wakeup
        self._anonymous = anonymous
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._request: Request | None = None
        self._function = -1
        self._corrupt = self._silent = self._owed = False
        self._parts: list[bytes] = []

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._buffer.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request. Misuse if one is outstanding, unless its answer came in corrupt."""
        if (self._request is not None and not self._corrupt) or self._silent:
            raise Misuse("a request is outstanding")
        frame = _request_frame(request)
        raw = frame.encode(self._wakeup)
        self._owed |= self._request is not None
        self._reset()
        if isinstance(request, SetTimeBroadcast):
            self._silent = True
        else:
            self._request, self._function = request, frame.function
        return raw

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def abandon(self) -> None:
        """Forget the running request. Its late answer is Ignored, unless it answers the next one too."""
        self._owed = self._request is not None
        self._reset()

    def _reset(self) -> None:
        self._request, self._function = None, -1
        self._corrupt = self._silent = False
        self._parts.clear()

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
        if why:
            return Ignored(why, frame.encode())
        if frame.error:
            self._refuse(frame)
        self._owed = False
        return self._accept(frame)

    def _foreign(self, frame: Frame) -> str:
        """Why this frame is not the answer to the running request; '' if it is."""
        request = self._request
        if request is None:
            return "unasked"
        if not frame.from_meter:
            return "not from a meter (echo or another master)"
        if not self._hears(request.address, frame.address, request):
            return f"from {frame.address}, asked {request.address}"
        if frame.function != self._function:
            return f"function {frame.function:02X}H, asked {self._function:02X}H"
        if isinstance(request, Read) and not frame.error:
            if len(frame.data) < 2:
                raise FrameError(f"data: {len(frame.data)} bytes, too short for a read answer", 9)
            if (di := int.from_bytes(frame.data[:2], "little")) != request.di:
                return f"data {di:04X}, asked {request.di:04X}"
        return ""

    def _hears(self, asked: str, own: str, request: Request) -> bool:
        if own == WILDCARD and (self._anonymous or "AA" in asked):
            return True
        # an address is written and some meters are read by the broadcast address; then any meter may answer
        return asked == BROADCAST or isinstance(request, WriteAddress) or matches(asked, own)

    def _refuse(self, frame: Frame) -> None:
        if len(frame.data) != 1:
            raise FrameError(f"error answer: {len(frame.data)} bytes, 1 is allowed", 9)
        code = frame.data[0]
        absent = isinstance(self._request, Read) and bool(code & NO_SUCH_DI)
        if self._parts or self._owed:
            # A refused follow-up says nothing about the record: its beginning was delivered. And an error
            # names no DI, so while an abandoned request may still be answered late it proves nothing either.
            absent = False
        self._owed = False
        self._reset()
        names = ", ".join(bit_names(code, ERROR_BITS)) or "no reason given"
        raise Refused(f"meter {frame.address} refused: {names}", code=code, absent=absent)

    def _accept(self, frame: Frame) -> Event:
        request = self._request
        if not isinstance(request, Read):
            self._reset()
            return Answer(WriteAnswer(frame.address))
        if len(self._parts) > MOST_FOLLOW_UPS:
            raise FrameError(f"follow-up: more than {MOST_FOLLOW_UPS} frames announced", 8)
        self._parts.append(frame.data[2:])
        if frame.more:
            self._function = _FOLLOW
            return Send(Frame(request.address, _FOLLOW, _di(request.di)).encode(self._wakeup))
        answer = ReadAnswer(frame.address, request.di, b"".join(self._parts))
        self._reset()
        return Answer(answer)


def _request_frame(request: Request) -> Frame:
    function = _FUNCTIONS[type(request)]
    match request:
        case Read():
            return Frame(request.address, _AGAIN if request.again else function, _di(request.di))
        case Write():
            body = _di(request.di) + _authority(request.level, request.password) + request.data
        case WriteAddress():
            body = encode_address(request.new)
        case ChangeBaud():
            words = {rate: word for word, rate in BAUD_RATES.items()}
            if request.rate not in words:
                raise Misuse(f"baud rate: {request.rate}; there are {', '.join(map(str, words))}")
            body = bytes((words[request.rate],))
        case ChangePassword():
            body = _authority(request.level, request.password) + _authority(request.new_level, request.new)
        case ResetDemand():
            body = _authority(request.level, request.password) if request.password else b""
        case SetTimeBroadcast():
            body = encode_time(request.when)
    return Frame(request.address, function, body)


def _di(di: int) -> bytes:
    if not 0 <= di <= 0xFFFF:
        raise Misuse(f"data identifier: {di:X} is not two bytes")
    return di.to_bytes(2, "little")


def _authority(level: int, password: str) -> bytes:
    """PA P0 P1 P2."""
    try:
        raw = bytes.fromhex(password)
    except ValueError:
        raw = b""
    if len(raw) != 3:
        raise Misuse("password: 6 digits are needed")  # never print what was given
    return bytes((level,)) + raw[::-1]


# --- the meter's side ---


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """01H, or 03H (`again`); `di` -1 for a 03H that names none: the last answer once more."""

    di: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class WriteRequest:
    di: int
    data: bytes = field(repr=False)
    level: int
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteAddressRequest:
    """0AH; the answer still goes out under the old address, so change `Device.address` after `answer()`."""

    address: str


@dataclass(frozen=True, slots=True)
class BaudRequest:
    """0CH; `rate` in bit/s, 0 for a word that is none. `answer()` repeats the word."""

    rate: int


@dataclass(frozen=True, slots=True)
class PasswordRequest:
    level: int
    password: str = field(repr=False)
    new_level: int
    new_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResetDemandRequest:
    """10H; `password` '' where none came."""

    level: int
    password: str = field(repr=False)


DeviceRequest = (
    ReadRequest
    | WriteRequest
    | WriteAddressRequest
    | BaudRequest
    | PasswordRequest
    | ResetDemandRequest
    | BroadcastTime
    | OtherRequest
)
DeviceEvent = DeviceRequest | Send | Literal[_Signal.NEED_DATA]


class Device:
    """A meter: feed it what is on the line, drain `next_event`, write what Send, `answer`, `refuse` give.

    It hears only its own address, wildcards, and the broadcast 08H. Corrupt frames and functions of another edition it
    counts and lets pass in silence. `anonymous`: it answers wildcards from AA..AA, as some meters do.
    """

    def __init__(self, address: str, *, wakeup: int = 4, anonymous: bool = False) -> None:
        encode_address(address)
        self.address = address
        self.corrupt = 0
        self._wakeup = wakeup
        self._anonymous = anonymous
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._asked: Frame | None = None
        self._rest: list[bytes] = []
        self._rest_di = b""

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
                request = _request(frame)
                self._asked = frame
                return request
            except FrameError:
                self.corrupt += 1

    def _hears(self, frame: Frame) -> bool:
        if frame.from_meter or frame.function not in FUNCTIONS:
            return False
        if frame.address == BROADCAST:
            return frame.function in (_TIME, _ADDRESS)
        return matches(frame.address, self.address)

    def answer(self, data: bytes = b"", *, di: int = -1) -> bytes:
        """The bytes of the normal answer to the last request; b'' where nobody answers.

        For a read, `data` comes without the DI; what one frame cannot hold is kept for follow-ups. `di` answers a 03H that
        named none.
        """
        asked = self._take()
        if asked.function == _TIME:
            return b""
        if asked.function == _PASSWORD:
            data = asked.data[4:]
        elif asked.function == _BAUD:
            data = asked.data
        if asked.function not in (_READ, _AGAIN):
            return self._frame(asked, asked.function | FROM_METER, data)
        head = asked.data[:2] or _di(di)
        step = READ_LIMIT - 2
        parts = [data[at : at + step] for at in range(0, max(len(data), 1), step)]
        if len(parts) > MOST_FOLLOW_UPS + 1:
            raise Misuse(f"answer: {len(data)} bytes need more than {MOST_FOLLOW_UPS} follow-ups")
        self._rest, self._rest_di = parts[1:], head
        return self._frame(asked, asked.function | FROM_METER | (MORE if self._rest else 0), head + parts[0])

    def refuse(self, code: int) -> bytes:
        """The bytes of the error answer."""
        asked = self._take()
        if asked.function == _TIME:
            return b""
        return self._frame(asked, asked.function | FROM_METER | ERROR, bytes((code,)))

    def _take(self) -> Frame:
        asked, self._asked = self._asked, None
        if asked is None:
            raise Misuse("nothing was asked")
        return asked

    def _follow_up(self, frame: Frame) -> bytes:
        if not self._rest or frame.data != self._rest_di:
            return self._frame(frame, _FOLLOW | FROM_METER | ERROR, bytes((NO_SUCH_DI,)))
        part = self._rest.pop(0)
        return self._frame(frame, _FOLLOW | FROM_METER | (MORE if self._rest else 0), self._rest_di + part)

    def _frame(self, asked: Frame, control: int, data: bytes) -> bytes:
        own = WILDCARD if self._anonymous and asked.address == WILDCARD else self.address
        return Frame(own, control, data).encode(self._wakeup)


def _request(frame: Frame) -> DeviceRequest:
    """A master's frame, typed."""
    data, function, size = frame.data, frame.function, len(frame.data)
    found: DeviceRequest = OtherRequest(function, data)
    if (function == _READ and size == 2) or (function == _AGAIN and size in (0, 2)):
        found = ReadRequest(int.from_bytes(data, "little") if data else -1, function == _AGAIN)
    elif function == _TIME and size == 6:
        found = BroadcastTime(decode_time(data))
    elif function == _WRITE and size >= 6:
        found = WriteRequest(int.from_bytes(data[:2], "little"), data[6:], *_split(data[2:6]))
    elif function == _ADDRESS and size == 6:
        found = WriteAddressRequest(data[::-1].hex().upper())
    elif function == _BAUD and size == 1:
        found = BaudRequest(BAUD_RATES.get(data[0], 0))
    elif function == _PASSWORD and size == 8:
        found = PasswordRequest(*_split(data[:4]), *_split(data[4:]))
    elif function == _RESET and size in (0, 4):
        found = ResetDemandRequest(*_split(data)) if data else ResetDemandRequest(0, "")
    return found


def _split(raw: bytes) -> tuple[int, str]:
    """PA P0 P1 P2 -> (level, password), high digit first."""
    return raw[0], raw[:0:-1].hex().upper()
