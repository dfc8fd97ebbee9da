"""The client's side of one association.

One request is outstanding. An answer with another invoke-id or of another kind is Ignored: it is stale or foreign. Blocks are
fetched and sent inside, through Send events.

The library's own core (`dlms_cosem.connection`) is not used: it joins blocks and answers without comparing
the invoke-id, so a late answer would be taken for the new one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from protocols.dlms import apdu as apdus
from protocols.dlms import association as acse
from protocols.dlms import shortnames, values
from protocols.dlms.apdu import Apdu
from protocols.dlms.flows import Flow, Ignore, Terms, await_kind, flow, read_names
from protocols.dlms.frame import MAX_APDU, WrapperTransport
from protocols.dlms.gbt import OVERHEAD, Transfer, window_for
from protocols.dlms.messages import InformationReport, Name
from protocols.dlms.protection import LN, SN, SN_CIPHERED, Opening, Protection
from protocols.dlms.requests import MAX_VALUE, Associate, Release, Request, refusal
from protocols.dlms.transport import Transport
from protocols.errors import FrameError, Misuse, ProtocolError, Refused
from protocols.exchange import Answer, Event, Ignored, Send

__all__ = ["MANAGEMENT_CLIENT", "PUBLIC_CLIENT", "Client", "Listener", "Push"]

MANAGEMENT_CLIENT: Final = 1
PUBLIC_CLIENT: Final = 16

#: Where reply_to_HLS_authentication is with logical names: class 15, method 1 of the current association.
CURRENT_ASSOCIATION: Final = apdus.Target(15, "0.0.40.0.0.255", 1)
#: What ciphering adds at most: tag, title, both titles and key information of general-ciphering, lengths, counter, tag.
SEAL: Final = 64
#: Pushes kept until the caller takes them; a meter that pushes faster than anybody looks loses the oldest.
PUSHES: Final = 64

GENERAL_BLOCKS: Final = "general_block_transfer"
#: 14: accepted, and high level security must follow.
AUTHENTICATION_REQUIRED: Final = 14
DLMS_VERSION: Final = 6

Push = apdus.DataNotification | apdus.EventNotification | InformationReport


class _Link:
    """Bytes for the lower layer itself, which a flow yields in place of an APDU; what comes back is that it is done."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


