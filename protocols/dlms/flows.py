"""The client's turn-taking, service by service: each flow is a generator that yields what to send and is sent what came.

It yields an APDU, or an Ignore for what came and was not meant for it, and returns the answer. So block transfer reads as what
it is: a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from protocols.dlms import apdu as apdus
from protocols.dlms import selector as selectors
from protocols.dlms import shortnames, values
from protocols.dlms.apdu import Apdu, Block
from protocols.dlms.messages import BlockNumber, Name, Read, ReadResults, Write, WriteResults
from protocols.dlms.requests import (
    MAX_VALUE,
    Act,
    ActMany,
    Get,
    GetMany,
    Set,
    SetMany,
    refusal,
    target,
)
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused


@dataclass(frozen=True, slots=True)
class Ignore:
    """What came is not the answer."""

    why: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed. `room`: bytes of a plain APDU that the peer takes (0: no limit); `names`: short names, None with logical ones."""

    conformance: tuple[str, ...]
    room: int
    names: shortnames.Names | None = None


Flow = Generator[Apdu | Ignore, Apdu, Any]
_Kind = TypeVar("_Kind")


def await_kind(out: Apdu, kinds: tuple[type[Any], ...], invoke: int | None = None) -> Flow:
    """Sends, and passes by what is of another kind or has another invoke-id."""
    apdu = yield out
    while True:
        if not isinstance(apdu, kinds):
            apdu = yield Ignore(f"unexpected: {type(apdu).__name__}")
        elif invoke is not None and apdu.invoke != invoke:
            apdu = yield Ignore(f"stale: invoke-id {apdu.invoke}, expected {invoke}")
        else:
            return apdu


def flow(request: Any, invoke: int, terms: Terms) -> Flow:
    """The flow of a request. Misuse: nothing that can be asked under these terms."""
    table: dict[type[Any], Callable[[Any, int, Terms], Flow]] = (
        {Get: _get, GetMany: _get_many, Set: _set, SetMany: _set_many, Act: _act, ActMany: _act_many}
        if terms.names is None
        else {Get: _read, GetMany: _read, Set: _write, SetMany: _write, Act: _call}
    )
    begin = table.get(type(request))
    if begin is None:
        raise Misuse(f"{type(request).__name__} is no DLMS request, or not one with these references")
    return begin(request, invoke, terms)


# --- blocks ---


def _pieces(raw: bytes, size: int) -> list[Block]:
    cuts = range(0, len(raw), max(size, 1))
    return [Block(at + size >= len(raw), n, raw[at : at + size]) for n, at in enumerate(cuts, 1)]


class _Joined:
    """Blocks that come, in order."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.parts: list[bytes] = []
        self._size = 0

    def repeated(self, number: int) -> bool:
        """Whether it is the last one once more. FrameError: it is not the next one either, or there are too many."""
        expected = len(self.parts) + 1
        if self.parts and number == expected - 1:
            return True
        if number != expected:
            raise FrameError(f"{self.what}: data block {number}, expected {expected}", 4)
        return False

    def add(self, raw: bytes) -> None:
        self._size += len(raw)
        if self._size > MAX_VALUE:
            raise FrameError(f"{self.what}: more than {MAX_VALUE} bytes in data blocks", 0)
        self.parts.append(raw)

    @property
    def raw(self) -> bytes:
        return b"".join(self.parts)


def _too_long(apdu: Apdu, terms: Terms, service: str) -> bool:
    """Whether it must go in blocks. False also where the peer knows none: then general block transfer may help, or nothing."""
    return bool(terms.room) and len(apdus.encode(apdu)) > terms.room and service in terms.conformance


def _block_size(terms: Terms, head: Apdu) -> int:
    """Bytes of a piece beside the first message's other fields; 4 more for a longer length."""
    size = terms.room - len(apdus.encode(head)) - 4
    if size < 1:
        raise Misuse(f"the meter takes {terms.room} bytes: not one block fits")
    return size


# --- GET ---

_GET_ANSWERS = (apdus.GetData, apdus.GetError, apdus.GetBlock, apdus.GetResults)


