"""Who may speak next on a DL/T 645-2007 line: `Master` asks, `Device` (device.py) is the meter's side.

Half duplex, one request at a time. A long answer (C bit 5) is fetched with follow-up reads 12H, which both
sides handle themselves: the caller sees one request and one whole answer. What can be asked is in requests.py.
"""

from __future__ import annotations

from protocols.buffer import ReceiveBuffer
from protocols.dlt645.device import (
    LAST_SEQUENCE,
    READ_LIMIT,
    AddressRequest,
    BaudRequest,
    BroadcastTime,
    ControlRequest,
    Device,
    DeviceEvent,
    DeviceRequest,
    FreezeRequest,
    OtherRequest,
    OutputRequest,
    PasswordRequest,
    ReadRequest,
    ResetRequest,
    SealedControlRequest,
    SecureRequest,
    WriteAddressRequest,
    WriteRequest,
)
from protocols.dlt645.frame import BUFFER_LIMIT, OFFSET, Frame, encode_address, find, matches
from protocols.dlt645.requests import (
    CONTROL,
    FOLLOW,
    FUNCTIONS,
    SECURITY,
    BaudAnswer,
    ChangeBaud,
    ChangePassword,
    ClearEvents,
    ClearMeter,
    Control,
    ControlAnswer,
    Freeze,
    Read,
    ReadAddress,
    ReadAnswer,
    Request,
    ResetDemand,
    SealedControl,
    Secure,
    SecureAnswer,
    SetTimeBroadcast,
    SwitchOutput,
    Write,
    WriteAddress,
    WriteAnswer,
    asked,
    decode_time,
    encode_time,
    request_frame,
    silent,
    split_authority,
)
from protocols.dlt645.words import (
    CONTROL_ERROR_BITS,
    ERROR_BITS,
    NO_DATA,
    SECURITY_ERROR_BITS,
    baud_rate,
    bit_names,
)
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

#: The whole conversation in one place: the requests, their answers, and both sides.
__all__ = [
    "LAST_SEQUENCE", "READ_LIMIT",
    "AddressRequest", "BaudAnswer", "BaudRequest", "BroadcastTime", "ChangeBaud", "ChangePassword", "ClearEvents", "ClearMeter",
    "Control", "ControlAnswer", "ControlRequest", "Device", "DeviceEvent", "DeviceRequest", "Freeze", "FreezeRequest", "Master",
    "OtherRequest", "OutputRequest", "PasswordRequest", "Read", "ReadAddress", "ReadAnswer", "ReadRequest", "Request",
    "ResetDemand", "ResetRequest", "SealedControl", "SealedControlRequest", "Secure", "SecureAnswer", "SecureRequest",
    "SetTimeBroadcast", "SwitchOutput", "Write", "WriteAddress", "WriteAddressRequest", "WriteAnswer", "WriteRequest",
    "decode_time", "encode_time", "error_code", "split_authority",
]  # fmt: skip


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
        raw = request_frame(request).encode(self._wakeup)
        self._owed |= self._request is not None
        self._reset()
        if silent(request):
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
        if frame.from_meter and self._request is not None and matches(asked(self._request), frame.address):
            self._owed = False
        return Ignored(why, frame.encode()) if why else self._accept(frame)

    def _foreign(self, frame: Frame) -> str:
        """Why this frame is not the answer to the running request; '' if it is."""
        request = self._request
        if request is None:
            return "unasked"
        to = asked(request)
        function = FOLLOW if self._sequence else FUNCTIONS[type(request)]
        why = ""
        if not frame.from_meter:
            why = "not from a meter (echo or another master)"
        elif not matches(to, frame.address):
            why = f"from {frame.address}, asked {to}"
        elif frame.function != function:
            why = f"function {frame.function:02X}H, asked {function:02X}H"
        elif isinstance(request, Read | Secure) and not frame.error:
            why = self._foreign_data(request, frame.data)
        return why

    def _foreign_data(self, request: Read | Secure, data: bytes) -> str:
        if len(data) < 4 + bool(self._sequence):
            raise FrameError(f"data: {len(data)} bytes are too short for an answer with DI", DATA)
        di = int.from_bytes(data[:4], "little")
        if di != request.di:
            return f"data {di:08X}, asked {request.di:08X}"
        if self._sequence and data[-1] != self._sequence:
            return f"follow-up {data[-1]}, asked {self._sequence}"
        return ""

    def _refuse(self, frame: Frame) -> None:
        code, names = error_code(frame)
        absent = isinstance(self._request, Read) and bool(code & NO_DATA)
        if self._sequence or self._owed:
            # A refused follow-up says nothing about the record: its beginning was delivered. And an error
            # names no DI, so while an abandoned request may still be answered late it proves nothing either.
            absent = False
        self._owed = False
        self._reset()
        raise Refused(f"meter {frame.address} refused: {', '.join(names)}", code=code, absent=absent)

    def _accept(self, frame: Frame) -> Event:
        if isinstance(self._request, Read):
            return self._accept_read(self._request, frame)
        assert self._request is not None
        value = _answer(self._request, frame)
        self._reset()
        return Answer(value)

    def _accept_read(self, request: Read, frame: Frame) -> Event:
        self._parts += frame.data[4:-1] if self._sequence else frame.data[4:]
        if not frame.more:
            answer = ReadAnswer(frame.address, request.di, bytes(self._parts))
            self._reset()
            return Answer(answer)
        if self._sequence == LAST_SEQUENCE:
            raise FrameError(f"follow-up: more than {LAST_SEQUENCE} frames announced", 8)
        self._sequence += 1
        data = request.di.to_bytes(4, "little") + bytes((self._sequence,))
        # SEQ says which part it is
        return Send(Frame(request.address, FOLLOW, data).encode(self._wakeup), again=True)


