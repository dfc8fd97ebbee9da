"""Who may speak next on an IEC 62056-21 line: `Reader` asks, `Meter` is the tariff device. Modes A, B and C.

    reader                      meter                       at
    /?address!                                              300
                                /XXXZident                  300
    (mode C) ACK 0 Z Y                                      300
                                data block (Y = 0)          Z
                                P0 challenge (Y = 1)        Z
    P1 password, R1.., W1..     ACK, data block, NAK        Z
    B0                                                      back to 300

Both sides are tables: state × what happens -> state. What is not in a table is a Misuse of ours or, from the other side,
Ignored. The line's speed is the caller's: `ChangeBaud` says when, and how long to be silent before the next character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send, _Signal
from protocols.iec62056_21.frame import (
    BAUD_B,
    BAUD_C,
    BUFFER_LIMIT,
    INITIAL_RATE,
    Ack,
    Block,
    Command,
    Frame,
    Identification,
    Nak,
    Receiver,
    Request,
    Select,
    with_parity,
)
from protocols.iec62056_21.values import DataSet, parse

#: How often one message is asked for or sent again: a line that spoils it so often needs a person.
MOST_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class ChangeBaud:
    """Set the line to `rate` bit/s once everything sent so far has left; the next character comes `pause_ms` later at the
    earliest, 1500 ms at the latest.
    """

    rate: int
    pause_ms: int


# --- what a reader may ask ---


@dataclass(frozen=True, slots=True)
class SignOn:
    """`programming`: a session for the requests below; else the data readout. -> ReadoutAnswer or Session

    `highest`: bit/s that the reading head can do; the meter's proposal is cut down to it (mode C).
    """

    address: str = ""
    programming: bool = False
    highest: int = 19200


@dataclass(frozen=True, slots=True)
class Password:
    """P1, or P2 with the answer to the challenge. -> None"""

    password: str = field(repr=False)
    level: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """R1 (R2, R5, R6): ID(operand). A load profile: R5, 'P.01', 'from;to'. -> tuple of DataSets, partial blocks joined"""

    id: str
    operand: str = ""
    command: str = "R1"


@dataclass(frozen=True, slots=True)
class Write:
    """W1 (W2, W5): ID(value). -> None"""

    id: str
    value: str = field(repr=False)
    command: str = "W1"


@dataclass(frozen=True, slots=True)
class Execute:
    """E2: ID(operand). -> None"""

    id: str
    operand: str = ""


@dataclass(frozen=True, slots=True)
class Break:
    """B0: the session ends, nobody answers. -> None"""


ReaderRequest = SignOn | Password | Read | Write | Execute | Break


@dataclass(frozen=True, slots=True)
class ReadoutAnswer:
    """`checked` False: the meter sent it without a block check (mode A)."""

    identification: Identification
    sets: tuple[DataSet, ...]
    checked: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """`challenge`: the text of P0, which a P2 password is derived from."""

    identification: Identification
    challenge: bytes = field(repr=False)


class State(Enum):
    IDLE = "idle"
    SIGNED_ON = "waiting for the identification"
    READING = "waiting for the readout"
    WELCOME = "waiting for P0"
    SESSION = "in a session"
    ASKED = "waiting for data"
    TOLD = "waiting for ACK"


#: (state, what happens) -> state. Ours: a request's name. The meter's: a frame's name.
READER: Final[dict[tuple[State, str], State]] = {
    (State.IDLE, "SignOn"): State.SIGNED_ON,
    (State.SIGNED_ON, "identification"): State.READING,
    (State.SIGNED_ON, "identification, programming"): State.WELCOME,
    (State.READING, "Block"): State.IDLE,
    (State.READING, "partial"): State.READING,
    (State.WELCOME, "P0"): State.SESSION,
    (State.SESSION, "Password"): State.TOLD,
    (State.SESSION, "Read"): State.ASKED,
    (State.SESSION, "Write"): State.TOLD,
    (State.SESSION, "Execute"): State.TOLD,
    (State.SESSION, "Break"): State.IDLE,
    (State.TOLD, "Ack"): State.SESSION,
    (State.TOLD, "Block"): State.SESSION,
    (State.ASKED, "Block"): State.SESSION,
    (State.ASKED, "partial"): State.ASKED,
    # the meter may end the session, or ask for the last message again
    (State.WELCOME, "B0"): State.IDLE,
    (State.TOLD, "B0"): State.IDLE,
    (State.ASKED, "B0"): State.IDLE,
    (State.SIGNED_ON, "Nak"): State.SIGNED_ON,
    (State.READING, "Nak"): State.READING,
    (State.WELCOME, "Nak"): State.WELCOME,
    (State.TOLD, "Nak"): State.TOLD,
    (State.ASKED, "Nak"): State.ASKED,
}

ReaderEvent = Literal[_Signal.NEED_DATA] | Send | Answer | Ignored | ChangeBaud


def _heard(frame: Frame) -> str:
    """A frame's name in the tables."""
    if isinstance(frame, Command):
        return frame.name
    return "partial" if isinstance(frame, Block) and not frame.last else type(frame).__name__


