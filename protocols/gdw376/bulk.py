"""Many units at once into numpy columns and Reads; where shapes differ, the general decoder steps in.

The columns are those of protocols.quantity: registers int64 in 1e-4 kWh, events int64, both MISSING where not delivered; instants
and demands float64 in the quantity's unit, NaN; moments datetime64[us] UTC, NaT. Fillers and impossible digits are missing, as
they are for values.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.bcd import bcd_columns
from protocols.errors import FrameError, Misuse
from protocols.gdw376.items import Field, Group, Layout, formats, item, quantity_code
from protocols.gdw376.values import DENSITY_MINUTES, Value, decode, number_of, taken_at
from protocols.localtime import from_local
from protocols.quantity import quantities
from protocols.reading import MISSING, SLOT_QUANTITIES, Column, Reads, Times, empty_column

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Columns = dict[str, Column]
#: (field, offset, size)
_Span = tuple[Field, int, int]

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
    columns  code -> [n]         SLOT_QUANTITIES, and what else the curves carry
    errors   curve index -> why it is not here
    """

    key: NDArray[np.int64]
    time: Times
    columns: Mapping[str, Column]
    errors: Mapping[int, FrameError]


@lru_cache(maxsize=512)
def _field(function: int) -> Field:
    """The one field that repeats in a curve. Misuse if the function is none of a quantity."""
    found = item(0x0D, function)
    layout = found.up[0] if found and found.tag == "Td_c" and found.up else ()
    field = layout[3] if len(layout) == 4 else None
    if not isinstance(field, Field) or field.quantity not in quantities():
        raise Misuse(f"AFN 0D F{function}: no curve of a quantity")
    return field


def curve_columns(curves: Sequence[Curve]) -> CurveColumns:
    """Curve units -> columns. A corrupt one goes to `errors`, alone. Misuse for a function without a quantity."""
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
    codes = dict.fromkeys([*SLOT_QUANTITIES, *(field.quantity for field, _, _ in blocks)])
    columns = {code: empty_column(code, total) for code in codes}
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
    match quantities()[field.quantity].kind:
        case "register":
            column = np.where(good, numbers * 10**4 // 10**form.decimals, MISSING)
        case "event":
            column = np.where(good, numbers, MISSING)
        case _:  # a power factor comes in percent; its quantity is a ratio
            column = np.where(good, numbers / 10**form.decimals / (100 if field.unit == "%" else 1), np.nan)
    return column, good


def moment_column(raw: Bytes, taken: Times) -> tuple[Times, Mask]:
    """uint8[n, 4] mm hh DD MM (A.17) -> (naive local datetime64[us][n], bool[n] found), NaT where not.

    The year is that of the last such moment before `taken`, when the terminal read the meter (datetime64[us][n], NaT unknown).
    """
    minute, hour, day, month = (bcd_columns(raw[:, i : i + 1])[0] for i in range(4))
    open_ = bcd_columns(raw)[1] & (minute < 60) & (hour < 24) & ~np.isnat(taken)
    latest = taken + np.timedelta64(1, "D")  # the clocks of meter and terminal differ
    year = np.where(np.isnat(taken), 0, taken.astype("datetime64[Y]").astype(np.int64) - 30)
    column = np.full(len(raw), np.datetime64("NaT"), "datetime64[us]")
    for back in range(9):  # a 29th of February may be eight years back
        days, good = _days(day, month, year - back)
        when = (days.astype("datetime64[m]") + (hour * 60 + minute)).astype("datetime64[us]")
        hit = open_ & good & (when <= latest)
        column[hit] = when[hit]
        open_ &= ~hit
        if not open_.any():
            break
    return column, ~np.isnat(column)


def _utc(local: Times, zone: ZoneInfo | None) -> Times:
    """Naive local times -> UTC; NaT stays, and without a zone all is NaT."""
    column = np.full(len(local), np.datetime64("NaT"), "datetime64[us]")
    there = ~np.isnat(local)
    if zone is not None and there.any():
        column[there] = from_local(local[there], zone)
    return column


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
    afn: int, function: int, answers: Sequence[bytes], codes: Sequence[str], zone: ZoneInfo | None = None
) -> tuple[Columns, dict[int, FrameError]]:
    """The same unit of many meters or days -> (code -> [m], answer index -> error).

    Row i is answer i; one that does not fit is missing in every column and named in the errors. Moments need the `zone`.
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
            _fill(columns, spans, raw[alike], members[alike], zone)
            members, raw = members[~alike], raw[~alike]
        for index in members.tolist():
            _singly(afn, function, answers[index], index, columns, errors, zone)
    return columns, errors


def _fill(
    columns: Columns, spans: Sequence[_Span], raw: Bytes, rows: NDArray[np.int64], zone: ZoneInfo | None
) -> None:
    """Answers of one shape into their rows."""
    taken = taken_column(spans, raw)
    for field, at, size in spans:
        if field.quantity not in columns:
            continue
        piece = raw[:, at : at + size]
        if quantities()[field.quantity].kind == "moment":
            columns[field.quantity][rows] = _utc(_local(field, piece, taken), zone)
        else:
            columns[field.quantity][rows] = number_column(field, piece)[0]


def _local(field: Field, raw: Bytes, taken: Times) -> Times:
    if field.form == "A.17":
        return moment_column(raw, taken)[0]
    times, good = _times(raw)
    return np.where(good, times, np.datetime64("NaT"))


def taken_column(spans: Sequence[_Span], raw: Bytes) -> Times:
    """When the terminal read the meters: naive local datetime64[us][n] of the first A.15 of the unit, NaT without one."""
    for field, at, size in spans:
        if field.form == "A.15":
            times, good = _times(raw[:, at : at + size])
            return np.where(good, times, np.datetime64("NaT"))
    return np.full(len(raw), np.datetime64("NaT"), "datetime64[us]")


def _spans(values: Sequence[Value]) -> list[_Span]:
    """(field, offset, size) of a decoded unit's fields. No unit with quantities has fields of variable size."""
    found, at = [], 0
    for value in values:
        size = value.field.size or 0
        found.append((value.field, at, size))
        at += size
    return found


