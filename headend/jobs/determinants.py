"""Billing determinants (计费依据) from the store: what a bill rests on besides its plan, for accounts that share a plan and its segments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headend.jobs import shared_loss
from headend.jobs.frame import Run
from headend.store import blocks, splits
from headend.store.billed import Billed, Terms, stream
from headend.store.blocks import Quality, Why
from headend.store.tables import MONTH_FREEZES
from protocols.localtime import Times, midnight
from protocols.reading import MISSING
from tariffs import basic
from tariffs.charge import Problem
from tariffs.determinants import Determinants, of_registers
from tariffs.plan import Segment, Tariff
from tariffs.registers import RESOLUTION
from tariffs.steps import months_there

I64 = NDArray[np.int64]
Days = NDArray[np.datetime64]

#: total, T1..T4: a freeze's columns
ACTIVE = ("active_import", "active_import_t1", "active_import_t2", "active_import_t3", "active_import_t4")
REACTIVE = ("reactive_import", "reactive_export")
#: [1e-4 kWh] no point takes as much in a year, and its price still fits 64 bits: a register that says so is wrong, and stops nobody else's bill
MOST = 4 * 10**13


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


class Source:
    """What the store has of some accounts, read once: of it determinants are made for whichever segments lie on the days asked for."""

    def __init__(self, run: Run, who: Billed, rows: I64, tariff: Tariff, days: Sequence[dt.date]) -> None:
        """`rows` of `who`, who are on one plan;  days  local days at whose beginning registers are wanted, ascending."""
        self.run, self.who, self.rows, self.tariff = run, who, rows, tariff
        steps = tariff.on(days[0]).steps
        self._basis = "" if steps is None else steps.basis
        self._lossy = shared_loss.charged(run) if "iron" in tariff.needs else []
        self._begins = _year_begins(who, rows, tariff, days[0])
        early = [] if self._begins is None else np.unique(self._begins).tolist()
        self.midnights = _midnights(run, [*early, *days])
        codes = [*ACTIVE, *(REACTIVE if "reactive" in tariff.needs else ())]
        points = who.point_id[rows]
        found = blocks.rows(
            run.conn,
            min([days[0], *early]),
            run.zone,
            last=days[-1] - dt.timedelta(days=1),
            points=np.unique(points),
        )
        self.installed = found.by_point()
        self._held, self._counted, self._registers = blocks.counted(
            run.conn, self.installed, self.midnights, run.zone, codes
        )
        #: who has a meter at all: for the others every column says MISSING
        place = np.searchsorted(self._held, points)
        there = place < len(self._held)
        there[there] = self._held[place[there]] == points[there]
        self._place, self._there = np.where(there, place, 0), there

    def of(self, segments: Sequence[Segment]) -> Grounds:
        """The determinants of these segments."""
        needs, n = self.tariff.needs, len(self.rows)
        edges = self._edges([segment.begin for segment in segments] + [segments[-1].end])
        ends = np.zeros((n, len(segments), 2, len(ACTIVE)), dtype=np.int64)
        estimated = np.zeros(n, dtype=np.bool_)
        reasons = np.zeros((n, len(segments)), dtype=np.int8)
        for k in range(len(segments)):  # what was counted is on the primary side: from 0, by one
            ends[:, k, 1], reasons[:, k], guessed = self._active(int(edges[k]), int(edges[k + 1]))
            estimated |= guessed
        ones = np.ones((n, len(segments)), dtype=np.int64)
        digit = RESOLUTION * self._multiplier()
        told = of_registers(ends, ones, segments, estimated=estimated, resolution=digit)
        lost = (told.energy == MISSING).any(axis=2)
        why = np.where(lost, reasons, np.int8(Why.KNOWN)).max(axis=1)
        beyond = np.abs(np.where(told.energy == MISSING, 0, told.energy)) > MOST
        wild: NDArray[np.bool_] = np.logical_or.reduce(beyond, axis=(1, 2))
        energy = np.where(wild[:, None, None], MISSING, told.energy)
        problem = told.problem | np.where(wild, Problem.NEGATIVE, 0).astype(np.int8)
        more: dict[str, Any] = {}
        if "before" in needs:
            more["before"] = self._before(int(edges[0]))
            years = [
                months_there(self.who.opened[self.rows], self.who.closed[self.rows], s.begin.year)
                for s in segments
            ]
            more["step_months"] = np.stack(years, axis=1)
        if "by" in needs:
            more |= _terms(self.who, self.rows, segments)
            more["demand"] = self._demand(segments)
        if "reactive" in needs:
            more["reactive"] = np.stack(
                [self._moved(code, edges[:-1], edges[1:]) for code in REACTIVE], axis=2
            )
        if "iron" in needs:
            more["iron"], more["copper"] = self._loss(segments)
        evidence = self._evidence(int(edges[0]), int(edges[-1]))
        return Grounds(Determinants(energy, problem, **more), why, *evidence)

    def before(self, day: dt.date) -> I64:
        """int64[account] [1e-4 kWh]: what the steps count, until the beginning of one of the days asked for."""
        return self._before(int(self._edges([day])[0]))

    def _edges(self, days: Sequence[dt.date]) -> I64:
        """Numbers of their midnights."""
        return np.searchsorted(
            self.midnights, np.array([midnight(day, self.run.zone) for day in days], dtype="datetime64[us]")
        )

    def _between(self, code: str, begin: I64, end: I64) -> blocks.Energy:
        """By account, from its own midnight number `begin` to `end`, [account] each."""
        return self._counted[code].between(self._place, begin, end)

    def _active(self, begin: int, end: int) -> tuple[I64, NDArray[np.int8], NDArray[np.bool_]]:
        """(what total and T1..T4 have counted int64[account, 5], Why of what is not known, something is estimated) of a segment."""
        n = len(self.rows)
        last = np.full((n, len(ACTIVE)), MISSING)
        reason, guessed = (
            np.where(self._there, Why.KNOWN, Why.NOT_COMMISSIONED).astype(np.int8),
            np.zeros(n, dtype=np.bool_),
        )
        for k, code in enumerate(ACTIVE if len(self._held) else ()):
            moved = self._between(code, np.full(n, begin), np.full(n, end))
            last[:, k] = np.where(self._there, moved.energy, MISSING)
            reason = np.where(reason == Why.KNOWN, moved.why, reason)
            guessed |= moved.quality == Quality.ESTIMATED
        return last, reason, guessed & self._there

    def _moved(self, code: str, begins: I64, ends: I64) -> I64:
        """int64[account, segment]"""
        n = len(self.rows)
        if not len(self._held):
            return np.full((n, len(begins)), MISSING)
        parts = [
            self._between(code, np.full(n, begin), np.full(n, end)).energy
            for begin, end in zip(begins, ends, strict=True)
        ]
        return np.where(self._there[:, None], np.stack(parts, axis=1), MISSING)

    def _multiplier(self) -> I64:
        """The largest of the account's meters, [account]: what a digit that was cut off may be worth."""
        if not len(self._held):
            return np.ones(len(self.rows), dtype=np.int64)
        _, start = np.unique(self.installed.point, return_index=True)
        largest = np.maximum.reduceat(self.installed.multiplier, start)
        return np.where(self._there, largest[self._place], 1)

    def _before(self, edge: int) -> I64:
        """int64[account] [1e-4 kWh]: used in the year (or month) before the first segment; MISSING where not known."""
        n = len(self.rows)
        if self._begins is None:  # the steps begin with a later version: what they count begins there
            return np.zeros(n, dtype=np.int64)
        begin = self._edges(self._begins.tolist())
        used_on, used = self.who.used_on[self.rows], self.who.used[self.rows]
        yearly = self._basis == "year"
        told = np.where(yearly & (used_on == self._begins) & (used != MISSING), used, 0)
        if not len(self._held):
            return np.where(begin == edge, told, MISSING)
        moved = self._between(ACTIVE[0], begin, np.full(n, edge)).energy
        moved = np.where(begin == edge, 0, np.where(self._there, moved, MISSING))
        return np.where(moved == MISSING, MISSING, np.where(moved == MISSING, 0, moved) + told)

    def _demand(self, segments: Sequence[Segment]) -> I64:
        """int64[account, segment] [1e-4 kW] primary side: the highest of the segment's month, by its month freeze; MISSING before it is over,
        and where a meter came or went in it: the one that went took its own highest with it."""
        found = np.full((len(self.rows), len(segments)), MISSING)
        meters, spread = np.unique(self.installed.meter, return_inverse=True)
        for k, segment in enumerate(segments if len(meters) else ()):
            begin = segment.begin.replace(day=1)
            after = midnight((begin + dt.timedelta(days=32)).replace(day=1), self.run.zone)
            values, _ = blocks.fetch(
                self.run.conn, MONTH_FREEZES, ["max_demand_import"], meters, np.array([after]), self.run.zone
            )
            highest = values["max_demand_import"][spread, 0]
            whole = (self.installed.since <= midnight(begin, self.run.zone)) & (self.installed.until >= after)
            known = whole & ~np.isnan(highest)
            units = (
                np.round(np.where(known, highest, 0) * 10_000).astype(np.int64) * self.installed.multiplier
            )
            of_point = np.full(len(self._held), MISSING)
            of_point[np.searchsorted(self._held, self.installed.point[known])] = units[known]
            found[:, k] = np.where(self._there, of_point[self._place], MISSING)
        return found

    def _loss(self, segments: Sequence[Segment]) -> tuple[I64, I64]:
        """Of the transformer that the account receives from, or its share of it, [account, segment] each."""
        points, spread = np.unique(self.who.point_id[self.rows], return_inverse=True)
        found = [
            splits.transformer_loss(self.run.conn, points, s.begin, s.end - dt.timedelta(days=1))
            for s in segments
        ]
        whole = np.array(found, dtype=np.int64)  # [segment, iron and copper, point]
        for k, segment in enumerate(segments):
            shares = shared_loss.shares(self.run, points.tolist(), self._lossy, segment.begin, segment.end)
            for point, parts in shares.items():
                at = int(np.searchsorted(points, point))
                whole[k, :, at] = np.where(whole[k, :, at] == MISSING, MISSING, parts)
        return whole[:, 0][:, spread].T, whole[:, 1][:, spread].T

    def _evidence(self, begin: int, end: int) -> tuple[I64, I64, I64]:
        """(meter [account, 2], registers [account, 2, 5], multiplier [account]) as Grounds has them."""
        n, rows = len(self.rows), self.installed
        meter, multiplier = np.zeros((n, 2), dtype=np.int64), np.ones(n, dtype=np.int64)
        registers = np.full((n, 2, len(ACTIVE)), MISSING)
        for side, edge in enumerate((begin, end) if len(self._held) else ()):
            when = self.midnights[edge]
            on = (
                (rows.since < when) & (rows.until >= when)
                if side
                else (rows.since <= when) & (rows.until > when)
            )
            row = np.full(len(self._held), -1)
            row[np.searchsorted(self._held, rows.point[on])] = np.flatnonzero(on)
            mine = np.where(self._there, row[self._place], -1)
            has = np.flatnonzero(mine >= 0)
            meter[has, side] = rows.meter[mine[has]]
            for k, code in enumerate(ACTIVE):
                registers[has, side, k] = self._registers[code][mine[has], edge]
            if side:
                multiplier[has] = rows.multiplier[mine[has]]
        return meter, registers, multiplier


