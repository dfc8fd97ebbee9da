"""Who may speak next between master and terminal: `Master` asks, `Device` is the terminal's side.

One request at a time. An answer may come in several frames (FIR, FIN, RSEQ counting up), whose data units are read
together; a frame with CON = 1 is confirmed by a Send before anything else. What a terminal begins by itself (PRM = 1: login,
heartbeat, reports) is confirmed too and handed out as Ignored, with its bytes: it is never the answer to a request.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send, _Signal
from protocols.gdw376.frame import (
    ACD,
    BODY_AT,
    BUFFER_LIMIT,
    CONFIRM,
    FINAL,
    FIRST,
    LENGTH_LIMIT,
    PRIMARY,
    TPV,
    UPLINK,
    WITH_PW,
    Address,
    Frame,
    Tp,
    find,
    stamp,
)
from protocols.gdw376.requests import (
    Ask,
    Forward,
    Order,
    Part,
    Read,
    ReadCurve,
    ReadEvents,
    ReadFrozen,
    Request,
)
from protocols.gdw376.units import SIZE, Ident, ident, idents
from protocols.gdw376.values import Typed, Unit, decode_units, encode
from protocols.gdw376.words import (
    AFN_NAMES,
    CONFIRM_ALL,
    CONFIRMED,
    DENY_ALL,
    HEARTBEAT,
    LINK_STATE,
    LINK_TEST,
    LOGIN,
    LOGOUT,
    NO_DATA,
    ONE_BY_ONE,
    REQUEST_2,
    REQUEST_FUNCTION,
    SEND,
    USER_DATA,
    result_name,
)

__all__ = [
    "ANSWER_BYTES",
    "ANSWER_LIMIT",
    "PIECE_LIMIT",
    "Ask",
    "Confirmation",
    "Confirmed",
    "Device",
    "DeviceRequest",
    "Forward",
    "Master",
    "Order",
    "Part",
    "Read",
    "ReadCurve",
    "ReadEvents",
    "ReadFrozen",
    "Reply",
    "Request",
    "confirmation",
    "join",
]  # fmt: skip

#: Frames of one answer: 64 times a whole cycle of RSEQ, more than any terminal has memory for.
ANSWER_LIMIT: Final = 1024
#: Bytes of data units in one answer: five times all 2040 points of a terminal with their registers, and no more memory than that.
ANSWER_BYTES: Final = 1 << 20
#: User data of one of the device's frames: what modems and carrier modules of the field pass in one piece.
PIECE_LIMIT: Final = 1024

#: Where SEQ stands in a frame.
_SEQ_AT: Final = BODY_AT - 1

# --- what it gets ---


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, its frames joined. ec: (EC1, EC2) where the terminal says that events wait for the master.

    missing: (point, function) that were asked for and are not among the units. A terminal leaves out what it has not got, and fills
    with EE what it has only in part (Unit.empty): both say that the terminal has no such record now, neither that the meter has
    none, for a terminal reads its meters anew.
    """

    address: Address
    afn: int
    units: tuple[Unit, ...]
    ec: tuple[int, int] | None = None
    missing: tuple[tuple[int, int], ...] = ()

    def content(self) -> bytes:
        """What an AFN 10 answer carries: a frame of another protocol, b'' where the meter was silent."""
        for unit in self.units:
            for value in unit.values:
                if value.name == "content" and isinstance(value.value, bytes):
                    return value.value
        return b""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The terminal took the order."""

    address: Address


class Master:
    """The head-end's side: protocols.exchange.Exchange. `counter`: where PFC begins, 0-255.

    `absent`: result codes of AFN 00 F3 by which this make of terminal says that it has no such record. None by default: the standard
    knows 0, correct, and 1, any error, so a denial proves nothing.
    """

    def __init__(self, counter: int = 0, *, absent: Collection[int] = ()) -> None:
        self._absent = frozenset(absent)
        self._pfc = counter & 0xFF
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._request: Request | None = None
        self._pairs: frozenset[tuple[int, int]] = frozenset()
        self._number = 0
        self._corrupt = False
        self._parts: list[Frame] = []
        self._queue: deque[Event] = deque()

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._buffer.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request. Misuse if one is outstanding, unless its answer came in corrupt."""
        if self._request is not None and not self._corrupt:
            raise Misuse("a request is outstanding")
        frame = _request_frame(request, self._pfc)
        raw = frame.encode()
        self.abandon()
        self._number = frame.number
        self._pfc = (self._pfc + 1) & 0xFF
        if request.address.group:
            self._queue.append(Answer(None))  # nobody answers a group
        else:
            self._request = request
            parts = _parts(request)[1]
            self._pairs = frozenset(pair for part in parts for pair in part[0].pairs())
        return raw

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def abandon(self) -> None:
        """Forget the running request. Its late answer is Ignored: it carries another RSEQ."""
        self._request = None
        self._corrupt = False
        self._parts.clear()

    def next_event(self) -> Event:
        """FrameError: corrupt; the request stays open for a good frame behind it, or `send` anew. Refused: denied."""
        while not self._queue:
            try:
                frame = find(self._buffer)
                if frame is None:
                    return NEED_DATA
                self._take(frame)
            except FrameError:
                self._corrupt = True
                raise
        return self._queue.popleft()

    def _take(self, frame: Frame) -> None:
        """Queue what the frame means: its confirmation first, nothing for a part of an answer."""
        if frame.uplink and frame.confirm:
            self._queue.append(Send(confirmation(frame).encode()))
        why = self._foreign(frame)
        event = Ignored(why, frame.encode()) if why else self._accept(frame)
        if event is not NEED_DATA:
            self._queue.append(event)

    def _foreign(self, frame: Frame) -> str:
        """Why this frame is not (a part of) the answer to the running request; '' if it is."""
        request = self._request
        why = ""
        if not frame.uplink:
            why = "not from a terminal (echo or another master)"
        elif frame.primary:
            why = f"begun by the terminal: {_what(frame)}"
        elif request is None:
            why = "unasked"
        elif frame.address != request.address:
            why = f"from {frame.address.text} to master {frame.address.master}, asked {request.address.text}"
        elif frame.afn not in _answers(request):
            why = f"AFN {frame.afn:02X}, asked {_parts(request)[0]:02X}"
        elif frame.number != self._next_number() and not self._begins_again(frame):
            why = self._out_of_turn(frame)
        elif frame.afn == _parts(request)[0] and not self._parts:
            why = self._unasked(frame)
        return why

    def _unasked(self, frame: Frame) -> str:
        """An answer's first unit must be one of those asked for, where single ones were."""
        pair = next(Ident(frame.body[:SIZE]).pairs(), None) if len(frame.body) >= SIZE else None
        if pair is None or not self._pairs or pair in self._pairs:
            return ""
        return f"p{pair[0]} F{pair[1]}, which was not asked"

    def _next_number(self) -> int:
        return (self._number + len(self._parts)) & 0x0F

    def _begins_again(self, frame: Frame) -> bool:
        return bool(self._parts) and frame.first and frame.number == self._number

    def _out_of_turn(self, frame: Frame) -> str:
        """A frame with another number: stale, repeated, or proof that one before it was lost."""
        if not self._parts:
            return f"RSEQ {frame.number}, asked {self._number}"
        last = self._parts[-1]
        if frame.number == last.number and frame.body == last.body:
            return "repeated"
        raise FrameError(
            f"RSEQ: {frame.number} after {last.number}, a frame of the answer is missing", offset=_SEQ_AT
        )

    def _accept(self, frame: Frame) -> Event:
        request = self._request
        if frame.afn == 0x00 or request is None:
            return self._confirmed(frame)
        if frame.first:
            self._parts.clear()
        elif not self._parts and not frame.final:
            raise FrameError(f"SEQ: {frame.seq:02X}H, the answer begins in its middle", offset=_SEQ_AT)
        # FIR = 0 and FIN = 1 at the beginning: some terminals send single frames so.
        self._parts.append(frame)
        if len(self._parts) > ANSWER_LIMIT:
            self._parts.clear()
            raise FrameError(f"SEQ: more than {ANSWER_LIMIT} frames in one answer", offset=_SEQ_AT)
        if sum(len(part.body) for part in self._parts) > ANSWER_BYTES:
            self._parts.clear()
            raise FrameError(f"data units: more than {ANSWER_BYTES} bytes in one answer", offset=BODY_AT)
        if not frame.final:
            return NEED_DATA
        units = join(self._parts)
        told = {(unit.point, unit.function) for unit in units if unit.known}
        missing = tuple(sorted(self._pairs - told)) if frame.afn == _parts(request)[0] else ()
        reply = Reply(frame.address, frame.afn, units, frame.ec, missing)
        self.abandon()
        return Answer(reply)

    def _confirmed(self, frame: Frame) -> Event:
        """AFN 00: taken, denied, or one by one."""
        results = _results(frame)
        request = self._request
        if request is None or results is None:
            raise FrameError("AFN 00: neither F1, F2 nor F3", offset=BODY_AT)
        asked = _parts(request)[0]
        afn, codes = results
        if afn not in (None, asked):
            return Ignored(f"confirms AFN {afn:02X}, asked {asked:02X}", frame.encode())
        bad = [code for _, code in codes if code]
        if bad:
            self.abandon()
            # No proof of absence by itself: a terminal that has not read its meter yet denies in the same words.
            absent = all(code in self._absent for code in bad) and results[0] is not None
            shown = (
                ", ".join(f"p{list(i.points)} F{list(i.functions)} {result_name(c)}" for i, c in codes)
                or "all denied"
            )
            raise Refused(
                f"terminal {frame.address.text} refused AFN {asked:02X}: {shown}", code=bad[0], absent=absent
            )
        if not isinstance(request, Order):
            return Ignored("confirmed, but it carries no data", frame.encode())
        self.abandon()
        return Answer(Confirmed(frame.address))


