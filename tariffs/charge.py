"""Charges from the meter's tariff registers between two freezes, and the daily entry that keeps the ledger
on the bill.

    flat = total - sharp - peak - valley

A meter's four tariff registers and its total are cut off at the last digit one by one, so their sum misses
the total by up to that digit each; one period, the tariff's remainder (normally flat), is therefore never
read but derived.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING
from tariffs.money import Ints, amount, exact
from tariffs.periods import PERIODS, REGISTERS
from tariffs.plan import Version
from tariffs.registers import RESOLUTION, ROLL_OVER, advance

#: Columns of a freeze: total, T1, T2, T3, T4.
FREEZE_COLUMNS: Final = 1 + len(REGISTERS)


class Problem(IntFlag):
    """Why an account's energy is not what a bill may rest on. Bits: several may hold."""

    NONE = 0
    #: a register that the tariff needs is missing at one end
    MISSING_FREEZE = 1
    #: a register went down, or the periods add up to more than the total
    NEGATIVE = 2
    #: one end was estimated, not read
    ESTIMATED = 4
    #: a register of a period that the tariff does not have moved: the meter runs another time-of-use table
    UNPRICED_PERIOD = 8
    #: something else that the plan needs is not known: capacity, contract, demand, reactive energy, loss …
    MISSING_DETERMINANT = 16
    #: the plan has no price for the kind of basic charge that the account has chosen
    NOT_OFFERED = 32


@dataclass(frozen=True, slots=True)
class Energy:
    """energy int64[account, period] [1e-4 kWh] primary side (MISSING with a problem that hides it),
    total int64[account], problem int8[account] bits of Problem."""

    energy: Ints
    total: Ints
    problem: NDArray[np.int8]


def period_energy(
    first: Ints,
    last: Ints,
    multiplier: Ints,
    version: Version,
    *,
    resolution: int | Ints = RESOLUTION,
    roll_over: int = ROLL_OVER,
) -> Energy:
    """Energy by period between two freezes.

    first, last  int64[account, 5] [1e-4 kWh]: total, T1..T4 (the first five of
                 protocols.reading.REGISTER_QUANTITIES)
    multiplier   int64[account]

    The remainder may come out negative by as many digits as were cut off; such a digit is kept, so that the
    periods add up to the total exactly. More than that is a problem.
    """
    first, last = exact(first, "first"), exact(last, "last")
    multiplier = exact(multiplier, "multiplier")
    gained = advance(first, last, roll_over)
    both = (first != MISSING) & (last != MISSING)
    remainder = version.remainder
    # T registers whose period the tariff reads; the remainder's own registers are derived, and may be missing
    read = np.array([period is not None and period != remainder for period in version.registers])
    needed = np.concatenate([[True], read])
    idle = np.concatenate([[False], [period is None for period in version.registers]])

    absent = (~both & needed).any(axis=1)
    down = (both & (gained == MISSING) & needed).any(axis=1)
    known = ~absent & ~down
    gained = np.where(known[:, None] & (gained != MISSING), gained, 0)
    energy = np.zeros((len(gained), len(PERIODS)), dtype=np.int64)
    for register, period in enumerate(version.registers):
        if period is not None and period != remainder:
            energy[:, period] += gained[:, 1 + register]
    energy[:, remainder] = gained[:, 0] - energy.sum(axis=1)
    negative = known & (energy[:, remainder] < -resolution * FREEZE_COLUMNS)
    moved = known & (np.where(idle, gained, 0) > 0).any(axis=1)

    problem = (
        np.where(absent, Problem.MISSING_FREEZE, 0)
        | np.where(down | negative, Problem.NEGATIVE, 0)
        | np.where(moved, Problem.UNPRICED_PERIOD, 0)
    ).astype(np.int8)
    usable = known & ~negative
    factor = multiplier[:, None]
    return Energy(
        np.asarray(np.where(usable[:, None], energy * factor, MISSING), dtype=np.int64),
        np.asarray(np.where(usable, gained[:, 0] * multiplier, MISSING), dtype=np.int64),
        problem,
    )


def charges(energy: Ints, version: Version) -> Ints:
    """int64[account, period] [1e-4 kWh] -> int64[account, period] [1e-8 yuan], not rounded."""
    return amount(energy, version.price_array)


def daily_entry(to_date: Ints, earlier: Ints) -> Ints:
    """What today's entry must be, int64[account] [fen]: the billing period's bill to date - earlier entries.

    to_date  int64[account] [fen]: to_fen(charge to date), or billing.Bill.total_fen
    earlier  int64[account] [fen]: the sum of the period's entries so far

    The rounding happens to the bill and never to a day, so the entries always add up to the bill. MISSING in,
    MISSING out: a day without registers posts nothing, and the next day posts both.
    """
    fen, earlier = exact(to_date, "to_date"), exact(earlier, "earlier")
    return np.asarray(np.where(fen == MISSING, MISSING, fen - earlier), dtype=np.int64)
