"""The event records of a DL/T 645-2007 meter: how often, and the last ten of each (Table A.4 and its supplements).

Each log has a count; where that is not 0 the records are read from the newest back, until one is older than what was asked for. Times are
the meter's own: whoever stores them knows how far its clock was off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from protocols.dlt645.exchange import Read, ReadAnswer
from protocols.dlt645.fields import Value
from protocols.dlt645.items import item
from protocols.dlt645.values import decode
from protocols.errors import FrameError, Refused
from protocols.localtime import from_local
from terminals.drivers.driver import Meter, Script
from terminals.drivers.happening import Happening

#: Records that a meter keeps of each log (Table A.4).
KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class Log:
    """kind: as in Happening. count: DI of how often. records: the DI of record -1 for each number in the answer to it that we follow;
    the numbers stand every `stride` values (totals of three phases: count and minutes of each)."""

    kind: str
    count: int
    records: tuple[int, ...]
    stride: int = 1


def _phases(kind: str, group: int) -> Log:
    return Log(
        kind, 0x03000000 | group << 16, tuple(0x03000001 | group << 16 | p << 8 for p in (1, 2, 3)), stride=2
    )


#: What is asked for unless a utility wants otherwise: what says that a number or a clock cannot be trusted. The rest of table A.4 is
#: there by its DI.
LOGS: Final = (
    Log("power-down", 0x03110000, (0x03110001,)),
    Log("cover-open", 0x03300D00, (0x03300D01,)),
    Log("terminal-cover-open", 0x03300E00, (0x03300E01,)),
    Log("clock-set", 0x03300400, (0x03300401,)),
    Log("programmed", 0x03300000, (0x03300001,)),
    Log("cleared", 0x03300100, (0x03300101,)),
    Log("magnetic-field", 0x03350000, (0x03350001,)),
    _phases("voltage-loss", 0x01),
    _phases("current-loss", 0x0B),
)
#: Names that a record gives the instant it began, and ended. A clock that was set shows two times, and neither is an end.
_BEGAN: Final = ("start", "time", "before")
_ENDED: Final = "end"


def events(meter: Meter, since: np.datetime64, logs: Sequence[Log] = LOGS) -> Script[tuple[Happening, ...]]:
    """What happened since then, and the newest record of each log whenever it was: it may have ended meanwhile."""
    found: list[Happening] = []
    for log in logs:
        counted = yield from _read(meter, log.count)
        if counted is None:
            continue
        numbers = [value.value for value in decode(log.count, counted)][:: log.stride]
        for first, number in zip(log.records, numbers, strict=False):
            times = number if isinstance(number, int) else 0
            for back in range(min(times, KEPT)):
                data = yield from _read(meter, first + back)
                record = None if data is None else happening(log.kind, first, data, meter, times - back)
                if record is None:
                    break
                found.append(record)
                if record.began < since:
                    break
    return tuple(found)


def happening(kind: str, di: int, data: bytes, meter: Meter, number: int) -> Happening | None:
    """A record as an event; None where it has no time: the meter keeps fewer than it has counted. FrameError: it is corrupt.

    di      of record -1 of its log, which names the event whichever place the record has now
    number  the how manieth it is
    """
    values = decode(di, data)
    told = {value.name: value.value for value in values}
    began = next((told[name] for name in _BEGAN if isinstance(told.get(name), dt.datetime)), None)
    if not isinstance(began, dt.datetime):
        return None
    ended = told.get(_ENDED)
    return Happening(
        f"dlt645.{di:08X}",
        kind,
        _utc(began, meter),
        _utc(ended, meter) if isinstance(ended, dt.datetime) else None,
        detail={"number": number, **dict(_plain(values, meter))},
    )


def _plain(values: Sequence[Value], meter: Meter) -> Iterator[tuple[str, Any]]:
    """What else the record says. Clock readings are instants, so that nobody has to ask whose time they are."""
    for value in values:
        if value.value is None or value.name in ("start", "end", "time"):
            continue
        if isinstance(value.value, dt.datetime):
            yield value.name, f"{_utc(value.value, meter)}Z"
        elif isinstance(value.value, Decimal):
            yield value.name, str(value.value)
        elif isinstance(value.value, int | str):
            yield value.name, value.value


def _utc(local: dt.datetime, meter: Meter) -> np.datetime64:
    return np.datetime64(from_local(np.array([local], "datetime64[us]"), meter.zone)[0], "us")


def _read(meter: Meter, di: int) -> Script[bytes | None]:
    """The data; None where the meter has none, or refuses: a log that it keeps to itself must not hide the others."""
    if item(di) is None:
        raise FrameError(f"event log {di:08X}: not in the table")
    try:
        answer: ReadAnswer = yield Read(meter.address, di)
    except Refused:
        return None
    return answer.data