def used_before(run: Run, tariff: Tariff, day: dt.date, accounts: I64) -> tuple[I64, I64]:
    """(energy int64 [1e-4 kWh] used in the year, or month, of the steps until the beginning of `day`, months of that year there int64) of accounts
    of this plan; MISSING where not known."""
    used, months = np.full(len(accounts), MISSING), np.full(len(accounts), 12, dtype=np.int64)
    for who in stream(run.conn, day, day, run.zone, accounts=accounts):
        mine = np.flatnonzero((who.tariff == tariff.name) & np.isin(who.account_id, accounts))
        if len(mine):
            at = np.searchsorted(accounts, who.account_id[mine])
            used[at] = Source(run, who, mine, tariff, [day, day + dt.timedelta(days=1)]).before(day)
            months[at] = months_there(who.opened[mine], who.closed[mine], day.year)
    return used, months


def inputs(
    tariff: Tariff, segments: Sequence[Segment], grounds: Grounds
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What money is derived from, for its hash: (what all accounts have in common, columns by account)."""
    given = grounds.given
    common = {
        "tariff": tariff.name,
        "rounding": tariff.rounding,
        "segments": [[s.begin, s.end, s.version.facts()] for s in segments],
    }
    columns = {
        column.name: value for column in fields(given) if (value := getattr(given, column.name)) is not None
    }
    return common, columns | {"registers": grounds.registers}


def cuts(who: Billed, row: int, tariff: Tariff) -> tuple[dt.date, ...]:
    """Days within an account's span at which its own terms change, or which of the customer's accounts has them, where the plan asks for any."""
    if "by" not in tariff.needs:
        return ()
    first, last = who.first[row].item(), who.last[row].item()
    days = {terms.since for terms in who.terms[row][1:]}
    for each in who.siblings[row]:
        days |= {day for day in (each.opened, each.closed) if day is not None and day <= last}
    return tuple(sorted(day for day in days if day > first))


def bearer(who: Billed, row: int, day: dt.date) -> str:
    """The point of the customer's account that is charged his capacity or contract on a local day, the oldest that is open; '': this one is."""
    first = next((each for each in who.siblings[row] if each.on(day)), None)
    return "" if first is None or first.account_id == who.account_id[row] else first.point


def _midnights(run: Run, days: Sequence[dt.date]) -> Times:
    return np.unique(np.array([midnight(day, run.zone) for day in days], dtype="datetime64[us]"))


def _year_begins(who: Billed, rows: I64, tariff: Tariff, first: dt.date) -> Days | None:
    """The day from which each account's year (or month) of steps is counted, datetime64[D]; None: the plan has no steps.

    Where the system before us told what had been used, from the day on that it told of."""
    basis = tariff.on(first).steps
    if basis is None:
        return None
    turn = np.datetime64(first.replace(day=1, month=1) if basis.basis == "year" else first.replace(day=1))
    begins = np.maximum(who.opened[rows], turn)
    told = (
        (who.used_on[rows] > begins) & (who.used_on[rows] <= np.datetime64(first))
        if basis.basis == "year"
        else False
    )
    return np.where(told, who.used_on[rows], begins)


def _terms(who: Billed, rows: I64, segments: Sequence[Segment]) -> dict[str, I64 | NDArray[np.int8]]:
    """by, capacity and contract of each segment, [account, segment]: what holds on its first day."""
    by = np.full((len(rows), len(segments)), -1, dtype=np.int8)
    capacity, contract = (np.full(by.shape, MISSING) for _ in range(2))
    for n, row in enumerate(rows.tolist()):
        for k, segment in enumerate(segments):
            holds = _on(who.terms[row], segment.begin)
            if holds is not None:
                by[n, k], capacity[n, k], contract[n, k] = holds.by, holds.capacity, holds.contract
                if holds.by in (basic.CAPACITY, basic.CONTRACT) and bearer(who, row, segment.begin):
                    by[n, k] = basic.ELSEWHERE
    return {"by": by, "capacity": capacity, "contract": contract}


def _on(terms: Sequence[Terms], day: dt.date) -> Terms | None:
    begun = [each for each in terms if each.since <= day]
    return begun[-1] if begun else None
