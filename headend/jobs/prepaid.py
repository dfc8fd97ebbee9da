"""Prepaid: running balances, notices, and orders: a trip for who is certainly below zero, a permit for who has paid."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from numpy.typing import NDArray

from headend.control.gates import calendar
from headend.jobs import determinants
from headend.jobs.frame import Run
from headend.store import (
    accounts,
    blocks,
    cluster,
    fee_terms,
    ledger,
    notices,
    orders,
    reclose,
    tariffs,
)
from headend.store.accounts import Accounts
from headend.store.calendar import days as days_of
from headend.store.coverage import today
from headend.store.db import StoreError
from headend.store.fee_terms import Terms
from headend.store.ledger import Balances
from protocols.localtime import as_datetime, midnight
from protocols.reading import MISSING
from tariffs import plan, steps
from tariffs.money import FEN, from_fen, to_fen, yuan_text
from tariffs.prepaid import Assessment, Decision, assess
from tariffs.tou import Charge, PeriodEnergy, charge_bounds, energy_by_period, slot_periods

I64 = NDArray[np.int64]

#: days of unsettled curve a running balance may rest on; beyond that it is not valid
MOST_DAYS = 7
LEVELS = {Decision.OK: "ok", Decision.WARN1: "warn1", Decision.WARN2: "warn2", Decision.STOP: "stop"}
WHO = "job:prepaid"
#: how long a trip order waits for a person; the balance under it is asked again at sending anyway
TRIP_LASTS = np.timedelta64(4 * 3600, "s")


@dataclass(frozen=True, slots=True)
class Running:
    """Who, what is left, on which terms; stop_fen int64[account]: the level below which each may be stopped."""

    who: Accounts
    assessment: Assessment
    newest: NDArray[np.datetime64]
    ledger_fen: I64
    entry_id: I64
    terms: dict[int, Terms]
    stop_fen: I64


def job(run: Run, day: dt.date) -> str:
    """Balances and notices, in the frame's transaction. The orders follow in `act`."""
    running = balances(run)
    if running is None:
        return "no prepaid accounts"
    levels = _save(run, running)
    told = _notify(run, running, levels)
    counts = {level: levels.count(level) for level in dict.fromkeys(levels)}
    return ", ".join(f"{n} {level}" for level, n in counts.items()) + f"; {told} notices"


def balances(run: Run) -> Running | None:
    """The running balance at `run.now` of every prepaid account whose fee control we execute; the others' is in their meter."""
    who = accounts.load(run.conn, now=run.now, zone=run.zone, prepaid_only=True, executed_by="master")
    if not len(who):
        return None
    sums = ledger.sums(run.conn)
    ledger_fen = np.array([sums.get(int(a), (0, 0))[0] for a in who.account_id], dtype=np.int64)
    entry_id = np.array([sums.get(int(a), (0, 0))[1] for a in who.account_id], dtype=np.int64)
    settled = ledger.settled_until(run.conn)
    this_day = today(run.now, run.zone)
    begin = [max(settled.get(int(a), dt.date.min), s) for a, s in zip(who.account_id, who.start, strict=True)]
    first = min(this_day, max(min(begin), this_day - dt.timedelta(days=MOST_DAYS)))
    registers, times = _curve(run, who, first, this_day)
    # what lies before the settled midnight is in the ledger already
    settled_at = np.array([midnight(max(d, first), run.zone) for d in begin])
    reached = np.array([first <= d <= this_day for d in begin])
    registers = np.where(times[None, :] < settled_at[:, None], MISSING, registers)
    low, likely, high = (np.full(len(who), MISSING, dtype=np.int64) for _ in range(3))
    newest = np.full(len(who), np.datetime64("NaT"), dtype="datetime64[us]")
    valid = np.zeros(len(who), dtype=np.bool_)
    known = tariffs.load(run.conn)
    calendar_days = days_of(run.conn, first, this_day)
    for name in np.unique(who.tariff):
        rows = np.flatnonzero(who.tariff == name)
        tariff = known.get(str(name))
        if tariff is None:
            continue
        if "by" in tariff.needs or "reactive" in tariff.needs or "iron" in tariff.needs:
            continue  # a month's demand and power factor are not known within it: unknown, so nobody is cut off
        try:
            periods = slot_periods(tariff, times[1:], run.zone, days=calendar_days)
            parts = energy_by_period(_believable(registers[rows], who.multiplier[rows]), periods)
            charge = _charge(parts, tariff, first, this_day, who.multiplier[rows])
            charge = _added(charge, _by_energy(run, tariff, parts, who, rows, begin, this_day))
        except LookupError:
            continue  # no calendar, or no price on a day of these: unknown
        # counted from the settled register and from nowhere else
        anchored = (
            reached[rows] & (parts.first >= 0) & (times[np.maximum(parts.first, 0)] == settled_at[rows])
        )
        for target, side in ((low, charge.low), (likely, charge.likely), (high, charge.high)):
            target[rows] = np.where(anchored, side, MISSING)
        newest[rows] = np.where(anchored, times[np.maximum(parts.last, 0)], np.datetime64("NaT"))
        valid[rows] = parts.valid & anchored
    limits = cluster.limits(run.conn)
    terms = fee_terms.of(run.conn, who.account_id.tolist(), now=run.now)
    levels = fee_terms.stop_below(run.conn, terms)
    each = [terms[account] for account in who.account_id.tolist()]
    # who is not cut off is told all the same
    stop = np.array([t.stop_fen if (s := levels[a]) is None else s for a, t in terms.items()], dtype=np.int64)
    assessment = assess(
        ledger_fen,
        Charge(low, likely, high),
        newest,
        valid,
        run.now,
        warn1_fen=np.array([t.warn1_fen for t in each], dtype=np.int64),
        warn2_fen=np.array([t.warn2_fen for t in each], dtype=np.int64),
        stop_fen=stop,
        oldest=np.timedelta64(limits.reading_age),
    )
    return Running(who, assessment, newest, ledger_fen, entry_id, terms, stop)


