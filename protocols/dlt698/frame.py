"""DL/T 698.45 link frames: bytes <-> Frame, shape only (DL/T 698.45-2017, data link layer).

    FE.. | 68 | L L | C | SA | CA | HCS HCS | [segment word] APDU | FCS FCS | 16

L counts everything between the delimiters and goes low byte first, as HCS and FCS do (FCS-16: reflected 1021H, start
FFFFH, inverted). HCS covers L to CA, FCS covers L to the last byte of user data, HCS included. With the SC bit set each byte
of user data is sent with 33H added.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse

START: Final = 0x68
END: Final = 0x16
WAKE_UP: Final = 0xFE
OFFSET: Final = 0x33

#: Address types, bits 7-6 of the first address byte.
SINGLE: Final = 0
WILDCARD: Final = 1
GROUP: Final = 2
BROADCAST: Final = 3

#: Bits of the control byte.
FROM_SERVER: Final = 0x80
CLIENT_STARTED: Final = 0x40
SEGMENTED: Final = 0x20
SCRAMBLED: Final = 0x08
FUNCTION: Final = 0x07
LINK: Final = 1
DATA: Final = 3

#: Kinds of a segment, bits 15-14 of the segment word.
FIRST: Final = 0
LAST: Final = 1
CONFIRM: Final = 2
MIDDLE: Final = 3
#: Bits 11-0 number the segments; 13-12 are reserved and kept as they came.
SEGMENT_NUMBERS: Final = 0x1000

#: D14 of L: the length counts kilobytes. Older editions have it reserved.
KILOBYTES: Final = 0x4000
_LENGTH: Final = 0x3FFF
#: The highest second byte of L: 14 bits of bytes, or up to 15 kilobytes.
_HIGHEST: Final = KILOBYTES >> 8
#: L of a frame without user data: L, C, one address byte, its count byte, CA, HCS, FCS.
_SHORTEST: Final = 10
#: The longest frame taken, delimiters included: what L in bytes can say. A kilobyte count is taken up to the same size.
MAX_FRAME: Final = _LENGTH + 2
#: Two of the longest frames: one being answered, and one that overtook it.
BUFFER_LIMIT: Final = 2 * MAX_FRAME

_ADD: Final = bytes((i + OFFSET) & 0xFF for i in range(256))
_SUBTRACT: Final = bytes((i - OFFSET) & 0xFF for i in range(256))
_MIRROR: Final = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def fcs16(data: bytes) -> int:
    """FCS-16 of RFC 1662: the library's CRC goes high bit first, so the bits of bytes and result are mirrored."""
    crc = binascii.crc_hqx(data.translate(_MIRROR), 0xFFFF)
    return (_MIRROR[crc & 0xFF] << 8 | _MIRROR[crc >> 8]) ^ 0xFFFF


@dataclass(frozen=True, slots=True)
class Address:
    """A server address SA.

    digits   two hex digits a byte, high digit first, 1 to 16 bytes; usually 12 decimal digits. A wildcard may hold A.
    kind     SINGLE, WILDCARD, GROUP or BROADCAST
    logical  0 or 1; 2 to 255 travel in an extra byte (bit 5 of the first address byte)
    """

    digits: str
    kind: int = SINGLE
    logical: int = 0

    def matches(self, own: str) -> bool:
        """Whether a frame to this address is meant for the single address `own`; a group is the caller's to know."""
        if self.kind == BROADCAST:
            return True
        if self.kind == WILDCARD:
            return len(self.digits) <= len(own) and all(
                a in ("A", o) for a, o in zip(self.digits[::-1], own[::-1], strict=False)
            )
        return self.digits == own


