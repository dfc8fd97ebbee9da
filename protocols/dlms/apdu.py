"""APDUs <-> bytes: association and GET, SET, ACTION with logical names (IEC 62056-5-3, ASN.1 of the APDUs).

Built on the library's classes; associations are in `association`. Where dlms-cosem 25.1.0 is wrong or
silent, the bytes are handled here: GetResponseNormal.to_bytes raises TypeError; unknown interface classes
and unknown data-access-results raise, though a vendor may send them and "no" must stay "no"; of SET and
ACTION there is only the "normal" form, and others are named in a FrameError. Ciphered APDUs (glo-, ded-,
general-) are not decoded: FrameError says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from dlms_cosem import cosem, enumerations

from protocols.dlms import association, values
from protocols.dlms import selector as selectors
from protocols.dlms.association import (
    CONFORMANCE,
    DIAGNOSTICS,
    LLS,
    NO_AUTHENTICATION,
    Aare,
    Aarq,
    Rlre,
    Rlrq,
    enum_names,
    tag_name,
    xdlms,
)
from protocols.dlms.selector import Selector
from protocols.errors import FrameError, Misuse, ProtocolError

__all__ = [
    "CONFORMANCE", "DIAGNOSTICS", "LLS", "NO_AUTHENTICATION", "RESULTS", "SERVICE_ERRORS", "STATE_ERRORS",
    "Aare", "Aarq", "ActNormal", "ActResult", "Apdu", "ConfirmedServiceError", "DataNotification",
    "ExceptionResponse", "GetBlock", "GetData", "GetError", "GetList", "GetNext", "GetNormal", "Rlre", "Rlrq",
    "SetNormal", "SetResult", "Target", "decode", "encode",
]  # fmt: skip

RESULTS: Final = enum_names(enumerations.DataAccessResult)
SERVICE_ERRORS: Final = enum_names(enumerations.ServiceException)
STATE_ERRORS: Final = enum_names(enumerations.StateException)


@dataclass(frozen=True, slots=True)
class Target:
    """What a service is aimed at: an attribute, or a method of an ACTION."""

    class_id: int
    obis: str
    index: int


@dataclass(frozen=True, slots=True)
class GetNormal:
    invoke: int
    target: Target
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class GetNext:
    invoke: int
    block: int


@dataclass(frozen=True, slots=True)
class GetList:
    invoke: int
    targets: tuple[tuple[Target, Selector | None], ...]


@dataclass(frozen=True, slots=True)
class GetData:
    """The whole answer; `raw` is its A-XDR data, not yet decoded."""

    invoke: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class GetError:
    """The answer is no; `block` when it came in place of a data block."""

    invoke: int
    code: int
    block: int | None = None


@dataclass(frozen=True, slots=True)
class GetBlock:
    """A piece of the answer; the pieces joined are its A-XDR data."""

    invoke: int
    last: bool
    block: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class SetNormal:
    invoke: int
    target: Target
    raw: bytes
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class SetResult:
    invoke: int
    code: int


@dataclass(frozen=True, slots=True)
class ActNormal:
    invoke: int
    target: Target
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class ActResult:
    """`code` 0: done. `raw`: returned data; `error`: why there is none although it was done."""

    invoke: int
    code: int
    raw: bytes | None = None
    error: int | None = None


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    state: int
    service: int


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    error: str


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A push. `time`: 12 bytes of date-time, or none."""

    invoke: int
    time: bytes | None
    raw: bytes


Apdu = (
    Aarq | Aare | Rlrq | Rlre | GetNormal | GetNext | GetList | GetData | GetError | GetBlock | SetNormal |
    SetResult | ActNormal | ActResult | ExceptionResponse | ConfirmedServiceError | DataNotification
)  # fmt: skip

_UTC: Final = ZoneInfo("UTC")


# --- bytes of an APDU ---


def encode(apdu: Apdu) -> bytes:
    """The bytes. Misuse: a value that does not fit, or an APDU that is never sent from here."""
    encoder = _ENCODERS.get(type(apdu))
    if encoder is None:
        raise Misuse(f"{type(apdu).__name__}: never sent from here")
    try:
        return bytes(encoder(apdu))
    except ProtocolError:
        raise
    except Exception as why:  # whatever the library raises, the caller's value did not fit
        raise Misuse(f"{type(apdu).__name__}: {why!r}") from why


def _invoke(number: int) -> Any:
    return xdlms.InvokeIdAndPriority(invoke_id=number, confirmed=True, high_priority=True)


def _attribute(target: Target) -> Any:
    return cosem.CosemAttribute(
        interface=cast(Any, target.class_id),  # a plain int: the library's enumeration lacks national classes
        instance=cosem.Obis.from_bytes(values.obis_bytes(target.obis)),
        attribute=target.index & 0xFF,
    )


