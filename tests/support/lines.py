"""Every protocol as the conformance harness and the fuzzer see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from protocols.buffer import ReceiveBuffer
from protocols.checksum import sum8
from protocols.dlms import ciphering, hdlc_frame
from protocols.dlms import frame as wrapper
from protocols.dlt645 import frame as dlt645
from protocols.dlt698 import frame as dlt698
from protocols.gdw376 import frame as gdw376
from protocols.iec62056_21 import frame as iec
from protocols.modbus.exchange import Master
from protocols.modbus.requests import ReadRegisters
from protocols.modbus.rtu import frame as modbus_rtu
from protocols.modbus.tcp import frame as modbus_tcp
from tests.support import waiting as masters
from tests.support.conformance import Line, Stream, samples

WAKE_UP = 0xFE
#: What a line carries before a frame: silence that rings, the ends of other frames, beginnings that lead nowhere.
NOISE = (b"", b"\xfe\xfe\xfe\xfe", b"\x00\x16\x68\x11\x22", b"\x68" * 9, b"\xff\x68\x12")
TAIL = b"\x16\x00\x68"


class Finder:
    """A room's `find(buffer)` as a Stream."""

    def __init__(self, find: Callable[[ReceiveBuffer], Any], limit: int) -> None:
        self._find = find
        self._buffer = ReceiveBuffer(limit)

    def feed(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next(self) -> object | None:
        found: object | None = self._find(self._buffer)
        return found

    def held(self) -> int:
        return len(self._buffer.data)


class Wrapped:
    """The receiver of the TCP wrapper as a Stream."""

    def __init__(self) -> None:
        self._receiver = wrapper.Receiver()
        self._fed = self._taken = 0

    def feed(self, data: bytes) -> None:
        self._fed += len(data)
        self._receiver.feed(data)

    def next(self) -> object | None:
        frame = self._receiver.next()
        if frame is not None:
            self._taken += len(wrapper.encode(frame))
        return frame

    def held(self) -> int:
        return self._fed - self._taken - self._receiver.skipped


def finder(find: Callable[[ReceiveBuffer], Any], limit: int) -> Callable[[], Stream]:
    return lambda: Finder(find, limit)


def awake(raw: bytes) -> int:
    """How many wake-up bytes the frame was sent with."""
    return len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))


def reseal_645(raw: bytes) -> bytes:
    """68 A×6 68 C L data CS 16: L, CS and the fixed bytes made right."""
    body = bytearray(raw[awake(raw) :][:267].ljust(12, b"\0"))
    body[0] = body[7] = dlt645.START
    body[9] = len(body) - dlt645.OVERHEAD
    body[-2], body[-1] = sum8(body[:-2]), dlt645.END
    return bytes(body)


def reseal_376(raw: bytes) -> bytes:
    """68 L L 68 C A AFN … CS 16, the protocol id kept."""
    body = bytearray(raw[:16389].ljust(16, b"\0"))
    length = len(body) - gdw376.OVERHEAD
    body[0] = body[5] = gdw376.START
    body[1:3] = body[3:5] = (length << 2 | (body[1] & 3 or 2)).to_bytes(2, "little")
    body[-2], body[-1] = sum8(body[6:-2]), gdw376.END
    return bytes(body)


def reseal_698(raw: bytes) -> bytes:
    """68 L C SA CA HCS … FCS 16; the address keeps the length that its first byte says."""
    body = bytearray(raw[awake(raw) :][:16383].ljust(20, b"\0"))
    body[0], body[-1] = dlt698.START, 0x16
    body[1:3] = (len(body) - 2 & 0x3FFF).to_bytes(2, "little")
    header = 4 + 1 + (body[4] & 0x0F) + 1 + 1
    if header + 5 > len(body):
        return bytes(body)
    body[header : header + 2] = dlt698.fcs16(body[1:header]).to_bytes(2, "little")
    body[-3:-1] = dlt698.fcs16(body[1:-3]).to_bytes(2, "little")
    return bytes(body)