class Client:
    """Implements protocols.exchange.Exchange for one logical device.

    client, server  wPorts of the default transport, TCP wrapper: clients are 1 management, 16 public (no authentication)
    transport       any other lower layer; then the wPorts are only names
    protection      None: no authentication, or the password of `Associate`
    names           base names for short-name referencing (`shortnames.read_object_list`); without a protection they also choose it

    pushes  notifications that came unasked, oldest first; each was also an Ignored event
    """

    def __init__(
        self,
        client: int,
        server: int,
        *,
        transport: Transport | None = None,
        protection: Protection | None = None,
        names: shortnames.Names | None = None,
    ) -> None:
        self.client = client
        self.server = server
        self.association: apdus.Aare | None = None
        self.names = names
        self.pushes: deque[Push] = deque(maxlen=PUSHES)
        self._transport = transport or WrapperTransport(client, server)
        self._protection = protection
        self._request: Request | None = None
        self._flow: Flow | None = None
        self._terms = Terms((), 0)
        self._peer_limit = 0
        self._invoke = 0
        self._context = LN
        self._out: deque[bytes] = deque()
        self._transfer: Transfer | None = None
        self._unsure = False

    @property
    def skipped(self) -> int:
        """Bytes dropped because they could not begin a frame."""
        return self._transport.skipped

    # --- what the caller does ---

    def send(self, request: Request) -> bytes:
        """Begin a request and return its bytes. Misuse: one is outstanding, or it does not fit."""
        if self._request is not None:
            raise Misuse(f"a {type(self._request).__name__} is outstanding")
        before = self._invoke, self._unsure
        invoke = (self._invoke + 1) & 0x0F
        try:
            self._flow = self._begin(request, invoke)
            self._request, self._invoke = request, invoke
            return self._put(next(self._flow))
        except Misuse:
            self.abandon()
            self._invoke, self._unsure = before
            raise

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._transport.receive_data(data)

    def abandon(self) -> None:
        """Give the request up: its answer, if it still comes, will be Ignored (its invoke-id is used up).

        With short names there is no invoke-id: what is asked next would get the late answer, so associate anew first.
        """
        unanswered = self._request is not None and not isinstance(self._request, Associate | Release)
        self._unsure = self._unsure or (unanswered and self._terms.names is not None)
        self._finish()

    def resume(self) -> bytes:
        """The wait timed out: what may be repeated without asking twice (HDLC segments, pieces of a block transfer); b'' if nothing."""
        again = self._transport.resume()
        if again or self._transfer is None:
            return again
        return b"".join(self._transport.send(apdus.encode(block)) for block in self._transfer.again())

    def next_event(self) -> Event:
        """What the bytes so far mean.

        FrameError: corrupt frame or APDU, blocks out of order, a seal that does not fit; Refused: `code` is the
        data-access-result, the action result, (state << 8 | service) of an exception-response, or the AARE's diagnostic. After
        either the request is over.
        """
        if self._out:
            return Send(self._out.popleft())
        try:
            event = self._transport.next_event()
            if not isinstance(event, Answer):
                return event
            if event.value is None:  # the link is made, or closed
                return self._step(None)
            return self._receive(event.value)
        except ProtocolError:
            self._finish()
            raise

    def _finish(self) -> None:
        self._request = self._flow = self._transfer = None
        self._out.clear()

    # --- bytes out ---

    def _put(self, out: Apdu | Ignore | _Link) -> bytes:
        """The bytes of what a flow wants sent; further ones wait in `_out`."""
        if isinstance(out, _Link):
            return out.raw
        assert not isinstance(out, Ignore)
        raw = apdus.encode(out)
        if self._protection is not None and not _is_acse(raw):
            raw = self._protection.seal(raw)
        if not self._peer_limit or len(raw) <= self._peer_limit or _is_acse(raw):
            return self._transport.send(raw)
        if GENERAL_BLOCKS not in self._terms.conformance or self._peer_limit <= OVERHEAD:
            raise Misuse(f"an APDU of {len(raw)} bytes, the meter takes {self._peer_limit}")
        self._transfer = Transfer(MAX_VALUE, window_for(self._transport))
        return self._put_blocks(self._transfer.begin(raw, self._peer_limit))

    def _put_blocks(self, blocks: list[apdus.GeneralBlock]) -> bytes:
        first, *rest = (self._transport.send(apdus.encode(block)) for block in blocks)
        self._out.extend(rest)
        return first

    # --- bytes in ---

    def _receive(self, raw: bytes) -> Event:
        if raw[:1] == b"\xe0":
            return self._block(raw)
        if self._request is None or _is_push(raw):
            return self._unasked(raw)
        if isinstance(self._transfer, Transfer) and self._transfer.sending:
            self._transfer = None  # answered before all of it was sent: a refusal
        return self._message(raw)

    def _message(self, raw: bytes) -> Event:
        plain = raw if self._protection is None or _is_acse(raw) else self._protection.open(raw)
        apdu = apdus.decode(plain)
        if isinstance(apdu, Push):
            return self._pushed(apdu, raw)
        match apdu:
            case apdus.ExceptionResponse():
                state = apdus.STATE_ERRORS.get(apdu.state, "unknown")
                service = apdus.SERVICE_ERRORS.get(apdu.service, "unknown")
                raise Refused(f"exception-response: {state}, {service}", code=apdu.state << 8 | apdu.service)
            case apdus.ConfirmedServiceError():
                raise Refused(f"confirmed-service-error: {apdu.error}", code=0)
        return self._step(apdu, raw)

    def _step(self, apdu: Apdu | None, raw: bytes = b"") -> Event:
        if self._flow is None:
            return Ignored("unexpected: no request is outstanding", raw)
        try:
            out = self._flow.send(apdu)  # type: ignore[arg-type]  # None: the link is made
        except StopIteration as end:
            self._finish()
            return Answer(end.value)
        if isinstance(out, Ignore):
            return Ignored(out.why, raw)
        self._transfer = None
        return Send(self._put(out))

    def _block(self, raw: bytes) -> Event:
        """A piece by general block transfer, of the answer or of a push."""
        block = apdus.decode(raw)
        assert isinstance(block, apdus.GeneralBlock)
        if self._transfer is None:
            if not block.raw:
                return Ignored("unexpected: an acknowledgement in general block transfer", raw)
            self._transfer = Transfer(MAX_VALUE, window_for(self._transport))
        blocks, whole = self._transfer.take(block)
        if whole is not None:
            self._transfer = None
            return self._receive(whole)
        return Send(self._put_blocks(blocks)) if blocks else Ignored(f"piece {block.number}", raw)

    def _unasked(self, raw: bytes) -> Event:
        """Nobody asked: a push is kept, all else is stale. What does not open is not believed, and disturbs no request."""
        try:
            plain = raw if self._protection is None else self._protection.open(raw)
            apdu = apdus.decode(plain)
        except FrameError as error:
            return Ignored(f"unexpected: {error}", raw)
        if isinstance(apdu, Push):
            return self._pushed(apdu, raw)
        return Ignored("unexpected: no request is outstanding", raw)

    def _pushed(self, apdu: Push, raw: bytes) -> Event:
        self.pushes.append(apdu)
        return Ignored(f"push: {type(apdu).__name__}", raw)

    # --- association ---

    def _begin(self, request: Request, invoke: int) -> Flow:
        if isinstance(request, Associate):
            return self._associate(request, invoke)
        if isinstance(request, Release):
            return self._release()
        if self._unsure:
            raise Misuse("an answer with short names may still come: associate anew")
        return flow(request, invoke, self._terms)

    def _associate(self, request: Associate, invoke: int) -> Flow:
        self.association, self._unsure, self._peer_limit = None, False, 0
        self._transport.limit = request.max_pdu or MAX_APDU
        opening = self._opening(request)
        self._context = opening.context
        short = opening.context in (SN, SN_CIPHERED)
        proposed = request.conformance
        if proposed is None:
            proposed = apdus.CONFORMANCE_SN if short else apdus.CONFORMANCE
            proposed = (("general_protection",) if opening.context > SN else ()) + proposed
        initiate = acse.Initiate(request.max_pdu, proposed)
        if hello := self._transport.connect():
            yield _Link(hello)  # type: ignore[misc]  # answered by the link, not by an APDU
        aare: apdus.Aare = yield from await_kind(self._aarq(opening, initiate), (apdus.Aare,))
        answer = self._accepted(aare, opening.context)
        self._agree(answer, short)
        if self._protection is not None and self._protection.high:
            yield from self._prove(self._protection, short, invoke)
        self.association = aare = _known(aare, answer)
        return aare

    def _opening(self, request: Associate) -> Opening:
        if self._protection is not None:
            return self._protection.opening()
        context = LN if self.names is None else SN
        if request.password is None:
            return Opening(context)
        return Opening(context, apdus.LLS, None, request.password)

    def _aarq(self, opening: Opening, initiate: acse.Initiate) -> apdus.Aarq:
        plain = acse.encode_initiate(initiate, response=False)
        content = plain if self._protection is None else self._protection.seal(plain)
        return apdus.Aarq(
            opening.mechanism, opening.secret, initiate.max_pdu, initiate.conformance, opening.context,
            opening.title, opening.certificate, content,
        )  # fmt: skip

    def _accepted(self, aare: apdus.Aare, context: int) -> acse.Initiate:
        """The InitiateResponse of a positive AARE, opened. Refused: no, or more is wanted than we have."""
        name = apdus.DIAGNOSTICS.get((aare.source, aare.diagnostic), "unknown")
        if aare.service_error is not None:
            name = f"{name}, {aare.service_error}"
        if aare.result != 0:
            how = "permanently" if aare.result == 1 else "transiently"
            raise Refused(f"association rejected {how}: {name}", code=aare.diagnostic)
        high = self._protection is not None and self._protection.high
        if aare.diagnostic not in ((0, AUTHENTICATION_REQUIRED) if high else (0,)):
            raise Refused(f"association needs more than a password: {name}", code=aare.diagnostic)
        if aare.context != context:
            raise FrameError(f"AARE: application context {aare.context}, asked for {context}", 2)
        if self._protection is None:
            if aare.initiate is None:
                raise FrameError("AARE: a ciphered InitiateResponse, but this association has no keys", 2)
            answer = aare.initiate
        else:
            self._protection.meet(
                Opening(aare.context, aare.mechanism or 0, aare.title, aare.challenge, aare.certificate)
            )
            plain = aare.ciphered
            if aare.initiate is not None:
                plain = acse.encode_initiate(aare.initiate, response=True)
            answer = acse.decode_initiate(self._protection.open(plain or b""))
        if answer.version != DLMS_VERSION:
            raise FrameError(f"AARE: DLMS version {answer.version}, must be {DLMS_VERSION}", 2)
        vaa = acse.VAA_SN if context in (SN, SN_CIPHERED) else acse.VAA_LN
        if answer.vaa != vaa:
            raise FrameError(f"AARE: vaa-name is {answer.vaa:04x}, must be {vaa:04x} in this context", 2)
        return answer

    def _agree(self, answer: acse.Initiate, short: bool) -> None:
        sealed = SEAL if self._protection is not None else 0
        self._peer_limit = answer.max_pdu
        room = max(answer.max_pdu - sealed, 1) if answer.max_pdu else 0
        self._terms = Terms(answer.conformance, room, (self.names or {}) if short else None)

    def _prove(self, protection: Protection, short: bool, invoke: int) -> Flow:
        """Passes 3 and 4 of high level security."""
        proof = values.encode(values.octets(protection.prove()))
        if short:
            (found,) = yield from read_names((Name(shortnames.REPLY_TO_HLS, 1, proof),))
            code, raw = (found, None) if isinstance(found, int) else (0, found)
        else:
            result: apdus.ActResult = yield from await_kind(
                apdus.ActNormal(invoke, CURRENT_ASSOCIATION, proof), (apdus.ActResult,), invoke
            )
            code, raw = result.code or result.error or 0, result.raw
        if code:
            raise refusal("reply_to_HLS_authentication", code)
        reply = values.decode(raw or b"\x00")
        if not isinstance(reply.value, bytes):
            raise FrameError("reply_to_HLS_authentication: no octet-string came back", 4)
        protection.verify(reply.value)

    def _release(self) -> Flow:
        answer: apdus.Rlre = yield from await_kind(apdus.Rlrq(0, self._sealed_initiate()), (apdus.Rlre,))
        if self._protection is not None and self._context > SN:
            self._released(self._protection, answer)
        self.association = None
        if bye := self._transport.disconnect():
            yield _Link(bye)  # type: ignore[misc]
        return None

    def _released(self, protection: Protection, answer: apdus.Rlre) -> None:
        """An RLRE in a ciphered context carries its InitiateResponse again, sealed as every answer is (Green Book 9.3.3).

        FrameError: it does not, so anybody may have sent it; the association stays as it was, to be released again or dropped.
        """
        try:
            opened = protection.open(
                answer.content or b"\x08"
            )  # nothing there is an InitiateResponse in clear
        except FrameError as error:
            raise FrameError(f"RLRE: {error.message}", 2) from None
        if opened[:1] != b"\x08":
            raise FrameError(f"RLRE: holds an APDU with tag {opened[0]}, must be 8", 2)

    def _sealed_initiate(self) -> bytes | None:
        """An RLRQ in a ciphered context carries its InitiateRequest again, or anybody could end the association."""
        if self._protection is None or self._context <= SN:
            return None
        return self._protection.seal(
            acse.encode_initiate(acse.Initiate(self._transport.limit & 0xFFFF), response=False)
        )