def join(frames: Sequence[Frame]) -> tuple[Unit, ...]:
    """The data units of an answer's frames. Each frame has its own, or goes on where the one before broke off."""
    apart = [unit for frame in frames for unit in decode_units(frame.afn, frame.body, uplink=frame.uplink)]
    if len(frames) > 1 and not all(unit.known for unit in apart):
        body = b"".join(frame.body for frame in frames)
        whole = decode_units(frames[0].afn, body, uplink=frames[0].uplink)
        if all(unit.known for unit in whole):
            return whole
    return tuple(apart)


def confirmation(frame: Frame) -> Frame:
    """The master's AFN 00 F1 to a frame with CON = 1: PRM 0, its number, its address."""
    function = LINK_STATE if frame.afn == 0x02 else CONFIRMED
    body = ident([0], [CONFIRM_ALL]).raw
    return Frame(frame.address, function, 0x00, FIRST | FINAL | frame.number, body, protocol=frame.protocol)


def _what(frame: Frame) -> str:
    named = {LOGIN: "login", LOGOUT: "logout", HEARTBEAT: "heartbeat"}
    if frame.afn == 0x02 and len(frame.body) >= SIZE:
        functions = Ident(frame.body[:SIZE]).functions
        return named.get(functions[0], "link test") if functions else "link test"
    return AFN_NAMES.get(frame.afn, (f"AFN {frame.afn:02X}", ""))[0]


