"""Line loss by transformer area (分台区): supplied, sold, lost, and how sure that is.

    loss = main forward + users' export - main reverse - users' import
    rate = loss / (main forward + users' export)

Surplus photovoltaic energy counts at the billing meter's reverse register, never at the generation meter. An
area in which one meter lacks one end of the day is *unknown*: a missing register is never a zero. Unless the day itself says what it
was (ends.py), to within little enough; then the limits are wider by it.

There are two pairs of limits. The hard ones hold when every meter keeps its class, whatever the others do: with fifty meters they are far
too wide to act on. The likely ones contain the truth 19 times in 20 (bounds.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lineloss.bounds import half_width
from lineloss.ends import Ends, estimate
from lineloss.registers import RESOLUTION, ROLL_OVER, Registers, RollOver, advance, decreased, steps
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

#: An area whose estimated registers may be wrong by more than this share of what was supplied, at two standard deviations, is unknown: the
#: usual limit of an area's loss rate is a few per cent, and what is estimated must not decide on which side of it the area is.
ESTIMATED: Final = 0.02
#: Registers whose energies are worked out at once: 400 kB, which a core's own cache holds.
_CELLS: Final = 50_000
#: The hard limits take an estimate to be wrong by at most so many standard deviations.
_HARD: Final = 3.0


class Reason(IntEnum):
    """Why an area's loss is not known."""

    KNOWN = 0
    NO_SUPPLY_METER = 1
    NO_CUSTOMER = 2
    MISSING_REGISTER = 3
    REGISTER_DECREASED = 4


@dataclass(frozen=True, slots=True)
class Balance:
    """One day by area. Energies int64 [1e-4 kWh], primary side; MISSING where the area is unknown.

    area_id          int64[area]
    supplied         int64[area]    main forward + users' export
    sold             int64[area]    users' import + main reverse
    loss             int64[area]    supplied - sold
    loss_low         int64[area]    the true loss lies in [loss_low, loss_high] when every meter keeps its
                                    class
    loss_high        int64[area]
    likely_low       int64[area]    the true loss lies in [likely_low, likely_high] 19 times in 20
    likely_high      int64[area]
    rate             float64[area]  loss / supplied as a fraction; NaN where unknown or nothing was supplied
    reason           int8[area]     Reason; KNOWN is 0
    meters_due       int64[area]    meters in the formula
    meters_complete  int64[area]    of these, those whose energy was read
    missing_area     int64[k]       index of the area of each meter that is not complete: estimated in an area that is known
    missing_meter    int64[k]       that meter's id
    """

    area_id: NDArray[np.int64]
    supplied: NDArray[np.int64]
    sold: NDArray[np.int64]
    loss: NDArray[np.int64]
    loss_low: NDArray[np.int64]
    loss_high: NDArray[np.int64]
    likely_low: NDArray[np.int64]
    likely_high: NDArray[np.int64]
    rate: NDArray[np.float64]
    reason: NDArray[np.int8]
    meters_due: NDArray[np.int64]
    meters_complete: NDArray[np.int64]
    missing_area: NDArray[np.int64]
    missing_meter: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.area_id)

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool[area]"""
        return np.asarray(self.reason == Reason.KNOWN, dtype=np.bool_)

    @property
    def status(self) -> NDArray[np.str_]:
        """[area]: 'known' or 'unknown'"""
        return np.asarray(np.where(self.known, "known", "unknown"), dtype=np.str_)

    def missing_in(self, area: int) -> NDArray[np.int64]:
        """int64[n]: the meters of area (an index) whose energy was not read."""
        return np.asarray(self.missing_meter[self.missing_area == area], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SlotBalance:
    """The same per slot, [area, slot] int64 [1e-4 kWh], primary side; MISSING where one meter lacks one
    end.
    """

    area_id: NDArray[np.int64]
    supplied: NDArray[np.int64]
    sold: NDArray[np.int64]
    loss: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool[area, slot]"""
        return np.asarray(self.loss != MISSING, dtype=np.bool_)

    @property
    def rate(self) -> NDArray[np.float64]:
        """float64[area, slot], NaN where unknown or nothing was supplied"""
        return _rate(self.loss, self.supplied)


def day_ends(registers: Registers, freezes: Registers | None = None) -> tuple[Registers, Registers]:
    """First and last register of a day, int64[meter] each; a missing end is taken from the freezes [meter,
    2].

    The registers between do not matter: a day with holes inside has an exact energy.
    """
    first, last = registers[:, 0], registers[:, -1]
    if freezes is not None:
        first = np.where(first == MISSING, freezes[:, 0], first)
        last = np.where(last == MISSING, freezes[:, 1], last)
    return first, last


