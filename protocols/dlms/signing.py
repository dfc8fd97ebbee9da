"""general-signing (tag 223): an APDU with a digital signature of its own (IEC 62056-5-3; Green Book 9.2.7.2.5), suites 1 and 2.

The signature covers everything between the tag and itself, lengths included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from protocols.dlms import ciphering, keys
from protocols.dlms.ciphering import Cursor, Header, encode_header
from protocols.dlms.values import encode_length
from protocols.errors import FrameError, Misuse
from protocols.part import Part

TAG: Final = 223
NAME: Final = "general-signing"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed APDU. `content` begins at `content_start`; raw[1:signed_end] is what the signature covers."""

    header: Header
    content: bytes
    signature: bytes = field(repr=False)
    content_start: int
    signed_end: int


def decode(raw: bytes) -> Signed:
    """One whole general-signing APDU; the signature is not checked. FrameError: lengths that do not add up, an empty content."""
    return _walk(raw)[0]


def parts(raw: bytes) -> list[Part]:
    """The same, range by range. Errors as `decode`."""
    _, cursor = _walk(raw)
    return ciphering.as_parts(raw, cursor, f"{TAG} {NAME}")


def _walk(raw: bytes) -> tuple[Signed, Cursor]:
    if raw[:1] != bytes((TAG,)):
        raise FrameError(f"{NAME}: tag {raw[0] if raw else 'missing'}, must be {TAG}", 0)
    cursor = Cursor(raw, NAME)
    cursor.take("tag", 1)
    header = ciphering.take_header(cursor)
    content = cursor.octets("content")
    if not content:
        raise FrameError(f"{NAME}: signs nothing", cursor.at - 1)
    signed_end = cursor.at
    signature = cursor.octets("signature")
    cursor.finish()
    return Signed(header, content, signature, signed_end - len(content), signed_end), cursor


def sign(apdu: bytes, header: Header, key: EllipticCurvePrivateKey) -> bytes:
    """The APDU in its signed envelope. Misuse: empty."""
    if not apdu:
        raise Misuse(f"{NAME}: an empty APDU")
    body = encode_header(header) + encode_length(len(apdu)) + apdu
    signature = keys.sign(key, body)
    return bytes((TAG,)) + body + encode_length(len(signature)) + signature


def check(raw: bytes, key: EllipticCurvePublicKey) -> bytes:
    """The APDU inside. FrameError: shape as `decode`, or the signature does not fit."""
    told = decode(raw)
    try:
        keys.check_signature(key, told.signature, raw[1 : told.signed_end])
    except FrameError as error:
        raise FrameError(f"{NAME}: {error.message}", told.signed_end) from None
    return told.content
