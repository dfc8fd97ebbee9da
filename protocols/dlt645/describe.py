"""One frame in words, for people: what `headend decode` prints. parts.py says the same byte by byte."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from protocols.dlt645 import blocks, requests, security, values
from protocols.dlt645.device import fits
from protocols.dlt645.edition2007 import decode
from protocols.dlt645.exchange import error_code
from protocols.dlt645.fields import Value
from protocols.dlt645.frame import OFFSET, Frame
from protocols.dlt645.items import item
from protocols.dlt645.parts import (
    BAUD_WORDS,
    PASSWORDS,
    SECRET_FUNCTIONS,
    STATUS_BLOCK,
    STATUS_WORDS,
    parts,
    stamp,
)
from protocols.dlt645.requests import split_authority
from protocols.dlt645.status import REPORT_WORD, doubts, explain, reported
from protocols.dlt645.words import (
    COMMANDS,
    CONTROL_DONE_BITS,
    FUNCTIONS,
    LEVELS,
    OUTPUTS,
    SEALED,
    baud_rate,
    bit_names,
)
from protocols.errors import FrameError
from protocols.part import MASK

__all__ = ["describe", "parts"]

#: What is shown as it is only on demand.
_SECRETS: Final = ("password", "operator", "new_password", "security_data")


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
    try:
        code, names = error_code(frame)
    except FrameError as error:
        return {"note": error.message, "data_bytes_wire_order": frame.data.hex()}
    told: dict[str, Any] = {
        "error_word": f"{code:0{2 * len(frame.data)}X}H",
        "error_bits": names if code else [],
    }
    if code != int.from_bytes(frame.data, "little"):
        told["note"] = f"sent without the {OFFSET:02X}H"
    return told


def _body(frame: Frame, reveal: bool) -> dict[str, Any]:
    table = _ANSWERS if frame.from_meter else _REQUESTS
    told: dict[str, Any] = {}
    left = frame.data
    teller = table.get(frame.function)
    free = frame.function in (requests.READ, requests.FOLLOW, requests.WRITE)  # told as far as their data go
    if teller is not None and (frame.from_meter or free or fits(frame)):
        told, left = teller(frame)
    if not reveal:
        told |= {secret: MASK for secret in _SECRETS if secret in told}
    if left:
        told["data_bytes_wire_order"] = left.hex() if reveal or not _hides(frame, told) else MASK
    return told


def _hides(frame: Frame, told: dict[str, Any]) -> bool:
    """Whether bytes that no field explains may hold a password or a challenge."""
    if _is_password(told.get("data_id", "")):
        return True
    secret = frame.function in SECRET_FUNCTIONS and "password_level" not in told
    return secret and (not frame.from_meter or frame.function in (requests.SECURITY, requests.PASSWORD))


def _is_password(data_id: str) -> bool:
    return bool(data_id) and int(data_id, 16) in PASSWORDS


_Told = tuple[dict[str, Any], bytes]


def _identified(data: bytes) -> _Told:
    """DI and what the table says of it; the rest of the data."""
    if len(data) < 4:
        return {}, data
    di = int.from_bytes(data[:4], "little")
    found = item(di)
    name = {"data_name": found.name_en, "data_name_zh": found.name_zh} if found else {}
    return {"data_id": f"{di:08X}"} | name, data[4:]


# --- requests ---


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


def _address_data(frame: Frame) -> _Told:
    if len(frame.data) != 6:
        return {}, frame.data
    return {"values": [{"name": "communication address", "value": frame.data[::-1].hex().upper()}]}, b""


def _broadcast(frame: Frame) -> _Told:
    return {"values": [{"name": "time", "value": stamp(frame.data)}]}, b""


def _write_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if len(left) < 8:
        return told, left
    told |= _authority(left[:8])
    data = left[8:]
    if told["password_level"] not in LEVELS and not _is_password(told["data_id"]):
        found = _decoded(int(told["data_id"], 16), data)
        told |= {"values": found["values"]} if found.get("values") else {}
    return told, data


def _freeze_request(frame: Frame) -> _Told:
    return {"freeze_at": freeze_words(frame.data[::-1].hex())}, b""


def freeze_words(at: str) -> str:
    """MMDDhhmm with 99 for every, as words."""
    month, day, hour, minute = (at[i : i + 2] for i in range(0, 8, 2))
    if at == "99999999":
        return "now"
    if (month, day, hour) == ("99", "99", "99"):
        return f"every hour at minute {minute}"
    if (month, day) == ("99", "99"):
        return f"every day at {hour}:{minute}"
    if month == "99":
        return f"every month on day {day} at {hour}:{minute}"
    return f"{month}-{day} {hour}:{minute}"


def _baud(frame: Frame) -> _Told:
    if len(frame.data) != 1:
        return {}, frame.data
    return {"baud_word": f"{frame.data[0]:02X}H", "baud_rate": baud_rate(frame.data[0])}, b""


def _password_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    level, password, _ = split_authority(left)
    told |= {"password_level": level, "password": password}
    return told | {"new_password_level": left[4], "new_password": left[:4:-1].hex().upper()}, b""


def _password_answer(frame: Frame) -> _Told:
    if len(frame.data) != 4:
        return {}, frame.data
    return {"new_password_level": frame.data[0], "new_password": frame.data[:0:-1].hex().upper()}, b""


def _reset_request(frame: Frame) -> _Told:
    return _authority(frame.data), frame.data[8:]


def _clear_request(frame: Frame) -> _Told:
    told = _authority(frame.data)
    di, left = int.from_bytes(frame.data[8:12], "little"), frame.data[12:]
    found = item(di)
    told["cleared"] = (
        "all events" if di == requests.ALL_EVENTS else f"{di:08X}" + (f" {found.name_en}" if found else "")
    )
    return told, left


def _control_request(frame: Frame) -> _Told:
    data = frame.data
    told = _authority(data)
    if data[0] == SEALED:
        sealed = len(data) == 8 + requests.SEALED_BYTES
        return told | ({"mac": data[-4:].hex(), "protection": LEVELS[SEALED]} if sealed else {}), data[
            8:-4
        ] if sealed else data[8:]
    if len(data) != 16:
        return told, data[8:]
    command = COMMANDS.get(data[8], "unknown command")
    told |= {
        "command": f"{data[8]:02X}H {command}",
        "command_valid_until_wire_order": data[9:].hex(),
        "valid_until": stamp(data[10:]),
    }
    return told | ({"returns_after_minutes": 5 * data[9]} if data[8] in (0x1D, 0x1E) else {}), b""


def _output_request(frame: Frame) -> _Told:
    return {"output": OUTPUTS.get(frame.data[0], f"{frame.data[0]:02X}H")}, b""


def _security_request(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    told["operator"] = left[3::-1].hex().upper()
    return told | {"security_data": _security(told["data_id"], left[4:], answer=False)}, b""


def _security_answer(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    return (
        (told | {"security_data": _security(told["data_id"], left, answer=True)}, b"")
        if told
        else (told, left)
    )


def _security(data_id: str, data: bytes, *, answer: bool) -> dict[str, str]:
    laid = security.layout(int(data_id, 16), len(data), answer=answer)
    return {piece.name: data[piece.start : piece.end].hex() for piece in laid}


# --- answers ---


def _read_answer(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if not told or frame.more or _is_password(told["data_id"]):
        return told, left
    found = _decoded(int(told["data_id"], 16), left)
    return told | found, b"" if "values" in found else left


def _decoded(di: int, data: bytes) -> dict[str, Any]:
    """`values`, and a `note` where a bit is disputed or where they do not fit."""
    try:
        found: dict[str, Any] = {"values": list(_values(di, data))}
    except FrameError as error:
        return {"note": str(error)} if item(di) is not None and data else {}
    if di in STATUS_WORDS:
        disputed = list(doubts(di & 0xFF, int.from_bytes(data, "little")))
        found |= {"note": "; ".join(disputed)} if disputed else {}
    return found


def _follow_answer(frame: Frame) -> _Told:
    told, left = _identified(frame.data)
    if left:
        told["sequence"] = left[-1]
    return told, left[:-1]


def _control_answer(frame: Frame) -> _Told:
    if len(frame.data) != 2:
        return {}, frame.data
    word = int.from_bytes(frame.data, "little")
    return {"execution_word": f"{word:04X}H", "execution_bits": bit_names(word, CONTROL_DONE_BITS)}, b""


_Teller = Callable[[Frame], _Told]
_REQUESTS: Final[dict[int, _Teller]] = {
    requests.SECURITY: _security_request,
    requests.TIME: _broadcast,
    requests.READ: _read_request,
    requests.FOLLOW: _follow_request,
    requests.WRITE: _write_request,
    requests.WRITE_ADDRESS: _address_data,
    requests.FREEZE: _freeze_request,
    requests.BAUD: _baud,
    requests.PASSWORD: _password_request,
    requests.RESET_DEMAND: _reset_request,
    requests.CLEAR_METER: _reset_request,
    requests.CLEAR_EVENTS: _clear_request,
    requests.CONTROL: _control_request,
    requests.OUTPUT: _output_request,
}
_ANSWERS: Final[dict[int, _Teller]] = {
    requests.SECURITY: _security_answer,
    requests.READ: _read_answer,
    requests.FOLLOW: _follow_answer,
    requests.ADDRESS: _address_data,
    requests.BAUD: _baud,
    requests.PASSWORD: _password_answer,
    requests.CONTROL: _control_answer,
}


def _authority(raw: bytes) -> dict[str, Any]:
    level, password, operator = split_authority(raw)
    return {"password_level": level, "password": password, "operator": operator}


# --- values ---


def _values(di: int, data: bytes) -> Iterator[dict[str, Any]]:
    found = item(di)
    if found is not None and found.form == "load-record":
        yield from (_block(block) for block in blocks.decode_blocks(data))
        return
    for place in values.places(di, data):
        for value in values.value_of(place, data):
            if place.field.form[0] == "H" and isinstance(value.value, int):
                yield {"name": value.name, "value": f"{value.value:0{2 * (place.end - place.start)}X}H"}
                yield from _bits(di, place.start, value.value)
            else:
                yield shown(value)


def _bits(di: int, start: int, word: int) -> Iterator[dict[str, Any]]:
    """What the bits of a word say, where the standard names them."""
    if di in STATUS_WORDS or di == STATUS_BLOCK:
        number = di & 0xFF if di in STATUS_WORDS else start // 2 + 1
        prefix = "" if di in STATUS_WORDS else f"word {number} "
        for flag, says in explain(number, word):
            yield {"name": f"{prefix}{flag.name_en} bit {flag.bit}", "value": says}
    elif di == REPORT_WORD and start == 0:
        yield from ({"name": f"{bit.name_en} bit {bit.bit}", "value": "new"} for bit in reported(word))
    elif di in BAUD_WORDS and baud_rate(word):
        yield {"name": "baud rate", "value": baud_rate(word)}


def shown(value: Value) -> dict[str, Any]:
    """One value as JSON has it."""
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
        told[f"class {number}"] = [shown(value) for value in found]
    return told
