"""Link-layer segmentation (DL/T 698.45-2017, segmented transfer): one APDU in several frames, each confirmed but the last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from protocols.dlt698.frame import (
    CONFIRM,
    FIRST,
    LAST,
    MIDDLE,
    SEGMENT_NUMBERS,
    SEGMENTED,
    Frame,
)
from protocols.errors import FrameError, Misuse

#: One APDU joined from segments or data blocks: 60 days of 96 rows with a dozen columns are 0.4 MB. More is a peer gone wild.
MAX_APDU: Final = 4 * 1024 * 1024


def split(frame: Frame, size: int) -> list[Frame]:
    """The frames that carry `frame.data` in pieces of at most `size` bytes; the frame itself if one is enough.

    Misuse: more pieces than there are numbers, or `size` below 1.
    """
    if len(frame.data) <= size:
        return [frame]
    if size < 1 or len(frame.data) > size * SEGMENT_NUMBERS:
        raise Misuse(f"segments: {len(frame.data)} bytes in pieces of {size}")
    pieces = [frame.data[i : i + size] for i in range(0, len(frame.data), size)]
    kinds = [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST]
    return [
        replace(frame, control=frame.control | SEGMENTED, segment=kind << 14 | number, data=piece)
        for number, (kind, piece) in enumerate(zip(kinds, pieces, strict=True))
    ]


def confirm(frame: Frame, control: int) -> Frame:
    """The confirmation of a segment, from the other side; `control` is the answer's control byte."""
    return Frame(
        frame.server, frame.client, control | SEGMENTED, b"", CONFIRM << 14 | frame.segment_number, False
    )


@dataclass(frozen=True, slots=True)
class Joined:
    """What a segment leads to: `apdu` when it was the last one, else a confirmation is due. A repeated segment is not new."""

    apdu: bytes | None
    repeated: bool = False


class Joiner:
    """Puts segments together. Out of order: FrameError, and what was gathered is dropped."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._number = -1
        self._size = 0

    @property
    def begun(self) -> bool:
        return bool(self._parts)

    def reset(self) -> None:
        self._parts = []
        self._number = -1
        self._size = 0

    def add(self, frame: Frame) -> Joined:
        """Take the next data segment (never a confirmation). FrameError: a gap, an empty piece, more than MAX_APDU; its offset counts
        from the segment word.
        """
        number = frame.segment_number
        if frame.segment_kind == FIRST:
            if self._number == number and self._parts == [frame.data]:
                return Joined(None, True)
            self.reset()
        elif not self._parts:
            raise FrameError(f"segment: number {number} without a first one", 0)
        elif number == self._number:
            return Joined(None, True)
        elif number != (self._number + 1) % SEGMENT_NUMBERS:
            expected = (self._number + 1) % SEGMENT_NUMBERS
            self.reset()
            raise FrameError(f"segment: number {number}, must be {expected}", 0)
        if not frame.data:
            self.reset()
            raise FrameError(f"segment: number {number} must not be empty", 2)
        self._size += len(frame.data)
        if self._size > MAX_APDU:
            self.reset()
            raise FrameError(f"segment: one APDU must be at most {MAX_APDU} bytes", 2)
        self._parts.append(frame.data)
        self._number = number
        if frame.segment_kind != LAST:
            return Joined(None)
        apdu = b"".join(self._parts)
        self.reset()
        return Joined(apdu)
