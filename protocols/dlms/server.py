"""The device's side of one association, and many logical devices behind one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from protocols.dlms import apdu as apdus
from protocols.dlms import association as acse
from protocols.dlms import frame as frames
from protocols.dlms import selector as selectors
from protocols.dlms import shortnames, values
from protocols.dlms.apdu import Apdu, Block, Target
from protocols.dlms.frame import Frame, Receiver, WrapperTransport
from protocols.dlms.gbt import OVERHEAD, Transfer, window_for
from protocols.dlms.messages import (
    BlockNumber,
    InformationReport,
    Name,
    Read,
    ReadResults,
    Write,
    WriteResults,
)
from protocols.dlms.protection import LN, LN_CIPHERED, SN, SN_CIPHERED, Opening, Protection
from protocols.dlms.requests import MAX_VALUE, ActRequest, GetRequest, SetRequest
from protocols.dlms.selector import UTC, Selector
from protocols.dlms.transport import Transport
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

__all__ = ["QUEUE", "Gateway", "Server", "ServerEvent"]

#: Frames that wait for one device. A client has one request outstanding; a retry or two may overtake the
#: answer.
QUEUE: Final = 8

#: Data-access-results (IEC 62056-5-3).
READ_WRITE_DENIED: Final = 3
OBJECT_UNDEFINED: Final = 4
OTHER_REASON: Final = 250
LONG_GET_ABORTED: Final = 15
NO_LONG_GET: Final = 16
LONG_SET_ABORTED: Final = 17
NO_LONG_SET: Final = 18
BLOCK_NUMBER_INVALID: Final = 19
#: exception-response: (state, service).
NOT_ASSOCIATED: Final = (1, 1)
NOT_SUPPORTED: Final = (2, 2)
DECIPHERING: Final = (1, 5)

_CURRENT_ASSOCIATION: Final = Target(15, "0.0.40.0.0.255", 1)
_SEAL: Final = 64

Ask = GetRequest | SetRequest | ActRequest
ServerEvent = Event | Ask

#: What became of one item: its Data in A-XDR (None: done, with nothing to tell), or a code.
_Result = bytes | int | None


@dataclass(slots=True)
class _Job:
    """A request of the application: its items are asked one after the other, then `reply` makes the answer of all results."""

    asks: deque[Ask | int]
    reply: Callable[[list[_Result]], bytes]
    results: list[_Result] = field(default_factory=list)


@dataclass(slots=True)
class _Incoming:
    """A value that comes in blocks; `finish` gets the joined bytes and the number of the last block."""

    kind: type[Any]
    finish: Callable[[bytes, int], ServerEvent]
    parts: list[bytes] = field(default_factory=list)


class Server:
    """One logical device on one connection.

    port        its wPort, with the default transport
    password    low-level-security secret; None: no authentication is needed. Not used where there is a `protection`
    max_pdu     the longest APDU it takes and sends (0: no limit); what the client offers may be less
    zone        civil time for date-times without deviation
    transport   any other lower layer than the TCP wrapper
    protection  ciphering and high level security
    names       base names of its objects; with them it speaks short names and no logical ones
    conformance what it can do; None: all it knows in its context

    Association, release and block transfer are dealt with inside and come out as Send events. A request of the application comes
    out as one event for each of its items, each to be closed by `answer` or `refuse` before the next one is looked at.
    """

    def __init__(
        self,
        port: int,
        *,
        password: bytes | None = None,
        max_pdu: int = 1024,
        zone: ZoneInfo = UTC,
        transport: Transport | None = None,
        protection: Protection | None = None,
        names: shortnames.Names | None = None,
        conformance: Sequence[str] | None = None,
    ) -> None:
        self.port = port
        self.password = password
        self.max_pdu = max_pdu
        self.zone = zone
        self.names = names
        self.associated = False
        self._transport = transport or WrapperTransport(port, None)
        self._protection = protection
        own = apdus.CONFORMANCE if names is None else apdus.CONFORMANCE_SN
        self._able = (*own, "general_protection") if conformance is None else tuple(conformance)
        self._frames: deque[Frame] = deque()
        self._client: int | None = None
        self._limit = max_pdu or frames.MAX_APDU
        self._granted: tuple[str, ...] = ()
        self._proven = True
        self._ciphered = False
        self._asked = False
        self._job: _Job | None = None
        self._blocks: list[bytes] = []
        self._blocks_of: tuple[type[Any], int, int] = (apdus.GetBlock, 0, apdus.CONFIRMED_HIGH)
        self._incoming: _Incoming | None = None
        self._transfer: Transfer | None = None
        self._out: deque[bytes] = deque()

    # --- what the caller does ---

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive (when this device has the connection for itself)."""
        self._transport.receive_data(data)

    @property
    def pending(self) -> bool:
        """A request waits for `answer` or `refuse`."""
        return self._asked

    @property
    def busy(self) -> bool:
        """`next_event` has, or after the pending answer will have, more than what comes over the line."""
        return self._job is not None or bool(self._out)

    def take(self, frame: Frame) -> bool:
        """Take a whole frame (when a Gateway has cut the stream); False when QUEUE of them wait already."""
        if len(self._frames) >= QUEUE:
            return False
        self._frames.append(frame)
        return True

    def next_event(self) -> ServerEvent:
        """Send: write these bytes. GetRequest, SetRequest, ActRequest: answer or refuse. FrameError:
        corrupt.
        """
        if self._asked:
            return NEED_DATA
        if self._out:
            return Send(self._out.popleft())
        if self._job is not None:
            return self._ask()
        if self._frames:
            self._transport.receive_data(frames.encode(self._frames.popleft()))
        event = self._transport.next_event()
        if isinstance(event, Answer):
            if event.value is None:  # the link was made, or closed, by the client
                self.associated = False
                return Ignored("link", b"")
            return self._receive(event.value)
        return event

    def answer(self, value: Data | bytes | None = None) -> bytes:
        """Close the pending item; b'' when others of the same request come first. For a GET: the value, or its A-XDR bytes; long
        ones leave as blocks.
        """
        raw = values.encode(value) if isinstance(value, Data) else value
        if self._asked and self._job and isinstance(self._job.asks[0], GetRequest) and raw is None:
            raise Misuse("a GET is answered with a value")
        return self._close(raw)

    def refuse(self, code: int) -> bytes:
        """Close the pending item with a data-access-result (an action-result for a method)."""
        return self._close(code)

    def push(
        self, notification: apdus.DataNotification | apdus.EventNotification | InformationReport
    ) -> bytes:
        """The bytes of a notification, sealed as agreed; longer than the client takes, in pieces of which this is the first
        window. Misuse: nobody to send it to.
        """
        return self._put(notification)

    # --- one request ---

    def _start(self, asks: Sequence[Ask | int], reply: Callable[[list[_Result]], bytes]) -> ServerEvent:
        self._blocks, self._incoming = [], None
        self._job = _Job(deque(asks), reply)
        return self._ask()

    def _ask(self) -> ServerEvent:
        """The next item; those that are refused without asking are passed by."""
        job = self._job
        assert job is not None
        while job.asks and isinstance(job.asks[0], int):
            job.results.append(job.asks.popleft())  # type: ignore[arg-type]
        if not job.asks:
            self._job = None
            raw = job.reply(job.results)
            return Send(raw) if raw else Ignored("unconfirmed: nothing is answered", b"")
        self._asked = True
        return job.asks[0]  # type: ignore[return-value]

    def _close(self, result: _Result) -> bytes:
        job = self._job
        if not self._asked or job is None:
            raise Misuse("no request is pending")
        job.asks.popleft()
        job.results.append(result)
        self._asked = False
        while job.asks and isinstance(job.asks[0], int):
            job.results.append(job.asks.popleft())  # type: ignore[arg-type]
        if job.asks:
            return b""
        self._job = None
        return job.reply(job.results)

    # --- bytes out ---

    def _put(self, apdu: Apdu) -> bytes:
        raw = apdus.encode(apdu)
        if isinstance(apdu, acse.Aare | acse.Rlre):
            return self._transport.send(raw)
        if self._protection is not None:
            raw = self._protection.seal(raw)
        if (
            len(raw) <= self._limit
            or "general_block_transfer" not in self._granted
            or self._limit <= OVERHEAD
        ):
            return self._transport.send(raw)
        self._transfer = self._transfer or Transfer(MAX_VALUE, window_for(self._transport))
        return self._put_blocks(self._transfer.begin(raw, self._limit))

    def _put_blocks(self, blocks: list[apdus.GeneralBlock]) -> bytes:
        first, *rest = (self._transport.send(apdus.encode(block)) for block in blocks)
        self._out.extend(rest)
        return first

    @property
    def _room(self) -> int:
        """Bytes of a plain APDU."""
        return max(self._limit - (_SEAL if self._protection is not None else 0), 1)

    def _fits(self, apdu: Apdu, service: str) -> bool:
        return service not in self._granted or len(apdus.encode(apdu)) <= self._room

    def _exception(self, code: tuple[int, int]) -> Event:
        return Send(self._put(apdus.ExceptionResponse(*code)))

    # --- bytes in ---

    def _receive(self, raw: bytes) -> ServerEvent:
        if raw[:1] == b"\xe0":
            return self._block(raw)
        if raw[:1] in (b"\x60", b"\x62"):
            return self._acse(apdus.decode(raw, self.zone))
        if not self.associated or self._speaker() != self._client:
            # service-not-allowed, operation-not-possible
            return Send(self._transport.send(apdus.encode(apdus.ExceptionResponse(*NOT_ASSOCIATED))))
        if self._protection is not None:
            try:
                raw = self._protection.open(raw)
            except FrameError:
                return self._exception(DECIPHERING)
        return self._serve(apdus.decode(raw, self.zone))

    def _speaker(self) -> int | None:
        """Whose words these are; with a link of its own there is only one."""
        return self._transport.speaking_to if isinstance(self._transport, WrapperTransport) else None

    def _block(self, raw: bytes) -> ServerEvent:
        block = apdus.decode(raw)
        assert isinstance(block, apdus.GeneralBlock)
        begins = block.number == 1 and block.raw and not (self._transfer and self._transfer.receiving)
        if self._transfer is None or begins:  # a new request: what was left of the last answer is not wanted
            self._transfer = Transfer(MAX_VALUE, window_for(self._transport))
            self._out.clear()
        blocks, whole = self._transfer.take(block)
        if whole is not None:
            return self._receive(whole)
        return Send(self._put_blocks(blocks)) if blocks else Ignored(f"piece {block.number}", raw)

    def _serve(self, apdu: Apdu) -> ServerEvent:
        if not self._proven:
            return self._reply_to_hls(apdu)
        handler = _HANDLERS.get(type(apdu))
        logical = not isinstance(apdu, Read | Write)
        if handler is None or logical != (self.names is None):
            return self._exception(NOT_SUPPORTED)
        return handler(self, apdu)

    # --- association ---

    def _acse(self, apdu: Apdu) -> Event:
        if isinstance(apdu, apdus.Rlrq):
            return self._release(apdu)
        assert isinstance(apdu, apdus.Aarq)
        return Send(self._put(self._associate(apdu)))

    def _release(self, rlrq: apdus.Rlrq) -> Event:
        """In a ciphered context the request must prove whose it is, or anybody could end the association (Green Book 9.3.3)."""
        if self.associated and self._speaker() != self._client:
            return Send(self._transport.send(apdus.encode(apdus.ExceptionResponse(*NOT_ASSOCIATED))))
        content = None
        if self._protection is not None and (self._ciphered or rlrq.content is not None):
            try:
                opened = self._protection.open(rlrq.content or b"")
                if opened[:1] != b"\x01":
                    raise FrameError("RLRQ: no InitiateRequest", 2)
            except FrameError:
                return self._exception(DECIPHERING)
            content = self._protection.seal(acse.encode_initiate(self._initiate(), response=True))
        self.associated = self._ciphered = False
        return Send(self._put(apdus.Rlre(0, content)))

    def _associate(self, aarq: apdus.Aarq) -> apdus.Aare:
        self.associated, self._blocks, self._job, self._asked = False, [], None, False
        self._transfer, self._incoming, self._ciphered = None, None, False
        self._granted, self._client = (), self._speaker()
        try:
            initiate, opening = self._meet(aarq)
        except Refused as no:
            return apdus.Aare(1, 1, no.code, context=aarq.context)
        except FrameError:  # a title, challenge or seal that will not do
            return apdus.Aare(1, 1, 13, context=aarq.context)
        self.associated, self._ciphered = True, opening.context in (LN_CIPHERED, SN_CIPHERED)
        high = self._protection is not None and self._protection.high
        self._proven = not high
        self._limit = min((n for n in (self.max_pdu, initiate.max_pdu) if n), default=frames.MAX_APDU)
        self._granted = tuple(name for name in self._able if name in initiate.conformance)
        plain = acse.encode_initiate(self._initiate(), response=True)
        content = plain if self._protection is None else self._protection.seal(plain)
        return apdus.Aare(
            0, 1, 14 if high else 0, self.max_pdu, self._granted, opening.mechanism or None,
            opening.secret if high else None, None, opening.context, opening.title, opening.certificate, content,
        )  # fmt: skip

    def _initiate(self) -> acse.Initiate:
        return acse.Initiate(
            self.max_pdu, self._granted, vaa=acse.VAA_LN if self.names is None else acse.VAA_SN
        )

    def _meet(self, aarq: apdus.Aarq) -> tuple[acse.Initiate, Opening]:
        """What the client proposes, and what is said to it. Refused: the AARE's diagnostic."""
        if (aarq.context in (SN, SN_CIPHERED)) != (self.names is not None):
            raise Refused("application context", code=2)
        if self._protection is None:
            if aarq.initiate is None or aarq.context not in (LN, SN):
                raise Refused("application context", code=2)
            if self.password is not None and aarq.mechanism == apdus.NO_AUTHENTICATION:
                raise Refused("authentication required", code=14)
            if aarq.mechanism not in (apdus.NO_AUTHENTICATION, apdus.LLS):
                raise Refused("mechanism name not recognized", code=11)
            if self.password is not None and aarq.password != self.password:
                raise Refused("authentication failure", code=13)
            return aarq.initiate, Opening(aarq.context)
        content = aarq.ciphered
        dedicated = None
        if aarq.initiate is not None:
            content = acse.encode_initiate(aarq.initiate, response=False)
            dedicated = aarq.initiate.dedicated
        self._protection.meet(
            Opening(aarq.context, aarq.mechanism, aarq.title, aarq.password, aarq.certificate, dedicated)
        )
        initiate = acse.decode_initiate(self._protection.open(content or b""))
        return initiate, self._protection.opening()

    def _reply_to_hls(self, apdu: Apdu) -> Event:
        """Passes 3 and 4: nothing else is answered before."""
        assert self._protection is not None
        match apdu:
            case apdus.ActNormal(target=target, raw=bytes() as raw) if target == _CURRENT_ASSOCIATION:
                reply = self._proof(raw)
                code = READ_WRITE_DENIED if reply is None else 0
                return Send(self._put(apdus.ActResult(apdu.invoke, code, reply, flags=apdu.flags)))
            case Read(items=(Name(base=shortnames.REPLY_TO_HLS, parameter=bytes() as raw),)):
                reply = self._proof(raw)
                return Send(self._put(ReadResults((READ_WRITE_DENIED if reply is None else reply,))))
        return self._exception(NOT_ASSOCIATED)

    def _proof(self, raw: bytes) -> bytes | None:
        assert self._protection is not None
        given = values.decode(raw).value
        try:
            if not isinstance(given, bytes):
                raise FrameError("reply_to_HLS_authentication: no octet-string", 0)
            self._protection.verify(given)
        except FrameError:
            self.associated = False
            return None
        self._proven = True
        return values.encode(values.octets(self._protection.prove()))

    # --- GET ---

    def _get(self, apdu: apdus.GetNormal) -> ServerEvent:
        def reply(results: list[_Result]) -> bytes:
            (result,) = results
            if isinstance(result, int):
                return self._put(apdus.GetError(apdu.invoke, result, flags=apdu.flags))
            whole = apdus.GetData(apdu.invoke, result or b"\x00", flags=apdu.flags)
            if self._fits(whole, "block_transfer_with_get_or_read"):
                return self._put(whole)
            return self._begin_blocks(apdus.GetBlock, whole.raw, apdu.invoke, apdu.flags)

        return self._start([_asked(apdu.target, apdu.selector)], reply)

    def _get_list(self, apdu: apdus.GetList) -> ServerEvent:
        def reply(results: list[_Result]) -> bytes:
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

        self._incoming = _Incoming(apdus.SetNext, finish)
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

        self._incoming = _Incoming(apdus.SetNext, finish)
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

    def _block_problem(self, incoming: _Incoming | None, block: Block, kind: type[Any]) -> int:
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
        def reply(results: list[_Result]) -> bytes:
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
        self._incoming = _Incoming(
            apdus.ActBlock, lambda raw, _: self._acting(apdu, [(apdu.target, _whole(raw))], many=False)
        )
        return self._more(apdu, apdu.block)

    def _act_list_first(self, apdu: apdus.ActListFirst) -> ServerEvent:
        def finish(raw: bytes, number: int) -> ServerEvent:
            parts = apdus.split_values(raw, len(apdu.targets))
            return self._acting(apdu, list(zip(apdu.targets, parts, strict=True)), many=True)

        self._incoming = _Incoming(apdus.ActBlock, finish)
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

        def reply(results: list[_Result]) -> bytes:
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
            self._incoming = _Incoming(Write, self._written)
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


