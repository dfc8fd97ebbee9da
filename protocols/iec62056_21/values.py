"""Data sets in a text: `ID(value*unit)(value*unit)...`, one or more to a line; load profiles; what goes into Reads.

Numbers come out as Decimal, exactly as written; everything else as the text that it is. Blanks around a value are not part
of it; nothing at all, or dashes, is missing: None, never 0.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import numpy as np

from protocols.errors import FrameError, Misuse
from protocols.iec62056_21.items import Item, item
from protocols.localtime import instant
from protocols.quantity import quantities
from protocols.reading import Column, Reads, Times, empty_column

#: A number has at most 32 characters (IEC 62056-21:2002, clause 6: a value); longer ones are text.
_NUMBER: Final = re.compile(r"[+-]? *\d{1,24}(?:\.\d{0,24})?")
_MISSING: Final = re.compile(r"[-*. ]*")
_SET: Final = re.compile(rb"([^()\r\n]*)((?:\([^()\r\n]*\))+)")
_GROUP: Final = re.compile(rb"\(([^()\r\n*]*)(?:\*([^()\r\n]*))?\)")
#: What follows always matches, so nothing is tried again. No possessive groups: before Python 3.11.5 one that fails half-way has moved on.
_ALL: Final = re.compile(rb"(?:[\r\n]*+[^()\r\n]*+(?:\([^()\r\n]*+\))+)*[\r\n]*+")
_BETWEEN: Final = re.compile(rb"[\r\n]*")
#: A unit as the meter writes it -> (the unit of quantities.csv, power of ten).
_UNITS: Final[dict[str, tuple[str, int]]] = {
    "deg": ("°", 0), "°": ("°", 0), "Hz": ("Hz", 0), "h": ("h", 0), "s": ("s", 0), "°C": ("°C", 0),
    **{f"{prefix}{unit}": (base, power)
       for unit, base, back in (
           ("Wh", "kWh", 3), ("varh", "kvarh", 3), ("VAh", "kVAh", 3),
           ("W", "kW", 3), ("var", "kvar", 3), ("VA", "kVA", 3), ("V", "V", 0), ("A", "A", 0))
       for prefix, power in (("m", -3 - back), ("", -back), ("k", 3 - back), ("M", 6 - back), ("G", 9 - back))},
}  # fmt: skip
_STAMP: Final = re.compile(r"([0-3])?(\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?([SW])?")
_SEASONS: Final = {"0": "winter", "1": "summer", "2": "utc", "3": "", "W": "winter", "S": "summer"}


@dataclass(frozen=True, slots=True)
class Value:
    """One bracket: what stands before * and behind it."""

    text: str
    unit: str = ""

    @property
    def plain(self) -> Decimal | str | None:
        text = self.text.strip()
        if _NUMBER.fullmatch(text):
            return Decimal(text.replace(" ", ""))
        return None if _MISSING.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class DataSet:
    """`id` '' where a line begins with a bracket. `start`, `end`: its place in the text, line end not counted."""

    id: str
    values: tuple[Value, ...]
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


def parse(text: bytes) -> list[DataSet]:
    """The data sets of a block's text, its closing `!` taken off. FrameError at the first character that fits none."""
    return list(sets(text))


def check(text: bytes) -> None:
    """FrameError as `parse`, without taking anything apart."""
    end = body_end(text)
    found = _ALL.match(text, 0, end)
    if found is None or found.end() < end:
        raise FrameError("data set: ID(value) is needed", found.end() if found else 0)


def sets(text: bytes) -> Iterator[DataSet]:
    """As `parse`, one after the other."""
    at, end = 0, body_end(text)
    while (at := _next(text, at)) < end:
        found = _SET.match(text, at, end)
        if found is None:
            raise FrameError("data set: ID(value) is needed", at)
        values = tuple(Value(_text(value), _text(unit)) for value, unit in _GROUP.findall(found[2]))
        yield DataSet(_text(found[1]).strip(), values, at, found.end())
        at = found.end()


