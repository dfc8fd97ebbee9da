"""The device's side of one association: who is spoken to, under which keys, and bytes in and out. Its services are in `server`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from protocols.dlms import apdu as apdus
from protocols.dlms import association as acse
from protocols.dlms import frame as frames
from protocols.dlms import shortnames, values
from protocols.dlms.apdu import Apdu, Target
from protocols.dlms.frame import Frame, WrapperTransport
from protocols.dlms.gbt import OVERHEAD, Transfer, window_for
from protocols.dlms.messages import (
    InformationReport,
    Name,
    Read,
    ReadResults,
)
from protocols.dlms.protection import LN, LN_CIPHERED, SN, SN_CIPHERED, Opening, Protection
from protocols.dlms.requests import MAX_VALUE, ActRequest, GetRequest, SetRequest
from protocols.dlms.selector import UTC
from protocols.dlms.transport import Transport
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

#: Frames that wait for one device. A client has one request outstanding; a retry or two may overtake the
#: answer.
QUEUE: Final = 8

#: Data-access-result (IEC 62056-5-3).
READ_WRITE_DENIED: Final = 3
#: exception-response: (state, service).
NOT_ASSOCIATED: Final = (1, 1)
NOT_SUPPORTED: Final = (2, 2)
DECIPHERING: Final = (1, 5)

_CURRENT_ASSOCIATION: Final = Target(15, "0.0.40.0.0.255", 1)
_SEAL: Final = 64

Ask = GetRequest | SetRequest | ActRequest
ServerEvent = Event | Ask

#: What became of one item: its Data in A-XDR (None: done, with nothing to tell), or a code.
Result = bytes | int | None


@dataclass(slots=True)
class Job:
    """A request of the application: its items are asked one after the other, then `reply` makes the answer of all results."""

    asks: deque[Ask | int]
    reply: Callable[[list[Result]], bytes]
    results: list[Result] = field(default_factory=list)


@dataclass(slots=True)
class Incoming:
    """A value that comes in blocks; `finish` gets the joined bytes and the number of the last block."""

    kind: type[Any]
    finish: Callable[[bytes, int], ServerEvent]
    parts: list[bytes] = field(default_factory=list)


class Device(ABC):
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
        self._job: Job | None = None
        self._blocks: list[bytes] = []
        self._blocks_of: tuple[type[Any], int, int] = (apdus.GetBlock, 0, apdus.CONFIRMED_HIGH)
        self._incoming: Incoming | None = None
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

    def _start(self, asks: Sequence[Ask | int], reply: Callable[[list[Result]], bytes]) -> ServerEvent:
        self._blocks, self._incoming = [], None
        self._job = Job(deque(asks), reply)
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

    def _close(self, result: Result) -> bytes:
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
        event = self._handle(apdu)
        return self._exception(NOT_SUPPORTED) if event is None else event

    @abstractmethod
    def _handle(self, apdu: Apdu) -> ServerEvent | None:
        """One service; None if there is no such service here."""

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