def day_balance(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    freeze_imports: Registers | None = None,
    freeze_exports: Registers | None = None,
    usual: Registers | None = None,
    clock: NDArray[np.float64] | None = None,
    interval: int = 15,
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: RollOver = ROLL_OVER,
) -> Balance:
    """The loss of every area over one day.

    imports, exports                int64[meter, slots + 1] [1e-4 kWh], secondary side; column 0 is the day's
                                    begin
    freeze_imports, freeze_exports  int64[meter, 2]: registers at both midnights, used where the curve lacks
                                    an end
    usual                           int64[meter, day] [1e-4 kWh]: energies of other days like this one, MISSING where unknown, for meters
                                    that are silent
    clock                           float64[meter] [s]: how far each meter's clock is off, NaN where nobody knows (taken as right)
    interval                        minutes of one slot
    resolution                      worth of a register's last digit [1e-4 kWh], scalar or [meter]
    roll_over                       what a register counts modulo [1e-4 kWh], scalar or [meter]

    A point that does not export (topology.exports) may lack its reverse register; one that does may not. A
    reverse register that is there counts in either case: what flowed, flowed.
    """
    counted = topology.counted()
    first, last = day_ends(imports, freeze_imports)
    bad = decreased(first, last, roll_over)
    ends = _ends(imports, first, last, usual, counted)
    forward = advance(ends.first, ends.last, roll_over)
    if exports is None:
        exports = np.full((len(topology), 2), MISSING, dtype=np.int64)
    first_out, last_out = day_ends(exports, freeze_exports)
    bad = bad | decreased(first_out, last_out, roll_over)
    out = _ends(exports, first_out, last_out, None, counted & topology.exports)
    reverse = advance(out.first, out.last, roll_over)
    stands = ~topology.exports & ~bad
    reverse = np.where((reverse == MISSING) & stands, 0, reverse)

    usable = counted & (forward != MISSING) & (reverse != MISSING)
    read = (first != MISSING) & (last != MISSING) & (stands | (first_out != MISSING) & (last_out != MISSING))
    complete = usable & read
    supply = topology.role == Role.SUPPLY
    due, have, told, feeding, broken = _sums(
        topology, counted, complete, usable, counted & supply, counted & bad
    )

    forward, reverse = np.where(usable, forward, 0), np.where(usable, reverse, 0)
    guess = np.where(usable, np.hypot(ends.deviation, out.deviation), 0.0) * topology.multiplier
    forward_low, forward_high = _true_energy(forward, usable, topology, resolution)
    # The reverse register of a point that cannot feed in hides no digit: it stands still because nothing
    # flows.
    live = usable & (topology.exports | (reverse > 0))
    reverse_low, reverse_high = _true_energy(reverse, live, topology, resolution)

    # "supplied" and "sold" take a meter's two registers crosswise for supply meter and customer
    hard = np.ceil(_HARD * guess).astype(np.int64)
    supplied, sold, low, high = _sums(
        topology,
        np.where(supply, forward, reverse) * topology.multiplier,
        np.where(supply, reverse, forward) * topology.multiplier,
        np.where(supply, forward_low - reverse_high, reverse_low - forward_high) - hard,
        np.where(supply, forward_high - reverse_low, reverse_high - forward_low) + hard,
    )

    doubt = np.sqrt(topology.sum_by_area(guess**2))
    reason = _reasons(feeding, due, told, broken)
    vague = (reason == Reason.KNOWN) & (2 * doubt > ESTIMATED * supplied)
    reason = np.where(vague, np.int8(Reason.MISSING_REGISTER), reason)
    known = reason == Reason.KNOWN

    loss = supplied - sold
    slip = _clock_slip(imports, clock, interval) * topology.multiplier
    wide = _likely(topology, usable, forward, reverse, live, np.hypot(guess, slip), resolution)
    likely_low, likely_high = np.maximum(loss - wide, low), np.minimum(loss + wide, high)

    absent = np.flatnonzero(counted & ~complete)
    loss = _masked(loss, known)
    supplied, sold = _masked(supplied, known), _masked(sold, known)
    return Balance(
        area_id=topology.area_id,
        supplied=supplied,
        sold=sold,
        loss=loss,
        loss_low=_masked(low, known),
        loss_high=_masked(high, known),
        likely_low=_masked(likely_low, known),
        likely_high=_masked(likely_high, known),
        rate=_rate(loss, supplied),
        reason=reason,
        meters_due=due,
        meters_complete=have,
        missing_area=topology.area[absent],
        missing_meter=topology.meter[absent],
    )


