"""The day's charge: from the day-freeze registers into the ledger, so that the month's entries always sum to its bill.

Every day of the month up to the given one is derived again, and of the months before it as far back as a meter's day freezes
reach: a freeze that came late, or was read differently, becomes a visible correction entry; an unchanged day adds nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headend.jobs import determinants
from headend.jobs.determinants import Grounds, Source
from headend.jobs.frame import Run
from headend.store import billed, blocks, ledger, tariffs
from headend.store.billed import Billed
from headend.store.ledger import Charge, Foreign, Since
from protocols.localtime import midnight
from protocols.reading import MISSING
from tariffs import billing
from tariffs.charge import daily_entry
from tariffs.ledger import derive_many, inputs_hash, inputs_hashes
from tariffs.money import yuan_text
from tariffs.plan import Segment, Tariff

I64 = NDArray[np.int64]

#: how far back meters keep day freezes (DL/T 645-2007: 62); an older one cannot come any more
KEPT = dt.timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Month:
    """Accounts of one plan in one month up to a day, and that day. `begins` datetime64[D][row of `rows`]: the first day that is charged here."""

    who: Billed
    rows: I64
    begins: NDArray[np.datetime64]
    tariff: Tariff
    last: dt.date


@dataclass(frozen=True, slots=True)
class Derived:
    """What one local day of some accounts of one plan costs, from the registers and the plan alone.

    at, row  place of each account among the month's rows, and in its Billed, [n]; the rest are [n, ...]
    amount   int64 [fen] of the day, such that the days of a month add up to its charge to date
    meter    int64[n, 2], registers int64[n, 2, 5]: at the month's begin (or the account's), and at the day's end
    waiting  accounts that the day cannot be told for, because something that the plan needs is missing
    """

    day: dt.date
    tariff: str
    at: I64
    row: I64
    amount: I64
    hashes: list[str]
    meter: I64
    registers: I64
    since: NDArray[np.datetime64]
    until: np.datetime64
    multiplier: I64
    to_date: I64
    waiting: int

    def take(self, which: NDArray[np.bool_]) -> Derived:
        """The same of some accounts."""
        values = {column.name: getattr(self, column.name) for column in fields(self)}
        chosen = {name: value[which] for name, value in values.items() if isinstance(value, np.ndarray)}
        hashes = [self.hashes[j] for j in np.flatnonzero(which)]
        return Derived(**{**values, **chosen, "hashes": hashes})


def job(run: Run, day: dt.date) -> str:
    posted = corrected = waiting = found = clashes = 0
    for month in months(run, day):
        found += len(month.rows)
        standing = Standing.of(run, month.who.account_id[month.rows], month.last)
        held: dict[dt.date, int] = {}
        for derived in derive(run, month, standing):
            new, late, clash = post(run, month.who, derived, standing)
            posted, corrected, clashes = posted + new, corrected + late, clashes + clash
            held[derived.day] = held.get(derived.day, 0) + derived.waiting
        waiting += held.get(day, 0)
    gone = take_back(run, ledger.foreign(run.conn, _month_ends(day)[0].replace(day=1), day))
    if not found and not gone:
        return "no prepaid accounts"
    told = f"{posted} entries, {corrected} corrections, {waiting} accounts wait for a freeze"
    if gone:
        told += f"; {gone} days given back that are another's"
    return told + (
        f"; {clashes} entries contradict their inputs: `headend ledger recompute` names them"
        if clashes
        else ""
    )


def take_back(run: Run, found: list[Foreign]) -> int:
    """Charges of days that are not the account's go to zero by one more revision, in the caller's transaction; whose days they are is charged them
    by the derivation itself. How many."""
    entries = [
        Charge(
            each.account_id, each.period, each.revision + 1, -each.fen,
            bytes.fromhex(inputs_hash({"day": each.period, "opened": each.opened, "closed": each.closed})),
            {
                "taken_back": "the day is not the account's",
                "opened": each.opened.isoformat(),
                "closed": each.closed and each.closed.isoformat(),
            },
        )
        for each in found
    ]  # fmt: skip
    return ledger.post(run.conn, entries, now=run.now)


def months(run: Run, day: dt.date, kept: dt.timedelta = KEPT) -> Iterator[Month]:
    """Every month up to `day` that a freeze may still change, of the `kept` days before it: the prepaid accounts by their plan."""
    known = tariffs.load(run.conn)
    charged = ledger.charged_since(run.conn)
    for last in _month_ends(day, kept):
        for who in billed.stream(run.conn, last.replace(day=1), last, run.zone, prepaid_only=True):
            begins = first_charged(who, charged, day)
            for name in np.unique(who.tariff):
                rows = np.flatnonzero((who.tariff == name) & (begins <= np.datetime64(last)))
                if len(rows):
                    yield Month(who, rows, begins[rows], known[str(name)], last)


def first_charged(who: Billed, charged: Since, day: dt.date) -> NDArray[np.datetime64]:
    """The first day of each account that is charged here, datetime64[D][account].

    What meters remember of before then was charged by whoever ran them before: an account that is older than its meter's memory begins with the
    first day that was ever charged, its own or of whoever had its point before it, or `day`; a young one with its own first day, however late its
    first register came, and so does one that took over a point whose days had been charged here, however late that was learnt."""
    ids = who.account_id.tolist()
    point = np.array([charged.point.get(account, day) for account in ids], dtype="datetime64[D]")
    own = [charged.account.get(account) for account in ids]
    first = np.where(
        np.array([each is not None for each in own], dtype=np.bool_),
        np.array(own, dtype="datetime64[D]"),
        point,
    )
    reach = np.minimum(first - np.timedelta64(KEPT), point)
    return np.where(who.opened >= reach, who.opened, first)


def _month_ends(day: dt.date, kept: dt.timedelta = KEPT) -> list[dt.date]:
    """The last day of each month that a late freeze may still change, then `day`."""
    ends = [day]
    while (before := ends[0].replace(day=1) - dt.timedelta(days=1)) >= day - kept:
        ends.insert(0, before)
    return ends


def derive(run: Run, month: Month, standing: Standing) -> Iterator[Derived]:
    """The days of a month, in order, for accounts that have the same of them at once. Nothing is written.

    `standing` of the month's rows: a day that cannot be derived any more keeps what stands of it, and later days go on from there."""
    who = month.who
    groups: dict[tuple[dt.date, dt.date, tuple[dt.date, ...]], list[int]] = {}
    for at, row in enumerate(month.rows.tolist()):
        key = (who.first[row].item(), who.last[row].item(), determinants.cuts(who, row, month.tariff))
        groups.setdefault(key, []).append(at)
    for (first, last, cuts), places in sorted(groups.items()):
        yield from _derive(run, month, standing, np.array(places, dtype=np.int64), first, last, cuts)


