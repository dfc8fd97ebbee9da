"""The wallet (钱包) of a simulated local prepaid meter: what was paid in, less what its own prices make of its own registers.

It warns, trips and lets close again by itself, as published firmware of such meters does: at the second alarm amount it opens once and the
customer's key closes it again; at zero once more, if there is an overdraft; with the overdraft used up it stays open until what is left is
above the close-permit amount. No account open: nothing is counted and nothing is cut off.

By rules of its own: it shares none with the head-end's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np

from terminals.simulator.layout import Ints

#: Registers count 1e-4 kWh and prices 1e-4 yuan; a fen is 1e-2 yuan.
UNITS_PER_FEN: Final = 1_000_000
#: Six digits before the point.
HIGHEST_FEN: Final = 99_999_999
#: Purchases that the meter can still tell of.
RECORDS: Final = 10


class Stage(IntEnum):
    """How low it is. What a meter does happens on the way down, once."""

    FINE = 0
    ALARM = 1
    PRE_TRIP = 2
    ZERO = 3
    TRIP = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """In fen: two alarm amounts, overdraft (透支), the most it holds (囤积), and what must be left before it lets close (合闸允许)."""

    alarm1: int = 2_000
    alarm2: int = 500
    overdraft: int = 0
    hoarding: int = HIGHEST_FEN
    permit: int = 0


class Refusal(Exception):
    """The wallet did not take it. `word`: of the error word SERR."""

    def __init__(self, word: int, why: str) -> None:
        super().__init__(why)
        self.word = word


OTHER, REPEATED, CUSTOMER, COUNT, HOARDING = 0x0001, 0x0002, 0x0010, 0x0020, 0x0040


@dataclass(frozen=True, slots=True)
class Record:
    """One purchase: when, its count and amount, what was left before and after, and all that was ever bought, in fen."""

    at: np.datetime64
    count: int
    fen: int
    before: int
    after: int
    total: int


@dataclass(slots=True)
class Wallet:
    """`prices`: sharp, peak, flat, valley in 1e-4 yuan per kWh, by the registers T1 to T4; what these lack of the total is flat, as each is
    cut by itself. `stage`: how far down it has gone; `tripped`: it has opened the relay until there is money again."""

    prices: tuple[int, int, int, int]
    limits: Limits = field(default_factory=Limits)
    customer: str = ""
    count: int = 0
    stage: Stage = Stage.FINE
    tripped: bool = False
    records: list[Record] = field(default_factory=list)
    _paid: int = 0
    _base: Ints | None = None

    @property
    def open(self) -> bool:
        """An account is."""
        return bool(self.customer)

    def left(self, registers: Ints) -> int:
        """What is left in 1e-8 yuan; below zero it is overdrawn."""
        return self._paid * UNITS_PER_FEN - (0 if self._base is None else self._cost(registers))

    def _cost(self, registers: Ints) -> int:
        assert self._base is not None
        total, sharp, peak, _, valley = (
            int(now) - int(then) for now, then in zip(registers.tolist(), self._base.tolist(), strict=True)
        )
        energies = (sharp, peak, total - sharp - peak - valley, valley)
        return sum(energy * price for energy, price in zip(energies, self.prices, strict=True))

    def shown(self, registers: Ints) -> tuple[int, int]:
        """(remaining, overdrawn) in fen; what is left is cut, what is owed is rounded up."""
        left = self.left(registers)
        return (left // UNITS_PER_FEN, 0) if left >= 0 else (0, -(left // UNITS_PER_FEN))

    def take(
        self, kind: str, fen: int, count: int, customer: str, registers: Ints, at: np.datetime64
    ) -> None:
        """open, recharge or refund. Refusal."""
        remaining, overdrawn = self.shown(registers)
        left = remaining - overdrawn
        if kind != "open" and not self.open:
            raise Refusal(OTHER, "no account is open")
        if self.open and customer != self.customer:
            raise Refusal(CUSTOMER, "another customer's")
        if kind == "open" and count > 1:
            raise Refusal(COUNT, "an account is opened with the first purchase")
        if kind == "refund":
            if count != self.count:
                raise Refusal(COUNT, "the count is not that of the newest purchase")
            if fen > left:
                raise Refusal(OTHER, "more than is left")
            self._paid -= fen
            return
        if count == self.count:
            raise Refusal(REPEATED, "taken before")
        if count != self.count + 1:
            raise Refusal(COUNT, "the count is not the next one")
        if left + fen > min(HIGHEST_FEN, self.limits.hoarding):
            raise Refusal(HOARDING, "more than may be held")
        if self._base is None:
            self._base = registers
        total = (self.records[-1].total if self.records else 0) + fen
        self.records = [*self.records, Record(at, count, fen, max(left, 0), max(left + fen, 0), total)][
            -RECORDS:
        ]
        self.customer, self.count, self._paid = customer, count, self._paid + fen

    def stage_of(self, registers: Ints) -> Stage:
        """How low it is now."""
        left = self.left(registers)
        if not self.open or left > self.limits.alarm1 * UNITS_PER_FEN:
            return Stage.FINE
        if left > self.limits.alarm2 * UNITS_PER_FEN:
            return Stage.ALARM
        if left > 0:
            return Stage.PRE_TRIP
        return Stage.ZERO if left > -self.limits.overdraft * UNITS_PER_FEN else Stage.TRIP

    def may_close(self, registers: Ints) -> bool:
        """Enough is left for the customer's key to close."""
        return self.left(registers) > self.limits.permit * UNITS_PER_FEN
