"""The device's services: GET, SET and ACTION with logical names, reading and writing with short ones, whole and in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocols.dlms import apdu as apdus
from protocols.dlms import selector as selectors
from protocols.dlms import shortnames, values
from protocols.dlms.apdu import Apdu, Block, Target
from protocols.dlms.device import QUEUE, Ask, Device, Incoming, Result, ServerEvent
from protocols.dlms.messages import BlockNumber, Name, Read, ReadResults, Write, WriteResults
from protocols.dlms.requests import MAX_VALUE, ActRequest, GetRequest, SetRequest
from protocols.dlms.selector import Selector
from protocols.errors import FrameError
from protocols.exchange import Event, Send

__all__ = ["QUEUE", "Server", "ServerEvent"]

#: Data-access-results (IEC 62056-5-3).
OBJECT_UNDEFINED: Final = 4
OTHER_REASON: Final = 250
LONG_GET_ABORTED: Final = 15
NO_LONG_GET: Final = 16
LONG_SET_ABORTED: Final = 17
NO_LONG_SET: Final = 18
BLOCK_NUMBER_INVALID: Final = 19


class Server(Device):
    """One logical device on one connection, as `Device` has it, with all services."""

    def _handle(self, apdu: Apdu) -> ServerEvent | None:
        handler = _HANDLERS.get(type(apdu))
        logical = not isinstance(apdu, Read | Write)
        if handler is None or logical != (self.names is None):
            return None
        return handler(self, apdu)

    # --- GET ---

    def _get(self, apdu: apdus.GetNormal) -> ServerEvent:
        def reply(results: list[Result]) -> bytes:
            (result,) = results
            if isinstance(result, int):
                return self._put(apdus.GetError(apdu.invoke, result, flags=apdu.flags))
            whole = apdus.GetData(apdu.invoke, result or b"\x00", flags=apdu.flags)
            if self._fits(whole, "block_transfer_with_get_or_read"):
                return self._put(whole)
            return self._begin_blocks(apdus.GetBlock, whole.raw, apdu.invoke, apdu.flags)

        return self._start([_asked(apdu.target, apdu.selector)], reply)

    def _get_list(self, apdu: apdus.GetList) -> ServerEvent:
        def reply(results: list[Result]) -> bytes:
            found = tuple(one if one is not None else b"\x00" for one in results)
            whole = apdus.GetResults(apdu.invoke, found, flags=apdu.flags)
            if self._fits(whole, "block_transfer_with_get_or_read"):
                return self._put(whole)
            return self._begin_blocks(apdus.GetBlock, apdus.join_results(found), apdu.invoke, apdu.flags)

        return self._start([_asked(target, selector) for target, selector in apdu.targets], reply)

    def _begin_blocks(self, kind: type[Any], raw: bytes, invoke: int, flags: int) -> bytes:
        # 12: tag, choice, invoke-id, last, number (4), choice, length (at most 3 below 64 kB). A client that
        # offers less than a header gets the smallest blocks there can be rather than none.
        size = max(self._room - 12, 1)
        self._blocks = [raw[i : i + size] for i in range(0, len(raw), size)]
        self._blocks_of = kind, invoke, flags
        return self._piece(1)

    def _piece(self, number: int) -> bytes:
        kind, invoke, flags = self._blocks_of
        last, raw = number == len(self._blocks), self._blocks[number - 1]
        if kind is apdus.GetBlock:
            return self._put(apdus.GetBlock(invoke, last, number, raw, flags=flags))
        if kind is apdus.ActBlock:
            return self._put(apdus.ActBlock(invoke, Block(last, number, raw), True, flags=flags))
        return self._put(ReadResults((Block(last, number, raw),)))

    def _next(self, apdu: apdus.GetNext) -> Event:
        if not self._blocks or self._blocks_of[:2] != (apdus.GetBlock, apdu.invoke):
            return Send(self._put(apdus.GetError(apdu.invoke, NO_LONG_GET, apdu.block, flags=apdu.flags)))
        if not 1 <= apdu.block < len(self._blocks):
            self._blocks = []
            return Send(
                self._put(apdus.GetError(apdu.invoke, BLOCK_NUMBER_INVALID, apdu.block, flags=apdu.flags))
            )
        return Send(self._piece(apdu.block + 1))

    # --- SET ---

    def _set(self, apdu: apdus.SetNormal) -> ServerEvent:
        return self._start(
            [_told(apdu.target, apdu.selector, apdu.raw)],
            lambda results: self._put(apdus.SetResult(apdu.invoke, _code(results[0]), flags=apdu.flags)),
        )

    def _set_list(self, apdu: apdus.SetList) -> ServerEvent:
        asks = [_told(*one, raw) for one, raw in zip(apdu.targets, apdu.values, strict=True)]
        return self._start(
            asks,
            lambda results: self._put(
                apdus.SetResults(apdu.invoke, tuple(map(_code, results)), flags=apdu.flags)
            ),
        )

    def _set_first(self, apdu: apdus.SetFirst) -> ServerEvent:
        def finish(raw: bytes, number: int) -> ServerEvent:
            return self._start(
                [_told(apdu.target, apdu.selector, _whole(raw))],
                lambda results: self._put(
                    apdus.SetLast(apdu.invoke, (_code(results[0]),), number, flags=apdu.flags)
                ),
            )

        self._incoming = Incoming(apdus.SetNext, finish)
        return self._more(apdu, apdu.block)

    def _set_list_first(self, apdu: apdus.SetListFirst) -> ServerEvent:
        def finish(raw: bytes, number: int) -> ServerEvent:
            parts = apdus.split_values(raw, len(apdu.targets))
            return self._start(
                [_told(*one, part) for one, part in zip(apdu.targets, parts, strict=True)],
                lambda results: self._put(
                    apdus.SetLast(apdu.invoke, tuple(map(_code, results)), number, True, flags=apdu.flags)
                ),
            )

        self._incoming = Incoming(apdus.SetNext, finish)
        return self._more(apdu, apdu.block)

    def _more(self, apdu: Any, block: Block) -> ServerEvent:
        """A block of a long SET or ACTION."""
        incoming = self._incoming
        action = isinstance(apdu, apdus.ActFirst | apdus.ActListFirst | apdus.ActBlock)
        code = self._block_problem(incoming, block, apdus.ActBlock if action else apdus.SetNext)
        if code or incoming is None:
            return self._no_blocks(apdu, block, code)
        if block.number > len(incoming.parts):
            incoming.parts.append(block.raw)
        if not block.last:
            return Send(self._put(_acknowledged(apdu, block)))
        self._incoming = None
        try:
            return incoming.finish(b"".join(incoming.parts), block.number)
        except FrameError:
            return self._no_blocks(apdu, block, OTHER_REASON)

    def _block_problem(self, incoming: Incoming | None, block: Block, kind: type[Any]) -> int:
        """0: it is the next one, or the last one once more because our acknowledgement was lost."""
        if incoming is None or incoming.kind is not kind:
            return NO_LONG_SET
        come = len(incoming.parts)
        if block.number != come + 1 and not (come and block.number == come and not block.last):
            return BLOCK_NUMBER_INVALID
        if sum(map(len, incoming.parts)) + len(block.raw) > MAX_VALUE:
            return LONG_SET_ABORTED
        return 0

    def _no_blocks(self, apdu: Any, block: Block, code: int) -> Event:
        self._incoming = None
        if isinstance(apdu, apdus.ActFirst | apdus.ActListFirst | apdus.ActBlock):
            return Send(self._put(apdus.ActResult(apdu.invoke, code, flags=apdu.flags)))
        return Send(self._put(apdus.SetLast(apdu.invoke, (code,), block.number, flags=apdu.flags)))

    def _set_next(self, apdu: apdus.SetNext) -> ServerEvent:
        return self._more(apdu, apdu.block)

    # --- ACTION ---

    def _act(self, apdu: apdus.ActNormal) -> ServerEvent:
        return self._acting(apdu, [(apdu.target, apdu.raw)], many=False)

    def _act_list(self, apdu: apdus.ActList) -> ServerEvent:
        return self._acting(apdu, list(zip(apdu.targets, apdu.values, strict=True)), many=True)

    def _acting(self, apdu: Any, items: list[tuple[Target, bytes | None]], *, many: bool) -> ServerEvent:
        def reply(results: list[Result]) -> bytes:
            found = tuple((one, None, None) if isinstance(one, int) else (0, one, None) for one in results)
            whole: Apdu = (
                apdus.ActResults(apdu.invoke, found, flags=apdu.flags)
                if many
                else apdus.ActResult(apdu.invoke, *found[0], flags=apdu.flags)
            )
            if self._fits(whole, "block_transfer_with_action"):
                return self._put(whole)
            raw = apdus.join_act_results(found) if many else apdus.act_answer(*found[0])
            return self._begin_blocks(apdus.ActBlock, raw, apdu.invoke, apdu.flags)

        asks = [
            ActRequest(
                target.class_id, target.obis, target.index, None if raw is None else values.decode(raw)
            )
            for target, raw in items
        ]
        return self._start(asks, reply)

    def _act_first(self, apdu: apdus.ActFirst) -> ServerEvent:
        self._incoming = Incoming(
            apdus.ActBlock, lambda raw, _: self._acting(apdu, [(apdu.target, _whole(raw))], many=False)
        )
        return self._more(apdu, apdu.block)

    def _act_list_first(self, apdu: apdus.ActListFirst) -> ServerEvent:
        def finish(raw: bytes, number: int) -> ServerEvent:
            parts = apdus.split_values(raw, len(apdu.targets))
            return self._acting(apdu, list(zip(apdu.targets, parts, strict=True)), many=True)

        self._incoming = Incoming(apdus.ActBlock, finish)
        return self._more(apdu, apdu.block)

    def _act_block(self, apdu: apdus.ActBlock) -> ServerEvent:
        return self._more(apdu, apdu.block)

    def _act_next(self, apdu: apdus.ActNext) -> Event:
        good = self._blocks and self._blocks_of[:2] == (apdus.ActBlock, apdu.invoke)
        if not good or not 1 <= apdu.block < len(self._blocks):
            self._blocks = []
            return Send(self._put(apdus.ActResult(apdu.invoke, LONG_GET_ABORTED, flags=apdu.flags)))
        return Send(self._piece(apdu.block + 1))

    # --- short names ---

    def _read(self, apdu: Read) -> ServerEvent:
        match apdu.items:
            case (BlockNumber(number=number),):
                if self._blocks_of[0] is not ReadResults or not 1 <= number < len(self._blocks):
                    self._blocks = []
                    return Send(self._put(ReadResults((BLOCK_NUMBER_INVALID,))))
                return Send(self._piece(number + 1))

        def reply(results: list[Result]) -> bytes:
            found = tuple(one if one is not None else b"\x00" for one in results)
            whole = ReadResults(found)
            if self._fits(whole, "block_transfer_with_get_or_read"):
                return self._put(whole)
            return self._begin_blocks(ReadResults, shortnames.join_results(found), 0, 0)

        return self._start([self._read_item(item) for item in apdu.items], reply)

    def _read_item(self, item: Name | BlockNumber | Block) -> Ask | int:
        where = shortnames.locate(self.names or {}, item.base) if isinstance(item, Name) else None
        if where is None or not isinstance(item, Name):
            return OBJECT_UNDEFINED
        class_id, obis, index, method = where
        if method:
            return ActRequest(
                class_id, obis, index, None if item.parameter is None else values.decode(item.parameter)
            )
        selector = None
        if item.selector is not None and item.parameter is not None:
            selector, _ = selectors.decode_at(bytes((item.selector,)) + item.parameter, 0, self.zone)
        return GetRequest(class_id, obis, index, selector)

    def _write(self, apdu: Write) -> ServerEvent:
        if len(apdu.items) == 1 and isinstance(apdu.items[0], Block):
            return self._write_block(apdu.items[0], apdu.values[0])
        asks = [self._write_item(item, raw) for item, raw in zip(apdu.items, apdu.values, strict=True)]
        if not apdu.confirmed:
            return self._start(asks, lambda results: b"")
        return self._start(asks, lambda results: self._put(WriteResults(tuple(map(_code, results)))))

    def _write_item(self, item: Name | Block, raw: bytes) -> Ask | int:
        where = shortnames.locate(self.names or {}, item.base) if isinstance(item, Name) else None
        if where is None:
            return OBJECT_UNDEFINED
        class_id, obis, index, method = where
        if method:
            return ActRequest(class_id, obis, index, values.decode(raw))
        return SetRequest(class_id, obis, index, values.decode(raw))

    def _write_block(self, block: Block, raw: bytes) -> ServerEvent:
        if block.number == 1:
            self._incoming = Incoming(Write, self._written)
        incoming, piece = self._incoming, values.decode(raw).value
        good = incoming is not None and incoming.kind is Write and block.number == len(incoming.parts) + 1
        if incoming is None or not good or not isinstance(piece, bytes):
            self._incoming = None
            return Send(self._put(WriteResults((BLOCK_NUMBER_INVALID,))))
        incoming.parts.append(piece)
        if sum(map(len, incoming.parts)) > MAX_VALUE:
            self._incoming = None
            return Send(self._put(WriteResults((LONG_SET_ABORTED,))))
        if not block.last:
            return Send(self._put(WriteResults((BlockNumber(block.number),))))
        self._incoming = None
        return self._written(b"".join(incoming.parts), block.number)

    def _written(self, raw: bytes, number: int) -> ServerEvent:
        whole = apdus.decode(bytes((shortnames.WRITE,)) + raw)
        assert isinstance(whole, Write)
        if any(isinstance(item, Block) for item in whole.items):
            return Send(self._put(WriteResults((OTHER_REASON,))))
        return self._write(whole)


_HANDLERS: Final[Mapping[type[Any], Callable[[Server, Any], ServerEvent]]] = {
    apdus.GetNormal: Server._get, apdus.GetList: Server._get_list, apdus.GetNext: Server._next,
    apdus.SetNormal: Server._set, apdus.SetList: Server._set_list, apdus.SetFirst: Server._set_first,
    apdus.SetListFirst: Server._set_list_first, apdus.SetNext: Server._set_next,
    apdus.ActNormal: Server._act, apdus.ActList: Server._act_list, apdus.ActFirst: Server._act_first,
    apdus.ActListFirst: Server._act_list_first, apdus.ActBlock: Server._act_block, apdus.ActNext: Server._act_next,
    Read: Server._read, Write: Server._write,
}  # fmt: skip


def _asked(target: Target, selector: Selector | None) -> GetRequest:
    return GetRequest(target.class_id, target.obis, target.index, selector)


def _told(target: Target, selector: Selector | None, raw: bytes) -> SetRequest:
    return SetRequest(target.class_id, target.obis, target.index, values.decode(raw), selector)


def _whole(raw: bytes) -> bytes:
    values.decode(raw)
    return raw


def _code(result: Result) -> int:
    return result if isinstance(result, int) else 0


def _acknowledged(apdu: Any, block: Block) -> Apdu:
    if isinstance(apdu, apdus.ActFirst | apdus.ActListFirst | apdus.ActBlock):
        return apdus.ActNext(apdu.invoke, block.number, True, flags=apdu.flags)
    return apdus.SetAck(apdu.invoke, block.number, flags=apdu.flags)
