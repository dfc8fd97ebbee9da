"""One TCP frame in words, and byte by byte. As in RTU, a frame alone may be read as a request or an answer."""

from __future__ import annotations

from typing import Any

from protocols.modbus import telling
from protocols.modbus.tcp.frame import HEADER, decode
from protocols.part import Part


def describe(
    raw: bytes, *, reveal: bool = False, model: str = "", address: int | None = None
) -> dict[str, Any]:
    """One frame -> its fields by name, `transaction` among them. Else as protocols.modbus.rtu.describe."""
    telling.known_model(model)
    frame = decode(raw)
    return {"transaction": frame.transaction} | telling.tell(frame, model, address)


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same frame range by range, from its first byte to its last. Errors as `describe`."""
    frame = decode(raw)
    return [
        Part(0, 2, "transaction identifier", "事务标识", str(frame.transaction)),
        Part(2, 4, "protocol identifier", "协议标识", "0: Modbus"),
        Part(4, 6, "length", "长度", f"{len(raw) - 6} bytes follow"),
        telling.unit_part(6, frame.unit),
        *telling.pdu_parts(frame, HEADER),
    ]
