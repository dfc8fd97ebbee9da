"""Loss of any loss object: line (分线), bus (母线), transformer, region (分区), voltage level (分压), area (分台区).

    loss = supply points' forward + receive points' reverse - supply points' reverse - receive points' forward
    rate = loss / (supply points' forward + receive points' reverse)

It is the formula of an area (balance.py), on energies instead of registers: a point may have had several meters in the period, and the
energies of a point are asked for once however many objects it belongs to.

An object of which a part is not known is

    unknown   when a supply point is missing (there is nothing that a loss could be a share of), or something missing has no limit
    bounded   when every missing receive point has a limit to what may have flowed (its transformer's capacity; what its area was given and
              nobody else there took): then the loss lies within limits that are wider by just that, and is no number. Also where
              registers that nobody read at the period's ends leave more open than VAGUE of what was supplied; then there is a number,
              as if they had risen evenly
    known     else; the limits then are those of the meters' class, of their last digits, and of registers between two readings
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import Pairs, Role
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: An object whose registers leave more open than this share of what was supplied is bounded, not known: the usual limit of a loss rate is a
#: few per cent, and what nobody read must not decide on which side of it the object is. One midnight missed by the one supply meter, with the
#: quarter-hours on both sides read, is 2.1 % of an even day and no more than 1.05 % either way: known. A default.
VAGUE: Final = 0.025


class Status(IntEnum):
    """How much is known of an object's loss."""

    KNOWN = 0
    BOUNDED = 1
    UNKNOWN = 2


class Cause(IntEnum):
    """Why an object is not known. Where several hold, the first of them in this order is told."""

    NONE = 0
    NO_SUPPLY = 1  # nobody has said what supplies it
    NO_RECEIVER = 2  # nothing receives from it
    SUPPLY_MISSING = 3
    NO_LIMIT = 4  # a receive point is missing, and nobody knows how much it may have been at most
    PART_MISSING = 5  # a receive point is missing, within limits
    UNMETERED = 6  # a part of it has no meter at all
    VAGUE = 7  # registers were read too far from the period's ends


#: as an SQL or JSON value
STATUSES: Final = ("known", "bounded", "unknown")


@dataclass(frozen=True, slots=True)
class Flow:
    """Energies of points in one direction, int64[point] [1e-4 kWh], primary side; MISSING where not known.

    low, high  the truth lies between them when every meter keeps its class
    open       of high - low, what registers that were not read at the period's ends leave open
    """

    value: I64
    low: I64
    high: I64
    open: I64


@dataclass(frozen=True, slots=True)
class Metered:
    """What flowed through points in one period. `exports` bool[point]: it may have fed in, for all that is known."""

    forward: Flow
    reverse: Flow
    exports: Bools


def flow(value: I64, under: I64, over: I64, digit: I64, accuracy: NDArray[np.float64], live: Bools) -> Flow:
    """A direction of points.

    value        int64[point] [1e-4 kWh], primary side, MISSING where not known
    under, over  int64[point]: how much less and more it may be because registers were not read at the period's ends
    digit        int64[point]: worth of a register's last digit, primary side
    accuracy     float64[point]: class as a fraction; a meter of class c shows between (1 - c) and (1 + c) of the truth
    live         bool[point]: the register may move at all; one that stands still because nothing can flow hides no digit
    """
    known = value != MISSING
    energy, under, over = (np.where(known, column, 0) for column in (value, under, over))
    digit = np.where(live, digit, 0)
    low = np.floor(np.maximum(energy - under - digit, 0) / (1 + accuracy)).astype(np.int64)
    high = np.ceil((energy + over + digit) / (1 - accuracy)).astype(np.int64)
    return Flow(value, *(np.where(known, column, MISSING) for column in (low, high, under + over)))


