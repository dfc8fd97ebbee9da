"""One frame for people: in words, as `headend decode` prints it, and range by range."""

from __future__ import annotations

from typing import Any, Final

from protocols.dlt698 import show
from protocols.dlt698.frame import DATA, LINK, SCRAMBLED, Frame, decode
from protocols.dlt698.parts import parts
from protocols.dlt698.tell import tell
from protocols.part import MASK

__all__ = ["describe", "parts"]

DIRECTIONS: Final = {
    0x00: "client->server (reply to server)",
    0x40: "client->server request",
    0x80: "server->client report/link request",
    0xC0: "server->client reply",
}
ADDRESS_KINDS: Final = ("single", "wildcard", "group", "broadcast")
SEGMENT_KINDS: Final = ("first", "last", "confirm", "middle")
_FUNCTIONS: Final = {LINK: "link management", DATA: "user data"}


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if the frame is corrupt.

    An APDU that is not decoded, in a frame that is in order, is given as its bytes (`undecoded`), with the complaint in `decode_note`.
    """
    frame = decode(raw)
    offset = len(raw) - 3 - len(frame.data)
    told: dict[str, Any] = {
        "address": {
            "SA": frame.server.digits,
            "SA_type": ADDRESS_KINDS[frame.server.kind],
            "logical": frame.server.logical,
            "CA": f"{frame.client:02X}",
        },
        "control": f"{frame.control:02X}H",
        "direction": DIRECTIONS[frame.control & 0xC0],
        "fragment": frame.segment is not None,
        "function": _FUNCTIONS.get(frame.function, f"function {frame.function}"),
    }
    if frame.control & SCRAMBLED:
        told["scrambled"] = True
    return told | (
        _segment(frame, reveal) if frame.segment is not None else {"apdu": tell(frame.data, reveal, offset)}
    )


def _segment(frame: Frame, reveal: bool) -> dict[str, Any]:
    return {
        "fragment_no": frame.segment_number,
        "fragment_type": SEGMENT_KINDS[frame.segment_kind],
        "fragment_data": frame.data.hex() if reveal or not show.may_hide(frame.data) else MASK,
    }
