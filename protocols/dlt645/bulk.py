"""Many answers at once into numpy columns; where shapes differ, the general decoder steps in.

Each column has the dtype of its quantity's kind (protocols.quantity): registers int64 in 1e-4 of the unit, events int64, instants
and demands float64 in the unit, moments datetime64[us]. Times are the meter's own: naive and local.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.bcd import bcd_columns
from protocols.dlt645.blocks import (
    BLOCK_END,
    GOOD,
    HEAD,
    TAIL,
    LoadBlock,
    block_end,
    class_fields,
    class_sizes,
    decode_blocks,
    sections,
)
from protocols.dlt645.fields import SEPARATOR, missing, size_of
from protocols.dlt645.items import Field
from protocols.dlt645.values import plain_fields, quantity_values, stored
from protocols.errors import FrameError
from protocols.quantity import quantities
from protocols.reading import MISSING, SLOT_QUANTITIES, Column, Times, empty_column

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Columns = dict[str, Column]

#: Distinct block shapes tried in bulk for one block size; a fleet has one or two, the rest goes one by one.
_SHAPES: Final = 8
#: so many blocks are decoded sooner one by one: columns cost as much for one block as for twenty (measured)
_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class LoadColumns:
    """n blocks of m answers.

    owner    int64[n]            index of the answer a block came in
    time     datetime64[us][n]   naive local time of the record
    columns  code -> [n]         SLOT_QUANTITIES; a faulty block has only missing values
    errors   answer index -> why none of its blocks is here
    """

    owner: NDArray[np.int64]
    time: Times
    columns: Mapping[str, Column]
    errors: Mapping[int, FrameError]


def load_columns(answers: Sequence[bytes]) -> LoadColumns:
    """Load-record answers without DI -> columns. A corrupt answer goes to `errors`, alone."""
    sizes: dict[int, list[int]] = {}
    for index, answer in enumerate(answers):
        size = answer[2] + HEAD - 3 if answer[:2] == GOOD and len(answer) > HEAD else 0
        sizes.setdefault(size if size >= HEAD + TAIL and len(answer) % size == 0 else 0, []).append(index)
    singly = sizes.pop(0, [])
    for size in [
        size for size, members in sizes.items() if sum(len(answers[i]) for i in members) <= _FEW * size
    ]:
        singly += sizes.pop(size)
    parts = [part for size, members in sizes.items() for part in _alike(answers, size, members, singly)]
    errors: dict[int, FrameError] = {}
    for index in singly:
        try:
            parts.append(
                _known_shape(index, answers[index]) or _one_by_one(index, decode_blocks(answers[index]))
            )
        except FrameError as error:
            errors[index] = error
    return _joined(parts, errors)


_Part = tuple[NDArray[np.int64], Times, Columns]


def _joined(parts: Sequence[_Part], errors: Mapping[int, FrameError]) -> LoadColumns:
    if not parts:
        nothing = {code: empty_column(code, 0) for code in SLOT_QUANTITIES}
        return LoadColumns(np.empty(0, np.int64), np.empty(0, "datetime64[us]"), nothing, errors)
    owner = np.concatenate([part[0] for part in parts])
    order = np.argsort(owner, kind="stable")
    columns = {code: np.concatenate([part[2][code] for part in parts])[order] for code in SLOT_QUANTITIES}
    return LoadColumns(owner[order], np.concatenate([part[1] for part in parts])[order], columns, errors)


def _alike(answers: Sequence[bytes], size: int, members: list[int], singly: list[int]) -> Iterator[_Part]:
    """Answers made of blocks of one size, shape by shape; what does not fit is appended to `singly`."""
    for _ in range(_SHAPES):
        if not members:
            return
        raw = np.frombuffer(b"".join(answers[i] for i in members), np.uint8).reshape(-1, size)
        owner = np.repeat(np.array(members), [len(answers[i]) // size for i in members])
        try:
            shape = sections(bytes(raw[0, HEAD:-TAIL]))
        except FrameError:
            singly.append(members.pop(0))
            continue
        alike = _same_shape(raw, shape)
        odd = np.unique(owner[~alike])
        mine = ~np.isin(owner, odd)
        time, columns, good = _decode(raw[mine], shape)
        bad = np.unique(owner[mine][~good])  # the general decoder knows what is wrong
        singly += bad.tolist()
        keep = ~np.isin(owner[mine], bad)
        yield owner[mine][keep], time[keep], {code: column[keep] for code, column in columns.items()}
        if members[0] in odd:  # its first block gave the shape and does not even fit it: its sum is wrong
            singly.append(members[0])
            odd = odd[odd != members[0]]
        members = odd.tolist()
    singly += members


def _same_shape(raw: Bytes, shape: Mapping[int, int]) -> Mask:
    """bool[n]: start, length, separators, sum and end are those of the first block's shape."""
    fixed = {0: 0xA0, 1: 0xA0, 2: raw.shape[1] - HEAD + 3, raw.shape[1] - 1: BLOCK_END}
    inside = np.zeros(raw.shape[1], np.bool_)
    for number, start in shape.items():
        inside[HEAD + start : HEAD + start + class_sizes()[number]] = True
        fixed[HEAD + start + class_sizes()[number]] = SEPARATOR
    for at in range(HEAD, raw.shape[1] - TAIL):
        if not inside[at]:
            fixed[at] = SEPARATOR
    where = np.array(list(fixed))
    alike = (raw[:, where] == np.array(list(fixed.values()), np.uint8)).all(axis=1)
    for start in shape.values():
        alike &= raw[:, HEAD + start] != SEPARATOR
    return np.asarray(alike & (raw[:, :-TAIL].sum(axis=1, dtype=np.uint8) == raw[:, -TAIL]))


