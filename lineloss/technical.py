"""Expected technical loss of an area (理论线损) from what its meters measure, without a model of the network.

Whatever a network looks like, what it loses is what goes in less what comes out, and both are the same currents at two voltages:

    loss = sum over the customers' phases of (V_supply - V) I cos phi

A drop of two voltmeters' readings is useless for that: they differ by more than the network drops. The drop less its fitted offset
(drops.py) is not. What remains wrong is second order: the angle between the voltages, the part of the drop that reactive current makes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.balance import Balance, slot_energy
from lineloss.drops import SAMPLES, Fit, Ports, Source, fit, ports, source
from lineloss.phases import Phases, identify
from lineloss.registers import ROLL_OVER, Registers, RollOver
from lineloss.topology import Role, Topology, sum_by
from protocols.reading import MISSING

Floats = NDArray[np.float64]

#: Standard error of the formula itself, as a fraction. With magnitudes alone a line's loss comes out as R I^2 (cos^2 phi + X/R sin phi cos phi):
#: 0.92 to 1.08 of R I^2 for 70 to 240 mm2 of aluminium or copper (X/R 0.16 to 0.63) at cos phi 0.93; unbalance adds its share.
FORMULA: Final = 0.08
#: An area of which less than this share of the energy goes to customers with voltage and current has no estimate.
ENOUGH: Final = 0.5
_KWH: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Technical:
    """By area, over the block of slots given; NaN where it cannot be told, never 0.

    energy    float64[area] [kWh]         expected technical loss below the supply meter
    error     float64[area] [kWh]         its standard error
    measured  float64[area]               share of the sold energy whose customers have voltages and currents; the rest is taken to lose as they do
    lost      float64[meter, slot] [kWh]  what is lost on each customer's account; NaN where it was not measured
    """

    energy: Floats
    error: Floats
    measured: Floats
    lost: Floats
    phases: Phases


def technical_loss(
    topology: Topology,
    voltage: Floats,
    current: Floats,
    imports: Registers,
    exports: Registers | None = None,
    *,
    roll_over: RollOver = ROLL_OVER,
    interval: int = 15,
) -> Technical:
    """The technical loss of every area over the slots of the block; a day is enough, a week halves the error of light areas.

    voltage, current  float64[meter, 3, slot] [V], [A] at the meter, NaN where not delivered or no such phase; a single-phase meter's are
                      in column 0, whatever phase it hangs on; the sign of a current is ignored, and one that is not measured is taken from
                      the energy
    imports, exports  int64[meter, slot + 1] [1e-4 kWh], secondary side, as for balance.day_balance
    interval          minutes of one slot
    """
    forward, reverse = slot_energy(topology, imports, exports, roll_over=roll_over)
    net = np.where(
        (forward == MISSING) | (reverse == MISSING), np.nan, (forward - np.maximum(reverse, 0)) * _KWH
    )
    net = net * topology.multiplier[:, None]
    rows, start = topology.rows_by_area()
    energy, error, measured = (np.full(topology.areas, np.nan) for _ in range(3))
    lost = np.full(net.shape, np.nan)
    phases = Phases.unknown(len(topology))
    for area in range(topology.areas):
        members = rows[start[area] : start[area + 1]]
        supply = source(topology, members, voltage, current, net, interval)
        if supply is None or np.isnan(supply.volts).all():
            continue
        customers = members[topology.role[members] == Role.RECEIVE]
        where = ports(topology, customers, supply, voltage, current, net, interval)
        if not len(where):
            continue
        hangs = identify(supply, where)
        phases.note(where, hangs)
        taken = fit(supply, where, hangs.phase)
        watts, doubt = _watts(supply, where, hangs.phase, taken, net[where.row], interval)
        hours = interval / 60 / 1000
        lost[customers] = _by_customer(customers, where, watts * hours)
        energy[area], measured[area] = _whole(lost[customers], net[customers])
        if np.isnan(energy[area]):
            continue
        slip = np.sqrt(np.sum((doubt * hours * net.shape[1]) ** 2))
        guess = (1 - measured[area]) * energy[area]
        error[area] = np.sqrt(slip**2 + (FORMULA * energy[area]) ** 2 + guess**2)
    return Technical(energy, error, measured, lost, phases)


def narrowed(balance: Balance, told: Technical) -> Balance:
    """The balance with likely limits that know of the network: what an area loses is at least what its network loses, whoever takes what besides.

    So the lower limit is no lower than the technical loss less three of its standard errors. Where that is above the upper one, meters and voltages
    contradict each other (a wrong multiplier, a wrong link), and the limits are left to the meters. The same areas in the same order.
    """
    floor = (told.energy - 3 * told.error) / _KWH
    with np.errstate(invalid="ignore"):
        higher = balance.known & (floor > balance.likely_low) & (floor < balance.likely_high)
    low = np.where(higher, np.floor(np.where(higher, floor, 0.0)), balance.likely_low)
    return replace(balance, likely_low=low.astype(np.int64))


def _watts(
    supply: Source, where: Ports, phase: NDArray[np.int64], taken: Fit, net: Floats, interval: int
) -> tuple[Floats, Floats]:
    """(float64[port, slot] [W] lost on a port's account, float64[port] [W] standard error of its mean)."""
    factor = _power_factor(where, net, interval)
    drop = supply.volts[phase] - where.volts - taken.offset[:, None]
    watts = np.where((taken.count >= SAMPLES)[:, None], drop * where.amps * factor[:, None], np.nan)
    mean = np.nanmean(np.abs(where.amps), axis=1) * factor
    return watts, taken.error * mean


def _by_customer(customers: NDArray[np.int64], where: Ports, kwh: Floats) -> Floats:
    """[port, slot] -> [customer, slot], NaN where no port of a customer has a value."""
    place = np.searchsorted(customers, where.row)  # ascending
    total, count = (
        sum_by(place, len(customers), values)
        for values in (np.nan_to_num(kwh, nan=0.0), (~np.isnan(kwh)).astype(np.int64))
    )
    return np.where(count > 0, total, np.nan)


def _power_factor(where: Ports, net: Floats, interval: int) -> Floats:
    """float64[port]: active energy over the volt-amperes of all the customer's ports; 1 where the registers do not say."""
    hours = interval / 60 / 1000
    apparent = np.where(np.isnan(where.volts * where.amps), 0.0, np.abs(where.volts * where.amps)) * hours
    count = int(where.row.max()) + 1
    there = ~np.isnan(net) & (apparent > 0)
    total = np.bincount(where.row, np.where(there, apparent, 0.0).sum(axis=1), count)[where.row]
    first = np.r_[True, where.row[1:] != where.row[:-1]]
    active = np.bincount(
        where.row, np.where(first, np.where(there, np.abs(net), 0.0).sum(axis=1), 0.0), count
    )
    ratio = np.where(total > 0, active[where.row] / np.where(total > 0, total, 1.0), 1.0)
    # beyond these limits it is not a power factor but a fault, and faults are not to be taken for less loss
    return np.clip(ratio, 0.7, 1.0)


def _whole(lost: Floats, net: Floats) -> tuple[float, float]:
    """(kWh of an area over the block, share of its energy that was measured); NaN where too little was.

    A customer's slots without samples lose what his other slots do on average; a customer without any loses in proportion to his energy.
    """
    there = ~np.isnan(lost)
    count = there.sum(axis=1)
    each = np.where(there, lost, 0.0).sum(axis=1) * lost.shape[1] / np.maximum(count, 1)
    used = np.abs(np.where(np.isnan(net), 0.0, net)).sum(axis=1)
    share = float(used[count > 0].sum() / used.sum()) if used.sum() > 0 else 0.0
    if share < ENOUGH:
        return np.nan, share
    return max(float(each[count > 0].sum()), 0.0) / share, share