class _Selection:
    """Lets the library's GET carry our selector: all it asks of one is its bytes."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector

    def to_bytes(self) -> bytes:
        return selectors.encode(self._selector)


def _encode_get(apdu: GetNormal) -> bytes:
    selection = None if apdu.selector is None else _Selection(apdu.selector)
    request = xdlms.GetRequestNormal(_attribute(apdu.target), _invoke(apdu.invoke), selection)
    return bytes(request.to_bytes())


def _encode_set(apdu: SetNormal) -> bytes:
    selection = None if apdu.selector is None else _Selection(apdu.selector)
    return bytes(
        xdlms.SetRequestNormal(_attribute(apdu.target), apdu.raw, selection, _invoke(apdu.invoke)).to_bytes()
    )


def _encode_act(apdu: ActNormal) -> bytes:
    target = apdu.target
    method = cosem.CosemMethod(
        cast(Any, target.class_id), cosem.Obis.from_bytes(values.obis_bytes(target.obis)), target.index & 0xFF
    )
    return bytes(xdlms.ActionRequestNormal(method, apdu.raw, _invoke(apdu.invoke)).to_bytes())


def _encode_get_data(apdu: GetData) -> bytes:
    # not the library's GetResponseNormal: its to_bytes appends bytes as an int and raises TypeError
    return bytes((0xC4, 0x01)) + bytes(_invoke(apdu.invoke).to_bytes()) + b"\x00" + apdu.raw


def _encode_get_error(apdu: GetError) -> bytes:
    head = bytes(_invoke(apdu.invoke).to_bytes())
    if apdu.block is None:
        return b"\xc4\x01" + head + bytes((1, apdu.code))
    return b"\xc4\x02" + head + b"\x01" + apdu.block.to_bytes(4, "big") + bytes((1, apdu.code))


def _encode_get_block(apdu: GetBlock) -> bytes:
    kind = xdlms.GetResponseLastBlock if apdu.last else xdlms.GetResponseWithBlock
    return bytes(kind(apdu.raw, apdu.block, _invoke(apdu.invoke)).to_bytes())


def _encode_act_result(apdu: ActResult) -> bytes:
    head = b"\xc7\x01" + bytes(_invoke(apdu.invoke).to_bytes()) + bytes((apdu.code,))
    if apdu.raw is not None:
        return head + b"\x01\x00" + apdu.raw
    return head + (b"\x00" if apdu.error is None else bytes((1, 1, apdu.error)))


_ENCODERS: Final[dict[type[Any], Callable[[Any], bytes]]] = {
    Aarq: association.encode_aarq,
    Aare: association.encode_aare,
    Rlrq: association.encode_rlrq,
    Rlre: association.encode_rlre,
    GetNormal: _encode_get,
    GetNext: lambda apdu: xdlms.GetRequestNext(apdu.block, _invoke(apdu.invoke)).to_bytes(),
    GetData: _encode_get_data,
    GetError: _encode_get_error,
    GetBlock: _encode_get_block,
    SetNormal: _encode_set,
    SetResult: lambda apdu: b"\xc5\x01" + _invoke(apdu.invoke).to_bytes() + bytes((apdu.code,)),
    ActNormal: _encode_act,
    ActResult: _encode_act_result,
    ExceptionResponse: lambda apdu: bytes((0xD8, apdu.state, apdu.service)),
}


# --- APDU of bytes ---


def decode(raw: bytes, zone: ZoneInfo = _UTC) -> Apdu:
    """One APDU. FrameError: corrupt, or of a kind that is not decoded (the message names it).

    `zone` is only used for range selectors whose date-times carry no deviation.
    """
    if not raw:
        raise FrameError("APDU: empty")
    decoder = _DECODERS.get(raw[0])
    if decoder is None:
        raise FrameError(f"APDU: tag {raw[0]} ({tag_name(raw[0])}) is not decoded")
    try:
        return decoder(raw, zone)
    except ProtocolError:
        raise
    except Exception as why:  # the library has no error type of its own for bad bytes
        raise FrameError(f"APDU: tag {raw[0]}: {why!r}") from why


def _invoke_id(raw: bytes) -> int:
    """The low nibble; the rest is priority and service class (Invoke-Id-And-Priority)."""
    if len(raw) < 4:
        raise FrameError(f"APDU: tag {raw[0]} with {len(raw)} bytes is too short")
    return int(xdlms.InvokeIdAndPriority.from_bytes(raw[2:3]).invoke_id)


def _target(raw: bytes, offset: int) -> Target:
    part = raw[offset : offset + 9]
    if len(part) != 9:
        raise FrameError(f"APDU: descriptor at offset {offset} is cut off")
    index = part[8] - 0x100 if part[8] > 0x7F else part[8]  # Cosem-Object-Attribute-Id is Integer8
    return Target(int.from_bytes(part[:2], "big"), values.obis_text(part[2:8]), index)


def _option(raw: bytes, offset: int) -> bool:
    flag = raw[offset : offset + 1]
    if flag not in (b"\x00", b"\x01"):
        raise FrameError(f"APDU: optional flag at offset {offset} is {flag.hex() or 'missing'}")
    return flag == b"\x01"


def _selection(raw: bytes, offset: int, zone: ZoneInfo) -> tuple[Selector | None, int]:
    if not _option(raw, offset):
        return None, offset + 1
    return selectors.decode_at(raw, offset + 1, zone)


def _decode_get_request(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] == 1:
        selector, end = _selection(raw, 12, zone)
        _nothing_behind(raw, end)
        return GetNormal(invoke, _target(raw, 3), selector)
    if raw[1] == 2:
        request = xdlms.GetRequestNext.from_bytes(raw)
        _nothing_behind(raw, 7)
        return GetNext(invoke, request.block_number)
    if raw[1] != 3:
        raise FrameError(f"get-request: choice {raw[1]} at offset 1")
    count, at = values.decode_length(raw, 3)
    targets = []
    for _ in range(count):
        target = _target(raw, at)
        selector, at = _selection(raw, at + 9, zone)
        targets.append((target, selector))
    _nothing_behind(raw, at)
    return GetList(invoke, tuple(targets))


def _nothing_behind(raw: bytes, end: int) -> None:
    if end != len(raw):
        raise FrameError(f"APDU: ends at offset {end}, but has {len(raw)} bytes")


def _decode_get_response(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] == 1 and _option(raw, 3):
        _nothing_behind(raw, 5)
        return GetError(invoke, raw[4])  # any code: the library refuses those it has no name for
    if raw[1] == 1:
        return GetData(invoke, xdlms.GetResponseNormal.from_bytes(raw).data)
    if raw[1] != 2:
        raise FrameError(f"get-response: choice {raw[1]} at offset 1 is not decoded")
    last = _option(raw, 3)
    if _option(raw, 8):
        _nothing_behind(raw, 10)
        return GetError(invoke, raw[9], int.from_bytes(raw[4:8], "big"))
    values.decode_length(raw, 9)  # the library would take a length of 2**1000
    kind = xdlms.GetResponseLastBlock if last else xdlms.GetResponseWithBlock
    block = kind.from_bytes(raw)
    return GetBlock(invoke, last, block.block_number, block.data)


def _decode_set_request(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] != 1:
        raise FrameError(f"set-request: choice {raw[1]} at offset 1 is not decoded")
    target = _target(raw, 3)
    selector, at = _selection(raw, 12, zone)
    values.decode(raw[at:])
    return SetNormal(invoke, target, raw[at:], selector)


def _decode_set_response(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] != 1:
        raise FrameError(f"set-response: choice {raw[1]} at offset 1 is not decoded")
    _nothing_behind(raw, 4)
    return SetResult(invoke, raw[3])


def _decode_act_request(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] != 1:
        raise FrameError(f"action-request: choice {raw[1]} at offset 1 is not decoded")
    target = _target(raw, 3)
    if not _option(raw, 12):
        _nothing_behind(raw, 13)
        return ActNormal(invoke, target)
    values.decode(raw[13:])
    return ActNormal(invoke, target, raw[13:])


def _decode_act_response(raw: bytes, zone: ZoneInfo) -> Apdu:
    invoke = _invoke_id(raw)
    if raw[1] != 1:
        raise FrameError(f"action-response: choice {raw[1]} at offset 1 is not decoded")
    if not _option(raw, 4):
        _nothing_behind(raw, 5)
        return ActResult(invoke, raw[3])
    if _option(raw, 5):
        _nothing_behind(raw, 7)
        return ActResult(invoke, raw[3], error=raw[6])
    values.decode(raw[6:])
    return ActResult(invoke, raw[3], raw[6:])


def _decode_exception(raw: bytes, zone: ZoneInfo) -> Apdu:
    if len(raw) != (7 if raw[2:3] == b"\x06" else 3):  # 6, invocation-counter-error, carries the counter
        raise FrameError(f"exception-response: {len(raw)} bytes")
    return ExceptionResponse(raw[1], raw[2])


def _decode_service_error(raw: bytes, zone: ZoneInfo) -> Apdu:
    return ConfirmedServiceError(association.service_error_text(raw))


def _decode_notification(raw: bytes, zone: ZoneInfo) -> Apdu:
    length = raw[5:6]  # date-time is an OCTET STRING: its length, 0 for none; the library takes it for a flag
    if length not in (b"\x00", b"\x0c"):
        raise FrameError("data-notification: date-time at offset 5 has neither 0 nor 12 bytes")
    end = 6 + length[0]
    body = raw[end:]
    values.decode(body)
    return DataNotification(int.from_bytes(raw[2:5], "big"), raw[6:end] or None, body)


_DECODERS: Final[dict[int, Callable[[bytes, ZoneInfo], Apdu]]] = {
    0x0E: _decode_service_error,
    0x0F: _decode_notification,
    0x60: association.decode_aarq,
    0x61: association.decode_aare,
    0x62: association.decode_release,
    0x63: association.decode_release,
    0xC0: _decode_get_request,
    0xC1: _decode_set_request,
    0xC3: _decode_act_request,
    0xC4: _decode_get_response,
    0xC5: _decode_set_response,
    0xC7: _decode_act_response,
    0xD8: _decode_exception,
}
