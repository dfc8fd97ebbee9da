"""The bill of a span from the freezes at its ends: energy and money by line, whose sum is the bill to the
fen.

A line is one period in one segment; a span has a segment for each tariff version in it (Tariff.spans), and
one more where a meter was exchanged. The bill is the rounded sum of the exact charges, as the daily entries
are, and the lines share its rounding: each is the rounded sum up to and including itself minus the one
before, so it is off its own rounding by at most one fen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING
from tariffs.charge import FREEZE_COLUMNS, Problem, charges, period_energy
from tariffs.money import Ints, exact, to_fen, total
from tariffs.plan import PERIODS, Version
from tariffs.registers import RESOLUTION, ROLL_OVER


@dataclass(frozen=True, slots=True)
class Bill:
    """Columns by account; MISSING where an account cannot be billed.

    energy        int64[account, segment, 4] [1e-4 kWh] primary side, by period
    line_fen      int64[account, segment, 4] [fen]
    total_energy  int64[account] [1e-4 kWh]
    total_fen     int64[account] [fen] == sum of line_fen
    charge        int64[account] [1e-8 yuan], before rounding
    problem       int8[account] bits of charge.Problem
    price         int64[segment, 4] [1e-4 yuan/kWh]
    used          bool[segment, 4]: periods the segment's version has
    """

    energy: Ints
    line_fen: Ints
    total_energy: Ints
    total_fen: Ints
    charge: Ints
    problem: NDArray[np.int8]
    price: Ints
    used: NDArray[np.bool_]

    @property
    def computed(self) -> NDArray[np.bool_]:
        """bool[account]: there is an amount; it may still carry problems (estimated, unpriced period)."""
        return np.asarray(self.total_fen != MISSING, dtype=np.bool_)

    @property
    def clean(self) -> NDArray[np.bool_]:
        """bool[account]: nothing speaks against sending it."""
        return np.asarray(self.problem == Problem.NONE, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Lines:
    """The bills' lines flat, one row a line, in account, segment, period order; only accounts that were
    computed.

    account int64[line] · segment int64[line] · period int64[line] (index into plan.PERIODS) · energy
    int64[line] [1e-4 kWh] · price int64[line] [1e-4 yuan/kWh] · amount_fen int64[line]
    """

    account: NDArray[np.int64]
    segment: NDArray[np.int64]
    period: NDArray[np.int64]
    energy: Ints
    price: Ints
    amount_fen: Ints


def bill(
    freezes: Ints,
    multiplier: Ints,
    versions: Sequence[Version],
    *,
    estimated: NDArray[np.bool_] | None = None,
    resolution: int = RESOLUTION,
    roll_over: int = ROLL_OVER,
) -> Bill:
    """The bills of accounts that share a tariff and a span.

    freezes     int64[account, segment, 2, 5] [1e-4 kWh]: registers (total, T1..T4) at begin and end of each
                segment
    multiplier  int64[account, segment]
    versions    one per segment
    estimated   bool[account]: a freeze of this account was estimated
    """
    freezes, multiplier = exact(freezes, "freezes"), exact(multiplier, "multiplier")
    accounts, segments = multiplier.shape
    if freezes.shape != (accounts, segments, 2, FREEZE_COLUMNS) or len(versions) != segments:
        raise ValueError(
            f"freezes {freezes.shape}, multiplier {multiplier.shape}, {len(versions)} versions disagree"
        )
    energy = np.empty((accounts, segments, len(PERIODS)), dtype=np.int64)
    money = np.empty_like(energy)
    sums = np.empty((accounts, segments), dtype=np.int64)
    problem = np.zeros(accounts, dtype=np.int8)
    for n, version in enumerate(versions):
        part = period_energy(
            freezes[:, n, 0],
            freezes[:, n, 1],
            multiplier[:, n],
            version,
            resolution=resolution,
            roll_over=roll_over,
        )
        energy[:, n], sums[:, n] = part.energy, part.total
        money[:, n] = charges(part.energy, version)
        problem |= part.problem
    if estimated is not None:
        problem |= np.where(estimated, Problem.ESTIMATED, 0).astype(np.int8)
    charge = total(money, axis=(1, 2))
    return Bill(
        energy=energy,
        line_fen=_lines(money, charge != MISSING),
        total_energy=total(sums, axis=1),
        total_fen=to_fen(charge),
        charge=charge,
        problem=problem,
        price=np.stack([version.price_array for version in versions]),
        used=np.stack([version.used for version in versions]),
    )


def flat_lines(result: Bill, account: NDArray[np.int64]) -> Lines:
    """The lines of the bills; account int64[account] are their ids. Periods that a tariff does not have give
    no line.
    """
    there = result.computed[:, None, None] & result.used[None]
    row, segment, period = np.nonzero(there)
    return Lines(
        account=account[row],
        segment=segment,
        period=period,
        energy=result.energy[there],
        price=result.price[segment, period],
        amount_fen=result.line_fen[there],
    )


def _lines(money: Ints, whole: NDArray[np.bool_]) -> Ints:
    """[account, segment, 4] [1e-8 yuan] -> [fen], rounding handed on from line to line."""
    exact_money = np.where(whole[:, None, None], money, 0).reshape(len(money), -1)
    upto = to_fen(np.cumsum(exact_money, axis=1))
    lines = np.diff(upto, axis=1, prepend=0).reshape(money.shape)
    return np.asarray(np.where(whole[:, None, None], lines, MISSING), dtype=np.int64)
