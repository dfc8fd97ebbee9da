"""One message in words, for people: what `headend decode` prints.

An identification with the readout behind it is one message. What no check covers says so. The text of a password command is
masked; so is that of P0, which the password is derived from.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from protocols.errors import FrameError
from protocols.iec62056_21 import frame as shape
from protocols.iec62056_21.frame import (
    Ack,
    Block,
    Command,
    Frame,
    Identification,
    Nak,
    Readout,
    Request,
    Select,
)
from protocols.iec62056_21.items import Item, item
from protocols.iec62056_21.values import (
    DataSet,
    Profile,
    Stamp,
    Value,
    body_end,
    check,
    profiles,
    sets,
    stamp,
)
from protocols.part import MASK, Part

#: Data sets of a block that are shown, and values of one: more than a readout has, a day of a load profile. The rest is
#: counted.
SHOWN: Final = 400

#: Command -> (English, 中文).
COMMANDS: Final = {
    "P0": ("password challenge", "口令质询"),
    "P1": ("password", "口令"),
    "P2": ("password, secured", "口令（加密）"),
    "W1": ("write", "写"),
    "W2": ("write, formatted", "格式写"),
    "W3": ("write with partial blocks", "分块写"),
    "W4": ("write, formatted, with partial blocks", "格式分块写"),
    "W5": ("write, national", "写（国家用途）"),
    "R1": ("read", "读"),
    "R2": ("read, formatted", "格式读"),
    "R3": ("read with partial blocks", "分块读"),
    "R4": ("read, formatted, with partial blocks", "格式分块读"),
    "R5": ("read, national", "读（国家用途）"),
    "R6": ("read, national, with partial blocks", "分块读（国家用途）"),
    "E2": ("execute, formatted", "格式执行"),
    "B0": ("break", "中断"),
}
_SELECTED: Final = {
    "0": ("data readout", "数据读出"),
    "1": ("programming mode", "编程模式"),
    "2": ("binary mode (HDLC)", "二进制模式"),
}
_NO_CHECK: Final = "none: the standard has no check character here"


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """One message -> its fields by name. Passwords only with `reveal`. FrameError if it is corrupt."""
    frame = shape.decode(raw)
    told: dict[str, Any] = {"message": _name(frame)[0]}
    match frame:
        case Request():
            told |= {"address": frame.address, "direction": "master->meter", "check": _NO_CHECK}
        case Identification():
            told |= _identified(frame) | {"check": _NO_CHECK}
        case Select():
            told |= _selected(frame) | {"direction": "master->meter", "check": _NO_CHECK}
        case Readout():
            told |= _identified(frame.identification) | _block(frame.block, _text_at(raw, frame))
        case Block():
            told |= {"direction": "meter->master"} | _block(frame, _text_at(raw, frame))
        case Command():
            told |= _command(frame, reveal)
        case Ack() | Nak():
            pass
    return told


_NAMES: Final[dict[type, tuple[str, str]]] = {
    Request: ("sign-on", "请求"),
    Identification: ("identification", "标识"),
    Select: ("acknowledgement/option select", "应答与选项"),
    Ack: ("acknowledgement", "肯定应答"),
    Nak: ("repeat request", "重发请求"),
    Readout: ("data readout", "数据读出"),
    Block: ("data block", "数据块"),
}


def _name(frame: Frame) -> tuple[str, str]:
    if isinstance(frame, Command):
        return COMMANDS.get(frame.name, ("command", "命令"))
    return _NAMES[type(frame)]


def _identified(frame: Identification) -> dict[str, Any]:
    told = {
        "direction": "meter->master",
        "manufacturer": frame.manufacturer,
        "mode": frame.mode,
        "baud_rate": frame.rate,
        "identification": frame.ident,
    }
    return told | ({"options": list(frame.options)} if frame.options else {})


def _selected(frame: Select) -> dict[str, Any]:
    return {
        "protocol": frame.protocol,
        "baud_rate": shape.BAUD_C.get(frame.baud, frame.baud),
        "mode_selected": _SELECTED.get(frame.mode, (f"manufacturer's mode {frame.mode}",))[0],
    }


def _block(block: Block, at: int) -> dict[str, Any]:
    """Values of data sets or rows of a profile. FrameError if the text is neither; its offset moved to the frame's."""
    told: dict[str, Any] = {"check": _NO_CHECK} if block.plain else {}
    if not block.last:
        told["follow_up"] = True
    found = _shown_sets(block.text, at)
    if _is_error(found):
        return told | {"error_message": found[0].values[0].text}
    if len(found) == 1 and found[0].id:
        told["data_id"] = found[0].id
    left_out = block.text.count(b"(") - sum(min(len(data.values), SHOWN) for data in found)
    if left_out:
        told["values_left_out"] = left_out
    if _is_profile(found):
        try:
            return told | _profiled(profiles(found))
        except FrameError:
            pass  # a part of a profile, or a manufacturer's own: shown as the data sets that it has
    return told | {"values": [value for data in found for value in _values(data)]}