def _next(text: bytes, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def body_end(text: bytes) -> int:
    """Where the data sets end: before the `!` CR LF of a readout."""
    shorter = text.rstrip(b"\r\n")
    return len(shorter) - 1 if shorter.endswith(b"!") else len(text)


def encode(found: Iterable[DataSet]) -> bytes:
    """Data sets -> text, each on its own line. Misuse if a character has a meaning of its own."""
    lines = []
    for data in found:
        pieces = [data.id, *(piece for value in data.values for piece in (value.text, value.unit))]
        if any(not piece.isascii() or re.search(r"[()\r\n]", piece) for piece in pieces):
            raise Misuse("data set: brackets and line ends cannot be sent in a value")
        brackets = (
            f"({value.text}*{value.unit})" if value.unit else f"({value.text})" for value in data.values
        )
        lines.append(f"{data.id}{''.join(brackets)}\r\n")
    return "".join(lines).encode("ascii")


# --- one value ---


def scaled(value: Value, unit: str) -> Decimal | None:
    """The number in `unit`; None if there is none, or its own unit is of another kind. Without one it is in `unit`."""
    number = value.plain
    if not isinstance(number, Decimal):
        return None
    if not value.unit.strip():
        return number
    base, power = _UNITS.get(value.unit.strip(), ("?", 0))
    return number.scaleb(power) if base == unit else None


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time stamp (ZST). `season`: 'summer', 'winter', 'utc' or '' where the meter does not say."""

    time: dt.datetime
    season: str = ""

    def instant(self, zone: dt.tzinfo) -> np.datetime64:
        """datetime64[us] UTC. In the hour that comes twice the season tells which; without it the first pass."""
        if self.season == "utc":
            return instant(self.time.replace(tzinfo=dt.UTC))
        return instant(self.time.replace(tzinfo=zone, fold=1 if self.season == "winter" else 0))


def stamp(text: str) -> Stamp | None:
    """[season]YYMMDD[hhmm[ss]], with or without - : and blanks between; a letter S or W behind also says the season.

    None for what is no time: never written (all zero), or no date.
    """
    digits = re.sub(r"[-:. ]", "", text)
    found = _STAMP.fullmatch(digits)
    if found is None:
        return None
    before, *numbers, behind = found.groups()
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    if hour == 24 and minute == second == 0:  # the end of the day
        shown = stamp(f"{before or ''}{year:02d}{month:02d}{day:02d}000000{behind or ''}")
        return Stamp(shown.time + dt.timedelta(days=1), shown.season) if shown else None
    try:
        time = dt.datetime(2000 + year, month, day, hour, minute, second)
    except ValueError:
        return None
    return Stamp(time, _SEASONS.get(before or behind or "", ""))


# --- registers into columns ---


def quantity_values(found: Iterable[DataSet]) -> dict[str, int | float | Stamp]:
    """code in quantities.csv -> present value: registers in 1e-4 of the unit (further digits cut off), counts as int,
    the rest as float; the moment of a maximum demand as its Stamp. The first of equal codes wins.

    Net powers that the meter sends only as import and export (1.7.0, 2.7.0; 3.7.0, 4.7.0) are their difference.
    """
    numbers: dict[str, int | float | Stamp] = {}
    both: dict[str, Decimal] = {}
    for data in found:
        meaning = item(data.id)
        if meaning is None or not data.values:
            continue
        if meaning.code.key in _SIDES and meaning.code.present:
            number = scaled(data.values[0], meaning.unit)
            if number is not None:
                both.setdefault(meaning.code.key, number)
        if meaning.quantity and meaning.quantity not in numbers:
            _add(numbers, meaning, data.values)
    for code, plus, minus in (("active_power", "1.7.0", "2.7.0"), ("reactive_power", "3.7.0", "4.7.0")):
        if code not in numbers and plus in both and minus in both:
            numbers[code] = float(both[plus] - both[minus])
    return numbers


_SIDES: Final = ("1.7.0", "2.7.0", "3.7.0", "4.7.0")


def _add(numbers: dict[str, int | float | Stamp], meaning: Item, values: Sequence[Value]) -> None:
    quantity = quantities()[meaning.quantity]
    number = scaled(values[0], quantity.unit)
    if number is None:
        return
    if quantity.kind == "register":
        if number < 10**12:  # int64 in 1e-4, with room
            numbers[quantity.code] = int(number.scaleb(4))
    elif quantity.kind == "event":
        numbers[quantity.code] = int(number)
    else:
        numbers[quantity.code] = float(number)
    moment = f"{quantity.code}_time"
    if len(values) > 1 and moment in quantities() and (when := stamp(values[1].text)) is not None:
        numbers[moment] = when


def reads(meter: int, time: np.datetime64, found: Iterable[DataSet], zone: dt.tzinfo) -> Reads:
    """One row: the present values of a readout, read at `time` (UTC); `zone` is the meter's clock."""
    columns: dict[str, Column] = {}
    for code, number in quantity_values(found).items():
        columns[code] = empty_column(code, 1)
        columns[code][0] = number.instant(zone) if isinstance(number, Stamp) else number
    return Reads(np.array([meter], np.int64), np.array([time], "datetime64[us]"), columns)


# --- load profiles ---


@dataclass(frozen=True, slots=True)
class Profile:
    """One header of P.01 with the rows behind it: a change of status or a gap begins a new one.

    start    of the first row: the end of its period        status    hexadecimal, as written
    minutes  between rows; 0 where the header says nothing   columns   (identifier, unit) of each value
    """

    id: str
    start: Stamp | None
    status: str
    minutes: int
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Value, ...], ...]


