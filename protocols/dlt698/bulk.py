"""Frozen records into numpy columns: many GET-Record answers at once; where shapes differ, the general decoder steps in.

Answers of one kind of meter to one kind of request nearly always have the same bytes in the same places: then they are a matrix. That is
checked byte for byte; an answer that does not fit goes through the general decoder, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import items, values
from protocols.dlt698.apdu import PackedRows, RecordResult
from protocols.dlt698.values import Csd, Data
from protocols.dlt698.wire import OCTETS, Cursor, decode_length, encode_length
from protocols.errors import FrameError, Misuse, ProtocolError, Refused
from protocols.localtime import from_local
from protocols.quantity import quantities
from protocols.reading import Column, Reads, Times, empty_column

Bytes = NDArray[np.uint8]

#: Distinct shapes tried in bulk for one length of answer; a fleet has one or two, the rest goes one by one.
_SHAPES: Final = 8
#: Nesting of a cell that is still a fixed pattern: an array of structures (maximum demands with their times).
_FLAT_DEPTH: Final = 3
_STRINGS: Final = frozenset((values.OCTET_STRING, values.TSA, values.MAC, values.RN))
_INT64_MAX: Final = int(np.iinfo(np.int64).max)

#: Columns that say when a record was made, best first: the freeze time, then the storage time of the collection scheme.
TIME_COLUMNS: Final = (0x20210200, 0x60420200)
#: What a unit of the object table is in that of quantities.csv, as a power of ten.
_PREFIX: Final = {"W": -3, "var": -3, "VA": -3}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One plain value of n rows.

    values   int64[n], float64[n], uint8[n, k] for times and strings of one length, object[n] for anything else
    present  bool[n]: False where the row has NULL, or fewer values
    """

    values: NDArray[Any]
    present: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of a record, its arrays and structures unfolded in order: total and tariffs, phases, value and time."""

    oad: int
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """n rows with the same columns.

    owner  int64[n]  index of the answer a row came in
    oad    the record's
    cells  the columns, those of a ROAD side by side
    """

    owner: NDArray[np.int64]
    oad: int
    cells: tuple[Cell, ...]

    def __len__(self) -> int:
        return len(self.owner)


def decode(answer: bytes) -> tuple[Records, ...]:
    """One answer's records. FrameError: corrupt. Refused: the server has no such record."""
    found, errors = decode_many([answer])
    if errors:
        raise errors[0]
    return tuple(found)


def decode_many(answers: Sequence[bytes]) -> tuple[list[Records], dict[int, ProtocolError]]:
    """APDUs that carry records (GET, REPORT, PROXY) -> their rows, grouped by shape, and what is wrong with the others.

    An answer without rows is in neither. A corrupt answer is a FrameError, a refused one a Refused, each alone.
    """
    lengths: dict[int, list[int]] = {}
    for index, answer in enumerate(answers):
        lengths.setdefault(len(answer), []).append(index)
    singly: list[int] = []
    found = [part for members in lengths.values() for part in _alike(answers, members, singly)]
    errors: dict[int, ProtocolError] = {}
    for index in sorted(singly):
        try:
            found += decode_general(answers[index], index)
        except ProtocolError as error:
            errors[index] = error
    return found, errors


# --- answers of one shape ---


