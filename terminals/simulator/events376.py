"""The event records of a Q/GDW 376.1 concentrator: what it noted of the meters on its port, from their diaries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.gdw376.values import Clock, Event, PointMark, Typed, encode_event
from protocols.localtime import as_datetime
from terminals.simulator.diary import Entry
from terminals.simulator.meter import Meter
from terminals.simulator.physics import NOT_SHOWN, SHOWN
from terminals.simulator.scenario import ZONE

#: What it notes: an opened cover is important, a lost voltage ordinary (begun and ended, a record each).
IMPORTANT: Final[Mapping[str, int]] = {"cover-open": 37}
ORDINARY: Final[Mapping[str, int]] = {"voltage-loss": 10}
#: Fault flags of ERC 10: what is wrong in D7-D6, the phases in D2-D0.
_LOST: Final = 0x80


def noted(points: Mapping[int, Meter], now: np.datetime64, *, important: bool) -> list[Event]:
    """Every record so far, the oldest first."""
    ercs = IMPORTANT if important else ORDINARY
    found: list[tuple[np.datetime64, int, Event]] = []
    for point, meter in points.items():
        if meter.dead:
            continue
        for entry in meter.diary.all(now):
            if entry.kind == "cover-open" and important:
                found.append(
                    (entry.end, point, encode_event(ercs[entry.kind], _cover(meter, point, entry, now)))
                )
            elif entry.kind == "voltage-loss" and not important:
                for at, begins in ((entry.begin, True), (entry.end, False)):
                    record = encode_event(ercs[entry.kind], _loss(meter, point, entry, at, begins=begins))
                    found.append((at, point, record))
    return [event for _, _, event in sorted(found, key=lambda row: row[:2])]


def counted(points: Mapping[int, Meter], now: np.datetime64, *, important: bool) -> int:
    """How many those are."""
    kinds = IMPORTANT if important else ORDINARY
    happened = [
        e for meter in points.values() if not meter.dead for e in meter.diary.all(now) if e.kind in kinds
    ]
    return len(happened) * (1 if important else 2)


def _cover(meter: Meter, point: int, entry: Entry, now: np.datetime64) -> list[Typed]:
    """The event time is when the terminal learned of it."""
    earlier = [other for other in meter.diary.of("cover-open", now) if other.begin <= entry.begin]
    mark = PointMark(point, True)
    energies = [_kwh(meter, entry.begin), *[Decimal(0)] * 5, _kwh(meter, entry.end), *[Decimal(0)] * 5]
    begin, end = (_clock(_local(meter.clock(at))) for at in (entry.begin, entry.end))
    return [_local(entry.end).replace(second=0), mark, len(earlier), begin, end, *energies]


def _loss(meter: Meter, point: int, entry: Entry, at: np.datetime64, *, begins: bool) -> list[Typed]:
    shown = meter.shown(at)
    volts = [_digits(shown, name, 1) for name in ("va", "vb", "vc")]
    amps = [_digits(shown, name, 3) for name in ("ia", "ib", "ic")]
    if begins:
        volts[entry.phase - 1] = Decimal("0.0")
    flags = _LOST | 1 << entry.phase - 1
    return [_local(at).replace(second=0), PointMark(point, begins), flags, *volts, *amps, _kwh(meter, at, 4)]


def _digits(shown: NDArray[np.int32] | None, name: str, decimals: int) -> Decimal | None:
    value = NOT_SHOWN if shown is None else int(shown[SHOWN.index(name)])
    return None if value == NOT_SHOWN else Decimal(value).scaleb(-decimals)


def _kwh(meter: Meter, at: np.datetime64, decimals: int = 2) -> Decimal | None:
    """None: of that day the simulation has nothing any more."""
    registers = meter.registers(at)
    return None if registers is None else Decimal(int(registers[0]) // 10 ** (4 - decimals)).scaleb(-decimals)


def _local(when: np.datetime64) -> dt.datetime:
    return as_datetime(when, ZONE).replace(tzinfo=None, microsecond=0)


def _clock(local: dt.datetime) -> Clock:
    return Clock(local, local.isoweekday())
