"""A tariff: what a kWh costs at which hour, in dated versions. Read from TOML and validated at the door,
whole or not at all.

    name = "example-peak-valley"
    title_en = "..."
    title_zh = "..."
    region = "..."
    source = "document, date"

    [[version]]
    valid_from = 2024-01-01
    remainder = "peak"                     # this period's energy is the total register minus the other
                                           periods'
    [version.prices]                       # yuan/kWh, strings with at most four decimals
    peak = "0.5680"
    valley = "0.2880"
    [version.registers]                    # which register of the meter counts which period
    T2 = "peak"
    T4 = "valley"
    [[version.schedule]]                   # without `months`: all year
    months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    hours = { peak = ["08:00-22:00"], valley = ["00:00-08:00", "22:00-24:00"] }
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tariffs.money import price_of

#: Periods in the order of the meter's registers T1..T4 (尖 峰 平 谷) and of every [.., period] array of this
#: room.
PERIODS: Final = ("sharp", "peak", "flat", "valley")
PERIODS_ZH: Final = ("尖", "峰", "平", "谷")
REGISTERS: Final = ("T1", "T2", "T3", "T4")
#: Period boundaries lie on quarter hours: a curve slot then never straddles one.
STEP: Final = 15
_DAY: Final = 24 * 60
_RANGE: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


class TariffError(ValueError):
    """A tariff file that must not be used: which file, which key, what is wrong with it."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")
        self.file = file
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Version:
    """One dated version of a tariff.

    valid_from  first local day it holds
    prices      int per period [1e-4 yuan/kWh]; None: the tariff has no such period
    registers   per register T1..T4 the period it counts (index into PERIODS), None: not used
    remainder   the period whose energy is the total minus the others (index into PERIODS)
    schedule    per month 1..12 (index 0 is January), per quarter hour of the day [96]: index into PERIODS
    """

    valid_from: dt.date
    prices: tuple[int | None, ...]
    registers: tuple[int | None, ...]
    remainder: int
    schedule: tuple[bytes, ...]

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool[4]: the periods this version has."""
        return np.array([price is not None for price in self.prices])

    @property
    def price_array(self) -> NDArray[np.int64]:
        """int64[4] [1e-4 yuan/kWh], 0 for periods this version does not have."""
        return np.array([price or 0 for price in self.prices], dtype=np.int64)

    @property
    def schedule_array(self) -> NDArray[np.int8]:
        """int8[12, 96]: period of each quarter hour of a local day, by month."""
        return np.frombuffer(b"".join(self.schedule), dtype=np.int8).reshape(12, _DAY // STEP)

    def facts(self) -> dict[str, Any]:
        """What money depends on, as plain values: goes into the hash of an entry's inputs."""
        return {
            "valid_from": self.valid_from.isoformat(),
            "prices": list(self.prices),
            "registers": list(self.registers),
            "remainder": self.remainder,
            "schedule": [list(month) for month in self.schedule],
        }


@dataclass(frozen=True, slots=True)
class Tariff:
    """Versions ascend by valid_from."""

    name: str
    title_en: str
    title_zh: str
    region: str
    source: str
    versions: tuple[Version, ...]

    def on(self, day: dt.date) -> Version:
        """The version that holds on a local day. LookupError before the first one: no price is no price."""
        for version in reversed(self.versions):
            if version.valid_from <= day:
                return version
        raise LookupError(f"tariff {self.name} has no version valid on {day.isoformat()}")

    def spans(self, begin: dt.date, end: dt.date) -> tuple[tuple[dt.date, dt.date, Version], ...]:
        """[begin, end) cut where the version changes: (first day, day after the last, version) ascending."""
        cuts = [begin, *(v.valid_from for v in self.versions if begin < v.valid_from < end), end]
        return tuple((a, b, self.on(a)) for a, b in pairwise(cuts) if a < b)