def profiles(found: Iterable[DataSet]) -> list[Profile]:
    """P.01(ZST)(status)(minutes)(n)(KZ1)(unit1)...(KZn)(unitn), then rows (v1)...(vn); P.98 has its row in the same line.

    FrameError if a row has no header before it or not n values; its offset is the data set's in the text.
    """
    made: list[tuple[Profile, list[tuple[Value, ...]]]] = []
    for data in found:
        if data.id:
            header, rest = _header(data)
            made.append((header, []))
        elif made:
            rest = data.values
        else:
            raise FrameError("profile: a row stands before any header", data.start)
        header, lines = made[-1]
        width = len(header.columns)
        if (len(rest) % width if width else len(rest)) != 0:
            raise FrameError(f"profile: a row has {len(rest)} values, the header says {width}", data.start)
        lines += (
            (rest[at : at + width] for at in range(0, len(rest), width)) if width else [()]
        )  # an event has only its time
    return [
        Profile(head.id, head.start, head.status, head.minutes, head.columns, tuple(lines))
        for head, lines in made
    ]


#: Behind these four brackets a header names its columns.
_HEAD: Final = 4


def _header(data: DataSet) -> tuple[Profile, tuple[Value, ...]]:
    texts = [value.text.strip() for value in data.values]
    if len(texts) < _HEAD:
        raise FrameError(f"profile header: {len(texts)} values, at least {_HEAD} are needed", data.start)
    when, status, minutes, count = texts[:_HEAD]
    if not re.fullmatch(r"\d{1,3}", count) or len(texts) < _HEAD + 2 * int(count):
        raise FrameError("profile header: the number of columns does not fit the columns", data.start)
    if not re.fullmatch(r"\d{0,5}", minutes):
        raise FrameError("profile header: the interval is no number of minutes", data.start)
    end = _HEAD + 2 * int(count)
    columns = tuple(zip(texts[_HEAD:end:2], texts[_HEAD + 1 : end : 2], strict=True))
    return Profile(data.id, stamp(when), status, int(minutes or 0), columns, ()), data.values[end:]


def profile_reads(meter: int, found: Sequence[Profile], zone: dt.tzinfo) -> Reads:
    """The rows that have a time -> Reads, time in UTC, a row named by the end of its period.

    Only columns with a quantity are there: registers and instantaneous values; averages (D = 5) have none.
    """
    times: list[Times] = []
    columns: dict[str, list[tuple[int, Column]]] = {}
    count = 0
    for profile in found:
        if profile.start is None or not profile.rows:
            continue
        n = len(profile.rows)
        step = np.timedelta64(profile.minutes * 60_000_000, "us")
        times.append(profile.start.instant(zone) + np.arange(n) * step)
        for at, (identifier, unit) in enumerate(profile.columns):
            meaning = item(identifier)
            if meaning is not None and meaning.quantity:
                column = _profile_column(meaning.quantity, [row[at] for row in profile.rows], unit)
                columns.setdefault(meaning.quantity, []).append((count, column))
        count += n
    joined: Mapping[str, Column] = {code: _joined(code, parts, count) for code, parts in columns.items()}
    time = np.concatenate(times) if times else np.empty(0, "datetime64[us]")
    return Reads(np.full(count, meter, np.int64), time, joined)


def _profile_column(code: str, values: Sequence[Value], unit: str) -> Column:
    quantity = quantities()[code]
    column = empty_column(code, len(values))
    for row, value in enumerate(values):
        number = scaled(Value(value.text, value.unit or unit), quantity.unit)
        if number is not None and abs(number) < 10**12:
            column[row] = int(number.scaleb(4)) if quantity.kind == "register" else number
    return column


def _joined(code: str, parts: Sequence[tuple[int, Column]], count: int) -> Column:
    column = empty_column(code, count)
    for begin, part in parts:
        column[begin : begin + len(part)] = part
    return column
