"""PostgreSQL's binary COPY format built by numpy: no Python loop over rows.

Rows whose NULLs fall in the same columns have the same byte layout, so each such pattern is one structured array. A batch from one
kind of meter has one or two patterns.
Format: PostgreSQL documentation, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import Times

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
#: timestamptz counts microseconds from 2000-01-01 00:00 UTC
PG_EPOCH: Final = np.datetime64("2000-01-01T00:00:00", "us")
_WIRE: Final = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float4": ">f4",
    "float8": ">f8",
    "timestamptz": ">i8",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column to send: values [n], PostgreSQL type, and which rows are not NULL (None = all)."""

    values: NDArray[Any]
    type: str
    valid: NDArray[np.bool_] | None = None


def timestamps(times: Times) -> NDArray[np.int64]:
    """datetime64[us] UTC -> timestamptz integers."""
    return (times.astype("datetime64[us]") - PG_EPOCH).astype(np.int64)


def pack(fields: Sequence[Field]) -> bytes:
    """The whole payload of COPY ... FROM STDIN (FORMAT BINARY) for n rows, in their order."""
    n = len(fields[0].values)
    pattern = np.zeros(n, dtype=np.int64)
    for bit, field in enumerate(fields):
        if field.valid is not None:
            pattern |= (~field.valid).astype(np.int64) << bit
    patterns, which = np.unique(pattern, return_inverse=True)
    blocks = [_block(fields, int(nulls), np.flatnonzero(pattern == nulls)) for nulls in patterns]
    if len(blocks) == 1:
        return b"".join((HEADER, blocks[0].tobytes(), TRAILER))
    # each row's bytes go to where its predecessors end, so that rows of different length stay in order
    width = np.array([block.dtype.itemsize for block in blocks])[which]
    end = np.cumsum(width)
    body = np.empty(int(end[-1]) if n else 0, dtype=np.uint8)
    for k, block in enumerate(blocks):
        size = block.dtype.itemsize
        at = (end - width)[which == k]
        body[at[:, None] + np.arange(size)] = block.view(np.uint8).reshape(-1, size)
    return b"".join((HEADER, body.tobytes(), TRAILER))


def _block(fields: Sequence[Field], nulls: int, rows: NDArray[np.intp]) -> NDArray[np.void]:
    """The chosen rows, whose NULLs are the fields whose bits are set in `nulls`."""
    layout: list[tuple[str, str]] = [("n", ">i2")]
    for bit, field in enumerate(fields):
        layout.append((f"l{bit}", ">i4"))
        if not nulls >> bit & 1:
            layout.append((f"v{bit}", _WIRE[field.type]))
    block = np.empty(len(rows), dtype=np.dtype(layout))
    block["n"] = len(fields)
    for bit, field in enumerate(fields):
        if nulls >> bit & 1:
            block[f"l{bit}"] = -1
        else:
            block[f"l{bit}"] = np.dtype(_WIRE[field.type]).itemsize
            block[f"v{bit}"] = field.values[rows]
    return block
