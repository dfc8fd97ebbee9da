"""The HDLC data link of DLMS/COSEM (IEC 62056-46), both sides: connecting, segments, acknowledgements, repeats.

Normal response mode: the client speaks, and with the poll bit hands the turn to the server, which hands it back with the final bit.
Whoever is given the turn sends all that is not acknowledged, so what was lost is repeated there and nowhere else (checkpoint
recovery); a frame out of sequence is dropped. Sequence numbers count modulo 8, so a line must not delay a frame by a whole window:
no serial line does, and over UDP the wrapper is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from protocols.dlms.frame import MAX_APDU
from protocols.dlms.hdlc_frame import (
    LLC_COMMAND,
    LLC_RESPONSE,
    UNNUMBERED,
    Address,
    HdlcFrame,
    Parameters,
    Receiver,
    client_address,
    control_of,
    decode,
    negotiated,
    server_address,
)  # fmt: skip
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

__all__ = [
    "Address", "HdlcFrame", "HdlcTransport", "Parameters", "Receiver", "State", "client_address", "decode", "negotiated",
    "server_address",
]  # fmt: skip


class State(Enum):
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


_OFF, _ASKING, _ON, _LEAVING = State
#: state × what comes (or what the caller does) -> state. What is not here is Ignored.
#: A server tells a frame for a link that is not there "DM"; a client then takes only what meters push.
CLIENT: Final[dict[tuple[State, str], State]] = {
    **{(state, "connect"): _ASKING for state in State},
    (_ASKING, "UA"): _ON, (_ASKING, "DM"): _OFF, (_ASKING, "FRMR"): _OFF,
    (_ON, "I"): _ON, (_ON, "RR"): _ON, (_ON, "RNR"): _ON, (_ON, "DM"): _OFF, (_ON, "FRMR"): _OFF,
    (_ON, "disconnect"): _LEAVING, (_ASKING, "disconnect"): _LEAVING, (_LEAVING, "disconnect"): _LEAVING,
    (_LEAVING, "UA"): _OFF, (_LEAVING, "DM"): _OFF, (_LEAVING, "FRMR"): _OFF,
    (_OFF, "I"): _OFF, **{(state, "UI"): state for state in State},
}  # fmt: skip
SERVER: Final[dict[tuple[State, str], State]] = {
    (_OFF, "SNRM"): _ON, (_ON, "SNRM"): _ON, (_OFF, "DISC"): _OFF, (_ON, "DISC"): _OFF,
    (_ON, "I"): _ON, (_ON, "RR"): _ON, (_ON, "RNR"): _ON, (_ON, "FRMR"): _OFF,
    (_OFF, "I"): _OFF, (_OFF, "RR"): _OFF, (_OFF, "RNR"): _OFF,
    (_OFF, "UI"): _OFF, (_ON, "UI"): _ON,
}  # fmt: skip

#: Turns in a row that bring neither side forward before a client says that the line does not carry, instead of repeating without
#: being asked. A line that loses every second frame gets on within a handful.
FRUITLESS: Final = 16


class Assembly:
    """Segments of one APDU, joined."""

    def __init__(self) -> None:
        self._parts = bytearray()
        self._open = False
        self._spoilt = False

    @property
    def open(self) -> bool:
        """More segments must come."""
        return self._open

    def take(self, frame: HdlcFrame, limit: int) -> bytes | None:
        """The whole APDU, of at most `limit` bytes, when its last segment has come. FrameError once per APDU: no LLC header, an empty
        segment, too long; what is left of it is dropped.
        """
        first, spoilt = not self._open, self._spoilt
        self._open = frame.segmented
        if first:
            self._parts, spoilt = bytearray(), False
        self._spoilt = spoilt and frame.segmented
        if spoilt:
            return None
        problem = self._add(frame, first, limit)
        if problem:
            self._parts, self._spoilt = bytearray(), frame.segmented
            raise FrameError(problem, offset=frame.information_start)
        return None if frame.segmented else bytes(self._parts)

    def _add(self, frame: HdlcFrame, first: bool, limit: int) -> str:
        """What is wrong with this segment, "" if nothing."""
        if first and not frame.llc:
            return f"hdlc: an APDU begins with the LLC header {LLC_COMMAND.hex()} or {LLC_RESPONSE.hex()}"
        part = frame.payload if first else frame.information
        if not part:
            return "hdlc: a segment without content"
        if len(self._parts) + len(part) > limit:
            return f"hdlc: an APDU of more than {limit} bytes"
        self._parts += part
        return ""


class HdlcTransport:
    """Implements transport.Transport for one link.

    client      True for the side that connects
    own, peer   HDLC addresses; frames of others are Ignored. peer None: a server takes whoever connects, a client that only
                listens whoever pushes
    parameters  what this side can do; `agreed` is what holds since the link was made
    limit       the longest APDU taken; may be changed between APDUs

    A client that is not connected takes the UI and I frames that meters push. A server takes an APDU as Answer and must `send`
    what it has to say; before that a further poll finds it silent.
    """

    def __init__(
        self, own: Address, peer: Address | None, *, client: bool = True, parameters: Parameters | None = None, limit: int = MAX_APDU
    ) -> None:  # fmt: skip
        self.own = own
        self.peer = peer
        self._answering = peer  # whom we talk with now
        self.client = client
        self.parameters = parameters or Parameters()
        self.agreed = Parameters()
        self.state = State.DISCONNECTED
        self.limit = limit
        self._receiver = Receiver()
        self._events: deque[Event] = deque()
        self._pushed = Assembly()
        self._reset()

    @property
    def skipped(self) -> int:
        """Bytes dropped because they could not belong to a frame."""
        return self._receiver.skipped

    @property
    def connected(self) -> bool:
        return self.state is State.CONNECTED

    def _reset(self) -> None:
        """A link begins with all numbers at 0 and nothing on its way."""
        self._assembly = Assembly()
        self._outbox: deque[tuple[bytes, bool]] = (
            deque()
        )  # segments not yet acknowledged; whether more follow
        self._flight = 0  # how many of them have been sent
        self._first = 0  # the sequence number of the oldest, V(A)
        self._expected = 0  # V(R)
        self._gap = False  # a frame is missing since the last turn
        self._busy = False  # the peer said RNR
        self._turn = self.client
        self._owing = False  # an APDU was handed up and not answered
        self._fruitless = 0

    # --- what the caller does ---

    def connect(self) -> bytes:
        """SNRM with our parameters. Misuse for a server."""
        self._reset()
        self.agreed = Parameters()
        self._move("connect")
        return self._unnumbered("SNRM", self.parameters.encode())

    def disconnect(self) -> bytes:
        """DISC; b"" when there is no link."""
        if self.client and self.state is State.DISCONNECTED:
            return b""
        self._move("disconnect")
        return self._unnumbered("DISC")

    def send(self, apdu: bytes) -> bytes:
        """The first window of the APDU's segments; b"" from a server that has not the turn, it sends when it is polled.

        Misuse: no link, empty, longer than MAX_APDU together with what is not yet acknowledged.
        """
        if self.state is not State.CONNECTED:
            raise Misuse("hdlc: not connected")
        if not apdu or len(apdu) + sum(len(part) for part, _ in self._outbox) > MAX_APDU + len(LLC_COMMAND):
            raise Misuse(f"hdlc: an APDU of {len(apdu)} bytes does not fit, or another is on its way")
        information = (LLC_COMMAND if self.client else LLC_RESPONSE) + apdu
        size = self.agreed.max_information_transmit
        cuts = range(0, len(information), size)
        self._outbox.extend((information[at : at + size], at + size < len(information)) for at in cuts)
        self._owing = False
        return self._speak() if self.client or self._turn else b""

    def send_unasked(self, apdu: bytes) -> bytes:
        """An APDU in a UI frame, unacknowledged and outside of any link (push, broadcast). Misuse: it does not fit one frame."""
        information = (LLC_COMMAND if self.client else LLC_RESPONSE) + apdu
        if len(information) > self.agreed.max_information_transmit:
            raise Misuse(
                f"hdlc: {len(apdu)} bytes do not fit one frame of {self.agreed.max_information_transmit}"
            )
        return self._frame(control_of("UI", final=False), information)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._receiver.feed(data)

    def resume(self) -> bytes:
        """The caller's wait timed out: repeats what has not been answered. A server speaks only when polled: b""."""
        self._receiver.interrupt()
        self._fruitless = 0
        if not self.client:
            return b""
        match self.state:
            case State.CONNECTING:
                return self._unnumbered("SNRM", self.parameters.encode())
            case State.DISCONNECTING:
                return self._unnumbered("DISC")
            case State.CONNECTED:
                return self._supervise() if self._busy else self._speak()
        return b""

    def next_event(self) -> Event:
        """As transport.Transport says. Refused: the peer has no link with us (DM) or rejects a frame (FRMR); `code` is its control
        byte without the final bit.
        """
        if not self._events:
            frame = self._receiver.next()
            if frame is None:
                return NEED_DATA
            self._take(frame)
        return self._events.popleft()

    # --- frames that come ---

    def _take(self, frame: HdlcFrame) -> None:
        """One frame -> at least one event."""
        to_all = frame.destination.everyone and frame.kind == "UI"
        if not (frame.destination.same(self.own) or to_all) or not self._from_peer(frame):
            self._ignore(f"foreign: from {frame.source} to {frame.destination}", frame)
            return
        before = self.state
        after = (CLIENT if self.client else SERVER).get((before, frame.kind))
        if after is None:
            self._ignore(f"{frame.kind} while {before.value}", frame)
            return
        self.state = after
        self._HANDLERS[frame.kind](self, frame, before)

    def _from_peer(self, frame: HdlcFrame) -> bool:
        if self._answering is None or frame.source.same(self._answering):
            return True
        return self.peer is None and not self.client and frame.kind == "SNRM"

    def _ignore(self, why: str, frame: HdlcFrame) -> None:
        self._events.append(Ignored(f"hdlc: {why}", frame.encode()))

    def _on_snrm(self, frame: HdlcFrame, before: State) -> None:
        try:
            offered = negotiated(frame.information)
        except FrameError as fault:
            self.state = before
            raise fault.moved(frame.information_start) from None
        self._reset()
        self.agreed = self.parameters.meet(offered)
        self._answering = frame.source
        self._events.append(Send(self._unnumbered("UA", self.agreed.encode())))
        self._events.append(Answer(None))

    def _on_disc(self, frame: HdlcFrame, before: State) -> None:
        self._reset()
        if before is not State.CONNECTED:
            self._disconnected(frame)
            return
        self._events.append(Send(self._unnumbered("UA")))
        self._events.append(Answer(None))

    def _disconnected(self, frame: HdlcFrame) -> None:
        """A server without a link says so to whoever polls it."""
        if frame.final:
            self._events.append(Send(HdlcFrame(frame.source, self.own, control_of("DM")).encode()))
        else:
            self._ignore(f"{frame.kind} without a link", frame)

    def _on_ua(self, frame: HdlcFrame, before: State) -> None:
        if before is State.CONNECTING:
            try:
                self.agreed = self.parameters.meet(negotiated(frame.information))
            except FrameError as fault:
                self.state = before
                raise fault.moved(frame.information_start) from None
        self._reset()
        self._events.append(Answer(None))

    def _on_refusal(self, frame: HdlcFrame, before: State) -> None:
        self._reset()
        if before is State.DISCONNECTING:
            self._events.append(Answer(None))
            return
        what = "there is no link (DM)" if frame.kind == "DM" else "a frame was rejected (FRMR)"
        raise Refused(f"hdlc: {what}", code=UNNUMBERED[frame.kind])

    def _on_unasked(self, frame: HdlcFrame, before: State) -> None:
        apdu = self._pushed.take(frame, self.limit)
        if apdu is None:
            self._ignore("a segment of what is pushed", frame)
        else:
            self._events.append(Answer(apdu))

    def _on_linked(self, frame: HdlcFrame, before: State) -> None:
        """I, RR, RNR."""
        if before is not State.CONNECTED:
            if self.client:
                self._on_unasked(frame, before)
            else:
                self._disconnected(frame)
            return
        self._busy = frame.kind == "RNR"
        forward = self._acknowledge(frame)
        if frame.kind != "I":
            self._after(frame, forward, stale=False)
            return
        if frame.send_sequence != self._expected:
            stale = (self._expected - 1 - (frame.send_sequence or 0)) % 8 < (8 - self.agreed.window_receive)
            self._gap = self._gap or not stale
            self._after(frame, forward, stale=stale)
            return
        self._expected = (self._expected + 1) % 8
        self._gap = False
        try:
            apdu = self._assembly.take(frame, self.limit)
        except FrameError:
            self._turn = self._turn or frame.final
            raise
        if apdu is not None:
            self._events.append(Answer(apdu))
            self._owing = not self.client
        self._after(frame, True, stale=False)

    def _acknowledge(self, frame: HdlcFrame) -> bool:
        """Drop what N(R) says has come; whether that was anything. A number outside of what is on its way is stale."""
        count = ((frame.receive_sequence or 0) - self._first) % 8
        if not 0 < count <= self._flight:
            return False
        for _ in range(count):
            self._outbox.popleft()
        self._flight -= count
        self._first = (self._first + count) % 8
        return True

    def _after(self, frame: HdlcFrame, forward: bool, *, stale: bool) -> None:
        """Who speaks next, now that the numbers of the frame are booked. `forward`: it has brought us on."""
        self._fruitless = 0 if forward else self._fruitless
        if frame.final:
            self._turn = True
            (self._after_final if self.client else self._after_poll)(frame, stale)
        if not self._events:
            self._ignore("nothing new" if stale or frame.kind != "I" else "a segment", frame)

    def _after_final(self, frame: HdlcFrame, stale: bool) -> None:
        """A client goes on by itself; a repeated frame of the server, and a busy server, wait for `resume`."""
        if stale or self._busy:
            return
        if not (self._outbox or self._assembly.open or self._gap):
            return
        self._fruitless += 1
        if self._fruitless > FRUITLESS:
            self._fruitless = 0
            raise FrameError(
                f"hdlc: {FRUITLESS} turns brought no segment further", offset=frame.control_start
            )
        self._events.append(Send(self._speak()))

    def _after_poll(self, frame: HdlcFrame, stale: bool) -> None:
        """A server answers every poll, unless the caller still owes the answer."""
        if self._busy:
            self._events.append(Send(self._supervise()))
        elif self._outbox or not self._owing:
            self._events.append(Send(self._speak()))

    _HANDLERS: Final[dict[str, Callable[[HdlcTransport, HdlcFrame, State], None]]] = {
        "SNRM": _on_snrm, "DISC": _on_disc, "UA": _on_ua, "DM": _on_refusal, "FRMR": _on_refusal, "UI": _on_unasked,
        "I": _on_linked, "RR": _on_linked, "RNR": _on_linked,
    }  # fmt: skip

    # --- frames that leave ---

    def _speak(self) -> bytes:
        """A window of what is not acknowledged, the last frame handing the turn over; RR where there is nothing."""
        self._flight = min(len(self._outbox), self.agreed.window_transmit)
        if not self._flight:
            return self._supervise()
        self._turn = self._gap = False
        out = bytearray()
        for index in range(self._flight):
            part, more = self._outbox[index]
            last = index == self._flight - 1
            control = control_of("I", send=self._first + index, receive=self._expected, final=last)
            out += self._frame(control, part, segmented=more)
        return bytes(out)

    def _supervise(self) -> bytes:
        self._turn = self._gap = False
        return self._frame(control_of("RR", receive=self._expected))

    def _unnumbered(self, kind: str, information: bytes = b"") -> bytes:
        return self._frame(control_of(kind), information)

    def _frame(self, control: int, information: bytes = b"", *, segmented: bool = False) -> bytes:
        if self._answering is None:
            raise Misuse("hdlc: no peer to speak to")
        return HdlcFrame(self._answering, self.own, control, information, segmented).encode()

    def _move(self, event: str) -> None:
        after = (CLIENT if self.client else SERVER).get((self.state, event))
        if after is None:
            raise Misuse(
                f"hdlc: {event} while {self.state.value}, as a {'client' if self.client else 'server'}"
            )
        self.state = after
