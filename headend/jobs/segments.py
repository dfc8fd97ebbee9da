"""What kind each customer is: by his curve of a fortnight, by what he paid, by what rules found of his meter."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.jobs.statistics import NotOver
from headend.store import blocks, segments
from headend.store.coverage import today
from lineloss.statistics import segments as pure
from lineloss.statistics.segments import VERSION, Segment
from protocols.localtime import local_fields, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

NAME: Final = "segments"
#: days of the curve: two weeks have ten working days and four days of rest
DAYS: Final = 14
#: days of payments and of findings
MONEY: Final = dt.timedelta(days=182)
FINDINGS: Final = dt.timedelta(days=182)
#: hours in which the network is at its peak [from, to): a default, the utility's own tariff says better
PEAK: Final = ((8, 11), (17, 22))
#: customers saved in one transaction: a second's work
AT_ONCE: Final = 20_000
_KWH: Final = 1e-4


def job(run: Run, day: dt.date) -> str:
    """Segments of all customers by what is known up to `day`, which must be over."""
    if day >= today(run.now, run.zone):
        raise NotOver(day)
    conn, end = run.conn, midnight(day + dt.timedelta(days=1), run.zone)
    customer, point = segments.accounts(conn, end - np.timedelta64(1, "us"))
    customers = np.unique(customer)
    if not len(customers):
        return "no customers"
    hours, days = _hours(run, day, customers, customer, point)
    changed = 0
    for begin in range(0, len(customers), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        for what, (found, first) in _segments(run, day, customers[some], hours[some], days[some]).items():
            with conn.transaction():
                changed += segments.save(
                    conn, what, VERSION[what], customers[some], found, (first, day), now=run.now
                )
            conn.commit()
    return f"{len(customers)} customers, {changed} labels changed"


def _segments(
    run: Run, day: dt.date, customers: I64, hours: Floats, days: I64
) -> dict[str, tuple[Segment, dt.date]]:
    """What -> (found, first day that it rests on)."""
    end = midnight(day + dt.timedelta(days=1), run.zone)
    since = day - MONEY + dt.timedelta(days=1)
    paid = segments.money(run.conn, customers, midnight(since, run.zone), end)
    warned, stopped = (np.nan_to_num(paid[name]).astype(np.int64) for name in ("warned", "stopped"))
    suspected = day - FINDINGS + dt.timedelta(days=1)
    weight, count = segments.suspicions(run.conn, customers, suspected, end - np.timedelta64(1, "us"))
    peak = np.zeros(24, dtype=np.bool_)
    for first, last in PEAK:
        peak[first:last] = True
    curve = day - dt.timedelta(days=DAYS - 1)
    return {
        "profile": (pure.profile(hours, days), curve),
        "shift": (pure.shift(hours, days, peak), curve),
        "payment": (
            pure.payment(
                paid["prepaid"] == 1, warned, stopped, paid["late_days"], np.nan_to_num(paid["months"])
            ),
            since,
        ),
        "theft": (pure.theft(weight, count), suspected),
    }


def _hours(run: Run, day: dt.date, customers: I64, customer: I64, point: I64) -> tuple[Floats, I64]:
    """(the mean hour of the known days float64[customer, 24] [kWh]; of how many days: the least of his points, int64[customer])."""
    first = day - dt.timedelta(days=DAYS - 1)
    total = np.zeros((len(customers), 24))
    days = np.full(len(customers), DAYS, dtype=np.int64)
    seen = np.zeros(len(customers), dtype=np.bool_)
    for block in blocks.stream_energies([run.conn], first, run.zone, ("active_import",), last=day):
        at = np.minimum(np.searchsorted(point, block.point), len(point) - 1)
        mine = point[at] == block.point
        hours, known = _mean(block.energies["active_import"].energy[mine], block.times[1:], run)
        who = np.searchsorted(customers, customer[at[mine]])
        np.add.at(total, who, hours)
        np.minimum.at(days, who, known)
        seen[who] = True
    run.conn.commit()
    return total, np.where(seen, days, 0)


def _mean(energy: I64, ends: NDArray[np.datetime64], run: Run) -> tuple[Floats, I64]:
    """(mean hour of each point's whole days float64[point, 24] [kWh], how many days are whole)."""
    begins = local_fields(ends - np.timedelta64(15, "m"), run.zone)
    hour = (begins - begins.astype("datetime64[D]")).astype("timedelta64[h]").astype(np.int64)
    number = (begins.astype("datetime64[D]") - begins[0].astype("datetime64[D]")).astype(np.int64)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    whole = np.logical_and.reduceat(energy != MISSING, starts, axis=1)
    counted = np.where(whole[:, number], energy, 0) * _KWH
    known = whole.sum(axis=1)
    hours = np.zeros((len(energy), 24))
    for h in range(24):
        hours[:, h] = counted[:, hour == h].sum(axis=1)
    return hours / np.maximum(known, 1)[:, None], known.astype(np.int64)