class Reader:
    """The head-end's side, in the shape of protocols.exchange.Exchange with one more event, ChangeBaud.

    `parity`: send characters with their parity bits, for a line that is opened with eight bits.
    """

    def __init__(self, *, parity: bool = False) -> None:
        self.state = State.IDLE
        self._parity = parity
        self._receiver = Receiver(selects=False)
        self._events: list[Send | Answer | ChangeBaud] = []
        self._request: ReaderRequest | None = None
        self._identification = Identification("XXX", "0")
        self._sent = b""
        self._repeats = 0
        self._text = b""

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._receiver.skipped

    def send(self, request: ReaderRequest) -> bytes:
        """Begin a request. Misuse if one is outstanding or it is not its turn."""
        after = READER.get((self.state, type(request).__name__))
        if after is None or self._events:
            raise Misuse(f"{type(request).__name__} cannot be sent while {self.state.value}")
        raw = _request_frame(request).encode()
        self.state, self._request, self._text, self._repeats = after, request, b"", 0
        if isinstance(request, Break):
            self._finish(None)
            self._events.append(ChangeBaud(INITIAL_RATE, self._identification.reaction_ms))
        return self._out(raw)

    def receive_data(self, data: bytes) -> None:
        self._receiver.feed(data)

    def abandon(self) -> None:
        """The caller gave up waiting. The session, if there was one, is gone: begin with SignOn at 300 bit/s."""
        self.state, self._request = State.IDLE, None
        self._events.clear()
        self._receiver.plain = False

    def next_event(self) -> ReaderEvent:
        """FrameError: corrupt more often than it may be repeated, or where nothing repeats it; Refused: the meter said no."""
        if self._events:
            return self._events.pop(0)
        try:
            frame = self._receiver.next()
        except FrameError:
            if self.state not in (State.READING, State.ASKED) or self._repeats == MOST_REPEATS:
                raise
            self._repeats += 1
            return Send(self._raw(Nak().encode()))  # a block is asked for again; lines have no check to fail
        return NEED_DATA if frame is None else self._judge(frame)

    def _judge(self, frame: Frame) -> ReaderEvent:
        heard = _heard(frame)
        if isinstance(frame, Identification) and isinstance(self._request, SignOn):
            heard = "identification, programming" if self._request.programming else "identification"
        after = READER.get((self.state, heard))
        if after is None:
            return Ignored(f"{heard} while {self.state.value}", frame.encode())
        self.state = after
        if isinstance(frame, Identification):
            self._identified(frame)
        elif isinstance(frame, Nak):
            return self._repeat()
        elif isinstance(frame, Block):
            return self._block(frame)
        elif isinstance(frame, Command) and frame.name == "B0":
            self._request = None
            raise Refused("the meter ended the session", code=0)
        elif isinstance(frame, Command):
            self._finish(Session(self._identification, frame.text or b""))
        else:
            self._finish(None)
        return self.next_event()

    def _identified(self, frame: Identification) -> None:
        self._identification = frame
        assert isinstance(self._request, SignOn)
        request = self._request
        rate = frame.rate
        if frame.mode == "C":
            rate = max(
                known for known in BAUD_C.values() if known <= min(rate, max(request.highest, INITIAL_RATE))
            )
            baud = next(character for character, known in BAUD_C.items() if known == rate)
            self._events.append(Send(self._out(Select("0", baud, str(int(request.programming))).encode())))
        elif request.programming:  # modes A and B have no option select: the first command opens the session
            self.state = State.SESSION
        if rate != INITIAL_RATE:
            self._events.append(ChangeBaud(rate, frame.reaction_ms))
        self._receiver.plain = frame.mode == "A" and not request.programming
        if self.state is State.SESSION:
            self._finish(Session(frame, b""))

    def _repeat(self) -> ReaderEvent:
        if self._repeats == MOST_REPEATS:
            self.abandon()
            raise Refused(f"the meter asked {MOST_REPEATS + 1} times for the same message", code=0x15)
        self._repeats += 1
        return Send(self._sent)

    def _block(self, frame: Block) -> ReaderEvent:
        self._repeats = 0
        if not frame.text and not frame.last:
            raise FrameError("partial block: empty, so the answer would never end", 0)
        self._text += frame.text
        if len(self._text) > BUFFER_LIMIT:
            self.abandon()
            raise FrameError(f"answer: more than {BUFFER_LIMIT} characters in partial blocks", 0)
        if not frame.last:
            return Send(self._raw(Ack().encode()))
        request, self._request = self._request, None
        self._receiver.plain = False
        if (error := _ERROR.fullmatch(self._text)) and not isinstance(request, SignOn):
            raise Refused("the meter refused", code=int(error[1][:4] or b"0"))
        if isinstance(request, SignOn):
            return Answer(ReadoutAnswer(self._identification, tuple(parse(self._text)), not frame.plain))
        return Answer(tuple(parse(self._text)) if isinstance(request, Read) else None)

    def _finish(self, value: object) -> None:
        self._request = None
        self._events.append(Answer(value))

    def _out(self, raw: bytes) -> bytes:
        self._sent = self._raw(raw)
        return self._sent

    def _raw(self, raw: bytes) -> bytes:
        return with_parity(raw) if self._parity else raw