@dataclass(frozen=True, slots=True)
class _Field:
    tag: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where things are: `fixed` are positions in the answer that must be equal, cells hold fields of a row."""

    oad: int
    start: int
    rows: int
    width: int
    fixed: NDArray[np.int64]
    cells: tuple[tuple[int, tuple[_Field, ...]], ...]


def _alike(answers: Sequence[bytes], members: list[int], singly: list[int]) -> Iterator[Records]:
    """Answers of one length, shape by shape; what does not fit is appended to `singly`."""
    for _ in range(_SHAPES):
        if not members:
            return
        shape = _shape(answers[members[0]])
        if shape is None:
            singly.append(members.pop(0))
            continue
        raw = np.frombuffer(b"".join(answers[i] for i in members), np.uint8).reshape(len(members), -1)
        alike = (raw[:, shape.fixed] == raw[0, shape.fixed]).all(axis=1)
        mine = np.array(members, np.int64)[alike]
        matrix = raw[alike, shape.start : shape.start + shape.rows * shape.width].reshape(-1, shape.width)
        records = _records(np.repeat(mine, shape.rows), matrix, shape)
        if records is None:
            singly += mine.tolist()  # the general decoder knows what is wrong
        else:
            yield records
        members = [index for index, same in zip(members, alike, strict=True) if not same]
    singly += members


def _records(owner: NDArray[np.int64], matrix: Bytes, shape: _Shape) -> Records | None:
    present = np.ones(len(matrix), np.bool_)
    cells = []
    for oad, fields in shape.cells:
        leaves = [_leaf(matrix, field, present) for field in fields]
        if any(leaf is None for leaf in leaves):
            return None
        cells.append(Cell(oad, tuple(leaf for leaf in leaves if leaf is not None)))
    return Records(owner, shape.oad, tuple(cells))


def _leaf(matrix: Bytes, field: _Field, present: NDArray[np.bool_]) -> Leaf | None:
    """None: a number beyond 63 bits."""
    if field.tag == values.NULL:
        return Leaf(np.zeros(len(matrix), np.int64), ~present)
    part = matrix[:, field.offset : field.offset + field.size]
    if field.tag == values.BOOL:
        return Leaf((part[:, 0] != 0).astype(np.int64), present)
    code = values.NUMBERS.get(field.tag)
    if code is None:
        return Leaf(part, present)
    numbers = np.ascontiguousarray(part).view(np.dtype(code))[:, 0]
    if numbers.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN from the wire is a NaN, not a warning
            return Leaf(numbers.astype(np.float64), present)
    if field.tag == values.LONG64_UNSIGNED and len(numbers) and numbers.max() > _INT64_MAX:
        return None
    return Leaf(numbers.astype(np.int64), present)


def _shape(answer: bytes) -> _Shape | None:
    """The shape of an answer that carries one record's rows and nothing behind them; None for any other."""
    try:
        cursor = _record_at(answer)
        if cursor is None:
            return None
        oad = values.OAD_.read(cursor)
        columns = values.RCSD_.read(cursor)
        if cursor.byte() != 1:
            return None
        rows = cursor.count()
        if not rows:
            return None
    except FrameError:
        return None
    for flat in (False, True):
        try:
            shape = _rows_shape(answer, cursor.at, oad, columns, rows, flat)
        except FrameError:
            continue
        if shape is not None:
            # rows that can be read in two ways: the general decoder's way holds
            return shape if not flat or _is_flat(answer) else None
    return None


def _is_flat(answer: bytes) -> bool:
    """Whether the general decoder reads this answer's rows with their ROADs flat."""
    try:
        fields = apdus.decode(answer).fields.values()
    except FrameError:
        return False
    return any(isinstance(value, RecordResult) and value.flat for value in fields)


def _record_at(answer: bytes) -> Cursor | None:
    """A cursor at the only record of an answer."""
    cursor = Cursor(answer, 3)
    match answer[:2]:
        case b"\x85\x03":
            return cursor
        case b"\x85\x04" | b"\x88\x02":
            return cursor if cursor.length() == 1 else None
        case b"\x85\x05":
            cursor.take(3)
            return cursor if cursor.take(2) == b"\x02\x01" else None
        case b"\x89\x02":
            OCTETS.read(cursor)
            return cursor
    return None


def _rows_shape(
    answer: bytes, start: int, oad: int, columns: values.Rcsd, rows: int, flat: bool
) -> _Shape | None:
    inner: list[int] = []
    row = _row_shape(answer, start, columns, flat, inner)
    if row is None:
        return None
    cells, width = row
    end = start + rows * width
    if width == 0 or answer[end:] != b"\x00\x00":  # no follow report, no time tag
        return None
    within = (np.arange(rows)[:, None] * width + start + np.array(inner, np.int64)).ravel()
    # every row must have the types of the first, or this is no matrix
    constant = np.frombuffer(answer, np.uint8)[within].reshape(rows, -1)
    if not (constant == constant[0]).all():
        return None
    # byte 2 is the PIID, which differs from answer to answer
    where = np.concatenate([np.array([0, 1, *range(3, start)], np.int64), within, np.array([end, end + 1])])
    return _Shape(oad, start, rows, width, where, tuple(cells))


