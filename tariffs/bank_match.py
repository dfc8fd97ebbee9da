"""Comparison of details (对明细账): what a bank says of an accounting day beside what is booked, payment by payment.

Four outcomes. Both say the same; the bank alone has it (长款: money came, nothing was written off): booked after all, or given back; we
alone have it (短款: written off, no money came): reversed, or claimed from the bank; the amounts or the customers differ: a person looks.
A payment that was reversed counts as none on either side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tariffs.bank import accounting_date, total


class Outcome(StrEnum):
    BOTH = "both"
    BANK_ONLY = "bank-only"
    OURS_ONLY = "ours-only"
    DIFFERENT = "different"


class Decision(StrEnum):
    """What a person decides of a difference."""

    BOOK = "book"
    REFUND = "refund"
    REVERSE = "reverse"
    CLAIM = "claim"
    MANUAL = "manual"


DECISIONS: Final[Mapping[Outcome, tuple[Decision, ...]]] = {
    Outcome.BOTH: (),
    Outcome.BANK_ONLY: (Decision.BOOK, Decision.REFUND),
    Outcome.OURS_ONLY: (Decision.REVERSE, Decision.CLAIM),
    Outcome.DIFFERENT: (Decision.MANUAL,),
}
WORDS: Final[Mapping[Outcome, tuple[str, str]]] = {
    Outcome.BOTH: ("both sides agree", "双方一致"),
    Outcome.BANK_ONLY: ("money received, nothing booked", "长款:银行有,我方无"),
    Outcome.OURS_ONLY: ("booked, no money received", "短款:我方有,银行无"),
    Outcome.DIFFERENT: ("amount or customer differ", "金额或户号不符"),
}


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment of an accounting day, on either side."""

    serial: str
    customer: str
    amount_fen: int
    time: dt.datetime


@dataclass(frozen=True, slots=True)
class Reversal:
    """One reversal, by the serial of the payment that it takes back."""

    serial: str
    original: str
    customer: str
    amount_fen: int
    time: dt.datetime


@dataclass(frozen=True, slots=True)
class Day:
    """What one side says of an accounting day."""

    bank: str
    date: dt.date
    payments: tuple[Payment, ...]
    reversals: tuple[Reversal, ...]

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """Payments and their sum, reversals and their sum [fen]."""
        return *total(p.amount_fen for p in self.payments), *total(r.amount_fen for r in self.reversals)

    def standing(self) -> dict[str, Payment]:
        """The payments that were not reversed, by serial."""
        gone = {reversal.original for reversal in self.reversals}
        return {p.serial: p for p in self.payments if p.serial not in gone}


@dataclass(frozen=True, slots=True)
class Item:
    """One payment as the two sides have it."""

    serial: str
    outcome: Outcome
    bank: Payment | None
    ours: Payment | None


def match(bank: Day, ours: Day) -> list[Item]:
    """Every payment that stands on at least one side, by serial."""
    theirs, here = bank.standing(), ours.standing()
    return [_item(serial, theirs.get(serial), here.get(serial)) for serial in sorted({*theirs, *here})]


def _item(serial: str, bank: Payment | None, ours: Payment | None) -> Item:
    if bank is None or ours is None:
        return Item(serial, Outcome.OURS_ONLY if bank is None else Outcome.BANK_ONLY, bank, ours)
    same = (bank.customer, bank.amount_fen) == (ours.customer, ours.amount_fen)
    return Item(serial, Outcome.BOTH if same else Outcome.DIFFERENT, bank, ours)


def split_late(day: Day, cutoff: dt.time, zone: dt.tzinfo) -> tuple[Day, tuple[Payment, ...]]:
    """The day without the payments past the cut-off (local time), and those: they are matched with the next day.

    A payment that its bank has reversed stands on no side, whenever it was: it stays."""
    late = {
        serial: p
        for serial, p in day.standing().items()
        if accounting_date(p.time.astimezone(zone), cutoff) > day.date
    }
    kept = tuple(p for p in day.payments if p.serial not in late)
    return replace(day, payments=kept), tuple(late.values())


def with_late(day: Day, late: Sequence[Payment]) -> Day:
    """The day with what the file of the day before brought too late; what both files list counts once."""
    listed = {p.serial for p in day.payments}
    return replace(day, payments=(*day.payments, *(p for p in late if p.serial not in listed)))
