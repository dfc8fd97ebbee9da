"""IEC 62056-21 messages: bytes <-> Frame, shape only (IEC 62056-21:2002, clause 6).

    sign-on         /?address!CR LF
    identification  /XXXZ\\W..ident CR LF         XXX manufacturer, Z baud character, \\W options of mode E
    option select   ACK V Z Y CR LF
    data block      STX text ETX BCC             EOT in place of ETX: more blocks follow
    command         SOH C D STX text ETX BCC     the break B0 has no STX and no text
    ACK, NAK        one character each

BCC is the exclusive or of everything behind the first SOH or STX up to and with ETX or EOT. Only blocks and commands have
one: a sign-on, an identification, an option select and the plain readout of mode A and of push meters (lines up to `!` CR LF
without STX) carry no check but the parity bits, so a changed character there goes unnoticed.

Characters are 7E1. Bytes come with their parity bits or stripped of them; a frame in which any byte has bit 7 set must have
even parity throughout.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

import numpy as np

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse

SOH: Final = 0x01
STX: Final = 0x02
ETX: Final = 0x03
EOT: Final = 0x04
ACK: Final = 0x06
NAK: Final = 0x15
CRLF: Final = b"\r\n"

#: A month of quarter hours in eight channels, some 80 characters a row, comes as one block of 240 KB.
BUFFER_LIMIT: Final = 256 * 1024
#: A sign-on has up to 37 characters, an identification up to 24 and its options; meters exceed the sixteen of `ident`.
LINE_LIMIT: Final = 80

#: Z of mode B and mode C -> bit/s; any other printable character but / and ! means mode A, 300 bit/s throughout.
BAUD_B: Final = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
BAUD_C: Final = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
#: Everything begins at this rate.
INITIAL_RATE: Final = 300

_STRIP: Final = bytes(byte & 0x7F for byte in range(256))
_EVEN: Final = bytes((byte & 0x7F) | (0x80 if (byte & 0x7F).bit_count() % 2 else 0) for byte in range(256))
_CONTROL: Final = re.compile(rb"[^\t\r\n\x20-\x7e]")
_REQUEST: Final = re.compile(rb"/\?([^/!\x00-\x1f\x7f]{0,32})!\r\n")
_IDENTIFICATION: Final = re.compile(rb"/([A-Za-z]{3})([^/!\x00-\x1f\x7f])((?:\\[^/!\x00-\x1f\x7f])*)([^/!\x00-\x1f\x7f]*)\r\n")  # fmt: skip
_SELECT: Final = re.compile(rb"\x06([0-9])([0-9A-Z])([0-9A-Z])\r\n")
_COMMAND: Final = re.compile(rb"\x01([A-Z][0-9])")
_STARTS: Final = re.compile(rb"[/\x01\x02\x06\x15]")
#: What may become a message, in a stream: whole so far as it has come. What fits none of these is noise.
_LINE: Final = rb"/(?:\?[^/!\x00-\x1f\x7f]{0,32}(?:!(?:\r\n|\r?\Z)|\Z)|[A-Za-z]{3}[^/!\x00-\x1f\x7f]{1,74}(?:\r\n|\r?\Z)|[A-Za-z]{0,3}\Z)"
_CANDIDATE: Final = re.compile(
    _LINE
    + rb"|\x01(?:[A-Z][0-9](?:[\x02-\x04]|\Z)|[A-Z]?\Z)|\x02(?:[\t\r\n\x20-\x7e]|\Z|\x03(?:\x03|\Z)|\x04(?:\x04|\Z))|[\x06\x15]"
)
_PLAIN_CANDIDATE: Final = re.compile(_CANDIDATE.pattern + rb"|[\x21-\x2e\x30-\x7e]")
#: The same behind something corrupt: a text is looked at up to its end, which is cheaper than to take it and fail.
_CREDIBLE: Final = re.compile(
    _LINE
    + rb"|\x01(?:[A-Z][0-9](?:\x02[\t\r\n\x20-\x7e]*)?(?:[\x03\x04]|\Z)|[A-Z]?\Z)|\x02[\t\r\n\x20-\x7e]*(?:[\x03\x04]|\Z)|[\x06\x15]"
)
_PLAIN_END: Final = re.compile(rb"!\r\n|[^\t\r\n\x20-\x7e]")
_LINE_IN_TEXT: Final = re.compile(rb"/(?:\?[^/!\r\n]*!|[A-Za-z]{3}[^/!\r\n]{1,40})\r\n")


@dataclass(frozen=True, slots=True)
class Request:
    """Sign-on. `address` '' is heard by every meter."""

    address: str = ""

    def encode(self) -> bytes:
        raw = b"/?" + _ascii(self.address, "address") + b"!" + CRLF
        if not _REQUEST.fullmatch(raw):
            raise Misuse(f"address: {self.address!r} has more than 32 characters, or / or !")
        return raw


@dataclass(frozen=True, slots=True)
class Identification:
    """`manufacturer`: three letters (FLAG), the third in lower case says the meter reacts within 20 ms."""

    manufacturer: str
    baud: str
    ident: str = ""
    options: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """A: no baud change; B: change without acknowledgement; C: as the option select says."""
        return "B" if self.baud in BAUD_B else "C" if self.baud in BAUD_C else "A"

    @property
    def rate(self) -> int:
        """bit/s that the meter proposes."""
        return (BAUD_B | BAUD_C).get(self.baud, INITIAL_RATE)

    @property
    def reaction_ms(self) -> int:
        """The shortest time between a message and its answer."""
        return 20 if self.manufacturer[2:].islower() else 200

    def encode(self) -> bytes:
        options = b"".join(b"\\" + _ascii(option, "option") for option in self.options)
        head = _ascii(self.manufacturer, "manufacturer") + _ascii(self.baud, "baud character")
        raw = b"/" + head + options + _ascii(self.ident, "identification") + CRLF
        if len(raw) > LINE_LIMIT or _IDENTIFICATION.fullmatch(raw) is None:
            raise Misuse("identification: three letters, one baud character and plain text are needed")
        return raw


@dataclass(frozen=True, slots=True)
class Select:
    """V protocol, Z baud character, Y: 0 data readout, 1 programming mode, 6-9 manufacturer's, 2 binary (mode E)."""

    protocol: str = "0"
    baud: str = "0"
    mode: str = "0"

    def encode(self) -> bytes:
        raw = b"\x06" + _ascii(self.protocol + self.baud + self.mode, "option select") + CRLF
        if not _SELECT.fullmatch(raw):
            raise Misuse("option select: three single characters are needed")
        return raw


