"""The holes of a day, and what may stand in them: estimates worked out, not yet laid."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.jobs.vee_day import Tile
from headend.plans import CURVE
from headend.store import blocks, vee
from headend.store.blocks import Block
from headend.store.blocks.installed import Rows
from headend.store.coverage import today
from headend.store.vee import Laying
from lineloss.registers import Registers, steps
from lineloss.vee import follow
from lineloss.vee.curve import QUARTERS, Curve
from lineloss.vee.estimate import MOST, Estimates, Left, estimate
from lineloss.vee.facts import amperes, most
from lineloss.vee.methods import METHODS, likeday, profile, proxy
from protocols.localtime import Times, local_fields, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]

#: registers of the curve that are estimated. The others are instants, which nobody needs for an energy, and day freezes, which are billed.
CODES: Final = ("active_import", "active_export")
#: days on either side of a day in which a hole that touches it may begin or end
REACH: Final = dt.timedelta(days=MOST // QUARTERS)
#: and the days before such a hole that say what is usual
BACK: Final = REACH + dt.timedelta(days=likeday.DAYS)
#: meters worked out at once: six weeks of quarter-hours of two registers are 64 kB a meter, of which a handful of copies are made
METERS: Final = 400
#: meters that watch in an area without being summed, and may check another: where there are more, they watch generators
PER_AREA: Final = 5
#: and those that the meters of a tile are compared with: 100 kB each
CANDIDATES: Final = 200


@dataclass(frozen=True, slots=True)
class Worked:
    """Estimates of one register of some meters around a day. `times` [time]; `unread` bool[meter, time]: the meter said nothing then;
    `look` bool[time]: the times of the day itself."""

    code: str
    meter: I64
    times: Times
    estimates: Estimates
    unread: Bits
    look: Bits

    def laying(self) -> Laying:
        e = self.estimates
        codes = np.array([method.CODE for method in METHODS])
        return Laying(
            self.meter[e.row], self.times[e.time], e.value, codes[e.method], self.unread[e.row, e.time]
        )

    def considered(self) -> Bits:
        """bool[meter, time]: where an estimate of ours that stands is one of these, or stands no more."""
        e = self.estimates
        mask = np.zeros((len(self.meter), len(self.times) + 1), dtype=np.int64)
        np.add.at(mask, (e.left.row, e.left.first), 1)
        np.add.at(mask, (e.left.row, e.left.last + 1), -1)
        found = mask.cumsum(axis=1)[:, :-1] > 0
        found[e.row, e.time] = True
        return np.asarray(found | self.look, dtype=np.bool_)

    def without(self, rows: Bits) -> Worked:
        """All but these meters, bool[meter]."""
        keep = ~rows
        place = np.cumsum(keep) - 1
        e = self.estimates
        mine, stay = keep[e.row], keep[e.left.row]
        left = e.left.take(stay)
        return Worked(
            self.code, self.meter[keep], self.times,
            Estimates(
                place[e.row[mine]], e.time[mine], e.value[mine], e.method[mine],
                type(left)(place[left.row], left.first, left.last, left.before, left.after), e.why[stay],
            ),
            self.unread[keep], self.look,
        )  # fmt: skip


def within(tile: Tile, times: Times) -> Iterator[Worked]:
    """What the day alone allows: holes between two of its own registers, level or short. `times` [slot + 1]."""
    facts = tile.facts
    n = len(times)
    look = np.arange(n) > 0
    for code, registers in ((CODES[0], facts.imports), (CODES[1], facts.exports)):
        rows = np.ones(len(facts), dtype=np.bool_) if code == CODES[0] else _moves(registers)
        if not rows.any():
            continue
        false, _ = follow.judge(
            registers[rows], np.full(int(rows.sum()), MISSING), facts.roll_over[rows], facts.most[rows], np.zeros(int(rows.sum()))
        )  # fmt: skip
        curve = Curve(
            registers=np.where(false, MISSING, registers[rows]),
            alive=tile.alive[rows],
            day=np.zeros(n, dtype=np.int64),
            quarter=np.zeros(n, dtype=np.int64),
            kind=np.zeros(1, dtype=np.int64),
            roll_over=facts.roll_over[rows],
            most=facts.most[rows],
            freezes=np.full((int(rows.sum()), n), MISSING),
        )
        yield Worked(
            code, facts.meter[rows], times, estimate(curve, look, look), registers[rows] == MISSING, look
        )


def _moves(registers: Registers) -> Bits:
    """bool[meter]: the register has ever counted: who never fed in has no export to estimate."""
    return np.asarray(registers.max(axis=1) > 0, dtype=np.bool_)


def around(run: Run, day: dt.date, meters: I64) -> list[Worked]:
    """What the weeks around the day allow, for at most METERS meters (ascending)."""
    last = min(day + REACH, today(run.now, run.zone))
    first = day - BACK
    begin, end = (midnight(d, run.zone) for d in (day, day + dt.timedelta(days=1)))
    meters = meters[vee.owing(run.conn, meters, begin, end)]
    block = blocks.load(
        run.conn,
        first,
        run.zone,
        CODES,
        last=last,
        meters=meters,
        until=run.now,
        freezes=CODES,
        estimates="others",
    )
    if not len(block.rows):
        return []
    who, begins = np.unique(block.rows.meter, return_index=True)
    frame = _frame(run, block, day, first, last)
    made = []
    for code in CODES:
        registers = block.registers[code][begins]
        rows = np.ones(len(who), dtype=np.bool_) if code == CODES[0] else _moves(registers)
        if rows.any():
            made.append(_worked(run, block, frame, code, begins[rows], rows))
    return made


@dataclass(frozen=True, slots=True)
class _Frame:
    """Columns of the weeks: day and quarter of the clock [time], kind [day], the day's own times, times that may be written."""

    first: dt.date
    day: I64
    quarter: I64
    kind: I64
    look: Bits
    write: Bits


