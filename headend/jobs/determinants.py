"""Billing determinants (计费依据) from the store: what a bill rests on besides its plan, for accounts that share a plan and its segments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.store import blocks
from headend.store.billed import Billed, Terms
from headend.store.blocks import Counted, Quality, Why
from headend.store.tables import MONTH_FREEZES
from protocols.localtime import Times, midnight
from protocols.reading import MISSING
from tariffs.charge import Problem, period_energy
from tariffs.determinants import Determinants
from tariffs.periods import PERIODS
from tariffs.plan import Segment, Tariff
from tariffs.registers import RESOLUTION
from tariffs.steps import months_there

I64 = NDArray[np.int64]
Days = NDArray[np.datetime64]

#: total, T1..T4: a freeze's columns
ACTIVE = ("active_import", "active_import_t1", "active_import_t2", "active_import_t3", "active_import_t4")
REACTIVE = ("reactive_import", "reactive_export")
_PROBLEM = {
    Why.NOT_COMMISSIONED: Problem.MISSING_FREEZE,
    Why.MISSING_REGISTER: Problem.MISSING_FREEZE,
    Why.EXCHANGED: Problem.MISSING_FREEZE,
    Why.FELL: Problem.NEGATIVE,
}


@dataclass(frozen=True, slots=True)
class Grounds:
    """What accounts are billed on: the determinants, and the registers that they come from, as evidence.

    why         int8[account]: blocks.Why of what is not known of the active energy, the gravest of all segments; KNOWN: all is
    meter       int64[account, 2]: the meter at the begin and at the end, 0: none
    registers   int64[account, 2, 5] [1e-4 kWh]: of those meters, secondary side, MISSING where not known
    multiplier  int64[account]: CT x PT of the meter at the end; 1 without one
    """

    given: Determinants
    why: NDArray[np.int8]
    meter: I64
    registers: I64
    multiplier: I64


def of(run: Run, who: Billed, rows: I64, tariff: Tariff, segments: Sequence[Segment]) -> Grounds:
    """Of the `rows` of `who`, whose days are the segments'."""
    begins = _year_begins(who, rows, tariff, segments[0].begin)
    days = [segment.begin for segment in segments] + [segments[-1].end]
    midnights = _midnights(run, [*days, *(begins.tolist() if begins is not None else [])])
    edges = np.searchsorted(midnights, _midnights(run, days))
    needs = tariff.needs
    codes = [*ACTIVE, *(REACTIVE if "reactive" in needs else ())]
    first_day = min(days[0], *(begins.tolist() if begins is not None else [days[0]]))
    points = np.unique(who.point_id[rows])
    installed = blocks.rows(run.conn, first_day, run.zone, last=days[-1] - dt.timedelta(days=1), points=points).by_point()
    held, counted, registers = blocks.counted(run.conn, installed, midnights, run.zone, codes)
    place = np.searchsorted(held, who.point_id[rows])
    there = place < len(held)
    there[there] = held[place[there]] == who.point_id[rows][there]
    place = np.where(there, place, 0)
    multiplier = _largest(held, installed, place, there)

    n, pieces = len(rows), len(segments)
    energy = np.full((n, pieces, len(PERIODS)), MISSING)
    problem = np.where(there, 0, Problem.MISSING_FREEZE).astype(np.int8)
    why = np.where(there, Why.KNOWN, Why.NOT_COMMISSIONED).astype(np.int8)
    estimated = np.zeros(n, dtype=np.bool_)
    if len(held):
        for k, segment in enumerate(segments):
            first, last, reason, guessed = _ends(counted, place, edges[k], edges[k + 1])
            told = period_energy(
                first, last, np.ones(n, dtype=np.int64), segment.version, resolution=RESOLUTION * multiplier
            )
            energy[:, k] = np.where(there[:, None], told.energy, MISSING)
            lost = told.energy[:, 0] == MISSING
            problem |= np.where(lost, 0, told.problem).astype(np.int8)
            for what, bit in _PROBLEM.items():
                problem |= np.where(lost & (reason == what), bit, 0).astype(np.int8)
            problem |= np.where(lost & (reason == Why.KNOWN), told.problem, 0).astype(np.int8)
            why = np.maximum(why, np.where(lost, reason, np.int8(Why.KNOWN)))
            estimated |= guessed
    problem |= np.where(estimated, Problem.ESTIMATED, 0).astype(np.int8)
    more = {}
    if "before" in needs:
        more["before"] = _before(run, who, rows, counted, midnights, place, there, edges[0], begins, tariff, segments)
        more["step_months"] = np.stack(
            [months_there(who.opened[rows], who.closed[rows], segment.begin.year) for segment in segments], axis=1
        )
    if needs & {"by", "capacity", "contract", "demand"}:
        more |= _terms(who, rows, segments)
        more["demand"] = _demand(run, installed, place, there, held, segments)
    if "reactive" in needs:
        more["reactive"] = _reactive(counted, place, there, edges)
    return Grounds(
        Determinants(energy, problem, **more),
        why,
        *_evidence(installed, registers, held, place, there, midnights, (int(edges[0]), int(edges[-1]))),
    )