def _get(request: Get, invoke: int, terms: Terms) -> Flow:
    answer = yield from await_kind(
        apdus.GetNormal(invoke, target(request), request.selector), _GET_ANSWERS, invoke
    )
    answer = yield from _got(request, answer, invoke)
    if isinstance(answer, apdus.GetResults):
        raise FrameError("get: a list where one value was asked for", 1)
    return _value(request, answer.raw if isinstance(answer, apdus.GetData) else answer)


def _get_many(request: GetMany, invoke: int, terms: Terms) -> Flow:
    first = apdus.GetList(invoke, tuple((target(item), item.selector) for item in request.items))
    answer = yield from await_kind(first, _GET_ANSWERS, invoke)
    answer = yield from _got(request, answer, invoke)
    if isinstance(answer, apdus.GetData):
        raise FrameError("get: one value where a list was asked for", 1)
    results = answer.results if isinstance(answer, apdus.GetResults) else apdus.split_results(answer)
    return _each(request.items, results, _value)


def _got(request: Get | GetMany, answer: Apdu, invoke: int) -> Flow:
    """The message, or the bytes joined from its blocks."""
    joined = _Joined("get")
    while isinstance(answer, apdus.GetBlock):
        if joined.repeated(answer.block):
            answer = yield Ignore(f"repeated: block {answer.block}")
            while getattr(answer, "invoke", None) != invoke or not isinstance(answer, _GET_ANSWERS):
                answer = yield Ignore("stale or unexpected, between data blocks")
            continue
        joined.add(answer.raw)
        if answer.last:
            return joined.raw
        answer = yield from await_kind(apdus.GetNext(invoke, answer.block), _GET_ANSWERS, invoke)
    if isinstance(answer, apdus.GetError):
        raise refusal(request, answer.code)
    if joined.parts:
        raise FrameError(f"{type(answer).__name__} in the middle of data blocks", 1)
    return answer


def _value(request: Get, raw: bytes | int) -> Data | bytes:
    if isinstance(raw, int):
        raise FrameError("get: an access error that says success", 1)
    return raw if request.raw else values.decode(raw)


_Item = TypeVar("_Item", Get, Set, Act)


def _each(items: Sequence[_Item], results: Sequence[Any], read: Callable[[_Item, Any], Any]) -> list[Any]:
    """One answer for each item. FrameError: another number of results."""
    if len(results) != len(items):
        raise FrameError(f"{len(results)} results for {len(items)} items", 3)
    return [
        refusal(item, result) if isinstance(result, int) and result else read(item, result)
        for item, result in zip(items, results, strict=True)
    ]


# --- SET ---

_SET_ANSWERS = (apdus.SetResult, apdus.SetAck, apdus.SetLast, apdus.SetResults)
SET_BLOCKS, ACT_BLOCKS = "block_transfer_with_set_or_write", "block_transfer_with_action"


def _set(request: Set, invoke: int, terms: Terms) -> Flow:
    raw = values.encode(request.value)
    whole: Apdu = apdus.SetNormal(invoke, target(request), raw, request.selector)
    if _too_long(whole, terms, SET_BLOCKS):

        def first(block: Block) -> Apdu:
            return apdus.SetFirst(invoke, target(request), request.selector, block)

        codes = yield from _set_blocks(first, raw, invoke, terms)
    else:
        codes = _codes((yield from await_kind(whole, _SET_ANSWERS, invoke)))
    if len(codes) != 1:
        raise FrameError(f"set: {len(codes)} results for one attribute", 1)
    if codes[0]:
        raise refusal(request, codes[0])
    return None


def _set_many(request: SetMany, invoke: int, terms: Terms) -> Flow:
    targets = tuple((target(item), item.selector) for item in request.items)
    raws = tuple(values.encode(item.value) for item in request.items)
    whole: Apdu = apdus.SetList(invoke, targets, raws)
    if _too_long(whole, terms, SET_BLOCKS):
        codes = yield from _set_blocks(
            lambda block: apdus.SetListFirst(invoke, targets, block), apdus.join_values(raws), invoke, terms
        )
    else:
        codes = _codes((yield from await_kind(whole, _SET_ANSWERS, invoke)))
    return _each(request.items, codes, lambda item, code: None)