def _derive(
    run: Run,
    month: Month,
    standing: Standing,
    places: I64,
    first: dt.date,
    last: dt.date,
    cuts: tuple[dt.date, ...],
) -> Iterator[Derived]:
    rows, tariff = month.rows[places], month.tariff
    days = [first + dt.timedelta(days=k) for k in range((last - first).days + 2)]
    try:
        source = Source(run, month.who, rows, tariff, days)
    except LookupError:  # the plan has no price on its first day: nothing of the month can be told
        yield from (_nothing(day, tariff, len(rows)) for day in days[:-1])
        return
    earlier = np.zeros(len(rows), dtype=np.int64)
    base = midnight(first, run.zone)
    for d, after in pairwise(days):
        segments = tariff.spans(first, after, cuts)
        grounds = source.of(segments)
        # the rounding happens to the bill of the month to date and never to a day
        amount = daily_entry(billing.bill(tariff, segments, grounds.given).total_fen, earlier)
        known = amount != MISSING
        ready = np.flatnonzero(known)
        hashes = _hashes(tariff, segments, grounds, d, earlier, ready)
        earlier += np.where(known, amount, standing.fen[places, d.day - 1])
        yield Derived(
            d, tariff.name, places[ready], rows[ready], amount[ready], hashes, grounds.meter[ready], grounds.registers[ready],
            np.full(len(ready), base), midnight(after, run.zone), grounds.multiplier[ready], earlier[ready], len(rows) - len(ready),
        )  # fmt: skip


