"""PostgreSQL's binary COPY format built and read by numpy: no Python loop over rows.

Format: PostgreSQL documentation, COPY, "Binary Format". Rows that have the same columns NULL have the same layout, so they are laid out
together as one structured array; a batch of single-phase and three-phase meters is two such arrays, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import Times

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
#: timestamptz counts microseconds, date counts days, from 2000-01-01
PG_EPOCH: Final = np.datetime64("2000-01-01T00:00:00", "us")
PG_EPOCH_DAY: Final = 10_957  # as days since 1970-01-01
#: rows laid out at once: the server works on one part while the next is made, and a part stays in the processor's cache
PART: Final = 4096
_WIRE: Final = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float4": ">f4",
    "float8": ">f8",
    "timestamptz": ">i8",
    "date": ">i4",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column to send: values [n], PostgreSQL type, and which rows are not NULL (None = all).

    A varbit's values are uint8[n, bytes], most significant bit first, `bits` of them meant.
    """

    values: NDArray[Any]
    type: str
    valid: NDArray[np.bool_] | None = None
    bits: int = 0

    @property
    def layout(self) -> list[Any]:
        """The value's bytes on the wire: numpy's (name, type) pairs."""
        if self.type == "varbit":
            return [("bits", ">i4"), ("value", "u1", (self.values.shape[1],))]
        return [("value", _WIRE[self.type])]


def timestamps(times: Times) -> NDArray[np.int64]:
    """datetime64[us] UTC -> timestamptz integers."""
    return (times.astype("datetime64[us]", copy=False) - PG_EPOCH).astype(np.int64)


def pack(fields: Sequence[Field]) -> bytes:
    """The whole payload of COPY ... FROM STDIN (FORMAT BINARY) for n rows."""
    return b"".join((HEADER, *map(bytes, parts(fields)), TRAILER))


def parts(fields: Sequence[Field]) -> Iterator[bytes | memoryview]:
    """The rows of a payload, without header and trailer, a part at a time; a part is overwritten when the next one is asked for.

    Rows keep their order among those that have the same columns NULL.
    """
    n = len(fields[0].values)
    for pattern, rows in _patterns(fields, n):
        size = n if rows is None else len(rows)
        there = [k for k in range(len(fields)) if not pattern >> k & 1]
        layout: list[Any] = [("n", ">i2")]
        for k, field in enumerate(fields):
            layout.append((f"length{k}", ">i4"))
            if k in there:
                layout += [(f"{name}{k}", *kind) for name, *kind in field.layout]
        block = np.empty(min(PART, size), dtype=np.dtype(layout))
        block["n"] = len(fields)
        for k, field in enumerate(fields):
            block[f"length{k}"] = np.dtype(field.layout).itemsize if k in there else -1
            if k in there and field.type == "varbit":
                block[f"bits{k}"] = field.bits
        for begin in range(0, size, len(block)):
            part = block[: min(len(block), size - begin)]
            which = slice(begin, begin + len(part)) if rows is None else rows[begin : begin + len(part)]
            for k in there:
                part[f"value{k}"] = fields[k].values[which]
            yield part.view(np.uint8).data


def _patterns(fields: Sequence[Field], n: int) -> Iterator[tuple[int, NDArray[np.int64] | None]]:
    """(bit k set: field k is NULL, the rows of which that is so; None for all) for each combination that occurs."""
    code: NDArray[np.int64] | None = None
    for k, field in enumerate(fields):
        if field.valid is None or field.valid.all():
            continue
        bit = np.where(field.valid, 0, 1 << k)
        code = bit if code is None else code | bit
    if n == 0:
        return
    if code is None:
        yield 0, None
        return
    if (code == code[0]).all():
        yield int(code[0]), None
        return
    for pattern in np.unique(code):
        yield int(pattern), np.flatnonzero(code == pattern)
