"""AARQ, AARE, RLRQ and RLRE in both directions against dlms-cosem 25.1.0; see `test_peer`."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, NamedTuple

from dlms_cosem import enumerations as enums
from dlms_cosem import security
from dlms_cosem.protocol import acse, xdlms

from protocols.dlms import apdu as apdus
from protocols.dlms import association
from tests.protocols.dlms.peer import (
    UTC,
    Case,
    Seen,
    check,
    compare,
)

ASSOCIATIONS = {
    "proposed conformance": "its first byte is lost when an InitiateRequest is read",
    "short-name bits": "the conformance has no bits for short-name services",
    "quality": "with quality-of-service an InitiateRequest is not read; written without; an InitiateResponse gets it without its flag",
    "quality 0": "a quality-of-service that is not there is read as 0",
    "response allowed": "response-allowed FALSE is not written",
    "version": "the proposed version is always written as 6",
    "length": "an APDU of more than 127 bytes gets a length of one byte, and such a length is not read; above 255: OverflowError",
    "short names": "no application contexts with short names: ValueError; no VAA name but 0007",
    "diagnostic": "unknown diagnostics: ValueError",
    "empty release": "an RLRQ or RLRE without fields is not read: IndexError",
}  # fmt: skip
BITS = list(xdlms.Conformance.conformance_bit_position)


def a_conformance(dice: random.Random) -> tuple[tuple[str, ...], set[str]]:
    """Names in the order in which we tell them, and whether some are for short names."""
    short = dice.random() < 0.05
    names = tuple(
        name for name in association.CONFORMANCE_BITS if dice.random() < 0.4 and (short or name in BITS)
    )
    return names, {"short-name bits"} if set(names) - set(BITS) else set()


def conformance_of(names: tuple[str, ...]) -> Any:
    return xdlms.Conformance(**{name: True for name in names if name in BITS})


def optional(dice: random.Random, part: float, *lengths: int) -> bytes | None:
    return dice.randbytes(dice.choice(lengths)) if dice.random() < part else None


def a_ciphered(dice: random.Random, tag: int) -> tuple[bytes, Any]:
    control, counter, sealed = (
        dice.choice((0x10, 0x20, 0x30, 0x70)),
        dice.randrange(2**32),
        dice.randbytes(30),
    )
    body = bytes((control,)) + counter.to_bytes(4, "big") + sealed
    kind = xdlms.GlobalCipherInitiateRequest if tag == 33 else xdlms.GlobalCipherInitiateResponse
    theirs = kind(security.SecurityControlField.from_bytes(body[:1]), counter, sealed)
    return bytes((tag, len(body))) + body, acse.UserInformation(theirs)


class Proposed(NamedTuple):
    """An InitiateRequest or InitiateResponse of ours and the library's; `read` None: it is not read."""

    ours: association.Initiate
    theirs: Any
    read: Any
    holes: set[str]
    raw: bytes
    written: bytes


def a_request(dice: random.Random) -> Proposed:
    names, holes = a_conformance(dice)
    version = 6 if dice.random() < 0.95 else dice.randrange(256)
    quality = None if dice.random() < 0.95 else dice.randrange(128)
    key, allowed, size = optional(dice, 0.2, 16, 32), dice.random() > 0.05, dice.randrange(65536)
    ours = association.Initiate(size, names, version, key, allowed, quality)
    theirs = xdlms.InitiateRequest(conformance_of(names), quality, size, version, allowed, key)
    kept = tuple(name for name in names if association.CONFORMANCE_BITS[name] > 7)
    read = xdlms.InitiateRequest(conformance_of(kept), 0, size, version, allowed, key)
    holes |= {"quality"} if quality is not None else {"quality 0"}
    holes |= {name for name, there in (
        ("proposed conformance", conformance_of(kept) != conformance_of(names)), ("response allowed", not allowed), ("version", version != 6),
    ) if there}  # fmt: skip
    plain = association.Initiate(size, tuple(name for name in names if name in BITS), 6, key)
    raw, written = (association.encode_initiate(one, response=False) for one in (ours, plain))
    return Proposed(
        ours,
        acse.UserInformation(theirs),
        None if quality is not None else acse.UserInformation(read),
        holes,
        raw,
        written,
    )