def _charge(
    parts: PeriodEnergy, tariff: plan.Tariff, first: dt.date, last: dt.date, multiplier: I64
) -> Charge:
    """What the energy since `first` cost. Where the price changed meanwhile, between the lowest and the highest price of each period."""
    versions = [version for _, _, version in tariff.spans(first, last + dt.timedelta(days=1))]
    today_s = charge_bounds(parts, versions[-1].price_array, multiplier)
    if len(versions) == 1:
        return today_s
    prices = np.array([version.price_array for version in versions])
    has = np.array([version.used for version in versions])
    least = np.where(has, prices, prices.max()).min(axis=0)
    return Charge(
        charge_bounds(parts, least, multiplier).low,
        today_s.likely,
        charge_bounds(parts, prices.max(axis=0), multiplier).high,
    )


def _believable(registers: I64, multiplier: I64) -> I64:
    """The registers, without those of accounts whose curve says more than any point takes: they are wrong, and would stop everybody's balance."""
    there = registers != MISSING
    highest = np.where(there, registers, 0).max(axis=1, initial=0)
    lowest = np.where(there, registers, np.iinfo(np.int64).max).min(axis=1, initial=np.iinfo(np.int64).max)
    wild = there.any(axis=1) & (highest - np.minimum(lowest, highest) > determinants.MOST // multiplier)
    return np.where(wild[:, None], MISSING, registers)


def _by_energy(
    run: Run,
    tariff: plan.Tariff,
    parts: PeriodEnergy,
    who: Accounts,
    rows: I64,
    begin: list[dt.date],
    last: dt.date,
) -> Charge:
    """What the energy since each account's settled midnight costs by its amount alone, whenever it was used: steps and surcharges.

    Between bounds where a year of steps turned, or the plan changed, meanwhile: the energy may lie before or after."""
    energy = (parts.energy.sum(axis=1) + parts.ambiguous.sum(axis=1)) * who.multiplier[rows]
    low = np.zeros(len(rows), dtype=np.int64)
    high = low.copy()
    settled = np.array([begin[row] for row in rows], dtype="datetime64[D]")
    for day in np.unique(settled).tolist():
        mine = np.flatnonzero(settled == np.datetime64(day))
        if day > last:
            continue
        order = np.argsort(who.account_id[rows[mine]])
        mine = mine[order]
        used, months = (
            determinants.used_before(run, tariff, day, who.account_id[rows[mine]])
            if "before" in tariff.needs
            else (np.zeros(len(mine), dtype=np.int64), np.full(len(mine), 12))
        )
        segments = tariff.spans(day, last + dt.timedelta(days=1))
        sides = [
            _steps(segment, before, energy[mine], months) + _surcharges(segment, energy[mine])
            for segment in segments
            for before in ((used, np.zeros_like(used)) if len(segments) > 1 else (used,))
        ]
        if (
            len(segments) > 1
        ):  # steps grow: energy that was split between two years or versions costs less than all of it in one
            sides.append(
                np.min(
                    [
                        energy[mine] * _least(segment) + _surcharges(segment, energy[mine])
                        for segment in segments
                    ],
                    axis=0,
                )
            )
        unknown = used == MISSING
        low[mine] = np.where(unknown, MISSING, np.min(sides, axis=0))
        high[mine] = np.where(unknown, MISSING, np.max(sides, axis=0))
    return Charge(low, high, high)  # a warning goes by the dearer one


def _steps(segment: plan.Segment, before: I64, energy: I64, months: I64) -> I64:
    """int64[account] [1e-8 yuan]"""
    rule = segment.version.steps
    if rule is None:
        return np.zeros(len(energy), dtype=np.int64)
    parts = steps.quantities(
        rule, np.where(before == MISSING, 0, before), energy, segment.begin.month, months
    )
    return np.asarray((parts * np.array(rule.adders, dtype=np.int64)).sum(axis=1))


def _least(segment: plan.Segment) -> int:
    """The adder of the first step [1e-4 yuan/kWh]."""
    return 0 if segment.version.steps is None else segment.version.steps.adders[0]


def _surcharges(segment: plan.Segment, energy: I64) -> I64:
    """int64[account] [1e-8 yuan]"""
    return energy * sum(part.price for part in segment.version.surcharges if not part.included)


def _added(one: Charge, other: Charge) -> Charge:
    """The sum of two charges, MISSING where either is."""
    pairs = ((one.low, other.low), (one.likely, other.likely), (one.high, other.high))
    sides = []
    for a, b in pairs:
        gone = (a == MISSING) | (b == MISSING)
        sides.append(np.where(gone, MISSING, np.where(gone, 0, a) + np.where(gone, 0, b)))
    return Charge(*sides)


def _curve(run: Run, who: Accounts, first: dt.date, last: dt.date) -> tuple[I64, NDArray[np.datetime64]]:
    """Import registers int64[account, instant] from the midnight that begins `first` to `run.now`, freezes filled in at midnights."""
    columns: list[I64] = []
    times: list[NDArray[np.datetime64]] = []
    day = first
    while day <= last:
        # what was not read is a hole with bounds: nobody is cut off by an estimate
        block = blocks.load(run.conn, day, run.zone, ("active_import",), until=run.now, estimates="none")
        where = np.searchsorted(block.rows.meter, who.meter_id)
        there = where < len(block.rows.meter)
        there[there] = block.rows.meter[where[there]] == who.meter_id[there]
        grid = np.full((len(who), len(block.times)), MISSING, dtype=np.int64)
        grid[there] = block.registers["active_import"][where[there]]
        for end, column in ((0, 0), (1, -1)):
            frozen = np.full(len(who), MISSING, dtype=np.int64)
            frozen[there] = block.freezes["active_import"][where[there], end]
            grid[:, column] = np.where(grid[:, column] == MISSING, frozen, grid[:, column])
        keep = block.times <= run.now
        skip = 1 if columns else 0  # the closing midnight of one day is the opening one of the next
        columns.append(grid[:, keep][:, skip:])
        times.append(block.times[keep][skip:])
        day += dt.timedelta(days=1)
    return np.concatenate(columns, axis=1), np.concatenate(times)


def _save(run: Run, running: Running) -> list[str]:
    a = running.assessment
    unknown = a.likely == MISSING
    ledger_units = from_fen(running.ledger_fen)
    levels = [
        "unknown" if gone else LEVELS[Decision(int(code))]
        for gone, code in zip(unknown, a.decision, strict=True)
    ]
    # rounding never favours cutting off: down for the worst case, up for the best
    low = np.where(unknown, ledger_units, a.low) // FEN
    high = -(-np.where(unknown, ledger_units, a.high) // FEN)
    ledger.save_balances(
        run.conn,
        Balances(
            running.who.account_id.tolist(),
            running.ledger_fen.tolist(),
            running.entry_id.tolist(),
            low.tolist(),
            high.tolist(),
            [None if np.isnat(when) else as_datetime(when) for when in running.newest],
            [bool(v) and not bool(u) for v, u in zip(a.valid, unknown, strict=True)],
            ["" if v else "no fresh and valid reading since the last settled register" for v in a.valid],
            levels,
            ((a.likely != MISSING) & (a.likely >= from_fen(running.stop_fen))).tolist(),
        ),
        now=run.now,
    )
    return levels


def _notify(run: Run, running: Running, levels: list[str]) -> int:
    told = 0
    likely = to_fen(
        np.where(
            running.assessment.likely == MISSING, from_fen(running.ledger_fen), running.assessment.likely
        )
    )
    for k, reached in enumerate(levels):
        if reached not in ("warn1", "warn2", "stop"):
            continue
        fen = int(likely[k])
        left = yuan_text(fen)
        account = int(running.who.account_id[k])
        terms = running.terms[account]
        # where nobody is stopped none is announced: it must not stand as the notice of a stop when that changes
        level = "warn2" if reached == "stop" and not terms.trips else reached
        zh = en = ""
        until = None
        if level == "stop":
            until = notices.promised(run.conn, account) or as_datetime(run.now) + dt.timedelta(
                days=terms.grace_days
            )
            zh, en = _announced(run, until)
        told += notices.write(
            run.conn,
            account,
            level=level,
            until=until,
            balance_fen=fen,
            text_zh=f"尊敬的{running.who.name[k]}(户号{running.who.customer[k]}),您的电费余额为{left}元,请及时充值。"
            + zh,
            text_en=f"Account {running.who.customer[k]}: your prepaid balance is {left} yuan, please top up."
            + en,
            now=run.now,
        )
    return told


def _announced(run: Run, until: dt.datetime) -> tuple[str, str]:
    """What a stop notice says besides the balance. `until`: what it promises; a repeat promises what the first one did."""
    over = until.astimezone(run.zone)
    if until <= as_datetime(run.now):
        return "余额不足,将按规定停电。", " Supply will be stopped."
    return (
        f"余额不足,宽限至{over:%Y-%m-%d %H:%M},逾期未缴将按规定停电。",
        f" Supply will be stopped unless it is paid by {over:%Y-%m-%d %H:%M}.",
    )


def act(run: Run) -> tuple[int, int, list[str]]:
    """Ask for trips and permits. Each request commits by itself. Returns (trips asked, permits asked, refusals)."""
    limits = cluster.limits(run.conn)
    trips = permits = 0
    refusals: list[str] = []
    closed: str | None = None
    # who has paid comes before anybody who is to be cut off
    found = sorted(ledger.to_act_on(run.conn, now=run.now), key=lambda row: not reclose.due(row))
    terms = fee_terms.of(run.conn, [row["account_id"] for row in found], now=run.now)
    below = fee_terms.stop_below(run.conn, terms)
    for k, row in enumerate(found):
        last = row["last_action"]
        if k == 0:  # the same for all: out of hours nobody is asked for, instead of everybody being refused
            facts, _ = orders.facts(run.conn, row["asset"], run.now)
            closed = calendar.why_not(
                replace(facts, no_trip=""), limits
            )  # an organisation's own days: each by itself
        try:
            level = below[row["account_id"]]
            if row["level"] == "stop" and level is not None and row["high_fen"] < level and last != "trip":
                days = terms[row["account_id"]].grace_days
                over = fee_terms.grace_until(row["told_at"], days, row["promised"], row["granted"], run.zone)
                if (
                    closed is not None
                    or row["noticed_at"] is None
                    or as_datetime(run.now) - row["noticed_at"] < limits.notice_before
                    or over is None
                    or as_datetime(run.now) < over
                ):
                    continue
                orders.request(
                    run.conn,
                    kind="relay",
                    action="trip",
                    asset=row["asset"],
                    reason=f"arrears: balance {yuan_text(row['high_fen'])} yuan at most",
                    who=WHO,
                    now=run.now,
                    expires=run.now + TRIP_LASTS,
                )
                trips += 1
            elif reclose.due(row):
                reclose.ask(run.conn, row, who=WHO, now=run.now)
                permits += 1
        except orders.Refused as refused:
            refusals.append(f"{row['asset']}: {refused}")
        except (
            StoreError
        ) as error:  # an order is open already, or the meter went away: the next run looks again
            refusals.append(f"{row['asset']}: {error}")
        except psycopg.OperationalError as error:  # a lock, a deadlock: one row's trouble is not everybody's
            if run.conn.closed or run.conn.broken:
                raise
            run.conn.rollback()
            refusals.append(f"{row['asset']}: {str(error).splitlines()[0]}")
    run.conn.commit()  # nothing stays open between two quarter-hours: the server ends idle transactions
    return trips, permits, refusals
