"""Energy by time-of-use period from a register curve, and what it may have cost where the curve has holes.

Between two registers that are there the energy is exact, whatever is missing between them. If all slots
between lie in one period, so is the charge. If not, nobody knows how the energy split: it is reported apart,
by the set of periods it touches, and charged between the cheapest and the dearest of them. Nothing is spread
by assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import Times, local_fields
from protocols.reading import MISSING
from tariffs.days import NO_DAYS, WORKDAY, Days
from tariffs.money import Ints, amount, exact, total
from tariffs.periods import PERIODS, STEP
from tariffs.plan import Tariff
from tariffs.registers import ROLL_OVER, advance

_SETS: Final = 1 << len(PERIODS)


@dataclass(frozen=True, slots=True)
class PeriodEnergy:
    """Energy of a span, int64 [1e-4 kWh] on the registers' own side.

    energy      int64[meter, 5]   known to lie in that period (order of periods.PERIODS)
    ambiguous   int64[meter, 32]  lies in the periods whose bits are set in the column's number (bit 0: sharp)
    complete    bool[meter]       the registers at both ends of the span are there, so nothing is left out
    valid       bool[meter]       no register went down; energies of an invalid meter are not to be used
    first, last int64[meter]      index of the first and last register that is there; -1: none
    """

    energy: Ints
    ambiguous: Ints
    complete: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Charge:
    """int64[meter] [1e-8 yuan]: the charge lies in [low, high]; all three are equal where nothing is
    ambiguous.

    `likely` prices ambiguous energy at the mean price of the periods it touches; it is for warnings, never
    for money.
    """

    low: Ints
    likely: Ints
    high: Ints


def slot_periods(
    tariff: Tariff, slots: Times, zone: ZoneInfo, minutes: int = STEP, days: Days = NO_DAYS
) -> NDArray[np.int8]:
    """Period of each slot, int8[slot], index into periods.PERIODS.

    slots    datetime64[us][slot] UTC, each named by its end; days with 92 or 100 quarters need no special
             care
    minutes  length of a slot; more than the 15 minutes on which period boundaries lie is refused
    days     kinds of the local days; a plan that tells them apart raises CalendarError for one without
    """
    if not 0 < minutes <= STEP or STEP % minutes:
        raise ValueError(
            f"slots of {minutes} minutes may straddle a period boundary: {STEP} or a divisor is needed"
        )
    if not len(slots):
        return np.empty(0, dtype=np.int8)
    begin = local_fields(np.asarray(slots - np.timedelta64(minutes, "m"), dtype="datetime64[us]"), zone)
    local = begin.astype("datetime64[D]")
    quarter = (begin - local).astype("timedelta64[m]").astype(np.int64) // STEP
    month = begin.astype("datetime64[M]").astype(np.int64) % 12
    periods = np.empty(len(slots), dtype=np.int8)
    for first, end, version in tariff.spans(
        local.min().item(), (local.max() + np.timedelta64(1, "D")).item()
    ):
        here = (local >= np.datetime64(first)) & (local < np.datetime64(end))
        kind = days.on(local[here], tariff.name) if version.by_kind else np.int8(WORKDAY)
        periods[here] = version.schedule_array[month[here], kind, quarter[here]]
    return periods


def energy_by_period(
    registers: Ints, periods: NDArray[np.int8], *, roll_over: int = ROLL_OVER
) -> PeriodEnergy:
    """Splits what the registers counted over the periods.

    registers  int64[meter, slot + 1] [1e-4 kWh], MISSING where not delivered; column 0 is the begin of slot 0
    periods    int8[slot]
    """
    registers = exact(registers, "registers")
    meters, points = registers.shape
    if points != len(periods) + 1:
        raise ValueError(f"{points} registers do not bound {len(periods)} slots")
    there = registers != MISSING
    by_set = np.zeros((meters, _SETS), dtype=np.int64)
    valid = np.ones(meters, dtype=np.bool_)
    # Nearly every curve is whole and rises; for those the registers where the period changes are enough.
    whole = there.all(axis=1) & (registers[:, 1:] >= registers[:, :-1]).all(axis=1)
    edges = np.unique([0, *(np.flatnonzero(np.diff(periods)) + 1), points - 1])
    gained = np.diff(registers[np.ix_(whole, edges)], axis=1)
    for period in range(len(PERIODS)):
        by_set[whole, 1 << period] = gained[:, periods[edges[:-1]] == period].sum(axis=1)
    rest = np.flatnonzero(~whole)
    by_set[rest], valid[rest] = _with_holes(registers[rest], periods, roll_over)

    single = 1 << np.arange(len(PERIODS))
    energy = by_set[:, single].copy()
    by_set[:, single] = 0
    some = there.any(axis=1)
    return PeriodEnergy(
        energy=energy,
        ambiguous=by_set,
        complete=np.asarray(there[:, 0] & there[:, -1], dtype=np.bool_),
        valid=valid,
        first=np.where(some, there.argmax(axis=1), -1),
        last=np.where(some, points - 1 - there[:, ::-1].argmax(axis=1), -1),
    )


def _with_holes(registers: Ints, periods: NDArray[np.int8], roll_over: int) -> tuple[Ints, NDArray[np.bool_]]:
    """(energy by set of periods int64[meter, 32], valid bool[meter]) of curves with holes, roll-overs or
    decreases.
    """
    meters, points = registers.shape
    there = registers != MISSING
    newest = np.maximum.accumulate(np.where(there, np.arange(points), -1), axis=1)
    # the register before each one: the newest of those to its left
    before = np.concatenate([np.full((meters, 1), -1), newest[:, :-1]], axis=1)
    row, end = np.nonzero(there & (before >= 0))
    begin = before[row, end]
    gained = advance(registers[row, begin], registers[row, end], roll_over)
    valid = np.ones(meters, dtype=np.bool_)
    valid[row[gained == MISSING]] = False

    # seen[p, c]: slots of period p left of column c; a span touches p when the count grows across it
    seen = np.zeros((len(PERIODS), points), dtype=np.int64)
    seen[:, 1:] = np.cumsum(periods[None, :] == np.arange(len(PERIODS))[:, None], axis=1)
    touched = seen[:, end] > seen[:, begin]
    bits = (touched * (1 << np.arange(len(PERIODS)))[:, None]).sum(axis=0)
    by_set = np.zeros((meters, _SETS), dtype=np.int64)
    np.add.at(by_set, (row, bits), np.where(gained == MISSING, 0, gained))
    return by_set, valid


def charge_bounds(parts: PeriodEnergy, prices: Ints, multiplier: Ints) -> Charge:
    """What the energy cost at least and at most.

    prices      int64[period] [1e-4 yuan/kWh];  multiplier  int64[meter] CT x PT
    MISSING for meters whose registers are not valid. Covers first..last register only: whoever needs the
    whole span looks at parts.complete, whoever needs its begin at parts.first == 0.
    """
    prices, multiplier = exact(prices, "prices"), exact(multiplier, "multiplier")
    member = (np.arange(_SETS)[:, None] >> np.arange(len(PERIODS))) & 1 == 1
    cheapest = np.where(member, prices, np.iinfo(np.int64).max).min(axis=1)
    dearest = np.where(member, prices, 0).max(axis=1)
    mean = np.where(member, prices, 0).sum(axis=1) // np.maximum(member.sum(axis=1), 1)
    cheapest[0] = 0
    factor = np.where(parts.valid, multiplier, 0)[:, None]
    known = total(amount(parts.energy * factor, prices), axis=1)
    unknown = parts.ambiguous * factor
    low, likely, high = (known + total(amount(unknown, price), axis=1) for price in (cheapest, mean, dearest))
    return Charge(
        *(np.asarray(np.where(parts.valid, side, MISSING), dtype=np.int64) for side in (low, likely, high))
    )