def load(path: Path) -> Tariff:
    """The tariff in a TOML file. TariffError says what is wrong, OSError that it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TariffError(path.name, "", f"not UTF-8 at byte {error.start}") from None
    return parse(text, path.name)


def shipped() -> dict[str, Tariff]:
    """The example tariffs that come with the program, name -> Tariff."""
    folder = files("tariffs").joinpath("plans")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    plans = (parse(folder.joinpath(name).read_text(encoding="utf-8"), name) for name in names)
    return {plan.name: plan for plan in plans}


def parse(text: str, file: str) -> Tariff:
    """TOML text -> Tariff; `file` only names the source in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TariffError(file, "", f"not TOML: {error}") from None
    door = _Door(file)
    door.keys(data, "", {"name", "title_en", "title_zh", "region", "source", "version"})
    texts = {key: door.text(data, key) for key in ("name", "title_en", "title_zh", "region", "source")}
    tables = data.get("version")
    if not isinstance(tables, list) or not tables:
        raise door.error("version", "at least one [[version]] is needed")
    versions = tuple(_version(door, table, f"version[{n}]") for n, table in enumerate(tables))
    for n in range(1, len(versions)):
        if versions[n].valid_from <= versions[n - 1].valid_from:
            raise door.error(
                f"version[{n}].valid_from",
                f"{versions[n].valid_from} is not after {versions[n - 1].valid_from}: versions must ascend",
            )
    return Tariff(**texts, versions=versions)


@dataclass(frozen=True, slots=True)
class _Door:
    """Checks that name the file and the key."""

    file: str

    def error(self, key: str, problem: str) -> TariffError:
        return TariffError(self.file, key, problem)

    def keys(self, table: Mapping[str, Any], where: str, allowed: set[str]) -> None:
        for key in table:
            if key not in allowed:
                raise self.error(
                    f"{where}.{key}" if where else key, f"unknown key; known: {', '.join(sorted(allowed))}"
                )

    def text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "a non-empty string is needed")
        return value

    def table(self, value: Any, key: str) -> Mapping[str, Any]:
        if not isinstance(value, dict) or not value:
            raise self.error(key, "a non-empty table is needed")
        return value

    def period(self, name: Any, key: str) -> int:
        if name not in PERIODS:
            raise self.error(key, f"unknown period {name!r}; known: {', '.join(PERIODS)}")
        return PERIODS.index(name)


def _version(door: _Door, table: Any, where: str) -> Version:
    table = door.table(table, where)
    door.keys(table, where, {"valid_from", "remainder", "prices", "registers", "schedule"})
    valid_from = table.get("valid_from")
    if not isinstance(valid_from, dt.date) or isinstance(valid_from, dt.datetime):
        raise door.error(f"{where}.valid_from", "a date such as 2024-01-01 is needed")
    prices = _prices(door, table.get("prices"), f"{where}.prices")
    registers = _registers(door, table.get("registers"), f"{where}.registers", prices)
    return Version(
        valid_from,
        prices,
        registers,
        _remainder(door, table, where, prices, registers),
        _schedule(door, table.get("schedule"), f"{where}.schedule", prices),
    )


def _prices(door: _Door, value: Any, where: str) -> tuple[int | None, ...]:
    prices: list[int | None] = [None] * len(PERIODS)
    for name, text in door.table(value, where).items():
        period = door.period(name, f"{where}.{name}")
        if not isinstance(text, str):
            raise door.error(
                f"{where}.{name}", 'a string such as "0.5680" is needed: a TOML float is not exact'
            )
        try:
            price = price_of(text)
        except ValueError as error:
            raise door.error(f"{where}.{name}", str(error)) from None
        if price < 0:
            raise door.error(f"{where}.{name}", f"{text} is negative")
        prices[period] = price
    return tuple(prices)


def _registers(door: _Door, value: Any, where: str, prices: tuple[int | None, ...]) -> tuple[int | None, ...]:
    registers: list[int | None] = [None] * len(REGISTERS)
    for name, period_name in door.table(value, where).items():
        if name not in REGISTERS:
            raise door.error(f"{where}.{name}", f"unknown register; known: {', '.join(REGISTERS)}")
        period = door.period(period_name, f"{where}.{name}")
        if prices[period] is None:
            raise door.error(f"{where}.{name}", f"period {period_name} has no price")
        registers[REGISTERS.index(name)] = period
    return tuple(registers)


