"""DL/T 645-2007 frames: bytes <-> Frame, shape only.

    FE.. | 68 | A0..A5 | 68 | C | L | data, each byte + 33H | CS | 16

CS is the sum modulo 256 from the first 68 to the last data byte as sent. Every field goes low byte first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.buffer import ReceiveBuffer
from protocols.checksum import sum8
from protocols.errors import FrameError, Misuse

START: Final = 0x68
END: Final = 0x16
WAKE_UP: Final = 0xFE
OFFSET: Final = 0x33

WILDCARD: Final = "AAAAAAAAAAAA"
BROADCAST: Final = "999999999999"

FROM_METER: Final = 0x80
ERROR: Final = 0x40
MORE: Final = 0x20
FUNCTION: Final = 0x1F

#: Bytes around the data: 68, address, 68, C, L, CS, 16.
OVERHEAD: Final = 12
#: Some fifteen of the longest frames: a half-duplex line never holds that many unread.
BUFFER_LIMIT: Final = 4096

_ADD: Final = bytes((i + OFFSET) & 0xFF for i in range(256))
_SUBTRACT: Final = bytes((i - OFFSET) & 0xFF for i in range(256))


@dataclass(frozen=True, slots=True)
class Frame:
    """address: 12 digits, high digit first; a pair may be AA (wildcard). data: without the 33H."""

    address: str
    control: int
    data: bytes = b""

    @property
    def function(self) -> int:
        return self.control & FUNCTION

    @property
    def from_meter(self) -> bool:
        return bool(self.control & FROM_METER)

    @property
    def error(self) -> bool:
        return bool(self.control & ERROR)

    @property
    def more(self) -> bool:
        return bool(self.control & MORE)

    def encode(self, wakeup: int = 0) -> bytes:
        """The bytes on the wire, behind `wakeup` bytes FE. Misuse if address or data do not fit."""
        if len(self.data) > 0xFF:
            raise Misuse(f"data: {len(self.data)} bytes do not fit one frame")
        body = bytearray((START, *encode_address(self.address), START, self.control, len(self.data)))
        body += self.data.translate(_ADD)
        body += bytes((sum8(body), END))
        return bytes((WAKE_UP,)) * wakeup + bytes(body)


def encode_address(address: str) -> bytes:
    """12 digits -> 6 bytes, low byte first. Misuse unless every pair is two digits or AA."""
    if len(address) == 12 and address.isascii() and address.isdecimal():
        return bytes.fromhex(address)[::-1]
    pairs = [address[i : i + 2].upper() for i in range(0, len(address), 2)]
    if len(address) != 12 or not all(pair == "AA" or (pair.isascii() and pair.isdecimal()) for pair in pairs):
        raise Misuse(f"address: {address!r} is not 12 digits")
    return bytes.fromhex("".join(pairs))[::-1]


def _decode_address(raw: bytes) -> str | None:
    text = raw[::-1].hex().upper()
    if text.isdecimal() or all(b == 0xAA or (b & 0xF0 <= 0x90 and b & 0x0F <= 9) for b in raw):
        return text
    return None


def matches(asked: str, own: str) -> bool:
    """Whether a frame to `asked` is meant for the meter `own`: pairs AA match anything."""
    return asked == own or all(a in ("AA", o) for a, o in zip(_pairs(asked), _pairs(own), strict=True))


def _pairs(address: str) -> list[str]:
    return [address[i : i + 2] for i in range(0, 12, 2)]


def decode(raw: bytes) -> Frame:
    """Exactly one frame, wake-up bytes allowed before it. FrameError names field, offset and rule."""
    wake = len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))
    body = raw[wake:] if wake else raw
    if len(body) < OVERHEAD:
        raise FrameError(f"frame: {len(body)} bytes, at least {OVERHEAD} are needed", len(raw))
    if body[0] != START or body[7] != START:
        where = 0 if body[0] != START else 7
        raise FrameError(f"start: {body[where]:02X}H must be 68H", wake + where)
    size = OVERHEAD + body[9]
    if len(body) != size:
        raise FrameError(f"length: {body[9]}, but {len(body) - OVERHEAD} data bytes came", wake + 9)
    if body[-1] != END:
        raise FrameError(f"end: {body[-1]:02X}H must be 16H", wake + size - 1)
    if (check := sum8(body[:-2])) != body[-2]:
        raise FrameError(f"checksum: {body[-2]:02X}H must be {check:02X}H", wake + size - 2)
    address = _decode_address(body[1:7])
    if address is None:
        raise FrameError(f"address: {body[6:0:-1].hex().upper()} must be digits or AA", wake + 1)
    return Frame(address, body[8], body[10:-2].translate(_SUBTRACT))


def find(buffer: ReceiveBuffer) -> Frame | None:
    """The next frame in the buffer, or None when more bytes are needed. FrameError for a corrupt frame.

    A start byte in noise is only a candidate: whatever length it claims, a valid frame further on wins. Corrupt candidates
    that no unfinished one lies between are reported once, together: so the work is linear in the buffer.
    """
    data = buffer.data
    keep = bad = pending = after = -1
    at = data.find(START)
    while at >= 0:
        size = _size(data, at)
        if size is None:  # may still become a frame
            keep = at if keep < 0 else keep
            after = at if bad >= 0 > after else after
            if len(data) - at > 7 and _decode_address(bytes(data[at + 1 : at + 7])) is not None:
                pending = at
        elif size and _sealed(data, at, size):
            buffer.skip(at, WAKE_UP)
            return decode(buffer.take(size))
        elif size and bad < 0 and _credible(data, at, size):
            bad = at
        at = data.find(START, at + 1)
    if bad >= 0 and pending < bad:
        broken = bytes(data[bad : bad + OVERHEAD + data[bad + 9]])
        buffer.skip(len(data) if after < 0 else after, WAKE_UP)
        decode(broken)  # says what is wrong with it
    if bad < 0:
        buffer.skip(len(data) if keep < 0 else keep, WAKE_UP)
    return None


def _sealed(data: bytearray, at: int, size: int) -> bool:
    """Whether the candidate is a frame: end, check sum and address are right."""
    end = at + size - 1
    return (
        data[end] == END
        and data[end - 1] == sum8(data[at : end - 1])
        and _decode_address(bytes(data[at + 1 : at + 7])) is not None
    )


def _size(data: bytearray, at: int) -> int | None:
    """Length of the candidate at `at`; 0 if it is none, None if it is not all here."""
    there = len(data) - at
    if there > 7 and data[at + 7] != START:
        return 0
    if there < 10:
        return None
    size = OVERHEAD + data[at + 9]
    return size if there >= size else None


def _credible(data: bytearray, at: int, size: int) -> bool:
    """A failed candidate is a corrupt frame, not noise, if its address or its end is in order."""
    return data[at + size - 1] == END or _decode_address(bytes(data[at + 1 : at + 7])) is not None