def _ends(
    curve: Registers,
    first: Registers,
    last: Registers,
    usual: Registers | None,
    due: NDArray[np.bool_],
) -> Ends:
    """The ends of every meter's day, those of meters that are due estimated where they were not read."""
    at = np.flatnonzero(due & ((first == MISSING) | (last == MISSING)))
    some = estimate(curve[at], first[at], last[at], None if usual is None else usual[at])
    ends = Ends(first.copy(), last.copy(), np.zeros(len(first)))
    ends.first[at], ends.last[at], ends.deviation[at] = some.first, some.last, some.deviation
    return ends


def _clock_slip(curve: Registers, clock: NDArray[np.float64] | None, interval: int) -> NDArray[np.float64]:
    """float64[meter] [1e-4 kWh]: what a clock that is off takes from one end of the day and gives to the other, at most."""
    if clock is None or curve.shape[1] < 2:
        return np.zeros(len(curve))
    share = np.abs(np.nan_to_num(clock, nan=0.0)) / (60 * interval)
    ends = [advance(curve[:, 0], curve[:, 1]), advance(curve[:, -2], curve[:, -1])]
    return np.asarray(share * np.maximum(*(np.where(e == MISSING, 0, e) for e in ends)))


def _likely(
    topology: Topology,
    usable: NDArray[np.bool_],
    forward: Registers,
    reverse: Registers,
    live: NDArray[np.bool_],
    guess: NDArray[np.float64],
    resolution: int | NDArray[np.int64],
) -> Registers:
    """int64[area]: half the width within which the truth lies with bounds.CONFIDENCE."""
    through = np.where(usable, (forward + reverse) * topology.multiplier, 0)
    limit = through * topology.accuracy
    # two ends, each with a digit cut off evenly: variance 2/12
    digits = (usable.astype(np.int64) + live) * (resolution * topology.multiplier) ** 2 / 6
    largest = np.zeros(topology.areas)
    inside = topology.area >= 0
    np.maximum.at(largest, topology.area[inside], limit[inside])
    spread = topology.sum_by_area(limit**2 / 3 + digits + guess**2) - largest**2 / 3
    return np.ceil(half_width(largest, np.sqrt(np.maximum(spread, 0.0)))).astype(np.int64)


def slot_energy(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    roll_over: RollOver = ROLL_OVER,
) -> tuple[Registers, Registers]:
    """(forward, reverse) int64[meter, slot] [1e-4 kWh], secondary side; MISSING where a slot lacks an end.

    `roll_over` [1e-4 kWh] is scalar or [meter].
    """
    rolls, exports = _given(imports, exports, roll_over)
    live = _live(topology, exports)
    reverse = np.zeros((len(imports), imports.shape[1] - 1), dtype=np.int64)
    reverse[live] = _reverse(topology, exports, rolls, live)
    return steps(imports, rolls), reverse


def slot_balance(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    roll_over: RollOver = ROLL_OVER,
) -> SlotBalance:
    """The loss of every area in every slot; arguments as for day_balance, [meter, slots + 1]."""
    rolls, exports = _given(imports, exports, roll_over)
    counted, live, slots = topology.counted(), _live(topology, exports), imports.shape[1] - 1
    forward, sure = _by_side(
        topology, np.flatnonzero(counted), slots, lambda rows: steps(imports[rows], rolls[rows])
    )
    reverse, sure_out = _by_side(
        topology, live[counted[live]], slots, lambda rows: _reverse(topology, exports, rolls, rows)
    )
    supplied = forward[:, Role.SUPPLY] + reverse[:, Role.RECEIVE]
    sold = forward[:, Role.RECEIVE] + reverse[:, Role.SUPPLY]
    known = sure & sure_out & _both_sides(topology)[:, None]
    return SlotBalance(
        topology.area_id, _masked(supplied, known), _masked(sold, known), _masked(supplied - sold, known)
    )


def _given(
    imports: Registers, exports: Registers | None, roll_over: RollOver
) -> tuple[NDArray[np.int64], Registers]:
    """(`roll_over` [meter], exports) where they may be left out."""
    rolls = np.broadcast_to(np.asarray(roll_over, dtype=np.int64), len(imports))
    return rolls, np.broadcast_to(np.int64(MISSING), imports.shape) if exports is None else exports


def _live(topology: Topology, exports: Registers) -> NDArray[np.int64]:
    """Rows whose export register matters: it has counted, or it is due. What never counted gave nothing."""
    return np.flatnonzero(topology.exports | (exports.max(axis=1, initial=0) > 0))