#: Everybody: a broadcast carries one byte AA.
EVERYBODY: Final = Address("AA", BROADCAST)
#: Whoever is alone on the line.
ANYBODY: Final = Address("AAAAAAAAAAAA", WILDCARD)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    control    as sent; its segment bit must agree with `segment`
    client     CA, 0 where the client does not matter
    data       the APDU or its segment, never scrambled
    segment    the segment word (kind, reserved bits, number), None for a whole APDU
    kilobytes  L counts kilobytes
    """

    server: Address
    client: int
    control: int
    data: bytes
    segment: int | None = None
    kilobytes: bool = False

    @property
    def from_server(self) -> bool:
        return bool(self.control & FROM_SERVER)

    @property
    def client_started(self) -> bool:
        return bool(self.control & CLIENT_STARTED)

    @property
    def function(self) -> int:
        return self.control & FUNCTION

    @property
    def apdu_at(self) -> int:
        """Where `data` stands in the frame, counted from its 68H."""
        extended = self.server.logical > 1
        return (
            4 + 1 + extended + len(self.server.digits) // 2 + 1 + 2 + (2 if self.segment is not None else 0)
        )

    @property
    def segment_kind(self) -> int:
        return (self.segment or 0) >> 14

    @property
    def segment_number(self) -> int:
        return (self.segment or 0) % SEGMENT_NUMBERS

    def encode(self, wakeup: int = 0) -> bytes:
        """The bytes on the wire, behind `wakeup` bytes FE. Misuse if address, segment or length do not fit."""
        if (self.segment is not None) != bool(self.control & SEGMENTED):
            raise Misuse(f"control: segment bit of {self.control:02X}H against segment word {self.segment}")
        if not (0 <= self.control <= 0xFF and 0 <= self.client <= 0xFF):
            raise Misuse(f"control {self.control} and client address {self.client} are bytes")
        user = b"" if self.segment is None else self.segment.to_bytes(2, "little")
        user += self.data
        if self.control & SCRAMBLED:
            user = user.translate(_ADD)
        head = bytes((self.control,)) + encode_address(self.server) + bytes((self.client,))
        length = 2 + len(head) + 2 + len(user) + 2
        if length > _LENGTH:
            raise Misuse(f"frame: {length} bytes do not fit a length of 14 bits")
        if self.kilobytes:
            if length % 1024:
                raise Misuse(f"frame: {length} bytes are not whole kilobytes")
            length = KILOBYTES | length // 1024
        head = length.to_bytes(2, "little") + head
        body = head + fcs16(head).to_bytes(2, "little") + user
        body += fcs16(body).to_bytes(2, "little")
        return bytes((WAKE_UP,)) * wakeup + bytes((START,)) + body + bytes((END,))


def encode_address(address: Address) -> bytes:
    """SA with its first byte. Misuse unless the digits are 1 to 16 bytes of hex and kind and logical fit."""
    try:
        body = bytes.fromhex(address.digits)[::-1]
    except ValueError:
        body = b""
    extended = address.logical > 1
    if len(address.digits) % 2 or not 1 <= len(body) <= 16 - extended or not 0 <= address.logical <= 0xFF:
        raise Misuse(
            f"address: {address.digits!r}, logical {address.logical} must be 1 to 16 bytes of hex digits"
        )
    if not SINGLE <= address.kind <= BROADCAST:
        raise Misuse(f"address: kind {address.kind} must be 0 to 3")
    if extended:
        body = bytes((address.logical,)) + body
    first = address.kind << 6 | (0x20 if extended else address.logical << 4) | (len(body) - 1)
    return bytes((first,)) + body


def decode_address(raw: bytes, offset: int = 0) -> tuple[Address, int]:
    """SA at `offset`, low byte first, and the offset behind it. FrameError: too short."""
    size = (raw[offset] & 0x0F) + 1 if offset < len(raw) else 1
    body = raw[offset + 1 : offset + 1 + size]
    if len(body) != size:
        raise FrameError(f"address: {size} bytes needed, {len(body)} are there", offset + 1)
    first = raw[offset]
    logical = first >> 4 & 0x03
    if logical > 1 and size > 1:
        # The extended logical address is one of the bytes that are counted. 2 and 3 without such a byte come from
        # the older edition, where both bits were the number.
        logical, body = body[0], body[1:]
    return Address(body[::-1].hex().upper(), first >> 6, logical), offset + 1 + size


def tsa(address: Address) -> bytes:
    """A target server address: as SA, but high byte first."""
    raw = encode_address(address)
    extended = bool(raw[0] & 0x20)
    return raw[: 1 + extended] + raw[:extended:-1]


def tsa_address(raw: bytes) -> Address:
    """The address in a TSA. FrameError: not as long as its first byte says."""
    extended = len(raw) > 2 and bool(raw[0] & 0x20)
    address, end = decode_address(raw[: 1 + extended] + raw[:extended:-1])
    if end != len(raw):
        raise FrameError(f"TSA: {len(raw)} bytes where the first one says {end}", 0)
    return address


def decode(raw: bytes) -> Frame:
    """Exactly one frame, wake-up bytes allowed before it. FrameError names field, offset and rule."""
    wake = len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))
    body = raw[wake:]
    if len(body) < _SHORTEST + 2:
        raise FrameError(f"frame: {len(body)} bytes, must be at least {_SHORTEST + 2}", wake)
    if body[0] != START:
        raise FrameError(f"start: {body[0]:02X}H must be 68H", wake)
    size = _size(body, 0)
    if size != len(body):
        raise FrameError(f"length: {body[2]:02X}{body[1]:02X}H says {size} bytes, {len(body)} came", wake + 1)
    if body[-1] != END:
        raise FrameError(f"end: {body[-1]:02X}H must be 16H", wake + size - 1)
    header = _header(body, 0)
    if header + 4 > size - 1:
        raise FrameError(f"length: {size - 2} bytes end inside the header", wake + 1)
    if (check := fcs16(body[1:header])) != int.from_bytes(body[header : header + 2], "little"):
        raise FrameError(f"HCS: {body[header : header + 2].hex()} must be {_wire(check)}", wake + header)
    if (check := fcs16(body[1:-3])) != int.from_bytes(body[-3:-1], "little"):
        raise FrameError(f"FCS: {body[-3:-1].hex()} must be {_wire(check)}", wake + size - 3)
    server, after = decode_address(body, 4)
    control = body[3]
    user = body[header + 2 : -3]
    if control & SCRAMBLED:
        user = user.translate(_SUBTRACT)
    segment = None
    if control & SEGMENTED:
        if len(user) < 2:
            raise FrameError(f"segment: {len(user)} bytes, its word has 2", wake + header + 2)
        segment, user = int.from_bytes(user[:2], "little"), user[2:]
    kilobytes = bool(body[2] & KILOBYTES >> 8)
    frame = Frame(server, body[after], control, user, segment, kilobytes)
    if body[2] & 0x80:
        raise FrameError("length: the reserved bit 15 must be 0", wake + 2)
    return frame


def _wire(check: int) -> str:
    return check.to_bytes(2, "little").hex()


def _size(data: bytes | bytearray, at: int) -> int:
    """Bytes of the frame that begins at `at`, both delimiters included."""
    length = int.from_bytes(data[at + 1 : at + 3], "little")
    return (length & _LENGTH) * (1024 if length & KILOBYTES else 1) + 2


def _header(data: bytes | bytearray, at: int) -> int:
    """Where the HCS of the frame at `at` stands: 68 L L C, first address byte, address, CA."""
    return at + 5 + (data[at + 4] & 0x0F) + 1 + 1


# --- finding frames in a stream ---


def find(buffer: ReceiveBuffer) -> Frame | None:
    """The next frame in the buffer, or None when more bytes are needed. FrameError for a corrupt frame.

    A header whose HCS is right is believed: its frame is waited for, because what looks like a frame inside it may be one that is
    being forwarded (PROXY). Any other start byte is only a candidate, and a good header further on wins over it, unless its frame
    ends inside what a bad header encloses with an end in its place.
    """
    data = buffer.data
    keep = bad = -1
    error: FrameError | None = None
    at = data.find(START)
    stop = size = len(data)
    while 0 <= at < stop:
        # a length beyond any frame is settled here: a line full of 68H must not cost a call for each
        verdict = 0 if at + 2 < size and data[at + 2] > _HIGHEST else _candidate(data, at)
        if verdict is None:  # may still become a header
            keep = at if keep < 0 else keep
        elif verdict > 0 and not (
            bad >= 0 and at + verdict <= stop
        ):  # else it was forwarded inside a corrupt one
            buffer.skip(at, WAKE_UP)
            return None if verdict > len(data) else _take(buffer, verdict)
        elif verdict == 0 and bad < 0 and _credible(data, at):
            bad = at
            error = _complaint(data, at)
            stop = at + _size(data, at)
        at = data.find(START, at + 1)
    # All up to here was looked at and holds no good header, so no byte is ever looked at twice.
    buffer.skip(stop if keep < 0 else keep, WAKE_UP)
    if (
        error is not None and not 0 <= keep < bad
    ):  # else what looks corrupt may lie inside a frame that has just begun
        raise error
    return None


def give_up(buffer: ReceiveBuffer) -> None:
    """Nobody waits any more for the rest of the frame that has begun: look for the next one behind its first byte."""
    if buffer.data[:1] == bytes((START,)):
        buffer.skip(1)


def _candidate(data: bytearray, at: int) -> int | None:
    """Size of the frame whose header stands at `at`; 0 if there is no good header, None if it is not all here."""
    there = len(data) - at
    if there >= 3:
        size = _size(data, at)
        if data[at + 2] & 0x80 or not _SHORTEST + 2 <= size <= MAX_FRAME:
            return 0
    if there < 5:
        return None
    header = _header(data, at)
    if header - at + 5 > size:
        return 0
    if len(data) < header + 2:
        return None
    good = fcs16(bytes(data[at + 1 : header])) == data[header] | data[header + 1] << 8
    return size if good else 0


def _take(buffer: ReceiveBuffer, size: int) -> Frame:
    """The frame at the front. A corrupt one goes as a whole if its end or its check is where its header says, else by its first
    byte: then bytes were lost, and the next frame has begun inside it.
    """
    raw = bytes(buffer.data[:size])
    try:
        frame = decode(raw)
    except FrameError:
        whole = raw[-1] == END or fcs16(raw[1:-3]) == int.from_bytes(raw[-3:-1], "little")
        buffer.skip(size if whole else 1)
        raise
    buffer.take(size)
    return frame


def _credible(data: bytearray, at: int) -> bool:
    """A candidate without a good header is a corrupt frame, not noise, if its end stands where its length says."""
    size = _size(data, at) if len(data) - at >= 3 and data[at + 2] <= _HIGHEST else 0
    return _SHORTEST + 2 <= size <= min(len(data) - at, MAX_FRAME) and data[at + size - 1] == END


def _complaint(data: bytearray, at: int) -> FrameError | None:
    try:
        decode(bytes(data[at : at + _size(data, at)]))
    except FrameError as error:
        return error
    return None
