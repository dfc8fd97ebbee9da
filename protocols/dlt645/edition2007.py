"""Which frames are this edition's: the frame's shape is that of 1997 too, only the function code tells them apart."""

from __future__ import annotations

from typing import Final

from protocols.dlt645 import frame as frames
from protocols.dlt645.frame import WAKE_UP, Frame
from protocols.errors import FrameError

#: Functions that 1997 has and 2007 has not. What neither knows is a manufacturer's, and is shown as it is.
_OF_1997: Final = frozenset((0x01, 0x02, 0x04, 0x05, 0x0A, 0x0C, 0x0F, 0x10))
_SECURITY: Final = 0x03
#: A request of 03H authenticates with a DI, an operator code and more; in 1997 it repeats a read, with a DI of two bytes or none.
_SIZES_OF_1997: Final = (0, 2)
#: DI1 of the 1997 edition begins here; in an answer of this edition the same byte is 00H-03H.
_LOWEST_DI1_OF_1997: Final = 0x90


def decode(raw: bytes) -> Frame:
    """Exactly one frame of DL/T 645-2007. FrameError as `frame.decode`, and for a function that only 1997 has."""
    frame = frames.decode(raw)
    at = len(raw) - len(raw.lstrip(bytes((WAKE_UP,)))) + 8
    if frame.function in _OF_1997:
        raise FrameError(f"control code: {frame.control:02X}H is a function of DL/T 645-1997", at)
    if frame.function == _SECURITY and not frame.error and _repeats_a_read(frame):
        raise FrameError("control code: 03H with this data is re-read of DL/T 645-1997", at)
    return frame


def _repeats_a_read(frame: Frame) -> bool:
    if frame.from_meter:
        return len(frame.data) >= 2 and frame.data[1] >= _LOWEST_DI1_OF_1997
    return len(frame.data) in _SIZES_OF_1997
