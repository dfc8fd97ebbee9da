"""Who may speak next: the client (master) and the server (device) of one association over the TCP wrapper.

The client keeps one request outstanding. A frame with other wrapper ports, an answer with another invoke-id
or of another kind is Ignored: it is stale or foreign. Data blocks are fetched inside, through Send events.

The library's own core (`dlms_cosem.connection`) is not used: it joins blocks and answers without comparing
the invoke-id, so a late answer would be taken for the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from protocols.dlms import apdu as apdus
from protocols.dlms import frame as frames
from protocols.dlms import values
from protocols.dlms.apdu import Apdu, Target
from protocols.dlms.frame import Frame, Receiver
from protocols.dlms.selector import UTC, EntrySelector, RangeSelector, Selector
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

__all__ = [
    "Act", "ActRequest", "Associate", "Client", "EntrySelector", "Gateway", "Get", "GetRequest",
    "RangeSelector", "Release", "Server", "Set", "SetRequest",
]  # fmt: skip

MANAGEMENT_CLIENT: Final = 1
PUBLIC_CLIENT: Final = 16

#: What we offer to receive in one APDU: a curve day of ten columns is 6 kB, so a day takes a handful of
#: blocks, and no device has to buffer more than it likes (it may always send less).
DEFAULT_MAX_PDU: Final = 2048
#: One value joined from blocks: 60 days of 96 rows with a dozen columns are 0.4 MB. More is a meter gone
#: wild.
MAX_VALUE: Final = 4 * 1024 * 1024

#: Data-access-results that prove the meter does not have the object (IEC 62056-5-3, Data-Access-Result): 4
#: object-undefined, and 9 object-class-inconsistent (the name exists, but not as what was asked for). 11
#: object-unavailable is not one: it says "not now".
ABSENT: Final = frozenset((4, 9))

#: Frames that wait for one device. A client has one request outstanding; a retry or two may overtake the
#: answer.
QUEUE: Final = 8

READ_WRITE_DENIED: Final = 3
BLOCK_NUMBER_INVALID: Final = 19
NO_LONG_GET: Final = 16


@dataclass(frozen=True, slots=True)
class Associate:
    """Open the association: without authentication, or with a low-level-security password. Answer: the
    Aare.
    """

    password: bytes | None = field(default=None, repr=False)  # never reaches a log
    max_pdu: int = DEFAULT_MAX_PDU


@dataclass(frozen=True, slots=True)
class Get:
    """Read an attribute. Answer: its Data, or with `raw` its A-XDR bytes undecoded (for bulk decoding)."""

    class_id: int
    obis: str
    attribute: int
    selector: Selector | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Set:
    """Write an attribute. Answer: None."""

    class_id: int
    obis: str
    attribute: int
    value: Data


@dataclass(frozen=True, slots=True)
class Act:
    """Invoke a method. Answer: the returned Data, or None."""

    class_id: int
    obis: str
    method: int
    value: Data | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Close the association. Answer: None."""


Request = Associate | Get | Set | Act | Release


