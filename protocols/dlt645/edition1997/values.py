"""The data field of a 1997 read answer <-> typed values, driven by items.csv.

As protocols.dlt645.values: numbers exact, missing (FF.., EE..) is None, never 0; any other nibble above 9 is a FrameError.
What is this edition's own: values are unsigned; a delimiter AA may stand between and behind the items of a block (AA is no
BCD, so it cannot be a value); behind everything some vendors add one byte of their own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from protocols.bcd import from_bcd, to_bcd
from protocols.dlt645.edition1997.items import MOST_TARIFFS, item
from protocols.dlt645.fields import SEPARATOR, Typed, Value, decode_field, encode_field, missing, size_of
from protocols.dlt645.items import Field, Item, tariff_quantity
from protocols.errors import FrameError, Misuse
from protocols.quantity import quantities

#: Moments without a year: the pairs of the form, high first, and how they are written.
_YEARLESS: Final = {"MMDDhhmm": "{0}-{1} {2}:{3}", "MMDD": "{0}-{1}"}
_LIMITS: Final = {"MM": (1, 12), "DD": (1, 31), "hh": (0, 23), "mm": (0, 59)}


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` up to `end` of the data behind the DI: a field with its values, a delimiter, or the vendor's tail."""

    start: int
    end: int
    kind: Literal["field", "delimiter", "tail"]
    field: Field | None = None
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """`tail`: the vendor's byte behind the values, or b''. `delimited`: delimiters AA stood between or behind them."""

    values: tuple[Value, ...]
    tail: bytes
    delimited: bool


def decode(di: int, data: bytes) -> Decoded:
    """`data` without the DI. FrameError if the table has no such DI or they do not fit it; its offset counts from `data`."""
    found = list(spans(di, data))
    tail = next((data[span.start :] for span in found if span.kind == "tail"), b"")
    return Decoded(
        tuple(value for span in found for value in span.values),
        tail,
        any(span.kind == "delimiter" for span in found),
    )


def spans(di: int, data: bytes) -> Iterator[Span]:
    """What each byte of the data is. Errors as `decode`."""
    found = item(di)
    if found is None:
        raise FrameError(f"data {di:04X}: not in the table", 0)
    at = 0
    for field in _laid_out(found):
        if (
            at and data[at : at + 1] == b"\xaa" and field.form[0] != "H"
        ):  # binary is the only form that may hold AA
            yield Span(at, at + 1, "delimiter")
            at += 1
        size = width(field.form)
        left = len(data) - at
        if at and left < min(size, 2) and (field.optional or field.repeats):
            break
        if left < size:
            raise FrameError(f"{field.name}: {left} bytes, {size} make {found.name_en}", at)
        yield Span(at, at + size, "field", field, _decode_field(field, data[at : at + size], at))
        at += size
    if len(data) - at > 1:
        raise FrameError(f"data: {len(data) - at} bytes too many for {found.name_en}", at)
    if at < len(data):
        yield Span(at, at + 1, "delimiter" if data[at] == SEPARATOR else "tail")


def _laid_out(found: Item) -> Iterator[Field]:
    """The fields in order, a repeated one as often as there can be tariffs."""
    for field in found.fields:
        if not field.repeats:
            yield field
            continue
        total = found.fields[0].quantity
        for tariff in range(1, MOST_TARIFFS + 1):
            code = tariff_quantity(total, tariff) if total else ""
            yield Field(f"{field.name} {tariff}", field.form, field.unit, False, code, repeats=True)


@lru_cache(maxsize=1024)
def plain_fields(di: int, length: int) -> tuple[Field, ...]:
    """The fields of an answer of `length` bytes, one more for a tail allowed, if all are numbers; else ()."""
    found = item(di)
    laid: list[Field] = []
    left = length
    for field in _laid_out(found) if found else ():
        if field.form[0] not in "0X":
            return ()
        if left < width(field.form):
            if not (laid and (field.optional or field.repeats)):
                return ()
            break
        laid.append(field)
        left -= width(field.form)
    return tuple(laid) if left <= 1 else ()


# --- one field ---


def width(form: str) -> int:
    """Bytes on the wire."""
    return size_of(form.partition("|")[0])


def sent_form(form: str, raw: bytes) -> str:
    """Which of `A|B` a meter sent: A, whose first digit is 0, or B."""
    first, _, second = form.partition("|")
    if second and raw[-1] >> 4:
        return second
    return first.replace("0", "X")


