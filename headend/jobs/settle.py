"""The day's charge: from the day-freeze registers into the ledger, so that the month's entries always sum to its bill.

Every day of the month up to the given one is derived again, and of the months before it as far back as a meter's day freezes
reach: a freeze that came late, or was read differently, becomes a visible correction entry; an unchanged day adds nothing.
"""

from __future__ import annotations

import datetime as dt

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


def job(run: Run, day: dt.date) -> str:
    who = accounts.load(run.conn, now=run.now, zone=run.zone, prepaid_only=True)
    if not len(who):
        return "no prepaid accounts"
    posted = corrected = 0
    waiting = unknown = 0
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
            unknown += len(rows)
            continue
        for last in _month_ends(day):
            new, late, held = _settle(run, last, who, rows[begins[rows] <= last], known[str(name)])
            posted, corrected = posted + new, corrected + late
        waiting += held  # for the newest day
    text = f"{posted} entries, {corrected} corrections, {waiting} accounts wait for a freeze"
    return text + (f", {unknown} have a plan that is not settled by the day" if unknown else "")


def _month_ends(day: dt.date) -> list[dt.date]:
    """The last day of each month that a late freeze may still change, then `day`."""
    ends = [day]
    while (before := ends[0].replace(day=1) - dt.timedelta(days=1)) >= day - KEPT:
        ends.insert(0, before)
    return ends


def _settle(run: Run, day: dt.date, who: Accounts, rows: I64, tariff: plan.Tariff) -> tuple[int, int, int]:
    first = day.replace(day=1)
    days = [first + dt.timedelta(days=k) for k in range((day - first).days + 1)]
    midnights = np.array([midnight(d, run.zone) for d in [*days, day + dt.timedelta(days=1)]])
    registers = accounts.freezes(run.conn, who.meter_id[rows], midnights)
    # the register that the month is counted from: its first midnight, or the account's first
    base = np.array([max(0, (who.start[row] - first).days) for row in rows])
    standing, revision, known = _standing(run, who.account_id[rows], days)
    multiplier = who.multiplier[rows]
    earlier = np.zeros(len(rows), dtype=np.int64)
    posted = corrected = 0
    waiting = 0
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
        waiting = len(open_) - len(ready)
        if not len(ready):
            continue
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
        append, difference, number = derive_many(
            standing[at, k], revision[at, k], [known[row][k] for row in at], amount[ready], hashes
        )
        entries = []
        for j in np.flatnonzero(append):  # entries, not readings: one a day and account
            row = int(at[j])
            entries.append(
                Charge(
                    int(who.account_id[rows[row]]),
                    d.isoformat(),
                    int(number[j]) + 1,
                    -int(difference[j]),
                    bytes.fromhex(hashes[j]),
                    {
                        "tariff": tariff.name,
                        "meter": who.asset[rows[row]],
                        "from": str(midnights[base[row]]),
                        "to": str(midnights[k + 1]),
                        "registers_from": begin[ready[j]].tolist(),
                        "registers_to": end[ready[j]].tolist(),
                        "multiplier": int(multiplier[row]),
                        "month_to_date_fen": int(amount[ready[j]] + earlier[row]),
                        "month_to_date_yuan": yuan_text(int(amount[ready[j]] + earlier[row])),
                    },
                )
            )
        ledger.post(run.conn, entries, now=run.now)
        posted += int((number[append] == 0).sum())
        corrected += int((number[append] > 0).sum())
        earlier[at] += amount[ready]
    return posted, corrected, waiting


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


def _standing(run: Run, account_ids: I64, days: list[dt.date]) -> tuple[I64, I64, list[list[str]]]:
    """What the ledger holds: charge [account, day] in fen (positive), newest revision (-1: none), its hash."""
    place = {int(account): k for k, account in enumerate(account_ids)}
    column = {d.isoformat(): k for k, d in enumerate(days)}
    standing = np.zeros((len(account_ids), len(days)), dtype=np.int64)
    revision = np.full((len(account_ids), len(days)), -1, dtype=np.int64)
    known = [[""] * len(days) for _ in account_ids]
    for entry in ledger.charges(run.conn, column):
        row = place.get(entry["account_id"])
        if row is None:
            continue
        k = column[entry["period"]]
        standing[row, k] -= entry["amount_fen"]
        revision[row, k] = entry["revision"] - 1
        known[row][k] = bytes(entry["inputs_hash"]).hex()
    return standing, revision, known