def _frame(run: Run, block: Block, day: dt.date, first: dt.date, last: dt.date) -> _Frame:
    # a slot is named by its end, so a moment before tells its day and its quarter-hour
    local = local_fields(block.times - np.timedelta64(1, "us"), run.zone)
    dates = local.astype("datetime64[D]")
    number = np.maximum((dates - np.datetime64(first, "D")).astype(np.int64), 0)
    quarter = ((local - dates) // np.timedelta64(CURVE.minutes, "m")).astype(np.int64)
    inner = np.arange(len(local)) > 0
    over = midnight(today(run.now, run.zone), run.zone)
    return _Frame(
        first,
        number,
        quarter,
        vee.kinds(run.conn, first, last),
        inner & (number == (day - first).days) & (block.times <= over),
        inner & (block.times <= over),
    )


def _worked(run: Run, block: Block, frame: _Frame, code: str, begins: I64, rows: Bits) -> Worked:
    who, times = block.rows, block.times
    registers = block.registers[code][begins]
    roll_over, phases, multiplier = who.roll_over[begins], who.phases[begins], who.multiplier[begins]
    limit = most(phases, amperes(multiplier), CURVE.minutes / 60)
    false, _ = follow.judge(registers, np.full(len(begins), MISSING), roll_over, limit, np.zeros(len(begins)))
    curve = Curve(
        registers=np.where(false, MISSING, registers),
        alive=_alive(who, times)[rows] & _heard(registers, frame.write),
        day=frame.day,
        quarter=frame.quarter,
        kind=frame.kind,
        roll_over=roll_over,
        most=limit,
        freezes=_at_midnights(block, code, begins, run),
    )
    areas = who.area[begins]
    proxied = _proxied(run, block, frame, curve, code, who.meter[begins], areas, multiplier)
    made = estimate(curve, frame.look, frame.write, proxied=proxied)
    lost = np.unique(made.left.row[(made.why == Left.NO_SHAPE) & made.left.anchored])
    if len(lost) and code == CODES[0]:
        profiles = _profiles(run, frame, made, areas, lost, len(begins))
        made = estimate(curve, frame.look, frame.write, proxied=proxied, profiles=profiles)
    return Worked(code, who.meter[begins], times, made, registers == MISSING, frame.look)


def _alive(who: Rows, times: Times) -> Bits:
    there = (times >= who.since[:, None]) & (times <= who.until[:, None])
    first = np.flatnonzero(np.diff(who.meter, prepend=-1))
    return there if len(first) == len(who) else np.logical_or.reduceat(there, first, axis=0)


def _heard(registers: Registers, over: Bits) -> Bits:
    """bool[meter, time]: times of days that are over, and later ones up to the newest register: what comes after it is no hole yet."""
    known = registers != MISSING
    newest = np.where(known.any(axis=1), registers.shape[1] - 1 - known[:, ::-1].argmax(axis=1), 0)
    return np.asarray(over | (np.arange(registers.shape[1]) <= newest[:, None]), dtype=np.bool_)


def _at_midnights(block: Block, code: str, begins: I64, run: Run) -> Registers:
    """int64[meter, time]: the day freezes where the times are midnights."""
    freezes = np.full((len(begins), len(block.times)), MISSING, dtype=np.int64)
    days = ((block.last or block.day) - block.day).days + 2
    midnights = np.array([midnight(block.day + dt.timedelta(days=k), run.zone) for k in range(days)])
    freezes[:, np.searchsorted(block.times, midnights)] = block.freezes[code][begins]
    return freezes


def _proxied(
    run: Run, block: Block, frame: _Frame, curve: Curve, code: str, meters: I64, areas: I64, multiplier: I64
) -> F64 | None:
    """float64[meter, time] [1e-4 kWh]: what check meters say of these meters' energies, on their side; None where nobody has one."""
    there = np.unique(areas[areas >= 0])
    watching, of = vee.auxiliaries(run.conn, there.tolist(), block.times[-1])
    number = np.arange(len(of)) - np.searchsorted(of, of)
    few = ~np.isin(of, of[number >= PER_AREA])
    watching, of = watching[few][:CANDIDATES], of[few][:CANDIDATES]
    if not len(watching):
        return None
    other = blocks.load(
        run.conn, block.day, run.zone, (code,), last=block.last, meters=np.unique(watching), until=run.now, freezes=(),
        estimates="none",
    )  # fmt: skip
    theirs = np.unique(other.rows.meter, return_index=True)[1]
    registers, roll_over = other.registers[code][theirs], other.rows.roll_over[theirs]
    energy = np.full(registers.shape, MISSING, dtype=np.int64)
    energy[:, 1:] = steps(registers, roll_over)
    primary = np.where(energy == MISSING, MISSING, energy * other.rows.multiplier[theirs][:, None])
    known = other.rows.meter[theirs]
    area_of = dict(zip(watching.tolist(), of.tolist(), strict=True))
    mine = _by_day(curve.energy, frame.day, len(frame.kind))
    others = _by_day(primary, frame.day, len(frame.kind))
    made = np.full(curve.registers.shape, np.nan)
    for k in range(len(meters)):
        here = np.array([area_of.get(int(m)) == areas[k] and m != meters[k] for m in known], dtype=np.bool_)
        if not here.any():
            continue
        own = np.where(mine[k] == MISSING, MISSING, mine[k] * multiplier[k])
        found = proxy.partner(own, others[here])
        if found is not None:
            chosen = primary[np.flatnonzero(here)[found[0]]]
            made[k] = np.where(chosen == MISSING, np.nan, chosen * found[1] / multiplier[k])
    return made


def _by_day(energy: I64, day: I64, days: int) -> I64:
    """int64[meter, day]: MISSING where a slot is."""
    start = np.searchsorted(day[1:], np.arange(days)) + 1
    total = np.add.reduceat(np.where(energy == MISSING, 0, energy), start, axis=1)
    gone = np.logical_or.reduceat(energy == MISSING, start, axis=1)
    return np.where(gone, MISSING, total)


def _profiles(run: Run, frame: _Frame, made: Estimates, areas: I64, lost: I64, meters: int) -> F64:
    """float64[meter, quarter]: the shape that the area's customers gave the day on which the meter's first such hole begins."""
    profiles = np.full((meters, QUARTERS), np.nan)
    known: dict[tuple[int, int], F64] = {}  # at most a tile's meters
    holes = made.left.take((made.why == Left.NO_SHAPE) & made.left.anchored)
    for row in lost.tolist():
        if areas[row] < 0:
            continue
        begin = int(frame.day[holes.first[np.searchsorted(holes.row, row)]])
        key = int(areas[row]), begin
        if key not in known:
            known[key] = _shape(run, frame.first + dt.timedelta(days=begin), key[0])
        profiles[row] = known[key]
    return profiles


def _shape(run: Run, day: dt.date, area: int) -> F64:
    members, _ = vee.customers(run.conn, [area], midnight(day + dt.timedelta(days=1), run.zone))
    nothing = np.full(QUARTERS, np.nan)
    if not len(members):
        return nothing
    block = blocks.load(
        run.conn,
        day,
        run.zone,
        CODES[:1],
        meters=np.unique(members),
        until=run.now,
        freezes=(),
        estimates="none",
    )
    if not len(block.rows):
        return nothing
    registers = block.registers[CODES[0]]
    energy = steps(registers, block.rows.roll_over)
    local = local_fields(block.times[1:] - np.timedelta64(1, "us"), run.zone)
    quarter = ((local - local.astype("datetime64[D]")) // np.timedelta64(CURVE.minutes, "m")).astype(np.int64)
    return profile.shape(energy, quarter)
