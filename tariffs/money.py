"""Money is an integer. Energy [1e-4 kWh] x price [1e-4 yuan/kWh] = amount [1e-8 yuan], exact; rounding to
fen comes last.

No float ever enters: every function checks the dtype at its door, because numpy would convert silently.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING

Ints = NDArray[np.int64]

#: 1 fen = 0.01 yuan in units of 1e-8 yuan
FEN: Final = 1_000_000
#: 1 yuan/kWh in units of 1e-4 yuan/kWh
PRICE: Final = 10_000
_LIMIT: Final = 2**63 - 1


def exact(values: Any, name: str) -> Ints:
    """`values` as int64. TypeError for floats, booleans and anything else that is not a whole number by
    type.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or (array.dtype.kind == "u" and array.dtype.itemsize == 8):
        raise TypeError(f"{name} must be integers, not {array.dtype}: money is never a float")
    return array.astype(np.int64, copy=False)


def amount(energy: Any, price: Any) -> Ints:
    """energy [1e-4 kWh] x price [1e-4 yuan/kWh] -> int64 [1e-8 yuan], broadcast; MISSING energy gives
    MISSING.

    OverflowError instead of a wrapped product (92 billion yuan).
    """
    kwh, yuan = exact(energy, "energy"), exact(price, "price")
    present = kwh != MISSING
    kwh = np.where(present, kwh, 0)
    if kwh.size and yuan.size and int(np.abs(kwh).max()) * int(np.abs(yuan).max()) > _LIMIT:
        raise OverflowError("energy x price exceeds 64 bits")
    return np.asarray(np.where(present, kwh * yuan, MISSING), dtype=np.int64)


def to_fen(amounts: Any) -> Ints:
    """[1e-8 yuan] -> int64 [fen], half a fen away from zero (四舍五入); MISSING stays MISSING.

    Away from zero for both signs, so that a correction of -x takes back exactly what x charged.
    """
    value = exact(amounts, "amount")
    present = value != MISSING
    size = np.abs(np.where(present, value, 0))
    fen, rest = np.divmod(size, FEN)
    fen = np.where(rest >= FEN // 2, fen + 1, fen)
    return np.asarray(np.where(present, np.where(value < 0, -fen, fen), MISSING), dtype=np.int64)


def from_fen(fen: Any) -> Ints:
    """[fen] -> int64 [1e-8 yuan]; MISSING stays MISSING."""
    value = exact(fen, "fen")
    present = value != MISSING
    value = np.where(present, value, 0)
    if value.size and int(np.abs(value).max()) * FEN > _LIMIT:
        raise OverflowError("fen exceed 64 bits in 1e-8 yuan")
    return np.asarray(np.where(present, value * FEN, MISSING), dtype=np.int64)


def total(amounts: Any, axis: int | tuple[int, ...]) -> Ints:
    """Sum along `axis`, exact; MISSING as soon as one part is: a sum with a hole is not a sum."""
    value = exact(amounts, "amount")
    present = value != MISSING
    whole = present.all(axis=axis)
    return np.asarray(np.where(whole, np.where(present, value, 0).sum(axis=axis), MISSING), dtype=np.int64)


def share(whole: Any, part: Any, of: Any) -> Ints:
    """whole x part / of as int64, broadcast, cut off towards minus infinity; exact whatever the sizes.

    share(w, b, n) - share(w, a, n) summed over touching pieces a..b gives w: what is shared is neither lost nor
    made more.
    """
    whole, part, of = exact(whole, "whole"), exact(part, "part"), exact(of, "of")
    if not (whole.size and part.size):
        return np.zeros(np.broadcast_shapes(whole.shape, part.shape, of.shape), dtype=np.int64)
    if int(np.abs(whole).max()) * int(np.abs(part).max()) <= _LIMIT:
        return np.asarray(whole * part // of, dtype=np.int64)
    long = whole.astype(object) * part.astype(object) // of.astype(object)
    return np.asarray(long).astype(np.int64)


def price_of(text: str) -> int:
    """'0.5680' yuan/kWh -> 5680. ValueError for anything but a plain decimal with at most four places."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if (
        not value.is_finite()
        or "_" in text
        or "e" in text.lower()
        or text != text.strip()
        or not text.isascii()
    ):
        raise ValueError(f"{text!r} is not a plain decimal number")
    scaled = value * PRICE
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} has more than four decimal places")
    return int(scaled)


def text_of(units: int) -> str:
    """12344400 [1e-4] -> '1234.4400': kWh, kW, kVA and prices for people and files; exact."""
    sign, size = ("-", -units) if units < 0 else ("", units)
    return f"{sign}{size // PRICE}.{size % PRICE:04d}"


def yuan_text(fen: int) -> str:
    """12345 -> '123.45', for people and files; exact."""
    sign, size = ("-", -fen) if fen < 0 else ("", fen)
    return f"{sign}{size // 100}.{size % 100:02d}"