@dataclass(frozen=True, slots=True)
class Ack:
    def encode(self) -> bytes:
        return b"\x06"


@dataclass(frozen=True, slots=True)
class Nak:
    def encode(self) -> bytes:
        return b"\x15"


@dataclass(frozen=True, slots=True)
class Block:
    """`text` between STX and ETX. `last` False: EOT, more follows. `plain`: no STX, no check, `!` CR LF ends it."""

    text: bytes
    last: bool = True
    plain: bool = False

    def encode(self) -> bytes:
        _printable(self.text)
        return self.text if self.plain else _checked(b"\x02" + self.text, self.last)


@dataclass(frozen=True, slots=True)
class Command:
    """`name`: P0 P1 P2 passwords, R1.. read, W1.. write, E2 execute, B0 break. `text` None: no STX at all."""

    name: str
    text: bytes | None = None
    last: bool = True

    def encode(self) -> bytes:
        raw = b"\x01" + _ascii(self.name, "command")
        if not _COMMAND.fullmatch(raw):
            raise Misuse("command: a letter and a digit are needed")
        if self.text is not None:
            _printable(self.text)
            raw += b"\x02" + self.text
        return _checked(raw, self.last)

    def __repr__(self) -> str:  # the text may be a password
        return f"Command(name={self.name!r}, last={self.last})"


@dataclass(frozen=True, slots=True)
class Readout:
    """An identification and the block behind it in one piece; `gap`: empty lines between them."""

    identification: Identification
    block: Block
    gap: bytes = b""

    def encode(self) -> bytes:
        return self.identification.encode() + self.gap + self.block.encode()


Frame = Request | Identification | Select | Ack | Nak | Block | Command | Readout