def _row_shape(
    answer: bytes, start: int, columns: values.Rcsd, flat: bool, fixed: list[int]
) -> tuple[list[tuple[int, tuple[_Field, ...]]], int] | None:
    """The fields of the row at `start` by column, and its length; None if it is not flat."""
    cells = []
    at = start
    for column in apdus.cells_of(columns, flat):
        names = column.columns if isinstance(column, values.Road) else (column,)
        if isinstance(column, values.Road):  # its members follow a head of their own
            count, body = decode_length(answer, at + 1)
            compound = answer[at] in (values.ARRAY, values.STRUCTURE)
            if len(names) == 1 and not (
                compound and count == 1 and answer[body] in (values.ARRAY, values.STRUCTURE)
            ):
                body = at  # bare
            elif not compound or count != len(names):
                return None
            fixed += range(at - start, body - start)
            at = body
        for oad in names:
            fields: list[_Field] = []
            end = _cell_shape(answer, at, start, fields, fixed, 0)
            if end is None:
                return None
            cells.append((oad, tuple(fields)))
            at = end
    return cells, at - start


def _cell_shape(
    answer: bytes, at: int, start: int, fields: list[_Field], fixed: list[int], depth: int
) -> int | None:
    """Append the fields and fixed positions (from the row's start) of the value at `at`; the offset behind it, None if not flat."""
    if at >= len(answer):
        return None
    tag, body = answer[at], at + 1
    if tag in (values.ARRAY, values.STRUCTURE):
        count, body = decode_length(answer, body)
        fixed += range(at - start, body - start)
        if depth >= _FLAT_DEPTH or count > len(answer) - body:
            return None
        for _ in range(count):
            inside = _cell_shape(answer, body, start, fields, fixed, depth + 1)
            if inside is None:
                return None
            body = inside
        return body
    if tag in _STRINGS:
        size, body = decode_length(answer, body)
    elif tag in values.SIZES and tag not in (values.TI, values.SCALER_UNIT, values.COMDCB):
        size = values.SIZES[tag]
    else:
        return None
    fixed += range(at - start, body - start)
    fields.append(_Field(tag, body - start, size))
    return body + size if body + size <= len(answer) else None


# --- answers of any shape ---


def decode_general(answer: bytes, owner: int = 0) -> list[Records]:
    """One answer's records, value by value. FrameError, Refused as in `decode`."""
    apdu = apdus.decode(answer)
    results: list[RecordResult] = []
    for name, value in apdu.fields.items():
        if isinstance(value, RecordResult):
            results.append(value)
        elif name == "records":
            results += [part for part in value if isinstance(part, RecordResult)]
        elif name == "content" and apdu.choice == apdus.NEXT:
            if value.choice == 0:
                raise _refusal(value.value)
            results += [part for part in value.value if isinstance(part, RecordResult)]
    if not results:
        raise FrameError(f"record: {apdu.service} {apdu.choice} carries no records", 0)
    return [columns_of(result, owner) for result in results if result.rows or result.rows is None]


def columns_of(result: RecordResult, owner: int = 0) -> Records:
    """A decoded record as columns. Refused: it was not delivered; FrameError: a number beyond 63 bits."""
    if result.rows is None:
        raise _refusal(result.dar)
    cells = []
    for number, column in enumerate(apdus.cells_of(result.columns, result.flat)):
        given = [row[number] for row in result.rows]
        if not isinstance(column, values.Road):
            cells.append(_cell(column, given))
            continue
        parts = [_inside(column, data) for data in given]
        cells += [_cell(oad, [part[i] for part in parts]) for i, oad in enumerate(column.columns)]
    return Records(np.full(len(result.rows), owner, np.int64), result.oad, tuple(cells))