#: (ERROR), (ERR12), with or without a number.
_ERROR: Final = re.compile(rb"[^()]*\((?i:er)[^()0-9]*([0-9]*)[^()]*\)\s*")


def _request_frame(request: ReaderRequest) -> Request | Command:
    match request:
        case SignOn():
            return Request(request.address)
        case Password():
            if request.level not in (1, 2):
                raise Misuse("password: level 1 or 2 is needed")
            return Command(f"P{request.level}", _set("", request.password))
        case Read():
            return Command(request.command, _set(request.id, request.operand))
        case Write():
            return Command(request.command, _set(request.id, request.value))
        case Execute():
            return Command("E2", _set(request.id, request.operand))
        case Break():
            return Command("B0")


def _set(identifier: str, value: str) -> bytes:
    """ID(value). Misuse, never quoting the value, if a character cannot be sent."""
    if not (identifier + value).isascii() or re.search(r"[()\r\n]", identifier + value):
        raise Misuse("data set: brackets, line ends and non-ASCII characters cannot be sent")
    return f"{identifier}({value})".encode("ascii")


# --- the meter's side ---


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """`answer(text)` with the data sets, or `refuse()`."""

    id: str
    operand: str
    command: str


@dataclass(frozen=True, slots=True)
class PasswordRequest:
    """`answer()` takes it, `end()` or `refuse()` does not."""

    level: int
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """W.. or E2. `answer()` acknowledges, `refuse()` does not."""

    id: str
    value: str = field(repr=False)
    command: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """B0 came."""


class MeterState(Enum):
    IDLE = "idle"
    IDENTIFIED = "waiting for the option select"
    SESSION = "in a session"
    ASKED = "an answer is owed"


METER: Final[dict[tuple[MeterState, str], MeterState]] = {
    # a sign-on in a session comes from a reader that lost it
    **{
        (state, "Request"): MeterState.IDENTIFIED
        for state in (MeterState.IDLE, MeterState.IDENTIFIED, MeterState.SESSION)
    },
    (MeterState.IDENTIFIED, "Select 0"): MeterState.IDLE,
    (MeterState.IDENTIFIED, "Select 1"): MeterState.SESSION,
    **{(MeterState.SESSION, kind): MeterState.ASKED for kind in "PRWE"},
    (MeterState.SESSION, "Ack"): MeterState.SESSION,
    **{(state, "B"): MeterState.IDLE for state in (MeterState.IDENTIFIED, MeterState.SESSION)},
    **{(state, "Nak"): state for state in (MeterState.IDLE, MeterState.IDENTIFIED, MeterState.SESSION)},
}

MeterRequest = ReadRequest | PasswordRequest | WriteRequest | SessionEnded
MeterEvent = Literal[_Signal.NEED_DATA] | Send | ChangeBaud | MeterRequest


