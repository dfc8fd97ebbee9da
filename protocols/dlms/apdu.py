"""APDUs <-> bytes: associations, GET, SET, ACTION with logical names, pushes, refusals (IEC 62056-5-3, ASN.1 of the APDUs).

Ours, with the library's descriptors and enumerations. Where dlms-cosem 25.1.0 is wrong or silent: GetResponseNormal.to_bytes
raises TypeError; unknown interface classes and unknown data-access-results raise, though a vendor may send them and "no" must
stay "no"; of SET and ACTION there is only the "normal" form; no event-notification, no general-block-transfer, no short names
(those are in `shortnames`). A ciphered APDU is decoded as far as it is readable: `Ciphered`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

from dlms_cosem import enumerations

from protocols.dlms import association, ciphering, shortnames, values
from protocols.dlms import selector as selectors
from protocols.dlms.association import (
    CONFORMANCE,
    CONFORMANCE_SN,
    DIAGNOSTICS,
    LLS,
    NO_AUTHENTICATION,
    Aare,
    Aarq,
    Rlre,
    Rlrq,
    enum_names,
)
from protocols.dlms.confidential import is_secret
from protocols.dlms.encoding import (
    LAST,
    STREAMING,
    WINDOW,
    act_answer,
    encode,
    join_act_results,
    join_results,
    join_values,
)
from protocols.dlms.messages import (
    CONFIRMED_HIGH,
    ActBlock,
    ActFirst,
    ActList,
    ActListFirst,
    ActNext,
    ActNormal,
    ActResult,
    ActResults,
    Apdu,
    Block,
    Ciphered,
    ConfirmedServiceError,
    DataNotification,
    EventNotification,
    ExceptionResponse,
    GeneralBlock,
    GetBlock,
    GetData,
    GetError,
    GetList,
    GetNext,
    GetNormal,
    GetResults,
    SetAck,
    SetFirst,
    SetLast,
    SetList,
    SetListFirst,
    SetNext,
    SetNormal,
    SetResult,
    SetResults,
    Target,
)
from protocols.dlms.selector import Selector
from protocols.dlms.wire import Reader
from protocols.errors import FrameError
from protocols.part import Part

__all__ = [
    "CONFIRMED_HIGH", "CONFORMANCE", "CONFORMANCE_SN", "DIAGNOSTICS", "LLS", "NO_AUTHENTICATION", "RESULTS",
    "SERVICE_ERRORS", "STATE_ERRORS", "Aare", "Aarq", "ActBlock", "ActFirst", "ActList", "ActListFirst", "ActNext",
    "ActNormal", "ActResult", "ActResults", "Apdu", "Block", "Ciphered", "ConfirmedServiceError", "DataNotification",
    "EventNotification", "ExceptionResponse", "GeneralBlock", "GetBlock", "GetData", "GetError", "GetList", "GetNext",
    "GetNormal", "GetResults", "Rlre", "Rlrq", "SetAck", "SetFirst", "SetLast", "SetList", "SetListFirst", "SetNext",
    "SetNormal", "SetResult", "SetResults", "Target", "act_answer", "decode", "decode_parts", "decode_seen", "encode",
    "join_act_results", "join_results", "join_values", "split_results",
]  # fmt: skip

RESULTS: Final = enum_names(enumerations.DataAccessResult)
SERVICE_ERRORS: Final = enum_names(enumerations.ServiceException)
STATE_ERRORS: Final = enum_names(enumerations.StateException)

_UTC: Final = ZoneInfo("UTC")
#: Attribute or method descriptor: class, logical name, index.
_DESCRIPTOR: Final = 9
INVOCATION_COUNTER_ERROR: Final = 6


def decode(raw: bytes, zone: ZoneInfo = _UTC) -> Apdu:
    """One APDU. FrameError: corrupt, or of a kind that is not decoded (the message names it).

    `zone` is only used for range selectors whose date-times carry no deviation.
    """
    return _walk(raw, zone)[0]


def decode_seen(raw: bytes) -> tuple[Apdu, dict[bytes, values.Data]]:
    """The same, and those of its values that had to be decoded on the way, by their bytes."""
    apdu, reader = _walk(raw, _UTC)
    return apdu, reader.seen


def decode_parts(raw: bytes, zone: ZoneInfo = _UTC, *, reveal: bool = False) -> tuple[Apdu, list[Part]]:
    """The same, and what each range of its bytes is."""
    apdu, reader = _walk(raw, zone, note=True, reveal=reveal)
    return apdu, reader.parts or []


def _walk(raw: bytes, zone: ZoneInfo, *, note: bool = False, reveal: bool = False) -> tuple[Apdu, Reader]:
    if not raw:
        raise FrameError("APDU: empty", 0)
    decoder = _DECODERS.get(raw[0])
    if decoder is not None:
        name, read = decoder
        reader = Reader(raw, name, note=note, reveal=reveal)
        apdu = read(reader, zone)
        reader.finish()
        return apdu, reader
    if ciphering.is_ciphered(raw):
        reader = Reader(raw, "ciphered APDU", note=note)
        outline = ciphering.outline(raw)
        if note:
            reader.parts = _with_clear(raw, outline, ciphering.parts(raw, reveal=reveal), reveal)
        return Ciphered(outline, raw), reader
    raise FrameError(f"APDU: tag {raw[0]} ({UNDECODED.get(raw[0], 'unknown')}) is not decoded", 0)


def _with_clear(raw: bytes, told: ciphering.Outline, parts: list[Part], reveal: bool) -> list[Part]:
    """What is only authenticated can be read: field by field, so that its passwords and keys are known for what they are."""
    start, end = told.start_of_ciphertext, told.ciphertext_end
    inner = raw[start:end]
    if told.encrypted or told.compressed or ciphering.is_ciphered(inner):
        return parts
    try:
        _, found = decode_parts(inner, reveal=reveal)
    except FrameError:  # nothing here is proven: what cannot be read stays one range
        return parts
    inside = [
        replace(one, start=one.start + start, end=one.end + start, level=one.level + 1) for one in found
    ]
    at = next(n for n, one in enumerate(parts) if one.start == start)
    return parts[:at] + inside + parts[at + 1 :]


#: APDUs that are known by name only.
UNDECODED: Final = {217: "access-request", 218: "access-response", 223: "general-signing"}


def _invoke(reader: Reader, choices: dict[int, str]) -> tuple[int, int, int]:
    """Tag, choice and Invoke-Id-And-Priority: (choice, invoke-id, flags)."""
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    choice = reader.choice(choices, "type", "类型")
    byte = reader.number(
        1, "invoke-id-and-priority", "调用标识与优先级",
        lambda n: f"invoke-id {n & 15}, {'confirmed' if n & 0x40 else 'unconfirmed'}, {'high' if n & 0x80 else 'normal'} priority",
    )  # fmt: skip
    return choice, byte & 0x0F, byte & 0xF0


def _target(reader: Reader, what: str = "attribute") -> Target:
    class_id = reader.number(2, "class-id", "接口类标识", level=1)
    obis = values.obis_text(reader.take(6, "logical name", "逻辑名", values.obis_text, 1))
    byte = reader.number(
        1, f"{what}-id", "属性号" if what == "attribute" else "方法号", lambda n: str(n - (n > 127) * 256), 1
    )
    return Target(
        class_id, obis, byte - 0x100 if byte > 0x7F else byte
    )  # Cosem-Object-Attribute-Id is Integer8


def _selected_target(reader: Reader, zone: ZoneInfo) -> tuple[Target, Selector | None]:
    target = _target(reader)
    if not reader.flag("access-selection present", "有选择访问"):
        return target, None
    start = reader.at
    selector, reader.at = selectors.decode_at(reader.raw, start, zone)
    reader.note(start, "access selection", "选择访问参数", selectors.text(selector), 1)
    return target, selector


def _read_block(reader: Reader, *, secret: bool = False) -> Block:
    last = reader.flag("last-block", "最后一块")
    number = reader.number(4, "block-number", "块号")
    return Block(last, number, reader.octets("raw-data", "块数据", secret=secret))


_Targets = tuple[tuple[Target, Selector | None], ...]


def _targets(reader: Reader, zone: ZoneInfo) -> _Targets:
    count = reader.count(_DESCRIPTOR + 1, "count of attributes", "属性个数")
    return tuple(_selected_target(reader, zone) for _ in range(count))


def _methods(reader: Reader) -> tuple[Target, ...]:
    count = reader.count(_DESCRIPTOR, "count of methods", "方法个数")
    return tuple(_target(reader, "method") for _ in range(count))


def _values(reader: Reader, secrets: Sequence[bool]) -> tuple[bytes, ...]:
    """One for each target; `secrets`: which of them must not be shown."""
    at = reader.at
    count = reader.count(1, "count of values", "值个数")
    if count != len(secrets):
        raise reader.fail(f"{count} values for {len(secrets)} targets", at)
    return tuple(reader.data("value", "值", secret=secret) for secret in secrets)


def _data_result(reader: Reader) -> bytes | int:
    """Get-Data-Result: data, or a data-access-result."""
    if reader.choice({0: "data", 1: "data-access-result"}, "result", "结果"):
        return _code(reader, "data-access-result", "数据访问结果")
    return reader.data("data", "数据")


def _code(reader: Reader, name: str, zh: str) -> int:
    return reader.number(1, name, zh, lambda n: f"{n} {RESULTS.get(n, 'unknown')}")


def split_results(raw: bytes) -> tuple[bytes | int, ...]:
    """The inverse of `join_results`. FrameError: corrupt."""
    reader = Reader(raw, "get-response-with-list")
    results = _results(reader)
    reader.finish()
    return results


def _results(reader: Reader) -> tuple[bytes | int, ...]:
    return tuple(_data_result(reader) for _ in range(reader.count(2, "count of results", "结果个数")))


def split_values(raw: bytes, expected: int) -> tuple[bytes, ...]:
    """The inverse of `join_values`."""
    reader = Reader(raw, "data blocks")
    found = _values(reader, [False] * expected)
    reader.finish()
    return found


def split_act_answer(raw: bytes) -> tuple[int, bytes | None, int | None]:
    """The inverse of `act_answer`; a peer that puts the bare data into its blocks is understood too."""
    reader = Reader(raw, "action-response")
    try:
        answer = _optional_data(reader)
        reader.finish()
    except FrameError:
        values.decode(raw)
        return 0, raw, None
    return answer


def split_act_results(raw: bytes) -> tuple[tuple[int, bytes | None, int | None], ...]:
    """The inverse of `join_act_results`."""
    reader = Reader(raw, "action-response-with-list")
    count = reader.count(2, "count of results", "结果个数")
    results = tuple(_optional_data(reader) for _ in range(count))
    reader.finish()
    return results


_GET_REQUESTS: Final = {1: "normal", 2: "next", 3: "with-list"}


def _get_request(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, _GET_REQUESTS)
    if choice == 1:
        return GetNormal(invoke, *_selected_target(reader, zone), flags=flags)
    if choice == 2:
        return GetNext(invoke, reader.number(4, "block-number", "块号"), flags=flags)
    return GetList(invoke, _targets(reader, zone), flags=flags)


def _get_response(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, {1: "normal", 2: "with-datablock", 3: "with-list"})
    if choice == 3:
        return GetResults(invoke, _results(reader), flags=flags)
    last, number = False, 0
    if choice == 2:
        last = reader.flag("last-block", "最后一块")
        number = reader.number(4, "block-number", "块号")
    if reader.choice({0: "data", 1: "data-access-result"}, "result", "结果"):
        code = _code(reader, "data-access-result", "数据访问结果")
        return GetError(invoke, code, number if choice == 2 else None, last or choice == 1, flags=flags)
    if choice == 2:
        return GetBlock(invoke, last, number, reader.octets("raw-data", "块数据"), flags=flags)
    return GetData(invoke, reader.rest("data", "数据"), flags=flags)


_SET_REQUESTS: Final = {
    1: "normal", 2: "with-first-datablock", 3: "with-datablock", 4: "with-list", 5: "with-list-and-first-datablock",
}  # fmt: skip


def _set_request(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, _SET_REQUESTS)
    if choice == 1:
        target, selector = _selected_target(reader, zone)
        raw = reader.rest("value", "值", secret=is_secret(target))
        return SetNormal(invoke, target, raw, selector, flags=flags)
    if choice == 2:
        target, selector = _selected_target(reader, zone)
        return SetFirst(invoke, target, selector, _read_block(reader, secret=is_secret(target)), flags=flags)
    if choice == 3:  # of what it is a piece stands in the first one only
        return SetNext(invoke, _read_block(reader, secret=True), flags=flags)
    targets = _targets(reader, zone)
    secrets = [is_secret(target) for target, _ in targets]
    if choice == 4:
        return SetList(invoke, targets, _values(reader, secrets), flags=flags)
    return SetListFirst(invoke, targets, _read_block(reader, secret=any(secrets)), flags=flags)


_SET_RESPONSES: Final = {
    1: "normal", 2: "datablock", 3: "last-datablock", 4: "last-datablock-with-list", 5: "with-list",
}  # fmt: skip


def _set_response(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, _SET_RESPONSES)
    if choice == 2:
        return SetAck(invoke, reader.number(4, "block-number", "块号"), flags=flags)
    if choice in (1, 3):
        code = _code(reader, "result", "结果")
        if choice == 1:
            return SetResult(invoke, code, flags=flags)
        return SetLast(invoke, (code,), reader.number(4, "block-number", "块号"), flags=flags)
    codes = tuple(
        _code(reader, "result", "结果") for _ in range(reader.count(1, "count of results", "结果个数"))
    )
    if choice == 5:
        return SetResults(invoke, codes, flags=flags)
    return SetLast(invoke, codes, reader.number(4, "block-number", "块号"), True, flags=flags)


_ACT_REQUESTS: Final = {
    1: "normal", 2: "next-pblock", 3: "with-list", 4: "with-first-pblock", 5: "with-list-and-first-pblock",
    6: "with-pblock",
}  # fmt: skip


def _act_request(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, _ACT_REQUESTS)
    match choice:
        case 1:
            target = _target(reader, "method")
            raw = None
            if reader.flag("parameter present", "有参数"):
                raw = reader.rest("parameter", "参数", secret=is_secret(target, "method"))
            return ActNormal(invoke, target, raw, flags=flags)
        case 2:
            return ActNext(invoke, reader.number(4, "block-number", "块号"), flags=flags)
        case 3:
            targets = _methods(reader)
            secrets = [is_secret(one, "method") for one in targets]
            return ActList(invoke, targets, _values(reader, secrets), flags=flags)
        case 4:
            target = _target(reader, "method")
            block = _read_block(reader, secret=is_secret(target, "method"))
            return ActFirst(invoke, target, block, flags=flags)
        case 5:
            targets = _methods(reader)
            block = _read_block(reader, secret=any(is_secret(one, "method") for one in targets))
            return ActListFirst(invoke, targets, block, flags=flags)
    return ActBlock(invoke, _read_block(reader, secret=True), flags=flags)


def _optional_data(reader: Reader) -> tuple[int, bytes | None, int | None]:
    """Action-Response-With-Optional-Data."""
    code = _code(reader, "action-result", "方法结果")
    if not reader.flag("return parameters present", "有返回参数"):
        return code, None, None
    result = _data_result(reader)
    return (code, None, result) if isinstance(result, int) else (code, result, None)


def _act_response(reader: Reader, zone: ZoneInfo) -> Apdu:
    choice, invoke, flags = _invoke(reader, {1: "normal", 2: "with-pblock", 3: "with-list", 4: "next-pblock"})
    if choice == 1:
        return ActResult(invoke, *_optional_data(reader), flags=flags)
    if choice == 2:
        return ActBlock(invoke, _read_block(reader), True, flags=flags)
    if choice == 3:
        count = reader.count(2, "count of results", "结果个数")
        return ActResults(invoke, tuple(_optional_data(reader) for _ in range(count)), flags=flags)
    return ActNext(invoke, reader.number(4, "block-number", "块号"), True, flags=flags)


def _exception(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    state = reader.number(1, "state-error", "状态错误", lambda n: f"{n} {STATE_ERRORS.get(n, 'unknown')}")
    service = reader.number(
        1, "service-error", "服务错误", lambda n: f"{n} {SERVICE_ERRORS.get(n, 'unknown')}"
    )
    counter = (
        reader.number(4, "expected invocation counter", "期望的调用计数器")
        if service == INVOCATION_COUNTER_ERROR
        else None
    )
    return ExceptionResponse(state, service, counter)


def _service_error(reader: Reader, zone: ZoneInfo) -> Apdu:
    return ConfirmedServiceError(association.read_service_error(reader))


def _notification(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    flags = reader.number(1, "long-invoke-id flags", "长调用标识标志", lambda n: f"{n:02x}")
    invoke = reader.number(3, "long-invoke-id", "长调用标识")
    at = reader.at
    # date-time is an OCTET STRING: its length, 0 for none; the library takes it for a flag
    length = reader.length("date-time: length", "日期时间长度")
    if length not in (0, 12):
        raise reader.fail(f"date-time of {length} bytes, must be 0 or 12", at)
    time = (
        reader.take(length, "date-time", "日期时间", lambda body: values.clock_text(body) or body.hex(), 1)
        or None
    )
    return DataNotification(invoke, time, reader.rest("notification-body", "通知内容"), flags)


def _event(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    time = reader.octets("time", "时间") if reader.flag("time present", "有时间") else None
    target = _target(reader)
    return EventNotification(time, target, reader.rest("attribute-value", "属性值", secret=is_secret(target)))


def _general_block(reader: Reader, zone: ZoneInfo) -> Apdu:
    reader.take(1, "APDU tag", "APDU 标签", reader.what)
    control = reader.number(1, "block-control", "块控制", _control_text)
    number = reader.number(2, "block-number", "块号")
    acked = reader.number(2, "block-number-ack", "确认块号")
    raw = reader.octets("block-data", "块数据")
    return GeneralBlock(bool(control & LAST), bool(control & STREAMING), control & WINDOW, number, acked, raw)


def _control_text(byte: int) -> str:
    words = [word for bit, word in ((LAST, "last block"), (STREAMING, "streaming")) if byte & bit]
    return ", ".join([*words, f"window {byte & WINDOW}"])


_Decoder = Callable[[Reader, ZoneInfo], Apdu]
_DECODERS: Final[dict[int, tuple[str, _Decoder]]] = {
    0x0E: ("confirmed-service-error", _service_error),
    0x0F: ("data-notification", _notification),
    0x60: ("AARQ", lambda reader, zone: association.read_aarq(reader)),
    0x61: ("AARE", lambda reader, zone: association.read_aare(reader)),
    0x62: ("RLRQ", lambda reader, zone: association.read_release(reader)),
    0x63: ("RLRE", lambda reader, zone: association.read_release(reader)),
    0xC0: ("get-request", _get_request),
    0xC1: ("set-request", _set_request),
    0xC2: ("event-notification-request", _event),
    0xC3: ("action-request", _act_request),
    0xC4: ("get-response", _get_response),
    0xC5: ("set-response", _set_response),
    0xC7: ("action-response", _act_response),
    0xD8: ("exception-response", _exception),
    0xE0: ("general-block-transfer", _general_block),
} | shortnames.DECODERS
