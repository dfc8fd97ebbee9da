"""Q/GDW 376.1 frames: bytes <-> Frame, shape only.

    68 | L L | 68 | C | A1 A1 A2 A2 A3 | AFN | SEQ | data units | PW or EC | Tp | CS | 16

L: two bytes, low first, sent twice: D1-D0 the protocol id (2 = since 2009, 1 = the edition of 2004), D15-D2 the number of
bytes from C to Tp. CS is their sum modulo 256. PW (16 bytes) stands in downlink frames of AFN 01 04 05 06 0F 10, EC (EC1
EC2) in uplink frames with ACD = 1, Tp (PFC, ss mm hh DD, permitted delay) where SEQ says TpV = 1.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocols.bcd import to_bcd
from protocols.buffer import ReceiveBuffer
from protocols.checksum import sum8
from protocols.errors import FrameError, Misuse

START: Final = 0x68
END: Final = 0x16
#: Bytes around the user data: 68 L L L L 68, CS 16.
OVERHEAD: Final = 8
#: C, A1 A1 A2 A2 A3, AFN, SEQ.
HEAD: Final = 8
#: Where the data units begin.
BODY_AT: Final = 6 + HEAD
#: L has 14 bits. On radio channels the standard allows 255.
LENGTH_LIMIT: Final = 0x3FFF
#: Two of the longest frames: whatever a terminal pipelines, one frame and the beginning of the next fit.
BUFFER_LIMIT: Final = 2 * (LENGTH_LIMIT + OVERHEAD)

PROTOCOL: Final = 2
UPLINK: Final = 0x80
PRIMARY: Final = 0x40
FCB: Final = 0x20  # downlink; the same bit is ACD in uplink frames
FCV: Final = 0x10
ACD: Final = 0x20
TPV: Final = 0x80
FIRST: Final = 0x40
FINAL: Final = 0x20
CONFIRM: Final = 0x10
NUMBER: Final = 0x0F

#: AFN whose downlink frames carry the authentication code PW.
WITH_PW: Final = (0x01, 0x04, 0x05, 0x06, 0x0F, 0x10)
PW_SIZE: Final = 16
TP_SIZE: Final = 6
EC_SIZE: Final = 2
BROADCAST: Final = 0xFFFF

_HEADER: Final = re.compile(rb"\x68(?=(..)\1\x68)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """region: A1, four digits. terminal: A2, 1-65535. master: MSA, 0-127. group: A2 is a group (FFFF: all)."""

    region: str
    terminal: int
    master: int = 0
    group: bool = False

    @property
    def text(self) -> str:
        """A1 and A2 as eight hex digits: the terminal's name, whoever asks."""
        return f"{self.region}{self.terminal:04X}"

    def is_for(self, own: Address) -> bool:
        """Whether a frame to this address is meant for the terminal `own`. Groups are the terminal's own business."""
        same_region = self.region in (own.region, "0000")
        if self.group:
            return same_region and self.terminal == BROADCAST
        return self.region == own.region and self.terminal == own.terminal

    def encode(self) -> bytes:
        """Five bytes. Misuse if a part does not fit."""
        if not re.fullmatch(r"[0-9A-Fa-f]{4}", self.region):
            raise Misuse(f"address: region {self.region!r} is not four digits")
        if not 0 <= self.terminal <= 0xFFFF or not 0 <= self.master <= 0x7F:
            raise Misuse(f"address: terminal {self.terminal} or master {self.master} does not fit")
        last = self.master << 1 | self.group
        return bytes.fromhex(self.region)[::-1] + self.terminal.to_bytes(2, "little") + bytes((last,))


def parse_address(text: str, master: int = 0) -> Address:
    """'01710822' -> Address(region '0171', terminal 0822H). Misuse unless it is eight hex digits."""
    if not re.fullmatch(r"[0-9A-Fa-f]{8}", text):
        raise Misuse(f"address: {text!r} is not eight hex digits")
    return Address(text[:4].upper(), int(text[4:], 16), master)


def _address(raw: bytes) -> Address:
    region = raw[1::-1].hex().upper()
    return Address(region, int.from_bytes(raw[2:4], "little"), raw[4] >> 1, bool(raw[4] & 1))