@dataclass(frozen=True, slots=True)
class Split:
    """Losses of one period by object, int64[object] [1e-4 kWh], primary side; MISSING where not known.

    supplied     all of it where known; of a bounded object what was metered; MISSING where unknown
    sold, loss   MISSING where a part is missing or nothing is known
    low, high    the true loss lies in [low, high]; MISSING where unknown
    unmetered    what missing and unmetered parts of a bounded object may have taken at most; 0 where there is none
    rate         float64[object] as a fraction of what was supplied, NaN where the loss is MISSING
    status       int8[object] Status;  cause  int8[object] Cause
    due, have    int64[object]: points in the formula, and those of them that are known
    missing      (object, point) int64[k]: indices of what is missing where
    """

    object_id: I64
    supplied: I64
    sold: I64
    loss: I64
    low: I64
    high: I64
    unmetered: I64
    rate: NDArray[np.float64]
    status: NDArray[np.int8]
    cause: NDArray[np.int8]
    due: I64
    have: I64
    missing: tuple[I64, I64]

    def __len__(self) -> int:
        return len(self.object_id)


def split(
    pairs: Pairs,
    metered: Metered,
    limit: I64 | None = None,
    unmetered: I64 | None = None,
    vague: float = VAGUE,
) -> Split:
    """The loss of every object in one period.

    limit      int64[point] [1e-4 kWh], primary side: the most that may have flowed through a point that is not known; MISSING (or no
               limits at all) where nobody knows
    unmetered  int64[object]: the same for parts of an object that have no meter; MISSING where there are such parts without a limit
    vague      share of what was supplied above which open registers leave an object bounded
    """
    at, supply = pairs.point, pairs.role == Role.SUPPLY
    counted = pairs.role != Role.AUXILIARY
    forward, reverse = metered.forward, metered.reverse
    there = counted & ~pairs.moved & (forward.value[at] != MISSING) & (reverse.value[at] != MISSING)
    absent = counted & ~there

    def side(one: I64, other: I64) -> I64:
        """[object]: `one` of supply points and `other` of receive points."""
        return np.asarray(pairs.sum(np.where(there, np.where(supply, one[at], other[at]), 0)))

    supplied, sold = side(forward.value, reverse.value), side(reverse.value, forward.value)
    low = side(forward.low, reverse.low) - side(reverse.high, forward.high)
    high = side(forward.high, reverse.high) - side(reverse.low, forward.low)
    open_ = side(forward.open, reverse.open) + side(reverse.open, forward.open)

    most = np.full(len(metered.exports), MISSING) if limit is None else limit
    without = absent & ~supply & (most[at] == MISSING)
    part = absent & ~supply & ~without
    taken = pairs.sum(np.where(part, most[at], 0))
    given = pairs.sum(np.where(part & metered.exports[at], most[at], 0))
    bare = np.zeros(pairs.objects, dtype=np.int64) if unmetered is None else unmetered
    endless = bare == MISSING
    bare = np.where(endless, 0, bare)
    # nobody knows of what has no meter whether it feeds in
    low, high = low - taken - bare, high + given + bare

    def any_of(which: Bools) -> Bools:
        return np.asarray(pairs.sum(which.astype(np.int64)) > 0)

    has_receiver = any_of(counted & ~supply) | (bare > 0) | endless
    causes = (
        (Cause.NO_SUPPLY, ~any_of(counted & supply)),
        (Cause.NO_RECEIVER, ~has_receiver),
        (Cause.SUPPLY_MISSING, any_of(absent & supply)),
        (Cause.NO_LIMIT, any_of(without) | endless),
        (Cause.PART_MISSING, any_of(part)),
        (Cause.UNMETERED, bare > 0),
        (Cause.VAGUE, open_ > vague * supplied),
    )
    cause = np.select([holds for _, holds in causes], [np.int8(c) for c, _ in causes], np.int8(Cause.NONE))
    status = np.select(
        [cause == Cause.NONE, cause >= Cause.PART_MISSING],
        [np.int8(Status.KNOWN), np.int8(Status.BOUNDED)],
        np.int8(Status.UNKNOWN),
    )
    whole, limited = (cause == Cause.NONE) | (cause == Cause.VAGUE), status != Status.UNKNOWN
    loss = np.where(whole, supplied - sold, MISSING)
    missing = np.flatnonzero(absent)
    return Split(
        object_id=pairs.object_id,
        supplied=np.where(limited, supplied, MISSING),
        sold=np.where(whole, sold, MISSING),
        loss=loss,
        low=np.where(limited, low, MISSING),
        high=np.where(limited, high, MISSING),
        unmetered=np.where(limited, taken + bare, 0),
        rate=rate(loss, supplied),
        status=status.astype(np.int8),
        cause=cause.astype(np.int8),
        due=pairs.sum(counted.astype(np.int64)),
        have=pairs.sum(there.astype(np.int64)),
        missing=(pairs.object[missing], at[missing]),
    )


