"""The voltage drop between the transformer and each meter, taken apart: what the meters get wrong, what the customer's own current
does, and what the mains do that he shares with others.

    V_supply[phase] - V = offset + own I + sum over phases q (shared_q S_q) + noise

I is the customer's current, S_q the supply's current in phase q. The offset is what is left when nobody draws anything: the error of
two voltmeters of class 0.5 or 1, a volt or two, as large as the drop itself and constant, so it is fitted and not believed. The
currents of a customer's own phase lower his voltage; those of the others return through the neutral and raise it, if anything: so the
fit also tells on which phase a single-phase meter hangs, which no archive knows for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Below this share of the supply's voltage a phase is lost or behind another transformer: nothing to compare.
COMPARABLE: Final = 0.6
#: Fewer common samples than this determine nothing: five unknowns, and four times as many to tell their errors [slot].
SAMPLES: Final = 24
#: Where no current changes by a twentieth of itself, what it takes of the voltage is not told from what the voltmeters differ.
_CHANGES: Final = 0.05
#: A gram matrix's direction with less than this share of the largest is rounding, not information.
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured at an area's supply: volts float64[3, slot] [V], amps float64[3, slot] [A], primary side, signed (negative: the
    area feeds back); NaN where not delivered, or where their direction is not known.
    """

    volts: Floats
    amps: Floats

    @property
    def measured(self) -> Bools:
        """bool[slot]: every phase was, of those that are measured at all."""
        never = np.isnan(self.volts).all(axis=1) | np.isnan(self.amps).all(axis=1)
        gaps: Bools = np.isnan((self.volts + self.amps)[~never])
        return np.asarray(~gaps.any(axis=0), dtype=np.bool_)

    def only(self, slots: Bools) -> Source:
        """The same as if it had been measured in `slots` alone."""
        return Source(np.where(slots, self.volts, np.nan), np.where(slots, self.amps, np.nan))

    @property
    def mean(self) -> Floats:
        """float64[slot]: of the phases that are measured at all."""
        measured = ~np.isnan(self.volts).all(axis=1)
        return np.asarray(self.volts[measured].mean(axis=0))


@dataclass(frozen=True, slots=True)
class Ports:
    """The phases of an area's customers that carry a voltage and a current, one row each.

    row     int64[port]           row of the topology
    leg     int64[port]           phase as the meter calls it: 0, 1, 2
    volts   float64[port, slot]   [V], NaN where not delivered or not comparable
    amps    float64[port, slot]   [A], primary side, negative while the customer feeds in; NaN where not delivered
    """

    row: Ints
    leg: Ints
    volts: Floats
    amps: Floats

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: Bools) -> Ports:
        """The ports chosen by a mask."""
        return Ports(self.row[which], self.leg[which], self.volts[which], self.amps[which])


@dataclass(frozen=True, slots=True)
class Fit:
    """The drop of each port against one phase of the supply, taken apart.

    offset    float64[port] [V]         what the voltmeters differ
    error     float64[port] [V]         its standard error, the noise's persistence counted
    own       float64[port] [ohm]
    shared    float64[port, 3] [ohm]    per phase of the supply
    spread    float64[port, 3] [ohm]    standard error of `shared`
    residual  float64[port, slot] [V]   NaN where a sample is missing
    count     int64[port]               samples
    independent  float64[port]          how many independent ones they are worth; changes of neighbouring slots share a sample
    """

    offset: Floats
    error: Floats
    own: Floats
    shared: Floats
    spread: Floats
    residual: Floats
    count: Ints
    independent: Floats

    @property
    def variance(self) -> Floats:
        """float64[port] [V^2], infinite where there are too few samples."""
        total = np.nansum(self.residual**2, axis=1)
        return np.where(self.count >= SAMPLES, total / np.maximum(self.count - 5, 1), np.inf)


