"""Short-name referencing: Read, Write, UnconfirmedWrite, InformationReport (IEC 62056-5-3), and what name a short name stands for.

The library has none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from protocols.dlms import values
from protocols.dlms.confidential import is_secret_name
from protocols.dlms.messages import (
    Apdu,
    Block,
    BlockNumber,
    InformationReport,
    Name,
    Read,
    ReadResults,
    Write,
    WriteResults,
)
from protocols.dlms.values import Data, encode_length
from protocols.dlms.wire import Reader
from protocols.errors import FrameError, Misuse

READ, WRITE, READ_RESPONSE, WRITE_RESPONSE, UNCONFIRMED, REPORT = 5, 6, 12, 13, 22, 24

#: Variable-Access-Specification.
VARIABLE_NAME, PARAMETERISED, BLOCK_NUMBER, READ_BLOCK, WRITE_BLOCK = 2, 4, 5, 6, 7
_ACCESS: Final = {
    VARIABLE_NAME: "variable-name", PARAMETERISED: "parameterized-access", BLOCK_NUMBER: "block-number-access",
    READ_BLOCK: "read-data-block-access", WRITE_BLOCK: "write-data-block-access",
}  # fmt: skip

# --- short names of objects ---

#: The association object with short names always begins here (Blue Book, class 12).
ASSOCIATION: Final = 0xFA00
#: reply_to_HLS_authentication, method 8 of class 12: 20H + 7 * 8.
REPLY_TO_HLS: Final = 0xFA58
#: Attributes are 8 apart, the logical name first; so are methods, the first at this distance (Blue Book, "Short name"
#: columns of the interface classes). Class 12 keeps room for methods of former versions.
FIRST_METHOD: Final = {
    3: 0x28,
    4: 0x38,
    5: 0x48,
    6: 0x30,
    7: 0x58,
    8: 0x60,
    9: 0x20,
    12: 0x20,
    18: 0x40,
    20: 0x50,
    64: 0x30,
    70: 0x20,
}
STEP: Final = 8

#: (class, logical name) -> base name.
Names = Mapping[tuple[int, str], int]
BUILT_IN: Final[Names] = {(12, "0.0.40.0.0.255"): ASSOCIATION}
#: Objects in one list: a meter has some hundreds.
MAX_OBJECTS: Final = 10_000


def attribute_name(names: Names, class_id: int, obis: str, attribute: int) -> int:
    """The short name of an attribute. Misuse: an object that is not in the list, or no such attribute."""
    if attribute < 1:
        raise Misuse(f"short names: attribute {attribute} has none")
    return _within(_base(names, class_id, obis) + STEP * (attribute - 1))


def method_name(names: Names, class_id: int, obis: str, method: int) -> int:
    """The short name of a method. Misuse: as above, or a class whose methods are not known."""
    first = FIRST_METHOD.get(class_id)
    if first is None or method < 1:
        raise Misuse(f"short names: method {method} of class {class_id} has none that is known")
    return _within(_base(names, class_id, obis) + first + STEP * (method - 1))


def _base(names: Names, class_id: int, obis: str) -> int:
    base = names.get((class_id, obis), BUILT_IN.get((class_id, obis)))
    if base is None:
        raise Misuse(f"short names: {class_id}/{obis} is not in the object list")
    return base


def _within(name: int) -> int:
    if not 0 <= name <= 0xFFFF:
        raise Misuse(f"short names: {name} does not fit 16 bits")
    return name


def read_object_list(data: Data) -> dict[tuple[int, str], int]:
    """object_list of class 12 (attribute 2): structures of base_name, class_id, version, logical_name. FrameError: another shape."""
    if data.tag != values.ARRAY or len(data.value) > MAX_OBJECTS:
        raise FrameError("object list: not an array of objects", 0)
    names: dict[tuple[int, str], int] = {}
    for item in data.value:
        match values.plain(item):
            case [int() as base, int() as class_id, int(), bytes() as name]:
                names[class_id, values.obis_text(name)] = base & 0xFFFF  # a signed long on the wire
            case shape:
                raise FrameError(
                    f"object list: {str(shape)[:80]} is not base name, class, version, logical name", 0
                )
    return names


def object_list(names: Names) -> Data:
    """The inverse, for a device: every object in version 0."""
    return values.array(
        *(
            values.structure(
                Data(values.LONG, base - 0x10000 if base > 0x7FFF else base),
                Data(values.LONG_UNSIGNED, class_id),
                Data(values.UNSIGNED, 0),
                values.octets(values.obis_bytes(obis)),
            )
            for (class_id, obis), base in names.items()
        )
    )


def locate(names: Names, base: int) -> tuple[int, str, int, bool] | None:
    """(class, logical name, index, is a method) of a short name; None if it is nobody's."""
    found = max(
        ((name, where) for where, name in {**BUILT_IN, **names}.items() if name <= base), default=None
    )
    if found is None or (base - found[0]) % STEP:
        return None
    offset, (class_id, obis) = base - found[0], found[1]
    first = FIRST_METHOD.get(class_id)
    if first is not None and offset >= first:
        return class_id, obis, (offset - first) // STEP + 1, True
    return class_id, obis, offset // STEP + 1, False


