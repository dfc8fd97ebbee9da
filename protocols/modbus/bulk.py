"""Many polls of the same block into numpy columns: many meters of a model, or one meter again and again.

The numbers are those of values.py, row by row; where arithmetic in 64 bits is not sure to be exact, values.py itself steps in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.errors import FrameError
from protocols.modbus import values
from protocols.modbus.maps import MeterMap, Row
from protocols.reading import MISSING, Column, Reads, Times

#: Numpy's names of the types that it can take as they are.
_TYPES: Final = {
    "u16": ">u2",
    "s16": ">i2",
    "u32": ">u4",
    "s32": ">i4",
    "u64": ">u8",
    "s64": ">i8",
    "bits16": ">u2",
}
#: Below this a product with 10**4 stays within int64.
_SAFE: Final = 1 << 49


def columns(
    table: MeterMap, function: int, address: int, polls: Sequence[bytes]
) -> tuple[dict[str, Column], dict[int, FrameError]]:
    """n polls of one block, each the registers from `address` as they came -> (quantity -> column[n], poll -> why it is missing).

    Registers int64 in 1e-4 of the unit, MISSING; others float64 in the unit, nan. A poll of another length than the first
    or with a value outside its format is missing in every column and named in the errors.
    """
    size = len(polls[0]) if polls else 0
    rows = [row for row in table.within(function, address, size // 2) if row.quantity]
    found: dict[str, Column] = {
        row.quantity: np.full(len(polls), MISSING, np.int64) if row.register else np.full(len(polls), np.nan)
        for row in rows
    }
    good = np.array([index for index, poll in enumerate(polls) if len(poll) == size], np.intp)
    errors = {
        index: FrameError(f"registers: {len(poll)} bytes, {size} are needed", min(len(poll), size))
        for index, poll in enumerate(polls)
        if len(poll) != size
    }
    if not rows or not len(good):
        return found, errors
    raw = np.frombuffer(b"".join(polls[i] for i in good), np.uint8).reshape(len(good), size)
    singly = np.zeros(len(good), np.bool_)
    for row in rows:
        column = _column(row, raw, address)
        if column is None:
            singly[:] = True
        else:
            found[row.quantity][good] = column[0]
            singly |= column[1]
    for index in good[singly].tolist():
        _single(table, function, address, polls[index], index, found, errors)
    return found, errors


def reads(meter: NDArray[np.int64], time: Times, found: Mapping[str, Column]) -> Reads:
    """The columns of n polls as Reads: the caller knows whose and when."""
    return Reads(meter, time, dict(found))


def _single(
    table: MeterMap, function: int, address: int, poll: bytes, index: int,
    found: Mapping[str, Column], errors: dict[int, FrameError],
) -> None:  # fmt: skip
    told: dict[str, int | float] = {}
    try:
        told = values.quantity_values(table, function, {address: poll})
    except FrameError as error:
        errors[index] = error
    for code, column in found.items():
        column[index] = told.get(code, MISSING if column.dtype == np.int64 else np.nan)


def _column(row: Row, raw: NDArray[np.uint8], address: int) -> tuple[Column, NDArray[np.bool_]] | None:
    """The row's column, and which polls need values.py; None if all do."""
    numerator, denominator = (row.scale.scaleb(row.exponent + 4 * row.register)).as_integer_ratio()
    if row.factor or row.type not in _TYPES:
        return _floats(row, raw, address) if row.type == "f32" and not row.factor else None
    at = 2 * (row.address - address)
    words = _arranged(raw[:, at : at + 2 * row.size], row.order)
    numbers = words.view(_TYPES[row.type])[:, 0]
    plain = words.view(_TYPES[row.type].replace("i", "u"))[:, 0].astype(f"u{2 * row.size}")
    gone = np.isin(plain, np.array(row.missing, plain.dtype)) if row.missing else np.zeros(len(raw), np.bool_)
    wide = numbers.astype(np.float64)
    unsure = (np.abs(wide) * max(numerator, 1) >= _SAFE) & ~gone
    whole = np.where(gone | unsure, 0, numbers).astype(np.int64) * numerator
    if not row.register:
        return np.where(gone, np.nan, whole / denominator), unsure
    cut = whole // denominator
    return np.where(gone | (cut < 0), MISSING, cut), unsure


def _floats(row: Row, raw: NDArray[np.uint8], address: int) -> tuple[Column, NDArray[np.bool_]]:
    """f32 cut to seven digits. The scale is a power of ten, or values.py is asked."""
    at = 2 * (row.address - address)
    with np.errstate(invalid="ignore"):  # a signalling nan is one like another
        found = _arranged(raw[:, at : at + 4], row.order).view(">f4")[:, 0].astype(np.float64)
    size = np.abs(found)
    sound = np.isfinite(found) & (size < 1e15) & ((size >= 1e-6) | (size == 0))
    unsure = np.isfinite(found) & ~sound
    power = row.scale.scaleb(row.exponent + 4 * row.register)
    if power.as_tuple().digits != (1,):
        return found, np.ones(len(raw), np.bool_)
    places = 6 - np.floor(np.log10(np.where(sound & (size > 0), size, 1.0))).astype(np.int64)
    grown = np.where(sound, found, 0.0) * _tens(places)
    digits = np.rint(grown)
    # Just between two decimals, and where rounding made it eight digits, only decimal arithmetic knows.
    unsure |= (np.abs(np.abs(grown - np.floor(grown)) - 0.5) < 1e-6) | (np.abs(digits) >= 1e7)
    shift = int(power.as_tuple().exponent) - places
    if not row.register:
        up, down = _tens(np.maximum(shift, 0)), _tens(np.maximum(-shift, 0))
        return np.where(sound, digits * up / down, np.nan), unsure
    whole = digits.astype(np.int64)
    grows = np.clip(shift, 0, 11)
    unsure |= shift > 11
    counted = np.where(shift >= 0, whole * 10**grows, whole // 10 ** np.clip(-shift, 0, 18))
    return np.where(sound & (whole >= 0), counted, MISSING), unsure


def _tens(places: NDArray[np.int64]) -> NDArray[Any]:
    """Exact up to 10**22, which is all that seven digits of numbers from 1e-6 to 1e15 need."""
    powers = np.array([float(f"1e{n}") for n in range(-9, 23)])
    return powers[np.clip(places, -9, 22) + 9]


def _arranged(raw: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    """uint8[n, 2 registers] as sent -> high byte first, in one piece of memory."""
    pairs = raw.reshape(len(raw), -1, 2)
    if order in ("CDAB", "DCBA"):
        pairs = pairs[:, ::-1]
    if order in ("BADC", "DCBA"):
        pairs = pairs[:, :, ::-1]
    return np.ascontiguousarray(pairs).reshape(len(raw), -1)