#: Where length and data begin in a frame without wake-up bytes.
LENGTH, DATA = 9, 10
#: Functions whose refusal may be a word of two bytes.
_ERROR_WORDS = {CONTROL: CONTROL_ERROR_BITS, SECURITY: SECURITY_ERROR_BITS}


def _answer(request: Request, frame: Frame) -> object:
    """The value of a normal answer that is not a read's. FrameError if its data are not shaped as they must."""
    data = frame.data
    match request:
        case ReadAddress():
            if data != encode_address(frame.address):
                raise FrameError(f"address: data {data.hex()} differ from the frame's {frame.address}", DATA)
            return frame.address
        case Control() | SealedControl():
            if len(data) not in (0, 2):
                raise FrameError(f"control answer: {len(data)} bytes, 0 or 2 are allowed", LENGTH)
            return ControlAnswer(frame.address, int.from_bytes(data, "little") if data else None)
        case Secure(_, di):
            return SecureAnswer(frame.address, di, data[4:])
        case ChangeBaud():
            if len(data) != 1:
                raise FrameError(f"baud answer: {len(data)} bytes, 1 is needed", LENGTH)
            return BaudAnswer(frame.address, baud_rate(data[0]))
        case _:
            return WriteAnswer(frame.address)


def error_code(frame: Frame) -> tuple[int, list[str]]:
    """Error code and its names: one byte, or the two-byte word of 1CH and 03H."""
    size = len(frame.data)
    if size not in (1, 2):
        raise FrameError(f"error answer: {size} bytes, 1 or 2 are allowed", LENGTH)
    table = _ERROR_WORDS.get(frame.function, ERROR_BITS) if size == 2 else ERROR_BITS
    code = int.from_bytes(frame.data, "little")
    # Some meters send the error without the 33H; then what we subtracted shows as a nonsense of many bits.
    sent = int.from_bytes(bytes((b + OFFSET) & 0xFF for b in frame.data), "little")
    if code.bit_count() > 2 and sent.bit_count() == 1 and sent in table:
        code = sent
    return code, bit_names(code, table) or ["no reason given"]
