"""One frame of the 1997 edition in words, for people: what `headend decode` prints.

The frame's shape is the same in both editions; the function code tells them apart. Two codes are in both: 08H (broadcast
time) means the same and is taken; 03H is re-read here, with no data or a DI, and security authentication there, with at
least eight bytes; a first DI byte of 90H and above tells its answers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from protocols.dlt645.edition1997.items import item
from protocols.dlt645.edition1997.values import Span, decode, spans
from protocols.dlt645.edition1997.words import BAUD_RATES, ERROR_BITS, FUNCTIONS, GRID_BITS
from protocols.dlt645.fields import Value
from protocols.dlt645.frame import START, WAKE_UP, Frame
from protocols.dlt645.frame import decode as decode_frame
from protocols.dlt645.words import bit_names
from protocols.errors import FrameError
from protocols.part import MASK, Part

_READ, _FOLLOW, _AGAIN, _WRITE, _TIME, _ADDRESS, _BAUD, _PASSWORD, _RESET = (
    0x01, 0x02, 0x03, 0x04, 0x08, 0x0A, 0x0C, 0x0F, 0x10,
)  # fmt: skip
#: The item that is the meter's password.
PASSWORD_DI: Final = 0xC212
#: The status words: shown in hex, and their bits where they are known.
_WORDS: Final = (0xC020, 0xC021, 0xC022)
#: No identifier of this edition lies below; in an answer of 2007 with function 03H this byte is 00H-03H.
_LOWEST_DI1: Final = 0x90
#: Where the data begin in a frame without wake-up bytes.
_DATA_AT: Final = 10


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if it is corrupt or of another edition.

    Data that the table does not know or that do not fit it are given as they are, in `data_bytes_wire_order`; so are
    those whose delimiters the values do not show.
    """
    frame = _frame(raw)
    told: dict[str, Any] = {
        "address": frame.address,
        "control": f"{frame.control:02X}H",
        "direction": "meter->master" if frame.from_meter else "master->meter",
        "function": FUNCTIONS[frame.function][0],
    }
    if frame.from_meter and frame.more:
        told["follow_up"] = True
    return told | (_error(frame) if frame.error else _body(frame, reveal))


def _frame(raw: bytes) -> Frame:
    """FrameError unless it is a frame of this edition."""
    frame = decode_frame(raw)
    at = _wake(raw) + 8
    if frame.function not in FUNCTIONS:
        raise FrameError(f"control: {frame.control:02X}H is no function of the 1997 edition", at)
    if frame.function == _AGAIN and not frame.error:
        size = len(frame.data)
        ours = size >= 3 and frame.data[1] >= _LOWEST_DI1 if frame.from_meter else size in (0, 2)
        if not ours:
            raise FrameError(f"control: {frame.control:02X}H with {size} bytes is not the 1997 re-read", at)
    return frame


def _wake(raw: bytes) -> int:
    return len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))


def _error(frame: Frame) -> dict[str, Any]:
    code = int.from_bytes(frame.data, "little")
    return {"error_word": f"{code:0{2 * len(frame.data)}X}H", "error_bits": bit_names(code, ERROR_BITS)}


def _body(frame: Frame, reveal: bool) -> dict[str, Any]:
    told, left = _known(frame)
    if left:
        told["data_bytes_wire_order"] = left.hex()
    secret = told.get("data_id") == f"{PASSWORD_DI:04X}" or frame.function in (_WRITE, _PASSWORD, _RESET)
    if not reveal and secret:
        told |= {key: MASK for key in told if key in _SECRET_KEYS}
        if "password" not in told and left:  # the data may be a password cut short
            told["data_bytes_wire_order"] = MASK
    if not reveal and told.get("data_id") == f"{PASSWORD_DI:04X}":
        told |= {key: MASK for key in ("values", "data_bytes_wire_order") if key in told}
    return told


_SECRET_KEYS: Final = ("password", "new_password")
_Told = tuple[dict[str, Any], bytes]


def _known(frame: Frame) -> _Told:
    """What the function makes of the data; what it leaves over."""
    take = (_ANSWERS if frame.from_meter else _REQUESTS).get(frame.function)
    return take(frame) if take else ({}, frame.data)


def _identified(frame: Frame) -> _Told:
    """DI and what the table says of it; the rest of the data."""
    if len(frame.data) < 2:
        return {}, frame.data
    di = int.from_bytes(frame.data[:2], "little")
    found = item(di)
    name = {"data_name": found.name_en, "data_name_zh": found.name_zh} if found else {}
    return {"data_id": f"{di:04X}"} | name, frame.data[2:]


