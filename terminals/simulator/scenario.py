"""What is simulated: how many of what, from which seed. Everything else follows from this one value."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np

ProtocolName = Literal["dlt645", "dlms", "gdw376", "dlt698", "modbus-tcp", "modbus-rtu"]
LinkName = Literal["dial-out", "dial-in", "serial"]

#: The fleet's civil time. It has no clock changes, so a simulated day always has 96 quarter-hours.
ZONE: Final = ZoneInfo("Asia/Shanghai")
SLOTS: Final = 96

_HOURS: Final = (4,) * 7 + (3,) + (2,) * 3 + (3,) * 6 + (2,) * 2 + (1,) * 2 + (2,) + (4,) * 2


@dataclass(frozen=True, slots=True)
class Tariff:
    """What the meters switch by and the customers pay.

    hours   24 tariff numbers, 1 sharp, 2 peak, 3 flat, 4 valley; the h-th rules from h:00 to h+1:00 local
    prices  sharp, peak, flat, valley in 1e-4 yuan per kWh
    """

    name: str = "居民峰谷"
    hours: tuple[int, ...] = _HOURS
    prices: tuple[int, int, int, int] = (8_283, 6_183, 5_483, 3_083)

    def __post_init__(self) -> None:
        if len(self.hours) != 24 or not set(self.hours) <= {1, 2, 3, 4}:
            raise ValueError("a tariff needs 24 hours, each 1, 2, 3 or 4")


@dataclass(frozen=True, slots=True)
class Group:
    """`count` terminals of one kind."""

    protocol: ProtocolName
    link: LinkName
    count: int


_FLEET: Final = (
    Group("dlt645", "dial-out", 10),
    Group("dlt645", "dial-in", 8),
    Group("dlms", "dial-out", 4),
    Group("dlms", "dial-in", 1),
    Group("dlt645", "serial", 1),
)
_SMALL: Final = (
    Group("dlt645", "dial-out", 1),
    Group("dlt645", "dial-in", 1),
    Group("dlms", "dial-out", 1),
    Group("dlt645", "serial", 1),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many faults of each kind are planted; each in an area of its own.

    stuck     registers that stand still from some quarter-hour of the second day on
    swapped   three-phase meters whose current transformers of phases B and C are interchanged
    events    of each area in the days of the truth: power cuts, opened covers, lost voltages
    lost      probability that an answer never leaves the terminal
    garbled   probability that one byte of an answer is changed on the way
    """

    dead: int = 2
    missing: int = 1
    thieves: int = 1
    excursions: int = 1
    unbalanced: int = 1
    prepaid: int = 14
    lost: float = 0.01
    garbled: float = 0.005
    stuck: int = 0
    swapped: int = 0
    events: int = 3


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet, down to the last watt-hour.

    customers      per area; every area also has one supply meter
    first_day      the day at whose local midnight history begins
    truth_days     how many days from `first_day` are written down as truth
    commissioned   local civil time at which the archive says the meters were installed
    broke_from     local civil times between which the broke customers' opening payments run out
    broke_until
    key_delay      minutes from a close permit to the customer's key press; None: nobody presses
    wallets        the DL/T 645 meters of prepaid customers count the money down and cut off by themselves (本地费控)
    """

    seed: int
    groups: tuple[Group, ...] = _FLEET
    customers: int = 19
    plan: Plan = field(default_factory=Plan)
    tariff: Tariff = field(default_factory=Tariff)
    first_day: dt.date = dt.date(2026, 3, 10)
    truth_days: int = 4
    commissioned: dt.datetime = dt.datetime(2026, 3, 10, 23)
    broke_from: dt.datetime = dt.datetime(2026, 3, 11, 10, 45)
    broke_until: dt.datetime = dt.datetime(2026, 3, 11, 11, 30)
    key_delay: float | None = 3.0
    wallets: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("the seed must not be negative")
        if self.customers < 5:
            raise ValueError("an area needs at least 5 customers")
        p = self.plan
        if self.customers >= 247 and any(group.protocol.startswith("modbus") for group in self.groups):
            raise ValueError("a Modbus line has 247 units, so an area has 246 customers at most")
        if p.dead + p.missing + p.thieves + p.excursions + p.unbalanced + p.stuck + p.swapped > self.areas:
            raise ValueError("each fault needs an area of its own")

    @property
    def areas(self) -> int:
        """Each area has one terminal."""
        return sum(group.count for group in self.groups)

    @property
    def meters(self) -> int:
        return self.areas * (self.customers + 1)

    def kind(self, area: int) -> tuple[ProtocolName, LinkName]:
        """Protocol and link of the area's terminal."""
        for group in self.groups:
            if area < group.count:
                return group.protocol, group.link
            area -= group.count
        raise IndexError("no such area")


#: No fault, and lines that lose nothing.
NOTHING: Final = Plan(
    dead=0, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=0, lost=0.0, garbled=0.0, events=0
)


def large(
    seed: int, groups: Sequence[Group], customers: int, commissioned: dt.datetime, **changes: Any
) -> Scenario:
    """A fleet for load: nothing planted but what `changes` plant, on lines that lose nothing, from the midnight before `commissioned`
    (local civil time) on. Its truth reaches a month; it is solved area by area when somebody asks.
    """
    broke = dt.datetime.combine(commissioned.date() + dt.timedelta(days=1), dt.time(10, 45))
    settings: dict[str, Any] = {
        "groups": tuple(groups),
        "customers": customers,
        "plan": NOTHING,
        "first_day": commissioned.date(),
        "truth_days": 30,
        "commissioned": commissioned,
        "broke_from": broke,
        "broke_until": broke + dt.timedelta(minutes=45),
    }
    return Scenario(seed, **{**settings, **changes})


def small(seed: int, **changes: Any) -> Scenario:
    """4 terminals of 6 meters, for tests: one of each fault that fits."""
    settings: dict[str, Any] = {
        "groups": _SMALL,
        "customers": 5,
        "plan": Plan(dead=1, missing=1, thieves=1, excursions=1, unbalanced=0, prepaid=5),
    }
    return Scenario(seed, **{**settings, **changes})


def stream(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """The generator for one purpose: the same for the same seed, whatever else was drawn before."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *keys]))
    )