class Meter:
    """A tariff device: feed it what is on the line, drain `next_event`, write what Send, `answer`, `refuse`, `end` give.

    readout    the text of its data readout, lines of data sets and `!` CR LF
    challenge  the text of P0
    address    '' hears every sign-on; leading zeros do not count
    """

    def __init__(
        self, identification: Identification, readout: bytes, *, address: str = "", challenge: bytes = b"()"
    ) -> None:
        self.state = MeterState.IDLE
        self.corrupt = 0
        self._identification = identification
        self._readout = Block(readout, plain=identification.mode == "A")
        self._address = address
        self._challenge = challenge
        self._receiver = Receiver()
        self._events: list[MeterEvent] = []
        self._sent = b""
        self._repeats = 0

    def receive_data(self, data: bytes) -> None:
        self._receiver.feed(data)

    def next_event(self) -> MeterEvent:
        """A request to answer, a Send to write at once, a ChangeBaud, or NEED_DATA."""
        while not self._events:
            self._receiver.selects = self.state is MeterState.IDENTIFIED
            try:
                frame = self._receiver.next()
            except FrameError:
                self.corrupt += 1
                if self.state is MeterState.SESSION and self._repeats < MOST_REPEATS:
                    self._repeats += 1
                    return Send(Nak().encode())
                continue
            if frame is None:
                return NEED_DATA
            self._hear(frame)
        return self._events.pop(0)

    def _hear(self, frame: Frame) -> None:
        heard = _heard(frame)
        if isinstance(frame, Select):
            heard = f"Select {frame.mode}"
        elif isinstance(frame, Command):
            heard = frame.name[0]
        if isinstance(frame, Request) and not self._hears(frame.address):
            return
        after = METER.get((self.state, heard))
        if after is None:
            return
        self.state = after
        if isinstance(frame, Nak):
            self._again()
            return
        self._repeats = 0
        match frame:
            case Request():
                self._identify()
            case Select():
                self._selected(frame)
            case Command():
                self._command(frame)
            case _:
                pass

    def _hears(self, address: str) -> bool:
        return not address or address.lstrip("0") == self._address.lstrip("0")

    def _identify(self) -> None:
        mine = self._identification
        self._say(mine.encode())
        if mine.mode == "C":
            return
        self.state = MeterState.SESSION  # without an option select: commands may follow the readout
        if mine.mode == "B":
            self._events.append(ChangeBaud(BAUD_B[mine.baud], mine.reaction_ms))
        self._say(self._readout.encode())

    def _selected(self, frame: Select) -> None:
        rate = BAUD_C.get(frame.baud, INITIAL_RATE)
        pause = self._identification.reaction_ms
        if rate != INITIAL_RATE:
            self._events.append(ChangeBaud(rate, pause))
        if frame.mode == "1":
            self._say(Command("P0", self._challenge).encode())
            return
        self._say(self._readout.encode())
        if rate != INITIAL_RATE:
            self._events.append(ChangeBaud(INITIAL_RATE, pause))

    def _command(self, frame: Command) -> None:
        if frame.name == "B0":
            self._events += [SessionEnded(), ChangeBaud(INITIAL_RATE, self._identification.reaction_ms)]
            return
        try:
            found = parse(frame.text or b"")
        except FrameError:
            found = []
        if len(found) != 1:
            self.corrupt += 1
            self._say(self.refuse())
            return
        identifier, value = found[0].id, found[0].values[0].text
        if frame.name[0] == "P":
            self._events.append(PasswordRequest(int(frame.name[1]), value))
        elif frame.name[0] == "R":
            self._events.append(ReadRequest(identifier, value, frame.name))
        else:
            self._events.append(WriteRequest(identifier, value, frame.name))

    def _again(self) -> None:
        if self._repeats < MOST_REPEATS and self._sent:
            self._repeats += 1
            self._events.append(Send(self._sent))

    def answer(self, text: bytes = b"") -> bytes:
        """The data sets asked for, or an acknowledgement. Misuse if nothing was asked."""
        return self._answered(Block(text).encode() if text else Ack().encode())

    def refuse(self, reason: str = "ERROR") -> bytes:
        return self._answered(Block(f"({reason})".encode("ascii")).encode())

    def end(self) -> bytes:
        """B0: the meter ends the session, as after a wrong password."""
        raw = self._answered(Command("B0").encode())
        self.state = MeterState.IDLE
        return raw

    def _answered(self, raw: bytes) -> bytes:
        if self.state is not MeterState.ASKED:
            raise Misuse("nothing was asked")
        self.state = MeterState.SESSION
        self._sent = raw
        return raw

    def _say(self, raw: bytes) -> None:
        self._sent = raw
        self._events.append(Send(raw))