def _results(frame: Frame) -> tuple[int | None, list[tuple[Ident, int]]] | None:
    """AFN 00 -> (the AFN it speaks of, where it says so; identifier and result), None if it is none of the three."""
    units = decode_units(frame.afn, frame.body, uplink=frame.uplink)
    function = units[0].function if units else -1
    if function == CONFIRM_ALL:
        return None, []
    if function == DENY_ALL:
        return None, [(ident([0], [DENY_ALL]), DENY_ALL)]
    if function != ONE_BY_ONE or not units[0].known:
        return None
    values = [value.value for value in units[0].values]
    codes = [
        (asked, code)
        for asked, code in zip(values[1::2], values[2::2], strict=True)
        if isinstance(asked, Ident) and isinstance(code, int)
    ]
    return (values[0] if isinstance(values[0], int) else None), codes


def _answers(request: Request) -> tuple[int, ...]:
    """The AFN an answer may have."""
    afn = _parts(request)[0]
    if isinstance(request, Order):
        return (0x00,)
    return (0x00, 0x0C, 0x0D) if afn == 0x0B else (0x00, afn)


def _parts(request: Request) -> tuple[int, tuple[Part, ...]]:
    """AFN and data units of a request."""
    match request:
        case Read(afn=afn, data=data):
            return afn, _every(request.points, request.functions, data)
        case ReadFrozen(month=month, day=day):
            value: Typed = f"{day.year}-{day.month:02d}" if month else day
            function = request.functions[0] if request.functions else 0
            return 0x0D, _every(
                request.points, request.functions, encode(0x0D, function, [value], uplink=False)
            )
        case ReadCurve(start=start, density=density, count=count):
            function = request.functions[0] if request.functions else 0
            tag = encode(0x0D, function, [start, density, count], uplink=False)
            return 0x0D, _every(request.points, request.functions, tag)
        case ReadEvents(first=first, last=last, important=important):
            return 0x0E, ((ident([0], [1 if important else 2]), [bytes((first & 0xFF, last & 0xFF))]),)
        case Forward():
            values: list[Typed] = [
                request.port,
                request.control_word,
                request.message_timeout,
                request.byte_timeout,
            ]
            data = encode(0x10, 1, [*values, len(request.frame), request.frame], uplink=False)
            return 0x10, ((ident([0], [1]), [data]),)
        case Order() | Ask():
            return request.afn, request.parts


