"""Events of DL/T 698.45: records of the event objects 30xx and 31xx (attribute 2), read or reported.

A record begins with its number, its beginning, its end, its source and what has been reported of it (interface class 7, attribute 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.dlt698 import clock, values
from protocols.dlt698.apdu import Apdu, RecordResult, Result
from protocols.dlt698.frame import tsa_address
from protocols.dlt698.requests import GetRecords
from protocols.dlt698.values import Data, Rsd
from protocols.errors import FrameError, Refused
from protocols.localtime import from_local
from terminals.drivers.driver import Script
from terminals.drivers.happening import Happening, Of

#: Columns of a record: number, beginning, end, source.
NUMBER, BEGAN, ENDED, SOURCE = 0x20220200, 0x201E0200, 0x20200200, 0x20240200
SERVER: Final = 0x202A0200
COLUMNS: Final = (NUMBER, BEGAN, ENDED, SOURCE)
#: Object -> kind, where there is a word that other protocols have too.
KINDS: Final[Mapping[int, str]] = {
    0x3000: "voltage-loss", 0x3001: "under-voltage", 0x3002: "over-voltage", 0x3003: "phase-failure", 0x3004: "current-loss",
    0x3005: "over-current", 0x3007: "reverse-flow", 0x300D: "all-voltages-lost", 0x3011: "power-down", 0x3012: "programmed",
    0x3013: "cleared", 0x3014: "demand-cleared", 0x3015: "events-cleared", 0x3016: "clock-set", 0x301B: "cover-open",
    0x301C: "terminal-cover-open", 0x302A: "magnetic-field", 0x3105: "clock-wrong", 0x3106: "power-down",
}  # fmt: skip
#: What is asked of whoever keeps such records itself: the rest is reported, where a report scheme says so.
ASKED: Final = (0x3011, 0x3012, 0x3013, 0x3016, 0x301B, 0x301C, 0x302A, 0x3106)
#: Records back of one object: what a year of one event a month leaves, and the standard lets a meter keep ten.
DEPTH: Final = 10


def events(
    since: np.datetime64, zone: ZoneInfo, objects: Sequence[int] = ASKED
) -> Script[tuple[Happening, ...]]:
    """The records since then, each object's newest first, one a request: "the n-th last" (selector 9). What it refuses it has not."""
    found: list[Happening] = []
    for oi in objects:
        for back in range(1, DEPTH + 1):
            try:
                answer: RecordResult = yield GetRecords(oi << 16 | 0x0200, Rsd(9, count=back), COLUMNS)
            except Refused:
                break
            some = list(of_records(answer, zone))
            found += some
            if not some or some[0].began < since:
                break
    return tuple(found)


def reported(apdu: Apdu, zone: ZoneInfo) -> Iterator[Happening]:
    """The events of a report: attributes (choice 1) or records (choice 2). What is no event is passed over."""
    for result in apdu.fields.get("results") or ():
        if isinstance(result, Result) and result.data is not None and _is_event(result.oad):
            yield from of_attribute(result.oad, result.data, zone)
    for record in apdu.fields.get("records") or ():
        if isinstance(record, RecordResult) and _is_event(record.oad):
            yield from of_records(record, zone)


def _is_event(oad: int) -> bool:
    return 0x3000 <= oad >> 16 <= 0x32FF


def of_attribute(oad: int, data: Data, zone: ZoneInfo) -> Iterator[Happening]:
    """An event table (an array of records), or one record of it."""
    records = data.value if data.tag == values.ARRAY else (data,)
    for record in records:
        if record.tag == values.STRUCTURE and len(record.value) >= len(COLUMNS):
            found = _happening(oad, dict(zip(COLUMNS, record.value, strict=False)), zone)
            if found is not None:
                yield found


def of_records(result: RecordResult, zone: ZoneInfo) -> Iterator[Happening]:
    for row in result.rows or ():
        told = {
            column: cell for column, cell in zip(result.columns, row, strict=False) if isinstance(column, int)
        }
        found = _happening(result.oad, told, zone)
        if found is not None:
            yield found


def _happening(oad: int, told: Mapping[int, Data], zone: ZoneInfo) -> Happening | None:
    """None where it has no beginning: it has not happened."""
    began, ended = _time(told.get(BEGAN), zone), _time(told.get(ENDED), zone)
    if began is None:
        return None
    detail: dict[str, Any] = {}
    number, source, server = told.get(NUMBER), told.get(SOURCE), told.get(SERVER)
    if number is not None and isinstance(number.value, int):
        detail["number"] = number.value
    if source is not None and source.tag != values.NULL:
        detail["source"] = values.encode(source).hex()
    oi = oad >> 16
    address = _address(server)
    # 31xx is the terminal's own; of a meter's the record says whose it is, or it is whoever was asked
    of: Of = "address" if address else "terminal" if oi >= 0x3100 else "meter"
    return Happening(f"dlt698.{oi:04X}", KINDS.get(oi, ""), began, ended, of=of, at=address, detail=detail)


def _address(server: Data | None) -> str:
    """The digits of a target server address; '' without one."""
    return "" if server is None or server.tag != values.TSA else tsa_address(bytes(server.value)).digits


def _time(data: Data | None, zone: ZoneInfo) -> np.datetime64 | None:
    if data is None or data.tag != values.DATE_TIME_S:
        return None
    try:
        local = clock.decode_time_s(data.value)
    except FrameError:  # all FF: not yet, or never
        return None
    return None if np.isnat(local) else np.datetime64(from_local(np.array([local]), zone)[0], "us")
