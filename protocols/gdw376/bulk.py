"""Many units at once into numpy columns; where shapes differ, the general decoder steps in.

Registers: int64 in 1e-4 kWh, MISSING where not delivered. Instants: float64 in the quantity's unit, NaN. Fillers and impossible
digits are missing, as they are for values.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.bcd import bcd_columns
from protocols.errors import FrameError, Misuse
from protocols.gdw376.items import Field, formats, item
from protocols.gdw376.values import DENSITY_MINUTES, Value, decode, number_of
from protocols.quantity import quantities
from protocols.reading import MISSING, SLOT_QUANTITIES, Column, Times, empty_column

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Columns = dict[str, Column]

#: Td_c in front of a curve: mm hh DD MM YY, density m, points n.
_HEAD: Final = 7
#: Distinct shapes tried in bulk for one length of answer; terminals of one make have one, the rest goes one by one.
_SHAPES: Final = 8
_MINUTES: Final = np.array([DENSITY_MINUTES.get(m, 0) for m in range(256)], np.int64)


@dataclass(frozen=True, slots=True)
class Curve:
    """One unit of AFN 0D F81-F104. key: the caller's name for the meter. data: from Td_c on, without the identifier."""

    key: int
    function: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CurveColumns:
    """n points of m curves; the curves of one meter, start, density and count share their rows.

    key      int64[n]            as given
    time     datetime64[us][n]   naive local time of the point: start + i * density
    columns  code -> [n]         SLOT_QUANTITIES
    errors   curve index -> why it is not here
    """

    key: NDArray[np.int64]
    time: Times
    columns: Mapping[str, Column]
    errors: Mapping[int, FrameError]


@lru_cache(maxsize=512)
def _field(function: int) -> Field:
    """The one field that repeats in a curve. Misuse if the function is none that a slot row keeps."""
    found = item(0x0D, function)
    layout = found.up[0] if found and found.tag == "Td_c" and found.up else ()
    field = layout[3] if len(layout) == 4 else None
    if not isinstance(field, Field) or field.quantity not in SLOT_QUANTITIES:
        raise Misuse(f"AFN 0D F{function}: no curve of a slot quantity")
    return field


