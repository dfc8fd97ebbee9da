"""A day's block as the pure rooms want it: topology and register curves, row by row the same meters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import blocks
from headend.store import network as archived
from headend.store.blocks import Block, Boundary, Rows
from lineloss.balance import day_ends
from lineloss.storm import Places
from lineloss.topology import Role, Topology
from protocols.localtime import Times, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]

#: domain time after a slot's end before its absence means anything: the collector's own cycle, with room
PATIENCE = np.timedelta64(30 * 60, "s")


#: What the balance reads.
ENERGIES = ("active_import", "active_export")


@dataclass(frozen=True, slots=True)
class Network:
    """One local day, or what there is of it so far. A meter that came or went in the day has a row for its time on the point.

    imports, exports            int64[meter, slot + 1] [1e-4 kWh] secondary side; MISSING for who was not there all the time: half a curve
                                accuses the honest
    freeze_imports, _exports    int64[meter, 2]: where the curve lacks an end of the day, the day freezes once the day is over; of who came
                                or went, the first and the last register of its time on the point
    roll_over                   int64[meter] [1e-4 kWh]: what the registers count modulo
    complete                    the day is over and its last slot had time to arrive
    """

    block: Block
    topology: Topology
    imports: I64
    exports: I64
    freeze_imports: I64
    freeze_exports: I64
    roll_over: I64
    complete: bool

    def instants(self, code: str) -> NDArray[np.float64]:
        """float64[meter, slot] of a quantity in its own unit; NaN where not delivered or not loaded."""
        return self._stack([code])[:, 0]

    def phases(self, what: str) -> NDArray[np.float64]:
        """float64[meter, 3, slot] of `what`_a, _b and _c ("voltage", "current"), as `instants`."""
        return self._stack([f"{what}_{phase}" for phase in "abc"])

    def _stack(self, codes: Sequence[str]) -> NDArray[np.float64]:
        slots = self.imports.shape[1] - 1
        values = np.empty((len(self.topology), len(codes), slots))
        for k, code in enumerate(codes):
            there = self.block.instants.get(code)
            values[:, k] = np.nan if there is None else there[:, :slots]
        return values


def slots_due(run: Run, day: dt.date) -> int:
    """How many slots of the day may be expected by now."""
    return int(np.searchsorted(points(CURVE, day, run.zone), run.now - PATIENCE, side="right"))


def areas(run: Run, day: dt.date, who: Rows, codes: Sequence[str] = ()) -> Iterator[Network]:
    """The network of `day` up to the newest slot that may be expected, of these rows, by whole transformer areas, so many at a time as one
    block holds, with these quantities of the curve and the energies. Nothing before there is a slot."""
    slots = slots_due(run, day)
    if slots < 1:
        return
    # the bounds of a loss know of classes and digits, not of estimates, and what is estimated accuses nobody
    for block in blocks.stream_areas(run.conn, who, day, run.zone, _wanted(codes), estimates="none"):
        # nobody's register is needed of a moment that the day has not come to yet
        ends = blocks.boundaries(run.conn, ENERGIES, block.rows, block.times[0], block.times[slots])
        yield assemble(block, slots, *ends)


def window(
    run: Run, first: dt.date, last: dt.date, some: I64, codes: Sequence[str], *, supplies: bool = False
) -> Iterator[Network]:
    """The areas `some` (their ids) over whole local days, so many at a time as one block holds.

    supplies  each block has the supply meters of all of `some`, whichever areas it holds

    A meter that came or went within has no curve, so its area is not examined: see `settled`. Days of which there is nothing say nothing.
    """
    begin, end = midnight(first, run.zone), midnight(last + dt.timedelta(days=1), run.zone)
    who = blocks.rows(
        run.conn, first, run.zone, last=last, points=archived.members(run.conn, some, begin, end)
    )
    who = who.take(np.isin(who.area, some))
    feeds = who.take(who.role == Role.SUPPLY) if supplies else None
    for block in blocks.stream_areas(
        run.conn, who, first, run.zone, _wanted(codes), last=last, estimates="none", beside=feeds
    ):
        outer = {code: ends[:, [0, -1]] for code, ends in block.freezes.items()}
        yield assemble(replace(block, freezes=outer), len(block.times) - 1)


def settled(run: Run, first: dt.date, last: dt.date, some: I64) -> dict[dt.date, I64]:
    """The areas `some` by the first of the days `first` to `last` from which on no meter of theirs came or went: an area that is new, or
    whose meter was exchanged, has what there is since. Those without a whole day are left out."""
    midnights = np.array(
        [midnight(first + dt.timedelta(days=k), run.zone) for k in range((last - first).days + 2)]
    )
    who = blocks.rows(
        run.conn,
        first,
        run.zone,
        last=last,
        points=archived.members(run.conn, some, midnights[0], midnights[-1]),
    )
    who = who.take(np.isin(who.area, some) & ~who.whole)
    changed = np.where(who.until < midnights[-1], who.until, who.since)
    begins = np.searchsorted(midnights, changed)  # of each, the first midnight from which on it is as it is
    newest = np.zeros(len(some), dtype=np.int64)
    order = np.argsort(some)
    np.maximum.at(newest, order[np.searchsorted(some[order], who.area)], begins)
    return {
        first + dt.timedelta(days=k): some[newest == k]
        for k in np.unique(newest).tolist()
        if k < len(midnights) - 1
    }


def _wanted(codes: Sequence[str]) -> list[str]:
    return [*ENERGIES, *(code for code in codes if code not in ENERGIES)]


def places(who: Rows) -> Places:
    """Each meter once: where it hangs in an area, if it does, for what is to be told of many meters together."""
    order = np.lexsort((-who.area, who.meter))
    first = order[np.flatnonzero(np.diff(who.meter[order], prepend=-1))]
    return Places(who.meter[first], who.area[first], who.role[first].astype(np.int8), who.terminal[first])


def assemble(
    block: Block, slots: int, since: Boundary | None = None, until: Boundary | None = None
) -> Network:
    """The network of a day's block, of which the first `slots` slots may be expected. Pure.

    since, until    the registers at installations and removals in the day, as blocks.boundaries has them
    """
    who, times = block.rows, block.times[: slots + 1]
    complete = slots == len(block.times) - 1
    area_id = np.unique(who.area[who.area >= 0])
    part = ~who.whole
    curves, frozen, feeds_in = [], [], np.zeros(len(who), dtype=np.bool_)
    for code in ENERGIES:
        curve, freezes = block.registers[code][:, : slots + 1], block.freezes[code].copy()
        if not complete:
            freezes[:, 1] = MISSING  # taken, if at all, after the last slot that is looked at
        opening = curve[:, 0] == MISSING
        if part.any() or opening.any():
            curve = curve.copy()
        curve[opening, 0] = freezes[opening, 0]
        freezes[part] = (
            MISSING
            if since is None or until is None
            else _ends(
                times,
                who,
                day_ends(curve, block.freezes[code] if complete else None),
                (since[code].values, until[code].values),
            )[part]
        )
        if code == "active_export":
            feeds_in = np.maximum(curve.max(axis=1), freezes.max(axis=1)) > 0  # MISSING is below everything
        curve[part] = MISSING
        curves.append(curve)
        frozen.append(freezes)
    # what one of a point's meters has fed in, the next one may
    feeds_in |= part & np.isin(who.point, who.point[feeds_in])
    topology = Topology(
        meter=who.meter,
        point=who.point,
        area=np.where(who.area >= 0, np.searchsorted(area_id, who.area), -1),
        role=np.where(who.role >= 0, who.role, 2).astype(np.int8),
        multiplier=who.multiplier,
        accuracy=who.accuracy,
        phases=who.phases.astype(np.int8),
        exports=np.asarray(feeds_in, dtype=np.bool_),
        area_id=area_id,
    )
    return Network(block, topology, curves[0], curves[1], frozen[0], frozen[1], who.roll_over, complete)


def _ends(times: Times, who: Rows, day: tuple[I64, I64], span: tuple[I64, I64]) -> I64:
    """int64[meter, 2]: the first and last register of each meter's time on its point between times[0] and times[-1].

    day     registers at times[0] and times[-1];  span  at installation and removal, each [meter]

    MISSING where one was not read, and where the point was without a meter for a while: what flowed then, nobody knows.
    """
    first = np.where((who.since > times[0]) | (day[0] == MISSING) & (who.since == times[0]), span[0], day[0])
    last = np.where((who.until < times[-1]) | (day[1] == MISSING) & (who.until == times[-1]), span[1], day[1])
    order = np.lexsort((who.since, who.point))
    before, after = order[:-1], order[1:]
    alone = (who.point[before] == who.point[after]) & (who.until[before] < who.since[after])
    broken = np.isin(who.point, who.point[after[alone]])
    ends = np.where(broken[:, None], MISSING, np.stack([first, last], axis=1))
    return np.where((who.since >= times[-1])[:, None], 0, ends)  # yet to come: nothing has flowed through it
