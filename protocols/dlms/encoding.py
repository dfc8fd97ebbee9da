"""APDUs -> bytes (IEC 62056-5-3, ASN.1 of the APDUs); `apdu` is the way back, and where the rest of the program finds both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from dlms_cosem import cosem

from protocols.dlms import association, shortnames, values
from protocols.dlms import selector as selectors
from protocols.dlms.association import Aare, Aarq, Rlre, Rlrq
from protocols.dlms.messages import (
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
from protocols.dlms.values import encode_length
from protocols.errors import Misuse, ProtocolError

#: Bits of the block-control byte of general-block-transfer.
LAST, STREAMING, WINDOW = 0x80, 0x40, 0x3F


def encode(apdu: Apdu) -> bytes:
    """The bytes. Misuse: a value that does not fit, or an APDU that is never sent from here."""
    encoder = _ENCODERS.get(type(apdu))
    if encoder is None:
        raise Misuse(f"{type(apdu).__name__}: never sent from here")
    try:
        return bytes(encoder(apdu))
    except ProtocolError:
        raise
    except (ValueError, OverflowError, TypeError, AttributeError) as why:  # the caller's value did not fit
        raise Misuse(f"{type(apdu).__name__}: {type(why).__name__}, a field does not fit") from None


def _head(tag: int, choice: int, apdu: Any) -> bytes:
    if not 0 <= apdu.invoke <= 0x0F:
        raise Misuse(f"invoke-id {apdu.invoke} is outside 0..15")
    return bytes((tag, choice, apdu.flags & 0xF0 | apdu.invoke))


def _attribute(target: Target) -> bytes:
    return bytes(
        cosem.CosemAttribute(
            interface=cast(
                Any, target.class_id
            ),  # a plain int: the library's enumeration lacks national classes
            instance=cosem.Obis.from_bytes(values.obis_bytes(target.obis)),
            attribute=target.index & 0xFF,
        ).to_bytes()
    )


def _selected(target: Target, selector: Selector | None) -> bytes:
    return _attribute(target) + (b"\x00" if selector is None else b"\x01" + selectors.encode(selector))


def _octets(raw: bytes) -> bytes:
    return encode_length(len(raw)) + raw


def _block(block: Block) -> bytes:
    return bytes((block.last,)) + block.number.to_bytes(4, "big") + _octets(block.raw)


def _count(items: Sequence[object]) -> bytes:
    return encode_length(len(items))


def _selections(targets: Sequence[tuple[Target, Selector | None]]) -> bytes:
    return _count(targets) + b"".join(_selected(*one) for one in targets)


def join_values(raws: Sequence[bytes]) -> bytes:
    """Count and values: what the blocks of a SET or ACTION with a list hold."""
    return _count(raws) + b"".join(raws)


def join_results(results: Sequence[bytes | int]) -> bytes:
    """Count and Get-Data-Results: what the blocks of a GET of a list hold."""
    return _count(results) + b"".join(map(_result, results))


def _result(result: bytes | int) -> bytes:
    return bytes((1, result)) if isinstance(result, int) else b"\x00" + result


def _act_result(code: int, raw: bytes | None, error: int | None) -> bytes:
    if raw is not None:
        return bytes((code, 1, 0)) + raw
    return bytes((code, 0)) if error is None else bytes((code, 1, 1, error))


def act_answer(code: int, raw: bytes | None = None, error: int | None = None) -> bytes:
    """Action-Response-With-Optional-Data: what the blocks of an ACTION's answer hold."""
    return _act_result(code, raw, error)


def join_act_results(results: Sequence[tuple[int, bytes | None, int | None]]) -> bytes:
    """Count and results: what the blocks of the answer to an ACTION of a list hold."""
    return _count(results) + b"".join(_act_result(*one) for one in results)


def _encode_get_error(apdu: GetError) -> bytes:
    if apdu.block is None:
        return _head(0xC4, 1, apdu) + bytes((1, apdu.code))
    return _head(0xC4, 2, apdu) + bytes((apdu.last,)) + apdu.block.to_bytes(4, "big") + bytes((1, apdu.code))


def _encode_set_last(apdu: SetLast) -> bytes:
    number = apdu.block.to_bytes(4, "big")
    if apdu.many:
        return _head(0xC5, 4, apdu) + _octets(bytes(apdu.codes)) + number
    return _head(0xC5, 3, apdu) + bytes(apdu.codes) + number


def _encode_act(apdu: ActNormal) -> bytes:
    return (
        _head(0xC3, 1, apdu) + _attribute(apdu.target) + (b"\x00" if apdu.raw is None else b"\x01" + apdu.raw)
    )


