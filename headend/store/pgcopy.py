"""PostgreSQL's binary COPY format built by numpy: no Python loop over rows.

All rows are laid out as one structured array as if nothing were NULL; then the bytes of the NULLs are cut out.
Format: PostgreSQL documentation, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    layout: list[tuple[str, str]] = [("n", ">i2")]
    for k, field in enumerate(fields):
        layout.append((f"l{k}", ">i4"))
        if field.valid is None or field.valid.any():
            layout.append((f"v{k}", _WIRE[field.type]))
    names = {name for name, _ in layout}
    block = np.empty(n, dtype=np.dtype(layout))
    block["n"] = len(fields)
    holes = {}
    for k, field in enumerate(fields):
        block[f"l{k}"] = np.dtype(_WIRE[field.type]).itemsize
        if f"v{k}" in names:
            block[f"v{k}"] = field.values
        if field.valid is not None and not field.valid.all():
            block[f"l{k}"][~field.valid] = -1
            if f"v{k}" in names:
                holes[f"v{k}"] = ~field.valid
    return b"".join((HEADER, _without(block, holes), TRAILER))


def _without(block: NDArray[np.void], holes: Mapping[str, NDArray[np.bool_]]) -> bytes:
    """The rows' bytes, without the values of the named columns where the mask says so: a NULL is a length alone."""
    if not holes:
        return block.tobytes()
    keep = np.ones((len(block), block.dtype.itemsize), dtype=np.bool_)
    at = block.dtype.fields
    assert at is not None
    for name, mask in holes.items():
        kind, offset = at[name][:2]
        keep[mask, offset : offset + kind.itemsize] = False
    return block.view(np.uint8).reshape(keep.shape)[keep].tobytes()
