"""Which rows of a profile buffer: range and entry descriptors (Blue Book IC 7, selective access by
range / by entry).

Ours, because dlms-cosem 25.1.0 decodes a range into naive datetimes for deviation 0, refuses selected
columns, and has no entry descriptor at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.dlms import values
from protocols.dlms.values import Data
from protocols.errors import FrameError

UTC: Final = ZoneInfo("UTC")
CLOCK_OBJECT: Final = (8, "0.0.1.0.0.255", 2, 0)


@dataclass(frozen=True, slots=True)
class RangeSelector:
    """Rows whose clock column is in [begin, end], both UTC and included (access selector 1).

    zone      civil time in which the two date-times are written; a meter that ignores the deviation then
              still understands its own clock
    columns   capture objects wanted (class, logical name, attribute, data index); empty: all
    restrict  the capture object that the range restricts
    """

    begin: np.datetime64
    end: np.datetime64
    zone: ZoneInfo = UTC
    columns: tuple[tuple[int, str, int, int], ...] = ()
    restrict: tuple[int, str, int, int] = CLOCK_OBJECT


@dataclass(frozen=True, slots=True)
class EntrySelector:
    """Rows by number, 1-based and included; `last` 0 is the newest. Columns the same way (access
    selector 2).
    """

    first: int
    last: int = 0
    first_column: int = 1
    last_column: int = 0


Selector = RangeSelector | EntrySelector


def capture_object(class_id: int, obis: str, attribute: int, index: int = 0) -> Data:
    """The structure by which a column is named: class, logical name, attribute, data index."""
    return values.structure(
        Data(values.LONG_UNSIGNED, class_id),
        values.octets(values.obis_bytes(obis)),
        Data(values.INTEGER, attribute),
        Data(values.LONG_UNSIGNED, index),
    )


def read_capture_object(data: Data) -> tuple[int, str, int, int]:
    """The inverse of `capture_object`. FrameError: another shape."""
    match values.plain(data):
        case [int() as class_id, bytes() as name, int() as attribute, int() as index]:
            return class_id, values.obis_text(name), attribute, index
    raise FrameError(
        f"capture object: {values.NAMES.get(data.tag, data.tag)} is not class, name, attribute, index"
    )


def encode(selector: Selector) -> bytes:
    """Access selector byte and its parameters."""
    if isinstance(selector, EntrySelector):
        body = values.structure(
            Data(values.DOUBLE_LONG_UNSIGNED, selector.first),
            Data(values.DOUBLE_LONG_UNSIGNED, selector.last),
            Data(values.LONG_UNSIGNED, selector.first_column),
            Data(values.LONG_UNSIGNED, selector.last_column),
        )
        return b"\x02" + values.encode(body)
    body = values.structure(
        capture_object(*selector.restrict),
        values.octets(values.encode_clock(selector.begin, selector.zone)),
        values.octets(values.encode_clock(selector.end, selector.zone)),
        values.array(*(capture_object(*column) for column in selector.columns)),
    )
    return b"\x01" + values.encode(body)


def decode_at(raw: bytes, offset: int, zone: ZoneInfo) -> tuple[Selector, int]:
    """The selector at `offset` and the offset behind it. `zone` is used where a date-time has no
    deviation.
    """
    kind = raw[offset : offset + 1]
    if not kind:
        raise FrameError("selective access: is missing", offset)
    data, end = values.decode_at(raw, offset + 1)
    try:
        return _selector(kind, data, zone), end
    except FrameError as error:
        raise FrameError(error.message, offset) from None


def _selector(kind: bytes, data: Data, zone: ZoneInfo) -> Selector:
    match kind, values.plain(data):
        case b"\x02", [int() as first, int() as last, int() as first_column, int() as last_column]:
            return EntrySelector(first, last, first_column, last_column)
        case b"\x01", [_, bytes() as begin, bytes() as finish, list()]:
            return RangeSelector(
                values.decode_clock(begin, zone).utc,
                values.decode_clock(finish, zone).utc,
                zone,
                tuple(read_capture_object(column) for column in data.value[3].value),
                read_capture_object(data.value[0]),
            )
    raise FrameError(f"selective access: selector {kind.hex()} has another shape")


def text(selector: Selector) -> str:
    """For people: "from 2026-03-01T00:00:00 to ..., columns 8/0.0.1.0.0.255/2, ..."."""
    if isinstance(selector, EntrySelector):
        rows = f"entries {selector.first} to {selector.last or 'the last'}"
        return f"{rows}, columns {selector.first_column} to {selector.last_column or 'the last'}"
    columns = ", ".join("/".join(map(str, column[:3])) for column in selector.columns)
    span = f"from {selector.begin} to {selector.end} UTC"
    return f"{span}, columns {columns}" if columns else span