def source(
    topology: Topology, members: Ints, voltage: Floats, current: Floats, net: Floats, interval: int = 15
) -> Source | None:
    """The supply of the area whose rows are `members`; None where it has no supply meter.

    voltage, current  float64[meter, 3, slot] [V], [A] at the meter
    net               float64[meter, slot] [kWh], primary side: energy drawn less energy fed in; NaN where unknown
    interval          minutes of one slot
    """
    rows = members[topology.role[members] == Role.SUPPLY]
    if not len(rows):
        return None
    volts = voltage[rows]
    there = ~np.isnan(volts)
    mean = np.where(there, volts, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    amps = _amps(topology, rows, volts, current, net, interval)
    return Source(np.where(there.any(axis=0), mean, np.nan), amps.sum(axis=0))


def ports(
    topology: Topology,
    rows: Ints,
    supply: Source,
    voltage: Floats,
    current: Floats,
    net: Floats,
    interval: int = 15,
) -> Ports:
    """The ports of customers `rows`; arguments as for `source`."""
    level = np.nanmax(np.where(np.isnan(supply.volts), -np.inf, supply.volts), axis=0)
    volts = voltage[rows]
    with np.errstate(invalid="ignore"):
        volts = np.where(volts > COMPARABLE * level, volts, np.nan)
    amps = _amps(topology, rows, volts, current, net, interval)
    who, leg = np.nonzero((~np.isnan(volts) & ~np.isnan(amps)).sum(axis=2) >= SAMPLES)
    return Ports(rows[who], leg.astype(np.int64), volts[who, leg], amps[who, leg])


def _amps(
    topology: Topology, rows: Ints, volts: Floats, current: Floats, net: Floats, interval: int
) -> Floats:
    """float64[row, 3, slot] [A], primary side, negative where energy is fed in. A current that is not measured is taken from the energy, evenly
    from the phases that have a voltage, at power factor one: its active part, which is the part that counts.
    """
    size = np.abs(current[rows]) * topology.multiplier[rows, None, None]
    legs = ~np.isnan(volts)
    watts = np.abs(net[rows]) * 1000 * 60 / interval / np.maximum(legs.sum(axis=1), 1)
    size = np.where(np.isnan(size), watts[:, None, :] / np.where(legs, volts, np.nan), size)
    return np.asarray(size * np.where(net[rows] < 0, -1.0, 1.0)[:, None, :])


def fit(supply: Source, where: Ports, phase: Ints | None, *, steps: bool = False) -> Fit:
    """Each port's drop against phase[port] of the supply; None: against the mean of its phases, for who does not know the phase yet.

    steps  fits the changes from slot to slot instead of the levels: they tell areas and phases apart without what drifts in both
    """
    drop = (supply.mean if phase is None else supply.volts[phase]) - where.volts
    # a phase that is never measured takes part in nothing; a sample that is missing takes the slot with it
    never = np.asarray(np.isnan(supply.amps).all(axis=1), dtype=np.bool_)
    amps = np.where(never[:, None], 0.0, supply.amps)
    own, common = where.amps, np.concatenate([np.ones((1, drop.shape[1])), amps])
    if steps:
        drop, own, common = (np.diff(a, axis=-1) for a in (drop, own, common))
    there = ~np.isnan(drop) & ~np.isnan(own) & ~np.isnan(common).any(axis=0)
    y, own, common = np.where(there, drop, 0.0), np.where(there, own, 0.0), np.nan_to_num(common, nan=0.0)
    # five terms: what all ports have in common, four rows, then its own
    gram, right = np.empty((len(y), 5, 5)), np.empty((len(y), 5))
    gram[:, :4, :4] = (there.astype(np.float64) @ (common[:, None] * common).reshape(16, -1).T).reshape(
        -1, 4, 4
    )
    gram[:, :4, 4] = gram[:, 4, :4] = own @ common.T
    gram[:, 4, 4], right[:, :4], right[:, 4] = (own**2).sum(axis=1), y @ common.T, (own * y).sum(axis=1)
    size = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-30))
    inverse = np.linalg.pinv(gram / size[:, :, None] / size[:, None, :], rcond=_TINY, hermitian=True) / (
        size[:, :, None] * size[:, None, :]
    )
    coefficient = (inverse @ right[:, :, None])[:, :, 0]
    left = np.where(there, y - coefficient[:, :4] @ common - coefficient[:, 4:] * own, 0.0)
    count = there.sum(axis=1)
    if not steps:
        count = np.where(_changing(own, common[1:], there), count, 0)
    variance = (left**2).sum(axis=1) / np.maximum(count - 5, 1)
    alike = persistence(left)
    error = np.sqrt(np.diagonal(inverse, axis1=1, axis2=2) * (variance * alike)[:, None])
    return Fit(
        coefficient[:, 0],
        error[:, 0],
        coefficient[:, 4],
        coefficient[:, 1:4],
        error[:, 1:4],
        np.where(there, left, np.nan),
        count,
        count * 0.5 if steps else count / alike,
    )


def _changing(own: Floats, amps: Floats, there: Bools) -> Bools:
    """bool[port]: its own current, or the supply's, changes enough over the samples that are `there`."""
    total = np.broadcast_to(np.abs(amps).sum(axis=0), own.shape)
    result = np.zeros(len(own), dtype=np.bool_)
    count = np.maximum(there.sum(axis=1), 1)
    for values in (np.abs(own), total):
        known = np.where(there, values, 0.0)
        mean = known.sum(axis=1) / count
        spread = np.sqrt(np.where(there, (known - mean[:, None]) ** 2, 0.0).sum(axis=1) / count)
        result |= spread > _CHANGES * mean
    return result


def persistence(left: Floats) -> Floats:
    """float64[row]: by how much residuals [row, slot] that resemble their neighbours are worth less than their number:
    (1 + r) / (1 - r), r their correlation from slot to slot.
    """
    size = np.maximum((left**2).sum(axis=1), 1e-30)
    alike = np.clip((left[:, 1:] * left[:, :-1]).sum(axis=1) / size, 0.0, 0.9)
    return np.asarray((1 + alike) / (1 - alike))


def gapless(values: Floats) -> Floats:
    """[row, slot]: gaps bridged in a straight line; a row without any value is left as it is."""
    slots = values.shape[1]
    gap, slot = np.isnan(values), np.arange(slots)
    before = np.maximum.accumulate(np.where(gap, -1, slot), axis=1)
    after = np.minimum.accumulate(np.where(gap, slots, slot)[:, ::-1], axis=1)[:, ::-1]
    row, at = np.nonzero(gap & ~gap.all(axis=1, keepdims=True))
    low, high = before[row, at], after[row, at]
    # beyond the ends the last one stays
    low, high = np.where(low < 0, high, low), np.where(high == slots, low, high)
    begin, end = values[row, low], values[row, high]
    result = values.copy()
    result[row, at] = begin + (end - begin) / np.maximum(high - low, 1) * (at - low)
    return result
