"""DL/T 698.45 terminals: LINK-Request (login, heartbeat, logout) answered by LINK-Response with three times. Pure.

The identity is the server address as the codec spells it, high digit first: '000000000084'. Any valid frame that a terminal
begins names it, a report too.
"""

from __future__ import annotations

import re
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.dlt698 import apdu as apdus
from protocols.dlt698.exchange import Inbox
from protocols.dlt698.frame import SINGLE, START, Frame, decode
from protocols.errors import FrameError
from protocols.localtime import as_datetime
from terminals.greetings.frames import FrameFilter, Head
from terminals.greetings.greeting import FIRST_LIMIT, Beat, Said, Verdict

#: 68 L L C, C of a frame that a server begins (DIR set, PRM clear); L low byte first, of fewer bytes than are waited for.
_START: Final = re.compile(rb"\x68(?=.[\x00-\x08][\x80-\xbf])", re.DOTALL)
#: C of a LINK-Request: DIR, function 1; SC as they like.
_LINK: Final = b"\x81\x89"
_LOGOUT: Final = 2


class Dlt698Greeting:
    """Implements greeting.Greeting.

    zone     the terminals' civil time, in which LINK-Response speaks
    trusted  whether terminals are told that our clock may be used
    """

    kind = "dlt698"

    def __init__(self, zone: ZoneInfo, *, trusted: bool = True) -> None:
        self._zone = zone
        self._trusted = trusted

    def identify(self, data: bytes) -> Said | Verdict:
        """By the first whole frame that a server began. A logout brings nobody in."""
        verdict = Verdict.NOTHING
        for match in _START.finditer(data):
            at = match.start()
            end = at + _size(data[at : at + 3])
            if end > len(data):
                verdict = Verdict.MORE if end - at <= FIRST_LIMIT else verdict
                continue
            frame = _begun(data[at:end])
            beat = _beat(data[at:end]) if frame else None
            if frame is not None and not (beat and beat.leaves):
                return Said(frame.server.digits, at, beat, data[end if beat else at :], _period(frame, beat))
        return verdict

    def answer(self, identity: str, beat: Beat, received: float, now: float) -> bytes:
        """LINK-Response: accepted, with the terminal's time and ours, from which it computes its clock's offset."""
        times = self._local(received), self._local(now)
        return Inbox().take(beat.frame, *times, trusted=self._trusted).reply

    def filter(self, said: Said) -> FrameFilter:
        """For LINK-Requests of this terminal."""
        raw = said.beat.frame if said.beat is not None else said.rest
        server = raw[4 : 6 + (raw[4] & 0x0F)]  # SA as it came: a count in the low bits of its first byte
        address = (bytes((byte,)) for byte in server)
        return FrameFilter(Head(bytes((START,)), None, b"\0", _LINK, *address), _size, _beat)

    def _local(self, when: float) -> np.datetime64:
        utc = np.datetime64(round(when * 1e6), "us")
        return np.datetime64(as_datetime(utc, self._zone).replace(tzinfo=None), "us")


def _size(head: bytes) -> int:
    """Bytes of the frame that begins so. L counts all but the two delimiters."""
    return int.from_bytes(head[1:3], "little") + 2


def _begun(raw: bytes) -> Frame | None:
    """The frame, if it is a whole and valid one that a server began."""
    try:
        frame = decode(raw)
    except FrameError:
        return None
    own = frame.from_server and not frame.client_started and frame.server.kind == SINGLE
    return frame if own else None


def _request(frame: Frame) -> apdus.Apdu | None:
    """Its LINK-Request."""
    if frame.data[:1] != bytes((apdus.LINK,)) or frame.segment is not None:
        return None
    try:
        return apdus.decode(frame.data)
    except FrameError:
        return None


def _beat(raw: bytes) -> Beat | None:
    frame = _begun(raw)
    request = _request(frame) if frame is not None else None
    if request is None or request.fields["request"] not in apdus.LINK_TYPES:
        return None
    return Beat(raw, request.fields["request"] == _LOGOUT)


def _period(frame: Frame, beat: Beat | None) -> float | None:
    """Seconds between its heartbeats, as its LINK-Request says; 0 says nothing."""
    request = _request(frame) if beat is not None else None
    return float(request.fields["heartbeat_s"]) or None if request is not None else None