def curve_columns(curves: Sequence[Curve]) -> CurveColumns:
    """Curve units -> columns. A corrupt one goes to `errors`, alone. Misuse for a function without a slot quantity."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, curve in enumerate(curves):
        groups.setdefault((curve.function, len(curve.data)), []).append(index)
    heads = np.zeros((len(curves), 4), np.int64)  # key, start, minutes, points
    heads[:, 0] = [curve.key for curve in curves]
    blocks: list[tuple[Field, NDArray[np.int64], Bytes]] = []
    errors: dict[int, FrameError] = {}
    for (function, length), members in groups.items():
        field = _field(function)
        size = formats()[field.form].bytes
        rows = np.array(members)
        raw = np.frombuffer(b"".join(curves[i].data for i in members), np.uint8).reshape(len(members), length)
        if length < _HEAD:
            good = np.zeros(len(rows), np.bool_)
        else:
            start, good = _times(raw[:, :5])
            points = raw[:, 6].astype(np.int64)
            minutes = _MINUTES[raw[:, 5]]
            good &= (points * size + _HEAD == length) & ((minutes > 0) | (points < 2))
            heads[rows, 1:] = np.stack([start.astype(np.int64), minutes, points], axis=1)
            blocks.append((field, rows[good], raw[good, _HEAD:]))
        for index in rows[~good].tolist():
            errors[index] = _complaint(curves[index])
    return _gather(heads, blocks, errors)


def _complaint(curve: Curve) -> FrameError:
    try:
        decode(0x0D, curve.function, curve.data)
    except FrameError as error:
        return error
    return FrameError(
        f"F{curve.function}: start, density or count of the curve at offset 0 is outside its form"
    )


def _gather(
    heads: NDArray[np.int64],
    blocks: Sequence[tuple[Field, NDArray[np.int64], Bytes]],
    errors: Mapping[int, FrameError],
) -> CurveColumns:
    """Rows for each distinct head, in the order the heads first came; then column by column."""
    good = np.setdiff1d(np.arange(len(heads)), np.array(list(errors), np.int64))
    distinct, first, inverse = np.unique(heads[good], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    distinct = distinct[order]
    begin = np.concatenate([[0], np.cumsum(distinct[:, 3])])
    row_of = np.full(len(heads), -1, np.int64)
    row_of[good] = begin[place[inverse.reshape(-1)]]
    total = int(begin[-1])
    step = np.arange(total) - np.repeat(begin[:-1], distinct[:, 3])
    start, minutes, key = (np.repeat(distinct[:, k], distinct[:, 3]) for k in (1, 2, 0))
    time = (start + step * minutes * 60_000_000).astype("datetime64[us]")
    columns = {code: empty_column(code, total) for code in SLOT_QUANTITIES}
    for field, rows, raw in blocks:
        size = formats()[field.form].bytes
        values, there = number_column(field, raw.reshape(len(rows), raw.shape[1] // size, size))
        at = row_of[rows][:, None] + np.arange(values.shape[1])
        columns[field.quantity][at[there]] = values[there]
    return CurveColumns(key, time, columns, errors)


def number_column(field: Field, raw: Bytes) -> tuple[Column, Mask]:
    """uint8[..., size] of a BCD form -> (column[...], bool[...] delivered)."""
    form = formats()[field.form]
    negative = np.zeros(raw.shape[:-1], np.bool_)
    if form.signed:
        negative = raw[..., -1] >= 0x80
        raw = raw.copy()
        raw[..., -1] &= 0x7F
    numbers, good = bcd_columns(raw)
    numbers = np.where(negative, -numbers, numbers)
    column: Column
    if quantities()[field.quantity].kind == "register":
        column = np.where(good, numbers * 10 ** (4 - form.decimals), MISSING)
    else:
        column = np.where(good, numbers / 10**form.decimals, np.nan)
    return column, good


def _times(raw: Bytes) -> tuple[Times, Mask]:
    """uint8[n, 5] mm hh DD MM YY -> (naive datetime64[us][n], bool[n] is a date)."""
    minute, hour, day, month, year = (bcd_columns(raw[:, i : i + 1])[0] for i in range(5))
    days, good = _days(day, month, year)
    good &= bcd_columns(raw)[1] & (minute < 60) & (hour < 24)
    minutes = days.astype("datetime64[m]") + (hour * 60 + minute)
    return minutes.astype("datetime64[us]"), good


def _days(day: NDArray[np.int64], month: NDArray[np.int64], year: NDArray[np.int64]) -> tuple[Times, Mask]:
    months = ((year + 30) * 12 + month - 1).astype("datetime64[M]")
    days: Times = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    good = (day >= 1) & (month >= 1) & (month <= 12) & (days.astype("datetime64[M]") == months)
    return days, np.asarray(good)


def freeze_times(answers: Sequence[bytes], *, month: bool = False) -> tuple[Times, Mask]:
    """Day or month freeze units -> (naive local datetime64[us][n], bool[n] is a date).

    The midnight at which the freeze was taken: Td_d = D is the register at D+1 00:00, Td_m the first of the next month.
    """
    size = 2 if month else 3
    raw = np.frombuffer(b"".join(a[:size].ljust(size, b"\xee") for a in answers), np.uint8).reshape(-1, size)
    parts = [bcd_columns(raw[:, i : i + 1])[0] for i in range(size)]
    day = np.ones(len(raw), np.int64) if month else parts[0]
    days, good = _days(day, parts[-2], parts[-1])
    good &= bcd_columns(raw)[1]
    after = days.astype("datetime64[M]") + 1 if month else days + 1
    return after.astype("datetime64[D]").astype("datetime64[us]"), good


def answer_columns(
    afn: int, function: int, answers: Sequence[bytes], codes: Sequence[str]
) -> tuple[Columns, dict[int, FrameError]]:
    """The same unit of many meters or days -> (code -> [m], answer index -> error).

    Row i is answer i; one that does not fit is missing in every column and named in the errors.
    """
    columns = {code: empty_column(code, len(answers)) for code in codes}
    errors: dict[int, FrameError] = {}
    for length in {len(answer) for answer in answers}:
        members = np.array([index for index, answer in enumerate(answers) if len(answer) == length])
        raw = np.frombuffer(b"".join(answers[i] for i in members), np.uint8).reshape(len(members), length)
        for _ in range(_SHAPES):
            if not len(members):
                break
            try:
                spans = _spans(decode(afn, function, bytes(raw[0])))
            except FrameError as error:
                errors[int(members[0])] = error
                members, raw = members[1:], raw[1:]
                continue
            alike = np.ones(len(members), np.bool_)
            for field, at, size in spans:
                if field.counts:  # the same counts, so the same fields
                    alike &= (raw[:, at : at + size] == raw[0, at : at + size]).all(axis=1)
            for field, at, size in spans:
                if field.quantity in columns:
                    column, _ = number_column(field, raw[alike, at : at + size])
                    columns[field.quantity][members[alike]] = column
            members, raw = members[~alike], raw[~alike]
        for index in members.tolist():
            _singly(afn, function, answers[index], index, columns, errors)
    return columns, errors


def _spans(values: Sequence[Value]) -> list[tuple[Field, int, int]]:
    """(field, offset, size) of a decoded unit's fields. No unit with quantities has fields of variable size."""
    found, at = [], 0
    for value in values:
        size = value.field.size or 0
        found.append((value.field, at, size))
        at += size
    return found


def _singly(
    afn: int, function: int, answer: bytes, index: int, columns: Columns, errors: dict[int, FrameError]
) -> None:
    try:
        values = decode(afn, function, answer)
    except FrameError as error:
        errors[index] = error
        return
    for value in values:
        number = number_of(value)
        if number is not None and value.quantity in columns:
            columns[value.quantity][index] = number