class Client:
    """Implements protocols.exchange.Exchange for one logical device.

    client  wPort of this client: 1 management, 16 public (no authentication)
    server  wPort of the logical device
    """

    def __init__(self, client: int, server: int) -> None:
        self.client = client
        self.server = server
        self.association: apdus.Aare | None = None
        self._receiver = Receiver()
        self._request: Request | None = None
        self._invoke = 0
        self._parts: list[bytes] = []

    @property
    def skipped(self) -> int:
        """Bytes dropped because they could not begin a frame."""
        return self._receiver.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request and return its bytes. Misuse: one is outstanding, or it does not fit."""
        if self._request is not None:
            raise Misuse(f"a {type(self._request).__name__} is outstanding")
        invoke = (self._invoke + 1) & 0x0F
        raw = apdus.encode(_request_apdu(request, invoke))
        if self.association and self.association.max_pdu and len(raw) > self.association.max_pdu:
            raise Misuse(f"an APDU of {len(raw)} bytes, the meter takes {self.association.max_pdu}")
        data = self._wrap(raw)
        self._request, self._invoke, self._parts = request, invoke, []
        if isinstance(request, Associate):
            self.association = None
            self._receiver.limit = request.max_pdu or frames.MAX_APDU
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._receiver.feed(data)

    def abandon(self) -> None:
        """Give the request up: its answer, if it still comes, will be Ignored (its invoke-id is used up)."""
        self._request = None
        self._parts = []

    def next_event(self) -> Event:
        """What the bytes so far mean.

        FrameError: corrupt wrapper or APDU, blocks out of order; Refused: `code` is the data-access-result,
        the action result, (state << 8 | service) of an exception-response, or the AARE's diagnostic. After
        either the request is over.
        """
        try:
            frame = self._receiver.next()
        except FrameError:
            self.abandon()
            raise
        if frame is None:
            return NEED_DATA
        if (frame.source, frame.destination) != (self.server, self.client):
            return Ignored(f"foreign: wPort {frame.source} -> {frame.destination}", frames.encode(frame))
        request = self._request
        if request is None:
            return Ignored("unexpected: no request is outstanding", frames.encode(frame))
        try:
            event = self._answer(request, apdus.decode(frame.apdu), frame)
        except (FrameError, Refused):
            self.abandon()
            raise
        if isinstance(event, Answer):
            self.abandon()
        return event

    def _wrap(self, raw: bytes) -> bytes:
        return frames.encode(Frame(self.client, self.server, raw))

    def _answer(self, request: Request, apdu: Apdu, frame: Frame) -> Event:
        if isinstance(apdu, apdus.ExceptionResponse):
            state = apdus.STATE_ERRORS.get(apdu.state, "unknown")
            service = apdus.SERVICE_ERRORS.get(apdu.service, "unknown")
            raise Refused(f"exception-response: {state}, {service}", code=apdu.state << 8 | apdu.service)
        if isinstance(apdu, apdus.ConfirmedServiceError):
            raise Refused(f"confirmed-service-error: {apdu.error}", code=0)
        match request, apdu:
            case Associate(), apdus.Aare():
                return Answer(self._associated(apdu))
            case Release(), apdus.Rlre():
                self.association = None
                return Answer(None)
            case (
                (
                    Get(),
                    apdus.GetData(invoke=invoke)
                    | apdus.GetError(invoke=invoke)
                    | apdus.GetBlock(invoke=invoke),
                )
                | (Set(), apdus.SetResult(invoke=invoke))
                | (Act(), apdus.ActResult(invoke=invoke))
            ):
                if invoke != self._invoke:
                    return Ignored(
                        f"stale: invoke-id {invoke}, expected {self._invoke}", frames.encode(frame)
                    )
                return self._service(request, apdu)
        return Ignored(f"unexpected: {type(apdu).__name__}", frames.encode(frame))

    def _associated(self, aare: apdus.Aare) -> apdus.Aare:
        name = apdus.DIAGNOSTICS.get((aare.source, aare.diagnostic), "unknown")
        if aare.service_error is not None:
            name = f"{name}, {aare.service_error}"
        if aare.result != 0:
            how = "permanently" if aare.result == 1 else "transiently"
            raise Refused(f"association rejected {how}: {name}", code=aare.diagnostic)
        if aare.diagnostic != 0:  # 14: accepted only if high level security follows, which is not spoken here
            raise Refused(f"association needs more than a password: {name}", code=aare.diagnostic)
        self.association = aare
        return aare

    def _service(self, request: Request, apdu: Apdu) -> Event:
        match apdu:
            case apdus.GetError():
                raise refusal(request, apdu.code)
            case apdus.GetData() if not self._parts:
                return Answer(_value(request, apdu.raw))
            case apdus.GetBlock():
                return self._block(request, apdu)
            case apdus.SetResult():
                if apdu.code:
                    raise refusal(request, apdu.code)
                return Answer(None)
            case apdus.ActResult():
                if apdu.code or apdu.error:
                    raise refusal(request, apdu.code or apdu.error or 0)
                return Answer(None if apdu.raw is None else values.decode(apdu.raw))
        raise FrameError(f"{type(apdu).__name__} in the middle of data blocks")

    def _block(self, request: Request, apdu: apdus.GetBlock) -> Event:
        expected = len(self._parts) + 1
        if self._parts and apdu.block == expected - 1:
            return Ignored(f"repeated: block {apdu.block}", apdus.encode(apdu))
        if apdu.block != expected:
            raise FrameError(f"get: data block {apdu.block}, expected {expected}")
        self._parts.append(apdu.raw)
        if sum(map(len, self._parts)) > MAX_VALUE:
            raise FrameError(f"get: more than {MAX_VALUE} bytes in data blocks")
        if apdu.last:
            return Answer(_value(request, b"".join(self._parts)))
        return Send(self._wrap(apdus.encode(apdus.GetNext(self._invoke, apdu.block))))


def _request_apdu(request: Request, invoke: int) -> Apdu:
    match request:
        case Associate():
            mechanism = apdus.NO_AUTHENTICATION if request.password is None else apdus.LLS
            return apdus.Aarq(mechanism, request.password, request.max_pdu)
        case Get():
            return apdus.GetNormal(
                invoke, Target(request.class_id, request.obis, request.attribute), request.selector
            )
        case Set():
            target = Target(request.class_id, request.obis, request.attribute)
            return apdus.SetNormal(invoke, target, values.encode(request.value))
        case Act():
            target = Target(request.class_id, request.obis, request.method)
            return apdus.ActNormal(
                invoke, target, None if request.value is None else values.encode(request.value)
            )
        case Release():
            return apdus.Rlrq()
    raise Misuse(f"{type(request).__name__} is no DLMS request")


def _value(request: Request, raw: bytes) -> Data | bytes:
    return raw if isinstance(request, Get) and request.raw else values.decode(raw)


def refusal(request: Request, code: int) -> Refused:
    """The Refused that a data-access-result or action-result stands for."""
    name = apdus.RESULTS.get(code, "unknown code")
    what = type(request).__name__.lower()
    match request:
        case Get() | Set():
            what += f" {request.class_id}/{request.obis}/{request.attribute}"
        case Act():
            what += f" {request.class_id}/{request.obis}/{request.method}"
    return Refused(f"{what}: {name} ({code})", code=code, absent=code in ABSENT)


# --- the device side ---


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Asked of a server: answer with the attribute's Data (or its A-XDR bytes)."""

    class_id: int
    obis: str
    attribute: int
    selector: Selector | None


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Asked of a server: write and `answer()`."""

    class_id: int
    obis: str
    attribute: int
    value: Data


@dataclass(frozen=True, slots=True)
class ActRequest:
    """Asked of a server: do it and `answer()`, with returned Data if the method has any."""

    class_id: int
    obis: str
    method: int
    value: Data | None


ServerEvent = Event | GetRequest | SetRequest | ActRequest


class Server:
    """One logical device on one connection.

    port      its wPort
    password  low-level-security secret; None: no authentication is needed
    max_pdu   the longest APDU it takes and sends (0: no limit); what the client offers may be less
    zone      civil time for date-times without deviation

    Association, release and next-block requests are dealt with inside and come out as Send events. A request
    of the application comes out as an event and must be closed by `answer` or `refuse` before the next one
    is looked at.
    """

    def __init__(
        self, port: int, *, password: bytes | None = None, max_pdu: int = 1024, zone: ZoneInfo = UTC
    ) -> None:
        self.port = port
        self.password = password
        self.max_pdu = max_pdu
        self.zone = zone
        self.associated = False
        self._receiver = Receiver()
        self._frames: deque[Frame] = deque()
        self._client = 0
        self._limit = max_pdu or frames.MAX_APDU
        self._pending: apdus.GetNormal | apdus.SetNormal | apdus.ActNormal | None = None
        self._blocks: list[bytes] = []
        self._invoke = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive (when this device has the connection for itself)."""
        self._receiver.feed(data)

    @property
    def pending(self) -> bool:
        """A request waits for `answer` or `refuse`."""
        return self._pending is not None

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
        if self._pending is not None:
            return NEED_DATA
        frame = self._frames.popleft() if self._frames else self._receiver.next()
        if frame is None:
            return NEED_DATA
        if frame.destination != self.port:
            return Ignored(f"foreign: wPort {frame.destination}", frames.encode(frame))
        return self._serve(apdus.decode(frame.apdu, self.zone), frame.source)

    def answer(self, value: Data | bytes | None = None) -> bytes:
        """Close the pending request. For a GET: the value, or its A-XDR bytes; long ones leave as data
        blocks.
        """
        pending = self._close()
        raw = values.encode(value) if isinstance(value, Data) else value
        if isinstance(pending, apdus.SetNormal):
            return self._wrap(apdus.SetResult(pending.invoke, 0))
        if isinstance(pending, apdus.ActNormal):
            return self._wrap(apdus.ActResult(pending.invoke, 0, raw))
        if raw is None:
            raise Misuse("a GET is answered with a value")
        if len(raw) + 4 <= self._limit:
            return self._wrap(apdus.GetData(pending.invoke, raw))
        # 12: tag, choice, invoke-id, last, number (4), choice, length (at most 3 below 64 kB). A client that
        # offers less than a header gets the smallest blocks there can be rather than none.
        size = max(self._limit - 12, 1)
        self._blocks = [raw[i : i + size] for i in range(0, len(raw), size)]
        self._invoke = pending.invoke
        return self._block(1)

    def refuse(self, code: int) -> bytes:
        """Close the pending request with a data-access-result (an action-result for a method)."""
        match self._close():
            case apdus.GetNormal(invoke=invoke):
                return self._wrap(apdus.GetError(invoke, code))
            case apdus.SetNormal(invoke=invoke):
                return self._wrap(apdus.SetResult(invoke, code))
            case apdus.ActNormal(invoke=invoke):
                return self._wrap(apdus.ActResult(invoke, code))

    def _close(self) -> apdus.GetNormal | apdus.SetNormal | apdus.ActNormal:
        pending = self._pending
        if pending is None:
            raise Misuse("no request is pending")
        self._pending = None
        return pending

    def _wrap(self, apdu: Apdu, client: int | None = None) -> bytes:
        return frames.encode(Frame(self.port, self._client if client is None else client, apdus.encode(apdu)))

    def _associate(self, aarq: apdus.Aarq, client: int) -> Event:
        self.associated, self._blocks = False, []
        if self.password is not None and aarq.mechanism == apdus.NO_AUTHENTICATION:
            return Send(self._wrap(apdus.Aare(1, 1, 14), client))  # authentication-required
        if aarq.mechanism not in (apdus.NO_AUTHENTICATION, apdus.LLS):
            return Send(self._wrap(apdus.Aare(1, 1, 11), client))  # mechanism-name-not-recognized
        if self.password is not None and aarq.password != self.password:
            return Send(self._wrap(apdus.Aare(1, 1, 13), client))  # authentication-failure
        self.associated, self._client = True, client
        self._limit = min((n for n in (self.max_pdu, aarq.max_pdu) if n), default=frames.MAX_APDU)
        granted = tuple(name for name in apdus.CONFORMANCE if name in aarq.conformance)
        return Send(self._wrap(apdus.Aare(0, 1, 0, self.max_pdu, granted), client))

    def _serve(self, apdu: Apdu, client: int) -> ServerEvent:
        match apdu:
            case apdus.Aarq():
                return self._associate(apdu, client)
            case apdus.Rlrq():
                self.associated = False
                return Send(self._wrap(apdus.Rlre(), client))
        if not self.associated or client != self._client:
            # service-not-allowed, operation-not-possible
            return Send(self._wrap(apdus.ExceptionResponse(1, 1), client))
        return self._request(apdu)

    def _request(self, apdu: Apdu) -> ServerEvent:
        match apdu:
            case apdus.GetNormal(target=target):
                self._pending, self._blocks = apdu, []
                return GetRequest(target.class_id, target.obis, target.index, apdu.selector)
            case apdus.SetNormal(target=target) if apdu.selector is None:
                self._pending, self._blocks = apdu, []
                return SetRequest(target.class_id, target.obis, target.index, values.decode(apdu.raw))
            case apdus.ActNormal(target=target):
                self._pending, self._blocks = apdu, []
                value = None if apdu.raw is None else values.decode(apdu.raw)
                return ActRequest(target.class_id, target.obis, target.index, value)
            case apdus.GetNext():
                return self._next(apdu)
        return Send(self._wrap(apdus.ExceptionResponse(2, 2)))  # service-unknown, service-not-supported

    def _next(self, apdu: apdus.GetNext) -> Event:
        if not self._blocks or apdu.invoke != self._invoke:
            return Send(self._wrap(apdus.GetError(apdu.invoke, NO_LONG_GET, apdu.block)))
        if not 1 <= apdu.block < len(self._blocks):
            self._blocks = []
            return Send(self._wrap(apdus.GetError(apdu.invoke, BLOCK_NUMBER_INVALID, apdu.block)))
        return Send(self._block(apdu.block + 1))

    def _block(self, number: int) -> bytes:
        last = number == len(self._blocks)
        return self._wrap(apdus.GetBlock(self._invoke, last, number, self._blocks[number - 1]))


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
            return server, server.next_event()
        while (frame := self._receiver.next()) is not None:
            found = self._find(frame.destination)
            if found is None:
                return None, Ignored(f"nobody at wPort {frame.destination}", frames.encode(frame))
            if not found.take(frame):
                return found, Ignored("too many requests at once", frames.encode(frame))
            if found.pending:
                self._ready.append(found)
                continue
            return found, found.next_event()
        return None, NEED_DATA
