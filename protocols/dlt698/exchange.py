"""Who may speak next: `Master` asks, `Device` is the server (a meter, a terminal), `Inbox` answers what a terminal starts itself.

One request at a time. An answer is known by the addresses and by the number in its PIID; anything else that arrives is Ignored.
Segments and data blocks are fetched inside, through Send events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from protocols.buffer import ReceiveBuffer
from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import clock, requests, values
from protocols.dlt698.answers import blocks, refused
from protocols.dlt698.apdu import Apdu, FollowReport
from protocols.dlt698.frame import (
    BROADCAST,
    BUFFER_LIMIT,
    CLIENT_STARTED,
    CONFIRM,
    DATA,
    FROM_SERVER,
    GROUP,
    LINK,
    SCRAMBLED,
    SEGMENTED,
    SINGLE,
    Address,
    Frame,
    decode,
    encode_address,
    find,
    give_up,
)
from protocols.dlt698.requests import GetRecords, ProxyRecords, Request, Secure, SecureAnswer
from protocols.dlt698.segments import MAX_APDU, Joiner, confirm, split
from protocols.dlt698.wire import Chosen, Cursor
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send, _Signal

#: The client address of a head-end, unless the terminal's archive says otherwise.
CLIENT: Final = 0x10
#: User data of one frame before it is cut into segments: what a meter of the 2017 edition takes at least (512 bytes a frame).
MAX_SEGMENT: Final = 480
#: An APDU that a device sends in one piece before it turns to data blocks.
MAX_PIECE: Final = 1024

NO_TRANSFER: Final = 11
BLOCK_INVALID: Final = 14


class Master:
    """The head-end's side of one server: protocols.exchange.Exchange.

    server    its address, or 12 digits; a wildcard is answered by whoever is alone on the line
    client    our client address CA
    segment   bytes of user data in one frame
    wakeup    bytes FE before each frame
    scramble  send with the SC bit
    """

    def __init__(
        self,
        server: Address | str,
        client: int = CLIENT,
        *,
        segment: int = MAX_SEGMENT,
        wakeup: int = 0,
        scramble: bool = False,
    ) -> None:
        self.server = Address(server) if isinstance(server, str) else server
        encode_address(self.server)
        self.client = client
        #: What the last answer said besides: bit ACD ("I have events"), and a report that came with it.
        self.acd = False
        self.follow: FollowReport | None = None
        self._control = CLIENT_STARTED | DATA | (SCRAMBLED if scramble else 0)
        self._segment = segment
        self._wakeup = wakeup
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._request: Request | None = None
        self._corrupt = False
        self._number = -1
        self._silent = False
        self._out: list[Frame] = []
        self._joiner = Joiner()
        self._blocks: list[Any] = []
        self._block = -1
        self._size = 0

    @property
    def skipped(self) -> int:
        """Bytes of noise thrown away so far."""
        return self._buffer.skipped

    def send(self, request: Request) -> bytes:
        """Begin a request. Misuse: one is outstanding, unless its answer came in corrupt, or it does not fit."""
        if (self._request is not None and not self._corrupt) or self._silent:
            raise Misuse("a request is outstanding")
        number = (self._number + 1) & apdus.NUMBER
        raw = _encode(request, number)
        frames = split(Frame(self.server, self.client, self._control, raw), self._segment)
        data = frames[0].encode(self._wakeup)
        self._reset()
        self._number = number
        self._out = frames[1:]
        if self.server.kind in (GROUP, BROADCAST):
            if self._out:
                raise Misuse("a broadcast must fit one frame: nobody confirms its segments")
            self._silent = True
        else:
            self._request = request
        return data

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def abandon(self) -> None:
        """Forget the running request: its number is used up, so its late answer will be Ignored."""
        if self._request is not None:
            give_up(self._buffer)
        self._reset()

    def _reset(self) -> None:
        self._request = None
        self._corrupt = self._silent = False
        self._out = []
        self._joiner.reset()
        self._blocks = []
        self._block = -1
        self._size = 0

    def next_event(self) -> Event:
        """FrameError: corrupt; the request stays open for a good frame behind it, or `send` anew. Refused: it is over."""
        if self._silent:
            self._silent = False
            return Answer(None)
        try:
            frame = find(self._buffer)
        except FrameError:
            self._corrupt = self._request is not None
            raise
        if frame is None:
            return NEED_DATA
        try:
            return self._judge(frame)
        except FrameError as error:
            self._corrupt = self._request is not None
            # of an APDU in segments the offset counts from its beginning
            raise (error if frame.segment is not None else error.moved(frame.apdu_at)) from None
        except Refused:
            self._reset()
            raise

    def _judge(self, frame: Frame) -> Event:
        why = self._foreign(frame)
        if why:
            return Ignored(why, frame.encode())
        if frame.segment is None:
            return self._take(frame, frame.data)
        if frame.segment_kind == CONFIRM:
            return self._confirmed(frame)
        joined = self._joiner.add(frame)
        if joined.apdu is None:
            return Send(confirm(frame, self._control).encode(self._wakeup))
        return self._take(frame, joined.apdu)

    def _foreign(self, frame: Frame) -> str:
        """Why this frame cannot be the answer to the running request; '' if it may be."""
        if not frame.from_server:
            return "not from a server (echo or another master)"
        if not self.server.matches(frame.server.digits):
            return f"from {frame.server.digits}, asked {self.server.digits}"
        if not frame.client_started:
            return "unasked: the server began it (login, heartbeat or report)"
        if frame.client not in (0, self.client):
            return f"to client {frame.client:02X}H"
        return "unasked" if self._request is None else ""

    def _confirmed(self, frame: Frame) -> Event:
        if not self._out or self._out[0].segment_number != frame.segment_number + 1:
            return Ignored(f"stale: confirms segment {frame.segment_number}", frame.encode())
        return Send(self._out.pop(0).encode(self._wakeup))

    def _take(self, frame: Frame, raw: bytes) -> Event:
        """A whole APDU from the right server."""
        request = self._request
        if request is None:
            raise Misuse("no request is outstanding")
        if isinstance(request, Secure):
            return self._secured(request, frame, raw)
        event = self._answer(request, frame, raw)
        if isinstance(event, Answer):
            self._reset()
        return event

    def _secured(self, request: Secure, frame: Frame, raw: bytes) -> Event:
        outer = apdus.decode(raw)
        if outer.code == apdus.ERROR | apdus.SERVER:
            return self._answer(request.request, frame, raw)
        if outer.code != apdus.SECURITY | apdus.SERVER:
            return Ignored(f"unexpected: {outer.service}, asked with security", frame.encode())
        content, mac = outer.fields["content"], outer.fields["verification"]
        if content.choice == 2:
            raise requests.refusal("security", content.value, part=True)
        if content.choice == 1:
            raise FrameError("security: a cipher text where the APDU was sent in clear", 1)
        event = self._answer(request.request, frame, content.value)
        if not isinstance(event, Answer):
            return event
        self._reset()
        return Answer(SecureAnswer(event.value, content.value, mac.value if mac else None))

    def _answer(self, request: requests.PlainRequest, frame: Frame, raw: bytes) -> Event:
        head = _head(raw)
        code, choice = requests.service_of(request)
        if head.number != self._number and head.piid is not None:
            return Ignored(f"stale: number {head.number}, expected {self._number}", frame.encode())
        if head.code == apdus.ERROR | apdus.SERVER:
            error = apdus.decode(raw).fields["error"]
            raise Refused(f"error response: {apdus.ERRORS.get(error, 'unknown')}", code=error)
        blocks = head.code == apdus.GET | apdus.SERVER and head.choice == apdus.NEXT and code == apdus.GET
        if head.code != code | apdus.SERVER or (head.choice != choice and not blocks):
            return Ignored(f"unexpected: {head.service} {head.choice or ''}".rstrip(), frame.encode())
        self.acd = bool((head.piid or 0) & apdus.ACD)
        if blocks:
            return self._next_block(request, frame, raw)
        if self._blocks:
            raise FrameError(f"apdu: {head.service} {head.choice} in the middle of data blocks", 0)
        if isinstance(request, GetRecords | ProxyRecords) and request.raw:
            return self._raw(request, frame, raw)
        apdu = apdus.decode(raw)
        why = requests.foreign(request, apdu)
        if why:
            return Ignored(why, frame.encode())
        self.follow = apdu.follow
        return Answer(requests.value(request, apdu))

    def _raw(self, request: GetRecords | ProxyRecords, frame: Frame, raw: bytes) -> Event:
        """Records that are not taken apart here; only whose they are, and whether they were delivered."""
        oad, dar = _record_head(raw)
        asked = request.oad if isinstance(request, GetRecords) else request.record.oad
        if oad != asked:
            return Ignored(f"answer about {oad:08X}, asked {asked:08X}", frame.encode())
        if dar is not None:
            raise requests.refusal(f"get record {oad:08X}", dar)
        return Answer((raw,))

    def _next_block(self, request: requests.PlainRequest, frame: Frame, raw: bytes) -> Event:
        apdu = apdus.decode(raw)
        number, content = apdu.fields["block"], apdu.fields["content"]
        if content.choice == 0:
            raise requests.refusal("get, data block", content.value, part=bool(self._blocks))
        if self._blocks and number == self._block:
            return Ignored(f"repeated: block {number}", frame.encode())
        if self._blocks and number != self._block + 1:
            raise FrameError(f"get: data block {number}, must be {self._block + 1}", 4)
        self._size += len(raw)
        if self._size > MAX_APDU:
            raise FrameError(f"get: an answer in data blocks must be at most {MAX_APDU} bytes", 0)
        keep_raw = isinstance(request, GetRecords) and request.raw
        self._blocks += [raw] if keep_raw else content.value
        self._block = number
        if apdu.fields["last_block"]:
            self.follow = apdu.follow
            return Answer(tuple(self._blocks) if keep_raw else requests.joined(request, self._blocks))
        more = Apdu(apdus.GET, apdus.NEXT, self._number, {"block": number})
        return Send(Frame(self.server, self.client, self._control, apdus.encode(more)).encode(self._wakeup))


def _encode(request: Request, number: int) -> bytes:
    if not isinstance(request, Secure):
        return apdus.encode(requests.encode(request, number))
    inner = apdus.encode(requests.encode(request.request, number))
    fields = {"content": Chosen(0, inner), "verification": request.verification}
    return apdus.encode(Apdu(apdus.SECURITY, None, None, fields))


def _head(raw: bytes) -> Apdu:
    """Service, choice and PIID of an APDU, without its fields."""
    cursor = Cursor(raw)
    code = cursor.byte()
    if code not in apdus.SERVICES:
        raise FrameError(f"apdu: service {code:02X}H is none of the standard's", 0)
    choice = cursor.byte() if code in apdus.CHOICES else None
    bare = code in (apdus.SECURITY, apdus.SECURITY | apdus.SERVER)
    return Apdu(code, choice, None if bare else cursor.byte())


def _record_head(raw: bytes) -> tuple[int, int | None]:
    """OAD of an answer with one record, and the access result if it was not delivered."""
    cursor = Cursor(raw, 3)
    if raw[0] == apdus.PROXY | apdus.SERVER:
        cursor.take(cursor.length())
    oad = values.OAD_.read(cursor)
    values.RCSD_.read(cursor)
    return oad, cursor.byte() if cursor.byte() == 0 else None


# --- what a terminal starts itself ---


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that a terminal began: the bytes to send back (b'' for none), and its APDU once it is whole."""

    server: Address
    reply: bytes
    apdu: Apdu | None