def _refusal(dar: int) -> Refused:
    name = items.dars().get(dar, "unknown result")
    return Refused(f"record: {name} ({dar})", code=dar, absent=dar in items.ABSENT)


def _inside(road: values.Road, data: Data) -> tuple[Data, ...]:
    if data.tag == values.NULL:
        return (data,) * len(road.columns)
    parts = apdus.inside(road, data)
    if parts is None:
        raise FrameError(f"record: a ROAD of {len(road.columns)} columns is no array of as many", 0)
    return parts


def _cell(oad: int, column: Sequence[Data]) -> Cell:
    flat = [_flat(data) for data in column]
    count = max((len(row) for row in flat), default=0)
    missing = Data(values.NULL)
    return Cell(
        oad, tuple(_column([row[i] if i < len(row) else missing for row in flat]) for i in range(count))
    )


def _flat(data: Data) -> list[Data]:
    if data.tag not in (values.ARRAY, values.STRUCTURE):
        return [data]
    return [leaf for part in data.value for leaf in _flat(part)]


def _column(cells: list[Data]) -> Leaf:
    present = np.array([cell.tag != values.NULL for cell in cells], np.bool_)
    there = [cell.value for cell in cells if cell.tag != values.NULL]
    kinds = {type(value) for value in there}
    if kinds <= {int, bool}:
        if there and max(there) > _INT64_MAX:
            raise FrameError(f"record: {max(there)} does not fit 63 bits", 0)
        return Leaf(np.array([int(cell.value or 0) for cell in cells], np.int64), present)
    if kinds <= {int, bool, float}:
        return Leaf(np.array([cell.value or 0.0 for cell in cells], np.float64), present)
    lengths = {len(value) for value in there if isinstance(value, bytes)}
    if kinds == {bytes} and len(lengths) == 1:
        blank = bytes(lengths.pop())
        body = b"".join(cell.value if cell.tag != values.NULL else blank for cell in cells)
        return Leaf(np.frombuffer(body, np.uint8).reshape(len(cells), len(blank)), present)
    mixed = np.empty(len(cells), object)
    mixed[:] = [cell.value for cell in cells]
    return Leaf(mixed, present)


# --- columns to quantities ---


def times(leaf: Leaf) -> Times:
    """A column of date_time_s -> naive local datetime64[us][n], NaT where it has none.

    FrameError: not 7-byte times, or a date that does not exist.
    """
    out, good = civil(leaf)
    if not good.all():
        bad = int(np.argmin(good))
        raise FrameError(f"date_time_s: {leaf.values[bad].tobytes().hex()} in row {bad} is no date", 0)
    return out


def civil(leaf: Leaf) -> tuple[Times, NDArray[np.bool_]]:
    """Times as in `times`, and bool[n]: False where what came is no date (its time is NaT). FrameError: not 7-byte times."""
    out = np.full(len(leaf.present), "NaT", "datetime64[us]")
    sound = np.ones(len(leaf.present), np.bool_)
    if not leaf.present.any():
        return out, sound
    if leaf.values.ndim != 2 or leaf.values.shape[1] != values.SIZES[values.DATE_TIME_S]:
        raise FrameError("record: the time column must have 7-byte times", 0)
    part = leaf.values[leaf.present].astype(np.int64)
    year, month, day = part[:, 0] * 256 + part[:, 1], part[:, 2], part[:, 3]
    hour, minute, second = part[:, 4], part[:, 5], part[:, 6]
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    good = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    good &= (days.astype("datetime64[M]") == months) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = (hour * 60 + minute) * 60 + second
    when = (days.astype("datetime64[s]") + seconds.astype("timedelta64[s]")).astype("datetime64[us]")
    when[~good] = np.datetime64("NaT")
    out[leaf.present] = when
    sound[leaf.present] = good
    return out, sound


