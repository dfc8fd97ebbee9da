"""A profile buffer as columns: numpy strides over the A-XDR bytes, and exact scaling.

The library makes an object for every value. Rows of a load profile nearly always share one shape (same
types, same lengths): then the bytes are a matrix. That is checked byte for byte; a buffer that is no matrix
goes through the general decoder, with the same result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.dlms import values
from protocols.errors import FrameError, Misuse
from protocols.localtime import Times, as_datetime, local_fields
from protocols.reading import MISSING

Bytes = NDArray[np.uint8]

_UTC: Final = ZoneInfo("UTC")
_DTYPES: Final = {tag: np.dtype(code) for tag, code in values.NUMBERS.items()}
_INT64: Final = np.dtype(np.int64)
_FLOAT64: Final = np.dtype(np.float64)
_MICROSECONDS: Final = np.dtype("timedelta64[us]")
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


class Column(NamedTuple):
    """One column of n rows.

    values   int64[n], float64[n], uint8[n, k] for strings of one length, object[n] for anything else
    present  bool[n]: False where the row has null-data
    times    datetime64[us][n] UTC, where the column was seen to be date-times of one month and deviation
    full     every row has a value (then nobody needs to look at `present`)
    widest   no value is larger, by its type on the wire; None where that is not known

    A named tuple and not a dataclass: a profile of a day is decoded in the time that six dataclasses take to be made.
    """

    values: NDArray[Any]
    present: NDArray[np.bool_]
    times: Times | None = None
    full: bool = False
    widest: int | None = None


def decode(raw: bytes) -> tuple[Column, ...]:
    """The columns of a profile buffer; none when it has no rows. FrameError: not an array of equally long
    rows.
    """
    columns = decode_matrix(raw)
    return decode_general(raw) if columns is None else columns


# --- rows of one shape ---


class _Run(NamedTuple):
    """Neighbouring columns of one type: `columns` of them, the first body at `offset`, `step` bytes apart."""

    tag: int
    offset: int
    size: int
    step: int
    columns: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a row looks like, so that all rows are checked by one comparison: low <= byte <= low + span.

    Tags, counts and lengths have one value; in a column of date-times also year, month and deviation, and no field is
    out of its range: `origins` (by offset) is the instant to which day, hour, minute, second, hundredth are added.
    """

    runs: tuple[_Run, ...]
    width: int
    low: bytes
    span: bytes
    origins: Mapping[int, np.datetime64]

    def fits(self, flat: Bytes) -> bool:
        """Whether the bytes of all rows are within. One flat comparison: rows of 40 bytes cost more in their loop than in it."""
        rows = len(flat) // self.width
        low, span = _tiled(self.low, self.span, rows)
        return bool(np.logical_and.reduce((flat - low) <= span))


@lru_cache(maxsize=32)  # kinds of profile times lengths asked for at one time; a day of ten columns is 16 kB
def _tiled(low: bytes, span: bytes, rows: int) -> tuple[Bytes, Bytes]:
    return tuple(np.frombuffer(line * rows, dtype=np.uint8) for line in (low, span))  # type: ignore[return-value]


#: Plans tried before one is made: as many kinds of profiles as a collector meets in a month. A plan that does not fit is
#: found out by its own comparison, so what is kept here cannot make a value wrong.
PLANS: Final = 64
_plans: OrderedDict[tuple[int, bytes], _Plan] = OrderedDict()
_WHOLE: Final = np.ones(4096, dtype=np.bool_)
_WHOLE.flags.writeable = False
#: Day, weekday, hour, minute, second, hundredth of a date-time in microseconds.
_UNITS: Final = np.array((86_400e6, 0, 3_600e6, 60e6, 1e6, 1e4))
#: The largest byte of each of these fields; beyond (FF: not specified) the careful way is taken.
_LIMITS: Final = (28, 0xFF, 23, 59, 59, 99)


def _fields(raw: bytes, start: int) -> tuple[list[tuple[int, int, int]], int] | None:
    """(tag, offset, size) of the row at `start`, and its length; None if it is not flat."""
    if raw[start : start + 1] != bytes((values.STRUCTURE,)):
        return None
    count, at = values.decode_length(raw, start + 1)
    fields = []
    for _ in range(count):
        if at >= len(raw):
            return None
        tag = raw[at]
        body = at + 1
        if tag in (values.OCTET_STRING, values.VISIBLE_STRING):
            size, body = values.decode_length(raw, body)
        elif tag in values.SIZES:
            size = values.SIZES[tag]
        else:
            return None
        fields.append((tag, body - start, size))
        at = body + size
    return fields, at - start


