"""One published message <-> readings, events, status. JSON (RFC 8259) in UTF-8; the layout is this program's own.

Readings of one meter (`data`), one row or up to ROWS of them:

    {"kind": "curve", "time": "2026-03-11T10:15:00+08:00", "quality": "good",
     "values": {"active_import": "1234.5678", "1-0:32.7.0": 230.1}}
    {"kind": "curve", "readings": [{"time": …, "quality": …, "values": {…}}, …]}

    kind     curve  the quarter-hour that ends at `time`;   day  the registers at the midnight that closes the day
             spot   values of any moment (the default)
    time     ISO 8601 with its offset from UTC: without one nobody knows when it was
    quality  good (the default); any other word keeps the row out: an estimate is no reading
    values   code of quantities.csv or its OBIS code -> number, as JSON number or, so that no program on the way rounds it, as text;
             in the unit of quantities.csv. What is missing is left out, or null; it is never 0

What happened (`event`): {"time": …, "code": "power-failure", "seq": 0, "ended": …, "detail": {…}}; only time and code are needed.
Whether the terminal is there (`status`): {"online": true}; the terminal's last will says false.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, Literal, get_args

import numpy as np

from protocols.errors import FrameError
from protocols.localtime import instant
from protocols.quantity import quantities
from protocols.reading import Column, Times, empty_column

Kind = Literal["curve", "day", "spot"]

#: Rows of one message: ten days of quarter-hours.
ROWS: Final = 960
#: Bytes of one message: ROWS rows of twenty quantities as text.
LONGEST: Final = 512 * 1024
#: A quarter-hour, in which curves are kept.
SLOT: Final = np.timedelta64(15, "m")
#: Registers are kept in 1e-4 kWh as int64; nothing that is measured comes near this.
_MOST: Final = Decimal(10) ** 13
_GOOD: Final = "good"


@dataclass(frozen=True, slots=True)
class Data:
    """Rows in order of time. `refused`: quality -> rows kept out because of it."""

    kind: Kind
    time: Times
    columns: Mapping[str, Column]
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as the terminal tells it. `ended` None: it goes on, or has no end."""

    time: dt.datetime
    code: str
    seq: int = 0
    ended: dt.datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def data(raw: bytes) -> Data:
    """Readings. FrameError names the row and what is wrong with it: nothing of a broken message is taken."""
    message = _object(raw)
    kind = message.get("kind", "spot")
    if kind not in get_args(Kind):
        raise FrameError(f"kind: {kind!r} is not one of {', '.join(get_args(Kind))}")
    rows, refused = [], dict[str, int]()
    for number, row in enumerate(_rows(message)):
        try:
            time, values, quality = _row(row, kind)
        except FrameError as error:
            raise FrameError(f"row {number}: {error.message}") from None
        if quality != _GOOD:
            refused[quality] = refused.get(quality, 0) + 1
        else:
            rows.append((time, values))
    rows.sort(key=lambda row: row[0])
    times = np.array([time for time, _ in rows], dtype="datetime64[us]")
    if (times[1:] == times[:-1]).any():
        raise FrameError("readings: one time stands twice")
    columns: dict[str, Column] = {}
    for at, (_, values) in enumerate(rows):
        for code, value in values.items():
            columns.setdefault(code, empty_column(code, len(rows)))[at] = value
    return Data(kind, times, columns, refused)


def event(raw: bytes) -> Happened:
    """FrameError if it is none."""
    message = _object(raw)
    code, seq, detail = message.get("code"), message.get("seq", 0), message.get("detail", {})
    if not isinstance(code, str) or not 0 < len(code) <= 80 or not code.isprintable():
        raise FrameError("code: a short text is needed")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 1 << 31:
        raise FrameError(f"seq: {seq!r} is not a number from 0")
    if not isinstance(detail, dict):
        raise FrameError("detail: it is no object")
    ended = message.get("ended")
    return Happened(
        _moment(message.get("time"), "time"), code, seq, None if ended is None else _moment(ended, "ended"),
        json.loads(json.dumps(detail, default=float)),
    )  # fmt: skip