def a_response(dice: random.Random) -> Proposed:
    names, holes = a_conformance(dice)
    quality = None if dice.random() < 0.95 else dice.randrange(1, 128)
    vaa = association.VAA_LN if dice.random() < 0.97 else association.VAA_SN
    size, version = dice.randrange(65536), dice.choice((6, 6, 6, dice.randrange(256)))
    ours = association.Initiate(size, names, version, None, True, quality, vaa)
    theirs = xdlms.InitiateResponse(conformance_of(names), size, version, quality or 0)
    holes |= {"quality"} if quality is not None else set()
    holes |= {"short names"} if vaa != association.VAA_LN else set()
    raw = association.encode_initiate(ours, response=True)
    plain = dataclasses.replace(
        ours, conformance=tuple(name for name in names if name in BITS), vaa=association.VAA_LN
    )
    written = association.encode_initiate(plain, response=True)
    if quality is not None:
        written = written[:1] + written[2:]
    wrapped = acse.UserInformation(theirs)
    return Proposed(ours, wrapped, wrapped if vaa == association.VAA_LN else None, holes, raw, written)


#: What an association that cannot be read raises. 81H is taken for a length of 129; where by chance it is, the next byte for a tag.
NO_LENGTH = (ValueError, KeyError, IndexError)


def long_or_not(raw: bytes, reads: Any, holes: set[str]) -> tuple[Any, Any]:
    """(reads, writes) of an ACSE APDU whose bytes the library would write, but for their length, as `raw`."""
    if raw[1] < 0x80:
        return reads, raw
    holes.add("length")
    return NO_LENGTH, raw[:1] + raw[2:] if raw[1] == 0x81 else (OverflowError,)


def an_aarq(dice: random.Random) -> Case:
    mechanism, context = dice.randrange(8), dice.choice((1, 1, 1, 1, 3, 3, 3, 2))
    title, certificate = optional(dice, 0.5, 8), optional(dice, 0.2, 20, 90, 100)
    secret = optional(dice, 0.9, 8, 16, 64) if mechanism else None
    proposed = a_request(dice)
    ours = apdus.Aarq(
        mechanism,
        secret,
        proposed.ours.max_pdu,
        proposed.ours.conformance,
        context,
        title,
        certificate,
        None,
        proposed.ours,
    )
    written, holes = proposed.written, set(proposed.holes)
    theirs, read, sealed = proposed.theirs, proposed.read, None
    if dice.random() < 0.2:
        sealed, theirs = a_ciphered(dice, 33)
        read, written, holes = theirs, sealed, set()
        ours = apdus.Aarq(mechanism, secret, 0, (), context, title, certificate, sealed)
    else:
        again = apdus.decode(apdus.encode(ours))
        assert isinstance(again, apdus.Aarq)
        assert again.initiate == proposed.ours
    if context == association.SN:
        return Case(ours, None, {"short names"}, NO_LENGTH)
    kind = enums.AuthenticationMechanism(mechanism) if mechanism else None
    made, got = (
        None if content is None
        else acse.ApplicationAssociationRequest(content, title, certificate, kind, context == association.LN_CIPHERED, secret)
        for content in (theirs, read)
    )  # fmt: skip
    raw = association.encode_aarq(dataclasses.replace(ours, ciphered=written))
    reads, writes = long_or_not(raw, (ValueError,) if got is None else got, holes)
    if apdus.encode(ours)[1] >= 0x80:
        holes.add("length")
        reads = NO_LENGTH
    return Case(ours, made, holes, reads, writes)


