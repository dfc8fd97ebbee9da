"""What each transformer area will take: the forecasts that a day has proved or not, and the next one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import blocks, forecasts, statistics, vee
from headend.store.blocks import Rows
from lineloss.statistics import forecast
from lineloss.topology import Role, sum_by
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

#: After the night that ends `day` the day in between has begun already: what is asked about is the one after it.
AHEAD: Final = 2
#: Areas at once: four weeks of their supply meters' two registers are as much as a block of everybody's day.
AREAS: Final = blocks.CELLS_AT_ONCE // (forecast.HISTORY * 96)
_KWH: Final = 1e-4


def job(run: Run, day: dt.date) -> str:
    """Measure what was said of `day`, which is over, and say what the day AHEAD of it will take."""
    conn = run.conn
    first, target = day - dt.timedelta(days=forecast.HISTORY - 1), day + dt.timedelta(days=AHEAD)
    statistics.prepare(conn, target, "area_forecast")
    kinds = vee.kinds(conn, first, target)
    made = 0
    for area, history in _history(run, first, day):
        told = forecast.forecast(
            history, kinds[: forecast.HISTORY] == kinds[-1], kinds[: forecast.HISTORY], AHEAD
        )
        some = told.days > 0
        with conn.transaction():
            _measure(run, day, area, history[:, -1])
            if history.shape[2] == len(points(CURVE, target, run.zone)):
                forecasts.save(
                    conn,
                    target,
                    area[some],
                    told.energy[some],
                    told.naive[some],
                    told.days[some],
                    told.level[some],
                    now=run.now,
                )
                made += int(some.sum())
        conn.commit()
    return f"{made} areas forecast"


def _history(run: Run, first: dt.date, last: dt.date) -> Iterator[tuple[I64, Floats]]:
    """(areas, their net supply float64[area, day, slot] [kWh], NaN where not known), some areas at a time.

    Who supplies an area is who does so on the last day; days on which the clocks change have another number of slots, and are unknown."""
    who = blocks.rows(run.conn, last, run.zone)
    who = who.take(np.flatnonzero((who.area >= 0) & (who.role == Role.SUPPLY)))
    areas = np.unique(who.area)
    days = [first + dt.timedelta(days=k) for k in range((last - first).days + 1)]
    counts = [len(points(CURVE, one, run.zone)) for one in days]
    for begin in range(0, len(areas), AREAS):
        some = areas[begin : begin + AREAS]
        yield some, _net(run, who.take(np.isin(who.area, some)), some, days, counts)


def _net(run: Run, who: Rows, areas: I64, days: list[dt.date], counts: list[int]) -> Floats:
    ids = np.unique(who.point)
    found = blocks.energies(run.conn, days[0], run.zone, last=days[-1], points=ids)
    given = {code: found.energies[code].energy for code in blocks.ENERGIES}
    back = given["active_export"]
    # a meter that never said anything of feeding in does not
    back = np.where((back == MISSING).all(axis=1)[:, None], 0, back)
    bad = (given["active_import"] == MISSING) | (back == MISSING)
    net = np.where(bad, np.nan, (given["active_import"] - np.where(bad, 0, back)) * _KWH)
    pairs = np.unique(
        np.stack([np.searchsorted(areas, who.area), np.searchsorted(found.point, who.point)]), axis=1
    )
    total = sum_by(pairs[0], len(areas), net[pairs[1]])
    slots = counts[-1]
    history = np.full((len(areas), len(days), slots), np.nan)
    edges = np.concatenate([[0], np.cumsum(counts)])
    for k, count in enumerate(counts):
        if count == slots:
            history[:, k] = total[:, edges[k] : edges[k + 1]]
    return history


def _measure(run: Run, day: dt.date, area: I64, taken: Floats) -> None:
    known, told, naive = forecasts.of_day(run.conn, day, area, taken.shape[1])
    at = np.searchsorted(area, known)
    forecasts.measured(
        run.conn, day, known, forecast.error(told, taken[at]), forecast.error(naive, taken[at])
    )
