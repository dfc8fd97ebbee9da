"""A PDU in words and byte by byte: what the two describe.py share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from protocols.modbus import maps, values
from protocols.modbus.frame import Frame
from protocols.modbus.pdu import (
    DIRECTIONS,
    EVENT_COUNTER,
    EVENT_LOG,
    EXCEPTION_STATUS,
    IDENTIFY,
    MASK_WRITE,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT,
    READ_INPUTS,
    READ_WRITE,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    Direction,
    exceptions,
    function_name,
    functions,
)
from protocols.part import Part

#: The objects of 2BH/0EH that have a name, V1.1b3 clause 6.21.
OBJECTS: Final[Mapping[int, tuple[str, str]]] = {
    0: ("VendorName", "厂商名称"),
    1: ("ProductCode", "产品代码"),
    2: ("MajorMinorRevision", "版本号"),
    3: ("VendorUrl", "厂商网址"),
    4: ("ProductName", "产品名称"),
    5: ("ModelName", "型号名称"),
    6: ("UserApplicationName", "用户应用名称"),
}
_DIRECTIONS: Final = {
    ("request",): ("master->meter", "主站到仪表"),
    ("answer",): ("meter->master", "仪表到主站"),
    ("request", "answer"): ("request or answer: the bytes fit both", "请求或应答皆可"),
}
#: Functions whose data are a row of numbers, in each direction that has any: (bytes, name, Chinese name).
_ROWS: Final[Mapping[int, Mapping[Direction, tuple[tuple[int, str, str], ...]]]] = {
    EXCEPTION_STATUS: {"answer": ((1, "exception status", "异常状态"),)},
    EVENT_COUNTER: {"answer": ((2, "status", "状态"), (2, "events", "事件数"))},
    EVENT_LOG: {
        "answer": (
            (1, "byte count", "字节数"),
            (2, "status", "状态"),
            (2, "events", "事件数"),
            (2, "messages", "报文数"),
        )
    },
    MASK_WRITE: dict.fromkeys(
        DIRECTIONS, ((2, "address", "地址"), (2, "AND mask", "与掩码"), (2, "OR mask", "或掩码"))
    ),
}
_READS: Final = (READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT)


def tell(frame: Frame, model: str, address: int | None) -> dict[str, Any]:
    """The PDU's fields by name. With both readings possible the fields of the request are told, and that both are."""
    name, name_zh = function_name(frame.function)
    fits = frame.readings
    told: dict[str, Any] = {
        "address": str(frame.unit),
        "control": f"{frame.function:02X}H",
        "function": name,
        "function_zh": name_zh,
        "direction": _DIRECTIONS[fits][0],
    }
    if frame.failed:
        code = frame.data[0]
        told["error_word"] = f"{code:02X}H"
        told["error_bits"] = [exceptions().get(code, (f"exception {code:02X}H", ""))[0]]
        return told
    if frame.function not in functions():
        return told | _raw(frame.data)
    return told | _fields(frame, fits[0], model, address)


def _raw(data: bytes) -> dict[str, Any]:
    return {"data_bytes_wire_order": data.hex()} if data else {}


def _fields(  # noqa: PLR0911 - one line a function
    frame: Frame, direction: Direction, model: str, address: int | None
) -> dict[str, Any]:
    data, function = frame.data, frame.function
    if function == IDENTIFY:
        return _identity(data, direction)
    if direction == "request" and function in _READS:
        return _block(data) | _asked(model, function, data)
    if direction == "answer" and function in (READ_COILS, READ_INPUTS):
        return {"values": [{"name": f"bit +{at}", "value": bit} for at, bit in enumerate(bits(data[1:]))]}
    if direction == "answer" and function in (READ_HOLDING, READ_INPUT, READ_WRITE):
        return {"values": list(_registers(data[1:], model, function, address))}
    if function in (WRITE_COIL, WRITE_REGISTER):
        value: Any = data[2] == 0xFF if function == WRITE_COIL else _word(data, 2)
        return {"start": _word(data, 0), "values": [{"name": f"{_word(data, 0)}", "value": value}]}
    if direction == "answer" and function in (WRITE_COILS, WRITE_REGISTERS):
        return _block(data)
    if function == WRITE_COILS:
        told = [{"name": f"{_word(data, 0) + at}", "value": bit} for at, bit in enumerate(bits(data[5:]))]
        return _block(data) | {"values": told[: _word(data, 2)]}
    if function == WRITE_REGISTERS:
        return _block(data) | {"values": list(_words(data[5:], _word(data, 0)))}
    if function == READ_WRITE:
        written = list(_words(data[9:], _word(data, 4)))
        return _block(data) | {
            "write_start": _word(data, 4),
            "write_count": _word(data, 6),
            "values": written,
        }
    row = list(_row(data, function, direction))
    numbers = [{"name": name, "value": value} for _, name, _, value in row if name != "byte count"]
    return ({"values": numbers} if row else {}) | _raw(data[sum(size for size, *_ in row) :])


