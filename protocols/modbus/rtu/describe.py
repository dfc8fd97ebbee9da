"""One RTU frame in words, and byte by byte.

A lone frame does not say whether it asks or answers. Both forms are tried; where both fit (05 and 06 always, an answer of the
right size by chance) `direction` says so and the fields are told as those of the request.
"""

from __future__ import annotations

from typing import Any

from protocols.modbus import telling
from protocols.modbus.rtu.frame import decode
from protocols.part import Part


def describe(
    raw: bytes, *, reveal: bool = False, model: str = "", address: int | None = None
) -> dict[str, Any]:
    """One frame -> its fields by name. FrameError if it is corrupt; Misuse if there is no map of that model.

    With `model`, a request names what it asks for; with `address` too, the first register asked, an answer's registers become
    values. Without them registers are numbers. There are no secrets in Modbus: `reveal` changes nothing.
    """
    telling.known_model(model)
    return telling.tell(decode(raw), model, address)


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same frame range by range, from its first byte to its last. Errors as `describe`."""
    frame = decode(raw)
    end = len(raw) - 2
    crc = Part(end, len(raw), "CRC", "校验码", f"{raw[:-3:-1].hex().upper()}H, right")
    return [telling.unit_part(0, frame.unit), *telling.pdu_parts(frame, 1), crc]