def _encode_act_next(apdu: ActNext) -> bytes:
    head = _head(0xC7, 4, apdu) if apdu.response else _head(0xC3, 2, apdu)
    return head + apdu.block.to_bytes(4, "big")


def _encode_act_block(apdu: ActBlock) -> bytes:
    return (_head(0xC7, 2, apdu) if apdu.response else _head(0xC3, 6, apdu)) + _block(apdu.block)


def _encode_exception(apdu: ExceptionResponse) -> bytes:
    counter = b"" if apdu.counter is None else apdu.counter.to_bytes(4, "big")
    return bytes((0xD8, apdu.state, apdu.service)) + counter


def _encode_notification(apdu: DataNotification) -> bytes:
    return (
        b"\x0f" + bytes((apdu.flags,)) + apdu.invoke.to_bytes(3, "big") + _octets(apdu.time or b"") + apdu.raw
    )


def _encode_event(apdu: EventNotification) -> bytes:
    time = b"\x00" if apdu.time is None else b"\x01" + _octets(apdu.time)
    return b"\xc2" + time + _attribute(apdu.target) + apdu.raw


def _encode_general_block(apdu: GeneralBlock) -> bytes:
    control = (LAST if apdu.last else 0) | (STREAMING if apdu.streaming else 0) | apdu.window
    if not 0 <= apdu.window <= WINDOW:
        raise Misuse(f"general-block-transfer: a window of {apdu.window}, must be 0..63")
    return (
        bytes((0xE0, control))
        + apdu.number.to_bytes(2, "big")
        + apdu.acked.to_bytes(2, "big")
        + _octets(apdu.raw)
    )


_ENCODERS: Final[dict[type[Any], Callable[[Any], bytes]]] = {
    Aarq: association.encode_aarq,
    Aare: association.encode_aare,
    Rlrq: association.encode_rlrq,
    Rlre: association.encode_rlre,
    GetNormal: lambda a: _head(0xC0, 1, a) + _selected(a.target, a.selector),
    GetNext: lambda a: _head(0xC0, 2, a) + a.block.to_bytes(4, "big"),
    GetList: lambda a: _head(0xC0, 3, a) + _selections(a.targets),
    GetData: lambda a: _head(0xC4, 1, a) + b"\x00" + a.raw,
    GetError: _encode_get_error,
    GetBlock: lambda a: (
        _head(0xC4, 2, a) + bytes((a.last,)) + a.block.to_bytes(4, "big") + b"\x00" + _octets(a.raw)
    ),
    GetResults: lambda a: _head(0xC4, 3, a) + join_results(a.results),
    SetNormal: lambda a: _head(0xC1, 1, a) + _selected(a.target, a.selector) + a.raw,
    SetFirst: lambda a: _head(0xC1, 2, a) + _selected(a.target, a.selector) + _block(a.block),
    SetNext: lambda a: _head(0xC1, 3, a) + _block(a.block),
    SetList: lambda a: _head(0xC1, 4, a) + _selections(a.targets) + join_values(a.values),
    SetListFirst: lambda a: _head(0xC1, 5, a) + _selections(a.targets) + _block(a.block),
    SetResult: lambda a: _head(0xC5, 1, a) + bytes((a.code,)),
    SetAck: lambda a: _head(0xC5, 2, a) + a.block.to_bytes(4, "big"),
    SetLast: _encode_set_last,
    SetResults: lambda a: _head(0xC5, 5, a) + _octets(bytes(a.codes)),
    ActNormal: _encode_act,
    ActNext: _encode_act_next,
    ActList: lambda a: (
        _head(0xC3, 3, a) + _count(a.targets) + b"".join(map(_attribute, a.targets)) + join_values(a.values)
    ),
    ActFirst: lambda a: _head(0xC3, 4, a) + _attribute(a.target) + _block(a.block),
    ActListFirst: lambda a: (
        _head(0xC3, 5, a) + _count(a.targets) + b"".join(map(_attribute, a.targets)) + _block(a.block)
    ),
    ActBlock: _encode_act_block,
    ActResult: lambda a: _head(0xC7, 1, a) + _act_result(a.code, a.raw, a.error),
    ActResults: lambda a: _head(0xC7, 3, a) + join_act_results(a.results),
    ExceptionResponse: _encode_exception,
    DataNotification: _encode_notification,
    EventNotification: _encode_event,
    GeneralBlock: _encode_general_block,
    Ciphered: lambda a: a.raw,
    **shortnames.ENCODERS,
}
