"""Q/GDW 376.1 terminals: login, heartbeat and logout (AFN 02 F1, F3, F2), each confirmed by AFN 00 F1. Pure.

The identity is region code and address as the codec spells them: A1 and A2 as eight hex digits, '01710822'. Any valid frame
that a terminal begins names it: who comes back with a report or a heartbeat, having logged in long ago, is known by it.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.errors import FrameError
from protocols.gdw376.exchange import confirmation
from protocols.gdw376.frame import HEAD, OVERHEAD, PRIMARY, START, UPLINK, Frame, decode
from protocols.gdw376.units import SIZE, Ident
from protocols.gdw376.words import HEARTBEAT, LOGIN, LOGOUT
from terminals.greetings.frames import FrameFilter
from terminals.greetings.frames import Head as FrameHead
from terminals.greetings.greeting import FIRST_LIMIT, Beat, Said, Verdict

_LINK_INTERFACE: Final = 0x02
_START: Final = re.compile(rb"\x68(?=(..)\1\x68)", re.DOTALL)
#: C of a frame that a terminal begins: DIR and PRM set, ACD and the function as they like.
_BEGUN: Final = bytes(c for c in range(256) if c & UPLINK and c & PRIMARY)


class Gdw376Greeting:
    """Implements greeting.Greeting."""

    kind = "gdw376"

    def identify(self, data: bytes) -> Said | Verdict:
        """By the first whole frame that a terminal began. A logout brings nobody in."""
        verdict = Verdict.NOTHING
        for match in _START.finditer(data):
            at = match.start()
            size = _size(data[at : at + 3])
            end = at + size
            if not size or end > len(data):
                verdict = Verdict.MORE if 0 < size <= FIRST_LIMIT else verdict
                continue
            frame = _begun(data[at:end])
            beat = _beat(data[at:end]) if frame else None
            if frame is not None and not (beat and beat.leaves):
                return Said(frame.address.text, at, beat, data[end if beat else at :])
        return verdict

    def answer(self, identity: str, beat: Beat, received: float, now: float) -> bytes:
        """AFN 00 F1 with its PSEQ. Also where CON is not set: who does not wait for it is not hurt by it."""
        return confirmation(decode(beat.frame)).encode()

    def filter(self, said: Said) -> FrameFilter:
        """For AFN 02 of this terminal."""
        region, terminal = bytes.fromhex(said.identity[:4]), bytes.fromhex(said.identity[4:])
        address = (bytes((byte,)) for byte in region[::-1] + terminal[::-1])
        start, length = bytes((START,)), (None, b"\0\1")
        head = FrameHead(start, *length, *length, start, _BEGUN, *address, None, bytes((_LINK_INTERFACE,)))
        return FrameFilter(head, _size, _beat)


def _size(head: bytes) -> int:
    """Bytes of the frame that begins so; 0 if none can."""
    length, protocol = divmod(int.from_bytes(head[1:3], "little"), 4)
    return length + OVERHEAD if protocol and length >= HEAD else 0


def _begun(raw: bytes) -> Frame | None:
    """The frame, if it is a whole and valid one that a terminal began."""
    try:
        frame = decode(raw)
    except FrameError:
        return None
    own = frame.uplink and frame.primary and not frame.address.group and frame.address.terminal
    return frame if own else None


def _beat(raw: bytes) -> Beat | None:
    """AFN 02 F1, F2 or F3."""
    frame = _begun(raw)
    if frame is None or frame.afn != _LINK_INTERFACE or len(frame.body) < SIZE:
        return None
    functions = Ident(frame.body[:SIZE]).functions
    if not functions or functions[0] not in (LOGIN, LOGOUT, HEARTBEAT):
        return None
    return Beat(raw, functions[0] == LOGOUT)