def _set_blocks(first: Callable[[Block], Apdu], raw: bytes, invoke: int, terms: Terms) -> Flow:
    head = first(Block(False, 1, b""))
    blocks = _pieces(raw, _block_size(terms, head))
    for block in blocks:
        out = first(block) if block.number == 1 else apdus.SetNext(invoke, block)
        answer = yield from await_kind(out, _SET_ANSWERS, invoke)
        while isinstance(answer, apdus.SetAck) and answer.block == block.number - 1:
            answer = yield Ignore(f"repeated: acknowledgement of block {answer.block}")
        if not isinstance(answer, apdus.SetAck):  # the result, or a refusal before the last block
            return _codes(answer)
        if answer.block != block.number or block.last:
            raise FrameError(f"set: block {answer.block} acknowledged, {block.number} was sent", 3)
    raise FrameError("set: no result after the last block", 1)


def _codes(answer: Apdu) -> tuple[int, ...]:
    match answer:
        case apdus.SetResult(code=code):
            return (code,)
        case apdus.SetLast(codes=codes) | apdus.SetResults(codes=codes):
            return codes
    raise FrameError(f"set: {type(answer).__name__} where the result must be", 1)


# --- ACTION ---

_ACT_ANSWERS = (apdus.ActResult, apdus.ActResults, apdus.ActBlock, apdus.ActNext)


def _act(request: Act, invoke: int, terms: Terms) -> Flow:
    raw = None if request.value is None else values.encode(request.value)
    whole: Apdu = apdus.ActNormal(invoke, target(request), raw)
    if raw is not None and _too_long(whole, terms, ACT_BLOCKS):
        answer = yield from _act_blocks(
            lambda block: apdus.ActFirst(invoke, target(request), block), raw, invoke, terms
        )
    else:
        answer = yield from await_kind(whole, _ACT_ANSWERS, invoke)
    answer = yield from _acted(answer, invoke)
    if isinstance(answer, apdus.ActResults):
        raise FrameError("action: a list where one result was asked for", 1)
    one = (
        (answer.code, answer.raw, answer.error)
        if isinstance(answer, apdus.ActResult)
        else apdus.split_act_answer(answer)
    )
    result = _act_value(request, one)
    if isinstance(result, Refused):
        raise result
    return result


def _act_many(request: ActMany, invoke: int, terms: Terms) -> Flow:
    targets = tuple(target(item) for item in request.items)
    raws = tuple(values.encode(item.value or values.null()) for item in request.items)
    whole: Apdu = apdus.ActList(invoke, targets, raws)
    if _too_long(whole, terms, ACT_BLOCKS):
        answer = yield from _act_blocks(
            lambda block: apdus.ActListFirst(invoke, targets, block), apdus.join_values(raws), invoke, terms
        )
    else:
        answer = yield from await_kind(whole, _ACT_ANSWERS, invoke)
    answer = yield from _acted(answer, invoke)
    if isinstance(answer, apdus.ActResult):
        raise FrameError("action: one result where a list was asked for", 1)
    results = answer.results if isinstance(answer, apdus.ActResults) else apdus.split_act_results(answer)
    return _each(request.items, results, _act_value)


def _act_value(request: Act, result: tuple[int, bytes | None, int | None]) -> Data | Refused | None:
    code, raw, error = result
    if code or error:
        return refusal(request, code or error or 0)
    return None if raw is None else values.decode(raw)


def _act_blocks(first: Callable[[Block], Apdu], raw: bytes, invoke: int, terms: Terms) -> Flow:
    blocks = _pieces(raw, _block_size(terms, first(Block(False, 1, b""))))
    for block in blocks:
        out = first(block) if block.number == 1 else apdus.ActBlock(invoke, block)
        answer = yield from await_kind(out, _ACT_ANSWERS, invoke)
        while isinstance(answer, apdus.ActNext) and answer.block == block.number - 1:
            answer = yield Ignore(f"repeated: acknowledgement of block {answer.block}")
        if not isinstance(answer, apdus.ActNext):
            return answer
        if answer.block != block.number or block.last:
            raise FrameError(f"action: block {answer.block} acknowledged, {block.number} was sent", 3)
    raise FrameError("action: no result after the last block", 1)


