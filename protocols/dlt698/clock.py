"""Times of DL/T 698.45-2017 as bytes: date_time, date_time_s, date and time, both ways and for people.

A meter with a dead clock battery sends days that do not exist: `time_text` shows what came, only `decode_*` refuses it.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable
from typing import Final

import numpy as np

from protocols.errors import FrameError, Misuse

#: Bytes of each kind.
DATE_TIME: Final = 10
DATE: Final = 5
TIME: Final = 3
DATE_TIME_S: Final = 7


def encode_time_s(when: np.datetime64) -> bytes:
    """Naive local time -> the 7 bytes of date_time_s. Misuse: NaT."""
    t = _fields(when)
    return struct.pack(">HBBBBB", t.year, t.month, t.day, t.hour, t.minute, t.second)


def encode_time(when: np.datetime64) -> bytes:
    """Naive local time -> the 10 bytes of date_time, with day of week (0 Sunday) and milliseconds."""
    t = _fields(when)
    day = t.isoweekday() % 7
    return struct.pack(
        ">HBBBBBBH", t.year, t.month, t.day, day, t.hour, t.minute, t.second, t.microsecond // 1000
    )


def _fields(when: np.datetime64) -> dt.datetime:
    t: dt.datetime | None = when.astype("datetime64[us]").astype(dt.datetime)
    if t is None:
        raise Misuse("time: not a time")
    return t


def decode_time_s(raw: bytes) -> np.datetime64:
    """date_time_s -> naive local datetime64[us]. FrameError: not 7 bytes, or no date."""
    if len(raw) != DATE_TIME_S:
        raise FrameError(f"date_time_s: {len(raw)} bytes, must be 7", 0)
    return _moment(raw, *struct.unpack(">HBBBBB", raw))


def decode_time(raw: bytes) -> np.datetime64:
    """date_time -> naive local datetime64[us]; the day of week is not looked at. FrameError: not 10 bytes, or no date."""
    if len(raw) != DATE_TIME:
        raise FrameError(f"date_time: {len(raw)} bytes, must be 10")
    year, month, day, _, hour, minute, second, milliseconds = struct.unpack(">HBBBBBBH", raw)
    if milliseconds > 999:
        raise FrameError(f"date_time: {milliseconds} milliseconds, must be below 1000", 8)
    return _moment(raw, year, month, day, hour, minute, second, milliseconds * 1000)


def _moment(raw: bytes, *fields: int) -> np.datetime64:
    try:
        year, month, day, hour, minute, second = fields[:6]
        moment = dt.datetime(year, month, day, hour, minute, second, sum(fields[6:]))
    except ValueError:
        raise FrameError(f"date_time: {raw.hex()} is no date of the calendar", 0) from None
    return np.datetime64(moment, "us")


def _show_date_time(raw: bytes) -> str:
    year, month, day, week, hour, minute, second, ms = struct.unpack(">HBBBBBBH", raw)
    return f"{year:04}-{month:02}-{day:02} dow {week} {hour:02}:{minute:02}:{second:02}.{ms:03}"


def _show_date_time_s(raw: bytes) -> str:
    year, month, day, hour, minute, second = struct.unpack(">HBBBBB", raw)
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"


def _show_date(raw: bytes) -> str:
    year, month, day, week = struct.unpack(">HBBB", raw)
    return f"{year:04}-{month:02}-{day:02} dow {week}"


_SHOW: Final[dict[int, Callable[[bytes], str]]] = {
    DATE_TIME: _show_date_time,
    DATE_TIME_S: _show_date_time_s,
    DATE: _show_date,
    TIME: lambda raw: f"{raw[0]:02}:{raw[1]:02}:{raw[2]:02}",
}


def time_text(raw: bytes) -> str:
    """A time as it stands, for people; it need not exist. The kind is known by the size: 10, 5, 3 or 7 bytes."""
    return _SHOW[len(raw)](raw)