class Inbox:
    """Answers logins, heartbeats and reports of one terminal. `client` is our address where the terminal names none."""

    def __init__(self, client: int = 0) -> None:
        self.client = client
        self._joiner = Joiner()

    def take(
        self,
        frame: bytes,
        received: np.datetime64,
        sent: np.datetime64,
        *,
        result: int = 0,
        trusted: bool = True,
    ) -> Taken:
        """A whole frame with DIR set and PRM clear, as Master gives it in Ignored.

        received, sent  naive local times of the terminal, for the answer to LINK: from the three times it computes its clock's offset
        result          apdu.LINK_RESULTS; `trusted`: our clock may be used
        FrameError: corrupt, or not begun by a server.
        """
        found = decode(frame)
        if not found.from_server or found.client_started:
            raise FrameError(f"control: {found.control:02X}H is not of a frame that a server began", 3)
        raw: bytes | None = found.data
        if found.segment is not None:
            if found.segment_kind == CONFIRM:
                return Taken(found.server, b"", None)
            raw = self._joiner.add(found).apdu
        if raw is None:
            return Taken(found.server, confirm(found, found.function).encode(), None)
        apdu = apdus.decode(raw)
        answer: Apdu | None = None
        if apdu.code == apdus.LINK:
            answer = _link_answer(apdu, received, sent, result | (apdus.CLOCK_TRUSTED if trusted else 0))
        elif apdu.code == apdus.REPORT | apdus.SERVER and apdu.undecoded is None:
            answer = _report_answer(apdu)
        if answer is None:
            return Taken(found.server, b"", apdu)
        reply = Frame(found.server, found.client or self.client, found.function, apdus.encode(answer))
        return Taken(found.server, reply.encode(), apdu)


