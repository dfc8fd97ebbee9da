"""Opening and closing an association: AARQ, AARE, RLRQ, RLRE (IEC 62056-5-3; ACSE in BER, Initiate in A-XDR).

Ours, with the library's enumerations: dlms-cosem 25.1.0 slices past the end of truncated fields, prints to stdout on a bad
InitiateResponse, loses the first byte of the proposed conformance and has no bits for short names, takes no quality-of-service
in an InitiateRequest, refuses an empty RLRQ or RLRE, writes lengths in one byte, and knows no short-name context and no
AE qualifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from dlms_cosem import enumerations

from protocols.dlms import ciphering
from protocols.dlms.protection import LN, LN_CIPHERED, SN, SN_CIPHERED
from protocols.dlms.wire import Reader
from protocols.errors import FrameError, Misuse
from protocols.part import MASK, Part

NO_AUTHENTICATION: Final = 0
LLS: Final = 1
MECHANISMS: Final = {
    0: "none", 1: "LLS", 2: "HLS", 3: "HLS-MD5", 4: "HLS-SHA1", 5: "HLS-GMAC", 6: "HLS-SHA256", 7: "HLS-ECDSA",
}  # fmt: skip
CONTEXTS: Final = {
    LN: "logical names", SN: "short names",
    LN_CIPHERED: "logical names, ciphered", SN_CIPHERED: "short names, ciphered",
}  # fmt: skip
#: 2.16.756.5.8.1.x: application contexts; 2.16.756.5.8.2.x: mechanism names (IEC 62056-5-3).
_CONTEXT_OID: Final = bytes.fromhex("608574050801")
_MECHANISM_OID: Final = bytes.fromhex("608574050802")
RESULTS: Final = {0: "accepted", 1: "rejected-permanent", 2: "rejected-transient"}
REQUEST_REASONS: Final = {0: "normal", 1: "urgent", 30: "user-defined"}
RESPONSE_REASONS: Final = {0: "normal", 1: "not-finished", 30: "user-defined"}

#: VAA names: base name of the association object with short names, and the fixed one with logical names.
VAA_LN: Final = 0x0007
VAA_SN: Final = 0xFA00


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

#: Conformance block: name -> bit, 0 the most significant of 24 (IEC 62056-5-3, Conformance). In the order in which it is told.
CONFORMANCE_BITS: Final = {
    "general_protection": 1, "general_block_transfer": 2, "read": 3, "write": 4, "unconfirmed_write": 5,
    "delta_value_encoding": 6, "attribute_0_supported_with_set": 8, "priority_management_supported": 9,
    "attribute_0_supported_with_get": 10, "block_transfer_with_get_or_read": 11,
    "block_transfer_with_set_or_write": 12, "block_transfer_with_action": 13, "multiple_references": 14,
    "information_report": 15, "data_notification": 16, "access": 17, "parameterized_access": 18, "get": 19,
    "set": 20, "selective_access": 21, "event_notification": 22, "action": 23,
}  # fmt: skip
#: What this client asks for: no more than it uses.
CONFORMANCE: Final = (
    "general_block_transfer", "priority_management_supported", "block_transfer_with_get_or_read",
    "block_transfer_with_set_or_write", "block_transfer_with_action", "multiple_references", "get", "set",
    "selective_access", "action",
)  # fmt: skip
CONFORMANCE_SN: Final = (
    "general_block_transfer", "read", "write", "unconfirmed_write", "block_transfer_with_get_or_read",
    "block_transfer_with_set_or_write", "multiple_references", "parameterized_access",
)  # fmt: skip

#: An AARQ with a certificate has about 1 kB; a length of two bytes is enough for any.
MAX_ACSE: Final = 0xFFFF
#: Longest password or challenge (IEC 62056-5-3: 8..64 bytes for HLS).
MAX_SECRET: Final = 64
TITLE: Final = 8


@dataclass(frozen=True, slots=True)
class Initiate:
    """InitiateRequest or InitiateResponse. `max_pdu` 0: no limit. `vaa` is only in a response.

    quality  quality of service, where it was sent
    """

    max_pdu: int = 0
    conformance: tuple[str, ...] = CONFORMANCE
    version: int = 6
    dedicated: bytes | None = field(default=None, repr=False)
    response_allowed: bool = True
    quality: int | None = None
    vaa: int = VAA_LN


@dataclass(frozen=True, slots=True)
class Aarq:
    """Association request. `mechanism` 0: none, 1: low level security, 2 to 7: high. `max_pdu` 0: no limit.

    password   calling authentication value: a password (LLS) or challenge (HLS)
    title      calling AP title, the client's system title
    ciphered   the InitiateRequest as it came, where it is ciphered: then max_pdu and conformance are not known
    """

    mechanism: int = NO_AUTHENTICATION
    password: bytes | None = field(default=None, repr=False)
    max_pdu: int = 0
    conformance: tuple[str, ...] = CONFORMANCE
    context: int = LN
    title: bytes | None = None
    certificate: bytes | None = None
    ciphered: bytes | None = None
    initiate: Initiate | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Aare:
    """Association response. `result` 0: accepted, 1: rejected for good, 2: rejected for now.

    source, diagnostic  1 service user, 2 service provider; see DIAGNOSTICS
    challenge           the server's, when high level security is asked for
    service_error       text of a ConfirmedServiceError that came instead of an InitiateResponse; `error`: its bytes
    title               responding AP title, the meter's system title
    ciphered            the InitiateResponse as it came, where it is ciphered
    """

    result: int
    source: int
    diagnostic: int
    max_pdu: int = 0
    conformance: tuple[str, ...] = ()
    mechanism: int | None = None
    challenge: bytes | None = field(default=None, repr=False)
    service_error: str | None = None
    context: int = LN
    title: bytes | None = None
    certificate: bytes | None = None
    ciphered: bytes | None = None
    initiate: Initiate | None = field(default=None, compare=False)
    error: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rlrq:
    """Release request; `reason` None when the APDU is empty. `content`: an InitiateRequest, plain or ciphered, as it stands."""

    reason: int | None = 0
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rlre:
    """Release response."""

    reason: int | None = 0
    content: bytes | None = None


# --- Initiate ---


def encode_conformance(names: tuple[str, ...]) -> bytes:
    """Three bytes. Misuse: a name that is none."""
    try:
        word = sum(1 << 23 - CONFORMANCE_BITS[name] for name in names)
    except KeyError as why:
        raise Misuse(f"conformance: {why} is no service") from None
    return word.to_bytes(3, "big")


def conformance_names(raw: bytes) -> tuple[str, ...]:
    """The services in three bytes."""
    word = int.from_bytes(raw, "big")
    return tuple(name for name, bit in CONFORMANCE_BITS.items() if word >> 23 - bit & 1)


def encode_initiate(apdu: Initiate, *, response: bool) -> bytes:
    """An InitiateRequest (tag 01) or InitiateResponse (tag 08)."""
    quality = b"\x00" if apdu.quality is None else bytes((1, apdu.quality))
    block = b"\x5f\x1f\x04\x00" + encode_conformance(apdu.conformance) + apdu.max_pdu.to_bytes(2, "big")
    if response:
        return b"\x08" + quality + bytes((apdu.version,)) + block + apdu.vaa.to_bytes(2, "big")
    key = b"\x00" if apdu.dedicated is None else b"\x01" + _length(len(apdu.dedicated)) + apdu.dedicated
    return (
        b"\x01" + key + (b"\x00" if apdu.response_allowed else b"\x01\x00") + quality
        + bytes((apdu.version,)) + block
    )  # fmt: skip


def decode_initiate(raw: bytes) -> Initiate:
    """FrameError: neither an InitiateRequest nor an InitiateResponse."""
    reader = Reader(raw, "initiate")
    initiate = read_initiate(reader)
    reader.finish()
    return initiate


def read_initiate(reader: Reader) -> Initiate:
    """The same at a reader's place."""
    tag = reader.choice({1: "InitiateRequest", 8: "InitiateResponse"}, "Initiate tag", "Initiate 标签")
    dedicated, allowed = None, True
    if tag == 1:
        if reader.flag("dedicated-key present", "有专用密钥"):
            dedicated = reader.octets("dedicated-key", "专用密钥", secret=True)
        if reader.flag("response-allowed present", "有应答允许标志"):
            allowed = reader.flag("response-allowed", "应答允许")
    quality = (
        reader.number(1, "quality-of-service", "服务质量")
        if reader.flag("quality-of-service present", "有服务质量")
        else None
    )
    version = reader.number(1, "dlms-version-number", "DLMS 版本号")
    at = reader.at
    if (
        reader.take(4, "conformance tag, length, unused bits", "一致性块标签、长度与未用位")
        != b"\x5f\x1f\x04\x00"
    ):
        raise reader.fail("the conformance block is not where it must be", at)
    names = conformance_names(
        reader.take(3, "conformance", "一致性", lambda body: ", ".join(conformance_names(body)))
    )
    max_pdu = reader.number(2, "max-receive-pdu-size", "最大接收 PDU")
    vaa = reader.number(2, "vaa-name", "VAA 名", lambda n: f"{n:04x}") if tag == 8 else VAA_LN
    return Initiate(max_pdu, names, version, dedicated, allowed, quality, vaa)


