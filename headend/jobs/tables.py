"""Meters whose hours or prices are not those of their account's plan: bills take the energy of each period from the meter's tariff
registers, so a wrong table is wrong money, and a finding.

Once a night: who is due is asked for what he holds, after the day of a switch and once a month; what was read last of everybody is
compared with the plan in force.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import psycopg

from headend.jobs.frame import Run
from headend.store import calendar, findings, orders, price_tables, tariffs
from headend.store.findings import Found
from headend.store.price_tables import Contract, Held
from protocols.localtime import as_datetime
from tariffs.days import CalendarError, Days
from tariffs.periods import PERIODS, REGISTERS, STEP
from tariffs.plan import Tariff, Version
from tariffs.timetable import CannotHold, Clash, NoHours, clashes, counted, money, switched

NAME: Final = "tables"
RULE: Final = "tables"
VERSION: Final = 1
WHO: Final = "job:tables"
#: defaults without a source: how old a reading may become, and how many days ahead the hours are compared
MONTH: Final = dt.timedelta(days=30)
AHEAD: Final = dt.timedelta(days=30)
#: of the meters, how many are asked in a night at most; a month's readings need a thirtieth
SHARE: Final = 20
#: a reading takes a minute of the meter's line, and waits for its turn behind everything else
PRIORITY: Final = 8
VALID: Final = np.timedelta64(20, "h")
TILE: Final = 1000
#: of one meter's clashes that stand in a finding
SHOWN: Final = 12
_ONE_DAY: Final = dt.timedelta(days=1)


def job(run: Run, day: dt.date) -> str:
    """Ask, and judge what is known; commits by itself."""
    judge = _Judge(run, day)
    due: list[tuple[tuple[bool, bool, dt.datetime], Contract]] = []
    found: list[Found] = []
    looked: list[int] = []
    tonight = 0  # asked already: by another run, or by somebody else
    whose = [c for c in price_tables.contracts(run.conn, run.now) if c.protocol in price_tables.PROTOCOLS]
    for tile in (whose[k : k + TILE] for k in range(0, len(whose), TILE)):
        known = price_tables.newest(run.conn, [c.meter_id for c in tile])
        asked_at = price_tables.asked(run.conn, [c.meter_id for c in tile])
        tonight += sum(when.astimezone(run.zone).date() >= day for when in asked_at.values())
        for each in tile:
            version = judge.version(each)
            held = known.get(each.meter_id)
            if version is None or not (matters(version) or (held and held.document.get("prices"))):
                continue
            stale = held is not None and judge.stale(held)
            if held is None or stale or judge.now - held.read_at >= MONTH:
                due.append((_turn(each, held, asked_at.get(each.meter_id), stale=stale), each))
            if held is not None and not stale:
                looked.append(each.meter_id)
                found += judge.of(each, version, held)
    run.conn.commit()
    due.sort(key=lambda row: row[0])
    share = max(0, len(whose) // SHARE + 1 - tonight)
    asked = _ask(run, day, [each for _, each in due[:share]])
    with run.conn.transaction():
        new, gone = findings.save(run.conn, day, [RULE], found, now=run.now, ends=(RULE,), meters=looked)
    return f"{len(looked)} meters compared, {len(found)} otherwise than billed, {new} new, {gone} over; {asked} asked of {len(due)} due"


def matters(version: Version) -> bool:
    """Whether it matters by which hours a meter counts: not where everything is one period's, whatever register it stands in. Who counts
    money by himself is looked at once he is known to do so."""
    return len(np.unique(counted(version)[1 : len(REGISTERS) + 1])) > 1


def _turn(
    whose: Contract, held: Held | None, asked_at: dt.datetime | None, *, stale: bool
) -> tuple[bool, bool, dt.datetime]:
    """When it is asked: who was asked in vain after all others, or a few that never answer would take everybody's turn; then who has switched, then
    the oldest reading."""
    if asked_at is not None and (held is None or asked_at > held.read_at):
        return True, False, asked_at
    return False, not stale, held.read_at if held else whose.since


def _ask(run: Run, day: dt.date, due: Sequence[Contract]) -> int:
    asked = 0
    for each in due:
        try:
            orders.request(
                run.conn, kind="prices", action="read", asset=each.asset, reason="compare hours and prices with the plan", who=WHO,
                now=run.now, expires=run.now + VALID, priority=PRIORITY, request_key=f"{WHO}:{each.meter_id}:{day}",
            )  # fmt: skip
        except (orders.OrderError, psycopg.errors.UniqueViolation):
            run.conn.rollback()  # it hangs nowhere any more, or was asked by another run
        else:
            asked += 1
    return asked


@dataclass(slots=True)
class _Judge:
    """Plans, the calendar, and what was found of tables that many meters share."""

    run: Run
    day: dt.date
    _plans: Mapping[str, Tariff] = field(init=False)
    _kinds: Days = field(init=False)
    _clashes: dict[tuple[str, dt.date, dt.date, str], list[Clash]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._plans = tariffs.load(self.run.conn)
        self._kinds = calendar.days(self.run.conn, self.day, self.day + AHEAD)

    @property
    def now(self) -> dt.datetime:
        return as_datetime(self.run.now)

    def version(self, whose: Contract) -> Version | None:
        plan = self._plans.get(whose.tariff)
        try:
            return None if plan is None else plan.on(self.day)
        except LookupError:
            return None

    def stale(self, held: Held) -> bool:
        """A switch has come since it was read: what stands there now is not known."""
        return any(held.read_at < when <= self.now for when in self._switches(held))

    def of(self, whose: Contract, version: Version, held: Held) -> Iterator[Found]:
        """A finding, or none."""
        wrong: dict[str, Any] = {}
        try:
            hours = self._hours(whose, version, held)
        except (CalendarError, NoHours) as why:
            hours, wrong["why"] = [], str(why)
        except (KeyError, TypeError, IndexError, ValueError):
            hours, wrong["why"] = [], "the meter has no zone table, or names a day table that it has not got"
        if coming := self._coming(whose, held):
            wrong["coming"] = coming
        try:
            wanted = money(whose.tariff, version, held.document, self.day, whose.ratio)
            if "spare prices" in wanted:
                wrong["prices"] = {"meter": held.document["prices"], "plan": wanted["spare prices"]}
            if "spare steps" in wanted:
                wrong["steps"] = {"meter": held.document["steps"], "plan": wanted["spare steps"]}
        except CannotHold as why:
            wrong["why"] = str(why)
        if hours or wrong:
            yield self._finding(whose, version, held, hours, wrong)

    def _hours(self, whose: Contract, version: Version, held: Held) -> list[Clash]:
        """From today on, as long as the present set and the version last."""
        ends = [self.day + AHEAD]
        ends += [
            v.valid_from - _ONE_DAY for v in self._plans[whose.tariff].versions if v.valid_from > self.day
        ]
        ends += [
            when.astimezone(self.run.zone).date() - _ONE_DAY
            for when in self._switches(held)
            if when > self.now
        ]
        last = max(self.day, min(ends))
        tables = json.dumps({k: v for k, v in held.document.items() if k in _HOURS}, sort_keys=True)
        key = whose.tariff, version.valid_from, last, tables
        if key not in self._clashes:
            self._clashes[key] = clashes(whose.tariff, version, held.document, self.day, last, self._kinds)
        return self._clashes[key]

    def _coming(self, whose: Contract, held: Held) -> dict[str, Any] | None:
        """Where the next switch that is programmed would bring other hours than will be billed then. What cannot be said yet is not."""
        days = sorted(when.date() for when in self._switches(held) if when > self.now)
        if not days:
            return None
        at, end = days[0], days[0] + AHEAD
        try:
            found = clashes(
                whose.tariff, self._plans[whose.tariff].on(at), switched(held.document, at), at, end,
                calendar.days(self.run.conn, at, end),
            )  # fmt: skip
        except (LookupError, TypeError, ValueError):
            return None
        return (
            {"at": at.isoformat(), "differences": [_told(clash) for clash in found[:SHOWN]]}
            if found
            else None
        )

    def _switches(self, held: Held) -> list[dt.datetime]:
        texts = [
            held.document.get(name)
            for name in ("switch zones", "switch days", "switch prices", "switch steps")
        ]
        return [dt.datetime.fromisoformat(text).replace(tzinfo=self.run.zone) for text in texts if text]

    def _finding(
        self, whose: Contract, version: Version, held: Held, hours: Sequence[Clash], wrong: Mapping[str, Any]
    ) -> Found:
        begun = dt.datetime.combine(version.valid_from, dt.time(), self.run.zone)
        since = max(begun, whose.since).astimezone(self.run.zone)
        read_at = held.read_at.astimezone(self.run.zone)
        evidence = {
            "meter": whose.asset, "customer": whose.customer, "tariff": whose.tariff, "version": version.valid_from.isoformat(),
            "since": since.isoformat(timespec="minutes"), "read_at": read_at.isoformat(timespec="seconds"), "order": held.order_id,
            "differences": [_told(clash) for clash in hours[:SHOWN]], "more": max(0, len(hours) - SHOWN),
            "meter_tables": {k: v for k, v in held.document.items() if k in _HOURS and v},
            "plan_hours": _hours_of(version, self.day.month), **wrong,
        }  # fmt: skip
        what, zh = ("hours", "时段") if hours or "coming" in wrong else ("prices", "电价")
        if hours or "prices" in wrong or "steps" in wrong or "why" in wrong:
            when, since_zh = f"counts, perhaps since {since:%Y-%m-%d},", f"最早自 {since:%Y-%m-%d} 起"
        else:
            when, since_zh = f"will count from {wrong['coming']['at']} on", f"自 {wrong['coming']['at']} 起"
        return Found(
            RULE, VERSION, "meter", whose.meter_id, "alarm" if hours else "warning",
            f"The meter {when} by other {what} than {whose.tariff} bills",
            f"电表{zh}与电价方案 {whose.tariff} 不符，{since_zh}", evidence,
        )  # fmt: skip


_HOURS: Final = frozenset({"zones", "holidays", "rest", *(f"day {n}" for n in range(1, 9))})


def _told(clash: Clash) -> dict[str, Any]:
    return {
        "first": clash.day.isoformat(), "days": clash.days, "from": _clock(clash.begin), "to": _clock(clash.end),
        "meter_tariff": clash.tariff, "plan_period": clash.period,
    }  # fmt: skip


def _hours_of(version: Version, month: int) -> dict[str, list[str]]:
    """The plan's hours of a working day of that month, by period."""
    day = version.schedule[month - 1][0]
    edges = [0, *(k for k in range(1, len(day)) if day[k] != day[k - 1]), len(day)]
    found: dict[str, list[str]] = {}
    for begin, end in pairwise(edges):
        found.setdefault(PERIODS[day[begin]], []).append(f"{_clock(begin * STEP)}-{_clock(end * STEP)}")
    return found


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