def _row(data: bytes, function: int, direction: Direction) -> Iterator[tuple[int, str, str, int]]:
    """(bytes, name, Chinese name, number) of the functions of _ROWS."""
    at = 0
    for size, name, name_zh in _ROWS.get(function, {}).get(direction, ()):
        yield size, name, name_zh, int.from_bytes(data[at : at + size], "big")
        at += size


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _block(data: bytes) -> dict[str, Any]:
    return {"start": _word(data, 0), "count": _word(data, 2)}


def bits(data: bytes) -> list[bool]:
    """Lowest bit of the first byte first."""
    return [bool(byte >> bit & 1) for byte in data for bit in range(8)]


def _words(data: bytes, first: int) -> Iterator[dict[str, Any]]:
    for at in range(0, len(data) - 1, 2):
        yield {"name": f"register {first + at // 2}", "value": _word(data, at)}


def _asked(model: str, function: int, data: bytes) -> dict[str, Any]:
    if not model:
        return {}
    start, count = _word(data, 0), _word(data, 2)
    rows = maps.meter_map(model).within(function, start, count)
    return {"asks_for": [row.name_en for row in rows]}


def _registers(data: bytes, model: str, function: int, address: int | None) -> Iterator[dict[str, Any]]:
    """Values by the map if model and first address are known; an answer itself does not say where it begins."""
    if not model or address is None:
        for at in range(0, len(data), 2):
            yield {"name": f"register +{at // 2}", "value": _word(data, at)}
        return
    for row, value in values.decode(maps.meter_map(model), function, {address: data}):
        told = {"name": row.name_en, "value": values.plain(value)}
        yield told | {"unit": row.unit} if row.unit else told


def _identity(data: bytes, direction: Direction) -> dict[str, Any]:
    if data[0] != 0x0E:
        return _raw(data)
    if direction == "request":
        return {"read_code": data[1], "object": data[2]}
    told = [
        {"name": OBJECTS.get(code, (f"object {code:02X}H", ""))[0], "value": text.decode("utf-8", "replace")}
        for code, text, _ in objects(data)
    ]
    return {"read_code": data[1], "more_follows": bool(data[3]), "next_object": data[4], "values": told}