# --- bytes of an APDU ---


def _octets(raw: bytes) -> bytes:
    return encode_length(len(raw)) + raw


def _item(item: Name | BlockNumber | Block, *, write: bool = False) -> bytes:
    match item:
        case Name(base=base, selector=None):
            return bytes((VARIABLE_NAME,)) + base.to_bytes(2, "big")
        case Name():
            if item.selector is None or item.parameter is None:
                raise Misuse("short names: parameterised access needs selector and parameter")
            return (
                bytes((PARAMETERISED,))
                + item.base.to_bytes(2, "big")
                + bytes((item.selector,))
                + item.parameter
            )
        case BlockNumber():
            return bytes((BLOCK_NUMBER,)) + item.number.to_bytes(2, "big")
    head = bytes((item.last,)) + item.number.to_bytes(2, "big")
    return bytes((WRITE_BLOCK,)) + head if write else bytes((READ_BLOCK,)) + head + _octets(item.raw)


def _encode_read(apdu: Read) -> bytes:
    return bytes((READ,)) + encode_length(len(apdu.items)) + b"".join(map(_item, apdu.items))


def _values(raws: tuple[bytes, ...]) -> bytes:
    return encode_length(len(raws)) + b"".join(raws)


def _encode_write(apdu: Write) -> bytes:
    head = bytes((WRITE if apdu.confirmed else UNCONFIRMED,)) + encode_length(len(apdu.items))
    return head + b"".join(_item(item, write=True) for item in apdu.items) + _values(apdu.values)


def _read_result(item: bytes | int | Block | BlockNumber) -> bytes:
    match item:
        case bytes():
            return b"\x00" + item
        case int():
            return bytes((1, item))
        case Block():
            return bytes((2, item.last)) + item.number.to_bytes(2, "big") + _octets(item.raw)
    return b"\x03" + item.number.to_bytes(2, "big")


def join_results(items: tuple[bytes | int, ...]) -> bytes:
    """Count and results: what the blocks of a long ReadResponse hold."""
    return encode_length(len(items)) + b"".join(map(_read_result, items))


def _encode_write_results(apdu: WriteResults) -> bytes:
    out = bytes((WRITE_RESPONSE,)) + encode_length(len(apdu.items))
    for item in apdu.items:
        if isinstance(item, BlockNumber):
            out += b"\x02" + item.number.to_bytes(2, "big")
        else:
            out += b"\x00" if item == 0 else bytes((1, item))
    return out


def _encode_report(apdu: InformationReport) -> bytes:
    time = b"\x00" if apdu.time is None else b"\x01" + _octets(apdu.time.encode("ascii"))
    names = encode_length(len(apdu.items)) + b"".join(map(_item, apdu.items))
    return bytes((REPORT,)) + time + names + _values(apdu.values)


ENCODERS: Final[dict[type[Any], Callable[[Any], bytes]]] = {
    Read: _encode_read,
    ReadResults: lambda apdu: bytes((READ_RESPONSE,)) + join_results(apdu.items),
    Write: _encode_write,
    WriteResults: _encode_write_results,
    InformationReport: _encode_report,
}


# --- APDU of bytes ---


def _name(reader: Reader) -> int:
    return reader.number(2, "short name", "短名", lambda n: f"{n:04x}", 1)