# --- BER ---


def _length(count: int) -> bytes:
    if count < 0x80:
        return bytes((count,))
    if count > MAX_ACSE:
        raise Misuse(f"association: {count} bytes, at most {MAX_ACSE} fit")
    return b"\x81" + bytes((count,)) if count < 0x100 else b"\x82" + count.to_bytes(2, "big")


def _field(tag: int, body: bytes) -> bytes:
    return bytes((tag,)) + _length(len(body)) + body


def _secret(value: bytes | None, tag: int) -> bytes:
    if value is None:
        return b""
    if len(value) > MAX_SECRET:
        raise Misuse(f"association: a password or challenge of more than {MAX_SECRET} bytes does not fit")
    return _field(tag, _field(0x80, value))


def _optional(tag: int, value: bytes | None) -> bytes:
    return b"" if value is None else _field(tag, _field(0x04, value))


def _user_information(content: bytes | None) -> bytes:
    return _optional(0xBE, content)


def encode_aarq(apdu: Aarq) -> bytes:
    """The bytes of an AARQ. Misuse: a password that does not fit."""
    initiate = apdu.initiate or Initiate(apdu.max_pdu, apdu.conformance)
    body = _field(0xA1, _field(0x06, _CONTEXT_OID + bytes((apdu.context,))))
    body += _optional(0xA6, apdu.title) + _optional(0xA7, apdu.certificate)
    if apdu.mechanism:
        body += b"\x8a\x02\x07\x80" + _field(0x8B, _MECHANISM_OID + bytes((apdu.mechanism,)))
        body += _secret(apdu.password, 0xAC)
    return _field(0x60, body + _user_information(apdu.ciphered or encode_initiate(initiate, response=False)))