def _decode_field(field: Field, raw: bytes, at: int) -> tuple[Value, ...]:
    try:
        if field.form in _YEARLESS:
            return (Value(field.name, _yearless(field, raw), "", field.quantity),)
        form = sent_form(field.form, raw)
        return tuple(decode_field(Field(field.name, form, field.unit, False, field.quantity), raw))
    except FrameError as error:
        raise error.moved(at) from None


def _yearless(field: Field, raw: bytes) -> str | None:
    """MM-DD hh:mm, or MM-DD; None for the fillers and for a place that was never written, which is all zero."""
    if missing(raw) or not any(raw):
        return None
    names = [field.form[i : i + 2] for i in range(0, len(field.form), 2)]
    pairs = []
    for name, byte in zip(names, raw[::-1], strict=True):
        number = from_bcd(bytes((byte,)), f"{field.name} {name}")
        low, high = _LIMITS[name]
        if not low <= number <= high:
            raise FrameError(f"{field.name}: {name} is {number:02d}, {low}-{high} are allowed", 0)
        pairs.append(f"{number:02d}")
    return _YEARLESS[field.form].format(*pairs)


def latest(moment: str, until: np.datetime64) -> np.datetime64:
    """'MM-DD hh:mm' -> the last such moment that is not after `until` (both naive local). NaT if no year has it.

    The meter sends no year; what it reports has happened, so it is the last one before the reading.
    """
    year = int(str(until.astype("datetime64[Y]")))
    for earlier in range(9):  # 29 February comes back after eight years at the latest
        try:
            found = np.datetime64(dt.datetime.fromisoformat(f"{year - earlier:04d}-{moment}"), "us")
        except ValueError:
            continue
        if found <= until:
            return found
    return np.datetime64("NaT", "us")


def quantity_values(
    di: int, data: bytes, until: np.datetime64 | None = None
) -> dict[str, int | float | np.datetime64]:
    """What of this answer has a code in quantities.csv, missing fields left out. FrameError as in `decode`.

    Registers as int in 1e-4 of the unit, counts as int, the rest as float in the unit. Moments, naive local, only when
    `until` (naive local time of the reading) tells the year.
    """
    found: dict[str, int | float | np.datetime64] = {}
    for value in decode(di, data).values:
        if not value.quantity or value.value is None:
            continue
        kind = quantities()[value.quantity].kind
        if kind == "moment":
            if until is not None:
                found[value.quantity] = latest(str(value.value), until)
            continue
        assert isinstance(value.value, int | Decimal)
        scaled = Decimal(value.value) * (10_000 if kind == "register" else 1)
        found[value.quantity] = int(scaled) if kind in ("register", "event") else float(scaled)
    return found


# --- the reverse ---


def encode(di: int, values: Sequence[Typed], *, tail: bytes = b"") -> bytes:
    """Values in the order `decode` gives them -> data, without delimiters. Misuse if they do not fit."""
    found = item(di)
    if found is None:
        raise Misuse(f"data {di:04X}: not in the table")
    out, queue = bytearray(), list(values)
    for field in _laid_out(found):
        if not queue and out and (field.optional or field.repeats):
            break
        taken = [queue.pop(0) for _ in range(min(len(queue), 2 if "WW" in field.form else 1))]
        if not taken:
            raise Misuse(f"{field.name}: no value given")
        out += _encode_field(field, taken)
    if queue:
        raise Misuse(f"data {di:04X}: {len(queue)} values too many")
    return bytes(out) + tail


def _encode_field(field: Field, values: Sequence[Typed]) -> bytes:
    value = values[0]
    if field.form in _YEARLESS:
        digits = "".join(c for c in value if c.isdecimal()) if isinstance(value, str) else ""
        if value is None:
            return b"\xff" * width(field.form)
        if len(digits) != len(field.form):
            raise Misuse(f"{field.name}: {value!r} does not fit {field.form}")
        return to_bcd(int(digits), width(field.form), field.name)
    first, _, second = field.form.partition("|")
    form = second if second and isinstance(value, Decimal) else first.replace("0", "X")
    raw = encode_field(Field(field.name, form, field.unit), values)
    if (
        second and value is not None and sent_form(field.form, raw) != form
    ):  # it would be read as the other form
        raise Misuse(f"{field.name}: {value} does not fit {field.form}")
    return raw


def by_name(decoded: Decoded) -> Mapping[str, Typed]:
    """name -> value, for those who look for one."""
    return {value.name: value.value for value in decoded.values}