def _read_item(reader: Reader) -> Name | BlockNumber | Block:
    at = reader.at
    match reader.choice(_ACCESS, "access", "访问方式"):
        case 2:
            return Name(_name(reader))
        case 4:
            base = _name(reader)
            selector = reader.number(1, "selector", "选择子")
            return Name(base, selector, reader.data("parameter", "参数", secret=is_secret_name(Name(base))))
        case 5:
            return BlockNumber(reader.number(2, "block-number", "块号"))
        case 6:
            return Block(*_block_head(reader), reader.octets("raw-data", "块数据"))
    if reader.what == "read-request":
        raise reader.fail("write-data-block-access in a read-request", at)
    return Block(*_block_head(reader), b"")


def _block_head(reader: Reader) -> tuple[bool, int]:
    return reader.flag("last-block", "最后一块"), reader.number(2, "block-number", "块号")


def _items(reader: Reader) -> tuple[Name | BlockNumber | Block, ...]:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    return _specifications(reader)


def _specifications(reader: Reader) -> tuple[Name | BlockNumber | Block, ...]:
    return tuple(_read_item(reader) for _ in range(reader.count(3, "count of variables", "变量个数")))


def _read_values(reader: Reader, items: Sequence[Name | BlockNumber | Block]) -> tuple[bytes, ...]:
    at = reader.at
    count = reader.count(1, "count of values", "值个数")
    if count != len(items):
        raise reader.fail(f"{count} values for {len(items)} variables", at)
    return tuple(reader.data("value", "值", secret=is_secret_name(item)) for item in items)


def _decode_write(reader: Reader, zone: ZoneInfo) -> Apdu:
    at = reader.at + 1
    items = tuple(item for item in _items(reader) if not isinstance(item, BlockNumber))
    if any(isinstance(item, Block) and item.raw for item in items):
        raise reader.fail("read-data-block-access in a write-request", at)
    return Write(items, _read_values(reader, items), reader.what == "write-request")


def _decode_read_results(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    return ReadResults(_read_results(reader))


def _read_results(reader: Reader) -> tuple[bytes | int | Block | BlockNumber, ...]:
    found: list[bytes | int | Block | BlockNumber] = []
    kinds = {0: "data", 1: "data-access-error", 2: "data-block-result", 3: "block-number"}
    for _ in range(reader.count(2, "count of results", "结果个数")):
        match reader.choice(kinds, "result", "结果"):
            case 0:
                found.append(reader.data("data", "数据"))
            case 1:
                found.append(reader.number(1, "data-access-error", "数据访问错误"))
            case 2:
                found.append(Block(*_block_head(reader), reader.octets("raw-data", "块数据")))
            case _:
                found.append(BlockNumber(reader.number(2, "block-number", "块号")))
    return tuple(found)


def split_results(raw: bytes) -> tuple[bytes | int, ...]:
    """The inverse of `join_results`. FrameError: corrupt, or blocks inside blocks."""
    reader = Reader(raw, "read-response")
    found = _read_results(reader)
    reader.finish()
    plain = tuple(item for item in found if isinstance(item, bytes | int))
    if len(plain) != len(found):
        raise FrameError("read-response: blocks inside blocks", 0)
    return plain


def _decode_write_results(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    found: list[int | BlockNumber] = []
    for _ in range(reader.count(1, "count of results", "结果个数")):
        match reader.choice({0: "success", 1: "data-access-error", 2: "block-number"}, "result", "结果"):
            case 0:
                found.append(0)
            case 1:
                found.append(reader.number(1, "data-access-error", "数据访问错误"))
            case _:
                found.append(BlockNumber(reader.number(2, "block-number", "块号")))
    return WriteResults(tuple(found))


def _decode_report(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    time = None
    if reader.flag("current-time present", "有当前时间"):
        at = reader.at
        raw = reader.octets("current-time", "当前时间")
        if not raw.isascii():
            raise reader.fail("current-time is no text", at)
        time = raw.decode("ascii")
    at = reader.at
    items = _specifications(reader)
    names = tuple(item for item in items if isinstance(item, Name))
    if len(names) != len(items):
        raise reader.fail("blocks in an information-report", at)
    return InformationReport(time, names, _read_values(reader, names))


DECODERS: Final[dict[int, tuple[str, Callable[[Reader, ZoneInfo], Apdu]]]] = {
    READ: ("read-request", lambda reader, zone: Read(_items(reader))),
    WRITE: ("write-request", _decode_write),
    READ_RESPONSE: ("read-response", _decode_read_results),
    WRITE_RESPONSE: ("write-response", _decode_write_results),
    UNCONFIRMED: ("unconfirmed-write-request", _decode_write),
    REPORT: ("information-report-request", _decode_report),
}
