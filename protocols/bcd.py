"""Packed decimals, low byte first, as DL/T 645 and Q/GDW 376.1 send them: one at a time and in columns."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.errors import FrameError, Misuse

#: byte -> 0..99, or -1 where a nibble is above 9.
_PAIRS: Final = np.array(
    [h * 10 + low if h < 10 and low < 10 else -1 for h in range(16) for low in range(16)],
    np.int8,
)


def from_bcd(data: bytes, field: str = "value") -> int:
    """Bytes, low byte first -> number. FrameError if a nibble is above 9."""
    digits = data[::-1].hex()
    if not digits.isdecimal():
        raise FrameError(f"{field}: {digits.upper() or 'nothing'} is not BCD")
    return int(digits)


def to_bcd(number: int, size: int, field: str = "value") -> bytes:
    """Number -> `size` bytes, low byte first. Misuse if it does not fit."""
    if not 0 <= number < 100**size:
        raise Misuse(f"{field}: {number} does not fit {2 * size} digits")
    return bytes.fromhex(f"{number:0{2 * size}d}")[::-1]


def bcd_columns(raw: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """uint8[..., k], low byte first -> (int64[...], bool[...] all digits were decimal)."""
    numbers = np.zeros(raw.shape[:-1], np.int64)
    good = np.ones(raw.shape[:-1], np.bool_)
    for at in range(raw.shape[-1] - 1, -1, -1):  # byte by byte: each column of bytes is one pass over memory
        pair = _PAIRS[raw[..., at]]
        good &= pair >= 0
        numbers = numbers * 100 + pair
    return numbers, good