def encode_aare(apdu: Aare) -> bytes:
    """The bytes of an AARE; the InitiateResponse only when it accepts."""
    initiate = apdu.initiate or Initiate(apdu.max_pdu, apdu.conformance)
    body = _field(0xA1, _field(0x06, _CONTEXT_OID + bytes((apdu.context,))))
    body += _field(0xA2, _field(0x02, bytes((apdu.result,))))
    body += _field(0xA3, _field(0xA0 + apdu.source, _field(0x02, bytes((apdu.diagnostic,)))))
    body += _optional(0xA4, apdu.title) + _optional(0xA5, apdu.certificate)
    if apdu.mechanism:
        body += b"\x88\x02\x07\x80" + _field(0x89, _MECHANISM_OID + bytes((apdu.mechanism,)))
        body += _secret(apdu.challenge, 0xAA)
    content = apdu.ciphered or apdu.error
    if content is None and (apdu.result == 0 or apdu.initiate is not None):
        content = encode_initiate(initiate, response=True)
    return _field(0x61, body + _user_information(content))


def encode_rlrq(apdu: Rlrq) -> bytes:
    """The bytes of an RLRQ."""
    return _release(0x62, apdu.reason, apdu.content)


def encode_rlre(apdu: Rlre) -> bytes:
    """The bytes of an RLRE."""
    return _release(0x63, apdu.reason, apdu.content)


def _release(tag: int, reason: int | None, content: bytes | None) -> bytes:
    given = b"" if reason is None else _field(0x80, bytes((reason,)))
    return _field(tag, given + _user_information(content))


# --- decoding ---