@dataclass(frozen=True, slots=True)
class Tp:
    """The time stamp. pfc: the sender's frame counter. stamp: ss mm hh DD as sent (A.16). delay: minutes, 0 = any."""

    pfc: int
    stamp: bytes
    delay: int = 0

    def encode(self) -> bytes:
        """Six bytes. Misuse if a part does not fit."""
        if len(self.stamp) != 4 or not 0 <= self.pfc <= 0xFF or not 0 <= self.delay <= 0xFF:
            raise Misuse(f"Tp: {self} does not fit")
        return bytes((self.pfc,)) + self.stamp + bytes((self.delay,))

    @property
    def moment(self) -> tuple[int, int, int, int]:
        """(day, hour, minute, second). FrameError if the stamp is not BCD."""
        if not self.stamp.hex().isdecimal():
            raise FrameError(f"Tp: {self.stamp.hex()} is not BCD", offset=1)
        second, minute, hour, day = (int(f"{byte:02x}") for byte in self.stamp)
        return day, hour, minute, second

    def expired(self, now: dt.datetime) -> bool:
        """Whether the frame is older than its permitted delay at local civil time `now`: a terminal drops it unanswered.

        The stamp has no month: of the days with its number the one nearest to `now` is meant. A delay of 0, and a stamp that is no
        time, never expire; nor does a stamp of the future, for the clocks of master and terminal differ.
        """
        try:
            day, hour, minute, second = self.moment
            clock = dt.time(hour, minute, second)
        except (FrameError, ValueError):
            return False
        if not self.delay:
            return False
        ages = [
            now - dt.datetime.combine(date, clock)
            for date in (now.date() + dt.timedelta(days=k) for k in range(-16, 17))
            if date.day == day
        ]
        return bool(ages) and min(ages, key=abs) > dt.timedelta(minutes=self.delay)


def stamp(when: dt.datetime) -> bytes:
    """Local civil time -> ss mm hh DD (A.16)."""
    return b"".join(to_bcd(part, 1) for part in (when.second, when.minute, when.hour, when.day))


@dataclass(frozen=True, slots=True)
class Frame:
    """control: C. seq: SEQ. body: the data units, see units.py. pw: 16 bytes or b''. ec: (EC1, EC2)."""

    address: Address
    control: int
    afn: int
    seq: int
    body: bytes = b""
    pw: bytes = field(default=b"", repr=False)
    ec: tuple[int, int] | None = None
    tp: Tp | None = None
    protocol: int = PROTOCOL

    @property
    def uplink(self) -> bool:
        return bool(self.control & UPLINK)

    @property
    def primary(self) -> bool:
        """PRM: the sender begins an exchange, it does not answer one."""
        return bool(self.control & PRIMARY)

    @property
    def function(self) -> int:
        """The link function code, C bits 3-0."""
        return self.control & 0x0F

    @property
    def acd(self) -> bool:
        return self.uplink and bool(self.control & ACD)

    @property
    def fcb(self) -> bool:
        """The frame count bit of a downlink frame; it means something only where `fcv`."""
        return not self.uplink and bool(self.control & FCB)

    @property
    def fcv(self) -> bool:
        return not self.uplink and bool(self.control & FCV)

    @property
    def first(self) -> bool:
        return bool(self.seq & FIRST)

    @property
    def final(self) -> bool:
        return bool(self.seq & FINAL)

    @property
    def confirm(self) -> bool:
        """CON: the receiver shall confirm."""
        return bool(self.seq & CONFIRM)

    @property
    def number(self) -> int:
        """PSEQ or RSEQ, 0-15."""
        return self.seq & NUMBER

    def encode(self) -> bytes:
        """The bytes on the wire. Misuse if they do not fit, or if flags and fields contradict each other."""
        if bool(self.seq & TPV) != (self.tp is not None) or self.acd != (self.ec is not None):
            raise Misuse("frame: TpV and Tp, or ACD and EC, contradict each other")
        if self.pw and (self.uplink or self.afn not in WITH_PW or len(self.pw) != PW_SIZE):
            raise Misuse("frame: PW is 16 bytes of a downlink frame of AFN 01 04 05 06 0F 10")
        if not 1 <= self.protocol <= 3:
            raise Misuse(f"frame: protocol id {self.protocol}, 1-3 are allowed")
        data = bytes((self.control,)) + self.address.encode() + bytes((self.afn, self.seq)) + self.body
        data += self.pw + bytes(self.ec or ()) + (self.tp.encode() if self.tp else b"")
        if len(data) > LENGTH_LIMIT:
            raise Misuse(f"frame: {len(data)} bytes of user data, {LENGTH_LIMIT} are allowed")
        length = (len(data) << 2 | self.protocol).to_bytes(2, "little")
        return bytes((START,)) + 2 * length + bytes((START,)) + data + bytes((sum8(data), END))