def _shown_sets(text: bytes, at: int) -> list[DataSet]:
    """The first data sets, all of them having been checked; `at`: where the text stands in the frame."""
    _check(text, at)
    return list(islice(sets(text), SHOWN))


def _check(text: bytes, at: int) -> None:
    try:
        check(text)
    except FrameError as error:
        raise error.moved(at) from None


def _is_error(found: list[DataSet]) -> bool:
    """(ERROR), (ERR12): an answer without an identifier."""
    return len(found) == 1 and not found[0].id and found[0].values[0].text.upper().startswith("ER")


def _is_profile(found: list[DataSet]) -> bool:
    meaning = item(found[0].id) if found else None
    return meaning is not None and meaning.form == "profile"


def _profiled(found: list[Profile]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for profile in found:
        for number, row in enumerate(profile.rows):
            told: dict[str, Any] = {"time": _row_time(profile, number), "status": profile.status}
            for (identifier, unit), value in zip(profile.columns, row, strict=True):
                told[identifier] = _plain(value)
                if unit:
                    told[f"{identifier} unit"] = unit
            rows.append(told)
    count = sum(len(profile.rows) for profile in found)
    told = {
        "rows": rows,
        "columns": [list(column) for column in found[0].columns],
        "minutes": found[0].minutes,
    }
    return told | ({"rows_left_out": count - len(rows)} if count > len(rows) else {})


def _row_time(profile: Profile, number: int) -> str | None:
    if profile.start is None:
        return None
    try:
        return _shown(
            Stamp(profile.start.time + number * dt.timedelta(minutes=profile.minutes), profile.start.season)
        )
    except OverflowError:
        return None


def _values(data: DataSet) -> Iterator[dict[str, Any]]:
    meaning = item(data.id)
    name = meaning.name_en if meaning else data.id or "value"
    for number, value in enumerate(data.values[:SHOWN]):
        told = {
            "name": name if number == 0 else f"{name}, value {number + 1}",
            "value": _meant(meaning, value, number),
        }
        if data.id:
            told["id"] = data.id
        unit = value.unit or (
            meaning.unit if meaning and number == 0 and isinstance(value.plain, Decimal) else ""
        )
        yield told | ({"unit": unit} if unit else {})


def _meant(meaning: Item | None, value: Value, number: int) -> Any:
    """What a person reads: identifiers and codes as they stand, numbers as numbers, time stamps as dates."""
    if meaning is None or meaning.form in ("text", "hex", "time"):
        return value.text.strip() or None
    if meaning.form == "stamp" or (number > 0 and not value.unit):
        when = stamp(value.text)
        if when is None:
            return value.text.strip() if value.text.strip("0-:. ") else None  # all zero: never
        digits = sum(character.isdecimal() for character in value.text)
        return _shown(when) if digits > _DATE_DIGITS else str(when.time.date())
    return _plain(value)


#: YYMMDD, with a season before it.
_DATE_DIGITS: Final = 7


def _plain(value: Value) -> Any:
    plain = value.plain
    if isinstance(plain, Decimal):
        return int(plain) if plain.as_tuple().exponent == 0 else float(plain)
    return plain


def _shown(when: Stamp) -> str:
    return f"{when.time}{f' ({when.season})' if when.season else ''}"


def _command(frame: Command, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "command": frame.name,
        "direction": "meter->master" if frame.name == "P0" else "master->meter",
    }
    if not frame.last:
        told["follow_up"] = True
    if frame.text is None:
        return told
    if frame.name[0] == "P":
        return told | {"password": frame.text.decode("ascii") if reveal else MASK}
    try:
        found = next(sets(frame.text), None)
    except FrameError:
        found = None
    if found is None:
        return told | {"text": frame.text.decode("ascii") if reveal or frame.name[0] != "W" else MASK}
    meaning = item(found.id)
    told |= {"data_id": found.id} | (
        {"data_name": meaning.name_en, "data_name_zh": meaning.name_zh} if meaning else {}
    )
    operands = [value.text for value in found.values[:SHOWN]]
    return told | {"operands": MASK if _secret(frame, found.id) and not reveal else operands}


def _secret(frame: Command, identifier: str) -> bool:
    """What is written to a place that items.csv does not know: manufacturers keep the passwords there."""
    meaning = item(identifier)
    return frame.name[0] == "W" and (meaning is None or meaning.form == "number")


# --- range by range ---


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same message, every byte of it once. Errors as `describe`."""
    frame = shape.decode(raw)
    if isinstance(frame, Block | Readout):
        block = frame if isinstance(frame, Block) else frame.block
        _check(block.text, _text_at(raw, frame))
    text = shape.stripped(raw)
    if isinstance(frame, Readout):
        begin = _text_at(raw, frame) - (0 if frame.block.plain else 1)
        head = len(frame.identification.encode())
        found = list(_line_parts(text[:head]))
        if begin > head:
            found.append(Part(head, begin, "empty line", "空行"))
        return found + list(_checked_parts(text, begin, frame.block, reveal))
    if isinstance(frame, Block | Command):
        return list(_checked_parts(text, 0, frame, reveal))
    if isinstance(frame, Ack | Nak):
        return [Part(0, 1, *_name(frame))]
    return list(_line_parts(text))


def _text_at(raw: bytes, frame: Frame) -> int:
    """Where the text of the block begins."""
    match frame:
        case Readout():
            return len(frame.identification.encode()) + len(frame.gap) + (not frame.block.plain)
        case Block():
            return int(not frame.plain)
        case _:
            return 0


def _line_parts(text: bytes) -> Iterator[Part]:
    """Of a sign-on, identification or option select."""
    frame, end = shape.decode(text), len(text) - 2
    match frame:
        case Request():
            yield Part(0, 2, "start of a sign-on", "请求起始", "/?")
            if frame.address:
                yield Part(2, end - 1, "address", "设备地址", frame.address)
            yield Part(end - 1, end, "end of the address", "地址结束", "!")
        case Identification():
            yield Part(0, 1, "start", "起始", "/")
            yield Part(1, 4, "manufacturer", "厂商标识", frame.manufacturer)
            yield Part(4, 5, "baud rate", "波特率标识", f"mode {frame.mode}, {frame.rate} bit/s")
            at = 5 + 2 * len(frame.options)
            if frame.options:
                yield Part(5, at, "options", "选项", " ".join(frame.options))
            if at < end:
                yield Part(at, end, "identification", "标识", frame.ident)
        case Select():
            told = _selected(frame)
            yield Part(0, 1, "ACK", "肯定应答")
            yield Part(1, 2, "protocol", "协议控制", frame.protocol)
            yield Part(2, 3, "baud rate", "波特率标识", f"{told['baud_rate']} bit/s")
            yield Part(3, 4, "mode", "模式控制", str(told["mode_selected"]))
        case _:
            raise AssertionError("not a line")
    yield Part(end, end + 2, "line end, no check character", "行结束，无校验")


def _checked_parts(text: bytes, at: int, frame: Block | Command, reveal: bool) -> Iterator[Part]:
    if isinstance(frame, Command):
        yield Part(at, at + 1, "SOH", "命令起始")
        name, name_zh = _name(frame)
        yield Part(at + 1, at + 3, "command", "命令", f"{frame.name} {name}（{name_zh}）")
        at += 3
    plain = isinstance(frame, Block) and frame.plain
    if frame.text is not None and not plain:
        yield Part(at, at + 1, "STX", "正文起始")
        at += 1
    body = frame.text or b""
    if isinstance(frame, Command) and body:
        told = _command(frame, reveal)
        name, name_zh = ("password", "口令") if frame.name[0] == "P" else ("data set", "数据组")
        secret = MASK in (told.get("password"), told.get("operands"), told.get("text"))
        meaning = MASK if secret else body.decode("ascii").replace("\r\n", " ")
        yield Part(at, at + len(body), name, name_zh, meaning, 1)
    elif body:
        yield from _text_parts(body, at)
    at += len(body)
    if not plain:
        yield Part(
            at,
            at + 1,
            "ETX" if frame.last else "EOT: more blocks follow",
            "正文结束" if frame.last else "分块结束",
        )
        yield Part(at + 1, at + 2, "BCC", "块校验字符", "right")


def _text_parts(body: bytes, at: int) -> Iterator[Part]:
    """One Part to a data set with the line end before it; behind the first SHOWN, one for all the rest."""
    done = 0
    for number, data in enumerate(sets(body)):
        if data.start > done:
            yield Part(at + done, at + data.start, "line end", "行结束", "", 1)
        if number == SHOWN:
            done = body_end(body)
            yield Part(
                at + data.start,
                at + done,
                "further data sets",
                "其余数据组",
                f"shown are the first {SHOWN}",
                1,
            )
            break
        meaning = item(data.id)
        name, name_zh = (meaning.name_en, meaning.name_zh) if meaning else ("data set", "数据组")
        yield Part(at + data.start, at + data.end, name, name_zh, _words(meaning, data), 1)
        done = data.end
    end = body_end(body)
    if end > done:
        yield Part(at + done, at + end, "line end", "行结束", "", 1)
    if len(body) > max(end, done):
        yield Part(at + max(end, done), at + len(body), "end of the readout", "读出结束", "!", 1)


def _words(meaning: Item | None, data: DataSet) -> str:
    few = data.values[:8]
    told = ", ".join(f"{_meant(meaning, value, i)} {value.unit}".rstrip() for i, value in enumerate(few))
    return f"{data.id} = {told}" + (f", … {len(data.values)} values" if len(data.values) > len(few) else "")