def _every(points: Iterable[int], functions: Iterable[int], data: bytes) -> tuple[Part, ...]:
    """The same data for every pair."""
    return tuple((name, [data] * len(tuple(name.pairs()))) for name in idents(points, functions))


def _request_frame(request: Request, pfc: int) -> Frame:
    afn, parts = _parts(request)
    body = b"".join(name.raw + b"".join(data) for name, data in parts)
    pw = request.pw if isinstance(request, Order | Forward | Ask) and afn in WITH_PW else b""
    tp = Tp(pfc, stamp(request.stamp), request.delay) if request.stamp is not None else None
    seq = FIRST | FINAL | (TPV if tp else 0) | (pfc & 0x0F)
    control = PRIMARY | REQUEST_FUNCTION.get(afn, REQUEST_2)
    return Frame(request.address, control, afn, seq, body, pw, None, tp)


# --- the terminal's side ---


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What the master wants: answer with `Device.answer`, `confirm`, `deny` or `results`. Not for groups."""

    frame: Frame
    units: tuple[Unit, ...]

    @property
    def afn(self) -> int:
        return self.frame.afn


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The master confirmed (or denied) the frame that this terminal sent with this number."""

    number: int
    ok: bool


DeviceEvent = DeviceRequest | Confirmation | Literal[_Signal.NEED_DATA]


