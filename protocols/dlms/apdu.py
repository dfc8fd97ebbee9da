"""APDUs <-> bytes: association and GET, SET, ACTION with logical names (IEC 62056-5-3, ASN.1 of the APDUs).

Built on the library's classes. Where dlms-cosem 25.1.0 is wrong or silent, the bytes are handled here:

* it slices past the end of truncated ACSE fields, and prints to stdout on a bad InitiateResponse: the fields
  are walked and checked first;
* it loses the first byte of the proposed conformance, takes no quality-of-service in an InitiateRequest, and
  refuses an empty RLRQ or RLRE;
* GetResponseNormal.to_bytes raises TypeError; unknown interface classes and unknown data-access-results
  raise, though a vendor may send them and "no" must stay "no";
* no SET or ACTION response that is not "normal"; such APDUs are named in a FrameError.

Ciphered APDUs (glo-, ded-, general-) are not decoded: FrameError says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from dlms_cosem import cosem, enumerations
from dlms_cosem.protocol import acse as _acse
from dlms_cosem.protocol import xdlms as _xdlms

from protocols.dlms import selector as selectors
from protocols.dlms import values
from protocols.dlms.selector import Selector
from protocols.errors import FrameError, Misuse, ProtocolError

NO_AUTHENTICATION: Final = 0
LLS: Final = 1

#: ACSE bodies are written with one-byte BER lengths by the library, so they end at 127.
MAX_ACSE: Final = 0x7F


def _names(table: type[IntEnum]) -> dict[int, str]:
    return {item.value: item.name.lower().replace("_", "-") for item in table}


#: (source, diagnostic) of an AARE: source 1 is the ACSE service user, 2 the provider.
DIAGNOSTICS: Final = {
    (source, code): name
    for source, table in (
        (1, enumerations.AcseServiceUserDiagnostics),
        (2, enumerations.AcseServiceProviderDiagnostics),
    )
    for code, name in _names(table).items()
}
RESULTS: Final = _names(enumerations.DataAccessResult)
SERVICE_ERRORS: Final = _names(enumerations.ServiceException)
STATE_ERRORS: Final = _names(enumerations.StateException)

#: What this client asks for: no more than it uses.
CONFORMANCE: Final = (
    "priority_management_supported", "block_transfer_with_get_or_read", "get", "set",
    "selective_access", "action",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Aarq:
    """Association request. `mechanism` 0: none, 1: low level security. `max_pdu` 0: no limit."""

    mechanism: int = NO_AUTHENTICATION
    password: bytes | None = None
    max_pdu: int = 0
    conformance: tuple[str, ...] = CONFORMANCE


@dataclass(frozen=True, slots=True)
class Aare:
    """Association response. `result` 0: accepted, 1: rejected for good, 2: rejected for now.

    source, diagnostic  1 service user, 2 service provider; see DIAGNOSTICS
    challenge           the server's, when high level security is asked for
    service_error       text of a ConfirmedServiceError that came instead of an InitiateResponse
    """

    result: int
    source: int
    diagnostic: int
    max_pdu: int = 0
    conformance: tuple[str, ...] = ()
    mechanism: int | None = None
    challenge: bytes | None = None
    service_error: str | None = None


@dataclass(frozen=True, slots=True)
class Rlrq:
    """Release request; `reason` None when the APDU is empty."""

    reason: int | None = 0


@dataclass(frozen=True, slots=True)
class Rlre:
    """Release response."""

    reason: int | None = 0


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
acse: Final[Any] = _acse  # the library is not annotated throughout: its edges are checked here, not by types
xdlms: Final[Any] = _xdlms


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


def _conformance(names: tuple[str, ...]) -> Any:
    return xdlms.Conformance(**dict.fromkeys(names, True))


def _bounded_acse(raw: bytes) -> bytes:
    if raw[1] != len(raw) - 2 or raw[1] > MAX_ACSE:
        raise Misuse(f"association: {len(raw) - 2} bytes, at most {MAX_ACSE} fit (shorten the password)")
    return raw


def _encode_aarq(apdu: Aarq) -> bytes:
    password = apdu.password if apdu.mechanism else None
    if password is not None and len(password) > 60:
        raise Misuse("association: a password of more than 60 bytes does not fit")
    request = acse.ApplicationAssociationRequest(
        ciphered=False,
        authentication=enumerations.AuthenticationMechanism(apdu.mechanism) if apdu.mechanism else None,
        authentication_value=password,
        user_information=acse.UserInformation(
            content=xdlms.InitiateRequest(
                proposed_conformance=_conformance(apdu.conformance), client_max_receive_pdu_size=apdu.max_pdu
            )
        ),
    )
    return _bounded_acse(request.to_bytes())


def _encode_aare(apdu: Aare) -> bytes:
    table = (
        enumerations.AcseServiceUserDiagnostics
        if apdu.source == 1
        else enumerations.AcseServiceProviderDiagnostics
    )
    content = xdlms.InitiateResponse(
        negotiated_conformance=_conformance(apdu.conformance), server_max_receive_pdu_size=apdu.max_pdu
    )
    response = acse.ApplicationAssociationResponse(
        ciphered=False,
        result=enumerations.AssociationResult(apdu.result),
        result_source_diagnostics=table(apdu.diagnostic),
        authentication=None if not apdu.mechanism else enumerations.AuthenticationMechanism(apdu.mechanism),
        authentication_value=apdu.challenge,
        user_information=acse.UserInformation(content=content) if apdu.result == 0 else None,
    )
    return _bounded_acse(response.to_bytes())


def _encode_rlrq(apdu: Rlrq) -> bytes:
    reason = None if apdu.reason is None else enumerations.ReleaseRequestReason(apdu.reason)
    return bytes(acse.ReleaseRequest(reason=reason).to_bytes())


def _encode_rlre(apdu: Rlre) -> bytes:
    if apdu.reason is None:
        return b"\x63\x00"
    return bytes(acse.ReleaseResponse(reason=enumerations.ReleaseResponseReason(apdu.reason)).to_bytes())


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
    Aarq: _encode_aarq,
    Aare: _encode_aare,
    Rlrq: _encode_rlrq,
    Rlre: _encode_rlre,
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
        raise FrameError(f"APDU: tag {raw[0]} ({_name(raw[0])}) is not decoded")
    try:
        return decoder(raw, zone)
    except ProtocolError:
        raise
    except Exception as why:  # the library has no error type of its own for bad bytes
        raise FrameError(f"APDU: tag {raw[0]}: {why!r}") from why


_UNSUPPORTED: Final = {
    33: "glo-initiate-request", 40: "glo-initiate-response",
    194: "event-notification-request",
    200: "glo-get-request", 201: "glo-set-request", 202: "glo-event-notification-request",
    203: "glo-action-request", 204: "glo-get-response", 205: "glo-set-response", 207: "glo-action-response",
    208: "ded-get-request", 209: "ded-set-request", 210: "ded-event-notification-request",
    211: "ded-action-request", 212: "ded-get-response", 213: "ded-set-response", 215: "ded-action-response",
    217: "access-request", 218: "access-response",
    219: "general-glo-ciphering", 220: "general-ded-ciphering", 221: "general-ciphering", 223:
    "general-signing", 224: "general-block-transfer",
}  # fmt: skip


def _name(tag: int) -> str:
    return _UNSUPPORTED.get(tag, "unknown")


def _fields(raw: bytes) -> dict[int, bytes]:
    """The BER fields of an ACSE APDU: tag -> content. FrameError: lengths that do not add up."""
    if len(raw) < 2 or raw[1] != len(raw) - 2 or raw[1] > MAX_ACSE:
        raise FrameError(f"ACSE: length byte at offset 1 does not match {max(len(raw) - 2, 0)} bytes")
    fields: dict[int, bytes] = {}
    at = 2
    while at < len(raw):
        if at + 2 > len(raw) or at + 2 + raw[at + 1] > len(raw):
            raise FrameError(f"ACSE: field {raw[at]:#04x} at offset {at} runs past the end")
        fields[raw[at]] = raw[at + 2 : at + 2 + raw[at + 1]]
        at += 2 + raw[at + 1]
    return fields


def _user_information(fields: dict[int, bytes]) -> bytes | None:
    """The xDLMS APDU inside field 30. FrameError: ciphered, or not an octet string."""
    field = fields.get(0xBE)
    if field is None:
        return None
    if len(field) < 3 or field[0] != 4 or field[1] != len(field) - 2:
        raise FrameError("ACSE: user-information is not one octet string")
    if field[2] not in (1, 8, 14):
        raise FrameError(f"ACSE: user-information tag {field[2]} ({_name(field[2])}) is not decoded")
    return field[2:]


def _flags(conformance: Any) -> tuple[str, ...]:
    return tuple(name for name in xdlms.Conformance.conformance_bit_position if getattr(conformance, name))


def _initiate(content: bytes) -> tuple[int, tuple[str, ...]]:
    """Max PDU and conformance out of an InitiateRequest or InitiateResponse."""
    at = 1
    if content[0] == 1:
        if content[1]:  # dedicated-key
            raise FrameError("initiate: a dedicated key is not supported")
        at += 1
        at += 2 if content[at] else 1  # response-allowed DEFAULT TRUE
    at += 2 if content[at] else 1  # quality-of-service OPTIONAL
    at += 1  # version
    end = at + 9 + (2 if content[0] == 8 else 0)
    if content[at : at + 4] != b"\x5f\x1f\x04\x00" or len(content) != end:
        raise FrameError("initiate: the conformance block is not where it must be")
    flags = xdlms.Conformance.from_bytes(content[at + 3 : at + 7])
    return int.from_bytes(content[at + 7 : at + 9], "big"), _flags(flags)


def _decode_aarq(raw: bytes, zone: ZoneInfo) -> Aarq:
    fields = _fields(raw)
    content = _user_information(fields)
    if content is None or content[0] != 1:
        raise FrameError("AARQ: no InitiateRequest")
    max_pdu, conformance = _initiate(content)
    if content[1:4] != b"\x00\x00\x00":  # the library knows only this beginning; the rest is read above
        raw = raw.replace(content, content[:1] + b"\x00\x00\x00" + content[-10:])
        raw = _relength(raw, fields[0xBE], len(content) - 14)
    request = acse.ApplicationAssociationRequest.from_bytes(raw)
    if request.ciphered:
        raise FrameError("AARQ: a ciphered application context is not supported")
    value = request.authentication_value
    return Aarq(
        int(request.authentication or 0), None if value is None else bytes(value), max_pdu, conformance
    )


def _relength(raw: bytes, field: bytes, shorter: int) -> bytes:
    """The three lengths around a shortened InitiateRequest, put right."""
    out = bytearray(raw)
    out[1] -= shorter
    at = len(raw) - (len(field) - shorter)
    out[at - 1] -= shorter
    out[at + 1] -= shorter
    return bytes(out)


def _decode_aare(raw: bytes, zone: ZoneInfo) -> Aare:
    content = _user_information(_fields(raw))
    max_pdu, conformance, error = 0, cast(tuple[str, ...], ()), None
    if content is not None and content[0] == 8:
        max_pdu, conformance = _initiate(content)
        if content[-2:] != b"\x00\x07":
            raise FrameError("AARE: vaa-name is not 0007 (short names are not supported)")
    elif content is not None:
        error = _service_error(content)
    response = acse.ApplicationAssociationResponse.from_bytes(raw)
    if response.ciphered:
        raise FrameError("AARE: a ciphered application context is not supported")
    if response.result == 0 and content is None:
        raise FrameError("AARE: accepted without an InitiateResponse")
    source = (
        1 if isinstance(response.result_source_diagnostics, enumerations.AcseServiceUserDiagnostics) else 2
    )
    mechanism = response.authentication
    return Aare(
        int(response.result),
        source,
        int(response.result_source_diagnostics),
        max_pdu,
        conformance,
        None if mechanism is None else int(mechanism),
        response.authentication_value,
        error,
    )


def _service_error(content: bytes) -> str:
    if len(content) != 4:
        raise FrameError(f"confirmed-service-error: {len(content)} bytes, must be 4")
    error = xdlms.ConfirmedServiceError.from_bytes(content).error
    return f"{type(error).__name__}: {error.name.lower().replace('_', '-')}"


def _decode_release(raw: bytes, zone: ZoneInfo) -> Rlrq | Rlre:
    kind: type[Rlrq] | type[Rlre] = Rlrq if raw[0] == 0x62 else Rlre
    fields = _fields(raw)
    content = _user_information(fields)
    if content is not None and content[0] in (1, 8):
        _initiate(content)
    if not fields:  # "62 00" is valid and common; the library pops from an empty list
        return kind(None)
    library = acse.ReleaseRequest if raw[0] == 0x62 else acse.ReleaseResponse
    reason = library.from_bytes(raw).reason
    return kind(None if reason is None else int(reason))


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
    return ConfirmedServiceError(_service_error(raw))


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
    0x60: _decode_aarq,
    0x61: _decode_aare,
    0x62: _decode_release,
    0x63: _decode_release,
    0xC0: _decode_get_request,
    0xC1: _decode_set_request,
    0xC3: _decode_act_request,
    0xC4: _decode_get_response,
    0xC5: _decode_set_response,
    0xC7: _decode_act_response,
    0xD8: _decode_exception,
}