def cuts(who: Billed, row: int, tariff: Tariff) -> tuple[dt.date, ...]:
    """Days within an account's span at which its own terms change, where the plan asks for any of them."""
    if not tariff.needs & {"by", "capacity", "contract", "demand"}:
        return ()
    first = who.first[row].item()
    return tuple(terms.since for terms in who.terms[row][1:] if terms.since > first)


def _midnights(run: Run, days: Sequence[dt.date]) -> Times:
    return np.unique(np.array([midnight(day, run.zone) for day in days], dtype="datetime64[us]"))


def _ends(
    counted: dict[str, Counted], place: I64, begin: int, end: int
) -> tuple[I64, I64, NDArray[np.int8], NDArray[np.bool_]]:
    """(first, last int64[account, 5], Why of the total int8[account], bool[account] something is estimated) of a segment."""
    n = len(place)
    first, last = np.zeros((n, len(ACTIVE)), dtype=np.int64), np.full((n, len(ACTIVE)), MISSING)
    reason = np.zeros(n, dtype=np.int8)
    guessed = np.zeros(n, dtype=np.bool_)
    for k, code in enumerate(ACTIVE):
        moved = _between(counted[code], place, begin, end)
        last[:, k] = moved.energy
        reason = np.maximum(reason, moved.why) if k == 0 else np.where(reason == Why.KNOWN, moved.why, reason)
        guessed |= moved.quality == Quality.ESTIMATED
    return first, last, reason, guessed


def _between(counted: Counted, place: I64, begin: int | I64, end: int | I64) -> blocks.Energy:
    points = len(counted.energy)
    if isinstance(begin, np.ndarray) or isinstance(end, np.ndarray):
        return counted.take(place).between(*(np.broadcast_to(side, place.shape) for side in (begin, end)))
    moved = counted.between(np.full(points, begin), np.full(points, end))
    return blocks.Energy(moved.energy[place], moved.why[place], moved.quality[place])


def _year_begins(who: Billed, rows: I64, tariff: Tariff, first: dt.date) -> Days | None:
    """The day from which each account's year (or month) of steps is counted, datetime64[D]; None: the plan has no steps.

    Where the system before us told what had been used, from the day on that it told of."""
    basis = tariff.on(first).steps
    if basis is None:
        return None
    turn = np.datetime64(first.replace(day=1, month=1) if basis.basis == "year" else first.replace(day=1))
    begins = np.maximum(who.opened[rows], turn)
    told = (who.used_on[rows] > begins) & (who.used_on[rows] <= np.datetime64(first)) if basis.basis == "year" else False
    return np.where(told, who.used_on[rows], begins)


def _before(
    run: Run,
    who: Billed,
    rows: I64,
    counted: dict[str, Counted],
    midnights: Times,
    place: I64,
    there: NDArray[np.bool_],
    edge: int,
    begins: Days | None,
    tariff: Tariff,
    segments: Sequence[Segment],
) -> I64:
    """int64[account] [1e-4 kWh]: used in the year (or month) before the first segment; MISSING where not known."""
    if begins is None:  # the steps begin with a later version: its year is counted from there
        return np.zeros(len(rows), dtype=np.int64)
    at = np.searchsorted(midnights, np.array([midnight(day, run.zone) for day in begins.tolist()]))
    if not len(counted[ACTIVE[0]].energy):
        return np.full(len(rows), MISSING)
    moved = _between(counted[ACTIVE[0]], place, at, np.int64(edge) + np.zeros_like(at))
    told = begins == who.used_on[rows]
    used = np.where(told & (who.used[rows] != MISSING), who.used[rows], 0)
    known = there & ((moved.energy != MISSING) | (at == edge))
    return np.where(known, np.where(moved.energy == MISSING, 0, moved.energy) + used, MISSING)


