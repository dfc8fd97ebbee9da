"""Periods of the day (时段): which hours are sharp, peak, flat, valley and deep, by month and by kind of day.

    [[version.schedule]]
    months = [7, 8]                          # without: all months
    days = ["workday"]                       # without: all kinds of day
    hours = { peak = ["08:00-22:00"], valley = ["00:00-08:00", "22:00-24:00"] }

Each month and kind of day belongs to exactly one schedule, each quarter hour to exactly one period.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tariffs.days import KINDS
from tariffs.door import Door

#: Periods in the order of every [.., period] array of this room (尖 峰 平 谷 深谷).
PERIODS: Final = ("sharp", "peak", "flat", "valley", "deep")
PERIODS_ZH: Final = ("尖", "峰", "平", "谷", "深谷")
#: The meter's tariff registers; a version says which period each of them counts.
REGISTERS: Final = ("T1", "T2", "T3", "T4")
#: Period boundaries lie on quarter hours: a curve slot then never straddles one.
STEP: Final = 15
DAY: Final = 24 * 60
_RANGE: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")

#: Price by period [1e-4 yuan/kWh]; None: the version has no such period.
Prices = tuple[int | None, ...]
#: [month][kind of day] -> period of each quarter hour [96].
Schedule = tuple[tuple[bytes, ...], ...]


def period(door: Door, name: Any, key: str) -> int:
    if name not in PERIODS:
        raise door.error(key, f"unknown period {name!r}; known: {', '.join(PERIODS)}")
    return PERIODS.index(name)


def priced(door: Door, name: Any, key: str, prices: Prices) -> int:
    """A period that the version has a price for."""
    number = period(door, name, key)
    if prices[number] is None:
        raise door.error(key, f"period {name} has no price")
    return number


def read_prices(door: Door, value: Any, where: str) -> Prices:
    prices: list[int | None] = [None] * len(PERIODS)
    for name, text in door.table(value, where).items():
        number = period(door, name, f"{where}.{name}")
        prices[number] = door.price(text, f"{where}.{name}")
    return tuple(prices)


def read_registers(door: Door, value: Any, where: str, prices: Prices) -> tuple[int | None, ...]:
    registers: list[int | None] = [None] * len(REGISTERS)
    for name, period_name in door.table(value, where).items():
        if name not in REGISTERS:
            raise door.error(f"{where}.{name}", f"unknown register; known: {', '.join(REGISTERS)}")
        registers[REGISTERS.index(name)] = priced(door, period_name, f"{where}.{name}", prices)
    return tuple(registers)


def read_remainder(
    door: Door, name: Any, where: str, prices: Prices, registers: tuple[int | None, ...]
) -> int:
    remainder = priced(door, name, f"{where}.remainder", prices)
    for other, price in enumerate(prices):
        if price is not None and other != remainder and other not in registers:
            raise door.error(f"{where}.registers", f"no register counts period {PERIODS[other]}")
    return remainder


def read_schedule(door: Door, value: Any, where: str, prices: Prices) -> Schedule:
    found: dict[tuple[int, int], bytes] = {}
    for n, item in enumerate(door.tables(value, where, "[[version.schedule]]")):
        at = f"{where}[{n}]"
        table = door.table(item, at)
        door.keys(table, at, {"months", "days", "hours"})
        day = _hours(door, table.get("hours"), f"{at}.hours", prices)
        months = door.months(table.get("months", list(range(1, 13))), f"{at}.months")
        kinds = _kinds(door, table.get("days", list(KINDS)), f"{at}.days")
        for month in months:
            for kind in kinds:
                if (month, kind) in found:
                    which = "" if len(kinds) == len(KINDS) else f", {KINDS[kind]},"
                    raise door.error(f"{at}.months", f"month {month}{which} is already covered")
                found[month, kind] = day
    _whole(door, where, found)
    used = set().union(*found.values())
    for number, price in enumerate(prices):
        if price is not None and number not in used:
            raise door.error(where, f"period {PERIODS[number]} has a price but no hours")
    return tuple(tuple(found[month, kind] for kind in range(len(KINDS))) for month in range(1, 13))


def _kinds(door: Door, value: Any, key: str) -> list[int]:
    if not isinstance(value, list) or not value:
        raise door.error(key, f"a list of kinds of day is needed; known: {', '.join(KINDS)}")
    return [KINDS.index(door.choice(word, key, KINDS)) for word in value]


def _whole(door: Door, where: str, found: dict[tuple[int, int], bytes]) -> None:
    """Every month has all its kinds of day."""
    lacking = [month for month in range(1, 13) if all((month, k) not in found for k in range(len(KINDS)))]
    if lacking:
        raise door.error(where, f"no schedule for month {', '.join(map(str, lacking))}")
    for month in range(1, 13):
        for kind, word in enumerate(KINDS):
            if (month, kind) not in found:
                raise door.error(where, f"no schedule for the kind of day {word} in month {month}")


def _hours(door: Door, value: Any, where: str, prices: Prices) -> bytes:
    """Hour ranges by period -> period of each quarter hour [96]; exactly 24 hours, no hole, no overlap."""
    nobody = 0xFF
    day = bytearray([nobody]) * (DAY // STEP)
    for name, ranges in door.table(value, where).items():
        key = f"{where}.{name}"
        number = priced(door, name, key, prices)
        for begin, end in _ranges(door, ranges, key):
            for step in range(begin // STEP, end // STEP):
                if day[step] != nobody:
                    raise door.error(key, f"{_clock(step * STEP)} already belongs to {PERIODS[day[step]]}")
                day[step] = number
    if nobody in day:
        begin = day.index(nobody)
        end = next((s for s in range(begin, len(day)) if day[s] != nobody), len(day))
        raise door.error(where, f"hole: {_clock(begin * STEP)}-{_clock(end * STEP)} belongs to no period")
    return bytes(day)


def _ranges(door: Door, value: Any, key: str) -> Iterator[tuple[int, int]]:
    """(begin, end) in minutes of each 'HH:MM-HH:MM'."""
    if not isinstance(value, list) or not value:
        raise door.error(key, 'a list such as ["08:00-22:00"] is needed')
    for text in value:
        match = _RANGE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise door.error(key, f"{text!r} is not a range such as 08:00-22:00")
        h1, m1, h2, m2 = (int(part) for part in match.groups())
        begin, end = h1 * 60 + m1, h2 * 60 + m2
        if end > DAY or begin >= end:
            raise door.error(key, f"{text!r} does not lie in ascending order within 00:00-24:00")
        if begin % STEP or end % STEP:
            raise door.error(key, f"{text!r} does not lie on quarter hours")
        yield begin, end


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
