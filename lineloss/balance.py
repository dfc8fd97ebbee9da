"""Line loss by transformer area (分台区): supplied, sold, lost, and how sure that is.

    loss = main forward + users' export - main reverse - users' import
    rate = loss / (main forward + users' export)

Surplus photovoltaic energy counts at the billing meter's reverse register, never at the generation meter. An
area in which one meter lacks one end of the day is *unknown*: a missing register is never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lineloss.registers import RESOLUTION, ROLL_OVER, Registers, RollOver, advance, decreased
from lineloss.topology import Role, Topology
from protocols.reading import MISSING


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
    rate             float64[area]  loss / supplied as a fraction; NaN where unknown or nothing was supplied
    reason           int8[area]     Reason; KNOWN is 0
    meters_due       int64[area]    meters in the formula
    meters_complete  int64[area]    of these, those whose energy is known
    missing_area     int64[k]       index of the area of each meter that is not complete
    missing_meter    int64[k]       that meter's id
    """

    area_id: NDArray[np.int64]
    supplied: NDArray[np.int64]
    sold: NDArray[np.int64]
    loss: NDArray[np.int64]
    loss_low: NDArray[np.int64]
    loss_high: NDArray[np.int64]
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
        """int64[n]: the meters that keep area (an index) from being known."""
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
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: RollOver = ROLL_OVER,
) -> Balance:
    """The loss of every area over one day.

    imports, exports                int64[meter, slots + 1] [1e-4 kWh], secondary side; column 0 is the day's
                                    begin
    freeze_imports, freeze_exports  int64[meter, 2]: registers at both midnights, used where the curve lacks
                                    an end
    resolution                      worth of a register's last digit [1e-4 kWh], scalar or [meter]
    roll_over                       what a register counts modulo [1e-4 kWh], scalar or [meter]

    A point that does not export (topology.exports) may lack its reverse register; one that does may not. A
    reverse register that is there counts in either case: what flowed, flowed.
    """
    first, last = day_ends(imports, freeze_imports)
    forward = advance(first, last, roll_over)
    bad = decreased(first, last, roll_over)
    if exports is None:
        exports = np.full((len(topology), 2), MISSING, dtype=np.int64)
    first, last = day_ends(exports, freeze_exports)
    reverse = advance(first, last, roll_over)
    bad = bad | decreased(first, last, roll_over)
    reverse = np.where((reverse == MISSING) & ~topology.exports & ~bad, 0, reverse)

    counted = topology.counted()
    complete = (forward != MISSING) & (reverse != MISSING)
    due = topology.sum_by_area(counted.astype(np.int64))
    have = topology.sum_by_area((counted & complete).astype(np.int64))
    reason = _reasons(topology, counted, due, have, bad)
    known = reason == Reason.KNOWN

    usable = counted & complete
    forward, reverse = np.where(usable, forward, 0), np.where(usable, reverse, 0)
    forward_low, forward_high = _true_energy(forward, usable, topology, resolution)
    # The reverse register of a point that cannot feed in hides no digit: it stands still because nothing
    # flows.
    live = usable & (topology.exports | (reverse > 0))
    reverse_low, reverse_high = _true_energy(reverse, live, topology, resolution)

    # "supplied" and "sold" take a meter's two registers crosswise for supply meter and customer
    supply = topology.role == Role.SUPPLY
    supplied = topology.sum_by_area(np.where(supply, forward, reverse) * topology.multiplier)
    sold = topology.sum_by_area(np.where(supply, reverse, forward) * topology.multiplier)
    low = topology.sum_by_area(np.where(supply, forward_low - reverse_high, reverse_low - forward_high))
    high = topology.sum_by_area(np.where(supply, forward_high - reverse_low, reverse_high - forward_low))

    absent = np.flatnonzero(counted & ~complete)
    loss = _masked(supplied - sold, known)
    supplied, sold = _masked(supplied, known), _masked(sold, known)
    return Balance(
        area_id=topology.area_id,
        supplied=supplied,
        sold=sold,
        loss=loss,
        loss_low=_masked(low, known),
        loss_high=_masked(high, known),
        rate=_rate(loss, supplied),
        reason=reason,
        meters_due=due,
        meters_complete=have,
        missing_area=topology.area[absent],
        missing_meter=topology.meter[absent],
    )


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
    roll_over = roll_over if isinstance(roll_over, int) else roll_over[:, None]
    forward = advance(imports[:, :-1], imports[:, 1:], roll_over)
    if exports is None:
        reverse = np.full_like(forward, MISSING)
        bad = np.zeros(forward.shape, dtype=np.bool_)
    else:
        reverse = advance(exports[:, :-1], exports[:, 1:], roll_over)
        bad = decreased(exports[:, :-1], exports[:, 1:], roll_over)
    return forward, np.where((reverse == MISSING) & ~topology.exports[:, None] & ~bad, 0, reverse)


def slot_balance(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    roll_over: RollOver = ROLL_OVER,
) -> SlotBalance:
    """The loss of every area in every slot; arguments as for day_balance, [meter, slots + 1]."""
    forward, reverse = slot_energy(topology, imports, exports, roll_over=roll_over)
    counted = topology.counted()[:, None]
    usable = counted & (forward != MISSING) & (reverse != MISSING)
    forward, reverse = np.where(usable, forward, 0), np.where(usable, reverse, 0)
    supply = (topology.role == Role.SUPPLY)[:, None]
    factor = topology.multiplier[:, None]
    supplied = topology.sum_by_area(np.where(supply, forward, reverse) * factor)
    sold = topology.sum_by_area(np.where(supply, reverse, forward) * factor)
    holes = topology.sum_by_area((counted & ~usable).astype(np.int64))
    known = (holes == 0) & _both_sides(topology)[:, None]
    return SlotBalance(
        topology.area_id, _masked(supplied, known), _masked(sold, known), _masked(supplied - sold, known)
    )


def _both_sides(topology: Topology) -> NDArray[np.bool_]:
    """bool[area]: there is something that supplies and something that receives."""
    members = topology.area >= 0
    supply = topology.sum_by_area((members & (topology.role == Role.SUPPLY)).astype(np.int64))
    receive = topology.sum_by_area((members & (topology.role == Role.RECEIVE)).astype(np.int64))
    return np.asarray((supply > 0) & (receive > 0), dtype=np.bool_)


def _reasons(
    topology: Topology,
    counted: NDArray[np.bool_],
    due: NDArray[np.int64],
    have: NDArray[np.int64],
    bad: NDArray[np.bool_],
) -> NDArray[np.int8]:
    supply = topology.sum_by_area((counted & (topology.role == Role.SUPPLY)).astype(np.int64))
    broken = topology.sum_by_area((counted & bad).astype(np.int64))
    conditions = [supply == 0, due == supply, broken > 0, have < due]
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
