"""What is true in the model: customers, calendar, money, people, leases, and everything that was ever sent. No gate decides here."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")
BEGIN = dt.datetime(2026, 3, 11, 10, 0, tzinfo=ZONE)
PEOPLE = ("李敏", "陈晓", "王芳")
JOBS = ("job:prepaid", "job:other")
#: small caps and batches, so that they are reached; the rest are the defaults
LIMITS = {
    "trips_per_minute": 2, "trips_per_hour": 3, "trips_per_day": 6,
    "trips_per_area_minute": 1, "trips_per_area_hour": 2, "trips_per_area_day": 4,
    "trips_per_line_minute": 2, "trips_per_line_hour": 3, "trips_per_line_day": 5,
    "trips_per_organisation_minute": 2, "trips_per_organisation_hour": 3, "trips_per_organisation_day": 5,
    "batch_small": 2, "batch_times": 2, "batch_history": 2,
}  # fmt: skip


@dataclass(slots=True)
class Home:
    """One customer behind one meter. Money in fen; protected None: nobody knows whose the meter is."""

    number: int
    area: int
    line: int
    organisation: int
    protected: str | None = ""
    high: int | None = -100  # the balance at its most favourable; None: none was computed
    paid_since: int = 0  # since it was computed
    valid: bool = True
    as_of: dt.datetime = BEGIN
    reading: dt.datetime = BEGIN
    usual: int | None = 2000
    fall: int = 1000
    notices: list[dt.datetime] = field(default_factory=list)
    last_paid: dt.datetime | None = None
    grace: dt.date | None = None  # granted by a person up to this day
    keep_power: bool = False
    shared: bool = False  # the archive gives what cuts it off to another meter, too
    doubt: bool = False
    same_since: dt.datetime = BEGIN - dt.timedelta(days=60)
    epoch: int = 1


@dataclass(slots=True)
class Batch:
    """Trips that were asked for together."""

    key: str
    who: str
    asked: int = 0
    released: int = 0
    released_by: str = ""


@dataclass(slots=True)
class Spared:
    """Declared no-trip days; organisation None: everybody."""

    number: int
    first: dt.date
    last: dt.date
    organisation: int | None


@dataclass(slots=True)
class Order:
    """One trip that was asked for, as people know it."""

    number: int
    home: Home
    who: str
    expires: dt.datetime
    not_before: dt.datetime | None
    batch: Batch
    approved_by: str | None = None
    accepted_by: str | None = None
    sent: int = 0


@dataclass(slots=True)
class World:
    now: dt.datetime = BEGIN
    homes: list[Home] = field(default_factory=list)
    calendar: dict[dt.date, str] = field(default_factory=dict)
    spared: list[Spared] = field(default_factory=list)
    validated: dt.date = BEGIN.date() - dt.timedelta(days=1)
    stopped: bool = False
    batches: dict[str, Batch] = field(default_factory=dict)  # in the order in which they were made
    orders: list[Order] = field(default_factory=list)
    #: (when, home) of every trip that left, of the last days
    log: list[tuple[dt.datetime, Home]] = field(default_factory=list)

    def batch(self, key: str, who: str) -> Batch:
        return self.batches.setdefault(key, Batch(key, who))


def small() -> World:
    """Six customers in three areas on two lines of two organisations."""
    world = World(homes=[Home(k, area=k // 2, line=(k // 2) // 2, organisation=k // 4) for k in range(6)])
    for k in range(-3, 30):
        world.calendar[BEGIN.date() + dt.timedelta(days=k)] = "workday"
    return world
