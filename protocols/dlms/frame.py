"""The TCP wrapper: version, source wPort, destination wPort, length, APDU.

IEC 62056-4-7 (was 62056-47): four big-endian 16-bit words before every APDU. There is no checksum; TCP
carries it. So the only things a receiver can check are the version, a length within what was agreed, and the
APDU itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse
from protocols.exchange import NEED_DATA, Answer, Event, Ignored

VERSION: Final = 1
HEADER: Final = 8
#: The length word has 16 bits.
MAX_APDU: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """One APDU with its wrapper ports (wPorts). Client 1 is the management client, 16 the public client."""

    source: int
    destination: int
    apdu: bytes


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. Misuse: a port or an APDU that its 16-bit word cannot hold."""
    if not 0 < len(frame.apdu) <= MAX_APDU:
        raise Misuse(f"wrapper: an APDU of {len(frame.apdu)} bytes does not fit")
    if not (0 <= frame.source <= 0xFFFF and 0 <= frame.destination <= 0xFFFF):
        raise Misuse(f"wrapper: wPort {frame.source} or {frame.destination} is not a 16-bit number")
    return struct.pack(">4H", VERSION, frame.source, frame.destination, len(frame.apdu)) + frame.apdu


def decode(data: bytes) -> Frame:
    """Exactly one frame. FrameError: version, length, or bytes left over."""
    if len(data) < HEADER:
        raise FrameError(f"wrapper: {len(data)} bytes are shorter than the header", offset=len(data))
    version, source, destination, length = struct.unpack(">4H", data[:HEADER])
    if version != VERSION:
        raise FrameError(f"wrapper: version {version:#06x}, must be 0x0001", offset=0)
    if length != len(data) - HEADER or not length:
        raise FrameError(f"wrapper: length {length}, but {len(data) - HEADER} bytes follow", offset=6)
    return Frame(source, destination, bytes(data[HEADER:]))


#: Four of the longest frames: a gateway's clients may all ask at once, and what is dropped beyond is asked
#: again.
BUFFER: Final = 4 * (HEADER + MAX_APDU)


class Receiver:
    """A bounded receive buffer that cuts a byte stream into frames.

    `limit` is the longest APDU accepted. Bytes that cannot begin a frame are dropped and counted in
    `skipped`.
    """

    def __init__(self, limit: int = MAX_APDU) -> None:
        self.limit = limit
        self._buffer = ReceiveBuffer(BUFFER)

    @property
    def skipped(self) -> int:
        """Bytes thrown away since the beginning."""
        return self._buffer.skipped

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._buffer.feed(data)

    def next(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        FrameError: what has come so far holds no header at all; it has been dropped, the next frame will be
        found.
        """
        start = self._find()
        if start:
            self._buffer.skip(start)
            if len(self._buffer.data) < HEADER:
                raise FrameError(
                    f"wrapper: no header (version 1, length 1..{self.limit}) in {start} bytes", offset=0
                )
        if len(self._buffer.data) < HEADER:
            return None
        end = HEADER + int.from_bytes(self._buffer.data[6:8], "big")
        if len(self._buffer.data) < end:
            return None
        return decode(self._buffer.take(end))

    def _find(self) -> int:
        """Where the first possible header begins; the whole length if nowhere. A short tail may become
        one.
        """
        data = self._buffer.data
        start = data.find(b"\x00")
        while start >= 0 and not self._possible(start):
            start = data.find(b"\x00", start + 1)
        return len(data) if start < 0 else start

    def _possible(self, start: int) -> bool:
        head = self._buffer.data[start : start + HEADER]
        if len(head) > 1 and head[1] != VERSION:
            return False
        return len(head) < HEADER or 0 < int.from_bytes(head[6:8], "big") <= self.limit


class WrapperTransport:
    """Implements transport.Transport: the wrapper has no link to make, no acknowledgement and nothing to repeat.

    own, peer  wPorts; frames of others are Ignored. peer None (a server): whoever spoke last is spoken to
    limit      the longest APDU taken; may be changed between APDUs
    """

    def __init__(self, own: int, peer: int | None, *, limit: int = MAX_APDU) -> None:
        self.own = own
        self.peer = peer
        self._speaking_to = peer
        self._receiver = Receiver(limit)

    @property
    def limit(self) -> int:
        return self._receiver.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._receiver.limit = limit

    @property
    def skipped(self) -> int:
        """Bytes dropped because they could not belong to a frame."""
        return self._receiver.skipped

    @property
    def speaking_to(self) -> int | None:
        """Whose wPort the next APDU goes to: who spoke last, where no peer is fixed."""
        return self._speaking_to

    def connect(self) -> bytes:
        return b""

    def disconnect(self) -> bytes:
        return b""

    def send(self, apdu: bytes) -> bytes:
        """One frame. Misuse: an APDU that does not fit, or nobody has spoken yet."""
        if self._speaking_to is None:
            raise Misuse("wrapper: no peer to speak to")
        return encode(Frame(self.own, self._speaking_to, apdu))

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._receiver.feed(data)

    def next_event(self) -> Event:
        """Answer(APDU), Ignored (other wPorts), NEED_DATA. FrameError: corrupt."""
        frame = self._receiver.next()
        if frame is None:
            return NEED_DATA
        if frame.destination != self.own or self.peer not in (None, frame.source):
            return Ignored(f"foreign: wPort {frame.source} to {frame.destination}", encode(frame))
        self._speaking_to = frame.source
        return Answer(frame.apdu)

    def resume(self) -> bytes:
        return b""