def an_aare(dice: random.Random) -> Case:
    mechanism, context = dice.choice((None, 1, 5)), dice.choice((1, 1, 1, 1, 3, 3, 3, 4))
    title, certificate = optional(dice, 0.5, 8), optional(dice, 0.2, 20, 90, 100)
    secret = optional(dice, 0.9, 8, 16, 64) if mechanism else None
    source = dice.choice((1, 2))
    table: Any = enums.AcseServiceUserDiagnostics if source == 1 else enums.AcseServiceProviderDiagnostics
    known = dice.random() > 0.05
    diagnostic = dice.choice(list(table)).value if known else dice.randrange(15, 128)
    common: dict[str, Any] = {
        "mechanism": mechanism, "challenge": secret, "context": context, "title": title, "certificate": certificate,
    }  # fmt: skip
    content, theirs, read, written, holes, result = "", None, None, None, set(), dice.choice((0, 1, 2))
    if result and dice.random() < 0.5:
        ours = apdus.Aare(result, source, diagnostic, **common)
    elif result:
        written = bytes((14, 1, 6, dice.randrange(5)))
        error = xdlms.ConfirmedServiceError(enums.InitiateError(written[3]))
        theirs = read = acse.UserInformation(error)
        words = f"InitiateError: {error.error.name.lower().replace('_', '-')}"
        ours = apdus.Aare(result, source, diagnostic, **common, service_error=words, error=written)
    elif dice.random() < 0.3:
        written, theirs = a_ciphered(dice, 40)
        ours, read = apdus.Aare(result, source, diagnostic, **common, ciphered=written), theirs
    else:
        proposed = a_response(dice)
        theirs, read, written, holes = proposed.theirs, proposed.read, proposed.written, set(proposed.holes)
        content = "refused" if read is None else ""
        ours = apdus.Aare(
            result,
            source,
            diagnostic,
            proposed.ours.max_pdu,
            proposed.ours.conformance,
            **common,
            initiate=proposed.ours,
        )
        again = apdus.decode(apdus.encode(ours))
        assert isinstance(again, apdus.Aare)
        assert again.initiate == proposed.ours
    if context == association.SN_CIPHERED:
        return Case(ours, None, {"short names"}, NO_LENGTH)
    if not known:
        return Case(ours, None, {"diagnostic"}, NO_LENGTH)

    def made(user: Any) -> Any:
        kind = enums.AuthenticationMechanism(mechanism) if mechanism else None
        return acse.ApplicationAssociationResponse(
            enums.AssociationResult(result),
            table(diagnostic),
            context == association.LN_CIPHERED,
            kind,
            title,
            certificate,
            secret,
            user,
        )

    raw = association.encode_aare(dataclasses.replace(ours, ciphered=written, error=None))
    reads, writes = long_or_not(raw, (ValueError,) if content else made(read), holes)
    if apdus.encode(ours)[1] >= 0x80:
        holes.add("length")
        reads = NO_LENGTH
    return Case(ours, made(theirs), holes, reads, writes)


def a_release(dice: random.Random) -> Case:
    request = dice.random() < 0.5
    kind: Any = acse.ReleaseRequest if request else acse.ReleaseResponse
    table: Any = enums.ReleaseRequestReason if request else enums.ReleaseResponseReason
    reason = dice.choice((None, *table))
    raw, theirs, read, holes, written = None, None, None, set(), None
    if dice.random() < 0.5:
        raw, theirs = a_ciphered(dice, 33 if request else 40)
        read, written = theirs, raw
    elif dice.random() < 0.5:
        proposed = a_request(dice) if request else a_response(dice)
        raw, theirs, read, written, holes = (
            proposed.raw,
            proposed.theirs,
            proposed.read,
            proposed.written,
            set(proposed.holes),
        )
    ours = (apdus.Rlrq if request else apdus.Rlre)(None if reason is None else reason.value, raw)
    if reason is None and raw is None:
        return Case(ours, kind(), {"empty release"}, (IndexError,))
    refused = raw is not None and read is None
    writes = apdus.encode(dataclasses.replace(ours, content=written))
    return Case(ours, kind(reason, theirs), holes, (ValueError,) if refused else kind(reason, read), writes)


def check_association(dice: random.Random, seen: Seen, number: int) -> None:
    case = (an_aarq, an_aare, a_release)[number % 3](dice)
    if not case.holes:  # then everything is equal, and no excuse is needed
        assert case.reads in (None, case.theirs)
        assert case.writes in (None, apdus.encode(case.ours))
        case = Case(case.ours, case.theirs)
    check(case, UTC, seen)


def test_associations() -> None:
    compare("associations", 12, check_association, ASSOCIATIONS)