def _code(result: _Result) -> int:
    return result if isinstance(result, int) else 0


def _acknowledged(apdu: Any, block: Block) -> Apdu:
    if isinstance(apdu, apdus.ActFirst | apdus.ActListFirst | apdus.ActBlock):
        return apdus.ActNext(apdu.invoke, block.number, True, flags=apdu.flags)
    return apdus.SetAck(apdu.invoke, block.number, flags=apdu.flags)


class Gateway:
    """Many logical devices behind one connection: cuts the stream and hands each frame to the Server of its
    wPort.

    `find(port)` returns the Server of a wPort (always the same one on this connection), or None for nobody.
    """

    def __init__(self, find: Callable[[int], Server | None]) -> None:
        self._find = find
        self._receiver = Receiver()
        self._ready: deque[Server] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._receiver.feed(data)

    def next_event(self) -> tuple[Server | None, ServerEvent]:
        """The next event and the Server it belongs to; (None, NEED_DATA) when all is dealt with.

        A Server with a request pending keeps its further frames until that is answered; the others go on.
        """
        for _ in range(len(self._ready)):
            server = self._ready.popleft()
            if server.pending:
                self._ready.append(server)
                continue
            return self._event(server)
        while (frame := self._receiver.next()) is not None:
            found = self._find(frame.destination)
            if found is None:
                return None, Ignored(f"nobody at wPort {frame.destination}", frames.encode(frame))
            if not found.take(frame):
                return found, Ignored("too many requests at once", frames.encode(frame))
            if found.pending:
                self._ready.append(found)
                continue
            return self._event(found)
        return None, NEED_DATA

    def _event(self, server: Server) -> tuple[Server, ServerEvent]:
        """One event; a server that has more to say (further items or pieces) stays in the queue."""
        event = server.next_event()
        if server.busy:
            self._ready.append(server)
        return server, event
