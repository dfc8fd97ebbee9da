"""HDLC frames of the DLMS/COSEM profile (IEC 62056-46, frame format type 3 of ISO/IEC 13239): bytes <-> HdlcFrame, shape only.

    7E | format (2) | destination (1, 2, 4) | source (1, 2, 4) | control | HCS (2) | information | FCS (2) | 7E

The format word is 1010, the segmentation bit and 11 bits of length; the length counts everything between the flags. Without an
information field there is no HCS. Nothing is stuffed or escaped: a 7E inside a frame is data, and only the length says where the
frame ends. One flag may close a frame and open the next.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocols.buffer import ReceiveBuffer
from protocols.errors import FrameError, Misuse

FLAG: Final = 0x7E
FORMAT_TYPE: Final = 0xA
SEGMENTED: Final = 0x0800
LENGTH: Final = 0x07FF
#: Format, the shortest addresses, control, FCS.
SHORTEST: Final = 7
#: Format, the longest addresses, control, HCS, with the opening flag: after so many bytes a header can be judged.
LONGEST_HEADER: Final = 1 + 2 + 4 + 4 + 1 + 2
#: The longest information field that may be agreed on (IEC 62056-46, 6.4.4.4.3.2); 2047 would be the end of the length.
MAX_INFORMATION: Final = 2030

POLL_FINAL: Final = 0x10
#: Control bytes of the unnumbered frames without the poll/final bit (IEC 62056-46, 6.4.3).
UNNUMBERED: Final = {"SNRM": 0x83, "DISC": 0x43, "UA": 0x63, "DM": 0x0F, "FRMR": 0x87, "UI": 0x03}
#: The low nibble of supervisory frames.
SUPERVISORY: Final = {"RR": 0x01, "RNR": 0x05}
_UNNUMBERED_KIND: Final = {control: kind for kind, control in UNNUMBERED.items()}
_SUPERVISORY_KIND: Final = {low: kind for kind, low in SUPERVISORY.items()}

#: LLC headers (IEC 62056-46, 5.3.2): destination LSAP, source LSAP (command E6, response E7), quality.
LLC_COMMAND: Final = b"\xe6\xe6\x00"
LLC_RESPONSE: Final = b"\xe6\xe7\x00"

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checksum(data: bytes | bytearray) -> bytes:
    """HCS or FCS: CRC-16 of ISO/IEC 13239 (x^16 + x^12 + x^5 + 1, bits reflected, complemented), low byte first.

    The standard library has the same polynomial with bits the other way round, so bytes are mirrored on the way in and out:
    fifty times faster than a table of our own.
    """
    crc = crc_hqx(data.translate(_REVERSED), 0xFFFF) ^ 0xFFFF
    return bytes((_REVERSED[crc >> 8], _REVERSED[crc & 0xFF]))


@dataclass(frozen=True, slots=True)
class Address:
    """An HDLC address. A server's upper part is the logical device, its lower part the physical device; a client has one byte.

    size   bytes on the wire: 1 (upper only, 7 bits), 2 (7 bits each), 4 (14 bits each). IEC 62056-46, 6.4.2.2
    lower  None where size is 1
    """

    upper: int
    lower: int | None = None
    size: int = 1

    def __str__(self) -> str:
        return str(self.upper) if self.lower is None else f"{self.upper}/{self.lower}"

    def same(self, other: Address) -> bool:
        """Whether both name one station: peers may answer with another address length."""
        return self.upper == other.upper and (self.lower or 0) == (other.lower or 0)

    @property
    def everyone(self) -> bool:
        """The all-station address, 7FH or 3FFFH in either part (IEC 62056-46, 6.4.2.3)."""
        return (0x3FFF if self.size == 4 else 0x7F) in (self.upper, self.lower)

    def encode(self) -> bytes:
        """Seven bits a byte, high part first; the lowest bit marks the last byte. Misuse: a part does not fit."""
        width = 14 if self.size == 4 else 7
        parts = (self.upper,) if self.lower is None else (self.upper, self.lower)
        if self.size not in (1, 2, 4) or (self.size == 1) != (self.lower is None):
            raise Misuse(f"address {self}: {self.size} bytes, must be 1 for one part, 2 or 4 for two")
        if any(not 0 <= part < 1 << width for part in parts):
            raise Misuse(f"address {self}: does not fit {self.size} bytes")
        out = bytearray()
        for part in parts:
            out += bytes((part >> 7 << 1, (part & 0x7F) << 1)) if width == 14 else bytes((part << 1,))
        out[-1] |= 1
        return bytes(out)


def client_address(number: int) -> Address:
    """A client: 1 management, 16 public."""
    return Address(number)


def server_address(logical: int, physical: int | None = None, size: int | None = None) -> Address:
    """A server; `size` 1, 2 or 4 bytes, the shortest that holds both parts unless told."""
    if size is None:
        short = logical <= 0x7F and (physical or 0) <= 0x7F
        size = 1 if physical is None and short else 2 if short else 4
    return (
        Address(logical, None, 1) if size == 1 and physical is None else Address(logical, physical or 0, size)
    )


@dataclass(frozen=True, slots=True)
class HdlcFrame:
    """One frame. `control` is the byte as it is sent; kind, sequence numbers and final are read from it.

    segmented    more of the same APDU follows in further frames
    information  with the LLC header where one is there

    The `…_start` offsets count from the opening flag.
    """

    destination: Address
    source: Address
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def kind(self) -> str:
        """I, RR, RNR, SNRM, DISC, UA, DM, FRMR or UI; "" for a control byte outside IEC 62056-46."""
        return kind_of(self.control) or ""

    @property
    def send_sequence(self) -> int | None:
        """N(S) of an I frame."""
        return self.control >> 1 & 7 if self.kind == "I" else None

    @property
    def receive_sequence(self) -> int | None:
        """N(R) of I, RR and RNR: the number that is expected next."""
        return self.control >> 5 if self.kind in ("I", "RR", "RNR") else None

    @property
    def final(self) -> bool:
        """The poll bit of a client's frame, the final bit of a server's."""
        return bool(self.control & POLL_FINAL)

    @property
    def llc(self) -> bytes:
        """The three LLC bytes, b"" where the information does not begin with them."""
        head = self.information[:3]
        return head if self.kind in ("I", "UI") and head in (LLC_COMMAND, LLC_RESPONSE) else b""

    @property
    def payload(self) -> bytes:
        """The information behind the LLC bytes: the APDU, or a segment of one."""
        return self.information[len(self.llc) :]

    @property
    def destination_start(self) -> int:
        return 3

    @property
    def source_start(self) -> int:
        return 3 + self.destination.size

    @property
    def control_start(self) -> int:
        return self.source_start + self.source.size

    @property
    def hcs_start(self) -> int | None:
        """None without an information field."""
        return self.control_start + 1 if self.information else None

    @property
    def information_start(self) -> int:
        """Where the information is, or would be."""
        return self.control_start + (3 if self.information else 1)

    @property
    def fcs_start(self) -> int:
        return self.information_start + len(self.information)

    @property
    def length(self) -> int:
        """The number in the format word: all bytes between the flags."""
        return self.fcs_start + 1

    def encode(self) -> bytes:
        """The bytes with both flags. Misuse: longer than 11 bits of length can say, or an address that does not fit."""
        if self.length > LENGTH:
            raise Misuse(f"hdlc: {len(self.information)} information bytes do not fit a frame")
        head = FORMAT_TYPE << 12 | (SEGMENTED if self.segmented else 0) | self.length
        body = (
            head.to_bytes(2, "big")
            + self.destination.encode()
            + self.source.encode()
            + bytes((self.control,))
        )
        if self.information:
            body += checksum(body) + self.information
        return b"\x7e" + body + checksum(body) + b"\x7e"


def kind_of(control: int) -> str | None:
    """What a control byte asks for; None: not one of IEC 62056-46, 6.4.3."""
    if not control & 1:
        return "I"
    return _SUPERVISORY_KIND.get(control & 0x0F) or _UNNUMBERED_KIND.get(control & ~POLL_FINAL)


def control_of(kind: str, *, send: int = 0, receive: int = 0, final: bool = True) -> int:
    """The control byte; sequence numbers are taken modulo 8."""
    bit = POLL_FINAL if final else 0
    if kind == "I":
        return (receive & 7) << 5 | bit | (send & 7) << 1
    if kind in SUPERVISORY:
        return (receive & 7) << 5 | bit | SUPERVISORY[kind]
    return UNNUMBERED[kind] | bit


def _any_of(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(re.escape(bytes((value,))) for value in values) + b"]"


_MORE: Final = _any_of(range(0, 256, 2))
_LAST: Final = _any_of(range(1, 256, 2))
_ADDRESS: Final = b"((?:" + _MORE + b"(?:" + _MORE * 2 + b")?)?" + _LAST + b")"
_CONTROL: Final = b"(" + _any_of(control for control in range(256) if kind_of(control)) + b")"
#: A flag and all of a header but its check sum: what does not fit this, is none.
_HEAD: Final = re.compile(rb"\x7e(?=([\xa0-\xaf].)" + _ADDRESS * 2 + _CONTROL + b")", re.DOTALL)


def decode(raw: bytes) -> HdlcFrame:
    """Exactly one frame, with both flags. FrameError: flag, format, length, address, control, HCS or FCS."""
    found = _HEAD.match(raw)
    if found is not None and len(raw) == _announced(raw, 0) + 2:
        frame, _ = _judge(raw, found)
        if frame is not None:
            return frame
    if raw[:1] != b"\x7e":
        raise FrameError("hdlc: a frame begins with the flag 7EH", offset=0)
    if len(raw) < 3:
        raise FrameError(f"hdlc: {len(raw)} bytes are shorter than a frame", offset=len(raw))
    length = _length(raw)
    if len(raw) != length + 2:
        raise FrameError(
            f"hdlc: length {length}, but {max(len(raw) - 2, 0)} bytes stand between flags", offset=1
        )
    raise _fault(raw)


def _announced(raw: bytes | bytearray, at: int) -> int:
    return (raw[at + 1] << 8 | raw[at + 2]) & LENGTH


def _judge(raw: bytes | bytearray, found: re.Match[bytes]) -> tuple[HdlcFrame | None, int]:
    """The frame whose header is `found`, 0; or None and how many bytes further on to look for another. None, 0: it is not whole.

    A good HCS proves the length. If a flag closes the frame where that says, what is inside is its data, though the FCS be wrong.
    """
    at, begin = found.start(), found.end(4)
    length = _announced(raw, at)
    end, there = at + length - 1, len(raw) - at  # where the FCS is
    if (end != begin and end < begin + 3) or there < min(length + 2, LONGEST_HEADER):
        return None, 1
    if there >= length + 2 and raw[end + 2] != FLAG:
        return None, 1
    if proven := end > begin:
        if raw[begin : begin + 2] != checksum(raw[at + 1 : begin]):
            return None, 1
        begin += 2
    if there < length + 2:
        return None, 0
    if raw[end : end + 2] != checksum(raw[at + 1 : end]):
        return None, length + 1 if proven else 1
    return _built(found, bytes(raw[begin:end])), 0


def _built(found: re.Match[bytes], information: bytes) -> HdlcFrame:
    word, destination, source, control = found.groups()
    segmented = bool(word[0] << 8 & SEGMENTED)
    return HdlcFrame(_parsed(bytes(destination)), _parsed(bytes(source)), control[0], information, segmented)


def _fault(raw: bytes) -> FrameError:
    """What is wrong with something that opens with a flag and has three bytes or more, and is no frame."""
    try:
        length = _length(raw)
        _header(raw, length)
    except FrameError as error:
        return error
    fcs = length - 1
    if raw[fcs : fcs + 2] != (good := checksum(raw[1:fcs])):
        return FrameError(f"hdlc: FCS {raw[fcs : fcs + 2].hex()}, must be {good.hex()}", offset=fcs)
    return FrameError(f"hdlc: closing flag {raw[length + 1]:02X}H, must be 7EH", offset=length + 1)


def _length(raw: bytes) -> int:
    """The length in the format word. FrameError: not format type 3, or shorter than any frame."""
    if raw[1] >> 4 != FORMAT_TYPE:
        raise FrameError(f"hdlc: frame format type {raw[1] >> 4:X}H, must be AH (type 3)", offset=1)
    length = int.from_bytes(raw[1:3], "big") & LENGTH
    if length < SHORTEST:
        raise FrameError(
            f"hdlc: length {length}, a frame has at least {SHORTEST} bytes between its flags", offset=1
        )
    return length


def _header(raw: bytes, length: int) -> None:
    """FrameError: the addresses, the control byte or the HCS of what begins at raw[0] is wrong."""
    at = _address_end(raw, 3, length, "destination")
    at = _address_end(raw, at, length, "source")
    if at >= length:
        raise FrameError(f"hdlc: no room for control and FCS in length {length}", offset=1)
    if kind_of(raw[at]) is None:
        raise FrameError(f"hdlc: control {raw[at]:02X}H is not of IEC 62056-46", offset=at)
    if length == at + 2:
        return
    if length < at + 5:
        raise FrameError(f"hdlc: length {length} leaves no room for HCS, information and FCS", offset=1)
    if raw[at + 1 : at + 3] != (good := checksum(raw[1 : at + 1])):
        raise FrameError(f"hdlc: HCS {raw[at + 1 : at + 3].hex()}, must be {good.hex()}", offset=at + 1)


def _address_end(raw: bytes, at: int, length: int, name: str) -> int:
    """The offset behind the address at `at`. FrameError: it has none of the three sizes."""
    part = raw[at : min(at + 4, length)]
    size = next((count for count, byte in enumerate(part, 1) if byte & 1), 0)
    if size not in (1, 2, 4):
        raise FrameError(
            f"hdlc: {name} address ends after {size or 'no'} bytes, must be 1, 2 or 4", offset=at
        )
    return at + size


@lru_cache(maxsize=256)  # the stations of a line are few, and each is in every frame
def _parsed(raw: bytes) -> Address:
    bits = [byte >> 1 for byte in raw]
    if len(raw) == 1:
        return Address(bits[0])
    if len(raw) == 2:
        return Address(bits[0], bits[1], 2)
    return Address(bits[0] << 7 | bits[1], bits[2] << 7 | bits[3], 4)


# --- the parameters that SNRM proposes and UA settles ---

_FORMAT: Final = 0x81
_NEGOTIATION: Final = 0x80
_FIELDS: Final = {
    5: "max_information_transmit", 6: "max_information_receive", 7: "window_transmit", 8: "window_receive",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameters:
    """Link parameters from the side of who says them: what a server calls transmit is a client's receive.

    The defaults are what holds when SNRM or UA do not say (IEC 62056-46, 6.4.4.4.3.2). Information in bytes, windows in frames.
    """

    max_information_transmit: int = 128
    max_information_receive: int = 128
    window_transmit: int = 1
    window_receive: int = 1

    def meet(self, peer: Parameters) -> Parameters:
        """Ours, no more than the peer takes and gives; a window has at most 7 of the 8 sequence numbers."""
        return Parameters(
            min(self.max_information_transmit, peer.max_information_receive, MAX_INFORMATION),
            min(self.max_information_receive, peer.max_information_transmit, MAX_INFORMATION),
            min(self.window_transmit, peer.window_receive, 7),
            min(self.window_receive, peer.window_transmit, 7),
        )

    def encode(self) -> bytes:
        """The information field: all four, in two bytes (lengths) and four (windows)."""
        body = b"".join(
            bytes((number, size)) + getattr(self, name).to_bytes(size, "big")
            for (number, name), size in zip(_FIELDS.items(), (2, 2, 4, 4), strict=True)
        )
        return bytes((_FORMAT, _NEGOTIATION, len(body))) + body


def negotiated(information: bytes) -> Parameters:
    """The information field of SNRM or UA -> Parameters; what it does not name has its default.

    Values of 1 to 4 bytes are taken, and groups other than 80H (user data) skipped. FrameError, offset in `information`: not format
    81H, a group or value that runs over its end, a value of 0.
    """
    found: dict[str, int] = {}
    if information and information[0] != _FORMAT:
        raise FrameError(f"hdlc parameters: format {information[0]:02X}H, must be 81H", offset=0)
    at = 1
    while at < len(information):
        end = _within(information, at, len(information), "group")
        if information[at] == _NEGOTIATION:
            found |= _group(information, at + 2, end)
        at = end
    return Parameters(**found)


def _group(information: bytes, at: int, end: int) -> dict[str, int]:
    found: dict[str, int] = {}
    while at < end:
        after = _within(information, at, end, "parameter")
        value = int.from_bytes(information[at + 2 : after], "big")
        if name := _FIELDS.get(information[at]):
            if not 1 <= after - at - 2 <= 4 or not value:
                raise FrameError(f"hdlc parameters: {name} must be 1 to 4 bytes and not 0", offset=at)
            found[name] = value
        at = after
    return found


def _within(raw: bytes, at: int, end: int, what: str) -> int:
    """The offset behind the identifier, length and value at `at`."""
    if at + 2 > end or (after := at + 2 + raw[at + 1]) > end:
        raise FrameError(f"hdlc parameters: {what} runs over the end", offset=at)
    return after


# --- the stream ---

#: A flag with format type 3 behind it, or at the end, where that may still come.
_OPENING: Final = re.compile(rb"\x7e(?=[\xa0-\xaf]|\Z)")
#: A flag that has something else than a flag behind it.
_OPENED: Final = re.compile(rb"\x7e(?=[^\x7e])")
#: A whole window of seven of the longest frames, and one that arrives before they are looked at.
BUFFER: Final = 8 * (LENGTH + 2)


class Receiver:
    """A bounded receive buffer that cuts a byte stream into frames.

    A flag opens a frame if a header with a good HCS follows; then the length decides where it ends, whatever 7E is inside. A frame
    further on wins over what is corrupt before it; corrupt ones that no unfinished one lies between are reported once, together: so
    the work is linear in what was fed. Flags between frames are idle line; other bytes there are dropped and counted in `skipped`.
    """

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer(BUFFER)
        self._shared = False  # the flag in front has closed a frame already

    @property
    def skipped(self) -> int:
        return self._buffer.skipped

    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._buffer.data)

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        over = len(self._buffer.data) + len(data) - BUFFER
        self._shared = self._shared and over <= 0
        self._buffer.feed(data)

    def next(self) -> HdlcFrame | None:
        """The next frame, None when more bytes are needed. FrameError: what opened as a frame is none; it has been dropped."""
        at, frame = _search(self._buffer.data)
        if frame is not None:
            self._drop(at)
            self._buffer.take(frame.length + 1)  # its closing flag stays: it may open the next
            self._shared = True
            return frame
        fault = self._first_fault(at)
        self._drop(at)
        if fault is not None:
            raise fault
        return None

    def interrupt(self) -> None:
        """The line has been silent: a frame that is not whole by now will never be (inter-octet time-out)."""
        if len(self._buffer.data) > 1:
            self._drop(1)

    def _first_fault(self, end: int) -> FrameError | None:
        """What is wrong with the first thing that a flag opens in the first `end` bytes; None: they are idle line and noise."""
        data = self._buffer.data
        closed = self._shared and not _OPENING.match(data)
        found = _OPENED.search(data, 1 if closed else 0, min(end + 1, len(data)))
        if found is None or found.start() >= end:
            return None
        at = found.start()
        return _fault(bytes(data[at : at + LENGTH + 2]).ljust(3, b"\0"))

    def _drop(self, count: int) -> None:
        if count:
            self._buffer.skip(count, FLAG)
            self._shared = False


def _search(data: bytearray) -> tuple[int, HdlcFrame | None]:
    """Where the first whole frame is, and it; or None and where the first unfinished one is, the end of the data if there is none.

    While the few bytes at the end may still become a header, a whole frame behind them wins.
    """
    at = settled = 0
    while found := _HEAD.search(data, at):
        at = found.start()
        frame, further = _judge(data, found)
        if not further:
            return at, frame
        at += further
        settled = at if further > 1 else settled
    for opening in _OPENING.finditer(data, max(len(data) - LONGEST_HEADER + 1, settled)):
        at = opening.start()
        there = len(data) - at
        length = _announced(data, at) if there > 2 else LENGTH
        if length >= SHORTEST and there < min(length + 2, LONGEST_HEADER):
            return at, None
    return len(data), None
