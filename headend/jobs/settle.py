"""The day's charge: from the day-freeze registers into the ledger, so that the month's entries always sum to its bill.

Every day of the month up to the given one is derived again, and of the months before it as far back as a meter's day freezes
reach: a freeze that came late, or was read differently, becomes a visible correction entry; an unchanged day adds nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.store import accounts, ledger, tariffs
from headend.store.accounts import Accounts
from headend.store.ledger import Charge
from protocols.localtime import midnight
from protocols.reading import MISSING
from tariffs import plan
from tariffs.charge import Problem, charge_to_date, daily_entry, period_energy
from tariffs.ledger import derive_many, inputs_hashes
from tariffs.money import to_fen, yuan_text

I64 = NDArray[np.int64]

#: how far back meters keep day freezes (DL/T 645-2007: 62); an older one cannot come any more
KEPT = dt.timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Derived:
    """What one local day of some accounts of one tariff costs, from the registers and the tariff alone.

    at, row  place of each account among the rows asked for, and in the Accounts, [n]; the rest are [n, ...]
    amount   int64 [fen] of the day, such that the days of a month add up to its charge to date
    waiting  accounts that the day cannot be told for, because a freeze is missing
    """

    day: dt.date
    tariff: str
    at: I64
    row: I64
    amount: I64
    hashes: list[str]
    begin: I64
    end: I64
    since: NDArray[np.datetime64]
    until: np.datetime64
    multiplier: I64
    to_date: I64
    waiting: int


def job(run: Run, day: dt.date) -> str:
    who = accounts.load(run.conn, now=run.now, zone=run.zone, prepaid_only=True)
    if not len(who):
        return "no prepaid accounts"
    posted = corrected = waiting = 0
    known = tariffs.load(run.conn)
    unknown = sum(not known[name].energy_only for name in who.tariff.tolist())
    for tariff, rows, last in months(run, who, day):
        held = 0
        standing = Standing.of(run, who.account_id[rows], last)
        for derived in derive(run, who, rows, last, tariff):
            new, late = post(run, who, derived, standing)
            posted, corrected = posted + new, corrected + late
            held = derived.waiting
        if last == day:
            waiting += held
    text = f"{posted} entries, {corrected} corrections, {waiting} accounts wait for a freeze"
    return text + (f", {unknown} have a plan that is not settled by the day" if unknown else "")


def months(
    run: Run, who: Accounts, day: dt.date, kept: dt.timedelta = KEPT
) -> Iterator[tuple[plan.Tariff, I64, dt.date]]:
    """(tariff, rows of `who`, last day) of every month up to `day` that a freeze may still change: of the `kept` days before it."""
    known = tariffs.load(run.conn)
    charged = ledger.charged_since(run.conn)
    # where an account's charges begin: what meters remember of before then was charged by whoever ran them before
    begins = np.array(
        [
            min(charged.get(int(account), day), start if start >= day - KEPT else day)
            for account, start in zip(who.account_id, who.start, strict=True)
        ]
    )
    for name in np.unique(who.tariff):
        rows = np.flatnonzero(who.tariff == name)
        if not known[str(name)].energy_only:  # its steps, demand or funds are not settled by the day yet
            continue
        for last in _month_ends(day, kept):
            yield known[str(name)], rows[begins[rows] <= last], last


def _month_ends(day: dt.date, kept: dt.timedelta = KEPT) -> list[dt.date]:
    """The last day of each month that a late freeze may still change, then `day`."""
    ends = [day]
    while (before := ends[0].replace(day=1) - dt.timedelta(days=1)) >= day - kept:
        ends.insert(0, before)
    return ends


def derive(run: Run, who: Accounts, rows: I64, day: dt.date, tariff: plan.Tariff) -> Iterator[Derived]:
    """The days of a month up to `day`, in order. Nothing is written."""
    first = day.replace(day=1)
    days = [first + dt.timedelta(days=k) for k in range((day - first).days + 1)]
    midnights = np.array([midnight(d, run.zone) for d in [*days, day + dt.timedelta(days=1)]])
    registers = accounts.freezes(run.conn, who.meter_id[rows], midnights)
    # the register that the month is counted from: its first midnight, or the account's first
    base = np.array([max(0, (who.start[row] - first).days) for row in rows], dtype=np.int64)
    multiplier = who.multiplier[rows]
    earlier = np.zeros(len(rows), dtype=np.int64)
    for k, d in enumerate(days):
        open_ = np.flatnonzero(base <= k)
        if not len(open_):
            continue
        begin, end = registers[open_, base[open_]], registers[open_, k + 1]
        spans = tariff.spans(first + dt.timedelta(days=int(base[open_].min())), d + dt.timedelta(days=1))
        edges = [((begins - first).days, (ends - first).days, version) for begins, ends, version in spans]
        to_date = _to_date(registers[open_], base[open_], multiplier[open_], edges)
        amount = daily_entry(to_fen(to_date), earlier[open_])
        ready = np.flatnonzero(amount != MISSING)
        at = open_[ready]
        common = {"tariff": tariff.name, "version": edges[-1][2].facts(), "day": d}
        columns = {
            "begin": begin[ready],
            "end": end[ready],
            "multiplier": multiplier[at],
            "earlier_fen": earlier[at],
        }
        if len(edges) > 1:  # the price has changed since the month began
            common["versions_before"] = [version.facts() for *_, version in edges[:-1]]
            columns["between"] = registers[at][:, [index for index, *_ in edges[1:]]]
        hashes = inputs_hashes(common, columns)
        earlier[at] += amount[ready]
        yield Derived(
            d, tariff.name, at, rows[at], amount[ready], hashes, begin[ready], end[ready], midnights[base[at]],
            midnights[k + 1], multiplier[at], earlier[at], len(open_) - len(ready),
        )  # fmt: skip


def post(run: Run, who: Accounts, derived: Derived, standing: Standing) -> tuple[int, int]:
    """Append what differs from what stands, in the caller's transaction: (first entries of a day, corrections)."""
    at, k = derived.at, derived.day.day - 1
    append, difference, number = derive_many(
        standing.fen[at, k],
        standing.revision[at, k],
        [standing.hashes[row][k] for row in at],
        derived.amount,
        derived.hashes,
    )
    entries = []
    for j in np.flatnonzero(append):  # entries, not readings: one a day and account
        row, fen = int(derived.row[j]), int(derived.to_date[j])
        entries.append(
            Charge(
                int(who.account_id[row]),
                derived.day.isoformat(),
                int(number[j]) + 1,
                -int(difference[j]),
                bytes.fromhex(derived.hashes[j]),
                {
                    "tariff": derived.tariff,
                    "meter": who.asset[row],
                    "from": str(derived.since[j]),
                    "to": str(derived.until),
                    "registers_from": derived.begin[j].tolist(),
                    "registers_to": derived.end[j].tolist(),
                    "multiplier": int(derived.multiplier[j]),
                    "month_to_date_fen": fen,
                    "month_to_date_yuan": yuan_text(fen),
                },
            )
        )
    ledger.post(run.conn, entries, now=run.now)
    return int((number[append] == 0).sum()), int((number[append] > 0).sum())


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger holds of a month: charge [account, day] in fen (positive), newest revision (-1: none), its hash."""

    fen: I64
    revision: I64
    hashes: list[list[str]]

    @classmethod
    def of(cls, run: Run, account_ids: I64, last: dt.date) -> Standing:
        """Of the days of a month up to `last`."""
        place = {int(account): k for k, account in enumerate(account_ids)}
        days = {last.replace(day=k + 1).isoformat(): k for k in range(last.day)}
        fen = np.zeros((len(account_ids), len(days)), dtype=np.int64)
        revision = np.full((len(account_ids), len(days)), -1, dtype=np.int64)
        hashes = [[""] * len(days) for _ in account_ids]
        for entry in ledger.charges(run.conn, days):
            row = place.get(entry["account_id"])
            if row is None:
                continue
            k = days[entry["period"]]
            fen[row, k] -= entry["amount_fen"]
            revision[row, k] = entry["revision"] - 1
            hashes[row][k] = bytes(entry["inputs_hash"]).hex()
        return cls(fen, revision, hashes)


def _to_date(registers: I64, base: I64, multiplier: I64, edges: list[tuple[int, int, plan.Version]]) -> I64:
    """The charge of the month to date int64[account] [1e-8 yuan], each day at its own day's price; MISSING without a register it needs.

    registers  int64[account, midnight, 5];  base int64[account]: the midnight that the account is counted from
    edges      (first midnight, last midnight, version) of the spans in which one version holds
    """
    rows = np.arange(len(registers))
    charge = np.zeros(len(registers), dtype=np.int64)
    for begin, end, version in edges:
        since = np.maximum(base, begin)
        energy = period_energy(
            registers[rows, since], registers[rows, np.maximum(since, end)], multiplier, version
        )
        usable = (energy.problem & ~np.int8(Problem.UNPRICED_PERIOD)) == 0
        part = charge_to_date(np.where(usable[:, None], energy.energy, 0), version)
        charge = np.where(usable & (charge != MISSING), charge + part, MISSING)
    return charge
