"""DLMS meters that dial in without a DTU: by the login of their make, or by what they push in wrapper frames. Pure.

The identity is, in this order: the 12 digits of a login or heartbeat; the system title of a ciphered push, 16 hex digits as the
codec spells it; the name that a Data-Notification in clear carries. A push is data: it stays in the stream and is not answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from protocols.dlms import apdu as apdus
from protocols.dlms import login as logins
from protocols.dlms import values
from protocols.dlms.ciphering import is_ciphered, outline
from protocols.dlms.frame import HEADER, Frame, decode, encode
from protocols.errors import FrameError
from terminals.greetings.frames import FrameFilter, Head
from terminals.greetings.greeting import FIRST_LIMIT, Beat, Said, Sifted, Verdict

#: Logical names behind which a push list has the meter's name, the first that is there: device ID 1, which is the serial number, and
#: the COSEM logical device name. What a push list holds is the utility's own choice, so this is a default.
NAMES: Final = ("0.0.96.1.0.255", "0.0.42.0.0.255")

#: Version 1, both wPorts, a length below FIRST_LIMIT.
_START: Final = re.compile(rb"\x00\x01(?=....[\x00-\x07].)", re.DOTALL)
_DATA_NOTIFICATION: Final = b"\x0f"
_TITLE: Final = 8  # bytes of a system title
_NAME: Final = re.compile(rb"[0-9A-Za-z-]{8,32}")


class DlmsGreeting:
    """Implements greeting.Greeting. `names`: logical names behind which a push in clear has the identity."""

    kind = "dlms"

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self._names = tuple(values.obis_bytes(name) for name in names)

    def identify(self, data: bytes) -> Said | Verdict:
        """By the first whole frame that names a meter."""
        verdict = Verdict.NOTHING
        for match in _START.finditer(data):
            at = match.start()
            end = at + _size(data[at : at + HEADER])
            if end > len(data):
                verdict = Verdict.MORE if end - at <= FIRST_LIMIT else verdict
                continue
            raw = data[at:end]
            login = _login(raw)
            if login is not None:
                return Said(login.address, at, Beat(raw), data[end:])
            identity = self._pusher(raw[HEADER:])
            if identity:
                return Said(identity, at, None, data[at:])
        return verdict

    def answer(self, identity: str, beat: Beat, received: float, now: float) -> bytes:
        """As the make expects it, from the wPort that was called to the one that called."""
        frame = decode(beat.frame)
        return encode(Frame(frame.destination, frame.source, logins.decode(frame.apdu).answer()))

    def filter(self, said: Said) -> WrapperFilter:
        """For this meter's logins and heartbeats; of one that is known by a title or a name the digits may be any."""
        digits = [b"0123456789"] * logins.DIGITS
        if said.beat is not None:
            digits = [digit.encode("ascii") for digit in said.identity]
        length = bytes((logins.HEARTBEAT_SIZE, logins.LOGIN_SIZE))
        wrapper = (b"\0", b"\1", None, None, None, None, b"\0", length)
        codes = bytes((logins.LOGIN, logins.HEARTBEAT))
        head = Head(*wrapper, codes, None, bytes((logins.DIGITS,)), *digits)
        return WrapperFilter(FrameFilter(head, _size, _beat))

    def _pusher(self, apdu: bytes) -> str:
        """Who pushes this; '' where it is no push, or does not say."""
        try:
            if is_ciphered(apdu):
                title = outline(apdu).system_title
                return title.hex() if title and len(title) == _TITLE else ""
            if apdu[:1] == _DATA_NOTIFICATION:
                push = apdus.decode(apdu)
                return self._named(push.raw) if isinstance(push, apdus.DataNotification) else ""
        except FrameError:
            return ""
        return ""

    def _named(self, body: bytes) -> str:
        leaves = list(_leaves(values.decode(body)))
        behind = {name: text for name, text in pairwise(leaves) if name in self._names}
        # Without the logical names in the list, the first text in it that can be a name.
        for text in (*(behind.get(name, b"") for name in self._names), *leaves):
            if _NAME.fullmatch(text):
                return text.decode("ascii")
        return ""


class WrapperFilter:
    """Implements greeting.Filter: a FrameFilter that knows where the wrapper's frames end.

    A beat begins with 00 like so many answers end: without this each of them would wait for what follows.
    """

    __slots__ = ("_frames", "_head", "_missing")

    def __init__(self, frames: FrameFilter) -> None:
        self._frames = frames
        self._missing = 0  # bytes that the frame which has begun lacks
        self._head = b""  # or the beginning of its header

    @property
    def held(self) -> bytes:
        return self._frames.held

    def feed(self, data: bytes) -> Sifted:
        """What has come. A few bytes that end a frame are the session's at once; a whole header at its end is rather a beat's."""
        sifted = self._frames.feed(data)
        self._missing, self._head, _ = _walk(self._missing, self._head, sifted.clean)
        ends = _walk(self._missing, self._head, self.held) == (0, b"", True)
        if 0 < len(self.held) < HEADER and ends:
            more = self.release()
            return Sifted(sifted.clean + more.clean, sifted.beats + more.beats)
        return sifted

    def release(self) -> Sifted:
        """Nothing followed."""
        sifted = self._frames.release()
        self._missing, self._head, _ = _walk(self._missing, self._head, sifted.clean)
        return sifted


def _walk(missing: int, head: bytes, data: bytes) -> tuple[int, bytes, bool]:
    """Bytes missing of a frame, or its header as far as it came; more bytes -> the same behind them, and whether all were frames."""
    data = head + data
    at = missing
    while at < len(data):
        head = data[at : at + HEADER]
        if not b"\0\1".startswith(head[:2]):
            return 0, b"", False  # noise: what comes next may be a beginning
        if len(head) < HEADER:
            return 0, head, True
        at += _size(head)
    return at - len(data), b"", True


def _size(head: bytes) -> int:
    """Bytes of the frame that begins so."""
    return HEADER + int.from_bytes(head[6:HEADER], "big")


def _login(raw: bytes) -> logins.Login | None:
    try:
        return logins.decode(decode(raw).apdu)
    except FrameError:
        return None


def _beat(raw: bytes) -> Beat | None:
    return Beat(raw) if _login(raw) is not None else None


def _leaves(data: values.Data) -> Iterator[bytes]:
    """The texts and octet strings in a value, in order; anything else as b''."""
    if isinstance(data.value, tuple):
        for item in data.value:
            yield from _leaves(item)
    elif isinstance(data.value, bytes):
        yield data.value
    else:
        yield data.value.encode("ascii", "replace") if isinstance(data.value, str) else b""