def _singly(
    afn: int,
    function: int,
    answer: bytes,
    index: int,
    columns: Columns,
    errors: dict[int, FrameError],
    zone: ZoneInfo | None,
) -> None:
    try:
        values = decode(afn, function, answer)
    except FrameError as error:
        errors[index] = error
        return
    taken = taken_at(values)
    for value in values:
        number = number_of(value, taken, zone)
        if number is not None and value.quantity in columns:
            columns[value.quantity][index] = number


# --- Reads ---


def codes_of(afn: int, function: int) -> tuple[str, ...]:
    """The quantities that a unit of this function may carry, tariffs 1-4 and phases spelled out."""
    found = item(afn, function)
    codes: dict[str, None] = {}
    for layout in (found.up if found else None) or ():
        for code in _templates(layout):
            marks = "abc" if code.endswith(("{p}", "_{n}")) else "1234"
            names = [quantity_code(code, mark) for mark in marks] if "{" in code else [code]
            codes |= dict.fromkeys(name for name in names if name)
    return tuple(codes)


def _templates(layout: Layout) -> Iterator[str]:
    for node in layout:
        if isinstance(node, Group):
            yield from _templates(node.nodes)
        elif node.quantity:
            yield node.quantity


def curve_reads(curves: Sequence[Curve], zone: ZoneInfo) -> tuple[Reads, Mapping[int, FrameError]]:
    """AFN 0D curves -> (Reads, curve index -> error): one row for each point of a meter, whatever its density."""
    found = curve_columns(curves)
    return _reads(found.key, _utc(found.time, zone), found.columns), found.errors


def freeze_reads(
    function: int, meters: Sequence[int], answers: Sequence[bytes], zone: ZoneInfo
) -> tuple[Reads, Mapping[int, FrameError]]:
    """AFN 0D day or month freezes, answer i of meter i -> (Reads, answer index -> error).

    A row stands at the midnight that closes its day or month: Td_d = D is the register at D+1 00:00.
    """
    found = item(0x0D, function)
    if found is None or found.tag not in ("Td_d", "Td_m"):
        raise Misuse(f"AFN 0D F{function}: no freeze")
    columns, errors = answer_columns(0x0D, function, answers, codes_of(0x0D, function), zone)
    times, good = freeze_times(answers, month=found.tag == "Td_m")
    for index in np.flatnonzero(~good).tolist():
        errors.setdefault(index, FrameError("Td: not a date", offset=0))
    return _reads(
        np.array(meters, np.int64), _utc(np.where(good, times, np.datetime64("NaT")), zone), columns
    ), errors


def current_reads(
    function: int, meters: Sequence[int], answers: Sequence[bytes], zone: ZoneInfo
) -> tuple[Reads, Mapping[int, FrameError]]:
    """AFN 0C present data, answer i of meter i -> (Reads, answer index -> error).

    A row stands at the time at which the terminal read the meter, the unit's own: it may lie hours before the answer. Misuse for a
    function that does not tell it.
    """
    found = item(0x0C, function)
    first = found.up[0][0] if found and found.up and found.up[0] else None
    if not isinstance(first, Field) or first.form != "A.15":
        raise Misuse(f"AFN 0C F{function}: does not say when it was read")
    columns, errors = answer_columns(0x0C, function, answers, codes_of(0x0C, function), zone)
    raw = np.frombuffer(b"".join(answer[:5].ljust(5, b"\xee") for answer in answers), np.uint8).reshape(-1, 5)
    times, good = _times(raw)
    for index in np.flatnonzero(~good).tolist():
        errors.setdefault(index, FrameError("terminal read time: not a time", offset=0))
    return _reads(
        np.array(meters, np.int64), _utc(np.where(good, times, np.datetime64("NaT")), zone), columns
    ), errors


def _reads(meter: NDArray[np.int64], time: Times, columns: Mapping[str, Column]) -> Reads:
    """Rows with a time and at least one value; columns with at least one."""
    every = Reads(meter, time, columns)
    valid = {code: every.valid(code) for code in columns}
    some = np.logical_or.reduce([np.zeros(len(meter), np.bool_), *valid.values()]) & ~np.isnat(time)
    kept = every.take(some)
    return Reads(
        kept.meter,
        kept.time,
        {code: column for code, column in kept.columns.items() if valid[code][some].any()},
    )