def _read_answer(frame: Frame) -> _Told:
    """Only the first frame of a long answer begins at an item; what follows is joined by the exchange."""
    told, left = _identified(frame)
    if not told or not left or frame.more:
        return told, left
    return _valued(told, left)


def _valued(told: dict[str, Any], left: bytes) -> _Told:
    di = int(told["data_id"], 16)
    try:
        decoded = decode(di, left)
    except FrameError:
        return told, left
    told["values"] = [shown for value in decoded.values for shown in _shown(di, value)]
    if decoded.tail:
        told["vendor_tail"] = decoded.tail.hex()
    return told, left if decoded.delimited else b""


def _write_request(frame: Frame) -> _Told:
    """DI, PA P0 P1 P2, data."""
    told, left = _identified(frame)
    if len(left) < 4:
        return told, left
    told |= _authority(left[:4])
    return _valued(told, left[4:]) if left[4:] else (told, b"")


def _password_request(frame: Frame) -> _Told:
    if len(frame.data) != 8:
        return {}, frame.data
    new = _authority(frame.data[4:])
    return _authority(frame.data[:4]) | {f"new_{key}": value for key, value in new.items()}, b""


def _password_answer(frame: Frame) -> _Told:
    return (_authority(frame.data), b"") if len(frame.data) == 4 else ({}, frame.data)


def _authority(raw: bytes) -> dict[str, Any]:
    return {"password_level": raw[0], "password": raw[:0:-1].hex().upper()}


def _time_request(frame: Frame) -> _Told:
    if len(frame.data) != 6:
        return {}, frame.data
    year, month, day, hour, minute, second = (f"{byte:02x}" for byte in frame.data[::-1])
    return {"values": [{"name": "time", "value": f"20{year}-{month}-{day} {hour}:{minute}:{second}"}]}, b""


def _address_request(frame: Frame) -> _Told:
    if len(frame.data) != 6:
        return {}, frame.data
    return {"values": [{"name": "communication address", "value": frame.data[::-1].hex().upper()}]}, b""


def _baud(frame: Frame) -> _Told:
    if len(frame.data) != 1:
        return {}, frame.data
    rate = BAUD_RATES.get(frame.data[0])
    if rate is None:
        return {}, frame.data
    return {"values": [{"name": "baud rate", "value": rate, "unit": "bit/s"}]}, b""


_REQUESTS: Final[dict[int, Callable[[Frame], _Told]]] = {
    _READ: _identified,
    _FOLLOW: _identified,
    _AGAIN: _identified,
    _WRITE: _write_request,
    _TIME: _time_request,
    _ADDRESS: _address_request,
    _BAUD: _baud,
    _PASSWORD: _password_request,
    _RESET: _password_answer,
}
_ANSWERS: Final[dict[int, Callable[[Frame], _Told]]] = {
    _READ: _read_answer,
    _FOLLOW: _identified,
    _AGAIN: _read_answer,
    _BAUD: _baud,
    _PASSWORD: _password_answer,
}


def _shown(di: int, value: Value) -> Iterator[dict[str, Any]]:
    plain: Any = value.value
    if di in _WORDS and isinstance(plain, int):
        yield {"name": value.name, "value": f"{plain:02X}H"}
        for name in bit_names(plain, GRID_BITS) if di == 0xC021 else ():
            yield {"name": name, "value": True}
        return
    if isinstance(plain, Decimal):
        plain = float(plain)
    elif isinstance(plain, dt.date | dt.time):
        plain = str(plain)
    yield {"name": value.name, "value": plain} | ({"unit": value.unit} if value.unit else {})