#: Fields by tag: (name, name_zh). The reasons of a release stand under the tag of protocol-version.
_FIELDS: Final = {
    0x80: ("protocol-version", "协议版本"), 0xA1: ("application-context-name", "应用上下文名"),
    0xA2: ("called-AP-title", "被叫 AP 标题"), 0xA3: ("called-AE-qualifier", "被叫 AE 限定符"),
    0xA4: ("called-AP-invocation-id", "被叫 AP 调用标识"), 0xA5: ("called-AE-invocation-id", "被叫 AE 调用标识"),
    0xA6: ("calling-AP-title", "主叫 AP 标题"), 0xA7: ("calling-AE-qualifier", "主叫 AE 限定符"),
    0xA8: ("calling-AP-invocation-id", "主叫 AP 调用标识"), 0xA9: ("calling-AE-invocation-id", "主叫 AE 调用标识"),
    0x8A: ("sender-acse-requirements", "发送方 ACSE 要求"), 0x8B: ("mechanism-name", "认证机制名"),
    0xAC: ("calling-authentication-value", "主叫认证值"), 0xBD: ("implementation-information", "实现信息"),
    0xBE: ("user-information", "用户信息"),
}  # fmt: skip
_RESPONSE_FIELDS: Final = _FIELDS | {
    0xA2: ("result", "结果"), 0xA3: ("result-source-diagnostic", "结果来源诊断"),
    0xA4: ("responding-AP-title", "响应 AP 标题"), 0xA5: ("responding-AE-qualifier", "响应 AE 限定符"),
    0x88: ("responder-acse-requirements", "响应方 ACSE 要求"), 0x89: ("mechanism-name", "认证机制名"),
    0xAA: ("responding-authentication-value", "响应认证值"),
}  # fmt: skip
_RELEASE_FIELDS: Final = {0x80: ("reason", "原因"), 0xBE: ("user-information", "用户信息")}

_Fields = dict[int, tuple[int, bytes]]


def _ber_length(reader: Reader, name: str) -> int:
    """A BER length of up to three bytes. FrameError: more of it, or longer than what is left."""
    start = reader.at
    first = reader.number(1, f"{name}: length", "长度") if reader.parts is None else _peek(reader)
    if reader.parts is not None:
        reader.at = start + 1
    count = first
    if first >= 0x80:
        extra = first & 0x7F
        if extra not in (1, 2):
            raise reader.fail(f"{name}: length byte {first:02x}, must be below 80, 81 or 82", start)
        if reader.left < extra:
            raise reader.fail(f"{name}: the length is cut off", start)
        count = int.from_bytes(reader.raw[reader.at : reader.at + extra], "big")
        reader.at += extra
    reader.note(start, f"{name}: length", "长度", str(count))
    if count > reader.left:
        raise reader.fail(f"{name}: {count} bytes announced, {reader.left} are left", start)
    return count


def _peek(reader: Reader) -> int:
    if not reader.left:
        raise reader.fail("a length is missing")
    return reader.raw[reader.at]


def _fields(reader: Reader, table: Mapping[int, tuple[str, str]]) -> _Fields:
    """The BER fields of an ACSE APDU: tag -> (where its content stands, content); user-information is walked by `_initiate`."""
    name = reader.what
    reader.take(1, "APDU tag", "APDU 标签", name)
    at = reader.at
    if _ber_length(reader, name) != reader.left:
        raise reader.fail("the length does not match", at)
    fields: _Fields = {}
    last = 0
    while reader.left:
        at = reader.at
        tag = reader.raw[at]
        if tag not in table:
            raise reader.fail(f"field {tag:02x} is not one of it", at)
        order = tag & 0x1F
        if order < last or tag in fields:
            raise reader.fail(f"field {tag:02x} is repeated or out of order", at)
        last = order
        called, zh = table[tag]
        reader.take(1, f"{called}: tag", f"{zh}标签")
        count = _ber_length(reader, called)
        start = reader.at
        body = reader.raw[start : start + count]
        fields[tag] = start, body
        if tag == 0xBE:
            break
        meaning = _meaning(tag, body, table, reader.reveal)
        reader.take(count, called, zh, meaning, 1)
    return fields


def _meaning(tag: int, body: bytes, table: Mapping[int, tuple[str, str]], reveal: bool) -> str:
    match tag:
        case 0xA1 | 0x8B | 0x89:
            known = CONTEXTS if tag == 0xA1 else MECHANISMS
            return known.get(body[-1], body.hex()) if body else ""
        case 0xAC | 0xAA:
            return _text(body[2:]) if reveal else MASK
        case 0xA2 if table is _RESPONSE_FIELDS:
            return RESULTS.get(body[-1], body.hex()) if body else ""
        case 0xA3 if table is _RESPONSE_FIELDS and len(body) == 5:
            return f"{body[-1]} {DIAGNOSTICS.get((body[0] & 3, body[-1]), 'unknown')}"
    return body.hex()


