"""The event records of a Q/GDW 376.1 terminal (AFN 0E): important ones F1, ordinary ones F2, each a ring of 256 places.

A counter (AFN 0C F7: EC1, EC2) names the place that comes next, so the newest record stands before it. Read backwards from there until a
record is older than what was asked for; what the terminal has not got it leaves out or denies.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.errors import FrameError, Refused
from protocols.gdw376.exchange import Read, ReadEvents, Reply
from protocols.gdw376.forms import Clock, Event, PointMark
from protocols.gdw376.frame import Address
from protocols.localtime import from_local
from terminals.drivers.driver import Script
from terminals.drivers.happening import Happening

#: AFN 0C F7.
COUNTERS: Final = 7
#: Records of one request: eight of the longest (ERC 37, 78 bytes) still fit a frame on a network, and on radio the terminal sends fewer.
CHUNK: Final = 8
#: Records of one kind of one visit: who tells more in a day tells the same over and over.
MOST: Final = 64
PLACES: Final = 256

#: ERC -> kind, where there is a word that other protocols have too.
KINDS: Final[Mapping[int, str]] = {
    3: "programmed", 8: "programmed", 9: "current-loss", 10: "voltage-loss", 11: "phase-failure", 12: "clock-wrong", 13: "meter-fault",
    14: "power-down", 21: "terminal-fault", 24: "over-voltage", 25: "over-current", 31: "no-answer", 35: "unknown-meter",
    37: "cover-open", 38: "terminal-cover-open", 39: "no-answer", 40: "magnetic-field", 41: "clock-set", 45: "battery-low",
}  # fmt: skip
#: Power off and on (ERC 14): the record comes when it is off and again when it is on, and is one event.
POWER: Final = 14
#: Clock set (ERC 41): it begins with the point, and has two times.
CLOCK_SET: Final = 41
#: Points are counted from 1; 0 is the terminal itself.
ITSELF: Final = 0


def events(address: Address, since: np.datetime64, zone: ZoneInfo) -> Script[tuple[Happening, ...]]:
    """What the terminal has noted since then. Refused: it tells nothing of its counters."""
    reply: Reply = yield Read(address, (0,), (COUNTERS,))
    found: list[Happening] = []
    for important, name in ((True, "EC1"), (False, "EC2")):
        found += yield from _ring(address, since, zone, _counter(reply, name), important=important)
    return tuple(found)


def _counter(reply: Reply, name: str) -> int:
    for unit in reply.units:
        for value in unit.values:
            if unit.function == COUNTERS and value.name == name and isinstance(value.value, int):
                return value.value
    raise FrameError(f"event counters: the terminal does not say {name}")


def _ring(
    address: Address, since: np.datetime64, zone: ZoneInfo, after: int, *, important: bool
) -> Script[list[Happening]]:
    found: list[Happening] = []
    while len(found) < MOST:
        last = after or PLACES
        first = max(0, last - CHUNK)
        try:
            reply: Reply = yield ReadEvents(address, first, last % PLACES, important)
        except Refused:
            return found  # it has no record there: the ring has not been round yet
        told = list(_told(reply))
        some = [record for event in told if (record := happening(event, zone)) is not None]
        found += some
        if not told or any(record.began < since for record in some):
            return found
        after = first
    return found


def _told(reply: Reply) -> Iterator[Event]:
    for unit in reply.units:
        for value in unit.values:
            if isinstance(value.value, Event):
                yield value.value


def happening(event: Event, zone: ZoneInfo) -> Happening | None:
    """A record as an event; None where it has no time. Its minute is the terminal's own."""
    told = {value.name: value.value for value in event.values}
    point, begins = _point(told)
    began = _time(told.get("clock before")) if event.erc == CLOCK_SET else event.time
    ended = _time(told.get("power on time"))
    if began is None:
        return None
    detail = dict(_plain(told, zone))
    if not event.secret:
        detail["record"] = event.data.hex()
    if begins is not None:
        detail["begins"] = begins
    return Happening(
        f"gdw376.ERC{event.erc}",
        KINDS.get(event.erc, ""),
        _utc(began, zone),
        None if ended is None else _utc(ended, zone),
        of="terminal" if point == ITSELF else "point",
        at="" if point == ITSELF else str(point),
        # the same minute may see the same thing begin, end and begin: only an equal record is the same event
        seq=0 if event.erc == POWER else zlib.crc32(event.data) & 0x7FFFFFFF,
        detail=detail,
    )


def _point(told: Mapping[str, Any]) -> tuple[int, bool | None]:
    found = told.get("measuring point")
    if isinstance(found, PointMark):
        return found.point, found.begins
    return (found if isinstance(found, int) else ITSELF), None


def _time(told: Any) -> dt.datetime | None:
    told = told.time if isinstance(told, Clock) else told
    return told if isinstance(told, dt.datetime) else None


def _plain(told: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if name in ("measuring point", "event time"):
            continue
        time = _time(value)
        if time is not None:
            yield name.removeprefix("clock "), f"{_utc(time, zone)}Z"
        elif isinstance(value, Decimal):
            yield name, str(value)
        elif isinstance(value, int):
            yield name, value


def _utc(local: dt.datetime, zone: ZoneInfo) -> np.datetime64:
    return np.datetime64(from_local(np.array([local], "datetime64[us]"), zone)[0], "us")
