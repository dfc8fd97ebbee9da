"""Who may speak next: `Master` asks, `Device` is the meter's side, on a serial line ("rtu") or in TCP ("tcp").

One request at a time. In TCP the transaction number tells a late answer from the awaited one. RTU has no numbers, and the answer
to a read says neither where it begins nor when it was asked for, so an answer that would also fit a request given up earlier
is not believed: see Master.abandon.
"""

from __future__ import annotations

from typing import Final, Literal

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send, _Signal
from protocols.modbus import telling
from protocols.modbus.frame import Frame
from protocols.modbus.pdu import FAILED, IDENTIFY, MEI_IDENTIFY, exceptions
from protocols.modbus.requests import (
    Bits,
    Identify,
    Identity,
    ReadBits,
    ReadRegisters,
    ReadWriteRegisters,
    Registers,
    Request,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
    Written,
    function_of,
    parse_request,
    request_frame,
)
from protocols.modbus.rtu import frame as rtu
from protocols.modbus.tcp import frame as tcp

LineName = Literal["rtu", "tcp"]

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
#: Requests given up whose answers may still come. A half-duplex device has begun one and buffers hardly more than a second.
OWED_LIMIT: Final = 4
#: Pieces of one identification: 256 object ids, at least one a piece.
PIECES_LIMIT: Final = 256
BROADCAST: Final = 0


