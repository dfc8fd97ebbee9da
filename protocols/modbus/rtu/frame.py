"""RTU frames: unit | function | data | CRC-16, low byte first. MODBUS over Serial Line V1.02, clause 2.5.1.

There is no start byte: silence separates frames, and bytes in a buffer know no silence. So the receiver takes a frame wherever
a known function, a length that fits it and the CRC agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from heapq import heappop, heappush
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError
from protocols.modbus.frame import Frame, checked
from protocols.modbus.pdu import DIRECTIONS, Direction, data_size, fits, least_objects

#: Unit, function and CRC.
SHORTEST: Final = 4
#: Clause 2.5.1: 256 bytes.
LONGEST: Final = 256
#: Units above are reserved, clause 2.2.
LAST_UNIT: Final = 247
#: Two of the longest frames: on a half-duplex line one answer is awaited, and the rest of a late one may lie before it.
BUFFER_LIMIT: Final = 2 * LONGEST

_START: Final = 0xFFFF
_CRC: Final[Any] = FramerRTU(DecodePDU(False))  # encode alone is used


def crc16(data: bytes) -> int:
    """CRC-16 of clause 6.2.2: polynomial A001H, beginning with FFFFH; as it stands, before its bytes are swapped."""
    swapped: int = FramerRTU.compute_CRC(data)
    return (swapped & 0xFF) << 8 | swapped >> 8


def encode(frame: Frame) -> bytes:
    """Misuse if a field does not fit."""
    frame.check()
    raw: bytes = _CRC.encode(frame.pdu, frame.unit, 0)
    return raw


def decode(raw: bytes) -> Frame:
    """Exactly one frame. FrameError names field, offset and rule.

    Checked: length 4 to 256, CRC, unit 0 to 247, function, and for a known function that length, byte count, quantity and value
    fit a request or an answer.
    """
    if not SHORTEST <= len(raw) <= LONGEST:
        raise FrameError(
            f"frame: {len(raw)} bytes, {SHORTEST} to {LONGEST} are allowed", min(len(raw), LONGEST)
        )
    if (check := crc16(raw[:-2])) != int.from_bytes(raw[-2:], "little"):
        wanted = check.to_bytes(2, "little").hex().upper()
        raise FrameError(f"CRC: {raw[-2:].hex().upper()} must be {wanted}", len(raw) - 2)
    if raw[0] > LAST_UNIT:
        raise FrameError(f"unit: {raw[0]} is reserved, 0 to {LAST_UNIT} are allowed", 0)
    return checked(raw[0], raw[1:-2], 1)


@cache
def _after() -> NDArray[np.uint16]:
    """uint16[n, half, 256]: what n zero bytes make of a CRC whose low (0) or high (1) byte is the last index.

    With it the CRC of any stretch follows from the running CRCs at its two ends, so no byte of a noisy line is summed twice.
    """
    step = np.array(FramerRTU.crc16_table, np.uint16)
    now = np.array([np.arange(256), np.arange(256) << 8], np.uint16)
    found = [now]
    for _ in range(LONGEST):
        now = now >> 8 ^ step[now & 0xFF]
        found.append(now)
    return np.array(found)


class Receiver:
    """Frames out of a stream that may hold noise. Never more than BUFFER_LIMIT bytes are kept.

    direction  what may come: None for both. A master hears its own echo on some lines and still wants answers only.
    wanted     (unit, function) -> whether this is what the caller waits for: it is taken wherever it stands, and if its CRC is
               wrong that is an error. Other frames are taken only from the front. Without it all are wanted, and a wrong CRC is an
               error only in the first frame after a good one; behind it there is no telling noise from frames.
    """

    def __init__(
        self, direction: Direction | None = None, wanted: Callable[[int, int], bool] | None = None
    ) -> None:
        self.wanted = wanted
        self._directions: tuple[Direction, ...] = (direction,) if direction else DIRECTIONS
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._sums = [0]  # running CRC from zero before each byte and behind the last
        self._dead = bytearray()  # 1 where no frame can begin
        self._gone = 0  # bytes that have left the buffer
        # Where a frame may begin, as stream positions: a heap of (position to be reached first, where); those that have reached
        # it, last one first; and whole frames that nobody waits for, which count once nothing stands before them.
        self._waiting: list[tuple[int, int]] = []
        self._ripe: list[int] = []
        self._aside: list[int] = []
        self._fresh = True

    @property
    def skipped(self) -> int:
        return self._buffer.skipped

    def held(self) -> int:
        return len(self._buffer.data)

    def clear(self) -> None:
        """Throw away what is there: the line was silent, so a frame that has begun will not end."""
        self._drop(self.held())
        self._fresh = True

    def feed(self, data: bytes) -> None:
        """Only the newest BUFFER_LIMIT bytes are kept."""
        lost = max(0, self.held() + len(data) - BUFFER_LIMIT)
        self._drop(min(lost, self.held()))
        self._buffer.skipped += max(0, len(data) - BUFFER_LIMIT)
        data = data[-BUFFER_LIMIT:]
        table, last = FramerRTU.crc16_table, self._sums[-1]
        for byte in data:
            last = last >> 8 ^ table[(last ^ byte) & 0xFF]
            self._sums.append(last)
        for at in range(len(data)):
            self._look_again(self.held() + at, 2)
        self._dead += bytes(len(data))
        self._buffer.feed(data)

    def next(self) -> Frame | None:
        """The next frame, None when more bytes are needed. FrameError: the frame that is due is corrupt, and was dropped."""
        data, corrupt = self._buffer.data, -1
        for at in self._ripened():
            sizes, needs = self._sizes(at)
            expected = self.wanted is None or (len(data) > at + 1 and self.wanted(data[at], data[at + 1]))
            good = next((size for size in sizes if self._sums_up(at, size)), 0)
            if good and (expected or self._dead.find(0) == at):
                return self._take(at, good)
            if good:
                self._aside.append(self._gone + at)
                continue
            if needs:
                self._look_again(at, needs)
                continue
            self._dead[at] = 1
            due = at == 0 and self._fresh if self.wanted is None else expected
            if sizes and due and corrupt < 0:
                corrupt = at
        alive = self._dead.find(0)
        self._drop(len(data) if alive < 0 else alive)
        if corrupt >= 0:
            self._fresh = False
            raise FrameError("CRC: it does not fit the frame that is due", corrupt)
        return None

    def _ripened(self) -> Iterator[int]:
        """Offsets that have what they waited for, first one first. Each byte is looked at a few times, however slowly it comes."""
        end = self._gone + self.held()
        fresh = self._aside
        self._aside = []
        while self._waiting and self._waiting[0][0] <= end:
            fresh.append(heappop(self._waiting)[1])
        if fresh:
            self._ripe = sorted({*self._ripe, *fresh}, reverse=True)
        while self._ripe:
            at = self._ripe.pop() - self._gone
            if at >= 0 and not self._dead[at]:
                yield at

    def _look_again(self, at: int, size: int) -> None:
        heappush(self._waiting, (self._gone + at + size, self._gone + at))

    def _take(self, at: int, size: int) -> Frame:
        raw = bytes(self._buffer.data[at : at + size])
        self._drop(at)
        self._drop(size, counted=False)
        self._fresh = True
        return Frame(raw[0], raw[1], raw[2:-2])

    def _drop(self, count: int, *, counted: bool = True) -> None:
        if not count:
            return
        if counted:
            self._buffer.skip(count)
            self._fresh = False
        else:
            self._buffer.take(count)
        self._gone += count
        del self._sums[:count]
        del self._dead[:count]

    def _sizes(self, at: int) -> tuple[list[int], int]:
        """Whole frame sizes that could begin here and are here, and how many bytes another would need; 0 if none could come."""
        data = self._buffer.data
        there = len(data) - at
        if data[at] > LAST_UNIT:
            return [], 0
        sizes, needs = [], []
        for direction in self._directions:
            size = data_size(data[at + 1], data, at + 2, direction)
            if size is None:
                needs.append(max(there + 1, SHORTEST + least_objects(data, at + 2)))
            elif 0 <= size <= LONGEST - SHORTEST:
                whole = SHORTEST + size
                if there < whole:
                    needs.append(whole)
                elif fits(data[at + 1], bytes(data[at + 2 : at + whole - 2]), direction):
                    sizes.append(whole)
        return sizes, min(needs, default=0)

    def _sums_up(self, at: int, size: int) -> bool:
        """A CRC over a frame and its own CRC is zero."""
        before = self._sums[at] ^ _START
        low, high = _after()[size]
        return int(low[before & 0xFF]) ^ int(high[before >> 8]) == self._sums[at + size]