def record_times(records: Records) -> Times:
    """When each row was frozen or stored, naive local datetime64[us][n]. FrameError: no such column."""
    for oad in TIME_COLUMNS:
        for cell in records.cells:
            if cell.oad == oad and len(cell.leaves) == 1:
                return times(cell.leaves[0])
    raise FrameError("record: neither freeze time (2021) nor storage time (6042) is among the columns", 0)


def quantity_columns(records: Records, scalers: Mapping[int, int] | None = None) -> dict[str, Column]:
    """code -> [n], for every quantity of quantities.csv that the columns carry, dtype and missing value by its kind.

    Registers: int64 in 1e-4 kWh; digits finer than that are cut off. Instants and demands: float64 in the quantity's unit. Events:
    int64. Moments: the meter's own time, naive and local (`reads` makes it UTC), NaT where the meter sends no date. `scalers` by OI
    and attribute (0x001002) go before those of the object table, for a meter whose Scaler_Unit says otherwise. Where a quantity comes
    twice, the finer one counts. FrameError: not numbers, or beyond 63 bits.
    """
    found: dict[str, Column] = {}
    for cell in sorted(records.cells, key=lambda cell: -_coarse(cell.oad, scalers)):
        item = items.item(cell.oad)
        for place, (code, leaf) in enumerate(zip(items.quantities(cell.oad), cell.leaves, strict=False)):
            if not code or item is None:
                continue
            member = place % item.members if item.members > 1 else 0
            scaler = (scalers or {}).get(cell.oad >> 8, item.scalers[member])
            column = _quantity(code, leaf, scaler or 0, item.units[member] if item.units else "")
            base = found.get(code, empty_column(code, len(records)))
            found[code] = np.where(leaf.present, column, base)
    return found


def _coarse(oad: int, scalers: Mapping[int, int] | None) -> int:
    item = items.item(oad)
    own = item.scalers[0] if item and item.scalers else None
    return (scalers or {}).get(oad >> 8, own or 0)


def _quantity(code: str, leaf: Leaf, scaler: int, unit: str) -> Column:
    match quantities()[code].kind:
        case "register":
            return _register(leaf, scaler)
        case "event":
            return _integers(leaf, "event")
        case "moment":
            return civil(leaf)[0]
    return _real(leaf, scaler + _PREFIX.get(unit, 0))


def reads(records: Records, meter: NDArray[np.int64], zone: ZoneInfo, *, storage: int = 0) -> Reads:
    """Rows as Reads.

    meter    int64[answers]  the caller's key of the meter behind each answer; Records.owner chooses
    zone     of the meter's clock
    storage  what the storage time (6042) of the rows means, by the scheme that made them: see `slots`. Rows with a freeze time
             (2021) need none: that is the instant itself.
    """
    columns = quantity_columns(records)
    for code in columns:
        if quantities()[code].kind == "moment":
            known = ~np.isnat(columns[code])
            columns[code][known] = from_local(columns[code][known], zone)
    frozen = any(cell.oad == TIME_COLUMNS[0] for cell in records.cells)
    local = record_times(records)
    return Reads(meter[records.owner], from_local(local if frozen else slots(local, storage), zone), columns)


def slots(stored: Times, storage: int) -> Times:
    """Storage times (6042) -> the instants that the values belong to, by the scheme's choice of storage time.

    storage  DL/T 698.45-2017, ordinary collection scheme 6014/6015, choice of storage time: 0 undefined, 1 start of the task,
             2 day's 00:00, 3 previous day's 23:59, 4 previous day's 00:00, 5 month's first 00:00, 6 freeze time, 7 last month's end.
             The standard lists what is printed; which instant is meant is read so: of 0, 1, 2, 5 and 6 that very one; 3 and 4 print
             the day that the values close, 7 the last day of the month that they close, so they are of the midnight after.
    """
    days = stored.astype("datetime64[D]")
    match storage:
        case 3 | 4:
            return np.asarray((days + 1).astype("datetime64[us]"))
        case 7:
            return np.asarray((days.astype("datetime64[M]") + 1).astype("datetime64[us]"))
    return stored


def _integers(leaf: Leaf, what: str) -> NDArray[np.int64]:
    if leaf.values.dtype != np.int64:
        raise FrameError(f"{what}: {leaf.values.dtype} where integers must be", 0)
    return leaf.values


