"""How GPRS meters of several makes say in a wrapper frame who they are: no part of IEC 62056, the wrapper is all they share with it.

    login      0A 02 | 0C, 12 digits | option | CRC     answered by  AA 03 | 0C, 12 digits | option | CRC
    heartbeat  0C 01 | 0C, 12 digits | CRC              answered by  CC 03 | 0C, 12 digits | CRC

The second byte is 1 or 2 from meters, 3 from the head-end. The CRC is HDLC's, over all behind the first byte, low byte first: it
fits the published frames of one make, logins and heartbeats, both ways, and a second make's head-end reckons it so. What second
byte and option mean is published nowhere: the option is sent back as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.dlms.hdlc_frame import checksum
from protocols.errors import FrameError

LOGIN: Final = 0x0A
HEARTBEAT: Final = 0x0C
DIGITS: Final = 12
#: Bytes in the wrapper frame.
LOGIN_SIZE: Final = 3 + DIGITS + 1 + 2
HEARTBEAT_SIZE: Final = 3 + DIGITS + 2
#: Code of a frame -> (code of its answer, bytes of the frame).
_KINDS: Final = {LOGIN: (0xAA, LOGIN_SIZE), HEARTBEAT: (0xCC, HEARTBEAT_SIZE)}
_HEAD_END: Final = 3


@dataclass(frozen=True, slots=True)
class Login:
    """code: LOGIN or HEARTBEAT. device: the second byte. address: 12 digits. option: the byte behind them, in logins only."""

    code: int
    device: int
    address: str
    option: bytes = b""

    def encode(self) -> bytes:
        """What stands in the wrapper frame."""
        return _encode(self.code, self.device, self)

    def answer(self) -> bytes:
        """The head-end's answer to it."""
        return _encode(_KINDS[self.code][0], _HEAD_END, self)


def decode(raw: bytes) -> Login:
    """Exactly one login or heartbeat of a meter. FrameError: another code or length, no digits, a wrong CRC."""
    kind = _KINDS.get(raw[0]) if raw else None
    if kind is None or len(raw) != kind[1] or raw[2] != DIGITS:
        raise FrameError(
            f"login: {raw[:3].hex()} in {len(raw)} bytes is none of 0A..0C in 18, 0C..0C in 17", 0
        )
    digits = raw[3 : 3 + DIGITS]
    if not digits.isdigit():
        raise FrameError(f"login: address {digits.hex()} is not {DIGITS} digits", 3)
    if (good := checksum(raw[1:-2])) != raw[-2:]:
        raise FrameError(f"login: CRC {raw[-2:].hex()}, must be {good.hex()}", len(raw) - 2)
    return Login(raw[0], raw[1], digits.decode("ascii"), raw[3 + DIGITS : -2])


def _encode(code: int, device: int, login: Login) -> bytes:
    body = bytes((device, DIGITS)) + login.address.encode("ascii") + login.option
    return bytes((code,)) + body + checksum(body)
