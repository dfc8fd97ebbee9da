"""Opening and closing an association: AARQ, AARE, RLRQ, RLRE (IEC 62056-5-3; ACSE in BER, Initiate in A-XDR).

Built on the library's ACSE classes. Where dlms-cosem 25.1.0 is wrong or silent, the bytes are handled here:
it slices past the end of truncated fields, and prints to stdout on a bad InitiateResponse, so the fields are
walked and checked first; it loses the first byte of the proposed conformance, takes no quality-of-service in
an InitiateRequest, refuses an empty RLRQ or RLRE, and writes lengths in one byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from dlms_cosem import enumerations
from dlms_cosem.protocol import acse as _acse
from dlms_cosem.protocol import xdlms as _xdlms

from protocols.errors import FrameError, Misuse

NO_AUTHENTICATION: Final = 0
LLS: Final = 1

#: ACSE bodies are written with one-byte BER lengths by the library, so they end at 127.
MAX_ACSE: Final = 0x7F


acse: Final[Any] = _acse  # the library is not annotated throughout: its edges are checked here, not by types
xdlms: Final[Any] = _xdlms


def enum_names(table: type[IntEnum]) -> dict[int, str]:
    """A library enumeration as code -> the standard's spelling of the name."""
    return {item.value: item.name.lower().replace("_", "-") for item in table}


#: (source, diagnostic) of an AARE: source 1 is the ACSE service user, 2 the provider.
DIAGNOSTICS: Final = {
    (source, code): name
    for source, table in (
        (1, enumerations.AcseServiceUserDiagnostics),
        (2, enumerations.AcseServiceProviderDiagnostics),
    )
    for code, name in enum_names(table).items()
}


#: What this client asks for: no more than it uses.
CONFORMANCE: Final = (
    "priority_management_supported", "block_transfer_with_get_or_read", "get", "set",
    "selective_access", "action",
)  # fmt: skip


#: APDUs that are known by name only.
UNDECODED: Final = {
    33: "glo-initiate-request", 40: "glo-initiate-response",
    194: "event-notification-request",
    200: "glo-get-request", 201: "glo-set-request", 202: "glo-event-notification-request",
    203: "glo-action-request", 204: "glo-get-response", 205: "glo-set-response", 207: "glo-action-response",
    208: "ded-get-request", 209: "ded-set-request", 210: "ded-event-notification-request",
    211: "ded-action-request", 212: "ded-get-response", 213: "ded-set-response", 215: "ded-action-response",
    217: "access-request", 218: "access-response",
    219: "general-glo-ciphering", 220: "general-ded-ciphering", 221: "general-ciphering", 
    223: "general-signing", 224: "general-block-transfer",
}  # fmt: skip


def tag_name(tag: int) -> str:
    """What an undecoded APDU is called."""
    return UNDECODED.get(tag, "unknown")


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


def _conformance(names: tuple[str, ...]) -> Any:
    return xdlms.Conformance(**dict.fromkeys(names, True))


def _bounded_acse(raw: bytes) -> bytes:
    if raw[1] != len(raw) - 2 or raw[1] > MAX_ACSE:
        raise Misuse(f"association: {len(raw) - 2} bytes, at most {MAX_ACSE} fit (shorten the password)")
    return raw


def encode_aarq(apdu: Aarq) -> bytes:
    """The bytes of an AARQ. Misuse: a password that does not fit."""
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


def encode_aare(apdu: Aare) -> bytes:
    """The bytes of an AARE; the InitiateResponse only when it accepts."""
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


def encode_rlrq(apdu: Rlrq) -> bytes:
    """The bytes of an RLRQ."""
    reason = None if apdu.reason is None else enumerations.ReleaseRequestReason(apdu.reason)
    return bytes(acse.ReleaseRequest(reason=reason).to_bytes())


def encode_rlre(apdu: Rlre) -> bytes:
    """The bytes of an RLRE."""
    if apdu.reason is None:
        return b"\x63\x00"
    return bytes(acse.ReleaseResponse(reason=enumerations.ReleaseResponseReason(apdu.reason)).to_bytes())


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
        raise FrameError(f"ACSE: user-information tag {field[2]} ({tag_name(field[2])}) is not decoded")
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


def decode_aarq(raw: bytes, zone: ZoneInfo) -> Aarq:
    """FrameError: corrupt, or a ciphered context."""
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


def decode_aare(raw: bytes, zone: ZoneInfo) -> Aare:
    """FrameError: corrupt, or a ciphered context."""
    content = _user_information(_fields(raw))
    max_pdu, conformance, error = 0, cast(tuple[str, ...], ()), None
    if content is not None and content[0] == 8:
        max_pdu, conformance = _initiate(content)
        if content[-2:] != b"\x00\x07":
            raise FrameError("AARE: vaa-name is not 0007 (short names are not supported)")
    elif content is not None:
        error = service_error_text(content)
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


def service_error_text(content: bytes) -> str:
    """A ConfirmedServiceError in words. FrameError: corrupt."""
    if len(content) != 4:
        raise FrameError(f"confirmed-service-error: {len(content)} bytes, must be 4")
    error = xdlms.ConfirmedServiceError.from_bytes(content).error
    return f"{type(error).__name__}: {error.name.lower().replace('_', '-')}"


def decode_release(raw: bytes, zone: ZoneInfo) -> Rlrq | Rlre:
    """An RLRQ or RLRE. FrameError: corrupt."""
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
