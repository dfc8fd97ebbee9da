"""A delivery as bytes and back: what a segment of the spool is made of. Pure.

A segment is the title (8 bytes, its last two the version) and records end to end, numbers little-endian:

    uint32 length of the body | uint32 CRC-32 of length and body | body: uint64 sequence | zlib of the content

The content is a uint32 length, a JSON header of that length filled up with blanks to 8 bytes, then the arrays that the header names, 8 bytes a
value, and last the exchange's canonical text.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.plans import PLANS
from headend.store import exchanges
from headend.store.coverage import Attempt
from headend.store.exchanges import NotAnExchange
from headend.store.intake import Delivery
from headend.store.orders import Fence
from headend.store.tables import SOURCES
from protocols.localtime import Times
from protocols.reading import Reads

TITLE: Final = b"MDSPOOL" + bytes([1])
#: zlib's fastest: a spool is written while lines wait, and its usual level saves a tenth (measured on load records)
LEVEL: Final = 1
#: content that unpacks to more is not ours: an exchange's text is at most a few MiB, its readings some KiB
MOST: Final = 64 * 2**20
_FRAME: Final = struct.Struct("<II")
_SEQUENCE: Final = struct.Struct("<Q")
_HEADER: Final = struct.Struct("<I")
_TIME: Final = "<M8[us]"
#: kind of a numpy array -> how it is kept
_KEPT: Final = {"i": "<i8", "u": "<i8", "f": "<f8", "M": _TIME}


class BadRecord(Exception):
    """Bytes that are no record of ours; the message says why."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A delivery, and the lease under which it was read; None where nothing hangs on a lease."""

    delivery: Delivery
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """`collector`: who brought it. `sequence` rises by one from record to record of a collector."""

    collector: str
    sequence: int
    brought: Brought


@dataclass(frozen=True, slots=True)
class Frame:
    """A record whose checksum holds, not opened yet; `end`: where the next one begins."""

    sequence: int
    content: bytes
    end: int


def encode(record: Record) -> bytes:
    """The record with its length and checksum."""
    delivery, fence = record.brought.delivery, record.brought.fence
    reads = delivery.reads
    columns = {code: _kept(column) for code, column in reads.columns.items()}
    arrays = [_kept(reads.meter), _kept(reads.time), *columns.values()]
    for attempt in delivery.attempts:
        arrays += [_kept(attempt.asked), _kept(attempt.absent), _kept(attempt.got)]
    head = {
        "collector": record.collector,
        "fence": None if fence is None else [fence.owner, fence.terminal_id, fence.epoch],
        "source": delivery.source.name,
        "at": _us(delivery.at),
        "rows": len(reads),
        "columns": {code: column.dtype.str for code, column in columns.items()},
        "attempts": [
            [a.meter, a.plan.id, _us(a.at), a.reason, a.detail, len(a.asked), len(a.absent), len(a.got)]
            for a in delivery.attempts
        ],
        "exchange": delivery.exchange is not None,
    }
    header = json.dumps(head, separators=(",", ":")).encode()
    header += b" " * (-(len(header) + _HEADER.size) % 8)  # so that the arrays lie where numpy likes them
    text = b"" if delivery.exchange is None else delivery.exchange.text
    content = b"".join((_HEADER.pack(len(header)), header, *(a.tobytes() for a in arrays), text))
    if len(content) > MOST:
        raise BadRecord(f"a delivery of {len(content)} bytes; {MOST} are the most")
    body = _SEQUENCE.pack(record.sequence) + zlib.compress(content, LEVEL)
    length = len(body).to_bytes(4, "little")
    return _FRAME.pack(len(body), _checksum(length, body)) + body


def frames(data: bytes) -> Iterator[Frame]:
    """The records of a segment behind its title, in order. BadRecord where the rest is none: torn, damaged or out of order."""
    offset, before = 0, None
    while offset < len(data):
        begin = offset + _FRAME.size
        if begin > len(data):
            raise BadRecord(f"it ends within a record's head at byte {offset}")
        length, checksum = _FRAME.unpack_from(data, offset)
        body = data[begin : begin + length]
        if len(body) < length:
            raise BadRecord(
                f"it ends within a record of {length} bytes, of which {len(body)} are there, at byte {offset}"
            )
        if length < _SEQUENCE.size or _checksum(data[offset : offset + 4], body) != checksum:
            raise BadRecord(f"a record's checksum is wrong at byte {offset}")
        (sequence,) = _SEQUENCE.unpack_from(body)
        if before is not None and sequence != before + 1:
            raise BadRecord(f"record {sequence} follows record {before} at byte {offset}")
        before, offset = sequence, begin + length
        yield Frame(sequence, body[_SEQUENCE.size :], offset)


def decode(frame: Frame) -> Record:
    """Open a record. BadRecord if it is of a kind that this version does not know."""
    try:
        return _decode(frame)
    except (ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error, NotAnExchange) as error:
        raise BadRecord(f"record {frame.sequence} cannot be read: {type(error).__name__}: {error}") from None


def _decode(frame: Frame) -> Record:
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(frame.content, MOST)
    if not unpacking.eof:
        raise ValueError(f"its content is cut off or longer than {MOST} bytes")
    (length,) = _HEADER.unpack_from(content)
    head: dict[str, Any] = json.loads(content[_HEADER.size : _HEADER.size + length])
    offset = _HEADER.size + length

    def take(dtype: str, count: int) -> NDArray[Any]:
        nonlocal offset
        if dtype not in _KEPT.values():
            raise ValueError(f"a column of {dtype}")
        array = np.frombuffer(content, dtype, count, offset)
        offset += array.nbytes
        return array

    rows = head["rows"]
    meter, time = take("<i8", rows), take(_TIME, rows)
    reads = Reads(meter, time, {code: take(dtype, rows) for code, dtype in head["columns"].items()})
    attempts = []
    for number, plan, at, reason, detail, *counts in head["attempts"]:
        asked, absent, got = (take(_TIME, count) for count in counts)
        attempts.append(Attempt(number, PLANS[plan], asked, absent, _instant(at), reason, detail, got))
    said = exchanges.parse(content[offset:]) if head["exchange"] else None
    delivery = Delivery(SOURCES[head["source"]], _instant(head["at"]), reads, tuple(attempts), said)
    fence = None if head["fence"] is None else Fence(*head["fence"])
    return Record(head["collector"], frame.sequence, Brought(delivery, fence))


def _kept(array: NDArray[Any] | Times) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=_KEPT[array.dtype.kind])


def _us(when: np.datetime64) -> int:
    return int(when.astype("datetime64[us]").astype(np.int64))


def _instant(us: int) -> np.datetime64:
    return np.datetime64(us, "us")


def _checksum(length: bytes, body: bytes) -> int:
    """CRC-32 rather than CRC-32C: of a torn or spoilt record either misses one in four thousand million, and this one needs no further library."""
    return zlib.crc32(body, zlib.crc32(length))