def _decode(raw: Bytes, shape: Mapping[int, int]) -> tuple[Times, Columns, Mask]:
    raw = np.asfortranarray(raw)  # fields are columns: each byte of all blocks lies together
    time, good = _times(raw[:, 3:HEAD])
    columns = {code: empty_column(code, len(raw)) for code in SLOT_QUANTITIES}
    for number, start in shape.items():
        at = HEAD + start
        for field in class_fields()[number]:
            size = size_of(field.form)
            column, fine = number_column(field, raw[:, at : at + size])
            good &= fine
            if field.quantity in columns:
                columns[field.quantity] = column
            at += size
    return time, columns, good


def number_column(field: Field, raw: Bytes) -> tuple[Column, Mask]:
    """uint8[n, size] -> (column[n], bool[n] digits in order). FF.. and EE.. are missing, and in order."""
    gone = np.zeros(len(raw), np.bool_)
    for filler in (0xFF, 0xEE):
        if (raw[:, -1] == filler).any():
            gone |= (raw == filler).all(axis=1)
    if field.signed:
        negative = raw[:, -1] >= 0x80
        raw = raw.copy("K")
        raw[:, -1] &= 0x7F
    numbers, good = bcd_columns(raw)
    if field.signed:
        numbers[negative] *= -1
    decimals = len(field.form.partition(".")[2])
    kind = quantities()[field.quantity].kind if field.quantity else "instant"
    column: Column
    if kind == "register":
        column = np.where(gone, MISSING, numbers * 10 ** (4 - decimals))
    elif kind == "event":
        column = np.where(gone, MISSING, numbers)
    else:
        column = np.where(gone, np.nan, numbers / 10**decimals)
    return column, np.asarray(good | gone)


def moment_column(raw: Bytes) -> tuple[Times, Mask]:
    """uint8[n, 5 or 6] [ss] mm hh DD MM YY -> (naive datetime64[us][n], bool[n] in order). Fillers and 0000 are NaT."""
    gone = (raw == 0xFF).all(axis=1) | (raw == 0xEE).all(axis=1)
    minutes, good = _times(raw[:, -5:])
    if raw.shape[1] == 6:
        second, digits = bcd_columns(raw[:, :1])
        good &= digits & (second < 60)
        minutes = minutes + second.astype("timedelta64[s]")
    never = (raw[:, -3:-1] == 0).all(axis=1) & bcd_columns(raw)[1]
    clock = (bcd_columns(raw[:, -5:-4])[0] < 60) & (bcd_columns(raw[:, -4:-3])[0] < 24)
    column = np.where(good & ~gone, minutes, np.datetime64("NaT"))
    return column, np.asarray(good | gone | (never & clock))


def column_of(field: Field, raw: Bytes) -> tuple[Column, Mask]:
    """uint8[n, size] of one of values.plain_fields -> (its column[n], bool[n] in order)."""
    return number_column(field, raw) if field.form[0] == "X" else moment_column(raw)