def _reverse(
    topology: Topology, exports: Registers, rolls: NDArray[np.int64], rows: NDArray[np.int64]
) -> Registers:
    """int64[row, slot] of these rows. A register that is not due, and of which an end is missing, gave nothing; one that fell is not known."""
    some = exports[rows]
    gap = (some[:, :-1] == MISSING) | (some[:, 1:] == MISSING)
    return np.where(gap & ~topology.exports[rows, None], 0, steps(some, rolls[rows]))


def _by_side(
    topology: Topology,
    rows: NDArray[np.int64],
    slots: int,
    energies: Callable[[NDArray[np.int64]], Registers],
) -> tuple[Registers, NDArray[np.bool_]]:
    """(int64[area, role, slot]: the sum of what `energies` says of rows, primary side; bool[area, slot]: all of it is known)."""
    side = 2 * topology.area[rows] + topology.role[rows]
    if np.any(side[1:] < side[:-1]):
        order = np.argsort(side, kind="stable")
        rows, side = rows[order], side[order]
    total = np.zeros((2 * topology.areas, slots), dtype=np.int64)
    known = np.ones(total.shape, dtype=np.bool_)
    edges = np.append(np.flatnonzero(np.diff(side, prepend=-1)), len(rows))
    first = 0
    while first < len(edges) - 1:
        last = min(np.searchsorted(edges, edges[first] + _CELLS // (slots + 1) + 1), len(edges) - 1)
        some, start = rows[edges[first] : edges[last]], edges[first:last] - edges[first]
        which = side[edges[first:last]]
        energy = energies(some)
        known[which] = np.minimum.reduceat(energy, start) != MISSING  # which is below everything
        scaled = np.flatnonzero(topology.multiplier[some] != 1)
        energy[scaled] *= topology.multiplier[some[scaled], None]
        total[which] = np.add.reduceat(energy, start)
        first = last
    shape = topology.areas, 2, slots
    return total.reshape(shape), np.asarray(known.reshape(shape).all(axis=1), dtype=np.bool_)


def _both_sides(topology: Topology) -> NDArray[np.bool_]:
    """bool[area]: there is something that supplies and something that receives."""
    members = topology.area >= 0
    supply = topology.sum_by_area((members & (topology.role == Role.SUPPLY)).astype(np.int64))
    receive = topology.sum_by_area((members & (topology.role == Role.RECEIVE)).astype(np.int64))
    return np.asarray((supply > 0) & (receive > 0), dtype=np.bool_)


def _sums(topology: Topology, *columns: NDArray[Any]) -> NDArray[np.int64]:
    """int64[column, area] of columns int64[meter] or bool[meter]: one sum of many is faster than many."""
    return topology.sum_by_area(np.stack(columns, axis=1).astype(np.int64, copy=False)).T


def _reasons(
    feeding: NDArray[np.int64],
    due: NDArray[np.int64],
    have: NDArray[np.int64],
    broken: NDArray[np.int64],
) -> NDArray[np.int8]:
    """By area: how many meters feed it, how many are in the formula, how many of these are known, and how many went down."""
    conditions = [feeding == 0, due == feeding, broken > 0, have < due]
    reasons = [Reason.NO_SUPPLY_METER, Reason.NO_CUSTOMER, Reason.REGISTER_DECREASED, Reason.MISSING_REGISTER]
    return np.select(conditions, [np.int8(r) for r in reasons], default=np.int8(Reason.KNOWN)).astype(np.int8)


def _true_energy(
    energy: Registers, live: NDArray[np.bool_], topology: Topology, resolution: int | NDArray[np.int64]
) -> tuple[Registers, Registers]:
    """What may really have flowed, primary side, int64[meter] x 2, rounded outwards; 0 where not `live`.

    A register cuts its last digit off, so an energy is good to +- one digit; a meter of class c shows between
    (1 - c) and (1 + c) of the truth. A register that did not move may hide one digit, and never less than
    zero.
    """
    low = np.maximum(energy - resolution, 0) / (1 + topology.accuracy) * topology.multiplier
    high = (energy + resolution) / (1 - topology.accuracy) * topology.multiplier
    return (
        np.where(live, np.floor(low), 0).astype(np.int64),
        np.where(live, np.ceil(high), 0).astype(np.int64),
    )


def _masked(values: Registers, known: NDArray[np.bool_]) -> Registers:
    return np.asarray(np.where(known, values, MISSING), dtype=np.int64)


def _rate(loss: Registers, supplied: Registers) -> NDArray[np.float64]:
    has = (loss != MISSING) & (supplied > 0)
    return np.where(has, loss / np.where(has, supplied, 1), np.nan)