def _make_plan(raw: bytes, start: int) -> _Plan | None:
    """The plan of the row at `start`; None if it is not flat."""
    shape = _fields(raw, start)
    if shape is None or not shape[1]:
        return None
    fields, width = shape
    first = np.frombuffer(raw[start : start + width].ljust(width, b"\0"), dtype=np.uint8)
    low, span = first.copy(), np.zeros(width, dtype=np.uint8)
    runs: list[_Run] = []
    origins: dict[int, np.datetime64] = {}
    for tag, offset, size in fields:
        low[offset : offset + size], span[offset : offset + size] = 0, 0xFF
        if size == 12 and tag in (values.OCTET_STRING, values.DATE_TIME):
            origin = _origin(first[offset : offset + 12].tobytes())
            if origin is not None:
                origins[offset] = origin
                for k in (0, 1, 2, 9, 10):
                    low[offset + k], span[offset + k] = first[offset + k], 0
                low[offset + 3] = 1
                span[offset + 3 : offset + 9] = _LIMITS
                span[offset + 3] = _month_length(first[offset : offset + 3]) - 1
        last = runs[-1] if runs else None
        if (
            last
            and last.tag == tag
            and tag in values.NUMBERS
            and last.offset + last.columns * last.step == offset
        ):
            runs[-1] = last._replace(columns=last.columns + 1)
        else:
            runs.append(_Run(tag, offset, size, 1 + size, 1))
    return _Plan(tuple(runs), width, low.tobytes(), span.tobytes(), origins)


def _month_length(head: Bytes) -> int:
    month = np.datetime64(f"{int(head[0]) * 256 + int(head[1]):04}-{int(head[2]):02}", "M")
    return int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))


def _origin(raw: bytes) -> np.datetime64 | None:
    """The last day of the month before at 00:00, taken to UTC; None unless it is a date-time with a deviation."""
    try:
        clock = values.decode_clock(raw[:3] + b"\x01\xff" + bytes(4) + raw[9:], _UTC)
    except FrameError:
        return None
    return None if clock.deviation is None else clock.utc - np.timedelta64(1, "D")


def decode_matrix(raw: bytes) -> tuple[Column, ...] | None:
    """The columns, if all rows have the shape of the first; None if they do not."""
    if raw[:1] != bytes((values.ARRAY,)):
        return None
    rows, start = values.decode_length(raw, 1)
    if rows == 0:
        return () if start == len(raw) else None
    width, over = divmod(len(raw) - start, rows)
    if over or not width:
        return None
    return _decode_rows(raw, start, rows, width)


def _decode_rows(raw: bytes, start: int, rows: int, width: int) -> tuple[Column, ...] | None:
    """The columns of `rows` rows from `start` to the end of `raw`; None if they are not all of one shape."""
    flat = np.frombuffer(raw, dtype=np.uint8, offset=start)
    matrix = flat.reshape(rows, width)
    key = (width, raw[start : start + 4])
    plan = _plans.get(key)
    if plan is None or not plan.fits(flat):
        plan = _make_plan(raw, start)
        if plan is None or plan.width != width:
            return None
        if plan.fits(flat):
            _plans[key] = plan
            if len(_plans) > PLANS:
                _plans.popitem(last=False)
        else:
            plan = _without_times(plan)
            if not plan.fits(flat):
                return None
    present = _WHOLE[:rows] if rows <= len(_WHOLE) else np.ones(rows, dtype=np.bool_)
    columns: list[Column] = []
    for run in plan.runs:
        columns += _columns(raw, start, matrix, run, plan.origins.get(run.offset), present)
    return tuple(columns)


@dataclass(frozen=True, slots=True)
class Profiles:
    """n rows of several profile buffers with the same columns.

    owner    int64[n]  index of the buffer a row came in
    columns  as `decode` gives them
    """

    owner: NDArray[np.int64]
    columns: tuple[Column, ...]


#: Rows decoded together: their bytes stay in a core's cache, and the comparison beside them in a few hundred kB.
_ROWS: Final = 4096


def decode_many(buffers: Sequence[bytes]) -> tuple[list[Profiles], dict[int, FrameError]]:
    """The profiles of many meters at once, and what is wrong with the others, each alone.

    Buffers that are as long and begin alike are taken for one; if one of them is not, they go one by one. A buffer without
    rows is in neither.
    """
    groups: dict[tuple[int, bytes], list[int]] = {}
    for index, raw in enumerate(buffers):
        groups.setdefault((len(raw), raw[:8]), []).append(index)
    found: list[Profiles] = []
    errors: dict[int, FrameError] = {}
    for members in groups.values():
        for at in range(0, len(members), step := _together(buffers[members[0]])):
            some = members[at : at + step]
            joined = _joined(buffers, some) if len(some) > 1 else None
            if joined is not None:
                found.append(joined)
                continue
            for index in some:
                try:
                    columns = decode(buffers[index])
                except FrameError as error:
                    errors[index] = error
                    continue
                if columns and len(columns[0].values):
                    found.append(Profiles(np.full(len(columns[0].values), index), columns))
    return found, errors