def _known(aare: apdus.Aare, answer: acse.Initiate) -> apdus.Aare:
    return replace(aare, max_pdu=answer.max_pdu, conformance=answer.conformance, initiate=answer)


def _is_acse(raw: bytes) -> bool:
    return raw[:1] in (b"\x60", b"\x61", b"\x62", b"\x63")


def _is_push(raw: bytes) -> bool:
    """Push services in clear; ciphered ones are known when they are open."""
    return raw[:1] in (b"\x0f", b"\xc2", b"\x18")


class Listener:
    """Takes what meters push on a connection where nobody asks: data-, event-notifications and information-reports.

    Answer(the push) for each. `protection` opens them, and refuses what is not protected as agreed; pieces of a general block transfer are joined and
    acknowledged through Send events.
    """

    def __init__(self, transport: Transport, protection: Protection | None = None) -> None:
        self._transport = transport
        self._protection = protection
        self._transfer: Transfer | None = None
        self._out: deque[bytes] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._transport.receive_data(data)

    def next_event(self) -> Event:
        """NEED_DATA, Send, Ignored, Answer. FrameError: corrupt, or a seal that does not fit."""
        if self._out:
            return Send(self._out.popleft())
        event = self._transport.next_event()
        if not isinstance(event, Answer) or event.value is None:
            return event
        return self._take(event.value)

    def _take(self, raw: bytes) -> Event:
        if raw[:1] == b"\xe0":
            return self._block(raw)
        if self._protection is not None:  # in clear too: whether that will do is the policy's business
            raw = self._protection.open(raw)
        apdu = apdus.decode(raw)
        return Answer(apdu) if isinstance(apdu, Push) else Ignored(f"unexpected: {type(apdu).__name__}", raw)

    def _block(self, raw: bytes) -> Event:
        block = apdus.decode(raw)
        assert isinstance(block, apdus.GeneralBlock)
        self._transfer = self._transfer or Transfer(MAX_VALUE, window_for(self._transport))
        blocks, whole = self._transfer.take(block)
        if whole is not None:
            self._transfer = None
            return self._take(whole)
        self._out.extend(self._transport.send(apdus.encode(one)) for one in blocks)
        return self.next_event() if blocks else Ignored(f"piece {block.number}", raw)