def _terms(who: Billed, rows: I64, segments: Sequence[Segment]) -> dict[str, I64 | NDArray[np.int8]]:
    """by, capacity and contract of each segment, [account, segment]: what holds on its first day."""
    by = np.full((len(rows), len(segments)), -1, dtype=np.int8)
    capacity, contract = (np.full(by.shape, MISSING) for _ in range(2))
    for n, row in enumerate(rows.tolist()):
        for k, segment in enumerate(segments):
            holds = _on(who.terms[row], segment.begin)
            if holds is not None:
                by[n, k], capacity[n, k], contract[n, k] = holds.by, holds.capacity, holds.contract
    return {"by": by, "capacity": capacity, "contract": contract}


def _on(terms: Sequence[Terms], day: dt.date) -> Terms | None:
    begun = [each for each in terms if each.since <= day]
    return begun[-1] if begun else None


def _demand(
    run: Run, installed: blocks.Rows, place: I64, there: NDArray[np.bool_], held: I64, segments: Sequence[Segment]
) -> I64:
    """int64[account, segment] [1e-4 kW] primary side: the highest of the segment's month, from its month freeze; MISSING before it is over."""
    found = np.full((len(place), len(segments)), MISSING)
    meters, spread = np.unique(installed.meter, return_inverse=True)
    if not len(meters):
        return found
    for k, segment in enumerate(segments):
        after = (segment.begin.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
        at = np.array([midnight(after, run.zone)])
        values, _ = blocks.fetch(run.conn, MONTH_FREEZES, ["max_demand_import"], meters, at, run.zone)
        highest = values["max_demand_import"][spread, 0]
        # whoever was on the point at the month's end; a meter that went within it took its own highest with it
        whole = (installed.since <= midnight(segment.begin.replace(day=1), run.zone)) & (installed.until >= at[0])
        known = whole & ~np.isnan(highest)
        units = np.round(np.where(known, highest, 0) * 10_000).astype(np.int64) * installed.multiplier
        of_point = np.full(len(held), MISSING)
        of_point[np.searchsorted(held, installed.point[known])] = units[known]
        found[:, k] = np.where(there, of_point[place], MISSING)
    return found


def _reactive(counted: dict[str, Counted], place: I64, there: NDArray[np.bool_], edges: I64) -> I64:
    """int64[account, segment, 2] [1e-4 kvarh]"""
    pieces = len(edges) - 1
    found = np.full((len(place), pieces, 2), MISSING)
    for j, code in enumerate(REACTIVE):
        if not len(counted[code].energy):
            continue
        for k in range(pieces):
            moved = _between(counted[code], place, int(edges[k]), int(edges[k + 1]))
            found[:, k, j] = np.where(there, moved.energy, MISSING)
    return found


def _largest(held: I64, installed: blocks.Rows, place: I64, there: NDArray[np.bool_]) -> I64:
    """The largest multiplier of the account's meters, [account]: what a digit that was cut off may be worth."""
    if not len(held):
        return np.ones(len(place), dtype=np.int64)
    _, start = np.unique(installed.point, return_index=True)
    return np.where(there, np.maximum.reduceat(installed.multiplier, start)[place], 1)


def _evidence(
    installed: blocks.Rows,
    registers: dict[str, I64],
    held: I64,
    place: I64,
    there: NDArray[np.bool_],
    midnights: Times,
    edges: tuple[int, int],
) -> tuple[I64, I64, I64]:
    """(meter [account, 2], registers [account, 2, 5], multiplier [account]) as Grounds has them."""
    meter = np.zeros((len(place), 2), dtype=np.int64)
    found = np.full((len(place), 2, len(ACTIVE)), MISSING)
    multiplier = np.ones(len(place), dtype=np.int64)
    for side, edge in enumerate(edges):
        when = midnights[edge]
        on = (installed.since <= when) & (installed.until > when) if side == 0 else (installed.since < when) & (installed.until >= when)
        row = np.full(len(held), -1)
        row[np.searchsorted(held, installed.point[on])] = np.flatnonzero(on)
        mine = np.where(there, row[place], -1) if len(held) else np.full(len(place), -1)
        has = np.flatnonzero(mine >= 0)
        meter[has, side] = installed.meter[mine[has]]
        for k, code in enumerate(ACTIVE):
            found[has, side, k] = registers[code][mine[has], edge]
        if side == 1:
            multiplier[has] = installed.multiplier[mine[has]]
    return meter, found, multiplier