def bcc(data: bytes | bytearray) -> int:
    """The block check of what stands behind the first SOH or STX, ETX included."""
    if len(data) < 64:  # what numpy needs to begin is longer than this
        return reduce(xor, data, 0)
    return int(np.bitwise_xor.reduce(np.frombuffer(data, np.uint8)))


def _checked(raw: bytes, last: bool) -> bytes:
    raw += bytes((ETX if last else EOT,))
    return raw + bytes((bcc(raw[1:]),))


def _ascii(text: str, field: str) -> bytes:
    if not text.isascii():
        raise Misuse(f"{field}: only ASCII can be sent")
    return text.encode("ascii")


def _printable(text: bytes) -> None:
    if _CONTROL.search(text):
        raise Misuse("text: only printable characters, CR and LF can be sent")


# --- parity ---


def with_parity(raw: bytes) -> bytes:
    """7-bit characters -> bytes with even parity in bit 7."""
    return raw.translate(_EVEN)


def stripped(raw: bytes) -> bytes:
    """Without parity bits. FrameError at the first byte of odd parity, if any byte has bit 7 set."""
    if raw.isascii():
        return raw
    text = raw.translate(_STRIP)
    if text.translate(_EVEN) == raw:
        return text
    at = next(i for i, byte in enumerate(raw) if byte != _EVEN[byte & 0x7F])
    raise FrameError(f"parity: {raw[at]:02X}H has odd parity in a frame with parity bits", at)


# --- one whole frame ---


def decode(raw: bytes) -> Frame:
    """Exactly one frame, or an identification with the readout behind it. FrameError names field, rule and offset.

    No message quotes what stands in a frame: it may be a password.
    """
    text = stripped(raw)
    if not text:
        raise FrameError("frame: nothing", 0)
    frame, end = _whole(text, 0)
    if isinstance(frame, Identification) and end < len(text):
        begin = len(text) - len(text[end:].lstrip(CRLF))
        block, last = _whole(text, min(begin, len(text) - 1))
        if not isinstance(block, Block):
            raise FrameError("readout: a data block must stand behind the identification", begin)
        frame, end = Readout(frame, block, text[end:begin]), last
    if end < len(text):
        raise FrameError(f"frame: {len(text) - end} bytes too many", end)
    return frame


def _whole(text: bytes, at: int) -> tuple[Frame, int]:
    if not _STARTS.match(text, at):
        return _plain(text, at)
    found = _take(text, at)
    if found is None:
        raise FrameError(f"frame: {_MISSING.get(text[at], 'CR LF')} is missing", len(text))
    return found


_MISSING: Final = {SOH: "ETX or EOT and BCC", STX: "ETX or EOT and BCC"}


def _plain(text: bytes, at: int) -> tuple[Frame, int]:
    if (wrong := _CONTROL.search(text, at)) is not None:
        raise FrameError(
            f"start: {text[at]:02X}H begins no message and {wrong[0][0]:02X}H is no text", wrong.start()
        )
    end = text.find(b"!\r\n", at)
    if end < 0:
        raise FrameError("plain readout: ! CR LF is missing", len(text))
    if b"(" not in text[at:end]:
        raise FrameError(f"start: {text[at]:02X}H begins no message", at)
    return Block(text[at : end + 3], plain=True), end + 3


def _take(text: bytes | bytearray, at: int, scanned: int = 0) -> tuple[Frame, int] | None:
    """The frame that begins at `at` and where it ends; None when more bytes are needed. FrameError if it is none.

    `scanned`: no end of a block is before it.
    """
    start = text[at]
    if start == NAK:
        return Nak(), at + 1
    if start == ACK:
        found = _SELECT.match(text, at)
        return (_select(found), at + 6) if found else (Ack(), at + 1)
    if start in _MISSING:
        return _take_checked(text, at, scanned)
    return _take_line(text, at)


def _select(found: re.Match[bytes]) -> Select:
    return Select(*(group.decode("ascii") for group in found.groups()))