def _acted(answer: Apdu, invoke: int) -> Flow:
    """The message, or the bytes joined from its blocks."""
    joined = _Joined("action")
    while isinstance(answer, apdus.ActBlock):
        block = answer.block
        if joined.repeated(block.number):
            answer = yield Ignore(f"repeated: block {block.number}")
            continue
        joined.add(block.raw)
        if block.last:
            return joined.raw
        answer = yield from await_kind(apdus.ActNext(invoke, block.number), _ACT_ANSWERS, invoke)
    if joined.parts or isinstance(answer, apdus.ActNext):
        raise FrameError(f"action: {type(answer).__name__} where a result must be", 1)
    return answer


# --- short names ---


def _name(request: Get | Set, names: shortnames.Names) -> Name:
    base = shortnames.attribute_name(names, request.class_id, request.obis, request.attribute)
    if request.selector is None:
        return Name(base)
    access = selectors.encode(request.selector)
    return Name(base, access[0], access[1:])


def _read(request: Get | GetMany, invoke: int, terms: Terms) -> Flow:
    """Read has no invoke-id: whose answer it is, only the order tells (and the link's sequence numbers)."""
    assert terms.names is not None
    items = request.items if isinstance(request, GetMany) else (request,)
    results = yield from read_names(tuple(_name(item, terms.names) for item in items))
    found = _each(items, results, _value)
    return _one(request, found)


def _one(request: object, found: list[Any]) -> Any:
    if isinstance(request, GetMany | SetMany):
        return found
    if isinstance(found[0], Refused):
        raise found[0]
    return found[0]


def read_names(items: tuple[Name, ...]) -> Flow:
    """A Read and its answer, joined if it comes in blocks: data or a data-access-error for each item."""
    answer = yield from await_kind(Read(items), (ReadResults,))
    joined = _Joined("read")
    while len(answer.items) == 1 and isinstance(answer.items[0], Block):
        block = answer.items[0]
        if joined.repeated(block.number):
            answer = yield Ignore(f"repeated: block {block.number}")
            continue
        joined.add(block.raw)
        if block.last:
            return shortnames.split_results(joined.raw)
        answer = yield from await_kind(Read((BlockNumber(block.number),)), (ReadResults,))
    if joined.parts or any(isinstance(item, Block | BlockNumber) for item in answer.items):
        raise FrameError("read: a result of another kind than was asked for", 1)
    return answer.items


def _write(request: Set | SetMany, invoke: int, terms: Terms) -> Flow:
    assert terms.names is not None
    items = request.items if isinstance(request, SetMany) else (request,)
    whole = Write(
        tuple(_name(item, terms.names) for item in items), tuple(values.encode(item.value) for item in items)
    )
    codes = yield from _written(whole, terms)
    return _one(request, _each(items, codes, lambda item, code: None))


def _written(whole: Write, terms: Terms) -> Flow:
    if not _too_long(whole, terms, SET_BLOCKS):
        answer = yield from await_kind(whole, (WriteResults,))
        return _write_codes(answer)
    for block in _pieces(apdus.encode(whole)[1:], terms.room - 16):
        piece = Write((Block(block.last, block.number, b""),), (values.encode(values.octets(block.raw)),))
        answer = yield from await_kind(piece, (WriteResults,))
        if answer.items != (BlockNumber(block.number),):
            break
    return _write_codes(answer)


def _write_codes(answer: WriteResults) -> tuple[int, ...]:
    codes = tuple(item for item in answer.items if isinstance(item, int))
    if len(codes) != len(answer.items):
        raise FrameError("write: a block number where a result must be", 1)
    return codes


def _call(request: Act, invoke: int, terms: Terms) -> Flow:
    """A method is written to; one that returns something is read, with its parameter (Green Book, "Read service")."""
    assert terms.names is not None
    base = shortnames.method_name(terms.names, request.class_id, request.obis, request.method)
    raw = values.encode(request.value or Data(values.INTEGER, 0))
    codes = yield from _written(Write((Name(base),), (raw,)), terms)
    if codes[0]:
        raise refusal(request, codes[0])
    return None