def _nothing(day: dt.date, tariff: Tariff, waiting: int) -> Derived:
    none = np.zeros(0, dtype=np.int64)
    times = np.zeros(0, dtype="datetime64[us]")
    return Derived(
        day, tariff.name, none, none, none, [], none.reshape(0, 2), none.reshape(0, 2, 5), times, np.datetime64("NaT", "us"), none, none, waiting,
    )  # fmt: skip


def _hashes(
    tariff: Tariff, segments: tuple[Segment, ...], grounds: Grounds, day: dt.date, earlier: I64, ready: I64
) -> list[str]:
    """What each account's entry is derived from."""
    common, columns = determinants.inputs(tariff, segments, grounds)
    chosen = {name: column[ready] for name, column in columns.items()}
    return inputs_hashes(common | {"day": day}, chosen | {"earlier_fen": earlier[ready]})


def post(
    run: Run, who: Billed, derived: Derived, standing: Standing, *, strict: bool = False
) -> tuple[int, int, int]:
    """Append what differs from what stands, in the caller's transaction: (first entries of a day, corrections, entries left alone because the
    same inputs gave another amount before). `strict`: such a one is a LedgerError."""
    k = derived.day.day - 1
    known = [standing.hashes[row][k] for row in derived.at]
    same = np.array([had == now for had, now in zip(known, derived.hashes, strict=True)], dtype=np.bool_)
    clash = same & (standing.fen[derived.at, k] != derived.amount)
    if clash.any() and not strict:  # one entry that was changed by hand must not stop everybody's
        told = post(run, who, derived.take(~clash), standing)
        return told[0], told[1], int(clash.sum())
    at = derived.at
    append, difference, number = derive_many(
        standing.fen[at, k], standing.revision[at, k], known, derived.amount, derived.hashes
    )
    chosen = np.flatnonzero(append)
    names = _assets(run, derived.meter[chosen])
    entries = []
    for j in chosen:  # entries, not readings: one a day and account
        fen = int(derived.to_date[j])
        begin, end = derived.registers[j].tolist()
        entries.append(
            Charge(
                int(who.account_id[derived.row[j]]),
                derived.day.isoformat(),
                int(number[j]) + 1,
                -int(difference[j]),
                bytes.fromhex(derived.hashes[j]),
                {
                    "tariff": derived.tariff,
                    # two where one came for the other
                    "meter": " ".join(
                        dict.fromkeys(names[meter] for meter in derived.meter[j].tolist() if meter)
                    ),
                    "from": str(derived.since[j]),
                    "to": str(derived.until),
                    "registers_from": _told(begin),
                    "registers_to": _told(end),
                    "multiplier": int(derived.multiplier[j]),
                    "month_to_date_fen": fen,
                    "month_to_date_yuan": yuan_text(fen),
                },
            )
        )
    ledger.post(run.conn, entries, now=run.now)
    return int((number[append] == 0).sum()), int((number[append] > 0).sum()), 0


def _assets(run: Run, meters: I64) -> dict[int, str]:
    some = np.unique(meters[meters > 0])
    return dict(zip(some.tolist(), blocks.assets(run.conn, some), strict=True))


def _told(registers: list[int]) -> list[int | None]:
    return [None if value == MISSING else value for value in registers]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger holds of a month: charge [account, day] in fen (positive), newest revision (-1: none), its hash."""

    fen: I64
    revision: I64
    hashes: list[list[str]]

    def take(self, rows: I64) -> Standing:
        """Of some accounts."""
        return Standing(self.fen[rows], self.revision[rows], [self.hashes[row] for row in rows])

    @classmethod
    def of(cls, run: Run, account_ids: I64, last: dt.date) -> Standing:
        """Of the days of a month up to `last`."""
        place = {int(account): k for k, account in enumerate(account_ids)}
        days = {last.replace(day=k + 1).isoformat(): k for k in range(last.day)}
        fen = np.zeros((len(account_ids), len(days)), dtype=np.int64)
        revision = np.full((len(account_ids), len(days)), -1, dtype=np.int64)
        hashes = [[""] * len(days) for _ in account_ids]
        for entry in ledger.charges(run.conn, list(place), days):
            row = place[entry["account_id"]]
            k = days[entry["period"]]
            fen[row, k] -= entry["amount_fen"]
            revision[row, k] = entry["revision"] - 1
            hashes[row][k] = bytes(entry["inputs_hash"]).hex()
        return cls(fen, revision, hashes)