class Master:
    """The head-end's side: protocols.exchange.Exchange.

    An exception answer raises Refused with its code; `absent` for 02, which says that the device has no such register.
    """

    def __init__(self, line: LineName) -> None:
        self._tcp = line == "tcp"
        self._receiver: rtu.Receiver | tcp.Receiver = (
            tcp.Receiver() if self._tcp else rtu.Receiver("answer", self._expects)
        )
        self._request: Request | None = None
        self._asked: Request | None = None  # what went out last: the request, or a later piece of it
        self._corrupt = self._silent = False
        self._owed: list[Request] = []
        self._transaction = 0
        self._objects: dict[int, bytes] = {}
        self._pieces = 0

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._receiver.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request. Misuse if one is outstanding (unless its answer came in corrupt), or if it is none.

        To unit 0 of a serial line, which all hear and nobody answers, only writes go; they are done at once. -> Answer(None)
        """
        if (self._request is not None and not self._corrupt) or self._silent:
            raise Misuse("a request is outstanding")
        everybody = request.unit == BROADCAST and not self._tcp
        if everybody and not isinstance(request, WriteCoil | WriteRegister | WriteCoils | WriteRegisters):
            raise Misuse("a read to unit 0 is answered by nobody")
        if not self._tcp and request.unit > rtu.LAST_UNIT:
            raise Misuse(f"unit: {request.unit} is reserved on a serial line")
        raw = self._encode(request)
        if self._request is not None:
            self._owe()
        self._reset()
        self._silent = everybody
        self._request = self._asked = None if everybody else request
        return raw

    def receive_data(self, data: bytes) -> None:
        self._receiver.feed(data)

    def abandon(self) -> None:
        """Give up waiting. The late answer comes out as Ignored.

        In RTU it is known only by its shape. While it may still come, an answer that fits the running request and equally the one
        given up is Ignored too, once for each: better to ask again than to take one register for another. The same request asked
        again is answered by either. `settled` ends this.
        """
        if self._request is not None:
            self._owe()
        self._reset()

    def settled(self) -> None:
        """The caller, who has the clock, knows that no late answer will come: the line was silent for longer than any device takes."""
        self._owed.clear()
        if isinstance(self._receiver, rtu.Receiver):
            self._receiver.clear()

    def next_event(self) -> Event:
        """FrameError: corrupt; the request stays open for a good frame behind it, or `send` anew."""
        if self._silent:
            self._silent = False
            return Answer(None)
        try:
            frame = self._receiver.next()
            return NEED_DATA if frame is None else self._judge(frame)
        except FrameError:
            self._corrupt = self._request is not None
            raise

    def _encode(self, request: Request) -> bytes:
        if not self._tcp:
            return rtu.encode(request_frame(request))
        self._transaction = (self._transaction + 1) & 0xFFFF
        return tcp.encode(request_frame(request, self._transaction))

    def _expects(self, unit: int, function: int) -> bool:
        """Whether a frame that begins so may be what is waited for."""
        asked = self._asked
        return asked is not None and unit == asked.unit and function & ~FAILED == function_of(asked)

    def _owe(self) -> None:
        if self._asked is not None and not self._tcp:
            self._owed = [*self._owed, self._asked][-OWED_LIMIT:]

    def _reset(self) -> None:
        self._request = self._asked = None
        self._corrupt = False
        self._objects, self._pieces = {}, 0

    def _judge(self, frame: Frame) -> Event:
        why = self._foreign(frame)
        if why:
            return Ignored(why, tcp.encode(frame) if self._tcp else rtu.encode(frame))
        self._paid()
        asked = self._asked
        assert asked is not None  # _foreign says so of anything that comes unasked
        if frame.failed:
            self._reset()
            code = frame.data[0]
            says = exceptions().get(code, (f"exception {code:02X}H", ""))[0]
            reads = isinstance(asked, ReadBits | ReadRegisters)
            raise Refused(
                f"unit {frame.unit} refused: {says}", code=code, absent=reads and code == ILLEGAL_ADDRESS
            )
        if isinstance(asked, Identify):
            return self._piece(asked, frame)
        self._reset()
        return Answer(_answer(asked, frame))

    def _foreign(self, frame: Frame) -> str:
        """Why this is not the answer; '' if it is."""
        asked = self._asked
        if asked is None:
            return "nothing is asked"
        if self._tcp and frame.transaction != self._transaction:
            return f"transaction {frame.transaction}, asked {self._transaction}"
        if frame.unit != asked.unit:
            return f"from unit {frame.unit}, asked {asked.unit}"
        why = _misfit(asked, frame)
        if not why:
            for owed in self._owed:
                if owed != asked and owed.unit == frame.unit and not _misfit(owed, frame):
                    self._owed.remove(owed)
                    return "may be the late answer to a request given up"
        return why

    def _paid(self) -> None:
        """A device answers in turn: what it owed before this it will not send any more, unless this was the late one itself."""
        asked = self._asked
        assert asked is not None
        twice = asked in self._owed
        self._owed = [owed for owed in self._owed if owed.unit != asked.unit] + [asked] * twice

    def _piece(self, asked: Identify, frame: Frame) -> Event:
        for code, text, _ in telling.objects(frame.data):
            self._objects[code] = text
        self._pieces += 1
        more, following = frame.data[3], frame.data[4]
        if not more or asked.code == 4:
            found = Identity(frame.unit, dict(self._objects))
            self._reset()
            return Answer(found)
        if self._pieces >= PIECES_LIMIT or following in self._objects:
            raise FrameError(f"next object: {following:02X}H was told already", 7 + 6 if self._tcp else 6)
        self._asked = Identify(asked.unit, asked.code, following)
        return Send(self._encode(self._asked))


def _misfit(asked: Request, frame: Frame) -> str:  # noqa: PLR0911 - one reason a line
    """Why a frame of the unit that was asked does not answer this request; '' if it does."""
    function, data = function_of(asked), frame.data
    if frame.function & ~FAILED != function:
        return f"function {frame.function:02X}H, asked {function:02X}H"
    if frame.failed:
        return ""
    if "answer" not in frame.readings:
        return "a request: an echo, or another master"
    match asked:
        case ReadBits():
            size = (asked.count + 7) // 8
            return "" if data[0] == size else f"{data[0]} bytes, asked {size}"
        case ReadRegisters() | ReadWriteRegisters():
            size = 2 * asked.count
            return "" if data[0] == size else f"{data[0]} bytes, asked {size}"
        case Identify():
            same = (
                data[0] == MEI_IDENTIFY
                and data[1] == asked.code
                and (asked.code != 4 or data[6:7] == bytes((asked.object_id,)))
            )
            return "" if same else "another identification than was asked"
        case _:
            return (
                "" if data == request_frame(asked).data[:4] else "another address or value than was written"
            )


def _answer(asked: Request, frame: Frame) -> object:
    match asked:
        case ReadBits():
            return Bits(frame.unit, asked.address, tuple(telling.bits(frame.data[1:])[: asked.count]))
        case ReadRegisters() | ReadWriteRegisters():
            return Registers(frame.unit, frame.function, asked.address, frame.data[1:])
        case WriteCoils():
            return Written(frame.unit, asked.address, len(asked.on))
        case WriteRegisters():
            return Written(frame.unit, asked.address, len(asked.values))
    return Written(frame.unit, asked.address) if not isinstance(asked, Identify) else None


DeviceEvent = Request | Send | Literal[_Signal.NEED_DATA]


class Device:
    """A meter: feed it what is on the line, drain `next_event`, write what Send, `answer_*` and `refuse` give.

    Corrupt frames it counts and lets pass in silence, as a meter does. A function it does not know it refuses by itself (Send).
    In TCP unit 255 is heard too: it means the device itself where no gateway stands between (Guide V1.0b, 4.4.2.1 K).
    """

    def __init__(self, unit: int, line: LineName) -> None:
        if not 1 <= unit <= rtu.LAST_UNIT:
            raise Misuse(f"unit: {unit} is not 1 to {rtu.LAST_UNIT}")
        self.unit = unit
        self.corrupt = 0
        self._tcp = line == "tcp"
        self._receiver: rtu.Receiver | tcp.Receiver = (
            tcp.Receiver() if self._tcp else rtu.Receiver(None, self._hears)
        )
        self._frame: Frame | None = None

    def receive_data(self, data: bytes) -> None:
        self._receiver.feed(data)

    def next_event(self) -> DeviceEvent:
        """A request to answer or refuse, a Send to write at once, or NEED_DATA."""
        while True:
            try:
                frame = self._receiver.next()
            except FrameError:
                self.corrupt += 1
                continue
            if frame is None:
                return NEED_DATA
            if not self._hears(frame.unit, frame.function) or "request" not in frame.readings:
                continue
            self._frame = frame
            request = parse_request(frame)
            if request is not None:
                return request
            raw = self.refuse(ILLEGAL_FUNCTION)
            if raw:
                return Send(raw)

    def _hears(self, unit: int, _function: int) -> bool:
        return unit in (self.unit, BROADCAST) or (self._tcp and unit == 0xFF)

    def answer_registers(self, data: bytes) -> bytes:
        """The answer to 03, 04, 17H: registers as they go out. b'' where nobody answers. Misuse if they are not those asked for."""
        frame, request = self._take()
        if not isinstance(request, ReadRegisters | ReadWriteRegisters) or len(data) != 2 * request.count:
            raise Misuse("registers: not what was asked for")
        return self._out(frame, frame.function, bytes((len(data),)) + data)

    def answer_bits(self, on: tuple[bool, ...]) -> bytes:
        """The answer to 01 and 02."""
        frame, request = self._take()
        if not isinstance(request, ReadBits) or len(on) != request.count:
            raise Misuse("bits: not what was asked for")
        packed = sum(bit << at for at, bit in enumerate(on)).to_bytes((len(on) + 7) // 8, "little")
        return self._out(frame, frame.function, bytes((len(packed),)) + packed)

    def answer_written(self) -> bytes:
        """The answer to 05, 06, 0FH, 10H. b'' after a broadcast."""
        frame, request = self._take()
        if not isinstance(request, WriteCoil | WriteRegister | WriteCoils | WriteRegisters):
            raise Misuse("nothing was written")
        return self._out(frame, frame.function, frame.data[:4])

    def answer_identity(self, objects: dict[int, bytes]) -> bytes:
        """The answer to 2BH/0EH: as many of these objects, from the one asked for on, as fit one frame; the master asks for the rest."""
        frame, request = self._take()
        if not isinstance(request, Identify):
            raise Misuse("the identity was not asked for")
        mine = sorted(code for code in objects if code >= request.object_id)
        if request.code == 4:
            mine = [code for code in mine if code == request.object_id]
        body, number, following = b"", 0, 0
        for code in mine:
            text = objects[code]
            if 7 + len(body) + 2 + len(text) > 253:
                following = code
                break
            body += bytes((code, len(text))) + text
            number += 1
        if not number:
            return self._out(frame, frame.function | FAILED, bytes((ILLEGAL_ADDRESS,)))
        head = bytes((0x0E, request.code, 0x83, 0xFF if following else 0, following, number))
        return self._out(frame, IDENTIFY, head + body)

    def refuse(self, code: int) -> bytes:
        """The exception answer to the last request; b'' after a broadcast."""
        frame, _ = self._take()
        return self._out(frame, frame.function | FAILED, bytes((code,)))

    def _take(self) -> tuple[Frame, Request | None]:
        frame, self._frame = self._frame, None
        if frame is None:
            raise Misuse("nothing was asked")
        return frame, parse_request(frame)

    def _out(self, asked: Frame, function: int, data: bytes) -> bytes:
        if asked.unit == BROADCAST and not self._tcp:
            return b""
        frame = Frame(asked.unit, function, data, asked.transaction)
        return tcp.encode(frame) if self._tcp else rtu.encode(frame)
