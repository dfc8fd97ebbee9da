"""A local day of some meters as the rules of validation look at it, from the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.jobs.network import PATIENCE
from headend.plans import CURVE, due, expected
from headend.store import vee
from headend.store.blocks import Block, Quality
from headend.store.blocks.block import fetch
from headend.store.blocks.grid import by_key
from headend.store.blocks.installed import Rows
from headend.store.tables import DAY_FREEZES
from headend.store.vee import Sets
from lineloss.registers import advance
from lineloss.vee.facts import Facts, amperes
from protocols.localtime import Times, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]

#: what the rules look at
CODES: Final = (
    "active_import", "active_export", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c", "active_power",
)  # fmt: skip
#: days before whose freezes are the history: four weeks, so that each weekday is there four times
HISTORY: Final = 28


@dataclass(frozen=True, slots=True)
class Around:
    """What all tiles of a day share. `midnights`: those that HISTORY days before begin with, the day's own two at the end."""

    day: dt.date
    zone: ZoneInfo
    midnights: Times
    alike: Bits
    sets: Sets


def around(run: Run, day: dt.date) -> Around:
    first = day - dt.timedelta(days=HISTORY)
    kinds = vee.kinds(run.conn, first, day)
    midnights = [midnight(first + dt.timedelta(days=k), run.zone) for k in range(HISTORY + 2)]
    sets = vee.clock_sets(run.conn, *midnights[-2:])
    return Around(day, run.zone, np.array(midnights), kinds[:-1] == kinds[-1], sets)


@dataclass(frozen=True, slots=True)
class Tile:
    """The meters of a block, each once. `alive` bool[meter, slot + 1]: installed at that instant, and a curve is owed."""

    facts: Facts
    alive: Bits


def facts(run: Run, block: Block, of: Around) -> Tile:
    """`block`: CODES of the day without our own estimates, and no freezes."""
    who, times = block.rows, block.times
    meter, first = np.unique(who.meter, return_index=True)
    pick = slice(None) if len(meter) == len(who) else first
    alive, installed = presence(who, first, times, block.day, run.zone)
    frozen = _freezes(run, meter, of)
    before, hours = _before(frozen[:, :HISTORY], of.midnights)
    imports, exports = (block.registers[code][pick] for code in CODES[:2])
    voltage, current = (
        tuple(block.instants[f"{what}_{phase}"][pick] for phase in "abc") for what in ("voltage", "current")
    )
    owing = vee.owing(run.conn, meter, times[0], times[-1])[:, None]
    ahead, unsure = vee.clocks(run.conn, meter, times[-1])
    multiplier = who.multiplier[pick]
    return Tile(
        Facts(
            meter=meter,
            hours=CURVE.minutes / 60,
            imports=imports,
            exports=exports,
            freezes=frozen[:, HISTORY:],
            voltage=voltage,  # type: ignore[arg-type]
            current=current,  # type: ignore[arg-type]
            power=block.instants["active_power"][pick],
            installed=installed,
            due=installed & owing & due(CURVE, block.day, run.zone, run.now - PATIENCE),
            again=_again(block)[pick],
            cut=of.sets.cut(meter, times),
            strange=vee.strange(run.conn, meter, times[0], times[-1]),
            before=before,
            before_hours=hours,
            history=advance(frozen[:, :HISTORY], frozen[:, 1 : HISTORY + 1], who.roll_over[pick][:, None]),
            alike=of.alike,
            roll_over=who.roll_over[pick],
            phases=who.phases[pick],
            multiplier=multiplier,
            amperes=amperes(multiplier),
            # what has ever come back through a register may come again
            exporting=exports.max(axis=1) > 0,
            open=~vee.closed(run.conn, meter, times[0], times[-1]),
            ahead=ahead,
            unsure=unsure,
        ),
        alive & owing,
    )


def presence(who: Rows, first: I64, times: Times, day: dt.date, zone: ZoneInfo) -> tuple[Bits, Bits]:
    """(bool[meter, time]: installed at the instant; bool[meter, slot]: the slot's point is the meter's to give) of rows ordered by meter,
    whose meters begin at `first`; `times` are one day's, with its opening midnight."""
    there = (times >= who.since[:, None]) & (times <= who.until[:, None])
    points = expected(CURVE, day, zone, who.since, who.until)
    if len(first) == len(who):
        return there, points
    return np.logical_or.reduceat(there, first, axis=0), np.logical_or.reduceat(points, first, axis=0)


def _again(block: Block) -> Bits:
    """bool[row, slot + 1]: the import register is the meter's later word."""
    mask = np.zeros(block.registers["active_import"].shape, dtype=np.bool_)
    marks = block.marks["active_import"]
    later = marks.quality == Quality.REVISED
    mask[marks.row[later], marks.column[later]] = True
    return mask


def _freezes(run: Run, meter: I64, of: Around) -> I64:
    """int64[meter, midnight]: import registers by the day freezes, nobody's estimate among them."""
    with by_key(run.conn):
        found, _ = fetch(
            run.conn,
            DAY_FREEZES,
            ("active_import",),
            meter,
            of.midnights,
            of.zone,
            until=run.now,
            estimates="none",
        )
    return np.asarray(found["active_import"], dtype=np.int64)


def _before(frozen: I64, midnights: Times) -> tuple[I64, F64]:
    """(the newest register known, how many hours before the day it was read), [meter], of freezes [meter, midnight] before the day."""
    known = frozen != MISSING
    newest = frozen.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    some = known.any(axis=1)
    value = np.where(some, frozen[np.arange(len(frozen)), newest], MISSING)
    hours = (midnights[frozen.shape[1]] - midnights[newest]) / np.timedelta64(1, "h")
    return value, np.where(some, hours, np.nan)