def _text(raw: bytes) -> str:
    return raw.decode("ascii") if raw.isascii() and raw.decode("ascii").isprintable() else raw.hex()


def _content(reader: Reader, fields: _Fields) -> bytes | None:
    """The octet string in user-information, which must be the last field."""
    if 0xBE not in fields:
        return None
    start, body = fields[0xBE]
    if reader.left != len(body):
        raise reader.fail("user-information is not the last field", start)
    if reader.take(1, "user-information: octet string tag", "用户信息字节串标签") != b"\x04":
        raise reader.fail("user-information is not one octet string", start)
    at = reader.at
    if _ber_length(reader, "user-information") != reader.left or not reader.left:
        raise reader.fail("user-information is not one octet string", at)
    return reader.raw[reader.at :]


def _wrapped(fields: _Fields, tag: int, inner: int, name: str) -> bytes | None:
    """The content of the one element inside a field."""
    if tag not in fields:
        return None
    start, body = fields[tag]
    if body[:1] != bytes((inner,)):
        raise FrameError(f"{name}: does not begin with {inner:02x}", start)
    head = 2
    if body[1:2] == b"\x81":
        head = 3
    elif body[1:2] == b"\x82":
        head = 4
    announced = int.from_bytes(body[head - 1 : head] if head < 4 else body[2:4], "big")
    if len(body) < head or announced != len(body) - head:
        raise FrameError(f"{name}: the length inside does not match", start)
    return body[head:]


def _oid(fields: _Fields, tag: int, prefix: bytes, name: str) -> int | None:
    """The last arc of an object identifier under `prefix`."""
    if tag not in fields:
        return None
    start, body = fields[tag]
    if len(body) != len(prefix) + 1 or not body.startswith(prefix):
        raise FrameError(f"{name}: {body.hex()} is none of DLMS", start)
    return body[-1]


def _context(fields: _Fields) -> int:
    context = _oid(fields, 0xA1, b"\x06\x07" + _CONTEXT_OID, "application-context-name")
    if context is None:
        raise FrameError("association: the application-context-name is missing", 2)
    if context not in CONTEXTS:
        raise FrameError(f"application-context-name: {context} is none of 1..4", fields[0xA1][0])
    return context


def _title(fields: _Fields, tag: int, name: str) -> bytes | None:
    title = _wrapped(fields, tag, 0x04, name)
    if title is not None and len(title) != TITLE:
        raise FrameError(f"{name}: {len(title)} bytes, must be {TITLE}", fields[tag][0])
    return title


def _integer(fields: _Fields, tag: int, name: str) -> int:
    if tag not in fields:
        raise FrameError(f"AARE: the {name} is missing", 2)
    start, body = fields[tag]
    if len(body) != 3 or body[:2] != b"\x02\x01":
        raise FrameError(f"{name}: {body.hex()} is no integer of one byte", start)
    return body[2]


def _ciphered(reader: Reader) -> bytes:
    """A ciphered Initiate up to the end."""
    start = reader.at
    try:
        ciphering.outline(reader.raw[start:])
    except FrameError as error:
        raise error.moved(start) from None
    reader.at = len(reader.raw)
    if reader.parts is not None:
        reader.parts += inner_parts(reader.raw[start:], start)
    return reader.raw[start:]


def inner_parts(raw: bytes, start: int) -> list[Part]:
    """The ranges of a ciphered APDU that stands at `start` of something else."""
    return [
        Part(part.start + start, part.end + start, part.name, part.name_zh, part.meaning, part.level + 1)
        for part in ciphering.parts(raw)
    ]


def read_aarq(reader: Reader) -> Aarq:
    """FrameError: corrupt."""
    fields = _fields(reader, _FIELDS)
    content = _content(reader, fields)
    if content is None:
        raise reader.fail("no InitiateRequest")
    context = _context(fields)
    mechanism = _oid(fields, 0x8B, _MECHANISM_OID, "mechanism-name") or 0
    secret = _wrapped(fields, 0xAC, 0x80, "calling-authentication-value")
    named = (
        context,
        _title(fields, 0xA6, "calling-AP-title"),
        _wrapped(fields, 0xA7, 0x04, "calling-AE-qualifier"),
    )
    if content[0] != 1:
        return Aarq(mechanism, secret, 0, (), *named, _ciphered(reader))
    initiate = read_initiate(reader)
    reader.finish()
    return Aarq(mechanism, secret, initiate.max_pdu, initiate.conformance, *named, None, initiate)


