"""Local days, slots and time zones: the one place where civil time meets UTC.

A slot is named by its end. Day D owns the slots in (D 00:00, D+1 00:00] local time; the 00:00 point closes D-1.
A day has 96 quarter-hour slots, 92 or 100 when the clocks change. Instants are datetime64[us] in UTC everywhere.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.datetime64]

#: so many instants are converted sooner one by one, by hours that are remembered (measured)
FEW = 8


def instant(when: dt.datetime) -> np.datetime64:
    """An aware datetime as datetime64[us] UTC. ValueError for a naive one: nobody may guess a zone."""
    if when.tzinfo is None:
        raise ValueError("naive datetime where an instant is needed")
    return np.datetime64(when.astimezone(dt.UTC).replace(tzinfo=None), "us")


def as_datetime(when: np.datetime64, zone: dt.tzinfo = dt.UTC) -> dt.datetime:
    """datetime64 UTC as an aware datetime in `zone`."""
    naive: dt.datetime = when.astype("datetime64[us]").astype(dt.datetime)
    return naive.replace(tzinfo=dt.UTC).astimezone(zone)


@lru_cache(maxsize=4096)
def midnight(day: dt.date, zone: ZoneInfo) -> np.datetime64:
    """The instant at which `day` begins in `zone`."""
    return instant(dt.datetime(day.year, day.month, day.day, tzinfo=zone))


@lru_cache(maxsize=1024)
def _day_slots(day: dt.date, zone: ZoneInfo, minutes: int) -> Times:
    begin = midnight(day, zone)
    end = midnight(day + dt.timedelta(days=1), zone)
    step = np.timedelta64(minutes * 60_000_000, "us")
    slots = np.arange(begin + step, end + np.timedelta64(1, "us"), step)
    slots.flags.writeable = False
    return slots


def day_slots(day: dt.date, zone: ZoneInfo, minutes: int = 15) -> Times:
    """datetime64[us][slots]: the ends of the day's slots, UTC, ascending, read-only."""
    return _day_slots(day, zone, minutes)


def local_day(when: np.datetime64, zone: ZoneInfo) -> dt.date:
    """The day that owns the slot ending at `when`: local midnight belongs to the day before."""
    return as_datetime(when - np.timedelta64(1, "us"), zone).date()


def _offsets(times: Times, zone: ZoneInfo, *, utc: bool) -> NDArray[np.timedelta64]:
    hours = times.astype("datetime64[h]").astype(np.int64)
    found = [_offset(hour, zone, utc=utc) for hour in hours.ravel().tolist()]
    return np.array(found, dtype="timedelta64[us]").reshape(times.shape)


@lru_cache(maxsize=4096)
def _offset(hour: int, zone: ZoneInfo, *, utc: bool) -> int:
    """Of UTC, in microseconds, in an hour counted from 1970-01-01, in UTC or locally (the first pass of a repeated one)."""
    when = dt.datetime(1970, 1, 1) + dt.timedelta(hours=hour)
    aware = when.replace(tzinfo=dt.UTC).astimezone(zone) if utc else when.replace(tzinfo=zone)
    return (aware.utcoffset() or dt.timedelta()) // dt.timedelta(microseconds=1)


def local_fields(times: Times, zone: ZoneInfo) -> Times:
    """UTC instants -> naive local civil times, datetime64[us][n]. Converts each distinct offset once per hour."""
    times = times.astype("datetime64[us]")
    if times.size <= FEW:
        return np.asarray(times + _offsets(times, zone, utc=True))
    hours, where = np.unique(times.astype("datetime64[h]"), return_inverse=True)
    offsets = np.array(
        [as_datetime(hour, zone).utcoffset() for hour in hours], dtype="timedelta64[us]"
    )  # zones change on the hour in UTC (all rules since 1970 of the zones metered here)
    return np.asarray(times + offsets[where.reshape(times.shape)])


def from_local(local: Times, zone: ZoneInfo) -> Times:
    """Naive local civil times -> UTC instants; an ambiguous hour is taken as its first pass (fold=0)."""
    local = local.astype("datetime64[us]")
    if local.size <= FEW:
        return np.asarray(local - _offsets(local, zone, utc=False))
    hours, where = np.unique(local.astype("datetime64[h]"), return_inverse=True)
    offsets = np.array(
        [
            hour.astype("datetime64[us]").astype(dt.datetime).replace(tzinfo=zone).utcoffset()
            for hour in hours
        ],
        dtype="timedelta64[us]",
    )
    return np.asarray(local - offsets[where.reshape(local.shape)])
