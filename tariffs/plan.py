"""A tariff plan: what a customer pays for what, in dated versions. Read from TOML and validated at the door,
whole or not at all.

    name = "example-peak-valley"
    title_en = "..."
    title_zh = "..."
    region = "..."
    source = "document, date"
    doubt = "what of it is not confirmed"  # may be left out
    rounding = "bill"                      # or "line"

    [[version]]
    valid_from = 2024-01-01
    remainder = "peak"                     # this period's energy is the total register minus the other
                                           # periods'; without: flat
    [version.prices]                       # yuan/kWh, strings with at most four decimals
    peak = "0.5680"
    valley = "0.2880"
    [version.registers]                    # which register of the meter counts which period
    T2 = "peak"
    T4 = "valley"
    [[version.schedule]]                   # periods.py
    hours = { peak = ["08:00-22:00"], valley = ["00:00-08:00", "22:00-24:00"] }

and what else a version may have, each in the file of its name: [version.steps], [version.basic],
[version.power_factor], [[version.surcharges]], [version.transformer_loss], [version.penalty].

Rounding "bill": the bill is the rounded sum, and its lines share the rounding. "line": each line is rounded, and
the bill is their sum.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tariffs.basic import Basic, read_basic
from tariffs.days import KINDS
from tariffs.door import Door, TariffError
from tariffs.penalty import Penalty, read_penalty
from tariffs.periods import (
    DAY,
    STEP,
    Prices,
    Schedule,
    read_prices,
    read_registers,
    read_remainder,
    read_schedule,
)
from tariffs.power_factor import PowerFactor, read_power_factor
from tariffs.steps import Steps, read_steps
from tariffs.surcharges import Surcharge, read_surcharges
from tariffs.transformer import TransformerLoss, read_transformer_loss

ROUNDINGS: Final = ("bill", "line")
_ONE_DAY: Final = dt.timedelta(days=1)
#: periods that there were before deep valley: facts() of a version without it stay as they were
_FIRST: Final = 4
_OPTIONAL: Final = ("steps", "basic", "power_factor", "surcharges", "transformer_loss", "penalty")


@dataclass(frozen=True, slots=True)
class Version:
    """One dated version of a plan.

    valid_from  first local day it holds
    prices      per period [1e-4 yuan/kWh]; None: no such period
    registers   per register T1..T4 the period it counts (index into PERIODS), None: not used
    remainder   the period whose energy is the total minus the others (index into PERIODS)
    schedule    [month 1..12 as 0..11][kind of day] -> period of each quarter hour [96]
    """

    valid_from: dt.date
    prices: Prices
    registers: tuple[int | None, ...]
    remainder: int
    schedule: Schedule
    steps: Steps | None = None
    basic: Basic | None = None
    power_factor: PowerFactor | None = None
    surcharges: tuple[Surcharge, ...] = ()
    transformer_loss: TransformerLoss | None = None
    penalty: Penalty | None = None

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool[period]: the periods this version has."""
        return np.array([price is not None for price in self.prices])

    @property
    def price_array(self) -> NDArray[np.int64]:
        """int64[period] [1e-4 yuan/kWh], 0 for periods this version does not have."""
        return np.array([price or 0 for price in self.prices], dtype=np.int64)

    @property
    def schedule_array(self) -> NDArray[np.int8]:
        """int8[12, kind of day, 96]: period of each quarter hour of a local day."""
        whole = b"".join(day for month in self.schedule for day in month)
        return np.frombuffer(whole, dtype=np.int8).reshape(12, len(KINDS), DAY // STEP)

    @property
    def by_kind(self) -> bool:
        """The kind of day matters: without a calendar no quarter hour has a period."""
        return any(day != month[0] for month in self.schedule for day in month)

    @property
    def monthly(self) -> bool:
        """Something is counted by calendar months."""
        steps = self.steps is not None and self.steps.basis == "month"
        return steps or self.basic is not None or self.power_factor is not None

    @property
    def needs(self) -> frozenset[str]:
        """What must be known besides the energy by period: columns of determinants.Determinants, and 'days' to
        split a curve.
        """
        basic = self.basic
        by_demand = basic is not None and basic.demand_price is not None
        by_capacity = basic is not None and (basic.capacity_price is not None or basic.discount is not None)
        wanted = {
            "days": self.by_kind,
            "before": self.steps is not None,
            "by": basic is not None,
            "capacity": by_capacity,
            "contract": by_demand,
            "demand": by_demand,
            "reactive": self.power_factor is not None,
            "iron": self.transformer_loss is not None,
            "copper": self.transformer_loss is not None,
        }
        return frozenset(name for name, needed in wanted.items() if needed)

    def facts(self) -> dict[str, Any]:
        """What money depends on, as plain values: goes into the hash of an entry's inputs. What a version does
        not have is not among them, so a new kind of part changes no hash of those without it.
        """
        last = len(self.prices) if any(price is not None for price in self.prices[_FIRST:]) else _FIRST
        facts: dict[str, Any] = {
            "valid_from": self.valid_from.isoformat(),
            "prices": list(self.prices[:last]),
            "registers": list(self.registers),
            "remainder": self.remainder,
            "schedule": [
                [list(day) for day in month] if self.by_kind else list(month[0]) for month in self.schedule
            ],
        }
        for name in ("steps", "basic", "power_factor", "transformer_loss"):
            part = getattr(self, name)
            if part is not None:
                facts[name] = part.facts()
        if self.surcharges:
            facts["surcharges"] = [part.facts() for part in self.surcharges]
        return facts


class Segment(NamedTuple):
    """Local days [begin, end) in which one version holds and no month or year turns that the plan counts by."""

    begin: dt.date
    end: dt.date
    version: Version


@dataclass(frozen=True, slots=True)
class Tariff:
    """Versions ascend by valid_from."""

    name: str
    title_en: str
    title_zh: str
    region: str
    source: str
    versions: tuple[Version, ...]
    doubt: str = ""
    rounding: str = "bill"

    def on(self, day: dt.date) -> Version:
        """The version that holds on a local day. LookupError before the first one: no price is no price."""
        for version in reversed(self.versions):
            if version.valid_from <= day:
                return version
        raise LookupError(f"tariff {self.name} has no version valid on {day.isoformat()}")

    def spans(self, begin: dt.date, end: dt.date, cuts: Iterable[dt.date] = ()) -> tuple[Segment, ...]:
        """[begin, end) cut where the version changes, where a year or month turns that the plan counts by, and at
        `cuts`, where something of the accounts does (a capacity, a contract). A bill needs the registers at each of
        these midnights.
        """
        edges = [*cuts, *(version.valid_from for version in self.versions), *self._turns(begin, end)]
        inside = {day for day in edges if begin < day < end}
        return tuple(Segment(a, b, self.on(a)) for a, b in pairwise([begin, *sorted(inside), end]) if a < b)

    @property
    def needs(self) -> frozenset[str]:
        """Version.needs of all versions together."""
        return frozenset().union(*(version.needs for version in self.versions))

    def _turns(self, begin: dt.date, end: dt.date) -> Iterable[dt.date]:
        monthly = any(version.monthly for version in self.versions)
        if not monthly and all(version.steps is None for version in self.versions):
            return
        day = begin.replace(day=1)
        while (day := (day + 31 * _ONE_DAY).replace(day=1)) < end:
            if monthly or day.month == 1:
                yield day


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
    door = Door(file)
    words = ("name", "title_en", "title_zh", "region", "source")
    door.keys(data, "", {*words, "doubt", "rounding", "version"})
    texts = {key: door.text(data.get(key), key) for key in words}
    tables = door.tables(data.get("version"), "version", "[[version]]")
    versions = tuple(_version(door, table, f"version[{n}]") for n, table in enumerate(tables))
    for n, (earlier, later) in enumerate(pairwise(versions), start=1):
        if later.valid_from <= earlier.valid_from:
            raise door.error(
                f"version[{n}].valid_from",
                f"{later.valid_from} is not after {earlier.valid_from}: versions must ascend",
            )
    bases = [(n, version.steps.basis) for n, version in enumerate(versions) if version.steps is not None]
    for n, basis in bases[1:]:
        if basis != bases[0][1]:
            raise door.error(
                f"version[{n}].steps.basis",
                f"{basis} after {bases[0][1]}: what was used before cannot be both; write a plan of its own",
            )
    return Tariff(
        **texts,
        versions=versions,
        doubt=door.text(data["doubt"], "doubt") if "doubt" in data else "",
        rounding=door.choice(data.get("rounding", "bill"), "rounding", ROUNDINGS),
    )


def _version(door: Door, value: Any, where: str) -> Version:
    table = door.table(value, where)
    door.keys(table, where, {"valid_from", "remainder", "prices", "registers", "schedule", *_OPTIONAL})
    valid_from = door.day(table.get("valid_from"), f"{where}.valid_from")
    prices = read_prices(door, table.get("prices"), f"{where}.prices")
    registers = read_registers(door, table.get("registers"), f"{where}.registers", prices)
    remainder = read_remainder(door, table.get("remainder", "flat"), where, prices, registers)
    schedule = read_schedule(door, table.get("schedule"), f"{where}.schedule", prices)
    at = {name: f"{where}.{name}" for name in _OPTIONAL}
    there = table.keys()
    return Version(
        valid_from,
        prices,
        registers,
        remainder,
        schedule,
        steps=read_steps(door, table["steps"], at["steps"]) if "steps" in there else None,
        basic=read_basic(door, table["basic"], at["basic"]) if "basic" in there else None,
        power_factor=read_power_factor(door, table["power_factor"], at["power_factor"])
        if "power_factor" in there
        else None,
        surcharges=read_surcharges(door, table["surcharges"], at["surcharges"])
        if "surcharges" in there
        else (),
        transformer_loss=read_transformer_loss(
            door, table["transformer_loss"], at["transformer_loss"], prices
        )
        if "transformer_loss" in there
        else None,
        penalty=read_penalty(door, table["penalty"], at["penalty"]) if "penalty" in there else None,
    )