def status(raw: bytes) -> bool:
    """Whether the terminal is on line. FrameError if it does not say."""
    online = _object(raw).get("online")
    if not isinstance(online, bool):
        raise FrameError("online: true or false is needed")
    return online


def _object(raw: bytes) -> dict[str, Any]:
    if len(raw) > LONGEST:
        raise FrameError(f"message: {len(raw)} bytes, at most {LONGEST} are read")
    try:
        told = json.loads(
            raw.decode("utf-8"), parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_pairs
        )
    except UnicodeDecodeError as error:
        raise FrameError("message: not UTF-8", error.start) from None
    except json.JSONDecodeError as error:
        raise FrameError(f"message: no JSON, {error.msg}", error.pos) from None
    except (ValueError, RecursionError) as error:  # an endless number, a thousand brackets
        raise FrameError(f"message: no JSON that is read here: {type(error).__name__}") from None
    if not isinstance(told, dict):
        raise FrameError("message: it is no object")
    return told


def _no_number(text: str) -> Any:
    raise FrameError(f"{text}: is no number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise FrameError("message: a name stands twice in one object")
    return told


def _rows(message: Mapping[str, Any]) -> list[Any]:
    if "readings" not in message:
        return [message]
    rows = message["readings"]
    if not isinstance(rows, list) or not 0 < len(rows) <= ROWS:
        raise FrameError(f"readings: a list of 1 to {ROWS} is needed")
    return rows


def _row(row: Any, kind: Kind) -> tuple[np.datetime64, dict[str, Any], str]:
    if not isinstance(row, dict):
        raise FrameError("it is no object")
    time = instant(_moment(row.get("time"), "time"))
    if kind == "curve" and (time - time.astype("datetime64[h]")) % SLOT:
        raise FrameError(f"time: {row['time']} ends no quarter-hour")
    quality = row.get("quality", _GOOD)
    if not isinstance(quality, str) or len(quality) > 40:
        raise FrameError("quality: a word is needed")
    told = row.get("values")
    if not isinstance(told, dict) or not told:
        raise FrameError("values: an object with at least one is needed")
    return time, dict(_values(told)), quality


def _values(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, value in told.items():
        code = name if name in quantities() else _by_obis().get(name)
        if code is None:
            raise FrameError(f"values: {name[:40]!r} is no quantity of quantities.csv, nor its OBIS code")
        if code in seen:
            raise FrameError(f"values: {code} stands there by two names")
        seen.add(code)
        if value is not None:
            yield code, _value(code, value)


def _value(code: str, value: Any) -> Any:
    """As the quantity's column holds it: registers in 1e-4 kWh with finer digits cut off, floats in the unit, counts, instants."""
    kind = quantities()[code].kind
    if kind == "moment":
        return instant(_moment(value, code))
    number = _number(code, value)
    if kind in ("instant", "demand"):
        return float(number)
    whole = int(number * 10_000) if kind == "register" else int(number)
    if whole < 0 or (kind == "event" and number != whole):
        raise FrameError(f"{code}: {value} cannot be a count")
    return whole


def _number(code: str, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise FrameError(f"{code}: {str(value)[:40]!r} is no number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise FrameError(
            f"{code}: {value[:40] if isinstance(value, str) else value!r} is no number"
        ) from None
    if not number.is_finite() or not -_MOST < number < _MOST:
        raise FrameError(f"{code}: {str(value)[:40]} is no value that can be measured")
    return number


def _moment(text: Any, name: str) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise FrameError(f"{name}: {str(text)[:40]!r} is no ISO 8601 time") from None
    if found.utcoffset() is None:
        raise FrameError(f"{name}: {text} has no offset from UTC")
    if not dt.datetime(1990, 1, 2) < found.replace(tzinfo=None) < dt.datetime(9998, 1, 1):
        raise FrameError(f"{name}: {text} cannot be true")
    return found


@cache
def _by_obis() -> dict[str, str]:
    """OBIS code -> quantity; of two with one code (a demand and its time) the first, the other goes by its name."""
    found: dict[str, str] = {}
    for code, quantity in quantities().items():
        if quantity.obis:
            found.setdefault(quantity.obis, code)
    return found