def reseal_hdlc(raw: bytes) -> bytes:
    """7E, format and length, … HCS … FCS 7E; the addresses end where their last bits say."""
    body = bytearray(raw[: hdlc_frame.LENGTH + 2].ljust(9, b"\0"))
    body[0] = body[-1] = hdlc_frame.FLAG
    size = len(body) - 2
    body[1:3] = (0xA000 | (body[1] & 0x08) << 8 | size).to_bytes(2, "big")
    at = 3
    for _ in range(2):
        while at < size and not body[at] & 1:
            at += 1
        at += 1
    if at + 3 < size - 1:
        body[at + 1 : at + 3] = hdlc_frame.checksum(bytes(body[1 : at + 1]))
    body[-3:-1] = hdlc_frame.checksum(bytes(body[1:-3]))
    return bytes(body)


def reseal_wrapper(raw: bytes) -> bytes:
    """The version and the length of the TCP wrapper."""
    body = bytearray(raw.ljust(9, b"\0"))
    body[:2] = b"\x00\x01"
    body[6:8] = (len(body) - 8 & 0xFFFF).to_bytes(2, "big")
    return bytes(body)


def reseal_rtu(raw: bytes) -> bytes:
    """Unit, function, data, CRC; nothing but the CRC is made right."""
    body = raw[: modbus_rtu.LONGEST].ljust(modbus_rtu.SHORTEST, b"\0")[:-2]
    return body + modbus_rtu.crc16(body).to_bytes(2, "little")


def reseal_tcp(raw: bytes) -> bytes:
    """The protocol identifier and the length of the MBAP header."""
    body = bytearray(raw[: modbus_tcp.LONGEST].ljust(modbus_tcp.SHORTEST, b"\0"))
    body[2:4], body[4:6] = b"\0\0", (len(body) - 6).to_bytes(2, "big")
    return bytes(body)


def is_plain_rtu(raw: bytes) -> bool:
    """Not a request of 07: any frame and a zero byte have a right CRC again, and those five bytes are an answer of 07."""
    return raw[1] != 0x07 or len(raw) > modbus_rtu.SHORTEST


def waiting(line: Literal["rtu", "tcp"]) -> Master:
    """A head-end that has asked unit 1 for two registers."""
    master = Master(line)
    master.send(ReadRegisters(1, 0, 2))
    return master


def is_hdlc(raw: bytes) -> bool:
    return raw[:1] == b"\x7e"


def is_apdu(raw: bytes) -> bool:
    return not is_wrapper(raw) and not is_hdlc(raw) and not ciphering.is_ciphered(raw)


def is_streamed_iec(raw: bytes) -> bool:
    """Neither an acknowledgement of one byte nor a readout without a check character: those any noise may hold."""
    return raw[0] != 0x06 and not isinstance(iec.decode(raw), iec.Readout)


def is_wrapper(raw: bytes) -> bool:
    return raw[:2] == b"\x00\x01"