def objects(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(id, value, offset of the id in the data) of an identification answer that has been checked."""
    at = 6
    for _ in range(data[5]):
        yield data[at], data[at + 2 : at + 2 + data[at + 1]], at
        at += 2 + data[at + 1]


# --- byte by byte ---


def pdu_parts(frame: Frame, at: int) -> list[Part]:
    """The Parts of function and data; the function byte is at offset `at`."""
    name, name_zh = function_name(frame.function)
    failure = " refused" if frame.failed else ""
    parts = [
        Part(at, at + 1, "function", "功能码", f"{frame.function:02X}H {name}{failure} {name_zh}".strip())
    ]
    end = at + 1 + len(frame.data)
    for size, field, field_zh, meaning in _cells(frame):
        start = parts[-1].end
        if size and start < end:
            parts.append(Part(start, min(start + size, end), field, field_zh, meaning, 1))
    if parts[-1].end < end:
        parts.append(Part(parts[-1].end, end, "data", "数据", frame.data[parts[-1].end - at - 1 :].hex(), 1))
    return parts


_Cell = tuple[int, str, str, str]


def _cells(frame: Frame) -> Iterator[_Cell]:
    data, function, direction = frame.data, frame.function, frame.readings[0]
    if frame.failed:
        says = exceptions().get(data[0], ("unknown", "未知"))
        yield 1, "exception code", "异常码", f"{data[0]:02X}H {says[0]} {says[1]}"
    elif function == IDENTIFY and data[:1] == b"\x0e":
        yield from _identity_cells(data, direction)
    elif direction == "request" and function in _READS:
        yield from _block_cells(data, 0, "start address", "起始地址")
    elif direction == "answer" and function in (READ_COILS, READ_INPUTS):
        yield 1, "byte count", "字节数", str(data[0])
        for at, byte in enumerate(data[1:]):
            yield 1, f"bits +{8 * at} to +{8 * at + 7}", "位状态", f"{byte:08b}, highest first"
    elif direction == "answer" and function in (READ_HOLDING, READ_INPUT, READ_WRITE):
        yield 1, "byte count", "字节数", str(data[0])
        yield from _word_cells(data[1:], "+", 0)
    elif function in (WRITE_COIL, WRITE_REGISTER):
        yield 2, "address", "地址", str(_word(data, 0))
        yield (
            2,
            "value",
            "值",
            str(_word(data, 2)) if function == WRITE_REGISTER else "on" if data[2] else "off",
        )
    elif function in (WRITE_COILS, WRITE_REGISTERS):
        yield from _block_cells(data, 0, "start address", "起始地址")
        if direction == "request":
            yield 1, "byte count", "字节数", str(data[4])
            if function == WRITE_REGISTERS:
                yield from _word_cells(data[5:], "", _word(data, 0))
    elif function == READ_WRITE:
        yield from _block_cells(data, 0, "read start", "读起始地址")
        yield from _block_cells(data, 4, "write start", "写起始地址")
        yield 1, "byte count", "字节数", str(data[8])
        yield from _word_cells(data[9:], "", _word(data, 4))
    for size, name, name_zh, value in _row(data, function, direction):
        yield size, name, name_zh, f"{value} ({value:0{2 * size}X}H)"


def _block_cells(data: bytes, at: int, name: str, name_zh: str) -> Iterator[_Cell]:
    yield 2, name, name_zh, f"{_word(data, at)} ({_word(data, at):04X}H)"
    yield 2, "quantity", "数量", str(_word(data, at + 2))


def _word_cells(data: bytes, sign: str, first: int) -> Iterator[_Cell]:
    for at in range(0, len(data), 2):
        yield 2, f"register {sign}{first + at // 2}", f"寄存器 {sign}{first + at // 2}", str(_word(data, at))


def _identity_cells(data: bytes, direction: Direction) -> Iterator[_Cell]:
    yield 1, "MEI type", "MEI类型", "0EH device identification"
    yield 1, "read code", "读取码", str(data[1])
    if direction == "request":
        yield 1, "object", "对象", str(data[2])
        return
    yield 1, "conformity", "一致性等级", f"{data[2]:02X}H"
    yield 1, "more follows", "后续标志", "yes" if data[3] else "no"
    yield 1, "next object", "下一对象", str(data[4])
    yield 1, "objects", "对象数", str(data[5])
    for code, text, _ in objects(data):
        name, name_zh = OBJECTS.get(code, (f"object {code:02X}H", f"对象{code:02X}H"))
        yield 1, "object id", "对象标识", f"{code:02X}H {name}"
        yield 1, "length", "长度", str(len(text))
        yield len(text), name, name_zh, text.decode("utf-8", "replace")


def unit_part(at: int, unit: int) -> Part:
    return Part(at, at + 1, "unit", "从站地址", "0: to everybody" if unit == 0 else str(unit))


def known_model(model: str) -> None:
    """Misuse, before a frame is looked at, if there is no map of that name."""
    if model:
        maps.meter_map(model)