def read_aare(reader: Reader) -> Aare:
    """FrameError: corrupt."""
    fields = _fields(reader, _RESPONSE_FIELDS)
    content = _content(reader, fields)
    context = _context(fields)
    result = _integer(fields, 0xA2, "result")
    if result not in RESULTS:
        raise FrameError(f"AARE: result {result} is none of 0..2", fields[0xA2][0])
    at, diagnostic = fields.get(0xA3, (2, b""))
    if len(diagnostic) != 5 or diagnostic[0] not in (0xA1, 0xA2) or diagnostic[1:4] != b"\x03\x02\x01":
        raise FrameError("AARE: result-source-diagnostic has another shape", at)
    head = result, diagnostic[0] & 3, diagnostic[4]
    mechanism = _oid(fields, 0x89, _MECHANISM_OID, "mechanism-name")
    challenge = _wrapped(fields, 0xAA, 0x80, "responding-authentication-value")
    named = (
        context,
        _title(fields, 0xA4, "responding-AP-title"),
        _wrapped(fields, 0xA5, 0x04, "responding-AE-qualifier"),
    )
    if content is None:
        if result == 0:
            raise reader.fail("accepted without an InitiateResponse")
        return Aare(*head, 0, (), mechanism, challenge, None, *named)
    if content[0] == 14:
        error = read_service_error(reader)
        reader.finish()
        return Aare(*head, 0, (), mechanism, challenge, error, *named, None, None, content)
    if content[0] != 8:
        return Aare(*head, 0, (), mechanism, challenge, None, *named, _ciphered(reader))
    initiate = read_initiate(reader)
    reader.finish()
    return Aare(
        *head, initiate.max_pdu, initiate.conformance, mechanism, challenge, None, *named, None, initiate
    )


#: ServiceError: choice -> the library's table of its values (IEC 62056-5-3, ConfirmedServiceError).
_SERVICE_ERRORS: Final[dict[int, type[IntEnum]]] = {
    0: enumerations.ApplicationReferenceError, 1: enumerations.HardwareResourceError,
    2: enumerations.VdeStateError, 3: enumerations.ServiceError, 4: enumerations.DefinitionError,
    5: enumerations.AccessError, 6: enumerations.InitiateError, 7: enumerations.LoadDataError,
    8: enumerations.DataScopeError, 9: enumerations.TaskError, 10: enumerations.OtherError,
}  # fmt: skip
_CONFIRMED_SERVICES: Final = {1: "initiate-error", 5: "read", 6: "write"}


def read_service_error(reader: Reader) -> str:
    """A ConfirmedServiceError in words: "InitiateError: dlms-version-too-low"."""
    reader.take(1, "APDU tag", "APDU 标签", "confirmed-service-error")
    reader.choice(_CONFIRMED_SERVICES, "service", "服务")
    kind = reader.choice(
        {code: table.__name__ for code, table in _SERVICE_ERRORS.items()}, "error kind", "错误类别"
    )
    names = enum_names(_SERVICE_ERRORS[kind])
    code = reader.number(1, "error", "错误", lambda n: names.get(n, "unknown"))
    return f"{_SERVICE_ERRORS[kind].__name__}: {names.get(code, code)}"


def read_release(reader: Reader) -> Rlrq | Rlre:
    """An RLRQ or RLRE. FrameError: corrupt."""
    request = reader.what == "RLRQ"
    fields = _fields(reader, _RELEASE_FIELDS)
    reason = None
    if 0x80 in fields:
        start, body = fields[0x80]
        if len(body) != 1 or body[0] not in (REQUEST_REASONS if request else RESPONSE_REASONS):
            raise FrameError(f"{reader.what}: reason {body.hex()} is none of it", start)
        reason = body[0]
    content = _content(reader, fields)
    if content is not None:
        if content[0] in (1, 8):
            read_initiate(reader)
        elif content[0] == 14:
            read_service_error(reader)
        else:
            _ciphered(reader)
    reader.finish()
    return Rlrq(reason, content) if request else Rlre(reason, content)