def _register(leaf: Leaf, scaler: int) -> NDArray[np.int64]:
    _integers(leaf, "register")
    factor = 10 ** abs(scaler + 4)
    if scaler < -4:
        return np.asarray(leaf.values // factor)
    if len(leaf.values) and max(int(leaf.values.max()), -int(leaf.values.min())) > _INT64_MAX // factor:
        raise FrameError(f"register: value times 10^{scaler + 4} does not fit 63 bits", 0)
    return np.asarray(leaf.values * factor)


def _real(leaf: Leaf, exponent: int) -> NDArray[np.float64]:
    if leaf.values.dtype.kind not in "if" or leaf.values.ndim != 1:
        raise FrameError(f"instant: {leaf.values.dtype} where numbers must be", 0)
    # dividing by a power of ten rounds once, so 2305 at -1 is exactly the double 230.5
    with np.errstate(all="ignore"):  # infinities and NaN may come over the wire
        return np.asarray(leaf.values / 10.0**-exponent if exponent < 0 else leaf.values * 10.0**exponent)


def column_names(columns: Sequence[Csd]) -> list[int]:
    """The OADs of a request's or answer's columns, those of a ROAD side by side."""
    return [oad for oad in apdus.cells_of(tuple(columns), True) if isinstance(oad, int)]


# --- columns to rows: what a server sends ---


def encode(cells: Sequence[Bytes]) -> PackedRows:
    """The cells of n rows, uint8[n, size] each, side by side. Misuse: none, or not as many rows each."""
    if len({len(cell) for cell in cells}) != 1:
        raise Misuse(f"record: columns of {sorted({len(cell) for cell in cells})} rows")
    rows = np.concatenate(list(cells), axis=1)
    return PackedRows(rows.tobytes(), rows.shape[1])


def number_cells(tag: int, numbers: NDArray[Any]) -> Bytes:
    """Numbers of one type, [n] or [n, k], as cells: bare, or as an array of k. Misuse: not a number type, or out of its range."""
    code = values.NUMBERS.get(tag)
    if code is None:
        raise Misuse(f"record: {values.NAMES.get(tag, tag)} is no number")
    wire = np.dtype(code)
    if wire.kind in "iu" and len(numbers):
        bounds = np.iinfo(wire)
        if numbers.min() < bounds.min or numbers.max() > bounds.max:
            raise Misuse(f"record: a number that {values.NAMES[tag]} cannot hold")
    table = numbers.reshape(len(numbers), -1).astype(wire)
    count = table.shape[1]
    body = np.empty((len(table), count, 1 + wire.itemsize), np.uint8)
    body[:, :, 0] = tag
    body[:, :, 1:] = np.ascontiguousarray(table).view(np.uint8).reshape(len(table), count, -1)
    flat = body.reshape(len(table), -1)
    if numbers.ndim == 1:
        return flat
    head = np.frombuffer(bytes((values.ARRAY,)) + encode_length(count), np.uint8)
    return np.concatenate([np.broadcast_to(head, (len(table), len(head))), flat], axis=1)


def time_cells(local: Times) -> Bytes:
    """Naive local times as cells of date_time_s. Misuse: NaT."""
    if np.isnat(local).any():
        raise Misuse("time: not a time")
    seconds = local.astype("datetime64[s]")
    months, days = seconds.astype("datetime64[M]"), seconds.astype("datetime64[D]")
    year = months.astype("datetime64[Y]").astype(np.int64) + 1970
    rest = (seconds - days).astype(np.int64)
    out = np.empty((len(local), 1 + values.SIZES[values.DATE_TIME_S]), np.uint8)
    parts = (
        year >> 8, year & 0xFF, months.astype(np.int64) % 12 + 1, (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        rest // 3600, rest // 60 % 60, rest % 60,
    )  # fmt: skip
    out[:, 0] = values.DATE_TIME_S
    for place, part in enumerate(parts, start=1):
        out[:, place] = part
    return out
