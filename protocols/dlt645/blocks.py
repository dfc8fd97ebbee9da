"""Load records, one block at a time (Table A.7, load_classes.csv). bulk.py does the same for many.

    A0 A0 | length | mm hh DD MM YY | class 1 AA | class 2 AA | ... | class 6 AA | sum | E5

A class that the mode word 04000901 disables leaves only its AA. E0 E0 in place of A0 A0 marks a block that
the meter itself found faulty: a time but no values. `sum` runs from the first A0 to the byte before it.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np

from protocols.bcd import from_bcd, to_bcd
from protocols.checksum import sum8
from protocols.dlt645.fields import SEPARATOR, Typed, Value, decode_field, encode_field, size_of
from protocols.dlt645.items import Field
from protocols.errors import FrameError, Misuse

GOOD: Final = b"\xa0\xa0"
FAULTY: Final = b"\xe0\xe0"
BLOCK_END: Final = 0xE5
#: Before the classes: A0 A0, length, five bytes of time. Behind them: sum, E5.
HEAD: Final = 8
TAIL: Final = 2
#: N of a request is one BCD byte.
MOST_BLOCKS: Final = 99

#: What the length byte counts differs: time and classes; these, sum and E5; the whole block.
#: Sum and E5 decide.
_COUNTED: Final = (5, 3, 0)
TIME: Final = Field("time", "YYMMDDhhmm", name_zh="时间")


@dataclass(frozen=True, slots=True)
class LoadBlock:
    """One record. `time`: naive local, None if never written. `classes`: the enabled ones, 1..6 -> values."""

    time: dt.datetime | None
    classes: Mapping[int, tuple[Value, ...]]
    faulty: bool = False


@cache
def class_fields() -> dict[int, tuple[Field, ...]]:
    """Class 1..6 -> its fields, in wire order."""
    text = files("protocols.dlt645").joinpath("load_classes.csv").read_text(encoding="utf-8")
    found: dict[int, tuple[Field, ...]] = {}
    for row in csv.DictReader(text.splitlines()):
        signed, name_zh = row["signed"] == "y", row["name_zh"]
        field = Field(row["name"], row["form"], row["unit"], signed, row["quantity"], name_zh=name_zh)
        found[int(row["class"])] = (*found.get(int(row["class"]), ()), field)
    return found


@cache
def class_sizes() -> dict[int, int]:
    """Class -> bytes: 17, 24, 8, 16, 16, 6."""
    return {number: sum(size_of(f.form) for f in fields) for number, fields in class_fields().items()}


def decode_blocks(data: bytes) -> list[LoadBlock]:
    """The answer to 06cc00mm without its DI -> blocks as sent. FrameError names the block by its offset."""
    blocks = []
    at = 0
    while at < len(data):
        end = block_end(data, at)
        faulty = data[at : at + 2] == FAULTY
        time = _at(at + 3, TIME, data[at + 3 : at + HEAD])[0].value
        try:
            classes = {} if faulty else dict(_classes(data[at + HEAD : end - TAIL]))
        except FrameError as error:
            raise error.moved(at + HEAD) from None
        blocks.append(LoadBlock(time if isinstance(time, dt.datetime) else None, classes, faulty))
        at = end
    return blocks


def block_end(data: bytes, at: int) -> int:
    """Where the block beginning at `at` ends. FrameError if none begins there or its sum or end is wrong."""
    start = data[at : at + 2]
    if start not in (GOOD, FAULTY) or len(data) < at + HEAD + TAIL:
        raise FrameError("load record: no block begins here", at)
    for around in _COUNTED:
        end = at + data[at + 2] + around
        if not at + HEAD + TAIL <= end <= len(data) or data[end - 1] != BLOCK_END:
            continue
        if start == FAULTY or sum8(data[at : end - TAIL]) == data[end - TAIL]:
            return end
    raise FrameError("load record: length, sum or end of the block is wrong", at)


def _classes(body: bytes) -> Iterator[tuple[int, tuple[Value, ...]]]:
    for number, start in sections(body).items():
        values: list[Value] = []
        at = start
        for field in class_fields()[number]:
            size = size_of(field.form)
            values += _at(at, field, body[at : at + size])
            at += size
        yield number, tuple(values)


def _at(offset: int, field: Field, raw: bytes) -> list[Value]:
    """The values of one field; its FrameError counts from `offset` bytes before it."""
    try:
        return list(decode_field(field, raw))
    except FrameError as error:
        raise error.moved(offset) from None


def sections(body: bytes) -> dict[int, int]:
    """Where each class that is present begins in the bytes between time and sum. FrameError if nothing fits.

    All six separators are expected. Meters that never had class 5 send five; a read of one class may bring
    that class alone: its length tells which one.
    """
    sizes = class_sizes()
    for order in ((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 6), *((number,) for number in sizes)):
        found = _walk(body, [(number, sizes[number]) for number in order])
        if found is not None:
            return found
    raise FrameError(f"load record: {len(body)} bytes of classes do not fit their separators", 0)


def _walk(body: bytes, order: Sequence[tuple[int, int]]) -> dict[int, int] | None:
    found = {}
    at = 0
    for number, size in order:
        if at < len(body) and body[at] != SEPARATOR:
            found[number] = at
            at += size
        if at >= len(body) or body[at] != SEPARATOR:
            return None
        at += 1
    return found if at == len(body) else None


def encode_block(
    time: dt.datetime,
    classes: Mapping[int, Sequence[Typed]],
    *,
    faulty: bool = False,
    order: Sequence[int] = (),
) -> bytes:
    """One block. `classes`: 1..6 -> values in the order of load_classes.csv (None: missing), or disabled.

    `order` lists the classes that get a separator; all six if empty, one class for an answer to 06cc.
    """
    body = bytearray(encode_field(TIME, [time]))
    for number in order or class_fields():
        if not faulty and number in classes:
            fields, values = class_fields()[number], classes[number]
            if len(fields) != len(values):
                raise Misuse(f"load record class {number}: {len(values)} values, {len(fields)} are needed")
            for field, value in zip(fields, values, strict=True):
                body += encode_field(field, [value])
        body.append(SEPARATOR)
    block = (FAULTY if faulty else GOOD) + bytes((len(body),)) + bytes(body)
    return block + bytes((sum8(block), BLOCK_END))


# --- what goes into the request behind the DI ---


def from_time(start: np.datetime64, count: int) -> bytes:
    """For 06cc0001: N blocks beginning at the naive local time `start`, to the minute."""
    moment = start.astype("datetime64[s]").astype(dt.datetime)
    return number_of_blocks(count) + encode_field(TIME, [moment])


def number_of_blocks(count: int) -> bytes:
    """For 06cc0000 (earliest) and 06cc0002 (latest): N.

    BCD, as every NN of the standard: a meter that takes it as binary sends more than asked, never fewer.
    """
    if not 1 <= count <= MOST_BLOCKS:
        raise Misuse(f"load record: {count} blocks, 1-{MOST_BLOCKS} can be asked for")
    return to_bcd(count, 1)


def decode_request(extra: bytes) -> tuple[int, dt.datetime | None]:
    """What stands behind the DI of a load-record read -> (N, start or None). FrameError if it is neither."""
    if len(extra) not in (1, 6):
        raise FrameError(f"load record request: {len(extra)} bytes, 1 or 6 are allowed", 0)
    start = next(decode_field(TIME, extra[1:])).value if len(extra) == 6 else None
    return from_bcd(extra[:1], "number of blocks"), start if isinstance(start, dt.datetime) else None
