"""Registers <-> typed values, one poll at a time; bulk.py does many.

Integers stay exact: number × scale × factor is decimal arithmetic. A float is what its format can hold, 7 significant digits in
f32 and 15 in f64, and is cut to that: 230.2 V sent as f32 is 230.2 here and not 230.19999694824219, and an energy of
12345678 kWh in f32 has no decimals to believe in. Whoever needs finer energies reads the integer registers, where the meter has them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Final

from protocols.errors import FrameError, Misuse
from protocols.modbus.maps import MeterMap, Row, factor_id
from protocols.reading import MISSING

#: A value in its row's unit; None where the meter has none.
Value = Decimal | str | int | None

#: Significant digits that a float carries for certain.
F32_DIGITS: Final = 7
F64_DIGITS: Final = 15
_CONTEXTS: Final = {"f32": Context(prec=F32_DIGITS), "f64": Context(prec=F64_DIGITS)}
_EXACT: Final = Context(prec=60)
#: A scale factor beyond these is none: SunSpec allows -10 to 10.
_POWERS: Final = range(-10, 11)


def arranged(raw: bytes, order: str) -> bytes:
    """Registers as sent -> high byte first. Its own inverse."""
    if order == "ABCD":
        return raw
    if order == "DCBA":
        return raw[::-1]
    pairs = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    return b"".join(pairs[::-1]) if order == "CDAB" else b"".join(pair[::-1] for pair in pairs)


def number(row: Row, raw: bytes) -> Value:
    """A row's registers -> number or text, not scaled. FrameError for a BCD digit above 9; offsets count from the row's first byte."""
    if len(raw) != 2 * row.size:
        raise FrameError(f"{row.id}: {len(raw)} bytes, {2 * row.size} are needed", 0)
    raw = arranged(raw, row.order)
    whole = int.from_bytes(raw, "big")
    if whole in row.missing:
        return None
    if row.type.startswith("ascii"):
        return raw.split(b"\0")[0].decode("ascii", "replace").strip() or None
    if row.type.startswith("bcd"):
        if not raw.hex().isdecimal():
            raise FrameError(f"{row.id}: {raw.hex().upper()} is not BCD", 0)
        return Decimal(raw.hex())
    if row.type == "bits16":
        return whole
    if row.type.startswith("f"):
        found: float = struct.unpack(">f" if row.type == "f32" else ">d", raw)[0]
        return _CONTEXTS[row.type].create_decimal(found) if math.isfinite(found) else None
    return Decimal(int.from_bytes(raw, "big", signed=row.type.startswith("s")))


def scaled(row: Row, found: Value, factors: Mapping[str, Value]) -> Value:
    """number × scale × factors, in the row's unit. None if a factor is missing. FrameError if a power of ten is out of range."""
    if not isinstance(found, Decimal):
        return found
    result = _EXACT.multiply(found, row.scale)
    for term in row.factor:
        factor = factors.get(factor_id(term))
        if not isinstance(factor, Decimal):
            return None
        if term.startswith("10^"):
            if factor not in _POWERS:
                raise FrameError(f"{row.id}: 10 to the {factor} is no scale factor", 0)
            factor = Decimal(1).scaleb(int(factor))
        result = _EXACT.multiply(result, factor)
    return result


def decode(table: MeterMap, function: int, blocks: Mapping[int, bytes]) -> Iterator[tuple[Row, Value]]:
    """First address -> the registers read from there, as they came. Rows that lie whole in a block, with their values.

    FrameError, its offset counted from the block's first byte, for a value outside its format.
    """
    there = {row.id: (row, raw, at) for row, raw, at in _cut(table, function, blocks)}
    factors: dict[str, Value] = {}
    for row, raw, at in there.values():
        if not row.factor:
            factors[row.id] = scaled(row, _moved(row, raw, at), {})
    for row, raw, at in there.values():
        try:
            yield row, scaled(row, number(row, raw), factors) if row.factor else factors[row.id]
        except FrameError as error:
            raise error.moved(at) from None


def _moved(row: Row, raw: bytes, at: int) -> Value:
    try:
        return number(row, raw)
    except FrameError as error:
        raise error.moved(at) from None


def _cut(table: MeterMap, function: int, blocks: Mapping[int, bytes]) -> Iterator[tuple[Row, bytes, int]]:
    for start, raw in blocks.items():
        for row in table.within(function, start, len(raw) // 2):
            at = 2 * (row.address - start)
            yield row, raw[at : at + 2 * row.size], at


def quantity_value(row: Row, value: Value) -> int | float:
    """A scaled value as its column holds it: registers in 1e-4 of the quantity's unit, finer digits cut off; instants as floats.

    MISSING or nan where there is none, and where a register does not fit or counts below zero.
    """
    if not isinstance(value, Decimal):
        return MISSING if row.register else math.nan
    value = value.scaleb(row.exponent + (4 if row.register else 0), _EXACT)
    if not row.register:
        return float(value)
    whole = int(value.to_integral_value(ROUND_FLOOR))
    return whole if 0 <= whole < 1 << 63 else MISSING


def quantity_values(table: MeterMap, function: int, blocks: Mapping[int, bytes]) -> dict[str, int | float]:
    """The same poll by quantity code. Errors as `decode`."""
    found = decode(table, function, blocks)
    return {row.quantity: quantity_value(row, value) for row, value in found if row.quantity}


def plain(value: Value) -> int | float | str | None:
    """A value that JSON knows."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def gained(before: int, after: int, turns_at: int) -> int:
    """What a counter that begins again at `turns_at` gained between two readings, all in one unit. Misuse if it cannot be so."""
    if not (0 <= before < turns_at and 0 <= after < turns_at):
        raise Misuse(f"counter: {before} or {after} is not below {turns_at}")
    return (after - before) % turns_at


_PACKED: Final = {"f32": ">f", "f64": ">d"}


def encode(row: Row, value: Decimal | str | int) -> bytes:
    """The registers of a number (not scaled) or text, for a simulated meter. Misuse if it does not fit."""
    size = 2 * row.size
    try:
        if isinstance(value, str):
            raw = value.encode("ascii").ljust(size, b"\0")
        elif row.type in _PACKED:
            raw = struct.pack(_PACKED[row.type], float(value))
        elif row.type.startswith("bcd"):
            raw = bytes.fromhex(f"{int(value):0{2 * size}d}")
        else:
            raw = int(value).to_bytes(size, "big", signed=row.type.startswith("s"))
    except (OverflowError, ValueError):
        raw = b""
    if len(raw) != size:
        raise Misuse(f"{row.id}: {value!r} does not fit {row.type}")
    return arranged(raw, row.order)