def _times(raw: Bytes) -> tuple[Times, Mask]:
    """uint8[n, 5] mm hh DD MM YY -> (naive datetime64[us][n], bool[n] is a date)."""
    minute, hour, day, month, year = (bcd_columns(raw[:, i : i + 1])[0] for i in range(5))
    digits = bcd_columns(raw)[1]
    good = digits & (minute < 60) & (hour < 24) & (day >= 1) & (month >= 1) & (month <= 12)
    months = ((year + 30) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    good &= days.astype("datetime64[M]") == months
    minutes = days.astype("datetime64[m]") + (hour * 60 + minute)
    return minutes.astype("datetime64[us]"), np.asarray(good)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field stands in a block, and how its digits become what its column holds."""

    begin: int
    end: int
    signed: bool
    code: str
    whole: bool  # a register or a count: `scale` multiplies its digits, else it divides them
    scale: int


@lru_cache(maxsize=64)  # shapes that a fleet has: one or two
def _places(shape: tuple[tuple[int, int], ...]) -> tuple[_Place, ...]:
    found = []
    for number, start in shape:
        at = HEAD + start
        for field in class_fields()[number]:
            end = at + size_of(field.form)
            decimals = len(field.form.partition(".")[2])
            code = field.quantity if field.quantity in SLOT_QUANTITIES else ""
            kind = quantities()[code].kind if code else "instant"
            scale = 10 ** (4 - decimals) if kind == "register" else 1 if kind == "event" else 10**decimals
            found.append(_Place(at, end, field.signed, code, kind in ("register", "event"), scale))
            at = end
    return tuple(found)


def _known_shape(index: int, answer: bytes) -> _Part | None:
    """One answer of few blocks in order: the reading of a quarter-hour, of which a collector has hundreds a second. None: the general
    decoder is to look at it, whatever it is that is odd."""
    times: list[dt.datetime] = []
    rows: list[dict[str, float]] = []
    at = 0
    while at < len(answer):
        try:
            end = block_end(answer, at)
            if answer[at : at + 2] != GOOD:
                return None
            minute, hour, day, month, year = (int(answer[k : k + 1].hex()) for k in range(at + 3, at + HEAD))
            times.append(dt.datetime(2000 + year, month, day, hour, minute))
            rows.append(_numbers(answer[at:end]))
        except (ValueError, FrameError):
            return None
        at = end
    columns = {}
    for code in SLOT_QUANTITIES:
        column = columns[code] = empty_column(code, len(rows))
        for k, row in enumerate(rows):
            if code in row:
                column[k] = row[code]
    return np.full(len(rows), index, np.int64), np.array(times, dtype="datetime64[us]"), columns


def _numbers(block: bytes) -> dict[str, float]:
    """ValueError: a digit that is none."""
    found: dict[str, float] = {}
    for place in _places(tuple(sections(block[HEAD:-TAIL]).items())):
        raw = block[place.begin : place.end]
        if raw[-1] in (0xFF, 0xEE) and missing(raw):
            continue
        negative = place.signed and raw[-1] >= 0x80
        if negative:
            raw = raw[:-1] + bytes((raw[-1] & 0x7F,))
        number = int(raw[::-1].hex())
        if place.code:
            number = -number if negative else number
            found[place.code] = number * place.scale if place.whole else number / place.scale
    return found


def _one_by_one(index: int, blocks: Sequence[LoadBlock]) -> _Part:
    blocks = [block for block in blocks if block.time is not None]
    rows = [{v.quantity: v for values in b.classes.values() for v in values if v.quantity} for b in blocks]
    columns = {}
    for code in SLOT_QUANTITIES:
        columns[code] = empty_column(code, len(blocks))
        for row, values in enumerate(rows):
            number = stored(values[code]) if code in values else None
            if number is not None:
                columns[code][row] = number
    time = np.array([block.time for block in blocks], dtype="datetime64[us]")
    return np.full(len(blocks), index, np.int64), time, columns


def answer_columns(
    di: int, answers: Sequence[bytes], codes: Sequence[str]
) -> tuple[Columns, dict[int, FrameError]]:
    """The answers of many meters or days to one kind of read -> (code -> [m], answer index -> error).

    Row i is answer i; a corrupt one is missing in every column and named in the errors.
    """
    columns = {code: empty_column(code, len(answers)) for code in codes}
    errors: dict[int, FrameError] = {}
    for length in {len(answer) for answer in answers}:
        members = [index for index, answer in enumerate(answers) if len(answer) == length]
        fields = plain_fields(di, length)
        raw = np.frombuffer(b"".join(answers[i] for i in members), np.uint8).reshape(len(members), length)
        rows, good = np.array(members), np.full(len(members), bool(fields))
        at = 0
        for field in fields:
            size = size_of(field.form)
            column, fine = column_of(field, raw[:, at : at + size])
            good &= fine
            at += size
            if field.quantity in columns:
                columns[field.quantity][rows] = column
        for index in rows[~good].tolist():
            _single(di, answers[index], index, columns, errors)
    return columns, errors


def _single(di: int, answer: bytes, index: int, columns: Columns, errors: dict[int, FrameError]) -> None:
    """One answer through the general decoder, over whatever the bulk put into its row."""
    found: dict[str, int | float | np.datetime64] = {}
    try:
        found = quantity_values(di, answer)
    except FrameError as error:
        errors[index] = error
    for code, column in columns.items():
        column[index] = found.get(code, empty_column(code, 1)[0])