def _link_answer(apdu: Apdu, received: np.datetime64, sent: np.datetime64, result: int) -> Apdu:
    fields = {
        "result": result,
        "request_time": apdu.fields["time"],
        "received_time": clock.encode_time(received),
        "response_time": clock.encode_time(sent),
    }
    return Apdu(apdus.LINK | apdus.SERVER, None, apdu.number | (apdu.piid or 0) & apdus.PRIORITY, fields)


def _report_answer(apdu: Apdu) -> Apdu:
    parts = apdu.fields.get("results") or apdu.fields.get("records") or ()
    fields: dict[str, Any] = {} if apdu.choice == 3 else {"oads": tuple(part.oad for part in parts)}
    return Apdu(apdus.REPORT, apdu.choice, (apdu.piid or 0) & ~apdus.ACD & 0xFF, fields)


# --- the server's side ---


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's request, to be closed by `answer`, `refuse` or `error`. verification: what a SECURITY around it carries."""

    apdu: Apdu
    client: int
    verification: Chosen | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client's answer to our LINK-Request or report."""

    apdu: Apdu


DeviceEvent = Asked | Acknowledged | Send | Ignored | Literal[_Signal.NEED_DATA]


class Device:
    """A meter or terminal: feed it what is on the line, drain `next_event`, write what Send and the answering methods give.

    address  its digits; groups are further group addresses it hears
    segment  bytes of user data in one frame; piece: bytes of a GET answer before it is sent in data blocks

    It hears its own address, wildcards, its groups and broadcasts; the last two are not answered. Corrupt frames it counts and
    lets pass in silence, as a meter does.
    """

    def __init__(
        self,
        address: str,
        *,
        groups: Sequence[str] = (),
        segment: int = MAX_SEGMENT,
        piece: int = MAX_PIECE,
        wakeup: int = 0,
    ) -> None:
        encode_address(Address(address))
        self.address = address
        self.groups = tuple(groups)
        self.corrupt = 0
        self._segment = segment
        self._piece = piece
        self._wakeup = wakeup
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._joiner = Joiner()
        self._asked: tuple[Frame, Asked] | None = None
        self._out: list[Frame] = []
        self._blocks: list[Apdu] = []
        self._number = -1

    @property
    def pending(self) -> bool:
        """A request waits to be answered."""
        return self._asked is not None

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next_event(self) -> DeviceEvent:
        """Asked: to be answered before the next is looked at. Send: write it at once."""
        while self._asked is None:
            try:
                frame = find(self._buffer)
                if frame is None:
                    return NEED_DATA
                if not self._hears(frame):
                    return Ignored(f"to {frame.server.digits}", frame.encode())
                event = self._take(frame)
                if event is not None:
                    return event
            except FrameError:
                self.corrupt += 1
        return NEED_DATA

    def _hears(self, frame: Frame) -> bool:
        if frame.from_server:
            return False
        if frame.server.kind == GROUP:
            return frame.server.digits in self.groups
        return frame.server.matches(self.address)

    def _take(self, frame: Frame) -> DeviceEvent | None:
        if frame.segment is None:
            return self._request(frame, frame.data)
        if frame.segment_kind == CONFIRM:
            if self._out and self._out[0].segment_number == frame.segment_number + 1:
                return Send(self._out.pop(0).encode(self._wakeup))
            return None
        joined = self._joiner.add(frame)
        if joined.apdu is None:
            return Send(confirm(replace(frame, server=self._own()), _reply(frame)).encode(self._wakeup))
        return self._request(frame, joined.apdu)

    def _request(self, frame: Frame, raw: bytes) -> DeviceEvent | None:
        try:
            apdu, verification = _unwrap(raw)
        except FrameError:
            self.corrupt += 1
            if not frame.client_started:
                return None
            # 1: the APDU cannot be parsed. Its PIID stands where the service usually has it.
            piid = raw[2] if len(raw) > 2 and raw[0] in apdus.CHOICES else 0
            return self._refusal(frame, piid, 1)
        if not frame.client_started:
            return Acknowledged(apdu)
        if apdu.undecoded is not None or apdu.code & apdus.SERVER:
            return self._refusal(frame, apdu.piid or 0, 2)
        if (apdu.code, apdu.choice) == (apdus.GET, apdus.NEXT):
            return Send(self._frames(frame, apdus.encode(self._next(apdu))))
        self._asked = (frame, Asked(apdu, frame.client, verification))
        self._blocks = []
        return self._asked[1]

    def _refusal(self, frame: Frame, piid: int, error: int) -> Send | None:
        if frame.server.kind in (GROUP, BROADCAST):
            return None
        answer = Apdu(apdus.ERROR | apdus.SERVER, None, piid & apdus.NUMBER, {"error": error})
        return Send(self._frames(frame, apdus.encode(answer)))

    def answer(
        self,
        fields: Mapping[str, Any],
        *,
        acd: bool = False,
        follow: FollowReport | None = None,
        mac: bytes | None = None,
    ) -> bytes:
        """The bytes of the answer to the pending request; b'' where nobody answers. `fields` by the table of apdu.py.

        A GET answer longer than a piece leaves in data blocks, anything longer than a segment in segments. `mac` goes around an answer
        to a request that came with security.
        """
        frame, asked = self._close()
        if frame.server.kind in (GROUP, BROADCAST):
            return b""
        request = asked.apdu
        piid = (request.piid or 0) & ~apdus.ACD & 0xFF | (apdus.ACD if acd else 0)
        apdu = Apdu(request.code | apdus.SERVER, request.choice, piid, dict(fields), follow)
        raw = apdus.encode(apdu)
        if len(raw) > self._piece and request.code == apdus.GET and asked.verification is None:
            self._blocks = blocks(apdu, self._piece)
            self._number = apdu.number
            if len(self._blocks) > 1:
                raw = apdus.encode(self._blocks[0])
        return self._frames(frame, _wrap(raw, mac) if asked.verification is not None else raw)

    def refuse(self, dar: int) -> bytes:
        """The bytes of an answer that gives this data access result for everything that was asked."""
        if self._asked is None:
            raise Misuse("nothing was asked")
        return self.answer(refused(self._asked[1].apdu, dar))

    def error(self, code: int = 255) -> bytes:
        """The bytes of an ERROR-Response."""
        frame, asked = self._close()
        answer = self._refusal(frame, asked.apdu.piid or 0, code)
        return answer.data if answer else b""

    def drop(self) -> None:
        """Pass over the pending request in silence: its time tag says that it is void."""
        self._close()

    def link(
        self, kind: int, heartbeat_s: int, when: np.datetime64, *, piid: int = 0, client: int = 0
    ) -> bytes:
        """A LINK-Request: 0 login, 1 heartbeat, 2 logout; `when` in naive local time. Answer: Acknowledged."""
        fields = {"request": kind, "heartbeat_s": heartbeat_s, "time": clock.encode_time(when)}
        apdu = Apdu(apdus.LINK, None, piid, fields)
        return Frame(self._own(), client, FROM_SERVER | LINK, apdus.encode(apdu)).encode(self._wakeup)

    def report(self, choice: int, fields: Mapping[str, Any], *, piid: int = 0, client: int = CLIENT) -> bytes:
        """A report: 1 results, 2 records, 3 port and frame. Answer: Acknowledged."""
        apdu = Apdu(apdus.REPORT | apdus.SERVER, choice, piid, dict(fields))
        frame = Frame(self._own(), client, FROM_SERVER | DATA, apdus.encode(apdu))
        frames = split(frame, self._segment)
        self._out = frames[1:]
        return frames[0].encode(self._wakeup)

    def _own(self) -> Address:
        return Address(self.address, SINGLE)

    def _close(self) -> tuple[Frame, Asked]:
        asked, self._asked = self._asked, None
        if asked is None:
            raise Misuse("nothing was asked")
        return asked

    def _frames(self, asked: Frame, raw: bytes) -> bytes:
        """The first frame of an answer; the others follow the client's confirmations."""
        frames = split(Frame(self._own(), asked.client, _reply(asked), raw), self._segment)
        self._out = frames[1:]
        return frames[0].encode(self._wakeup)

    def _next(self, apdu: Apdu) -> Apdu:
        number = apdu.fields["block"]
        known = [block.fields["block"] for block in self._blocks]
        dar = BLOCK_INVALID
        if not self._blocks or apdu.number != self._number:
            dar = NO_TRANSFER
        elif number in known[:-1]:
            return self._blocks[known.index(number) + 1]
        fields = {"last_block": 1, "block": number, "content": Chosen(0, dar)}
        return Apdu(apdus.GET | apdus.SERVER, apdus.NEXT, apdu.number, fields)


def _reply(frame: Frame) -> int:
    return frame.control & ~SEGMENTED & 0xFF | FROM_SERVER


def _unwrap(raw: bytes) -> tuple[Apdu, Chosen | None]:
    """The request, and what verifies it if it came in clear inside SECURITY. A cipher text stays a SECURITY-Request."""
    apdu = apdus.decode(raw)
    if apdu.code == apdus.SECURITY and apdu.fields["content"].choice == 0:
        return apdus.decode(apdu.fields["content"].value), apdu.fields["verification"]
    return apdu, None


def _wrap(raw: bytes, mac: bytes | None) -> bytes:
    verification = None if mac is None else Chosen(0, mac)
    return apdus.encode(
        Apdu(
            apdus.SECURITY | apdus.SERVER,
            None,
            None,
            {"content": Chosen(0, raw), "verification": verification},
        )
    )