class Device:
    """A terminal: feed it what the master sends, drain `next_event`, write what its other methods return.

    `waiting`: (EC1, EC2) while events wait for the master (ACD = 1 in every frame), else None. `limit`: bytes of data units in
    one frame of an answer, where they can be parted.
    """

    def __init__(self, address: Address, *, counter: int = 0, limit: int = PIECE_LIMIT) -> None:
        address.encode()
        self.address = address
        self.limit = limit
        self.waiting: tuple[int, int] | None = None
        self.corrupt = 0
        self.late = 0
        self._pfc = counter & 0xFF
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._asked: Frame | None = None

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next_event(self, now: dt.datetime | None = None) -> DeviceEvent:
        """A request, a confirmation, or NEED_DATA.

        Corrupt frames are counted (`corrupt`) and pass in silence, as terminals do; so are those whose Tp has expired at local civil
        time `now` (`late`). Without `now` none expires.
        """
        while True:
            try:
                frame = find(self._buffer)
            except FrameError:
                self.corrupt += 1
                continue
            if frame is None:
                return NEED_DATA
            if frame.uplink or not frame.address.is_for(self.address):
                continue
            if now is not None and frame.tp is not None and frame.tp.expired(now):
                self.late += 1
                continue
            if not frame.primary:
                results = _results(frame) if frame.afn == 0x00 else None
                if results is not None:
                    return Confirmation(frame.number, not any(code for _, code in results[1]))
                continue
            self._asked = frame
            return DeviceRequest(frame, decode_units(frame.afn, frame.body, uplink=False))

    def answer(self, parts: Iterable[Part], *, afn: int | None = None, confirm: bool = False) -> bytes:
        """The frames of the answer to the last request, as many as its units need. b'' to a group.

        A point or function that the terminal does not have is left out of the identifiers. `confirm`: sets CON.
        """
        asked = self._take()
        if asked.address.group:
            return b""
        bodies = _pieces(parts, self.limit)
        frames = []
        for number, body in enumerate(bodies):
            seq = (FIRST if number == 0 else 0) | (FINAL if number == len(bodies) - 1 else 0)
            seq |= (CONFIRM if confirm else 0) | (asked.number + number & 0x0F)
            frames.append(self._frame(asked, USER_DATA, asked.afn if afn is None else afn, seq, body))
        return b"".join(frame.encode() for frame in frames)

    def confirm(self) -> bytes:
        """AFN 00 F1 to the last request; b'' to a group."""
        return self._simple(CONFIRMED, ident([0], [CONFIRM_ALL]).raw)

    def deny(self) -> bytes:
        """AFN 00 F2 to the last request; b'' to a group."""
        return self._simple(NO_DATA, ident([0], [DENY_ALL]).raw)

    def results(self, codes: Sequence[tuple[Ident, int]]) -> bytes:
        """AFN 00 F3 to the last request: a result for each identifier, 0 = correct; b'' to a group."""
        asked = self._asked
        values: list[Typed] = [asked.afn if asked else 0]
        for name, code in codes:
            values += [name, code]
        function = NO_DATA if any(code for _, code in codes) else CONFIRMED
        return self._simple(function, ident([0], [ONE_BY_ONE]).raw + encode(0x00, ONE_BY_ONE, values))

    def login(self) -> bytes:
        """AFN 02 F1, to be confirmed."""
        return self._begin(0x02, LINK_TEST, ident([0], [LOGIN]).raw)

    def logout(self) -> bytes:
        """AFN 02 F2, to be confirmed."""
        return self._begin(0x02, LINK_TEST, ident([0], [LOGOUT]).raw)

    def heartbeat(self, clock: bytes = b"") -> bytes:
        """AFN 02 F3, to be confirmed. `clock`: some vendors add A.1."""
        return self._begin(0x02, LINK_TEST, ident([0], [HEARTBEAT]).raw + clock)

    def report(self, afn: int, parts: Iterable[Part]) -> bytes:
        """What the terminal sends by itself (events 0E, tasks 0C and 0D), to be confirmed. Misuse if it needs two frames."""
        bodies = _pieces(parts, LENGTH_LIMIT // 2)
        if len(bodies) != 1:
            raise Misuse(f"report: {len(bodies)} frames are needed, 1 is allowed")
        return self._begin(afn, SEND, bodies[0])

    def _take(self) -> Frame:
        asked, self._asked = self._asked, None
        if asked is None:
            raise Misuse("nothing was asked")
        return asked

    def _simple(self, function: int, body: bytes) -> bytes:
        asked = self._take()
        if asked.address.group:
            return b""
        return self._frame(asked, function, 0x00, FIRST | FINAL | asked.number, body).encode()

    def _frame(self, asked: Frame, function: int, afn: int, seq: int, body: bytes) -> Frame:
        """An answer: MSA and Tp are echoed."""
        address = Address(self.address.region, self.address.terminal, asked.address.master)
        control = UPLINK | function | (ACD if self.waiting else 0)
        seq |= TPV if asked.tp else 0
        return Frame(address, control, afn, seq, body, b"", self.waiting, asked.tp, asked.protocol)

    def _begin(self, afn: int, function: int, body: bytes) -> bytes:
        control = UPLINK | PRIMARY | function | (ACD if self.waiting else 0)
        seq = FIRST | FINAL | CONFIRM | (self._pfc & 0x0F)
        self._pfc = (self._pfc + 1) & 0xFF
        return Frame(self.address, control, afn, seq, body, ec=self.waiting).encode()


def _pieces(parts: Iterable[Part], limit: int) -> list[bytes]:
    """Data units packed into as few bodies as `limit` allows; a single unit is never cut."""
    bodies = [bytearray()]
    for name, data in parts:
        for (point, function), one in zip(name.pairs(), data, strict=True):
            unit = ident([point], [function]).raw + one
            if bodies[-1] and len(bodies[-1]) + len(unit) > limit:
                bodies.append(bytearray())
            bodies[-1] += unit
    return [bytes(body) for body in bodies]
