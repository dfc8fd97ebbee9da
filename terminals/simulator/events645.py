"""Event records of a DL/T 645-2007 meter (Table A.4), from its diary: totals and the last ten of each log."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final

import numpy as np

from protocols.dlt645 import values
from protocols.dlt645.items import item
from protocols.localtime import as_datetime
from terminals.simulator.diary import KEPT, Entry
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import ZONE

#: DI of the count -> kind. Voltage loss has one log for each phase, and its totals tell the minutes too.
_COUNTS: Final = {0x03110000: "power-down", 0x03300D00: "cover-open", 0x03300400: "clock-set"}
_VOLTAGE_LOSS: Final = 0x03010000
_REGISTERS: Final = ("before forward active", "after forward active")


def answer(meter: Meter, di: int, now: np.datetime64) -> bytes | None:
    """The data of an event log's identifier at `now`; None where the meter has no such log, or no such record."""
    if di == _VOLTAGE_LOSS:
        return _totals(meter, now)
    number = di & 0xFF
    if di & 0xFFFF0000 == _VOLTAGE_LOSS and number:
        return _record(meter, di, meter.diary.of("voltage-loss", now, di >> 8 & 0xFF), number)
    kind = _COUNTS.get(di & 0xFFFFFF00)
    if kind is None:
        return None
    entries = meter.diary.of(kind, now)
    return values.encode(di, [len(entries)]) if not number else _record(meter, di, entries, number)


def _totals(meter: Meter, now: np.datetime64) -> bytes:
    told: list[values.Typed] = []
    for phase in (1, 2, 3):
        entries = meter.diary.of("voltage-loss", now, phase)
        seconds = sum((float((e.end - e.begin) / np.timedelta64(1, "s")) for e in entries), 0.0)
        told += [len(entries), int(seconds // 60)]
    return values.encode(_VOLTAGE_LOSS, told)


def _record(meter: Meter, di: int, entries: list[Entry], number: int) -> bytes | None:
    if not 1 <= number <= min(len(entries), KEPT):
        return None
    entry = entries[number - 1]
    shown: dict[str, values.Typed] = {
        "operator": "00000000",
        "start": _local(meter.clock(entry.begin)),
        "end": _local(meter.clock(entry.end)),
    }
    if entry.before is not None and entry.after is not None:
        shown |= {"before": _local(entry.before), "after": _local(entry.after)}
    for name, at in zip(_REGISTERS, (entry.begin, entry.end), strict=True):
        registers = meter.registers(at)
        shown[name] = Decimal(0) if registers is None else Decimal(int(registers[0]) // 100).scaleb(-2)
    found = item(di)
    assert found is not None
    return values.encode(di, [shown.get(field.name, Decimal(0)) for field in found.fields])


def _local(when: np.datetime64) -> dt.datetime:
    return as_datetime(when, ZONE).replace(tzinfo=None, microsecond=0)
