"""Data units <-> typed values, driven by items.csv.

A frame's units are told apart by their counts alone (walk.py); what their fields say is read when it is asked for.

A unit whose function the table does not know, or whose data do not fit its layout, keeps its bytes and says why; the units
behind it are found again where the rest of the frame can be read.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.errors import FrameError, Misuse
from protocols.gdw376.forms import (
    AUTHENTICATION_ERROR,
    FILLER,
    Clock,
    Event,
    PointMark,
    Typed,
    Value,
    decode_field,
    encode_field,
)
from protocols.gdw376.items import Group, Layout, item
from protocols.gdw376.units import SIZE, Ident, is_ident
from protocols.gdw376.walk import (
    DENSITY_MINUTES,
    ROUNDS,
    Found,
    Steps,
    compiled,
    decode_event,
    decode_layout,
    encode_event,
    encode_layout,
    event_codes,
    laid_out,
    measure,
    walk,
)
from protocols.localtime import instant
from protocols.quantity import quantities

__all__ = [
    "DENSITY_MINUTES", "FILLER", "UNIT_LIMIT", "Clock", "Event", "PointMark", "Typed", "Unit", "Value", "decode",
    "decode_event", "decode_field", "decode_layout", "decode_units", "encode", "encode_event", "encode_field",
    "encode_layout", "encode_units", "laid_out", "number_of", "taken_at",
]  # fmt: skip

#: AFN whose requests consist of identifiers, whatever the function (AFN 0A has three that the table knows).
_ASKED_WITHOUT_DATA: Final = (0x09, 0x0A, 0x0C)
#: Data units read out of one frame: all 2040 points of a terminal, once. Identifiers without data could name 262,000.
UNIT_LIMIT: Final = 2048
#: EC1 EC2 Pm Pn stand before the records of an event unit.
_EVENTS_AT: Final = 4
#: Units tried and loops run in search of the end of unknown units, per frame: about two milliseconds, whatever the bytes are.
_SEARCH_LIMIT: Final = 2000
#: Bytes that known units must fill before an unknown one for a place to count as found: by chance it happens once in thousands.
_CONVINCING: Final = 12

#: Units of one frame whose misfit is told field by field, and fields looked at for it: it is work, and the tenth tells no more.
_REASONS: Final = 8
_REASON_FIELDS: Final = 60

Number = int | float | np.datetime64


@dataclass(frozen=True, slots=True, repr=False)
class Unit:
    """One data unit. data: its bytes without the identifier. why: '' or why they could not be read; else `layout` fits them."""

    afn: int
    point: int
    function: int
    data: bytes = b""
    layout: Layout = ()
    why: str = ""
    _read: tuple[Value, ...] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Unit({self.afn:02X}H, p{self.point}, F{self.function}, {len(self.data)} bytes, {self.why or self.values})"

    @property
    def known(self) -> bool:
        return not self.why

    @property
    def values(self) -> tuple[Value, ...]:
        """Its fields in the order of the layout; () where it is not known."""
        if self._read is None:
            read = decode_layout(self.layout, self.data)[0] if self.known else ()
            object.__setattr__(self, "_read", read)  # read once, when first asked for
            return read
        return self._read

    def walk(self) -> Iterator[Found]:
        """Its fields one by one with their ranges in `data`, for who will not look at all of them."""
        return walk(self.layout, self.data) if self.known else iter(())

    @property
    def secret(self) -> bool:
        """Whether the bytes carry something that is not for every eye; unknown parameters are taken for such."""
        if not self.known:
            return _may_hide(self.afn, self.function)
        if self.afn == 0x0E:
            return AUTHENTICATION_ERROR in event_codes(self.data, _EVENTS_AT)
        return _hides(self.layout)

    @property
    def empty(self) -> bool:
        """Whether the terminal answered with nothing but fillers: behind the time tag and the read time all is EE.

        It has not got these data (yet): no proof that the meter has not.
        """
        told = [
            value for value in self.values if not isinstance(value.value, dt.date) and not value.field.counts
        ]
        return bool(told) and all(value.gap == "EE" for value in told)

    def quantities(self, zone: ZoneInfo | None = None) -> dict[str, Number]:
        """What of this unit has a code in quantities.csv, gaps left out: as `number_of` has them.

        Moments only with `zone`, the terminal's. Of a curve the last point stays: see bulk.py.
        """
        found: dict[str, Number] = {}
        taken = taken_at(self.values)
        for value in self.values:
            number = number_of(value, taken, zone)
            if number is not None:
                found[value.quantity] = number
        return found


def taken_at(values: Iterable[Value]) -> dt.datetime | None:
    """When the terminal read the meter, naive local time: the year of times that carry none."""
    for value in values:
        if isinstance(value.value, dt.datetime):
            return value.value
    return None


def number_of(value: Value, taken: dt.datetime | None = None, zone: ZoneInfo | None = None) -> Number | None:
    """The value as its column keeps it, or None where it has no quantity or is missing.

    Registers int in 1e-4 of the unit, events int, instants and demands float in the unit, moments datetime64[us] UTC: these
    need the `zone`, and those without a year the time `taken`, behind which they cannot lie.
    """
    if not value.quantity or value.gap:
        return None
    kind = quantities()[value.quantity].kind
    found = value.value
    if kind == "moment":
        when = _moment(found, taken)
        return instant(when.replace(tzinfo=zone)) if when and zone else None
    if not isinstance(found, int | Decimal):
        return None
    if kind == "register":
        return int(Decimal(found) * 10_000)
    if kind == "event":
        return int(found)
    # a power factor comes in percent; its quantity is a ratio
    return float(found) / 100 if value.unit == "%" else float(found)


def _moment(found: Typed, taken: dt.datetime | None) -> dt.datetime | None:
    """A time as `forms` spells it -> naive local time. A.17 has no year: the last such moment that is not in the future."""
    if isinstance(found, dt.datetime):
        return found
    if not isinstance(found, str) or taken is None or len(found) != len("MM-DD hh:mm"):
        return None
    for year in range(taken.year, taken.year - 9, -1):  # a 29th of February may be eight years back
        try:
            when = dt.datetime.strptime(f"{year}-{found}", "%Y-%m-%d %H:%M")
        except ValueError:
            continue
        if when <= taken + dt.timedelta(days=1):  # the clocks of meter and terminal differ
            return when
    return None


@lru_cache(maxsize=1024)
def _hides(layout: Layout) -> bool:
    return any(_hides(node.nodes) if isinstance(node, Group) else node.secret for node in layout)


def _may_hide(afn: int, function: int) -> bool:
    if afn in (0x06, 0x10):
        return True
    found = item(afn, function)
    layouts = ((found.down or ()) + (found.up or ())) if found else ()
    return afn in (0x04, 0x0A) and (found is None or not layouts or any(_hides(layout) for layout in layouts))


# --- the data units of a frame ---


def decode_units(afn: int, body: bytes, *, uplink: bool, base: int = 0) -> tuple[Unit, ...]:
    """The data unit area of a frame -> its units. Never raises: what cannot be read is a Unit that says why.

    `base`: where the area begins in the frame, for the offsets in `why`.
    """
    return tuple(unit for unit, _ in placed_units(afn, body, uplink=uplink, base=base))


def placed_units(afn: int, body: bytes, *, uplink: bool, base: int = 0) -> Iterator[tuple[Unit, int]]:
    """As `decode_units`, each with the offset in `body` at which its data begin."""
    return _Reader(afn, body, uplink, base).units()


def encode_units(parts: Iterable[tuple[Ident, Sequence[bytes]]]) -> bytes:
    """(identifier, data of each of its point-function pairs in order) -> the data unit area. Misuse if counts differ."""
    out = bytearray()
    for ident, data in parts:
        if len(data) != len(ident.points) * len(ident.functions):
            raise Misuse(
                f"data units: {len(data)} given, {len(ident.points) * len(ident.functions)} identified"
            )
        out += ident.raw + b"".join(data)
    return bytes(out)


_Pairs = deque[tuple[int, int]]
_NO_FUNCTION: Final = "the table has no such function"
_NO_LAYOUT: Final = "the table has no layout for it"


class _Reader:
    def __init__(self, afn: int, body: bytes, uplink: bool, base: int) -> None:
        self._afn, self._body, self._uplink, self._base = afn, body, uplink, base
        self._budget = _SEARCH_LIMIT
        self._reasons = _REASONS
        self._asks_only = not uplink and afn in _ASKED_WITHOUT_DATA
        self._places: list[int] | None = None

    def units(self) -> Iterator[tuple[Unit, int]]:
        body, at, count, pairs = self._body, 0, 0, _Pairs()
        while pairs or at < len(body):
            count += 1
            if count > UNIT_LIMIT:
                yield self._nameless(at, f"more than {UNIT_LIMIT} data units")
                return
            if not pairs:
                if len(body) - at < SIZE:
                    yield self._nameless(at, "too short for an identifier")
                    return
                pairs = _Pairs(_pairs(body[at : at + SIZE]))
                at += SIZE
                if not pairs:
                    yield self._nameless(at, f"identifier {body[at - SIZE : at].hex()} names nothing")
                    return
            point, function = pairs.popleft()
            layout, end, _ = self._fitting(function, at, bool(pairs))
            if layout is not None:
                yield Unit(self._afn, point, function, body[at:end], layout), at
                at = end
                continue
            end = at if self._asks_only else self._resume(at, pairs)
            yield Unit(self._afn, point, function, body[at:end], why=self._why(function, at)), at
            at = end
            if at == len(body) and pairs:
                yield from self._untold(pairs, count, at)
                return

    def _untold(self, pairs: _Pairs, count: int, at: int) -> Iterator[tuple[Unit, int]]:
        for point, function in list(pairs)[: max(0, UNIT_LIMIT - count)]:
            yield Unit(self._afn, point, function, why="its data could not be told from those before"), at

    def _nameless(self, at: int, why: str) -> tuple[Unit, int]:
        return Unit(self._afn, -1, -1, self._body[at:], why=why), at

    def _fitting(self, function: int, at: int, more: bool) -> tuple[Layout | None, int, int]:
        """The first edition of the layout behind which the next unit or the end of the frame may stand: it, where, what it cost."""
        cost = 1
        for layout, steps in _editions(self._afn, function, self._uplink):
            counts: dict[str, int] = {}
            end = measure(steps, self._body, at, counts)
            cost += counts.get(ROUNDS, 0) + 1
            if end >= 0 and (more or end == len(self._body) or is_ident(self._body[end : end + SIZE])):
                return layout, end, cost
        return None, -1, cost

    def _why(self, function: int, at: int) -> str:
        editions = _editions(self._afn, function, self._uplink)
        if not editions:
            return _NO_LAYOUT if item(self._afn, function) else _NO_FUNCTION
        why = "it does not end where the next unit or the frame does"
        self._reasons -= 1
        for layout, _ in editions if self._reasons >= 0 and self._afn != 0x0E else ():
            try:
                deque(islice(walk(layout, self._body, at), _REASON_FIELDS), maxlen=0)
            except FrameError as error:
                why = str(error.moved(self._base))
        return why

    def _resume(self, start: int, pairs: _Pairs) -> int:
        """Where the unit that begins at `start` ends.

        The first place from which all the rest can be read; else the first from which enough is read before the next unknown one.
        """
        second = -1
        for at in range(start, len(self._body)) if pairs else self._candidates(start):
            if self._budget <= 0:
                break
            reached = self._read_on(at, _Pairs(pairs))
            if reached == len(self._body):
                return at
            if second < 0 and reached - at >= _CONVINCING:
                second = at
        return second if second >= 0 else len(self._body)

    def _candidates(self, start: int) -> Iterator[int]:
        """Where identifiers of functions that the table lays out may stand, from `start` on."""
        if self._places is None:
            self._places = _identifiers(self._body, self._afn, self._uplink).tolist()
        places = self._places
        return (places[k] for k in range(bisect_left(places, start), len(places)))

    def _read_on(self, at: int, pairs: _Pairs) -> int:
        """How far known units follow one another from `at` on: to the end of the body, or to an identifier of unknown functions."""
        body = self._body
        while pairs or at < len(body):
            if self._budget <= 0:
                return -1
            if not pairs:
                pairs = _Pairs(_pairs(body[at : at + SIZE]))
                if not pairs:
                    return -1
                if not _editions(self._afn, pairs[0][1], self._uplink):
                    self._budget -= 1
                    return at
                at += SIZE
            layout, at, cost = self._fitting(pairs.popleft()[1], at, bool(pairs))
            self._budget -= cost
            if layout is None:
                return -1
        return at


@lru_cache(maxsize=256)
def _pairs(raw: bytes) -> tuple[tuple[int, int], ...]:
    """(point, function) in the order of their data; () for what is no identifier."""
    return tuple(Ident(raw).pairs()) if is_ident(raw) else ()


def _identifiers(body: bytes, afn: int, uplink: bool) -> NDArray[np.int64]:
    """Offsets of four bytes that name at least one point and only functions with a layout, ascending."""
    raw = np.frombuffer(body, np.uint8)
    if len(raw) < SIZE:
        return np.zeros(0, np.int64)
    da1, da2, dt1, dt2 = (raw[k : len(raw) - SIZE + 1 + k] for k in range(SIZE))
    good = ((da1 > 0) == (da2 > 0)) & _laid(afn, uplink)[dt2, dt1]
    return np.flatnonzero(good)


@lru_cache(maxsize=64)
def _laid(afn: int, uplink: bool) -> NDArray[np.bool_]:
    """bool[256, 256]: whether all functions that DT2, DT1 name have a layout."""
    laid = np.zeros((256, 256), np.bool_)
    for group in range(32):
        known = sum(1 << k for k in range(8) if _editions(afn, 8 * group + k + 1, uplink))
        bits = np.arange(256)
        laid[group] = (bits > 0) & ((bits & ~known) == 0)
    return laid


# --- one data unit ---


def decode(afn: int, function: int, data: bytes, *, uplink: bool = True) -> tuple[Value, ...]:
    """The data of one unit, the whole of it -> its values. FrameError if no edition of the layout fits them."""
    error = FrameError(f"AFN {afn:02X} F{function}: the table has no layout", offset=0)
    for layout, _ in _editions(afn, function, uplink):
        try:
            values, end = decode_layout(layout, data)
        except FrameError as fault:
            error = fault
            continue
        if end == len(data):
            return values
        error = FrameError(
            f"data: {len(data) - end} bytes too many for AFN {afn:02X} F{function}", offset=end
        )
    raise error


def encode(
    afn: int, function: int, values: Sequence[Typed], *, uplink: bool = True, edition: int = 0
) -> bytes:
    """The reverse: values in the order `decode` gives them, None for a filler. Misuse if they do not fit."""
    editions = _editions(afn, function, uplink)
    if edition >= len(editions):
        raise Misuse(f"AFN {afn:02X} F{function}: the table has no layout {edition}")
    return encode_layout(editions[edition][0], values)


@lru_cache(maxsize=1024)
def _editions(afn: int, function: int, uplink: bool) -> tuple[tuple[Layout, Steps], ...]:
    found = item(afn, function)
    layouts = (found.layouts(uplink=uplink) if found else None) or ()
    return tuple((layout, compiled(layout)) for layout in layouts)