def _take_line(text: bytes | bytearray, at: int) -> tuple[Frame, int] | None:
    end = text.find(CRLF, at, at + LINE_LIMIT)
    if end < 0:
        if len(text) - at >= LINE_LIMIT:
            raise FrameError(f"line: no CR LF within {LINE_LIMIT} characters", at)
        return None
    if found := _REQUEST.match(text, at):
        if found.end() == end + 2:
            return Request(found[1].decode("ascii")), end + 2
    elif (found := _IDENTIFICATION.match(text, at)) and found.end() == end + 2:
        manufacturer, baud, options, ident = (group.decode("ascii") for group in found.groups())
        return Identification(manufacturer, baud, ident, tuple(options[1::2])), end + 2
    raise FrameError("line: neither a sign-on /?..! nor an identification /XXXZ..", at)


def _take_checked(text: bytes | bytearray, at: int, scanned: int) -> tuple[Frame, int] | None:
    begin = at + 1  # of the text
    name = ""
    if text[at] == SOH:
        if len(text) < at + 4:
            return None
        if (found := _COMMAND.match(text, at)) is None:
            raise FrameError("command: a letter and a digit must stand behind SOH", at + 1)
        name, begin = found[1].decode("ascii"), at + 3
        begin += text[begin] == STX
    control = _CONTROL.search(text, scanned if scanned > begin else begin)
    if control is None:
        return None
    end = control.start()
    if text[end] not in (ETX, EOT):
        raise FrameError(f"text: {text[end]:02X}H is no character of a text", end)
    if end + 1 == len(text):
        return None
    if (check := bcc(text[at + 1 : end + 1])) != text[end + 1]:
        raise FrameError(f"BCC: {text[end + 1]:02X}H must be {check:02X}H", end + 1)
    body, last = bytes(text[begin:end]), text[end] == ETX
    if not name:
        return Block(body, last), end + 2
    if text[begin - 1] != STX and body:
        raise FrameError("command: STX or ETX must stand behind its name", begin)
    return Command(name, body if text[begin - 1] == STX else None, last), end + 2


# --- a stream ---