def _remainder(
    door: _Door,
    table: Mapping[str, Any],
    where: str,
    prices: tuple[int | None, ...],
    registers: tuple[int | None, ...],
) -> int:
    key = f"{where}.remainder"
    period = door.period(table.get("remainder", "flat"), key)
    if prices[period] is None:
        raise door.error(key, f"period {PERIODS[period]} has no price")
    for other, price in enumerate(prices):
        if price is not None and other != period and other not in registers:
            raise door.error(f"{where}.registers", f"no register counts period {PERIODS[other]}")
    return period


def _schedule(door: _Door, value: Any, where: str, prices: tuple[int | None, ...]) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not value:
        raise door.error(where, "at least one [[version.schedule]] is needed")
    months: dict[int, bytes] = {}
    for n, item in enumerate(value):
        at = f"{where}[{n}]"
        table = door.table(item, at)
        door.keys(table, at, {"months", "hours"})
        day = _hours(door, table.get("hours"), f"{at}.hours", prices)
        listed = table.get("months", list(range(1, 13)))
        if not isinstance(listed, list) or not listed:
            raise door.error(f"{at}.months", "a list of months 1 to 12 is needed")
        for month in listed:
            if type(month) is not int or not 1 <= month <= 12:
                raise door.error(f"{at}.months", f"{month!r} is not a month 1 to 12")
            if month in months:
                raise door.error(f"{at}.months", f"month {month} is already covered")
            months[month] = day
    lacking = [month for month in range(1, 13) if month not in months]
    if lacking:
        raise door.error(where, f"no schedule for month {', '.join(map(str, lacking))}")
    return tuple(months[month] for month in range(1, 13))


def _hours(door: _Door, value: Any, where: str, prices: tuple[int | None, ...]) -> bytes:
    """Hour ranges by period -> period of each quarter hour [96]; exactly 24 hours, no hole, no overlap."""
    nobody = 0xFF
    day = bytearray([nobody]) * (_DAY // STEP)
    for name, ranges in door.table(value, where).items():
        key = f"{where}.{name}"
        period = door.period(name, key)
        if prices[period] is None:
            raise door.error(key, f"period {name} has no price")
        for begin, end in _ranges(door, ranges, key):
            for step in range(begin // STEP, end // STEP):
                if day[step] != nobody:
                    raise door.error(key, f"{_clock(step * STEP)} already belongs to {PERIODS[day[step]]}")
                day[step] = period
    if nobody in day:
        begin = day.index(nobody)
        end = next((s for s in range(begin, len(day)) if day[s] != nobody), len(day))
        raise door.error(where, f"hole: {_clock(begin * STEP)}-{_clock(end * STEP)} belongs to no period")
    for period, price in enumerate(prices):
        if price is not None and period not in day:
            raise door.error(where, f"period {PERIODS[period]} has a price but no hours")
    return bytes(day)


def _ranges(door: _Door, value: Any, key: str) -> Iterator[tuple[int, int]]:
    """(begin, end) in minutes of each 'HH:MM-HH:MM'."""
    if not isinstance(value, list) or not value:
        raise door.error(key, 'a list such as ["08:00-22:00"] is needed')
    for text in value:
        match = _RANGE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise door.error(key, f"{text!r} is not a range such as 08:00-22:00")
        h1, m1, h2, m2 = (int(part) for part in match.groups())
        begin, end = h1 * 60 + m1, h2 * 60 + m2
        if end > _DAY or begin >= end:
            raise door.error(key, f"{text!r} does not lie in ascending order within 00:00-24:00")
        if begin % STEP or end % STEP:
            raise door.error(key, f"{text!r} does not lie on quarter hours")
        yield begin, end


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
