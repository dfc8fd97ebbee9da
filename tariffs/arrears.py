"""What bills still ask for: principal and late-payment penalty (违约金), from bills and payments by day, whatever the order they came in.

Money pays the oldest bill first, its principal before its penalty; what is left over waits for the next bill. Nothing of this is stored: it
is derived again from all bills and all payments, so a payment that comes late, or is taken back, leaves no trace but in the sum.

Rates, minimum and cap of the penalty are the plan's (penalty.py): so much a day on what is still owed of the principal on that day, from the day
after the due date to the day of payment; each day at the rates of the version that holds on it. The minimum is taken by bill, and with the cap
goes by the version of the bill's first day in arrears: no source says which, and so a bill that is paid keeps its sum.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tariffs.penalty import Penalty

#: from a bill's last day to the day by which it must be paid; it differs by province, and no source says it
DUE_DAYS: Final = 20


@dataclass(frozen=True, slots=True)
class Bill:
    """What was billed up to its last day. `name` is its number for the bank; `made`: the local day of its first
    revision, where that is known. An instalment of a debt is due on its day, and bears no penalty: no
    source says that one does."""

    name: str
    first_day: dt.date
    last_day: dt.date
    amount_fen: int
    instalment: bool = False
    made: dt.date | None = None

    @property
    def due(self) -> dt.date:
        """The last day on which nothing is added: of a bill that was made only after it, as much later."""
        usual = self.last_day + dt.timedelta(days=DUE_DAYS)
        late = self.made is not None and self.made > usual
        return self.made + dt.timedelta(days=DUE_DAYS) if late and self.made else usual

    @property
    def opens(self) -> dt.date:
        """The local day from which it is owed."""
        return self.last_day if self.instalment else self.last_day + dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Open:
    """A bill of which something is owed."""

    bill: Bill
    principal_fen: int
    penalty_fen: int

    @property
    def total_fen(self) -> int:
        return self.principal_fen + self.penalty_fen


@dataclass(frozen=True, slots=True)
class Arrears:
    """`credit_fen`: what was paid and no bill has asked for yet."""

    open: tuple[Open, ...]
    credit_fen: int

    @property
    def penalty_fen(self) -> int:
        return sum(item.penalty_fen for item in self.open)

    @property
    def total_fen(self) -> int:
        return sum(item.total_fen for item in self.open)


#: (first day, the rule that holds from it on, None: none), ascending
Rules = Sequence[tuple[dt.date, Penalty | None]]


@dataclass(slots=True)
class _Account:
    """One bill while the days pass. `accrued` in thousandths of a fen."""

    bill: Bill
    rules: Rules
    due: dt.date
    principal: int
    accrued: int = 0
    penalty_paid: int = 0

    def accrue(self, after: dt.date, until: dt.date) -> None:
        """The penalty of the days (after, until]."""
        end = until + dt.timedelta(days=1)
        change = dt.date(self.due.year + 1, 1, 1)
        ends = [*(since for since, _ in self.rules[1:]), dt.date.max]
        for (since, rule), over in zip(
            self.rules, ends, strict=False
        ):  # without rules there is an end all the same
            if rule is None:
                continue
            first = max(after + dt.timedelta(days=1), self.due + dt.timedelta(days=1), since)
            young = max(0, (min(end, over, change) - first).days)
            old = max(0, (min(end, over) - max(first, change)).days)
            self.accrued += self.principal * (young * rule.same_year + old * rule.former_years)

    @property
    def penalty(self) -> int:
        """[fen] half a fen upwards, less what has been paid of it."""
        rule = self._bounds()
        if rule is None or self.accrued <= 0:
            return 0
        fen = max((self.accrued + 500) // 1000, rule.minimum)
        if rule.cap:
            fen = min(fen, max(self.bill.amount_fen, 0))
        return max(0, fen - self.penalty_paid)

    def _bounds(self) -> Penalty | None:
        """The rule of the first day in arrears, or the first one after it: of its minimum and its cap."""
        first = self.due + dt.timedelta(days=1)
        begun = [rule for since, rule in self.rules if since <= first][-1:]
        later = [rule for since, rule in self.rules if since > first]
        return next((rule for rule in (*begun, *later) if rule is not None), None)

    def take(self, credit: int) -> int:
        """Pay what `credit` reaches for; what is left of it. A bill below zero gives."""
        paid = min(credit, self.principal)
        self.principal -= paid
        credit -= paid
        penalty = min(credit, self.penalty)
        self.penalty_paid += penalty
        return credit - penalty


def arrears(bills: Sequence[Bill], paid: Mapping[dt.date, int], day: dt.date, rules: Rules) -> Arrears:
    """What is owed on a day. `rules`: the plan's late-payment penalty by version; none: it asks for none.

    bills  in any order; of bills whose days lie within another's only the longer one counts (see `whole`)
    paid   accounting day -> [fen] paid on it, without what was taken back; days after `day` do not count
    """
    accounts = [
        _Account(
            bill,
            () if bill.instalment else rules,
            bill.due,
            bill.amount_fen,
        )
        for bill in sorted(whole(bills), key=lambda bill: (bill.last_day, bill.first_day))
    ]
    credit, before = 0, dt.date.min
    # a bill meets the credit that waits for it on the day from which it is owed
    opened = {a.bill.opens for a in accounts}
    for when in sorted(d for d in {*paid, *opened, day} if d <= day):
        for account in accounts:
            account.accrue(before, when)
        credit += paid.get(when, 0)
        for account in accounts:
            if account.bill.opens <= when:
                credit = account.take(credit)
        before = when
    owed = tuple(
        Open(a.bill, a.principal, a.penalty)
        for a in accounts
        if a.bill.opens <= day and a.principal + a.penalty > 0
    )
    return Arrears(owed, credit)


def whole(bills: Sequence[Bill]) -> list[Bill]:
    """Without the bills whose days another one of the same account contains: a day's statement is part of its month's bill. Instalments stay."""
    spans = {(bill.first_day, bill.last_day) for bill in bills if not bill.instalment}
    return [
        bill
        for bill in bills
        if bill.instalment
        or not any(
            first <= bill.first_day
            and bill.last_day <= last
            and (first, last) != (bill.first_day, bill.last_day)
            for first, last in spans
        )
    ]
