"""Where it was dark in a day, or is: by the power cuts, voltages and missing records of whole transformer areas, some at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs import network
from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import blocks, coverage, outages
from headend.store.blocks import Block
from headend.store.outages import Outage, PowerCuts
from lineloss.meterday import nominal_of
from lineloss.statistics import outage
from lineloss.statistics.outage import SURE, Area, Cuts, Outages
from lineloss.topology import Role
from protocols.localtime import Times

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

NAME: Final = "outages"
_VOLTAGES: Final = ("voltage_a", "voltage_b", "voltage_c")


def job(run: Run, day: dt.date) -> str:
    """The outages of a local day, as far as its slots may be expected; each run looks at all of it anew."""
    conn = run.conn
    slots = network.slots_due(run, day)
    who = blocks.rows(conn, day, run.zone)
    if slots < 1 or not len(who):
        return "nothing due yet"
    over = slots == len(points(CURVE, day, run.zone))
    who = who.take(np.flatnonzero(who.area >= 0))
    found: list[Outage] = []
    cuts: tuple[PowerCuts, PowerCuts] | None = None
    for block in blocks.stream_areas(conn, who, day, run.zone, _VOLTAGES, freezes=()):
        times = block.times[: slots + 1]
        cuts = cuts or (
            outages.power_cuts(conn, "meter", times[0], times[-1]),
            outages.power_cuts(conn, "terminal", times[0], times[-1]),
        )
        found += _rows(*_look(run, block, times, *cuts), over)
        conn.commit()
    area, began = (
        np.array([o.area_id for o in found], dtype=np.int64),
        np.array([o.began for o in found], dtype="datetime64[us]"),
    )
    near = outage.together(area, began, outages.lines(conn, area, run.now)).tolist()
    with conn.transaction():
        told = [replace(one, together=count) for one, count in zip(found, near, strict=True)]
        outages.save(conn, day, told, now=run.now)
    conn.commit()
    return f"{len(found)} outages"


def _look(
    run: Run, block: Block, times: Times, of_meters: PowerCuts, of_terminals: PowerCuts
) -> tuple[I64, Outages]:
    """(area ids, outages) of a block of whole areas."""
    who, slots = block.rows, len(times) - 1
    areas, area = np.unique(who.area, return_inverse=True)
    volts = np.stack([block.instants[code][:, :slots] for code in _VOLTAGES], axis=1).astype(np.float64)
    cuts = _cuts(who.meter, of_meters)
    signs = outage.signs(times, cuts, volts, nominal_of(volts), _absent(run, block, slots))
    told = Area(
        area=area.astype(np.int64),
        supply=np.asarray(who.role == Role.SUPPLY),
        customer=np.asarray(who.role == Role.RECEIVE),
        terminal=_terminals(times, area.astype(np.int64), len(areas), who.terminal, of_terminals),
        areas=len(areas),
    )
    return areas, outage.find(times, signs, cuts, told)


def _cuts(meter: I64, noted: PowerCuts) -> Cuts:
    """The cuts by row: a meter with several roles has several."""
    order = np.argsort(meter, kind="stable")
    low = np.searchsorted(meter[order], noted.subject)
    count = np.searchsorted(meter[order], noted.subject, side="right") - low
    cut = np.repeat(np.arange(len(count)), count)
    row = order[np.repeat(low - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))]
    return Cuts(row.astype(np.int64), noted.since[cut], noted.until[cut])


def _absent(run: Run, block: Block, slots: int) -> Bits:
    """bool[row, slot]: the meter proved to have no record of it."""
    who = block.rows
    terminals = np.unique(who.terminal).tolist()
    matrix = coverage.day_matrix(
        run.conn, CURVE, block.day, now=run.now, zone=run.zone, terminals=terminals, reasons=()
    )
    at = np.minimum(np.searchsorted(matrix.meters, who.meter), max(len(matrix.meters) - 1, 0))
    absent = np.zeros((len(who), slots), dtype=np.bool_)
    if len(matrix.meters):
        there = matrix.meters[at] == who.meter
        absent[there] = (matrix.absent & matrix.expected)[at[there], :slots]
    return absent


def _terminals(times: Times, area: I64, areas: int, terminal: I64, noted: PowerCuts) -> Bits:
    """bool[area, slot]: a terminal that an area's meters hang behind noted a power cut of its own in it."""
    ids, index = np.unique(terminal, return_inverse=True)
    none = np.zeros((len(ids), len(times) - 1), dtype=np.bool_)
    dark = outage.noted(times, _cuts(ids, noted), none)
    told = np.zeros((areas, len(times) - 1), dtype=np.bool_)
    pairs = np.unique(np.stack([area, index]), axis=1)
    np.logical_or.at(told, pairs[0], dark[pairs[1]])
    return told


def _rows(areas: I64, found: Outages, over: bool) -> Iterator[Outage]:
    """As they are stored. Of a day that is over an outage ends at midnight at the latest; the next day tells how it went on."""
    for k in range(len(found)):
        lasts = bool(found.open[k]) and not over and not found.exact[k, 1]
        yield Outage(
            int(areas[found.area[k]]), found.began[k], None if lasts else found.ended[k],
            (bool(found.exact[k, 0]), bool(found.exact[k, 1])), SURE[found.sure[k]], int(found.dark[k]), int(found.customers[k]),
            int(found.heard[k]), bool(found.supply[k]), 1,
        )  # fmt: skip