LINES = (
    Line(
        "dlt645-2007",
        "dlt645-2007",
        samples("dlt645-2007"),
        dlt645.decode,
        lambda frame, raw: frame.encode(awake(raw)),
        finder(dlt645.find, dlt645.BUFFER_LIMIT),
        dlt645.BUFFER_LIMIT,
        corrupt=samples("dlt645-2007", valid=False),
        noise=NOISE,
        tail=TAIL,
        reseal=reseal_645,
        waiting=masters.dlt645_2007,
    ),
    Line(
        "dlt645-1997",
        "dlt645-1997",
        samples("dlt645-1997"),
        dlt645.decode,
        lambda frame, raw: frame.encode(awake(raw)),
        finder(dlt645.find, dlt645.BUFFER_LIMIT),
        dlt645.BUFFER_LIMIT,
        noise=NOISE,
        tail=TAIL,
        reseal=reseal_645,
        waiting=masters.dlt645_of_1997,
    ),
    Line(
        "iec62056-21",
        "iec62056-21",
        samples("iec62056-21", where=is_streamed_iec),
        iec.decode,
        lambda frame, raw: iec.with_parity(frame.encode()) if max(raw) > 0x7F else frame.encode(),
        iec.Receiver,
        iec.BUFFER_LIMIT,
        corrupt=samples("iec62056-21", valid=False),
        checked=False,  # an identification and a mode A readout carry no check character
        noise=(b"", b"\r\n\x00", b"\x02\x02//\x01", b"/?!x", b"\xff\xfe"),
        tail=b"\x02/",
        waiting=masters.iec_sign_on,
    ),
    Line(
        "gdw376",
        "gdw376",
        samples("gdw376"),
        gdw376.decode,
        lambda frame, raw: frame.encode(),
        finder(gdw376.find, gdw376.BUFFER_LIMIT),
        gdw376.BUFFER_LIMIT,
        noise=(*NOISE, b"\x68\x32\x00\x32\x00\x68"),
        tail=TAIL,
        reseal=reseal_376,
        waiting=masters.gdw376_read,
    ),
    Line(
        "dlt698",
        "dlt698",
        samples("dlt698"),
        dlt698.decode,
        lambda frame, raw: frame.encode(awake(raw)),
        finder(dlt698.find, dlt698.BUFFER_LIMIT),
        dlt698.BUFFER_LIMIT,
        noise=NOISE,
        tail=TAIL,
        reseal=reseal_698,
        waiting=masters.dlt698_get,
    ),
    Line(
        "dlms-wrapper",
        "dlms",
        samples("dlms", where=is_wrapper),
        wrapper.decode,
        lambda frame, raw: wrapper.encode(frame),
        Wrapped,
        wrapper.BUFFER,
        checked=False,
        noise=(b"", b"\x00" * 9, b"\x01\x00\x02"),
        tail=b"\x00\x01",
        reseal=reseal_wrapper,
        waiting=masters.dlms_wrapper,
    ),
    Line(
        "dlms-hdlc",
        "dlms",
        samples("dlms", where=is_hdlc),
        hdlc_frame.decode,
        lambda frame, raw: frame.encode(),
        hdlc_frame.Receiver,
        hdlc_frame.BUFFER,
        noise=(b"", b"\x7e\x7e\x7e", b"\x00\x16\xa0\x11\x22", b"\xff\x7e\x12"),
        tail=b"\x7e\xa0",
        reseal=reseal_hdlc,
        waiting=masters.dlms_hdlc,
    ),
    Line(
        "dlms-apdu",
        "dlms",
        samples("dlms", where=is_apdu),
        bytes,
        lambda apdu, raw: apdu,
        None,
        0,
        checked=False,
        waiting=masters.dlms_apdu,
    ),
    Line(
        "dlms-sealed",
        "dlms",
        samples("dlms", where=ciphering.is_ciphered),
        bytes,
        lambda apdu, raw: apdu,
        None,
        0,
        checked=False,
        reseal=masters.sealed,
        waiting=masters.dlms_sealed,
    ),
    Line(
        "modbus-rtu",
        "modbus-rtu",
        samples("modbus-rtu", where=is_plain_rtu),
        modbus_rtu.decode,
        lambda frame, raw: modbus_rtu.encode(frame),
        modbus_rtu.Receiver,
        modbus_rtu.BUFFER_LIMIT,
        corrupt=samples("modbus-rtu", valid=False),
        # Silence ends a frame, and a stream has none: noise may end or go on as a frame would, as long as the CRC disproves it.
        noise=(b"", b"\x00", b"\xff" * 9, b"\x01\x03", b"\x11\x01\x05\xcd\x6b"),
        tail=b"\x01\x03\x00",
        waiting=lambda: waiting("rtu"),
        reseal=reseal_rtu,
    ),
    Line(
        "modbus-tcp",
        "modbus-tcp",
        samples("modbus-tcp"),
        modbus_tcp.decode,
        lambda frame, raw: modbus_tcp.encode(frame),
        modbus_tcp.Receiver,
        modbus_tcp.BUFFER_LIMIT,
        corrupt=samples("modbus-tcp", valid=False),
        checked=False,  # TCP's own check sum is all there is
        # Nothing in which a header could begin: it would swallow the frame.
        noise=(b"", b"GET / HTTP/1.1\r\n", b"\xff" * 9),
        tail=b"\x00\x01",
        waiting=lambda: waiting("tcp"),
        reseal=reseal_tcp,
    ),
)