def _together(raw: bytes) -> int:
    """How many buffers like this one fill _ROWS."""
    try:
        rows, _ = values.decode_length(raw, 1)
    except FrameError:
        return 1
    return max(1, _ROWS // max(rows, 1))


def _joined(buffers: Sequence[bytes], members: Sequence[int]) -> Profiles | None:
    """All of them as one; None if one is not like the others."""
    first = buffers[members[0]]
    if first[:1] != bytes((values.ARRAY,)):
        return None
    rows, start = values.decode_length(first, 1)
    width, over = divmod(len(first) - start, rows or 1)
    if over or not width or not rows:
        return None
    if any(buffers[index][:start] != first[:start] for index in members):
        return None
    joined = b"".join([buffers[index][start:] for index in members])
    columns = _decode_rows(joined, 0, rows * len(members), width)
    if columns is None:
        return None
    return Profiles(np.repeat(np.array(members, np.int64), rows), columns)


def _without_times(plan: _Plan) -> _Plan:
    """The same plan for any bytes in its date-times: rows of two months, fields not specified."""
    low, span = bytearray(plan.low), bytearray(plan.span)
    for offset in plan.origins:
        low[offset : offset + 12], span[offset : offset + 12] = bytes(12), b"\xff" * 12
    return _Plan(plan.runs, plan.width, bytes(low), bytes(span), {})


def _columns(
    raw: bytes, start: int, matrix: Bytes, run: _Run, origin: np.datetime64 | None, present: NDArray[np.bool_]
) -> list[Column]:
    rows, width = matrix.shape
    dtype = _DTYPES.get(run.tag)
    if dtype is not None:
        block: NDArray[Any] = np.ndarray(
            (run.columns, rows), dtype, raw, start + run.offset, (run.step, width)
        )
        if dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # a signalling NaN from the wire is a NaN, not a warning
                return [Column(column, present, None, True) for column in block.astype(np.float64)]
        if run.tag == values.LONG64_UNSIGNED and block.max() > _INT64_MAX:
            raise FrameError(f"profile: {block.max()} does not fit 63 bits", start + run.offset)
        widest = None if run.size == 8 else 1 << 8 * run.size
        return [Column(column, present, None, True, widest) for column in block.astype(_INT64)]
    if run.tag in (values.NULL, values.DONT_CARE):
        return [Column(np.zeros(rows, dtype=np.int64), ~present)]
    part = matrix[:, run.offset : run.offset + run.size]
    if run.tag == values.BOOLEAN:
        return [Column((part[:, 0] != 0).astype(np.int64), present, None, True, 1)]
    if origin is None:
        return [Column(part, present, None, True)]
    micros = part[:, 3:9].astype(_FLOAT64).dot(_UNITS)  # exact: a month has fewer than 2^53 of them
    return [Column(part, present, origin + micros.astype(_INT64).view(_MICROSECONDS), True)]


# --- rows of any shape ---


def decode_general(raw: bytes) -> tuple[Column, ...]:
    """The columns, value by value. FrameError: not an array of equally long rows."""
    data = values.decode(raw)
    if data.tag != values.ARRAY:
        raise FrameError(f"profile: {values.NAMES.get(data.tag, data.tag)} where the array of rows must be")
    rows = data.value
    if any(row.tag != values.STRUCTURE or len(row.value) != len(rows[0].value) for row in rows):
        raise FrameError("profile: rows are not structures of one length")
    if not rows:
        return ()
    return tuple(column([row.value[i] for row in rows]) for i in range(len(rows[0].value)))


def column(cells: list[values.Data]) -> Column:
    """Single values as a column. FrameError: a number beyond 63 bits."""
    present = np.array([cell.tag not in (values.NULL, values.DONT_CARE) for cell in cells], dtype=np.bool_)
    there = [cell.value for cell in cells if cell.value is not None]
    kinds = {type(value) for value in there}
    if kinds <= {int, bool}:
        return Column(_integers(cells), present)
    if kinds <= {int, bool, float}:
        return Column(np.array([cell.value or 0.0 for cell in cells], dtype=np.float64), present)
    lengths = {len(value) for value in there if isinstance(value, bytes | str)}
    if kinds <= {bytes, str} and len(lengths) == 1 and all(_one_byte(value) for value in there):
        blank = bytes(lengths.pop())
        body = b"".join(_as_bytes(cell.value) if cell.value is not None else blank for cell in cells)
        return Column(np.frombuffer(body, dtype=np.uint8).reshape(len(cells), len(blank)), present)
    mixed = np.empty(len(cells), dtype=object)
    mixed[:] = [values.plain(cell) if isinstance(cell.value, tuple) else cell.value for cell in cells]
    return Column(mixed, present)


def _integers(cells: list[values.Data]) -> NDArray[np.int64]:
    numbers = [int(cell.value or 0) for cell in cells]
    if max(numbers) > _INT64_MAX:
        raise FrameError(f"profile: {max(numbers)} does not fit 63 bits")
    return np.array(numbers, dtype=np.int64)


def _one_byte(value: bytes | str) -> bool:
    return isinstance(value, bytes) or value.isascii()


def _as_bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("ascii")


# --- columns to quantities ---


def instants(column: Column, zone: ZoneInfo, period: int | None = None) -> Times:
    """A clock column -> UTC datetime64[us][n], NaT where it has none.

    zone    civil time, for date-times without deviation
    period  capture period [s]: a row whose time is null-data is that much later than the row before
            (Blue Book, IC 7: null-data in a buffer); None: such a row has no time
    FrameError: not a column of 12-byte date-times, or a date that does not exist.
    """
    if column.times is not None:
        return column.times
    raw = column.values
    if raw.ndim != 2 or raw.shape[1] != 12:
        if not column.present.any():
            return np.full(len(raw), "NaT", dtype="datetime64[us]")
        raise FrameError("profile: the clock column has no 12-byte date-times")
    times = np.full(len(raw), "NaT", dtype="datetime64[us]")
    times[column.present] = _instants(raw[column.present], zone)
    if period is not None:
        step = np.timedelta64(period, "s").astype("timedelta64[us]")
        for row in np.flatnonzero(~column.present):
            if row:
                times[row] = times[row - 1] + step
    return times


def _instants(raw: Bytes, zone: ZoneInfo) -> Times:
    part = raw.astype(np.int64)
    months = (part[:, 0] * 256 + part[:, 1] - 1970) * 12 + part[:, 2] - 1
    month = months.astype("datetime64[M]")
    day = month.astype("datetime64[D]") + (part[:, 3] - 1)
    hour, minute = part[:, 5], part[:, 6]
    second = np.where(part[:, 7] == 0xFF, 0, part[:, 7])
    hundredths = np.where(part[:, 8] == 0xFF, 0, part[:, 8])
    deviation = (part[:, 9] * 256 + part[:, 10] + 0x8000) % 0x10000 - 0x8000
    known = deviation != values.UNDEFINED_DEVIATION
    good = (part[:, 2] >= 1) & (part[:, 2] <= 12) & (part[:, 3] >= 1) & (day.astype("datetime64[M]") == month)
    good &= (hour < 24) & (minute < 60) & (second < 60) & (hundredths < 100)
    good &= ~known | (np.abs(deviation) <= 840)
    good &= (months >= -1969 * 12) & (part[:, 0] * 256 + part[:, 1] <= 9999)
    if not good.all():
        bad = int(np.argmin(good))
        raise FrameError(f"date-time: {raw[bad].tobytes().hex()} in row {bad} is no instant")
    micros = ((hour * 60 + minute) * 60 + second) * 1_000_000 + hundredths * 10_000
    local = day.astype("datetime64[us]") + micros.astype("timedelta64[us]")
    if known.all():
        return np.asarray(local + (deviation * 60_000_000).astype("timedelta64[us]"))
    shift = np.where(known, deviation, 0) * 60_000_000
    utc = local + shift.astype("timedelta64[us]")
    for row in np.flatnonzero(~known):  # the rare meter that does not know its zone
        utc[row] = values.decode_clock(raw[row].tobytes(), zone).utc
    return np.asarray(utc)


def registers(column: Column, scaler: int) -> NDArray[np.int64]:
    """An energy column in 10^scaler Wh -> int64[n] in 1e-4 kWh, MISSING where absent.

    1e-4 kWh is 0.1 Wh, so the factor is 10^(scaler + 1): integers only. Digits finer than 1e-4 kWh are cut
    off, as a meter's own display does. FrameError: not integers, or beyond 63 bits.
    """
    if column.values.dtype != np.int64:
        raise FrameError(f"register: {column.values.dtype} where integers must be")
    factor = 10 ** abs(scaler + 1)
    if scaler < -1:
        scaled = column.values // factor
    else:
        widest = column.widest or (_largest(column.values) if len(column.values) else 0)
        if widest * factor > _INT64_MAX and _largest(column.values) * factor > _INT64_MAX:
            raise FrameError(f"register: value times 10^{scaler + 1} does not fit 63 bits", 0)
        scaled = column.values * factor
    return scaled if column.full else np.where(column.present, scaled, MISSING)


def _largest(numbers: NDArray[np.int64]) -> int:
    return max(int(numbers.max()), -int(numbers.min()))


def reals(column: Column, exponent: int) -> NDArray[np.float64]:
    """A column of numbers times 10^exponent -> float64[n], NaN where absent. FrameError: not numbers."""
    if column.values.dtype.kind not in "if" or column.values.ndim != 1:
        raise FrameError(f"instant: {column.values.dtype} where numbers must be")
    if column.full and column.values.dtype.kind == "i":  # no infinities, no NaN, nothing to mask
        return column.values / 10.0**-exponent if exponent < 0 else column.values * 10.0**exponent
    # dividing by a power of ten rounds once, so 2305 at -1 is exactly the double 230.5
    with np.errstate(all="ignore"):  # infinities and NaN may come over the wire
        scaled = column.values / 10.0**-exponent if exponent < 0 else column.values * 10.0**exponent
    return np.where(column.present, scaled, np.nan)


# --- the device's side ---


def clock_column(times: Times, zone: ZoneInfo) -> Bytes:
    """UTC instants -> uint8[n, 12] date-times in civil time of `zone`, the inverse of `instants`."""
    times = times.astype("datetime64[us]")
    local = local_fields(times, zone)
    day = local.astype("datetime64[D]")
    month = local.astype("datetime64[M]")
    year = month.astype("datetime64[Y]").astype(np.int64) + 1970
    micros = (local - day.astype("datetime64[us]")).astype(np.int64)
    deviation = (times - local).astype(np.int64) // 60_000_000 & 0xFFFF
    hours, where = np.unique(times.astype("datetime64[h]"), return_inverse=True)
    daylight = np.array([bool(as_datetime(hour, zone).dst()) for hour in hours], dtype=np.bool_)[where]
    out = np.empty((len(times), 12), dtype=np.uint8)
    out[:, 0], out[:, 1] = year >> 8, year & 0xFF
    out[:, 2] = month.astype(np.int64) % 12 + 1
    out[:, 3] = (day - month.astype("datetime64[D]")).astype(np.int64) + 1
    out[:, 4] = (day.astype(np.int64) + 3) % 7 + 1  # 1970-01-01 was a Thursday
    out[:, 5] = micros // 3_600_000_000
    out[:, 6] = micros // 60_000_000 % 60
    out[:, 7] = micros // 1_000_000 % 60
    out[:, 8] = micros // 10_000 % 100
    out[:, 9], out[:, 10] = deviation >> 8, deviation & 0xFF
    out[:, 11] = np.where(daylight, values.STATUS_DAYLIGHT, 0)
    return out


def encode(columns: Sequence[tuple[int, NDArray[Any]]]) -> bytes:
    """Columns -> the A-XDR bytes of a profile buffer.

    Each column is its type and its values: integers or floats [n], or uint8[n, k] for an octet string.
    Misuse: a value that its type cannot hold, or columns of different length.
    """
    rows = len(columns[0][1])
    if any(len(column) != rows for _, column in columns):
        raise Misuse("profile: columns differ in length")
    parts: list[Bytes] = [_repeat(bytes((values.STRUCTURE,)) + values.encode_length(len(columns)), rows)]
    for tag, column in columns:
        if tag == values.OCTET_STRING:
            parts.append(_repeat(bytes((tag,)) + values.encode_length(column.shape[1]), rows))
            parts.append(column.astype(np.uint8))
            continue
        wire = np.dtype(values.NUMBERS[tag])
        if (
            wire.kind in "iu"
            and rows
            and not (int(column.min()) >= np.iinfo(wire).min and int(column.max()) <= np.iinfo(wire).max)
        ):
            raise Misuse(f"profile: {values.NAMES[tag]} cannot hold {column.min()}..{column.max()}")
        parts.append(_repeat(bytes((tag,)), rows))
        parts.append(np.ascontiguousarray(column.astype(wire)).view(np.uint8).reshape(rows, wire.itemsize))
    matrix = np.concatenate(parts, axis=1)
    return bytes((values.ARRAY,)) + values.encode_length(rows) + matrix.tobytes()


def _repeat(head: bytes, rows: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(head, dtype=np.uint8), (rows, len(head)))
