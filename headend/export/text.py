"""Columns as text, without a Python loop over cells.

A column is uint8[n, width], one row of bytes a cell, in which 0 is no byte: cells of different lengths stand in one array, and what is
nothing falls out when lines are joined.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.quantity import quantities
from protocols.reading import MISSING

Bytes = NDArray[np.uint8]
Bits = NDArray[np.bool_]

#: rows laid out at once: a long remark makes a column wide for all of them
PART: Final = 16_384
#: decimals tried before a float is written by its shortest text; meters give at most four
_PLACES: Final = 6


def decimals(values: NDArray[np.int64], there: Bits, places: int = 4) -> Bytes:
    """Integers of 10**-places as exact decimals: 123456 -> 12.3456; nothing where not `there`."""
    n = len(values)
    left = np.abs(np.where(there, values, 0))
    negative = there & (values < 0)
    digits = max(places + 1, len(str(int(left.max())) if n else ""))
    out = np.zeros((n, digits + 1 + (places > 0)), dtype=np.uint8)  # the first is the sign's
    out[:, 0][negative] = ord("-")
    column = out.shape[1]
    for k in range(digits):
        if k == places and places:
            column -= 1
            out[:, column] = ord(".")
        column -= 1
        rest = left // 10
        digit = (left - rest * 10 + ord("0")).astype(np.uint8)
        # before the point there is one digit at least, and no leading zero
        out[:, column] = digit if k <= places else np.where(left > 0, digit, 0)
        left = rest
    out[~there] = 0
    return out


def floats(values: NDArray[Any], there: Bits) -> Bytes:
    """float32 or float64 by the fewest decimals that give the very same number back."""
    exact = np.where(there, values, 0).astype(np.float64)
    columns: list[tuple[NDArray[np.int64], Bytes]] = []
    left = np.flatnonzero(there)
    for places in range(_PLACES + 1):
        scaled = np.rint(exact[left] * 10.0**places)
        same = (np.abs(scaled) < 2.0**53) & ((scaled / 10.0**places).astype(values.dtype) == values[left])
        mine = left[same]
        if len(mine):
            whole = scaled[same].astype(np.int64)
            columns.append((mine, decimals(whole, np.ones(len(mine), dtype=np.bool_), places)))
        left = left[~same]
        if not len(left):
            break
    if len(left):  # very small, very large
        columns.append((left, texts([str(value) for value in values[left]])))
    out = np.zeros((len(values), max((part.shape[1] for _, part in columns), default=1)), dtype=np.uint8)
    for rows, part in columns:
        out[rows, : part.shape[1]] = part
    return out


def texts(cells: Iterable[str]) -> Bytes:
    """Strings as they stand."""
    return _bytes(np.array([cell.encode() for cell in cells], dtype=np.bytes_))


def _bytes(cells: NDArray[np.bytes_]) -> Bytes:
    if not len(cells):
        return np.zeros((0, 1), dtype=np.uint8)
    return np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)


def quoted(cell: str) -> str:
    """As CSV wants it; what would break a line is a blank."""
    if not any(mark in cell for mark in ',"\r\n'):
        return cell
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([cell.replace("\r", " ").replace("\n", " ")])
    return text.getvalue()


def lines(columns: Sequence[Bytes], end: str = "\n") -> Bytes:
    """uint8[n, width]: the columns side by side with commas between them."""
    n = len(columns[0])
    out = np.zeros((n, sum(column.shape[1] for column in columns) + len(columns)), dtype=np.uint8)
    at = 0
    for column in columns:
        out[:, at : at + column.shape[1]] = column
        at += column.shape[1]
        out[:, at] = ord(",")
        at += 1
    out[:, -1] = ord(end)
    return out


def joined(block: Bytes) -> bytes:
    """All cells in a row, nothing left out but what is nothing."""
    flat = block.reshape(-1)
    kept: bytes = flat[flat != 0].tobytes()
    return kept


def cells(code: str, values: NDArray[Any], there: Bits, moments: Any) -> Bytes:
    """A quantity's column by its kind. `moments`: int64 us -> text."""
    kind = quantities()[code].kind
    if kind == "register":
        return decimals(values, there)
    if kind == "event":
        return decimals(values, there, 0)
    if kind == "moment":
        return texts([moments(value) if is_there else "" for value, is_there in zip(values.tolist(), there.tolist(), strict=True)])  # fmt: skip
    return floats(values, there)


def present(values: NDArray[Any]) -> Bits:
    """Where a column has a value."""
    return np.asarray(values != MISSING if values.dtype == np.int64 else ~np.isnan(values), dtype=np.bool_)
