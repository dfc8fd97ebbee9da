"""TCP frames: transaction | protocol 0 | length | unit | function | data. Messaging on TCP/IP Guide V1.0b, clause 3.1.3.

No checksum protects them beyond TCP's own: a gateway that garbles an answer is not found out. Checked is what there is: that
the protocol identifier is 0, the length is that of the bytes, the function is known or at least allowed, and that byte count,
quantities and values fit it. The exchange adds that transaction, unit, function and size answer what was asked.
"""

from __future__ import annotations

from typing import Any, Final

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError
from protocols.modbus.frame import Frame, checked
from protocols.modbus.pdu import PDU_LIMIT, functions

#: Transaction, protocol, length, unit.
HEADER: Final = 7
SHORTEST: Final = HEADER + 1
LONGEST: Final = HEADER + PDU_LIMIT
#: Four of the longest frames: one answer is awaited; late ones to requests given up may come with it in one piece.
BUFFER_LIMIT: Final = 4 * LONGEST

_MBAP: Final[Any] = FramerSocket(DecodePDU(False))  # encode alone is used


def encode(frame: Frame) -> bytes:
    """Misuse if a field does not fit."""
    frame.check()
    raw: bytes = _MBAP.encode(frame.pdu, frame.unit, frame.transaction)
    return raw


def decode(raw: bytes) -> Frame:
    """Exactly one frame. FrameError names field, offset and rule."""
    if len(raw) < SHORTEST:
        raise FrameError(f"frame: {len(raw)} bytes, at least {SHORTEST} are needed", len(raw))
    _check_header(raw)
    size = int.from_bytes(raw[4:6], "big") + 6
    if size != len(raw):
        raise FrameError(f"length: {size - 6} but {len(raw) - 6} bytes follow it", 4)
    return checked(raw[6], raw[7:], HEADER, int.from_bytes(raw[:2], "big"))


def _check_header(raw: bytes) -> None:
    if raw[2:4] != b"\0\0":
        raise FrameError(f"protocol identifier: {raw[2:4].hex().upper()} must be 0000", 2)
    if not 2 <= (length := int.from_bytes(raw[4:6], "big")) <= PDU_LIMIT + 1:
        raise FrameError(f"length: {length} is not 2 to {PDU_LIMIT + 1}", 4)


class Receiver:
    """Frames out of a TCP stream. Never more than BUFFER_LIMIT bytes are kept.

    TCP loses nothing, so bytes that are no frame mean a peer that is out of step or speaks something else. That is one FrameError;
    then the next place where a whole header stands is tried, which a caller need not wait for: he may hang up.
    """

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._lost = False

    @property
    def skipped(self) -> int:
        return self._buffer.skipped

    def held(self) -> int:
        return len(self._buffer.data)

    def feed(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next(self) -> Frame | None:
        """The next frame, None when more bytes are needed. FrameError: out of step (said once), or a corrupt PDU, dropped."""
        data = self._buffer.data
        while True:
            error = self._align()
            if error is not None:
                raise error
            size = int.from_bytes(data[4:6], "big") + 6
            if len(data) < SHORTEST or len(data) < size:
                return None
            try:
                frame = decode(bytes(data[:size]))
            except FrameError:
                if not self._lost:
                    self._buffer.skip(size)
                    raise
                self._buffer.skip(1)  # a header by chance: the true one may stand inside it
            else:
                self._lost = False
                self._buffer.take(size)
                return frame

    def _align(self) -> FrameError | None:
        """Skip to the first place where a header may stand. The complaint if this is news."""
        data = self._buffer.data
        at, complaint = 0, None
        while len(data) - at >= 6:
            try:
                _check_header(bytes(data[at : at + SHORTEST]))
                if len(data) - at < SHORTEST or not self._lost or data[at + 7] & 0x7F in functions():
                    break
            except FrameError as error:
                if not self._lost:
                    self._lost, complaint = True, error
            at += 1
        self._buffer.skip(at)
        return complaint