def slot_split(pairs: Pairs, forward: I64, reverse: I64) -> tuple[I64, I64, I64]:
    """(supplied, sold, loss) int64[object, slot] [1e-4 kWh], primary side, of the same quarter-hours (同期); MISSING where one point is not
    known, or something is missing on either side.

    forward, reverse  int64[point, slot], MISSING where not known
    """
    at, supply = pairs.point, (pairs.role == Role.SUPPLY)[:, None]
    counted = (pairs.role != Role.AUXILIARY)[:, None]
    there = counted & ~pairs.moved[:, None] & (forward[at] != MISSING) & (reverse[at] != MISSING)
    one, other = np.where(there, forward[at], 0), np.where(there, reverse[at], 0)
    supplied = pairs.sum(np.where(supply, one, other))
    sold = pairs.sum(np.where(supply, other, one))
    holes = pairs.sum((counted & ~there).astype(np.int64))
    known = (holes == 0) & (pairs.has(Role.SUPPLY) & pairs.has(Role.RECEIVE))[:, None]
    return tuple(np.where(known, column, MISSING) for column in (supplied, sold, supplied - sold))  # type: ignore[return-value]


def rest(pairs: Pairs, metered: Metered) -> I64:
    """int64[point] [1e-4 kWh]: the most that each missing receive point may have taken, by what its object was given and nobody else took.

    The rest of an object is shared evenly among its missing points: what matters is their sum, in whatever they belong to together.
    MISSING for points that are known, and where the object's supply is not.
    """
    at, supply = pairs.point, pairs.role == Role.SUPPLY
    counted = pairs.role != Role.AUXILIARY
    there = counted & (metered.forward.value[at] != MISSING) & (metered.reverse.value[at] != MISSING)
    gone = counted & ~there & ~supply
    most = np.where(supply, metered.forward.high[at], metered.reverse.high[at])
    least = np.where(supply, metered.reverse.low[at], metered.forward.low[at])
    left = np.maximum(pairs.sum(np.where(there, most, 0)) - pairs.sum(np.where(there, least, 0)), 0)
    whole = pairs.has(Role.SUPPLY) & (pairs.sum((counted & ~there & supply).astype(np.int64)) == 0)
    # who may feed in may have taken what another of them gave: no limit
    whole &= pairs.sum((gone & metered.exports[at]).astype(np.int64)) == 0
    share = -(-left // np.maximum(pairs.sum(gone.astype(np.int64)), 1))
    limit = np.full(len(metered.exports), MISSING)
    mine = np.flatnonzero(gone & whole[pairs.object])
    limit[at[mine]] = share[pairs.object[mine]]
    return limit


def rate(loss: I64, supplied: I64) -> NDArray[np.float64]:
    """loss / supplied as a fraction, NaN where unknown or nothing was supplied; any equal shapes."""
    has = (loss != MISSING) & (supplied > 0)
    return np.where(has, loss / np.where(has, supplied, 1), np.nan)