def decode(raw: bytes) -> Frame:
    """Exactly one frame. FrameError names field, rule and offset."""
    if len(raw) < OVERHEAD + HEAD:
        raise FrameError(f"frame: {len(raw)} bytes, at least {OVERHEAD + HEAD} are needed", offset=len(raw))
    for at in (0, 5):
        if raw[at] != START:
            raise FrameError(f"start: {raw[at]:02X}H must be 68H", offset=at)
    if raw[1:3] != raw[3:5]:
        raise FrameError(f"length: {raw[1:3].hex()} and {raw[3:5].hex()} must agree", offset=3)
    length, protocol = divmod(int.from_bytes(raw[1:3], "little"), 4)
    if protocol == 0:
        raise FrameError("protocol id: 0, 1-3 are allowed", offset=1)
    if length != len(raw) - OVERHEAD:
        raise FrameError(f"length: {length}, but {len(raw) - OVERHEAD} bytes of user data came", offset=1)
    if raw[-1] != END:
        raise FrameError(f"end: {raw[-1]:02X}H must be 16H", offset=len(raw) - 1)
    if (check := sum8(raw[6:-2])) != raw[-2]:
        raise FrameError(f"checksum: {raw[-2]:02X}H must be {check:02X}H", offset=len(raw) - 2)
    return _user_data(raw[6:-2], protocol)


def _user_data(data: bytes, protocol: int) -> Frame:
    control, afn, seq = data[0], data[6], data[7]
    body, tp, ec, pw = data[HEAD:], None, None, b""
    if seq & TPV:
        if len(body) < TP_SIZE:
            raise FrameError(f"Tp: {len(body)} bytes, TpV announces {TP_SIZE}", offset=BODY_AT)
        body, tail = body[:-TP_SIZE], body[-TP_SIZE:]
        tp = Tp(tail[0], tail[1:5], tail[5])
    if control & UPLINK and control & ACD:
        if len(body) < EC_SIZE:
            raise FrameError(f"EC: {len(body)} bytes, ACD announces {EC_SIZE}", offset=BODY_AT)
        body, ec = body[:-EC_SIZE], (body[-2], body[-1])
    # A master that leaves PW out sends too few bytes for a data unit and a PW: they are the unit's then.
    if not control & UPLINK and afn in WITH_PW and len(body) >= PW_SIZE + 4:
        body, pw = body[:-PW_SIZE], body[-PW_SIZE:]
    return Frame(_address(data[1:6]), control, afn, seq, body, pw, ec, tp, protocol)


def find(buffer: ReceiveBuffer) -> Frame | None:
    """The next frame in the buffer, or None when more bytes are needed. FrameError for a corrupt frame.

    A header in noise is only a candidate: whatever length it claims, a valid frame further on wins. Corrupt
    candidates that lie before the first unfinished one are reported once, together: so the work is linear in the buffer.
    """
    data = bytes(buffer.data)
    sums = np.cumsum(np.frombuffer(data, np.uint8), dtype=np.uint8)  # any frame's CS in two look-ups
    bad, pending = -1, _tail(data)
    for match in _HEADER.finditer(data):
        at = match.start()
        length, protocol = divmod(int.from_bytes(data[at + 1 : at + 3], "little"), 4)
        end = at + length + OVERHEAD
        if not protocol or length < HEAD:
            continue
        if end > len(data):
            pending = min(pending, at)
        elif data[end - 1] != END or data[end - 2] != (int(sums[end - 3]) - int(sums[at + 5])) & 0xFF:
            bad = at if bad < 0 else bad
        else:
            buffer.skip(at)
            return decode(buffer.take(end - at))
    if bad >= 0 and bad < pending:
        length = int.from_bytes(data[bad + 1 : bad + 3], "little") >> 2
        broken = data[bad : bad + length + OVERHEAD]
        buffer.skip(pending)
        decode(broken)  # says what is wrong with it
    buffer.skip(pending)
    return None


def _tail(data: bytes) -> int:
    """Where the last bytes may be the beginning of a header; the end of the data if they are not."""
    for at in range(max(0, len(data) - 5), len(data)):
        rest = data[at:]
        # What there is of the second L must be the first.
        if rest[0] == START and rest[1 : len(rest) - 2] == rest[3:]:
            return at
    return len(data)
