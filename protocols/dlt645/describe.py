"""One frame in words, for people: what `headend decode` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from protocols.dlt645 import blocks, values
from protocols.dlt645.exchange import split_authority
from protocols.dlt645.frame import Frame, decode
from protocols.dlt645.items import item
from protocols.dlt645.status import explain
from protocols.dlt645.words import (
    COMMANDS,
    CONTROL_DONE_BITS,
    CONTROL_ERROR_BITS,
    ERROR_BITS,
    FUNCTIONS,
    bit_names,
)
from protocols.errors import FrameError

MASK: Final = "******"
#: Functions whose data field carries a password: it is not shown raw either.
_SECRET: Final = (0x03, 0x14, 0x18, 0x19, 0x1A, 0x1B, 0x1C)
_STATUS_WORDS: Final = range(0x04000501, 0x04000508)


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if it is corrupt.

    Data that the table does not know or that do not fit it are given as they are, in `data_bytes_wire_order`.
    """
    frame = decode(raw)
    told: dict[str, Any] = {
        "address": frame.address,
        "control": f"{frame.control:02X}H",
        "direction": "meter->master" if frame.from_meter else "master->meter",
        "function": FUNCTIONS.get(frame.function, (f"function {frame.function:02X}H",))[0],
    }
    if frame.from_meter and frame.more:
        told["follow_up"] = True
    told |= _error(frame) if frame.error else _body(frame, reveal)
    return told


def _error(frame: Frame) -> dict[str, Any]:
    code = int.from_bytes(frame.data, "little")
    table = CONTROL_ERROR_BITS if frame.function == 0x1C and len(frame.data) == 2 else ERROR_BITS
    return {"error_word": f"{code:0{2 * len(frame.data)}X}H", "error_bits": bit_names(code, table)}


def _body(frame: Frame, reveal: bool) -> dict[str, Any]:
    parts = _ANSWERS if frame.from_meter else _REQUESTS
    told: dict[str, Any] = {}
    left = frame.data
    if frame.function in parts:
        told, left = parts[frame.function](frame)
    if not reveal:
        told |= {secret: MASK for secret in ("password", "operator") if secret in told}
    if left and not reveal and not frame.from_meter and frame.function in _SECRET and "password" not in told:
        told["data_bytes_wire_order"] = MASK
    elif left:
        told["data_bytes_wire_order"] = left.hex()
    return told


_Told = tuple[dict[str, Any], bytes]


def _identified(data: bytes) -> _Told:
    """DI and what the table says of it; the rest of the data."""
    if len(data) < 4:
        return {}, data
    di = int.from_bytes(data[:4], "little")
    found = item(di)
    name = {"data_name": found.name_en, "data_name_zh": found.name_zh} if found else {}
    return {"data_id": f"{di:08X}"} | name, data[4:]


def _read_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if told.get("data_id", "").startswith("06") and left:
        try:
            count, start = blocks.decode_request(left)
        except FrameError:
            return told, left
        told["blocks"] = count
        if start is not None:
            told["from"] = str(start)
        left = b""
    return told, left


def _follow_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if len(left) == 1:
        return told | {"sequence": left[0]}, b""
    return told, left


def _read_answer(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if not told or frame.more:
        return told, left
    try:
        told["values"] = list(_values(int(told["data_id"], 16), left))
    except FrameError:
        return told, left
    return told, b""


def _follow_answer(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if left:
        told["sequence"] = left[-1]
    return told, left[:-1]


def _address_answer(frame: Frame) -> _Told:
    if len(frame.data) != 6:
        return {}, frame.data
    return {"values": [{"name": "communication address", "value": frame.data[::-1].hex().upper()}]}, b""


def _broadcast(frame: Frame) -> _Told:
    if len(frame.data) != 6:
        return {}, frame.data
    return {"values": [{"name": "time", "value": _stamp(frame.data)}]}, b""


def _write_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if len(left) < 8:
        return told, left
    return told | _authority(left[:8]), left[8:]


def _control_request(frame: Frame) -> _Told:
    data = frame.data
    if len(data) != 16:
        return {}, data
    command = COMMANDS.get(data[8], "unknown command")
    return _authority(data[:8]) | {
        "command": f"{data[8]:02X}H {command}",
        "command_valid_until_wire_order": data[9:].hex(),
        "valid_until": _stamp(data[10:]),
    }, b""


def _control_answer(frame: Frame) -> _Told:
    if len(frame.data) != 2:
        return {}, frame.data
    word = int.from_bytes(frame.data, "little")
    return {"execution_word": f"{word:04X}H", "execution_bits": bit_names(word, CONTROL_DONE_BITS)}, b""


_REQUESTS: Final = {
    0x08: _broadcast,
    0x11: _read_request,
    0x12: _follow_request,
    0x14: _write_request,
    0x1C: _control_request,
}
_ANSWERS: Final = {
    0x11: _read_answer,
    0x12: _follow_answer,
    0x13: _address_answer,
    0x1C: _control_answer,
}


def _authority(raw: bytes) -> dict[str, Any]:
    level, password, operator = split_authority(raw)
    return {"password_level": level, "password": password, "operator": operator}


def _stamp(raw: bytes) -> str:
    """ss mm hh DD MM YY as it stands: in a command it need not be a date."""
    year, month, day, hour, minute, second = (f"{byte:02x}" for byte in raw[::-1])
    return f"20{year}-{month}-{day} {hour}:{minute}:{second}"


def _values(di: int, data: bytes) -> Iterator[dict[str, Any]]:
    found = item(di)
    if found is not None and found.form == "load-record":
        yield from (_block(block) for block in blocks.decode_blocks(data))
        return
    for value in values.decode(di, data):
        if di in _STATUS_WORDS and isinstance(value.value, int):
            yield {"name": value.name, "value": f"{value.value:04X}H"}
            for flag, says in explain(di & 0xFF, value.value):
                yield {"name": f"{flag.name_en} bit {flag.bit}", "value": says}
        elif di & 0xFFFFFF00 == 0x04000900 and isinstance(value.value, int):
            yield {"name": value.name, "value": f"{value.value:02X}H"}
        else:
            yield _shown(value)


def _shown(value: values.Value) -> dict[str, Any]:
    plain: Any = value.value
    if isinstance(plain, Decimal):
        plain = float(plain)
    elif isinstance(plain, dt.datetime | dt.date | dt.time):
        plain = str(plain)
    told = {"name": value.name, "value": plain}
    return told | {"unit": value.unit} if value.unit else told


def _block(block: blocks.LoadBlock) -> dict[str, Any]:
    told: dict[str, Any] = {"time": str(block.time), "faulty": block.faulty}
    for number, found in block.classes.items():
        told[f"class {number}"] = [_shown(value) for value in found]
    return told