# --- range by range ---


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same frame, every byte of it once. Errors as `describe`."""
    frame = _frame(raw)
    wake = _wake(raw)
    at, end = wake + _DATA_AT, len(raw) - 2
    name, name_zh = FUNCTIONS[frame.function]
    who = "answer of the meter" if frame.from_meter else "request of the master"
    flags = (", refused" if frame.error else "") + (", more to follow" if frame.more else "")
    found = [Part(0, wake, "wake-up bytes", "前导字节")] if wake else []
    found += [
        Part(wake, wake + 1, "start", "帧起始符", f"{START:02X}H"),
        Part(wake + 1, wake + 7, "address", "地址域", frame.address),
        Part(wake + 7, wake + 8, "start", "帧起始符", f"{START:02X}H"),
        Part(wake + 8, wake + 9, "control code", "控制码", f"{name}（{name_zh}）, {who}{flags}"),
        Part(wake + 9, wake + 10, "data length", "数据域长度", str(len(frame.data))),
    ]
    found += [
        Part(at + part.start, at + part.end, part.name, part.name_zh, part.meaning, part.level)
        for part in _data_parts(frame, reveal)
    ]
    found.append(Part(end, end + 1, "checksum", "校验码", "right"))
    found.append(Part(end + 1, end + 2, "end", "结束符", "16H"))
    return found


def _data_parts(frame: Frame, reveal: bool) -> Iterator[Part]:
    """The data field, offsets from its first byte (33H is subtracted before anything is read)."""
    data, function = frame.data, frame.function
    if not data:
        return
    if frame.error:
        code = int.from_bytes(data, "little")
        yield Part(0, len(data), "error", "错误信息字", ", ".join(bit_names(code, ERROR_BITS)), 1)
    elif function in (_READ, _FOLLOW, _AGAIN, _WRITE) and len(data) >= 2:
        di = int.from_bytes(data[:2], "little")
        found = item(di)
        told = f"{di:04X} " + (f"{found.name_en}（{found.name_zh}）" if found else "not in the table")
        yield Part(0, 2, "data identifier", "数据标识", told, 1)
        yield from _behind_di(frame, di, reveal)
    else:
        yield from _command_parts(frame, reveal)


def _behind_di(frame: Frame, di: int, reveal: bool) -> Iterator[Part]:
    at, data = 2, frame.data
    writes = frame.function == _WRITE and not frame.from_meter
    if writes and len(data) >= 6:
        yield from _authority_parts(data, 2, reveal)
        at = 6
    if at == len(data):
        return
    hidden = not reveal and (di == PASSWORD_DI or (writes and at == 2))
    whole = frame.function != _FOLLOW and not frame.more
    found: list[Span] = []
    if whole and not hidden:
        try:
            found = list(spans(di, data[at:]))
        except FrameError as error:
            yield Part(at, len(data), "data", "数据", f"not decoded: {error.message}", 1)
            return
    for span in found:
        yield _span_part(di, span, at, data)
    if not found:
        yield Part(at, len(data), "data", "数据", MASK if hidden else "part of a long answer", 1)


def _span_part(di: int, span: Span, at: int, data: bytes) -> Part:
    start, end = at + span.start, at + span.end
    if span.kind == "delimiter":
        return Part(start, end, "delimiter", "数据块分隔符", "AAH", 1)
    if span.kind == "tail" or span.field is None:
        return Part(start, end, "vendor's byte", "厂家附加字节", data[start:end].hex().upper() + "H", 1)
    found = item(di)
    told = [shown for value in span.values for shown in _shown(di, value)]
    words = ", ".join(f"{_words(one)}" if len(told) == 1 else f"{one['name']} {_words(one)}" for one in told)
    name = found.name_en if found and span.field.name == "value" else span.field.name
    return Part(start, end, name, found.name_zh if found else name, words, 1)


def _words(shown: dict[str, Any]) -> str:
    value = "missing" if shown["value"] is None else shown["value"]
    return f"{value} {shown.get('unit', '')}".rstrip()


def _command_parts(frame: Frame, reveal: bool) -> Iterator[Part]:
    data, function, size = frame.data, frame.function, len(frame.data)
    if (function == _PASSWORD and size in (4, 8)) or (function == _RESET and size == 4):
        yield from _authority_parts(data, 0, reveal)
        if size == 8:
            yield from _authority_parts(data, 4, reveal, "new ", "新")
        return
    secret = not reveal and function in (_PASSWORD, _RESET, _WRITE)
    values = _known(frame)[0].get("values")
    if secret or not values:
        yield Part(0, size, "data", "数据", MASK if secret else "not decoded", 1)
        return
    yield Part(0, size, values[0]["name"], _ZH[values[0]["name"]], _words(values[0]), 1)


_ZH: Final = {"time": "时间", "communication address": "通信地址", "baud rate": "通信速率"}


def _authority_parts(data: bytes, at: int, reveal: bool, new: str = "", zh: str = "") -> Iterator[Part]:
    told = _authority(data[at : at + 4])
    yield Part(at, at + 1, f"{new}password level", f"{zh}密码权限", str(told["password_level"]), 1)
    yield Part(at + 1, at + 4, f"{new}password", f"{zh}密码", told["password"] if reveal else MASK, 1)
