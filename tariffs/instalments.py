"""Debts in instalments (欠费分期): what falls due when, and what the balance paid of it, from payments and charges by day.

A debt is agreed on a local day and put off: it burdens the balance by what its instalments take, and by no more. An instalment is taken at the end
of its day, out of what the balance then holds above zero; what it does not hold stays due and is taken as soon as it does. So an instalment
makes no balance negative.

    months    so many equal instalments, the rest in the last, on a day of the month
    monthly   a fixed sum on a day of the month
    daily     a fixed sum each day
    share     so many per cent of each payment, whole fen downwards

What is paid back early falls due on the day of asking. Arrears that are put off go out of the balance with the agreement, and back into it when it
ends early; any other debt that is ended is claimed no more.

Nothing of this is stored but the agreement: takings are derived anew from all payments and charges, so their order of arrival leaves nothing behind.
No source describes the rules of any utility; these are this program's own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

WAYS: Final = ("months", "monthly", "daily", "share")
#: kinds of debt; arrears are in the balance already
KINDS: Final = ("opening", "theft", "correction", "arrears")
ARREARS: Final = "arrears"
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Debt:
    """amount [fen]; part: how many instalments (months), fen (monthly, daily), per cent (share). In force on local days [agreed, ended). `repaid`:
    what was asked to be paid early, local day -> fen."""

    number: int
    kind: str
    amount: int
    way: str
    part: int
    due_day: int
    first_day: dt.date
    agreed: dt.date
    ended: dt.date | None = None
    repaid: Mapping[dt.date, int] = field(default_factory=dict)

    @property
    def begins(self) -> dt.date:
        return max(self.first_day, self.agreed)

    def due(self, day: dt.date, before: int, payments: Sequence[int]) -> int:
        """[fen] what falls due on a day. `before`: how many of `months` have; payments [fen] of the day."""
        early = self.repaid.get(day, 0)
        if day < self.begins:
            return early
        if self.way == "share":
            return early + sum(fen * self.part // 100 for fen in payments)
        if self.way == "daily":
            return early + self.part
        if day.day != self.due_day:
            return early
        if self.way == "monthly":
            return early + self.part
        return early + instalment(self.amount, self.part, before)


def instalment(amount: int, count: int, number: int) -> int:
    """[fen] the instalment `number` (from 0) of `count` equal ones; the last one takes the rest, those beyond it nothing."""
    if number >= count:
        return 0
    each = amount // count
    return each if number < count - 1 else amount - each * (count - 1)


@dataclass(frozen=True, slots=True)
class Behind:
    """An instalment that the balance did not hold: so many fen, in part or whole due since a day."""

    since: dt.date
    fen: int


@dataclass(frozen=True, slots=True)
class Derived:
    """entries  (kind of entry, period) -> fen, as the ledger has them
    left     debt -> fen that are not taken
    behind   debt -> what is due of that, and since when"""

    entries: Mapping[tuple[str, str], int]
    left: Mapping[int, int]
    behind: Mapping[int, Behind]


@dataclass(slots=True)
class _Running:
    debt: Debt
    due: int = 0
    taken: int = 0
    months: int = 0
    since: dt.date | None = None

    @property
    def left(self) -> int:
        return self.debt.amount - self.taken

    def on(self, day: dt.date, payments: Sequence[int], balance: int) -> int:
        """What a day takes."""
        debt = self.debt
        self.due = min(debt.amount, self.due + debt.due(day, self.months, payments))
        self.months += debt.way == "months" and day >= debt.begins and day.day == debt.due_day
        take = min(self.due - self.taken, max(0, balance))
        self.taken += take
        if self.due == self.taken:
            self.since = None
        elif self.since is None:
            self.since = day
        return take


def derive(
    debts: Sequence[Debt],
    payments: Sequence[tuple[dt.date, int]],
    charges: Mapping[dt.date, int],
    until: dt.date,
) -> Derived:
    """The entries of one account's debts, with what is taken up to the end of a local day.

    payments  (day, fen), without what was taken back;  charges  local day -> fen, more than 0 takes money"""
    running = [_Running(debt) for debt in sorted(debts, key=lambda debt: debt.number)]
    entries: dict[tuple[str, str], int] = {}
    first = min((debt.agreed for debt in debts), default=until + _DAY)
    paid: dict[dt.date, list[int]] = {}
    for day, fen in payments:
        paid.setdefault(day, []).append(fen)
    balance = sum(fen for day, fen in payments if day < first) - sum(
        fen for day, fen in charges.items() if day < first
    )
    for day in _days(first, until):
        for one in (
            running
        ):  # arrears go out of the balance with their agreement, and what is left of them back with its end
            if one.debt.kind == ARREARS:
                balance += one.debt.amount if one.debt.agreed == day else 0
                balance -= one.left if one.debt.ended == day else 0
        balance += sum(paid.get(day, ())) - charges.get(day, 0)
        for one in running:
            if one.debt.agreed <= day and (one.debt.ended is None or day < one.debt.ended):
                take = one.on(day, paid.get(day, ()), balance)
                balance -= take
                if take:
                    entries["instalment", f"{one.debt.number}/{day}"] = -take
    for one in running:
        entries |= _agreement(one)
    going = [one for one in running if one.debt.ended is None]
    return Derived(
        entries,
        {one.debt.number: one.left for one in going},
        {
            one.debt.number: Behind(one.since, one.due - one.taken)
            for one in going
            if one.since is not None and one.debt.way != "share"
        },
    )


def _agreement(one: _Running) -> dict[tuple[str, str], int]:
    """The debt and its putting off, and what is left of both at the end."""
    number, claimed = str(one.debt.number), one.debt.kind != ARREARS
    entries = {("deferral", number): one.debt.amount}
    if claimed:
        entries["debt", number] = -one.debt.amount
    if one.debt.ended is not None and one.left:
        entries["deferral", f"{number}/end"] = -one.left
        if claimed:
            entries["debt", f"{number}/end"] = one.left
    return entries


def due_days(debt: Debt, until: dt.date) -> list[tuple[dt.date, int]]:
    """(day, fen) of what falls due up to a local day, of an account that pays by bills: no balance is waited for. Not for shares."""
    found, due, months = [], 0, 0
    for day in _days(debt.agreed, until):
        if debt.ended is not None and day >= debt.ended:
            break
        fen = min(debt.due(day, months, ()), debt.amount - due)
        months += debt.way == "months" and day >= debt.begins and day.day == debt.due_day
        if fen:
            found.append((day, fen))
        due += fen
    return found


def _days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    day = first
    while day <= last:
        yield day
        day += _DAY