class Receiver:
    """Finds frames in what arrives, in pieces of any size; bounded by BUFFER_LIMIT.

    selects  ACK may begin an option select: on the meter's side before a mode is chosen. The reader's side never gets one,
             so there an ACK is whole by itself.
    plain    lines without STX are taken up to `! CR LF`: behind an identification of mode A.
    """

    __slots__ = ("_raw", "_ready", "_scanned", "_text", "plain", "selects")

    def __init__(self, *, selects: bool = True, plain: bool = False) -> None:
        self._raw = ReceiveBuffer(BUFFER_LIMIT)
        self._text = ReceiveBuffer(BUFFER_LIMIT)
        self._ready: deque[Frame] = deque()  # of a run of acknowledgements, those not asked for yet
        self._scanned = 0
        self.selects = selects
        self.plain = plain

    @property
    def skipped(self) -> int:
        """Bytes thrown away so far, empty lines not counted."""
        return self._raw.skipped

    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._raw.data)

    def feed(self, data: bytes) -> None:
        before = self.held()
        self._raw.feed(data)
        self._text.feed(data.translate(_STRIP))
        self._scanned = max(0, self._scanned - (before + len(data) - self.held()))

    def next(self) -> Frame | None:
        """The next frame, None when more bytes are needed. FrameError: corrupt.

        A frame further on wins over what is corrupt before it; what is corrupt up to an unfinished message or the end is
        reported once, together.
        """
        if self._ready:
            return self._ready.popleft()
        complaint: FrameError | None = None
        while True:
            try:
                frame = self._front(_CREDIBLE if complaint and not self.plain else None)
            except FrameError as error:
                complaint = complaint or error
                continue
            if frame is None and complaint is not None:
                raise complaint
            return frame

    def _front(self, starts: re.Pattern[bytes] | None) -> Frame | None:
        """As `next`, but each corrupt message by itself. `starts`: what may begin one, if not as usual."""
        self._skip_noise(starts or (_PLAIN_CANDIDATE if self.plain else _CANDIDATE))
        text = self._text.data
        if not text:
            return None
        if text[0] in _SINGLE:
            if self._unfinished_select():
                return None
            if run := (_PLAIN_RUN if self.plain else _RUN).match(self._raw.data):
                return self._run(run.end())
        if self.plain and not _STARTS.match(text):
            return self._next_plain()
        try:
            found = _take(text, 0, self._scanned)
        except FrameError as error:
            self._drop(self._spoilt(error))
            raise
        if found is not None:
            return self._taken(*found)
        line = _LINE_IN_TEXT.search(text, max(1, self._scanned - LINE_LIMIT))
        if line and text[0] in (SOH, STX):
            at = line.start()
            self._drop(at)  # a message begins there: what stood before it never ends
            raise FrameError("text: a line that is a message stands in it", at)
        self._scanned = max(1, len(text) - 1)
        return None

    def _run(self, count: int) -> Frame:
        """The first of the acknowledgements in the first `count` bytes; the others wait in `_ready`."""
        run = bytes(self._raw.data[:count])
        self._ready.extend(_SINGLE[byte] for byte in run if byte in _SINGLE)
        self._drop(count)
        self._raw.skipped -= len(self._ready)
        if not self._ready:
            raise FrameError("parity: 86H has odd parity", 0)
        return self._ready.popleft()

    def _next_plain(self) -> Frame | None:
        text = self._text.data
        begin = 0
        while (found := _PLAIN_END.search(text, begin)) and text[found.end() - 1] != CRLF[1]:
            start = _PLAIN_CANDIDATE.search(
                text, found.start()
            )  # what stands before a character of no text never ends
            begin = start.start() if start else len(text)
            if not start or _STARTS.match(text, begin):
                break
        if begin:
            self._drop(begin)
            raise FrameError("plain readout: ! CR LF is missing", 0)
        if found is None:
            return None
        return self._taken(Block(bytes(text[: found.end()]), plain=True), found.end())

    def _taken(self, frame: Frame, end: int) -> Frame:
        self._text.take(end)
        self._scanned = 0
        stripped(self._raw.take(end))  # for its complaint about parity
        return frame

    def _skip_noise(self, starts: re.Pattern[bytes]) -> None:
        text = self._text.data
        start = starts.search(text)
        if text and not (start and start.start() == 0):
            self._drop(start.start() if start else len(text))

    def _spoilt(self, error: FrameError) -> int:
        """How much of a spoilt candidate cannot begin a frame.

        A block ends at its ETX whatever its BCC; a text ends at a character that no text has, or before a line that is a
        message; of anything else only the first byte is known to be wrong.
        """
        at = error.offset or 0
        if error.message.startswith("BCC:"):
            return at + 1
        if error.message.startswith("text:"):
            line = _LINE_IN_TEXT.search(self._text.data, 1, at)
            return line.start() if line else at
        return 1

    def _unfinished_select(self) -> bool:
        text = self._text.data
        return self.selects and text[0] == ACK and len(text) < 6 and _SELECT_BEGUN.fullmatch(text) is not None

    def _drop(self, count: int) -> None:
        gone = self._text.take(count)
        self._raw.take(count)
        self._raw.skipped += len(gone) - gone.count(b"\r") - gone.count(b"\n")
        self._scanned = max(0, self._scanned - count)


_SELECT_BEGUN: Final = re.compile(rb"\x06(?:[0-9](?:[0-9A-Z](?:[0-9A-Z](?:\r)?)?)?)?")
_SELECT_AHEAD: Final = rb"D(?:U(?:U(?:[\r\x8d](?:[\n\x8a]|\Z)|\Z)|\Z)|\Z)|\Z".replace(
    b"D", rb"[0-9\xb0-\xb9]"
).replace(b"U", rb"[0-9A-Z\xb0-\xb9\xc1-\xda]")
_SINGLES: Final = rb"(?:[\x15\x95]|\x06(?!" + _SELECT_AHEAD + rb")|\x86|"
#: Acknowledgements in sequence, with their parity bits or without, and what begins nothing between them (86H is an ACK with the
#: wrong one). Not an ACK that begins an option select. With plain readouts most characters begin one.
_RUN: Final = re.compile(_SINGLES + rb"[^/\x01\x02\x06\x15\xaf\x81\x82\x86\x95])+")
_PLAIN_RUN: Final = re.compile(_SINGLES + rb"[\x00\x08-\x14\x16-\x20])+")
_SINGLE: Final[dict[int, Frame]] = {0x06: Ack(), 0x15: Nak(), 0x95: Nak()}
