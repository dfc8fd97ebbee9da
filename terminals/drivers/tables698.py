"""The time-of-use tables and prices of a DL/T 698.45 server, as the document of tariffs/timetable.py: objects 4008 to 401B (A1 = 4).

Present and spare are objects of their own, so there are no numbered sets. Of 4015, 4017 and 401B the published list gives no layout: taken is
that of 4014, 4016 and 401A. A day table is one element of 4016 or 4017; that the OAD's index is its number is not confirmed either.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from protocols.dlt698 import clock, values
from protocols.dlt698.requests import Get, Set
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse, Refused
from terminals.drivers.driver import Script

OADS: Final[Mapping[str, int]] = {
    "zones": 0x40140200, "spare zones": 0x40150200,
    **{f"day {n}": 0x40160200 | n for n in range(1, 9)}, **{f"spare day {n}": 0x40170200 | n for n in range(1, 9)},
    "prices": 0x40180200, "spare prices": 0x40190200, "steps": 0x401A0200, "spare steps": 0x401B0200,
    "switch zones": 0x40080200, "switch days": 0x40090200, "switch prices": 0x400A0200, "switch steps": 0x400B0200,
    "holidays": 0x40110200,
}  # fmt: skip
COUNTS, STEP_COUNT, REST_WORD, REST_TABLE = 0x400C0200, 0x400D0200, 0x40120200, 0x40130200
_COUNTED: Final = ("zones", "days", "slots", "tariffs", "holidays")
#: the month of a holiday that is none
_UNSET: Final = (0, 0xFF)
#: a switch that never comes: a time whose every part is unset
NEVER: Final = b"\xff" * clock.DATE_TIME_S


def read(keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
    """The document, or these keys of it. What the server says it has not got is None."""
    wanted = {"counts", "rest", *OADS} if keys is None else set(keys) - {"sets"}
    found: dict[str, Any] = {}
    for key in sorted(wanted):
        if key == "counts":
            found[key] = yield from _counts()
        elif key == "rest":
            found[key] = yield from _rest()
        else:
            data = yield from _got(_oad(key))
            found[key] = None if data is None else _told(key, data)
    return found


def write(key: str, value: Any) -> Script[None]:
    """One key by SET. Refused: the server denies it."""
    yield Set(_oad(key), _said(key, value))


def _oad(key: str) -> int:
    if key not in OADS:
        raise Misuse(f"{key!r}: no such table of a DL/T 698.45 meter")
    return OADS[key]


def _got(oad: int) -> Script[Data | None]:
    try:
        data: Data = yield Get(oad)
    except Refused as refused:
        if not refused.absent:
            raise
        return None
    return None if data.tag == values.NULL else data


def _counts() -> Script[dict[str, int]]:
    data, steps = (yield from _got(COUNTS)), (yield from _got(STEP_COUNT))
    numbers = [0] * len(_COUNTED) if data is None else _numbers(data, len(_COUNTED))
    return {**dict(zip(_COUNTED, numbers, strict=True)), "steps": 0 if steps is None else _whole(steps)}


def _rest() -> Script[list[int] | None]:
    word, table = (yield from _got(REST_WORD)), (yield from _got(REST_TABLE))
    if word is None or table is None:
        return None
    if word.tag != values.BIT_STRING:
        raise FrameError("rest days: no bit string")
    bits = str(word.value)
    return [sum(1 << n for n, bit in enumerate(bits) if bit == "1"), _whole(table)]


# --- values ---


def _told(key: str, data: Data) -> Any:
    if key.startswith("switch"):
        return _moment(data)
    if key.endswith("prices"):
        return _list(data)
    if key.endswith("steps"):
        return _steps(data)
    if key == "holidays":
        return sorted(day for row in _rows(data) if (day := _holiday(row))[1] not in _UNSET)
    return [_numbers(row, 3) for row in _rows(data)]


def _said(key: str, value: Any) -> Data:
    if key.startswith("switch"):
        when = NEVER if value is None else clock.encode_time_s(np.datetime64(value, "us"))
        return Data(values.DATE_TIME_S, when)
    if key.endswith("prices"):
        return values.array(*(Data(values.DOUBLE_LONG_UNSIGNED, price) for price in value))
    if key.endswith("steps"):
        lists = (
            values.array(*(Data(values.DOUBLE_LONG_UNSIGNED, number) for number in value[name])) for name in ("limits", "prices")
        )  # fmt: skip
        return values.structure(*lists, values.array(*(_three(row) for row in value["dates"])))
    if key == "holidays":
        return values.array(*(_said_holiday(row) for row in value))
    return values.array(*(_three(row) for row in value))


def _three(row: Sequence[int]) -> Data:
    return values.structure(*(Data(values.UNSIGNED, part) for part in row))


def _rows(data: Data) -> Sequence[Data]:
    if data.tag != values.ARRAY:
        raise FrameError(f"table: {values.NAMES.get(data.tag, data.tag)} where an array must be")
    rows: Sequence[Data] = data.value
    return rows


def _numbers(data: Data, many: int) -> list[int]:
    if data.tag != values.STRUCTURE or len(data.value) != many:
        raise FrameError(f"table: a row that is no structure of {many}")
    return [_whole(part) for part in data.value]


def _whole(data: Data) -> int:
    if type(data.value) is not int:
        raise FrameError(f"table: {values.NAMES.get(data.tag, data.tag)} where a whole number must be")
    return data.value


def _list(data: Data) -> list[int]:
    return [_whole(item) for item in _rows(data)]


def _steps(data: Data) -> dict[str, Any]:
    if data.tag != values.STRUCTURE or len(data.value) != 3:
        raise FrameError("steps: no structure of thresholds, prices and dates")
    limits, prices, dates = data.value
    return {
        "limits": _list(limits),
        "prices": _list(prices),
        "dates": [_numbers(row, 3) for row in _rows(dates)],
    }


def _moment(data: Data) -> str | None:
    if data.tag != values.DATE_TIME_S:
        raise FrameError(f"switch: {values.NAMES.get(data.tag, data.tag)} where a date_time_s must be")
    try:
        when: dt.datetime = clock.decode_time_s(data.value).astype(dt.datetime)
    except FrameError:
        return None
    return when.isoformat(timespec="minutes")


def _holiday(row: Data) -> list[int]:
    if row.tag != values.STRUCTURE or len(row.value) != 2 or row.value[0].tag != values.DATE:
        raise FrameError("public holiday: no structure of date and table")
    day, number = row.value
    year, month, of, _ = struct.unpack(">HBBB", day.value)
    return [year, month, of, _whole(number)]


def _said_holiday(row: Sequence[int]) -> Data:
    year, month, of, number = row
    week = dt.date(year, month, of).isoweekday() % 7
    return values.structure(
        Data(values.DATE, struct.pack(">HBBB", year, month, of, week)), Data(values.UNSIGNED, number)
    )
